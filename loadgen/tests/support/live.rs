//! A run as its watches are shown it, made by hand.

use clap::Parser;
use fanwire_loadgen::cli::{Cli, Job};
use fanwire_loadgen::config::Config;
use fanwire_loadgen::measure::figures::Percentiles;
use fanwire_loadgen::measure::gauges::Reading;
use fanwire_loadgen::measure::latency::Latency;
use fanwire_loadgen::measure::series::Second;
use fanwire_loadgen::measure::watch::{Live, LivePhase};

/// What a command line asks for.
pub fn config(line: &str) -> Config {
    let words = std::iter::once("fanwire-loadgen").chain(line.split_whitespace());
    let cli = Cli::try_parse_from(words).expect(line);
    match cli.into_job() {
        Ok(Job::Run(config)) => *config,
        Ok(Job::Churn(arguments)) => arguments.into_config().expect(line),
        other => unreachable!("{line}: {other:?}"),
    }
}

/// A run that grows second by second.
pub struct Staged {
    pub config: Config,
    pub phase: LivePhase,
    pub left_ns: u64,
    pub reading: Reading,
    pub seconds: Vec<Second>,
    pub response: Latency,
}

impl Staged {
    pub fn new(line: &str) -> Staged {
        Staged {
            config: config(line),
            phase: LivePhase::Opening,
            left_ns: 0,
            reading: Reading::default(),
            seconds: Vec::new(),
            response: Latency::default(),
        }
    }

    /// A second in which each of `values` (nanoseconds) was answered `times` times.
    pub fn second(&mut self, values: &[(u64, u64)], is_measured: bool) -> &mut Second {
        let mut latency = Latency::default();
        let mut count = 0;
        for (ns, times) in values {
            (0..*times).for_each(|_| latency.record(*ns));
            count += times;
        }
        if is_measured {
            self.response.add(&latency);
        }
        self.reading.sent += count;
        self.reading.received += count;
        let measured = if is_measured {
            latency
        } else {
            Latency::default()
        };
        self.seconds.push(Second {
            at_s: self.seconds.len() as f64 + 1.0,
            duration_s: 1.0,
            is_measured,
            sent: count,
            received: count,
            open: self.reading.open,
            response: Percentiles::of(&measured),
            response_histogram: measured.encode(),
            ..Second::default()
        });
        self.seconds.last_mut().expect("just pushed")
    }

    pub fn live(&self) -> Live<'_> {
        Live {
            config: &self.config,
            phase: self.phase,
            left_ns: self.left_ns,
            reading: self.reading,
            seconds: &self.seconds,
            response: &self.response,
        }
    }
}
