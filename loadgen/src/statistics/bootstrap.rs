//! By how much two groups of runs differ, and how sure that is.

use super::{median, middle};

/// Resamples of an interval: the ends of a 95 % interval then lie on 100 values each.
const RESAMPLES: usize = 4_000;

/// A figure and the interval around it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The figure itself.
    pub value: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// Median of `new` over median of `base`, with the percentile bootstrap interval of `confidence`
/// (0.95). `None` when a group is empty, contains what is no number, or `base` has a median of 0.
pub fn ratio_of_medians(base: &[f64], new: &[f64], confidence: f64, seed: u64) -> Option<Estimate> {
    let (from, to) = (median(base)?, median(new)?);
    if from == 0.0 || !(to / from).is_finite() {
        return None;
    }
    let mut random = fastrand::Rng::with_seed(seed);
    let mut ratios: Vec<f64> = (0..RESAMPLES)
        .map(|_| resampled(new, &mut random) / resampled(base, &mut random))
        .filter(|ratio| !ratio.is_nan())
        .collect();
    ratios.sort_by(f64::total_cmp);
    let tail = ((1.0 - confidence) / 2.0).clamp(0.0, 0.5);
    let at = |share: f64| {
        let index = (share * ratios.len() as f64) as usize;
        ratios
            .get(index.min(ratios.len().saturating_sub(1)))
            .copied()
    };
    Some(Estimate {
        value: to / from,
        low: at(tail)?,
        high: at(1.0 - tail)?,
    })
}

/// The median of as many values, drawn with putting back.
fn resampled(values: &[f64], random: &mut fastrand::Rng) -> f64 {
    let mut drawn: Vec<f64> = (0..values.len())
        .map(|_| values[random.usize(0..values.len())])
        .collect();
    drawn.sort_by(f64::total_cmp);
    middle(&drawn)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Every resample of both groups, weighed alike: what the drawing approximates.
    fn enumerated(base: &[f64], new: &[f64]) -> Vec<f64> {
        let medians = |values: &[f64]| -> Vec<f64> {
            let count = values.len();
            (0..count.pow(count as u32))
                .map(|mut code| {
                    let mut drawn = Vec::with_capacity(count);
                    for _ in 0..count {
                        drawn.push(values[code % count]);
                        code /= count;
                    }
                    median(&drawn).expect("values")
                })
                .collect()
        };
        let below = medians(base);
        let mut ratios: Vec<f64> = medians(new)
            .iter()
            .flat_map(|new| below.iter().map(move |base| new / base))
            .collect();
        ratios.sort_by(f64::total_cmp);
        ratios
    }

    #[test]
    fn the_interval_is_that_of_all_resamples() {
        let (base, new) = ([10.0, 11.0, 12.0, 14.0], [20.0, 21.0, 25.0, 26.0]);
        let all = enumerated(&base, &new);
        let found = ratio_of_medians(&base, &new, 0.9, 3).expect("numbers");
        assert!((found.value - 2.0).abs() < 1e-12, "{found:?}");
        // As many of all resamples lie outside each end as should, give or take the drawing.
        let share = |holds: &dyn Fn(f64) -> bool| {
            all.iter().filter(|ratio| holds(**ratio)).count() as f64 / all.len() as f64
        };
        assert!(share(&|ratio| ratio < found.low) <= 0.06, "{found:?}");
        assert!(share(&|ratio| ratio <= found.low) >= 0.04, "{found:?}");
        assert!(share(&|ratio| ratio > found.high) <= 0.06, "{found:?}");
        assert!(share(&|ratio| ratio >= found.high) >= 0.04, "{found:?}");
    }

    #[test]
    fn no_figure_without_values() {
        assert_eq!(ratio_of_medians(&[], &[1.0], 0.95, 1), None);
        assert_eq!(ratio_of_medians(&[0.0], &[1.0], 0.95, 1), None);
        assert_eq!(ratio_of_medians(&[1.0], &[f64::NAN], 0.95, 1), None);
        let single = ratio_of_medians(&[2.0], &[3.0], 0.95, 1).expect("numbers");
        assert_eq!((single.low, single.value, single.high), (1.5, 1.5, 1.5));
    }

    proptest! {
        #[test]
        fn repeats_by_its_seed_and_contains_its_value(
            base in prop::collection::vec(1.0f64..100.0, 3..12),
            new in prop::collection::vec(1.0f64..100.0, 3..12),
            seed in any::<u64>(),
        ) {
            let found = ratio_of_medians(&base, &new, 0.95, seed).expect("numbers");
            prop_assert_eq!(Some(found), ratio_of_medians(&base, &new, 0.95, seed));
            prop_assert!(found.low <= found.value && found.value <= found.high);
        }

        #[test]
        fn a_change_of_unit_changes_nothing(
            base in prop::collection::vec(1.0f64..100.0, 3..12),
            new in prop::collection::vec(1.0f64..100.0, 3..12),
        ) {
            let scaled = |values: &[f64]| -> Vec<f64> {
                values.iter().map(|value| value * 1024.0).collect()
            };
            prop_assert_eq!(
                ratio_of_medians(&base, &new, 0.95, 9),
                ratio_of_medians(&scaled(&base), &scaled(&new), 0.95, 9)
            );
        }
    }
}
