//! Adding up what only a churn reports.

use std::collections::BTreeMap;

use super::{over_span, percentiles};
use crate::churn::figures::Churn;
use crate::measure::latency::Latency;
use crate::measure::model::Report;
use crate::measure::sums::add_fields;

/// Adds the churns among the reports.
pub fn add(
    reports: &[Report],
    histograms: &BTreeMap<String, Latency>,
    span_s: f64,
) -> Option<Churn> {
    let parts: Vec<(&Report, &Churn)> = reports
        .iter()
        .filter_map(|report| Some((report, report.churn.as_ref()?)))
        .collect();
    let ((_, first), others) = parts.split_first()?;
    let mut sum = (*first).clone();
    for (_, other) in others {
        add_counters(&mut sum, other);
    }
    let opened = parts
        .iter()
        .map(|(report, churn)| (churn.opened_per_second, report.duration_s));
    sum.opened_per_second = over_span(opened, span_s);
    sum.recover_ns = percentiles(histograms, "recover");
    sum.recover_active_ns = percentiles(histograms, "recover_active");
    sum.attempt_late_ns = percentiles(histograms, "attempt_late");
    sum.close_ns = percentiles(histograms, "close");
    Some(sum)
}

fn add_counters(sum: &mut Churn, other: &Churn) {
    add_fields!(sum, other, Churn {
        clients, attempts, returns, opened, failed, in_progress, retry_after,
        closed_by_us, closed_by_server, lost, alive,
        closings_begun, closings_completed, closings_timed_out,
        recovered, waiting, gone, skipped, abandoned, lost_with_connection,
    } apart {
        lifetime, reconnect, departure, is_hold_only, expected_per_second, opened_per_second,
        attempts_add_up, connections_add_up,
        recover_ns, recover_active_ns, attempt_late_ns, close_ns,
    });
    sum.expected_per_second = sum
        .expected_per_second
        .zip(other.expected_per_second)
        .map(|(mine, theirs)| mine + theirs);
    // One that lacks an attempt and one that has one too many do not make a right sum.
    sum.attempts_add_up &= other.attempts_add_up;
    sum.connections_add_up &= other.connections_add_up;
}
