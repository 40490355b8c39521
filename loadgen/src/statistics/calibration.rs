//! Is the comparison itself right? It is given made-up runs of which the truth is known.
//!
//! The made-up runs look like repeated runs on one quiet machine: everything that a restart changes
//! moves all figures of a run together by 2 % (standard deviation), and each figure has a noise of
//! its own on top, from 1.5 % for a median to 6 % for a 99.9th percentile, with the long upper tail
//! that latencies have. The same figures are tested as in a comparison of real runs.

use super::comparison::{Better, Figure, LEVEL, TESTED_MAX, corrected_p};
use super::median;

/// Runs on each side.
pub const RUNS: usize = 10;
/// Comparisons of either kind.
pub const TRIALS: usize = 1_000;
/// The slowdown that must be found.
pub const SLOWDOWN: f64 = 0.05;
/// Standard deviation of what all figures of a run share.
pub const SHARED_NOISE: f64 = 0.02;
/// Standard deviation of each figure's own noise.
pub const OWN_NOISE: [f64; TESTED_MAX] = [0.015, 0.015, 0.02, 0.03, 0.06, 0.015];
/// Equal runs must be called not significant at least this often.
pub const QUIET_MIN: f64 = 0.93;
/// The slowdown must be found at least this often.
pub const POWER_MIN: f64 = 0.80;

/// How often the comparison was right.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Calibration {
    /// Share of comparisons of equal runs in which no figure was significant.
    pub quiet_share: f64,
    /// Share of comparisons with the slowdown in which a figure was significant, and worse.
    pub power: f64,
}

impl Calibration {
    /// Both shares are as good as promised.
    pub fn is_met(&self) -> bool {
        self.quiet_share >= QUIET_MIN && self.power >= POWER_MIN
    }
}

/// Compares equal runs with each other, and with runs that are 5 % slower, [`TRIALS`] times each.
pub fn calibrate_compare(seed: u64) -> Calibration {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut quiet = 0;
    let mut found = 0;
    for _ in 0..TRIALS {
        let equal = made_up(0.0, &mut random);
        quiet += usize::from(significant(&equal).is_empty());
        let slower = made_up(SLOWDOWN, &mut random);
        found += usize::from(significant(&slower).into_iter().any(is_worse));
    }
    Calibration {
        quiet_share: quiet as f64 / TRIALS as f64,
        power: found as f64 / TRIALS as f64,
    }
}

fn significant(figures: &[Figure]) -> Vec<&Figure> {
    let figures = figures.iter().zip(corrected_p(figures));
    figures
        .filter(|(_, p)| p.is_some_and(|p| p <= LEVEL))
        .map(|(figure, _)| figure)
        .collect()
}

fn is_worse(figure: &Figure) -> bool {
    median(&figure.new) > median(&figure.base)
}

/// The figures of [`RUNS`] runs a side; those after are slower.
fn made_up(slowdown: f64, random: &mut fastrand::Rng) -> Vec<Figure> {
    let mut figures: Vec<Figure> = OWN_NOISE
        .iter()
        .enumerate()
        .map(|(index, _)| Figure {
            name: format!("figure {index}"),
            better: Better::Lower,
            is_tested: true,
            base: Vec::new(),
            new: Vec::new(),
        })
        .collect();
    for _ in 0..RUNS {
        for is_new in [false, true] {
            let shared = SHARED_NOISE * gaussian(random);
            for (figure, own) in figures.iter_mut().zip(OWN_NOISE) {
                let value = 100_000.0 * (shared + own * gaussian(random)).exp();
                if is_new {
                    figure.new.push(value * (1.0 + slowdown));
                } else {
                    figure.base.push(value);
                }
            }
        }
    }
    figures
}

/// One value of the standard normal distribution (Box and Muller).
fn gaussian(random: &mut fastrand::Rng) -> f64 {
    let radius = (-2.0 * (1.0 - random.f64()).ln()).sqrt();
    radius * (2.0 * std::f64::consts::PI * random.f64()).cos()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::{kolmogorov, normal};

    #[test]
    fn equal_runs_are_left_alone_and_five_percent_are_found() {
        for seed in [1, 2, 3] {
            let found = calibrate_compare(seed);
            println!("seed {seed}: {found:?}; replay with calibrate_compare({seed})");
            assert!(found.is_met(), "seed {seed}: {found:?}");
            assert_eq!(found, calibrate_compare(seed), "repeats by its seed");
        }
    }

    #[test]
    fn the_made_up_noise_is_gaussian() {
        let mut random = fastrand::Rng::with_seed(23);
        let sample: Vec<f64> = (0..5_000).map(|_| gaussian(&mut random)).collect();
        let found = kolmogorov::one_sample(&sample, normal::lower_tail).expect("numbers");
        assert!(found.p > 0.01, "{found:?}");
    }
}
