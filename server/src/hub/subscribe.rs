//! How connections come to be subscribed to topics, and how that ends.
//!
//! It owns the two-way link between a topic's subscribers and a connection's subscriptions.

use crate::context::ConnectionId;

use super::mail::HubMail;
use super::node::{Hub, HubTurn};
use super::port::home_of;
use super::publication::Format;
use super::rules::TopicKind;
use super::session::{PatternSubscription, Subscription, TopicIndex};
use super::topic::{Filter, Pattern, TopicName};
use super::topics::{Asking, Moved, Pace, Presence, Subscriber, Topic};
use super::wire::command::Subscribe;
use super::wire::json::{self, Subscribed, SubscribedTopic};
use super::wire::raw::RawTarget;
use super::wire::{CommandError, ErrorCode, RecoveryFailure};

/// Points to resume from that a connection's patterns may wait with.
const RESUME_POINTS_MAX: usize = 4096;

/// Where a new subscriber begins.
struct Start {
    cursor: u64,
    snapshot_through: u64,
    recovery: Option<Result<(), RecoveryFailure>>,
    replay: Option<u64>,
    /// It is no start: the connection goes on as it was.
    already: bool,
}

impl Hub {
    pub(crate) fn subscribe(
        &mut self,
        turn: &mut HubTurn<'_>,
        id: ConnectionId,
        subscribe: &Subscribe<'_>,
    ) {
        for text in &subscribe.topics {
            let filter = match Filter::parse(text) {
                Ok(filter) => filter,
                Err(error) => {
                    let error = CommandError::bad_topic(subscribe.id, text, error);
                    self.refuse(turn, id, &error);
                    continue;
                }
            };
            let asking = Asking {
                id,
                request_id: subscribe.id,
                resume: subscribe.resume_for(text),
                max_rate: Some(subscribe.max_rate),
                history: subscribe.history as usize,
                wants_snapshot: subscribe.snapshot,
                pattern: None,
                follows_pattern: false,
                ends_with: None,
            };
            match filter {
                Filter::Topic(name) => self.subscribe_topic(turn, name, asking),
                Filter::Pattern(pattern) => {
                    if let Some(session) = turn.state_of(id) {
                        let body = session.body();
                        for (name, point) in subscribe.resume_points() {
                            if body.resume.len() < RESUME_POINTS_MAX
                                && pattern.matches(name)
                                && let Ok(name) = TopicName::parse(name)
                            {
                                body.resume.insert(name, point);
                            }
                        }
                    }
                    self.subscribe_pattern(turn, pattern, asking);
                }
            }
        }
    }

    /// What the path and the query of a raw connection name.
    pub(crate) fn subscribe_raw(
        &mut self,
        turn: &mut HubTurn<'_>,
        id: ConnectionId,
        target: &RawTarget,
    ) {
        for filter in target.filters() {
            let asking = Asking {
                id,
                request_id: None,
                resume: None,
                max_rate: None,
                history: target.history as usize,
                wants_snapshot: true,
                pattern: None,
                follows_pattern: false,
                ends_with: None,
            };
            match filter {
                Filter::Topic(name) => self.subscribe_topic(turn, name, asking),
                Filter::Pattern(pattern) => self.subscribe_pattern(turn, pattern, asking),
            }
        }
    }

    /// Whether the connection may have one more name or pattern; it is told if not.
    fn may_subscribe(
        &mut self,
        turn: &mut HubTurn<'_>,
        asking: &Asking,
        filter: &str,
        is_known: bool,
    ) -> bool {
        let Some(session) = turn.state_of(asking.id) else {
            return false;
        };
        if is_known || session.filters() < self.options.subscriptions_max {
            return true;
        }
        let text = "the connection holds as many subscriptions as it may; unsubscribe from some, \
                    use a pattern, or open another connection";
        let code = ErrorCode::TooManySubscriptions;
        let error = CommandError::new(asking.request_id, code, text).about(filter);
        self.refuse(turn, asking.id, &error);
        false
    }

    fn subscribe_topic(&mut self, turn: &mut HubTurn<'_>, name: TopicName, asking: Asking) {
        let known = self.topics.find(name.as_str());
        let is_subscribed = known.is_some_and(|index| {
            let session = turn.state_of(asking.id);
            session.is_some_and(|session| {
                session.find(index).is_some_and(|found| found.is_named)
                    || session
                        .body
                        .as_ref()
                        .is_some_and(|body| body.joining.contains(&index))
            })
        });
        if !self.may_subscribe(turn, &asking, name.as_str(), is_subscribed) {
            return;
        }
        let index = match known {
            Some(index) => index,
            None if home_of(&name, self.exchange.shards()) == self.shard => {
                match self.create(turn, name.clone()) {
                    Ok(index) => index,
                    Err(code) => {
                        self.cannot_subscribe(turn, &asking, name.as_str(), code);
                        return;
                    }
                }
            }
            None => self.ask_to_join(name),
        };
        match self.topics.get_mut(index) {
            Some(topic) if topic.presence == Presence::Here => self.attach(turn, index, asking),
            Some(topic) => {
                let Some(session) = turn.state_of(asking.id) else {
                    return;
                };
                let body = session.body();
                body.joining.push(index);
                topic.waiting.push(Asking {
                    follows_pattern: body.matching(topic.name.as_str()).is_some(),
                    ..asking
                });
            }
            None => {}
        }
    }

    pub(crate) fn cannot_subscribe(
        &mut self,
        turn: &mut HubTurn<'_>,
        asking: &Asking,
        topic: &str,
        code: ErrorCode,
    ) {
        let text = match code {
            ErrorCode::TooManyTopics => {
                "the hub holds as many topics as it may; raise topics_max, or subscribe to one \
                 that exists"
            }
            _ => "the topic cannot be followed now; try again in a moment",
        };
        let error = CommandError::new(asking.request_id, code, text).about(topic);
        self.refuse(turn, asking.id, &error);
    }

    fn subscribe_pattern(&mut self, turn: &mut HubTurn<'_>, pattern: Pattern, asking: Asking) {
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

    /// Subscribes a connection to a topic that is here, and answers it.
    pub(crate) fn attach(&mut self, turn: &mut HubTurn<'_>, index: TopicIndex, asking: Asking) {
        let id = asking.id;
        let (Some(topic), Some(session)) = (self.topics.get_mut(index), turn.state_of(id)) else {
            return;
        };
        if let Some(found) = session.find(index) {
            // Named as well as matched, or named again: it goes on from where it is.
            if let Some(subscription) = session.body().find_mut(index) {
                subscription.is_named |= asking.pattern.is_none();
            }
            let start = Start {
                cursor: topic.log.head(),
                snapshot_through: 0,
                recovery: None,
                replay: None,
                already: true,
            };
            self.tell_subscribed(turn, index, &asking, &start);
            if let Some(max_rate) = asking.max_rate {
                self.set_pace(turn, index, found.position, max_rate);
            }
            return;
        }
        let body = session.body();
        if body.subscriptions.len() >= self.options.matches_max {
            let text = "a topic that matches was left out: the connection is subscribed to as \
                        many topics as it may";
            let code = ErrorCode::TooManySubscriptions;
            let error = CommandError::new(asking.request_id, code, text).about(topic.name.as_str());
            self.refuse(turn, id, &error);
            return;
        }
        let start = topic.start(&asking);
        let max_rate = effective_rate(asking.max_rate, topic.max_rate);
        let position = topic.add(Subscriber {
            id,
            cursor: start.cursor,
            snapshot_through: start.snapshot_through,
            pace: max_rate.map(new_pace),
            variant: session.variant,
            is_whole: true,
        });
        let body = session.body();
        body.add(Subscription {
            topic: index,
            position,
            is_named: asking.pattern.is_none(),
        });
        body.behind += 1;
        self.counters.subscriptions += 1;
        self.counters.subscriptions_behind += 1;
        match start.recovery {
            Some(Ok(())) => self.counters.resumed += 1,
            Some(Err(_)) => self.counters.resume_failed += 1,
            None => {}
        }
        self.tell_subscribed(turn, index, &asking, &start);
        self.catch_up_soon(turn, id);
    }

    fn tell_subscribed(
        &mut self,
        turn: &mut HubTurn<'_>,
        index: TopicIndex,
        asking: &Asking,
        start: &Start,
    ) {
        let is_raw = turn
            .state_of(asking.id)
            .is_none_or(|session| session.variant.format() == Format::Raw);
        let Some(topic) = self.topics.get(index).filter(|_| !is_raw) else {
            return;
        };
        let answer = Subscribed {
            id: asking.request_id,
            pattern: asking.pattern.as_ref().map(Pattern::as_str),
            topic: Some(SubscribedTopic {
                name: topic.name.as_str(),
                kind: topic.log.kind(),
                epoch: topic.epoch,
                seq: topic.log.head(),
                alias: topic.alias,
                recovery: start.recovery,
                replay: start.replay,
                snapshot: start.snapshot_through > 0,
                already: start.already,
            }),
        };
        self.scratch.clear();
        json::subscribed(&answer, &mut self.scratch);
        turn.send_to(
            asking.id,
            fanwire_protocol::MessageKind::Text,
            &self.scratch,
        );
    }

    pub(crate) fn unsubscribe(
        &mut self,
        turn: &mut HubTurn<'_>,
        id: ConnectionId,
        request_id: Option<u64>,
        text: &str,
    ) {
        let is_done = match Filter::parse(text) {
            Ok(Filter::Topic(name)) => {
                if self.unsubscribe_when_joined(turn, id, request_id, &name) {
                    return;
                }
                self.unsubscribe_topic(turn, id, &name)
            }
            Ok(Filter::Pattern(pattern)) => self.unsubscribe_pattern(turn, id, &pattern),
            Err(error) => {
                let error = CommandError::bad_topic(request_id, text, error);
                self.refuse(turn, id, &error);
                return;
            }
        };
        if is_done {
            self.say(turn, id, |out| json::unsubscribed(request_id, text, out));
        } else {
            self.not_subscribed(turn, id, request_id, text);
        }
    }

    fn not_subscribed(
        &mut self,
        turn: &mut HubTurn<'_>,
        id: ConnectionId,
        request_id: Option<u64>,
        text: &str,
    ) {
        let message = "there is no such subscription; name it as it was subscribed to";
        let error = CommandError::new(request_id, ErrorCode::NotSubscribed, message).about(text);
        self.refuse(turn, id, &error);
    }

    /// If the connection waits for the topic's home, its requests are answered in their order:
    /// this one after the subscription.
    fn unsubscribe_when_joined(
        &mut self,
        turn: &mut HubTurn<'_>,
        id: ConnectionId,
        request_id: Option<u64>,
        name: &TopicName,
    ) -> bool {
        let body = turn.state_of(id).and_then(|session| session.body.as_ref());
        let (Some(index), Some(body)) = (self.topics.find(name.as_str()), body) else {
            return false;
        };
        if !body.joining.contains(&index) {
            return false;
        }
        let Some(topic) = self.topics.get_mut(index) else {
            return false;
        };
        let mut asking = topic.waiting.iter_mut().rev();
        match asking.find(|asking| asking.id == id) {
            Some(asking) if asking.ends_with.is_none() => {
                asking.ends_with = Some(request_id);
                true
            }
            _ => false,
        }
    }

    fn unsubscribe_topic(
        &mut self,
        turn: &mut HubTurn<'_>,
        id: ConnectionId,
        name: &TopicName,
    ) -> bool {
        let Some(index) = self.topics.find(name.as_str()) else {
            return false;
        };
        let Some(session) = turn.state_of(id) else {
            return false;
        };
        let body = session.body();
        let is_matched = body.matching(name.as_str()).is_some();
        match body.find_mut(index) {
            Some(found) if found.is_named => {
                found.is_named = false;
                if !is_matched {
                    self.detach(turn, index, id);
                }
                true
            }
            _ => false,
        }
    }

    fn unsubscribe_pattern(
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

    fn release_pattern(&mut self, id: ConnectionId, pattern: &Pattern) {
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

    /// Ends one subscription.
    fn detach(&mut self, turn: &mut HubTurn<'_>, index: TopicIndex, id: ConnectionId) {
        let removed = turn
            .state_of(id)
            .and_then(|session| session.body.as_mut())
            .and_then(|body| body.remove(index));
        let Some(removed) = removed else { return };
        let was_live = self.remove_subscriber(turn, index, removed.position);
        if !was_live && let Some(session) = turn.state_of(id) {
            let body = session.body();
            body.behind = body.behind.saturating_sub(1);
        }
    }

    /// Takes a subscriber off its topic; true if it was live.
    fn remove_subscriber(
        &mut self,
        turn: &mut HubTurn<'_>,
        index: TopicIndex,
        position: u32,
    ) -> bool {
        let Some(topic) = self.topics.get_mut(index) else {
            return false;
        };
        let was_live = topic.is_live(position);
        let moved = topic.remove(position);
        self.counters.subscriptions -= 1;
        if !was_live {
            self.counters.subscriptions_behind -= 1;
        }
        self.have_moved(turn, index, moved);
        self.maybe_unwanted(turn, index);
        was_live
    }

    /// Notes new positions in the lists of the connections concerned.
    pub(crate) fn have_moved(
        &mut self,
        turn: &mut HubTurn<'_>,
        index: TopicIndex,
        moved: [Option<Moved>; 2],
    ) {
        for (id, position) in moved.into_iter().flatten() {
            let body = turn.state_of(id).and_then(|session| session.body.as_mut());
            if let Some(subscription) = body.and_then(|body| body.find_mut(index)) {
                subscription.position = position;
            }
        }
    }

    /// A connection has ended: nothing of it stays.
    pub(crate) fn forget(&mut self, turn: &mut HubTurn<'_>, id: ConnectionId) {
        let body = turn.state_of(id).and_then(|session| session.body.take());
        let Some(body) = body else { return };
        for one in &body.patterns {
            self.release_pattern(id, &one.pattern);
        }
        for index in &body.joining {
            if let Some(topic) = self.topics.get_mut(*index) {
                topic.waiting.retain(|asking| asking.id != id);
            }
            self.maybe_unwanted(turn, *index);
        }
        for subscription in &body.subscriptions {
            self.remove_subscriber(turn, subscription.topic, subscription.position);
        }
    }

    pub(crate) fn configure(
        &mut self,
        turn: &mut HubTurn<'_>,
        id: ConnectionId,
        request_id: Option<u64>,
        text: &str,
        max_rate: u32,
    ) {
        let is_done = match Filter::parse(text) {
            Err(error) => {
                let error = CommandError::bad_topic(request_id, text, error);
                self.refuse(turn, id, &error);
                return;
            }
            Ok(Filter::Topic(name)) => self.configure_topic(turn, id, &name, max_rate),
            Ok(Filter::Pattern(pattern)) => self.configure_pattern(turn, id, &pattern, max_rate),
        };
        if is_done {
            self.say(turn, id, |out| {
                json::configured(request_id, text, max_rate, out);
            });
        } else {
            self.not_subscribed(turn, id, request_id, text);
        }
    }

    fn configure_topic(
        &mut self,
        turn: &mut HubTurn<'_>,
        id: ConnectionId,
        name: &TopicName,
        max_rate: u32,
    ) -> bool {
        let Some(index) = self.topics.find(name.as_str()) else {
            return false;
        };
        if let Some(topic) = self.topics.get_mut(index) {
            let mut waiting = topic.waiting.iter_mut();
            if let Some(asking) = waiting.find(|asking| asking.id == id) {
                asking.max_rate = Some(max_rate);
                return true;
            }
        }
        let found = turn.state_of(id).and_then(|session| session.find(index));
        let Some(found) = found else { return false };
        self.set_pace(turn, index, found.position, max_rate);
        true
    }

    fn configure_pattern(
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

    /// Puts a subscription under a rate cap, changes the cap, or lifts it with 0.
    fn set_pace(
        &mut self,
        turn: &mut HubTurn<'_>,
        index: TopicIndex,
        position: u32,
        max_rate: u32,
    ) {
        let Some(topic) = self.topics.get_mut(index) else {
            return;
        };
        let rate = effective_rate(Some(max_rate), topic.max_rate);
        let fanned = topic.fanned;
        let was_live = topic.is_live(position);
        let Some(subscriber) = topic.subscriber(position) else {
            return;
        };
        let id = subscriber.id;
        match (rate, subscriber.pace.as_mut()) {
            (Some(rate), Some(pace)) => {
                pace.rate = rate;
                // A lower rate's long wait must not outlast it.
                pace.next_ns = 0;
            }
            (rate, _) => subscriber.pace = rate.map(new_pace),
        }
        topic.paced_idle.retain(|other| *other != id);
        if rate.is_some() && was_live {
            let moved = topic.fall_behind(position, fanned);
            self.have_moved(turn, index, moved);
            self.count_behind(turn, id);
        }
        self.catch_up_soon(turn, id);
    }
}

impl Topic {
    /// Where a new subscriber begins.
    fn start(&self, asking: &Asking) -> Start {
        let (head, floor) = (self.log.head(), self.log.floor());
        let recovery = asking.resume.map(|point| {
            if point.epoch != Some(self.epoch) {
                Err(RecoveryFailure::EpochChanged)
            } else if point.seq > head {
                Err(RecoveryFailure::ResumeFromFuture)
            } else if point.seq < floor {
                Err(RecoveryFailure::LogOverrun)
            } else {
                Ok(())
            }
        });
        if let (Some(Ok(())), Some(point)) = (recovery, asking.resume) {
            return Start {
                cursor: point.seq,
                snapshot_through: 0,
                recovery,
                replay: Some(head - point.seq),
                already: false,
            };
        }
        let mut start = Start {
            cursor: head,
            snapshot_through: 0,
            recovery,
            replay: None,
            already: false,
        };
        match self.log.kind() {
            TopicKind::State if asking.wants_snapshot && head > 0 => {
                start.cursor = 0;
                start.snapshot_through = head;
            }
            TopicKind::Events if asking.history > 0 => {
                start.cursor = head.saturating_sub(asking.history as u64).max(floor);
                start.replay = Some(head - start.cursor);
            }
            _ => {}
        }
        start
    }
}

fn new_pace(rate: u32) -> Box<Pace> {
    Box::new(Pace {
        rate,
        next_ns: 0,
        is_scheduled: false,
    })
}

/// The lower of what was asked for and what the rule allows; 0 asks for no cap.
fn effective_rate(asked: Option<u32>, allowed: Option<u32>) -> Option<u32> {
    let asked = asked.filter(|rate| *rate > 0);
    let allowed = allowed.filter(|rate| *rate > 0);
    match (asked, allowed) {
        (Some(asked), Some(allowed)) => Some(asked.min(allowed)),
        (asked, allowed) => asked.or(allowed),
    }
}
