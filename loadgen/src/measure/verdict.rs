//! Whether a measurement can be believed. A pure function from evidence to verdict.
//!
//! Owns the thresholds and which rules are asked about which job; the rules have a module for each
//! thing that they are about. It prints nothing and measures nothing, so that every rule has a test
//! with plain numbers.

use serde::{Deserialize, Serialize};

use crate::churn::rules as churn_rules;
use crate::config::Mode;
use crate::fanout::rules as fanout_rules;
use crate::quantity::format_count;

mod evidence;
mod generator;
mod measurement;
mod replies;

pub use evidence::Evidence;
use generator::{generator_rules, interference_rules};
use measurement::measurement_rules;
use replies::{connection_rules, integrity_rules};

/// The first word of every report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Verdict {
    /// Nothing speaks against the numbers.
    Valid,
    /// Read the reasons before quoting the numbers.
    Suspect,
    /// Do not quote the numbers.
    Invalid,
}

impl Verdict {
    /// The word itself.
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Valid => "VALID",
            Verdict::Suspect => "SUSPECT",
            Verdict::Invalid => "INVALID",
        }
    }
}

/// What kept the rate from being higher.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Limiter {
    /// The server's busiest thread had no time left.
    Server,
    /// A thread of the generator had no time left.
    Generator,
    /// The schedule: more was not asked for.
    Schedule,
    /// Neither was busy, or nobody looked (`--server-pid` absent).
    Unknown,
}

/// Above this share of a CPU a thread counts as the bottleneck.
pub const GENERATOR_BUSY: f64 = 0.95;
/// Above this share a generator thread has too little slack to be trusted blindly.
pub const GENERATOR_WARM: f64 = 0.80;
/// From this share on the server's busiest thread counts as saturated.
pub const SERVER_BUSY: f64 = 0.97;
/// A thread that is ready but waits for a CPU for this share of the time shares it with others.
pub const WAIT_SUSPECT: f64 = 0.05;
/// An open loop must achieve this share of its target.
pub const ACHIEVED_MIN: f64 = 0.98;
/// Late sends up to this are accepted whatever the latency.
pub const LATE_FLOOR_NS: u64 = 100_000;
/// Medians of both halves may differ by this share.
pub const STATIONARY_MAX: f64 = 0.10;
/// Largest relative distance between concurrency and throughput times latency in a closed loop.
pub const LITTLE_MAX: f64 = 0.05;
/// Fewer messages than this per half say nothing about stationarity.
const HALF_COUNT_MIN: u64 = 1_000;
/// Clock sources that are read without a system call and tick in nanoseconds.
pub(crate) const TRUSTED_CLOCKS: [&str; 4] = [
    "tsc",
    "kvm-clock",
    "hyperv_clocksource_tsc_page",
    "arch_sys_counter",
];

/// Sentences with their weight.
pub type Reasons = Vec<(Verdict, String)>;

/// Adds a sentence for each count that is not zero: the count, and what it counts.
pub fn push_counts<'a>(
    reasons: &mut Reasons,
    counts: impl IntoIterator<Item = (Verdict, u64, &'a str)>,
) {
    for (weight, count, what) in counts {
        if count > 0 {
            reasons.push((weight, format!("{} {what}", format_count(count))));
        }
    }
}

/// The reason when counters contradict each other, for which nobody but this program is to blame.
pub fn contradiction(counters: &str, sides: &str) -> (Verdict, String) {
    let text = format!(
        "the {counters} do not add up: {sides}; this is a fault of the generator, please report it"
    );
    (Verdict::Invalid, text)
}

/// A verdict and the sentences behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// The worst of all reasons.
    pub verdict: Verdict,
    /// Each with its weight, worst first.
    pub reasons: Reasons,
    /// What kept the rate from being higher.
    pub limiter: Limiter,
}

/// Applies all rules.
pub fn judge(evidence: &Evidence) -> Judgement {
    let mut reasons = Vec::new();
    let limiter = limiter(evidence);
    if evidence.is_interrupted {
        reasons.push((
            Verdict::Suspect,
            "interrupted: the report covers a part of the run".into(),
        ));
    }
    match (&evidence.fanout, &evidence.churn) {
        (_, Some(churn)) => churn_rules::judge(churn, &mut reasons),
        (Some(fanout), None) => {
            connection_rules(evidence, &mut reasons);
            fanout_rules::judge(fanout, evidence.drain_ns, &mut reasons);
        }
        (None, None) => {
            connection_rules(evidence, &mut reasons);
            integrity_rules(evidence, &mut reasons);
        }
    }
    generator_rules(evidence, limiter, &mut reasons);
    if evidence.mode != Mode::Idle {
        interference_rules(evidence, &mut reasons);
    }
    measurement_rules(evidence, &mut reasons);
    reasons.sort_by_key(|(weight, _)| std::cmp::Reverse(*weight));
    let verdict = reasons
        .first()
        .map_or(Verdict::Valid, |(weight, _)| *weight);
    Judgement {
        verdict,
        reasons,
        limiter,
    }
}

fn limiter(evidence: &Evidence) -> Limiter {
    let is_server_busy = evidence
        .server_busy_share
        .is_some_and(|share| share >= SERVER_BUSY);
    let is_generator_busy = evidence
        .generator_busy_share
        .is_some_and(|share| share > GENERATOR_BUSY);
    let is_on_target = evidence
        .target_per_second
        .is_some_and(|target| evidence.achieved_per_second >= target * ACHIEVED_MIN);
    if is_server_busy {
        Limiter::Server
    } else if is_generator_busy {
        Limiter::Generator
    } else if is_on_target || matches!(evidence.mode, Mode::Idle | Mode::Churn) {
        Limiter::Schedule
    } else {
        Limiter::Unknown
    }
}

/// The exit code that goes with a report (0, 1, 4 or 130; the stable list is in `--help`).
pub fn exit_code(evidence: &Evidence, verdict: Verdict) -> u8 {
    let wants_replies = match &evidence.churn {
        Some(churn) => !churn.figures.is_hold_only,
        None => evidence.mode != Mode::Idle,
    };
    let is_empty = evidence.upgraded == 0 || (wants_replies && evidence.received == 0);
    if evidence.is_interrupted {
        130
    } else if is_empty {
        1
    } else if verdict == Verdict::Invalid {
        4
    } else {
        0
    }
}
