//! A finished run as one observation of a search: met, not met, or not measured.
//!
//! The difference that matters is whose fault it was. Replies that were wrong or missing are the
//! server's; a generator that was late or out of CPU measured itself.

use crate::measure::model::Report;
use crate::measure::verdict::{
    ACHIEVED_MIN, GENERATOR_BUSY, LATE_FLOOR_NS, SERVER_BUSY, TRUSTED_CLOCKS, Verdict,
};
use crate::quantity::format_ns;
use crate::search::Outcome;

/// What a window says of its load. The thresholds must have been applied. `is_invalid_allowed`:
/// nothing but the thresholds counts.
pub fn outcome(report: &Report, is_invalid_allowed: bool) -> Outcome {
    if let Some(reason) = generator_fault(report)
        && !is_invalid_allowed
    {
        return Outcome::Invalid(reason);
    }
    if let Some(missed) = report.thresholds.iter().find(|result| !result.is_met) {
        return Outcome::Failed(format!("{} ({})", missed.expression, missed.text));
    }
    if let Some(target) = report.target_per_second
        && report.messages_per_second < target * ACHIEVED_MIN
    {
        let share = 100.0 * report.messages_per_second / target;
        return Outcome::Failed(format!("only {share:.1} % of the rate was answered"));
    }
    if report.verdict == Verdict::Invalid && !is_invalid_allowed {
        let reason = report.verdict_reasons.first();
        return Outcome::Failed(reason.cloned().unwrap_or_else(|| "INVALID".to_owned()));
    }
    Outcome::Met
}

/// Why the generator could not measure this load, if it could not.
pub fn generator_fault(report: &Report) -> Option<String> {
    let generator = &report.generator;
    let late_max_ns = LATE_FLOOR_NS.max(report.latency_ns.response.p50 / 10);
    let late_ns = generator.late_ns.p99;
    if report.loop_model == "open" && late_ns > late_max_ns {
        return Some(format!(
            "the generator sent 1 % of the messages {} or more late (limit {})",
            format_ns(late_ns),
            format_ns(late_max_ns)
        ));
    }
    // Reports of older versions do not tell how much of a spinning thread's time was work.
    let cpu_share = generator.cpu_share.filter(|_| !report.config.spin);
    let share = generator.busy_share.or(cpu_share).unwrap_or(0.0);
    let server_share = report.server.as_ref().and_then(|server| server.busy_share);
    let is_server_busier = match server_share {
        Some(server) => server >= SERVER_BUSY,
        // A closed loop takes what it gets: without --server-pid nobody knows whose limit it was.
        None => report.loop_model != "open",
    };
    if share > GENERATOR_BUSY && !is_server_busier {
        let percent = share * 100.0;
        return Some(format!("the generator used {percent:.0} % of a CPU"));
    }
    if let Some(source) = &generator.clock_source
        && !TRUSTED_CLOCKS.contains(&source.as_str())
    {
        return Some(format!("the kernel's clock source is '{source}'"));
    }
    let is_miscounted = report.fanout.is_none() && !report.messages.adds_up;
    is_miscounted.then(|| "the generator's counters do not add up".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::testing::report;
    use crate::measure::model::ThresholdResult;

    fn good() -> Report {
        let mut report = report("echo");
        report.loop_model = "open".into();
        report.target_per_second = Some(1_000.0);
        report.messages_per_second = 999.0;
        report.latency_ns.response.p50 = 50_000;
        report.generator.late_ns.p99 = 20_000;
        report.generator.cpu_share = Some(0.4);
        report
    }

    fn missed() -> ThresholdResult {
        ThresholdResult {
            expression: "echo.p99 < 1ms".into(),
            measured: Some(2e6),
            is_met: false,
            text: "2.00ms".into(),
        }
    }

    #[test]
    fn whose_fault_it_was() {
        assert_eq!(outcome(&good(), false), Outcome::Met);

        let mut late = good();
        late.generator.late_ns.p99 = 150_000;
        late.thresholds.push(missed());
        assert!(
            matches!(outcome(&late, false), Outcome::Invalid(reason) if reason.contains("late"))
        );
        let failed = Outcome::Failed("echo.p99 < 1ms (2.00ms)".into());
        assert_eq!(outcome(&late, true), failed);
        // The same lateness is nothing beside a server that needs 100 ms.
        late.latency_ns.response.p50 = 100_000_000;
        assert_eq!(outcome(&late, false), failed);

        let mut busy = good();
        busy.generator.cpu_share = Some(0.99);
        assert!(matches!(outcome(&busy, false), Outcome::Invalid(_)));
        busy.loop_model = "closed".into();
        assert_eq!(outcome(&busy, false), Outcome::Met);

        let mut slow = good();
        slow.messages_per_second = 900.0;
        assert!(
            matches!(outcome(&slow, false), Outcome::Failed(reason) if reason.contains("90.0 %"))
        );

        let mut corrupt = good();
        corrupt.verdict = Verdict::Invalid;
        corrupt.verdict_reasons = vec!["5 replies were corrupt".into()];
        assert_eq!(
            outcome(&corrupt, false),
            Outcome::Failed("5 replies were corrupt".into())
        );

        let mut clock = good();
        clock.generator.clock_source = Some("hpet".into());
        assert!(
            matches!(outcome(&clock, false), Outcome::Invalid(reason) if reason.contains("hpet"))
        );
    }
}
