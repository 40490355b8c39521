//! What a thread shows of itself while it runs: some numbers for the progress line and, in a
//! fan-out, for the main thread to know when everything has arrived.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use fanwire_reactor::Counters;

/// Written by one thread once per turn, read by another once per second. A cache line of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Gauges {
    handed_over: AtomicU64,
    received: AtomicU64,
    open: AtomicU64,
    opened: AtomicU64,
    failed: AtomicU64,
    /// What the reactor counted; see [`CoreShown`].
    spun_ns: AtomicU64,
    completion_overflows: AtomicU64,
    /// Fan-out; see [`FanoutShown`].
    sent: AtomicU64,
    owed: AtomicU64,
    settled: AtomicU64,
    unanswered: AtomicU64,
    draining: AtomicU64,
    /// One more than there are, so that 0 stands for "not looked yet".
    awaited_and_one: AtomicU64,
    /// Set by the main thread when the run is to end early: opening stops.
    gives_up: AtomicBool,
    /// Set by the main thread when all threads are there.
    may_open: AtomicBool,
}

/// A reading of [`Gauges`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Messages handed to sockets (storm: cycles begun; fan-out: messages published) so far.
    pub sent: u64,
    /// Replies (storm: cycles) so far.
    pub received: u64,
    /// Connections open now.
    pub open: u64,
    /// Connections ever opened.
    pub opened: u64,
    /// Failures so far.
    pub failed: u64,
    /// What a fan-out shows beside it.
    pub fanout: FanoutShown,
}

/// What a thread shows of its reactor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CoreShown {
    /// Time spent polling without finding anything, in nanoseconds.
    pub spun_ns: u64,
    /// Times that the completion queue overflowed.
    pub completion_overflows: u64,
}

/// What a thread of a fan-out shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FanoutShown {
    /// Messages published.
    pub sent: u64,
    /// Copies that somebody is owed for them.
    pub owed: u64,
    /// Copies delivered, or announced not to be.
    pub settled: u64,
    /// Publishes that are not acknowledged yet.
    pub unanswered: u64,
    /// 1 when the thread publishes no more.
    pub draining: u64,
    /// Subscriptions not confirmed yet; `None` before the thread has looked.
    pub awaited: Option<u64>,
}

impl FanoutShown {
    /// Adds what another thread shows.
    pub fn add(&mut self, other: &FanoutShown) {
        self.sent += other.sent;
        self.owed += other.owed;
        self.settled += other.settled;
        self.unanswered += other.unanswered;
        self.draining += other.draining;
        self.awaited = self
            .awaited
            .zip(other.awaited)
            .map(|(mine, theirs)| mine + theirs);
    }
}

impl Gauges {
    /// Shows messages sent, replies and connections.
    pub fn show(&self, sent: u64, received: u64, open: u64) {
        // Each number stands alone: no order between them is promised.
        // Only this thread writes. Once it has handed in its sheet it has no counts left, but what
        // it did stays done.
        let sent = sent.max(self.handed_over.load(Ordering::Relaxed));
        let received = received.max(self.received.load(Ordering::Relaxed));
        self.handed_over.store(sent, Ordering::Relaxed);
        self.received.store(received, Ordering::Relaxed);
        self.open.store(open, Ordering::Relaxed);
    }

    /// Shows what the reactor counted.
    pub fn show_core(&self, counters: &Counters) {
        let overflows = counters.completion_overflows;
        self.spun_ns.store(counters.spun_ns, Ordering::Relaxed);
        self.completion_overflows
            .store(overflows, Ordering::Relaxed);
    }

    /// What the reactor of the thread has counted.
    pub fn read_core(&self) -> CoreShown {
        CoreShown {
            spun_ns: self.spun_ns.load(Ordering::Relaxed),
            completion_overflows: self.completion_overflows.load(Ordering::Relaxed),
        }
    }

    /// Shows the state of a fan-out, but for `awaited`. What is owed is shown before what says that
    /// no more will be, and read in the opposite order: whoever sees the latter sees the former.
    pub fn show_fanout(&self, shown: FanoutShown) {
        self.sent.store(shown.sent, Ordering::Relaxed);
        self.settled.store(shown.settled, Ordering::Relaxed);
        self.owed.store(shown.owed, Ordering::Relaxed);
        self.unanswered.store(shown.unanswered, Ordering::Release);
        self.draining.store(shown.draining, Ordering::Release);
    }

    /// Shows how many subscriptions are not confirmed.
    pub fn show_awaited(&self, awaited: u64) {
        self.awaited_and_one.store(awaited + 1, Ordering::Relaxed);
    }

    /// Counts a connection.
    pub fn count_opened(&self) {
        self.opened.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a failure.
    pub fn count_failure(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// What is shown now.
    pub fn read(&self) -> Reading {
        let draining = self.draining.load(Ordering::Acquire);
        let unanswered = self.unanswered.load(Ordering::Acquire);
        Reading {
            sent: self.handed_over.load(Ordering::Relaxed),
            received: self.received.load(Ordering::Relaxed),
            open: self.open.load(Ordering::Relaxed),
            opened: self.opened.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            fanout: FanoutShown {
                sent: self.sent.load(Ordering::Relaxed),
                owed: self.owed.load(Ordering::Relaxed),
                settled: self.settled.load(Ordering::Relaxed),
                unanswered,
                draining,
                awaited: self.awaited_and_one.load(Ordering::Relaxed).checked_sub(1),
            },
        }
    }

    /// Lets the thread open connections.
    pub fn let_open(&self) {
        self.may_open.store(true, Ordering::Relaxed);
    }

    /// Whether connections may be opened.
    pub fn may_open(&self) -> bool {
        self.may_open.load(Ordering::Relaxed)
    }

    /// Asks the thread to stop opening connections.
    pub fn give_up(&self) {
        self.gives_up.store(true, Ordering::Relaxed);
    }

    /// Whether opening is to stop.
    pub fn has_given_up(&self) -> bool {
        self.gives_up.load(Ordering::Relaxed)
    }
}
