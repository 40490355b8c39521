//! Looking at a run while it lasts: what a live view, an endpoint or an abort condition is shown.
//!
//! Owns the face between the main thread of a run and whoever watches it. Nothing here is called
//! from a thread that sends or receives.

use crate::config::Config;
use crate::measure::gauges::Reading;
use crate::measure::latency::Latency;
use crate::measure::series::Second;

/// Which part of a run this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LivePhase {
    /// Connections are being opened.
    Opening,
    /// Fan-out: subscriptions are being confirmed.
    Subscribing,
    /// Load that is not measured yet.
    WarmUp,
    /// Load that is measured.
    Measuring,
    /// The last replies are awaited.
    Draining,
}

/// A run as it is now.
#[derive(Clone, Copy, Debug)]
pub struct Live<'a> {
    /// What was asked for.
    pub config: &'a Config,
    /// Which part of the run this is.
    pub phase: LivePhase,
    /// Until the end of the measurement; 0 outside of it.
    pub left_ns: u64,
    /// The gauges of all threads added up.
    pub reading: Reading,
    /// The seconds completed so far.
    pub seconds: &'a [Second],
    /// Response times of measured messages so far, up to the last completed second.
    pub response: &'a Latency,
}

/// Whether the run goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flow {
    /// It does.
    Continue,
    /// It ends now, with a partial report that gives this reason.
    Stop(String),
}

/// Somebody who watches.
pub trait Watch {
    /// Called by the main thread about every 20 ms and whenever a second is complete. Whatever
    /// takes longer than some milliseconds delays the edges of the seconds.
    fn look(&mut self, live: &Live<'_>) -> Flow;

    /// The run is over, before anything else is printed.
    fn end(&mut self) {}
}
