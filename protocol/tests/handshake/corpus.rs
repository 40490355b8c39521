//! The corpus of requests in `requests.txt` and the macros that it is written in, and what every test
//! of a server does with a request and an answer.

use fanwire_protocol::handshake::{HandshakeLimits, Request, RequestReader};

const CORPUS: &str = include_str!("requests.txt");

/// One row of the corpus.
pub struct Row {
    /// What is answered.
    pub status: u16,
    /// Refused only for what follows the complete head.
    pub is_early_data: bool,
    pub name: &'static str,
    pub request: Vec<u8>,
}

/// All of them.
pub fn corpus() -> Vec<Row> {
    let lines = CORPUS
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let mut columns = line.splitn(3, " | ");
            let mut column = || {
                columns
                    .next()
                    .unwrap_or_else(|| panic!("three columns: {line}"))
            };
            let (status, name, request) = (column(), column(), column());
            let is_early_data = status.ends_with('*');
            let status = status.trim_end_matches('*').parse().expect("a status");
            Row {
                status,
                is_early_data,
                name,
                request: expand(request),
            }
        })
        .collect()
}

/// Replaces macros and escapes.
pub fn expand(template: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = template;
    while let Some(character) = rest.chars().next() {
        if let Some(body) = rest.strip_prefix('{') {
            let end = closing_brace(body);
            bytes.extend(expand_macro(&body[..end]));
            rest = &body[end + 1..];
        } else if let Some(escape) = rest.strip_prefix('\\') {
            let (byte, size) = match escape.as_bytes()[0] {
                b'r' => (b'\r', 1),
                b'n' => (b'\n', 1),
                b't' => (b'\t', 1),
                b'0' => (0, 1),
                b'\\' => (b'\\', 1),
                b'x' => (
                    u8::from_str_radix(&escape[1..3], 16).expect("two digits"),
                    3,
                ),
                other => panic!("unknown escape {other} in {template}"),
            };
            bytes.push(byte);
            rest = &escape[size..];
        } else {
            let size = character.len_utf8();
            bytes.extend_from_slice(&rest.as_bytes()[..size]);
            rest = &rest[size..];
        }
    }
    bytes
}

fn closing_brace(body: &str) -> usize {
    let mut depth = 1;
    for (index, byte) in body.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return index;
        }
    }
    panic!("a brace is open in {body}")
}

fn expand_macro(body: &str) -> Vec<u8> {
    match body {
        "G" => expand(r"GET /chat HTTP/1.1\r\n"),
        "H" => expand(r"Host: server.example\r\n"),
        "U" => expand(r"Upgrade: websocket\r\n"),
        "C" => expand(r"Connection: Upgrade\r\n"),
        "K" => expand(r"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"),
        "V" => expand(r"Sec-WebSocket-Version: 13\r\n"),
        "L" => expand("{H}{U}{C}{K}{V}"),
        "E" => expand(r"\r\n"),
        _ => {
            let (count, text) = body.split_once('*').expect("a known macro or N*text");
            expand(text).repeat(count.parse().expect("a number"))
        }
    }
}

/// A request that is accepted.
pub fn read(request: &[u8]) -> Request<'_> {
    match RequestReader::new(HandshakeLimits::default()).advance(request) {
        Ok(Some(request)) => request,
        other => panic!("not accepted: {other:?}"),
    }
}

/// Checks that `response` is complete and well formed, and returns its status.
pub fn judge_response(response: &[u8]) -> u16 {
    let mut headers = [httparse::EMPTY_HEADER; 16];
    let mut parsed = httparse::Response::new(&mut headers);
    let Ok(httparse::Status::Complete(head_len)) = parsed.parse(response) else {
        panic!("malformed: {}", String::from_utf8_lossy(response));
    };
    let header = |name: &str| {
        let mut found = parsed
            .headers
            .iter()
            .filter(|header| header.name.eq_ignore_ascii_case(name));
        let value = found
            .next()
            .map(|header| String::from_utf8_lossy(header.value).into_owned());
        assert!(found.next().is_none(), "{name} is repeated");
        value
    };
    let status = parsed.code.expect("a status");
    if status == 101 {
        assert_eq!(head_len, response.len());
        assert_eq!(header("Upgrade").as_deref(), Some("websocket"));
        assert_eq!(header("Connection").as_deref(), Some("Upgrade"));
        let accept = header("Sec-WebSocket-Accept");
        assert_eq!(accept.as_deref(), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        return status;
    }
    let length = (response.len() - head_len).to_string();
    assert_eq!(header("Content-Length"), Some(length));
    assert!(response.len() > head_len, "the body says cause and cure");
    let is_405 = status == 405;
    assert_eq!(header("Allow").as_deref(), is_405.then_some("GET"));
    let is_426 = status == 426;
    assert_eq!(
        header("Sec-WebSocket-Version").as_deref(),
        is_426.then_some("13")
    );
    assert_eq!(header("Upgrade").as_deref(), is_426.then_some("websocket"));
    let connection = if is_426 { "close, Upgrade" } else { "close" };
    assert_eq!(header("Connection").as_deref(), Some(connection));
    status
}
