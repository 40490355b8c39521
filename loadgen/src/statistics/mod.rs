//! Statistics for judging runs: tests, intervals, fits.
//!
//! Pure functions of numbers. They know nothing of reports, run nothing, print nothing, and draw
//! randomness from seeds that the caller names.

pub mod bootstrap;
pub mod calibration;
pub mod comparison;
pub mod holm;
pub mod kolmogorov;
pub mod mann_whitney;
pub mod normal;
pub mod scaling;

/// The median: the middle value, or the mean of the two in the middle. `None` without values, or
/// when one of them is no number.
pub fn median(values: &[f64]) -> Option<f64> {
    if values.is_empty() || values.iter().any(|value| value.is_nan()) {
        return None;
    }
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    Some(middle(&sorted))
}

/// The median of values in order; there is at least one.
fn middle(sorted: &[f64]) -> f64 {
    let half = sorted.len() / 2;
    if sorted.len().is_multiple_of(2) {
        f64::midpoint(sorted[half - 1], sorted[half])
    } else {
        sorted[half]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[7.0]), Some(7.0));
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[1.0, f64::NAN]), None);
    }
}
