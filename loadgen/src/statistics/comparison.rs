//! Two groups of runs, figure by figure: which differences are more than noise?
//!
//! The unit is a run. Messages of one run share its luck (the same process, the same caches, the
//! same neighbours), so a million of them are still one observation of what a restart changes.

use super::bootstrap::{Estimate, ratio_of_medians};
use super::holm::holm;
use super::mann_whitney::mann_whitney;
use super::median;

/// Fewer runs on a side than this prove nothing: four against four cannot get below p = 0.029.
pub const RUNS_MIN: usize = 5;
/// Figures that are tested at most. The smallest p of five against five is 0.0079; corrected for
/// seven figures it would be 0.056, and no difference at all could be significant.
pub const TESTED_MAX: usize = 6;
/// A difference is significant when its corrected p is at most this.
pub const LEVEL: f64 = 0.05;
/// Of the interval around a ratio.
pub const CONFIDENCE: f64 = 0.95;

/// Which way is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    /// Latencies, costs.
    Lower,
    /// Rates.
    Higher,
}

/// One figure of every run.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// Its name.
    pub name: String,
    /// Which way is better.
    pub better: Better,
    /// Takes part in the tests; the others are shown only.
    pub is_tested: bool,
    /// One value a run, before.
    pub base: Vec<f64>,
    /// One value a run, after.
    pub new: Vec<f64>,
}

/// Whether a difference is more than noise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// A difference as large by chance alone: at most [`LEVEL`] over all tested figures.
    Significant,
    /// Nothing can be said.
    NotSignificant,
    /// Fewer than [`RUNS_MIN`] runs on a side.
    TooFewRuns,
    /// Shown without a test.
    NotTested,
}

/// What is known of one figure.
#[derive(Clone, Debug, PartialEq)]
pub struct Compared {
    /// Median of the runs before.
    pub base: f64,
    /// Median of the runs after.
    pub new: f64,
    /// After over before, with its interval; `None` when before was zero.
    pub ratio: Option<Estimate>,
    /// Corrected for the number of tested figures.
    pub p: Option<f64>,
    /// Whether it is more than noise.
    pub finding: Finding,
    /// By how much it got worse: 0.05 is 5 % slower, or 5 % less throughput. Negative: better.
    pub worse_by: Option<f64>,
}

impl Compared {
    /// Significant, and worse by at least `limit` (0.05).
    pub fn is_regression(&self, limit: f64) -> bool {
        self.finding == Finding::Significant && self.worse_by.is_some_and(|worse| worse >= limit)
    }
}

/// Compares every figure; `None` for one without values. The tested ones are corrected together.
pub fn compare(figures: &[Figure], seed: u64) -> Vec<Option<Compared>> {
    let figures = figures.iter().zip(corrected_p(figures));
    figures
        .map(|(figure, p)| compared(figure, p, seed))
        .collect()
}

/// The p of every tested figure, corrected for their number. `None` for the others, and for those
/// with too few runs.
pub fn corrected_p(figures: &[Figure]) -> Vec<Option<f64>> {
    let p_of = |figure: &Figure| -> Option<f64> {
        let has_runs = figure.base.len().min(figure.new.len()) >= RUNS_MIN;
        if !figure.is_tested || !has_runs {
            return None;
        }
        Some(mann_whitney(&figure.base, &figure.new)?.p)
    };
    let plain: Vec<Option<f64>> = figures.iter().map(p_of).collect();
    let tested: Vec<f64> = plain.iter().flatten().copied().collect();
    let mut corrected = holm(&tested).into_iter();
    let plain = plain.into_iter();
    plain
        .map(|plain| plain.and_then(|_| corrected.next()))
        .collect()
}

fn compared(figure: &Figure, p: Option<f64>, seed: u64) -> Option<Compared> {
    let (base, new) = (median(&figure.base)?, median(&figure.new)?);
    let finding = match p {
        _ if !figure.is_tested => Finding::NotTested,
        None => Finding::TooFewRuns,
        Some(p) if p <= LEVEL => Finding::Significant,
        Some(_) => Finding::NotSignificant,
    };
    let ratio = ratio_of_medians(&figure.base, &figure.new, CONFIDENCE, seed);
    let worse_by = match figure.better {
        Better::Lower => ratio.map(|ratio| ratio.value - 1.0),
        Better::Higher => ratio.map(|ratio| 1.0 - ratio.value),
    };
    Some(Compared {
        base,
        new,
        ratio,
        p,
        finding,
        worse_by,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(base: &[f64], new: &[f64]) -> Figure {
        Figure {
            name: "response p99".into(),
            better: Better::Lower,
            is_tested: true,
            base: base.to_vec(),
            new: new.to_vec(),
        }
    }

    #[test]
    fn five_runs_a_side_can_just_be_significant_with_six_figures() {
        let clear = figure(&[1.0, 1.1, 1.2, 1.3, 1.4], &[2.0, 2.1, 2.2, 2.3, 2.4]);
        let found = compare(&vec![clear.clone(); TESTED_MAX], 1);
        for found in found.iter().flatten() {
            assert_eq!(found.finding, Finding::Significant, "{found:?}");
            assert!(
                found.is_regression(0.05) && !found.is_regression(0.9),
                "{found:?}"
            );
        }
        let found = compare(&vec![clear; TESTED_MAX + 1], 1);
        let first = found[0].as_ref().expect("values");
        assert_eq!(first.finding, Finding::NotSignificant);
    }

    #[test]
    fn four_runs_prove_nothing() {
        let clear = figure(&[1.0, 1.1, 1.2, 1.3], &[2.0, 2.1, 2.2, 2.3, 2.4]);
        let found = compare(&[clear], 1);
        let found = found[0].as_ref().expect("values");
        assert_eq!((found.finding, found.p), (Finding::TooFewRuns, None));
        assert!(!found.is_regression(0.0));
        assert!(
            found.worse_by.is_some_and(|worse| worse > 0.9),
            "the change is still shown"
        );
    }

    #[test]
    fn more_throughput_is_no_regression() {
        let (low, high) = ([1.0, 1.1, 1.2, 1.3, 1.4], [2.0, 2.1, 2.2, 2.3, 2.4]);
        let rate = |base: &[f64], new: &[f64]| Figure {
            better: Better::Higher,
            ..figure(base, new)
        };
        let found = compare(&[rate(&low, &high), rate(&high, &low)], 1);
        let is_regression = |index: usize| {
            found[index]
                .as_ref()
                .is_some_and(|found| found.is_regression(0.05))
        };
        assert!(!is_regression(0) && is_regression(1));
    }

    #[test]
    fn untested_figures_cost_the_others_nothing() {
        let clear = figure(&[1.0, 1.1, 1.2, 1.3, 1.4], &[2.0, 2.1, 2.2, 2.3, 2.4]);
        let shown = Figure {
            is_tested: false,
            ..clear.clone()
        };
        let found = compare(&[shown.clone(), clear, shown, figure(&[], &[])], 1);
        let finding = |index: usize| found[index].as_ref().map(|found| found.finding);
        assert_eq!(finding(0), Some(Finding::NotTested));
        assert_eq!(finding(1), Some(Finding::Significant));
        assert_eq!(finding(3), None);
        let p = found[1].as_ref().and_then(|found| found.p).expect("tested");
        assert!((p - 2.0 / 252.0).abs() < 1e-12);
    }
}
