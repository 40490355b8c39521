//! The server's reading of a client's opening handshake (RFC 6455 4.2.1).
//!
//! Owns which request gets which status. Knows nothing of Origin policies, hosts that are ours
//! and credentials: those are the application's, which gets the valid [`Request`].

use httparse::Header;

use super::HandshakeLimits;
use super::extension::{self, DeflatePolicy, Parameters};
use super::fields::{host_agrees, is_host, is_token, list, split_absolute, trim};
use super::head::{HeadError, HeadScanner};
use super::rejection::Rejection;
use crate::deflate::DeflateParameters;

/// Reads the request head as it arrives, never looking at a byte twice to find its end.
#[derive(Clone, Debug)]
pub struct RequestReader {
    limits: HandshakeLimits,
    scanner: HeadScanner,
}

impl RequestReader {
    /// Nothing was read yet.
    pub fn new(limits: HandshakeLimits) -> Self {
        Self {
            limits,
            scanner: HeadScanner::for_request(),
        }
    }

    /// `received` is every byte received so far on this connection. `None` asks for more.
    ///
    /// # Errors
    ///
    /// The complete answer to a request that is not a valid opening handshake, as soon as that is
    /// certain. Nothing behind it is ever parsed: send it and close.
    pub fn advance<'b>(&mut self, received: &'b [u8]) -> Result<Option<Request<'b>>, Rejection> {
        let Some(size) = self
            .scanner
            .advance(received, &self.limits)
            .map_err(reject_head)?
        else {
            return Ok(None);
        };
        let (head, behind) = received.split_at(size.min(received.len()));
        let request = Request::parse(head, &self.limits)?;
        // RFC 6455 4.1: the client must wait for the 101. What comes earlier may have been
        // smuggled through a proxy that does not know it forwards another protocol.
        if !behind.is_empty() {
            return Err(bad(
                "Bytes follow the request head; wait for the 101 response.",
            ));
        }
        Ok(Some(request))
    }
}

/// A valid opening handshake of a client. Borrows the received bytes.
#[derive(Debug)]
pub struct Request<'b> {
    target: &'b str,
    /// Path and query; the target less scheme and authority.
    path_and_query: &'b str,
    host: &'b str,
    origin: Option<&'b str>,
    pub(super) key: &'b [u8],
    headers: Vec<Header<'b>>,
}

impl<'b> Request<'b> {
    /// The request target as sent. Never log its query.
    pub fn target(&self) -> &'b str {
        self.target
    }

    /// The path of the target, as sent: percent-encoded, beginning with `/`.
    pub fn path(&self) -> &'b str {
        let path = self.path_and_query;
        match path.split_once('?').map_or(path, |(path, _)| path) {
            "" => "/",
            path => path,
        }
    }

    /// What follows the `?` of the target. Never log it.
    pub fn query(&self) -> Option<&'b str> {
        self.path_and_query.split_once('?').map(|(_, query)| query)
    }

    /// The authority the client asked for: the Host header, with which the target agrees.
    pub fn host(&self) -> &'b str {
        self.host
    }

    /// The Origin header (RFC 6454 7); absent for most clients that are not browsers. Compare it
    /// whole, never by prefix.
    pub fn origin(&self) -> Option<&'b str> {
        self.origin
    }

    /// The first header of this name, in any case.
    pub fn header(&self, name: &str) -> Option<&'b [u8]> {
        values(&self.headers, name).next()
    }

    /// All headers in order.
    pub fn headers(&self) -> impl Iterator<Item = (&'b str, &'b [u8])> + '_ {
        self.headers
            .iter()
            .map(|header| (header.name, header.value))
    }

    /// The subprotocols the client asks for, in its order of preference (RFC 6455 1.9).
    pub fn subprotocols(&self) -> impl Iterator<Item = &'b str> + '_ {
        texts(&self.headers, "sec-websocket-protocol").flat_map(list)
    }

    /// The extensions the client offers, in its order of preference, with their parameters
    /// (RFC 6455 9.1).
    pub fn extensions(&self) -> impl Iterator<Item = &'b str> + '_ {
        texts(&self.headers, "sec-websocket-extensions").flat_map(extension::elements)
    }

    /// What to agree on with this client: the answer to its first permessage-deflate offer that
    /// can be accepted under `policy`, or `None` to leave messages uncompressed.
    pub fn negotiate_deflate(&self, policy: &DeflatePolicy) -> Option<DeflateParameters> {
        self.deflate_offers()
            .find_map(|offer| offer.negotiate(policy))
    }

    pub(super) fn deflate_offers(&self) -> impl Iterator<Item = Parameters> + '_ {
        self.extensions().filter_map(Parameters::parse)
    }

    fn parse(head: &'b [u8], limits: &HandshakeLimits) -> Result<Self, Rejection> {
        let mut headers = vec![httparse::EMPTY_HEADER; limits.headers_max];
        let mut parsed = httparse::Request::new(&mut headers);
        match parsed.parse(head) {
            Ok(httparse::Status::Complete(size)) if size == head.len() => {}
            Err(httparse::Error::TooManyHeaders) => {
                return Err(reject_head(HeadError::HeadersTooMany));
            }
            Ok(_) | Err(_) => {
                return Err(bad(
                    "A header line is malformed; send `Name: value` with a token name.",
                ));
            }
        }
        let target = parsed.path.unwrap_or_default();
        let count = parsed.headers.len();
        headers.truncate(count);
        let (host, path_and_query) = judge_target(target, &headers)?;
        judge_body(&headers)?;
        judge_upgrade(&headers)?;
        judge_version(&headers)?;
        let key = judge_key(&headers)?;
        let origin = judge_origin(&headers)?;
        judge_subprotocols(&headers, limits)?;
        judge_extensions(&headers, limits)?;
        Ok(Self {
            target,
            path_and_query,
            host,
            origin,
            key,
            headers,
        })
    }
}

/// The host, and the path and query of the target (RFC 9112 3.2).
fn judge_target<'b>(
    target: &'b str,
    headers: &[Header<'b>],
) -> Result<(&'b str, &'b str), Rejection> {
    let host = single(headers, "host", "Send exactly one Host header.")?
        .ok_or(bad("The Host header is missing; HTTP/1.1 requires it."))?;
    let host = std::str::from_utf8(host).unwrap_or_default();
    if !is_host(host) {
        return Err(bad("The Host header is not a host with an optional port."));
    }
    if target.contains('#') {
        return Err(bad("The request target must not have a fragment."));
    }
    if target.starts_with('/') {
        return Ok((host, target));
    }
    let Some((authority, path_and_query)) = split_absolute(target) else {
        return Err(bad(
            "The request target must be a path or an http, https, ws or wss URI.",
        ));
    };
    if !host_agrees(host, authority, target) {
        return Err(bad(
            "The request target and the Host header name different hosts.",
        ));
    }
    Ok((host, path_and_query))
}

/// A body would be bytes before the 101, and a way to smuggle (RFC 9112 6.3).
fn judge_body(headers: &[Header<'_>]) -> Result<(), Rejection> {
    if values(headers, "transfer-encoding").next().is_some() {
        return Err(bad(
            "An opening handshake has no body; leave out Transfer-Encoding.",
        ));
    }
    match single(
        headers,
        "content-length",
        "Send at most one Content-Length header.",
    )? {
        None | Some(b"0") => Ok(()),
        Some(_) => Err(bad(
            "An opening handshake has no body; leave out Content-Length.",
        )),
    }
}

fn judge_upgrade(headers: &[Header<'_>]) -> Result<(), Rejection> {
    if values(headers, "upgrade").next().is_none() {
        return Err(Rejection::new(
            426,
            "This address speaks WebSocket only; connect with a WebSocket client.",
        ));
    }
    if !has_element(headers, "upgrade", "websocket") {
        return Err(bad("The Upgrade header does not name websocket."));
    }
    if !has_element(headers, "connection", "upgrade") {
        return Err(bad(
            "The Connection header does not name Upgrade; a proxy may have removed it.",
        ));
    }
    Ok(())
}

fn judge_version(headers: &[Header<'_>]) -> Result<(), Rejection> {
    let version = single(
        headers,
        "sec-websocket-version",
        "Send exactly one Sec-WebSocket-Version header.",
    )?;
    if version == Some(b"13") {
        return Ok(());
    }
    Err(Rejection::new(
        426,
        "Only version 13 of the WebSocket protocol is spoken here.",
    ))
}

/// RFC 6455 4.2.1: base64 of 16 bytes, that is 22 characters and two of padding.
fn judge_key<'b>(headers: &[Header<'b>]) -> Result<&'b [u8], Rejection> {
    use base64::Engine as _;

    let key = single(
        headers,
        "sec-websocket-key",
        "Send exactly one Sec-WebSocket-Key header.",
    )?
    .ok_or(bad("The Sec-WebSocket-Key header is missing."))?;
    let mut decoded = [0; 18];
    let result = base64::engine::general_purpose::STANDARD.decode_slice(key, &mut decoded);
    if key.len() == 24 && result == Ok(16) {
        return Ok(key);
    }
    Err(bad(
        "The Sec-WebSocket-Key header is not 16 bytes in base64.",
    ))
}

fn judge_origin<'b>(headers: &[Header<'b>]) -> Result<Option<&'b str>, Rejection> {
    let Some(origin) = single(headers, "origin", "Send at most one Origin header.")? else {
        return Ok(None);
    };
    match std::str::from_utf8(origin) {
        Ok(text) if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic()) => {
            Ok(Some(text))
        }
        _ => Err(bad("The Origin header is not an origin.")),
    }
}

fn judge_subprotocols(headers: &[Header<'_>], limits: &HandshakeLimits) -> Result<(), Rejection> {
    let mut count = 0;
    for value in values(headers, "sec-websocket-protocol") {
        let text = std::str::from_utf8(value)
            .map_err(|_| bad("The Sec-WebSocket-Protocol header is not a list of tokens."))?;
        let before = count;
        for subprotocol in list(text) {
            count += 1;
            judge_offer(subprotocol, count, limits)?;
            if !is_token(subprotocol) {
                return Err(bad(
                    "A subprotocol in Sec-WebSocket-Protocol is not a token.",
                ));
            }
        }
        if count == before {
            return Err(bad(
                "The Sec-WebSocket-Protocol header is empty; leave it out.",
            ));
        }
    }
    // RFC 6455 4.1: the elements must all be unique. Few enough to compare all pairs.
    let all = || {
        texts(headers, "sec-websocket-protocol")
            .flat_map(list)
            .enumerate()
    };
    if all().any(|(index, name)| all().take(index).any(|(_, other)| other == name)) {
        return Err(bad(
            "A subprotocol is listed twice in Sec-WebSocket-Protocol.",
        ));
    }
    Ok(())
}

fn judge_extensions(headers: &[Header<'_>], limits: &HandshakeLimits) -> Result<(), Rejection> {
    let mut count = 0;
    for value in values(headers, "sec-websocket-extensions") {
        let text = std::str::from_utf8(value)
            .map_err(|_| bad("The Sec-WebSocket-Extensions header is malformed."))?;
        let before = count;
        for element in extension::elements(text) {
            count += 1;
            judge_offer(element, count, limits)?;
            if !extension::is_element(element) {
                return Err(bad("The Sec-WebSocket-Extensions header is malformed."));
            }
        }
        if count == before {
            return Err(bad(
                "The Sec-WebSocket-Extensions header is empty; leave it out.",
            ));
        }
    }
    Ok(())
}

fn judge_offer(offer: &str, count: usize, limits: &HandshakeLimits) -> Result<(), Rejection> {
    if count > limits.offers_max {
        return Err(bad(
            "Too many subprotocols or extensions are offered; offer fewer.",
        ));
    }
    if offer.len() > limits.offer_size_max {
        return Err(bad(
            "A subprotocol or extension offer is too long; shorten it.",
        ));
    }
    Ok(())
}

fn reject_head(error: HeadError) -> Rejection {
    match error {
        HeadError::MethodMalformed => {
            bad("This is not an HTTP/1.1 request; use ws:// or wss:// as the server does.")
        }
        HeadError::MethodNotGet => {
            Rejection::new(405, "The opening handshake is a GET request; use GET.")
        }
        HeadError::TargetMalformed => {
            bad("The request target has a byte that must be percent-encoded.")
        }
        HeadError::TargetTooLong => Rejection::new(
            414,
            "The request target is too long; shorten path and query.",
        ),
        HeadError::VersionUnsupported => bad("The opening handshake must be HTTP/1.1."),
        HeadError::ControlByte => {
            bad("The request head has a control character; end lines with CR LF.")
        }
        HeadError::LineFolded => bad("A header line begins with white space; do not fold lines."),
        HeadError::HeadersTooMany => {
            Rejection::new(431, "The request has too many headers; send fewer.")
        }
        HeadError::HeadTooLarge => Rejection::new(
            431,
            "The request head is too large; send smaller headers or cookies.",
        ),
    }
}

fn bad(detail: &'static str) -> Rejection {
    Rejection::new(400, detail)
}

/// The values of all headers of this name, trimmed.
fn values<'h, 'b>(headers: &'h [Header<'b>], name: &'h str) -> impl Iterator<Item = &'b [u8]> + 'h {
    headers
        .iter()
        .filter(move |header| header.name.eq_ignore_ascii_case(name))
        .map(|header| header.value.trim_ascii())
}

/// The same as text; values that are not are left out, and were refused where it matters.
fn texts<'h, 'b>(headers: &'h [Header<'b>], name: &'h str) -> impl Iterator<Item = &'b str> + 'h {
    values(headers, name)
        .filter_map(|value| std::str::from_utf8(value).ok())
        .map(trim)
}

/// The one value of a header that must not be repeated (RFC 9110 5.3, RFC 6455 11.3).
fn single<'b>(
    headers: &[Header<'b>],
    name: &str,
    detail: &'static str,
) -> Result<Option<&'b [u8]>, Rejection> {
    let mut found = None;
    for header in headers
        .iter()
        .filter(|header| header.name.eq_ignore_ascii_case(name))
    {
        if found.replace(header.value.trim_ascii()).is_some() {
            return Err(bad(detail));
        }
    }
    Ok(found)
}

/// Whether one of the headers of this name lists `element`, in any case.
fn has_element(headers: &[Header<'_>], name: &str, element: &str) -> bool {
    texts(headers, name)
        .flat_map(list)
        .any(|found| found.eq_ignore_ascii_case(element))
}
