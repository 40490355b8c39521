//! The Kolmogorov-Smirnov test: does a sample follow a distribution that is known in full?

/// What the test found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KolmogorovSmirnov {
    /// Largest distance between the sample's distribution and the other one.
    pub distance: f64,
    /// The chance of a distance at least as large if the sample did follow it.
    pub p: f64,
}

/// Tests a sample against a cumulative distribution function. `None` without values, or when one of
/// them is no number. The distribution's parameters must not have been read off the sample.
pub fn one_sample(sample: &[f64], cumulative: impl Fn(f64) -> f64) -> Option<KolmogorovSmirnov> {
    let sorted = sorted(sample)?;
    let count = sorted.len() as f64;
    let mut distance = 0.0f64;
    for (position, value) in sorted.iter().enumerate() {
        let expected = cumulative(*value);
        let (below, above) = (position as f64 / count, (position + 1) as f64 / count);
        distance = distance.max(expected - below).max(above - expected);
    }
    Some(KolmogorovSmirnov {
        distance,
        p: p_value(distance, count),
    })
}

/// Tests whether two samples come from the same distribution.
pub fn two_samples(left: &[f64], right: &[f64]) -> Option<KolmogorovSmirnov> {
    let (left, right) = (sorted(left)?, sorted(right)?);
    let (ours, theirs) = (left.len() as f64, right.len() as f64);
    let mut distance = 0.0f64;
    let (mut one, mut other) = (0, 0);
    while one < left.len() && other < right.len() {
        let value = left[one].min(right[other]);
        one += left[one..]
            .iter()
            .take_while(|next| **next <= value)
            .count();
        other += right[other..]
            .iter()
            .take_while(|next| **next <= value)
            .count();
        distance = distance.max((one as f64 / ours - other as f64 / theirs).abs());
    }
    Some(KolmogorovSmirnov {
        distance,
        p: p_value(distance, ours * theirs / (ours + theirs)),
    })
}

fn sorted(values: &[f64]) -> Option<Vec<f64>> {
    if values.is_empty() || values.iter().any(|value| value.is_nan()) {
        return None;
    }
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    Some(sorted)
}

/// Kolmogorov's limit distribution with Stephens' correction for small samples.
fn p_value(distance: f64, count: f64) -> f64 {
    let root = count.sqrt();
    let scaled = (root + 0.12 + 0.11 / root) * distance;
    if scaled < 0.2 {
        // The series alternates without converging there, and the value is 1 to twelve digits.
        return 1.0;
    }
    let mut sum = 0.0;
    let mut sign = 1.0;
    for number in 1..=100 {
        let number = f64::from(number);
        let term = (-2.0 * number * number * scaled * scaled).exp();
        sum += sign * term;
        sign = -sign;
        if term < 1e-16 {
            break;
        }
    }
    (2.0 * sum).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn uniform(value: f64) -> f64 {
        value.clamp(0.0, 1.0)
    }

    #[test]
    fn worked_by_hand() {
        let found = one_sample(&[0.1, 0.4, 0.7], uniform).expect("numbers");
        // After 0.7 all of the sample is below, and 0.7 of the distribution.
        assert!((found.distance - 0.3).abs() < 1e-12, "{found:?}");
        let found = two_samples(&[1.0, 2.0, 3.0], &[2.5, 3.5, 4.5]).expect("numbers");
        assert!((found.distance - 2.0 / 3.0).abs() < 1e-12, "{found:?}");
        let same = two_samples(&[1.0, 1.0, 2.0], &[1.0, 1.0, 2.0]).expect("numbers");
        assert_eq!((same.distance, same.p), (0.0, 1.0));
        assert_eq!(one_sample(&[], uniform), None);
        assert_eq!(two_samples(&[f64::NAN], &[1.0]), None);
    }

    #[test]
    fn the_known_critical_value() {
        // 1.358 / sqrt(n) is the 5 % point of large samples.
        assert!((p_value(1.358 / 1e3, 1e6) - 0.05).abs() < 0.001);
    }

    #[test]
    fn false_alarms_are_as_frequent_as_promised() {
        let mut random = fastrand::Rng::with_seed(17);
        let mut rejected = [0u32; 2];
        for _ in 0..2_000 {
            let sample: Vec<f64> = (0..50).map(|_| random.f64()).collect();
            let slanted: Vec<f64> = sample.iter().map(|value| value.powf(1.8)).collect();
            for (count, sample) in rejected.iter_mut().zip([&sample, &slanted]) {
                let found = one_sample(sample, uniform).expect("numbers");
                *count += u32::from(found.p < 0.05);
            }
        }
        assert!(
            (60..=140).contains(&rejected[0]),
            "{rejected:?} of 2000, 100 expected"
        );
        assert!(
            rejected[1] > 1_500,
            "a slanted sample is noticed: {rejected:?}"
        );
    }

    proptest! {
        #[test]
        fn the_distance_is_the_largest_gap_found_by_looking_everywhere(
            left in prop::collection::vec(0i32..30, 1..25),
            right in prop::collection::vec(0i32..30, 1..25),
        ) {
            let numbers = |values: &[i32]| -> Vec<f64> {
                values.iter().copied().map(f64::from).collect()
            };
            let share = |values: &[i32], limit: i32| {
                values.iter().filter(|value| **value <= limit).count() as f64 / values.len() as f64
            };
            let expected = (0..30)
                .map(|limit| (share(&left, limit) - share(&right, limit)).abs())
                .fold(0.0, f64::max);
            let found = two_samples(&numbers(&left), &numbers(&right)).expect("numbers");
            prop_assert!((found.distance - expected).abs() < 1e-12);
        }
    }
}
