//! The client's reading of the server's response (RFC 6455 4.1, 4.2.2).
//!
//! Owns which response establishes a connection. Knows nothing of redirects and credentials: any
//! status but 101 is handed to the caller.

use super::HandshakeLimits;
use super::extension::{self, DeflateOffer, Parameters};
use super::fields::list;
use super::head::{HeadError, HeadScanner};
use crate::deflate::DeflateParameters;

/// Reads the response head as it arrives, never looking at a byte twice to find its end.
#[derive(Clone, Debug)]
pub struct ResponseReader {
    limits: HandshakeLimits,
    scanner: HeadScanner,
    accept: [u8; 28],
    subprotocols: Box<[Box<str>]>,
    deflate: Option<DeflateOffer>,
}

impl ResponseReader {
    pub(super) fn new(
        accept: [u8; 28],
        subprotocols: Box<[Box<str>]>,
        deflate: Option<DeflateOffer>,
        limits: HandshakeLimits,
    ) -> Self {
        Self {
            limits,
            scanner: HeadScanner::for_response(),
            accept,
            subprotocols,
            deflate,
        }
    }

    /// The same with other limits than the default: `head_size_max` and `headers_max` count.
    pub fn with_limits(mut self, limits: HandshakeLimits) -> Self {
        self.limits = limits;
        self
    }

    /// `received` is every byte received so far on this connection. `None` asks for more.
    ///
    /// # Errors
    ///
    /// Why this response does not establish a connection: close it.
    pub fn advance(&mut self, received: &[u8]) -> Result<Option<Established>, ResponseError> {
        let scanned =
            self.scanner
                .advance(received, &self.limits)
                .map_err(|error| match error {
                    HeadError::HeadersTooMany | HeadError::HeadTooLarge => {
                        ResponseError::HeadTooLarge
                    }
                    HeadError::MethodMalformed
                    | HeadError::MethodNotGet
                    | HeadError::TargetMalformed
                    | HeadError::TargetTooLong
                    | HeadError::VersionUnsupported
                    | HeadError::ControlByte
                    | HeadError::LineFolded => ResponseError::Malformed,
                })?;
        let Some(size) = scanned else { return Ok(None) };
        self.judge(received.get(..size).unwrap_or(received))
            .map(Some)
    }

    fn judge(&self, head: &[u8]) -> Result<Established, ResponseError> {
        let mut headers = vec![httparse::EMPTY_HEADER; self.limits.headers_max];
        let mut parsed = httparse::Response::new(&mut headers);
        match parsed.parse(head) {
            Ok(httparse::Status::Complete(size)) if size == head.len() => {}
            Ok(_) | Err(_) => return Err(ResponseError::Malformed),
        }
        if parsed.version != Some(1) {
            return Err(ResponseError::Malformed);
        }
        match parsed.code {
            Some(101) => {}
            Some(status) => return Err(ResponseError::Status(status)),
            None => return Err(ResponseError::Malformed),
        }
        let headers = &*parsed.headers;
        if !has_element(headers, "upgrade", "websocket") {
            return Err(ResponseError::UpgradeMissing);
        }
        if !has_element(headers, "connection", "upgrade") {
            return Err(ResponseError::ConnectionMissing);
        }
        let mut accepts = values(headers, "sec-websocket-accept");
        if accepts.next() != Some(&self.accept) || accepts.next().is_some() {
            return Err(ResponseError::AcceptWrong);
        }
        Ok(Established {
            head_len: head.len(),
            subprotocol: self.judge_subprotocol(headers)?,
            deflate: self.judge_extensions(headers)?,
        })
    }

    /// RFC 6455 4.1: at most one, and one that was requested.
    fn judge_subprotocol(
        &self,
        headers: &[httparse::Header<'_>],
    ) -> Result<Option<String>, ResponseError> {
        let mut found = values(headers, "sec-websocket-protocol");
        let Some(chosen) = found.next() else {
            return Ok(None);
        };
        let requested = self
            .subprotocols
            .iter()
            .find(|name| name.as_bytes() == chosen);
        match (requested, found.next()) {
            (Some(name), None) => Ok(Some(name.to_string())),
            _ => Err(ResponseError::SubprotocolNotRequested),
        }
    }

    /// RFC 6455 4.1: nothing that was not offered. RFC 7692 5.1: an answer that fits the offer.
    fn judge_extensions(
        &self,
        headers: &[httparse::Header<'_>],
    ) -> Result<Option<DeflateParameters>, ResponseError> {
        let mut agreed = None;
        for value in values(headers, "sec-websocket-extensions") {
            let text = std::str::from_utf8(value).map_err(|_| ResponseError::ExtensionInvalid)?;
            for element in extension::elements(text) {
                let offer = self.deflate.ok_or(ResponseError::ExtensionInvalid)?;
                let answer = Parameters::parse(element).ok_or(ResponseError::ExtensionInvalid)?;
                let parameters = offer
                    .agree(&answer)
                    .ok_or(ResponseError::ExtensionInvalid)?;
                if agreed.replace(parameters).is_some() {
                    return Err(ResponseError::ExtensionInvalid);
                }
            }
        }
        Ok(agreed)
    }
}

/// What the opening handshake agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Established {
    /// Length of the response head; the bytes behind it are the first frames.
    pub head_len: usize,
    /// The subprotocol the server chose.
    pub subprotocol: Option<String>,
    /// What was agreed on about compression.
    pub deflate: Option<DeflateParameters>,
}

/// Why a response does not establish a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ResponseError {
    /// The server answered with another status than 101.
    Status(u16),
    /// Not an HTTP/1.1 response.
    Malformed,
    /// The head exceeds `head_size_max` or `headers_max`.
    HeadTooLarge,
    /// `Upgrade` does not name websocket.
    UpgradeMissing,
    /// `Connection` does not name Upgrade.
    ConnectionMissing,
    /// `Sec-WebSocket-Accept` is missing, repeated or not made from our key.
    AcceptWrong,
    /// A subprotocol that was not requested, or more than one.
    SubprotocolNotRequested,
    /// An extension that was not offered, or parameters that do not fit the offer.
    ExtensionInvalid,
}

impl std::fmt::Display for ResponseError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Status(status) => {
                return write!(
                    formatter,
                    "the server answered with HTTP status {status} instead of 101; check address, \
                     path and credentials"
                );
            }
            Self::Malformed => {
                "the answer is not an HTTP/1.1 response; check port and scheme (ws or wss)"
            }
            Self::HeadTooLarge => "the response head is too large; raise head_size_max",
            Self::UpgradeMissing => {
                "the response does not upgrade to websocket; check that the path is a WebSocket's"
            }
            Self::ConnectionMissing => {
                "the response has no `Connection: Upgrade`; a proxy on the way may remove it"
            }
            Self::AcceptWrong => {
                "Sec-WebSocket-Accept does not match our key; a cache or proxy may have answered"
            }
            Self::SubprotocolNotRequested => {
                "the server chose a subprotocol that was not requested; request one it speaks"
            }
            Self::ExtensionInvalid => {
                "the server's extensions do not fit the offer; connect without compression"
            }
        })
    }
}

impl std::error::Error for ResponseError {}

fn values<'h, 'b>(
    headers: &'h [httparse::Header<'b>],
    name: &'h str,
) -> impl Iterator<Item = &'b [u8]> + 'h {
    headers
        .iter()
        .filter(move |header| header.name.eq_ignore_ascii_case(name))
        .map(|header| header.value.trim_ascii())
}

fn has_element(headers: &[httparse::Header<'_>], name: &str, element: &str) -> bool {
    values(headers, name)
        .filter_map(|value| std::str::from_utf8(value).ok())
        .flat_map(list)
        .any(|found| found.eq_ignore_ascii_case(element))
}
