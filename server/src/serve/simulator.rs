//! `--simulate`: the thread that lets a made-up market happen and publishes it.
//!
//! It owns the schedule: what is due, what is late because the hub is busy, what the log says. What
//! happens in the market is `market`'s, how it is published is `publisher`'s.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fanwire_server::hub::port::{HubPort, PublishRequest};
use fanwire_server::hub::topic::TopicError;

use crate::serve::market::Market;
use crate::serve::options::SimulatorSettings;
use crate::serve::pace::{Pace, zipf_shares};
use crate::serve::publisher::{PublishCounts, Publisher};

/// Between two lines of the log.
const LOG_INTERVAL: Duration = Duration::from_secs(10);
/// How long to wait for an answer at most: other symbols are due meanwhile.
const ANSWER_PAUSE: Duration = Duration::from_micros(500);
/// How long to sleep at most otherwise: a stop has to be seen.
const IDLE_PAUSE: Duration = Duration::from_millis(20);
/// A symbol with more unanswered messages than these on a topic waits.
const UNANSWERED_MAX: usize = 256;
/// Such a symbol is looked at again after this.
const LATE_RETRY_NS: u64 = 500_000;
/// Further behind than this the schedule is moved: the market pauses, nothing is left out.
const LATE_MAX_NS: u64 = 1_000_000_000;

struct Symbol {
    market: Market,
    pace: Pace,
    /// When it goes on, by its pace, in nanoseconds since the start.
    due_ns: u64,
    /// By how much its schedule was moved.
    moved_ns: u64,
}

/// The whole made-up market.
pub(crate) struct Simulator {
    symbols: Vec<Symbol>,
    /// (when to look at it, which symbol).
    agenda: BinaryHeap<Reverse<(u64, u32)>>,
    publisher: Publisher,
    messages: Vec<PublishRequest>,
    /// Times that a symbol had to wait for the hub.
    late: u64,
    /// Times that a schedule was moved because it was too far behind.
    moved: u64,
}

impl Simulator {
    /// # Errors
    /// When a symbol's name is no topic, which does not happen.
    pub(crate) fn new(
        settings: &SimulatorSettings,
        seed: u64,
        port: HubPort,
    ) -> Result<Simulator, TopicError> {
        let mut symbols = Vec::with_capacity(settings.simulate_symbols as usize);
        let mut agenda = BinaryHeap::new();
        let mut publisher = Publisher::new(port);
        let mut messages = Vec::new();
        let shares = zipf_shares(settings.simulate_symbols);
        for (index, share) in (0..settings.simulate_symbols).zip(shares) {
            let mut market = Market::new(index, seed)?;
            market.open(&mut messages);
            let pace_seed = seed.rotate_left(32) ^ u64::from(index);
            let mut pace = Pace::new(settings.simulate_rate * share, pace_seed);
            let due_ns = pace.after(1);
            agenda.push(Reverse((due_ns, index)));
            symbols.push(Symbol {
                market,
                pace,
                due_ns,
                moved_ns: 0,
            });
        }
        for message in messages.drain(..) {
            publisher.push(message);
        }
        Ok(Simulator {
            symbols,
            agenda,
            publisher,
            messages,
            late: 0,
            moved: 0,
        })
    }

    /// Runs until it is told to stop.
    pub(crate) fn run(mut self, is_stopping: &Arc<AtomicBool>) {
        let start = Instant::now();
        let mut log = Log::new(start);
        while !is_stopping.load(Ordering::Relaxed) {
            let now = Instant::now();
            let now_ns = u64::try_from((now - start).as_nanos()).unwrap_or(u64::MAX);
            let next_ns = self.turn(now_ns);
            log.write_if_due(now, &mut self);
            let pause = match self.publisher.unanswered() {
                0 => IDLE_PAUSE.min(Duration::from_nanos(next_ns.saturating_sub(now_ns))),
                _ => {
                    self.publisher.wait_for_answer(ANSWER_PAUSE);
                    continue;
                }
            };
            if !pause.is_zero() {
                thread::sleep(pause);
            }
        }
        tracing::info!("simulator: ended; {}", self.summary());
    }

    /// Lets everything happen that is due and hands over what can be. Gives the time of the next.
    fn turn(&mut self, now_ns: u64) -> u64 {
        while let Some(Reverse((due_ns, index))) = self.agenda.peek().copied() {
            if due_ns > now_ns {
                break;
            }
            self.agenda.pop();
            let next_ns = self.visit(index, now_ns);
            self.agenda.push(Reverse((next_ns, index)));
        }
        self.publisher.pump();
        self.agenda.peek().map_or(now_ns, |Reverse((due, _))| *due)
    }

    /// One symbol is due. Gives the time to come back to it.
    fn visit(&mut self, index: u32, now_ns: u64) -> u64 {
        let Some(symbol) = self.symbols.get_mut(index as usize) else {
            return u64::MAX;
        };
        let topics = symbol.market.topics();
        let unanswered = topics.map(|topic| self.publisher.unanswered_on(topic));
        if unanswered.into_iter().max() > Some(UNANSWERED_MAX) {
            self.late += 1;
            return now_ns + LATE_RETRY_NS;
        }
        let behind_ns = now_ns.saturating_sub(symbol.due_ns + symbol.moved_ns);
        if behind_ns > LATE_MAX_NS {
            symbol.moved_ns += behind_ns;
            self.moved += 1;
        }
        symbol.market.happen(&mut self.messages);
        symbol.due_ns = symbol.pace.after(self.messages.len());
        for message in self.messages.drain(..) {
            self.publisher.push(message);
        }
        symbol.due_ns + symbol.moved_ns
    }

    fn summary(&self) -> String {
        let PublishCounts {
            published,
            busy,
            refused,
        } = self.publisher.counts();
        format!(
            "{published} messages published, {refused} refused, {busy} times busy, {} waits for \
             the hub, {} schedules moved",
            self.late, self.moved
        )
    }
}

/// What the log says every ten seconds.
struct Log {
    due: Instant,
    published: u64,
}

impl Log {
    fn new(start: Instant) -> Log {
        Log {
            due: start + LOG_INTERVAL,
            published: 0,
        }
    }

    fn write_if_due(&mut self, now: Instant, simulator: &mut Simulator) {
        if now < self.due {
            return;
        }
        let published = simulator.publisher.counts().published;
        let rate =
            (published - self.published) as f64 / (LOG_INTERVAL + (now - self.due)).as_secs_f64();
        tracing::info!("simulator: {rate:.0} messages/s; {}", simulator.summary());
        if let Some(refusal) = simulator.publisher.take_refusal() {
            tracing::warn!("simulator: refused, {refusal}");
        }
        self.published = published;
        self.due = now + LOG_INTERVAL;
    }
}
