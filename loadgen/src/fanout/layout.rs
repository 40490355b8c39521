//! Who publishes what, who listens to it, and when each message is due.
//!
//! A pure function of the options and the seed: every thread computes the same layout, so threads
//! need not talk about it. A *stream* is the messages of one publisher on one topic; they have one
//! order, which every subscriber can check. With at least as many topics as publishers each topic
//! has one publisher; with more publishers than topics they share the topics.

use std::sync::Arc;

use crate::fanout::options::Options;
use crate::fanout::zipf::Zipf;
use crate::pace::plan::permutation;
use crate::pace::rate::Curve;

/// How a subscriber reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// At once.
    Healthy,
    /// At a limited rate.
    Slow,
    /// Not at all for a while, or for good.
    Stalled,
    /// At once, but leaves and comes back.
    Churning,
}

/// All of them, in the order of their numbers.
pub const CLASSES: [Class; 4] = [Class::Healthy, Class::Slow, Class::Stalled, Class::Churning];

impl Class {
    /// The name in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Class::Healthy => "healthy",
            Class::Slow => "slow",
            Class::Stalled => "stalled",
            Class::Churning => "churning",
        }
    }
}

/// When messages are due: `burst` of them together, `rate / burst` times a second.
#[derive(Clone, Debug, PartialEq)]
pub struct Pace {
    /// The first message.
    pub start_ns: u64,
    /// Messages per second over time.
    pub curve: Arc<Curve>,
    /// Messages due together.
    pub burst: u64,
}

impl Pace {
    /// The pace of a whole run; `rate_per_second` counts messages.
    pub fn new(start_ns: u64, rate_per_second: f64, burst: u32) -> Pace {
        Pace::of(start_ns, Curve::constant(rate_per_second), burst)
    }

    /// The pace of a whole run whose rate changes.
    pub fn of(start_ns: u64, curve: Curve, burst: u32) -> Pace {
        Pace {
            start_ns,
            curve: Arc::new(curve),
            burst: u64::from(burst.max(1)),
        }
    }

    /// When a message is due; at the end of time where the rate has fallen to nothing before it.
    pub fn due_ns(&self, number: u64) -> u64 {
        let tick = number - number % self.burst;
        self.curve
            .due_ns(tick as f64)
            .map_or(u64::MAX, |due_ns| self.start_ns.saturating_add(due_ns))
    }

    /// The first message that is due at `at_ns` or later.
    pub fn first_from(&self, at_ns: u64) -> u64 {
        let due = self.curve.count_by(at_ns.saturating_sub(self.start_ns));
        // Rounding may be off by one tick either way.
        let mut number = (due as u64 / self.burst).saturating_sub(1) * self.burst;
        while self.due_ns(number) < at_ns {
            number += self.burst;
        }
        number
    }
}

/// The layout of a run.
#[derive(Debug)]
pub struct Layout {
    topic_names: Vec<String>,
    classes: Vec<Class>,
    publishers: u32,
    streams: u32,
    per_subscriber: u32,
    seed: u64,
    popularity: Option<Zipf>,
}

impl Layout {
    /// `subscribers` of them, laid out by `options`.
    pub fn new(options: &Options, subscribers: u32, seed: u64) -> Layout {
        let topics = options.topics.max(1);
        let publishers = options.publishers.max(1);
        Layout {
            topic_names: (0..topics)
                .map(|topic| options.topic_name.replace("{topic}", &topic.to_string()))
                .collect(),
            classes: classes(options, subscribers, seed),
            publishers,
            streams: topics.max(publishers),
            per_subscriber: options.topics_per_subscriber.clamp(1, topics),
            seed,
            popularity: (options.zipf > 0.0).then(|| Zipf::new(topics, options.zipf)),
        }
    }

    /// How many topics there are.
    pub fn topics(&self) -> u32 {
        self.topic_names.len() as u32
    }

    /// How many publishers.
    pub fn publishers(&self) -> u32 {
        self.publishers
    }

    /// How many streams.
    pub fn streams(&self) -> u32 {
        self.streams
    }

    /// How many subscribers.
    pub fn subscribers(&self) -> u32 {
        self.classes.len() as u32
    }

    /// Name of a topic; empty for one that does not exist.
    pub fn topic_name(&self, topic: u32) -> &str {
        self.topic_names
            .get(topic as usize)
            .map_or("", String::as_str)
    }

    /// The topic of a stream.
    pub fn topic_of(&self, stream: u32) -> u32 {
        stream % self.topics()
    }

    /// The publisher of a stream.
    pub fn publisher_of(&self, stream: u32) -> u32 {
        stream % self.publishers
    }

    /// The streams of a topic: `topic`, `topic + topics`, …
    pub fn streams_of(&self, topic: u32) -> impl Iterator<Item = u32> + use<> {
        (topic..self.streams).step_by(self.topics() as usize)
    }

    /// How many streams a topic has.
    pub fn stream_count(&self, topic: u32) -> u32 {
        (self.streams - topic.min(self.streams)).div_ceil(self.topics())
    }

    /// Place of a stream among those of its topic.
    pub fn place_in_topic(&self, stream: u32) -> u32 {
        stream / self.topics()
    }

    /// The stream that a message of the schedule belongs to.
    pub fn stream_of(&self, number: u64) -> u32 {
        let Some(popularity) = &self.popularity else {
            return (number % u64::from(self.streams)) as u32;
        };
        let draw = scatter(number ^ self.seed.rotate_left(32));
        let topic = popularity.rank((draw >> 11) as f64 / (1u64 << 53) as f64);
        // Where several publishers share a topic, each takes its turn.
        let turn = scatter(draw) % u64::from(self.stream_count(topic).max(1));
        topic + turn as u32 * self.topics()
    }

    /// How a subscriber reads.
    pub fn class_of(&self, subscriber: u32) -> Class {
        self.classes
            .get(subscriber as usize)
            .copied()
            .unwrap_or(Class::Healthy)
    }

    /// The topics of a subscriber, ascending.
    pub fn topics_of(&self, subscriber: u32) -> Vec<u32> {
        let (topics, wanted) = (self.topics(), self.per_subscriber);
        let mut chosen: Vec<u32> = Vec::with_capacity(wanted as usize);
        match &self.popularity {
            None => {
                let first = u64::from(subscriber) * u64::from(wanted);
                let all = (0..u64::from(wanted)).map(|step| (first + step) % u64::from(topics));
                chosen.extend(all.map(|topic| topic as u32));
            }
            Some(popularity) => {
                let mut random =
                    fastrand::Rng::with_seed(scatter(self.seed ^ u64::from(subscriber)));
                for _ in 0..DRAWS_PER_TOPIC * wanted {
                    let topic = popularity.rank(random.f64());
                    if !chosen.contains(&topic) {
                        chosen.push(topic);
                        if chosen.len() == wanted as usize {
                            break;
                        }
                    }
                }
                // With a steep law the unpopular ones hardly come up: the most popular that are
                // left fill the rest.
                let mut next = 0;
                while chosen.len() < wanted as usize {
                    if !chosen.contains(&next) {
                        chosen.push(next);
                    }
                    next += 1;
                }
            }
        }
        chosen.sort_unstable();
        chosen
    }

    /// How many subscribers of a class (or of all) every topic has.
    pub fn audience(&self, class: Option<Class>) -> Vec<u32> {
        let mut audience = vec![0; self.topics() as usize];
        for subscriber in 0..self.subscribers() {
            if class.is_none_or(|class| class == self.class_of(subscriber)) {
                for topic in self.topics_of(subscriber) {
                    audience[topic as usize] += 1;
                }
            }
        }
        audience
    }
}

/// Draws before the rest is filled up.
const DRAWS_PER_TOPIC: u32 = 64;

/// A number that looks random and depends on every bit of `value` (the finisher of SplitMix64).
fn scatter(value: u64) -> u64 {
    let mut mixed = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

fn classes(options: &Options, subscribers: u32, seed: u64) -> Vec<Class> {
    let mut classes = vec![Class::Healthy; subscribers as usize];
    let mut order = permutation(subscribers, seed ^ 0x636c_6173_7300).into_iter();
    let shares = [
        (Class::Slow, options.slow.map(|slow| slow.share)),
        (Class::Stalled, options.stall.map(|stall| stall.share)),
        (Class::Churning, options.churn.map(|churn| churn.share)),
    ];
    for (class, share) in shares {
        let Some(share) = share else { continue };
        // A share that was asked for has at least one member.
        let count = ((f64::from(subscribers) * share).round() as usize).max(1);
        for subscriber in order.by_ref().take(count) {
            classes[subscriber as usize] = class;
        }
    }
    classes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fanout::options::{Custom, Dialect, Form, Kind, Slow, Stall};

    pub fn options() -> Options {
        Options {
            dialect: Dialect::Raw,
            publishers: 1,
            topics: 1,
            topic_name: "load.{topic}".into(),
            topics_per_subscriber: 1,
            zipf: 0.0,
            burst: 1,
            form: Form::Binary,
            kind: Kind::Events,
            subscribe_path: String::new(),
            publish_path: String::new(),
            slow: None,
            stall: None,
            churn: None,
            max_rate: 0,
            wants_snapshot: false,
            run: 1,
            custom: Custom::default(),
            feed: None,
            settle_ns: 0,
        }
    }

    #[test]
    fn a_burst_is_due_together_and_nothing_drifts() {
        let pace = Pace::new(1_000, 20.0, 10);
        assert_eq!(pace.due_ns(9), 1_000);
        assert_eq!(pace.due_ns(10), 500_001_000);
        assert_eq!(pace.due_ns(20 * 86_400), 86_400_000_001_000);
        for at_ns in [0, 1_000, 1_001, 500_001_000, 500_001_001, 7_000_000_000] {
            let first = pace.first_from(at_ns);
            assert!(pace.due_ns(first) >= at_ns, "{at_ns}");
            assert!(first == 0 || pace.due_ns(first - 1) < at_ns, "{at_ns}");
        }
    }

    #[test]
    fn streams_pair_publishers_with_topics() {
        for (publishers, topics) in [(1, 1), (4, 1), (1, 4), (3, 7), (7, 3)] {
            let layout = Layout::new(
                &Options {
                    publishers,
                    topics,
                    ..options()
                },
                10,
                1,
            );
            assert_eq!(layout.streams(), publishers.max(topics));
            let mut seen = 0;
            for topic in 0..topics {
                let of_topic: Vec<u32> = layout.streams_of(topic).collect();
                assert_eq!(of_topic.len() as u32, layout.stream_count(topic));
                assert!(!of_topic.is_empty());
                for (place, stream) in of_topic.iter().enumerate() {
                    assert_eq!(layout.topic_of(*stream), topic);
                    assert_eq!(layout.place_in_topic(*stream), place as u32);
                    assert!(layout.publisher_of(*stream) < publishers);
                    seen += 1;
                }
            }
            assert_eq!(seen, layout.streams());
        }
    }

    #[test]
    fn every_stream_is_published_on() {
        for zipf in [0.0, 1.0] {
            let layout = Layout::new(
                &Options {
                    publishers: 6,
                    topics: 3,
                    zipf,
                    ..options()
                },
                10,
                9,
            );
            let mut counts = [0; 6];
            for number in 0..6_000 {
                counts[layout.stream_of(number) as usize] += 1;
            }
            assert!(counts.iter().all(|count| *count > 200), "{counts:?}");
        }
    }

    #[test]
    fn subscribers_have_distinct_topics() {
        for (zipf, topics, wanted) in [(0.0, 10, 3), (1.0, 100, 10), (3.0, 20, 20), (0.0, 5, 9)] {
            let all = Options {
                topics,
                topics_per_subscriber: wanted,
                zipf,
                ..options()
            };
            let layout = Layout::new(&all, 200, 4);
            let audience = layout.audience(None);
            assert_eq!(audience.iter().sum::<u32>(), 200 * wanted.min(topics));
            for subscriber in 0..200 {
                let chosen = layout.topics_of(subscriber);
                assert!(
                    chosen.windows(2).all(|pair| pair[0] < pair[1]),
                    "{chosen:?}"
                );
                assert_eq!(chosen, layout.topics_of(subscriber));
            }
            if zipf == 1.0 {
                assert!(audience[0] > 2 * audience[50], "{audience:?}");
            }
        }
    }

    #[test]
    fn classes_have_their_shares() {
        let all = Options {
            slow: Some(Slow {
                share: 0.1,
                bytes_per_second: 1.0,
            }),
            stall: Some(Stall {
                share: 0.05,
                for_ns: None,
            }),
            ..options()
        };
        let layout = Layout::new(&all, 1_000, 4);
        let count = |class| {
            (0..1_000)
                .filter(|number| layout.class_of(*number) == class)
                .count()
        };
        assert_eq!(CLASSES.map(count), [850, 100, 50, 0]);
        assert_eq!(layout.audience(Some(Class::Slow)), [100]);
        let few = Layout::new(&all, 3, 4);
        assert!((0..3).any(|number| few.class_of(number) == Class::Stalled));
    }
}
