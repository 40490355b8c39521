//! Where a message of a foreign server says when it was sent, which one it is, and what it is
//! about: a JSON pointer, or an offset into its bytes.
//!
//! Owns the notation of `--stamp`, `--sequence` and `--sequence-key`, and reading such values. Reads no
//! clock. Nothing is allocated per message.

use crate::fanout::pointer::{Pointer, unquoted};

/// A value in a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    /// A number or a string of a JSON text.
    Json(Pointer),
    /// A number in binary.
    At {
        /// Bytes before it.
        offset: usize,
        /// How it is written.
        number: BinaryNumber,
        /// The least significant byte comes first.
        is_little_endian: bool,
    },
}

/// How a number is written in binary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BinaryNumber {
    /// Four bytes, unsigned.
    U32,
    /// Eight bytes, unsigned.
    U64,
    /// Eight bytes, IEEE 754.
    F64,
}

/// What a time stamp counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Decided by its size, as times since 1970 allow.
    BySize,
    /// Seconds.
    Seconds,
    /// Milliseconds.
    Milliseconds,
    /// Microseconds.
    Microseconds,
    /// Nanoseconds.
    Nanoseconds,
}

impl Unit {
    /// The suffix of the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Unit::BySize => "unit by size",
            Unit::Seconds => "s",
            Unit::Milliseconds => "ms",
            Unit::Microseconds => "us",
            Unit::Nanoseconds => "ns",
        }
    }

    fn parse(text: &str) -> Option<Unit> {
        [
            Unit::Seconds,
            Unit::Milliseconds,
            Unit::Microseconds,
            Unit::Nanoseconds,
        ]
        .into_iter()
        .find(|unit| unit.as_str() == text)
    }

    /// Nanoseconds of one, where the count is about `size`. In seconds the bounds are the years
    /// 5138, and 1973 read a unit too small: no clock of today is near either.
    fn scale_ns(self, size: f64) -> u64 {
        match self {
            Unit::Seconds => 1_000_000_000,
            Unit::Milliseconds => 1_000_000,
            Unit::Microseconds => 1_000,
            Unit::Nanoseconds => 1,
            Unit::BySize if size < 1e11 => 1_000_000_000,
            Unit::BySize if size < 1e14 => 1_000_000,
            Unit::BySize if size < 1e17 => 1_000,
            Unit::BySize => 1,
        }
    }
}

/// The clock that stamps messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StampClock {
    /// Time since 1970.
    Realtime,
    /// CLOCK_MONOTONIC of this host: the server runs on it too.
    Monotonic,
}

impl StampClock {
    /// The word of the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            StampClock::Realtime => "realtime",
            StampClock::Monotonic => "monotonic",
        }
    }
}

/// Where a message says when it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StampField {
    /// As it was typed.
    pub text: String,
    field: Field,
    /// What it counts.
    pub unit: Unit,
}

const EXAMPLES: &str = "write json:/ts, json:/data/0/time:ms, or at:8:u64le:ns (byte offset, u32, \
                        u64 or f64 with le or be, and s, ms, us or ns)";
/// Offsets up to here; beyond it no message of ours is read.
const OFFSET_MAX: usize = 16 << 20;

impl Field {
    /// Reads `json:/pointer` or `at:OFFSET:NUMBER`.
    ///
    /// # Errors
    /// A sentence with an example.
    pub fn parse(text: &str) -> Result<Field, String> {
        if let Some(pointer) = text.strip_prefix("json:") {
            return Ok(Field::Json(Pointer::parse(pointer)?));
        }
        let place = text
            .strip_prefix("at:")
            .and_then(|rest| rest.split_once(':'));
        let Some((offset, number)) = place else {
            return Err(format!("'{text}' names no place in a message; {EXAMPLES}"));
        };
        let offset = offset.parse().ok().filter(|offset| *offset <= OFFSET_MAX);
        let (kind, order) = number.split_at_checked(3).unwrap_or((number, ""));
        let kind = match kind {
            "u32" => Some(BinaryNumber::U32),
            "u64" => Some(BinaryNumber::U64),
            "f64" => Some(BinaryNumber::F64),
            _ => None,
        };
        match (offset, kind, order) {
            (Some(offset), Some(number), "le" | "be") => Ok(Field::At {
                offset,
                number,
                is_little_endian: order == "le",
            }),
            _ => Err(format!("'{text}' is not a number in a message; {EXAMPLES}")),
        }
    }

    /// A whole number; also one that is written as a string, and one without a fraction.
    pub fn read_whole(&self, payload: &[u8]) -> Option<u64> {
        match self {
            Field::Json(pointer) => {
                let text = std::str::from_utf8(unquoted(pointer.find(payload)?)).ok()?;
                text.parse().ok()
            }
            Field::At { .. } => match self.read_binary(payload)? {
                Raw::Whole(number) => Some(number),
                // Up to 2^53 doubles hold every whole number.
                Raw::Fraction(number) if (0.0..9e15).contains(&number) && number.fract() == 0.0 => {
                    Some(number as u64)
                }
                Raw::Fraction(_) => None,
            },
        }
    }

    /// Something that is the same for equal values and, but for chance, for no others.
    pub fn read_hash(&self, payload: &[u8]) -> Option<u64> {
        match self {
            Field::Json(pointer) => Some(hash(unquoted(pointer.find(payload)?))),
            Field::At { .. } => match self.read_binary(payload)? {
                Raw::Whole(number) => Some(hash(&number.to_le_bytes())),
                Raw::Fraction(number) => Some(hash(&number.to_le_bytes())),
            },
        }
    }

    fn read_binary(&self, payload: &[u8]) -> Option<Raw> {
        let Field::At {
            offset,
            number,
            is_little_endian,
        } = *self
        else {
            return None;
        };
        let rest = payload.get(offset..)?;
        let four = || rest.first_chunk::<4>().copied();
        let eight = || rest.first_chunk::<8>().copied();
        Some(match (number, is_little_endian) {
            (BinaryNumber::U32, true) => Raw::Whole(u64::from(u32::from_le_bytes(four()?))),
            (BinaryNumber::U32, false) => Raw::Whole(u64::from(u32::from_be_bytes(four()?))),
            (BinaryNumber::U64, true) => Raw::Whole(u64::from_le_bytes(eight()?)),
            (BinaryNumber::U64, false) => Raw::Whole(u64::from_be_bytes(eight()?)),
            (BinaryNumber::F64, true) => Raw::Fraction(f64::from_le_bytes(eight()?)),
            (BinaryNumber::F64, false) => Raw::Fraction(f64::from_be_bytes(eight()?)),
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Raw {
    Whole(u64),
    Fraction(f64),
}

impl StampField {
    /// Reads `json:/ts`, `json:/ts:ms`, `at:8:u64le` or `at:8:u64le:ns`.
    ///
    /// # Errors
    /// A sentence with an example.
    pub fn parse(text: &str) -> Result<StampField, String> {
        let with_unit = text
            .rsplit_once(':')
            .and_then(|(front, unit)| Some((front, Unit::parse(unit)?)));
        let (front, unit) = with_unit.unwrap_or((text, Unit::BySize));
        Ok(StampField {
            text: text.to_owned(),
            field: Field::parse(front)?,
            unit,
        })
    }

    /// When the message was stamped, in nanoseconds of the clock that stamped it.
    pub fn read_ns(&self, payload: &[u8]) -> Option<u64> {
        match &self.field {
            Field::Json(pointer) => {
                let value = unquoted(pointer.find(payload)?);
                self.time_ns(std::str::from_utf8(value).ok()?)
            }
            Field::At { .. } => match self.field.read_binary(payload)? {
                Raw::Whole(count) => self.scaled(count),
                Raw::Fraction(count) => self.scaled_fraction(count),
            },
        }
    }

    fn time_ns(&self, text: &str) -> Option<u64> {
        if let Ok(count) = text.parse::<u64>() {
            return self.scaled(count);
        }
        if let Ok(count) = text.parse::<f64>() {
            return self.scaled_fraction(count);
        }
        let time: jiff::Timestamp = text.parse().ok()?;
        u64::try_from(time.as_nanosecond()).ok()
    }

    fn scaled(&self, count: u64) -> Option<u64> {
        count.checked_mul(self.unit.scale_ns(count as f64))
    }

    fn scaled_fraction(&self, count: f64) -> Option<u64> {
        let scale_ns = self.unit.scale_ns(count);
        // 2^64 nanoseconds are 584 years. The whole part is scaled by itself, so that it stays exact.
        let is_time = (0.0..1.8e19).contains(&(count * scale_ns as f64));
        let whole_ns = (count.trunc() as u64).checked_mul(scale_ns)?;
        let rest_ns = (count.fract() * scale_ns as f64) as u64;
        is_time.then(|| whole_ns.saturating_add(rest_ns))
    }
}

/// FNV-1a, which short names hash well and fast with, finished so that its low bits are good too.
pub fn hash(bytes: &[u8]) -> u64 {
    let mut state = 0xcbf2_9ce4_8422_2325_u64;
    for byte in bytes {
        state = (state ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    scatter(state)
}

/// A number that looks random and depends on every bit of `value` (the finisher of SplitMix64).
pub fn scatter(value: u64) -> u64 {
    let mut mixed = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stamp(text: &str, payload: &[u8]) -> Option<u64> {
        StampField::parse(text).expect(text).read_ns(payload)
    }

    #[test]
    fn times_in_json_by_every_unit() {
        const NOW: u64 = 1_766_000_000_123_000_000;
        for (text, payload) in [
            ("json:/ts", r#"{"ts":1766000000123}"#),
            ("json:/ts", r#"{"ts":"1766000000123"}"#),
            ("json:/ts", r#"{"ts":1766000000123000}"#),
            ("json:/ts", r#"{"ts":1766000000123000000}"#),
            ("json:/ts:ms", r#"{"ts":1766000000123.0}"#),
            ("json:/d/0", r#"{"d":["2025-12-17T19:33:20.123Z"]}"#),
            ("json:/d/0", r#"{"d":["2025-12-17T20:33:20.123+01:00"]}"#),
        ] {
            assert_eq!(stamp(text, payload.as_bytes()), Some(NOW), "{payload}");
        }
        let seconds = stamp("json:/ts", br#"{"ts":1766000000.123}"#).expect("a stamp");
        assert!(
            seconds.abs_diff(NOW) < 1_000,
            "{seconds}: a double has 53 bits"
        );
        for payload in [
            r#"{"ts":null}"#,
            r#"{"ts":"soon"}"#,
            r#"{"ts":-1}"#,
            r#"{"t":1}"#,
            r#"{"ts":18446744073709551615}"#,
            "",
        ] {
            assert_eq!(stamp("json:/ts:s", payload.as_bytes()), None, "{payload}");
        }
    }

    #[test]
    fn numbers_in_binary() {
        let mut payload = vec![9; 8];
        payload.extend_from_slice(&1_766_000_000_123_456_789_u64.to_le_bytes());
        payload.extend_from_slice(&7_u32.to_be_bytes());
        payload.extend_from_slice(&2.5_f64.to_le_bytes());
        assert_eq!(
            stamp("at:8:u64le:ns", &payload),
            Some(1_766_000_000_123_456_789)
        );
        assert_eq!(
            stamp("at:8:u64le", &payload),
            Some(1_766_000_000_123_456_789)
        );
        assert_eq!(stamp("at:16:u32be:s", &payload), Some(7_000_000_000));
        assert_eq!(stamp("at:20:f64le:ms", &payload), Some(2_500_000));
        assert_eq!(stamp("at:21:f64le:ms", &payload), None, "one byte short");
        let field = |text| Field::parse(text).expect("valid");
        assert_eq!(field("at:16:u32be").read_whole(&payload), Some(7));
        assert_eq!(
            field("at:20:f64le").read_whole(&payload),
            None,
            "a fraction"
        );
        assert_ne!(
            field("at:16:u32be").read_hash(&payload),
            field("at:16:u32le").read_hash(&payload)
        );
    }

    #[test]
    fn sequences_and_keys() {
        let field = |text| Field::parse(text).expect("valid");
        let payload = br#"{"seq":12,"s":"13","x":1.5,"sym":"BTC"}"#;
        assert_eq!(field("json:/seq").read_whole(payload), Some(12));
        assert_eq!(field("json:/s").read_whole(payload), Some(13));
        assert_eq!(field("json:/x").read_whole(payload), None);
        assert_eq!(field("json:/sym").read_hash(payload), Some(hash(b"BTC")));
        assert_eq!(field("json:/none").read_hash(payload), None);
    }

    #[test]
    fn nonsense_is_refused_with_an_example() {
        for text in [
            "ts",
            "json:ts",
            "at:8",
            "at:x:u64le",
            "at:8:u16le",
            "at:8:u64",
            "at:99999999999:u64le",
        ] {
            assert!(Field::parse(text).is_err(), "{text}");
            assert!(StampField::parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40), offset in 0usize..50) {
            for number in ["u32le", "u64be", "f64le"] {
                let text = format!("at:{offset}:{number}");
                let _ = Field::parse(&text).expect("valid").read_whole(&bytes);
                let _ = stamp(&text, &bytes);
            }
            let _ = stamp("json:/ts", &bytes);
        }
    }
}
