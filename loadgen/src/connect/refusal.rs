//! An opening handshake that the server did not accept: what it said instead, in one sentence.
//!
//! Owns reading a response for a person: redirects, Retry-After, the beginning of the body, bytes
//! that are no HTTP at all. What makes a response wrong is the protocol library's to say.

use fanwire_protocol::handshake::ResponseError;

/// Bytes of a body that are waited for and quoted.
pub const BODY_EXCERPT: usize = 200;
/// Header fields that are looked at; a response with more is quoted without them.
const HEADERS_MAX: usize = 128;

/// What a response that is not 101 says beside its status code.
#[derive(Debug, Default)]
struct Answer {
    location: Option<String>,
    retry_after: Option<String>,
    challenge: Option<String>,
    /// Bytes of the head; the body follows.
    head_size: usize,
    content_length: Option<usize>,
    is_chunked: bool,
}

fn read(received: &[u8]) -> Option<Answer> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let Ok(httparse::Status::Complete(head_size)) = response.parse(received) else {
        return None;
    };
    let field = |name: &str| {
        let mut fields = response.headers.iter();
        let found = fields.find(|header| header.name.eq_ignore_ascii_case(name))?;
        Some(printable(found.value))
    };
    Some(Answer {
        location: field("location"),
        retry_after: field("retry-after"),
        challenge: field("www-authenticate"),
        head_size,
        content_length: field("content-length").and_then(|text| text.parse().ok()),
        is_chunked: field("transfer-encoding").is_some_and(|text| text.contains("chunked")),
    })
}

/// How many bytes of the body are worth waiting for; 0 when enough of it is here.
pub fn missing_body(received: &[u8]) -> usize {
    let Some(answer) = read(received) else {
        return 0;
    };
    let have = received.len().saturating_sub(answer.head_size);
    let announced = match answer.content_length {
        Some(length) => length.min(BODY_EXCERPT),
        None if answer.is_chunked => 1,
        None => 0,
    };
    announced.saturating_sub(have)
}

/// Name and sentence of a response that does not establish a connection.
pub fn explain(error: &ResponseError, received: &[u8], is_secured: bool) -> (String, String) {
    match error {
        ResponseError::Status(status) => (
            format!("upgrade_status_{status}"),
            explain_status(*status, received),
        ),
        ResponseError::Malformed if !is_secured && looks_like_tls(received) => (
            "upgrade_invalid".into(),
            "the answer is TLS: the server is encrypted on this port; use wss://".into(),
        ),
        ResponseError::Malformed => (
            "upgrade_invalid".into(),
            format!(
                "{error}; it begins with {}: check host, port and path",
                quoted(received)
            ),
        ),
        _ => ("upgrade_invalid".into(), error.to_string()),
    }
}

/// A TLS record of kind alert or handshake.
fn looks_like_tls(received: &[u8]) -> bool {
    matches!(received, [0x15 | 0x16, 0x03, ..])
}

fn explain_status(status: u16, received: &[u8]) -> String {
    let answer = read(received).unwrap_or_default();
    let mut text = format!("the server answered the opening handshake with status {status}");
    let body = received.get(answer.head_size..).unwrap_or_default();
    // Without a head there is no body either.
    if answer.head_size > 0 && !body.is_empty() {
        text.push_str(&format!(" and {}", quoted(body)));
    }
    match status {
        301 | 302 | 303 | 307 | 308 => match &answer.location {
            Some(location) => text.push_str(&format!(
                ", a redirect to {}: redirects are not followed, aim there",
                as_websocket(location)
            )),
            None => text.push_str(", a redirect that does not say where to"),
        },
        401 => text.push_str("; pass credentials with -H 'Authorization: …'"),
        403 => text.push_str("; it may want --origin, or credentials with -H"),
        404 | 405 => text.push_str("; check the path of the URL"),
        200..=299 => text.push_str("; no WebSocket is served at this path: check the URL"),
        426 => text.push_str("; it does not take part in version 13 of the protocol (RFC 6455)"),
        429 | 503 => text.push_str("; it may be full, or limit the rate: try --connect-rate"),
        _ => {}
    }
    if let Some(retry_after) = &answer.retry_after {
        text.push_str(&format!(" (Retry-After: {retry_after})"));
    }
    if let Some(challenge) = &answer.challenge {
        text.push_str(&format!(" (WWW-Authenticate: {challenge})"));
    }
    text
}

/// Where a redirect leads, with the scheme that is to be typed.
fn as_websocket(location: &str) -> String {
    let lowered = location.to_ascii_lowercase();
    for (http, websocket) in [("https://", "wss://"), ("http://", "ws://")] {
        if lowered.starts_with(http) {
            return format!("{websocket}{}", &location[http.len()..]);
        }
    }
    location.to_owned()
}

/// The beginning of some bytes: as text if they are text, in hexadecimal if not.
pub fn quoted(bytes: &[u8]) -> String {
    let shown = &bytes[..bytes.len().min(BODY_EXCERPT)];
    let more = if bytes.len() > shown.len() { "…" } else { "" };
    // A character may have been cut in two at the end.
    let is_text = match std::str::from_utf8(shown) {
        Ok(_) => true,
        Err(error) => error.error_len().is_none(),
    };
    let is_plain = |byte: &u8| !byte.is_ascii_control() || byte.is_ascii_whitespace();
    if is_text && shown.iter().all(is_plain) {
        return format!("\"{}{more}\"", printable(shown));
    }
    let hexadecimal: Vec<String> = shown
        .iter()
        .take(16)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!(
        "the bytes {}{}",
        hexadecimal.join(" "),
        if bytes.len() > 16 { " …" } else { "" }
    )
}

/// Text on one line, without characters that a terminal would obey.
fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(BODY_EXCERPT)]);
    let clean: String = text
        .chars()
        .map(|character| {
            if character.is_control() {
                ' '
            } else {
                character
            }
        })
        .collect();
    clean.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(status: u16, response: &str) -> String {
        let (kind, text) = explain(&ResponseError::Status(status), response.as_bytes(), false);
        assert_eq!(kind, format!("upgrade_status_{status}"));
        text
    }

    #[test]
    fn a_redirect_says_where_to() {
        let text = status(
            301,
            "HTTP/1.1 301 Moved Permanently\r\nLocation: https://example.org/chat\r\n\r\n",
        );
        assert!(text.contains("wss://example.org/chat"), "{text}");
    }

    #[test]
    fn the_body_and_the_wait_are_quoted() {
        let text = status(
            503,
            "HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 14\r\n\r\nout of\r\n\x1b[31mcoffee",
        );
        assert!(text.contains("Retry-After: 7"), "{text}");
        assert!(!text.contains('\x1b') && !text.contains('\n'), "{text}");
        let text = status(401, "HTTP/1.1 401 No\r\nContent-Length: 5\r\n\r\nlogin");
        assert!(
            text.contains("\"login\"") && text.contains("Authorization"),
            "{text}"
        );
    }

    #[test]
    fn how_much_body_is_waited_for() {
        let head = "HTTP/1.1 503 Busy\r\nContent-Length: 1000\r\n\r\n";
        assert_eq!(missing_body(head.as_bytes()), BODY_EXCERPT);
        assert_eq!(
            missing_body(format!("{head}abc").as_bytes()),
            BODY_EXCERPT - 3
        );
        assert_eq!(
            missing_body(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"),
            0
        );
        assert_eq!(missing_body(b"HTTP/1.1 503 Busy\r\n\r\n"), 0);
        assert_eq!(missing_body(b"\x15\x03\x03"), 0);
    }

    #[test]
    fn answers_that_are_no_http() {
        let (_, text) = explain(
            &ResponseError::Malformed,
            b"\x15\x03\x03\0\x02\x02\x32",
            false,
        );
        assert!(text.contains("wss://"), "{text}");
        let (_, text) = explain(&ResponseError::Malformed, b"SSH-2.0-OpenSSH\r\n", false);
        assert!(text.contains("SSH-2.0"), "{text}");
        let (_, text) = explain(&ResponseError::Malformed, &[0xff; 40], false);
        assert!(text.contains("ff ff"), "{text}");
    }
}
