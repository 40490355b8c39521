//! Adding up rows of the same second.

use std::collections::BTreeMap;

use super::largest;
use crate::measure::figures::Percentiles;
use crate::measure::latency::Latency;
use crate::measure::model::Report;
use crate::measure::series::Second;
use crate::measure::sums::add_counts;

/// Rows of the same second become one.
pub fn add(reports: &[Report], offsets: &[f64]) -> Result<Vec<Second>, String> {
    let mut rows: BTreeMap<i64, (Second, Latency)> = BTreeMap::new();
    for (report, offset) in reports.iter().zip(offsets) {
        for second in &report.series {
            let latency = Latency::decode(&second.response_histogram)
                .map_err(|error| format!("at {:.0} s: {error}", second.at_s))?;
            // The second in which the middle of the row lies: its ends are some milliseconds off.
            let middle = (offset + second.at_s - second.duration_s / 2.0).floor() as i64;
            let (sum, response) = rows.entry(middle).or_default();
            add_second(sum, second, *offset);
            response.add(&latency);
        }
    }
    Ok(rows
        .into_values()
        .map(|(second, response)| Second {
            response: Percentiles::of(&response),
            response_histogram: response.encode(),
            ..second
        })
        .collect())
}

fn add_second(sum: &mut Second, other: &Second, offset: f64) {
    let larger = |mine: Option<f64>, theirs| largest([mine, theirs].into_iter());
    sum.at_s = sum.at_s.max(offset + other.at_s);
    sum.duration_s = sum.duration_s.max(other.duration_s);
    sum.is_measured |= other.is_measured;
    sum.sent += other.sent;
    sum.received += other.received;
    sum.failed += other.failed;
    sum.open += other.open;
    // No histogram of a single second is kept for it: the worst of them is not below the truth.
    sum.late_p99_ns = sum.late_p99_ns.max(other.late_p99_ns);
    sum.generator_cpu_share = larger(sum.generator_cpu_share, other.generator_cpu_share);
    sum.server_cpus_used = larger(sum.server_cpus_used, other.server_cpus_used);
    sum.server_busy_share = larger(sum.server_busy_share, other.server_busy_share);
    sum.server_rss_bytes = sum.server_rss_bytes.max(other.server_rss_bytes);
    add_counts(&mut sum.troubles, &other.troubles);
}
