//! What a published message contains, and what a received copy is.
//!
//! Every payload carries a stamp: run, stream, number, sequence, due time, send time, length and a
//! CRC32C over the stamp and everything behind it. What follows the stamp is a pure function of
//! stream and sequence. Owns where in a payload the stamp stands and how it is found again; its bytes
//! are those of `bytes`. Knows no frame, no dialect and no clock.

use crate::fanout::document;
use crate::fanout::options::Form;

mod bytes;

pub use bytes::Stamp;
use bytes::{STAMP, STAMP_HEX, from_hex, pack, seal, stamped_size, to_hex, unpack};

const JSON_OPEN: &[u8] = b"{\"stamp\":\"";
/// The quote that ends the stamp.
const JSON_SHUT: usize = 1;
/// Stands before the stamp of an embedded payload, which is looked for inside messages.
const MARK: &[u8; 8] = b"FANWIRE0";
/// Largest payload: its length is stamped in three bytes.
pub const SIZE_MAX: usize = (1 << 24) - 1;
/// Streams that can be numbered.
pub const STREAMS_MAX: u32 = 1 << 24;
/// Neighbouring sequences take the filling at offsets that repeat after this many messages.
const FILLING_OFFSETS: u64 = 61;

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

/// A payload that was found inside a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// What it is.
    pub read: Read,
    /// Bytes it had when it was written; 0 when that cannot be told.
    pub size: usize,
    /// Where to look for the next one.
    pub end: usize,
}

/// Smallest payload of a form.
pub fn size_min(form: Form) -> usize {
    match form {
        Form::Binary => STAMP,
        Form::Text => STAMP_HEX,
        Form::Json => JSON_OPEN.len() + STAMP_HEX + JSON_SHUT + 1,
    }
}

/// Smallest payload of a form that is embedded; see [`Codec::embedded`].
pub fn embedded_size_min(form: Form) -> usize {
    size_min(form) + MARK.len()
}

/// Writes and reads the payloads of a run.
#[derive(Debug)]
pub struct Codec {
    form: Form,
    size: usize,
    run: u32,
    filling: Vec<u8>,
    /// Set when payloads travel inside messages of somebody else's making.
    mark: Option<memchr::memmem::Finder<'static>>,
}

impl Codec {
    /// Payloads that others put into messages of their own, where [`Codec::find`] finds them. A text
    /// consists of letters and digits, which no escaping changes, and is checked whole. Of a JSON
    /// document only the stamp is: its white space and the order of its members are not ours.
    ///
    /// A binary form makes no sense here and is written as text.
    pub fn embedded(form: Form, size: usize, run: u32, seed: u64) -> Codec {
        let form = if form == Form::Binary {
            Form::Text
        } else {
            form
        };
        let mut random = fastrand::Rng::with_seed(seed ^ 0x656d_6265_6464_6564);
        Codec {
            form,
            size: size.clamp(embedded_size_min(form), SIZE_MAX),
            run,
            filling: (0..size + FILLING_OFFSETS as usize)
                .map(|_| random.alphanumeric() as u8)
                .collect(),
            mark: Some(memchr::memmem::Finder::new(MARK)),
        }
    }

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
            mark: None,
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
        let stamp = Stamp {
            run: self.run,
            ..*stamp
        };
        let mut bytes = pack(&stamp, self.size);
        let (at, behind) = self.places();
        match self.form {
            Form::Binary => {
                out.extend_from_slice(&bytes);
                self.fill(&stamp, out);
            }
            Form::Text => {
                self.begin_stamp(out);
                self.fill(&stamp, out);
            }
            Form::Json => {
                out.extend_from_slice(JSON_OPEN);
                self.begin_stamp(out);
                out.push(b'"');
                let rest = self.size - out.len();
                document::append(stamp.stream, stamp.sequence, rest, out);
            }
        }
        let covered = if self.covers_all() {
            &out[behind..]
        } else {
            &[]
        };
        seal(&mut bytes, covered);
        match self.form {
            Form::Binary => out[..STAMP].copy_from_slice(&bytes),
            Form::Text | Form::Json => to_hex(&bytes, &mut out[at..at + STAMP_HEX]),
        }
    }

    /// The mark, if there is one, and room for the digits.
    fn begin_stamp(&self, out: &mut Vec<u8>) {
        if self.mark.is_some() {
            out.extend_from_slice(MARK);
        }
        out.resize(out.len() + STAMP_HEX, b'0');
    }

    /// Whether the CRC covers what stands behind the stamp, too.
    pub fn covers_all(&self) -> bool {
        self.mark.is_none() || self.form != Form::Json
    }

    fn fill(&self, stamp: &Stamp, out: &mut Vec<u8>) {
        let offset =
            (stamp.sequence.wrapping_add(u64::from(stamp.stream)) % FILLING_OFFSETS) as usize;
        let length = self.size - out.len();
        out.extend_from_slice(&self.filling[offset..offset + length]);
    }

    /// Where the stamp begins and where what the CRC covers behind it begins.
    fn places(&self) -> (usize, usize) {
        let mark = if self.mark.is_some() { MARK.len() } else { 0 };
        let (at, size) = match self.form {
            Form::Binary => (0, STAMP),
            Form::Text => (mark, STAMP_HEX),
            Form::Json => (JSON_OPEN.len() + mark, STAMP_HEX),
        };
        (at, at + size)
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
                if !from_hex(&front[at..], &mut bytes) {
                    return Read::Torn;
                }
            }
        }
        self.judge(&bytes, covered, payload.len())
    }

    /// The first embedded payload that begins at `from` or later, wherever it stands in a message
    /// and whatever stands around it; `None` when there is none.
    pub fn find(&self, message: &[u8], from: usize) -> Option<Found> {
        let at = from + self.mark.as_ref()?.find(message.get(from..)?)?;
        let hex_at = at + MARK.len();
        let behind = hex_at + STAMP_HEX;
        let torn = Found {
            read: Read::Torn,
            size: 0,
            end: hex_at,
        };
        let mut bytes = [0; STAMP];
        let Some(hex) = message.get(hex_at..behind) else {
            return Some(torn);
        };
        if !from_hex(hex, &mut bytes) {
            return Some(torn);
        }
        let size = stamped_size(&bytes);
        let (covered, end) = if self.covers_all() {
            match message.get(behind..at.saturating_add(size)) {
                Some(covered) => (covered, at + size),
                None => return Some(torn),
            }
        } else {
            (&message[..0], behind)
        };
        let read = self.judge(&bytes, covered, size);
        Some(Found { read, size, end })
    }

    /// What a payload of `size` bytes is, by its stamp and by what the CRC covers behind it.
    fn judge(&self, bytes: &[u8; STAMP], covered: &[u8], size: usize) -> Read {
        let Some(stamp) = unpack(bytes, covered) else {
            return Read::Torn;
        };
        if stamp.run != self.run {
            return Read::Stranger;
        }
        if stamped_size(bytes) != size || (self.mark.is_some() && size != self.size) {
            return Read::Torn;
        }
        Read::Whole(stamp)
    }
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

    const EMBEDDED: [Form; 2] = [Form::Text, Form::Json];

    fn found(codec: &Codec, message: &[u8]) -> Vec<Read> {
        let mut from = 0;
        let step = || {
            let found = codec.find(message, from)?;
            assert!(found.end > from && found.end <= message.len());
            from = found.end;
            Some(found.read)
        };
        std::iter::from_fn(step).collect()
    }

    #[test]
    fn embedded_payloads_are_found_whatever_stands_around_them() {
        for form in EMBEDDED {
            for size in [embedded_size_min(form), 120, 1_024] {
                let codec = Codec::embedded(form, size, 77, 3);
                let mut payload = Vec::new();
                codec.write(&stamp(), &mut payload);
                assert_eq!(payload.len(), size, "{form:?}");
                let text = String::from_utf8(payload).expect("text");
                let whole = vec![Read::Whole(stamp())];
                let quoted = serde_json::to_string(&text).expect("a string");
                let twice_quoted = serde_json::to_string(&quoted).expect("a string");
                for message in [
                    text.clone(),
                    format!("MSG from 7: {text}\r\n"),
                    format!("{{\"data\":{quoted},\"n\":1}}"),
                    format!("{{\"data\":{twice_quoted}}}"),
                    format!("FANWIRE{text}"),
                ] {
                    assert_eq!(found(&codec, message.as_bytes()), whole, "{message}");
                }
                let batch = format!("[{quoted},{quoted}]");
                assert_eq!(found(&codec, batch.as_bytes()).len(), 2);
                assert_eq!(found(&codec, b"{\"op\":\"subscribed\"}"), []);
                let other = Codec::embedded(form, size, 78, 3);
                assert_eq!(found(&other, text.as_bytes()), [Read::Stranger]);
            }
        }
    }

    #[test]
    fn a_document_may_be_written_anew_and_a_text_may_not() {
        let json = Codec::embedded(Form::Json, 400, 77, 3);
        let mut payload = Vec::new();
        json.write(&stamp(), &mut payload);
        let parsed: serde_json::Value = serde_json::from_slice(&payload).expect("a document");
        let anew = format!("{parsed:#}");
        assert_eq!(found(&json, anew.as_bytes()), [Read::Whole(stamp())]);
        assert!(!json.covers_all());
        let text = Codec::embedded(Form::Text, 120, 77, 3);
        text.write(&stamp(), &mut payload);
        assert!(payload.iter().all(u8::is_ascii_alphanumeric) && text.covers_all());
        for bit in MARK.len() * 8..payload.len() * 8 {
            payload[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(found(&text, &payload), [Read::Torn], "bit {bit}");
            payload[bit / 8] ^= 1 << (bit % 8);
        }
        payload.truncate(119);
        assert_eq!(found(&text, &payload), [Read::Torn], "cut");
    }

    proptest! {
        #[test]
        fn no_message_panics(front in proptest::collection::vec(any::<u8>(), 0..50), cut in 0usize..130,
                             back in proptest::collection::vec(any::<u8>(), 0..50), form in 0usize..2) {
            let codec = Codec::embedded(EMBEDDED[form], 130, 77, 3);
            let mut payload = Vec::new();
            codec.write(&stamp(), &mut payload);
            let message = [&front, &payload[..cut], &back].concat();
            prop_assert!(found(&codec, &message).len() <= 1);
        }

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
