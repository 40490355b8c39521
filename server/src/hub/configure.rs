//! Rate caps of subscriptions, which can change while messages flow.
//!
//! It owns what a cap means for a subscriber's standing; `catch_up` keeps to it.

use crate::context::ConnectionId;

use super::node::{Hub, HubTurn};
use super::session::TopicIndex;
use super::topic::{Filter, TopicName};
use super::topics::Pace;
use super::wire::{CommandError, json};

impl Hub {
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

    /// Puts a subscription under a rate cap, changes the cap, or lifts it with 0.
    pub(crate) fn set_pace(
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

pub(crate) fn new_pace(rate: u32) -> Box<Pace> {
    Box::new(Pace {
        rate,
        next_ns: 0,
        is_scheduled: false,
    })
}

/// The lower of what was asked for and what the rule allows; 0 asks for no cap.
pub(crate) fn effective_rate(asked: Option<u32>, allowed: Option<u32>) -> Option<u32> {
    let asked = asked.filter(|rate| *rate > 0);
    let allowed = allowed.filter(|rate| *rate > 0);
    match (asked, allowed) {
        (Some(asked), Some(allowed)) => Some(asked.min(allowed)),
        (asked, allowed) => asked.or(allowed),
    }
}
