//! The promises of the search, on made-up systems.

use super::*;
use proptest::prelude::*;

fn limits(min: f64, max: f64, start: f64, is_whole: bool) -> Limits {
    Limits {
        min,
        max,
        start,
        tolerance: 0.02,
        confirm: 3,
        is_whole,
    }
}

/// Searches a system and returns the result with every window.
fn search(
    limits: Limits,
    mut system: impl FnMut(f64) -> Outcome,
) -> (Finding, Vec<(f64, Purpose, Outcome)>) {
    let mut search = Search::new(limits);
    let mut windows = Vec::new();
    loop {
        match search.next() {
            Step::Done(finding) => return (finding, windows),
            Step::Try { load, purpose, .. } => {
                assert!(
                    windows.len() < STEPS_MAX as usize,
                    "too many windows: {windows:?}"
                );
                let outcome = system(load);
                windows.push((load, purpose, outcome.clone()));
                search.observe(outcome);
            }
        }
    }
}

fn failed() -> Outcome {
    Outcome::Failed("echo.p99 < 1ms".into())
}

fn up_to(capacity: f64) -> impl FnMut(f64) -> Outcome {
    move |load| {
        if load <= capacity {
            Outcome::Met
        } else {
            failed()
        }
    }
}

#[test]
fn grows_narrows_and_confirms() {
    let (finding, windows) = search(limits(1.0, 1e9, 1_000.0, false), up_to(10_000.0));
    let best = finding.best.expect("found");
    assert!((9_800.0..=10_000.0).contains(&best), "{finding:?}");
    assert_eq!(finding.confirmations, 3);
    assert_eq!(finding.bound, Bound::Server("echo.p99 < 1ms".into()));
    let loads: Vec<f64> = windows.iter().take(5).map(|(load, _, _)| *load).collect();
    assert_eq!(loads, [1_000.0, 2_000.0, 4_000.0, 8_000.0, 16_000.0]);
    let last: Vec<_> = windows.iter().rev().take(3).collect();
    assert!(
        last.iter()
            .all(|(load, purpose, _)| *load == best && *purpose == Purpose::Confirm)
    );
}

#[test]
fn a_start_that_is_far_too_much_costs_few_windows() {
    let (finding, windows) = search(limits(1.0, 1e9, 64e6, false), up_to(700.0));
    let best = finding.best.expect("found");
    assert!((686.0..=700.0).contains(&best), "{finding:?}");
    assert!(windows.len() <= 20, "{windows:?}");
}

#[test]
fn nothing_is_good_enough() {
    let (finding, windows) = search(limits(100.0, 1e6, 1_000.0, false), |_| failed());
    assert_eq!((finding.best, finding.upper), (None, Some(100.0)));
    assert!(windows.len() <= 6, "{windows:?}");
}

#[test]
fn everything_is_good_enough() {
    let (finding, windows) = search(limits(1.0, 10_000.0, 1_000.0, false), |_| Outcome::Met);
    assert_eq!((finding.best, finding.upper), (Some(10_000.0), None));
    assert_eq!(finding.bound, Bound::Maximum);
    // 1, 2, 4, 8 and 10 thousand, and three to confirm.
    assert_eq!(windows.len(), 8);
}

#[test]
fn the_generator_is_tried_twice_and_then_bounds_the_result() {
    let invalid = || Outcome::Invalid("late".into());
    let (finding, windows) = search(limits(1.0, 1e9, 1_000.0, false), |load| {
        if load <= 5_000.0 {
            Outcome::Met
        } else {
            invalid()
        }
    });
    let best = finding.best.expect("found");
    assert!((4_900.0..=5_000.0).contains(&best), "{finding:?}");
    assert_eq!(finding.bound, Bound::Generator("late".into()));
    let at_8000 = windows
        .iter()
        .filter(|(load, _, _)| *load == 8_000.0)
        .count();
    assert_eq!(at_8000, 2);

    // Once only is no bound at all.
    let mut hiccups = 0;
    let mut system = up_to(10_000.0);
    let (finding, _) = search(limits(1.0, 1e9, 1_000.0, false), |load| {
        hiccups += 1;
        if hiccups % 2 == 1 {
            invalid()
        } else {
            system(load)
        }
    });
    assert!(
        finding.best.is_some_and(|best| best > 9_800.0),
        "{finding:?}"
    );
    assert!(matches!(finding.bound, Bound::Server(_)), "{finding:?}");
}

#[test]
fn a_failed_confirmation_steps_down() {
    // Good for one window, not for three in a row, above 9,000.
    let mut last = 0.0;
    let (finding, windows) = search(limits(1.0, 1e9, 1_000.0, false), |load| {
        let is_second = last == load;
        last = load;
        match load {
            load if load > 10_000.0 => failed(),
            load if load > 9_000.0 && is_second => failed(),
            _ => Outcome::Met,
        }
    });
    let best = finding.best.expect("found");
    assert!(
        (7_000.0..=9_000.0).contains(&best),
        "{finding:?} {windows:?}"
    );
    assert!(finding.upper.is_some_and(|upper| upper > best));
}

#[test]
fn whole_numbers() {
    let (finding, windows) = search(limits(1.0, 1e6, 1.0, true), up_to(7.5));
    assert_eq!((finding.best, finding.upper), (Some(7.0), Some(8.0)));
    assert!(
        windows
            .iter()
            .all(|(load, _, _)| load.fract() == 0.0 && *load >= 1.0)
    );
    // One connection is met and two are not, and the one does not hold.
    let mut tries = 0;
    let (finding, _) = search(limits(1.0, 1e6, 1.0, true), |load| {
        tries += 1;
        if load <= 1.0 && tries == 1 {
            Outcome::Met
        } else {
            failed()
        }
    });
    assert_eq!(finding.best, None);
}

#[test]
fn limits_that_contradict_each_other_are_put_in_order() {
    let (finding, _) = search(limits(50.0, 10.0, 0.0, false), |_| Outcome::Met);
    assert_eq!(finding.best, Some(50.0));
    let mut search = Search::new(limits(1.0, 1.0, 1.0, true));
    while let Step::Try { .. } = search.next() {
        search.observe(Outcome::Met);
    }
    let Step::Done(finding) = search.next() else {
        unreachable!()
    };
    assert_eq!(finding.best, Some(1.0));
    search.observe(failed());
    assert_eq!(
        search.next(),
        Step::Done(finding),
        "what is over stays over"
    );
}

proptest! {
    #[test]
    fn a_system_that_behaves_is_found_within_the_tolerance(
        capacity in 1.0f64..1e7,
        start in 1.0f64..1e7,
        tolerance in 0.005f64..0.2,
        is_whole in any::<bool>(),
    ) {
        let limits = Limits { tolerance, ..limits(1.0, 2e7, start, is_whole) };
        let (finding, windows) = search(limits, up_to(capacity));
        let best = finding.best.ok_or_else(|| TestCaseError::fail("nothing found"))?;
        prop_assert!(best <= capacity);
        let grain = if is_whole { 1.0 } else { 0.0 };
        prop_assert!(capacity - best <= best * tolerance + grain, "{best} of {capacity}");
        prop_assert_eq!(finding.confirmations, 3);
        // Doubling or halving, bisecting a factor of two, confirming.
        prop_assert!(windows.len() < 45, "{} windows", windows.len());
    }

    #[test]
    fn noise_neither_hangs_it_nor_makes_it_optimistic(
        capacity in 10.0f64..1e6,
        width in 0.01f64..0.5,
        invalid_share in 0.0f64..0.5,
        seed in any::<u64>(),
    ) {
        let mut random = fastrand::Rng::with_seed(seed);
        // The nearer to its capacity and the higher above, the more often a window fails.
        let chance = |load: f64| 1.0 / (1.0 + ((load / capacity - 1.0) / width * 4.0).exp());
        let (finding, windows) = search(limits(1.0, 1e8, 100.0, false), |load| {
            if random.f64() < invalid_share {
                Outcome::Invalid("busy".into())
            } else if random.f64() < chance(load) {
                Outcome::Met
            } else {
                failed()
            }
        });
        prop_assert!(windows.len() <= STEPS_MAX as usize);
        if let Some(best) = finding.best {
            prop_assert_eq!(finding.confirmations, 3);
            let last: Vec<_> = windows
                .iter()
                .rev()
                .filter(|(_, _, outcome)| !matches!(outcome, Outcome::Invalid(_)))
                .take(3)
                .collect();
            prop_assert!(last.iter().all(|(load, _, outcome)| *load == best && *outcome == Outcome::Met));
            // Three in a row at a load that passes one time in ten is one in a thousand.
            prop_assert!(chance(best) > 0.02, "{best} of {capacity}");
        }
    }

    #[test]
    fn any_sequence_of_outcomes_ends(
        outcomes in prop::collection::vec(0u8..3, 1..60),
        min in 0.001f64..1e3,
        factor in 1.0f64..1e6,
        is_whole in any::<bool>(),
        confirm in 0u32..300,
    ) {
        let limits = Limits { confirm, ..limits(min, min * factor, min * factor / 3.0, is_whole) };
        let mut number = 0;
        let (finding, windows) = search(limits, |load| {
            number += 1;
            assert!(load.is_finite() && load > 0.0, "{load}");
            match outcomes[number % outcomes.len()] {
                0 => Outcome::Met,
                1 => failed(),
                _ => Outcome::Invalid("busy".into()),
            }
        });
        prop_assert!(windows.len() <= STEPS_MAX as usize);
        if let (Some(best), Some(upper)) = (finding.best, finding.upper) {
            prop_assert!(best < upper);
        }
    }
}
