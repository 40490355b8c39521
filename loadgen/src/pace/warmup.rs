//! How long the load lasts before measuring starts, and when it has become steady.
//!
//! Pure arithmetic over stretches of a warm-up: how many replies came, and how long they took.
//! Knows no clock and no thread.

use crate::measure::latency::Latency;
use crate::quantity::{format_count, format_ns, parse_duration_ns};

/// A warm-up that ends when the load is steady ends after this long in any case.
pub const AUTO_MAX_NS: u64 = 10_000_000_000;
/// The warm-up, where nothing is said, of commands that measure many windows in a row (the first has
/// warmed the server up for those that follow) and of agents, which have to measure the same time.
pub const WINDOW_NS: u64 = 1_000_000_000;

/// Stretches of a warm-up are alike when they differ by less than this share.
const ALIKE: f64 = 0.10;
/// Counts of random events differ by chance; so many standard deviations are put down to it.
const CHANCE: f64 = 4.0;
/// The last look at the load comes so long before the second that measuring may start with.
const LEAD_NS: u64 = 250_000_000;
const SECOND_NS: u64 = 1_000_000_000;

/// `-w`: load before measuring starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Warmup {
    /// Nothing was said: as [`Warmup::Auto`], but see [`WINDOW_NS`].
    Unsaid,
    /// Until the load is steady, [`AUTO_MAX_NS`] at most.
    Auto,
    /// So many nanoseconds.
    Fixed(u64),
}

impl Warmup {
    /// No warm-up.
    pub const NONE: Warmup = Warmup::Fixed(0);

    /// Reads `auto` or a duration.
    ///
    /// # Errors
    /// One sentence that names what was wrong and shows an example.
    pub fn parse(text: &str) -> Result<Warmup, String> {
        if text == "auto" {
            return Ok(Warmup::Auto);
        }
        parse_duration_ns(text)
            .map(Warmup::Fixed)
            .map_err(|error| format!("{error}; or auto: until the load is steady"))
    }

    /// Whether its end depends on the load.
    pub fn is_auto(self) -> bool {
        !matches!(self, Warmup::Fixed(_))
    }

    /// Its longest length in nanoseconds.
    pub fn longest_ns(self) -> u64 {
        match self {
            Warmup::Unsaid | Warmup::Auto => AUTO_MAX_NS,
            Warmup::Fixed(ns) => ns,
        }
    }

    /// For a command that measures many windows in a row, and for agents.
    pub fn of_window(self) -> Warmup {
        match self {
            Warmup::Unsaid => Warmup::Fixed(WINDOW_NS),
            said => said,
        }
    }

    /// As a person reads it.
    pub fn describe(self) -> String {
        match self {
            Warmup::Fixed(ns) => format_ns(ns),
            _ => format!(
                "until the load is steady, {} at most",
                format_ns(AUTO_MAX_NS)
            ),
        }
    }
}

/// When the load is looked at, in nanoseconds since it began: a first time when the first messages
/// are through, which nobody wants to see, and then a little before every second that measuring may
/// start with.
pub fn look_ns(look: u32) -> u64 {
    match look {
        0 => LEAD_NS,
        1 => SECOND_NS,
        _ => u64::from(look) * SECOND_NS - LEAD_NS,
    }
}

/// Where measuring starts when the load was found steady at `at_ns` since it began: with the next
/// whole second, so that the rows of a run lie on one side of it. `None` when that is too near for
/// all threads to hear of it in time.
pub fn start_after_ns(at_ns: u64) -> Option<u64> {
    let next_ns = (at_ns / SECOND_NS + 1) * SECOND_NS;
    (next_ns - at_ns >= LEAD_NS / 2).then_some(next_ns)
}

/// What came back in one stretch of a warm-up.
#[derive(Clone, Debug, Default)]
pub struct Stretch {
    /// Its length.
    pub length_ns: u64,
    /// Response times of what was answered in it.
    pub response: Latency,
}

impl Stretch {
    fn per_second(&self) -> f64 {
        self.response.count() as f64 * 1e9 / self.length_ns.max(1) as f64
    }

    fn median_ns(&self) -> u64 {
        self.response.quantile(0.5)
    }

    fn describe(&self) -> String {
        format!(
            "{}/s at a median of {}",
            format_count(self.per_second().round() as u64),
            format_ns(self.median_ns())
        )
    }
}

/// Follows a warm-up.
#[derive(Debug, Default)]
pub struct Steadiness {
    last: Option<Stretch>,
    /// The last comparison, in words.
    pub comparison: String,
}

impl Steadiness {
    /// Takes in the next stretch, and returns whether it is like the one before.
    pub fn is_steady(&mut self, stretch: Stretch) -> bool {
        let Some(before) = self.last.replace(stretch.clone()) else {
            return false;
        };
        self.comparison = format!("{}, then {}", before.describe(), stretch.describe());
        if before.response.count() == 0 || stretch.response.count() == 0 {
            return false;
        }
        has_same_rate(&before, &stretch) && has_same_median(&before, &stretch)
    }
}

/// Whether two counts differ by no more than the tolerance, or by chance.
fn has_same_rate(before: &Stretch, after: &Stretch) -> bool {
    let (left, right) = (before.per_second(), after.per_second());
    let fewest = before.response.count().min(after.response.count()) as f64;
    let tolerance = ALIKE.max(CHANCE / fewest.sqrt());
    (left - right).abs() <= tolerance * left.max(right)
}

/// Whether the medians differ by no more than the tolerance, or by chance: that of n values lies
/// between their quantiles 0.5 ± 1/√n, two standard errors, and these ranges overlap.
fn has_same_median(before: &Stretch, after: &Stretch) -> bool {
    let (left, right) = (before.median_ns() as f64, after.median_ns() as f64);
    if (left - right).abs() <= ALIKE * left.max(right) {
        return true;
    }
    let range = |stretch: &Stretch| {
        let spread = 1.0 / (stretch.response.count() as f64).sqrt();
        let at = |quantile: f64| stretch.response.quantile(quantile.clamp(0.0, 1.0));
        (at(0.5 - spread), at(0.5 + spread))
    };
    let ((low, high), (other_low, other_high)) = (range(before), range(after));
    low <= other_high && other_low <= high
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stretch(count: u64, median_ns: u64) -> Stretch {
        let mut response = Latency::default();
        for number in 0..count {
            // Spread evenly, 1 % to either side.
            let share = number as f64 / count.max(2) as f64 - 0.5;
            response.record((median_ns as f64 * (1.0 + 0.02 * share)) as u64);
        }
        Stretch {
            length_ns: 1_000_000_000,
            response,
        }
    }

    fn is_steady(stretches: &[(u64, u64)]) -> bool {
        let mut steadiness = Steadiness::default();
        let mut is_steady = false;
        for (count, median_ns) in stretches {
            is_steady = steadiness.is_steady(stretch(*count, *median_ns));
        }
        is_steady
    }

    #[test]
    fn two_stretches_alike_are_steady() {
        assert!(!is_steady(&[(1_000, 100_000)]), "one stretch tells nothing");
        assert!(is_steady(&[(1_000, 100_000), (1_050, 95_000)]));
        assert!(is_steady(&[
            (10, 900_000),
            (1_000, 100_000),
            (1_000, 100_000)
        ]));
    }

    #[test]
    fn what_still_changes_is_not() {
        assert!(
            !is_steady(&[(10_000, 100_000), (10_000, 120_000)]),
            "slower"
        );
        assert!(
            !is_steady(&[(10_000, 120_000), (10_000, 100_000)]),
            "faster"
        );
        assert!(!is_steady(&[(10_000, 100_000), (12_000, 100_000)]), "more");
        assert!(!is_steady(&[(12_000, 100_000), (10_000, 100_000)]), "fewer");
        assert!(!is_steady(&[(0, 1), (0, 1)]), "nothing has come back");
        assert!(
            !is_steady(&[(1_000, 100_000), (0, 1)]),
            "nothing comes back"
        );
    }

    #[test]
    fn few_replies_differ_by_chance() {
        assert!(is_steady(&[(9, 100_000), (14, 100_000)]));
        assert!(!is_steady(&[(900, 100_000), (1_400, 100_000)]));
    }

    #[test]
    fn looks_leave_time_before_the_second_they_are_for() {
        let looks: Vec<u64> = (0..5).map(|look| look_ns(look) / 1_000_000).collect();
        assert_eq!(looks, [250, 1_000, 1_750, 2_750, 3_750]);
        assert_eq!(start_after_ns(look_ns(2)), Some(2 * SECOND_NS));
        assert_eq!(
            start_after_ns(2 * SECOND_NS - 1),
            None,
            "nobody would hear of it in time"
        );
    }

    #[test]
    fn the_command_line() {
        assert_eq!(Warmup::parse("auto"), Ok(Warmup::Auto));
        assert_eq!(Warmup::parse("2s"), Ok(Warmup::Fixed(2_000_000_000)));
        let error = Warmup::parse("soon").expect_err("not a time");
        assert!(error.contains("auto"), "{error}");
        assert_eq!(Warmup::Unsaid.of_window(), Warmup::Fixed(WINDOW_NS));
        assert_eq!(Warmup::Auto.of_window(), Warmup::Auto);
    }

    proptest! {
        /// A constant load with chance in its counts and times is found steady nearly always; the
        /// seeds decide, so a failure repeats.
        #[test]
        fn a_constant_load_is_steady(seed: u64, mean in 5.0..5_000.0f64) {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut steadiness = Steadiness::default();
            let mut found = 0;
            for _ in 0..9 {
                // Poisson arrivals over one second, exponential response times.
                let (mut at, mut response) = (0.0, Latency::default());
                loop {
                    at += -(1.0 - random.f64()).ln() / mean;
                    if at >= 1.0 {
                        break;
                    }
                    response.record((1.0 - 1e6 * (1.0 - random.f64()).ln()) as u64);
                }
                found += u32::from(steadiness.is_steady(Stretch { length_ns: SECOND_NS, response }));
            }
            prop_assert!(found >= 5, "{found} of 8 comparisons");
        }

        /// A load that doubles its latency or its rate from stretch to stretch never is.
        #[test]
        fn a_growing_load_is_not(count in 200u64..5_000, median_ns in 10_000u64..10_000_000) {
            prop_assert!(!is_steady(&[(count, median_ns), (count, 2 * median_ns)]));
            prop_assert!(!is_steady(&[(count, median_ns), (2 * count, median_ns)]));
        }
    }
}
