//! Reports without a run: from a command line and what threads would have brought home.

use clap::Parser;
use fanwire_loadgen::cli::{Cli, Job};
use fanwire_loadgen::config::Config;
use fanwire_loadgen::measure::figures::Percentiles;
use fanwire_loadgen::measure::latency::Latency;
use fanwire_loadgen::measure::model::{Measured, Report};
use fanwire_loadgen::measure::series::Second;
use fanwire_loadgen::measure::tally::Sheet;

/// The configuration of a command line.
pub fn config(line: &str) -> Config {
    let words = std::iter::once("fanwire-loadgen").chain(line.split_whitespace());
    let job = Cli::try_parse_from(words)
        .map_err(|error| error.to_string())
        .and_then(Cli::into_job);
    match job {
        Ok(Job::Run(config)) => *config,
        other => unreachable!("{line}: {other:?}"),
    }
}

/// A second with these response times.
pub fn second(number: u32, values: &[u64]) -> Second {
    let mut latency = Latency::default();
    for value in values {
        latency.record(*value);
    }
    Second {
        at_s: f64::from(number) + 1.0,
        duration_s: 1.0,
        is_measured: true,
        sent: values.len() as u64,
        received: values.len() as u64,
        open: 5,
        response: Percentiles::of(&latency),
        response_histogram: latency.encode(),
        late_p99_ns: 1_000,
        generator_cpu_share: Some(0.5),
        ..Second::default()
    }
}

/// The report of an open loop in which each inner list of response times took a second.
pub fn report(line: &str, seconds: &[Vec<u64>]) -> Report {
    let mut sheet = Sheet::default();
    for (number, values) in seconds.iter().enumerate() {
        for value in values {
            sheet.record_response(number % 2, *value);
            sheet.service.record(value / 2 + 1);
            sheet.record_late(value / 10);
        }
    }
    let count: u64 = seconds.iter().map(|values| values.len() as u64).sum();
    sheet.tally.sent = count;
    sheet.tally.received = count;
    sheet.tally.received_measured = count;
    sheet.tally.sent_measured = count;
    for counter in [
        &mut sheet.tally.asked,
        &mut sheet.tally.open,
        &mut sheet.tally.upgraded,
        &mut sheet.tally.served,
        &mut sheet.tally.alive,
    ] {
        *counter = 5;
    }
    let measured = Measured {
        sheet,
        measured_ns: seconds.len() as u64 * 1_000_000_000,
        series: seconds
            .iter()
            .zip(0..)
            .map(|(values, number)| second(number, values))
            .collect(),
        ..Measured::default()
    };
    Report::new(&config(line), &measured)
}
