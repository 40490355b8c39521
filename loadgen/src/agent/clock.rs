//! How far the clocks of agents are from the coordinator's.
//!
//! A feed is measured from the server's stamp to the reader's clock. Where readers sit on several
//! machines, what their clocks disagree by is in the result, so that it is measured and told.
//! The exchanges are the coordinator's; what follows from them is arithmetic.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::quantity::format_ns;

/// Exchanges with each agent. The quickest of them says most: on the way there and back it was
/// delayed least.
pub const EXCHANGES: u32 = 16;

/// This host's time in nanoseconds since 1970; 0 before that.
pub fn unix_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    })
}

/// How far a clock is from ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offset {
    /// By so many nanoseconds it is ahead; below zero: behind.
    pub ahead_ns: i64,
    /// It may be so much more or less.
    pub bound_ns: i64,
}

/// What the exchanges with an agent have shown.
#[derive(Clone, Copy, Debug, Default)]
pub struct Exchanges {
    count: u32,
    best: Option<Offset>,
}

impl Exchanges {
    /// Takes one: it was asked at `asked_unix_ns`, said that it was `theirs_unix_ns`, and this was
    /// heard after `took`.
    pub fn take(&mut self, asked_unix_ns: u64, theirs_unix_ns: u64, took: Duration) {
        self.count += 1;
        let took_ns = i128::try_from(took.as_nanos()).unwrap_or(i128::MAX / 4);
        let middle_ns = i128::from(asked_unix_ns) + took_ns / 2;
        let narrow = |ns: i128| i64::try_from(ns).unwrap_or(i64::MAX);
        let offset = Offset {
            ahead_ns: narrow(i128::from(theirs_unix_ns) - middle_ns),
            // It was read somewhere between asking and hearing.
            bound_ns: narrow(took_ns - took_ns / 2),
        };
        let is_better = |best: Offset| offset.bound_ns < best.bound_ns;
        if self.best.is_none_or(is_better) {
            self.best = Some(offset);
        }
    }

    /// Whether there were enough of them.
    pub fn are_done(&self) -> bool {
        self.count >= EXCHANGES
    }

    /// The best of them.
    pub fn offset(&self) -> Option<Offset> {
        self.best
    }
}

/// What all clocks lie apart at least, in nanoseconds, whatever the bounds.
pub fn apart_ns(offsets: &[Offset]) -> i64 {
    let least = |offset: &Offset| offset.ahead_ns.saturating_sub(offset.bound_ns);
    let most = |offset: &Offset| offset.ahead_ns.saturating_add(offset.bound_ns);
    let last = offsets.iter().map(least).max().unwrap_or(0);
    let first = offsets.iter().map(most).min().unwrap_or(0);
    last.saturating_sub(first).max(0)
}

/// For people: how far each clock is from ours.
pub fn describe(offsets: &[Offset]) -> String {
    let each = offsets.iter().zip(1..).map(|(offset, number)| {
        let way = if offset.ahead_ns < 0 {
            "behind"
        } else {
            "ahead"
        };
        let (by, bound) = (
            offset.ahead_ns.unsigned_abs(),
            offset.bound_ns.unsigned_abs(),
        );
        format!(
            "agent {number} {} {way} (± {})",
            format_ns(by),
            format_ns(bound)
        )
    });
    each.collect::<Vec<String>>().join(", ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW_NS: u64 = 1_800_000_000_000_000_000;

    proptest! {
        #[test]
        fn the_truth_is_within_the_bound(
            ahead_ns in -5_000_000_000i64..5_000_000_000,
            ways in proptest::collection::vec((0u64..50_000_000, 0u64..50_000_000), 1..20),
        ) {
            let mut exchanges = Exchanges::default();
            for (there_ns, back_ns) in &ways {
                let theirs = (NOW_NS + there_ns).saturating_add_signed(ahead_ns);
                exchanges.take(NOW_NS, theirs, Duration::from_nanos(there_ns + back_ns));
            }
            let offset = exchanges.offset().expect("one at least");
            prop_assert!((offset.ahead_ns - ahead_ns).abs() <= offset.bound_ns + 1, "{:?}", offset);
            let quickest = ways.iter().map(|(there, back)| there + back).min().expect("some");
            prop_assert_eq!(offset.bound_ns as u64, quickest.div_ceil(2));
            prop_assert_eq!(exchanges.are_done(), ways.len() >= EXCHANGES as usize);
        }
    }

    #[test]
    fn clocks_are_apart_only_beyond_their_bounds() {
        let offset = |ahead_ns, bound_ns| Offset { ahead_ns, bound_ns };
        assert_eq!(apart_ns(&[]), 0);
        assert_eq!(apart_ns(&[offset(900, 10)]), 0);
        assert_eq!(apart_ns(&[offset(100, 60), offset(0, 60)]), 0);
        assert_eq!(
            apart_ns(&[offset(-1_000, 10), offset(500, 20), offset(0, 5)]),
            1_470
        );
        let extreme = [offset(i64::MAX, 5), offset(i64::MIN, 5)];
        assert_eq!(apart_ns(&extreme), i64::MAX);
        assert_eq!(
            describe(&[offset(-1_500, 20_000), offset(0, 1)]),
            "agent 1 1.5us behind (± 20us), agent 2 0ns ahead (± 1ns)"
        );
    }

    #[test]
    fn a_clock_that_says_anything_breaks_nothing() {
        let mut exchanges = Exchanges::default();
        for theirs in [0, u64::MAX] {
            exchanges.take(u64::MAX, theirs, Duration::MAX);
            exchanges.take(0, theirs, Duration::ZERO);
        }
        assert!(exchanges.offset().is_some());
    }
}
