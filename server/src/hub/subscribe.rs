//! How connections come to be subscribed to topics, and how that ends.
//!
//! It owns where a new subscriber of a topic begins, and what it is told. `patterns`, `configure` and
//! `unsubscribe` have the rest of a subscription's life.

use crate::context::ConnectionId;

use super::configure::{effective_rate, new_pace};
use super::node::{Hub, HubTurn};
use super::port::home_of;
use super::publication::Format;
use super::rules::TopicKind;
use super::session::{Subscription, TopicIndex};
use super::topic::{Filter, Pattern, TopicName};
use super::topics::{Asking, Presence, Subscriber, Topic};
use super::wire::command::Subscribe;
use super::wire::json::{self, Subscribed, SubscribedTopic};
use super::wire::raw::RawTarget;
use super::wire::{CommandError, ErrorCode, RecoveryFailure};

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
            if !self.may_change(turn, id, subscribe.id, text) {
                continue;
            }
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
                    self.keep_resume_points(turn, id, &pattern, subscribe);
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
    pub(crate) fn may_subscribe(
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
