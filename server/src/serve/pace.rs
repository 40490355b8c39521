//! When the next thing happens to a symbol: a Poisson process with bursts, in a time of its own.
//!
//! It owns the arithmetic of rates. It reads no clock: the same seed gives the same times.

use fastrand::Rng;

/// Mean time between the ends of a burst and the beginning of the next, in seconds.
const CALM_S: f64 = 20.0;
/// A burst lasts from 0.1 to 0.5 seconds.
const BURST_S: std::ops::Range<f64> = 0.1..0.5;
/// And multiplies the rate by this.
const BURST_FACTOR: std::ops::Range<f64> = 5.0..20.0;

/// The schedule of one symbol.
#[derive(Debug)]
pub(crate) struct Pace {
    random: Rng,
    /// Messages per second when calm.
    rate: f64,
    /// By how much the rate is multiplied now; 1 when calm.
    factor: f64,
    /// Seconds since the start.
    now_s: f64,
    /// When the factor changes.
    change_s: f64,
}

/// Exponentially distributed with mean 1.
fn exponential(random: &mut Rng) -> f64 {
    -(1.0 - random.f64()).ln()
}

fn between(random: &mut Rng, range: &std::ops::Range<f64>) -> f64 {
    range.start + random.f64() * (range.end - range.start)
}

impl Pace {
    pub(crate) fn new(rate: f64, seed: u64) -> Pace {
        let mut random = Rng::with_seed(seed);
        let change_s = CALM_S * exponential(&mut random);
        Pace {
            random,
            rate,
            factor: 1.0,
            now_s: 0.0,
            change_s,
        }
    }

    /// When to go on, in nanoseconds since the start, after so many messages.
    pub(crate) fn after(&mut self, messages: usize) -> u64 {
        // Measured in messages at the current rate, so that the mean rate is exact.
        let mut work = messages.max(1) as f64 * exponential(&mut self.random);
        loop {
            let rate = self.rate * self.factor;
            let until_change = (self.change_s - self.now_s) * rate;
            if work <= until_change {
                self.now_s += work / rate;
                return (self.now_s * 1e9) as u64;
            }
            work -= until_change;
            self.now_s = self.change_s;
            if self.factor > 1.0 {
                self.factor = 1.0;
                self.change_s += CALM_S * exponential(&mut self.random);
            } else {
                self.factor = between(&mut self.random, &BURST_FACTOR);
                self.change_s += between(&mut self.random, &BURST_S);
            }
        }
    }
}

/// The share of each of so many symbols: Zipf's law with exponent 1.
pub(crate) fn zipf_shares(symbols: u32) -> Vec<f64> {
    let sum: f64 = (1..=symbols).map(|rank| 1.0 / f64::from(rank)).sum();
    (1..=symbols)
        .map(|rank| 1.0 / (f64::from(rank) * sum))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_kept_and_bursts_come() {
        let mut pace = Pace::new(100.0, 42);
        let times: Vec<u64> = (0..200_000).map(|_| pace.after(1)).collect();
        assert!(times.is_sorted());
        let seconds = *times.last().unwrap() as f64 / 1e9;
        let mean = 200_000.0 / seconds;
        // Bursts are 0.3 s of every 20.3 s at 12.5 times the rate: 17 % on top.
        assert!((105.0..135.0).contains(&mean), "{mean}");
        let mut per_tenth = std::collections::HashMap::new();
        for time in &times {
            *per_tenth.entry(time / 100_000_000).or_insert(0_u32) += 1;
        }
        let busiest = per_tenth.values().max().copied().unwrap();
        assert!(
            busiest > 80,
            "10 are usual, a burst has 50 to 200: {busiest}"
        );
    }

    #[test]
    fn the_same_seed_gives_the_same_times() {
        let times = |seed| {
            let mut pace = Pace::new(5.0, seed);
            (0..1000)
                .map(|count| pace.after(count % 4))
                .collect::<Vec<_>>()
        };
        assert_eq!(times(1), times(1));
        assert_ne!(times(1), times(2));
    }

    #[test]
    fn shares_fall_as_zipf_says() {
        let shares = zipf_shares(100);
        assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-9);
        assert!((shares[0] / shares[9] - 10.0).abs() < 1e-9);
    }
}
