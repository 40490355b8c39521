//! The one result that every report is written from.
//!
//! Owns turning sheets and samples into figures, and the JSON names (`docs` call this schema
//! `fanwire-loadgen/1`). Field names here are a public interface: adding is fine, renaming is not.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::churn::figures::Churn;
use crate::churn::rules::ChurnEvidence;
use crate::config::{Config, Mode};
use crate::connect::tls::TlsClient;
use crate::fanout::figures::{Fanout, deliveries, figures};
use crate::fanout::rules::FanoutEvidence;
use crate::measure::environment::Environment;
use crate::measure::environment::command_line::url_without_credentials;
use crate::measure::figures::{
    Connections, Generator, Latencies, Messages, Percentiles, Server, Settings, Word,
};
use crate::measure::host::{CpuUse, Memory, ThreadTime};
use crate::measure::series::Second;
use crate::measure::tally::{Latency, Sheet, Tally};
use crate::measure::verdict::{Evidence, Limiter, Verdict, exit_code, judge};
use crate::message::messages::Masking;
use crate::message::payload::Verify;
use crate::message::sizes::Sizes;
use crate::pace::plan::{Arrival, Window};
use crate::pace::rate::describe_stages;
use crate::quantity::format_count;
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
    /// Of a scenario: the loads it consists of. This report is then their sum.
    #[serde(default)]
    pub parts: Vec<Part>,
    /// Host and command line.
    #[serde(default)]
    pub environment: Environment,
}

/// One load of a scenario.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Part {
    /// Its name in the scenario file.
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
        let seconds = measured.measured_ns as f64 / 1e9;
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

/// The histograms that hold a value.
fn histograms(
    measured: &Measured,
    response: &Latency,
    fanout: Option<&Fanout>,
) -> BTreeMap<String, String> {
    let sheet = &measured.sheet;
    let mut named = vec![
        ("response", response),
        ("service", &sheet.service),
        ("late", &sheet.late),
        ("connect", &sheet.connect),
        ("tls", &sheet.tls),
        ("upgrade", &sheet.upgrade),
        ("ping", &sheet.ping),
        ("first_message", &sheet.first_message),
    ];
    if let Some(fanout) = fanout {
        named.extend(fanout.message.histograms());
    }
    if let Some(churn) = &sheet.churn {
        named.extend(churn.histograms());
    }
    named
        .into_iter()
        .filter(|(_, latency)| latency.count() > 0)
        .map(|(name, latency)| (name.to_owned(), latency.encode()))
        .collect()
}

fn latencies(
    config: &Config,
    measured: &Measured,
    response: &Latency,
    fanout: Option<&Fanout>,
) -> Latencies {
    let has_first_message = matches!(config.mode, Mode::Storm | Mode::Churn);
    let is_feed = fanout.is_some_and(|fanout| fanout.feed.is_some());
    // Nobody knows when a server handed a message to its socket.
    let service = if config.is_open_loop() || is_feed {
        &measured.sheet.service
    } else {
        response
    };
    Latencies {
        service: Percentiles::of(service),
        connect: Percentiles::of(&measured.sheet.connect),
        tls: config
            .target
            .is_secured
            .then(|| Percentiles::of(&measured.sheet.tls)),
        ping: config
            .ping_interval_ns
            .map(|_| Percentiles::of(&measured.sheet.ping)),
        upgrade: Percentiles::of(&measured.sheet.upgrade),
        first_message: has_first_message.then(|| Percentiles::of(&measured.sheet.first_message)),
        last: fanout.map(|fanout| fanout.message.last_ns.clone()),
        first: fanout
            .as_ref()
            .map(|fanout| fanout.message.first_ns.clone()),
        healthy: fanout.map(|_| Percentiles::of(response)),
        response: Percentiles::of(response),
    }
}

fn connections(config: &Config, tally: &Tally) -> Connections {
    Connections {
        asked: tally.asked,
        open: tally.open,
        upgraded: tally.upgraded,
        served: tally.served,
        alive: tally.alive,
        stalled: tally.stalled,
        pings_answered: tally.pings,
        pings_sent: tally.pings_sent,
        pongs: tally.pongs,
        pongs_missing: tally.pongs_missing,
        fairness: tally.fairness.index().filter(|_| config.mode == Mode::Echo),
        deflate_agreed: tally.deflate.clone(),
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

/// What was done in the measured window: replies, storm cycles, or deliveries.
fn done(measured: &Measured) -> u64 {
    match &measured.sheet.fanout {
        Some(_) => deliveries(&measured.sheet),
        None => measured.sheet.tally.received_measured,
    }
}

fn fanout_evidence(measured: &Measured, fanout: &Fanout) -> FanoutEvidence {
    let mut evidence = FanoutEvidence {
        foreign: fanout.foreign.clone(),
        feed: fanout.feed.clone(),
        has_notices: fanout.settings.dialect.starts_with("fanwire"),
        unconfirmed: fanout.unconfirmed,
        unanswered: fanout.unanswered,
        refused: fanout.refused,
        unsent: measured.sheet.tally.unsent,
        unsolicited: measured.sheet.tally.unsolicited,
        ..FanoutEvidence::default()
    };
    for class in &fanout.classes {
        match class.class.as_ref() {
            "slow" | "stalled" => evidence.lagging.add(&class.ledger),
            _ => evidence.healthy.add(&class.ledger),
        }
    }
    evidence
}

fn churn_evidence(config: &Config, measured: &Measured) -> Option<ChurnEvidence> {
    let (options, sheet) = (config.churn?, measured.sheet.churn.as_ref()?);
    let tally = &measured.sheet.tally;
    let seconds = measured.measured_ns as f64 / 1e9;
    Some(ChurnEvidence {
        figures: Churn::of(&options, sheet, config.connections, seconds),
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
    })
}

fn evidence(
    config: &Config,
    measured: &Measured,
    per_second: f64,
    response: &Latency,
    fanout: Option<&Fanout>,
) -> Evidence {
    let tally = &measured.sheet.tally;
    // A server may close readers that do not read: that is no connection lost.
    let given_up: u64 = fanout.map_or(0, |fanout| {
        let lagging = fanout
            .classes
            .iter()
            .filter(|class| matches!(class.class.as_ref(), "slow" | "stalled"));
        lagging.map(|class| class.ended).sum()
    });
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
        alive: tally.alive + given_up,
        stalled: tally.stalled,
        sent: tally.sent,
        received: fanout.map_or(tally.received, |fanout| fanout.ledger.delivered),
        lost: tally.lost,
        in_flight: tally.in_flight,
        unsent: tally.unsent,
        dropped: tally.dropped,
        duplicates: tally.duplicates,
        reordered: tally.reordered,
        corrupt: tally.corrupt,
        unsolicited: tally.unsolicited,
        pongs_missing: tally.pongs_missing,
        drain_ns: config.drain_ms * 1_000_000,
        // Turns of clients without a connection are counted apart: the rate is not owed.
        target_per_second: due_per_second(config, measured).filter(|_| config.mode != Mode::Churn),
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
        fanout: fanout.map(|fanout| fanout_evidence(measured, fanout)),
        churn: churn_evidence(config, measured),
    }
}

/// The rate that was to be sent. Chance decides how many messages random arrivals bring, so there it
/// is the rate of those that were due, and not the one asked for.
fn due_per_second(config: &Config, measured: &Measured) -> Option<f64> {
    let rate = config.rate?;
    let is_random = config.mode == Mode::Echo && config.pace.arrival == Arrival::Poisson;
    let seconds = measured.measured_ns as f64 / 1e9;
    Some(if is_random && seconds > 0.0 {
        measured.sheet.tally.due_measured as f64 / seconds
    } else {
        rate
    })
}

/// Of a fan-out: copies, with messages only in `sent`.
fn copies(measured: &Measured, fanout: &Fanout) -> Messages {
    let ledger = &fanout.ledger;
    Messages {
        sent: fanout.published,
        received: ledger.delivered,
        lost: u64::try_from(ledger.missing).unwrap_or(0),
        in_flight: ledger.in_flight,
        unsent: measured.sheet.tally.unsent,
        duplicates: ledger.duplicates,
        reordered: ledger.reordered,
        corrupt: ledger.torn,
        unsolicited: ledger.foreign + ledger.strangers,
        dropped: measured.sheet.tally.dropped,
        ignored: measured.sheet.tally.ignored,
        adds_up: ledger.adds_up,
        payload_bytes_received: fanout.payload_bytes,
    }
}

fn messages(measured: &Measured, fanout: Option<&Fanout>) -> Messages {
    if let Some(fanout) = fanout {
        return copies(measured, fanout);
    }
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
        dropped: tally.dropped,
        ignored: tally.ignored,
        adds_up: tally.identity_holds(),
        payload_bytes_received: tally.payload_bytes_received,
    }
}

/// Growth from one sample to the next, shared out.
fn per_connection(
    memory: Option<[Memory; 2]>,
    connections: u64,
    read: fn(&Memory) -> u64,
) -> Option<f64> {
    let [before, open] = memory?;
    (connections > 0).then(|| (read(&open) as f64 - read(&before) as f64) / connections as f64)
}

fn server(config: &Config, measured: &Measured) -> Option<Server> {
    let pid = config.server_pid?;
    let cpu = measured.server_cpu;
    let done = done(measured);
    let memory = measured.server_memory;
    let per_connection = |read| per_connection(memory, measured.open_at_sample, read);
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
    let grown = |read| per_connection(measured.own_memory, measured.open_at_sample, read);
    Generator {
        rss_bytes_per_connection: grown(|memory| memory.resident),
        anonymous_bytes_per_connection: grown(|memory| memory.resident_anonymous),
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
        further_ports: config.further_ports.clone(),
        ping_interval_ms: config.ping_interval_ns.map(|ns| ns as f64 / 1e6),
        tls_server_name: config
            .tls
            .as_ref()
            .map(|client| client.server_name().to_owned()),
        tls_is_verified: config.tls.as_ref().map(|client| !client.is_insecure()),
        connections: config.connections,
        threads: config.threads,
        message_size_bytes: config.message_size,
        message_kind: match config.kind {
            MessageKind::Text => "text",
            MessageKind::Binary => "binary",
        }
        .into(),
        rate_per_second: config.rate,
        in_flight: config.in_flight,
        cpus: config.cpus.clone(),
        sources: config.sources.len(),
        verify: config.verify.as_str().into(),
        spin: config.spin,
        backend: format!("{:?}", config.backend).to_ascii_lowercase(),
        deflate_offered: config.deflate.is_some(),
        connect_rate_per_second: config.connect_rate,
        connect_timeout_ms: config.connect_timeout_ms,
        drain_ms: config.drain_ms,
        seed: config.seed,
        address: config.address.to_string(),
        version: env!("CARGO_PKG_VERSION").into(),
        is_loopback: config.address.ip().is_loopback(),
        message_sizes: match &config.message.given {
            Some(_) => "given".into(),
            None => config
                .message
                .sizes
                .as_ref()
                .map_or_else(String::new, Sizes::describe),
        },
        arrival: config.pace.arrival.describe(),
        catch_up: config.pace.catch_up.describe(),
        stages: describe_stages(&config.pace.stages),
        messages_max: config.pace.messages_max,
        fragment_size_bytes: config.message.fragment_size_bytes,
        masking: config.message.masking.as_str().into(),
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
    for (agreed, count) in &measured.sheet.tls_agreed {
        notes.push(format!(
            "TLS handshakes: {} × {agreed}, each a whole one (no resumption)",
            format_count(*count)
        ));
    }
    if config.tls.as_ref().is_some_and(TlsClient::is_insecure) {
        notes.push("the server's certificate was not verified (--insecure)".into());
    }
    if matches!(config.mode, Mode::Echo | Mode::Storm | Mode::Churn) {
        message_notes(config, &measured.sheet.tally, &mut notes);
    }
    if config.server_pid.is_some() && measured.server_cpu.is_none() && config.mode != Mode::Idle {
        notes.push("the server's CPU time could not be read: gone, or not ours to read".into());
    }
    notes
}

/// Remarks on how replies were recognised, and on what is unusual about the frames.
fn message_notes(config: &Config, tally: &Tally, notes: &mut Vec<String>) {
    let message = &config.message;
    if matches!(config.verify, Verify::None | Verify::Length) {
        notes.push("replies were not checked byte by byte (--verify)".into());
    }
    if message.is_matched_in_order(config.verify) {
        notes.push(
            "replies were matched in order of sending, as they do not say which message they answer"
                .into(),
        );
    }
    if tally.ignored > 0 {
        notes.push(format!(
            "{} received messages were no replies (--first-message, --ignore, --reply-contains)",
            format_count(tally.ignored)
        ));
    }
    match message.masking {
        Masking::Fresh => {}
        Masking::Fixed => notes.push(
            "all frames of a thread had the same masking key, which RFC 6455 5.3 forbids (--mask)"
                .into(),
        ),
        Masking::Zero => notes.push(
            "the masking key was zero, which RFC 6455 5.3 forbids and which spares the server the \
             unmasking (--mask)"
                .into(),
        ),
    }
    for (agreed, count) in &tally.deflate {
        let connections = format_count(*count);
        notes.push(format!(
            "permessage-deflate on {connections} connections: {agreed}"
        ));
    }
    if message.fragment_size_bytes.is_some() && config.deflate.is_some() {
        notes.push("messages in several fragments were not compressed (--fragment)".into());
    }
}
