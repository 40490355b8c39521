//! The search for the highest rate at which a report is not INVALID. Pure.

use serde::Serialize;

/// A highest rate.
#[derive(Clone, Debug, Serialize)]
pub struct Ceiling {
    /// With `--spin`.
    pub is_spinning: bool,
    /// Messages per second; 0 when none was good.
    pub per_second: u64,
    /// How late 1 % of the messages were at that rate, or later.
    pub late_p99_ns: u64,
    /// The lowest rate that was tried and was not good.
    pub first_bad_per_second: Option<u64>,
    /// Why it was not.
    pub reason: String,
}

/// The bracket is this narrow at the end, as a share of the best rate.
const TOLERANCE: f64 = 0.10;
/// More runs than this are not made.
const RUNS_MAX: u32 = 12;
/// The lowest rate that is tried.
const RATE_MIN: u64 = 1_000;

/// Halves or doubles until there is a bracket, and then halves that.
#[derive(Clone, Debug)]
pub struct Search {
    best: u64,
    worst: Option<u64>,
    next: u64,
    runs: u32,
}

impl Search {
    /// A rate of half of what a closed loop reaches is where an open loop may be expected to go.
    pub fn new(closed_per_second: f64) -> Search {
        Search {
            best: 0,
            worst: None,
            next: ((closed_per_second / 2.0) as u64).max(RATE_MIN),
            runs: 0,
        }
    }

    /// The rate to try; `None` when it is known well enough.
    pub fn next_rate(&self) -> Option<u64> {
        if self.runs >= RUNS_MAX {
            return None;
        }
        let is_narrow = self.worst.is_some_and(|worst| {
            let width = worst.saturating_sub(self.best);
            width as f64 <= self.best as f64 * TOLERANCE || worst <= RATE_MIN
        });
        (!is_narrow).then_some(self.next)
    }

    /// What a run at a rate was like.
    pub fn learn(&mut self, per_second: u64, is_good: bool) {
        self.runs += 1;
        if is_good {
            self.best = self.best.max(per_second);
        } else {
            self.worst = Some(self.worst.map_or(per_second, |worst| worst.min(per_second)));
        }
        // Noise may find a rate good above one that was not: the good run counts.
        self.worst = self.worst.filter(|worst| *worst > self.best);
        self.next = match (self.best, self.worst) {
            (best, None) => best.saturating_mul(2),
            (0, Some(worst)) => (worst / 2).max(RATE_MIN),
            (best, Some(worst)) => best + (worst - best) / 2,
        };
    }

    /// The highest good rate; 0 when there was none.
    pub fn best(&self) -> u64 {
        self.best
    }

    /// The lowest rate above it that was not good.
    pub fn worst(&self) -> Option<u64> {
        self.worst
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_ends_and_is_right(limit in 1_000u64..5_000_000, closed in 1_000.0f64..3_000_000.0) {
            let mut search = Search::new(closed);
            let mut runs = 0;
            while let Some(rate) = search.next_rate() {
                runs += 1;
                prop_assert!(runs <= RUNS_MAX);
                search.learn(rate, rate <= limit);
            }
            prop_assert!(search.best() <= limit);
            prop_assert!(search.worst().is_none_or(|worst| worst > limit));
            if runs < RUNS_MAX && search.best() > 0 {
                prop_assert!(search.best() as f64 >= limit as f64 / (1.0 + TOLERANCE) - 1.0);
            }
        }

        #[test]
        fn it_ends_whatever_the_machine_does(seed: u64, closed in 0.0f64..1e9) {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut search = Search::new(closed);
            let mut runs = 0;
            while let Some(rate) = search.next_rate() {
                runs += 1;
                prop_assert!(runs <= RUNS_MAX && rate > 0);
                search.learn(rate, random.bool());
            }
            prop_assert!(search.worst().is_none_or(|worst| worst > search.best()));
        }
    }

    #[test]
    fn a_machine_on_which_nothing_works() {
        let mut search = Search::new(100_000.0);
        while let Some(rate) = search.next_rate() {
            search.learn(rate, false);
        }
        assert_eq!((search.best(), search.worst()), (0, Some(1_000)));
    }
}
