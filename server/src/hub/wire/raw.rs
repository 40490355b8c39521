//! The request target of `/raw/` (docs/protocol.md section 6).
//!
//! Owns its reading. Knows nothing of HTTP.

use std::borrow::Cow;

use super::{ErrorCode, TOPICS_MAX};
use crate::hub::topic::{Filter, TopicName};

/// What a raw connection is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawTarget {
    /// The topic of the path, if that is one name.
    pub topic: Option<TopicName>,
    /// What else to subscribe to: names and patterns of the query, and a pattern in the path.
    pub more: Vec<Filter>,
    /// Whether what the client sends is published on `topic`, which is there then.
    pub publishes: bool,
    /// Whether the client receives anything.
    pub subscribes: bool,
    /// How many of the last messages of each events topic come first.
    pub history: u32,
}

impl RawTarget {
    /// Everything to subscribe to.
    pub fn filters(&self) -> impl Iterator<Item = Filter> {
        let topic = self.topic.iter().cloned().map(Filter::Topic);
        topic
            .chain(self.more.iter().cloned())
            .filter(|_| self.subscribes)
    }
}

type Refusal = (ErrorCode, String);

/// Reads the target of a request line: `/raw/trades?history=10`. None for another path than
/// `/raw/`.
///
/// Commas separate topics once the query is decoded, since browsers encode them; a name with a
/// comma in it can stand in the path alone. Parameters that have no meaning are ignored.
///
/// The inner result is what is wrong with it: a code with cause and cure.
pub fn parse_target(path_and_query: &str) -> Option<Result<RawTarget, (ErrorCode, String)>> {
    let (path, query) = path_and_query
        .split_once('?')
        .unwrap_or((path_and_query, ""));
    let topic = path.strip_prefix("/raw/")?;
    Some(parse_parts(topic, query))
}

fn parse_parts(topic: &str, query: &str) -> Result<RawTarget, Refusal> {
    let mut target = RawTarget {
        topic: None,
        more: Vec::new(),
        publishes: false,
        subscribes: true,
        history: 0,
    };
    if !topic.is_empty() {
        match parse_filter(&decode(topic)?)? {
            Filter::Topic(name) => target.topic = Some(name),
            pattern @ Filter::Pattern(_) => target.more.push(pattern),
        }
    }
    for parameter in query.split('&') {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let value = decode(value)?;
        match decode(name)?.as_ref() {
            "topics" => target.add_topics(&value)?,
            "publish" => target.publishes = parse_switch("publish", &value)?,
            "subscribe" => target.subscribes = parse_switch("subscribe", &value)?,
            "history" => {
                let message = "history is not an integer from 0 to 2^32-1; give one";
                let history = value.parse();
                target.history = history.map_err(|_| bad_request(message))?;
            }
            _ => {}
        }
    }
    target.check()?;
    Ok(target)
}

impl RawTarget {
    fn add_topics(&mut self, topics: &str) -> Result<(), Refusal> {
        for topic in topics.split(',') {
            if self.more.len() + usize::from(self.topic.is_some()) >= TOPICS_MAX {
                return Err(bad_request("there are more than 128 topics; name fewer"));
            }
            self.more.push(parse_filter(topic)?);
        }
        Ok(())
    }

    fn check(&self) -> Result<(), Refusal> {
        if self.publishes && self.topic.is_none() {
            let message = "publish needs one topic to publish on; name it in the path, without \
                           wildcards";
            return Err((ErrorCode::BadTopic, message.to_owned()));
        }
        if !self.publishes && !self.subscribes {
            let message = "subscribe=false without publish leaves nothing to do; add publish";
            return Err(bad_request(message));
        }
        if self.topic.is_none() && self.more.is_empty() {
            let message = "there is no topic; name one in the path, or in ?topics=";
            return Err((ErrorCode::BadTopic, message.to_owned()));
        }
        Ok(())
    }
}

fn bad_request(message: &str) -> Refusal {
    (ErrorCode::BadRequest, message.to_owned())
}

fn parse_filter(text: &str) -> Result<Filter, Refusal> {
    Filter::parse(text).map_err(|error| (ErrorCode::BadTopic, error.to_string()))
}

/// A parameter that is on when it is there.
fn parse_switch(name: &str, value: &str) -> Result<bool, Refusal> {
    match value {
        "" | "1" | "true" => Ok(true),
        "0" | "false" => Ok(false),
        _ => Err(bad_request(&format!(
            "{name} is neither true nor false; give one of them"
        ))),
    }
}

/// Undoes percent-encoding (RFC 3986 2.1). A plus sign is itself.
fn decode(text: &str) -> Result<Cow<'_, str>, Refusal> {
    if !text.contains('%') {
        return Ok(Cow::Borrowed(text));
    }
    let bad_encoding = || bad_request("the percent-encoding is broken; write %XX, in UTF-8");
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let mut digit = || char::from(bytes.next()?).to_digit(16);
        let value = digit().zip(digit()).map(|(high, low)| high * 16 + low);
        let value = value.and_then(|value| u8::try_from(value).ok());
        decoded.push(value.ok_or_else(bad_encoding)?);
    }
    String::from_utf8(decoded)
        .map(Cow::Owned)
        .map_err(|_| bad_encoding())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parsed(target: &str) -> Option<RawTarget> {
        let result = parse_target(target)?;
        assert!(result.is_ok(), "{target}: {result:?}");
        result.ok()
    }

    fn filters(target: &str) -> Vec<String> {
        let target =
            parsed(target).map(|target| target.filters().map(|it| it.to_string()).collect());
        target.unwrap_or_default()
    }

    #[test]
    fn other_paths_are_none_of_its_business() {
        for target in ["/", "/raw", "/rawer/a", "/raw?topics=a", "", "raw/a"] {
            assert_eq!(parse_target(target), None, "{target}");
        }
    }

    #[test]
    fn topics_come_from_path_and_query() {
        let cases: [(&str, &[&str]); 9] = [
            ("/raw/trades.BTC-USD", &["trades.BTC-USD"]),
            ("/raw/a?topics=b,c.*", &["a", "b", "c.*"]),
            ("/raw/?topics=a,b", &["a", "b"]),
            ("/raw/?topics=a%2Cb&topics=%63", &["a", "b", "c"]),
            ("/raw/a%2Eb%c3%A9", &["a.bé"]),
            ("/raw/a/b,c+d", &["a/b,c+d"]),
            ("/raw/trades.%3E?x=y&&token", &["trades.>"]),
            ("/raw/a?publish", &["a"]),
            ("/raw/a?publish&subscribe=false", &[]),
        ];
        for (target, expected) in cases {
            assert_eq!(filters(target), expected, "{target}");
        }
        let target = parsed("/raw/a?publish=1&history=7&%74opics=b");
        let expected = RawTarget {
            topic: TopicName::parse("a").ok(),
            more: Filter::parse("b").into_iter().collect(),
            publishes: true,
            subscribes: true,
            history: 7,
        };
        assert_eq!(target, Some(expected));
        assert_eq!(
            parsed("/raw/a?publish=false").map(|target| target.publishes),
            Some(false)
        );
    }

    #[test]
    fn refusals_say_what_to_do() {
        use ErrorCode::{BadRequest, BadTopic};
        let many = format!("/raw/a?topics={}", vec!["b"; TOPICS_MAX].join(","));
        let cases = [
            ("/raw/", BadTopic),
            ("/raw/a..b", BadTopic),
            ("/raw/a%20b", BadTopic),
            ("/raw/a?topics=", BadTopic),
            ("/raw/a?topics=b,", BadTopic),
            ("/raw/a.*?publish", BadTopic),
            ("/raw/?topics=a&publish", BadTopic),
            ("/raw/a?subscribe=false", BadRequest),
            ("/raw/a?publish=maybe", BadRequest),
            ("/raw/a?history=-1", BadRequest),
            ("/raw/a?history", BadRequest),
            ("/raw/a%2", BadRequest),
            ("/raw/a%+1", BadRequest),
            ("/raw/a%ff", BadRequest),
            (many.as_str(), BadRequest),
        ];
        for (target, code) in cases {
            let Some(Err((told, message))) = parse_target(target) else {
                panic!("{target}: {:?}", parse_target(target));
            };
            assert_eq!(told, code, "{target}");
            assert!(message.contains(';'), "no cure in {message}");
        }
    }

    proptest! {
        #[test]
        fn no_target_panics(rest in "[a%?&=,.*>0-9éf]{0,40}", any in ".*") {
            let _ = parse_target(&format!("/raw/{rest}"));
            let _ = parse_target(&format!("/raw/{any}"));
        }

        #[test]
        fn decoding_undoes_encoding(name in "[^ \\s\\\\\"*>.\\p{Cc}]{1,30}") {
            let encoded: String = name.bytes().map(|byte| format!("%{byte:02X}")).collect();
            prop_assert_eq!(filters(&format!("/raw/{encoded}")), vec![name]);
        }
    }
}
