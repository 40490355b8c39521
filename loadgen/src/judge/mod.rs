//! What counts as good enough: thresholds, abort conditions, exit codes, and the verdict for CI.
//!
//! Reads finished reports and, for abort conditions, running loads. Changes no measurement.

pub mod check;
pub mod headlines;
pub mod junit;
pub mod live;
pub mod measure;
pub mod metric;
pub mod threshold;
pub mod window;

pub use check::check;
pub use threshold::Threshold;

use crate::cli::judge::JudgeSettings;
use crate::commands::{INVALID, OK, THRESHOLD_FAILED};
use crate::measure::model::{Report, ThresholdResult};

/// Holds a report against the thresholds, and settles its exit code. `fired` is the abort condition
/// that ended the run, if one did.
///
/// An INVALID measurement proves nothing, neither that a threshold was met nor that it was not: its
/// exit code stands above that of a missed threshold, unless `--allow-invalid`. A run that
/// `--abort-on` ended has missed it, whatever is said about the torso.
pub fn apply(report: &mut Report, settings: &JudgeSettings, fired: Option<&ThresholdResult>) {
    let judged = settings.thresholds.iter();
    report.thresholds = judged
        .map(|threshold| measure::judge(report, threshold))
        .chain(fired.cloned())
        .collect();
    let is_missed = report.thresholds.iter().any(|result| !result.is_met);
    report.exit_code = match report.exit_code {
        _ if fired.is_some() => THRESHOLD_FAILED,
        INVALID if !settings.is_invalid_allowed => INVALID,
        OK | INVALID if is_missed => THRESHOLD_FAILED,
        OK | INVALID => OK,
        // Interrupted, or nothing to judge.
        other => other,
    };
}

#[cfg(test)]
pub mod testing {
    //! Reports and configurations for tests.

    use clap::Parser;

    use crate::cli::{Cli, Job};
    use crate::config::Config;
    use crate::measure::model::{Measured, Report};

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

    /// A report of a command, without a single measurement.
    pub fn report(mode: &str) -> Report {
        let rate = if mode == "fanout" { " -R 10" } else { "" };
        let config = config(&format!("{mode} ws://127.0.0.1{rate}"));
        let mut report = Report::new(&config, &Measured::default());
        report.verdict = crate::measure::verdict::Verdict::Valid;
        report.verdict_reasons.clear();
        report.exit_code = 0;
        report
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::{INTERRUPTED, RUN_ERROR};

    fn code(before: u8, is_met: bool, is_invalid_allowed: bool, is_aborted: bool) -> u8 {
        let mut report = testing::report("echo");
        report.exit_code = before;
        report.messages_per_second = 50.0;
        let expression = if is_met { "rate<100" } else { "rate>100" };
        let settings = JudgeSettings {
            thresholds: vec![Threshold::parse(expression).expect(expression)],
            is_invalid_allowed,
            ..JudgeSettings::default()
        };
        let fired = ThresholdResult {
            expression: "abort-on rate < 60".into(),
            measured: Some(50.0),
            is_met: false,
            text: "50/s".into(),
        };
        apply(&mut report, &settings, is_aborted.then_some(&fired));
        assert_eq!(report.thresholds.len(), 1 + usize::from(is_aborted));
        assert_eq!(report.thresholds[0].is_met, is_met);
        report.exit_code
    }

    #[test]
    fn exit_codes() {
        assert_eq!(code(OK, true, false, false), OK);
        assert_eq!(code(OK, false, false, false), THRESHOLD_FAILED);
        assert_eq!(code(INVALID, true, false, false), INVALID);
        assert_eq!(code(INVALID, false, false, false), INVALID);
        assert_eq!(code(INVALID, true, true, false), OK);
        assert_eq!(code(INVALID, false, true, false), THRESHOLD_FAILED);
        assert_eq!(code(INTERRUPTED, false, true, false), INTERRUPTED);
        assert_eq!(code(RUN_ERROR, false, true, false), RUN_ERROR);
        assert_eq!(code(INTERRUPTED, true, false, true), THRESHOLD_FAILED);
    }
}
