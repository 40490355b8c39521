//! Of each message over all its subscribers: its first copy, its last, the time between them, and
//! how many it reached.
//!
//! Owns the names that the report has for them, and how they follow from the boards: of messages
//! that this run published, and of those of a feed that the server paces. Field names are a public
//! interface, as in `crate::measure::figures`. Keeps no board itself.

use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::fanout::layout::{Class, Layout, Pace};
use crate::fanout::options::Options;
use crate::fanout::sheet::FanoutSheet;
use crate::measure::figures::Percentiles;
use crate::measure::latency::Latency;
use crate::measure::model::Measured;
use crate::pace::plan::Window;

/// Of each followed message, over the healthy subscribers of its topic.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct MessageFigures {
    /// Messages followed.
    pub followed: u64,
    /// One message in so many was followed.
    pub every: u64,
    /// Due to first copy.
    pub first_ns: Percentiles,
    /// Due to last copy: what the last subscriber waits.
    pub last_ns: Percentiles,
    /// First copy to last.
    pub spread_ns: Percentiles,
    /// Copies by subscribers, mean over the messages; 1 is everybody.
    pub reach_mean: Option<f64>,
    /// The least of them.
    pub reach_min: Option<f64>,
    /// Whole histograms of first, last and spread; a report keeps them under `histograms`.
    #[serde(skip)]
    pub latencies: [Latency; 3],
}

impl MessageFigures {
    /// The histograms with the names that a report gives them.
    pub fn histograms(&self) -> [(&'static str, &Latency); 3] {
        let [first, last, spread] = &self.latencies;
        [
            ("fanout_first", first),
            ("fanout_last", last),
            ("fanout_spread", spread),
        ]
    }
}

/// The messages taken so far, one after another.
#[derive(Debug, Default)]
struct Followed {
    count: u64,
    reach_sum: f64,
    reach_least: Option<f64>,
    first: Latency,
    last: Latency,
    spread: Latency,
}

impl Followed {
    /// One more message, of which so many copies came to an audience.
    fn count_reach(&mut self, copies: u32, audience: u64) {
        let reach = f64::from(copies) / audience as f64;
        self.count += 1;
        self.reach_sum += reach;
        self.reach_least = Some(self.reach_least.map_or(reach, |least| least.min(reach)));
    }

    /// When its copies came; `begin_ns` is when it was due, or stamped, where that is known.
    fn record(&mut self, begin_ns: Option<u64>, first_ns: u64, last_ns: u64) {
        self.spread.record(last_ns.saturating_sub(first_ns));
        if let Some(begin_ns) = begin_ns {
            self.first.record(first_ns.saturating_sub(begin_ns));
            self.last.record(last_ns.saturating_sub(begin_ns));
        }
    }

    /// Of one message in `every`.
    fn figures(self, every: u64, is_reach_known: bool) -> MessageFigures {
        let has_reach = is_reach_known && self.count > 0;
        MessageFigures {
            followed: self.count,
            every,
            first_ns: Percentiles::of(&self.first),
            last_ns: Percentiles::of(&self.last),
            spread_ns: Percentiles::of(&self.spread),
            reach_mean: has_reach.then(|| self.reach_sum / self.count as f64),
            reach_min: self.reach_least.filter(|_| has_reach),
            latencies: [self.first, self.last, self.spread],
        }
    }
}

/// Of messages that were published by a schedule.
pub fn scheduled_messages(
    config: &Config,
    options: &Options,
    measured: &Measured,
    sheet: &FanoutSheet,
) -> MessageFigures {
    let (Some(window), Some(curve)) = (measured.window, config.curve()) else {
        return MessageFigures::default();
    };
    let pace = Pace::of(window.start_ns, curve, options.burst);
    let layout = Layout::new(options, config.connections, config.seed);
    let audience = layout.audience(Some(Class::Healthy));
    let mut messages = Followed::default();
    for (number, record) in sheet.board.records() {
        let due_ns = pace.due_ns(number);
        let topic = layout.topic_of(layout.stream_of(number));
        let expected = audience.get(topic as usize).copied().unwrap_or(0);
        // A run that was interrupted has not published them all.
        if expected == 0 || due_ns >= window.until_ns {
            continue;
        }
        messages.count_reach(record.copies, expected.into());
        if record.copies > 0 {
            messages.record(Some(due_ns), record.first_ns, record.last_ns);
        }
    }
    messages.figures(sheet.board.stride(), true)
}

/// Of messages of a feed that can be told apart; and whether different ones shared what tells them
/// apart.
pub fn feed_messages(
    options: &Options,
    window: Option<Window>,
    sheet: &FanoutSheet,
) -> (MessageFigures, bool) {
    let Some(window) = window else {
        return (MessageFigures::default(), false);
    };
    let subscribers = sheet.classes[Class::Healthy as usize].subscribers;
    // With topics that differ from subscriber to subscriber nobody knows who is entitled to what.
    let has_one_audience = options.topics == options.topics_per_subscriber;
    let (mut messages, mut is_ambiguous) = (Followed::default(), false);
    for record in sheet.feed.board.records() {
        if !window.measures(record.first_ns) {
            continue;
        }
        is_ambiguous |= u64::from(record.copies) > subscribers;
        messages.count_reach(record.copies, subscribers.max(1));
        messages.record(record.stamped_ns, record.first_ns, record.last_ns);
    }
    let is_reach_known = has_one_audience && !is_ambiguous;
    let figures = messages.figures(sheet.feed.board.stride(), is_reach_known);
    (figures, is_ambiguous)
}
