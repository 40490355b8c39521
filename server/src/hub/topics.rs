//! The topics of one shard: their logs and who is subscribed to them.
//!
//! It owns the order of a topic's subscribers: first those that are *live*, who have been sent
//! everything, then those that are behind. A fan-out walks over the live ones only, so that a
//! reader that is behind costs nothing until its socket drains. It must not know sockets.

use std::collections::HashMap;
use std::sync::Arc;

use crate::context::ConnectionId;
use crate::handler::ShardId;

use super::log::Log;
use super::publication::{Publication, Variant};
use super::rules::{LagPolicy, TopicRule};
use super::session::TopicIndex;
use super::topic::{Pattern, TopicName};
use super::wire::command::ResumePoint;

/// One subscription as its topic sees it.
#[derive(Debug)]
pub(crate) struct Subscriber {
    pub(crate) id: ConnectionId,
    /// Everything up to here has been sent. Kept for those that are behind only.
    pub(crate) cursor: u64,
    /// Up to here it gets a snapshot instead of messages; at most `cursor` when that is over.
    pub(crate) snapshot_through: u64,
    /// Its rate cap, which keeps it from ever being live.
    pub(crate) pace: Option<Box<Pace>>,
    pub(crate) variant: Variant,
    /// After the message at `cursor` it has the state that the topic had then.
    pub(crate) is_whole: bool,
}

/// A rate cap.
#[derive(Debug)]
pub(crate) struct Pace {
    pub(crate) rate: u32,
    /// When the next message may be sent.
    pub(crate) next_ns: u64,
    /// It stands in the shard's list of what is due when.
    pub(crate) is_scheduled: bool,
}

/// Somebody who wants to be subscribed, and how.
#[derive(Clone, Debug)]
pub(crate) struct Asking {
    pub(crate) id: ConnectionId,
    pub(crate) request_id: Option<u64>,
    pub(crate) resume: Option<ResumePoint>,
    pub(crate) max_rate: Option<u32>,
    pub(crate) history: usize,
    pub(crate) wants_snapshot: bool,
    /// The pattern that matched; none if the topic was named.
    pub(crate) pattern: Option<Pattern>,
    /// A pattern that it was subscribed to before matches too: that one comes first.
    pub(crate) follows_pattern: bool,
    /// It has unsubscribed before it was subscribed: the `id` of that request.
    pub(crate) ends_with: Option<Option<u64>>,
}

/// Whether a shard has a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    /// It is the topic's home, or follows it.
    Here,
    /// It asked the home for it.
    Joining,
    /// It told the home that it no longer wants it.
    Leaving,
}

/// One topic on one shard.
#[derive(Debug)]
pub(crate) struct Topic {
    pub(crate) name: TopicName,
    pub(crate) home: ShardId,
    pub(crate) alias: u32,
    pub(crate) epoch: u64,
    pub(crate) presence: Presence,
    pub(crate) lag: LagPolicy,
    pub(crate) max_rate: Option<u32>,
    pub(crate) log: Log,
    /// Messages that the live subscribers have not been sent.
    pub(crate) fresh: Vec<Arc<Publication>>,
    /// Stands in the shard's list of topics with something to fan out.
    pub(crate) is_fresh: bool,
    /// The live subscribers have been sent everything up to here.
    pub(crate) fanned: u64,
    pub(crate) subscribers: Vec<Subscriber>,
    /// How many of them, from the first on, are live.
    pub(crate) live: usize,
    /// At home: the other shards that follow.
    pub(crate) followers: Vec<ShardId>,
    /// While joining or leaving: who waits for the topic.
    pub(crate) waiting: Vec<Asking>,
    /// Subscribers with a rate cap that have everything: to be told of the next message.
    pub(crate) paced_idle: Vec<ConnectionId>,
}

/// A subscriber that stands somewhere else now.
pub(crate) type Moved = (ConnectionId, u32);

impl Topic {
    pub(crate) fn new(
        name: TopicName,
        home: ShardId,
        presence: Presence,
        rule: &TopicRule,
    ) -> Topic {
        Topic {
            name,
            home,
            alias: 0,
            epoch: 0,
            presence,
            lag: rule.lag,
            max_rate: rule.max_rate,
            log: Log::new(rule.kind, rule.limits),
            fresh: Vec::new(),
            is_fresh: false,
            fanned: 0,
            subscribers: Vec::new(),
            live: 0,
            followers: Vec::new(),
            waiting: Vec::new(),
            paced_idle: Vec::new(),
        }
    }

    /// Takes the next message in.
    pub(crate) fn append(&mut self, publication: Arc<Publication>) {
        self.log.append(publication.clone());
        if self.live > 0 {
            self.fresh.push(publication);
        }
    }

    /// Adds a subscriber, who is behind at first. Gives its position.
    pub(crate) fn add(&mut self, subscriber: Subscriber) -> u32 {
        self.subscribers.push(subscriber);
        (self.subscribers.len() - 1) as u32
    }

    pub(crate) fn is_live(&self, position: u32) -> bool {
        (position as usize) < self.live
    }

    pub(crate) fn subscriber(&mut self, position: u32) -> Option<&mut Subscriber> {
        self.subscribers.get_mut(position as usize)
    }

    /// A subscriber that is behind has everything now. Gives the two that changed places.
    pub(crate) fn make_live(&mut self, position: u32) -> [Option<Moved>; 2] {
        let position = position as usize;
        if position < self.live || position >= self.subscribers.len() {
            return [None, None];
        }
        let to = self.live;
        self.live += 1;
        self.swap(position, to)
    }

    /// A live subscriber falls behind, having everything up to `cursor`.
    pub(crate) fn fall_behind(&mut self, position: u32, cursor: u64) -> [Option<Moved>; 2] {
        let position = position as usize;
        if position >= self.live {
            return [None, None];
        }
        if let Some(subscriber) = self.subscribers.get_mut(position) {
            subscriber.cursor = cursor;
            subscriber.snapshot_through = 0;
            subscriber.is_whole = true;
        }
        self.live -= 1;
        let to = self.live;
        self.swap(position, to)
    }

    fn swap(&mut self, from: usize, to: usize) -> [Option<Moved>; 2] {
        self.subscribers.swap(from, to);
        if from == to {
            return [None, None];
        }
        [from, to].map(|position| {
            let subscriber = self.subscribers.get(position)?;
            Some((subscriber.id, position as u32))
        })
    }

    /// Removes a subscriber. Gives those that changed places.
    pub(crate) fn remove(&mut self, position: u32) -> [Option<Moved>; 2] {
        let mut position = position as usize;
        if position >= self.subscribers.len() {
            return [None, None];
        }
        let mut moved = [None, None];
        if position < self.live {
            // The last live one takes its place, and it becomes the first of those behind.
            self.live -= 1;
            self.subscribers.swap(position, self.live);
            if position != self.live {
                let subscriber = self.subscribers.get(position);
                moved[0] = subscriber.map(|subscriber| (subscriber.id, position as u32));
            }
            position = self.live;
        }
        let removed = self.subscribers.swap_remove(position);
        if let Some(subscriber) = self.subscribers.get(position) {
            moved[1] = Some((subscriber.id, position as u32));
        }
        if removed.pace.is_some() {
            self.paced_idle.retain(|id| *id != removed.id);
        }
        moved
    }

    /// Nobody on this shard wants it.
    pub(crate) fn is_unwanted(&self) -> bool {
        self.subscribers.is_empty() && self.waiting.is_empty()
    }
}

/// All topics of one shard.
#[derive(Debug, Default)]
pub(crate) struct Topics {
    entries: Vec<Option<Topic>>,
    free: Vec<TopicIndex>,
    by_name: HashMap<TopicName, TopicIndex>,
    by_alias: HashMap<u32, TopicIndex>,
}

impl Topics {
    pub(crate) fn find(&self, name: &str) -> Option<TopicIndex> {
        self.by_name.get(name).copied()
    }

    pub(crate) fn find_alias(&self, alias: u32) -> Option<TopicIndex> {
        self.by_alias.get(&alias).copied()
    }

    pub(crate) fn get(&self, index: TopicIndex) -> Option<&Topic> {
        self.entries.get(index as usize)?.as_ref()
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, index: TopicIndex) -> Option<&mut Topic> {
        self.entries.get_mut(index as usize)?.as_mut()
    }

    /// Adds a topic that is not there yet.
    pub(crate) fn insert(&mut self, topic: Topic) -> TopicIndex {
        let index = self.free.pop().unwrap_or_else(|| {
            self.entries.push(None);
            (self.entries.len() - 1) as TopicIndex
        });
        self.by_name.insert(topic.name.clone(), index);
        if let Some(entry) = self.entries.get_mut(index as usize) {
            *entry = Some(topic);
        }
        index
    }

    /// Gives a topic the number by which the binary format and other shards know it.
    pub(crate) fn set_alias(&mut self, index: TopicIndex, alias: u32) {
        if let Some(topic) = self.get_mut(index) {
            topic.alias = alias;
            self.by_alias.insert(alias, index);
        }
    }

    pub(crate) fn remove(&mut self, index: TopicIndex) -> Option<Topic> {
        let topic = self.entries.get_mut(index as usize)?.take()?;
        self.by_name.remove(&topic.name);
        if self.by_alias.get(&topic.alias) == Some(&index) {
            self.by_alias.remove(&topic.alias);
        }
        self.free.push(index);
        Some(topic)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (TopicIndex, &Topic)> {
        let entries = self.entries.iter().enumerate();
        entries.filter_map(|(index, topic)| Some((index as TopicIndex, topic.as_ref()?)))
    }

    /// The topics that a pattern matches.
    pub(crate) fn matching(&self, pattern: &Pattern) -> Vec<TopicIndex> {
        self.iter()
            .filter(|(_, topic)| pattern.matches(topic.name.as_str()))
            .map(|(index, _)| index)
            .collect()
    }
}
