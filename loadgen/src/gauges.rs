//! What a thread shows of itself while it runs: three numbers for the progress line.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Written by one thread once per turn, read by another once per second. A cache line of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Gauges {
    received: AtomicU64,
    open: AtomicU64,
    opened: AtomicU64,
    failed: AtomicU64,
    /// Set by the main thread when the run is to end early: opening stops.
    gives_up: AtomicBool,
}

/// A reading of [`Gauges`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Replies (storm: cycles) so far.
    pub received: u64,
    /// Connections open now.
    pub open: u64,
    /// Connections ever opened.
    pub opened: u64,
    /// Failures so far.
    pub failed: u64,
}

impl Gauges {
    /// Shows replies and connections.
    pub fn show(&self, received: u64, open: u64) {
        // Each number stands alone: no order between them is promised.
        self.received.store(received, Ordering::Relaxed);
        self.open.store(open, Ordering::Relaxed);
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
        Reading {
            received: self.received.load(Ordering::Relaxed),
            open: self.open.load(Ordering::Relaxed),
            opened: self.opened.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
        }
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
