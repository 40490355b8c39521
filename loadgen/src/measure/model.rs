//! The one result that every report is written from.
//!
//! Owns the document and its JSON names (`docs` call this schema `fanwire-loadgen/1`), and what was
//! measured, from which it is made: each part of it by a module of its own. Field names here are a
//! public interface: adding is fine, renaming is not.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::churn::figures::Churn;
use crate::config::{Config, Mode};
use crate::fanout::figures::{Fanout, deliveries, figures};
use crate::measure::environment::Environment;
use crate::measure::environment::command_line::url_without_credentials;
use crate::measure::figures::{
    Connections, Generator, Latencies, Messages, Server, Settings, Word,
};
use crate::measure::host::{CpuUse, Memory, Segments, Switches, ThreadTime};
use crate::measure::latency::Latency;
use crate::measure::series::Second;
use crate::measure::tally::Sheet;
use crate::measure::verdict::{Limiter, Verdict, exit_code, judge};
use crate::pace::plan::Window;

mod counts;
mod evidence;
mod notes;
mod resources;
mod settings;

use counts::{connections, histograms, latencies, messages};
use evidence::evidence;
use notes::notes;
use resources::{generator, server};
use settings::settings;

/// Name and version of the JSON layout.
pub const SCHEMA: &str = "fanwire-loadgen/1";

/// Everything measured in a run, before it is judged.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// All threads' sheets added up.
    pub sheet: Sheet,
    /// Length of the measured window, shorter than asked when interrupted.
    pub measured_ns: u64,
    /// Times of each generator thread in the window.
    pub generator_times: Vec<ThreadTime>,
    /// Of that, what each thread polled in vain (`--spin`), in nanoseconds.
    pub generator_spun_ns: Vec<u64>,
    /// Times that a thread's completion queue overflowed in the window.
    pub completion_overflows: u64,
    /// How much longer than asked for an idle thread of this host slept in the window.
    pub hiccups: Latency,
    /// TCP segments of this host in the window.
    pub segments: Option<Segments>,
    /// Context switches of the server in the window.
    pub server_switches: Option<Switches>,
    /// The server's CPU time in the window.
    pub server_cpu: Option<CpuUse>,
    /// The server's memory before the first connection and with all of them open.
    pub server_memory: Option<[Memory; 2]>,
    /// Our own memory at the same two moments.
    pub own_memory: Option<[Memory; 2]>,
    /// Connections open when the second memory sample was taken.
    pub open_at_sample: u64,
    /// Which kernel interface each thread used, and why.
    pub backends: Vec<String>,
    /// The kernel's clock source.
    pub clock_source: Option<String>,
    /// Stopped by a signal.
    pub is_interrupted: bool,
    /// Remarks of the run itself, such as limits that were raised or cut.
    pub notes: Vec<String>,
    /// The window, once it was announced; shorter than asked when interrupted.
    pub window: Option<Window>,
    /// Of a warm-up that ends when the load is steady: whether it was. `None` for one of a length
    /// that was asked for.
    pub is_warmup_steady: Option<bool>,
    /// Second by second.
    pub series: Vec<Second>,
    /// Host and command line.
    pub environment: Environment,
}

impl Measured {
    /// Length of the measured window in seconds.
    pub fn seconds(&self) -> f64 {
        self.measured_ns as f64 / 1e9
    }
}

/// A judged run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: Word,
    /// The verdict.
    pub verdict: Verdict,
    /// Why it is not VALID.
    pub verdict_reasons: Vec<String>,
    /// Remarks that do not touch the verdict.
    pub notes: Vec<String>,
    /// The command.
    pub mode: Word,
    /// `open`, `closed`, `server` (the server paces a feed) or `none`.
    #[serde(rename = "loop")]
    pub loop_model: Word,
    /// The URL.
    pub url: String,
    /// Measured seconds.
    pub duration_s: f64,
    /// Seconds before them.
    pub warmup_s: f64,
    /// Of a warm-up that ends when the load is steady: whether it was. Absent from one of a length
    /// that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_warmup_steady: Option<bool>,
    /// Replies per measured second.
    pub messages_per_second: f64,
    /// Asked rate.
    pub target_per_second: Option<f64>,
    /// Fan-out: copies that healthy subscribers got, of those they were entitled to, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivered_share: Option<f64>,
    /// What kept the rate from being higher.
    pub limiter: Limiter,
    /// Message counters.
    pub messages: Messages,
    /// Latencies.
    pub latency_ns: Latencies,
    /// Connection counters.
    pub connections: Connections,
    /// Failures by kind.
    pub errors: BTreeMap<String, u64>,
    /// What the first failure of each kind said.
    pub error_examples: BTreeMap<String, String>,
    /// Status codes of close frames that servers sent on their own.
    pub close_codes: BTreeMap<u16, u64>,
    /// The server's process, with `--server-pid`.
    pub server: Option<Server>,
    /// This program.
    pub generator: Generator,
    /// What was asked for.
    pub config: Settings,
    /// What only a fan-out reports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fanout: Option<Fanout>,
    /// What only a churn reports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub churn: Option<Churn>,
    /// Stopped by a signal.
    pub interrupted: bool,
    /// Exit code of the program.
    pub exit_code: u8,
    /// Second by second, warm-up included.
    #[serde(default)]
    pub series: Vec<Second>,
    /// Whole histograms in nanoseconds by name, as base64 of HdrHistogram's V2 encoding with
    /// deflate: what percentiles beyond the printed ones, and merging, are read from.
    #[serde(default)]
    pub histograms: BTreeMap<String, String>,
    /// Thresholds and whether they were met.
    #[serde(default)]
    pub thresholds: Vec<ThresholdResult>,
    /// Of a scenario the loads it consists of, of a load made by several agents their shares. This
    /// report is then their sum.
    #[serde(default)]
    pub parts: Vec<Part>,
    /// Host and command line.
    #[serde(default)]
    pub environment: Environment,
}

/// One load of a scenario, or the share of one agent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Part {
    /// Its name in the scenario file; `agent 1 (HOST:PORT)`.
    pub name: String,
    /// The stage it belongs to; empty when the scenario has none.
    pub stage: String,
    /// What it measured.
    pub report: Report,
}

/// A threshold after the run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ThresholdResult {
    /// As it was written.
    pub expression: String,
    /// The value it was held against, in the unit of the metric (ns, 1/s, shares); `None` when
    /// the run did not measure it.
    pub measured: Option<f64>,
    /// Whether it was met. One that was not measured is not met.
    pub is_met: bool,
    /// The measured value as a person reads it.
    pub text: String,
}

impl Report {
    /// Judges a run.
    pub fn new(config: &Config, measured: &Measured) -> Report {
        let tally = &measured.sheet.tally;
        let seconds = measured.seconds();
        let done = done(measured);
        let fanout = figures(config, measured);
        let per_second = match &fanout {
            // The rate that was asked for is that of messages; each has many deliveries.
            Some(fanout) if fanout.feed.is_none() => fanout.published_per_second,
            Some(fanout) => fanout.deliveries_per_second,
            None if seconds > 0.0 => (done - opening_replies(config, measured)) as f64 / seconds,
            None => 0.0,
        };
        let response = measured.sheet.response();
        let evidence = evidence(config, measured, per_second, &response, fanout.as_ref());
        let histograms = histograms(measured, &response, fanout.as_ref());
        let judgement = judge(&evidence);
        Report {
            schema: SCHEMA.into(),
            verdict: judgement.verdict,
            verdict_reasons: judgement
                .reasons
                .into_iter()
                .map(|(_, text)| text)
                .collect(),
            notes: notes(config, measured),
            mode: config.mode.as_str().into(),
            loop_model: match (config.mode, config.is_open_loop()) {
                (Mode::Idle, _) | (Mode::Churn, false) => "none",
                (_, true) => "open",
                (Mode::Fanout, false) => "server",
                (_, false) => "closed",
            }
            .into(),
            url: url_without_credentials(&config.target.url),
            duration_s: seconds,
            warmup_s: warmup_ns(config, measured) as f64 / 1e9,
            is_warmup_steady: measured.is_warmup_steady,
            messages_per_second: per_second,
            target_per_second: config.rate,
            delivered_share: fanout.as_ref().and_then(Fanout::delivered_share),
            limiter: judgement.limiter,
            messages: messages(measured, fanout.as_ref()),
            latency_ns: latencies(config, measured, &response, fanout.as_ref()),
            connections: connections(config, tally),
            errors: tally
                .failures
                .iter()
                .map(|(kind, failure)| (kind.clone(), failure.count))
                .collect(),
            error_examples: tally
                .failures
                .iter()
                .map(|(kind, failure)| (kind.clone(), failure.example.clone()))
                .collect(),
            close_codes: tally.close_codes.clone(),
            server: server(config, measured),
            generator: generator(measured, done),
            config: settings(config),
            fanout,
            churn: evidence.churn.as_ref().map(|churn| churn.figures.clone()),
            interrupted: measured.is_interrupted,
            exit_code: exit_code(&evidence, judgement.verdict),
            series: measured.series.clone(),
            histograms,
            thresholds: Vec::new(),
            parts: Vec::new(),
            environment: measured.environment.clone(),
        }
    }
}

/// How long the warm-up was, or would have been.
fn warmup_ns(config: &Config, measured: &Measured) -> u64 {
    measured
        .window
        .map_or(config.warmup.longest_ns(), |window| {
            window.measure_from_ns.saturating_sub(window.start_ns)
        })
}

/// Of a churn with a schedule: replies to the first messages of connections, which the schedule
/// did not ask for.
fn opening_replies(config: &Config, measured: &Measured) -> u64 {
    let is_extra = config.mode == Mode::Churn && config.is_open_loop();
    let first_messages = measured.sheet.first_message.count();
    first_messages.min(if is_extra { done(measured) } else { 0 })
}

/// What was done in the measured window: replies, storm cycles, or deliveries.
fn done(measured: &Measured) -> u64 {
    match &measured.sheet.fanout {
        Some(_) => deliveries(&measured.sheet),
        None => measured.sheet.tally.received_measured,
    }
}
