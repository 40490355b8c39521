//! The standard normal distribution.

/// Beyond this the series would lose digits and the continued fraction has them all.
const SERIES_MAX: f64 = 3.0;
/// Terms that either expansion may take; both have converged long before.
const TERMS_MAX: u32 = 200;

/// The share of a standard normal distribution above `z`, to about 14 digits.
pub fn upper_tail(z: f64) -> f64 {
    if z.is_nan() {
        return f64::NAN;
    }
    let tail = tail_of_positive(z.abs());
    if z < 0.0 { 1.0 - tail } else { tail }
}

/// The share below `z`.
pub fn lower_tail(z: f64) -> f64 {
    upper_tail(-z)
}

fn density(z: f64) -> f64 {
    (-0.5 * z * z).exp() / (2.0 * std::f64::consts::PI).sqrt()
}

fn tail_of_positive(z: f64) -> f64 {
    if z > 40.0 {
        return 0.0;
    }
    if z <= SERIES_MAX {
        // density(z) * (z + z^3/3 + z^5/(3*5) + ...): every term is positive, nothing cancels.
        let (mut sum, mut term) = (z, z);
        for number in 1..TERMS_MAX {
            term *= z * z / f64::from(2 * number + 1);
            sum += term;
            if term < sum * 1e-17 {
                break;
            }
        }
        return 0.5 - sum * density(z);
    }
    // Laplace's continued fraction 1/(z + 1/(z + 2/(z + 3/...))), from its end.
    let mut fraction = z;
    for number in (1..TERMS_MAX).rev() {
        fraction = z + f64::from(number) / fraction;
    }
    density(z) / fraction
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Simpson's rule over the density, an independent way to the same number.
    fn integrated(z: f64) -> f64 {
        let (steps, end) = (40_000, 12.0);
        let width = (end - z) / f64::from(steps);
        let weight = |step: i32| match step {
            0 => 1.0,
            step if step == steps => 1.0,
            step if step % 2 == 1 => 4.0,
            _ => 2.0,
        };
        let at = |step: i32| weight(step) * density(z + width * f64::from(step));
        (0..=steps).map(at).sum::<f64>() * width / 3.0
    }

    #[test]
    fn tails_equal_the_integral_of_the_density() {
        for tenth in -60..=60 {
            let z = f64::from(tenth) / 10.0;
            let (found, expected) = (upper_tail(z), integrated(z));
            let error = (found - expected).abs();
            assert!(error < 1e-12 + expected * 1e-9, "{z}: {found} {expected}");
        }
        assert!((upper_tail(1.959_963_984_540_054) - 0.025).abs() < 1e-12);
        assert_eq!(upper_tail(0.0), 0.5);
        assert_eq!(upper_tail(f64::INFINITY), 0.0);
        assert_eq!(lower_tail(f64::INFINITY), 1.0);
        assert!(upper_tail(f64::NAN).is_nan());
    }
}
