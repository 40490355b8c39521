//! The hub's door for threads that are no shard: the admin listener, the simulator, a replay.
//!
//! It owns what they can say and ask. Queues are bounded, and a full one is told at once.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;

use crate::counters::ShardCounters;
use crate::handler::ShardId;
use crate::lanes::Lanes;

use super::counters::HubCounters;
use super::mail::{Forwarded, HubMail, Origin};
use super::publication::{Change, Content, PayloadKind};
use super::rules::TopicKind;
use super::topic::TopicName;
use super::wire::ErrorCode;

/// Called once with the answer, on the thread of a shard: it must not block.
pub type Reply<T> = Box<dyn FnOnce(T) + Send>;

/// A message to publish.
#[derive(Clone, Debug)]
pub struct PublishRequest {
    /// The topic.
    pub topic: TopicName,
    /// The key; needed on state topics.
    pub key: Option<Box<[u8]>>,
    /// What the message does to its key.
    pub change: Change,
    /// The payload; empty for a removal. What says that it is JSON must be.
    pub payload: Bytes,
    /// What the payload is.
    pub payload_kind: PayloadKind,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishOutcome {
    /// It is in the topic's log.
    Accepted {
        /// The topic's epoch.
        epoch: u64,
        /// Its number.
        seq: u64,
    },
    /// It is not.
    Refused {
        /// Why, as a stable word.
        code: ErrorCode,
        /// Why, and what to do.
        message: &'static str,
    },
}

/// Keeps several messages of one topic in their order while they are on their way.
///
/// It breaks when one of them is refused as busy, and from then on the topic's home refuses the ones behind
/// it as busy too. Once all are answered, their sender mends it and sends what was refused again.
#[derive(Debug, Default)]
pub struct Order {
    is_broken: AtomicBool,
}

impl Order {
    /// Whether one of the messages was refused as busy.
    pub fn is_broken(&self) -> bool {
        self.is_broken.load(Ordering::Acquire)
    }

    /// To be called when no message of it is on its way.
    pub fn mend(&self) {
        self.is_broken.store(false, Ordering::Release);
    }

    /// What the home of the topic does when it refuses one of the messages as busy.
    pub fn break_off(&self) {
        self.is_broken.store(true, Ordering::Release);
    }
}

/// A shard's queue is full. Nothing was asked; try again later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy;

/// What outside threads ask a shard.
pub enum Question {
    /// The topics that the shard is the home of.
    Topics {
        /// Only those whose name begins with this.
        prefix: String,
        /// At most so many.
        limit: usize,
        /// Where the answer goes.
        reply: Reply<Vec<TopicInfo>>,
    },
    /// The connections that are furthest behind.
    Slowest {
        /// At most so many.
        limit: usize,
        /// Where the answer goes.
        reply: Reply<Vec<SlowInfo>>,
    },
    /// The counters.
    Counters(Reply<HubCounters>),
}

/// One topic, as its home sees it.
#[derive(Clone, Debug)]
pub struct TopicInfo {
    /// Its name.
    pub topic: String,
    /// Its kind.
    pub kind: TopicKind,
    /// Its epoch.
    pub epoch: u64,
    /// Its newest message.
    pub head: u64,
    /// Messages in its log.
    pub log_messages: usize,
    /// Memory of its log.
    pub log_bytes: usize,
    /// Keys that have state.
    pub keys: usize,
    /// Subscribers on its home shard.
    pub subscribers: u64,
    /// Other shards that follow it.
    pub following_shards: usize,
    /// The shard that gives out its numbers.
    pub home: ShardId,
}

/// One connection that is behind.
#[derive(Clone, Copy, Debug)]
pub struct SlowInfo {
    /// Where it comes from.
    pub peer: SocketAddr,
    /// The shard it is on.
    pub shard: ShardId,
    /// Topics of which it has not been sent everything.
    pub topics_behind: u32,
    /// Messages that it has not been sent.
    pub messages_behind: u64,
    /// Age of the oldest message that it has not been sent.
    pub staleness_ms: u64,
    /// Bytes that its socket has not taken.
    pub unsent_bytes: usize,
}

/// One thread's door to all shards.
#[derive(Debug)]
pub struct HubPort {
    lanes: Lanes<HubMail>,
}

/// The shard that gives out the numbers of a topic.
pub(crate) fn home_of(topic: &TopicName, shards: usize) -> ShardId {
    // Every thread must come to the same answer, so the hasher has no random key.
    let hash = BuildHasherDefault::<DefaultHasher>::new().hash_one(topic.as_str());
    (hash % shards.max(1) as u64) as ShardId
}

impl HubPort {
    pub(crate) fn new(lanes: Lanes<HubMail>) -> HubPort {
        HubPort { lanes }
    }

    /// How many shards there are.
    pub fn shards(&self) -> usize {
        self.lanes.shards()
    }

    /// Puts a message into the queue of its topic's home. It is seen once [`HubPort::ring`] was
    /// called. `reply` is told what becomes of it.
    ///
    /// # Errors
    /// The queue is full: the request is given back, and nothing was published.
    pub fn publish(
        &mut self,
        request: PublishRequest,
        reply: Option<Reply<PublishOutcome>>,
    ) -> Result<(), PublishRequest> {
        self.put(request, reply, None)
    }

    /// The same for one of several messages of a topic that must not overtake each other, though
    /// they are sent without waiting for answers: see [`Order`].
    ///
    /// # Errors
    /// As [`HubPort::publish`].
    pub fn publish_in_order(
        &mut self,
        request: PublishRequest,
        order: &Arc<Order>,
        reply: Reply<PublishOutcome>,
    ) -> Result<(), PublishRequest> {
        self.put(request, Some(reply), Some(order.clone()))
    }

    fn put(
        &mut self,
        request: PublishRequest,
        reply: Option<Reply<PublishOutcome>>,
        order: Option<Arc<Order>>,
    ) -> Result<(), PublishRequest> {
        let home = home_of(&request.topic, self.lanes.shards());
        let Some(lane) = self.lanes.to(home).filter(|lane| lane.free() > 0) else {
            return Err(request);
        };
        let PublishRequest {
            topic,
            key,
            change,
            payload,
            payload_kind,
        } = request;
        let content = Content {
            change,
            key,
            payload,
            payload_kind,
        };
        let forwarded = Forwarded {
            topic,
            content,
            origin: Origin::Outside(reply, order),
        };
        // There is room: only this port fills the queue.
        let _ = lane.push(HubMail::Publish(Box::new(forwarded)));
        Ok(())
    }

    /// Wakes every shard that sleeps and has something in its queue.
    pub fn ring(&mut self) {
        self.lanes.ring();
    }

    fn ask(&mut self, shard: ShardId, question: Question) -> Result<(), Busy> {
        let lane = self.lanes.to(shard).ok_or(Busy)?;
        let asked = lane.push(HubMail::Ask(question));
        lane.ring();
        asked.map_err(|_| Busy)
    }

    /// Asks a shard for the topics that it is the home of.
    ///
    /// # Errors
    /// [`Busy`], or there is no such shard.
    pub fn topics(
        &mut self,
        shard: ShardId,
        prefix: String,
        limit: usize,
        reply: Reply<Vec<TopicInfo>>,
    ) -> Result<(), Busy> {
        let question = Question::Topics {
            prefix,
            limit,
            reply,
        };
        self.ask(shard, question)
    }

    /// Asks a shard which of its connections are furthest behind.
    ///
    /// # Errors
    /// As [`HubPort::topics`].
    pub fn slowest(
        &mut self,
        shard: ShardId,
        limit: usize,
        reply: Reply<Vec<SlowInfo>>,
    ) -> Result<(), Busy> {
        self.ask(shard, Question::Slowest { limit, reply })
    }

    /// Asks a shard for the counters of its part of the hub.
    ///
    /// # Errors
    /// As [`HubPort::topics`].
    pub fn counters(&mut self, shard: ShardId, reply: Reply<HubCounters>) -> Result<(), Busy> {
        self.ask(shard, Question::Counters(reply))
    }

    /// Asks a shard for the counters of its connections.
    ///
    /// # Errors
    /// As [`HubPort::topics`].
    pub fn shard_counters(
        &mut self,
        shard: ShardId,
        reply: Reply<ShardCounters>,
    ) -> Result<(), Busy> {
        let lane = self.lanes.to(shard).ok_or(Busy)?;
        lane.ask_counters(reply).then_some(()).ok_or(Busy)
    }
}
