//! What is sent when: the absolute schedule of an open-loop run and the order of connections.
//!
//! Pure arithmetic. A plan knows no socket and reads no clock: it is asked for the next due time
//! and told that it has been used. Because every due time is computed from the start of the run
//! and not from the message before it, a late send never pushes the rest of the schedule back.

use std::sync::Arc;

use crate::pace::rate::Curve;
use crate::quantity::parse_count;

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

    /// Whether a message due at `at_ns` is sent only to warm up.
    pub fn is_warmup(&self, at_ns: u64) -> bool {
        at_ns < self.measure_from_ns
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

/// In what rhythm messages follow each other (`--arrival`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Arrival {
    /// At equal gaps.
    #[default]
    Constant,
    /// At random, independent of each other: gaps are exponentially distributed.
    Poisson,
    /// So many at the same moment, at equal gaps.
    Burst(u32),
}

/// Most messages of one burst.
const BURST_MAX: u64 = 1_000_000;

impl Arrival {
    /// Reads `const`, `poisson` or `burst:N`.
    ///
    /// # Errors
    /// One sentence with the choices.
    pub fn parse(text: &str) -> Result<Arrival, String> {
        match text.split_once(':') {
            None if text == "const" => Ok(Arrival::Constant),
            None if text == "poisson" => Ok(Arrival::Poisson),
            Some(("burst", count)) => match parse_count(count)? {
                count @ 1..=BURST_MAX => Ok(Arrival::Burst(count as u32)),
                _ => Err("a burst has 1 to 1,000,000 messages".into()),
            },
            _ => Err(format!(
                "'{text}' is neither const, nor poisson, nor burst:N, as in burst:100"
            )),
        }
    }

    /// The word of the command line.
    pub fn describe(self) -> String {
        match self {
            Arrival::Constant => "const".into(),
            Arrival::Poisson => "poisson".into(),
            Arrival::Burst(count) => format!("burst:{count}"),
        }
    }
}

/// What an open loop of a whole run sends when, before it is shared among threads.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The rate of all threads together.
    pub curve: Arc<Curve>,
    /// The rhythm.
    pub arrival: Arrival,
    /// Messages after which all threads together stop.
    pub messages_max: Option<u64>,
    /// Decides the gaps of [`Arrival::Poisson`].
    pub seed: u64,
}

/// The schedule of one thread: its share of what all threads send together.
///
/// Message `k` of thread `i` of `n` is number `k·n + i` of the run, and due when the run's rate has
/// added up to that number, so that the threads interleave instead of sending in step. With Poisson
/// arrivals every thread is a process of its own with an n-th of the rate; together they are one
/// with the whole rate.
#[derive(Clone, Debug)]
pub struct Schedule {
    start_ns: u64,
    curve: Arc<Curve>,
    arrival: Arrival,
    thread: u64,
    threads: u64,
    next: u64,
    /// Messages of this thread.
    messages_max: u64,
    next_due_ns: u64,
    /// Poisson: the run's messages that the rate has to have added up to for the next one.
    random_count: f64,
    random: fastrand::Rng,
}

impl Schedule {
    /// The share of `thread` (0-based) of `threads` in a constant rate.
    pub fn new(start_ns: u64, rate_per_second: f64, thread: usize, threads: usize) -> Schedule {
        let plan = Plan {
            curve: Arc::new(Curve::constant(rate_per_second)),
            arrival: Arrival::Constant,
            messages_max: None,
            seed: 0,
        };
        Schedule::of(&plan, start_ns, thread, threads)
    }

    /// The share of `thread` (0-based) of `threads` in a plan.
    pub fn of(plan: &Plan, start_ns: u64, thread: usize, threads: usize) -> Schedule {
        let messages_max = plan
            .messages_max
            .map_or(u64::MAX, |count| share_of_messages(count, thread, threads));
        // Any odd constant keeps the threads' gaps apart.
        let seed = (thread as u64 + 1).wrapping_mul(0xd134_2543_de82_ef95);
        let mut schedule = Schedule {
            start_ns,
            curve: Arc::clone(&plan.curve),
            arrival: plan.arrival,
            thread: thread as u64,
            threads: threads.max(1) as u64,
            next: 0,
            messages_max,
            next_due_ns: 0,
            random_count: 0.0,
            random: fastrand::Rng::with_seed(plan.seed ^ seed),
        };
        schedule.find_next();
        schedule
    }

    /// When message `number` of this thread would be due at equal gaps.
    pub fn due_ns(&self, number: u64) -> u64 {
        self.at_count((number * self.threads + self.thread) as f64)
    }

    /// When the next message is due; `u64::MAX` when there is none.
    pub fn next_due_ns(&self) -> u64 {
        self.next_due_ns
    }

    /// The number of the next message, from 0.
    pub fn next_number(&self) -> u64 {
        self.next
    }

    /// Whether this thread has sent its share of a limited number of messages.
    pub fn is_exhausted(&self) -> bool {
        self.next >= self.messages_max
    }

    /// This thread's share of the rate at a moment.
    pub fn per_second_at(&self, at_ns: u64) -> f64 {
        let elapsed_ns = at_ns.saturating_sub(self.start_ns);
        self.curve.per_second_at(elapsed_ns) / self.threads as f64
    }

    /// The next message has been dealt with (sent, or given up).
    pub fn advance(&mut self) {
        self.next += 1;
        self.find_next();
    }

    /// Skips what is due before `until_ns` and returns how many messages that was. So many that
    /// counting them would take long are counted by the rate, which is their expected number.
    pub fn skip_until(&mut self, until_ns: u64) -> u64 {
        let mut skipped = 0;
        while self.next_due_ns < until_ns && skipped < COUNTED_MAX {
            self.advance();
            skipped += 1;
        }
        if self.next_due_ns >= until_ns {
            return skipped;
        }
        let count_by = |at_ns: u64| self.curve.count_by(at_ns.saturating_sub(self.start_ns));
        let rest = (count_by(until_ns) - count_by(self.next_due_ns)) / self.threads as f64;
        let rest = (rest as u64).min(self.messages_max - self.next);
        self.next += rest;
        self.next_due_ns = u64::MAX;
        skipped + rest
    }

    fn find_next(&mut self) {
        if self.is_exhausted() {
            self.next_due_ns = u64::MAX;
            return;
        }
        self.next_due_ns = match self.arrival {
            Arrival::Constant => self.due_ns(self.next),
            Arrival::Poisson => {
                // f64() is below 1, so the logarithm is finite.
                let gap = -(1.0 - self.random.f64()).ln();
                self.random_count += gap * self.threads as f64;
                self.at_count(self.random_count)
            }
            Arrival::Burst(size) => {
                let number = self.next * self.threads + self.thread;
                self.at_count((number - number % u64::from(size.max(1))) as f64)
            }
        };
    }

    fn at_count(&self, count: f64) -> u64 {
        self.curve
            .due_ns(count)
            .map_or(u64::MAX, |due_ns| self.start_ns.saturating_add(due_ns))
    }
}

/// Messages that [`Schedule::skip_until`] counts one by one.
const COUNTED_MAX: u64 = 100_000;

/// How many of `total` messages are thread `thread`'s, when the threads take them in turn.
pub fn share_of_messages(total: u64, thread: usize, threads: usize) -> u64 {
    total
        .saturating_sub(thread as u64)
        .div_ceil(threads.max(1) as u64)
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
        schedule.next = 700_000 * 86_400 - 1;
        schedule.advance();
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
        assert!(window.is_warmup(99) && !window.is_warmup(100) && !window.is_warmup(300));
        assert_eq!(window.measured_ns(), 200);
    }
}
