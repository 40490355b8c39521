//! The Mann-Whitney U test: do two groups of runs come from the same distribution?
//!
//! It assumes nothing about the shape of the noise, which is what latencies need. Exact for small
//! groups, equal values among them or not; for large ones the normal approximation, corrected for
//! ties and for U moving in steps.

use super::normal;

/// Up to this many values in both groups together the exact distribution is counted out, which
/// takes some million steps at most.
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
    let is_exact = left.len() + right.len() <= EXACT_MAX;
    let p = if !is_exact {
        approximate_p(u, ours, theirs, ranking.tie_term)
    } else if ranking.tie_term == 0.0 {
        exact_p(u, left.len(), right.len())
    } else {
        exact_p_with_ties(&ranking, left.len())
    };
    Some(MannWhitney { u, p, is_exact })
}

struct Ranking {
    /// Twice the rank of every value of both groups: equal values share the mean of theirs, which
    /// may lie between two whole numbers.
    doubled: Vec<usize>,
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
            doubled: Vec::with_capacity(all.len()),
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
            let doubled = 2 * first + equal.len() + 1;
            ranking.doubled.extend(equal.iter().map(|_| doubled));
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

/// Of all ways to choose the left group, the share whose sum of ranks lies at least as far from the
/// middle as the one seen: ways are counted by how many values are chosen and what they sum up to.
fn exact_p_with_ties(ranking: &Ranking, left: usize) -> f64 {
    let most: usize = ranking.doubled.iter().sum();
    let mut ways = vec![vec![0.0; most + 1]; left + 1];
    ways[0][0] = 1.0;
    let mut reached = 0;
    for rank in &ranking.doubled {
        reached += rank;
        for chosen in (1..=left).rev() {
            let (fewer, more) = ways.split_at_mut(chosen);
            let (from, to) = (&fewer[chosen - 1], &mut more[0]);
            for sum in *rank..=reached {
                to[sum] += from[sum - rank];
            }
        }
    }
    let middle = (left * most) as f64 / ranking.doubled.len() as f64;
    let seen = (2.0 * ranking.left_sum - middle).abs();
    let (mut extreme, mut all) = (0.0, 0.0);
    for (sum, ways) in ways[left].iter().enumerate() {
        all += ways;
        // Sums are whole, their middle may be a fraction that binary does not hold.
        if (sum as f64 - middle).abs() >= seen - 1e-6 {
            extreme += ways;
        }
    }
    extreme / all
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
    fn the_approximation_knows_of_ties() {
        let mut random = fastrand::Rng::with_seed(6);
        for _ in 0..20 {
            let mut draw = |most: u32| -> Vec<f64> {
                (0..25).map(|_| f64::from(random.u32(0..most))).collect()
            };
            let (left, right) = (draw(8), draw(10));
            let found = mann_whitney(&left, &right).expect("numbers");
            let tie_term = Ranking::of(&left, &right).tie_term;
            assert!(found.is_exact && tie_term > 0.0);
            let approximate = approximate_p(found.u, 25.0, 25.0, tie_term);
            assert!(
                (found.p - approximate).abs() < 0.02,
                "{found:?} {approximate}"
            );
        }
    }

    /// Where the approximation says 0.868: six values a side with ties are too few for it.
    #[test]
    fn few_values_with_ties() {
        let (left, right) = (
            [1.0, 3.0, 0.0, 3.0, 4.0, 1.0],
            [0.0, 0.0, 4.0, 3.0, 3.0, 1.0],
        );
        let found = mann_whitney(&left, &right).expect("numbers");
        assert!((found.p - 0.993_506_493_5).abs() < 1e-9, "{found:?}");
    }

    #[test]
    fn nothing_to_tell_apart() {
        let equal = mann_whitney(&[2.0; 6], &[2.0; 6]).expect("numbers");
        assert_eq!((equal.p, equal.is_exact), (1.0, true));
        let many = mann_whitney(&[2.0; 60], &[2.0; 60]).expect("numbers");
        assert_eq!((many.p, many.is_exact), (1.0, false));
        assert_eq!(mann_whitney(&[], &[1.0]), None);
        assert_eq!(mann_whitney(&[f64::NAN], &[1.0]), None);
        let single = mann_whitney(&[1.0], &[2.0]).expect("numbers");
        assert_eq!(single.p, 1.0);
        let zeros = mann_whitney(&[0.0, 1.0], &[-0.0, 2.0]).expect("numbers");
        assert_eq!(zeros.u, 1.5, "both zeros are the same value");
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
        fn ties_count_half_and_are_exact_too(
            left in prop::collection::vec(0i32..6, 1..8),
            right in prop::collection::vec(0i32..6, 1..8),
        ) {
            let left: Vec<f64> = left.into_iter().map(f64::from).collect();
            let right: Vec<f64> = right.into_iter().map(f64::from).collect();
            let found = mann_whitney(&left, &right).expect("numbers");
            prop_assert_eq!(found.u, wins(&left, &right));
            prop_assert!((found.p - enumerated_p(&left, &right)).abs() < 1e-9, "{}", found.p);
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
