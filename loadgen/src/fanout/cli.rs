//! The options of `fanout`, and what is said when they make no sense.

use std::sync::Arc;

use clap::{Args, ValueEnum};
use fanwire_protocol::MessageKind;

use crate::cli::CommonArguments;
use crate::cli::pace::StageArguments;
use crate::config::{Config, Mode};
use crate::fanout::foreign_cli::{self, FeedArguments, ForeignArguments, OwnStamp};
use crate::fanout::options::{Churn, Dialect, Form, Kind, Options, Slow, Stall};
use crate::fanout::stamp::{SIZE_MAX, STREAMS_MAX, embedded_size_min, size_min};
use crate::pace::warmup::Warmup;
use crate::quantity::{parse_count, parse_duration_ns, parse_rate, parse_size};

/// `fanout`.
#[derive(Args, Debug)]
pub struct FanoutArguments {
    #[command(flatten)]
    common: CommonArguments,
    /// Messages published per second over all publishers, by an absolute schedule
    #[arg(help_heading = "Load", short = 'R', long, alias = "qps", value_name = "N/s", value_parser = parse_rate, required_unless_present_any = ["readers_only", "stage"])]
    rate: Option<f64>,
    #[command(flatten)]
    stages: StageArguments,
    /// Messages published back to back on each tick; there are rate/N ticks a second
    #[arg(help_heading = "Load", long, default_value = "1", value_name = "N", value_parser = parse_count)]
    burst: u64,
    /// Payload bytes of a message
    #[arg(help_heading = "Messages", short, long, default_value = "128", value_name = "BYTES", value_parser = parse_size)]
    size: u64,
    /// What payloads are: bytes, printable ASCII, or a JSON document that compresses as market data
    /// does (default: binary; text with fanwire-json and custom)
    #[arg(help_heading = "Messages", long, value_enum, value_name = "FORM")]
    payload: Option<PayloadChoice>,
    /// How the server is spoken to (default: raw; custom with any of the options for it)
    #[arg(help_heading = "Topics", long, value_enum)]
    dialect: Option<DialectChoice>,
    /// Publishers. With more topics than publishers each topic has one of them; with more
    /// publishers than topics they share the topics
    #[arg(help_heading = "Topics", long, default_value = "1", value_name = "N", value_parser = parse_count)]
    publishers: u64,
    /// Topics
    #[arg(help_heading = "Topics", long, default_value = "1", value_name = "N", value_parser = parse_count)]
    topics: u64,
    /// Name of a topic; {topic} is its number
    #[arg(
        help_heading = "Topics",
        long,
        default_value = "load.{topic}",
        value_name = "TEMPLATE"
    )]
    topic_name: String,
    /// Topics that each subscriber subscribes to
    #[arg(help_heading = "Topics", long, default_value = "1", value_name = "K", value_parser = parse_count)]
    topics_per_subscriber: u64,
    /// Exponent of Zipf's law, for how often topics are subscribed to and published on; 0: evenly
    #[arg(help_heading = "Topics", long, default_value = "0", value_name = "S")]
    zipf: f64,
    /// Raw: request target of subscribers; further topics are appended as ?topics=b,c
    #[arg(
        help_heading = "Topics",
        long,
        default_value = "/raw/{topic}",
        value_name = "PATH"
    )]
    subscribe_path: String,
    /// Raw and custom: request target of publishers (raw: /raw/{topic}?publish&subscribe=false;
    /// custom: that of the URL)
    #[arg(help_heading = "Topics", long, value_name = "PATH")]
    publish_path: Option<String>,
    /// Kind of the topics, as the server's configuration has it (fanwire dialects)
    #[arg(help_heading = "Topics", long, value_enum, default_value = "events")]
    kind: KindChoice,
    /// State topics: keys of each topic
    #[arg(help_heading = "Topics", long, default_value = "100", value_name = "N", value_parser = parse_count)]
    keys: u64,
    /// Ask for the state as it is when subscribing (state topics of fanwire dialects); what was there
    /// before the run counts as repeated
    #[arg(help_heading = "Topics", long)]
    snapshot: bool,
    /// Ask for at most so many messages a second of each topic; 0: no cap (fanwire dialects)
    #[arg(help_heading = "Readers", long, default_value = "0", value_name = "N", value_parser = parse_count)]
    max_rate: u64,
    /// This share of the subscribers reads at most so many bytes a second: 5%:10KB
    #[arg(help_heading = "Readers", long, value_name = "P%:RATE", value_parser = parse_slow)]
    slow: Option<Slow>,
    /// This share stops reading after the warm-up for so long: 10%:5s, or for good: 10%:inf
    #[arg(help_heading = "Readers", long, value_name = "P%:TIME", value_parser = parse_stall)]
    stall: Option<Stall>,
    /// So many times a second a subscriber leaves, and comes back with a resume (fanwire dialects)
    #[arg(help_heading = "Readers", long, value_name = "N/s", value_parser = parse_rate)]
    churn: Option<f64>,
    /// Share of the subscribers that --churn is about
    #[arg(help_heading = "Readers", long, default_value = "10%", value_name = "P%", value_parser = parse_share)]
    churn_share: f64,
    /// Load before measuring starts: a time, or auto: until rate and median latency are steady from
    /// one second to the next, 10 s at most [default: auto; 0 with --stage]
    #[arg(help_heading = "Load", short, long, value_name = "TIME", value_parser = Warmup::parse)]
    warmup: Option<Warmup>,
    /// New connections per second while opening them (default: as fast as they open)
    #[arg(help_heading = "Connecting", long, alias = "join", value_name = "N/s", value_parser = parse_rate)]
    connect_rate: Option<f64>,
    #[command(flatten)]
    foreign: ForeignArguments,
    #[command(flatten)]
    feed: FeedArguments,
}

/// `--dialect`.
#[derive(ValueEnum, Clone, Copy, Debug)]
enum DialectChoice {
    /// Topics in the path, bare payloads
    Raw,
    /// Subprotocol fanwire.v1.json
    FanwireJson,
    /// Subprotocol fanwire.v1.binary
    FanwireBinary,
    /// The client protocol of NATS
    Nats,
    /// Any other server: --subscribe, --publish and what belongs to them
    Custom,
}

/// `--payload`.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum PayloadChoice {
    /// Any bytes
    Binary,
    /// Printable ASCII
    Text,
    /// A JSON document
    Json,
}

/// `--kind`.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum KindChoice {
    /// Every message counts
    Events,
    /// The newest message of a key replaces older ones
    State,
}

fn parse_share(text: &str) -> Result<f64, String> {
    text.strip_suffix('%')
        .and_then(|percent| percent.parse::<f64>().ok())
        .filter(|percent| *percent > 0.0 && *percent <= 100.0)
        .map(|percent| percent / 100.0)
        .ok_or_else(|| format!("'{text}' is not a share; write for example 10%"))
}

fn split_share<'a>(text: &'a str, example: &str) -> Result<(f64, &'a str), String> {
    let (share, rest) = text
        .split_once(':')
        .ok_or_else(|| format!("'{text}' lacks a colon; write for example {example}"))?;
    Ok((parse_share(share)?, rest))
}

fn parse_slow(text: &str) -> Result<Slow, String> {
    let (share, rate) = split_share(text, "5%:10KB")?;
    let bytes = parse_size(rate.trim_end_matches("/s"))?;
    if bytes == 0 {
        return Err("a reader of 0 bytes a second is a stalled one: --stall P%:inf".into());
    }
    Ok(Slow {
        share,
        bytes_per_second: bytes as f64,
    })
}

fn parse_stall(text: &str) -> Result<Stall, String> {
    let (share, time) = split_share(text, "10%:5s")?;
    let for_ns =
        match time {
            "inf" => None,
            time => Some(parse_duration_ns(time).map_err(|error| {
                format!("{error}; write for example 10%:5s, or 10%:inf for good")
            })?),
        };
    Ok(Stall { share, for_ns })
}

/// What publishers of a fanwire server ask for.
const RAW_PUBLISH_PATH: &str = "/raw/{topic}?publish&subscribe=false";
/// A topic name longer than this no hub takes (docs/protocol.md 1).
const TOPIC_NAME_MAX: usize = 256;
/// More than this no server of ours lets one connection have, and the lanes take memory.
const TOPICS_PER_SUBSCRIBER_MAX: u64 = 1_024;
/// Messages of one tick.
const BURST_MAX: u64 = 1_000_000;

fn within(value: u64, range: std::ops::RangeInclusive<u64>, name: &str) -> Result<u32, String> {
    u32::try_from(value)
        .ok()
        .filter(|_| range.contains(&value))
        .ok_or_else(|| {
            format!(
                "{name} must be between {} and {}",
                range.start(),
                range.end()
            )
        })
}

impl FanoutArguments {
    /// Checks what clap cannot.
    ///
    /// # Errors
    /// One or two sentences with cause and cure; the program exits with 2.
    pub fn into_config(self) -> Result<Config, String> {
        let mut options = self.options()?;
        if options.feed.is_some() && self.stages.is_given() {
            return Err(
                "--stage is about what is published; with --readers-only nothing is".into(),
            );
        }
        let size = usize::try_from(self.size).unwrap_or(usize::MAX);
        let least = if options.dialect == Dialect::Custom {
            embedded_size_min(options.form)
        } else {
            size_min(options.form)
        };
        if size < least && options.feed.is_none() {
            return Err(format!(
                "--size {size} is too small: the stamp that every {} message carries needs {least} bytes",
                options.form.as_str()
            ));
        }
        if size > SIZE_MAX {
            return Err("--size must be below 16MiB".into());
        }
        let streams = options.topics.max(options.publishers);
        let needs_tokens = self.foreign.needs_tokens();
        let has_duration = self.common.has_duration();
        let has_stages = self.stages.is_given();
        let unsaid = if has_stages {
            Warmup::NONE
        } else {
            Warmup::Unsaid
        };
        let common = self.common.into_config(Mode::Fanout)?;
        if let Some(elsewhere) = &mut options.custom.elsewhere {
            foreign_cli::secure(elsewhere, &common)?;
        }
        if needs_tokens && common.tokens.is_empty() {
            return Err("{token} needs --token-file FILE, with one token a line".into());
        }
        if common
            .connections
            .checked_add(streams)
            .is_none_or(|all| all > crate::message::payload::CONNECTIONS_MAX)
        {
            return Err("subscribers and publishers together must be at most 16,777,216".into());
        }
        let config = Config {
            rate: self.rate,
            warmup: self.warmup.unwrap_or(unsaid),
            connect_rate: self.connect_rate,
            message_size: size,
            kind: match options.form {
                Form::Binary => MessageKind::Binary,
                Form::Text | Form::Json => MessageKind::Text,
            },
            fanout: Some(Arc::new(options)),
            ..common
        };
        self.stages.apply(config, has_duration)
    }

    fn options(&self) -> Result<Options, String> {
        let dialect = self.dialect()?;
        let feed = self.feed.feed()?;
        let streams_max = u64::from(STREAMS_MAX) - 1;
        let topics = within(self.topics, 1..=streams_max, "--topics")?;
        let publishers = match feed {
            Some(_) => 0,
            None => within(self.publishers, 1..=streams_max, "--publishers")?,
        };
        let topics_per_subscriber = within(
            self.topics_per_subscriber,
            1..=TOPICS_PER_SUBSCRIBER_MAX,
            "--topics-per-subscriber",
        )?;
        if topics_per_subscriber > topics {
            return Err(format!(
                "--topics-per-subscriber {topics_per_subscriber} is more than there are topics; \
                 raise --topics"
            ));
        }
        self.check_topic_name(topics)?;
        if !(0.0..=10.0).contains(&self.zipf) {
            return Err("--zipf must be between 0 and 10".into());
        }
        let kind = match self.kind {
            KindChoice::Events => Kind::Events,
            KindChoice::State => Kind::State {
                keys: within(self.keys, 1..=1_000_000, "--keys")?,
            },
        };
        self.check_dialect(dialect, kind)?;
        if self.snapshot && (kind == Kind::Events || !dialect.has_sequences()) {
            return Err("--snapshot needs --kind state, in a fanwire dialect".into());
        }
        self.check_publish_path(dialect, topics, publishers)?;
        Ok(Options {
            form: self.form(dialect)?,
            publishers,
            topics,
            topic_name: self.topic_name.clone(),
            topics_per_subscriber,
            zipf: self.zipf,
            burst: within(self.burst, 1..=BURST_MAX, "--burst")?,
            kind,
            subscribe_path: self.subscribe_path.clone(),
            publish_path: self
                .publish_path
                .clone()
                .unwrap_or_else(|| RAW_PUBLISH_PATH.to_owned()),
            slow: self.slow,
            stall: self.stall,
            churn: self.churn.map(|per_second| Churn {
                per_second,
                share: self.churn_share,
            }),
            wants_snapshot: self.snapshot,
            max_rate: within(self.max_rate, 0..=1_000_000_000, "--max-rate")?,
            run: run_number(),
            custom: self.foreign.custom(self.publish_path.as_deref())?,
            settle_ns: self.foreign.settle_ns(),
            feed,
            dialect,
        })
    }

    fn dialect(&self) -> Result<Dialect, String> {
        let is_foreign = self.foreign.is_given() || self.feed.is_given();
        let dialect = match self.dialect {
            Some(DialectChoice::Raw) => Dialect::Raw,
            Some(DialectChoice::FanwireJson) => Dialect::FanwireJson,
            Some(DialectChoice::FanwireBinary) => Dialect::FanwireBinary,
            Some(DialectChoice::Nats) => Dialect::Nats,
            Some(DialectChoice::Custom) => Dialect::Custom,
            None if is_foreign => Dialect::Custom,
            None => Dialect::Raw,
        };
        if let (Some(name), true) = (self.foreign.given(), dialect != Dialect::Custom) {
            return Err(format!(
                "{name} belongs to --dialect custom: {} has its own words",
                dialect.as_str()
            ));
        }
        if self.feed.is_given() && !matches!(dialect, Dialect::Raw | Dialect::Custom) {
            return Err(format!(
                "--readers-only goes with --dialect custom and raw; for {} write what its clients \
                 say: --subprotocol and --subscribe",
                dialect.as_str()
            ));
        }
        Ok(dialect)
    }

    fn check_publish_path(
        &self,
        dialect: Dialect,
        topics: u32,
        publishers: u32,
    ) -> Result<(), String> {
        let path = self.publish_path.as_deref().unwrap_or_default();
        if dialect == Dialect::Custom && path.contains("{topic}") && topics > publishers.max(1) {
            return Err(
                "with {topic} in --publish-path a publisher has one topic: ask for as many \
                 --publishers as --topics"
                    .into(),
            );
        }
        Ok(())
    }

    /// What payloads are, by `--payload` or, of a run that publishes, by `--stamp`.
    fn payload(&self) -> Result<Option<PayloadChoice>, String> {
        let by_stamp = self.feed.own_stamp().map(|own| match own {
            OwnStamp::Binary => PayloadChoice::Binary,
            OwnStamp::Text => PayloadChoice::Text,
        });
        match (self.payload, by_stamp) {
            (Some(payload), Some(stamp)) if payload != stamp => Err(
                "--payload and --stamp say different things about our own stamp: it travels in the \
                 payload and has its form; leave --stamp out"
                    .into(),
            ),
            (payload, stamp) => Ok(payload.or(stamp)),
        }
    }

    fn form(&self, dialect: Dialect) -> Result<Form, String> {
        match (self.payload()?, dialect) {
            (Some(PayloadChoice::Binary), Dialect::FanwireJson) => {
                Err("fanwire-json carries JSON; use --payload text or json, or --dialect fanwire-binary".into())
            }
            (Some(PayloadChoice::Binary), Dialect::Custom) => {
                Err("custom sends text messages; use --payload text or json".into())
            }
            (Some(PayloadChoice::Binary), _) => Ok(Form::Binary),
            (Some(PayloadChoice::Text), _) | (None, Dialect::FanwireJson | Dialect::Custom) => {
                Ok(Form::Text)
            }
            (Some(PayloadChoice::Json), _) => Ok(Form::Json),
            (None, _) => Ok(Form::Binary),
        }
    }

    fn check_topic_name(&self, topics: u32) -> Result<(), String> {
        if topics > 1 && !self.topic_name.contains("{topic}") {
            return Err("--topic-name must contain {topic}, or all topics would be one".into());
        }
        let longest = self.topic_name.replace("{topic}", &topics.to_string());
        let is_name = |character: char| !character.is_whitespace() && !character.is_control();
        if longest.is_empty() || longest.len() > TOPIC_NAME_MAX || !longest.chars().all(is_name) {
            return Err("--topic-name must be 1 to 256 bytes without white space".into());
        }
        Ok(())
    }

    fn check_dialect(&self, dialect: Dialect, kind: Kind) -> Result<(), String> {
        if dialect.has_sequences() {
            return Ok(());
        }
        let wanted = [
            ("--kind state", kind != Kind::Events),
            ("--churn", self.churn.is_some()),
            ("--max-rate", self.max_rate > 0),
        ];
        match wanted.iter().find(|(_, is_wanted)| *is_wanted) {
            Some((name, _)) => Err(format!(
                "{name} needs --dialect fanwire-json or fanwire-binary: {} has no word for it",
                dialect.as_str()
            )),
            None => Ok(()),
        }
    }
}

/// A number that another run is unlikely to have: messages that a server kept must not be taken
/// for our own.
fn run_number() -> u32 {
    let now_ns = fanwire_reactor::host::monotonic_ns();
    let mixed =
        (now_ns ^ (u64::from(std::process::id()) << 40)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 32) as u32
}
