//! What a fan-out run is to do. Made by `fanout::cli`, read by everybody else.

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
}

impl Dialect {
    /// The word of the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Dialect::Raw => "raw",
            Dialect::FanwireJson => "fanwire-json",
            Dialect::FanwireBinary => "fanwire-binary",
            Dialect::Nats => "nats",
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
            Dialect::Raw | Dialect::Nats => None,
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
    /// Tells the messages of this run from those of another one.
    pub run: u32,
}
