//! How much a slow reader may take: an allowance that grows with time. Pure.

/// The allowance of one reader.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Throttle {
    bytes_per_second: f64,
    /// Everything up to here has been paid for.
    paid_until_ns: u64,
}

impl Throttle {
    /// A reader that may begin now.
    pub fn new(bytes_per_second: f64, now_ns: u64) -> Throttle {
        Throttle {
            bytes_per_second,
            paid_until_ns: now_ns,
        }
    }

    /// Takes `bytes` and returns for how many milliseconds nothing more may be taken, 0 for none.
    /// Time that was not used does not add up: a burst after silence is paid for like any other.
    pub fn take(&mut self, bytes: usize, now_ns: u64) -> u64 {
        let cost_ns = bytes as f64 * 1e9 / self.bytes_per_second;
        self.paid_until_ns = self
            .paid_until_ns
            .max(now_ns)
            .saturating_add(cost_ns as u64);
        (self.paid_until_ns - now_ns) / 1_000_000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_more_than_the_rate() {
        let mut throttle = Throttle::new(10_000.0, 0);
        let (mut now_ns, mut taken) = (0, 0);
        while now_ns < 60_000_000_000 {
            taken += 1_460;
            now_ns += throttle.take(1_460, now_ns) * 1_000_000 + 70_000_000;
        }
        assert!(
            taken <= 601_460,
            "{taken} bytes in a minute at 10,000 a second"
        );
        assert!(taken >= 350_000, "{taken}: far below what is allowed");
        // Silence is not saved up.
        let late_ns = 100_000_000_000;
        assert!(throttle.take(10_000, late_ns) >= 999);
    }
}
