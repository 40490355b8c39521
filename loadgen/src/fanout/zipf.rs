//! Popularity by rank: rank `r` (from 0) has weight `1 / (r + 1)^s`. Pure.

/// A distribution over `0..count`.
#[derive(Clone, Debug)]
pub struct Zipf {
    /// Share of all ranks up to and including this one; the last is 1.
    cumulative: Vec<f64>,
}

impl Zipf {
    /// `exponent` 0 makes all ranks alike. A count of 0 counts as 1.
    pub fn new(count: u32, exponent: f64) -> Zipf {
        let mut sum = 0.0;
        let mut cumulative: Vec<f64> = (0..count.max(1))
            .map(|rank| {
                sum += f64::from(rank + 1).powf(-exponent);
                sum
            })
            .collect();
        for share in &mut cumulative {
            *share /= sum;
        }
        Zipf { cumulative }
    }

    /// The rank that a number between 0 and 1 falls to.
    pub fn rank(&self, uniform: f64) -> u32 {
        let index = self.cumulative.partition_point(|share| *share <= uniform);
        index.min(self.cumulative.len() - 1) as u32
    }

    /// Share of one rank, 0 for one that does not exist.
    pub fn share(&self, rank: u32) -> f64 {
        let upto = |index: usize| self.cumulative.get(index).copied();
        let Some(end) = upto(rank as usize) else {
            return 0.0;
        };
        end - rank
            .checked_sub(1)
            .and_then(|before| upto(before as usize))
            .unwrap_or(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_follow_the_law() {
        let zipf = Zipf::new(1_000, 1.0);
        assert!((zipf.share(0) / zipf.share(9) - 10.0).abs() < 1e-6);
        let total: f64 = (0..1_000).map(|rank| zipf.share(rank)).sum();
        assert!((total - 1.0).abs() < 1e-9);
        assert_eq!(zipf.share(1_000), 0.0);
        let even = Zipf::new(4, 0.0);
        assert!((0..4).all(|rank| (even.share(rank) - 0.25).abs() < 1e-12));
    }

    #[test]
    fn draws_come_out_as_the_shares_say() {
        let zipf = Zipf::new(50, 1.2);
        let seed = 5;
        let mut random = fastrand::Rng::with_seed(seed);
        let mut counts = [0u32; 50];
        for _ in 0..200_000 {
            counts[zipf.rank(random.f64()) as usize] += 1;
        }
        for rank in 0..50u32 {
            let found = f64::from(counts[rank as usize]) / 200_000.0;
            let expected = zipf.share(rank);
            assert!(
                (found - expected).abs() < 0.004,
                "rank {rank}: {found} instead of {expected} (seed {seed})"
            );
        }
    }

    #[test]
    fn the_edges_are_ranks() {
        let zipf = Zipf::new(3, 1.0);
        assert_eq!((zipf.rank(0.0), zipf.rank(1.0), zipf.rank(2.0)), (0, 2, 2));
        assert_eq!(Zipf::new(0, 1.0).rank(0.5), 0);
    }
}
