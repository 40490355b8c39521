//! The options of `fanout` for servers that know nothing of us, and for feeds that a server paces by
//! itself; and what is said when they make no sense.

use clap::{Args, ValueEnum};

use crate::config::Config;
use crate::connect::target::Target;
use crate::connect::tls::{TlsClient, TlsOptions};
use crate::fanout::dialect::custom::{Pattern, Publish, Sentence};
use crate::fanout::field::{Field, StampClock, StampField, Unit};
use crate::fanout::options::{Custom, Elsewhere, Feed};
use crate::quantity::parse_duration_ns;

/// Shown below `fanout --help`.
pub const EXAMPLES: &str = "\
Examples:
  One publisher, 5,000 subscribers of a fanwire server (or any that takes topics from the path):
    fanwire-loadgen fanout ws://127.0.0.1:9001 -c 5k -R 20 -s 100
  A server that knows nothing of fanwire; without --publish it is sent the bare payload:
    fanwire-loadgen fanout ws://127.0.0.1:9001/md --subscribers 10k --publishers 1 -R 1k -s 200 \\
      --subscribe '{\"op\":\"sub\",\"ch\":\"BTC\"}' --subscribed-when json:/op=subscribed \\
      --publish '{\"op\":\"pub\",\"ch\":\"BTC\",\"data\":\"{payload}\"}'
  A feed that ticks by itself, with milliseconds since 1970 in \"ts\" and numbers by symbol:
    fanwire-loadgen fanout ws://127.0.0.1:9001/md --subscribers 100 --readers-only \\
      --subscribe '{\"op\":\"sub\",\"ch\":\"*\"}' --stamp json:/ts:ms --sequence json:/seq --sequence-key json:/sym

Placeholders: {topic}, {token}, {conn}, {seq}, {now_ms}, {now_ns}, {rand:N}, and in --publish {payload}.
Other braces are left as they are, so JSON needs no escapes.";

/// `--dialect custom`.
#[derive(Args, Debug)]
#[command(next_help_heading = "Servers that know nothing of fanwire")]
pub struct ForeignArguments {
    /// Every connection sends this first, for example a login; may be repeated
    #[arg(long, value_name = "MESSAGE", value_parser = Sentence::parse)]
    first_message: Vec<Sentence>,
    /// Every subscriber sends this, once for each of its topics if it contains {topic}; may be
    /// repeated
    #[arg(long, value_name = "MESSAGE", value_parser = Sentence::parse)]
    subscribe: Vec<Sentence>,
    /// A subscription is in force when a message comes that contains this text, or whose JSON has
    /// this value: json:/type=subscribed. With {topic} every topic is confirmed by itself
    #[arg(long, value_name = "TEXT|json:/PTR=VALUE", value_parser = Pattern::parse)]
    subscribed_when: Option<Pattern>,
    /// Without --subscribed-when: subscriptions count as in force so long after the last one
    #[arg(long, default_value = "500ms", value_name = "TIME", value_parser = parse_duration_ns)]
    settle: u64,
    /// What publishers send around {payload}, our stamped payload, which subscribers find again
    /// wherever the server puts it (default: nothing around it)
    #[arg(long, value_name = "MESSAGE", value_parser = Publish::parse)]
    publish: Option<Publish>,
    /// Publishers connect here instead: ws://HOST[:PORT][/PATH][?QUERY], or wss://
    #[arg(long, value_name = "URL")]
    publisher_url: Option<String>,
    /// A message to a publisher is the answer to what it sent, in order, when it contains this text
    /// or JSON value
    #[arg(long, value_name = "TEXT|json:/PTR=VALUE", value_parser = Pattern::parse_plain)]
    acknowledged_when: Option<Pattern>,
    /// A message to a subscriber that is neither a copy nor a confirmation makes the run INVALID
    #[arg(long)]
    strict: bool,
}

/// `--readers-only`.
#[derive(Args, Debug)]
#[command(next_help_heading = "Feeds that the server paces")]
pub struct FeedArguments {
    /// Nobody publishes: the server sends by itself, and what it sends is measured
    #[arg(long, conflicts_with_all = ["rate", "publishers", "publish", "publisher_url", "acknowledged_when", "churn", "burst"])]
    readers_only: bool,
    /// Where a message says when it was sent: json:/ts (a number, or an RFC 3339 time), or
    /// at:8:u64le (byte offset; u32, u64 or f64; le or be). A unit may follow, :s :ms :us or :ns;
    /// without it the size of the number decides. Where we publish, the form of our own stamp: bin
    /// or text, as --payload says it too
    #[arg(long, value_name = "FIELD", value_parser = StampChoice::parse)]
    stamp: Option<StampChoice>,
    /// The clock that stamps: time since 1970, or CLOCK_MONOTONIC of this host (needs a unit)
    #[arg(long, value_enum, default_value = "realtime", value_name = "CLOCK")]
    stamp_clock: ClockChoice,
    /// Where a message has its number, which counts up by one: json:/seq or at:0:u64le
    #[arg(long, value_name = "FIELD", value_parser = Field::parse)]
    sequence: Option<Field>,
    /// What has numbers of its own, for example a symbol: json:/sym
    #[arg(long, value_name = "FIELD", value_parser = Field::parse)]
    sequence_key: Option<Field>,
}

/// `--stamp`: our own, or one that a server sends.
#[derive(Clone, Debug)]
enum StampChoice {
    Own(OwnStamp),
    Field(StampField),
}

/// How the stamp that our publishers send is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnStamp {
    /// As bytes.
    Binary,
    /// As printable characters.
    Text,
}

impl StampChoice {
    fn parse(text: &str) -> Result<StampChoice, String> {
        match text {
            "bin" | "binary" => Ok(StampChoice::Own(OwnStamp::Binary)),
            "text" => Ok(StampChoice::Own(OwnStamp::Text)),
            _ => StampField::parse(text).map(StampChoice::Field),
        }
    }
}

/// `--stamp-clock`.
#[derive(ValueEnum, Clone, Copy, Debug)]
enum ClockChoice {
    /// Time since 1970
    Realtime,
    /// CLOCK_MONOTONIC
    Monotonic,
}

impl ForeignArguments {
    /// Whether anything was given that only the custom dialect understands.
    pub fn is_given(&self) -> bool {
        self.given().is_some()
    }

    /// One of the options that were given.
    pub fn given(&self) -> Option<&'static str> {
        [
            ("--first-message", !self.first_message.is_empty()),
            ("--subscribe", !self.subscribe.is_empty()),
            ("--subscribed-when", self.subscribed_when.is_some()),
            ("--publish", self.publish.is_some()),
            ("--publisher-url", self.publisher_url.is_some()),
            ("--acknowledged-when", self.acknowledged_when.is_some()),
            ("--strict", self.strict),
        ]
        .into_iter()
        .find_map(|(name, is_given)| is_given.then_some(name))
    }

    /// `--settle`.
    pub fn settle_ns(&self) -> u64 {
        self.settle
    }

    /// Whether anything that is said contains `{token}`.
    pub fn needs_tokens(&self) -> bool {
        let mut sentences = self.first_message.iter().chain(&self.subscribe);
        sentences.any(Sentence::has_token) || self.publish.as_ref().is_some_and(Publish::has_token)
    }

    /// Checks what clap cannot.
    ///
    /// # Errors
    /// One or two sentences with cause and cure.
    pub fn custom(&self, publish_path: Option<&str>) -> Result<Custom, String> {
        Ok(Custom {
            first_messages: self.first_message.clone(),
            subscribe: self.subscribe.clone(),
            subscribed_when: self.subscribed_when.clone(),
            publish: self.publish.clone(),
            acknowledged_when: self.acknowledged_when.clone(),
            elsewhere: self.publisher_url.as_deref().map(elsewhere).transpose()?,
            publish_path: publish_path.unwrap_or_default().to_owned(),
            is_strict: self.strict,
        })
    }
}

fn elsewhere(url: &str) -> Result<Elsewhere, String> {
    let target = Target::parse(url).map_err(|error| format!("--publisher-url: {error}"))?;
    let addresses = target.resolve()?;
    let address = addresses.first().copied();
    let address = address.ok_or_else(|| format!("'{}' has no address", target.host))?;
    Ok(Elsewhere {
        target,
        address,
        tls: None,
    })
}

/// How a server elsewhere is believed: as the one of the URL is, under its own name.
///
/// # Errors
/// A host that no certificate can be issued for.
pub fn secure(elsewhere: &mut Elsewhere, common: &Config) -> Result<(), String> {
    let host = &elsewhere.target.host;
    elsewhere.tls = match (&common.tls, elsewhere.target.is_secured) {
        (_, false) => None,
        (Some(tls), true) if *host == common.target.host => Some(tls.clone()),
        (Some(tls), true) => Some(tls.at_host(host)?),
        (None, true) => Some(TlsClient::new(&TlsOptions::default(), host)?),
    };
    Ok(())
}

impl FeedArguments {
    /// Whether the server paces.
    pub fn is_given(&self) -> bool {
        self.readers_only
    }

    /// The form of our own stamp, where it was asked for.
    pub fn own_stamp(&self) -> Option<OwnStamp> {
        match self.stamp {
            Some(StampChoice::Own(own)) => Some(own),
            _ => None,
        }
    }

    /// What is known of the feed.
    ///
    /// # Errors
    /// Fields without a feed, or a clock that does not go with the unit.
    pub fn feed(&self) -> Result<Option<Feed>, String> {
        if !self.readers_only {
            let given = [
                (
                    "--stamp FIELD",
                    matches!(self.stamp, Some(StampChoice::Field(_))),
                ),
                ("--sequence", self.sequence.is_some()),
                ("--sequence-key", self.sequence_key.is_some()),
            ];
            return match given.iter().find(|(_, is_given)| *is_given) {
                None => Ok(None),
                Some((name, _)) => Err(format!(
                    "{name} is about messages that a server sends by itself, and needs \
                     --readers-only; what our publishers send carries our own stamp"
                )),
            };
        }
        let stamp = match &self.stamp {
            None => None,
            Some(StampChoice::Field(field)) => Some(field),
            Some(StampChoice::Own(_)) => {
                return Err(
                    "--stamp bin and text are forms of our own stamp, which a feed does not carry; \
                     say where the server's is: --stamp json:/ts:ms"
                        .into(),
                );
            }
        };
        let clock = match self.stamp_clock {
            ClockChoice::Realtime => StampClock::Realtime,
            ClockChoice::Monotonic => StampClock::Monotonic,
        };
        if let Some(stamp) = stamp
            && clock == StampClock::Monotonic
            && stamp.unit == Unit::BySize
        {
            return Err(format!(
                "--stamp-clock monotonic needs a unit, because the size of such a number tells \
                 nothing: --stamp {}:ns",
                stamp.text
            ));
        }
        Ok(Some(Feed {
            stamp: stamp.cloned(),
            clock,
            sequence: self.sequence.clone(),
            key: self.sequence_key.clone(),
        }))
    }
}
