//! What clients send and what they are sent, as bytes (docs/protocol.md).
//!
//! Owns the vocabulary that the formats share: error codes, causes and limits of members. Knows
//! nothing of frames, which the protocol crate makes, nor of what a command leads to.

pub mod binary;
pub mod command;
pub mod json;
pub mod raw;

use std::fmt;

use super::topic::{TOPIC_SIZE_MAX, TopicError};

/// Largest `id`: what a double holds exactly.
pub const ID_MAX: u64 = (1 << 53) - 1;
/// Longest key, in bytes.
pub const KEY_SIZE_MAX: usize = 128;
/// Most names and patterns in one request.
pub const TOPICS_MAX: usize = 128;

/// What can be wrong with a request (docs/protocol.md section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// The message is not a JSON object.
    BadJson,
    /// `op` is missing or unknown.
    UnknownOp,
    /// A member is missing, of the wrong type or out of its range.
    BadRequest,
    /// A name or pattern breaks the rules.
    BadTopic,
    /// The key is missing, too long, or not allowed here.
    BadKey,
    /// A binary message breaks the rules, or is not expected at all.
    BadFrame,
    /// The connection may not publish.
    Forbidden,
    /// There is no such subscription.
    NotSubscribed,
    /// The connection holds as many subscriptions as it may.
    TooManySubscriptions,
    /// The hub holds as many topics as it may.
    TooManyTopics,
    /// The topic holds as many keys as it may.
    TooManyKeys,
    /// The payload is larger than the hub accepts.
    TooBig,
    /// The hub cannot take the message now.
    Busy,
}

impl ErrorCode {
    /// The stable code of the wire protocol.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BadJson => "bad_json",
            Self::UnknownOp => "unknown_op",
            Self::BadRequest => "bad_request",
            Self::BadTopic => "bad_topic",
            Self::BadKey => "bad_key",
            Self::BadFrame => "bad_frame",
            Self::Forbidden => "forbidden",
            Self::NotSubscribed => "not_subscribed",
            Self::TooManySubscriptions => "too_many_subscriptions",
            Self::TooManyTopics => "too_many_topics",
            Self::TooManyKeys => "too_many_keys",
            Self::TooBig => "too_big",
            Self::Busy => "busy",
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// Why what was missed cannot be had: the `code` of a `subscribed` with `"recovered":false`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RecoveryFailure {
    /// The topic is in another epoch.
    EpochChanged,
    /// The log has moved past it.
    LogOverrun,
    /// The client names a message that does not exist yet.
    ResumeFromFuture,
}

impl RecoveryFailure {
    /// The stable code of the wire protocol.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EpochChanged => "epoch_changed",
            Self::LogOverrun => "log_overrun",
            Self::ResumeFromFuture => "resume_from_future",
        }
    }
}

/// Why messages will not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GapCause {
    /// The subscriber read too slowly.
    Slow,
    /// The subscriber's `max_rate`.
    Rate,
}

impl GapCause {
    /// The word of the wire protocol.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Slow => "slow",
            Self::Rate => "rate",
        }
    }
}

/// An answer to a request that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandError {
    /// That of the request, if it could be read.
    pub id: Option<u64>,
    /// What is wrong.
    pub code: ErrorCode,
    /// The topic that it is about, as the client wrote it, cut off where none can be longer.
    pub topic: Option<String>,
    /// Cause and cure, for a person.
    pub message: String,
}

impl CommandError {
    /// An error about no topic in particular.
    pub fn new(id: Option<u64>, code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            id,
            code,
            topic: None,
            message: message.into(),
        }
    }

    /// The same error, about a topic.
    #[must_use]
    pub fn about(self, topic: &str) -> Self {
        let mut end = topic.len().min(TOPIC_SIZE_MAX);
        while !topic.is_char_boundary(end) {
            end -= 1;
        }
        Self {
            topic: topic.get(..end).map(str::to_owned),
            ..self
        }
    }

    /// A name or pattern that breaks the rules.
    pub fn bad_topic(id: Option<u64>, topic: &str, error: TopicError) -> Self {
        Self::new(id, ErrorCode::BadTopic, error.to_string()).about(topic)
    }
}

/// The epoch as clients see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochText(pub u64);

impl fmt::Display for EpochText {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:016x}", self.0)
    }
}

impl EpochText {
    /// The epoch that was printed like this; none for a text that is not of our making.
    pub fn parse(text: &str) -> Option<u64> {
        let is_ours = text.len() == 16
            && text
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        is_ours
            .then(|| u64::from_str_radix(text, 16).ok())
            .flatten()
    }
}

/// Whether a key is short enough and not empty.
///
/// # Errors
///
/// Cause and cure.
pub(crate) fn check_key(key: &str) -> Result<(), &'static str> {
    if key.is_empty() {
        Err("the key is empty; leave it out or fill it in")
    } else if key.len() > KEY_SIZE_MAX {
        Err("the key is longer than 128 bytes of UTF-8; shorten it")
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_are_read_back_and_nothing_else_is() {
        for epoch in [0, 1, 0x5f3a_09c2_d417_be60, u64::MAX] {
            assert_eq!(EpochText::parse(&EpochText(epoch).to_string()), Some(epoch));
        }
        for text in [
            "",
            "0",
            "5F3A09C2D417BE60",
            "+f3a09c2d417be60",
            "5f3a09c2d417be601",
        ] {
            assert_eq!(EpochText::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_topic_in_an_error_is_cut_at_a_character() {
        let error = CommandError::new(None, ErrorCode::BadTopic, "");
        let long = format!("a{}", "é".repeat(TOPIC_SIZE_MAX));
        let cut = error.about(&long).topic.unwrap_or_default();
        assert_eq!(cut.len(), TOPIC_SIZE_MAX - 1);
        assert!(long.starts_with(&cut));
        assert!(check_key(&"k".repeat(KEY_SIZE_MAX)).is_ok());
        assert!(check_key(&"k".repeat(KEY_SIZE_MAX + 1)).is_err());
    }
}
