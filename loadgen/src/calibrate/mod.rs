//! Ceiling and noise floor of the generator on this host, against a server that does nothing.
//!
//! Owns the steps, the search for the ceiling and the form of the result. The null server is a
//! scripted one of `selftest` on another processor; the generator is this program as a child
//! process. What is found says how far results on this host are about the server, and from where
//! on they are about the generator.

pub mod text;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fanwire_reactor::host::monotonic_ns;
use serde::Serialize;

use crate::measure::environment::Environment;
use crate::measure::figures::Percentiles;
use crate::measure::hiccups::{Hiccups, NAP};
use crate::measure::latency::Latency;
use crate::search::{Bound, Limits, Outcome as Window, Search, Step};
use crate::selftest::scripts::parrot::Parrot;
use crate::selftest::server::{Entrance, Place, Server};
use crate::selftest::subject::{Outcome, Subject};

/// Name and version of the JSON layout.
pub const SCHEMA: &str = "fanwire-calibrate/1";
/// Clock reads that are timed together.
const CLOCK_READS: u64 = 200_000;
/// Connections of all steps but the round trip.
const CONNECTIONS: u32 = 100;
/// Rates between which the ceiling is looked for.
const RATE_MIN: f64 = 1_000.0;
const RATE_MAX: f64 = 1e8;
/// How exactly it is looked for, as a share.
const TOLERANCE: f64 = 0.10;
/// The rate at which pacing is measured.
pub const PACING_RATE: u64 = 50_000;

/// What to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The generator's processor, if it is to be pinned.
    pub generator_processor: Option<usize>,
    /// The null server's.
    pub server_processor: Option<usize>,
    /// Length of a measurement in milliseconds.
    pub window_ms: u64,
    /// Payload bytes.
    pub message_size_bytes: u64,
    /// Set by a signal: no further measurement begins.
    pub is_interrupted: Arc<AtomicBool>,
}

/// How late messages were sent at a rate.
#[derive(Clone, Debug, Serialize)]
pub struct Pacing {
    /// Messages per second.
    pub per_second: u64,
    /// With `--spin`.
    pub is_spinning: bool,
    /// Messages really sent per second.
    pub achieved_per_second: f64,
    /// How late.
    pub late_ns: Percentiles,
}

/// A highest rate.
#[derive(Clone, Debug, Serialize)]
pub struct Ceiling {
    /// With `--spin`.
    pub is_spinning: bool,
    /// Messages per second; 0 when none was good.
    pub per_second: u64,
    /// How late 1 % of the messages were at that rate, or later.
    pub late_p99_ns: u64,
    /// The lowest rate above it that was not good.
    pub first_bad_per_second: Option<u64>,
    /// Why it was not.
    pub reason: String,
}

/// As fast as it goes.
#[derive(Clone, Debug, Serialize)]
pub struct ClosedLoop {
    /// Replies per second.
    pub messages_per_second: f64,
    /// CPU share of the generator's thread.
    pub generator_cpu_share: Option<f64>,
    /// CPU share of the null server's thread.
    pub server_busy_share: Option<f64>,
    /// CPU time of the generator per message.
    pub generator_cpu_ns_per_message: Option<f64>,
    /// What kept it from being faster.
    pub limiter: String,
}

/// Everything found.
#[derive(Clone, Debug, Serialize)]
pub struct Calibration {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// The generator's processor.
    pub generator_processor: Option<usize>,
    /// The null server's.
    pub server_processor: Option<usize>,
    /// Payload bytes.
    pub message_size_bytes: u64,
    /// What one reading of the clock costs.
    pub clock_read_ns: f64,
    /// What a thread that only sleeps for a millisecond at a time overslept.
    pub hiccup_ns: Percentiles,
    /// The smallest round trip that was seen.
    pub round_trip_min_ns: u64,
    /// One message in flight on one connection, both ends spinning where there are two processors.
    pub round_trip_ns: Percentiles,
    /// As fast as it goes.
    pub closed_loop: ClosedLoop,
    /// At [`PACING_RATE`].
    pub pacing: Vec<Pacing>,
    /// The highest rates whose reports are not INVALID.
    pub ceilings: Vec<Ceiling>,
    /// What a person should know.
    pub sentences: Vec<String>,
    /// Host and command line.
    pub environment: Environment,
}

/// Does all steps; `show` is told what begins.
///
/// # Errors
/// What kept a step from being done.
pub fn run(plan: &Plan, mut show: impl FnMut(&str)) -> Result<Calibration, String> {
    let bench = Bench::new(plan)?;
    show("clock");
    let clock_read_ns = clock_read_ns();
    show("hiccups of an idle thread");
    let hiccups = Hiccups::start(NAP)?;
    std::thread::sleep(Duration::from_millis(plan.window_ms));
    let hiccup_ns = Percentiles::of(&hiccups.stop());
    show("smallest round trip");
    let trip = bench.measure("-c 1", bench.can_spin())?;
    let trip_histogram = trip.histogram("response")?;
    show("closed loop");
    let closed_loop = closed_loop(&bench.measure(&format!("-c {CONNECTIONS}"), false)?)?;
    let mut pacing = Vec::new();
    let mut ceilings = Vec::new();
    for is_spinning in [false, true] {
        let word = if is_spinning { "spinning" } else { "sleeping" };
        show(&format!("pacing, {word}"));
        pacing.push(bench.pace(PACING_RATE, is_spinning)?);
        show(&format!("ceiling, {word}"));
        ceilings.push(bench.find_ceiling(is_spinning, closed_loop.messages_per_second)?);
    }
    let mut calibration = Calibration {
        schema: SCHEMA,
        generator_processor: plan.generator_processor,
        server_processor: plan.server_processor,
        message_size_bytes: plan.message_size_bytes,
        clock_read_ns,
        hiccup_ns,
        round_trip_min_ns: trip_histogram.min(),
        round_trip_ns: Percentiles::of(&Latency::decode(
            trip.json
                .pointer("/histograms/response")
                .and_then(|value| value.as_str())
                .unwrap_or(""),
        )?),
        closed_loop,
        pacing,
        ceilings,
        sentences: Vec::new(),
        environment: Environment::read(plan.generator_processor.as_slice(), Some(true)),
    };
    calibration.sentences = text::sentences(&calibration);
    Ok(calibration)
}

fn clock_read_ns() -> f64 {
    let begun_ns = monotonic_ns();
    let mut last_ns = begun_ns;
    for _ in 0..CLOCK_READS {
        last_ns = std::hint::black_box(monotonic_ns());
    }
    last_ns.saturating_sub(begun_ns) as f64 / CLOCK_READS as f64
}

fn closed_loop(outcome: &Outcome) -> Result<ClosedLoop, String> {
    let limiter = outcome
        .json
        .pointer("/limiter")
        .and_then(|value| value.as_str());
    Ok(ClosedLoop {
        messages_per_second: outcome.number("/messages_per_second")?,
        generator_cpu_share: outcome.number("/generator/cpu_share").ok(),
        server_busy_share: outcome.number("/server/busy_share").ok(),
        generator_cpu_ns_per_message: outcome.number("/generator/cpu_ns_per_message").ok(),
        limiter: limiter.unwrap_or("unknown").to_owned(),
    })
}

/// Generator and null server, side by side.
struct Bench<'a> {
    plan: &'a Plan,
    subject: Subject,
}

impl<'a> Bench<'a> {
    fn new(plan: &'a Plan) -> Result<Bench<'a>, String> {
        let mut subject = Subject::this_program()?;
        if let Some(processor) = plan.generator_processor {
            subject.placement = vec!["--cpu".into(), processor.to_string()];
        }
        Ok(Bench { plan, subject })
    }

    /// Spinning takes a processor for each end.
    fn can_spin(&self) -> bool {
        self.plan.generator_processor.is_some()
            && self.plan.server_processor.is_some()
            && self.plan.generator_processor != self.plan.server_processor
    }

    /// One run of `echo` against a fresh null server. `spins`: both ends do not sleep.
    fn measure(&self, options: &str, spins: bool) -> Result<Outcome, String> {
        if self.plan.is_interrupted.load(Ordering::Relaxed) {
            return Err("interrupted before everything was measured".into());
        }
        let place = Place {
            processor: self.plan.server_processor,
            spin: spins,
            backlog: 1_024,
        };
        let server = Server::start(Parrot, Entrance::Everybody, place)?;
        let line = format!(
            "echo {} {options} -s {} -d {}ms -w 200ms --server-pid {}{}",
            server.url(""),
            self.plan.message_size_bytes,
            self.plan.window_ms,
            std::process::id(),
            if spins { " --spin" } else { "" }
        );
        let outcome = self.subject.run(&line);
        server.stop()?;
        outcome
    }

    /// One run at a rate. Only the generator spins: the null server's share of its processor then
    /// says whether it was the limit.
    fn at_rate(&self, per_second: u64, is_spinning: bool) -> Result<Outcome, String> {
        let spin = if is_spinning { " --spin" } else { "" };
        let options = format!("-c {CONNECTIONS} -R {per_second}{spin}");
        self.measure(&options, false)
    }

    fn pace(&self, per_second: u64, is_spinning: bool) -> Result<Pacing, String> {
        let outcome = self.at_rate(per_second, is_spinning)?;
        let late = outcome.json.pointer("/generator/late_ns").cloned();
        Ok(Pacing {
            per_second,
            is_spinning,
            achieved_per_second: outcome.number("/messages_per_second")?,
            late_ns: late
                .and_then(|value| serde_json::from_value(value).ok())
                .ok_or("the report has no /generator/late_ns")?,
        })
    }

    fn find_ceiling(&self, is_spinning: bool, closed_per_second: f64) -> Result<Ceiling, String> {
        let mut search = Search::new(Limits {
            min: RATE_MIN,
            max: RATE_MAX,
            // Half of what a closed loop reaches is where an open loop may be expected to go.
            start: (closed_per_second / 2.0).max(RATE_MIN),
            tolerance: TOLERANCE,
            confirm: 1,
            is_whole: true,
        });
        let mut late_p99_ns = 0;
        loop {
            let load = match search.next() {
                Step::Try { load, .. } => load,
                Step::Done(finding) => {
                    return Ok(Ceiling {
                        is_spinning,
                        per_second: finding.best.unwrap_or(0.0) as u64,
                        late_p99_ns,
                        first_bad_per_second: finding.upper.map(|load| load as u64),
                        reason: match finding.bound {
                            Bound::Server(reason) | Bound::Generator(reason) => reason,
                            Bound::Maximum => "more was not tried".into(),
                            Bound::Steps => "the search took all its steps".into(),
                        },
                    });
                }
            };
            let outcome = self.at_rate(load as u64, is_spinning)?;
            search.observe(if outcome.exit_code == Some(0) {
                late_p99_ns = outcome.count("/generator/late_ns/p99")?;
                Window::Met
            } else {
                Window::Failed(outcome.reasons().into_iter().next().unwrap_or_default())
            });
        }
    }
}
