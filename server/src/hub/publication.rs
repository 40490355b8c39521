//! One published message, and the frames that carry it.
//!
//! Owns the message and every byte string that was ever made of it: one for each variant at most,
//! shared by all subscribers of all cores. Knows nothing of who gets it.

use std::sync::OnceLock;

use bytes::Bytes;
use fanwire_protocol::frame::Header;
use fanwire_protocol::{MessageKind, SharedDeflater, server_frame};

use super::topic::TopicName;
use super::wire::{binary, json};

/// Scratch memory that a compressor keeps from one message to the next, in bytes, for each of its
/// two buffers: what a larger message needed is given back.
const SCRATCH_KEPT_MAX: usize = 256 << 10;

/// What a message does to its key (docs/protocol.md section 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// It is the state of its key from now on. Every message of an events topic is one.
    Update,
    /// It belongs to its key and is no state. On state topics alone.
    Event,
    /// The key has no state any more. On state topics alone.
    Remove,
}

/// What a payload is, which decides how JSON and raw subscribers receive it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PayloadKind {
    /// One JSON value, in UTF-8.
    Json,
    /// Other text, in UTF-8.
    Text,
    /// Anything else.
    Binary,
}

/// The three ways of speaking (docs/protocol.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// `fanwire.v1.json`.
    Json,
    /// `fanwire.v1.binary`.
    Binary,
    /// `/raw/`.
    Raw,
}

/// One of the ways to encode a message: a format, compressed or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Variant(u8);

impl Variant {
    /// How many there are.
    pub const COUNT: usize = 6;

    /// The variant for a subscriber that speaks `format`. `is_deflated` is for those alone that
    /// agreed on `server_no_context_takeover` and a window of [`Compressor::window_bits`] at least.
    pub const fn new(format: Format, is_deflated: bool) -> Self {
        let format = match format {
            Format::Json => 0,
            Format::Binary => 1,
            Format::Raw => 2,
        };
        Self(format * 2 + is_deflated as u8)
    }

    /// A number below [`Variant::COUNT`].
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// The format.
    pub const fn format(self) -> Format {
        match self.0 / 2 {
            0 => Format::Json,
            1 => Format::Binary,
            _ => Format::Raw,
        }
    }

    /// Whether messages are compressed where that makes them smaller.
    pub const fn is_deflated(self) -> bool {
        self.0 % 2 == 1
    }
}

/// What a publisher hands in, besides the topic.
#[derive(Clone, Debug)]
pub struct Content {
    /// What it does to its key.
    pub change: Change,
    /// The key, UTF-8; needed on state topics.
    pub key: Option<Box<[u8]>>,
    /// The payload; empty for a removal.
    pub payload: Bytes,
    /// What the payload is.
    pub payload_kind: PayloadKind,
}

/// One message of a topic, shared by all cores.
#[derive(Debug)]
pub struct Publication {
    /// The topic.
    pub topic: TopicName,
    /// The number that stands for the topic in the binary format.
    pub alias: u32,
    /// Its number within the epoch of the topic, from 1.
    pub seq: u64,
    /// What it does to its key.
    pub change: Change,
    /// The key, UTF-8.
    pub key: Option<Box<[u8]>>,
    /// The payload; empty for a removal.
    pub payload: Bytes,
    /// What the payload is.
    pub payload_kind: PayloadKind,
    /// When it was accepted, in nanoseconds of the hub's clock.
    pub accepted_ns: u64,
    frames: [OnceLock<Bytes>; Variant::COUNT],
}

impl Publication {
    /// The message that `content` became.
    pub fn new(topic: TopicName, alias: u32, seq: u64, accepted_ns: u64, content: Content) -> Self {
        Self {
            topic,
            alias,
            seq,
            change: content.change,
            key: content.key,
            payload: content.payload,
            payload_kind: content.payload_kind,
            accepted_ns,
            frames: Default::default(),
        }
    }

    /// The whole message as one WebSocket server frame, ready to be sent; encoded when it is first
    /// asked for. Empty where there is nothing to send: raw subscribers are not shown removals.
    ///
    /// A compressed variant that would not be smaller, or that the compressor holds to be too
    /// short to be tried, is the same bytes as the plain one.
    ///
    /// Should two cores ask for the first time at once, both encode and one result is kept: neither
    /// waits for the other's encoding.
    pub fn frame(&self, variant: Variant, compressor: &mut Compressor) -> &Bytes {
        // The index is below the size of the array; the fallback is never taken.
        let slot = self.frames.get(variant.index()).unwrap_or(&self.frames[0]);
        if let Some(frame) = slot.get() {
            return frame;
        }
        let frame = if variant.is_deflated() {
            self.encode_deflated(variant.format(), compressor)
        } else {
            self.encode_plain(variant.format(), compressor)
        };
        slot.get_or_init(|| frame)
    }

    /// Memory that it takes, in bytes, in a hub where one variant is in use: itself, its key, its
    /// payload and a frame. Frames of further variants are as long again. A number that never
    /// changes, so that all cores evict the same messages.
    pub fn memory_bytes(&self) -> usize {
        Self::memory_bytes_of(
            self.key.as_deref().map_or(0, <[u8]>::len),
            self.payload.len(),
        )
    }

    /// [`Publication::memory_bytes`] of a message that does not exist yet.
    pub fn memory_bytes_of(key_size: usize, payload_size: usize) -> usize {
        size_of::<Self>() + 2 * (key_size + payload_size)
    }

    /// Text or binary, for one format.
    fn message_kind(&self, format: Format) -> MessageKind {
        match (format, self.payload_kind) {
            (Format::Json, _) | (Format::Raw, PayloadKind::Json | PayloadKind::Text) => {
                MessageKind::Text
            }
            (Format::Binary, _) | (Format::Raw, PayloadKind::Binary) => MessageKind::Binary,
        }
    }

    fn encode_plain(&self, format: Format, compressor: &mut Compressor) -> Bytes {
        let kind = self.message_kind(format);
        let scratch = &mut compressor.payload;
        scratch.clear();
        match format {
            Format::Json => json::message(self, scratch),
            Format::Binary => binary::message(self, scratch),
            Format::Raw if self.change == Change::Remove => return Bytes::new(),
            Format::Raw => return server_frame(kind, &self.payload, false),
        }
        let frame = server_frame(kind, scratch, false);
        shrink(scratch);
        frame
    }

    fn encode_deflated(&self, format: Format, compressor: &mut Compressor) -> Bytes {
        let plain = self.frame(Variant::new(format, false), compressor);
        let payload = match Header::parse(plain) {
            Ok(Some((_, header_size))) => plain.get(header_size..).unwrap_or_default(),
            _ => &[],
        };
        match compressor.deflate(payload) {
            Some(compressed) => server_frame(self.message_kind(format), compressed, true),
            None => plain.clone(),
        }
    }
}

/// What a core encodes and compresses with. It holds no state between messages but memory.
#[derive(Debug)]
pub struct Compressor {
    window_bits: u8,
    level: u32,
    deflate_min_bytes: usize,
    /// Made when it is first needed: it takes some hundred KiB.
    deflater: Option<SharedDeflater>,
    payload: Vec<u8>,
    compressed: Vec<u8>,
}

impl Compressor {
    /// Compresses messages of `deflate_min_bytes` and more, with a window of 2^`window_bits` bytes
    /// (9 to 15; others are brought into that range) and `level` 1 (fast) to 9 (small). All
    /// compressors of a hub must be made alike, as they share what they make.
    pub fn new(window_bits: u8, level: u32, deflate_min_bytes: usize) -> Self {
        Self {
            window_bits: window_bits.clamp(9, 15),
            level,
            deflate_min_bytes,
            deflater: None,
            payload: Vec::new(),
            compressed: Vec::new(),
        }
    }

    /// The window in force, as its base-2 logarithm. A subscriber that agreed on a smaller one
    /// must get plain variants.
    pub fn window_bits(&self) -> u8 {
        self.window_bits
    }

    /// What `payload` became, unless that is of no use.
    fn deflate(&mut self, payload: &[u8]) -> Option<&[u8]> {
        if payload.is_empty() || payload.len() < self.deflate_min_bytes {
            return None;
        }
        let deflater = self
            .deflater
            .get_or_insert_with(|| SharedDeflater::new(self.window_bits, self.level));
        shrink(&mut self.compressed);
        self.compressed.clear();
        if !deflater.deflate(payload, &mut self.compressed) {
            self.deflater = None;
            return None;
        }
        (self.compressed.len() < payload.len()).then_some(&self.compressed)
    }
}

/// Gives back what only a large message needs.
fn shrink(scratch: &mut Vec<u8>) {
    if scratch.capacity() > SCRATCH_KEPT_MAX {
        scratch.clear();
        scratch.shrink_to(SCRATCH_KEPT_MAX);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Barrier};

    use super::*;
    use fanwire_protocol::{
        Connection, DeflateParameters, Event, Input, Message, Settings, Workspace,
    };
    use proptest::prelude::*;

    const WINDOW_BITS: u8 = 12;

    fn publication(change: Change, payload_kind: PayloadKind, payload: &[u8]) -> Publication {
        let content = Content {
            change,
            key: Some(b"key"[..].into()),
            payload: Bytes::copy_from_slice(payload),
            payload_kind,
        };
        match TopicName::parse("a") {
            Ok(topic) => Publication::new(topic, 7, 3, 0, content),
            Err(error) => panic!("{error}"),
        }
    }

    fn compressor(deflate_min_bytes: usize) -> Compressor {
        Compressor::new(WINDOW_BITS, 6, deflate_min_bytes)
    }

    /// What a client makes of a frame: the kind and the payload of its one message.
    fn received(frame: &[u8]) -> Option<(MessageKind, Vec<u8>)> {
        let agreed = DeflateParameters {
            server_no_context_takeover: true,
            client_no_context_takeover: true,
            server_max_window_bits: WINDOW_BITS,
            client_max_window_bits: 15,
        };
        let settings = Arc::new(Settings::client());
        let mut connection = Connection::new(settings, Some(agreed));
        let mut workspace = Workspace::default();
        let mut bytes = frame.to_vec();
        let mut input = Input::new(&mut bytes);
        let event = connection.receiver.next_event(&mut input, &mut workspace);
        let message = match event {
            Ok(Some(Event::Message(Message { kind, payload, .. }))) => (kind, payload.to_vec()),
            other => panic!("{other:?}"),
        };
        (input.remaining() == 0).then_some(message)
    }

    const FORMATS: [Format; 3] = [Format::Json, Format::Binary, Format::Raw];

    #[test]
    fn variants_are_numbered() {
        let mut indexes = Vec::new();
        for format in FORMATS {
            for is_deflated in [false, true] {
                let variant = Variant::new(format, is_deflated);
                assert_eq!(
                    (variant.format(), variant.is_deflated()),
                    (format, is_deflated)
                );
                indexes.push(variant.index());
            }
        }
        assert_eq!(indexes, (0..Variant::COUNT).collect::<Vec<_>>());
    }

    proptest! {
        #[test]
        fn every_variant_reaches_a_client(
            payload in "[0-9,]{0,80}",
            repeats in 1_usize..40,
            deflate_min_bytes in 0_usize..600,
        ) {
            use MessageKind::{Binary, Text};
            let payload = payload.repeat(repeats);
            let mut compressor = compressor(deflate_min_bytes);
            for payload_kind in [PayloadKind::Json, PayloadKind::Text, PayloadKind::Binary] {
                let publication = publication(Change::Update, payload_kind, payload.as_bytes());
                let (mut in_json, mut in_binary) = (Vec::new(), Vec::new());
                json::message(&publication, &mut in_json);
                binary::message(&publication, &mut in_binary);
                let raw_kind = if payload_kind == PayloadKind::Binary { Binary } else { Text };
                let expected = [
                    (Text, in_json),
                    (Binary, in_binary),
                    (raw_kind, payload.clone().into_bytes()),
                ];
                for (format, expected) in FORMATS.into_iter().zip(expected) {
                    let size = expected.1.len();
                    for is_deflated in [true, false] {
                        let variant = Variant::new(format, is_deflated);
                        let frame = publication.frame(variant, &mut compressor);
                        prop_assert_eq!(received(frame), Some(expected.clone()));
                        let again = publication.frame(variant, &mut compressor);
                        prop_assert_eq!(frame.as_ptr(), again.as_ptr());
                    }
                    let plain = publication.frame(Variant::new(format, false), &mut compressor);
                    let deflated = publication.frame(Variant::new(format, true), &mut compressor);
                    if size < deflate_min_bytes {
                        prop_assert_eq!(plain.as_ptr(), deflated.as_ptr());
                    } else if repeats > 10 && payload.len() > 200 {
                        prop_assert!(deflated.len() < plain.len());
                    }
                    prop_assert!(deflated.len() <= plain.len());
                }
            }
        }
    }

    #[test]
    fn what_does_not_shrink_is_sent_as_it_is() {
        let mut state = 1_u32;
        let noise: Vec<u8> = (0..1000)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            })
            .collect();
        let publication = publication(Change::Update, PayloadKind::Binary, &noise);
        let mut compressor = compressor(0);
        for format in [Format::Binary, Format::Raw] {
            let plain = publication.frame(Variant::new(format, false), &mut compressor);
            let deflated = publication.frame(Variant::new(format, true), &mut compressor);
            assert_eq!(plain.as_ptr(), deflated.as_ptr());
        }
    }

    #[test]
    fn raw_subscribers_are_not_shown_removals() {
        let publication = publication(Change::Remove, PayloadKind::Json, b"");
        let mut compressor = compressor(0);
        for is_deflated in [true, false] {
            for format in FORMATS {
                let frame = publication.frame(Variant::new(format, is_deflated), &mut compressor);
                assert_eq!(frame.is_empty(), format == Format::Raw, "{format:?}");
            }
        }
    }

    #[test]
    fn scratch_memory_is_given_back() {
        let large = vec![b'1'; 4 * SCRATCH_KEPT_MAX];
        let mut compressor = compressor(0);
        for payload in [&large[..], b"1"] {
            let publication = publication(Change::Update, PayloadKind::Json, payload);
            publication.frame(Variant::new(Format::Json, true), &mut compressor);
        }
        assert!(compressor.payload.capacity() <= SCRATCH_KEPT_MAX);
        assert!(compressor.compressed.capacity() <= SCRATCH_KEPT_MAX);
        assert_eq!(compressor.window_bits(), WINDOW_BITS);
    }

    #[test]
    fn cores_that_ask_at_once_share_one_frame() {
        const CORES: usize = 4;
        for round in 0..50 {
            let payload = format!("[{}{round}]", "1,".repeat(200));
            let publication = publication(Change::Update, PayloadKind::Json, payload.as_bytes());
            let start = Barrier::new(CORES);
            let addresses: Vec<_> = std::thread::scope(|scope| {
                let ask = || {
                    let mut compressor = compressor(0);
                    start.wait();
                    let variant = Variant::new(Format::Json, true);
                    publication.frame(variant, &mut compressor).as_ptr() as usize
                };
                let cores: Vec<_> = (0..CORES).map(|_| scope.spawn(ask)).collect();
                cores
                    .into_iter()
                    .filter_map(|core| core.join().ok())
                    .collect()
            });
            assert_eq!(addresses.len(), CORES);
            assert!(addresses.iter().all(|address| *address == addresses[0]));
        }
    }
}
