//! The one result that every report is written from.
//!
//! Owns turning sheets and samples into figures, and the JSON names (`docs` call this schema
//! `fanwire-loadgen/1`). Field names here are a public interface: adding is fine, renaming is not.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::config::{Config, Mode};
use crate::host::{CpuUse, Memory, ThreadTime};
use crate::payload::Verify;
use crate::tally::{Latency, Sheet};
use crate::verdict::{Evidence, Limiter, Verdict, exit_code, judge};
use fanwire_protocol::MessageKind;

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
    /// The server's CPU time in the window.
    pub server_cpu: Option<CpuUse>,
    /// The server's memory before the first connection and with all of them open.
    pub server_memory: Option<[Memory; 2]>,
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
}

/// Percentiles of one latency, in nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Percentiles {
    /// Values counted.
    pub count: u64,
    /// Arithmetic mean.
    pub mean: f64,
    /// Median.
    pub p50: u64,
    /// 90 % are not above.
    pub p90: u64,
    /// 99 %.
    pub p99: u64,
    /// 99.9 %.
    pub p999: u64,
    /// 99.99 %.
    pub p9999: u64,
    /// Largest.
    pub max: u64,
    /// Percentiles with fewer than ten values above them: chance decides them.
    pub unreliable: Vec<&'static str>,
}

/// A percentile needs this many values above it to mean something.
const ABOVE_MIN: f64 = 10.0;

impl Percentiles {
    /// Reads a histogram.
    pub fn of(latency: &Latency) -> Percentiles {
        let count = latency.count();
        let unreliable = [
            ("p50", 0.5),
            ("p90", 0.9),
            ("p99", 0.99),
            ("p999", 0.999),
            ("p9999", 0.9999),
        ]
        .into_iter()
        .filter(|(_, quantile)| (count as f64) * (1.0 - quantile) < ABOVE_MIN - 1e-6)
        .map(|(name, _)| name)
        .collect();
        Percentiles {
            count,
            mean: latency.mean(),
            p50: latency.quantile(0.5),
            p90: latency.quantile(0.9),
            p99: latency.quantile(0.99),
            p999: latency.quantile(0.999),
            p9999: latency.quantile(0.9999),
            max: latency.max(),
            unreliable,
        }
    }
}

/// Latencies by what they measure.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Latencies {
    /// From when a message (storm: a connection) was due to its reply.
    pub response: Percentiles,
    /// From when it was actually sent (storm: begun) to its reply. Same in a closed loop.
    pub service: Percentiles,
    /// TCP connect.
    pub connect: Percentiles,
    /// Opening handshake.
    pub upgrade: Percentiles,
    /// Storm: first message to its reply.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_message: Option<Percentiles>,
}

/// Message counters of the whole run, warm-up included.
#[derive(Clone, Debug, Default, Serialize)]
#[expect(missing_docs, reason = "as in tally::Tally")]
pub struct Messages {
    pub sent: u64,
    pub received: u64,
    pub lost: u64,
    pub in_flight: u64,
    pub unsent: u64,
    pub duplicates: u64,
    pub reordered: u64,
    pub corrupt: u64,
    pub unsolicited: u64,
    /// sent = received + lost + in_flight
    pub adds_up: bool,
    pub payload_bytes_received: u64,
}

/// Connection counters of the whole run.
#[derive(Clone, Debug, Default, Serialize)]
#[expect(missing_docs, reason = "as in tally::Tally")]
pub struct Connections {
    pub asked: u64,
    pub open: u64,
    pub upgraded: u64,
    pub served: u64,
    pub alive: u64,
    pub stalled: u64,
    pub pings_answered: u64,
}

/// The server's process.
#[derive(Clone, Debug, Serialize)]
pub struct Server {
    /// Its number.
    pub pid: u32,
    /// CPU time of all its threads per reply (storm: per connection) in the window.
    pub cpu_ns_per_message: Option<f64>,
    /// Replies per second of server CPU.
    pub messages_per_cpu_second: Option<f64>,
    /// CPU share of its busiest thread, 0 to 1.
    pub busy_share: Option<f64>,
    /// Share of the time in which that thread was ready but had to wait for a CPU.
    pub wait_share: Option<f64>,
    /// CPUs it used: 1.5 is one and a half.
    pub cpus_used: Option<f64>,
    /// Resident bytes before the first connection.
    pub rss_before_bytes: Option<u64>,
    /// Resident bytes with all connections open.
    pub rss_open_bytes: Option<u64>,
    /// Growth of resident memory per connection.
    pub rss_bytes_per_connection: Option<f64>,
    /// Growth of anonymous resident memory (heap and stacks) per connection.
    pub anonymous_bytes_per_connection: Option<f64>,
}

/// This program.
#[derive(Clone, Debug, Serialize)]
pub struct Generator {
    /// CPU share of the busiest thread, 0 to 1.
    pub cpu_share: Option<f64>,
    /// Largest share of the time in which a thread was ready but had to wait for a CPU.
    pub wait_share: Option<f64>,
    /// CPU share of every thread.
    pub thread_cpu_shares: Vec<f64>,
    /// CPU time per reply.
    pub cpu_ns_per_message: Option<f64>,
    /// How late messages were sent (open loop).
    pub late_ns: Percentiles,
    /// Kernel interface of every thread, and why.
    pub backends: Vec<String>,
    /// The kernel's clock source.
    pub clock_source: Option<String>,
}

/// What was asked for, so that a report can be repeated.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "as in config::Config")]
pub struct Settings {
    pub connections: u32,
    pub threads: usize,
    pub message_size_bytes: usize,
    pub message_kind: &'static str,
    pub rate_per_second: Option<f64>,
    pub in_flight: u32,
    pub cpus: Vec<usize>,
    pub sources: usize,
    pub verify: &'static str,
    pub spin: bool,
    pub backend: String,
    pub deflate_offered: bool,
    pub connect_rate_per_second: Option<f64>,
    pub connect_timeout_ms: u64,
    pub drain_ms: u64,
    pub seed: u64,
    pub address: String,
    pub version: &'static str,
    pub is_loopback: bool,
}

/// A judged run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// The verdict.
    pub verdict: Verdict,
    /// Why it is not VALID.
    pub verdict_reasons: Vec<String>,
    /// Remarks that do not touch the verdict.
    pub notes: Vec<String>,
    /// The command.
    pub mode: &'static str,
    /// `open`, `closed` or `none`.
    #[serde(rename = "loop")]
    pub loop_model: &'static str,
    /// The URL.
    pub url: String,
    /// Measured seconds.
    pub duration_s: f64,
    /// Seconds before them.
    pub warmup_s: f64,
    /// Replies per measured second.
    pub messages_per_second: f64,
    /// Asked rate.
    pub target_per_second: Option<f64>,
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
    /// Stopped by a signal.
    pub interrupted: bool,
    /// Exit code of the program.
    pub exit_code: u8,
}

impl Report {
    /// Judges a run.
    pub fn new(config: &Config, measured: &Measured) -> Report {
        let tally = &measured.sheet.tally;
        let seconds = measured.measured_ns as f64 / 1e9;
        let done = tally.received_measured;
        let per_second = if seconds > 0.0 {
            done as f64 / seconds
        } else {
            0.0
        };
        let response = measured.sheet.response();
        let service = if config.is_open_loop() {
            &measured.sheet.service
        } else {
            &response
        };
        let evidence = evidence(config, measured, per_second, &response);
        let judgement = judge(&evidence);
        let is_storm = config.mode == Mode::Storm;
        Report {
            schema: SCHEMA,
            verdict: judgement.verdict,
            verdict_reasons: judgement
                .reasons
                .into_iter()
                .map(|(_, text)| text)
                .collect(),
            notes: notes(config, measured),
            mode: config.mode.as_str(),
            loop_model: match (config.mode, config.is_open_loop()) {
                (Mode::Idle, _) => "none",
                (_, true) => "open",
                (_, false) => "closed",
            },
            url: config.target.url.clone(),
            duration_s: seconds,
            warmup_s: config.warmup_ns as f64 / 1e9,
            messages_per_second: per_second,
            target_per_second: config.rate,
            limiter: judgement.limiter,
            messages: messages(measured),
            latency_ns: Latencies {
                service: Percentiles::of(service),
                connect: Percentiles::of(&measured.sheet.connect),
                upgrade: Percentiles::of(&measured.sheet.upgrade),
                first_message: is_storm.then(|| Percentiles::of(&measured.sheet.first_message)),
                response: Percentiles::of(&response),
            },
            connections: Connections {
                asked: tally.asked,
                open: tally.open,
                upgraded: tally.upgraded,
                served: tally.served,
                alive: tally.alive,
                stalled: tally.stalled,
                pings_answered: tally.pings,
            },
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
            interrupted: measured.is_interrupted,
            exit_code: exit_code(&evidence, judgement.verdict),
        }
    }
}

fn share(part_ns: u64, whole_ns: u64) -> Option<f64> {
    (whole_ns > 0).then(|| part_ns as f64 / whole_ns as f64)
}

fn largest_share(measured: &Measured, read: fn(&ThreadTime) -> u64) -> Option<f64> {
    share(
        measured.generator_times.iter().map(read).max()?,
        measured.measured_ns,
    )
}

fn evidence(config: &Config, measured: &Measured, per_second: f64, response: &Latency) -> Evidence {
    let tally = &measured.sheet.tally;
    let halves = &measured.sheet.response_halves;
    let is_storm = config.mode == Mode::Storm;
    let concurrency = f64::from(config.connections) * f64::from(config.in_flight);
    let is_closed_echo = config.mode == Mode::Echo && !config.is_open_loop();
    Evidence {
        mode: config.mode,
        is_open_loop: config.is_open_loop(),
        spin: config.spin,
        asked: tally.asked,
        upgraded: if is_storm {
            tally.cycles
        } else {
            tally.upgraded
        },
        alive: tally.alive,
        stalled: tally.stalled,
        sent: tally.sent,
        received: tally.received,
        lost: tally.lost,
        in_flight: tally.in_flight,
        unsent: tally.unsent,
        duplicates: tally.duplicates,
        reordered: tally.reordered,
        corrupt: tally.corrupt,
        unsolicited: tally.unsolicited,
        drain_ns: config.drain_ms * 1_000_000,
        target_per_second: config.rate,
        achieved_per_second: per_second,
        generator_cpu_share: largest_share(measured, |time| time.run_ns),
        generator_wait_share: largest_share(measured, |time| time.wait_ns),
        server_busy_share: measured
            .server_cpu
            .and_then(|cpu| share(cpu.busiest.run_ns, measured.measured_ns)),
        server_wait_share: measured
            .server_cpu
            .and_then(|cpu| share(cpu.busiest.wait_ns, measured.measured_ns)),
        late_p99_ns: measured.sheet.late.quantile(0.99),
        response_p50_ns: response.quantile(0.5),
        halves: [
            (halves[0].count(), halves[0].quantile(0.5)),
            (halves[1].count(), halves[1].quantile(0.5)),
        ],
        little_residual: (is_closed_echo && response.count() > 0)
            .then(|| (concurrency - per_second * response.mean() / 1e9).abs() / concurrency),
        clock_source: measured.clock_source.clone(),
        is_interrupted: measured.is_interrupted,
    }
}

fn messages(measured: &Measured) -> Messages {
    let tally = &measured.sheet.tally;
    Messages {
        sent: tally.sent,
        received: tally.received,
        lost: tally.lost,
        in_flight: tally.in_flight,
        unsent: tally.unsent,
        duplicates: tally.duplicates,
        reordered: tally.reordered,
        corrupt: tally.corrupt,
        unsolicited: tally.unsolicited,
        adds_up: tally.identity_holds(),
        payload_bytes_received: tally.payload_bytes_received,
    }
}

fn server(config: &Config, measured: &Measured) -> Option<Server> {
    let pid = config.server_pid?;
    let cpu = measured.server_cpu;
    let done = measured.sheet.tally.received_measured;
    let memory = measured.server_memory;
    let per_connection = |read: fn(&Memory) -> u64| {
        let [before, open] = memory?;
        let connections = measured.open_at_sample;
        (connections > 0).then(|| (read(&open) as f64 - read(&before) as f64) / connections as f64)
    };
    Some(Server {
        pid,
        cpu_ns_per_message: cpu
            .filter(|_| done > 0)
            .map(|cpu| cpu.total_ns as f64 / done as f64),
        messages_per_cpu_second: cpu
            .filter(|cpu| cpu.total_ns > 0)
            .map(|cpu| done as f64 * 1e9 / cpu.total_ns as f64),
        busy_share: cpu.and_then(|cpu| share(cpu.busiest.run_ns, measured.measured_ns)),
        wait_share: cpu.and_then(|cpu| share(cpu.busiest.wait_ns, measured.measured_ns)),
        cpus_used: cpu.and_then(|cpu| share(cpu.total_ns, measured.measured_ns)),
        rss_before_bytes: memory.map(|[before, _]| before.resident),
        rss_open_bytes: memory.map(|[_, open]| open.resident),
        rss_bytes_per_connection: per_connection(|memory| memory.resident),
        anonymous_bytes_per_connection: per_connection(|memory| memory.resident_anonymous),
    })
}

fn generator(measured: &Measured, done: u64) -> Generator {
    let shares: Vec<f64> = measured
        .generator_times
        .iter()
        .filter_map(|time| share(time.run_ns, measured.measured_ns))
        .collect();
    let total_ns: u64 = measured
        .generator_times
        .iter()
        .map(|time| time.run_ns)
        .sum();
    Generator {
        cpu_share: shares.iter().copied().reduce(f64::max),
        wait_share: largest_share(measured, |time| time.wait_ns),
        thread_cpu_shares: shares,
        cpu_ns_per_message: (done > 0 && total_ns > 0).then(|| total_ns as f64 / done as f64),
        late_ns: Percentiles::of(&measured.sheet.late),
        backends: measured.backends.clone(),
        clock_source: measured.clock_source.clone(),
    }
}

fn settings(config: &Config) -> Settings {
    Settings {
        connections: config.connections,
        threads: config.threads,
        message_size_bytes: config.message_size,
        message_kind: match config.kind {
            MessageKind::Text => "text",
            MessageKind::Binary => "binary",
        },
        rate_per_second: config.rate,
        in_flight: config.in_flight,
        cpus: config.cpus.clone(),
        sources: config.sources.len(),
        verify: match config.verify {
            Verify::None => "none",
            Verify::Length => "len",
            Verify::Full => "full",
        },
        spin: config.spin,
        backend: format!("{:?}", config.backend).to_ascii_lowercase(),
        deflate_offered: config.deflate,
        connect_rate_per_second: config.connect_rate,
        connect_timeout_ms: config.connect_timeout_ms,
        drain_ms: config.drain_ms,
        seed: config.seed,
        address: config.address.to_string(),
        version: env!("CARGO_PKG_VERSION"),
        is_loopback: config.address.ip().is_loopback(),
    }
}

fn notes(config: &Config, measured: &Measured) -> Vec<String> {
    let mut notes = measured.notes.clone();
    if config.address.ip().is_loopback() {
        notes.push(
            "shared host: the generator takes CPU time and cache from the server, and there is no \
             network in between"
                .into(),
        );
    }
    if config.mode != Mode::Idle && config.verify != Verify::Full {
        notes.push("replies were not checked byte by byte (--verify)".into());
    }
    if config.server_pid.is_some() && measured.server_cpu.is_none() && config.mode != Mode::Idle {
        notes.push("the server's CPU time could not be read: gone, or not ours to read".into());
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_without_samples_above_them_are_marked() {
        let mut latency = Latency::default();
        for value in 0..1_000 {
            latency.record(value * 1_000 + 1);
        }
        let percentiles = Percentiles::of(&latency);
        assert_eq!(
            percentiles.unreliable,
            ["p999", "p9999"],
            "10 values lie above p99"
        );
        assert_eq!(percentiles.count, 1_000);
        assert!(percentiles.p50.abs_diff(500_000) < 2_000, "{percentiles:?}");
        assert_eq!(Percentiles::of(&Latency::default()).unreliable.len(), 5);
    }
}
