//! Rules about this program and its host: whether it sent what it had to, on time, with CPU time to
//! spare, and undisturbed by others.

use super::{
    ACHIEVED_MIN, Evidence, GENERATOR_BUSY, GENERATOR_WARM, LATE_FLOOR_NS, Limiter, Reasons,
    SERVER_BUSY, Verdict, WAIT_SUSPECT,
};
use crate::quantity::format_ns;

/// It reached the rate that was asked for, on time, and with CPU time left.
pub fn generator_rules(evidence: &Evidence, limiter: Limiter, reasons: &mut Reasons) {
    rate(evidence, limiter, reasons);
    lateness(evidence, reasons);
    if let Some(share) = evidence.generator_busy_share {
        cpu_time(evidence, share, limiter, reasons);
    }
}

fn rate(evidence: &Evidence, limiter: Limiter, reasons: &mut Reasons) {
    let is_missed = |target: &f64| evidence.achieved_per_second < target * ACHIEVED_MIN;
    let Some(target) = evidence.target_per_second.filter(is_missed) else {
        return;
    };
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

fn lateness(evidence: &Evidence, reasons: &mut Reasons) {
    let late_max = LATE_FLOOR_NS.max(evidence.response_p50_ns / 10);
    if !evidence.is_open_loop || evidence.late_p99_ns <= late_max {
        return;
    }
    reasons.push((
        Verdict::Invalid,
        format!(
            "1 % of the messages were sent {} or more late (limit {}): the generator was not on \
             time; {}",
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

/// `share`: of a CPU, by its busiest thread.
fn cpu_time(evidence: &Evidence, share: f64, limiter: Limiter, reasons: &mut Reasons) {
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
    if evidence.is_open_loop && !evidence.spin {
        "use --spin, which does not pay for sleeping between messages, or add threads (-t)"
    } else {
        "add threads (-t) or CPUs"
    }
}

/// Other processes on the CPUs of the generator or the server, and the host's own stalls: what is
/// measured is their doing too.
pub fn interference_rules(evidence: &Evidence, reasons: &mut Reasons) {
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
    if let Some(hiccup_ns) = evidence
        .hiccup_max_ns
        .filter(|hiccup_ns| evidence.response_p999_ns > 0 && *hiccup_ns > evidence.response_p999_ns)
    {
        reasons.push((
            Verdict::Suspect,
            format!(
                "this host had an idle thread wait for up to {}, longer than the p99.9 of {}: the \
                 tail may be its doing and not the server's; see `fanwire-loadgen doctor`",
                format_ns(hiccup_ns),
                format_ns(evidence.response_p999_ns)
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
