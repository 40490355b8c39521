//! A load that waits for others: what several machines make together begins on all of them at once.

use std::time::Duration;

use super::{LOOK_MS, Run};
use crate::measure::gauges::Reading;
use crate::measure::watch::LivePhase;

/// Holds a run back between the opening of its connections and the beginning of its load.
pub trait Barrier {
    /// Waits, `longest` at most, and says whether the load may begin. Called by the main thread,
    /// again and again until it may or the run is ended.
    fn wait(&mut self, reading: Reading, longest: Duration) -> bool;
}

impl Run {
    /// Waits at the barrier. An interruption ends the wait; the barrier bounds it otherwise, by
    /// interrupting the run when those whom it waits for are gone.
    pub(super) fn hold_back(&mut self, barrier: Option<Box<dyn Barrier>>) {
        let Some(mut barrier) = barrier else { return };
        let longest = Duration::from_millis(LOOK_MS);
        while !self.is_interrupted() && !self.has_dead_thread() {
            if barrier.wait(self.reading(), longest) {
                return;
            }
            self.look(LivePhase::Opening, 0);
        }
    }
}
