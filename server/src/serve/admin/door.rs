//! The one owner of the administration thread's door to the hub.
//!
//! It owns the queue of questions, and the patience with a core that does not answer. Questions come
//! from the requests of this thread; answers come from the threads of the cores, which never wait.

use std::sync::Arc;
use std::time::Duration;

use fanwire_server::hub::counters::HubCounters;
use fanwire_server::hub::port::{
    HubPort, Order, PublishOutcome, PublishRequest, Reply, SlowInfo, TopicInfo,
};
use fanwire_server::hub::wire::ErrorCode;
use fanwire_server::{ShardCounters, ShardId};
use tokio::sync::mpsc::{self, UnboundedSender};
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

/// Where the answers of the shards go.
type Answers<T> = UnboundedSender<(ShardId, T)>;

enum Question {
    Publish(Vec<PublishRequest>, UnboundedSender<Answer>),
    Topics(String, usize, Answers<Vec<TopicInfo>>),
    Slowest(usize, Answers<Vec<SlowInfo>>),
    Counters(Answers<HubCounters>),
    ShardCounters(Answers<ShardCounters>),
}

/// The way to the owner. Cheap to clone.
#[derive(Clone)]
pub(super) struct Door {
    questions: mpsc::Sender<Question>,
    shards: usize,
}

/// The answers of the shards in their order, and whether all came in time.
pub(super) struct FromShards<T> {
    pub(super) answers: Vec<T>,
    pub(super) are_all: bool,
}

/// Starts the task that owns the port.
pub(super) fn open(port: HubPort) -> Door {
    let (sender, receiver) = mpsc::channel(QUESTIONS_MAX);
    let shards = port.shards();
    tokio::spawn(own(port, receiver));
    Door {
        questions: sender,
        shards,
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

    pub(super) async fn topics(&self, prefix: String, limit: usize) -> FromShards<Vec<TopicInfo>> {
        let question = |answers| Question::Topics(prefix, limit, answers);
        self.ask(question).await.without_numbers()
    }

    pub(super) async fn slowest(&self, limit: usize) -> FromShards<Vec<SlowInfo>> {
        let question = |answers| Question::Slowest(limit, answers);
        self.ask(question).await.without_numbers()
    }

    pub(super) async fn counters(&self) -> FromShards<(ShardId, HubCounters)> {
        self.ask(Question::Counters).await
    }

    pub(super) async fn shard_counters(&self) -> FromShards<(ShardId, ShardCounters)> {
        self.ask(Question::ShardCounters).await
    }

    async fn ask<T>(
        &self,
        question: impl FnOnce(Answers<T>) -> Question,
    ) -> FromShards<(ShardId, T)> {
        let until = Instant::now() + ANSWER_LIMIT;
        let (sender, mut receiver) = mpsc::unbounded_channel();
        let mut answers = Vec::with_capacity(self.shards);
        let asked = timeout_at(until, self.questions.send(question(sender))).await;
        if let Ok(Ok(())) = asked {
            while answers.len() < self.shards
                && let Ok(Some(answer)) = timeout_at(until, receiver.recv()).await
            {
                answers.push(answer);
            }
        }
        answers.sort_by_key(|(shard, _)| *shard);
        FromShards {
            are_all: answers.len() == self.shards,
            answers,
        }
    }
}

impl<T> FromShards<(ShardId, T)> {
    fn without_numbers(self) -> FromShards<T> {
        FromShards {
            answers: self.answers.into_iter().map(|(_, answer)| answer).collect(),
            are_all: self.are_all,
        }
    }
}

/// Sends a shard's answer on. Whoever asked may have lost patience.
fn reply<T: Send + 'static>(shard: ShardId, answers: &Answers<T>) -> Reply<T> {
    let answers = answers.clone();
    Box::new(move |answer| drop(answers.send((shard, answer))))
}

/// Owns the port until the thread ends.
async fn own(mut port: HubPort, mut questions: mpsc::Receiver<Question>) {
    while let Some(question) = questions.recv().await {
        if let Question::Publish(requests, answer) = question {
            publish(&mut port, requests, &answer).await;
            port.ring();
            continue;
        }
        for shard in 0..port.shards() as ShardId {
            // A full queue drops the reply: whoever asked sees that an answer is missing.
            let _ = match &question {
                Question::Publish(..) => Ok(()),
                Question::Topics(prefix, limit, answers) => {
                    port.topics(shard, prefix.clone(), *limit, reply(shard, answers))
                }
                Question::Slowest(limit, answers) => {
                    port.slowest(shard, *limit, reply(shard, answers))
                }
                Question::Counters(answers) => port.counters(shard, reply(shard, answers)),
                Question::ShardCounters(answers) => {
                    port.shard_counters(shard, reply(shard, answers))
                }
            };
        }
    }
}

/// Hands a batch over. When a queue stays full the rest is refused, and the hub refuses what is behind
/// a busy refusal too: whoever sends all that was refused as busy again keeps the order of each topic.
async fn publish(
    port: &mut HubPort,
    requests: Vec<PublishRequest>,
    answer: &UnboundedSender<Answer>,
) {
    let until = Instant::now() + ROOM_LIMIT;
    let order = Arc::new(Order::default());
    let mut is_full = false;
    for (index, request) in requests.into_iter().enumerate() {
        let mut waiting = Some(request);
        while let Some(request) = waiting.take() {
            let sender = answer.clone();
            let reply = Box::new(move |outcome| {
                let _ = sender.send((index, outcome));
            });
            if is_full {
                reply(PublishOutcome::Refused {
                    code: ErrorCode::Busy,
                    message: "the hub's queue is full; try again later",
                });
            } else if let Err(request) = port.publish_in_order(request, &order, reply) {
                is_full = Instant::now() >= until;
                waiting = Some(request);
                port.ring();
                sleep(ROOM_RETRY).await;
            }
        }
    }
}
