//! What a fan-out run is to do. Made by `fanout::cli`, read by everybody else.

use std::net::SocketAddr;

use crate::connect::target::Target;
use crate::connect::tls::TlsClient;
use crate::fanout::dialect::custom::{Pattern, Publish, Sentence};
use crate::fanout::field::{Field, StampClock, StampField};

/// How the server is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// One topic list per connection, named by the path; bare payloads both ways.
    Raw,
    /// `fanwire.v1.json` of docs/protocol.md.
    FanwireJson,
    /// `fanwire.v1.binary` of docs/protocol.md.
    FanwireBinary,
    /// The client protocol of NATS, in binary messages.
    Nats,
    /// Any other server, in the words of [`Custom`].
    Custom,
}

impl Dialect {
    /// The word of the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Dialect::Raw => "raw",
            Dialect::FanwireJson => "fanwire-json",
            Dialect::FanwireBinary => "fanwire-binary",
            Dialect::Nats => "nats",
            Dialect::Custom => "custom",
        }
    }

    /// The server numbers the messages of a topic, acknowledges what is published, and announces
    /// what it leaves out.
    pub fn has_sequences(self) -> bool {
        matches!(self, Dialect::FanwireJson | Dialect::FanwireBinary)
    }

    /// The subprotocol to offer.
    pub fn subprotocol(self) -> Option<&'static str> {
        match self {
            Dialect::Raw | Dialect::Nats | Dialect::Custom => None,
            Dialect::FanwireJson => Some("fanwire.v1.json"),
            Dialect::FanwireBinary => Some("fanwire.v1.binary"),
        }
    }
}

/// What payloads look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Any bytes.
    Binary,
    /// Printable ASCII that is the same inside a JSON string.
    Text,
    /// A JSON document that compresses as market data does.
    Json,
}

impl Form {
    /// The word of the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Form::Binary => "binary",
            Form::Text => "text",
            Form::Json => "json",
        }
    }
}

/// Kind of the topics, as the server's configuration decides it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Every message counts.
    Events,
    /// A message replaces what its key had before.
    State {
        /// Keys of each topic.
        keys: u32,
    },
}

/// Readers that take so many bytes a second and no more.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Slow {
    /// Share of the subscribers, 0 to 1.
    pub share: f64,
    /// Bytes a second, each.
    pub bytes_per_second: f64,
}

/// Readers that stop when measuring begins.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stall {
    /// Share of the subscribers, 0 to 1.
    pub share: f64,
    /// For how long; `None`: for good.
    pub for_ns: Option<u64>,
}

/// Subscribers that leave and come back.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Churn {
    /// Departures a second, all threads together.
    pub per_second: f64,
    /// Share of the subscribers that takes part.
    pub share: f64,
}

/// Where publishers connect to when it is not where subscribers do.
#[derive(Clone, Debug)]
pub struct Elsewhere {
    /// The URL.
    pub target: Target,
    /// The address that it resolved to.
    pub address: SocketAddr,
    /// With `wss://`: how the server there is believed.
    pub tls: Option<TlsClient>,
}

/// What is said to a server that knows nothing of us, and how its answers are recognised.
#[derive(Clone, Debug, Default)]
pub struct Custom {
    /// What every connection says first.
    pub first_messages: Vec<Sentence>,
    /// What subscribers say next.
    pub subscribe: Vec<Sentence>,
    /// How an answer is recognised that confirms a subscription; without it subscriptions count as
    /// in force after [`Options::settle_ns`].
    pub subscribed_when: Option<Pattern>,
    /// What publishers send; without it the bare payload.
    pub publish: Option<Publish>,
    /// How the answer to a publisher's message is recognised.
    pub acknowledged_when: Option<Pattern>,
    /// Where publishers connect to.
    pub elsewhere: Option<Elsewhere>,
    /// Request target of publishers, with `{topic}`; empty: that of the URL.
    pub publish_path: String,
    /// Messages that are neither ours nor expected are errors.
    pub is_strict: bool,
}

/// A feed that the server paces by itself: nobody of ours publishes.
#[derive(Clone, Debug)]
pub struct Feed {
    /// Where a message says when it was sent.
    pub stamp: Option<StampField>,
    /// By which clock.
    pub clock: StampClock,
    /// Where its number is.
    pub sequence: Option<Field>,
    /// What has numbers of its own.
    pub key: Option<Field>,
}

/// What `fanout` is told beyond what every command is told.
#[derive(Clone, Debug)]
pub struct Options {
    /// How the server is spoken to.
    pub dialect: Dialect,
    /// Publishers.
    pub publishers: u32,
    /// Topics.
    pub topics: u32,
    /// Name of a topic, with `{topic}` for its number.
    pub topic_name: String,
    /// Topics of each subscriber.
    pub topics_per_subscriber: u32,
    /// Exponent of the popularity of topics; 0: all alike.
    pub zipf: f64,
    /// Messages published back to back on each tick.
    pub burst: u32,
    /// What payloads look like.
    pub form: Form,
    /// Kind of the topics.
    pub kind: Kind,
    /// Raw: request target of a subscriber.
    pub subscribe_path: String,
    /// Raw: request target of a publisher.
    pub publish_path: String,
    /// Slow readers.
    pub slow: Option<Slow>,
    /// Stalled readers.
    pub stall: Option<Stall>,
    /// Subscribers that leave and come back.
    pub churn: Option<Churn>,
    /// Fanwire dialects: at most so many messages a second of each topic; 0: no cap.
    pub max_rate: u32,
    /// Fanwire dialects, state topics: begin with the state as it is.
    pub wants_snapshot: bool,
    /// Tells the messages of this run from those of another one.
    pub run: u32,
    /// Custom dialect: what is said.
    pub custom: Custom,
    /// Readers only: what is known of the messages.
    pub feed: Option<Feed>,
    /// How long after the last subscription was asked for it counts as in force, where nothing
    /// confirms it.
    pub settle_ns: u64,
}

impl Options {
    /// The server answers what is published.
    pub fn has_acknowledgements(&self) -> bool {
        self.dialect.has_sequences() || self.custom.acknowledged_when.is_some()
    }

    /// A copy of a probe shows that a subscription is in force.
    pub fn has_probes(&self) -> bool {
        self.dialect == Dialect::Raw && self.feed.is_none()
    }

    /// Nothing that the server says confirms a subscription: time has to.
    pub fn confirms_by_time(&self) -> bool {
        match self.dialect {
            Dialect::Custom => self.custom.subscribed_when.is_none(),
            Dialect::Raw => self.feed.is_some(),
            _ => false,
        }
    }
}
