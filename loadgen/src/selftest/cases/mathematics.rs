//! What is computed from runs: the comparison of two sets of them, and the search for capacity, on
//! made-up systems of which the truth is known.

use super::{Case, Context, Findings};
use crate::search::{Bound, Finding, Limits, Outcome, STEPS_MAX, Search, Step};
use crate::selftest::check::Check;
use crate::statistics::calibration::{POWER_MIN, QUIET_MIN, calibrate_compare};

/// False alarms and power.
pub const COMPARE: Case = Case {
    name: "compare",
    title: "equal runs are called equal, and a slowdown of 5 % is found in ten runs a side",
    is_in_short: true,
    body: compare,
};

/// Capacity.
pub const SEARCH: Case = Case {
    name: "search",
    title: "the search finds the capacity of made-up systems within 2 %, and always ends",
    is_in_short: true,
    body: search,
};

fn compare(context: &Context) -> Findings {
    let found = calibrate_compare(context.seed);
    // A canary asks for more than statistics can give.
    let (quiet_min, power_min) = if context.is_canary {
        (1.1, 1.1)
    } else {
        (QUIET_MIN, POWER_MIN)
    };
    Ok(vec![
        Check::share_at_least(
            "equal runs that were called equal",
            quiet_min,
            found.quiet_share,
        ),
        Check::share_at_least("slowdowns of 5 % that were found", power_min, found.power),
    ])
}

const LIMITS: Limits = Limits {
    min: 100.0,
    max: 1e7,
    start: 1_000.0,
    tolerance: 0.02,
    confirm: 3,
    is_whole: false,
};

/// Searches a system; the number of windows comes second.
fn explore(mut system: impl FnMut(f64) -> Outcome) -> (Option<Finding>, u32) {
    let mut search = Search::new(LIMITS);
    for windows in 0..=STEPS_MAX {
        match search.next() {
            Step::Done(finding) => return (Some(finding), windows),
            Step::Try { load, .. } => search.observe(system(load)),
        }
    }
    (None, STEPS_MAX)
}

fn search(context: &Context) -> Findings {
    let systems = context.form.pick(200, 1_000, 10_000);
    let mut random = fastrand::Rng::with_seed(context.seed);
    let (mut within, mut above, mut honest, mut ended) = (0, 0, 0, 0);
    for _ in 0..systems {
        // From 200 to two million, evenly on a logarithmic scale.
        let capacity = 200.0 * 10f64.powf(4.0 * random.f64());
        let real = if context.is_canary {
            capacity * 1.1
        } else {
            capacity
        };
        let good = |load: f64| load <= real;
        let failed = || Outcome::Failed("p99 < 5 ms".into());
        let (finding, _) = explore(|load| if good(load) { Outcome::Met } else { failed() });
        let best = finding.and_then(|finding| finding.best).unwrap_or(0.0);
        within += u64::from((best / capacity - 1.0).abs() <= LIMITS.tolerance);
        above += u64::from(best > capacity);
        // A generator that gives up first must not be taken for the server.
        let (finding, _) = explore(|load| {
            if good(load) {
                Outcome::Met
            } else {
                Outcome::Invalid("the generator was not on time".into())
            }
        });
        honest += u64::from(matches!(
            finding.map(|finding| finding.bound),
            Some(Bound::Generator(_))
        ));
        // One in five windows shows the opposite of the truth.
        let (finding, _) = explore(|load| {
            if good(load) != (random.u8(..) < 51) {
                Outcome::Met
            } else {
                failed()
            }
        });
        ended += u64::from(finding.is_some());
    }
    Ok(vec![
        Check::exact("capacities found within 2 %", systems, within),
        Check::exact("capacities overstated", 0, above),
        Check::exact(
            "limits of the generator that were called so",
            systems,
            honest,
        ),
        Check::exact("searches of noisy systems that ended", systems, ended),
    ])
}
