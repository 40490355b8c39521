//! Subscriptions to patterns.
//!
//! It owns what a pattern means: a subscription of its own to every topic that matches, whenever the
//! topic begins. It must not know how a topic is subscribed to.

use std::collections::HashMap;

use crate::context::ConnectionId;

use super::mail::HubMail;
use super::node::{Hub, HubTurn};
use super::publication::Format;
use super::session::{PatternSubscription, TopicIndex};
use super::topic::{Pattern, TopicName};
use super::topics::{Asking, Presence};
use super::wire::command::Subscribe;
use super::wire::json::{self, Subscribed};

/// Points to resume from that a connection's patterns may wait with.
const RESUME_POINTS_MAX: usize = 4096;
/// How long they wait for the homes of their topics to answer.
const RESUME_WAIT_NS: u64 = 10_000_000_000;

impl Hub {
    /// Keeps the points to resume from for topics that a pattern matches.
    pub(crate) fn keep_resume_points(
        &mut self,
        turn: &mut HubTurn<'_>,
        id: ConnectionId,
        pattern: &Pattern,
        subscribe: &Subscribe<'_>,
    ) {
        let due_ns = turn.now_ns() + RESUME_WAIT_NS;
        let Some(session) = turn.state_of(id) else {
            return;
        };
        let resume = &mut session.body().resume;
        let had_none = resume.is_empty();
        for (name, point) in subscribe.resume_points() {
            if resume.len() < RESUME_POINTS_MAX
                && pattern.matches(name)
                && let Ok(name) = TopicName::parse(name)
            {
                resume.insert(name, point);
            }
        }
        if had_none && !resume.is_empty() {
            self.resuming.push_back((due_ns, id));
        }
    }

    /// Forgets the points to resume from for topics that do not exist.
    pub(crate) fn forget_resume_points(&mut self, turn: &mut HubTurn<'_>) {
        let now_ns = turn.now_ns();
        while let Some((due_ns, id)) = self.resuming.front().copied() {
            if due_ns > now_ns {
                return;
            }
            self.resuming.pop_front();
            if let Some(body) = turn.state_of(id).and_then(|state| state.body.as_mut()) {
                body.resume = HashMap::new();
            }
        }
    }

    pub(crate) fn subscribe_pattern(
        &mut self,
        turn: &mut HubTurn<'_>,
        pattern: Pattern,
        asking: Asking,
    ) {
        let id = asking.id;
        let is_known = turn.state_of(id).is_some_and(|session| {
            let patterns = session.body.as_ref().map(|body| &body.patterns);
            patterns.is_some_and(|patterns| patterns.iter().any(|one| one.pattern == pattern))
        });
        if !self.may_subscribe(turn, &asking, pattern.as_str(), is_known) {
            return;
        }
        let Some(session) = turn.state_of(id) else {
            return;
        };
        let is_raw = session.variant.format() == Format::Raw;
        let subscription = PatternSubscription {
            pattern: pattern.clone(),
            max_rate: asking.max_rate,
            history: asking.history,
            wants_snapshot: asking.wants_snapshot,
        };
        let patterns = &mut session.body().patterns;
        match patterns.iter_mut().find(|one| one.pattern == pattern) {
            Some(known) => *known = subscription,
            None => patterns.push(subscription),
        }
        if !is_raw {
            let request_id = asking.request_id;
            self.say(turn, id, |out| {
                let answer = Subscribed {
                    id: request_id,
                    pattern: Some(pattern.as_str()),
                    topic: None,
                };
                json::subscribed(&answer, out);
            });
        }
        if !is_known {
            let subscribers = self.patterns.entry(pattern.clone()).or_default();
            subscribers.push(id);
            if subscribers.len() == 1 {
                let from = self.shard;
                self.exchange.send_to_all(|| HubMail::JoinPattern {
                    from,
                    pattern: pattern.clone(),
                });
            }
        }
        for index in self.topics.matching(&pattern) {
            self.attach_pattern(turn, index, id, &pattern);
        }
    }

    /// Subscribes everybody whose pattern matches to a topic that is new on this shard.
    pub(crate) fn attach_patterns(&mut self, turn: &mut HubTurn<'_>, index: TopicIndex) {
        let Some(name) = self.topics.get(index).map(|topic| topic.name.clone()) else {
            return;
        };
        let matching = self.patterns.iter();
        let matching: Vec<(Pattern, Vec<ConnectionId>)> = matching
            .filter(|(pattern, _)| pattern.matches(name.as_str()))
            .map(|(pattern, ids)| (pattern.clone(), ids.clone()))
            .collect();
        for (pattern, ids) in matching {
            for id in ids {
                self.attach_pattern(turn, index, id, &pattern);
            }
        }
    }

    /// Subscribes one connection to a topic that one of its patterns matches.
    pub(crate) fn attach_matching(
        &mut self,
        turn: &mut HubTurn<'_>,
        index: TopicIndex,
        id: ConnectionId,
    ) {
        let body = turn.state_of(id).and_then(|session| session.body.as_ref());
        let (Some(topic), Some(body)) = (self.topics.get(index), body) else {
            return;
        };
        let matching = body.matching(topic.name.as_str());
        if let Some(pattern) = matching.map(|one| one.pattern.clone()) {
            self.attach_pattern(turn, index, id, &pattern);
        }
    }

    fn attach_pattern(
        &mut self,
        turn: &mut HubTurn<'_>,
        index: TopicIndex,
        id: ConnectionId,
        pattern: &Pattern,
    ) {
        let Some(topic) = self.topics.get(index) else {
            return;
        };
        if topic.presence != Presence::Here {
            return;
        }
        let Some(session) = turn.state_of(id) else {
            return;
        };
        if session.find(index).is_some() {
            return;
        }
        let body = session.body();
        let Some(how) = body.patterns.iter().find(|one| one.pattern == *pattern) else {
            return;
        };
        let asking = Asking {
            id,
            request_id: None,
            resume: None,
            max_rate: how.max_rate,
            history: how.history,
            wants_snapshot: how.wants_snapshot,
            pattern: Some(pattern.clone()),
            follows_pattern: false,
            ends_with: None,
        };
        let resume = body.resume.remove(&topic.name);
        self.attach(turn, index, Asking { resume, ..asking });
    }

    pub(crate) fn unsubscribe_pattern(
        &mut self,
        turn: &mut HubTurn<'_>,
        id: ConnectionId,
        pattern: &Pattern,
    ) -> bool {
        let Some(session) = turn.state_of(id) else {
            return false;
        };
        let body = session.body();
        let Some(at) = body.patterns.iter().position(|one| one.pattern == *pattern) else {
            return false;
        };
        body.patterns.remove(at);
        self.release_pattern(id, pattern);
        let Some(session) = turn.state_of(id) else {
            return true;
        };
        let body = session.body();
        let unnamed = body.subscriptions.iter().filter(|one| !one.is_named);
        let unmatched: Vec<TopicIndex> = unnamed
            .map(|one| one.topic)
            .filter(|index| {
                let topic = self.topics.get(*index);
                topic.is_none_or(|topic| body.matching(topic.name.as_str()).is_none())
            })
            .collect();
        for index in unmatched {
            self.detach(turn, index, id);
        }
        true
    }

    pub(crate) fn release_pattern(&mut self, id: ConnectionId, pattern: &Pattern) {
        let Some(subscribers) = self.patterns.get_mut(pattern) else {
            return;
        };
        subscribers.retain(|other| *other != id);
        if subscribers.is_empty() {
            self.patterns.remove(pattern);
            let from = self.shard;
            self.exchange.send_to_all(|| HubMail::LeavePattern {
                from,
                pattern: pattern.clone(),
            });
        }
    }

    pub(crate) fn configure_pattern(
        &mut self,
        turn: &mut HubTurn<'_>,
        id: ConnectionId,
        pattern: &Pattern,
        max_rate: u32,
    ) -> bool {
        let Some(session) = turn.state_of(id) else {
            return false;
        };
        let body = session.body();
        let Some(one) = body.patterns.iter_mut().find(|one| one.pattern == *pattern) else {
            return false;
        };
        one.max_rate = Some(max_rate);
        let subscriptions: Vec<TopicIndex> =
            body.subscriptions.iter().map(|one| one.topic).collect();
        for index in subscriptions {
            let topic = self.topics.get(index);
            let is_meant = topic.is_some_and(|topic| pattern.matches(topic.name.as_str()));
            let found = turn.state_of(id).and_then(|session| session.find(index));
            if let Some(found) = found.filter(|_| is_meant) {
                self.set_pace(turn, index, found.position, max_rate);
            }
        }
        true
    }
}
