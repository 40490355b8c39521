//! The parts of a fan-out's report that are about servers which know nothing of us, feeds that a
//! server paces by itself, and where among the subscribers latency is high.
//!
//! Field names are a public interface, as in `crate::measure::figures`.

use serde::{Deserialize, Serialize};

use crate::fanout::feed::jain;
use crate::fanout::layout::{CLASSES, Class};
use crate::fanout::options::{Dialect, Feed, Options};
use crate::fanout::sheet::{FanoutSheet, ForeignCounts};
use crate::fanout::stamp::Codec;
use crate::fanout::track::SequenceCounts;
use crate::measure::figures::{Percentiles, Word};
use crate::measure::sums::add_optional;

/// What a server said beside the messages that were to be measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ForeignFigures {
    /// How many messages of each sort.
    #[serde(flatten)]
    pub counts: ForeignCounts,
    /// The beginning of the first message to a subscriber that could not be interpreted.
    pub example: Option<String>,
    /// The same of a publisher.
    pub publisher_example: Option<String>,
    /// What of a copy was checked: `payload`, or `stamp` where the server may write the rest anew.
    pub verified: Word,
    /// What put subscriptions in force: an `answer`, a `probe`, or `time`.
    pub confirmed_by: Word,
    /// Anything that is neither a copy nor a confirmation is an error.
    pub is_strict: bool,
    /// Subscribers sent something to subscribe.
    pub has_subscribe: bool,
}

/// Numbers of messages: `expected = seen + missing`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SequenceFigures {
    /// What they turned out to be.
    #[serde(flatten)]
    pub counts: SequenceCounts,
    /// `expected = seen + missing`, and every message is new, repeated, untracked or unnumbered.
    pub adds_up: bool,
}

/// A feed that the server paces by itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FeedFigures {
    /// Messages received, warm-up included: `received = stamped + unstamped`.
    pub received: u64,
    /// Those that had a time stamp at its place.
    pub stamped: u64,
    /// Those that had not.
    pub unstamped: u64,
    /// Where the stamp was looked for, as it was typed.
    pub stamp: Option<String>,
    /// Its unit.
    pub unit: Option<Word>,
    /// The clock that stamps: `realtime` or `monotonic`.
    pub clock: Word,
    /// Stamps that lie after their arrival: the clocks differ.
    pub negative: u64,
    /// The smallest latency, below zero when the clocks differ.
    pub smallest_ns: Option<i64>,
    /// Between two messages at one subscriber, in the measured window.
    pub interval_ns: Percentiles,
    /// Messages per healthy subscriber in the measured window.
    pub fairness: FairnessFigures,
    /// Numbers at subscribers that were to keep up.
    pub sequence: Option<SequenceFigures>,
    /// Numbers at subscribers that were made slow, or stalled.
    pub lagging_sequence: Option<SequenceFigures>,
    /// Different messages shared what identifies them, so that reach says nothing.
    pub is_ambiguous: bool,
}

/// How evenly messages are spread over subscribers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FairnessFigures {
    /// Jain's index: 1 when all got the same, 1/n when one got everything.
    pub jain: Option<f64>,
    /// Messages of the subscriber that got the fewest.
    pub least: u64,
    /// Of the one that got the most.
    pub most: u64,
    /// Subscribers that got none.
    pub silent: u64,
    /// Subscribers counted.
    pub subscribers: u64,
}

/// Latency by the order in which subscribers connected.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PositionFigures {
    /// Delivery to each tenth of the healthy subscribers, the first to connect first.
    pub tenths_ns: Vec<Percentiles>,
    /// Median of the slowest tenth by that of the fastest.
    pub p50_ratio: Option<f64>,
}

impl ForeignFigures {
    /// Adds the figures of another run.
    pub fn add(&mut self, other: &ForeignFigures) {
        self.counts.add(&other.counts);
        self.example = self.example.take().or_else(|| other.example.clone());
        let theirs = || other.publisher_example.clone();
        self.publisher_example = self.publisher_example.take().or_else(theirs);
        self.is_strict |= other.is_strict;
    }
}

impl SequenceFigures {
    /// Adds the figures of another run.
    pub fn add(&mut self, other: &SequenceFigures) {
        self.counts.add(&other.counts);
        self.adds_up &= other.adds_up;
    }
}

impl FeedFigures {
    /// Adds the figures of another run, but for the times between messages, which percentiles do
    /// not add up to, and Jain's index, which is no longer known.
    pub fn add(&mut self, other: &FeedFigures) {
        self.received += other.received;
        self.stamped += other.stamped;
        self.unstamped += other.unstamped;
        self.negative += other.negative;
        let both = [self.smallest_ns, other.smallest_ns];
        self.smallest_ns = both.into_iter().flatten().min();
        let (mine, theirs) = (&mut self.fairness, &other.fairness);
        mine.jain = None;
        mine.least = mine.least.min(theirs.least);
        mine.most = mine.most.max(theirs.most);
        mine.silent += theirs.silent;
        mine.subscribers += theirs.subscribers;
        let pairs = [
            (&mut self.sequence, &other.sequence),
            (&mut self.lagging_sequence, &other.lagging_sequence),
        ];
        for (mine, theirs) in pairs {
            add_optional(mine, theirs.as_ref(), SequenceFigures::add);
        }
        self.is_ambiguous |= other.is_ambiguous;
    }
}

/// Fewer subscribers than this have no tenths.
const SUBSCRIBERS_MIN: u64 = 10;

/// The beginning of a message as it may be printed: nothing in it reaches a terminal as it is.
pub fn shown(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => shown_text(text),
        // A character that was cut at the end is no reason to show digits.
        Err(error) if error.error_len().is_none() => {
            let whole = bytes.get(..error.valid_up_to()).unwrap_or_default();
            shown_text(&String::from_utf8_lossy(whole))
        }
        Err(_) => bytes.escape_ascii().to_string(),
    }
}

/// JSON stays readable: quotes are left as they are.
fn shown_text(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '"' | '\'' => shown.push(character),
            other => shown.extend(other.escape_debug()),
        }
    }
    shown
}

/// What the server said; `None` in dialects whose every word is understood.
pub fn foreign(options: &Options, sheet: &FanoutSheet) -> Option<ForeignFigures> {
    if options.dialect != Dialect::Custom && options.feed.is_none() {
        return None;
    }
    let seen = &sheet.foreign;
    let codec = Codec::embedded(options.form, 0, 0, 0);
    let verified = match (&options.feed, codec.covers_all()) {
        (Some(_), _) => "nothing",
        (None, true) => "payload",
        (None, false) => "stamp",
    };
    Some(ForeignFigures {
        counts: seen.counts,
        example: seen.example.as_deref().map(shown),
        publisher_example: seen.publisher_example.as_deref().map(shown),
        verified: verified.into(),
        confirmed_by: match options.confirms_by_time() {
            true => "time",
            false => "answer",
        }
        .into(),
        is_strict: options.custom.is_strict,
        has_subscribe: !options.custom.subscribe.is_empty(),
    })
}

fn sequence(counts: SequenceCounts) -> SequenceFigures {
    SequenceFigures {
        counts,
        adds_up: counts.adds_up(),
    }
}

/// What came of a feed.
pub fn feed(feed: &Feed, sheet: &FanoutSheet, is_ambiguous: bool) -> FeedFigures {
    let seen = &sheet.feed;
    let has_lagging = [Class::Slow, Class::Stalled]
        .iter()
        .any(|class| sheet.classes[*class as usize].subscribers > 0);
    let has_sequence = feed.sequence.is_some();
    FeedFigures {
        received: seen.received,
        stamped: seen.stamped,
        unstamped: seen.unstamped,
        stamp: feed.stamp.as_ref().map(|field| field.text.clone()),
        unit: feed.stamp.as_ref().map(|field| field.unit.as_str().into()),
        clock: feed.clock.as_str().into(),
        negative: seen.negative,
        smallest_ns: seen.smallest_ns,
        interval_ns: Percentiles::of(&seen.interval),
        fairness: FairnessFigures {
            jain: jain(&seen.shares),
            least: seen.shares.iter().copied().min().unwrap_or(0),
            most: seen.shares.iter().copied().max().unwrap_or(0),
            silent: seen.shares.iter().filter(|share| **share == 0).count() as u64,
            subscribers: seen.shares.len() as u64,
        },
        sequence: has_sequence.then(|| sequence(seen.sequences)),
        lagging_sequence: (has_sequence && has_lagging).then(|| sequence(seen.lagging_sequences)),
        is_ambiguous,
    }
}

/// Latency by the order of connecting; `None` with too few subscribers, or nothing timed.
pub fn position(sheet: &FanoutSheet) -> Option<PositionFigures> {
    let healthy = CLASSES.iter().position(|class| *class == Class::Healthy)?;
    if sheet.classes.get(healthy)?.subscribers < SUBSCRIBERS_MIN {
        return None;
    }
    let tenths_ns: Vec<Percentiles> = sheet.tenths.iter().map(Percentiles::of).collect();
    let medians = || {
        let counted = tenths_ns.iter().filter(|tenth| tenth.count > 0);
        counted.map(|tenth| tenth.p50)
    };
    let (least, most) = (medians().min()?, medians().max()?);
    Some(PositionFigures {
        p50_ratio: (least > 0).then(|| most as f64 / least as f64),
        tenths_ns,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_are_printable() {
        assert_eq!(
            shown(b"{\"a\":\"\x1b[31m\"}\n"),
            "{\"a\":\"\\u{1b}[31m\"}\\n"
        );
        assert_eq!(shown("gr\u{fc}n".as_bytes()), "gr\u{fc}n");
        assert_eq!(
            shown(&"gr\u{fc}".as_bytes()[..3]),
            "gr",
            "cut in a character"
        );
        assert_eq!(shown(&[0xff, b'a']), "\\xffa");
    }

    #[test]
    fn runs_add_up() {
        let one = FeedFigures {
            received: 5,
            stamped: 5,
            smallest_ns: Some(7),
            sequence: Some(SequenceFigures {
                counts: SequenceCounts {
                    expected: 5,
                    seen: 4,
                    missing: 1,
                    ..SequenceCounts::default()
                },
                adds_up: true,
            }),
            fairness: FairnessFigures {
                jain: Some(1.0),
                least: 2,
                most: 3,
                silent: 0,
                subscribers: 2,
            },
            ..FeedFigures::default()
        };
        let mut sum = FeedFigures {
            smallest_ns: Some(-3),
            sequence: None,
            ..one.clone()
        };
        sum.add(&one);
        assert_eq!(
            (sum.received, sum.stamped, sum.smallest_ns),
            (10, 10, Some(-3))
        );
        assert_eq!((sum.sequence, sum.fairness.subscribers), (one.sequence, 4));
        sum.add(&one);
        let sequence = sum.sequence.expect("of both");
        assert_eq!(
            (
                sequence.counts.expected,
                sequence.counts.seen,
                sequence.adds_up
            ),
            (10, 8, true)
        );
        assert_eq!(sum.fairness.jain, None);
    }

    #[test]
    fn the_tenths_need_subscribers_and_values() {
        let mut sheet = FanoutSheet::default();
        assert!(position(&sheet).is_none());
        sheet.class_mut(Class::Healthy).subscribers = 10;
        assert!(position(&sheet).is_none());
        sheet.tenths[0].record(1_000);
        sheet.tenths[9].record(4_000);
        let figures = position(&sheet).expect("two tenths");
        let ratio = figures.p50_ratio.expect("both have a median");
        assert!((ratio - 4.0).abs() < 0.02, "{ratio}");
        assert_eq!(figures.tenths_ns.len(), 10);
    }
}
