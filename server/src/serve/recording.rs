//! A recorded file of messages, one JSON object a line, read as a stream.
//!
//! It owns the lines and the forms of a time. It must not know when a message is published.

use std::io::{self, BufRead};

use fanwire_server::hub::port::PublishRequest;
use serde_json::value::RawValue;

use crate::serve::message::JsonMessage;

/// Bytes of a line besides its payload: topic, key, time, names of members.
const LINE_MARGIN: usize = 4096;

/// One message of a recording.
#[derive(Debug)]
pub(crate) struct Recorded {
    /// When it was recorded, in nanoseconds since 1970; `None` if the line does not say.
    pub(crate) at_ns: Option<i64>,
    pub(crate) request: PublishRequest,
}

/// A line that cannot be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BadLine {
    /// Counted from 1.
    pub(crate) number: u64,
    pub(crate) reason: String,
}

/// Reads one line after another; holds one at a time.
#[derive(Debug)]
pub(crate) struct Recording<R> {
    source: R,
    line: Vec<u8>,
    number: u64,
    payload_max: usize,
}

impl<R: BufRead> Recording<R> {
    pub(crate) fn new(source: R, payload_max: usize) -> Recording<R> {
        Recording {
            source,
            line: Vec::new(),
            number: 0,
            payload_max,
        }
    }

    /// Lines read so far.
    pub(crate) fn lines(&self) -> u64 {
        self.number
    }

    /// The next message, or what is wrong with the next line; `None` at the end. Empty lines are
    /// passed over.
    ///
    /// # Errors
    /// What reading the file gave.
    pub(crate) fn next(&mut self) -> io::Result<Option<Result<Recorded, BadLine>>> {
        loop {
            self.line.clear();
            let whole = match self.read_line()? {
                None => return Ok(None),
                Some(whole) => whole,
            };
            self.number += 1;
            if whole && self.line.trim_ascii().is_empty() {
                continue;
            }
            let parsed = match whole {
                true => self.parse(),
                false => Err(format!(
                    "longer than {} bytes; split it, or raise payload_max",
                    self.line_max()
                )),
            };
            let number = self.number;
            return Ok(Some(parsed.map_err(|reason| BadLine { number, reason })));
        }
    }

    fn line_max(&self) -> usize {
        self.payload_max + LINE_MARGIN
    }

    /// Reads up to the end of a line; false if it was too long and only its beginning was kept.
    fn read_line(&mut self) -> io::Result<Option<bool>> {
        let mut is_whole = true;
        let mut has_begun = false;
        loop {
            let available = match self.source.fill_buf() {
                Ok(available) => available,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if available.is_empty() {
                return Ok(has_begun.then_some(is_whole));
            }
            has_begun = true;
            let end = available.iter().position(|byte| *byte == b'\n');
            let part = &available[..end.unwrap_or(available.len())];
            if self.line.len() + part.len() > self.payload_max + LINE_MARGIN {
                is_whole = false;
            } else {
                self.line.extend_from_slice(part);
            }
            let used = end.map_or(available.len(), |end| end + 1);
            self.source.consume(used);
            if end.is_some() {
                return Ok(Some(is_whole));
            }
        }
    }

    fn parse(&self) -> Result<Recorded, String> {
        let text = std::str::from_utf8(&self.line)
            .map_err(|_| "not UTF-8; convert the file".to_owned())?;
        let refused = |refusal: crate::serve::message::Refusal| {
            format!("{}: {}", refusal.code.as_str(), refusal.message)
        };
        let message = JsonMessage::parse(text).map_err(refused)?;
        let at_ns = message.ts.map(parse_time).transpose()?;
        let request = message.request(self.payload_max).map_err(refused)?;
        Ok(Recorded { at_ns, request })
    }
}

const TIME_FORMS: &str = "write RFC 3339 such as \"2026-01-31T09:30:00.123456Z\", or seconds, milliseconds, \
     microseconds or nanoseconds since 1970";

/// A time as nanoseconds since 1970: RFC 3339, or a number whose size tells its unit.
fn parse_time(value: &RawValue) -> Result<i64, String> {
    let wrong = || format!("ts is {}; {TIME_FORMS}", value.get());
    if value.get().starts_with('"') {
        let text: String = serde_json::from_str(value.get()).map_err(|_| wrong())?;
        let time: jiff::Timestamp = text.parse().map_err(|_| wrong())?;
        return i64::try_from(time.as_nanosecond()).map_err(|_| wrong());
    }
    number_time(value.get()).ok_or_else(wrong)
}

/// Seconds have up to eleven digits before the point, then each unit has three more.
fn number_time(text: &str) -> Option<i64> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let whole: i64 = whole.parse().ok()?;
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let unit_ns: i64 = match whole.unsigned_abs().checked_ilog10().unwrap_or(0) {
        0..=10 => 1_000_000_000,
        11..=13 => 1_000_000,
        14..=16 => 1_000,
        _ => 1,
    };
    let mut part_ns = 0;
    let mut place_ns = unit_ns / 10;
    for digit in fraction.bytes() {
        part_ns += i64::from(digit - b'0') * place_ns;
        place_ns /= 10;
    }
    whole
        .checked_mul(unit_ns)?
        .checked_add(part_ns)?
        .checked_mul(sign)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Result<i64, String> {
        parse_time(serde_json::from_str::<&RawValue>(text).unwrap())
    }

    #[test]
    fn times_in_every_form_are_the_same() {
        let expected = 1_700_000_000_123_456_000;
        for text in [
            "\"2023-11-14T22:13:20.123456Z\"",
            "\"2023-11-14T23:13:20.123456+01:00\"",
            "1700000000.123456",
            "1700000000123.456",
            "1700000000123456",
            "1700000000123456000",
        ] {
            assert_eq!(time(text), Ok(expected), "{text}");
        }
        assert_eq!(time("0"), Ok(0));
        assert_eq!(time("-1.5"), Ok(-1_500_000_000));
        for wrong in [
            "\"yesterday\"",
            "1e9",
            "true",
            "[1]",
            "null",
            "99999999999999999999",
        ] {
            let error = time(wrong).unwrap_err();
            assert!(error.contains("RFC 3339"), "{error}");
        }
    }

    #[test]
    fn lines_are_counted_and_bad_ones_named() {
        let long = format!(r#"{{"topic":"a","data":"{}"}}"#, "x".repeat(6000));
        let text = format!(
            "{}\n\n  \n{}\n{long}\n{}\n\u{ff}\n{}",
            r#"{"ts":1,"topic":"a","data":1}"#,
            r#"{"ts":2,"topic":"a..b","data":2}"#,
            r#"{"ts":"soon","topic":"a","data":2}"#,
            r#"{"ts":3,"topic":"a","data":3}"#,
        );
        let mut recording = Recording::new(io::BufReader::with_capacity(7, text.as_bytes()), 100);
        let mut good = Vec::new();
        let mut bad = Vec::new();
        while let Some(line) = recording.next().unwrap() {
            match line {
                Ok(recorded) => good.push((recorded.at_ns, recorded.request.payload)),
                Err(line) => bad.push(line),
            }
        }
        assert_eq!(recording.lines(), 8);
        assert_eq!(good.len(), 2);
        assert_eq!(
            good[1],
            (Some(3_000_000_000), bytes::Bytes::from_static(b"3"))
        );
        let numbers: Vec<u64> = bad.iter().map(|line| line.number).collect();
        assert_eq!(numbers, [4, 5, 6, 7]);
        for (line, part) in bad
            .iter()
            .zip(["bad_topic", "longer", "RFC 3339", "bad_json"])
        {
            assert!(line.reason.contains(part), "{}", line.reason);
        }
    }

    #[test]
    fn what_is_no_utf8_is_a_bad_line() {
        let mut recording = Recording::new(&b"\xff\xfe\n"[..], 100);
        let line = recording.next().unwrap().unwrap().unwrap_err();
        assert!(line.reason.contains("UTF-8"), "{}", line.reason);
        assert!(recording.next().unwrap().is_none());
    }
}
