//! Histograms second by second, as the interval log that HdrHistogram's tools read.

use std::time::{Duration, SystemTime};

use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};

use crate::measure::latency::Latency;
use crate::measure::model::Report;

/// The column of the largest values is in milliseconds; the histograms stay in nanoseconds.
const NS_PER_MS: f64 = 1e6;

/// Renders the response times of one or more runs; with several, each line bears the name of its
/// run. The sum of a run's lines is its whole histogram.
///
/// # Errors
/// A sentence about a histogram that cannot be read.
pub fn render(runs: &[(&str, &Report)]) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let mut serializer = V2DeflateSerializer::new();
    let mut builder = IntervalLogWriterBuilder::new();
    builder
        .add_comment("[Histogram log format version 1.3]")
        .add_comment(
            "[Response times in nanoseconds; seconds since the start time; largest value in ms]",
        )
        .with_max_value_divisor(NS_PER_MS);
    if let Some((_, report)) = runs.first() {
        let since = Duration::from_millis(report.environment.started_unix_ms);
        let started = SystemTime::UNIX_EPOCH + since;
        builder.with_start_time(started).with_base_time(started);
    }
    let failed =
        |error: &dyn std::fmt::Display| format!("the interval log cannot be made: {error}");
    let mut writer = builder
        .begin_log_with(&mut out, &mut serializer)
        .map_err(|error| failed(&error))?;
    for (name, report) in runs {
        let name = tag_name(name);
        let tag = if runs.len() > 1 {
            Tag::new(&name)
        } else {
            None
        };
        for second in &report.series {
            let latency = Latency::decode(&second.response_histogram)?;
            let Some(empty) = empty() else { continue };
            let histogram = latency.histogram().unwrap_or(&empty);
            let length = seconds(second.duration_s);
            let start = seconds(second.at_s - second.duration_s);
            writer
                .write_histogram(histogram, start, length, tag)
                .map_err(|error| failed(&error))?;
        }
    }
    Ok(out)
}

/// A second without values has a line too. The bounds are the smallest that are allowed.
fn empty() -> Option<Histogram<u64>> {
    Histogram::new_with_bounds(1, 2, 3).ok()
}

fn seconds(value: f64) -> Duration {
    Duration::try_from_secs_f64(value.max(0.0)).unwrap_or_default()
}

/// A tag ends at a comma, white space or a line end.
fn tag_name(name: &str) -> String {
    name.replace(
        |character: char| character == ',' || character.is_whitespace(),
        "_",
    )
}
