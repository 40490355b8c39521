//! The control messages that a client sends (docs/protocol.md section 2).
//!
//! Owns how they are read: borrowed from the text, so that a publish allocates nothing. Checks
//! what can be checked without knowing the hub: types, ranges, the rules for a name to publish on
//! and for a key. The names to subscribe to are not checked here, since each has an answer of its
//! own.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use serde_json::error::Category;
use serde_json::value::RawValue;

use super::{CommandError, EpochText, ErrorCode, ID_MAX, TOPICS_MAX, check_key};
use crate::hub::publication::Change;
use crate::hub::topic::TopicName;

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// `subscribe`.
    Subscribe(Subscribe<'a>),
    /// `unsubscribe`.
    Unsubscribe {
        /// With which to answer.
        id: Option<u64>,
        /// Names and patterns, unchecked.
        topics: Vec<Cow<'a, str>>,
    },
    /// `configure`.
    Configure {
        /// With which to answer.
        id: Option<u64>,
        /// Names and patterns, unchecked.
        topics: Vec<Cow<'a, str>>,
        /// Most messages a second of each topic, 0 for no cap.
        max_rate: u32,
    },
    /// `publish`.
    Publish(Publish<'a>),
    /// `ping`.
    Ping {
        /// With which to answer.
        id: Option<u64>,
    },
}

/// `subscribe`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribe<'a> {
    /// With which to answer.
    pub id: Option<u64>,
    /// Names and patterns, unchecked; [`Filter::parse`](crate::hub::topic::Filter::parse) is next.
    pub topics: Vec<Cow<'a, str>>,
    /// Where to go on, by topic, in the order of the names.
    resume: Vec<(Cow<'a, str>, ResumePoint)>,
    /// Most messages a second of each topic, 0 for no cap.
    pub max_rate: u32,
    /// How many of the last messages of each events topic come first.
    pub history: u32,
    /// Whether a snapshot of each state topic comes first.
    pub snapshot: bool,
}

impl Subscribe<'_> {
    /// Where the client wants to go on with a topic, if it has seen something of it.
    pub fn resume_for(&self, topic: &str) -> Option<ResumePoint> {
        let found = self
            .resume
            .binary_search_by(|(name, _)| name.as_ref().cmp(topic));
        let (_, point) = self.resume.get(found.ok()?)?;
        Some(*point)
    }

    /// Every topic that the client wants to go on with.
    pub fn resume_points(&self) -> impl Iterator<Item = (&str, ResumePoint)> {
        self.resume
            .iter()
            .map(|(name, point)| (name.as_ref(), *point))
    }
}

/// The last message that a client processed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResumePoint {
    /// Its epoch; none for a text that no hub of ours gave out.
    pub epoch: Option<u64>,
    /// Its number.
    pub seq: u64,
}

/// `publish`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish<'a> {
    /// With which to answer; none if no answer is wanted.
    pub id: Option<u64>,
    /// The topic, checked with [`TopicName::check`].
    pub topic: Cow<'a, str>,
    /// The key, if there is one; not empty and not too long.
    pub key: Option<Cow<'a, str>>,
    /// What the message does to its key.
    pub change: Change,
    /// One JSON value, as the client wrote it; empty for a removal.
    pub data: &'a str,
}

/// Reads a client's text message.
///
/// # Errors
///
/// `bad_json`, `unknown_op`, `bad_request`, `bad_topic` or `bad_key`; with the `id` of the request
/// whenever it is one JSON object with a usable `id`.
pub fn parse(text: &str) -> Result<Command<'_>, CommandError> {
    let members = Members::parse(text)?;
    let id = match members.id {
        None => None,
        Some(_) => {
            let id: u64 = members.require(None, members.id, "id", ID_RANGE)?;
            if id > ID_MAX {
                return Err(bad_member(None, "id", ID_RANGE));
            }
            Some(id)
        }
    };
    let op = members.op.and_then(read::<Text<'_>>);
    match op.as_ref().map(|op| op.0.as_ref()) {
        Some("subscribe") => members.subscribe(id).map(Command::Subscribe),
        Some("unsubscribe") => Ok(Command::Unsubscribe {
            id,
            topics: members.topics(id)?,
        }),
        Some("configure") => Ok(Command::Configure {
            id,
            topics: members.topics(id)?,
            max_rate: members.require(id, members.max_rate, "max_rate", U32_RANGE)?,
        }),
        Some("publish") => members.publish(id).map(Command::Publish),
        Some("ping") => Ok(Command::Ping { id }),
        _ => {
            let message = "the op is missing or unknown; send one of subscribe, unsubscribe, \
                           configure, publish, ping";
            Err(CommandError::new(id, ErrorCode::UnknownOp, message))
        }
    }
}

const ID_RANGE: &str = "an integer from 0 to 2^53-1";
const U32_RANGE: &str = "an integer from 0 to 2^32-1";
const BOOLEAN: &str = "true or false";
const STRING: &str = "a string";
const TOPICS: &str = "an array of 1 to 128 strings";
const RESUME: &str = "an object of {\"epoch\":string,\"seq\":integer} by topic";

/// The members of a request that have a meaning, each still to be read: so that one of the wrong
/// type does not hide the `id`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Members<'a> {
    #[serde(borrow, deserialize_with = "present")]
    op: Option<&'a RawValue>,
    #[serde(borrow, deserialize_with = "present")]
    id: Option<&'a RawValue>,
    #[serde(borrow, deserialize_with = "present")]
    topics: Option<&'a RawValue>,
    #[serde(borrow, deserialize_with = "present")]
    resume: Option<&'a RawValue>,
    #[serde(borrow, deserialize_with = "present")]
    max_rate: Option<&'a RawValue>,
    #[serde(borrow, deserialize_with = "present")]
    history: Option<&'a RawValue>,
    #[serde(borrow, deserialize_with = "present")]
    snapshot: Option<&'a RawValue>,
    #[serde(borrow, deserialize_with = "present")]
    topic: Option<&'a RawValue>,
    #[serde(borrow, deserialize_with = "present")]
    key: Option<&'a RawValue>,
    #[serde(borrow, deserialize_with = "present")]
    data: Option<&'a RawValue>,
    #[serde(borrow, deserialize_with = "present")]
    remove: Option<&'a RawValue>,
    #[serde(borrow, deserialize_with = "present")]
    event: Option<&'a RawValue>,
}

/// A member that is there, even as `null`, which is data like any other.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// A string, borrowed if nothing in it is escaped.
#[derive(Deserialize, PartialEq, Eq, PartialOrd, Ord)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// A resume point as it is written.
#[derive(Deserialize)]
struct WrittenPoint<'a> {
    #[serde(borrow)]
    epoch: Cow<'a, str>,
    seq: u64,
}

fn read<'a, T: Deserialize<'a>>(member: &'a RawValue) -> Option<T> {
    serde_json::from_str(member.get()).ok()
}

fn bad_member(id: Option<u64>, name: &str, expected: &str) -> CommandError {
    let message = format!("{name} is missing, of the wrong type or out of range; give {expected}");
    CommandError::new(id, ErrorCode::BadRequest, message)
}

impl<'a> Members<'a> {
    fn parse(text: &'a str) -> Result<Self, CommandError> {
        // The deserializer would take an array for a structure as well.
        let is_object = text
            .trim_start_matches([' ', '\t', '\n', '\r'])
            .starts_with('{');
        if !is_object {
            let message = "the message is not a JSON object; send one with an op";
            return Err(CommandError::new(None, ErrorCode::BadJson, message));
        }
        serde_json::from_str(text).map_err(|error| match error.classify() {
            Category::Data => {
                let message = "a member is there twice; send it once";
                CommandError::new(None, ErrorCode::BadRequest, message)
            }
            Category::Io | Category::Syntax | Category::Eof => {
                let message = format!("the message is not JSON: {error}; mend it there");
                CommandError::new(None, ErrorCode::BadJson, message)
            }
        })
    }

    /// A member that has to be there.
    fn require<T: Deserialize<'a>>(
        &self,
        id: Option<u64>,
        member: Option<&'a RawValue>,
        name: &str,
        expected: &str,
    ) -> Result<T, CommandError> {
        member
            .and_then(read)
            .ok_or_else(|| bad_member(id, name, expected))
    }

    /// A member that may be left out.
    fn allow<T: Deserialize<'a>>(
        &self,
        id: Option<u64>,
        member: Option<&'a RawValue>,
        name: &str,
        expected: &str,
    ) -> Result<Option<T>, CommandError> {
        match member {
            None => Ok(None),
            Some(_) => self.require(id, member, name, expected).map(Some),
        }
    }

    fn topics(&self, id: Option<u64>) -> Result<Vec<Cow<'a, str>>, CommandError> {
        let topics: Vec<Text<'a>> = self.require(id, self.topics, "topics", TOPICS)?;
        if topics.is_empty() || topics.len() > TOPICS_MAX {
            return Err(bad_member(id, "topics", TOPICS));
        }
        Ok(topics.into_iter().map(|Text(topic)| topic).collect())
    }

    fn subscribe(&self, id: Option<u64>) -> Result<Subscribe<'a>, CommandError> {
        let resume: Option<BTreeMap<Text<'a>, WrittenPoint<'a>>> =
            self.allow(id, self.resume, "resume", RESUME)?;
        let resume = resume.unwrap_or_default().into_iter();
        Ok(Subscribe {
            id,
            topics: self.topics(id)?,
            resume: resume
                .map(|(Text(topic), WrittenPoint { epoch, seq })| {
                    let epoch = EpochText::parse(&epoch);
                    (topic, ResumePoint { epoch, seq })
                })
                .collect(),
            max_rate: self
                .allow(id, self.max_rate, "max_rate", U32_RANGE)?
                .unwrap_or(0),
            history: self
                .allow(id, self.history, "history", U32_RANGE)?
                .unwrap_or(0),
            snapshot: self
                .allow(id, self.snapshot, "snapshot", BOOLEAN)?
                .unwrap_or(true),
        })
    }

    fn publish(&self, id: Option<u64>) -> Result<Publish<'a>, CommandError> {
        let Text(topic) = self.require(id, self.topic, "topic", STRING)?;
        TopicName::check(&topic).map_err(|error| CommandError::bad_topic(id, &topic, error))?;
        match self.publish_on(id) {
            Ok((key, change, data)) => Ok(Publish {
                id,
                topic,
                key,
                change,
                data,
            }),
            Err(error) => Err(error.about(&topic)),
        }
    }

    /// What follows the topic: key, change and data.
    fn publish_on(
        &self,
        id: Option<u64>,
    ) -> Result<(Option<Cow<'a, str>>, Change, &'a str), CommandError> {
        let key: Option<Text<'a>> = self.allow(id, self.key, "key", STRING)?;
        if let Some(Text(key)) = &key {
            check_key(key).map_err(|message| CommandError::new(id, ErrorCode::BadKey, message))?;
        }
        let is_removal = self.allow(id, self.remove, "remove", BOOLEAN)?;
        let is_event = self.allow(id, self.event, "event", BOOLEAN)?;
        let refuse = |message| Err(CommandError::new(id, ErrorCode::BadRequest, message));
        let (change, data) = match (is_removal, is_event, self.data) {
            (Some(true), Some(true), _) => {
                return refuse("a message is no event and removal at once; leave one of them out");
            }
            (Some(true), _, Some(_)) => return refuse("a removal has no data; leave it out"),
            (Some(true), _, None) => (Change::Remove, ""),
            (_, _, None) => return refuse("data is missing; give any JSON value"),
            (_, Some(true), Some(data)) => (Change::Event, data.get()),
            (_, _, Some(data)) => (Change::Update, data.get()),
        };
        Ok((key.map(|Text(key)| key), change, data))
    }
}

#[cfg(test)]
#[path = "command_tests.rs"]
mod tests;
