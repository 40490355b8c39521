//! What speaks against a fan-out: the ledger, and everything that was published or asked for and
//! did not happen. Pure; `crate::measure::verdict` asks it in place of its rules for replies.

use crate::fanout::figures::Ledger;
use crate::fanout::foreign_figures::{FeedFigures, ForeignFigures};
use crate::fanout::foreign_rules;
use crate::measure::verdict::{Reasons, Verdict, push_counts};
use crate::quantity::{format_count, format_ns};

/// What the rules look at.
#[derive(Clone, Debug, Default)]
pub struct FanoutEvidence {
    /// Readers that were to keep up.
    pub healthy: Ledger,
    /// Readers that were made slow, or stalled.
    pub lagging: Ledger,
    /// The server announces what it leaves out.
    pub has_notices: bool,
    /// Subscriptions that were never confirmed.
    pub unconfirmed: u64,
    /// Messages of which the server said nothing although it should.
    pub unanswered: u64,
    /// Messages that it refused.
    pub refused: u64,
    /// Messages that could not be handed to a socket.
    pub unsent: u64,
    /// Messages that a publisher got and nobody had asked for.
    pub unsolicited: u64,
    /// Of a server that knows nothing of us.
    pub foreign: Option<ForeignFigures>,
    /// Of a feed that the server paces.
    pub feed: Option<FeedFigures>,
}

/// Applies the rules.
pub fn judge(evidence: &FanoutEvidence, drain_ns: u64, reasons: &mut Reasons) {
    match &evidence.feed {
        Some(feed) => foreign_rules::feed(feed, evidence.foreign.as_ref(), reasons),
        None => {
            copies(evidence, reasons);
            missing(evidence, drain_ns, reasons);
        }
    }
    if let Some(foreign) = &evidence.foreign {
        foreign_rules::foreign(foreign, evidence.unconfirmed, reasons);
    }
    let unconfirmed = if evidence.foreign.is_none() {
        evidence.unconfirmed
    } else {
        0 // `foreign_rules` has said it.
    };
    let counts = [
        (
            Verdict::Invalid,
            unconfirmed,
            "subscriptions were never confirmed: no probe or answer came (wrong path, dialect or topic?)",
        ),
        (
            Verdict::Invalid,
            evidence.unanswered,
            "messages were published without an answer: nobody knows whether they exist",
        ),
        (
            Verdict::Suspect,
            evidence.refused,
            "messages were refused by the server; see errors",
        ),
        (
            Verdict::Invalid,
            evidence.unsent,
            "messages were due but could not be sent: their publisher's connection was gone",
        ),
        (
            Verdict::Suspect,
            evidence.unsolicited,
            "messages reached publishers, which had not subscribed to anything",
        ),
    ];
    push_counts(reasons, counts);
    if evidence.healthy.delivered + evidence.lagging.delivered == 0 {
        let cause = evidence
            .foreign
            .as_ref()
            .map_or_else(String::new, |foreign| {
                foreign_rules::why_nothing(foreign, evidence.feed.is_some())
            });
        reasons.push((
            Verdict::Invalid,
            format!("nothing was delivered, so nothing was measured{cause}"),
        ));
    }
}

/// Copies that are wrong whoever reads them.
fn copies(evidence: &FanoutEvidence, reasons: &mut Reasons) {
    let mut both = evidence.healthy;
    both.add(&evidence.lagging);
    let wrong = [
        (
            both.torn,
            "copies were torn (cut, mixed, or another byte than was sent)",
        ),
        (both.duplicates, "copies came twice"),
        (
            both.reordered,
            "copies came after a younger message of their stream",
        ),
        (
            both.foreign,
            "copies were of topics that their subscriber had not asked for",
        ),
        (
            both.strangers,
            "messages were not this run's: give it topics of its own (--topic-name)",
        ),
        (
            both.faults,
            "times the server broke its own numbering; see errors",
        ),
    ];
    push_counts(
        reasons,
        wrong.map(|(count, what)| (Verdict::Invalid, count, what)),
    );
}

/// What the ledger lacks.
fn missing(evidence: &FanoutEvidence, drain_ns: u64, reasons: &mut Reasons) {
    let sentence = |ledger: &Ledger, whose: &str| {
        let (count, what) = if ledger.missing > 0 {
            (
                ledger.missing,
                "missing, and nobody said that they would be",
            )
        } else {
            (-ledger.missing, "accounted for that nobody was entitled to")
        };
        format!(
            "the ledger does not add up: {} copies of {whose} are {what}",
            format_count(count.unsigned_abs())
        )
    };
    if evidence.healthy.missing != 0 {
        let text = sentence(&evidence.healthy, "readers that kept up");
        reasons.push((Verdict::Invalid, text));
    }
    if evidence.lagging.missing != 0 {
        // Without a word for gaps a server can only drop or close; which one it did is said here.
        let weight = if evidence.has_notices || evidence.lagging.missing < 0 {
            Verdict::Invalid
        } else {
            Verdict::Suspect
        };
        reasons.push((
            weight,
            sentence(&evidence.lagging, "slow or stalled readers"),
        ));
    }
    if evidence.healthy.in_flight > 0 {
        reasons.push((
            Verdict::Invalid,
            format!(
                "{} copies had not arrived at readers that kept up when waiting ended, up to {} \
                 after the last message",
                format_count(evidence.healthy.in_flight),
                format_ns(drain_ns)
            ),
        ));
    }
}
