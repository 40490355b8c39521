//! Who is opened when: the queue that the opening tasks of a thread take their turns from.
//!
//! Owns pacing (`--connect-rate`), how many are opened at once, and giving up when the server lets
//! nobody in. What is opened, and what becomes of it, is the tasks' affair.

use std::cell::Cell;
use std::sync::Arc;

use fanwire_reactor::establish::sleep_ms;
use fanwire_reactor::host::monotonic_ns;

use crate::config::Config;
use crate::measure::gauges::Gauges;
use crate::pace::plan::Schedule;

/// Openings in progress at once per thread: enough to keep a server busy, few enough for a listen
/// queue of 128 not to overflow (a lost SYN costs a second).
const AT_ONCE: u32 = 64;
/// With a connect rate, slow openings overlap up to this many.
const AT_ONCE_PACED: u32 = 1_024;
/// Opening stops when this many attempts failed and none succeeded: the server lets nobody in.
const HOPELESS_AFTER: u32 = 64;
/// An interruption is noticed after this long, however far away the next turn is.
const GIVE_UP_CHECK_MS: u64 = 50;

/// The turns of one thread, numbered from 0.
pub struct Queue {
    count: u32,
    schedule: Option<Schedule>,
    begun_ns: u64,
    gauges: Arc<Gauges>,
    next: Cell<u32>,
    opened: Cell<u32>,
    failed: Cell<u32>,
    /// Tasks that have not ended yet.
    active: Cell<u32>,
}

impl Queue {
    /// Of so many turns, which begin now.
    pub fn new(config: &Config, thread: usize, count: u32, gauges: &Arc<Gauges>) -> Queue {
        let at_once = if config.connect_rate.is_some() {
            AT_ONCE_PACED
        } else {
            AT_ONCE
        };
        Queue {
            count,
            schedule: config
                .connect_rate
                .map(|rate| Schedule::new(0, rate, thread, config.threads)),
            begun_ns: monotonic_ns(),
            gauges: Arc::clone(gauges),
            next: Cell::new(0),
            opened: Cell::new(0),
            failed: Cell::new(0),
            active: Cell::new(at_once.min(count).max(1)),
        }
    }

    /// How many tasks are to take turns; asked before the first begins.
    pub fn tasks(&self) -> u32 {
        self.active.get()
    }

    /// The next turn, as soon as it is due; `None` when there is none any more.
    pub async fn next(&self) -> Option<u32> {
        let number = self.next.get();
        if number >= self.count || self.is_hopeless() || self.gauges.has_given_up() {
            return None;
        }
        self.next.set(number + 1);
        if let Some(schedule) = &self.schedule {
            self.wait(schedule.due_ns(u64::from(number))).await;
        }
        (!self.gauges.has_given_up()).then_some(number)
    }

    /// The runtime's timers tick in milliseconds, so connections come in bursts of a millisecond.
    async fn wait(&self, due_ns: u64) {
        while !self.gauges.has_given_up() {
            let elapsed_ns = monotonic_ns().saturating_sub(self.begun_ns);
            let wait_ms = due_ns.saturating_sub(elapsed_ns) / 1_000_000;
            if wait_ms == 0 {
                return;
            }
            sleep_ms(wait_ms.min(GIVE_UP_CHECK_MS)).await;
        }
    }

    /// A connection is open.
    pub fn count_opened(&self) {
        self.opened.set(self.opened.get() + 1);
        self.gauges.count_opened();
    }

    /// An attempt has failed.
    pub fn count_failed(&self) {
        self.failed.set(self.failed.get() + 1);
        self.gauges.count_failure();
    }

    /// Connections opened so far.
    pub fn opened(&self) -> u32 {
        self.opened.get()
    }

    /// Why no turn is taken any more although there are some left.
    pub fn end(&self) -> String {
        if self.is_hopeless() {
            format!("the first {HOPELESS_AFTER} attempts of a thread all failed")
        } else {
            "the run was stopped".to_owned()
        }
    }

    /// Turns that came to nothing because of that.
    pub fn unattempted(&self) -> u32 {
        self.count
            .saturating_sub(self.opened.get() + self.failed.get())
    }

    fn is_hopeless(&self) -> bool {
        self.opened.get() == 0 && self.failed.get() >= HOPELESS_AFTER
    }

    /// A task has found no turn any more. Returns whether it was the last.
    pub fn task_ended(&self) -> bool {
        self.active.set(self.active.get() - 1);
        self.active.get() == 0
    }
}
