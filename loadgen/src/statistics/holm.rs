//! Holm's correction: who looks at many figures finds a difference by chance.

/// Adjusts p-values so that, compared with a level, the chance of even one false alarm among all of
/// them stays below that level. Keeps the order of the input.
pub fn holm(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|one, other| p_values[*one].total_cmp(&p_values[*other]));
    let mut adjusted = vec![1.0; p_values.len()];
    let mut largest = 0.0f64;
    for (position, index) in order.into_iter().enumerate() {
        let factor = (p_values.len() - position) as f64;
        largest = largest.max((p_values[index] * factor).min(1.0));
        adjusted[index] = largest;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn worked_by_hand() {
        // Sorted 0.01, 0.02, 0.03, 0.04 times 4, 3, 2, 1, and never falling.
        let found = holm(&[0.04, 0.01, 0.03, 0.02]);
        for (found, expected) in found.iter().zip([0.06, 0.04, 0.06, 0.06]) {
            assert!((found - expected).abs() < 1e-12, "{found} {expected}");
        }
        assert_eq!(holm(&[0.6, 0.5]), [1.0, 1.0]);
        assert_eq!(holm(&[]), Vec::<f64>::new());
    }

    proptest! {
        /// Holm's own wording: reject the smallest while p(i) <= level / (count - i), then stop.
        #[test]
        fn rejects_as_the_step_down_procedure_does(
            p_values in prop::collection::vec(0.0f64..1.0, 1..12),
            level in 0.01f64..0.3,
        ) {
            let mut sorted = p_values.clone();
            sorted.sort_by(f64::total_cmp);
            let count = sorted.len();
            let steps = sorted.iter().enumerate();
            let rejected = steps
                .take_while(|(position, p)| **p * (count - position) as f64 <= level)
                .count();
            let adjusted = holm(&p_values);
            prop_assert_eq!(adjusted.iter().filter(|p| **p <= level).count(), rejected);
            for (adjusted, plain) in adjusted.iter().zip(&p_values) {
                prop_assert!(adjusted >= plain);
            }
        }
    }
}
