//! `fanwire.v1.json`, and the control messages of `fanwire.v1.binary`: docs/protocol.md 2 to 4.

use std::borrow::Cow;
use std::io::Write;

use serde::Deserialize;
use serde_json::value::RawValue;

/// What the server said.
#[derive(Debug, PartialEq)]
pub enum Said<'a> {
    /// A message of a topic. Where `data` is a string, the payload is what stands between its
    /// quotes; payloads of this program need no escapes.
    Data {
        /// Topic.
        topic: Cow<'a, str>,
        /// Number.
        seq: u64,
        /// What was published.
        payload: &'a [u8],
    },
    /// A subscription is in force.
    Subscribed {
        /// Topic.
        topic: Cow<'a, str>,
        /// Epoch.
        epoch: Cow<'a, str>,
        /// Newest message.
        seq: u64,
        /// Number of the topic in binary messages.
        alias: u32,
        /// Whether a resume was whole.
        recovered: Option<bool>,
    },
    /// A publish was accepted.
    Published {
        /// Of which publish.
        id: u64,
        /// Number of the message.
        seq: u64,
    },
    /// Something was refused.
    Error {
        /// Of which request.
        id: Option<u64>,
        /// Stable name.
        code: Cow<'a, str>,
        /// A sentence.
        message: Cow<'a, str>,
    },
    /// A snapshot follows.
    Snapshot {
        /// Topic.
        topic: Cow<'a, str>,
        /// Newest message that is in it.
        as_of: u64,
        /// Messages of it.
        count: u64,
    },
    /// Messages were merged.
    Conflated {
        /// Topic.
        topic: Cow<'a, str>,
        /// First number.
        from: u64,
        /// Last number.
        to: u64,
        /// Messages that arrive.
        count: u64,
    },
    /// Messages do not arrive.
    Gap {
        /// Topic.
        topic: Cow<'a, str>,
        /// First number.
        from: u64,
        /// Last number.
        to: u64,
    },
    /// Something that does not concern us.
    Other,
}

#[derive(Deserialize)]
struct Incoming<'a> {
    #[serde(borrow)]
    op: Option<Cow<'a, str>>,
    id: Option<u64>,
    #[serde(borrow)]
    topic: Option<Cow<'a, str>>,
    #[serde(borrow)]
    epoch: Option<Cow<'a, str>>,
    seq: Option<u64>,
    alias: Option<u32>,
    recovered: Option<bool>,
    #[serde(borrow)]
    code: Option<Cow<'a, str>>,
    #[serde(borrow)]
    message: Option<Cow<'a, str>>,
    as_of: Option<u64>,
    from: Option<u64>,
    to: Option<u64>,
    count: Option<u64>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

/// Reads a text message; `None` for one that breaks docs/protocol.md.
pub fn parse(text: &[u8]) -> Option<Said<'_>> {
    if let Some(data) = parse_plain_data(text) {
        return Some(data);
    }
    let incoming: Incoming<'_> = serde_json::from_slice(text).ok()?;
    let Some(op) = incoming.op else {
        return Some(Said::Data {
            topic: incoming.topic?,
            seq: incoming.seq?,
            payload: unquoted(incoming.data.map_or(b"", |data| data.get().as_bytes())),
        });
    };
    Some(match op.as_ref() {
        // A pattern is answered once by itself, without a topic.
        "subscribed" if incoming.topic.is_none() => Said::Other,
        "subscribed" => Said::Subscribed {
            topic: incoming.topic?,
            epoch: incoming.epoch?,
            seq: incoming.seq?,
            alias: incoming.alias.unwrap_or(0),
            recovered: incoming.recovered,
        },
        "published" => Said::Published {
            id: incoming.id?,
            seq: incoming.seq?,
        },
        "error" => Said::Error {
            id: incoming.id,
            code: incoming.code?,
            message: incoming.message.unwrap_or_default(),
        },
        "snapshot" => Said::Snapshot {
            topic: incoming.topic?,
            as_of: incoming.as_of?,
            count: incoming.count?,
        },
        "conflated" => Said::Conflated {
            topic: incoming.topic?,
            from: incoming.from?,
            to: incoming.to?,
            count: incoming.count?,
        },
        "gap" => Said::Gap {
            topic: incoming.topic?,
            from: incoming.from?,
            to: incoming.to?,
        },
        _ => Said::Other,
    })
}

/// The commonest message by far, without the general reader: `{"topic":"T","seq":N,"data":…}`, with
/// a key or not. Anything else, and any other order of members, is `None`.
fn parse_plain_data(text: &[u8]) -> Option<Said<'_>> {
    let rest = text.strip_prefix(b"{\"topic\":\"")?;
    let (topic, rest) = split_at_quote(rest)?;
    let rest = rest.strip_prefix(b",\"seq\":")?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, mut rest) = rest.split_at_checked(digits)?;
    let seq = std::str::from_utf8(number).ok()?.parse().ok()?;
    if let Some(key) = rest.strip_prefix(b",\"key\":\"") {
        (_, rest) = split_at_quote(key)?;
    }
    let data = rest.strip_prefix(b",\"data\":")?.strip_suffix(b"}")?;
    Some(Said::Data {
        topic: Cow::Borrowed(topic),
        seq,
        payload: unquoted(data),
    })
}

/// A string without escapes, and what follows its closing quote.
fn split_at_quote(text: &[u8]) -> Option<(&str, &[u8])> {
    let end = text.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
    let (inside, rest) = text.split_at_checked(end)?;
    let rest = rest.strip_prefix(b"\"")?;
    Some((std::str::from_utf8(inside).ok()?, rest))
}

fn unquoted(data: &[u8]) -> &[u8] {
    data.strip_prefix(b"\"")
        .and_then(|inside| inside.strip_suffix(b"\""))
        .unwrap_or(data)
}

/// A topic that is subscribed to again, and the last that was seen of it.
#[derive(Clone, Copy, Debug)]
pub struct Resume<'a> {
    /// Topic.
    pub topic: &'a str,
    /// Epoch.
    pub epoch: &'a str,
    /// Last message that was processed.
    pub seq: u64,
}

/// What a subscription asks for beside its topics.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wishes {
    /// At most so many messages a second of each topic; 0: no cap.
    pub max_rate: u32,
    /// The state of state topics as it is. What was there before the run is not the run's.
    pub wants_snapshot: bool,
}

/// Appends a `subscribe`.
pub fn write_subscribe(
    id: u64,
    topics: &[&str],
    resume: &[Resume<'_>],
    wishes: Wishes,
    out: &mut Vec<u8>,
) {
    // Writing to a Vec does not fail, here and below.
    let _ = write!(out, "{{\"op\":\"subscribe\",\"id\":{id},\"topics\":[");
    for (position, topic) in topics.iter().enumerate() {
        out.extend_from_slice(if position == 0 { b"" } else { b"," });
        write_string(topic, out);
    }
    out.push(b']');
    if !resume.is_empty() {
        out.extend_from_slice(b",\"resume\":{");
        for (position, resume) in resume.iter().enumerate() {
            out.extend_from_slice(if position == 0 { b"" } else { b"," });
            write_string(resume.topic, out);
            out.extend_from_slice(b":{\"epoch\":");
            write_string(resume.epoch, out);
            let _ = write!(out, ",\"seq\":{}}}", resume.seq);
        }
        out.push(b'}');
    }
    if wishes.max_rate > 0 {
        let _ = write!(out, ",\"max_rate\":{}", wishes.max_rate);
    }
    let _ = write!(out, ",\"snapshot\":{}}}", wishes.wants_snapshot);
}

/// Appends a `publish`. `is_json`: the payload is a JSON value; otherwise it becomes a string, and
/// needs no escapes.
pub fn write_publish(
    id: u64,
    topic: &str,
    key: Option<&str>,
    payload: &[u8],
    is_json: bool,
    out: &mut Vec<u8>,
) {
    let _ = write!(out, "{{\"op\":\"publish\",\"id\":{id},\"topic\":");
    write_string(topic, out);
    if let Some(key) = key {
        out.extend_from_slice(b",\"key\":");
        write_string(key, out);
    }
    out.extend_from_slice(b",\"data\":");
    let quote: &[u8] = if is_json { b"" } else { b"\"" };
    out.extend_from_slice(quote);
    out.extend_from_slice(payload);
    out.extend_from_slice(quote);
    out.push(b'}');
}

fn write_string(text: &str, out: &mut Vec<u8>) {
    // A &str always serialises.
    let _ = serde_json::to_writer(out, text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn data_is_read_by_the_short_way_and_the_long_one_alike() {
        for (short, long) in [
            (
                r#"{"topic":"a.b","seq":7,"data":{"x":[1,"}"]}}"#,
                r#"{ "topic":"a.b","seq":7,"data":{"x":[1,"}"]}}"#,
            ),
            (
                r#"{"topic":"a.b","seq":7,"key":"k1","data":"text"}"#,
                r#"{"seq":7,"topic":"a.b","key":"k1","data":"text"}"#,
            ),
        ] {
            let found = parse_plain_data(short.as_bytes());
            assert!(found.is_some() && parse_plain_data(long.as_bytes()).is_none());
            assert_eq!(found, parse(long.as_bytes()));
        }
        let event = r#"{"topic":"a","seq":842,"key":"k","event":true,"data":{"traded":"1"}}"#;
        assert_eq!(
            parse(event.as_bytes()),
            Some(Said::Data {
                topic: "a".into(),
                seq: 842,
                payload: br#"{"traded":"1"}"#
            })
        );
    }

    #[test]
    fn every_notice_of_the_protocol() {
        let cases = [
            (
                r#"{"op":"subscribed","id":1,"topic":"t","kind":"state","epoch":"5f","seq":840,"alias":17,"recovered":true,"replay":28}"#,
                Said::Subscribed {
                    topic: "t".into(),
                    epoch: "5f".into(),
                    seq: 840,
                    alias: 17,
                    recovered: Some(true),
                },
            ),
            (
                r#"{"op":"subscribed","id":1,"pattern":"trades.>"}"#,
                Said::Other,
            ),
            (
                r#"{"op":"published","id":4,"topic":"t","epoch":"5f","seq":841}"#,
                Said::Published { id: 4, seq: 841 },
            ),
            (
                r#"{"op":"error","id":9,"code":"busy","message":"later"}"#,
                Said::Error {
                    id: Some(9),
                    code: "busy".into(),
                    message: "later".into(),
                },
            ),
            (
                r#"{"op":"snapshot","topic":"t","epoch":"5f","as_of":840,"count":40,"whole":true}"#,
                Said::Snapshot {
                    topic: "t".into(),
                    as_of: 840,
                    count: 40,
                },
            ),
            (
                r#"{"op":"conflated","topic":"t","from":842,"to":901,"count":3,"whole":true}"#,
                Said::Conflated {
                    topic: "t".into(),
                    from: 842,
                    to: 901,
                    count: 3,
                },
            ),
            (
                r#"{"op":"gap","topic":"t","from":842,"to":901,"cause":"slow"}"#,
                Said::Gap {
                    topic: "t".into(),
                    from: 842,
                    to: 901,
                },
            ),
            (r#"{"op":"pong","id":7}"#, Said::Other),
        ];
        for (text, said) in cases {
            assert_eq!(parse(text.as_bytes()), Some(said), "{text}");
        }
        for wrong in [
            "",
            "[]",
            "{}",
            r#"{"op":"gap","topic":"t"}"#,
            r#"{"op":"published"}"#,
        ] {
            assert_eq!(parse(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn commands_are_the_protocols() {
        let mut out = Vec::new();
        let resume = [Resume {
            topic: "b",
            epoch: "5f",
            seq: 812,
        }];
        let wishes = Wishes {
            max_rate: 50,
            wants_snapshot: false,
        };
        write_subscribe(1, &["a", "b"], &resume, wishes, &mut out);
        let parsed: serde_json::Value = serde_json::from_slice(&out).expect("JSON");
        assert_eq!(parsed["op"], "subscribe");
        assert_eq!(parsed["topics"], serde_json::json!(["a", "b"]));
        assert_eq!(
            parsed["resume"]["b"],
            serde_json::json!({"epoch": "5f", "seq": 812})
        );
        assert_eq!(parsed["max_rate"], 50);
        out.clear();
        write_publish(4, "a", Some("k"), b"text", false, &mut out);
        let parsed: serde_json::Value = serde_json::from_slice(&out).expect("JSON");
        assert_eq!(
            (&parsed["data"], &parsed["key"]),
            (&"text".into(), &"k".into())
        );
        out.clear();
        write_publish(4, "a", None, b"{\"x\":1}", true, &mut out);
        let parsed: serde_json::Value = serde_json::from_slice(&out).expect("JSON");
        assert_eq!(parsed["data"]["x"], 1);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            let _ = parse(&bytes);
            let mut led = b"{\"topic\":\"a\",\"seq\":".to_vec();
            led.extend_from_slice(&bytes);
            let _ = parse(&led);
        }
    }
}
