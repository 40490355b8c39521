//! Requests: each whole, at every split point and byte by byte, alone and with a second request behind
//! it, must get its exact status.

use std::fmt::Write as _;

use fanwire_protocol::handshake::{Acceptance, HandshakeLimits, RequestReader};

use crate::corpus::{corpus, expand, judge_response, read};

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
