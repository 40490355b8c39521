//! The JSON text messages that the hub sends.
//!
//! Owns their spelling. Appends payloads to a buffer; knows nothing of frames. Names of topics and
//! patterns are written as they are: no character in them needs escaping.

use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{CommandError, EpochText, GapCause, RecoveryFailure};
use crate::hub::publication::{Change, PayloadKind, Publication};
use crate::hub::rules::TopicKind;

/// Formats behind what is in `out`. Writing to memory does not fail.
macro_rules! append {
    ($out:expr, $($format:tt)*) => {{
        let _ = write!($out, $($format)*);
    }};
}

/// A string with its quotes. Writing to memory does not fail.
fn append_string(text: &str, out: &mut Vec<u8>) {
    let _ = serde_json::to_writer(out, text);
}

/// A number, faster than by way of `write!`: for what is done for every message.
fn append_number(number: u64, out: &mut Vec<u8>) {
    let _ = serde_json::to_writer(out, &number);
}

fn append_id(id: Option<u64>, out: &mut Vec<u8>) {
    if let Some(id) = id {
        append!(out, ",\"id\":{id}");
    }
}

/// One message of a topic.
pub fn message(publication: &Publication, out: &mut Vec<u8>) {
    let topic = publication.topic.as_str();
    let key_size = publication.key.as_deref().map_or(0, <[u8]>::len);
    out.reserve(topic.len() + key_size + publication.payload.len() + 80);
    out.extend_from_slice(b"{\"topic\":\"");
    out.extend_from_slice(topic.as_bytes());
    out.extend_from_slice(b"\",\"seq\":");
    append_number(publication.seq, out);
    if let Some(key) = &publication.key {
        out.extend_from_slice(b",\"key\":");
        append_string(&String::from_utf8_lossy(key), out);
    }
    match publication.change {
        Change::Update => {}
        Change::Event => out.extend_from_slice(b",\"event\":true"),
        Change::Remove => {
            out.extend_from_slice(b",\"removed\":true}");
            return;
        }
    }
    let payload = &publication.payload[..];
    let text = match publication.payload_kind {
        PayloadKind::Text => std::str::from_utf8(payload).ok(),
        PayloadKind::Json | PayloadKind::Binary => None,
    };
    if publication.payload_kind == PayloadKind::Json {
        out.extend_from_slice(b",\"data\":");
        out.extend_from_slice(payload);
    } else if let Some(text) = text {
        out.extend_from_slice(b",\"data\":");
        append_string(text, out);
    } else {
        out.extend_from_slice(b",\"data_base64\":\"");
        append_base64(payload, out);
        out.push(b'"');
    }
    out.push(b'}');
}

fn append_base64(payload: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    let size = base64::encoded_len(payload.len(), true).unwrap_or(0);
    out.resize(start + size, 0);
    let room = out.get_mut(start..).unwrap_or_default();
    // The room is as large as the encoder itself says, so that it cannot fail.
    let written = STANDARD.encode_slice(payload, room).unwrap_or(0);
    out.truncate(start + written);
}

/// The answer to a name or a pattern that was subscribed to, or the news of a topic that matches.
#[derive(Clone, Copy, Debug)]
pub struct Subscribed<'a> {
    /// That of the request; none for a topic that matches a pattern.
    pub id: Option<u64>,
    /// The pattern, if one was subscribed to.
    pub pattern: Option<&'a str>,
    /// The topic; none in the answer to a pattern itself.
    pub topic: Option<SubscribedTopic<'a>>,
}

/// How it stands with a topic at the instant of subscribing.
#[derive(Clone, Copy, Debug)]
pub struct SubscribedTopic<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its kind.
    pub kind: TopicKind,
    /// Its epoch.
    pub epoch: u64,
    /// Its newest message, 0 for none.
    pub seq: u64,
    /// The number that stands for it in the binary format.
    pub alias: u32,
    /// What came of `resume`; none if the topic was not named there.
    pub recovery: Option<Result<(), RecoveryFailure>>,
    /// How many messages up to `seq` follow; none if that is not what follows.
    pub replay: Option<u64>,
    /// Whether a snapshot follows.
    pub snapshot: bool,
    /// Whether the connection was subscribed already and goes on as it was.
    pub already: bool,
}

/// `subscribed`.
pub fn subscribed(answer: &Subscribed<'_>, out: &mut Vec<u8>) {
    append!(out, "{{\"op\":\"subscribed\"");
    append_id(answer.id, out);
    if let Some(pattern) = answer.pattern {
        append!(out, ",\"pattern\":\"{pattern}\"");
    }
    if let Some(topic) = &answer.topic {
        append!(
            out,
            ",\"topic\":\"{}\",\"kind\":\"{}\",\"epoch\":\"{}\",\"seq\":{},\"alias\":{}",
            topic.name,
            topic.kind.as_str(),
            EpochText(topic.epoch),
            topic.seq,
            topic.alias
        );
        match topic.recovery {
            None => {}
            Some(Ok(())) => append!(out, ",\"recovered\":true"),
            Some(Err(failure)) => {
                append!(
                    out,
                    ",\"recovered\":false,\"code\":\"{}\"",
                    failure.as_str()
                );
            }
        }
        if let Some(replay) = topic.replay {
            append!(out, ",\"replay\":{replay}");
        }
        if topic.snapshot {
            append!(out, ",\"snapshot\":true");
        }
        if topic.already {
            append!(out, ",\"already\":true");
        }
    }
    out.push(b'}');
}

/// `unsubscribed`, for a name or a pattern.
pub fn unsubscribed(id: Option<u64>, topic: &str, out: &mut Vec<u8>) {
    append!(out, "{{\"op\":\"unsubscribed\"");
    append_id(id, out);
    append!(out, ",\"topic\":\"{topic}\"}}");
}

/// `configured`, for a name or a pattern; 0 for no cap.
pub fn configured(id: Option<u64>, topic: &str, max_rate: u32, out: &mut Vec<u8>) {
    append!(out, "{{\"op\":\"configured\"");
    append_id(id, out);
    append!(out, ",\"topic\":\"{topic}\",\"max_rate\":{max_rate}}}");
}

/// `published`.
pub fn published(id: Option<u64>, topic: &str, epoch: u64, seq: u64, out: &mut Vec<u8>) {
    append!(out, "{{\"op\":\"published\"");
    append_id(id, out);
    let epoch = EpochText(epoch);
    append!(
        out,
        ",\"topic\":\"{topic}\",\"epoch\":\"{epoch}\",\"seq\":{seq}}}"
    );
}

/// `pong`.
pub fn pong(id: Option<u64>, out: &mut Vec<u8>) {
    append!(out, "{{\"op\":\"pong\"");
    append_id(id, out);
    out.push(b'}');
}

/// `error`.
pub fn error(error: &CommandError, out: &mut Vec<u8>) {
    append!(out, "{{\"op\":\"error\"");
    append_id(error.id, out);
    append!(out, ",\"code\":\"{}\"", error.code.as_str());
    if let Some(topic) = &error.topic {
        append!(out, ",\"topic\":");
        append_string(topic, out);
    }
    append!(out, ",\"message\":");
    append_string(&error.message, out);
    out.push(b'}');
}

/// What a `snapshot` announces.
#[derive(Clone, Copy, Debug)]
pub struct Snapshot<'a> {
    /// The topic.
    pub topic: &'a str,
    /// Its epoch.
    pub epoch: u64,
    /// The message that the snapshot is as new as.
    pub as_of: u64,
    /// How many messages it consists of.
    pub count: u64,
    /// Whether it is exactly the state at `as_of`.
    pub whole: bool,
}

/// `snapshot`.
pub fn snapshot(snapshot: &Snapshot<'_>, out: &mut Vec<u8>) {
    append!(
        out,
        "{{\"op\":\"snapshot\",\"topic\":\"{}\",\"epoch\":\"{}\",\"as_of\":{},\"count\":{},\"whole\":{}}}",
        snapshot.topic,
        EpochText(snapshot.epoch),
        snapshot.as_of,
        snapshot.count,
        snapshot.whole
    );
}

/// What a `conflated` announces.
#[derive(Clone, Copy, Debug)]
pub struct Conflated<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The first message that it is about.
    pub from: u64,
    /// The last one.
    pub to: u64,
    /// How many of them follow.
    pub count: u64,
    /// Whether the state is exactly the one at `to` then.
    pub whole: bool,
}

/// `conflated`.
pub fn conflated(conflated: &Conflated<'_>, out: &mut Vec<u8>) {
    append!(
        out,
        "{{\"op\":\"conflated\",\"topic\":\"{}\",\"from\":{},\"to\":{},\"count\":{},\"whole\":{}}}",
        conflated.topic,
        conflated.from,
        conflated.to,
        conflated.count,
        conflated.whole
    );
}

/// `gap`: the messages `from` to `to` will not arrive.
pub fn gap(topic: &str, from: u64, to: u64, cause: GapCause, out: &mut Vec<u8>) {
    let cause = cause.as_str();
    append!(
        out,
        "{{\"op\":\"gap\",\"topic\":\"{topic}\",\"from\":{from},\"to\":{to},\"cause\":\"{cause}\"}}"
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::publication::Content;
    use crate::hub::topic::{TopicError, TopicName};
    use crate::hub::wire::ErrorCode;
    use bytes::Bytes;
    use proptest::prelude::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        let text = String::from_utf8(out).unwrap_or_default();
        let value: Result<serde_json::Value, _> = serde_json::from_str(&text);
        assert!(value.is_ok_and(|value| value.is_object()), "{text}");
        text
    }

    fn published_as(
        change: Change,
        key: Option<&str>,
        payload_kind: PayloadKind,
        payload: &[u8],
    ) -> Result<String, TopicError> {
        let content = Content {
            change,
            key: key.map(|key| key.as_bytes().into()),
            payload: Bytes::copy_from_slice(payload),
            payload_kind,
        };
        let publication = Publication::new(TopicName::parse("a.b")?, 1, 841, 0, content);
        Ok(written(|out| message(&publication, out)))
    }

    #[test]
    fn messages_of_every_kind() -> Result<(), TopicError> {
        use Change::{Event, Remove, Update};
        use PayloadKind::{Binary, Json, Text};
        type Case<'a> = (Change, Option<&'a str>, PayloadKind, &'a [u8], &'a str);
        let cases: [Case<'_>; 8] = [
            (
                Update,
                None,
                Json,
                b"{\"x\" : 1.0}",
                r#","data":{"x" : 1.0}"#,
            ),
            (
                Update,
                Some("bid.3"),
                Json,
                b"null",
                r#","key":"bid.3","data":null"#,
            ),
            (
                Update,
                Some("\"\n"),
                Json,
                b"0",
                r#","key":"\"\n","data":0"#,
            ),
            (
                Event,
                Some("k"),
                Json,
                b"1",
                r#","key":"k","event":true,"data":1"#,
            ),
            (Remove, Some("k"), Json, b"", r#","key":"k","removed":true"#),
            (Update, None, Text, b"a\"\\\t", r#","data":"a\"\\\t""#),
            (Update, None, Binary, &[0, 1, 2], r#","data_base64":"AAEC""#),
            (Update, None, Binary, b"", r#","data_base64":"""#),
        ];
        for (change, key, payload_kind, payload, rest) in cases {
            let expected = format!(r#"{{"topic":"a.b","seq":841{rest}}}"#);
            assert_eq!(published_as(change, key, payload_kind, payload)?, expected);
        }
        Ok(())
    }

    #[test]
    fn answers_are_spelled_as_in_the_document() {
        let topic = SubscribedTopic {
            name: "book.BTC-USD",
            kind: TopicKind::State,
            epoch: 0x5f3a_09c2_d417_be60,
            seq: 840,
            alias: 17,
            recovery: Some(Ok(())),
            replay: Some(28),
            snapshot: false,
            already: false,
        };
        let lost = SubscribedTopic {
            kind: TopicKind::Events,
            recovery: Some(Err(RecoveryFailure::LogOverrun)),
            replay: None,
            snapshot: true,
            already: true,
            ..topic
        };
        let cases = [
            (
                Some(1),
                None,
                Some(topic),
                r#","id":1,"topic":"book.BTC-USD","kind":"state","epoch":"5f3a09c2d417be60","seq":840,"alias":17,"recovered":true,"replay":28}"#,
            ),
            (
                Some(1),
                Some("trades.>"),
                None,
                r#","id":1,"pattern":"trades.>"}"#,
            ),
            (
                None,
                Some("book.>"),
                Some(lost),
                r#","pattern":"book.>","topic":"book.BTC-USD","kind":"events","epoch":"5f3a09c2d417be60","seq":840,"alias":17,"recovered":false,"code":"log_overrun","snapshot":true,"already":true}"#,
            ),
        ];
        for (id, pattern, topic, rest) in cases {
            let answer = Subscribed { id, pattern, topic };
            let expected = format!(r#"{{"op":"subscribed"{rest}"#);
            assert_eq!(written(|out| subscribed(&answer, out)), expected);
        }
        assert_eq!(
            written(|out| unsubscribed(Some(2), "trades.>", out)),
            r#"{"op":"unsubscribed","id":2,"topic":"trades.>"}"#
        );
        assert_eq!(
            written(|out| configured(Some(3), "a", 10, out)),
            r#"{"op":"configured","id":3,"topic":"a","max_rate":10}"#
        );
        assert_eq!(
            written(|out| published(Some(4), "a", 1, 841, out)),
            r#"{"op":"published","id":4,"topic":"a","epoch":"0000000000000001","seq":841}"#
        );
        assert_eq!(written(|out| pong(Some(7), out)), r#"{"op":"pong","id":7}"#);
        assert_eq!(written(|out| pong(None, out)), r#"{"op":"pong"}"#);
    }

    #[test]
    fn what_is_announced_is_spelled_as_in_the_document() {
        let (topic, whole) = ("a", true);
        let as_of = Snapshot {
            topic,
            epoch: 0,
            as_of: 840,
            count: 40,
            whole,
        };
        assert_eq!(
            written(|out| snapshot(&as_of, out)),
            r#"{"op":"snapshot","topic":"a","epoch":"0000000000000000","as_of":840,"count":40,"whole":true}"#
        );
        let merged = Conflated {
            topic,
            from: 842,
            to: 901,
            count: 3,
            whole: false,
        };
        assert_eq!(
            written(|out| conflated(&merged, out)),
            r#"{"op":"conflated","topic":"a","from":842,"to":901,"count":3,"whole":false}"#
        );
        assert_eq!(
            written(|out| gap("a", 842, 901, GapCause::Slow, out)),
            r#"{"op":"gap","topic":"a","from":842,"to":901,"cause":"slow"}"#
        );
        let refused = CommandError::new(Some(9), ErrorCode::BadTopic, "a \"b\"").about("a..\"");
        assert_eq!(
            written(|out| error(&refused, out)),
            r#"{"op":"error","id":9,"code":"bad_topic","topic":"a..\"","message":"a \"b\""}"#
        );
    }

    proptest! {
        #[test]
        fn any_text_and_any_bytes_come_back(text in ".*", bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let read = |message: String| serde_json::from_str::<serde_json::Value>(&message).ok();
            let key = Some(text.as_str()).filter(|key| !key.is_empty());
            let message = published_as(Change::Update, key, PayloadKind::Text, text.as_bytes()).ok();
            let message = message.and_then(read).unwrap_or_default();
            prop_assert_eq!(message["data"].as_str(), Some(text.as_str()));
            prop_assert_eq!(message["key"].as_str(), key);
            let message = published_as(Change::Update, None, PayloadKind::Binary, &bytes).ok();
            let message = message.and_then(read).unwrap_or_default();
            let decoded = message["data_base64"].as_str().and_then(|text| STANDARD.decode(text).ok());
            prop_assert_eq!(decoded, Some(bytes));
        }
    }
}
