//! Opening connections of a churn: those of the beginning, and those of clients that come back.
//!
//! Runs as establishment tasks beside the data loop, because opening is a conversation. When a
//! client comes back is decided by `members`; it is called through the [`Gate`].

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};

use fanwire_reactor::Handle;
use fanwire_reactor::establish::sleep_ms;
use fanwire_reactor::host::monotonic_ns;

use crate::churn::worker::Churner;
use crate::config::Config;
use crate::connect::establish::open;
use crate::connect::greetings::Greetings;
use crate::connect::opening::Upgraded;
use crate::connect::route::Routes;
use crate::measure::gauges::Gauges;
use crate::pace::plan::Schedule;

/// Openings in progress at once per thread in the beginning: few enough for a listen queue of 128
/// not to overflow (a lost SYN costs a second). Clients that come back know no such limit: they
/// would not know of each other.
const AT_ONCE: u32 = 64;
/// With a connect rate, slow openings overlap up to this many.
const AT_ONCE_PACED: u32 = 1_024;
/// The beginning ends when this many attempts failed and none succeeded.
const HOPELESS_AFTER: u32 = 64;
/// An interruption is noticed after this long, however far away the next turn is.
const GIVE_UP_CHECK_MS: u64 = 50;

/// A client that is to connect.
#[derive(Clone, Copy, Debug)]
struct Call {
    member: u32,
    due_ns: u64,
}

/// Calls clients back from the data loop into tasks.
#[derive(Default)]
pub struct Gate {
    calls: RefCell<VecDeque<Call>>,
    is_shut: Cell<bool>,
    waiting: Cell<Option<Waker>>,
}

impl Gate {
    /// Calls a client.
    pub fn call(&self, member: u32, due_ns: u64) {
        self.calls.borrow_mut().push_back(Call { member, due_ns });
        self.wake();
    }

    /// How many were called and have not begun.
    pub fn waiting(&self) -> usize {
        self.calls.borrow().len()
    }

    /// Nobody comes back any more; those that were called and have not begun stay away.
    pub fn shut(&self) {
        self.is_shut.set(true);
        self.wake();
    }

    fn wake(&self) {
        if let Some(waker) = self.waiting.take() {
            waker.wake();
        }
    }

    async fn next(&self) -> Option<Call> {
        poll_fn(|context| {
            if self.is_shut.get() {
                return Poll::Ready(None);
            }
            match self.calls.borrow_mut().pop_front() {
                Some(call) => Poll::Ready(Some(call)),
                None => {
                    self.waiting.set(Some(context.waker().clone()));
                    Poll::Pending
                }
            }
        })
        .await
    }
}

/// What the tasks of a thread share.
struct Doors {
    routes: Routes,
    greetings: Greetings,
    gauges: Arc<Gauges>,
    handle: Handle<Churner>,
    /// Number in the whole run of this thread's first client.
    first: u32,
    count: u32,
    begun_ns: u64,
    next: Cell<u32>,
    opened: Cell<u32>,
    failed: Cell<u32>,
    /// Tasks of the beginning that have not ended.
    active: Cell<u32>,
}

/// Opens the connections of the beginning, and from then on those of clients that come back.
/// `done` is called once, when every client has made its first attempt.
pub fn start(
    config: &Arc<Config>,
    thread: usize,
    gauges: &Arc<Gauges>,
    handle: &Handle<Churner>,
    done: impl FnOnce() + 'static,
) {
    let (first, count, gate) =
        handle.with(|churner, _| (churner.first, churner.members.count(), churner.gate()));
    let at_once = if config.connect_rate.is_some() {
        AT_ONCE_PACED
    } else {
        AT_ONCE
    };
    let tasks = at_once.min(count).max(1);
    let doors = Rc::new(Doors {
        routes: Routes::of(config),
        greetings: Greetings::of(config),
        gauges: Arc::clone(gauges),
        handle: handle.clone(),
        first,
        count,
        begun_ns: monotonic_ns(),
        next: Cell::new(0),
        opened: Cell::new(0),
        failed: Cell::new(0),
        active: Cell::new(tasks),
    });
    let schedule = config
        .connect_rate
        .map(|rate| Schedule::new(0, rate, thread, config.threads));
    let done = Rc::new(Cell::new(Some(done)));
    for _ in 0..tasks {
        let (doors, schedule, done) = (Rc::clone(&doors), schedule.clone(), Rc::clone(&done));
        handle.spawn(async move {
            doors.open_first(schedule.as_ref()).await;
            doors.active.set(doors.active.get() - 1);
            if doors.active.get() == 0
                && let Some(done) = done.take()
            {
                doors
                    .handle
                    .with(|churner, _| churner.opening_ended(Box::new(done)));
            }
        });
    }
    let doors = Rc::clone(&doors);
    handle.spawn(async move {
        while let Some(Call { member, due_ns }) = gate.next().await {
            let doors = Rc::clone(&doors);
            let handle = doors.handle.clone();
            handle.spawn(async move { doors.attempt(member, due_ns).await });
        }
    });
}

impl Doors {
    async fn open_first(&self, schedule: Option<&Schedule>) {
        loop {
            let member = self.next.get();
            let is_hopeless = self.opened.get() == 0 && self.failed.get() >= HOPELESS_AFTER;
            if member >= self.count || is_hopeless || self.gauges.has_given_up() {
                return;
            }
            self.next.set(member + 1);
            if let Some(schedule) = schedule {
                self.wait_for_turn(schedule, member).await;
                if self.gauges.has_given_up() {
                    return;
                }
            }
            self.attempt(member, monotonic_ns()).await;
        }
    }

    /// The runtime's timers tick in milliseconds, so connections come in bursts of a millisecond.
    async fn wait_for_turn(&self, schedule: &Schedule, member: u32) {
        let due_ns = schedule.due_ns(u64::from(member));
        while !self.gauges.has_given_up() {
            let elapsed_ns = monotonic_ns().saturating_sub(self.begun_ns);
            let wait_ms = due_ns.saturating_sub(elapsed_ns) / 1_000_000;
            if wait_ms == 0 {
                return;
            }
            sleep_ms(wait_ms.min(GIVE_UP_CHECK_MS)).await;
        }
    }

    async fn attempt(&self, member: u32, due_ns: u64) {
        let begun_ns = monotonic_ns();
        let nonce = self
            .handle
            .with(|churner, _| churner.attempt_begins(member, due_ns, begun_ns));
        let number = self.first + member;
        let greeting = self.greetings.of_connection(number);
        let way = self.routes.way(number, &greeting);
        match open(&way, nonce).await {
            Ok(opened) => {
                self.opened.set(self.opened.get() + 1);
                self.gauges.count_opened();
                self.handle.with(|churner, _| {
                    churner.attempt_opened(due_ns, &opened);
                });
                let (stream, upgraded) = Upgraded::new(member, opened);
                self.handle.adopt(stream, upgraded);
            }
            Err(failure) => {
                self.failed.set(self.failed.get() + 1);
                self.gauges.count_failure();
                self.handle
                    .with(|churner, io| churner.attempt_failed(io, member, begun_ns, failure));
            }
        }
    }
}
