//! The client's side: the requests that it writes, and the responses that it must refuse, with the
//! exact reason.

use fanwire_protocol::Misuse;
use fanwire_protocol::handshake::{
    Acceptance, ClientRequest, DeflateOffer, DeflatePolicy, Established, ResponseError,
    ResponseReader,
};

use crate::corpus::read;

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
