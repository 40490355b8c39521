//! The corpus of opening handshakes: each request whole, at every split point and byte by byte,
//! alone and with a second request behind it, must get its exact status. And the responses a
//! client must refuse, with the exact reason.

use std::fmt::Write as _;

use fanwire_protocol::handshake::{
    Acceptance, ClientRequest, DeflateOffer, DeflatePolicy, Established, HandshakeLimits,
    Rejection, Request, RequestReader, ResponseError, ResponseReader,
};
use fanwire_protocol::{DeflateParameters, Misuse};

const CORPUS: &str = include_str!("handshake_requests.txt");

struct Row {
    status: u16,
    /// Refused only for what follows the complete head.
    is_early_data: bool,
    name: &'static str,
    request: Vec<u8>,
}

fn corpus() -> Vec<Row> {
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
fn expand(template: &str) -> Vec<u8> {
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

/// What the server answers: plays `request` in growing prefixes, as a socket delivers it. `None`
/// when it still waits.
fn answer(request: &[u8], prefixes: impl IntoIterator<Item = usize>) -> Option<Vec<u8>> {
    let mut reader = RequestReader::new(HandshakeLimits::default());
    let mut out = Vec::new();
    for end in prefixes {
        match reader.advance(&request[..end]) {
            Ok(None) => {}
            Ok(Some(request)) => {
                assert_eq!(request.accept(&Acceptance::default(), &mut out), Ok(()));
                return Some(out);
            }
            Err(rejection) => {
                rejection.write_to(&mut out);
                return Some(out);
            }
        }
    }
    None
}

/// Checks that `response` is complete and well formed, and returns its status.
fn judge_response(response: &[u8]) -> u16 {
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

#[test]
fn every_request_gets_its_exact_status() {
    let corpus = corpus();
    assert!(corpus.len() >= 150, "{} rows", corpus.len());
    let mut failures = String::new();
    for row in &corpus {
        let status = answer(&row.request, [row.request.len()])
            .as_deref()
            .map(judge_response);
        if status != Some(row.status) {
            let _ = writeln!(
                failures,
                "{}: {status:?} instead of {}",
                row.name, row.status
            );
        }
    }
    assert!(failures.is_empty(), "\n{failures}");
}

/// The verdict does not depend on how the request arrived; for bytes behind a complete head it
/// may, since what was not there yet when the head was judged cannot count.
#[test]
fn every_split_gets_the_same_answer() {
    for row in corpus() {
        let size = row.request.len();
        let whole = answer(&row.request, [size]);
        let accepted = answer(&row.request, 0..=size);
        let check = |split: Option<Vec<u8>>, how: &str| {
            let is_same = split == whole || (row.is_early_data && split == accepted);
            assert!(is_same, "{} {how}", row.name);
        };
        check(answer(&row.request, 1..=size), "byte by byte");
        // The large rows are nearly all filling; a step that shares no factor with their period.
        for cut in (0..=size).step_by(if size < 1500 { 1 } else { 7 }) {
            check(answer(&row.request, [cut, size]), &format!("cut at {cut}"));
        }
        let is_101 = accepted.as_deref().map(judge_response) == Some(101);
        assert_eq!(
            is_101,
            row.status == 101 || row.is_early_data,
            "{}",
            row.name
        );
    }
}

/// H18: what follows a refused request is never looked at; what follows a lawful one refuses it.
#[test]
fn a_second_request_changes_nothing() {
    let second = expand("GET /second HTTP/1.1\\r\\n{L}{E}");
    for row in corpus() {
        let first = answer(&row.request, [row.request.len()]);
        let both = [&row.request[..], &second].concat();
        let status = answer(&both, [both.len()]).as_deref().map(judge_response);
        if row.status == 101 {
            assert_eq!(status, Some(400), "{}", row.name);
        } else {
            assert_eq!(status, first.as_deref().map(judge_response), "{}", row.name);
        }
    }
}

fn read(request: &[u8]) -> Request<'_> {
    match RequestReader::new(HandshakeLimits::default()).advance(request) {
        Ok(Some(request)) => request,
        other => panic!("not accepted: {other:?}"),
    }
}

#[test]
fn what_a_request_says() {
    let bytes = expand(
        r"GET ws://server.example/a/b?c=d?e HTTP/1.1\r\n{L}Origin: https://o\r\nX-A: 1\r\nx-a: 2\r\nSec-WebSocket-Protocol: p, q\r\nSec-WebSocket-Protocol: r\r\n{E}",
    );
    let request = read(&bytes);
    assert_eq!(request.target(), "ws://server.example/a/b?c=d?e");
    assert_eq!((request.path(), request.query()), ("/a/b", Some("c=d?e")));
    assert_eq!(request.host(), "server.example");
    assert_eq!(request.origin(), Some("https://o"));
    assert_eq!(request.header("X-a"), Some(&b"1"[..]));
    assert_eq!(request.header("absent"), None);
    assert_eq!(request.headers().count(), 10);
    assert_eq!(request.subprotocols().collect::<Vec<_>>(), ["p", "q", "r"]);
    let bytes = expand(r"GET http://server.example?q HTTP/1.1\r\n{L}{E}");
    assert_eq!(
        (read(&bytes).path(), read(&bytes).query()),
        ("/", Some("q"))
    );
}

#[test]
fn nothing_is_written_that_the_client_did_not_ask_for_or_that_breaks_the_head() {
    let bytes = expand(
        r"{G}{L}Sec-WebSocket-Protocol: p\r\nSec-WebSocket-Extensions: permessage-deflate\r\n{E}",
    );
    let request = read(&bytes);
    let mut out = Vec::new();
    let mut refused = |acceptance: Acceptance<'_>, misuse| {
        assert_eq!(
            request.accept(&acceptance, &mut out),
            Err(misuse),
            "{acceptance:?}"
        );
        assert!(out.is_empty());
    };
    let none = Acceptance::default();
    refused(
        Acceptance {
            subprotocol: Some("q"),
            ..none
        },
        Misuse::SubprotocolInvalid,
    );
    for headers in [
        [("X", "a\r\nY: b")],
        [("X", "a\nb")],
        [("X", "a\rb")],
        [("X", "a\0")],
        [("X", " a")],
        [("X\r\nY", "a")],
        [("X:", "a")],
        [("", "a")],
        [("Upgrade", "h2c")],
        [("Sec-WebSocket-Accept", "x")],
        [("Content-Length", "1")],
    ] {
        refused(
            Acceptance {
                headers: &headers,
                ..none
            },
            Misuse::HeaderInvalid,
        );
    }
    let agreed = DeflateParameters {
        server_no_context_takeover: true,
        client_no_context_takeover: true,
        server_max_window_bits: 15,
        client_max_window_bits: 12,
    };
    // The client did not let its window be limited.
    refused(
        Acceptance {
            deflate: Some(agreed),
            ..none
        },
        Misuse::DeflateInvalid,
    );
    let headers = [("X-Good", "yes")];
    let agreed = DeflateParameters {
        client_max_window_bits: 15,
        ..agreed
    };
    let acceptance = Acceptance {
        subprotocol: Some("p"),
        deflate: Some(agreed),
        headers: &headers,
    };
    assert_eq!(request.accept(&acceptance, &mut out), Ok(()));
    assert_eq!(judge_response(&out), 101);
    let text = String::from_utf8_lossy(&out);
    assert!(text.contains("\r\nSec-WebSocket-Protocol: p\r\n"), "{text}");
    assert!(text.contains("\r\nX-Good: yes\r\n"), "{text}");
    let extensions = "\r\nSec-WebSocket-Extensions: permessage-deflate; \
                      server_no_context_takeover; client_no_context_takeover\r\n";
    assert!(text.contains(extensions), "{text}");
}

/// Offers, the policy, and the exact answer (RFC 7692 7.1); `None` is an offer declined.
#[test]
fn extension_negotiation() {
    let open = DeflatePolicy {
        server_no_context_takeover: false,
        client_no_context_takeover: false,
        server_max_window_bits: 15,
        client_max_window_bits: 15,
    };
    let small = DeflatePolicy::default();
    let d = "permessage-deflate";
    let rows: Vec<(String, DeflatePolicy, Option<&str>)> = vec![
        (d.to_owned(), open, Some("")),
        (
            format!("{d}; server_no_context_takeover"),
            open,
            Some("; server_no_context_takeover"),
        ),
        (
            format!("{d}; client_no_context_takeover"),
            open,
            Some("; client_no_context_takeover"),
        ),
        (
            format!("{d}; server_max_window_bits=10"),
            open,
            Some("; server_max_window_bits=10"),
        ),
        (
            format!("{d}; server_max_window_bits=15"),
            open,
            Some("; server_max_window_bits=15"),
        ),
        (format!("{d}; client_max_window_bits"), open, Some("")),
        (
            format!("{d}; client_max_window_bits=9"),
            open,
            Some("; client_max_window_bits=9"),
        ),
        (format!("{d}; server_max_window_bits=8"), open, None),
        (format!("{d}; server_max_window_bits=7"), open, None),
        (format!("{d}; server_max_window_bits"), open, None),
        (format!("{d}; client_max_window_bits=16"), open, None),
        (format!("{d}; mystery"), open, None),
        (format!("{d}; mystery, {d}"), open, Some("")),
        (
            format!("x-other, {d}; server_max_window_bits=8, {d}; server_max_window_bits=9"),
            open,
            Some("; server_max_window_bits=9"),
        ),
        ("x-webkit-deflate-frame".to_owned(), open, None),
        (
            d.to_owned(),
            small,
            Some(
                "; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=12",
            ),
        ),
        (
            format!("{d}; client_max_window_bits"),
            small,
            Some(
                "; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=12; client_max_window_bits=12",
            ),
        ),
        (
            // A window that cannot be limited must not be kept between messages.
            d.to_owned(),
            DeflatePolicy {
                client_max_window_bits: 10,
                ..open
            },
            Some("; client_no_context_takeover"),
        ),
    ];
    for (offer, policy, expected) in rows {
        let bytes = expand(&format!(
            "{{G}}{{L}}Sec-WebSocket-Extensions: {offer}\\r\\n{{E}}"
        ));
        let request = read(&bytes);
        let deflate = request.negotiate_deflate(&policy);
        assert_eq!(deflate.is_some(), expected.is_some(), "{offer}");
        let mut out = Vec::new();
        assert_eq!(
            request.accept(
                &Acceptance {
                    deflate,
                    ..Acceptance::default()
                },
                &mut out
            ),
            Ok(())
        );
        let text = String::from_utf8_lossy(&out);
        match expected {
            Some(answer) => {
                let line = format!("\r\nSec-WebSocket-Extensions: permessage-deflate{answer}\r\n");
                assert!(text.contains(&line), "{offer}: {text}");
            }
            None => assert!(!text.contains("Extensions"), "{offer}: {text}"),
        }
    }
}

fn client(deflate: Option<DeflateOffer>, subprotocols: &[&str]) -> ResponseReader {
    let request = ClientRequest {
        host: "server.example",
        target: "/chat",
        origin: None,
        subprotocols,
        deflate,
        headers: &[],
    };
    // The nonce of RFC 6455 1.3.
    request
        .write_to(*b"the sample nonce", &mut Vec::new())
        .expect("a lawful request")
}

const RESPONSE: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";

#[test]
fn responses_get_their_exact_verdict() {
    use ResponseError as E;
    let with = |headers: &str| format!("{RESPONSE}{headers}\r\n");
    let without = |header: &str| format!("{}\r\n", RESPONSE.replace(header, "X: y"));
    let offer = Some(DeflateOffer {
        server_no_context_takeover: true,
        server_max_window_bits: Some(12),
        client_max_window_bits: Some(15),
        ..DeflateOffer::default()
    });
    let deflate = |parameters: &str| {
        with(&format!(
            "Sec-WebSocket-Extensions: permessage-deflate{parameters}\r\n"
        ))
    };
    let rows: Vec<(String, Result<(), ResponseError>)> = vec![
        (with(""), Ok(())),
        (with("Sec-WebSocket-Protocol: p\r\n"), Ok(())),
        (with("").replace(" Switching Protocols", ""), Ok(())),
        (with("").replace("websocket", "WebSocket"), Ok(())),
        (with("").replace("101", "200"), Err(E::Status(200))),
        (
            "HTTP/1.1 301 Moved\r\nLocation: /\r\n\r\n".to_owned(),
            Err(E::Status(301)),
        ),
        ("HTTP/1.1 503 Busy\r\n\r\n".to_owned(), Err(E::Status(503))),
        (
            "HTTP/1.1 100 Continue\r\n\r\n".to_owned(),
            Err(E::Status(100)),
        ),
        (with("").replace("HTTP/1.1", "HTTP/1.0"), Err(E::Malformed)),
        ("SSH-2.0-x\r\n\r\n".to_owned(), Err(E::Malformed)),
        ("\x15\x03\x01".to_owned(), Err(E::Malformed)),
        (with("X: a\r\n b\r\n"), Err(E::Malformed)),
        (with("X: a\nY: b\r\n"), Err(E::Malformed)),
        (with("X\0: a\r\n"), Err(E::Malformed)),
        (with("X : a\r\n"), Err(E::Malformed)),
        (with(&"X: y\r\n".repeat(62)), Err(E::HeadTooLarge)),
        (
            with(&format!("X: {}\r\n", "y".repeat(9000))),
            Err(E::HeadTooLarge),
        ),
        (without("Upgrade: websocket"), Err(E::UpgradeMissing)),
        (without("Connection: Upgrade"), Err(E::ConnectionMissing)),
        (
            without("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
            Err(E::AcceptWrong),
        ),
        (with("").replace("s3pP", "s3pp"), Err(E::AcceptWrong)),
        (
            with("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"),
            Err(E::AcceptWrong),
        ),
        (
            with("Sec-WebSocket-Protocol: q\r\n"),
            Err(E::SubprotocolNotRequested),
        ),
        (
            with("Sec-WebSocket-Protocol: p, p\r\n"),
            Err(E::SubprotocolNotRequested),
        ),
        (
            with("Sec-WebSocket-Protocol: p\r\nSec-WebSocket-Protocol: p\r\n"),
            Err(E::SubprotocolNotRequested),
        ),
        (
            with("Sec-WebSocket-Extensions: other\r\n"),
            Err(E::ExtensionInvalid),
        ),
        (
            deflate("; server_no_context_takeover; server_max_window_bits=12"),
            Ok(()),
        ),
        (
            deflate(
                "; server_no_context_takeover; server_max_window_bits=9; client_max_window_bits=8; client_no_context_takeover",
            ),
            Ok(()),
        ),
        (
            deflate("; server_max_window_bits=12"),
            Err(E::ExtensionInvalid),
        ),
        (
            deflate("; server_no_context_takeover"),
            Err(E::ExtensionInvalid),
        ),
        (
            deflate("; server_no_context_takeover; server_max_window_bits=13"),
            Err(E::ExtensionInvalid),
        ),
        (
            deflate(
                "; server_no_context_takeover; server_max_window_bits=12; client_max_window_bits",
            ),
            Err(E::ExtensionInvalid),
        ),
        (
            deflate("; server_no_context_takeover; server_max_window_bits=12; x"),
            Err(E::ExtensionInvalid),
        ),
        (
            deflate(
                "; server_no_context_takeover; server_max_window_bits=12, permessage-deflate; server_no_context_takeover; server_max_window_bits=12",
            ),
            Err(E::ExtensionInvalid),
        ),
    ];
    for (response, expected) in rows {
        let size = response.len();
        // Bytes behind the head are the server's first frames, and none of its business.
        let bytes = [response.as_bytes(), b"\x81\x00"].concat();
        let whole = client(offer, &["o", "p"]).advance(&bytes);
        let verdict = whole.clone().map(|established| {
            assert_eq!(established.expect("complete").head_len, size);
        });
        assert_eq!(verdict, expected, "{response}");
        let mut reader = client(offer, &["o", "p"]);
        let dribbled = (1..=bytes.len()).map(|end| reader.advance(&bytes[..end]));
        let first = dribbled.into_iter().find(|result| *result != Ok(None));
        assert_eq!(first, Some(whole), "{response}");
    }
    // Nothing was offered and nothing requested.
    let answer = client(None, &[]).advance(deflate("").as_bytes());
    assert_eq!(answer, Err(E::ExtensionInvalid));
    let answer = client(None, &[]).advance(with("Sec-WebSocket-Protocol: p\r\n").as_bytes());
    assert_eq!(answer, Err(E::SubprotocolNotRequested));
}

#[test]
fn a_client_writes_nothing_unlawful() {
    let lawful = ClientRequest {
        host: "a.example:9001",
        target: "/x?y",
        origin: Some("https://o"),
        subprotocols: &["p"],
        deflate: None,
        headers: &[("X", "y")],
    };
    let offer = |bits| {
        Some(DeflateOffer {
            client_max_window_bits: Some(bits),
            ..DeflateOffer::default()
        })
    };
    let rows = [
        (
            ClientRequest {
                host: "a b",
                ..lawful
            },
            Misuse::HeaderInvalid,
        ),
        (
            ClientRequest {
                host: "a\r\nX: y",
                ..lawful
            },
            Misuse::HeaderInvalid,
        ),
        (
            ClientRequest {
                target: "x",
                ..lawful
            },
            Misuse::HeaderInvalid,
        ),
        (
            ClientRequest {
                target: "/ HTTP/1.1\r\n",
                ..lawful
            },
            Misuse::HeaderInvalid,
        ),
        (
            ClientRequest {
                target: "/é",
                ..lawful
            },
            Misuse::HeaderInvalid,
        ),
        (
            ClientRequest {
                origin: Some("a\nb"),
                ..lawful
            },
            Misuse::HeaderInvalid,
        ),
        (
            ClientRequest {
                headers: &[("Host", "x")],
                ..lawful
            },
            Misuse::HeaderInvalid,
        ),
        (
            ClientRequest {
                headers: &[("X", "a\r\n")],
                ..lawful
            },
            Misuse::HeaderInvalid,
        ),
        (
            ClientRequest {
                subprotocols: &["a b"],
                ..lawful
            },
            Misuse::SubprotocolInvalid,
        ),
        (
            ClientRequest {
                subprotocols: &["a", "a"],
                ..lawful
            },
            Misuse::SubprotocolInvalid,
        ),
        (
            ClientRequest {
                deflate: offer(7),
                ..lawful
            },
            Misuse::DeflateInvalid,
        ),
        (
            ClientRequest {
                deflate: offer(16),
                ..lawful
            },
            Misuse::DeflateInvalid,
        ),
    ];
    let mut out = Vec::new();
    for (request, misuse) in rows {
        assert_eq!(
            request.write_to([0; 16], &mut out).err(),
            Some(misuse),
            "{request:?}"
        );
        assert!(out.is_empty());
    }
    assert!(lawful.write_to([0; 16], &mut out).is_ok());
    assert_eq!(read(&out).host(), "a.example:9001");
}

/// Whatever a client of this crate offers and a server of this crate answers, both agree on it.
#[test]
fn both_ends_agree_on_compression() {
    let sizes = [None, Some(8), Some(9), Some(12), Some(15)];
    for bits in 0..sizes.len() * sizes.len() * 16 {
        let offer = DeflateOffer {
            server_no_context_takeover: bits & 1 != 0,
            client_no_context_takeover: bits & 2 != 0,
            server_max_window_bits: sizes[bits / 16 % sizes.len()],
            client_max_window_bits: sizes[bits / 16 / sizes.len()],
        };
        let policy = DeflatePolicy {
            server_no_context_takeover: bits & 4 != 0,
            client_no_context_takeover: bits & 8 != 0,
            server_max_window_bits: 9 + (bits % 7) as u8,
            client_max_window_bits: 8 + (bits % 8) as u8,
        };
        let request = ClientRequest {
            host: "a",
            target: "/",
            origin: None,
            subprotocols: &[],
            deflate: Some(offer),
            headers: &[],
        };
        let mut sent = Vec::new();
        let mut reader = request
            .write_to([7; 16], &mut sent)
            .expect("a lawful request");
        let request = read(&sent);
        let deflate = request.negotiate_deflate(&policy);
        assert_eq!(
            deflate.is_none(),
            offer.server_max_window_bits == Some(8),
            "{offer:?}"
        );
        let mut answer = Vec::new();
        let acceptance = Acceptance {
            deflate,
            ..Acceptance::default()
        };
        assert_eq!(request.accept(&acceptance, &mut answer), Ok(()));
        let established = reader
            .advance(&answer)
            .expect("accepted")
            .expect("complete");
        let Established {
            deflate: theirs, ..
        } = established;
        match (deflate, theirs) {
            (Some(ours), Some(theirs)) => {
                assert_eq!(
                    ours.server_no_context_takeover,
                    theirs.server_no_context_takeover
                );
                assert_eq!(ours.server_max_window_bits, theirs.server_max_window_bits);
                // The client may restrain itself further than it must.
                assert!(theirs.client_no_context_takeover || !ours.client_no_context_takeover);
                assert!(theirs.client_max_window_bits <= ours.client_max_window_bits);
            }
            (ours, theirs) => assert_eq!(ours, theirs, "{offer:?} {policy:?}"),
        }
    }
}

#[test]
fn rejections_of_the_application_are_complete_responses() {
    for status in [401, 403, 404, 408, 421, 429, 500, 503, 599] {
        let mut out = Vec::new();
        Rejection::new(status, "No.").write_to(&mut out);
        assert_eq!(judge_response(&out), status);
    }
}
