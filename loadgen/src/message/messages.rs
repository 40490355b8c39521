//! What the messages of a run are and how a reply is recognised, for content of both kinds:
//! generated, which says by itself what it is, and given (`-m`), which does not.
//!
//! Owns the choice between recognising a reply by its identity and taking replies in the order of
//! sending. Knows no frame, no socket and no clock.

use std::hash::Hasher;

use fanwire_protocol::{Message, MessageKind};

use crate::config::Config;
use crate::message::outstanding::Outstanding;
use crate::message::payload::{Codec, Identified, Verify};
use crate::message::sizes::Sizes;
use crate::message::template::{Template, Values};
use crate::message::tokens::Tokens;

/// A reply that is not the oldest outstanding message is compared with at most this many others.
const SEARCH_MAX: usize = 64;

/// Where payloads come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// Bytes of ours, of these sizes.
    Generated(Sizes),
    /// `-m`.
    Given(Template),
}

/// Where masking keys come from (RFC 6455 5.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Masking {
    /// Another one for every frame, as the standard demands.
    #[default]
    Fresh,
    /// The same for all frames of a thread.
    Fixed,
    /// Zero: payloads travel as they are.
    Zero,
}

impl Masking {
    /// The word of the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Masking::Fresh => "fresh",
            Masking::Fixed => "fixed",
            Masking::Zero => "zero",
        }
    }
}

/// Which received messages are replies at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// A reply contains this; empty: anything may be one.
    pub must_contain: Vec<u8>,
    /// What contains one of these is no reply.
    pub ignored: Vec<Vec<u8>>,
}

impl Filter {
    /// Whether a message can be a reply.
    #[inline]
    pub fn accepts(&self, payload: &[u8]) -> bool {
        (self.must_contain.is_empty() || contains(payload, &self.must_contain))
            && !self.ignored.iter().any(|text| contains(payload, text))
    }
}

fn contains(payload: &[u8], text: &[u8]) -> bool {
    // `windows` refuses a size of zero; the empty text is everywhere.
    text.is_empty() || payload.windows(text.len()).any(|window| window == text)
}

/// What the command line says of messages, but for what every command knows: their size, kind and
/// how replies are checked.
#[derive(Clone, Debug, Default)]
pub struct MessageSettings {
    /// `-m`: what is in them.
    pub given: Option<Template>,
    /// Sizes other than one for all.
    pub sizes: Option<Sizes>,
    /// Messages are cut into frames of at most this many payload bytes.
    pub fragment_size_bytes: Option<usize>,
    /// Masking keys.
    pub masking: Masking,
    /// Sent on every connection after its opening handshake, in this order, as text.
    pub first_messages: Vec<Template>,
    /// Which received messages are replies.
    pub filter: Filter,
}

impl MessageSettings {
    /// Whether replies are matched in the order of sending, because they do not say what they are.
    pub fn is_matched_in_order(&self, verify: Verify) -> bool {
        self.given.is_some() || matches!(verify, Verify::None | Verify::Length)
    }
}

/// What the messages of a run are made of.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// Text or binary.
    pub kind: MessageKind,
    /// What is in them.
    pub content: Content,
    /// How much of a reply is checked.
    pub verify: Verify,
    /// Which received messages are replies.
    pub filter: Filter,
    /// What `{token}` stands for.
    pub tokens: Tokens,
    /// Decides generated payloads, and is the same for all threads.
    pub seed: u64,
}

impl Recipe {
    /// What a configuration asks for.
    pub fn of(config: &Config) -> Recipe {
        let message = &config.message;
        let sizes = || message.sizes.clone();
        let content = match &message.given {
            Some(template) => Content::Given(template.clone()),
            None => Content::Generated(sizes().unwrap_or(Sizes::Fixed(config.message_size))),
        };
        Recipe {
            kind: config.kind,
            content,
            verify: config.verify,
            filter: message.filter.clone(),
            tokens: config.tokens.clone(),
            seed: config.seed,
        }
    }
}

#[derive(Debug)]
enum Source {
    Generated(Codec),
    Given {
        template: Template,
        /// What every message is compared with, where they are all alike.
        constant_check: Option<u64>,
        longest: usize,
    },
}

/// Writes the messages of a thread and recognises the replies.
#[derive(Debug)]
pub struct Messages {
    source: Source,
    kind: MessageKind,
    verify: Verify,
    filter: Filter,
    tokens: Tokens,
    random: fastrand::Rng,
    unix_offset_ns: u64,
}

impl Messages {
    /// `own_seed` decides `{rand:N}` and must differ between threads. `unix_offset_ns` is what the clock of the run lacks
    /// to Unix time, which `{now_ns}` and `{now_ms}` show.
    pub fn new(recipe: Recipe, own_seed: u64, unix_offset_ns: u64) -> Messages {
        let Recipe {
            kind,
            content,
            verify,
            filter,
            tokens,
            seed,
        } = recipe;
        let source = match content {
            Content::Generated(sizes) => Source::Generated(Codec::with_sizes(kind, sizes, seed)),
            Content::Given(template) => Source::Given {
                template,
                constant_check: None,
                longest: 0,
            },
        };
        let mut messages = Messages {
            source,
            kind,
            verify,
            filter,
            tokens,
            random: fastrand::Rng::with_seed(own_seed),
            unix_offset_ns,
        };
        messages.look_at_first();
        messages
    }

    /// Given content is written once to learn its length and, if it never changes, its check.
    fn look_at_first(&mut self) {
        let mut payload = Vec::new();
        let check = self.write(0, 0, 0, &mut payload);
        if let Source::Given {
            template,
            constant_check,
            longest,
        } = &mut self.source
        {
            *constant_check = template.is_constant().then_some(check);
            *longest = payload.len();
        }
    }

    /// Text or binary.
    pub fn kind(&self) -> MessageKind {
        self.kind
    }

    /// A length that few messages exceed, for limits on what is received.
    pub fn size_hint(&self) -> usize {
        match &self.source {
            Source::Generated(codec) => codec.size_max(),
            Source::Given { longest, .. } => *longest,
        }
    }

    /// Replaces `out` by a message that is sent at `now_ns`, and returns what its reply will be
    /// compared with.
    #[inline]
    pub fn write(&mut self, connection: u32, sequence: u64, now_ns: u64, out: &mut Vec<u8>) -> u64 {
        match &self.source {
            Source::Generated(codec) => {
                codec.write(connection, sequence, out);
                0
            }
            Source::Given {
                template,
                constant_check,
                ..
            } => {
                out.clear();
                let values = Values {
                    connection,
                    sequence,
                    now_ns: now_ns.saturating_add(self.unix_offset_ns),
                    token: self.tokens.of(connection),
                    topic: "",
                    random: &mut self.random,
                };
                template.render(values, out);
                constant_check.unwrap_or_else(|| check_of(self.verify, out))
            }
        }
    }

    /// Appends a text that is no part of the load (`--first-message`).
    pub fn write_first(
        &mut self,
        template: &Template,
        connection: u32,
        number: u64,
        now_ns: u64,
        out: &mut Vec<u8>,
    ) {
        let values = Values {
            connection,
            sequence: number,
            now_ns: now_ns.saturating_add(self.unix_offset_ns),
            token: self.tokens.of(connection),
            topic: "",
            random: &mut self.random,
        };
        template.render(values, out);
    }

    /// Whether what `write` returns is to be kept with every message.
    #[inline]
    pub fn keeps_checks(&self) -> bool {
        match &self.source {
            Source::Generated(_) => false,
            Source::Given { constant_check, .. } => {
                constant_check.is_none() && self.verify != Verify::None
            }
        }
    }

    /// Whether a received message can be a reply at all.
    #[inline]
    pub fn is_reply(&self, payload: &[u8]) -> bool {
        self.filter.accepts(payload)
    }

    /// Which outstanding message a reply answers.
    #[inline]
    pub fn identify(
        &self,
        connection: u32,
        message: &Message<'_>,
        outstanding: &Outstanding,
    ) -> Identified {
        if let (Source::Generated(codec), Verify::Full | Verify::Hash) = (&self.source, self.verify)
        {
            let is_outstanding = |sequence| outstanding.contains(sequence);
            let (payload, kind) = (message.payload, message.kind);
            return codec.identify(
                connection,
                payload,
                kind,
                outstanding.range(),
                is_outstanding,
            );
        }
        let Some(oldest) = outstanding.oldest() else {
            return Identified::Unsolicited;
        };
        match (&self.source, self.verify) {
            (_, Verify::None) => Identified::Exact(oldest),
            (Source::Generated(codec), _) => {
                if message.payload.len() == codec.size_of(connection, oldest) {
                    Identified::Exact(oldest)
                } else {
                    Identified::Corrupt(oldest)
                }
            }
            (Source::Given { constant_check, .. }, _) => {
                self.compare(message, *constant_check, outstanding, oldest)
            }
        }
    }

    /// Given content: the oldest message that the reply equals, else a corrupt reply to the oldest.
    fn compare(
        &self,
        message: &Message<'_>,
        constant_check: Option<u64>,
        outstanding: &Outstanding,
        oldest: u64,
    ) -> Identified {
        let check = check_of(self.verify, message.payload);
        let is_kind = self.verify == Verify::Length || message.kind == self.kind;
        let found = match constant_check {
            Some(constant) => (constant == check).then_some(oldest),
            // A length says too little to tell a younger message by it.
            None if self.verify == Verify::Length => {
                (outstanding.check(oldest) == Some(check)).then_some(oldest)
            }
            None => outstanding
                .range()
                .take(SEARCH_MAX)
                .find(|sequence| outstanding.check(*sequence) == Some(check)),
        };
        match found {
            Some(sequence) if is_kind => Identified::Exact(sequence),
            Some(sequence) => Identified::Corrupt(sequence),
            None => Identified::Corrupt(oldest),
        }
    }
}

/// What is kept of a message that cannot be written a second time.
fn check_of(verify: Verify, payload: &[u8]) -> u64 {
    match verify {
        Verify::None => 0,
        Verify::Length => payload.len() as u64,
        Verify::Hash | Verify::Full => {
            // SipHash with a fixed key: good enough to find what a server has damaged.
            let mut hasher = std::hash::DefaultHasher::new();
            hasher.write(payload);
            hasher.finish()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::outstanding::Stamps;

    const STAMPS: Stamps = Stamps {
        intended_ns: 1,
        sent_ns: 1,
    };

    fn messages(text: &str, verify: Verify) -> Messages {
        let recipe = Recipe {
            kind: MessageKind::Text,
            content: Content::Given(Template::parse(text).expect(text)),
            verify,
            filter: Filter::default(),
            tokens: Tokens::default(),
            seed: 1,
        };
        Messages::new(recipe, 2, 1_000)
    }

    /// Books three messages and returns them.
    fn send(messages: &mut Messages, outstanding: &mut Outstanding) -> Vec<Vec<u8>> {
        (0..3)
            .map(|sequence| {
                let mut payload = Vec::new();
                let check = messages.write(4, sequence, 50, &mut payload);
                if messages.keeps_checks() {
                    outstanding.push_checked(STAMPS, check);
                } else {
                    outstanding.push(STAMPS);
                }
                payload
            })
            .collect()
    }

    fn identify(messages: &Messages, payload: &[u8], outstanding: &Outstanding) -> Identified {
        let message = Message {
            kind: MessageKind::Text,
            payload,
            compressed: false,
        };
        messages.identify(4, &message, outstanding)
    }

    #[test]
    fn a_template_is_recognised_by_its_hash_even_out_of_order() {
        let mut messages = messages("{conn}:{seq}:{now_ns}:{rand:8}", Verify::Hash);
        let mut outstanding = Outstanding::default();
        let sent = send(&mut messages, &mut outstanding);
        assert!(sent[1].starts_with(b"4:1:1050:"));
        assert_eq!(
            identify(&messages, &sent[1], &outstanding),
            Identified::Exact(1)
        );
        assert!(outstanding.answer(1).is_some());
        assert_eq!(
            identify(&messages, &sent[0], &outstanding),
            Identified::Exact(0)
        );
        assert_eq!(
            identify(&messages, b"4:0:OTHER", &outstanding),
            Identified::Corrupt(0)
        );
    }

    #[test]
    fn a_constant_message_keeps_nothing() {
        let mut messages = messages("{\"op\":\"echo\"}", Verify::Full);
        let mut outstanding = Outstanding::default();
        let sent = send(&mut messages, &mut outstanding);
        assert!(!messages.keeps_checks());
        assert_eq!(
            identify(&messages, &sent[2], &outstanding),
            Identified::Exact(0)
        );
        assert_eq!(
            identify(&messages, b"{\"OP\":\"ECHO\"}", &outstanding),
            Identified::Corrupt(0)
        );
        let nothing = Outstanding::default();
        assert_eq!(
            identify(&messages, &sent[2], &nothing),
            Identified::Unsolicited
        );
    }

    #[test]
    fn lengths_and_nothing() {
        let mut lengths = messages("{seq}{seq}", Verify::Length);
        let mut outstanding = Outstanding::default();
        send(&mut lengths, &mut outstanding);
        assert_eq!(
            identify(&lengths, b"xy", &outstanding),
            Identified::Exact(0)
        );
        assert_eq!(
            identify(&lengths, b"xyz", &outstanding),
            Identified::Corrupt(0)
        );

        let mut nothing = messages("{seq}", Verify::None);
        let mut outstanding = Outstanding::default();
        send(&mut nothing, &mut outstanding);
        assert!(!nothing.keeps_checks());
        assert_eq!(
            identify(&nothing, b"anything", &outstanding),
            Identified::Exact(0)
        );
    }

    #[test]
    fn filters() {
        let filter = Filter {
            must_contain: b"\"reply\"".to_vec(),
            ignored: vec![b"heartbeat".to_vec()],
        };
        assert!(filter.accepts(b"{\"reply\":1}"));
        assert!(!filter.accepts(b"{\"push\":1}"));
        assert!(!filter.accepts(b"{\"reply\":\"heartbeat\"}"));
        assert!(!filter.accepts(b""));
        assert!(Filter::default().accepts(b""));
    }
}
