//! A client and a server of this crate, talking through byte strings in memory: opening
//! handshake, messages both ways with and without compression, control frames in between, the
//! closing handshake. Every drive is bounded, so that a livelock fails instead of hanging.

mod common;

use std::sync::Arc;

use common::{Seen, feed};
use fanwire_protocol::handshake::{
    Acceptance, ClientRequest, DeflateOffer, DeflatePolicy, HandshakeLimits, RequestReader,
};
use fanwire_protocol::{
    Connection, DeflateParameters, Event, Input, MaskingKey, MessageKind, Misuse, PendingPong,
    Settings, StatusCode, Workspace,
};

/// A repeatable source of masking keys: the crate draws no randomness, and this test needs none
/// that is secret.
struct Keys(u32);

impl Keys {
    fn next(&mut self) -> Option<MaskingKey> {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        Some(MaskingKey(self.0.to_be_bytes()))
    }
}

/// The opening handshake, delivered in pieces of `piece_size`.
fn open(
    offer: Option<DeflateOffer>,
    policy: Option<DeflatePolicy>,
    piece_size: usize,
) -> (Connection, Connection) {
    let request = ClientRequest {
        host: "server.example",
        target: "/chat?room=1",
        origin: Some("https://server.example"),
        subprotocols: &["b", "a"],
        deflate: offer,
        headers: &[("X-Token", "t")],
    };
    let mut to_server = Vec::new();
    let mut response_reader = request.write_to([9; 16], &mut to_server).expect("lawful");
    let mut request_reader = RequestReader::new(HandshakeLimits::default());
    let mut to_client = Vec::new();
    let mut agreed = None;
    for end in (0..=to_server.len())
        .step_by(piece_size)
        .chain([to_server.len()])
    {
        if let Some(request) = request_reader.advance(&to_server[..end]).expect("accepted") {
            assert_eq!((request.path(), request.query()), ("/chat", Some("room=1")));
            assert_eq!(request.header("x-token"), Some(&b"t"[..]));
            let deflate = policy.and_then(|policy| request.negotiate_deflate(&policy));
            let acceptance = Acceptance {
                subprotocol: Some("a"),
                deflate,
                headers: &[],
            };
            assert_eq!(request.accept(&acceptance, &mut to_client), Ok(()));
            agreed = Some(deflate);
            break;
        }
    }
    let server_deflate: Option<DeflateParameters> = agreed.expect("the request is complete");
    let mut established = None;
    for end in (0..=to_client.len())
        .step_by(piece_size)
        .chain([to_client.len()])
    {
        established = response_reader
            .advance(&to_client[..end])
            .expect("accepted");
        if established.is_some() {
            break;
        }
    }
    let established = established.expect("the response is complete");
    assert_eq!(established.head_len, to_client.len());
    assert_eq!(established.subprotocol.as_deref(), Some("a"));
    let client = Connection::new(Arc::new(Settings::client()), established.deflate);
    let server = Connection::new(Arc::new(Settings::server()), server_deflate);
    (client, server)
}

/// Feeds `bytes` to `server`, which echoes messages and answers control frames as the README's
/// loop does. Returns what it sent.
fn serve(server: &mut Connection, workspace: &mut Workspace, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut bytes = bytes.to_vec();
    let mut input = Input::new(&mut bytes);
    for _ in 0..10_000 {
        let Connection { receiver, sender } = server;
        match receiver.next_event(&mut input, workspace) {
            Ok(None) => return out,
            Ok(Some(Event::Message(message))) => {
                let sent = sender.message(message.kind, message.payload, None, workspace, &mut out);
                assert_eq!(sent, Ok(()));
            }
            Ok(Some(Event::Ping(payload))) => {
                assert_eq!(sender.pong(payload, None, &mut out), Ok(()));
            }
            Ok(Some(Event::Pong(_))) => {}
            Ok(Some(Event::Close(frame))) => {
                let code = frame.map(|frame| frame.code);
                assert_eq!(sender.close(code, "", None, &mut out), Ok(()));
            }
            Err(error) => {
                let sent = sender.close(Some(error.close_code()), error.as_str(), None, &mut out);
                assert_eq!(sent, Ok(()));
            }
        }
    }
    panic!("livelock: the input is never used up");
}

#[test]
fn a_whole_life() {
    let takeover = DeflatePolicy {
        server_no_context_takeover: false,
        client_no_context_takeover: false,
        server_max_window_bits: 10,
        client_max_window_bits: 9,
    };
    let offer = DeflateOffer {
        client_max_window_bits: Some(15),
        ..DeflateOffer::default()
    };
    let setups = [
        (None, None),
        (Some(offer), None),
        (None, Some(takeover)),
        (Some(offer), Some(takeover)),
        (Some(offer), Some(DeflatePolicy::default())),
        (Some(DeflateOffer::default()), Some(takeover)),
    ];
    let long = "a line that repeats itself, κόσμε, ".repeat(300);
    for (offer, policy) in setups {
        for piece_size in [1, 7, 100_000] {
            let (mut client, mut server) = open(offer, policy, piece_size);
            let mut workspace = Workspace::default();
            let mut keys = Keys(7);
            let mut expected = Vec::new();
            let mut to_server = Vec::new();
            for text in ["", "hello", &long, "hello again", &long] {
                let kind = MessageKind::Text;
                let sent = client.sender.message(
                    kind,
                    text.as_bytes(),
                    keys.next(),
                    &mut workspace,
                    &mut to_server,
                );
                assert_eq!(sent, Ok(()));
                assert_eq!(
                    client.sender.ping(b"?", keys.next(), &mut to_server),
                    Ok(())
                );
                expected.push(Seen::Text(text.as_bytes().to_vec()));
                expected.push(Seen::Pong(b"?".to_vec()));
            }
            let compresses = offer.is_some() && policy.is_some();
            assert_eq!(
                to_server.len() < long.len(),
                compresses,
                "{offer:?} {policy:?}"
            );
            let code = Some(StatusCode::NORMAL);
            assert_eq!(
                client
                    .sender
                    .close(code, "done", keys.next(), &mut to_server),
                Ok(())
            );
            expected.push(Seen::Close(Some((1000, String::new()))));

            let mut seen = Vec::new();
            for piece in to_server.chunks(piece_size) {
                let to_client = serve(&mut server, &mut workspace, piece);
                for piece in to_client.chunks(piece_size) {
                    seen.extend(feed(&mut client, &mut workspace, [piece]));
                }
            }
            assert_eq!(
                seen, expected,
                "{offer:?} {policy:?} in pieces of {piece_size}"
            );
            assert!(client.sender.close_sent() && server.sender.close_sent());
            for connection in [&client, &server] {
                assert_eq!(connection.receiver.bytes_held(), 0);
                assert!(!connection.receiver.is_mid_message());
            }
        }
    }
}

#[test]
fn a_server_answers_a_broken_frame_with_its_code() {
    let (mut client, mut server) = open(None, None, 100_000);
    let mut workspace = Workspace::default();
    let to_client = serve(&mut server, &mut workspace, &[0x81, 0x05]);
    let seen = feed(&mut client, &mut workspace, [&to_client[..]]);
    assert_eq!(
        seen,
        [Seen::Close(Some((1002, "frame_not_masked".to_owned())))]
    );
}

#[test]
fn only_the_newest_pong_waits() {
    let (mut client, mut server) = open(None, None, 100_000);
    let mut workspace = Workspace::default();
    let mut pending = PendingPong::new();
    let mut out = Vec::new();
    assert_eq!(
        pending.take_into(&mut server.sender, None, &mut out),
        Ok(false)
    );
    for number in 0..1000_u32 {
        pending.replace(&number.to_be_bytes());
    }
    assert!(!pending.is_empty());
    assert_eq!(
        pending.take_into(&mut server.sender, None, &mut out),
        Ok(true)
    );
    assert!(pending.is_empty());
    let seen = feed(&mut client, &mut workspace, [&out[..]]);
    assert_eq!(seen, [Seen::Pong(999_u32.to_be_bytes().to_vec())]);
    pending.replace(b"late");
    assert_eq!(server.sender.close(None, "", None, &mut out), Ok(()));
    assert_eq!(
        pending.take_into(&mut server.sender, None, &mut out),
        Err(Misuse::AfterClose)
    );
}

/// What an idle connection costs is its 64 bytes: buffers of a message that came in pieces go
/// back to the workspace, and are used again by the next connection.
#[test]
fn an_idle_connection_holds_nothing_and_buffers_are_used_again() {
    let (mut client, server) = open(None, None, 100_000);
    let mut workspace = Workspace::default();
    let mut to_server = Vec::new();
    let mut keys = Keys(1);
    let payload = vec![b'x'; 10_000];
    let sent = client.sender.message(
        MessageKind::Binary,
        &payload,
        keys.next(),
        &mut workspace,
        &mut to_server,
    );
    assert_eq!(sent, Ok(()));
    let mut spare = None;
    for mut connection in [server, open(None, None, 100_000).1] {
        let (first, second) = to_server.split_at(5000);
        feed(&mut connection, &mut workspace, [first]);
        assert!(connection.receiver.is_mid_message());
        assert!(connection.receiver.bytes_held() >= 4900);
        let seen = feed(&mut connection, &mut workspace, [second]);
        assert_eq!(seen, [Seen::Binary(payload.clone())]);
        assert_eq!(connection.receiver.bytes_held(), 0);
        let now = workspace.bytes_spare();
        assert_eq!(
            *spare.get_or_insert(now),
            now,
            "the same buffer served both"
        );
    }
}
