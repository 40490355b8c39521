//! What is said of a sum: verdict, reasons, thresholds and exit code.

use crate::commands::{INTERRUPTED, INVALID, OK, RUN_ERROR, THRESHOLD_FAILED};
use crate::judge::{Threshold, measure};
use crate::measure::model::{Report, ThresholdResult};
use crate::measure::verdict::Verdict;
use crate::quantity::format_count;

/// The worst of all verdicts with everybody's reasons, and the identity of the sum.
pub fn judge(sum: &mut Report, reports: &[Report], noun: &str) {
    let mut reasons: Vec<(Verdict, String)> = Vec::new();
    for (index, report) in reports.iter().enumerate() {
        for reason in &report.verdict_reasons {
            reasons.push((report.verdict, format!("{noun} {}: {reason}", index + 1)));
        }
    }
    let messages = &sum.messages;
    let accounted = messages.received + messages.lost + messages.in_flight;
    if sum.fanout.is_none() && messages.sent != accounted && messages.adds_up {
        sum.messages.adds_up = false;
        reasons.push((
            Verdict::Invalid,
            format!(
                "the counters of the sum do not add up: sent {} is not received, lost and in \
                 flight together ({}); one of the reports was changed",
                format_count(sum.messages.sent),
                format_count(accounted)
            ),
        ));
    }
    reasons.sort_by_key(|(weight, _)| std::cmp::Reverse(*weight));
    let worst = reports.iter().map(|report| report.verdict).max();
    let found = reasons.iter().map(|(weight, _)| *weight).max();
    sum.verdict = worst.max(found).unwrap_or(Verdict::Valid);
    sum.verdict_reasons = reasons.into_iter().map(|(_, reason)| reason).collect();
    sum.thresholds = thresholds(sum, reports);
    let codes = || reports.iter().map(|report| report.exit_code);
    let is_missed = sum.thresholds.iter().any(|result| !result.is_met);
    sum.exit_code = match sum.verdict {
        _ if sum.interrupted => INTERRUPTED,
        // One of them measured nothing at all.
        _ if codes().any(|code| code == RUN_ERROR) => RUN_ERROR,
        // Unless every one of them was allowed to be.
        Verdict::Invalid if codes().any(|code| code == INVALID) => INVALID,
        _ if is_missed || codes().any(|code| code == THRESHOLD_FAILED) => THRESHOLD_FAILED,
        Verdict::Invalid if !sum.messages.adds_up => INVALID,
        _ => OK,
    };
}

/// The thresholds that were put to all of them, held against the sum.
fn thresholds(sum: &Report, reports: &[Report]) -> Vec<ThresholdResult> {
    let Some((first, others)) = reports.split_first() else {
        return Vec::new();
    };
    let is_common = |expression: &str| {
        others.iter().all(|report| {
            let mut expressions = report.thresholds.iter().map(|result| &result.expression);
            expressions.any(|other| other == expression)
        })
    };
    first
        .thresholds
        .iter()
        .filter(|result| is_common(&result.expression))
        .filter_map(|result| Threshold::parse(&result.expression).ok())
        .map(|threshold| measure::judge(sum, &threshold))
        .collect()
}
