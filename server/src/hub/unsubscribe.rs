//! How subscriptions end: on request, or with their connection.
//!
//! It owns the way back from `subscribe`: nothing of a subscription stays on either side of the
//! link between a topic and a connection.

use crate::context::ConnectionId;

use super::node::{Hub, HubTurn};
use super::session::TopicIndex;
use super::topic::{Filter, TopicName};
use super::topics::Moved;
use super::wire::{CommandError, ErrorCode, json};

impl Hub {
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

    pub(crate) fn not_subscribed(
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

    /// Ends one subscription.
    pub(crate) fn detach(&mut self, turn: &mut HubTurn<'_>, index: TopicIndex, id: ConnectionId) {
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
}
