//! What is sent when: the absolute schedule of an open-loop run and the order of connections.
//!
//! Pure arithmetic. A plan knows no socket and reads no clock: it is asked for the next due time
//! and told that it has been used. Because every due time is computed from the start of the run
//! and not from the message before it, a late send never pushes the rest of the schedule back.

/// When measuring starts and stops, in CLOCK_MONOTONIC nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The first message of the warm-up is due here.
    pub start_ns: u64,
    /// Messages due from here on are measured.
    pub measure_from_ns: u64,
    /// Nothing is sent at or after this time.
    pub until_ns: u64,
}

impl Window {
    /// Whether a message due at `at_ns` belongs to the measurement.
    pub fn measures(&self, at_ns: u64) -> bool {
        at_ns >= self.measure_from_ns && at_ns < self.until_ns
    }

    /// Whether a measured message belongs to the second half, for the test of stationarity.
    pub fn is_second_half(&self, at_ns: u64) -> bool {
        at_ns >= self.measure_from_ns + (self.until_ns - self.measure_from_ns) / 2
    }

    /// Length of the measured part.
    pub fn measured_ns(&self) -> u64 {
        self.until_ns.saturating_sub(self.measure_from_ns)
    }
}

/// Constant-rate schedule of one thread: its share of a rate that all threads produce together.
///
/// Message `k` of thread `i` of `n` is due at `start + (k·n + i) / rate`, so that the threads
/// interleave instead of sending in step.
#[derive(Clone, Debug)]
pub struct Schedule {
    start_ns: u64,
    interval_ns: f64,
    offset_ns: f64,
    next: u64,
}

impl Schedule {
    /// The share of `thread` (0-based) of `threads` in `rate_per_second`.
    pub fn new(start_ns: u64, rate_per_second: f64, thread: usize, threads: usize) -> Schedule {
        let spacing_ns = 1e9 / rate_per_second;
        Schedule {
            start_ns,
            interval_ns: spacing_ns * threads as f64,
            offset_ns: spacing_ns * thread as f64,
            next: 0,
        }
    }

    /// When message `number` is due.
    pub fn due_ns(&self, number: u64) -> u64 {
        // f64 holds whole nanoseconds exactly up to 104 days of run time.
        self.start_ns + (self.offset_ns + number as f64 * self.interval_ns) as u64
    }

    /// When the next message is due.
    pub fn next_due_ns(&self) -> u64 {
        self.due_ns(self.next)
    }

    /// The number of the next message, from 0.
    pub fn next_number(&self) -> u64 {
        self.next
    }

    /// The next message has been dealt with (sent, or given up).
    pub fn advance(&mut self) {
        self.next += 1;
    }
}

/// A seeded order of `count` connections, so that neighbours in the schedule are not neighbours
/// in accept order at the server and repeated runs are comparable.
pub fn permutation(count: u32, seed: u64) -> Vec<u32> {
    let mut order: Vec<u32> = (0..count).collect();
    fastrand::Rng::with_seed(seed).shuffle(&mut order);
    order
}

/// How many of `total` things thread `thread` of `threads` takes, and how many come before them.
pub fn share(total: u32, thread: usize, threads: usize) -> (u32, u32) {
    let (thread, threads) = (thread as u64, threads.max(1) as u64);
    let before = |index: u64| (u64::from(total) * index / threads) as u32;
    (before(thread + 1) - before(thread), before(thread))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_is_absolute() {
        let mut schedule = Schedule::new(1_000, 3.0, 0, 1);
        let mut due = Vec::new();
        for _ in 0..7 {
            due.push(schedule.next_due_ns());
            schedule.advance();
        }
        // A third of a second each, and no drift: message 6 is due after exactly two seconds.
        assert_eq!(due[0], 1_000);
        assert_eq!(due[3], 1_000_001_000);
        assert_eq!(due[6], 2_000_001_000);
    }

    #[test]
    fn threads_interleave_to_the_asked_rate() {
        let mut all = Vec::new();
        for thread in 0..4 {
            let mut schedule = Schedule::new(0, 1_000_000.0, thread, 4);
            for _ in 0..250 {
                all.push(schedule.next_due_ns());
                schedule.advance();
            }
        }
        all.sort_unstable();
        let expected: Vec<u64> = (0..1_000).map(|number| number * 1_000).collect();
        assert_eq!(all, expected);
    }

    #[test]
    fn no_drift_after_a_billion_messages() {
        let mut schedule = Schedule::new(0, 700_000.0, 0, 1);
        schedule.next = 700_000 * 86_400;
        assert_eq!(schedule.next_due_ns(), 86_400 * 1_000_000_000);
    }

    #[test]
    fn permutations_are_complete_and_seeded() {
        let order = permutation(1_000, 7);
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..1_000).collect::<Vec<u32>>());
        assert_eq!(order, permutation(1_000, 7));
        assert_ne!(order, permutation(1_000, 8));
        assert_ne!(order, sorted);
    }

    #[test]
    fn shares_add_up() {
        for (total, threads) in [(10u32, 3usize), (1, 4), (0, 2), (1_000_003, 7)] {
            let shares: Vec<(u32, u32)> = (0..threads)
                .map(|thread| share(total, thread, threads))
                .collect();
            assert_eq!(shares.iter().map(|(count, _)| count).sum::<u32>(), total);
            let mut before = 0;
            for (count, first) in shares {
                assert_eq!(first, before);
                before += count;
            }
        }
    }

    #[test]
    fn the_window_excludes_warm_up() {
        let window = Window {
            start_ns: 0,
            measure_from_ns: 100,
            until_ns: 300,
        };
        assert!(!window.measures(99) && window.measures(100) && !window.measures(300));
        assert!(!window.is_second_half(199) && window.is_second_half(200));
        assert_eq!(window.measured_ns(), 200);
    }
}
