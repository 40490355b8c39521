//! A server that knows nothing of us: what is said to it, in the words of the command line, and how
//! its answers are recognised.
//!
//! Owns the sentences of `--dialect custom`. What is measured with them is nobody's business here.

use crate::fanout::pointer::{Pointer, reads};
use crate::message::template::{Template, Values};

/// The placeholder of `--publish` that our payload takes.
const PAYLOAD: &str = "{payload}";
const TOPIC: &str = "{topic}";

/// What a connection says, once or for every topic.
#[derive(Clone, Debug)]
pub struct Sentence {
    template: Template,
    names_topic: bool,
}

impl Sentence {
    /// Takes a text of the command line apart.
    ///
    /// # Errors
    /// A placeholder that cannot be filled.
    pub fn parse(text: &str) -> Result<Sentence, String> {
        if text.contains(PAYLOAD) {
            return Err(format!(
                "'{text}': {PAYLOAD} stands for what publishers send, and belongs into --publish"
            ));
        }
        Ok(Sentence {
            template: Template::parse(text)?,
            names_topic: text.contains(TOPIC),
        })
    }

    /// Whether it needs `--token-file`.
    pub fn has_token(&self) -> bool {
        self.template.has_token()
    }

    /// Calls `say` with what a connection of these topics says: one message, or one for each topic
    /// if the sentence names it.
    pub fn each<'t>(
        &self,
        speaker: &mut Speaker<'_>,
        topics: impl Iterator<Item = &'t str>,
        mut say: impl FnMut(Vec<u8>),
    ) {
        let count = if self.names_topic { usize::MAX } else { 1 };
        for (place, topic) in topics.take(count).enumerate() {
            let mut out = Vec::new();
            let values = Values {
                connection: speaker.connection,
                sequence: place as u64,
                now_ns: speaker.now_ns,
                token: speaker.token,
                topic,
                random: &mut speaker.random,
            };
            self.template.render(values, &mut out);
            say(out);
        }
    }
}

/// Who says it.
#[derive(Debug)]
pub struct Speaker<'a> {
    /// Number of the connection in the whole run.
    pub connection: u32,
    /// Time since 1970.
    pub now_ns: u64,
    /// Its line of `--token-file`.
    pub token: &'a str,
    /// For `{rand:N}`.
    pub random: fastrand::Rng,
}

/// What a published message is about.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    /// Number of the publisher's connection in the whole run.
    pub connection: u32,
    /// Place in its stream.
    pub sequence: u64,
    /// Time since 1970.
    pub now_ns: u64,
    /// The publisher's line of `--token-file`.
    pub token: &'a str,
    /// Name of the topic.
    pub topic: &'a str,
}

/// What publishers send.
#[derive(Clone, Debug)]
pub struct Publish {
    front: Template,
    back: Template,
    /// Our payload stands inside a JSON string, so that a JSON document needs escapes.
    is_quoted: bool,
    has_token: bool,
}

impl Publish {
    /// Takes `--publish` apart.
    ///
    /// # Errors
    /// A text without our payload, or with it more than once.
    pub fn parse(text: &str) -> Result<Publish, String> {
        let halves = text.split_once(PAYLOAD);
        let Some((front, back)) = halves.filter(|(_, back)| !back.contains(PAYLOAD)) else {
            return Err(format!(
                "--publish '{text}' must contain {PAYLOAD} exactly once: it is what subscribers \
                 recognise a message by. Write for example \
                 --publish '{{\"op\":\"pub\",\"ch\":\"BTC\",\"data\":\"{PAYLOAD}\"}}'"
            ));
        };
        let (front_template, back_template) = (Template::parse(front)?, Template::parse(back)?);
        Ok(Publish {
            is_quoted: is_inside_string(front) && !back.is_empty(),
            has_token: front_template.has_token() || back_template.has_token(),
            front: front_template,
            back: back_template,
        })
    }

    /// Whether it needs `--token-file`.
    pub fn has_token(&self) -> bool {
        self.has_token
    }

    /// Appends a message around `payload`.
    pub fn write(
        &self,
        about: About<'_>,
        random: &mut fastrand::Rng,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) {
        let mut side = |template: &Template, out: &mut Vec<u8>| {
            let values = Values {
                connection: about.connection,
                sequence: about.sequence,
                now_ns: about.now_ns,
                token: about.token,
                topic: about.topic,
                random: &mut *random,
            };
            template.render(values, out);
        };
        side(&self.front, out);
        if self.is_quoted {
            for byte in payload {
                if matches!(byte, b'"' | b'\\') {
                    out.push(b'\\');
                }
                out.push(*byte);
            }
        } else {
            out.extend_from_slice(payload);
        }
        side(&self.back, out);
    }
}

/// Whether what follows `front` is inside a string, if `front` is the beginning of a JSON text.
fn is_inside_string(front: &str) -> bool {
    let mut is_inside = false;
    let mut characters = front.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' if is_inside => drop(characters.next()),
            '"' => is_inside = !is_inside,
            _ => {}
        }
    }
    is_inside
}

/// How a message of the server is recognised: by a text that it contains, or by a value of its JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    pointer: Option<Pointer>,
    wanted: String,
}

impl Pattern {
    /// Reads `TEXT` or `json:/pointer=value`.
    ///
    /// # Errors
    /// A pointer that is none, or nothing to look for.
    pub fn parse(text: &str) -> Result<Pattern, String> {
        let Some(rest) = text.strip_prefix("json:") else {
            if text.is_empty() {
                return Err("an empty text is part of every message".into());
            }
            return Ok(Pattern {
                pointer: None,
                wanted: text.to_owned(),
            });
        };
        let Some((pointer, wanted)) = rest.split_once('=') else {
            return Err(format!(
                "'{text}' lacks a value; write for example json:/type=subscribed"
            ));
        };
        Ok(Pattern {
            pointer: Some(Pointer::parse(pointer)?),
            wanted: wanted.to_owned(),
        })
    }

    /// The same for messages that are about no topic.
    ///
    /// # Errors
    /// Those of [`Pattern::parse`], and a text that names the topic.
    pub fn parse_plain(text: &str) -> Result<Pattern, String> {
        let pattern = Pattern::parse(text)?;
        if pattern.names_topic() {
            return Err(format!(
                "'{text}': answers are taken in the order of what was sent, whatever its {TOPIC}"
            ));
        }
        Ok(pattern)
    }

    /// Whether it tells topics apart.
    pub fn names_topic(&self) -> bool {
        self.wanted.contains(TOPIC)
    }

    /// Whether a message is what is looked for, about `topic` if the pattern names one.
    pub fn matches(&self, message: &[u8], topic: &str) -> bool {
        // Subscriptions are confirmed before the load, so that this may take its time.
        let with_topic = self
            .names_topic()
            .then(|| self.wanted.replace(TOPIC, topic));
        let wanted = with_topic.as_ref().unwrap_or(&self.wanted).as_bytes();
        match &self.pointer {
            None => memchr::memmem::find(message, wanted).is_some(),
            Some(pointer) => pointer
                .find(message)
                .is_some_and(|value| reads(value, wanted)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn speaker() -> Speaker<'static> {
        Speaker {
            connection: 7,
            now_ns: 5_000_000,
            token: "t0k",
            random: fastrand::Rng::with_seed(1),
        }
    }

    fn said(text: &str) -> Vec<String> {
        let sentence = Sentence::parse(text).expect(text);
        let mut all = Vec::new();
        sentence.each(&mut speaker(), ["a", "b"].into_iter(), |message| {
            all.push(String::from_utf8(message).expect("text"));
        });
        all
    }

    #[test]
    fn a_sentence_is_said_once_or_for_every_topic() {
        assert_eq!(
            said(r#"{"op":"sub","ch":"BTC"}"#),
            [r#"{"op":"sub","ch":"BTC"}"#]
        );
        assert_eq!(said("sub {topic} as {conn}"), ["sub a as 7", "sub b as 7"]);
        assert_eq!(said("login {token} {now_ms}"), ["login t0k 5"]);
        assert!(Sentence::parse("say {payload}").is_err());
    }

    fn published(text: &str, payload: &str) -> String {
        let mut out = Vec::new();
        let publish = Publish::parse(text).expect(text);
        let about = About {
            connection: 7,
            sequence: 3,
            now_ns: 5_000_000,
            token: "t0k",
            topic: "a",
        };
        let mut random = fastrand::Rng::with_seed(1);
        publish.write(about, &mut random, payload.as_bytes(), &mut out);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn payloads_are_escaped_where_they_stand_in_a_string() {
        let document = r#"{"a":"b"}"#;
        assert_eq!(published("{payload}", document), document);
        let text = r#"{"ch":"{topic}","n":{seq},"data":{payload}}"#;
        assert_eq!(
            published(text, document),
            r#"{"ch":"a","n":3,"data":{"a":"b"}}"#
        );
        let text = r#"{"x":"\"","data":"{payload}"}"#;
        let message: serde_json::Value =
            serde_json::from_str(&published(text, document)).expect("JSON");
        assert_eq!(message["data"], document);
        assert_eq!(published("MSG {token} {payload}\n", "x"), "MSG t0k x\n");
        for wrong in ["", "{seq}", "{payload}{payload}"] {
            let error = Publish::parse(wrong).expect_err(wrong);
            assert!(error.contains("--publish"), "{error}");
        }
    }

    #[test]
    fn answers_are_recognised() {
        let pattern = |text| Pattern::parse(text).expect(text);
        assert!(pattern("ok").matches(b"it is ok", ""));
        assert!(!pattern("ok").matches(b"no", ""));
        let typed = pattern("json:/type=subscribed");
        assert!(typed.matches(br#"{"type":"subscribed"}"#, ""));
        assert!(!typed.matches(br#"{"kind":"subscribed"}"#, "") && !typed.names_topic());
        let named = pattern("json:/ch={topic}");
        assert!(named.matches(br#"{"ch":"a"}"#, "a") && !named.matches(br#"{"ch":"a"}"#, "b"));
        assert!(pattern("json:/id=1").matches(br#"{"id":1}"#, ""));
        assert!(Pattern::parse_plain("ok").is_ok() && Pattern::parse_plain("{topic}").is_err());
        for wrong in ["", "json:/a", "json:a=1"] {
            assert!(Pattern::parse(wrong).is_err(), "{wrong}");
        }
    }
}
