//! The time since 1970, for servers that stamp their messages with it, out of the clock that
//! everything here is measured with.
//!
//! Two clocks are read together now and then, not for every message. What lies between two readings
//! is what the host's time service corrects in that time: far below a microsecond.

use std::time::{SystemTime, UNIX_EPOCH};

use fanwire_reactor::host::monotonic_ns;

/// How long an offset is good for.
const RENEW_NS: u64 = 100_000_000;

/// The offset between the two clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct WallClock {
    offset_ns: u64,
    renew_at_ns: u64,
}

impl WallClock {
    /// The time since 1970 at a moment of CLOCK_MONOTONIC that is about now.
    pub fn realtime_ns(&mut self, monotonic_at_ns: u64) -> u64 {
        if monotonic_at_ns >= self.renew_at_ns {
            self.offset_ns = offset_ns();
            self.renew_at_ns = monotonic_at_ns.saturating_add(RENEW_NS);
        }
        monotonic_at_ns.saturating_add(self.offset_ns)
    }
}

/// The time since 1970 when CLOCK_MONOTONIC was zero.
fn offset_ns() -> u64 {
    let before_ns = monotonic_ns();
    let wall = SystemTime::now().duration_since(UNIX_EPOCH);
    let after_ns = monotonic_ns();
    let between_ns = before_ns + after_ns.saturating_sub(before_ns) / 2;
    // A host whose clock stands before 1970 has no time to compare with.
    let wall_ns = wall.map_or(0, |since| since.as_nanos());
    u64::try_from(wall_ns)
        .unwrap_or(u64::MAX)
        .saturating_sub(between_ns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_clock_on_the_wall() {
        let mut clock = WallClock::default();
        let read = || SystemTime::now().duration_since(UNIX_EPOCH);
        let before = read().expect("after 1970").as_nanos();
        let found = u128::from(clock.realtime_ns(monotonic_ns()));
        let after = read().expect("after 1970").as_nanos();
        // The middle of two readings is off by half of what lies between them at most.
        let slack = after - before;
        assert!(found + slack >= before && found <= after + slack);
    }
}
