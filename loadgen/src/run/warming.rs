//! The warm-up: of a length that was asked for, or until the load is steady.

use std::time::Duration;

use fanwire_reactor::host::monotonic_ns;

use super::Run;
use crate::command::Command;
use crate::measure::latency::Latency;
use crate::pace::plan::Window;
use crate::pace::warmup::{Steadiness, Stretch, look_ns, start_after_ns};

/// A thread that does not say in this time what came back is too busy to be asked.
const ANSWER: Duration = Duration::from_millis(100);

impl Run {
    /// Lets the load run until measuring starts. False when the run is to end before.
    pub(super) fn warm_up(&mut self) -> bool {
        let Some(window) = self.measured.window else {
            return false;
        };
        let is_whole = !self.config.warmup.is_auto() || self.await_steadiness(window);
        let window = self.measured.window.unwrap_or(window);
        is_whole && self.wait_until(window.measure_from_ns, window.until_ns)
    }

    /// Looks at the load until it is steady and then brings the window forward; it stays where it
    /// is when the load never is. False when the run is to end.
    fn await_steadiness(&mut self, window: Window) -> bool {
        let mut steadiness = Steadiness::default();
        let mut last_ns = window.start_ns;
        for look in 0.. {
            let look_at_ns = window.start_ns + look_ns(look);
            if look_at_ns >= window.measure_from_ns {
                break;
            }
            if !self.wait_until(look_at_ns, window.until_ns) {
                return false;
            }
            let now_ns = monotonic_ns();
            let Some(response) = self.ask_what_came_back(look) else {
                continue;
            };
            let stretch = Stretch {
                length_ns: now_ns - last_ns,
                response,
            };
            last_ns = now_ns;
            // What came before the first look is how a load begins.
            if look == 0 || !steadiness.is_steady(stretch) {
                continue;
            }
            let elapsed_ns = monotonic_ns() - window.start_ns;
            if let Some(start_ns) = start_after_ns(elapsed_ns) {
                self.bring_forward(window, window.start_ns + start_ns);
                self.measured.is_warmup_steady = Some(true);
                return true;
            }
        }
        self.measured.is_warmup_steady = Some(false);
        self.measured.notes.push(format!(
            "the load was not steady after a warm-up of {}: {}",
            self.config.warmup.describe(),
            steadiness.comparison
        ));
        true
    }

    /// Asks all threads for the response times since they were asked last. `None` when one does not
    /// answer.
    fn ask_what_came_back(&mut self, look: u32) -> Option<Latency> {
        self.command(Command::Warmth(look));
        let mut sum = Latency::default();
        let mut missing = self.crew.len();
        while missing > 0 {
            let warmth = self.warmths.recv_timeout(ANSWER).ok()?;
            // An answer to an earlier question came too late for it.
            sum.add(&warmth.response);
            missing -= usize::from(warmth.look == look);
        }
        Some(sum)
    }

    fn bring_forward(&mut self, window: Window, measure_from_ns: u64) {
        let window = Window {
            measure_from_ns,
            until_ns: measure_from_ns + window.measured_ns(),
            ..window
        };
        self.measured.window = Some(window);
        self.series.set_window(window);
        self.command(Command::Measure(window));
    }
}
