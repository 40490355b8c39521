//! What a server answers: subprotocol, extension and headers of its own, or a refusal.

use fanwire_protocol::handshake::{Acceptance, DeflatePolicy, Rejection};
use fanwire_protocol::{DeflateParameters, Misuse};

use crate::corpus::{expand, judge_response, read};

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

#[test]
fn rejections_of_the_application_are_complete_responses() {
    for status in [401, 403, 404, 408, 421, 429, 500, 503, 599] {
        let mut out = Vec::new();
        Rejection::new(status, "No.").write_to(&mut out);
        assert_eq!(judge_response(&out), status);
    }
}
