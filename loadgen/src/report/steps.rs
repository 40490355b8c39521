//! The rows of a time series, put together so that a plot of hours has no more points than a
//! screen can show. Percentiles of several seconds are read off their added histograms.

use crate::measure::latency::Latency;
use crate::measure::series::Second;

/// One or more seconds.
#[derive(Clone, Debug, Default)]
pub struct Step {
    /// Begin in seconds since the load began.
    pub from_s: f64,
    /// End.
    pub to_s: f64,
    /// All of it lies in the measured window.
    pub is_measured: bool,
    /// Messages sent in it.
    pub sent: u64,
    /// Messages received in it.
    pub received: u64,
    /// Connections that failed in it.
    pub failed: u64,
    /// Connections open at its end.
    pub open: u64,
    /// Response times in it.
    pub response: Latency,
    /// Largest 99th percentile of late sends of one of its seconds.
    pub late_p99_ns: u64,
    /// Mean CPU share of the busiest generator thread.
    pub generator_cpu_share: Option<f64>,
    /// Mean of the CPUs that the server used.
    pub server_cpus_used: Option<f64>,
    /// Mean CPU share of the server's busiest thread.
    pub server_busy_share: Option<f64>,
    /// Resident bytes of the server at its end.
    pub server_rss_bytes: Option<u64>,
}

impl Step {
    /// Its length.
    pub fn length_s(&self) -> f64 {
        self.to_s - self.from_s
    }

    /// Its middle.
    pub fn middle_s(&self) -> f64 {
        (self.from_s + self.to_s) / 2.0
    }

    /// A count of it per second, `NaN` when it has no length.
    pub fn per_second(&self, count: u64) -> f64 {
        let rate = count as f64 / self.length_s();
        if rate.is_finite() { rate } else { f64::NAN }
    }
}

/// At most `most` steps of equal numbers of seconds.
///
/// # Errors
/// A sentence about a histogram that cannot be read.
pub fn steps(series: &[Second], most: usize) -> Result<Vec<Step>, String> {
    let size = series.len().div_ceil(most.max(1)).max(1);
    series.chunks(size).map(step).collect()
}

fn step(seconds: &[Second]) -> Result<Step, String> {
    let mut step = Step {
        from_s: seconds
            .first()
            .map_or(0.0, |first| (first.at_s - first.duration_s).max(0.0)),
        to_s: seconds.last().map_or(0.0, |last| last.at_s),
        is_measured: seconds.iter().all(|second| second.is_measured),
        open: seconds.last().map_or(0, |last| last.open),
        generator_cpu_share: mean(seconds, |second| second.generator_cpu_share),
        server_cpus_used: mean(seconds, |second| second.server_cpus_used),
        server_busy_share: mean(seconds, |second| second.server_busy_share),
        server_rss_bytes: seconds
            .iter()
            .rev()
            .find_map(|second| second.server_rss_bytes),
        ..Step::default()
    };
    for second in seconds {
        step.sent += second.sent;
        step.received += second.received;
        step.failed += second.failed;
        step.late_p99_ns = step.late_p99_ns.max(second.late_p99_ns);
        step.response
            .add(&Latency::decode(&second.response_histogram)?);
    }
    Ok(step)
}

/// The mean of a share, each second by its length.
fn mean(seconds: &[Second], read: fn(&Second) -> Option<f64>) -> Option<f64> {
    let (mut sum, mut length) = (0.0, 0.0);
    for second in seconds {
        if let Some(value) = read(second) {
            sum += value * second.duration_s;
            length += second.duration_s;
        }
    }
    (length > 0.0).then(|| sum / length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(at_s: f64, value: u64, share: f64) -> Second {
        let mut latency = Latency::default();
        latency.record(value);
        Second {
            at_s,
            duration_s: 1.0,
            received: 10,
            open: value,
            response_histogram: latency.encode(),
            generator_cpu_share: Some(share),
            ..Second::default()
        }
    }

    #[test]
    fn seconds_are_added_and_not_averaged() {
        let series: Vec<Second> = (1..=10)
            .map(|at| second(f64::from(at), 1_000, 0.1))
            .collect();
        assert_eq!(steps(&series, 100).expect("readable").len(), 10);
        let steps = steps(&series, 4).expect("readable");
        let lengths: Vec<f64> = steps.iter().map(Step::length_s).collect();
        assert_eq!(lengths, [3.0, 3.0, 3.0, 1.0]);
        let first = &steps[0];
        assert_eq!(
            (first.received, first.response.count(), first.open),
            (30, 3, 1_000)
        );
        assert!((first.per_second(first.received) - 10.0).abs() < 1e-9);
        assert!(
            first
                .generator_cpu_share
                .is_some_and(|share| (share - 0.1).abs() < 1e-9)
        );
        assert!(super::steps(&[], 5).expect("nothing").is_empty());
    }
}
