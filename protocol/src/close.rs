//! Status codes and the payload of a close frame (RFC 6455 5.5.1 and 7.4).

use crate::error::ProtocolError;

/// A status code of the closing handshake (RFC 6455 7.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StatusCode(pub u16);

impl StatusCode {
    /// 1000: the purpose of the connection was fulfilled.
    pub const NORMAL: Self = Self(1000);
    /// 1001: the server goes down, or the browser left the page.
    pub const GOING_AWAY: Self = Self(1001);
    /// 1002: the peer broke the protocol.
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// 1003: a kind of data that this endpoint does not take.
    pub const UNSUPPORTED: Self = Self(1003);
    /// 1007: a payload that is not what its type promises, such as text that is not UTF-8.
    pub const INVALID_PAYLOAD: Self = Self(1007);
    /// 1008: a rule of this endpoint was broken.
    pub const POLICY: Self = Self(1008);
    /// 1009: a message too big to be processed.
    pub const TOO_BIG: Self = Self(1009);
    /// 1010: the client expected an extension that the server did not negotiate.
    pub const MANDATORY_EXTENSION: Self = Self(1010);
    /// 1011: the server met an unexpected condition.
    pub const INTERNAL: Self = Self(1011);
    /// 1012: the server restarts; try again after a random delay.
    pub const SERVICE_RESTART: Self = Self(1012);
    /// 1013: the server is overloaded; try again later.
    pub const TRY_AGAIN: Self = Self(1013);

    /// Whether a peer may put this code in a close frame: the registered codes 1000 to 1003 and
    /// 1007 to 1014, and 3000 to 4999. 1004, 1005, 1006 and 1015 never travel (RFC 6455 7.4.1),
    /// 1016 to 2999 are kept for later revisions (7.4.2).
    pub const fn is_receivable(self) -> bool {
        matches!(self.0, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }

    /// Whether this endpoint may send the code. The same set as [`Self::is_receivable`].
    pub const fn is_sendable(self) -> bool {
        self.is_receivable()
    }
}

impl std::fmt::Display for StatusCode {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(formatter)
    }
}

/// The payload of a received close frame that had one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CloseFrame<'a> {
    /// Why the peer closes.
    pub code: StatusCode,
    /// The peer's words, at most 123 bytes; may be empty. Escape it before it reaches a log.
    pub reason: &'a str,
}

impl<'a> CloseFrame<'a> {
    /// Reads the payload of a close frame (RFC 6455 5.5.1). An empty one has no code.
    ///
    /// # Errors
    ///
    /// One byte alone or a code that must not travel is 1002; a reason that is not UTF-8 is 1007.
    pub fn parse(payload: &'a [u8]) -> Result<Option<Self>, ProtocolError> {
        match payload {
            [] => Ok(None),
            [_] => Err(ProtocolError::ClosePayloadOneByte),
            [high, low, reason @ ..] => {
                let code = StatusCode(u16::from_be_bytes([*high, *low]));
                if !code.is_receivable() {
                    return Err(ProtocolError::CloseCodeInvalid(code.0));
                }
                let reason =
                    std::str::from_utf8(reason).map_err(|_| ProtocolError::CloseReasonNotUtf8)?;
                Ok(Some(Self { code, reason }))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_that_may_travel() {
        for code in 0..=u16::MAX {
            let expected = match code {
                1000..=1003 | 1007..=1014 | 3000..=4999 => true,
                0..=999 | 1004..=1006 | 1015..=2999 | 5000.. => false,
            };
            assert_eq!(StatusCode(code).is_receivable(), expected, "{code}");
            let payload = code.to_be_bytes();
            let parsed = CloseFrame::parse(&payload);
            assert_eq!(parsed.is_ok(), expected, "{code}");
        }
    }

    #[test]
    fn payloads() {
        assert_eq!(CloseFrame::parse(b""), Ok(None));
        assert_eq!(
            CloseFrame::parse(&[3]),
            Err(ProtocolError::ClosePayloadOneByte)
        );
        assert_eq!(
            CloseFrame::parse(b"\x03\xe8bye"),
            Ok(Some(CloseFrame {
                code: StatusCode::NORMAL,
                reason: "bye"
            }))
        );
        assert_eq!(
            CloseFrame::parse(b"\x03\xe8\xff"),
            Err(ProtocolError::CloseReasonNotUtf8)
        );
    }
}
