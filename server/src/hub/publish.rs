//! How a message gets its place in its topic.
//!
//! It owns the way from a publisher to the topic's home, the checks at the home, and the answer.

use std::sync::Arc;

use bytes::Bytes;
use fanwire_protocol::MessageKind;

use crate::context::ConnectionId;

use super::log::LogFull;
use super::mail::{Forwarded, HubMail, Origin};
use super::node::{Hub, HubTurn};
use super::port::{Order, PublishOutcome, home_of};
use super::publication::{Change, Content, Format, PayloadKind, Publication, Variant};
use super::rules::TopicKind;
use super::session::TopicIndex;
use super::topic::{TopicError, TopicName};
use super::topics::{Presence, Topic};
use super::wire::binary::BinaryPublish;
use super::wire::command::Publish;
use super::wire::{CommandError, ErrorCode, json};

/// Messages of a topic that gather before they are fanned out without waiting for the turn's end.
const FRESH_MAX: usize = 256;

const fn refused(code: ErrorCode, message: &'static str) -> PublishOutcome {
    PublishOutcome::Refused { code, message }
}

const BUSY: PublishOutcome = refused(
    ErrorCode::Busy,
    "the hub has too much to do for this message; publish it again in a moment",
);
const OVERTAKING: PublishOutcome = refused(
    ErrorCode::Busy,
    "a message before this one was refused as busy; publish both again, in their order",
);
const LOGS_FULL: PublishOutcome = refused(
    ErrorCode::Busy,
    "the logs of the hub take as much memory as they may; raise logs_bytes_max or keep less",
);
const TOO_BIG: PublishOutcome = refused(
    ErrorCode::TooBig,
    "the payload is larger than payload_max; send less or raise it",
);
const FORBIDDEN: PublishOutcome = refused(
    ErrorCode::Forbidden,
    "this address may not publish; have the server's publish_from changed",
);
const TOO_MANY_TOPICS: PublishOutcome = refused(
    ErrorCode::TooManyTopics,
    "the hub holds as many topics as it may; raise topics_max",
);

impl Hub {
    pub(crate) fn publish_json(
        &mut self,
        turn: &mut HubTurn<'_>,
        id: ConnectionId,
        publish: &Publish<'_>,
    ) {
        let content = Content {
            change: publish.change,
            key: publish.key.as_ref().map(|key| key.as_bytes().into()),
            payload: Bytes::copy_from_slice(publish.data.as_bytes()),
            payload_kind: PayloadKind::Json,
        };
        self.publish(turn, id, publish.id, &publish.topic, content);
    }

    pub(crate) fn publish_binary(
        &mut self,
        turn: &mut HubTurn<'_>,
        id: ConnectionId,
        publish: &BinaryPublish<'_>,
    ) {
        let content = Content {
            change: publish.change,
            key: publish.key.map(|key| key.as_bytes().into()),
            payload: Bytes::copy_from_slice(publish.payload),
            payload_kind: publish.payload_kind,
        };
        self.publish(turn, id, publish.id, publish.topic, content);
    }

    /// A raw connection sent something: a payload, if it publishes at all.
    pub(crate) fn publish_raw(
        &mut self,
        turn: &mut HubTurn<'_>,
        id: ConnectionId,
        kind: MessageKind,
        payload: &[u8],
    ) {
        let target = turn.state_of(id).and_then(|session| session.raw.as_ref());
        let topic = target
            .filter(|target| target.publishes)
            .and_then(|target| target.topic.clone());
        let Some(topic) = topic else { return };
        let payload_kind = match kind {
            MessageKind::Binary => PayloadKind::Binary,
            MessageKind::Text if is_json(payload) => PayloadKind::Json,
            MessageKind::Text => PayloadKind::Text,
        };
        let content = Content {
            change: Change::Update,
            key: None,
            payload: Bytes::copy_from_slice(payload),
            payload_kind,
        };
        self.publish(turn, id, None, topic.as_str(), content);
    }

    fn publish(
        &mut self,
        turn: &mut HubTurn<'_>,
        id: ConnectionId,
        request_id: Option<u64>,
        topic: &str,
        content: Content,
    ) {
        let address = turn
            .connection(id)
            .map(|context| context.peer_address().ip());
        let outcome = if address.is_none_or(|address| !self.options.may_publish(address)) {
            Some(FORBIDDEN)
        } else {
            let shard = self.shard;
            self.route(turn, topic, content, || Origin::Connection {
                shard,
                id,
                request_id,
            })
        };
        if let Some(outcome) = outcome {
            self.tell_outcome(turn, id, request_id, topic, outcome);
        }
    }

    /// Takes a message in, or sends it to its home; none in that case.
    fn route(
        &mut self,
        turn: &mut HubTurn<'_>,
        topic: &str,
        content: Content,
        origin: impl FnOnce() -> Origin,
    ) -> Option<PublishOutcome> {
        if content.payload.len() > self.options.payload_size_max {
            return Some(TOO_BIG);
        }
        let known = self.topics.find(topic);
        let home = known
            .and_then(|index| self.topics.get(index))
            .map(|topic| topic.home);
        if let (Some(index), Some(home)) = (known, home)
            && home == self.shard
        {
            return Some(self.accept(turn, index, content));
        }
        let name = match TopicName::parse(topic) {
            Ok(name) => name,
            Err(error) => return Some(bad_topic(error)),
        };
        let home = home_of(&name, self.exchange.shards());
        if home == self.shard {
            return Some(match self.create(turn, name) {
                Ok(index) => self.accept(turn, index, content),
                Err(_) => TOO_MANY_TOPICS,
            });
        }
        if !self.exchange.has_room(home) {
            self.counters.refused_busy += 1;
            return Some(BUSY);
        }
        let forwarded = Forwarded {
            topic: name,
            content,
            origin: origin(),
        };
        self.exchange
            .send(home, HubMail::Publish(Box::new(forwarded)));
        None
    }

    /// At the home: a message that came over another shard or from outside.
    pub(crate) fn publish_forwarded(&mut self, turn: &mut HubTurn<'_>, forwarded: Forwarded) {
        let Forwarded {
            topic,
            content,
            origin,
        } = forwarded;
        let known = self
            .topics
            .find(topic.as_str())
            .map_or_else(|| self.create(turn, topic.clone()), Ok);
        let order = match &origin {
            Origin::Outside(_, order) => order.as_deref(),
            Origin::Connection { .. } => None,
        };
        let outcome = match known {
            Ok(_) if order.is_some_and(Order::is_broken) => OVERTAKING,
            Ok(_) if content.payload.len() > self.options.payload_size_max => TOO_BIG,
            Ok(index) => self.accept(turn, index, content),
            Err(_) => TOO_MANY_TOPICS,
        };
        if let (Some(order), BUSY | LOGS_FULL) = (order, outcome) {
            order.break_off();
        }
        match origin {
            Origin::Outside(Some(reply), _) => reply(outcome),
            Origin::Outside(None, _) => {}
            Origin::Connection {
                shard,
                id,
                request_id,
            } => {
                let is_told =
                    request_id.is_some() || matches!(outcome, PublishOutcome::Refused { .. });
                if is_told {
                    let outcome = HubMail::Outcome {
                        id,
                        request_id,
                        topic,
                        outcome,
                    };
                    self.exchange.send(shard, outcome);
                }
            }
        }
    }

    /// At the home: gives a message its number, keeps it and passes it on; or says why not.
    fn accept(
        &mut self,
        turn: &mut HubTurn<'_>,
        index: TopicIndex,
        content: Content,
    ) -> PublishOutcome {
        let outcome = self.check(index, &content);
        if let Some(outcome) = outcome {
            match outcome {
                BUSY | LOGS_FULL => self.counters.refused_busy += 1,
                _ => self.counters.refused += 1,
            }
            return outcome;
        }
        let now_ns = turn.now_ns();
        let Some(topic) = self.topics.get_mut(index) else {
            return BUSY;
        };
        let seq = topic.log.head() + 1;
        let epoch = topic.epoch;
        self.counters.published += 1;
        self.counters.published_bytes += content.payload.len() as u64;
        let name = topic.name.clone();
        let publication = Arc::new(Publication::new(name, topic.alias, seq, now_ns, content));
        if !topic.followers.is_empty() {
            // Encoded here and now for all shards, so that none of them does it twice.
            for format in [Format::Json, Format::Binary, Format::Raw] {
                for variant in [false, true].map(|deflated| Variant::new(format, deflated)) {
                    if self.shared.has_users(variant) {
                        publication.frame(variant, &mut self.compressor);
                    }
                }
            }
            self.counters.passed_on += topic.followers.len() as u64;
            for follower in &topic.followers {
                self.exchange
                    .send(*follower, HubMail::Message(publication.clone()));
            }
        }
        let before = topic.log.bytes() as u64;
        topic.append(publication);
        let after = topic.log.bytes() as u64;
        self.counters.log_bytes = (self.counters.log_bytes + after).saturating_sub(before);
        self.has_fresh(turn, index);
        PublishOutcome::Accepted { epoch, seq }
    }

    /// Why a message cannot be taken.
    fn check(&mut self, index: TopicIndex, content: &Content) -> Option<PublishOutcome> {
        let Some(topic) = self.topics.get(index) else {
            return Some(BUSY);
        };
        if let Some(outcome) = check_kind(topic, content) {
            return Some(outcome);
        }
        let key = content.key.as_deref();
        match topic.log.check(content.change, key, content.payload.len()) {
            Ok(()) => {}
            Err(LogFull::Keys) => {
                let message = "the topic holds as many keys as it may; remove some, or raise \
                               keys_max of its rule";
                return Some(refused(ErrorCode::TooManyKeys, message));
            }
            Err(LogFull::Bytes) => {
                let message = "the state of the topic takes as much memory as it may; remove \
                               keys, or raise log_bytes_max of its rule";
                return Some(refused(ErrorCode::TooManyKeys, message));
            }
        }
        let budget = self.options.logs_bytes_max / self.exchange.shards().max(1);
        if self.counters.log_bytes as usize > budget {
            return Some(LOGS_FULL);
        }
        let mut followers = topic.followers.iter();
        let has_room = followers.all(|follower| self.exchange.has_room(*follower));
        (!has_room).then_some(BUSY)
    }

    /// A topic has a message that its live subscribers have not been sent.
    pub(crate) fn has_fresh(&mut self, turn: &mut HubTurn<'_>, index: TopicIndex) {
        let Some(topic) = self.topics.get_mut(index) else {
            return;
        };
        if !topic.is_fresh {
            topic.is_fresh = true;
            self.fresh.push(index);
        }
        if topic.fresh.len() >= FRESH_MAX {
            self.fan_out(turn, index);
        }
    }

    /// Tells a publisher what became of its message.
    pub(crate) fn tell_outcome(
        &mut self,
        turn: &mut HubTurn<'_>,
        id: ConnectionId,
        request_id: Option<u64>,
        topic: &str,
        outcome: PublishOutcome,
    ) {
        match outcome {
            PublishOutcome::Accepted { epoch, seq } => {
                if request_id.is_some() {
                    self.say(turn, id, |out| {
                        json::published(request_id, topic, epoch, seq, out);
                    });
                }
            }
            PublishOutcome::Refused { code, message } => {
                let error = CommandError::new(request_id, code, message).about(topic);
                self.refuse(turn, id, &error);
            }
        }
    }

    /// At the home: begins a topic that does not exist yet.
    pub(crate) fn create(
        &mut self,
        turn: &mut HubTurn<'_>,
        name: TopicName,
    ) -> Result<TopicIndex, ErrorCode> {
        let shards = self.exchange.shards();
        if self.counters.topics as usize >= self.options.topics_max.div_ceil(shards.max(1))
            && !self.drop_unused_topic()
        {
            return Err(ErrorCode::TooManyTopics);
        }
        let rule = self.options.rules.rule_for(name.as_str());
        let mut topic = Topic::new(name.clone(), self.shard, Presence::Here, rule);
        topic.epoch = self.shared.new_epoch();
        let foreign = self.foreign_patterns.iter();
        for (shard, _) in foreign.filter(|(_, pattern)| pattern.matches(name.as_str())) {
            if !topic.followers.contains(shard) {
                topic.followers.push(*shard);
            }
        }
        let index = self.topics.insert(topic);
        let alias = (index as usize * shards + usize::from(self.shard)) as u32;
        self.topics.set_alias(index, alias);
        self.counters.topics += 1;
        self.seed_followers(index);
        self.attach_patterns(turn, index);
        Ok(index)
    }

    /// Makes room for a topic: one that nobody uses and that was never published on goes.
    fn drop_unused_topic(&mut self) -> bool {
        let unused = self.topics.iter().find(|(_, topic)| {
            topic.home == self.shard
                && topic.log.head() == 0
                && topic.followers.is_empty()
                && topic.is_unwanted()
        });
        let Some(index) = unused.map(|(index, _)| index) else {
            return false;
        };
        self.topics.remove(index);
        self.counters.topics -= 1;
        true
    }
}

fn bad_topic(error: TopicError) -> PublishOutcome {
    refused(
        ErrorCode::BadTopic,
        match error {
            TopicError::WildcardInName => "a pattern cannot be published on; name one topic",
            _ => "the topic breaks the rules of a name; see section 1 of the protocol",
        },
    )
}

/// Whether the message suits the kind of the topic.
fn check_kind(topic: &Topic, content: &Content) -> Option<PublishOutcome> {
    let (code, message) = match (topic.log.kind(), content.change, &content.key) {
        (TopicKind::State, _, None) => (
            ErrorCode::BadKey,
            "the topic holds state, so its messages need a key; add one",
        ),
        (TopicKind::Events, Change::Remove, _) => (
            ErrorCode::BadRequest,
            "the topic holds events, which cannot be removed; leave out remove",
        ),
        (TopicKind::Events, Change::Event, _) => (
            ErrorCode::BadRequest,
            "every message of this topic is an event; leave out event",
        ),
        _ => return None,
    };
    Some(refused(code, message))
}

/// Whether bytes are one JSON value.
fn is_json(bytes: &[u8]) -> bool {
    serde_json::from_slice::<serde::de::IgnoredAny>(bytes).is_ok()
}
