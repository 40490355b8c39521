//! Publishing: which connections it takes, the schedule, and the probes before it.
//!
//! Owns the moment at which a message is stamped. What it contains is `desk`'s.

use fanwire_reactor::Io;

use crate::fanout::layout::Layout;
use crate::fanout::options::{Dialect, Options};
use crate::fanout::seat::Seat;
use crate::fanout::worker::{FanoutWorker, Subscriber};

/// Messages published before arrivals get their turn again, when the schedule is behind.
const SENDS_PER_ALARM: usize = 512;
/// Messages of other threads that are passed over at once. With a steep popularity the next one of
/// our own may be far away; the thread then wakes up now and then to look on.
const SKIPS_AT_ONCE: usize = 256;
/// Between two looks at which subscriptions are in force, and two probes of each stream.
const PREPARE_NS: u64 = 50_000_000;

/// How many connections publishers need, and which of them `thread` opens: by their place.
pub fn publisher_connections(
    options: &Options,
    layout: &Layout,
    thread: usize,
    threads: usize,
) -> (u32, Vec<u32>) {
    let is_own = |publisher: u32| publisher as usize % threads.max(1) == thread;
    let count = match options.dialect {
        _ if options.feed.is_some() => 0,
        Dialect::Raw => layout.streams(),
        _ => layout.publishers(),
    };
    // In the raw dialect the place is the stream's number, in the others the publisher's.
    let own = (0..count).filter(|place| is_own(layout.publisher_of(*place)));
    (count, own.collect())
}

impl FanoutWorker {
    /// Looks how far the subscriptions are; where they are probed, a probe of every stream tells.
    pub(super) fn prepare(&mut self, io: &mut Io) {
        let now_ns = io.read_clock_ns();
        if self.options.confirms_by_time() {
            self.settle(now_ns);
        }
        let awaited = self.awaited();
        self.gauges.show_awaited(awaited);
        if self.options.has_probes() {
            for stream in 0..self.desk.layout.streams() {
                if self.is_own(stream) {
                    self.desk.compose(stream, 0, now_ns, now_ns, true);
                    self.send_composed(io, stream);
                }
            }
        }
        io.set_alarm(0);
        io.set_alarm(now_ns + PREPARE_NS);
    }

    /// Where nothing confirms a subscription, it counts as in force some time after it was asked for.
    fn settle(&mut self, now_ns: u64) {
        if now_ns < self.introduced_ns.saturating_add(self.options.settle_ns) {
            return;
        }
        let is_here = |one: &&mut Subscriber| one.token.is_some();
        for subscriber in self.subscribers.iter_mut().filter(is_here) {
            let lanes = subscriber.books.lanes_mut();
            lanes.iter_mut().for_each(|lane| lane.is_ready = true);
        }
    }

    pub(super) fn is_own(&self, stream: u32) -> bool {
        self.desk.layout.publisher_of(stream) as usize % self.config.threads == self.thread
    }

    /// Moves on to a message that is this thread's to publish, if there is one near.
    pub(super) fn skip_foreign(&mut self) {
        for _ in 0..SKIPS_AT_ONCE {
            if self.is_own(self.desk.layout.stream_of(self.next)) {
                return;
            }
            self.next += 1;
        }
    }

    pub(super) fn next_due_ns(&self) -> u64 {
        match &self.desk.pace {
            Some(pace) if self.is_publishing => pace.due_ns(self.next),
            _ => u64::MAX,
        }
    }

    /// Publishes what the schedule wants by now.
    pub(super) fn publish_due(&mut self, io: &mut Io) {
        let Some(window) = self.desk.window else {
            return;
        };
        for _ in 0..SENDS_PER_ALARM {
            let due_ns = self.next_due_ns();
            let now_ns = io.read_clock_ns();
            if due_ns > now_ns || due_ns >= window.until_ns {
                return;
            }
            let number = self.next;
            let stream = self.desk.layout.stream_of(number);
            self.next += 1;
            self.skip_foreign();
            if !self.is_own(stream) {
                continue;
            }
            if window.measures(due_ns) {
                self.desk.sheet.record_late(now_ns - due_ns);
            }
            self.desk.compose(stream, number, due_ns, now_ns, false);
            if self.send_composed(io, stream) {
                self.desk.count_published(stream, due_ns);
            } else {
                self.desk.sheet.tally.unsent += 1;
            }
        }
    }

    /// Sends what the desk has composed on the connection of its stream.
    pub(super) fn send_composed(&mut self, io: &mut Io, stream: u32) -> bool {
        let place = match self.options.dialect {
            Dialect::Raw => stream,
            _ => self.desk.layout.publisher_of(stream),
        };
        let Some(Some(token)) = self.publishers.get(place as usize).copied() else {
            return false;
        };
        let FanoutWorker {
            seats,
            desk,
            workspace,
            writing,
            ..
        } = self;
        let Some(seat) = seats.get_mut(token) else {
            return false;
        };
        let key = Some(desk.masking_key());
        let (kind, message) = (desk.message_kind(), desk.message());
        let Seat {
            connection, link, ..
        } = seat;
        io.send(token, |out| {
            link.write(out, writing, |out| {
                let sender = &mut connection.sender;
                sender.message(kind, message, key, workspace, out).is_ok()
            })
        })
        .unwrap_or(false)
    }
}
