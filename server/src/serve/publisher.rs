//! Publishing many messages in order: for the simulator and for the replay.
//!
//! It owns the door of its thread to the hub, what waits for an answer, and what has to be tried
//! again. Messages of one topic never overtake each other: the next one leaves when the one before
//! it was answered, so that a `busy` can be tried again in its place.

use std::collections::{HashMap, VecDeque};
use std::sync::mpsc;
use std::time::Duration;

use fanwire_server::hub::port::{HubPort, PublishOutcome, PublishRequest};
use fanwire_server::hub::topic::TopicName;
use fanwire_server::hub::wire::ErrorCode;

/// Messages that may be on their way to the hub at one time.
const IN_FLIGHT_MAX: usize = 1024;

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

/// The messages of one topic that are not answered yet.
#[derive(Debug)]
struct Lane {
    /// The first was handed over if `is_in_flight`.
    waiting: VecDeque<PublishRequest>,
    is_in_flight: bool,
}

/// See the head of this file.
pub(crate) struct Publisher {
    port: HubPort,
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

impl Publisher {
    pub(crate) fn new(port: HubPort) -> Publisher {
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
        if let Some(lane) = self.lanes.get_mut(&request.topic) {
            lane.waiting.push_back(request);
            return;
        }
        let topic = request.topic.clone();
        self.ready.push_back(topic.clone());
        let lane = Lane {
            waiting: VecDeque::from([request]),
            is_in_flight: false,
        };
        self.lanes.insert(topic, lane);
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
        let mut handed_over = 0;
        while self.in_flight < IN_FLIGHT_MAX
            && let Some(topic) = self.ready.pop_front()
        {
            if !self.hand_over(&topic) {
                // The queue of that core is full; it has been counted, and is tried with the next
                // call. Other cores may have room, but a full one is a reason to slow down.
                self.ready.push_front(topic);
                break;
            }
            handed_over += 1;
        }
        if handed_over > 0 {
            self.port.ring();
        }
    }

    /// False if the hub's queue is full.
    fn hand_over(&mut self, topic: &TopicName) -> bool {
        let Some(lane) = self.lanes.get_mut(topic) else {
            return true;
        };
        let Some(request) = lane.waiting.front().cloned() else {
            return true;
        };
        let (answer, answered) = (self.answer.clone(), topic.clone());
        let reply = Box::new(move |outcome| {
            // Nobody listens any more once the program ends.
            let _ = answer.send((answered, outcome));
        });
        if self.port.publish(request, Some(reply)).is_err() {
            self.counts.busy += 1;
            return false;
        }
        lane.is_in_flight = true;
        self.in_flight += 1;
        true
    }

    fn take_answer(&mut self, topic: TopicName, outcome: &PublishOutcome) {
        let Some(lane) = self.lanes.get_mut(&topic) else {
            return;
        };
        if !std::mem::replace(&mut lane.is_in_flight, false) {
            return;
        }
        self.in_flight -= 1;
        let is_answered = match outcome {
            PublishOutcome::Accepted { .. } => {
                self.counts.published += 1;
                true
            }
            PublishOutcome::Refused {
                code: ErrorCode::Busy,
                ..
            } => {
                self.counts.busy += 1;
                false
            }
            PublishOutcome::Refused { code, message } => {
                self.counts.refused += 1;
                self.first_refusal
                    .get_or_insert_with(|| format!("{topic}: {}: {message}", code.as_str()));
                true
            }
        };
        if is_answered {
            let size = lane
                .waiting
                .pop_front()
                .map(|request| request.payload.len());
            self.unanswered -= 1;
            self.unanswered_bytes -= size.unwrap_or(0);
        }
        if lane.waiting.is_empty() {
            self.lanes.remove(&topic);
        } else {
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

    /// Whether a message of this topic has no answer yet.
    pub(crate) fn is_behind(&self, topic: &TopicName) -> bool {
        self.lanes.contains_key(topic)
    }

    pub(crate) fn counts(&self) -> PublishCounts {
        self.counts
    }

    /// The first refusal since it was last asked for.
    pub(crate) fn take_refusal(&mut self) -> Option<String> {
        self.first_refusal.take()
    }
}
