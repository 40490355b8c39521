//! Adding up what only a churn reports.

use std::collections::BTreeMap;

use super::percentiles;
use crate::churn::figures::Churn;
use crate::measure::model::Report;
use crate::measure::tally::Latency;

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
    let opened: f64 = parts
        .iter()
        .map(|(report, churn)| churn.opened_per_second * report.duration_s)
        .sum();
    sum.opened_per_second = if span_s > 0.0 { opened / span_s } else { 0.0 };
    sum.recover_ns = percentiles(histograms, "recover");
    sum.recover_active_ns = percentiles(histograms, "recover_active");
    sum.attempt_late_ns = percentiles(histograms, "attempt_late");
    sum.close_ns = percentiles(histograms, "close");
    Some(sum)
}

fn add_counters(sum: &mut Churn, other: &Churn) {
    sum.clients += other.clients;
    sum.expected_per_second = sum
        .expected_per_second
        .zip(other.expected_per_second)
        .map(|(mine, theirs)| mine + theirs);
    sum.attempts += other.attempts;
    sum.returns += other.returns;
    sum.opened += other.opened;
    sum.failed += other.failed;
    sum.in_progress += other.in_progress;
    sum.retry_after += other.retry_after;
    // One that lacks an attempt and one that has one too many do not make a right sum.
    sum.attempts_add_up &= other.attempts_add_up;
    sum.closed_by_us += other.closed_by_us;
    sum.closed_by_server += other.closed_by_server;
    sum.lost += other.lost;
    sum.alive += other.alive;
    sum.connections_add_up &= other.connections_add_up;
    sum.closings_begun += other.closings_begun;
    sum.closings_completed += other.closings_completed;
    sum.closings_timed_out += other.closings_timed_out;
    sum.recovered += other.recovered;
    sum.waiting += other.waiting;
    sum.gone += other.gone;
    sum.skipped += other.skipped;
    sum.abandoned += other.abandoned;
    sum.lost_with_connection += other.lost_with_connection;
}
