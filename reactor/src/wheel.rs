//! A coarse timer wheel: one timer per connection, no memory but two links in its slot.
//!
//! Timers here are the kind that guard against silence: handshake, idle, keep-alive, close.
//! They are set far more often than they fire, so setting and clearing is a few stores, and
//! the resolution is coarse. A timer never fires early; it fires late by less than two ticks
//! plus the length of a turn.

use crate::slots::{NONE, Slots};
use crate::token::Token;

/// Resolution: 64 ms.
pub(crate) const TICK_NS: u64 = 64_000_000;
/// Buckets: one round of the wheel is 32.8 s. Longer timers stay for several rounds.
const BUCKETS: usize = 512;

pub(crate) struct Wheel {
    heads: [u32; BUCKETS],
    occupied: [u64; BUCKETS / 64],
    /// Every timer due at or before this tick has fired.
    tick: u32,
    /// CLOCK_MONOTONIC at tick 0.
    epoch_ns: u64,
}

impl Wheel {
    pub(crate) fn new(now_ns: u64) -> Wheel {
        // Tick 0 means "no timer" in a slot, so the wheel starts at 1.
        Wheel {
            heads: [NONE; BUCKETS],
            occupied: [0; BUCKETS / 64],
            tick: 1,
            epoch_ns: now_ns.saturating_sub(TICK_NS),
        }
    }

    fn tick_at(&self, now_ns: u64) -> u32 {
        u32::try_from(now_ns.saturating_sub(self.epoch_ns) / TICK_NS).unwrap_or(u32::MAX)
    }

    /// Sets or moves the timer of `token`.
    pub(crate) fn set(&mut self, slots: &mut Slots, token: Token, at_ns: u64) {
        let since = at_ns.saturating_sub(self.epoch_ns).div_ceil(TICK_NS);
        let tick = u32::try_from(since).unwrap_or(u32::MAX).max(self.tick + 1);
        match slots.get(token) {
            None => return,
            Some(transport) if transport.timer_tick == tick => return,
            Some(_) => {}
        }
        self.clear(slots, token);
        let bucket = tick as usize % BUCKETS;
        let head = self.heads[bucket];
        if head != NONE {
            slots.at_mut(head).timer_previous = token.slot_u32();
        }
        let transport = slots.at_mut(token.slot_u32());
        transport.timer_tick = tick;
        transport.timer_next = head;
        transport.timer_previous = NONE;
        self.heads[bucket] = token.slot_u32();
        self.occupied[bucket / 64] |= 1 << (bucket % 64);
    }

    /// Removes the timer of `token`, if it has one.
    pub(crate) fn clear(&mut self, slots: &mut Slots, token: Token) {
        let Some(transport) = slots.get_mut(token) else {
            return;
        };
        if transport.timer_tick == 0 {
            return;
        }
        let bucket = transport.timer_tick as usize % BUCKETS;
        let (next, previous) = (transport.timer_next, transport.timer_previous);
        transport.timer_tick = 0;
        transport.timer_next = NONE;
        transport.timer_previous = NONE;
        if next != NONE {
            slots.at_mut(next).timer_previous = previous;
        }
        if previous != NONE {
            slots.at_mut(previous).timer_next = next;
        } else {
            self.heads[bucket] = next;
            if next == NONE {
                self.occupied[bucket / 64] &= !(1 << (bucket % 64));
            }
        }
    }

    /// Moves the wheel to `now_ns` and appends every connection whose timer is due.
    pub(crate) fn advance(&mut self, slots: &mut Slots, now_ns: u64, due: &mut Vec<Token>) {
        let target = self.tick_at(now_ns);
        if target <= self.tick {
            return;
        }
        // After a long pause every bucket is visited once, not once per missed tick.
        let steps = (target - self.tick).min(BUCKETS as u32);
        let first = self.tick.wrapping_add(1);
        self.tick = target;
        for step in 0..steps {
            let bucket = first.wrapping_add(step) as usize % BUCKETS;
            if self.occupied[bucket / 64] & (1 << (bucket % 64)) != 0 {
                self.expire(slots, bucket, target, due);
            }
        }
    }

    fn expire(&mut self, slots: &mut Slots, bucket: usize, target: u32, due: &mut Vec<Token>) {
        let mut slot = self.heads[bucket];
        while slot != NONE {
            let transport = slots.at_mut(slot);
            let (next, tick) = (transport.timer_next, transport.timer_tick);
            if tick <= target {
                let token = slots.token_at(slot);
                self.clear(slots, token);
                due.push(token);
            }
            slot = next;
        }
    }

    /// When the wheel next needs to be advanced, if any timer is set. May be earlier than the
    /// next timer (one of a later round), never later.
    pub(crate) fn next_ns(&self) -> Option<u64> {
        let first = self.tick as usize + 1;
        let start = first % BUCKETS;
        // One look per 64 buckets: this is asked whenever the shard has nothing to do. The word
        // that holds the first bucket is looked at twice, for what lies after and before it.
        let words = BUCKETS / 64;
        let ahead = (0..=words).find_map(|step| {
            let word = (start / 64 + step) % words;
            let mut occupied = self.occupied[word];
            if step == 0 {
                occupied &= u64::MAX << (start % 64);
            }
            let bucket = word * 64 + occupied.trailing_zeros() as usize;
            (occupied != 0).then_some((bucket + BUCKETS - start) % BUCKETS)
        })?;
        Some(self.epoch_ns + (first + ahead) as u64 * TICK_NS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn slots_with(count: usize) -> (Slots, Vec<Token>) {
        let mut slots = Slots::new();
        let tokens = (0..count)
            .map(|_| slots.insert(std::io::pipe().expect("a pipe").0.into()))
            .collect();
        (slots, tokens)
    }

    #[test]
    fn a_timer_of_a_later_round_stays() {
        let (mut slots, tokens) = slots_with(2);
        let mut wheel = Wheel::new(0);
        let round_ns = BUCKETS as u64 * TICK_NS;
        wheel.set(&mut slots, tokens[0], 10 * TICK_NS);
        wheel.set(&mut slots, tokens[1], 10 * TICK_NS + round_ns);
        let mut due = Vec::new();
        wheel.advance(&mut slots, 12 * TICK_NS, &mut due);
        assert_eq!(due, [tokens[0]]);
        due.clear();
        wheel.advance(&mut slots, 12 * TICK_NS + round_ns, &mut due);
        assert_eq!(due, [tokens[1]]);
        assert_eq!(wheel.next_ns(), None);
    }

    #[test]
    fn after_a_long_pause_everything_due_fires_once() {
        let (mut slots, tokens) = slots_with(600);
        let mut wheel = Wheel::new(5);
        for (position, token) in tokens.iter().enumerate() {
            wheel.set(&mut slots, *token, position as u64 * TICK_NS);
        }
        let mut due = Vec::new();
        wheel.advance(&mut slots, 3600 * 1_000_000_000, &mut due);
        due.sort();
        assert_eq!(due, tokens);
    }

    proptest! {
        // Against a plain list of deadlines: never early, late by at most two ticks.
        #[test]
        fn never_early_and_hardly_late(
            steps in proptest::collection::vec((0_usize..8, 0_u64..100_000, any::<bool>()), 1..200)
        ) {
            let (mut slots, tokens) = slots_with(8);
            let mut wheel = Wheel::new(0);
            let mut expected: Vec<Option<u64>> = vec![None; 8];
            let mut now_ns = 0;
            for (which, after_ms, is_set) in steps {
                if is_set {
                    let at_ns = now_ns + after_ms * 1_000_000;
                    wheel.set(&mut slots, tokens[which], at_ns);
                    expected[which] = Some(at_ns);
                } else {
                    wheel.clear(&mut slots, tokens[which]);
                    expected[which] = None;
                }
                now_ns += (after_ms % 977) * 1_000_000;
                if let (Some(wheel_ns), Some(earliest)) =
                    (wheel.next_ns(), expected.iter().flatten().min())
                {
                    prop_assert!(wheel_ns <= earliest.next_multiple_of(TICK_NS) + 2 * TICK_NS);
                }
                let mut due = Vec::new();
                wheel.advance(&mut slots, now_ns, &mut due);
                for token in due {
                    let at_ns = expected[token.slot()].take();
                    prop_assert!(at_ns.is_some_and(|at_ns| at_ns <= now_ns), "fired early");
                }
                for at_ns in expected.iter().flatten() {
                    prop_assert!(at_ns + 2 * TICK_NS >= now_ns, "did not fire");
                }
            }
        }
    }
}
