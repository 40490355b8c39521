//! Every answer to a request that does not become a WebSocket connection.

use std::io::Write as _;

/// The answer to a request that does not become a WebSocket connection: one complete response,
/// after which the connection is closed and nothing more is parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// HTTP status code.
    pub status: u16,
    /// One sentence for the body: cause and cure. Never a byte from the peer.
    pub detail: &'static str,
    /// Seconds for a `Retry-After` header (RFC 9110 10.2.3).
    pub retry_after_seconds: Option<u32>,
}

impl Rejection {
    /// A rejection with this status and body.
    pub const fn new(status: u16, detail: &'static str) -> Self {
        Self {
            status,
            detail,
            retry_after_seconds: None,
        }
    }

    /// The same with a `Retry-After` header, for 429 and 503.
    pub const fn with_retry_after_seconds(mut self, seconds: u32) -> Self {
        self.retry_after_seconds = Some(seconds);
        self
    }

    /// Appends the complete HTTP/1.1 response: with `Allow: GET` for 405 (RFC 9110 15.5.6), with
    /// `Upgrade: websocket` and `Sec-WebSocket-Version: 13` for 426 (RFC 9110 15.5.22, RFC 6455
    /// 4.4). Close the connection behind it.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        let connection = if self.status == 426 {
            "close, Upgrade"
        } else {
            "close"
        };
        let extra = match self.status {
            405 => "Allow: GET\r\n",
            426 => "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
            _ => "",
        };
        // Writing to a vector cannot fail.
        let _ = write!(
            out,
            "HTTP/1.1 {} {}\r\nConnection: {connection}\r\n{extra}",
            self.status,
            reason_phrase(self.status)
        );
        if let Some(seconds) = self.retry_after_seconds {
            let _ = write!(out, "Retry-After: {seconds}\r\n");
        }
        let _ = write!(
            out,
            "Content-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\r\n{}\n",
            self.detail.len() + 1,
            self.detail
        );
    }
}

/// The phrases of RFC 9110 15 for the statuses a WebSocket server has use for.
fn reason_phrase(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        414 => "URI Too Long",
        421 => "Misdirected Request",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "Refused",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses_are_complete() {
        let mut out = Vec::new();
        Rejection::new(503, "Full; come back.")
            .with_retry_after_seconds(7)
            .write_to(&mut out);
        assert_eq!(
            String::from_utf8(out).as_deref(),
            Ok(
                "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 7\r\n\
                Content-Type: text/plain; charset=utf-8\r\nContent-Length: 17\r\n\r\nFull; come back.\n"
            )
        );
    }
}
