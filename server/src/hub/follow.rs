//! How shards follow topics whose home is another shard.
//!
//! It owns the conversation between a home and its followers. Mail between two shards keeps its
//! order, so a follower that has the seed and then every message has what the home has.

use std::sync::Arc;

use crate::handler::ShardId;

use super::log::Log;
use super::mail::{HubMail, Seed};
use super::node::{Hub, HubTurn};
use super::port::home_of;
use super::publication::Publication;
use super::session::TopicIndex;
use super::topic::{Pattern, TopicName};
use super::topics::{Presence, Topic};
use super::wire::ErrorCode;

/// How long a topic without subscribers is followed on, so that a reader that comes and goes does
/// not have its whole log sent each time.
const LINGER_NS: u64 = 2_000_000_000;

impl Hub {
    // What a follower does.

    /// Asks the home of a topic to follow it.
    pub(crate) fn ask_to_join(&mut self, name: TopicName) -> TopicIndex {
        let home = home_of(&name, self.exchange.shards());
        let rule = self.options.rules.rule_for(name.as_str());
        let topic = Topic::new(name.clone(), home, Presence::Joining, rule);
        let index = self.topics.insert(topic);
        let from = self.shard;
        let mail = HubMail::Join { from, topic: name };
        self.exchange.send(home, mail);
        index
    }

    /// The home answered: the topic is here from now on.
    pub(crate) fn begin_following(&mut self, turn: &mut HubTurn<'_>, seed: Seed) {
        let Seed {
            topic: name,
            alias,
            epoch,
            log,
        } = seed;
        let rule = self.options.rules.rule_for(name.as_str());
        let index = self.topics.find(name.as_str()).unwrap_or_else(|| {
            // A pattern of ours matches it.
            let home = home_of(&name, self.exchange.shards());
            let topic = Topic::new(name.clone(), home, Presence::Joining, rule);
            self.topics.insert(topic)
        });
        let Some(topic) = self.topics.get_mut(index) else {
            return;
        };
        match topic.presence {
            Presence::Leaving => return,
            // It was asked for twice, by name and by pattern, and nothing came in between.
            Presence::Here => {}
            Presence::Joining => {
                topic.presence = Presence::Here;
                topic.epoch = epoch;
                topic.log = Log::from_seed(rule.limits, log);
                topic.fanned = topic.log.head();
                self.topics.set_alias(index, alias);
                self.counters.topics_followed += 1;
            }
        }
        self.let_waiting_in(turn, index);
        self.attach_patterns(turn, index);
        self.maybe_unwanted(turn, index);
    }

    /// Subscribes those who waited for the topic.
    fn let_waiting_in(&mut self, turn: &mut HubTurn<'_>, index: TopicIndex) {
        let Some(topic) = self.topics.get_mut(index) else {
            return;
        };
        for asking in std::mem::take(&mut topic.waiting) {
            if let Some(session) = turn.state_of(asking.id) {
                session.body().joining.retain(|joining| *joining != index);
            }
            let (id, ends_with) = (asking.id, asking.ends_with);
            if asking.follows_pattern {
                self.attach_matching(turn, index, id);
            }
            self.attach(turn, index, asking);
            if let Some(request_id) = ends_with {
                let name = self.topics.get(index).map(|topic| topic.name.clone());
                let name = name.as_ref().map_or("", TopicName::as_str);
                self.unsubscribe(turn, id, request_id, name);
            }
        }
    }

    /// The home cannot have the topic.
    pub(crate) fn cannot_follow(
        &mut self,
        turn: &mut HubTurn<'_>,
        name: &TopicName,
        code: ErrorCode,
    ) {
        let Some(index) = self.topics.find(name.as_str()) else {
            return;
        };
        let is_joining = self
            .topics
            .get(index)
            .is_some_and(|topic| topic.presence == Presence::Joining);
        if !is_joining {
            return;
        }
        let Some(topic) = self.topics.remove(index) else {
            return;
        };
        for asking in topic.waiting {
            if let Some(session) = turn.state_of(asking.id) {
                session.body().joining.retain(|joining| *joining != index);
            }
            self.cannot_subscribe(turn, &asking, name.as_str(), code);
            if let Some(request_id) = asking.ends_with {
                self.unsubscribe(turn, asking.id, request_id, name.as_str());
            }
        }
    }

    /// The next message of a topic that is followed.
    pub(crate) fn follow_message(&mut self, turn: &mut HubTurn<'_>, publication: Arc<Publication>) {
        let Some(index) = self.topics.find_alias(publication.alias) else {
            return;
        };
        let Some(topic) = self.topics.get_mut(index) else {
            return;
        };
        if topic.presence == Presence::Here {
            topic.append(publication);
            self.has_fresh(turn, index);
        }
    }

    /// A topic may have lost its last subscriber on this shard.
    pub(crate) fn maybe_unwanted(&mut self, turn: &mut HubTurn<'_>, index: TopicIndex) {
        let Some(topic) = self.topics.get(index).filter(|topic| topic.is_unwanted()) else {
            return;
        };
        if topic.home != self.shard {
            self.lingering.push_back((turn.now_ns() + LINGER_NS, index));
            return;
        }
        if topic.log.head() == 0 && topic.followers.is_empty() {
            self.topics.remove(index);
            self.counters.topics -= 1;
        }
    }

    /// Stops following what has had no subscribers for long enough.
    pub(crate) fn stop_lingering(&mut self, now_ns: u64) {
        while let Some((due_ns, index)) = self.lingering.front().copied() {
            if due_ns > now_ns {
                return;
            }
            self.lingering.pop_front();
            // The number may stand for another topic by now; what is asked is true of any.
            let Some(topic) = self.topics.get_mut(index) else {
                continue;
            };
            let name = topic.name.clone();
            let is_matched = || {
                let mut patterns = self.patterns.keys();
                patterns.any(|pattern| pattern.matches(name.as_str()))
            };
            if topic.home == self.shard
                || topic.presence != Presence::Here
                || !topic.is_unwanted()
                || is_matched()
            {
                continue;
            }
            topic.presence = Presence::Leaving;
            self.counters.topics_followed -= 1;
            let home = topic.home;
            let from = self.shard;
            self.exchange
                .send(home, HubMail::Leave { from, topic: name });
        }
    }

    /// The home has let us go.
    pub(crate) fn has_left(&mut self, name: &TopicName) {
        let Some(index) = self.topics.find(name.as_str()) else {
            return;
        };
        let Some(topic) = self.topics.get_mut(index) else {
            return;
        };
        if topic.presence != Presence::Leaving {
            return;
        }
        if topic.waiting.is_empty() {
            self.topics.remove(index);
            return;
        }
        // Somebody has come meanwhile.
        topic.presence = Presence::Joining;
        let home = topic.home;
        let mail = HubMail::Join {
            from: self.shard,
            topic: name.clone(),
        };
        self.exchange.send(home, mail);
    }

    // What a home does.

    pub(crate) fn let_join(&mut self, turn: &mut HubTurn<'_>, from: ShardId, name: TopicName) {
        let known = self
            .topics
            .find(name.as_str())
            .map_or_else(|| self.create(turn, name.clone()), Ok);
        match known {
            Ok(index) => {
                if let Some(topic) = self.topics.get_mut(index)
                    && !topic.followers.contains(&from)
                {
                    topic.followers.push(from);
                }
                self.send_seed(index, from);
            }
            Err(code) => self
                .exchange
                .send(from, HubMail::Refused { topic: name, code }),
        }
    }

    pub(crate) fn let_leave(&mut self, from: ShardId, name: TopicName) {
        if let Some(index) = self.topics.find(name.as_str())
            && let Some(topic) = self.topics.get_mut(index)
        {
            topic.followers.retain(|follower| *follower != from);
            if topic.log.head() == 0 && topic.followers.is_empty() && topic.is_unwanted() {
                self.topics.remove(index);
                self.counters.topics -= 1;
            }
        }
        self.exchange.send(from, HubMail::Left { topic: name });
    }

    pub(crate) fn let_join_pattern(&mut self, from: ShardId, pattern: Pattern) {
        for index in self.topics.matching(&pattern) {
            let Some(topic) = self.topics.get_mut(index) else {
                continue;
            };
            if topic.home == self.shard && !topic.followers.contains(&from) {
                topic.followers.push(from);
                self.send_seed(index, from);
            }
        }
        self.foreign_patterns.push((from, pattern));
    }

    pub(crate) fn let_leave_pattern(&mut self, from: ShardId, pattern: &Pattern) {
        self.foreign_patterns
            .retain(|(shard, other)| *shard != from || other != pattern);
    }

    /// Sends a new topic to all that follow it from its beginning.
    pub(crate) fn seed_followers(&mut self, index: TopicIndex) {
        let followers = self
            .topics
            .get(index)
            .map_or(Vec::new(), |topic| topic.followers.clone());
        for follower in followers {
            self.send_seed(index, follower);
        }
    }

    fn send_seed(&mut self, index: TopicIndex, to: ShardId) {
        if let Some(topic) = self.topics.get(index) {
            let seed = Seed {
                topic: topic.name.clone(),
                alias: topic.alias,
                epoch: topic.epoch,
                log: topic.log.seed(),
            };
            self.exchange.send(to, HubMail::Seed(Box::new(seed)));
        }
    }
}
