//! Pings that we send: when each connection has its turn, and what its pong tells.
//!
//! Owns the payload of a ping, which is its own time stamp, so that nothing has to be kept for a
//! connection but that number. One walk over all connections of a thread takes one interval; there
//! is no timer per connection. Knows no socket and reads no clock.

use fanwire_protocol::{MaskingKey, Sender};

use crate::measure::tally::{Sheet, Tally};
use crate::pace::plan::Window;

/// The heartbeat of one connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heartbeat {
    /// When the ping was sent whose pong is awaited, 0 when none is.
    sent_ns: u64,
}

impl Heartbeat {
    /// Appends a ping to `out`. One that is still unanswered counts as missing.
    pub fn beat(
        &mut self,
        sender: &mut Sender,
        key: MaskingKey,
        now_ns: u64,
        tally: &mut Tally,
        out: &mut Vec<u8>,
    ) {
        // Refused only after our close frame, where a ping would be wrong.
        if sender.ping(&now_ns.to_le_bytes(), Some(key), out).is_err() {
            return;
        }
        tally.pongs_missing += u64::from(self.sent_ns != 0);
        tally.pings_sent += 1;
        self.sent_ns = now_ns;
    }

    /// A pong came. One that answers no awaited ping is lawful (RFC 6455 5.5.3) and says nothing:
    /// it is late and was counted as missing, or nobody asked for it.
    pub fn pong(&mut self, payload: &[u8], now_ns: u64, window: Option<Window>, sheet: &mut Sheet) {
        if self.sent_ns == 0 || payload != self.sent_ns.to_le_bytes() {
            return;
        }
        sheet.tally.pongs += 1;
        if window.is_some_and(|window| window.measures(self.sent_ns)) {
            sheet.ping.record(now_ns.saturating_sub(self.sent_ns));
        }
        self.sent_ns = 0;
    }

    /// The connection has ended, or the run is over: a ping that had `patience_ns` for its pong is
    /// missing it, a younger one is still on its way.
    pub fn account(&mut self, now_ns: u64, patience_ns: u64, tally: &mut Tally) {
        let sent_ns = std::mem::take(&mut self.sent_ns);
        let is_overdue = now_ns.saturating_sub(sent_ns) >= patience_ns;
        tally.pongs_missing += u64::from(sent_ns != 0 && is_overdue);
    }
}

/// Whose turn it is: a walk over the places of a thread, one round per interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rounds {
    interval_ns: u64,
    begun_ns: u64,
    places: u64,
    /// Turns taken so far, all rounds together.
    turns: u64,
}

/// Pings are sent in groups of at least a millisecond's worth: a heartbeat needs no better.
const WAKE_NS: u64 = 1_000_000;

impl Rounds {
    /// Over so many places, from `begun_ns` on; `None` when there are none.
    pub fn new(interval_ns: u64, begun_ns: u64, places: usize) -> Option<Rounds> {
        (places > 0 && interval_ns > 0).then_some(Rounds {
            interval_ns,
            begun_ns,
            places: places as u64,
            turns: 0,
        })
    }

    fn due_ns(&self) -> u64 {
        let after = u128::from(self.turns) * u128::from(self.interval_ns) / u128::from(self.places);
        // Beyond the end of time nothing is due.
        self.begun_ns
            .saturating_add(u64::try_from(after).unwrap_or(u64::MAX))
    }

    /// When to look again.
    pub fn wake_ns(&self, now_ns: u64) -> u64 {
        self.due_ns().max(now_ns.saturating_add(WAKE_NS))
    }

    /// The place whose turn it is, while there is one.
    pub fn take_due(&mut self, now_ns: u64) -> Option<usize> {
        if self.due_ns() > now_ns {
            return None;
        }
        let place = (self.turns % self.places) as usize;
        self.turns += 1;
        Some(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fanwire_protocol::{Connection, Settings};
    use std::sync::Arc;

    const SECOND: u64 = 1_000_000_000;

    fn window() -> Option<Window> {
        Some(Window {
            start_ns: 0,
            measure_from_ns: 0,
            until_ns: 100 * SECOND,
        })
    }

    #[test]
    fn every_place_has_one_turn_per_round_evenly() {
        let mut rounds = Rounds::new(10 * SECOND, SECOND, 4).expect("places");
        assert_eq!(rounds.take_due(SECOND - 1), None);
        let mut turns = Vec::new();
        for now_ns in (0..=31 * SECOND).step_by(SECOND as usize / 2) {
            while let Some(place) = rounds.take_due(now_ns) {
                turns.push((place, now_ns));
            }
        }
        assert_eq!(
            turns.len(),
            13,
            "three rounds and the first turn of the fourth"
        );
        assert_eq!(turns[..2], [(0, SECOND), (1, 7 * SECOND / 2)]);
        assert_eq!(turns[4], (0, 11 * SECOND));
        assert!(Rounds::new(SECOND, 0, 0).is_none());
    }

    #[test]
    fn pongs_are_matched_and_the_missing_are_counted() {
        let mut connection = Connection::new(Arc::new(Settings::client()), None);
        let (mut heartbeat, mut sheet, mut out) = (Heartbeat::default(), Sheet::default(), vec![]);
        let mut beat = |heartbeat: &mut Heartbeat, sheet: &mut Sheet, now_ns| {
            let key = MaskingKey([1, 2, 3, 4]);
            heartbeat.beat(
                &mut connection.sender,
                key,
                now_ns,
                &mut sheet.tally,
                &mut out,
            );
        };
        beat(&mut heartbeat, &mut sheet, 1_000);
        heartbeat.pong(b"", 1_100, window(), &mut sheet);
        heartbeat.pong(&999u64.to_le_bytes(), 1_100, window(), &mut sheet);
        assert_eq!(sheet.tally.pongs, 0, "neither of them is the answer");
        heartbeat.pong(&1_000u64.to_le_bytes(), 1_500, window(), &mut sheet);
        heartbeat.pong(&1_000u64.to_le_bytes(), 1_500, window(), &mut sheet);
        assert_eq!((sheet.tally.pongs, sheet.ping.max()), (1, 500));
        beat(&mut heartbeat, &mut sheet, 2_000);
        beat(&mut heartbeat, &mut sheet, 3_000);
        assert_eq!(sheet.tally.pongs_missing, 1);
        heartbeat.pong(&2_000u64.to_le_bytes(), 3_100, window(), &mut sheet);
        assert_eq!(sheet.tally.pongs, 1, "too late");
        let mut young = heartbeat;
        young.account(3_500, 1_000, &mut sheet.tally);
        assert_eq!(sheet.tally.pongs_missing, 1, "still on its way");
        heartbeat.account(4_000, 1_000, &mut sheet.tally);
        assert_eq!((sheet.tally.pings_sent, sheet.tally.pongs_missing), (3, 2));
    }
}
