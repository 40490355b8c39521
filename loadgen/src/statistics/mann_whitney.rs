//! The Mann-Whitney U test: do two groups of runs come from the same distribution?
//!
//! It assumes nothing about the shape of the noise, which is what latencies need. Exact for small
//! groups without equal values; otherwise the normal approximation, corrected for ties and for U
//! being a whole number.

use super::normal;

/// Up to this many values in both groups together the exact distribution is counted out. Its cost
/// is the fourth power of this: about a million steps.
const EXACT_MAX: usize = 60;

/// What the test found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MannWhitney {
    /// Pairs in which the left value is larger, half a pair for equal ones.
    pub u: f64,
    /// Two-sided: the chance of a difference at least as large if there were none.
    pub p: f64,
    /// Counted out; otherwise approximated.
    pub is_exact: bool,
}

/// Tests two groups. `None` when one is empty or contains something that is no number.
pub fn mann_whitney(left: &[f64], right: &[f64]) -> Option<MannWhitney> {
    if left.is_empty() || right.is_empty() {
        return None;
    }
    if left.iter().chain(right).any(|value| value.is_nan()) {
        return None;
    }
    let ranking = Ranking::of(left, right);
    let (ours, theirs) = (left.len() as f64, right.len() as f64);
    let u = ranking.left_sum - ours * (ours + 1.0) / 2.0;
    let is_exact = ranking.tie_term == 0.0 && left.len() + right.len() <= EXACT_MAX;
    let p = if is_exact {
        exact_p(u, left.len(), right.len())
    } else {
        approximate_p(u, ours, theirs, ranking.tie_term)
    };
    Some(MannWhitney { u, p, is_exact })
}

struct Ranking {
    /// Sum of the ranks of the left group, equal values sharing the mean of theirs.
    left_sum: f64,
    /// Sum of t³ − t over all groups of t equal values.
    tie_term: f64,
}

impl Ranking {
    fn of(left: &[f64], right: &[f64]) -> Ranking {
        let marked = |values: &[f64], is_left: bool| -> Vec<(f64, bool)> {
            values.iter().map(|value| (*value, is_left)).collect()
        };
        let mut all = marked(left, true);
        all.extend(marked(right, false));
        all.sort_by(|(one, _), (other, _)| one.total_cmp(other));
        let mut ranking = Ranking {
            left_sum: 0.0,
            tie_term: 0.0,
        };
        let mut first = 0;
        // -0.0 and 0.0 are neighbours in the total order and equal here.
        for equal in all.chunk_by(|(one, _), (other, _)| one == other) {
            let count = equal.len() as f64;
            let rank = first as f64 + (count + 1.0) / 2.0;
            let ours = equal.iter().filter(|(_, is_left)| *is_left).count();
            ranking.left_sum += rank * ours as f64;
            ranking.tie_term += count.powi(3) - count;
            first += equal.len();
        }
        ranking
    }
}

/// Probabilities of every U for groups of these sizes, when there is no difference.
///
/// The largest of all values is on the left with probability n/(n+m), and then beats all m on the
/// right; without it the question is the same one with a smaller group.
fn distribution(left: usize, right: usize) -> Vec<f64> {
    // `row[m]` holds the distribution for (n, m), for the n of the round.
    let mut row: Vec<Vec<f64>> = vec![vec![1.0]; right + 1];
    for n in 1..=left {
        let mut next: Vec<Vec<f64>> = Vec::with_capacity(right + 1);
        next.push(vec![1.0]);
        for m in 1..=right {
            let on_left = n as f64 / (n + m) as f64;
            let mut sum = vec![0.0; n * m + 1];
            for (u, share) in row[m].iter().enumerate() {
                sum[u + m] += on_left * share;
            }
            for (u, share) in next[m - 1].iter().enumerate() {
                sum[u] += (1.0 - on_left) * share;
            }
            next.push(sum);
        }
        row = next;
    }
    row.pop().unwrap_or_default()
}

fn exact_p(u: f64, left: usize, right: usize) -> f64 {
    let shares = distribution(left, right);
    // Without ties U is a whole number; the smaller tail, both ways round.
    let largest = (left * right) as f64;
    let nearer = u.min(largest - u).round() as usize;
    let tail: f64 = shares.iter().take(nearer + 1).sum();
    (2.0 * tail).min(1.0)
}

fn approximate_p(u: f64, left: f64, right: f64, tie_term: f64) -> f64 {
    let all = left + right;
    let variance = left * right / 12.0 * (all + 1.0 - tie_term / (all * (all - 1.0)));
    // All values are equal: nothing speaks for a difference.
    if variance <= 0.0 {
        return 1.0;
    }
    let distance = ((u - left * right / 2.0).abs() - 0.5).max(0.0);
    (2.0 * normal::upper_tail(distance / variance.sqrt())).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn wins(left: &[f64], right: &[f64]) -> f64 {
        let mut sum = 0.0;
        for one in left {
            for other in right {
                sum += match one.total_cmp(other) {
                    std::cmp::Ordering::Greater => 1.0,
                    std::cmp::Ordering::Equal => 0.5,
                    std::cmp::Ordering::Less => 0.0,
                };
            }
        }
        sum
    }

    /// Every way to split the values into two groups of these sizes, counted one by one.
    fn enumerated_p(left: &[f64], right: &[f64]) -> f64 {
        let all: Vec<f64> = left.iter().chain(right).copied().collect();
        let centre = (left.len() * right.len()) as f64 / 2.0;
        let seen = (wins(left, right) - centre).abs();
        let (mut extreme, mut splits) = (0u32, 0u32);
        for mask in 0u32..1 << all.len() {
            if mask.count_ones() as usize != left.len() {
                continue;
            }
            let pick = |is_left: bool| -> Vec<f64> {
                let chosen = all.iter().enumerate();
                let chosen = chosen.filter(|(bit, _)| (mask >> bit & 1 == 1) == is_left);
                chosen.map(|(_, value)| *value).collect()
            };
            splits += 1;
            let distance = (wins(&pick(true), &pick(false)) - centre).abs();
            extreme += u32::from(distance >= seen - 1e-9);
        }
        f64::from(extreme) / f64::from(splits)
    }

    #[test]
    fn complete_separation_of_five_and_five() {
        let (low, high) = ([1.0, 2.0, 3.0, 4.0, 5.0], [6.0, 7.0, 8.0, 9.0, 10.0]);
        let found = mann_whitney(&low, &high).expect("numbers");
        assert_eq!((found.u, found.is_exact), (0.0, true));
        // Two of the 252 ways to choose 5 of 10.
        assert!((found.p - 2.0 / 252.0).abs() < 1e-12, "{found:?}");
        let turned = mann_whitney(&high, &low).expect("numbers");
        assert_eq!((turned.u, turned.p), (25.0, found.p));
    }

    #[test]
    fn the_approximation_is_near_the_exact_test_where_both_apply() {
        let mut random = fastrand::Rng::with_seed(5);
        for _ in 0..50 {
            let draw = |random: &mut fastrand::Rng, shift: f64| -> Vec<f64> {
                (0..20).map(|_| random.f64() + shift).collect()
            };
            let left = draw(&mut random, 0.0);
            let right = draw(&mut random, 0.15);
            let found = mann_whitney(&left, &right).expect("numbers");
            assert!(found.is_exact);
            let approximate = approximate_p(found.u, 20.0, 20.0, 0.0);
            assert!(
                (found.p - approximate).abs() < 0.01,
                "{found:?} {approximate}"
            );
        }
    }

    #[test]
    fn nothing_to_tell_apart() {
        let equal = mann_whitney(&[2.0; 6], &[2.0; 6]).expect("numbers");
        assert_eq!((equal.p, equal.is_exact), (1.0, false));
        assert_eq!(mann_whitney(&[], &[1.0]), None);
        assert_eq!(mann_whitney(&[f64::NAN], &[1.0]), None);
        let single = mann_whitney(&[1.0], &[2.0]).expect("numbers");
        assert_eq!(single.p, 1.0);
        let zeros = mann_whitney(&[0.0, 1.0], &[-0.0, 2.0]).expect("numbers");
        assert!(!zeros.is_exact, "both zeros are the same value");
    }

    proptest! {
        #[test]
        fn equals_the_enumeration_of_all_splits(
            values in prop::collection::hash_set(-1000i32..1000, 4..11),
            cut in 1usize..3,
        ) {
            let values: Vec<f64> = values.into_iter().map(f64::from).collect();
            let (left, right) = values.split_at(cut.min(values.len() - 1));
            let found = mann_whitney(left, right).expect("numbers");
            prop_assert!(found.is_exact);
            prop_assert_eq!(found.u, wins(left, right));
            prop_assert!((found.p - enumerated_p(left, right)).abs() < 1e-9);
        }

        #[test]
        fn ties_count_half_and_the_approximation_stays_near_the_enumeration(
            left in prop::collection::vec(0i32..6, 6..8),
            right in prop::collection::vec(0i32..6, 6..8),
        ) {
            let left: Vec<f64> = left.into_iter().map(f64::from).collect();
            let right: Vec<f64> = right.into_iter().map(f64::from).collect();
            let found = mann_whitney(&left, &right).expect("numbers");
            prop_assert_eq!(found.u, wins(&left, &right));
            prop_assert!((0.0..=1.0).contains(&found.p));
            if !found.is_exact {
                let expected = enumerated_p(&left, &right);
                prop_assert!((found.p - expected).abs() < 0.12, "{} {}", found.p, expected);
            }
        }

        #[test]
        fn any_growing_function_of_the_values_leaves_p_alone(
            left in prop::collection::vec(0.1f64..10.0, 1..40),
            right in prop::collection::vec(0.1f64..10.0, 1..40),
        ) {
            let grown = |values: &[f64]| -> Vec<f64> {
                values.iter().map(|value| value * 8.0).collect()
            };
            let plain = mann_whitney(&left, &right);
            prop_assert_eq!(plain, mann_whitney(&grown(&left), &grown(&right)));
        }
    }
}
