//! Rules about the server's side: connections that failed or ended, and replies that were wrong,
//! missing or too many.
//!
//! A fan-out is asked about its connections alone and a churn about nothing here: their copies and
//! clients have rules of their own.

use super::{Evidence, Reasons, Verdict, contradiction, push_counts};
use crate::config::Mode;
use crate::quantity::{format_count, format_ns};

/// Every connection that was asked for was opened, lasted, and answered our pings.
pub fn connection_rules(evidence: &Evidence, reasons: &mut Reasons) {
    let failed = evidence.asked.saturating_sub(evidence.upgraded);
    if failed > 0 {
        let noun = if evidence.mode == Mode::Storm {
            "attempts"
        } else {
            "connections"
        };
        reasons.push((
            Verdict::Invalid,
            format!(
                "{} of {} {noun} failed; see errors",
                format_count(failed),
                format_count(evidence.asked)
            ),
        ));
    }
    let dropped = evidence.upgraded.saturating_sub(evidence.alive);
    if evidence.mode != Mode::Storm && dropped > 0 {
        reasons.push((
            Verdict::Invalid,
            format!(
                "{} of {} connections ended before the run did",
                format_count(dropped),
                format_count(evidence.upgraded)
            ),
        ));
    }
    let pongs = (
        Verdict::Invalid,
        evidence.pongs_missing,
        "of our pings had no pong when the next was due (RFC 6455 5.5.2 demands one)",
    );
    push_counts(reasons, [pongs]);
}

/// Every message has one right reply.
pub fn integrity_rules(evidence: &Evidence, reasons: &mut Reasons) {
    let unanswered = format!(
        "messages on {} connections were still unanswered {} after the last was sent",
        format_count(evidence.stalled),
        format_ns(evidence.drain_ns)
    );
    let unsent = if evidence.mode == Mode::Storm {
        "connections were due but no establisher was free; allow more at once (-c)"
    } else {
        "messages were due but could not be sent (connection gone, or 65,536 unanswered)"
    };
    let wrong = [
        (
            Verdict::Invalid,
            evidence.corrupt,
            "replies were corrupt (another byte, length or kind than was sent)",
        ),
        (
            Verdict::Invalid,
            evidence.lost,
            "messages were lost: no reply can come any more",
        ),
        (Verdict::Invalid, evidence.in_flight, &unanswered),
        (Verdict::Invalid, evidence.duplicates, "replies came twice"),
        (
            Verdict::Invalid,
            evidence.unsolicited,
            "messages arrived that no connection had sent",
        ),
        (
            Verdict::Suspect,
            evidence.reordered,
            "replies came out of order",
        ),
        (
            Verdict::Invalid,
            evidence.dropped,
            "messages were overdue and given up, as --catchup says",
        ),
        (
            Verdict::Invalid,
            evidence.unsent.saturating_sub(evidence.dropped),
            unsent,
        ),
    ];
    push_counts(reasons, wrong);
    if evidence.sent != evidence.received + evidence.lost + evidence.in_flight {
        let sides = format!(
            "sent {} is not received {} + lost {} + in flight {}",
            evidence.sent, evidence.received, evidence.lost, evidence.in_flight
        );
        reasons.push(contradiction("counters", &sides));
    }
    if evidence.mode != Mode::Idle && evidence.received == 0 {
        reasons.push((
            Verdict::Invalid,
            "nothing was answered, so nothing was measured".into(),
        ));
    }
}
