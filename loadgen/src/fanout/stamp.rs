//! What a published message contains, and what a received copy is.
//!
//! Every payload carries a stamp: run, stream, number, sequence, due time, send time, length and a
//! CRC32C over the stamp and everything behind it. What follows the stamp is a pure function of
//! stream and sequence. Knows no frame, no dialect and no clock.

use crate::fanout::document;
use crate::fanout::options::Form;

/// Bytes of a stamp: run 4, stream 3, flags 1, length 3, number 6, sequence 5, due 8, delay 5, CRC 4.
const STAMP: usize = 39;
const CRC_AT: usize = STAMP - 4;
/// A stamp in hexadecimal, where payloads are text.
const STAMP_HEX: usize = 2 * STAMP;
const JSON_OPEN: &[u8] = b"{\"stamp\":\"";
/// The quote that ends the stamp.
const JSON_SHUT: usize = 1;
/// Largest payload: its length is stamped in three bytes.
pub const SIZE_MAX: usize = (1 << 24) - 1;
/// Streams that can be numbered.
pub const STREAMS_MAX: u32 = 1 << 24;
/// Neighbouring sequences take the filling at offsets that repeat after this many messages.
const FILLING_OFFSETS: u64 = 61;
const FLAG_PROBE: u8 = 1;
const HEX: &[u8; 16] = b"0123456789abcdef";

/// What a message says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Stamp {
    /// Run that published it.
    pub run: u32,
    /// Stream it belongs to: one publisher's messages on one topic.
    pub stream: u32,
    /// Sent before the load, to find out whether subscribers hear it.
    pub is_probe: bool,
    /// Place in the schedule of the run. 48 bits.
    pub number: u64,
    /// Place in its stream, from 0. 40 bits.
    pub sequence: u64,
    /// When it was due, CLOCK_MONOTONIC.
    pub intended_ns: u64,
    /// When it was written for sending; at most 18 minutes after it was due.
    pub sent_ns: u64,
}

/// What a received payload turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// A whole message of this run.
    Whole(Stamp),
    /// A whole message of another run, or none of ours at all.
    Stranger,
    /// Cut, lengthened, mixed or with another byte than was sent.
    Torn,
}

/// Smallest payload of a form.
pub fn size_min(form: Form) -> usize {
    match form {
        Form::Binary => STAMP,
        Form::Text => STAMP_HEX,
        Form::Json => JSON_OPEN.len() + STAMP_HEX + JSON_SHUT + 1,
    }
}

/// Writes and reads the payloads of a run.
#[derive(Debug)]
pub struct Codec {
    form: Form,
    size: usize,
    run: u32,
    filling: Vec<u8>,
}

impl Codec {
    /// Payloads of `size` bytes, which is raised to [`size_min`].
    pub fn new(form: Form, size: usize, run: u32, seed: u64) -> Codec {
        let mut random = fastrand::Rng::with_seed(seed ^ 0x6669_6c6c_696e_6700);
        let filling = (0..size + FILLING_OFFSETS as usize)
            .map(|_| match form {
                Form::Binary => random.u8(..),
                // Neither of the two characters that JSON escapes.
                Form::Text | Form::Json => match random.u8(b' '..=b'~') {
                    b'"' | b'\\' => b'.',
                    other => other,
                },
            })
            .collect();
        Codec {
            form,
            size: size.clamp(size_min(form), SIZE_MAX),
            run,
            filling,
        }
    }

    /// What payloads look like.
    pub fn form(&self) -> Form {
        self.form
    }

    /// Bytes of every payload.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Replaces `out` by the payload of a message.
    pub fn write(&self, stamp: &Stamp, out: &mut Vec<u8>) {
        out.clear();
        let mut bytes = self.pack(stamp);
        match self.form {
            Form::Binary => {
                out.extend_from_slice(&bytes);
                self.fill(stamp, out);
            }
            Form::Text => {
                out.resize(STAMP_HEX, b'0');
                self.fill(stamp, out);
            }
            Form::Json => {
                out.extend_from_slice(JSON_OPEN);
                out.resize(JSON_OPEN.len() + STAMP_HEX, b'0');
                out.push(b'"');
                let rest = self.size - out.len();
                document::append(stamp.stream, stamp.sequence, rest, out);
            }
        }
        let (at, behind) = self.places();
        let crc = checksum(&bytes[..CRC_AT], &out[behind..]);
        bytes[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        match self.form {
            Form::Binary => out[..STAMP].copy_from_slice(&bytes),
            Form::Text | Form::Json => {
                for (pair, byte) in out[at..at + STAMP_HEX].chunks_exact_mut(2).zip(bytes) {
                    pair[0] = HEX[usize::from(byte >> 4)];
                    pair[1] = HEX[usize::from(byte & 15)];
                }
            }
        }
    }

    fn fill(&self, stamp: &Stamp, out: &mut Vec<u8>) {
        let offset =
            (stamp.sequence.wrapping_add(u64::from(stamp.stream)) % FILLING_OFFSETS) as usize;
        let length = self.size - out.len();
        out.extend_from_slice(&self.filling[offset..offset + length]);
    }

    /// Where the stamp begins and where what the CRC covers behind it begins.
    fn places(&self) -> (usize, usize) {
        match self.form {
            Form::Binary => (0, STAMP),
            Form::Text => (0, STAMP_HEX),
            Form::Json => (JSON_OPEN.len(), JSON_OPEN.len() + STAMP_HEX),
        }
    }

    fn pack(&self, stamp: &Stamp) -> [u8; STAMP] {
        let mut out = [0; STAMP];
        let delay_ns = stamp
            .sent_ns
            .saturating_sub(stamp.intended_ns)
            .min((1 << 40) - 1);
        let length = self.size as u32;
        out[0..4].copy_from_slice(&self.run.to_le_bytes());
        out[4..7].copy_from_slice(&stamp.stream.to_le_bytes()[..3]);
        out[7] = if stamp.is_probe { FLAG_PROBE } else { 0 };
        out[8..11].copy_from_slice(&length.to_le_bytes()[..3]);
        out[11..17].copy_from_slice(&stamp.number.to_le_bytes()[..6]);
        out[17..22].copy_from_slice(&stamp.sequence.to_le_bytes()[..5]);
        out[22..30].copy_from_slice(&stamp.intended_ns.to_le_bytes());
        out[30..35].copy_from_slice(&delay_ns.to_le_bytes()[..5]);
        out
    }

    /// Says what a received payload is.
    pub fn read(&self, payload: &[u8]) -> Read {
        let (at, behind) = self.places();
        let Some((front, covered)) = payload.split_at_checked(behind) else {
            return Read::Torn;
        };
        let mut bytes = [0; STAMP];
        match self.form {
            Form::Binary => bytes.copy_from_slice(front),
            Form::Text | Form::Json => {
                if self.form == Form::Json && !front.starts_with(JSON_OPEN) {
                    return Read::Torn;
                }
                if !unhex(&front[at..], &mut bytes) {
                    return Read::Torn;
                }
            }
        }
        let crc = number(&bytes[CRC_AT..]) as u32;
        if crc != checksum(&bytes[..CRC_AT], covered) {
            return Read::Torn;
        }
        if number(&bytes[0..4]) as u32 != self.run {
            return Read::Stranger;
        }
        if number(&bytes[8..11]) != payload.len() as u64 {
            return Read::Torn;
        }
        let intended_ns = number(&bytes[22..30]);
        Read::Whole(Stamp {
            run: self.run,
            stream: number(&bytes[4..7]) as u32,
            is_probe: bytes[7] & FLAG_PROBE != 0,
            number: number(&bytes[11..17]),
            sequence: number(&bytes[17..22]),
            intended_ns,
            sent_ns: intended_ns.saturating_add(number(&bytes[30..35])),
        })
    }
}

/// A little-endian number of at most eight bytes.
fn number(bytes: &[u8]) -> u64 {
    let mut out = [0; 8];
    let length = bytes.len().min(8);
    out[..length].copy_from_slice(&bytes[..length]);
    u64::from_le_bytes(out)
}

fn checksum(stamp: &[u8], covered: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(stamp), covered)
}

/// Only lower case, as it was written: another case is another byte than was sent.
fn unhex(text: &[u8], out: &mut [u8; STAMP]) -> bool {
    let digit = |character: u8| match character {
        b'0'..=b'9' => Some(character - b'0'),
        b'a'..=b'f' => Some(character - b'a' + 10),
        _ => None,
    };
    if text.len() != STAMP_HEX {
        return false;
    }
    for (byte, pair) in out.iter_mut().zip(text.chunks_exact(2)) {
        let (Some(high), Some(low)) = (digit(pair[0]), digit(pair[1])) else {
            return false;
        };
        *byte = high << 4 | low;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FORMS: [Form; 3] = [Form::Binary, Form::Text, Form::Json];

    fn stamp() -> Stamp {
        Stamp {
            run: 77,
            stream: 70_000,
            is_probe: false,
            number: (1 << 48) - 2,
            sequence: (1 << 40) - 3,
            intended_ns: 1 << 60,
            sent_ns: (1 << 60) + 12_345,
        }
    }

    #[test]
    fn what_is_written_is_read_in_every_form_and_size() {
        for form in FORMS {
            let least = size_min(form);
            for size in (least..least + 200).chain([1_024, 65_536]) {
                let codec = Codec::new(form, size, 77, 3);
                let mut payload = Vec::new();
                codec.write(&stamp(), &mut payload);
                assert_eq!(payload.len(), size, "{form:?}");
                assert_eq!(
                    codec.read(&payload),
                    Read::Whole(stamp()),
                    "{form:?} {size}"
                );
                if form == Form::Json {
                    assert!(serde_json::from_slice::<serde_json::Value>(&payload).is_ok());
                }
                if form == Form::Text {
                    let quoted = format!("\"{}\"", String::from_utf8_lossy(&payload));
                    let parsed: Result<String, _> = serde_json::from_str(&quoted);
                    assert_eq!(parsed.map(String::into_bytes).ok(), Some(payload));
                }
            }
        }
    }

    #[test]
    fn any_other_byte_is_torn() {
        for form in FORMS {
            let codec = Codec::new(form, size_min(form) + 33, 77, 3);
            let mut payload = Vec::new();
            codec.write(&stamp(), &mut payload);
            for bit in 0..payload.len() * 8 {
                payload[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(codec.read(&payload), Read::Torn, "{form:?} bit {bit}");
                payload[bit / 8] ^= 1 << (bit % 8);
            }
            for length in 0..payload.len() {
                assert_eq!(
                    codec.read(&payload[..length]),
                    Read::Torn,
                    "{form:?} cut at {length}"
                );
            }
            payload.push(b' ');
            assert_eq!(codec.read(&payload), Read::Torn, "{form:?} longer");
        }
    }

    #[test]
    fn another_run_is_a_stranger_and_the_sizes_are_told() {
        let mut payload = Vec::new();
        Codec::new(Form::Binary, 100, 78, 3).write(&stamp(), &mut payload);
        assert_eq!(
            Codec::new(Form::Binary, 100, 77, 3).read(&payload),
            Read::Stranger
        );
        assert_eq!(FORMS.map(size_min), [39, 78, 90]);
    }

    proptest! {
        #[test]
        fn stamps_survive(stream in 0..STREAMS_MAX, number in 0u64..1 << 48, sequence in 0u64..1 << 40,
                          intended_ns in 0u64..1 << 62, delay in 0u64..1 << 40, is_probe: bool, form in 0usize..3) {
            let stamp = Stamp { run: 5, stream, is_probe, number, sequence, intended_ns, sent_ns: intended_ns + delay };
            let codec = Codec::new(FORMS[form], 120, 5, 1);
            let mut payload = Vec::new();
            codec.write(&stamp, &mut payload);
            prop_assert_eq!(codec.read(&payload), Read::Whole(stamp));
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), form in 0usize..3) {
            let codec = Codec::new(FORMS[form], 120, 5, 1);
            let found = codec.read(&bytes);
            prop_assert!(matches!(found, Read::Torn | Read::Stranger));
        }
    }
}
