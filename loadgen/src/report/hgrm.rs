//! A percentile distribution as text, in the form that HdrHistogram's plotter reads.

use std::fmt::Write as _;

use crate::measure::latency::Latency;

/// Lines between a quantile and the one that is half as far from 1.
const TICKS_PER_HALF_DISTANCE: u32 = 5;
/// The plotter's own default is milliseconds.
const NS_PER_UNIT: f64 = 1e6;

/// Renders a histogram of nanoseconds; the values in the file are milliseconds.
pub fn render(latency: &Latency) -> String {
    let mut out = format!(
        "{:>14} {:>14} {:>12} {:>16}\n\n",
        "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
    );
    let Some(histogram) = latency.histogram() else {
        return out;
    };
    let mut count = 0;
    // Writing to a String does not fail.
    for step in histogram.iter_quantiles(TICKS_PER_HALF_DISTANCE) {
        count += step.count_since_last_iteration();
        // The upper end of the last bucket may lie above everything that was measured.
        let value = step.value_iterated_to().min(histogram.max()) as f64 / NS_PER_UNIT;
        let quantile = step.quantile_iterated_to();
        let _ = write!(out, "{value:14.6} {quantile:14.12} {count:12}");
        let _ = if quantile < 1.0 {
            writeln!(out, " {:16.2}", 1.0 / (1.0 - quantile))
        } else {
            writeln!(out)
        };
    }
    let _ = writeln!(
        out,
        "#[Mean    = {:12.6}, StdDeviation   = {:12.6}]\n\
         #[Max     = {:12.6}, Total count    = {:12}]\n\
         #[Buckets = {:12}, SubBuckets     = {:12}]",
        histogram.mean() / NS_PER_UNIT,
        histogram.stdev() / NS_PER_UNIT,
        histogram.max() as f64 / NS_PER_UNIT,
        histogram.len(),
        histogram.buckets(),
        sub_buckets(histogram.sigfig()),
    );
    out
}

/// Values that a bucket tells apart: twice as many as the digits ask for, as a power of two.
fn sub_buckets(digits: u8) -> u64 {
    (2 * 10u64.pow(u32::from(digits))).next_power_of_two()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads the text as the plotter does: by white space, lines with `#` aside.
    fn rows(text: &str) -> Vec<(f64, f64, u64, Option<f64>)> {
        let is_row = |line: &&str| {
            let first = line.trim_start().chars().next();
            first.is_some_and(|first| first.is_ascii_digit())
        };
        text.lines()
            .filter(is_row)
            .map(|line| {
                let cells: Vec<&str> = line.split_whitespace().collect();
                let number = |index: usize| cells[index].parse::<f64>().expect("a number");
                (
                    number(0),
                    number(1),
                    cells[2].parse().expect("a count"),
                    cells.get(3).map(|_| number(3)),
                )
            })
            .collect()
    }

    #[test]
    fn the_distribution_is_read_back() {
        let mut latency = Latency::default();
        for value in 1..=100_000u64 {
            latency.record(value * 1_000);
        }
        let rows = rows(&render(&latency));
        let median = rows.iter().find(|row| row.1 >= 0.5).expect("a median");
        assert!((median.0 - 50.0).abs() < 0.1, "50 ms and not {median:?}");
        assert_eq!(median.3, Some(2.0));
        let last = rows.last().expect("rows");
        assert_eq!((last.1, last.2, last.3), (1.0, 100_000, None));
        assert!((last.0 - latency.max() as f64 / 1e6).abs() < 1e-6);
        for pair in rows.windows(2) {
            assert!(pair[0].0 <= pair[1].0 && pair[0].1 < pair[1].1, "{pair:?}");
            assert!(pair[0].2 <= pair[1].2, "{pair:?}");
        }
    }

    #[test]
    fn nothing_measured_is_a_head_only() {
        assert_eq!(render(&Latency::default()).lines().count(), 2);
    }
}
