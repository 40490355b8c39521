//! The binary messages of `fanwire.v1.binary` (docs/protocol.md section 5).
//!
//! Owns their layout. Appends payloads to a buffer; knows nothing of frames.

use serde_json::value::RawValue;

use super::{CommandError, ErrorCode, ID_MAX, check_key};
use crate::hub::publication::{Change, PayloadKind, Publication};
use crate::hub::topic::TopicName;

/// Size of the fixed part of both messages, in bytes.
const HEADER_SIZE: usize = 16;
/// First byte of a message of a topic.
const KIND_MESSAGE: u8 = 1;
/// First byte of a publish.
const KIND_PUBLISH: u8 = 2;
const FLAG_EVENT: u8 = 1;
const FLAG_REMOVE: u8 = 2;
const FLAG_JSON: u8 = 4;
const FLAG_TEXT: u8 = 8;
const FLAG_ANSWER: u8 = 16;
const FLAGS_ALL: u8 = FLAG_EVENT | FLAG_REMOVE | FLAG_JSON | FLAG_TEXT | FLAG_ANSWER;

/// One message of a topic.
pub fn message(publication: &Publication, out: &mut Vec<u8>) {
    let mut flags = match publication.change {
        Change::Update => 0,
        Change::Event => FLAG_EVENT,
        Change::Remove => FLAG_REMOVE,
    };
    if publication.change != Change::Remove {
        flags |= match publication.payload_kind {
            PayloadKind::Json => FLAG_JSON,
            PayloadKind::Text => FLAG_TEXT,
            PayloadKind::Binary => 0,
        };
    }
    let key = publication.key.as_deref().unwrap_or_default();
    // Keys are bounded far below this where they come in; a longer one loses its end.
    let key_size = u16::try_from(key.len()).unwrap_or(u16::MAX);
    let key = key.get(..usize::from(key_size)).unwrap_or_default();
    out.reserve(HEADER_SIZE + key.len() + publication.payload.len());
    out.extend_from_slice(&[KIND_MESSAGE, flags]);
    out.extend_from_slice(&key_size.to_le_bytes());
    out.extend_from_slice(&publication.alias.to_le_bytes());
    out.extend_from_slice(&publication.seq.to_le_bytes());
    out.extend_from_slice(key);
    out.extend_from_slice(&publication.payload);
}

/// A publish, borrowed from the message that it came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BinaryPublish<'a> {
    /// With which to answer; none if no answer is wanted.
    pub id: Option<u64>,
    /// The topic, checked with [`TopicName::check`].
    pub topic: &'a str,
    /// The key, if there is one.
    pub key: Option<&'a str>,
    /// What it does to its key.
    pub change: Change,
    /// The payload; empty for a removal.
    pub payload: &'a [u8],
    /// What the payload is.
    pub payload_kind: PayloadKind,
}

/// Reads a client's binary message. Does not allocate unless there is an error.
///
/// # Errors
///
/// `bad_frame`, `bad_topic` or `bad_key`, with the `id` if the message asks for an answer.
pub fn parse_publish(bytes: &[u8]) -> Result<BinaryPublish<'_>, CommandError> {
    let bad_frame = |id, message: &str| CommandError::new(id, ErrorCode::BadFrame, message);
    let Some((header, rest)) = bytes.split_first_chunk::<HEADER_SIZE>() else {
        let message = "the message ends within its header; send 16 bytes at least";
        return Err(bad_frame(None, message));
    };
    let [
        kind,
        flags,
        key_0,
        key_1,
        topic_0,
        topic_1,
        zero_0,
        zero_1,
        id @ ..,
    ] = *header;
    let id = u64::from_le_bytes(id);
    let is_answered = flags & FLAG_ANSWER != 0;
    if is_answered && id > ID_MAX {
        return Err(bad_frame(
            None,
            "the id is larger than 2^53-1; count from 1",
        ));
    }
    let id = is_answered.then_some(id);
    if kind != KIND_PUBLISH {
        let message = "the first byte is not 2; the one kind of binary message is a publish";
        return Err(bad_frame(id, message));
    }
    if flags & !FLAGS_ALL != 0 || [zero_0, zero_1] != [0, 0] {
        let message = "a reserved bit is set; set flags of section 5 alone, and bytes 6 and 7 to 0";
        return Err(bad_frame(id, message));
    }
    let topic_size = usize::from(u16::from_le_bytes([topic_0, topic_1]));
    let key_size = usize::from(u16::from_le_bytes([key_0, key_1]));
    let parts = rest
        .split_at_checked(topic_size)
        .and_then(|(topic, rest)| Some((topic, rest.split_at_checked(key_size)?)));
    let Some((topic, (key, payload))) = parts else {
        let message = "the message ends within its topic or key; check their lengths";
        return Err(bad_frame(id, message));
    };
    let topic = parse_topic(id, topic)?;
    let key = parse_key(id, key).map_err(|error| error.about(topic))?;
    let (change, payload_kind) =
        parse_flags(flags, payload).map_err(|message| bad_frame(id, message).about(topic))?;
    Ok(BinaryPublish {
        id,
        topic,
        key,
        change,
        payload,
        payload_kind,
    })
}

fn parse_topic(id: Option<u64>, topic: &[u8]) -> Result<&str, CommandError> {
    let Ok(topic) = std::str::from_utf8(topic) else {
        let message = "the topic is not UTF-8; encode it so";
        return Err(CommandError::new(id, ErrorCode::BadTopic, message));
    };
    match TopicName::check(topic) {
        Ok(()) => Ok(topic),
        Err(error) => Err(CommandError::bad_topic(id, topic, error)),
    }
}

fn parse_key(id: Option<u64>, key: &[u8]) -> Result<Option<&str>, CommandError> {
    if key.is_empty() {
        return Ok(None);
    }
    std::str::from_utf8(key)
        .map_err(|_| "the key is not UTF-8; encode it so")
        .and_then(|key| check_key(key).map(|()| Some(key)))
        .map_err(|message| CommandError::new(id, ErrorCode::BadKey, message))
}

/// What the flags say, if they are true of the payload.
fn parse_flags(flags: u8, payload: &[u8]) -> Result<(Change, PayloadKind), &'static str> {
    let change = match flags & (FLAG_EVENT | FLAG_REMOVE) {
        0 => Change::Update,
        FLAG_EVENT => Change::Event,
        FLAG_REMOVE if payload.is_empty() => return Ok((Change::Remove, PayloadKind::Binary)),
        FLAG_REMOVE => return Err("a removal has no payload; leave it out"),
        _ => return Err("a message is no event and removal at once; set one of the flags"),
    };
    let payload_kind = match flags & (FLAG_JSON | FLAG_TEXT) {
        0 => PayloadKind::Binary,
        FLAG_JSON if serde_json::from_slice::<&RawValue>(payload).is_err() => {
            return Err("the payload is not one JSON value; mend it, or clear flag 4");
        }
        FLAG_JSON => PayloadKind::Json,
        FLAG_TEXT if std::str::from_utf8(payload).is_err() => {
            return Err("the payload is not UTF-8; mend it, or clear flag 8");
        }
        FLAG_TEXT => PayloadKind::Text,
        _ => return Err("a payload is either JSON or other text; set one of the flags"),
    };
    Ok((change, payload_kind))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::publication::Content;
    use crate::hub::topic::TopicError;
    use bytes::Bytes;
    use proptest::prelude::*;

    fn publish(flags: u8, key: &[u8], topic: &str, id: u64, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![2, flags];
        bytes.extend_from_slice(&(key.len() as u16).to_le_bytes());
        bytes.extend_from_slice(&(topic.len() as u16).to_le_bytes());
        bytes.extend_from_slice(&[0, 0]);
        bytes.extend_from_slice(&id.to_le_bytes());
        [&bytes, topic.as_bytes(), key, payload].concat()
    }

    #[test]
    fn a_message_is_laid_out_as_the_document_says() -> Result<(), TopicError> {
        let cases: [(Change, PayloadKind, &[u8], u8); 5] = [
            (Change::Update, PayloadKind::Json, b"17", 4),
            (Change::Update, PayloadKind::Text, b"ab", 8),
            (Change::Update, PayloadKind::Binary, b"\x00\xff", 0),
            (Change::Event, PayloadKind::Json, b"{}", 5),
            (Change::Remove, PayloadKind::Json, b"", 2),
        ];
        for (change, payload_kind, payload, flags) in cases {
            let content = Content {
                change,
                key: Some(b"key"[..].into()),
                payload: Bytes::from_static(payload),
                payload_kind,
            };
            let topic = TopicName::parse("a")?;
            let publication = Publication::new(topic, 0x0102_0304, 0x0a0b, 0, content);
            let mut out = vec![9];
            message(&publication, &mut out);
            let header = [9, 1, flags, 3, 0, 4, 3, 2, 1, 0x0b, 0x0a, 0, 0, 0, 0, 0, 0];
            assert_eq!(out, [&header, &b"key"[..], payload].concat());
        }
        Ok(())
    }

    #[test]
    fn publishes_are_read_as_they_were_meant() {
        let cases: [(u8, &[u8], Change, PayloadKind); 6] = [
            (0, b"\xff", Change::Update, PayloadKind::Binary),
            (4, b" {\"a\":1} ", Change::Update, PayloadKind::Json),
            (8, "é".as_bytes(), Change::Update, PayloadKind::Text),
            (1, b"", Change::Event, PayloadKind::Binary),
            (5 | 16, b"1", Change::Event, PayloadKind::Json),
            (2 | 16, b"", Change::Remove, PayloadKind::Binary),
        ];
        for (flags, payload, change, payload_kind) in cases {
            for key in ["", "k"] {
                let bytes = publish(flags, key.as_bytes(), "a.b", 7, payload);
                let expected = BinaryPublish {
                    id: (flags & 16 != 0).then_some(7),
                    topic: "a.b",
                    key: Some(key).filter(|key| !key.is_empty()),
                    change,
                    payload,
                    payload_kind,
                };
                assert_eq!(parse_publish(&bytes), Ok(expected), "flags {flags}");
            }
        }
    }

    #[test]
    fn what_breaks_the_rules_is_refused() {
        use ErrorCode::{BadFrame, BadKey, BadTopic};
        let whole = publish(16, b"k", "a", 7, b"");
        let mut wrong_kind = whole.clone();
        wrong_kind[0] = 1;
        let mut reserved_bytes = whole.clone();
        reserved_bytes[7] = 1;
        let mut topic_not_utf8 = whole.clone();
        topic_not_utf8[16] = 0xff;
        let id = Some(7);
        let cases = [
            (Vec::new(), None, BadFrame),
            (whole[..15].to_vec(), None, BadFrame),
            (whole[..16].to_vec(), id, BadFrame),
            (whole[..17].to_vec(), id, BadFrame),
            (wrong_kind, id, BadFrame),
            (reserved_bytes, id, BadFrame),
            (topic_not_utf8, id, BadTopic),
            (publish(16 | 32, b"", "a", 7, b""), id, BadFrame),
            (publish(16, b"", "a", 1 << 53, b""), None, BadFrame),
            (publish(16 | 3, b"k", "a", 7, b""), id, BadFrame),
            (publish(16 | 12, b"", "a", 7, b"1"), id, BadFrame),
            (publish(16 | 2, b"k", "a", 7, b"1"), id, BadFrame),
            (publish(16 | 4, b"", "a", 7, b""), id, BadFrame),
            (publish(16 | 4, b"", "a", 7, b"1 2"), id, BadFrame),
            (publish(16 | 4, b"", "a", 7, b"\"\xff\""), id, BadFrame),
            (publish(16 | 8, b"", "a", 7, b"\xff"), id, BadFrame),
            (publish(16, b"", "", 7, b""), id, BadTopic),
            (publish(16, b"", "a.>", 7, b""), id, BadTopic),
            (publish(16, b"\xff", "a", 7, b""), id, BadKey),
            (publish(16, &[b'k'; 129], "a", 7, b""), id, BadKey),
        ];
        for (bytes, id, code) in cases {
            let error = parse_publish(&bytes).err();
            let told = error.as_ref().map(|error| (error.id, error.code));
            assert_eq!(told, Some((id, code)), "{bytes:?}");
            assert!(
                error.is_some_and(|error| error.message.contains(';')),
                "no cure"
            );
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(
            any in prop::collection::vec(any::<u8>(), 0..80),
            flags in 0_u8..32,
            sizes in (0_u8..9, 0_u8..9),
        ) {
            let _ = parse_publish(&any);
            let plausible = [&[2, flags, sizes.0, 0, sizes.1, 0, 0, 0], &any[..]].concat();
            let _ = parse_publish(&plausible);
        }
    }
}
