//! Whether a measurement can be believed. A pure function from evidence to verdict.
//!
//! Owns the rules and their thresholds. It prints nothing and measures nothing, so that every rule
//! has a test with plain numbers.

use serde::{Deserialize, Serialize};

use crate::churn::rules::{self as churn_rules, ChurnEvidence};
use crate::config::Mode;
use crate::fanout::rules::{self, FanoutEvidence};
use crate::quantity::{format_count, format_ns};

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

/// What the rules look at.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// Which job.
    pub mode: Mode,
    /// Sends by schedule.
    pub is_open_loop: bool,
    /// Threads never sleep, so that their CPU share says nothing.
    pub spin: bool,
    /// Connections asked for; storm: attempts.
    pub asked: u64,
    /// Opening handshakes completed; storm: whole cycles.
    pub upgraded: u64,
    /// Open at the end.
    pub alive: u64,
    /// Open at the end with an unanswered message.
    pub stalled: u64,
    /// Messages sent.
    pub sent: u64,
    /// First replies.
    pub received: u64,
    /// Replies that cannot come any more.
    pub lost: u64,
    /// Unanswered after the drain.
    pub in_flight: u64,
    /// Due but not sent.
    pub unsent: u64,
    /// Those of `unsent` that were overdue and given up.
    pub dropped: u64,
    /// Repeated replies.
    pub duplicates: u64,
    /// Replies out of order.
    pub reordered: u64,
    /// Wrong replies.
    pub corrupt: u64,
    /// Messages nobody asked for.
    pub unsolicited: u64,
    /// Our pings whose pong did not come in time.
    pub pongs_missing: u64,
    /// How long the drain waited.
    pub drain_ns: u64,
    /// Asked rate.
    pub target_per_second: Option<f64>,
    /// Replies (storm: cycles) per second in the window.
    pub achieved_per_second: f64,
    /// CPU share of the busiest generator thread.
    pub generator_cpu_share: Option<f64>,
    /// Largest share of the time in which a generator thread was ready but had no CPU.
    pub generator_wait_share: Option<f64>,
    /// CPU share of the server's busiest thread.
    pub server_busy_share: Option<f64>,
    /// Share of the time in which that thread was ready but had no CPU.
    pub server_wait_share: Option<f64>,
    /// 99th percentile of how late messages were sent (open loop).
    pub late_p99_ns: u64,
    /// Median response.
    pub response_p50_ns: u64,
    /// (count, median) of the first and the second half.
    pub halves: [(u64, u64); 2],
    /// Closed loop: |concurrency − throughput × mean latency| / concurrency.
    pub little_residual: Option<f64>,
    /// The kernel's clock source, where it could be read.
    pub clock_source: Option<String>,
    /// Stopped by a signal before the end.
    pub is_interrupted: bool,
    /// In a fan-out, in place of what is known of replies.
    pub fanout: Option<FanoutEvidence>,
    /// In a churn, in place of what is known of connections and replies.
    pub churn: Option<ChurnEvidence>,
}

/// A verdict and the sentences behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// The worst of all reasons.
    pub verdict: Verdict,
    /// Each with its weight, worst first.
    pub reasons: Vec<(Verdict, String)>,
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
            rules::judge(fanout, evidence.drain_ns, &mut reasons);
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
    let is_generator_busy = !evidence.spin
        && evidence
            .generator_cpu_share
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

/// Sentences with their weight.
pub type Reasons = Vec<(Verdict, String)>;

fn connection_rules(evidence: &Evidence, reasons: &mut Reasons) {
    let failed = evidence.asked.saturating_sub(evidence.upgraded);
    if failed > 0 {
        let noun = if evidence.mode == Mode::Storm {
            "attempts"
        } else {
            "connections"
        };
        reasons.push((
            Verdict::Invalid,
            format!(
                "{} of {} {noun} failed; see errors",
                format_count(failed),
                format_count(evidence.asked)
            ),
        ));
    }
    let dropped = evidence.upgraded.saturating_sub(evidence.alive);
    if evidence.mode != Mode::Storm && dropped > 0 {
        reasons.push((
            Verdict::Invalid,
            format!(
                "{} of {} connections ended before the run did",
                format_count(dropped),
                format_count(evidence.upgraded)
            ),
        ));
    }
    if evidence.pongs_missing > 0 {
        reasons.push((
            Verdict::Invalid,
            format!(
                "{} of our pings had no pong when the next was due (RFC 6455 5.5.2 demands one)",
                format_count(evidence.pongs_missing)
            ),
        ));
    }
}

fn integrity_rules(evidence: &Evidence, reasons: &mut Reasons) {
    let mut count = |weight, count: u64, what: String| {
        if count > 0 {
            reasons.push((weight, format!("{} {what}", format_count(count))));
        }
    };
    count(
        Verdict::Invalid,
        evidence.corrupt,
        "replies were corrupt (another byte, length or kind than was sent)".into(),
    );
    count(
        Verdict::Invalid,
        evidence.lost,
        "messages were lost: no reply can come any more".into(),
    );
    count(
        Verdict::Invalid,
        evidence.in_flight,
        format!(
            "messages on {} connections were still unanswered {} after the last was sent",
            format_count(evidence.stalled),
            format_ns(evidence.drain_ns)
        ),
    );
    count(
        Verdict::Invalid,
        evidence.duplicates,
        "replies came twice".into(),
    );
    count(
        Verdict::Invalid,
        evidence.unsolicited,
        "messages arrived that no connection had sent".into(),
    );
    count(
        Verdict::Suspect,
        evidence.reordered,
        "replies came out of order".into(),
    );
    count(
        Verdict::Invalid,
        evidence.dropped,
        "messages were overdue and given up, as --catchup says".into(),
    );
    count(
        Verdict::Invalid,
        evidence.unsent.saturating_sub(evidence.dropped),
        if evidence.mode == Mode::Storm {
            "connections were due but no establisher was free; allow more at once (-c)".into()
        } else {
            "messages were due but could not be sent (connection gone, or 65,536 unanswered)".into()
        },
    );
    if evidence.sent != evidence.received + evidence.lost + evidence.in_flight {
        reasons.push((
            Verdict::Invalid,
            format!(
                "the counters do not add up: sent {} is not received {} + lost {} + in flight {}; \
                 this is a fault of the generator, please report it",
                evidence.sent, evidence.received, evidence.lost, evidence.in_flight
            ),
        ));
    }
    if evidence.mode != Mode::Idle && evidence.received == 0 {
        reasons.push((
            Verdict::Invalid,
            "nothing was answered, so nothing was measured".into(),
        ));
    }
}

fn generator_rules(evidence: &Evidence, limiter: Limiter, reasons: &mut Reasons) {
    if let Some(target) = evidence.target_per_second
        && evidence.achieved_per_second < target * ACHIEVED_MIN
    {
        let shares = format!(
            "achieved {:.0}/s, {:.1} % of the {:.0}/s asked for",
            evidence.achieved_per_second,
            100.0 * evidence.achieved_per_second / target,
            target
        );
        reasons.push(if limiter == Limiter::Server {
            (
                Verdict::Suspect,
                format!("{shares}: the server was saturated"),
            )
        } else {
            (
                Verdict::Invalid,
                format!("{shares}, and the server was not known to be the limit"),
            )
        });
    }
    let late_max = LATE_FLOOR_NS.max(evidence.response_p50_ns / 10);
    if evidence.is_open_loop && evidence.late_p99_ns > late_max {
        reasons.push((
            Verdict::Invalid,
            format!(
                "1 % of the messages were sent {} or more late (limit {}): the generator was not \
                 on time; {}",
                format_ns(evidence.late_p99_ns),
                format_ns(late_max),
                if evidence.spin {
                    "give it a CPU that nothing else uses (--cpu), more threads, or a lower rate"
                } else {
                    "use --spin, more threads (-t), or a lower rate"
                }
            ),
        ));
    }
    let (false, Some(share)) = (evidence.spin, evidence.generator_cpu_share) else {
        return;
    };
    let percent = share * 100.0;
    if share > GENERATOR_BUSY {
        match evidence.server_busy_share {
            Some(server) if server >= SERVER_BUSY => {}
            Some(server) => reasons.push((
                Verdict::Invalid,
                format!(
                    "the generator was the bottleneck: its busiest thread used {percent:.0} % of a \
                     CPU while the server's used {:.0} %; {}",
                    server * 100.0,
                    cure_of_busy(evidence)
                ),
            )),
            None if evidence.is_open_loop => reasons.push((
                Verdict::Invalid,
                format!(
                    "the generator used {percent:.0} % of a CPU and may have been the bottleneck; \
                     {}, or pass --server-pid to show that the server was busier",
                    cure_of_busy(evidence)
                ),
            )),
            None => reasons.push((
                Verdict::Suspect,
                format!(
                    "the generator used {percent:.0} % of a CPU and may have been the bottleneck; \
                     pass --server-pid to settle it"
                ),
            )),
        }
    } else if share > GENERATOR_WARM && limiter != Limiter::Server {
        reasons.push((
            Verdict::Suspect,
            format!(
                "the generator used {percent:.0} % of a CPU: above 80 % its own queueing shows"
            ),
        ));
    }
}

/// Falling asleep and waking up between messages can take more of a CPU than sending them.
fn cure_of_busy(evidence: &Evidence) -> &'static str {
    if evidence.is_open_loop {
        "use --spin, which does not sleep between messages and is judged by its lateness, or add \
         threads (-t)"
    } else {
        "add threads (-t) or CPUs"
    }
}

/// Other processes on the CPUs of the generator or the server: what is measured is their load too.
fn interference_rules(evidence: &Evidence, reasons: &mut Reasons) {
    if let Some(share) = evidence
        .generator_wait_share
        .filter(|share| *share > WAIT_SUSPECT)
    {
        reasons.push((
            Verdict::Suspect,
            format!(
                "a thread of the generator was ready but waited for a CPU for {:.0} % of the time: \
                 something else uses it; pin to a free one (--cpu)",
                share * 100.0
            ),
        ));
    }
    if let Some(share) = evidence
        .server_wait_share
        .filter(|share| *share > WAIT_SUSPECT)
    {
        reasons.push((
            Verdict::Suspect,
            format!(
                "the server was ready but waited for a CPU for {:.0} % of the time: something else \
                 uses it",
                share * 100.0
            ),
        ));
    }
}

fn measurement_rules(evidence: &Evidence, reasons: &mut Reasons) {
    if let Some(source) = &evidence.clock_source
        && !TRUSTED_CLOCKS.contains(&source.as_str())
    {
        reasons.push((
            Verdict::Invalid,
            format!(
                "the kernel's clock source is '{source}': reading it is slow and coarse; use a \
                 host where it is one of {}",
                TRUSTED_CLOCKS.join(", ")
            ),
        ));
    }
    let [(first_count, first), (second_count, second)] = evidence.halves;
    if first_count >= HALF_COUNT_MIN && second_count >= HALF_COUNT_MIN {
        let change = (second as f64 - first as f64) / (first.max(1) as f64);
        if change.abs() > STATIONARY_MAX {
            reasons.push((
                Verdict::Suspect,
                format!(
                    "not stationary: the median went from {} in the first half to {} in the \
                     second; warm up longer (-w) or measure longer (-d)",
                    format_ns(first),
                    format_ns(second)
                ),
            ));
        }
    }
    if let Some(residual) = evidence.little_residual
        && residual > LITTLE_MAX
    {
        reasons.push((
            Verdict::Suspect,
            format!(
                "throughput times latency is {:.0} % off the concurrency (Little's law): some \
                 connections were not working all the time",
                residual * 100.0
            ),
        ));
    }
}

/// Clock sources that are read without a system call and tick in nanoseconds.
pub(crate) const TRUSTED_CLOCKS: [&str; 4] = [
    "tsc",
    "kvm-clock",
    "hyperv_clocksource_tsc_page",
    "arch_sys_counter",
];

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
