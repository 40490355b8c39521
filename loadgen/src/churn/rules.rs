//! What speaks against a churn: clients that did not come back, closings that were not answered,
//! attempts that began late. Pure; `crate::measure::verdict` asks it in place of its rules for connections
//! and replies.
//!
//! That a server sends clients away is what many a churn is made for, so it makes a report SUSPECT
//! and not INVALID, as long as everybody is served again in the end.

use crate::churn::figures::Churn;
use crate::measure::verdict::{Reasons, Verdict, contradiction, push_counts};
use crate::quantity::{format_count, format_ns};

/// Lifetimes and backoffs are seconds; attempts later than this are not what was asked for.
pub const ATTEMPT_LATE_MAX_NS: u64 = 50_000_000;

/// What the rules look at.
#[derive(Clone, Debug, Default)]
pub struct ChurnEvidence {
    /// The figures of the report.
    pub figures: Churn,
    /// Messages sent.
    pub sent: u64,
    /// First replies.
    pub received: u64,
    /// Replies that cannot come any more, those on ended connections included.
    pub lost: u64,
    /// Unanswered after the drain.
    pub in_flight: u64,
    /// Due on an open connection, but not sent.
    pub unsent: u64,
    /// Repeated replies.
    pub duplicates: u64,
    /// Replies out of order.
    pub reordered: u64,
    /// Wrong replies.
    pub corrupt: u64,
    /// Messages nobody asked for.
    pub unsolicited: u64,
    /// How long the drain waited.
    pub drain_ns: u64,
}

/// Applies the rules.
pub fn judge(evidence: &ChurnEvidence, reasons: &mut Reasons) {
    clients(evidence, reasons);
    closings(&evidence.figures, reasons);
    messages(evidence, reasons);
    identities(evidence, reasons);
    let late = &evidence.figures.attempt_late_ns;
    if late.p99 > ATTEMPT_LATE_MAX_NS {
        reasons.push((
            Verdict::Invalid,
            format!(
                "1 % of the attempts began {} or more late (limit {}): the generator was not on \
                 time; use more threads (-t) or fewer connections",
                format_ns(late.p99),
                format_ns(ATTEMPT_LATE_MAX_NS)
            ),
        ));
    }
}

fn clients(evidence: &ChurnEvidence, reasons: &mut Reasons) {
    let figures = &evidence.figures;
    let away = figures.waiting + figures.gone;
    if away > 0 {
        let stays = if figures.gone > 0 {
            format!(", {} of them for good", format_count(figures.gone))
        } else {
            String::new()
        };
        reasons.push((
            Verdict::Invalid,
            format!(
                "{} of {} clients had not come back at the end{stays}: the times to recover leave \
                 them out; measure longer (-d), or see why in errors",
                format_count(away),
                format_count(figures.clients)
            ),
        ));
    }
    let ended = figures.closed_by_server + figures.lost;
    if ended > 0 {
        let unanswered = match figures.lost_with_connection {
            0 => String::new(),
            count => format!(", with {} messages unanswered", format_count(count)),
        };
        reasons.push((
            Verdict::Suspect,
            format!(
                "the server ended {} of {} connections ({} with a close frame){unanswered}; {} \
                 times a client was served again",
                format_count(ended),
                format_count(figures.opened),
                format_count(figures.closed_by_server),
                format_count(figures.recovered)
            ),
        ));
    }
    if figures.failed > 0 {
        reasons.push((
            Verdict::Suspect,
            format!(
                "{} of {} attempts to connect failed; see errors",
                format_count(figures.failed),
                format_count(figures.attempts)
            ),
        ));
    }
    if figures.in_progress > 0 {
        reasons.push((
            Verdict::Suspect,
            format!(
                "{} attempts to connect had not ended {} after the end",
                format_count(figures.in_progress),
                format_ns(evidence.drain_ns)
            ),
        ));
    }
}

fn closings(figures: &Churn, reasons: &mut Reasons) {
    let incomplete = figures
        .closings_begun
        .saturating_sub(figures.closings_completed);
    if incomplete > 0 {
        reasons.push((
            Verdict::Suspect,
            format!(
                "{} of {} closing handshakes were not completed by the server",
                format_count(incomplete),
                format_count(figures.closings_begun)
            ),
        ));
    }
}

fn messages(evidence: &ChurnEvidence, reasons: &mut Reasons) {
    let figures = &evidence.figures;
    let excused = figures.abandoned + figures.lost_with_connection;
    let wrong = [
        (
            Verdict::Invalid,
            evidence.corrupt,
            "replies were corrupt (another byte, length or kind than was sent)",
        ),
        (
            Verdict::Invalid,
            evidence.lost.saturating_sub(excused),
            "messages were lost although their connection lived: no reply can come any more",
        ),
        (
            Verdict::Invalid,
            evidence.in_flight,
            "messages were still unanswered on open connections when waiting ended",
        ),
        (Verdict::Invalid, evidence.duplicates, "replies came twice"),
        (
            Verdict::Invalid,
            // Whoever sends nothing has come to hear what the server pushes.
            if figures.is_hold_only {
                0
            } else {
                evidence.unsolicited
            },
            "messages arrived that no connection had sent",
        ),
        (
            Verdict::Suspect,
            evidence.reordered,
            "replies came out of order",
        ),
        (
            Verdict::Invalid,
            evidence.unsent,
            "messages were due on an open connection but could not be sent (65,536 unanswered)",
        ),
    ];
    push_counts(reasons, wrong);
    if !figures.is_hold_only && evidence.received == 0 {
        reasons.push((
            Verdict::Invalid,
            "nothing was answered, so nothing was measured; a server that does not echo needs \
             --hold-only"
                .into(),
        ));
    }
    if figures.is_hold_only && figures.opened == 0 {
        reasons.push((
            Verdict::Invalid,
            "nobody was let in, so nothing was measured".into(),
        ));
    }
}

fn identities(evidence: &ChurnEvidence, reasons: &mut Reasons) {
    let figures = &evidence.figures;
    let mut fault = |sides: String| reasons.push(contradiction("counters", &sides));
    if evidence.sent != evidence.received + evidence.lost + evidence.in_flight {
        fault(format!(
            "sent {} is not received {} + lost {} + in flight {}",
            evidence.sent, evidence.received, evidence.lost, evidence.in_flight
        ));
    }
    if !figures.attempts_add_up {
        fault(format!(
            "attempts {} are not opened {} + failed {} + in progress {}",
            figures.attempts, figures.opened, figures.failed, figures.in_progress
        ));
    }
    if !figures.connections_add_up {
        fault(format!(
            "opened {} is not closed by us {} + closed by the server {} + lost {} + alive {}",
            figures.opened,
            figures.closed_by_us,
            figures.closed_by_server,
            figures.lost,
            figures.alive
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> ChurnEvidence {
        ChurnEvidence {
            figures: Churn {
                clients: 10,
                attempts: 30,
                opened: 30,
                closed_by_us: 20,
                alive: 10,
                closings_begun: 20,
                closings_completed: 20,
                attempts_add_up: true,
                connections_add_up: true,
                ..Churn::default()
            },
            sent: 30,
            received: 30,
            drain_ns: 2_000_000_000,
            ..ChurnEvidence::default()
        }
    }

    fn reasons(change: impl FnOnce(&mut ChurnEvidence)) -> Reasons {
        let mut evidence = good();
        change(&mut evidence);
        let mut reasons = Reasons::new();
        judge(&evidence, &mut reasons);
        reasons
    }

    #[test]
    fn nothing_speaks_against_a_good_run() {
        assert_eq!(reasons(|_| {}), []);
    }

    #[test]
    fn every_rule_has_its_weight_and_word() {
        type Change = fn(&mut ChurnEvidence);
        let cases: [(Change, Verdict, &str); 13] = [
            (
                |it| it.figures.waiting = 2,
                Verdict::Invalid,
                "2 of 10 clients",
            ),
            (
                |it| it.figures.gone = 3,
                Verdict::Invalid,
                "3 of them for good",
            ),
            (|it| it.figures.lost = 4, Verdict::Suspect, "ended 4 of 30"),
            (
                |it| it.figures.closed_by_server = 5,
                Verdict::Suspect,
                "5 with a close frame",
            ),
            (
                |it| it.figures.failed = 6,
                Verdict::Suspect,
                "6 of 30 attempts",
            ),
            (
                |it| it.figures.in_progress = 7,
                Verdict::Suspect,
                "7 attempts",
            ),
            (
                |it| it.figures.closings_completed = 1,
                Verdict::Suspect,
                "19 of 20 closing",
            ),
            (
                |it| it.figures.attempt_late_ns.p99 = 60_000_000,
                Verdict::Invalid,
                "late",
            ),
            (|it| it.corrupt = 1, Verdict::Invalid, "corrupt"),
            (
                |it| it.received = 29,
                Verdict::Invalid,
                "sent 30 is not received 29",
            ),
            (
                |it| it.figures.attempts_add_up = false,
                Verdict::Invalid,
                "attempts 30",
            ),
            (
                |it| it.figures.connections_add_up = false,
                Verdict::Invalid,
                "opened 30",
            ),
            (
                |it| (it.sent, it.received) = (0, 0),
                Verdict::Invalid,
                "--hold-only",
            ),
        ];
        for (change, weight, word) in cases {
            let found = reasons(change);
            let is_it = |(found, text): &(Verdict, String)| *found == weight && text.contains(word);
            assert!(found.iter().any(is_it), "{word}: {found:?}");
        }
    }

    #[test]
    fn what_was_on_ended_connections_is_excused() {
        let excused = reasons(|it| {
            (it.received, it.lost) = (27, 3);
            (it.figures.abandoned, it.figures.lost_with_connection) = (2, 1);
        });
        assert_eq!(excused, []);
        let lost = reasons(|it| (it.received, it.lost, it.figures.abandoned) = (27, 3, 2));
        assert_eq!(lost.len(), 1);
        assert!(lost[0].1.contains("1 messages were lost"), "{lost:?}");
    }

    #[test]
    fn holding_needs_no_reply() {
        let held = |it: &mut ChurnEvidence| {
            (it.sent, it.received, it.figures.is_hold_only) = (0, 0, true);
        };
        assert_eq!(reasons(held), []);
    }
}
