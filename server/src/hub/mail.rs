//! What the shards of a hub and its outside threads tell each other.
//!
//! It owns the vocabulary. It must not know what anybody does about it.

use std::fmt;
use std::sync::Arc;

use crate::context::ConnectionId;
use crate::handler::ShardId;

use super::log::LogSeed;
use super::port::{Order, PublishOutcome, Question, Reply};
use super::publication::{Content, Publication};
use super::topic::{Pattern, TopicName};
use super::wire::ErrorCode;

/// One piece of mail to a shard.
pub enum HubMail {
    /// To the home of a topic: a message for it.
    Publish(Box<Forwarded>),
    /// To the home of a topic: this shard has subscribers and wants to follow it.
    Join {
        /// Who wants to follow.
        from: ShardId,
        /// The topic.
        topic: TopicName,
    },
    /// To the home of a topic: this shard has no subscribers left.
    Leave {
        /// Who stops following.
        from: ShardId,
        /// The topic.
        topic: TopicName,
    },
    /// To every home: this shard follows every topic that matches, those of the future too.
    JoinPattern {
        /// Who wants to follow.
        from: ShardId,
        /// What.
        pattern: Pattern,
    },
    /// To every home: the pattern has no subscribers left on this shard.
    LeavePattern {
        /// Who.
        from: ShardId,
        /// What.
        pattern: Pattern,
    },
    /// From the home: everything there is of a topic. Its messages follow, in order.
    Seed(Box<Seed>),
    /// From the home: the topic cannot be followed.
    Refused {
        /// The topic.
        topic: TopicName,
        /// Why.
        code: ErrorCode,
    },
    /// From the home: the next message of a topic that is followed.
    Message(Arc<Publication>),
    /// From the home: nothing more comes of this topic; the answer to `Leave`.
    Left {
        /// The topic.
        topic: TopicName,
    },
    /// From the home, to the shard of the publisher.
    Outcome {
        /// The publisher.
        id: ConnectionId,
        /// The `id` of its request; none if it wants to hear of errors only.
        request_id: Option<u64>,
        /// The topic.
        topic: TopicName,
        /// What became of it.
        outcome: PublishOutcome,
    },
    /// From an outside thread.
    Ask(Question),
}

impl fmt::Debug for HubMail {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("HubMail")
    }
}

/// A message on its way to the home of its topic.
pub struct Forwarded {
    /// The topic.
    pub topic: TopicName,
    /// The message.
    pub content: Content,
    /// Who wants to know what becomes of it.
    pub origin: Origin,
}

/// Where a message came from.
pub enum Origin {
    /// A connection of a shard.
    Connection {
        /// The shard.
        shard: ShardId,
        /// The connection.
        id: ConnectionId,
        /// The `id` of its request.
        request_id: Option<u64>,
    },
    /// An outside thread, which may send it as one of several in an order.
    Outside(Option<Reply<PublishOutcome>>, Option<Arc<Order>>),
}

/// A topic as it was at one moment.
pub struct Seed {
    /// Its name.
    pub topic: TopicName,
    /// The number that stands for it in the binary format.
    pub alias: u32,
    /// Its epoch.
    pub epoch: u64,
    /// Its messages.
    pub log: LogSeed,
}
