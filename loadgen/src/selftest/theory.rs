//! The closed forms that measurements are compared with. Pure mathematics.
//!
//! A scripted server does not draw its delays at random: it deals them from a [`deck`] that holds
//! every quantile of the distribution once, shuffled. So the percentiles of a whole run are known
//! beforehand, and no sampling error has to be allowed for.

/// How long a scripted server waits before it answers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Delay {
    /// Always the same.
    Fixed {
        /// That time.
        delay_ns: f64,
    },
    /// Exponentially distributed.
    Exponential {
        /// Its mean.
        mean_ns: f64,
    },
    /// One of two times.
    Bimodal {
        /// The shorter one.
        fast_ns: f64,
        /// The longer one.
        slow_ns: f64,
        /// Share of the longer one, 0 to 1.
        slow_share: f64,
    },
}

impl Delay {
    /// The delay that the share `quantile` (0 to 1) of all answers does not exceed.
    pub fn quantile_ns(&self, quantile: f64) -> f64 {
        match *self {
            Delay::Fixed { delay_ns } => delay_ns,
            Delay::Exponential { mean_ns } => -mean_ns * (1.0 - quantile).ln(),
            Delay::Bimodal {
                fast_ns,
                slow_ns,
                slow_share,
            } => {
                if quantile <= 1.0 - slow_share {
                    fast_ns
                } else {
                    slow_ns
                }
            }
        }
    }

    /// The share of all answers that takes at most `delay_ns`.
    pub fn share_within(&self, delay_ns: f64) -> f64 {
        match *self {
            Delay::Fixed { delay_ns: fixed } => f64::from(delay_ns >= fixed),
            Delay::Exponential { mean_ns } => 1.0 - (-delay_ns.max(0.0) / mean_ns).exp(),
            Delay::Bimodal {
                fast_ns,
                slow_ns,
                slow_share,
            } => {
                f64::from(delay_ns >= fast_ns) * (1.0 - slow_share)
                    + f64::from(delay_ns >= slow_ns) * slow_share
            }
        }
    }
}

/// `count` delays: every quantile once, in an order that the seed decides.
pub fn deck(delay: &Delay, count: u64, seed: u64) -> Vec<u64> {
    let mut cards: Vec<u64> = (0..count)
        .map(|index| delay.quantile_ns((index as f64 + 0.5) / count as f64) as u64)
        .collect();
    fastrand::Rng::with_seed(seed).shuffle(&mut cards);
    cards
}

/// A server that answers after `base_ns`, but not during a pause at the beginning of each period.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stall {
    /// Delay of an answer outside the pauses.
    pub base_ns: u64,
    /// Length of a pause.
    pub pause_ns: u64,
    /// From the beginning of one pause to the beginning of the next.
    pub period_ns: u64,
}

impl Stall {
    /// When a message that arrives `at_ns` after the beginning of a pause is answered.
    pub fn answers_at_ns(&self, at_ns: u64) -> u64 {
        let into_period = at_ns % self.period_ns.max(1);
        let resumes_ns = at_ns - into_period + self.pause_ns;
        at_ns.max(resumes_ns) + self.base_ns
    }

    /// The quantile of the response time under a constant rate: of all messages the share
    /// pause/period falls into a pause, and waits for a time that is spread evenly over it.
    pub fn open_loop_quantile_ns(&self, quantile: f64) -> f64 {
        let share = self.pause_ns as f64 / self.period_ns as f64;
        let into_pause = 1.0 - (1.0 - quantile) / share;
        self.base_ns as f64 + self.pause_ns as f64 * into_pause.max(0.0)
    }

    /// The share of messages that meet a pause in a closed loop with one message in flight: one in
    /// each period, whatever the pause's length. This is how a closed loop hides a stall.
    pub fn closed_loop_share(&self) -> f64 {
        let undisturbed = self.period_ns.saturating_sub(self.pause_ns) as f64 / self.base_ns as f64;
        1.0 / (undisturbed + 1.0)
    }
}

/// Dvoretzky, Kiefer and Wolfowitz: an empirical distribution of `count` values departs from the
/// true one by more than this only with probability `alpha`.
pub fn dkw_bound(count: u64, alpha: f64) -> f64 {
    ((2.0 / alpha).ln() / (2.0 * count.max(1) as f64)).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stall_of_the_wrk2_example() {
        let stall = Stall {
            base_ns: 0,
            pause_ns: 1_000_000_000,
            period_ns: 10_000_000_000,
        };
        for (quantile, expected) in [(0.5, 0.0), (0.95, 0.5e9), (0.99, 0.9e9), (0.999, 0.99e9)] {
            let found = stall.open_loop_quantile_ns(quantile);
            assert!((found - expected).abs() < 1.0, "{quantile}: {found}");
        }
        assert_eq!(stall.answers_at_ns(10_000_000_000), 11_000_000_000);
        assert_eq!(stall.answers_at_ns(10_400_000_000), 11_000_000_000);
        assert_eq!(stall.answers_at_ns(12_000_000_000), 12_000_000_000);
    }

    #[test]
    fn the_closed_form_is_what_simulating_it_gives() {
        let stall = Stall {
            base_ns: 5_000_000,
            pause_ns: 200_000_000,
            period_ns: 2_000_000_000,
        };
        let mut response: Vec<u64> = (0..8_000u64)
            .map(|number| number * 500_000)
            .map(|at_ns| stall.answers_at_ns(at_ns) - at_ns)
            .collect();
        response.sort_unstable();
        for quantile in [0.5, 0.95, 0.99, 0.999] {
            let found = response[(quantile * 8_000.0) as usize - 1] as f64;
            let theory = stall.open_loop_quantile_ns(quantile);
            assert!((found / theory - 1.0).abs() < 0.01, "{quantile}: {found}");
        }
    }

    #[test]
    fn a_closed_loop_hides_the_stall() {
        let stall = Stall {
            base_ns: 5_000_000,
            pause_ns: 200_000_000,
            period_ns: 2_000_000_000,
        };
        let (mut at_ns, mut count, mut met) = (0u64, 0u64, 0u64);
        while at_ns < 200_000_000_000 {
            let answer_ns = stall.answers_at_ns(at_ns);
            count += 1;
            met += u64::from(answer_ns - at_ns > stall.base_ns);
            at_ns = answer_ns;
        }
        let share = met as f64 / count as f64;
        assert!((share / stall.closed_loop_share() - 1.0).abs() < 0.02);
        assert!(share < 0.01, "p99 does not know of it");
    }

    #[test]
    fn a_deck_has_the_quantiles_it_promises() {
        let delays = [
            Delay::Fixed { delay_ns: 2e7 },
            Delay::Exponential { mean_ns: 2e7 },
            Delay::Bimodal {
                fast_ns: 1e7,
                slow_ns: 5e7,
                slow_share: 0.05,
            },
        ];
        for delay in delays {
            let mut cards = deck(&delay, 10_000, 7);
            assert_ne!(cards, deck(&delay, 10_000, 8).split_off(1));
            cards.sort_unstable();
            for quantile in [0.5, 0.9, 0.99, 0.999] {
                let found = cards[(quantile * 10_000.0) as usize - 1] as f64;
                let theory = delay.quantile_ns(quantile);
                assert!(
                    (found / theory - 1.0).abs() < 0.01,
                    "{delay:?} {quantile}: {found}"
                );
            }
        }
    }

    #[test]
    fn the_bound_of_chance() {
        assert!((dkw_bound(10_000, 0.001) - 0.019_495).abs() < 1e-5);
        assert!(dkw_bound(100, 0.001) > dkw_bound(1_000, 0.001));
    }
}
