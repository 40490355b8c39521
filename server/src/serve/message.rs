//! One message as JSON: the body of `POST /v1/publish`, and a line of a replayed file.
//!
//! It owns the members and their checks, with the error codes of the wire protocol. What depends on
//! the topic (its kind, how many keys it holds) only the hub can check.

use std::borrow::Cow;

use bytes::Bytes;
use fanwire_server::hub::port::PublishRequest;
use fanwire_server::hub::publication::{Change, PayloadKind};
use fanwire_server::hub::topic::TopicName;
use fanwire_server::hub::wire::{ErrorCode, KEY_SIZE_MAX};
use serde::Deserialize;
use serde_json::value::RawValue;

/// Why a message was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: ErrorCode,
    pub(crate) message: String,
}

impl Refusal {
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Refusal {
        Refusal {
            code,
            message: message.into(),
        }
    }
}

/// The members of a message. Others are ignored, as everywhere in the protocol.
#[derive(Debug, Deserialize)]
pub(crate) struct JsonMessage<'a> {
    #[serde(borrow)]
    topic: Option<Cow<'a, str>>,
    #[serde(borrow)]
    key: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "present")]
    data: Option<&'a RawValue>,
    #[serde(default)]
    event: bool,
    #[serde(default)]
    remove: bool,
    /// When it was recorded: for a replay.
    #[serde(borrow, default)]
    pub(crate) ts: Option<&'a RawValue>,
}

/// A value that is there, `null` too.
fn present<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// JSON that cannot be read, or has members of a wrong type.
pub(crate) fn refusal_of(error: &serde_json::Error) -> Refusal {
    let code = match error.classify() {
        serde_json::error::Category::Data => ErrorCode::BadRequest,
        _ => ErrorCode::BadJson,
    };
    let message = format!(
        "{error}; a message is {{\"topic\":\"a.b\",\"data\":...}} with key, event, remove where needed"
    );
    Refusal { code, message }
}

impl<'a> JsonMessage<'a> {
    /// # Errors
    /// See [`refusal_of`].
    pub(crate) fn parse(text: &'a str) -> Result<JsonMessage<'a>, Refusal> {
        // Otherwise a list would do, with the members in their order.
        if !text.trim_start().starts_with('{') {
            let message = "this is no JSON object; a message is {\"topic\":\"a.b\",\"data\":...}";
            return Err(Refusal::new(ErrorCode::BadJson, message));
        }
        serde_json::from_str(text).map_err(|error| refusal_of(&error))
    }

    /// What to ask the hub for.
    ///
    /// # Errors
    /// With the code that a WebSocket publisher would get.
    pub(crate) fn request(&self, payload_max: usize) -> Result<PublishRequest, Refusal> {
        let bad = |message: &str| Err(Refusal::new(ErrorCode::BadRequest, message));
        let Some(topic) = &self.topic else {
            return bad("`topic` is missing; name the topic to publish on");
        };
        let topic = TopicName::parse(topic)
            .map_err(|error| Refusal::new(ErrorCode::BadTopic, error.to_string()))?;
        let key = self.key.as_deref().map(str::as_bytes);
        if key.is_some_and(|key| key.is_empty() || key.len() > KEY_SIZE_MAX) {
            let message =
                format!("`key` has 1 to {KEY_SIZE_MAX} bytes; shorten it or leave it out");
            return Err(Refusal::new(ErrorCode::BadKey, message));
        }
        let (change, payload) = match (self.remove, self.event, self.data) {
            (true, true, _) => return bad("`event` and `remove` exclude each other; send one"),
            (true, false, Some(_)) => return bad("a removal has no `data`; leave it out"),
            (true, false, None) => (Change::Remove, Bytes::new()),
            (false, _, None) => return bad("`data` is missing; give any JSON value"),
            (false, is_event, Some(data)) => {
                let change = if is_event {
                    Change::Event
                } else {
                    Change::Update
                };
                (change, Bytes::copy_from_slice(data.get().as_bytes()))
            }
        };
        if payload.len() > payload_max {
            let message = format!(
                "`data` has {} bytes of at most {payload_max}; send less, or raise payload_max",
                payload.len()
            );
            return Err(Refusal::new(ErrorCode::TooBig, message));
        }
        Ok(PublishRequest {
            topic,
            key: key.map(Into::into),
            change,
            payload,
            payload_kind: PayloadKind::Json,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<PublishRequest, Refusal> {
        JsonMessage::parse(text)?.request(32)
    }

    #[test]
    fn data_is_handed_on_byte_for_byte() {
        let request = parse(r#"{"topic":"a.b","data":{"x" : 1.50 },"key":"kä","more":1}"#).unwrap();
        assert_eq!(request.topic.as_str(), "a.b");
        assert_eq!(&request.payload[..], br#"{"x" : 1.50 }"#);
        assert_eq!(request.key.as_deref(), Some("kä".as_bytes()));
        assert_eq!(request.change, Change::Update);
        let request = parse(r#"{"topic":"a","key":"k","remove":true}"#).unwrap();
        assert_eq!(request.change, Change::Remove);
        let request = parse(r#"{"topic":"a","key":"\u006b","event":true,"data":null}"#).unwrap();
        assert_eq!(request.change, Change::Event);
        assert_eq!(&request.payload[..], b"null");
        assert_eq!(request.key.as_deref(), Some(&b"k"[..]));
    }

    #[test]
    fn refusals_have_the_codes_of_the_wire() {
        let long_key = format!(r#"{{"topic":"a","key":"{}","data":1}}"#, "k".repeat(129));
        let cases = [
            ("", ErrorCode::BadJson),
            ("{", ErrorCode::BadJson),
            ("{} {}", ErrorCode::BadJson),
            (r#"["a","k",1,false,false,1]"#, ErrorCode::BadJson),
            ("5", ErrorCode::BadJson),
            ("{}", ErrorCode::BadRequest),
            (r#"{"topic":5,"data":1}"#, ErrorCode::BadRequest),
            (r#"{"topic":"a"}"#, ErrorCode::BadRequest),
            (r#"{"topic":"a","data":1,"event":1}"#, ErrorCode::BadRequest),
            (
                r#"{"topic":"a","data":1,"remove":true}"#,
                ErrorCode::BadRequest,
            ),
            (
                r#"{"topic":"a","event":true,"remove":true}"#,
                ErrorCode::BadRequest,
            ),
            (r#"{"topic":"a..b","data":1}"#, ErrorCode::BadTopic),
            (r#"{"topic":"a.>","data":1}"#, ErrorCode::BadTopic),
            (r#"{"topic":"a","key":"","data":1}"#, ErrorCode::BadKey),
            (&long_key, ErrorCode::BadKey),
            (
                r#"{"topic":"a","data":"0123456789012345678901234567890123456789"}"#,
                ErrorCode::TooBig,
            ),
        ];
        for (text, code) in cases {
            let refusal = parse(text).unwrap_err();
            assert_eq!(refusal.code, code, "{text}: {}", refusal.message);
            assert!(
                refusal.message.contains(';'),
                "no cure: {}",
                refusal.message
            );
        }
    }
}
