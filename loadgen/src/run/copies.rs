//! What the main thread waits for in a fan-out: subscriptions before the load, copies after it.

use std::time::{Duration, Instant};

use super::{LOOK_MS, Run};
use crate::command::Command;
use crate::config::Config;
use crate::fanout::layout::Layout;
use crate::fanout::publish::publisher_connections;
use crate::measure::watch::LivePhase;

/// A fan-out that delivered nothing for so long has nothing more to deliver.
const QUIET: Duration = Duration::from_millis(1_500);

/// A message of a feed that reached its first subscriber at the end of the window has so long to
/// reach the others: what follows it is no longer measured, and a server that paces itself never
/// falls silent.
const FEED_GRACE: Duration = Duration::from_millis(250);

/// Subscribers and publishers of a fan-out; of the other commands what was asked for.
pub fn all_connections(config: &Config) -> u32 {
    let publishers = config.fanout.as_ref().map_or(0, |options| {
        let layout = Layout::new(options, 0, config.seed);
        publisher_connections(options, &layout, 0, 1).0
    });
    config.connections + publishers
}

impl Run {
    /// Waits until every subscription of an open connection is in force, for as long as a
    /// connection may take.
    pub(super) fn confirm_subscriptions(&mut self) {
        self.command(Command::Prepare);
        let settle_ns = self
            .config
            .fanout
            .as_ref()
            .map_or(0, |fanout| fanout.settle_ns);
        let patience = Duration::from_millis(self.config.connect_timeout_ms)
            .saturating_add(Duration::from_nanos(settle_ns));
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline && !self.is_interrupted() && !self.has_dead_thread() {
            let awaited = self.reading().fanout.awaited;
            if awaited == Some(0) {
                break;
            }
            self.look(LivePhase::Subscribing, 0);
            std::thread::sleep(Duration::from_millis(LOOK_MS));
        }
    }

    fn is_feed(&self) -> bool {
        let options = self.config.fanout.as_ref();
        options.is_some_and(|options| options.feed.is_some())
    }

    /// Waits until everything that was published has arrived where it should, or nothing moves any
    /// more, or the drain is over.
    pub(super) fn await_copies(&mut self) {
        let mut drain = Duration::from_millis(self.config.drain_ms);
        let is_feed = self.is_feed();
        if is_feed {
            drain = drain.min(FEED_GRACE);
        }
        let deadline = Instant::now() + drain;
        let (mut last, mut moved_at) = (u64::MAX, Instant::now());
        while Instant::now() < deadline && !self.has_dead_thread() {
            let reading = self.reading();
            let shown = reading.fanout;
            let is_published = shown.draining == self.crew.len() as u64 && shown.unanswered == 0;
            if !is_feed && is_published && shown.settled >= shown.owed {
                return;
            }
            let now = Instant::now();
            if reading.received + shown.settled != last {
                (last, moved_at) = (reading.received + shown.settled, now);
            } else if now.duration_since(moved_at) >= QUIET {
                return;
            }
            self.look(LivePhase::Draining, 0);
            std::thread::sleep(Duration::from_millis(LOOK_MS));
        }
    }
}
