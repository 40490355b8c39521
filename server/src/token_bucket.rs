//! A token bucket in eight bytes.
//!
//! It owns the arithmetic. It must not know what is counted or what happens when it is empty.

use crate::connection::Moment;

/// One token in units that a millisecond of any allowed rate fills without rounding.
const TOKEN: u32 = 1000;

/// Allows a rate per second and a burst on top.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TokenBucket {
    level: u32,
    filled_at: Moment,
}

impl TokenBucket {
    pub(crate) fn full(burst: u32, now: Moment) -> TokenBucket {
        TokenBucket {
            level: burst.saturating_mul(TOKEN),
            filled_at: now,
        }
    }

    /// Takes a token; false if there is none. A rate of 0 always allows.
    pub(crate) fn take(&mut self, rate_per_second: u32, burst: u32, now: Moment) -> bool {
        if rate_per_second == 0 {
            return true;
        }
        let elapsed_ms = now.wrapping_sub(self.filled_at);
        self.filled_at = now;
        self.level = self
            .level
            .saturating_add(elapsed_ms.saturating_mul(rate_per_second))
            .min(burst.saturating_mul(TOKEN));
        match self.level.checked_sub(TOKEN) {
            Some(rest) => {
                self.level = rest;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_and_then_the_rate() {
        let mut bucket = TokenBucket::full(20, 0);
        let taken = (0..100).filter(|_| bucket.take(5, 20, 0)).count();
        assert_eq!(taken, 20);
        let taken = (1..=10_000).filter(|now| bucket.take(5, 20, *now)).count();
        assert_eq!(taken, 50);
        // An hour of silence fills it to the burst and no further.
        let taken = (0..100).filter(|_| bucket.take(5, 20, 3_600_000)).count();
        assert_eq!(taken, 20);
    }

    #[test]
    fn the_clock_may_wrap() {
        let mut bucket = TokenBucket::full(1, u32::MAX - 100);
        assert!(bucket.take(1, 1, u32::MAX - 100));
        assert!(!bucket.take(1, 1, u32::MAX));
        assert!(bucket.take(1, 1, 1_000));
    }

    #[test]
    fn a_rate_of_zero_is_no_limit() {
        let mut bucket = TokenBucket::full(1, 0);
        assert!((0..1000).all(|_| bucket.take(0, 1, 0)));
    }
}
