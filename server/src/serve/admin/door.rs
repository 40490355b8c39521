//! The one owner of the administration thread's door to the hub.
//!
//! It owns the queue of questions, and the patience with a core that does not answer. Questions come
//! from the requests of this thread; answers come from the threads of the cores, which never wait.

use std::time::Duration;

use fanwire_server::hub::port::{
    HubCounters, HubPort, PublishOutcome, PublishRequest, SlowInfo, TopicInfo,
};
use fanwire_server::hub::wire::command::ErrorCode;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::time::{Instant, sleep, timeout_at};

/// Questions that may wait for the door.
const QUESTIONS_MAX: usize = 64;
/// How long all cores together may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);
/// How long a batch waits for room in a core's queue before the rest of it is refused as busy.
const ROOM_LIMIT: Duration = Duration::from_millis(100);
/// Pause between two tries.
const ROOM_RETRY: Duration = Duration::from_millis(1);

/// A message's place in its batch and what became of it.
pub(super) type Answer = (usize, PublishOutcome);

enum Question {
    Publish(Vec<PublishRequest>, UnboundedSender<Answer>),
    Topics(String, usize, UnboundedSender<Vec<TopicInfo>>),
    Slowest(usize, UnboundedSender<Vec<SlowInfo>>),
    Counters(UnboundedSender<HubCounters>),
}

/// The way to the owner. Cheap to clone.
#[derive(Clone)]
pub(super) struct Door {
    questions: mpsc::Sender<Question>,
    cores: usize,
}

/// The answers of the cores, and whether all came in time.
pub(super) struct FromCores<T> {
    pub(super) answers: Vec<T>,
    pub(super) are_all: bool,
}

/// Starts the task that owns the port.
pub(super) fn open(port: HubPort) -> Door {
    let (sender, receiver) = mpsc::channel(QUESTIONS_MAX);
    let cores = port.cores();
    tokio::spawn(own(port, receiver));
    Door {
        questions: sender,
        cores,
    }
}

impl Door {
    /// Publishes in order. What has no answer in time is told as busy: it may still be published.
    pub(super) async fn publish(&self, requests: Vec<PublishRequest>) -> Vec<PublishOutcome> {
        let until = Instant::now() + ANSWER_LIMIT + ROOM_LIMIT;
        let count = requests.len();
        let no_answer = PublishOutcome::Refused {
            code: ErrorCode::Busy,
            message: "the hub did not answer in time; look before you send it again, because it \
                      may have been published",
        };
        let mut outcomes = vec![no_answer; count];
        let (sender, mut receiver) = mpsc::unbounded_channel();
        let question = Question::Publish(requests, sender);
        if timeout_at(until, self.questions.send(question))
            .await
            .is_err()
        {
            return outcomes;
        }
        let mut answered = 0;
        while answered < count
            && let Ok(Some((index, outcome))) = timeout_at(until, receiver.recv()).await
        {
            answered += 1;
            if let Some(place) = outcomes.get_mut(index) {
                *place = outcome;
            }
        }
        outcomes
    }

    pub(super) async fn topics(&self, prefix: String, limit: usize) -> FromCores<Vec<TopicInfo>> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.ask(Question::Topics(prefix, limit, sender), receiver)
            .await
    }

    pub(super) async fn slowest(&self, limit: usize) -> FromCores<Vec<SlowInfo>> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.ask(Question::Slowest(limit, sender), receiver).await
    }

    pub(super) async fn counters(&self) -> FromCores<HubCounters> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.ask(Question::Counters(sender), receiver).await
    }

    async fn ask<T>(&self, question: Question, mut receiver: UnboundedReceiver<T>) -> FromCores<T> {
        let until = Instant::now() + ANSWER_LIMIT;
        let mut answers = Vec::with_capacity(self.cores);
        if let Ok(Ok(())) = timeout_at(until, self.questions.send(question)).await {
            while answers.len() < self.cores
                && let Ok(Some(answer)) = timeout_at(until, receiver.recv()).await
            {
                answers.push(answer);
            }
        }
        FromCores {
            are_all: answers.len() == self.cores,
            answers,
        }
    }
}

/// Owns the port until the thread ends.
async fn own(mut port: HubPort, mut questions: mpsc::Receiver<Question>) {
    while let Some(question) = questions.recv().await {
        match question {
            Question::Publish(requests, answer) => publish(&mut port, requests, &answer).await,
            // A full queue drops the question and with it the sender: whoever asked sees that
            // answers are missing.
            Question::Topics(prefix, limit, answer) => {
                let reply = move |topics| drop(answer.send(topics));
                drop(port.topics(prefix, limit, Box::new(reply)));
            }
            Question::Slowest(limit, answer) => {
                let reply = move |slowest| drop(answer.send(slowest));
                drop(port.slowest(limit, Box::new(reply)));
            }
            Question::Counters(answer) => {
                let reply = move |counters| drop(answer.send(counters));
                drop(port.counters(Box::new(reply)));
            }
        }
        port.ring();
    }
}

/// Hands a batch over. When a queue stays full the rest is refused, so that what was accepted is a
/// beginning of the batch.
async fn publish(
    port: &mut HubPort,
    requests: Vec<PublishRequest>,
    answer: &UnboundedSender<Answer>,
) {
    let until = Instant::now() + ROOM_LIMIT;
    let mut is_full = false;
    for (index, request) in requests.into_iter().enumerate() {
        let mut waiting = Some(request);
        while let Some(request) = waiting.take() {
            let sender = answer.clone();
            let reply = Box::new(move |outcome| drop(sender.send((index, outcome))));
            if is_full {
                reply(PublishOutcome::Refused {
                    code: ErrorCode::Busy,
                    message: "the hub's queue is full; try again later",
                });
            } else if let Err(request) = port.publish(request, Some(reply)) {
                is_full = Instant::now() >= until;
                waiting = Some(request);
                port.ring();
                sleep(ROOM_RETRY).await;
            }
        }
    }
}
