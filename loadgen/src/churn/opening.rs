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
use fanwire_reactor::host::monotonic_ns;

use crate::churn::worker::Churner;
use crate::config::Config;
use crate::connect::establish::open;
use crate::connect::greetings::Greetings;
use crate::connect::opening::Upgraded;
use crate::connect::queue::Queue;
use crate::connect::route::Routes;
use crate::measure::gauges::Gauges;

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
    /// Turns of the beginning. Clients that come back take none: they would not know of each other.
    queue: Queue,
    handle: Handle<Churner>,
    /// Number in the whole run of this thread's first client.
    first: u32,
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
    let doors = Rc::new(Doors {
        routes: Routes::of(config),
        greetings: Greetings::of(config),
        queue: Queue::new(config, thread, count, gauges),
        handle: handle.clone(),
        first,
    });
    let done = Rc::new(Cell::new(Some(done)));
    for _ in 0..doors.queue.tasks() {
        let (doors, done) = (Rc::clone(&doors), Rc::clone(&done));
        handle.spawn(async move {
            while let Some(member) = doors.queue.next().await {
                doors.attempt(member, monotonic_ns()).await;
            }
            if doors.queue.task_ended()
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
                self.queue.count_opened();
                self.handle.with(|churner, _| {
                    churner.attempt_opened(due_ns, &opened);
                });
                let (stream, upgraded) = Upgraded::new(member, opened);
                self.handle.adopt(stream, upgraded);
            }
            Err(failure) => {
                self.queue.count_failed();
                self.handle
                    .with(|churner, io| churner.attempt_failed(io, member, begun_ns, failure));
            }
        }
    }
}
