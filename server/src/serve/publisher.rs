//! Publishing many messages in order: for the simulator and for the replay.
//!
//! It owns the door of its thread to the hub, what waits for an answer, and what has to be tried
//! again. Messages of one topic never overtake each other, though several are on their way at a
//! time: one that is refused as busy has those behind it refused too, and all are sent again.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use fanwire_server::hub::port::{HubPort, Order, PublishOutcome, PublishRequest, Reply};
use fanwire_server::hub::topic::TopicName;
use fanwire_server::hub::wire::ErrorCode;

/// Messages that may be on their way to the hub at one time.
const IN_FLIGHT_MAX: usize = 1024;
/// And of one topic: enough for the time of an answer, and not the whole queue of a core.
const IN_FLIGHT_OF_TOPIC_MAX: usize = 128;

/// The way to the hub, as far as this module needs it.
pub(crate) trait Port {
    fn publish(
        &mut self,
        request: PublishRequest,
        order: &Arc<Order>,
        reply: Reply<PublishOutcome>,
    ) -> Result<(), PublishRequest>;
    fn ring(&mut self);
}

impl Port for HubPort {
    fn publish(
        &mut self,
        request: PublishRequest,
        order: &Arc<Order>,
        reply: Reply<PublishOutcome>,
    ) -> Result<(), PublishRequest> {
        self.publish_in_order(request, order, reply)
    }

    fn ring(&mut self) {
        HubPort::ring(self);
    }
}

/// What became of the messages so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PublishCounts {
    /// Messages that have a `seq`.
    pub(crate) published: u64,
    /// Times that the hub could not take a message; each was tried again.
    pub(crate) busy: u64,
    /// Messages that the hub refused for good.
    pub(crate) refused: u64,
}

/// The messages of one topic that are not answered yet, in their order.
#[derive(Debug, Default)]
struct Lane {
    waiting: VecDeque<PublishRequest>,
    /// How many of them, from the first on, are on their way. Answers come in the same order.
    in_flight: usize,
    /// How many of these were refused as busy: they stay, and are sent again when all of those
    /// on their way are answered. None before them was, because the order had broken.
    refused: usize,
    order: Arc<Order>,
    /// Stands among those that have something to hand over.
    is_ready: bool,
}

impl Lane {
    fn can_send(&self) -> bool {
        self.refused == 0
            && self.in_flight < self.waiting.len()
            && self.in_flight < IN_FLIGHT_OF_TOPIC_MAX
    }
}

/// See the head of this file.
pub(crate) struct Publisher<P = HubPort> {
    port: P,
    lanes: HashMap<TopicName, Lane>,
    /// Topics whose next message can be handed over.
    ready: VecDeque<TopicName>,
    answers: mpsc::Receiver<(TopicName, PublishOutcome)>,
    answer: mpsc::Sender<(TopicName, PublishOutcome)>,
    in_flight: usize,
    unanswered: usize,
    unanswered_bytes: usize,
    counts: PublishCounts,
    /// The first refusal, for the log.
    first_refusal: Option<String>,
}

impl<P: Port> Publisher<P> {
    pub(crate) fn new(port: P) -> Publisher<P> {
        let (answer, answers) = mpsc::channel();
        Publisher {
            port,
            lanes: HashMap::new(),
            ready: VecDeque::new(),
            answers,
            answer,
            in_flight: 0,
            unanswered: 0,
            unanswered_bytes: 0,
            counts: PublishCounts::default(),
            first_refusal: None,
        }
    }

    /// Takes a message; it leaves with one of the next calls of [`Publisher::pump`].
    pub(crate) fn push(&mut self, request: PublishRequest) {
        self.unanswered += 1;
        self.unanswered_bytes += request.payload.len();
        let topic = request.topic.clone();
        let lane = self.lanes.entry(topic.clone()).or_default();
        lane.waiting.push_back(request);
        if !lane.is_ready && lane.can_send() {
            lane.is_ready = true;
            self.ready.push_back(topic);
        }
    }

    /// Sleeps until an answer has come, or for this long.
    pub(crate) fn wait_for_answer(&mut self, pause: Duration) {
        if let Ok((topic, outcome)) = self.answers.recv_timeout(pause) {
            self.take_answer(topic, &outcome);
        }
    }

    /// Takes the answers that have come and hands over what can be handed over. Never blocks.
    pub(crate) fn pump(&mut self) {
        while let Ok((topic, outcome)) = self.answers.try_recv() {
            self.take_answer(topic, &outcome);
        }
        let before = self.in_flight;
        while self.in_flight < IN_FLIGHT_MAX
            && let Some(topic) = self.ready.pop_front()
        {
            if self.hand_over(&topic) {
                continue;
            }
            // The queue of that core is full; it has been counted, and is tried with the next
            // call. Other cores may have room, but a full one is a reason to slow down.
            self.ready.push_front(topic);
            break;
        }
        if self.in_flight > before {
            self.port.ring();
        }
    }

    /// Hands over one message of a topic. False if the hub's queue is full.
    fn hand_over(&mut self, topic: &TopicName) -> bool {
        let Some(lane) = self.lanes.get_mut(topic) else {
            return true;
        };
        lane.is_ready = false;
        let next = lane.waiting.get(lane.in_flight);
        let Some(request) = next.filter(|_| lane.can_send()).cloned() else {
            return true;
        };
        let (answer, answered) = (self.answer.clone(), topic.clone());
        let reply = Box::new(move |outcome| {
            // Nobody listens any more once the program ends.
            let _ = answer.send((answered, outcome));
        });
        lane.is_ready = true;
        if self.port.publish(request, &lane.order, reply).is_err() {
            self.counts.busy += 1;
            return false;
        }
        lane.in_flight += 1;
        self.in_flight += 1;
        lane.is_ready = lane.can_send();
        if lane.is_ready {
            // Behind the other topics, so that none has to wait for all of this one.
            self.ready.push_back(topic.clone());
        }
        true
    }

    fn take_answer(&mut self, topic: TopicName, outcome: &PublishOutcome) {
        let Some(lane) = self.lanes.get_mut(&topic).filter(|lane| lane.in_flight > 0) else {
            return;
        };
        self.in_flight -= 1;
        lane.in_flight -= 1;
        if let PublishOutcome::Refused {
            code: ErrorCode::Busy,
            ..
        } = outcome
        {
            self.counts.busy += 1;
            lane.refused += 1;
        } else {
            // Refused ones stand in front only if the hub broke its word about the order.
            let size = lane
                .waiting
                .remove(lane.refused)
                .map(|one| one.payload.len());
            self.unanswered -= 1;
            self.unanswered_bytes -= size.unwrap_or(0);
            match outcome {
                PublishOutcome::Accepted { .. } => self.counts.published += 1,
                PublishOutcome::Refused { code, message } => {
                    self.counts.refused += 1;
                    self.first_refusal
                        .get_or_insert_with(|| format!("{topic}: {}: {message}", code.as_str()));
                }
            }
        }
        if lane.in_flight == 0 && lane.refused > 0 {
            lane.refused = 0;
            lane.order.mend();
        }
        if lane.waiting.is_empty() {
            self.lanes.remove(&topic);
        } else if !lane.is_ready && lane.can_send() {
            lane.is_ready = true;
            self.ready.push_back(topic);
        }
    }

    /// Messages that were taken and have no answer yet.
    pub(crate) fn unanswered(&self) -> usize {
        self.unanswered
    }

    /// Payload bytes of these messages.
    pub(crate) fn unanswered_bytes(&self) -> usize {
        self.unanswered_bytes
    }

    /// Messages of this topic that were taken and have no answer yet.
    pub(crate) fn unanswered_on(&self, topic: &TopicName) -> usize {
        self.lanes.get(topic).map_or(0, |lane| lane.waiting.len())
    }

    pub(crate) fn counts(&self) -> PublishCounts {
        self.counts
    }

    /// The first refusal since it was last asked for.
    pub(crate) fn take_refusal(&mut self) -> Option<String> {
        self.first_refusal.take()
    }
}

#[cfg(test)]
#[path = "publisher_tests.rs"]
mod tests;
