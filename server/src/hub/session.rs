//! What the hub keeps for one connection.
//!
//! It owns the list of its subscriptions. It must not know topics beyond their numbers.

use std::collections::HashMap;

use super::publication::{Format, Variant};
use super::topic::{Pattern, TopicName};
use super::wire::command::ResumePoint;
use super::wire::raw::RawTarget;

/// Number of a topic in the table of one shard.
pub(crate) type TopicIndex = u32;

/// Errors per second that a connection may cause for long.
const ERROR_RATE: u64 = 10;
/// Errors that it may cause at once.
const ERROR_BURST: u64 = 50;
/// Names and patterns per second that a connection may subscribe to or unsubscribe from for long.
const CHANGE_RATE: u64 = 200;
/// Names and patterns that it may do so with at once.
const CHANGE_BURST: u64 = 2_000;

/// The hub's state of a connection. A connection without subscriptions has only this.
#[derive(Debug)]
pub struct Session {
    pub(crate) variant: Variant,
    /// What the path of a raw connection asks for.
    pub(crate) raw: Option<Box<RawTarget>>,
    pub(crate) body: Option<Box<Body>>,
}

/// One topic that a connection is subscribed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Subscription {
    pub(crate) topic: TopicIndex,
    /// Where the connection stands among the subscribers of the topic.
    pub(crate) position: u32,
    /// It was named, not only matched by a pattern.
    pub(crate) is_named: bool,
}

/// A pattern that a connection is subscribed to, and what topics that match are subscribed with.
#[derive(Clone, Debug)]
pub(crate) struct PatternSubscription {
    pub(crate) pattern: Pattern,
    pub(crate) max_rate: Option<u32>,
    pub(crate) history: usize,
    pub(crate) wants_snapshot: bool,
}

/// What a connection has once it is subscribed to something, or made a mistake.
#[derive(Debug, Default)]
pub(crate) struct Body {
    /// In the order of the topics' numbers.
    pub(crate) subscriptions: Vec<Subscription>,
    pub(crate) patterns: Vec<PatternSubscription>,
    /// Topics that were named and whose home has not answered yet.
    pub(crate) joining: Vec<TopicIndex>,
    /// For topics that a pattern may match later.
    pub(crate) resume: HashMap<TopicName, ResumePoint>,
    /// How many of the subscriptions are behind.
    pub(crate) behind: u32,
    /// Which subscription catches up first next time.
    pub(crate) turn: u32,
    /// It stands in the shard's list of connections that catch up.
    pub(crate) is_catching_up: bool,
    errors: Leak,
    changes: Leak,
}

/// What has come and not yet leaked away: a token bucket seen from below.
#[derive(Clone, Copy, Debug, Default)]
struct Leak {
    level: u64,
    drained_ns: u64,
}

impl Leak {
    /// Counts one; false, without counting it, if there is more than `burst` already.
    fn take(&mut self, now_ns: u64, rate: u64, burst: u64) -> bool {
        const SECOND_NS: u64 = 1_000_000_000;
        let drained = now_ns.saturating_sub(self.drained_ns) / (SECOND_NS / rate);
        if drained > 0 {
            self.level = self.level.saturating_sub(drained);
            self.drained_ns = now_ns;
        }
        if self.level >= burst {
            return false;
        }
        self.level += 1;
        true
    }
}

impl Session {
    pub(crate) fn new(format: Format, raw: Option<Box<RawTarget>>) -> Session {
        Session {
            variant: Variant::new(format, false),
            raw,
            body: None,
        }
    }

    pub(crate) fn body(&mut self) -> &mut Body {
        self.body.get_or_insert_with(Box::default)
    }

    pub(crate) fn find(&self, topic: TopicIndex) -> Option<Subscription> {
        let body = self.body.as_ref()?;
        let at = body.search(topic).ok()?;
        body.subscriptions.get(at).copied()
    }

    /// Names and patterns that count against the limit.
    pub(crate) fn filters(&self) -> usize {
        self.body.as_ref().map_or(0, |body| {
            let named = body.subscriptions.iter().filter(|one| one.is_named).count();
            named + body.patterns.len() + body.joining.len()
        })
    }
}

impl Body {
    fn search(&self, topic: TopicIndex) -> Result<usize, usize> {
        self.subscriptions
            .binary_search_by_key(&topic, |subscription| subscription.topic)
    }

    pub(crate) fn find_mut(&mut self, topic: TopicIndex) -> Option<&mut Subscription> {
        let at = self.search(topic).ok()?;
        self.subscriptions.get_mut(at)
    }

    /// Adds a subscription; false if there is one.
    pub(crate) fn add(&mut self, subscription: Subscription) -> bool {
        match self.search(subscription.topic) {
            Ok(_) => false,
            Err(at) => {
                self.subscriptions.insert(at, subscription);
                true
            }
        }
    }

    pub(crate) fn remove(&mut self, topic: TopicIndex) -> Option<Subscription> {
        let at = self.search(topic).ok()?;
        Some(self.subscriptions.remove(at))
    }

    /// Whether one of its patterns matches.
    pub(crate) fn matching(&self, topic: &str) -> Option<&PatternSubscription> {
        self.patterns.iter().find(|one| one.pattern.matches(topic))
    }

    /// Counts an error; false if there were too many.
    pub(crate) fn take_error(&mut self, now_ns: u64) -> bool {
        self.errors.take(now_ns, ERROR_RATE, ERROR_BURST)
    }

    /// Counts a change of the subscriptions; false if there were too many.
    pub(crate) fn take_change(&mut self, now_ns: u64) -> bool {
        self.changes.take(now_ns, CHANGE_RATE, CHANGE_BURST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subscriptions_are_found_by_topic() {
        let mut session = Session::new(Format::Json, None);
        let body = session.body();
        for topic in [5, 1, 9] {
            let position = topic * 10;
            assert!(body.add(Subscription {
                topic,
                position,
                is_named: topic == 5
            }));
        }
        let again = Subscription {
            topic: 9,
            position: 0,
            is_named: true,
        };
        assert!(!body.add(again));
        assert_eq!(session.find(9).map(|found| found.position), Some(90));
        assert_eq!(session.filters(), 1);
        let body = session.body();
        assert_eq!(body.remove(1).map(|removed| removed.position), Some(10));
        assert!(body.remove(1).is_none());
        assert_eq!(session.find(1), None);
    }

    #[test]
    fn errors_are_forgiven_at_a_rate() {
        let mut body = Body::default();
        let taken = (0..200).filter(|_| body.take_error(1)).count();
        assert_eq!(taken as u64, ERROR_BURST);
        let mut body = Body::default();
        // Nine a second for a minute.
        assert!((0..540).all(|number| body.take_error(number * 111_111_111)));
        // Twenty a second for a minute.
        let refused = (0..1200).filter(|number| !body.take_error(number * 50_000_000));
        assert!(refused.count() > 100);
    }
}
