//! What a message contains, and whether a reply is that message.
//!
//! A payload is a pure function of (connection, sequence): an identity in front, then a slice of
//! one shared pattern at an offset that depends on the sequence. Building it is two copies and
//! checking it is two compares, and a reply that belongs to another connection, another message
//! or another length can never pass. Knows no frame and no clock.

use std::ops::Range;

use fanwire_protocol::MessageKind as Kind;

use crate::message::sizes::Sizes;

/// How much of a reply is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verify {
    /// Replies are matched in order of sending and not looked at.
    None,
    /// In order, and the length must be that of the message.
    Length,
    /// A 64-bit hash of every message is kept until its reply has come.
    Hash,
    /// Every byte.
    Full,
}

impl Verify {
    /// The word of the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Verify::None => "none",
            Verify::Length => "len",
            Verify::Hash => "hash",
            Verify::Full => "full",
        }
    }
}

/// Sequence numbers keep 40 bits in the identity; the upper 24 are the connection.
const SEQUENCE_BITS: u32 = 40;
const SEQUENCE_MASK: u64 = (1 << SEQUENCE_BITS) - 1;
/// Connections a run can number: what fits beside the sequence.
pub const CONNECTIONS_MAX: u32 = 1 << (64 - SEQUENCE_BITS);
/// Neighbouring sequences take the pattern at offsets that repeat after this many messages.
const PATTERN_OFFSETS: usize = 61;
const BINARY_IDENTITY: usize = 8;
const TEXT_IDENTITY: usize = 16;
const HEX: &[u8; 16] = b"0123456789abcdef";

/// Writes and recognises the payloads of a run. One per thread; the pattern depends on the seed
/// only, so all threads of a run agree.
#[derive(Debug)]
pub struct Codec {
    kind: Kind,
    sizes: Sizes,
    seed: u64,
    pattern: Vec<u8>,
}

impl Codec {
    /// Payloads of `size` bytes.
    pub fn new(kind: Kind, size: usize, seed: u64) -> Codec {
        Codec::with_sizes(kind, Sizes::Fixed(size), seed)
    }

    /// Payloads of many sizes.
    pub fn with_sizes(kind: Kind, sizes: Sizes, seed: u64) -> Codec {
        let mut random = fastrand::Rng::with_seed(seed ^ 0x7061_7474_6572_6e00);
        let pattern = (0..sizes.max() + PATTERN_OFFSETS)
            .map(|_| match kind {
                Kind::Binary => random.u8(..),
                Kind::Text => random.u8(b' '..=b'~'),
            })
            .collect();
        Codec {
            kind,
            sizes,
            seed,
            pattern,
        }
    }

    /// Text or binary.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Length of a message's payload.
    #[inline]
    pub fn size_of(&self, connection: u32, sequence: u64) -> usize {
        self.sizes.of(self.seed, connection, sequence)
    }

    /// The longest payload there is.
    pub fn size_max(&self) -> usize {
        self.sizes.max()
    }

    fn identity_size(&self) -> usize {
        match self.kind {
            Kind::Binary => BINARY_IDENTITY,
            Kind::Text => TEXT_IDENTITY,
        }
    }

    /// The identity in wire order, least significant part first, so that a short payload keeps
    /// the part that changes from message to message.
    fn identity(&self, connection: u32, sequence: u64) -> [u8; TEXT_IDENTITY] {
        let identity = (u64::from(connection) << SEQUENCE_BITS) | (sequence & SEQUENCE_MASK);
        let mut out = [0; TEXT_IDENTITY];
        match self.kind {
            Kind::Binary => out[..BINARY_IDENTITY].copy_from_slice(&identity.to_le_bytes()),
            Kind::Text => {
                for (position, digit) in out.iter_mut().enumerate() {
                    *digit = HEX[(identity >> (position * 4)) as usize & 15];
                }
            }
        }
        out
    }

    /// What follows the identity. 61 is a prime that no flipped bit of the identity, in binary or
    /// in hexadecimal, is a multiple of, so a damaged identity never meets a matching tail.
    fn tail(&self, connection: u32, sequence: u64, size: usize) -> &[u8] {
        let offset =
            (sequence.wrapping_add(u64::from(connection)) % PATTERN_OFFSETS as u64) as usize;
        let length = size.saturating_sub(self.identity_size());
        &self.pattern[offset..offset + length]
    }

    /// Replaces `out` by the payload of a message.
    pub fn write(&self, connection: u32, sequence: u64, out: &mut Vec<u8>) {
        out.clear();
        let size = self.size_of(connection, sequence);
        let head = size.min(self.identity_size());
        out.extend_from_slice(&self.identity(connection, sequence)[..head]);
        out.extend_from_slice(self.tail(connection, sequence, size));
    }

    /// Whether `payload` is exactly that message.
    pub fn is_exact(&self, connection: u32, sequence: u64, payload: &[u8]) -> bool {
        let size = self.size_of(connection, sequence);
        let head = size.min(self.identity_size());
        payload.len() == size
            && payload[..head] == self.identity(connection, sequence)[..head]
            && payload[head..] == *self.tail(connection, sequence, size)
    }

    /// In how many bytes `payload` differs from that message; every missing or surplus byte counts.
    fn distance(&self, connection: u32, sequence: u64, payload: &[u8]) -> usize {
        let mut expected = Vec::new();
        self.write(connection, sequence, &mut expected);
        let different = expected
            .iter()
            .zip(payload)
            .filter(|(left, right)| left != right)
            .count();
        different + expected.len().abs_diff(payload.len())
    }

    /// (connection, sequence) that a payload with a whole identity claims to be.
    fn claimed(&self, payload: &[u8]) -> Option<(u32, u64)> {
        let head = payload.get(..self.identity_size())?;
        let mut identity = 0u64;
        match self.kind {
            Kind::Binary => {
                for (position, byte) in head.iter().enumerate() {
                    identity |= u64::from(*byte) << (position * 8);
                }
            }
            Kind::Text => {
                for (position, digit) in head.iter().enumerate() {
                    let value = HEX.iter().position(|hex| hex == digit)? as u64;
                    identity |= value << (position * 4);
                }
            }
        }
        Some(((identity >> SEQUENCE_BITS) as u32, identity & SEQUENCE_MASK))
    }

    /// Decides which outstanding message a reply answers.
    ///
    /// `sent` are the sequences sent so far on this connection that may still be known, oldest
    /// first (`sent.end` is the next one to be sent); `is_outstanding` tells whether a sequence
    /// awaits its reply.
    pub fn identify(
        &self,
        connection: u32,
        payload: &[u8],
        kind: Kind,
        sent: Range<u64>,
        is_outstanding: impl Fn(u64) -> bool,
    ) -> Identified {
        // A payload with a whole identity says by itself what it is.
        let found = if payload.len() >= self.identity_size() {
            self.read(connection, payload, &sent, &is_outstanding)
        } else {
            self.search(connection, payload, &sent, &is_outstanding)
        };
        match found {
            Some(Identified::Exact(sequence)) if kind != self.kind => Identified::Corrupt(sequence),
            Some(found) => found,
            None => self.attribute(connection, payload, sent, is_outstanding),
        }
    }

    /// Takes the identity at its word; the rest of the payload only has to agree.
    fn read(
        &self,
        connection: u32,
        payload: &[u8],
        sent: &Range<u64>,
        is_outstanding: &impl Fn(u64) -> bool,
    ) -> Option<Identified> {
        // Sequences are compared in the 40 bits that travel; a connection would have to send
        // 10^12 messages before two of them look alike.
        let (claimed_connection, sequence) = self.claimed(payload)?;
        if !self.is_exact(claimed_connection, sequence, payload) {
            return None;
        }
        Some(if claimed_connection != connection {
            Identified::Misrouted
        } else if is_outstanding(sequence) {
            Identified::Exact(sequence)
        } else if sequence < sent.end {
            Identified::Duplicate
        } else {
            Identified::Unsolicited
        })
    }

    /// A payload too short for an identity is compared with what is outstanding, oldest first,
    /// and then with what was answered lately.
    fn search(
        &self,
        connection: u32,
        payload: &[u8],
        sent: &Range<u64>,
        is_outstanding: &impl Fn(u64) -> bool,
    ) -> Option<Identified> {
        let outstanding = sent.clone().filter(|sequence| is_outstanding(*sequence));
        let mut candidates = outstanding.take(ATTRIBUTE_SEARCH_MAX);
        if let Some(sequence) =
            candidates.find(|sequence| self.is_exact(connection, *sequence, payload))
        {
            return Some(Identified::Exact(sequence));
        }
        let mut recent = sent.end.saturating_sub(DUPLICATE_SEARCH_MAX)..sent.end;
        let is_repeated = !payload.is_empty()
            && recent.any(|sequence| self.is_exact(connection, sequence, payload));
        is_repeated.then_some(Identified::Duplicate)
    }

    /// A payload that is none of ours: the corrupted copy of the outstanding message it resembles
    /// most, or something the server made up. Only reached when something is wrong.
    fn attribute(
        &self,
        connection: u32,
        payload: &[u8],
        sent: Range<u64>,
        is_outstanding: impl Fn(u64) -> bool,
    ) -> Identified {
        let is_alike =
            |distance: usize, sequence| distance <= (self.size_of(connection, sequence) / 4).max(1);
        sent.filter(|sequence| is_outstanding(*sequence))
            .take(ATTRIBUTE_SEARCH_MAX)
            .map(|sequence| (self.distance(connection, sequence, payload), sequence))
            .min()
            .filter(|(distance, sequence)| is_alike(*distance, *sequence))
            .map_or(Identified::Unsolicited, |(_, sequence)| {
                Identified::Corrupt(sequence)
            })
    }
}

/// A corrupt reply is compared with at most this many outstanding messages, so that a server that
/// sends rubbish cannot make the generator slow.
const ATTRIBUTE_SEARCH_MAX: usize = 64;

/// A reply too short for an identity is compared with this many recent messages before it counts
/// as unsolicited rather than as a duplicate.
const DUPLICATE_SEARCH_MAX: u64 = 16;

/// What a reply is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identified {
    /// The unchanged reply to this outstanding message.
    Exact(u64),
    /// A reply to this outstanding message, but with other bytes, length or kind.
    Corrupt(u64),
    /// A message of this connection that has been answered before.
    Duplicate,
    /// A message of another connection.
    Misrouted,
    /// Nothing that this connection ever sent.
    Unsolicited,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identify(codec: &Codec, payload: &[u8], outstanding: &[u64], end: u64) -> Identified {
        codec.identify(5, payload, codec.kind(), 0..end, |sequence| {
            outstanding.contains(&sequence)
        })
    }

    #[test]
    fn every_size_is_recognised_in_both_kinds() {
        for kind in [Kind::Text, Kind::Binary] {
            for size in (0..40).chain([125, 126, 1_000, 65_536]) {
                let codec = Codec::new(kind, size, 3);
                let mut payload = Vec::new();
                codec.write(5, 9, &mut payload);
                assert_eq!(payload.len(), size);
                assert!(codec.is_exact(5, 9, &payload));
                assert_eq!(identify(&codec, &payload, &[9], 10), Identified::Exact(9));
                if kind == Kind::Text {
                    assert!(payload.is_ascii());
                }
            }
        }
    }

    #[test]
    fn payloads_of_many_sizes_are_recognised() {
        for kind in [Kind::Text, Kind::Binary] {
            let sizes = Sizes::parse("uniform:0:90").expect("valid");
            let codec = Codec::with_sizes(kind, sizes, 3);
            let mut payload = Vec::new();
            let mut lengths = Vec::new();
            for sequence in 0..500 {
                codec.write(5, sequence, &mut payload);
                assert_eq!(payload.len(), codec.size_of(5, sequence));
                lengths.push(payload.len());
                let found = identify(&codec, &payload, &[sequence], 500);
                assert_eq!(found, Identified::Exact(sequence));
                payload.push(b'x');
                let found = identify(&codec, &payload, &[sequence], 500);
                assert_ne!(found, Identified::Exact(sequence), "too long a reply");
            }
            assert!(lengths.contains(&0) && lengths.contains(&90));
        }
    }

    #[test]
    fn any_flipped_bit_is_found_and_attributed() {
        for kind in [Kind::Text, Kind::Binary] {
            let codec = Codec::new(kind, 64, 3);
            for bit in 0..64 * 8 {
                let mut payload = Vec::new();
                codec.write(5, 9, &mut payload);
                payload[bit / 8] ^= 1 << (bit % 8);
                let found = identify(&codec, &payload, &[8, 9, 10], 11);
                assert_eq!(found, Identified::Corrupt(9), "{kind:?} bit {bit}");
            }
        }
    }

    #[test]
    fn truncated_and_extended_replies_are_corrupt() {
        let codec = Codec::new(Kind::Binary, 64, 3);
        let mut payload = Vec::new();
        codec.write(5, 9, &mut payload);
        payload.push(0);
        assert_eq!(identify(&codec, &payload, &[9], 10), Identified::Corrupt(9));
        payload.truncate(60);
        assert_eq!(identify(&codec, &payload, &[9], 10), Identified::Corrupt(9));
    }

    #[test]
    fn duplicates_strangers_and_other_connections() {
        let codec = Codec::new(Kind::Binary, 32, 3);
        let mut payload = Vec::new();
        codec.write(5, 2, &mut payload);
        assert_eq!(identify(&codec, &payload, &[4], 5), Identified::Duplicate);
        codec.write(5, 77, &mut payload);
        assert_eq!(identify(&codec, &payload, &[4], 5), Identified::Unsolicited);
        codec.write(6, 4, &mut payload);
        assert_eq!(identify(&codec, &payload, &[4], 5), Identified::Misrouted);
        assert_eq!(identify(&codec, b"hello", &[4], 5), Identified::Unsolicited);
        assert_eq!(identify(&codec, b"", &[], 5), Identified::Unsolicited);
    }

    #[test]
    fn short_payloads_know_duplicates_too() {
        let codec = Codec::new(Kind::Binary, 4, 3);
        let mut payload = Vec::new();
        codec.write(5, 2, &mut payload);
        assert_eq!(identify(&codec, &payload, &[3], 4), Identified::Duplicate);
        assert_eq!(
            identify(&codec, &[9, 9, 9, 9], &[3], 4),
            Identified::Unsolicited
        );
    }

    #[test]
    fn the_wrong_kind_is_corrupt() {
        let codec = Codec::new(Kind::Text, 32, 3);
        let mut payload = Vec::new();
        codec.write(5, 2, &mut payload);
        let found = codec.identify(5, &payload, Kind::Binary, 0..3, |sequence| sequence == 2);
        assert_eq!(found, Identified::Corrupt(2));
    }
}
