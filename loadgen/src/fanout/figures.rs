//! The parts of a report that only a fan-out has, and how they follow from the sheets.
//!
//! Field names are a public interface, as in `crate::measure::figures`.

use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::fanout::books::Counts;
use crate::fanout::foreign_figures::{
    FeedFigures, ForeignFigures, PositionFigures, feed, foreign, position,
};
use crate::fanout::layout::{CLASSES, Class};
use crate::fanout::message_figures::{MessageFigures, feed_messages, scheduled_messages};
use crate::fanout::options::{Kind, Options};
use crate::fanout::sheet::{ClassSheet, Comings, FanoutSheet};
use crate::fanout::track::SequenceCounts;
use crate::measure::figures::{Percentiles, Word};
use crate::measure::model::Measured;
use crate::measure::sums::add_fields;
use crate::measure::tally::Sheet;

/// Where every copy went:
/// `eligible = delivered + declared gap + conflated + unrecovered + cut off + in flight + missing`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// Published messages times those entitled to them.
    pub eligible: u64,
    /// First copies, whole and unchanged.
    pub delivered: u64,
    /// Announced by a `gap`.
    pub declared_gap: u64,
    /// Announced as replaced by newer ones.
    pub conflated: u64,
    /// Missed while away; the server said that it could not bring them.
    pub unrecovered: u64,
    /// Not reached by subscribers whose connection had ended.
    pub cut_off_at_close: u64,
    /// Not reached by subscribers that were connected to the end.
    pub in_flight: u64,
    /// The rest: nobody said that they would be missing. Below zero, copies too many.
    pub missing: i64,
    /// `missing` is zero.
    pub adds_up: bool,
    /// Copies that had come before.
    pub duplicates: u64,
    /// Copies that came after a younger one.
    pub reordered: u64,
    /// Copies of topics that were not subscribed to.
    pub foreign: u64,
    /// Copies cut, mixed or changed.
    pub torn: u64,
    /// Messages that this run did not publish.
    pub strangers: u64,
    /// Copies that a snapshot brought again.
    pub repeated: u64,
    /// Breaches of the server's numbering.
    pub faults: u64,
}

impl Ledger {
    /// Of one class. `has_numbers`: the server numbers messages, so that what is behind can be
    /// told from what was left out.
    fn of(class: &ClassSheet, sheet: &FanoutSheet, has_numbers: bool) -> Ledger {
        let published = &sheet.published;
        let (cut_off_at_close, in_flight) = if has_numbers {
            (
                class.closed.behind_heads(&sheet.heads),
                class.open.behind_heads(&sheet.heads),
            )
        } else {
            (class.closed.behind(published), class.open.behind(published))
        };
        let Counts {
            delivered,
            announced,
            ..
        } = class.counts;
        let eligible = class.open.eligible(published) + class.closed.eligible(published);
        // What a server announces is its own affair: the sum must not overflow on nonsense.
        let parts = [
            delivered,
            announced.gap,
            announced.conflated,
            announced.unrecovered,
            cut_off_at_close,
            in_flight,
        ];
        let found: i128 = parts.into_iter().map(i128::from).sum();
        let missing = i128::from(eligible) - found;
        let missing = i64::try_from(missing).unwrap_or(i64::MIN);
        Ledger {
            eligible,
            delivered,
            declared_gap: announced.gap,
            conflated: announced.conflated,
            unrecovered: announced.unrecovered,
            cut_off_at_close,
            in_flight,
            missing,
            adds_up: missing == 0,
            duplicates: class.counts.duplicates,
            reordered: class.counts.reordered,
            foreign: class.counts.foreign,
            torn: class.counts.torn,
            strangers: class.counts.strangers,
            repeated: class.counts.repeated,
            faults: class.counts.faults,
        }
    }

    /// Of a feed that the server paces: nobody knows what anybody was entitled to but for the
    /// numbers of messages.
    fn of_feed(class: Class, part: &ClassSheet, sheet: &FanoutSheet) -> Ledger {
        let numbers = match class {
            Class::Healthy => sheet.feed.sequences,
            _ => SequenceCounts::default(),
        };
        let delivered = part.counts.delivered.saturating_sub(numbers.duplicates);
        let missing = i64::try_from(numbers.missing).unwrap_or(i64::MAX);
        Ledger {
            eligible: delivered.saturating_add(numbers.missing),
            delivered,
            missing,
            adds_up: missing == 0,
            duplicates: numbers.duplicates,
            reordered: numbers.reordered,
            ..Ledger::default()
        }
    }

    /// The sum of ledgers, which adds up when each of them does.
    pub fn sum<'a>(ledgers: impl IntoIterator<Item = &'a Ledger>) -> Ledger {
        let mut sum = Ledger {
            adds_up: true,
            ..Ledger::default()
        };
        for ledger in ledgers {
            sum.add(ledger);
        }
        sum
    }

    /// Adds the ledger of others.
    pub fn add(&mut self, other: &Ledger) {
        add_fields!(self, other, Ledger {
            eligible, delivered, cut_off_at_close, in_flight,
            duplicates, reordered, foreign, torn, strangers, repeated, faults,
        } apart { declared_gap, conflated, unrecovered, missing, adds_up });
        self.declared_gap = self.declared_gap.saturating_add(other.declared_gap);
        self.conflated = self.conflated.saturating_add(other.conflated);
        self.unrecovered = self.unrecovered.saturating_add(other.unrecovered);
        self.missing = self.missing.saturating_add(other.missing);
        // One that lacks a copy and one that has one too many do not make a right sum.
        self.adds_up &= other.adds_up;
    }
}

/// The subscribers of one class.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ClassFigures {
    /// `healthy`, `slow`, `stalled` or `churning`.
    pub class: Word,
    /// How many.
    pub subscribers: u64,
    /// Those whose connection ended before the run did.
    pub ended: u64,
    /// From when a message was due to each copy.
    pub delivery_ns: Percentiles,
    /// Their copies.
    pub ledger: Ledger,
}

impl ClassFigures {
    /// They were made slow, or stalled: what they missed is not held against the server.
    pub fn is_lagging(&self) -> bool {
        matches!(self.class.as_ref(), "slow" | "stalled")
    }
}

/// What was asked for, beyond the settings of every command.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "as in options::Options")]
pub struct FanoutSettings {
    pub dialect: Word,
    pub publishers: u32,
    pub topics: u32,
    pub topic_name: String,
    pub topics_per_subscriber: u32,
    pub zipf: f64,
    pub burst: u32,
    pub payload: Word,
    pub kind: Word,
    pub keys: Option<u32>,
    pub max_rate: u32,
    pub slow_share: Option<f64>,
    pub slow_bytes_per_second: Option<f64>,
    pub stall_share: Option<f64>,
    /// `None` with a `stall_share`: for good.
    pub stall_ns: Option<u64>,
    pub churn_per_second: Option<f64>,
}

/// Everything that only a fan-out reports.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Fanout {
    /// Messages handed to sockets, warm-up included.
    pub published: u64,
    /// Those due in the measured window, per second.
    pub published_per_second: f64,
    /// Copies that arrived in the measured window.
    pub deliveries_measured: u64,
    /// The same per second.
    pub deliveries_per_second: f64,
    /// Payload bytes of all copies.
    pub payload_bytes: u64,
    /// Bytes that all subscribers received: with --deflate fewer.
    pub wire_bytes: u64,
    /// Subscriptions: subscribers times their topics.
    pub subscriptions: u64,
    /// Subscriptions that were never confirmed.
    pub unconfirmed: u64,
    /// Messages that the server acknowledged, where it does.
    pub acknowledged: u64,
    /// Messages that it refused.
    pub refused: u64,
    /// Messages of which it said nothing, where it should.
    pub unanswered: u64,
    /// Due to acknowledged.
    pub acknowledgement_ns: Percentiles,
    /// First, last, spread and reach.
    pub message: MessageFigures,
    /// All classes together.
    pub ledger: Ledger,
    /// By class; those without subscribers left out.
    pub classes: Vec<ClassFigures>,
    /// With `--churn`.
    pub churn: Option<Comings>,
    /// Of servers that know nothing of us.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub foreign: Option<ForeignFigures>,
    /// With `--readers-only`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feed: Option<FeedFigures>,
    /// Latency by the order in which subscribers connected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<PositionFigures>,
    /// What was asked for.
    pub settings: FanoutSettings,
}

impl Fanout {
    /// Copies that healthy subscribers got, of those they were entitled to.
    pub fn delivered_share(&self) -> Option<f64> {
        let healthy = self.classes.iter().find(|class| class.class == "healthy")?;
        let Ledger {
            eligible,
            delivered,
            ..
        } = healthy.ledger;
        (eligible > 0).then(|| delivered as f64 / eligible as f64)
    }
}

/// The figures of a run; `None` when it was not a fan-out.
pub fn figures(config: &Config, measured: &Measured) -> Option<Fanout> {
    let options = config.fanout.as_ref()?;
    let sheet = measured.sheet.fanout.as_ref()?;
    let (classes, ledger) = classes(options, measured, sheet);
    let seconds = measured.seconds();
    let per_second = |count: u64| {
        if seconds > 0.0 {
            count as f64 / seconds
        } else {
            0.0
        }
    };
    let deliveries_measured = deliveries(&measured.sheet);
    let lanes = |part: &ClassSheet| -> u64 {
        part.open
            .topic_lanes
            .iter()
            .chain(&part.closed.topic_lanes)
            .sum()
    };
    let (message, is_ambiguous) = match options.feed {
        Some(_) => feed_messages(options, measured.window, sheet),
        None => (scheduled_messages(config, options, measured, sheet), false),
    };
    Some(Fanout {
        published: sheet.sent,
        published_per_second: per_second(sheet.sent_measured),
        deliveries_measured,
        deliveries_per_second: per_second(deliveries_measured),
        payload_bytes: sheet
            .classes
            .iter()
            .map(|part| part.counts.payload_bytes)
            .sum(),
        wire_bytes: sheet.wire_bytes,
        subscriptions: sheet.classes.iter().map(lanes).sum(),
        unconfirmed: sheet.unconfirmed,
        acknowledged: sheet.acknowledged,
        refused: sheet.refused,
        unanswered: if options.has_acknowledgements() {
            sheet
                .sent
                .saturating_sub(sheet.acknowledged + sheet.refused)
        } else {
            0
        },
        acknowledgement_ns: Percentiles::of(&sheet.acknowledgement),
        message,
        ledger,
        classes,
        churn: options.churn.map(|_| sheet.comings),
        foreign: foreign(options, sheet),
        feed: options
            .feed
            .as_ref()
            .map(|options| feed(options, sheet, is_ambiguous)),
        position: position(sheet),
        settings: settings(options),
    })
}

/// The classes that have subscribers, and the ledger of them all.
fn classes(
    options: &Options,
    measured: &Measured,
    sheet: &FanoutSheet,
) -> (Vec<ClassFigures>, Ledger) {
    let has_numbers = options.dialect.has_sequences();
    let mut classes = Vec::new();
    for (class, part) in CLASSES.iter().zip(&sheet.classes) {
        if part.subscribers == 0 {
            continue;
        }
        let own = match options.feed {
            Some(_) => Ledger::of_feed(*class, part, sheet),
            None => Ledger::of(part, sheet, has_numbers),
        };
        classes.push(ClassFigures {
            class: class.as_str().into(),
            subscribers: part.subscribers,
            ended: part.ended,
            delivery_ns: match class {
                Class::Healthy => Percentiles::of(&measured.sheet.response()),
                _ => Percentiles::of(&part.response),
            },
            ledger: own,
        });
    }
    let ledger = Ledger::sum(classes.iter().map(|class| &class.ledger));
    (classes, ledger)
}

/// Copies that arrived in the measured window.
pub fn deliveries(sheet: &Sheet) -> u64 {
    let fanout = sheet.fanout.as_ref();
    fanout.map_or(0, |fanout| {
        let of = |part: &ClassSheet| part.counts.delivered_measured;
        fanout.classes.iter().map(of).sum()
    })
}

fn settings(options: &Options) -> FanoutSettings {
    FanoutSettings {
        dialect: options.dialect.as_str().into(),
        publishers: options.publishers,
        topics: options.topics,
        topic_name: options.topic_name.clone(),
        topics_per_subscriber: options.topics_per_subscriber,
        zipf: options.zipf,
        burst: options.burst,
        payload: options.form.as_str().into(),
        kind: match options.kind {
            Kind::Events => "events",
            Kind::State { .. } => "state",
        }
        .into(),
        keys: match options.kind {
            Kind::Events => None,
            Kind::State { keys } => Some(keys),
        },
        max_rate: options.max_rate,
        slow_share: options.slow.map(|slow| slow.share),
        slow_bytes_per_second: options.slow.map(|slow| slow.bytes_per_second),
        stall_share: options.stall.map(|stall| stall.share),
        stall_ns: options.stall.and_then(|stall| stall.for_ns),
        churn_per_second: options.churn.map(|churn| churn.per_second),
    }
}
