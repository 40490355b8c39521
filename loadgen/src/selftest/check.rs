//! One comparison of a measured figure with the expected one, and how it is worded.
//!
//! Exact figures are counters: they are right or wrong, and a busy machine is no excuse. Timing
//! figures have a bound, and a case in which only they fail may be repeated.

use serde::Serialize;

use crate::quantity::{format_count, format_ns};

/// What a figure may depart from the closed form by, as a share.
pub const TIMING_SHARE_MAX: f64 = 0.03;

/// One line of the table.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Check {
    /// What is compared.
    pub figure: String,
    /// What theory or the scripted server says.
    pub expected: String,
    /// What the generator reported.
    pub measured: String,
    /// How far they may be apart.
    pub bound: String,
    /// Whether they agree.
    pub is_ok: bool,
    /// Whether a busy machine may be the reason when they do not.
    pub is_timing: bool,
}

impl Check {
    /// A counter.
    pub fn exact(figure: impl Into<String>, expected: u64, measured: u64) -> Check {
        Check {
            figure: figure.into(),
            expected: format_count(expected),
            measured: format_count(measured),
            bound: "exact".into(),
            is_ok: expected == measured,
            is_timing: false,
        }
    }

    /// A counter that need only be as large.
    pub fn at_least(figure: impl Into<String>, least: u64, measured: u64) -> Check {
        Check {
            figure: figure.into(),
            expected: format!(">= {}", format_count(least)),
            measured: format_count(measured),
            bound: "least".into(),
            is_ok: measured >= least,
            is_timing: false,
        }
    }

    /// A word: a verdict, a reason, an exit code.
    pub fn word(figure: impl Into<String>, expected: &str, measured: &str, is_ok: bool) -> Check {
        Check {
            figure: figure.into(),
            expected: expected.into(),
            measured: measured.into(),
            bound: "word".into(),
            is_ok,
            is_timing: false,
        }
    }

    /// A time against its closed form, within `share` of it.
    pub fn time(
        figure: impl Into<String>,
        expected_ns: f64,
        measured_ns: u64,
        share: f64,
    ) -> Check {
        let off_ns = (measured_ns as f64 - expected_ns).abs();
        Check {
            figure: figure.into(),
            expected: format_ns(expected_ns as u64),
            measured: format_ns(measured_ns),
            bound: format!("{:.0} %", share * 100.0),
            is_ok: off_ns <= expected_ns * share,
            is_timing: true,
        }
    }

    /// A time that must stay below another one.
    pub fn below(figure: impl Into<String>, limit_ns: u64, measured_ns: u64) -> Check {
        Check {
            figure: figure.into(),
            expected: format!("< {}", format_ns(limit_ns)),
            measured: format_ns(measured_ns),
            bound: "most".into(),
            is_ok: measured_ns < limit_ns,
            is_timing: true,
        }
    }

    /// A time that must be above another one.
    pub fn above(figure: impl Into<String>, limit_ns: u64, measured_ns: u64) -> Check {
        Check {
            figure: figure.into(),
            expected: format!("> {}", format_ns(limit_ns)),
            measured: format_ns(measured_ns),
            bound: "least".into(),
            is_ok: measured_ns > limit_ns,
            is_timing: true,
        }
    }

    /// A distance or a share, with the rule that its bound comes from.
    pub fn distance(
        figure: impl Into<String>,
        expected: f64,
        measured: f64,
        bound: f64,
        rule: &str,
    ) -> Check {
        Check {
            figure: figure.into(),
            expected: format!("{expected:.4}"),
            measured: format!("{measured:.4}"),
            bound: format!("{bound:.4} ({rule})"),
            is_ok: (measured - expected).abs() <= bound,
            is_timing: true,
        }
    }

    /// A share that must be as large; it is computed, so nothing is an excuse.
    pub fn share_at_least(figure: impl Into<String>, least: f64, measured: f64) -> Check {
        Check {
            figure: figure.into(),
            expected: format!(">= {:.1} %", least * 100.0),
            measured: format!("{:.1} %", measured * 100.0),
            bound: "least".into(),
            is_ok: measured >= least,
            is_timing: false,
        }
    }

    /// The same figure, but chance and a busy machine are no excuse.
    #[must_use]
    pub fn without_excuse(self) -> Check {
        Check {
            is_timing: false,
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_that_is_one_off_fails() {
        assert!(Check::exact("lost", 12, 12).is_ok);
        assert!(!Check::exact("lost", 12, 13).is_ok);
        assert!(!Check::exact("lost", 12, 11).is_ok);
        assert!(!Check::exact("lost", 12, 13).is_timing);
    }

    #[test]
    fn a_time_beyond_its_bound_fails() {
        assert!(Check::time("p99", 100e6, 103_000_000, 0.03).is_ok);
        assert!(!Check::time("p99", 100e6, 103_200_000, 0.03).is_ok);
        assert!(!Check::time("p99", 100e6, 96_000_000, 0.03).is_ok);
        assert!(!Check::below("p50", 1_000, 1_000).is_ok);
        assert!(!Check::above("p50", 1_000, 1_000).is_ok);
    }

    #[test]
    fn a_distance_beyond_its_bound_fails() {
        assert!(Check::distance("reach", 0.75, 0.75, 0.0, "exact").is_ok);
        assert!(!Check::distance("reach", 0.75, 0.80, 0.01, "exact").is_ok);
        assert!(!Check::share_at_least("power", 0.8, 0.79).is_ok);
        assert!(!Check::distance("reach", 0.75, f64::NAN, 0.01, "exact").is_ok);
    }
}
