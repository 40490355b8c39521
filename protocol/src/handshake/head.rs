//! Finds the end of an HTTP/1.1 head as it arrives, and judges every byte on the way.
//!
//! Owns the scan position: a byte is looked at once, so a head that dribbles in costs no more than
//! one that comes whole. Every verdict depends on the bytes up to the one that causes it and on
//! nothing behind it, so that it does not depend on how the head was split. Knows nothing of what
//! the headers mean.

use super::HandshakeLimits;
use super::fields::is_token_byte;

/// What a head can break before it is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeadError {
    /// The method is not a token, or there is none.
    MethodMalformed,
    /// A token other than GET.
    MethodNotGet,
    /// A byte outside printable ASCII in the target, or no target.
    TargetMalformed,
    /// Longer than `target_size_max`.
    TargetTooLong,
    /// Not HTTP/1.1.
    VersionUnsupported,
    /// A CR without LF, an LF without CR, NUL or another control byte.
    ControlByte,
    /// A header line that begins with space or tab (obs-fold, RFC 9112 5.2).
    LineFolded,
    /// More than `headers_max` header lines.
    HeadersTooMany,
    /// More than `head_size_max` bytes.
    HeadTooLarge,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Method,
    Target,
    /// Behind the target, up to the end of the line.
    Version,
    /// A response's first line.
    StatusLine,
    /// The LF of the first line or of a header line.
    LineFeed,
    LineStart,
    Line,
    /// The LF of the empty line.
    FinalLineFeed,
}

/// Longest method that is waited for; the longest registered one has 17 bytes.
const METHOD_SIZE_MAX: usize = 32;
const VERSION: &[u8] = b"HTTP/1.1";

/// Where in a head the scan stands.
#[derive(Clone, Debug)]
pub(super) struct HeadScanner {
    phase: Phase,
    /// Bytes looked at.
    position: usize,
    /// Where the target or the version began.
    start: usize,
    /// Header lines begun.
    lines: usize,
}

impl HeadScanner {
    pub(super) fn for_request() -> Self {
        Self {
            phase: Phase::Method,
            position: 0,
            start: 0,
            lines: 0,
        }
    }

    pub(super) fn for_response() -> Self {
        Self {
            phase: Phase::StatusLine,
            position: 0,
            start: 0,
            lines: 0,
        }
    }

    /// Looks at the bytes that are new since the last call. Returns the length of the head once
    /// it is complete.
    pub(super) fn advance(
        &mut self,
        received: &[u8],
        limits: &HandshakeLimits,
    ) -> Result<Option<usize>, HeadError> {
        while let Some(byte) = received.get(self.position).copied() {
            if self.position >= limits.head_size_max {
                return Err(HeadError::HeadTooLarge);
            }
            if self.phase == Phase::Line && self.skip_printable(received, limits) {
                continue;
            }
            if self.step(byte, received, limits)? {
                self.position += 1;
                return Ok(Some(self.position));
            }
            self.position += 1;
        }
        if self.position >= limits.head_size_max {
            return Err(HeadError::HeadTooLarge);
        }
        Ok(None)
    }

    /// Skips 16 bytes at once where none of them needs a look.
    #[inline(always)]
    fn skip_printable(&mut self, received: &[u8], limits: &HandshakeLimits) -> bool {
        let rest = received.get(self.position..).unwrap_or_default();
        let Some(block) = rest.first_chunk::<16>() else {
            return false;
        };
        let needs_look = block
            .iter()
            .fold(false, |any, byte| any | is_control(*byte));
        if needs_look || self.position + 16 > limits.head_size_max {
            return false;
        }
        self.position += 16;
        true
    }

    /// Judges one byte; whether it is the last of the head.
    fn step(
        &mut self,
        byte: u8,
        received: &[u8],
        limits: &HandshakeLimits,
    ) -> Result<bool, HeadError> {
        self.phase = match (self.phase, byte) {
            (Phase::Method, b' ') => {
                self.judge_method(received)?;
                self.start = self.position + 1;
                Phase::Target
            }
            (Phase::Method, byte) if is_token_byte(byte) && self.position < METHOD_SIZE_MAX => {
                Phase::Method
            }
            (Phase::Method, _) => return Err(HeadError::MethodMalformed),
            (Phase::Target, b' ') if self.position > self.start => {
                self.start = self.position + 1;
                Phase::Version
            }
            (Phase::Target, b'!'..=b'~') => {
                if self.position - self.start >= limits.target_size_max {
                    return Err(HeadError::TargetTooLong);
                }
                Phase::Target
            }
            (Phase::Target, _) => return Err(HeadError::TargetMalformed),
            (Phase::Version, b'\r') if self.version_is_complete(received) => Phase::LineFeed,
            (Phase::Version, byte) if self.version_goes_on(byte) => Phase::Version,
            (Phase::Version, _) => return Err(HeadError::VersionUnsupported),
            (Phase::StatusLine | Phase::Line, b'\r') => Phase::LineFeed,
            (phase @ (Phase::StatusLine | Phase::Line), byte) if !is_control(byte) => phase,
            (phase @ (Phase::StatusLine | Phase::Line), b'\t') => phase,
            (Phase::LineFeed, b'\n') => Phase::LineStart,
            (Phase::LineStart, b'\r') => Phase::FinalLineFeed,
            (Phase::LineStart, b' ' | b'\t') => return Err(HeadError::LineFolded),
            (Phase::LineStart, byte) if !is_control(byte) => {
                self.lines += 1;
                if self.lines > limits.headers_max {
                    return Err(HeadError::HeadersTooMany);
                }
                Phase::Line
            }
            (Phase::FinalLineFeed, b'\n') => return Ok(true),
            (
                Phase::StatusLine
                | Phase::Line
                | Phase::LineFeed
                | Phase::LineStart
                | Phase::FinalLineFeed,
                _,
            ) => return Err(HeadError::ControlByte),
        };
        Ok(false)
    }

    fn judge_method(&self, received: &[u8]) -> Result<(), HeadError> {
        match received.get(..self.position) {
            Some(b"GET") => Ok(()),
            Some(b"") | None => Err(HeadError::MethodMalformed),
            Some(_) => Err(HeadError::MethodNotGet),
        }
    }

    fn version_is_complete(&self, received: &[u8]) -> bool {
        received.get(self.start..self.position) == Some(VERSION)
    }

    fn version_goes_on(&self, byte: u8) -> bool {
        VERSION.get(self.position - self.start) == Some(&byte)
    }
}

/// Control bytes but for none; tab is judged where it may stand.
fn is_control(byte: u8) -> bool {
    byte < 0x20 || byte == 0x7f
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_looked_at_once() {
        let head = b"GET /chat HTTP/1.1\r\nHost: a\r\nX: 0123456789012345678901234567890\r\n\r\n";
        let limits = HandshakeLimits::default();
        let mut scanner = HeadScanner::for_request();
        for end in 1..head.len() {
            assert_eq!(scanner.advance(&head[..end], &limits), Ok(None));
            assert_eq!(scanner.position, end);
        }
        assert_eq!(scanner.advance(head, &limits), Ok(Some(head.len())));
    }

    #[test]
    fn sizes_are_judged_as_soon_as_they_are_certain() {
        let limits = HandshakeLimits {
            head_size_max: 64,
            target_size_max: 8,
            headers_max: 2,
            ..HandshakeLimits::default()
        };
        let check = |head: &str, expected: Result<Option<usize>, HeadError>| {
            let whole = HeadScanner::for_request().advance(head.as_bytes(), &limits);
            assert_eq!(whole, expected, "{head:?}");
        };
        check("GET /2345678", Ok(None));
        check("GET /23456789", Err(HeadError::TargetTooLong));
        check("GET / HTTP/1.1\r\na:\r\nb:\r\n\r\n", Ok(Some(26)));
        check(
            "GET / HTTP/1.1\r\na:\r\nb:\r\nc",
            Err(HeadError::HeadersTooMany),
        );
        let head = format!("GET / HTTP/1.1\r\na:{}", "x".repeat(64));
        check(&head[..63], Ok(None));
        check(&head[..64], Err(HeadError::HeadTooLarge));
        let exact = format!("GET / HTTP/1.1\r\na:{}\r\n\r\n", "x".repeat(42));
        assert_eq!(exact.len(), 64);
        check(&exact, Ok(Some(64)));
    }
}
