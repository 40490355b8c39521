//! The host's own stalls, measured by a thread that does nothing but sleep and look at the clock.
//!
//! Whatever it sees, any client on this host may have seen too: a lower bound of what can be
//! measured here. Knows nothing of load.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use fanwire_reactor::host::monotonic_ns;

use crate::measure::latency::Latency;

/// How long the thread sleeps each time on a host that is not under load.
pub const NAP: Duration = Duration::from_millis(1);
/// The same beside a load. Waking up a thousand times a second took a twentieth of a CPU from the
/// threads that were measured (server and generator saturated, one CPU each, a virtual machine).
pub const NAP_UNDER_LOAD: Duration = Duration::from_millis(25);

/// An idle thread that is being watched.
pub struct Hiccups {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<Latency>,
}

impl Hiccups {
    /// Starts the thread, which sleeps so long each time.
    ///
    /// # Errors
    /// When no thread can be had.
    pub fn start(nap: Duration) -> Result<Hiccups, String> {
        let is_over = Arc::new(AtomicBool::new(false));
        let is_over_there = Arc::clone(&is_over);
        let thread = std::thread::Builder::new()
            .name("hiccups".into())
            .spawn(move || watch(nap, &is_over_there))
            .map_err(|error| format!("cannot start a thread: {error}"))?;
        Ok(Hiccups { is_over, thread })
    }

    /// Ends it: how much longer than asked for each nap took.
    pub fn stop(self) -> Latency {
        self.is_over.store(true, Ordering::Relaxed);
        // It cannot panic: it only sleeps, reads the clock and counts.
        self.thread.join().unwrap_or_default()
    }
}

fn watch(nap: Duration, is_over: &AtomicBool) -> Latency {
    let nap_ns = u64::try_from(nap.as_nanos()).unwrap_or(u64::MAX);
    let mut overslept = Latency::default();
    let mut before_ns = monotonic_ns();
    while !is_over.load(Ordering::Relaxed) {
        std::thread::sleep(nap);
        let now_ns = monotonic_ns();
        overslept.record(now_ns.saturating_sub(before_ns + nap_ns));
        before_ns = now_ns;
    }
    overslept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_nap_is_counted() {
        let begun_ns = monotonic_ns();
        let hiccups = Hiccups::start(NAP).expect("a thread");
        while monotonic_ns() - begun_ns < 20_000_000 {
            std::thread::yield_now();
        }
        let overslept = hiccups.stop();
        let most = (monotonic_ns() - begun_ns) / 1_000_000 + 1;
        assert!(
            (1..=most).contains(&overslept.count()),
            "{}",
            overslept.count()
        );
    }
}
