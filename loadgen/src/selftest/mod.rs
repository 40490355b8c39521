//! The proof that the generator is honest: it is run against servers whose faults, delays and
//! refusals are scripted, and what it reports is compared with what must have happened.
//!
//! Data flows one way: a [`cases::Case`] starts a scripted [`server`] and the generator itself as a
//! child process ([`subject`]), compares the report with [`theory`] and with what the script
//! counted, and returns [`check::Check`]s; [`table`] prints them. Nothing here is used by a load
//! run, and the `server` crate is not used at all.

pub mod cases;
pub mod check;
pub mod script;
pub mod scripts;
pub mod server;
pub mod subject;
pub mod table;
pub mod theory;

use std::time::Instant;

use serde::Serialize;

use crate::measure::environment::Environment;
use crate::measure::hiccups::{Hiccups, NAP};
use crate::quantity::format_ns;
use cases::{Case, Context};
use check::Check;

/// Name and version of the JSON layout.
pub const SCHEMA: &str = "fanwire-selftest/1";
/// A case in which only times are off is run so often at most.
pub const ATTEMPTS_MAX: u32 = 3;
/// Hiccups longer than this can move a percentile of the short form beyond its 3 %.
const HICCUP_NOTABLE_NS: u64 = 1_000_000;

/// What became of a case.
#[derive(Clone, Debug, Serialize)]
pub struct CaseResult {
    /// Name on the command line.
    pub name: &'static str,
    /// What it proves.
    pub title: &'static str,
    /// Whether every check agreed (with a canary: whether some check did not).
    pub is_ok: bool,
    /// How often it ran.
    pub attempts: u32,
    /// The checks of the last attempt.
    pub checks: Vec<Check>,
    /// What kept it from running.
    pub error: Option<String>,
    /// What an idle thread overslept meanwhile, 99.9th percentile.
    pub hiccup_p999_ns: u64,
    /// The longest.
    pub hiccup_max_ns: u64,
    /// Duration of all attempts.
    pub duration_s: f64,
    /// What a person should know about it.
    pub remark: String,
}

/// What became of a selftest.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// `short`, `standard` or `long`.
    pub form: &'static str,
    /// The scripted servers did something else than the cases expect.
    pub is_canary: bool,
    /// Every case is ok.
    pub is_ok: bool,
    /// Cases that are ok.
    pub passed: usize,
    /// The others.
    pub failed: usize,
    /// Cases that needed more than one attempt.
    pub repeated: usize,
    /// Duration.
    pub duration_s: f64,
    /// Host and command line.
    pub environment: Environment,
    /// Every case.
    pub cases: Vec<CaseResult>,
}

/// Runs cases one after the other; `show` is told of each when it has ended, and says whether
/// another one is wanted.
pub fn run(
    context: &Context,
    cases: &[Case],
    mut show: impl FnMut(&CaseResult) -> bool,
) -> Summary {
    let begun = Instant::now();
    let mut results = Vec::new();
    for case in cases {
        let result = run_case(context, case);
        let goes_on = show(&result);
        results.push(result);
        if !goes_on {
            break;
        }
    }
    let passed = results.iter().filter(|result| result.is_ok).count();
    Summary {
        schema: SCHEMA,
        form: context.form.as_str(),
        is_canary: context.is_canary,
        // Nothing proves nothing.
        is_ok: passed == results.len() && !results.is_empty() && results.len() == cases.len(),
        passed,
        failed: results.len() - passed,
        repeated: results.iter().filter(|result| result.attempts > 1).count(),
        duration_s: begun.elapsed().as_secs_f64(),
        environment: Environment::read(context.generator_processor.as_slice(), Some(true)),
        cases: results,
    }
}

/// Runs a case until it is ok, its counters are wrong, or all attempts are used up.
fn run_case(context: &Context, case: &Case) -> CaseResult {
    let begun = Instant::now();
    let mut attempts = 0;
    loop {
        attempts += 1;
        let hiccups = Hiccups::start(NAP);
        let findings = (case.body)(context);
        let overslept = hiccups.map(Hiccups::stop).unwrap_or_default();
        let (checks, error) = match findings {
            Ok(checks) => (checks, None),
            Err(error) => (Vec::new(), Some(error)),
        };
        let verdict = judge(&checks, error.is_some(), context.is_canary);
        if verdict == Attempt::Again && attempts < ATTEMPTS_MAX {
            continue;
        }
        let (p999_ns, max_ns) = (overslept.quantile(0.999), overslept.max());
        let is_ok = verdict == Attempt::Good;
        return CaseResult {
            name: case.name,
            title: case.title,
            is_ok,
            attempts,
            remark: remark(is_ok, context.is_canary, attempts, &checks, max_ns),
            checks,
            error,
            hiccup_p999_ns: p999_ns,
            hiccup_max_ns: max_ns,
            duration_s: begun.elapsed().as_secs_f64(),
        };
    }
}

/// What an attempt is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attempt {
    Good,
    Bad,
    /// Only what a busy machine may be blamed for speaks against it.
    Again,
}

/// A counter that is wrong is never excused; a time that is off may be tried again. With a canary
/// the case must fail; that it does not may be chance, where it compares times.
fn judge(checks: &[Check], is_broken: bool, is_canary: bool) -> Attempt {
    if is_broken || checks.is_empty() {
        return Attempt::Bad;
    }
    let mut wrong = checks.iter().filter(|check| !check.is_ok).peekable();
    let is_wrong = wrong.peek().is_some();
    match (is_canary, is_wrong) {
        (false, false) | (true, true) => Attempt::Good,
        (true, false) => Attempt::Again,
        (false, true) if wrong.all(|check| check.is_timing) => Attempt::Again,
        (false, true) => Attempt::Bad,
    }
}

fn remark(is_ok: bool, is_canary: bool, attempts: u32, checks: &[Check], max_ns: u64) -> String {
    if is_canary {
        return if is_ok {
            "noticed, as it must be".into()
        } else {
            "NOT noticed: this case cannot fail".into()
        };
    }
    let mut words = Vec::new();
    if attempts > 1 {
        words.push(format!("{attempts} attempts"));
    }
    let is_timing = checks.iter().any(|check| !check.is_ok && check.is_timing);
    if !is_ok && is_timing && max_ns > HICCUP_NOTABLE_NS {
        words.push(format!(
            "machine too noisy: hiccups of {}",
            format_ns(max_ns)
        ));
    }
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counter(is_ok: bool) -> Check {
        Check::exact("a counter", 1, u64::from(is_ok))
    }

    fn time(is_ok: bool) -> Check {
        Check::time("a time", 100.0, if is_ok { 100 } else { 200 }, 0.03)
    }

    #[test]
    fn a_counter_has_no_second_chance_and_a_time_has() {
        assert_eq!(
            judge(&[counter(true), time(true)], false, false),
            Attempt::Good
        );
        assert_eq!(
            judge(&[counter(true), time(false)], false, false),
            Attempt::Again
        );
        assert_eq!(
            judge(&[counter(false), time(false)], false, false),
            Attempt::Bad
        );
        assert_eq!(
            judge(&[counter(false), time(true)], false, false),
            Attempt::Bad
        );
    }

    #[test]
    fn what_did_not_run_proves_nothing() {
        assert_eq!(judge(&[], false, false), Attempt::Bad);
        assert_eq!(judge(&[], true, true), Attempt::Bad);
        assert_eq!(judge(&[counter(true)], true, false), Attempt::Bad);
    }

    #[test]
    fn a_canary_must_be_noticed() {
        assert_eq!(judge(&[counter(false)], false, true), Attempt::Good);
        assert_eq!(
            judge(&[counter(true), time(true)], false, true),
            Attempt::Again
        );
    }

    #[test]
    fn noise_is_named() {
        let text = remark(false, false, 3, &[time(false)], 8_000_000);
        assert_eq!(text, "3 attempts, machine too noisy: hiccups of 8.00ms");
        assert_eq!(remark(false, false, 1, &[counter(false)], 8_000_000), "");
        assert_eq!(
            remark(true, false, 2, &[time(true)], 8_000_000),
            "2 attempts"
        );
    }
}
