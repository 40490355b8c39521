//! The functions that are fuzzed, shared by the fuzz targets and by the test that replays the
//! corpora. Each panics when a property breaks; none looks for a particular result.

#![allow(
    dead_code,
    reason = "each fuzz target is a program that uses one of these"
)]

use std::sync::Arc;

use fanwire_protocol::handshake::{
    Acceptance, ClientRequest, DeflateOffer, DeflatePolicy, Established, HandshakeLimits,
    RequestReader, ResponseError, ResponseReader,
};
use fanwire_protocol::{
    Connection, DeflateParameters, Event, Input, MaskingKey, MessageKind, ProtocolError, Role,
    Settings, Workspace, WorkspaceLimits,
};

/// What is fuzzed: panics when a property breaks.
pub type Target = fn(&[u8]);

/// The targets by name, for the replay.
pub const TARGETS: [(&str, Target); 5] = [
    ("request_head", request_head),
    ("response_head", response_head),
    ("server_frames", server_frames),
    ("client_frames", client_frames),
    ("extension_header", extension_header),
];

const LIMITS: HandshakeLimits = HandshakeLimits {
    head_size_max: 1024,
    target_size_max: 64,
    headers_max: 16,
    offers_max: 4,
    offer_size_max: 64,
};

/// Any bytes as a request head: the same verdict whole and byte by byte.
pub fn request_head(data: &[u8]) {
    let whole = outcome(data, [data.len()]);
    let dribbled = outcome(data, 0..=data.len());
    match (&whole, &dribbled) {
        // Bytes behind a complete head count only if they are there when it is judged.
        (Some(Err(400)), Some(Ok(accepted))) => assert!(*accepted < data.len()),
        _ => assert_eq!(whole, dribbled),
    }
}

/// The length of the accepted head, or the status of the rejection; `None` while it waits.
fn outcome(data: &[u8], prefixes: impl IntoIterator<Item = usize>) -> Option<Result<usize, u16>> {
    let mut reader = RequestReader::new(LIMITS);
    for end in prefixes {
        match reader.advance(&data[..end]) {
            Ok(None) => assert!(end < LIMITS.head_size_max, "a full head must be judged"),
            Ok(Some(request)) => {
                let subprotocol = request.subprotocols().next();
                let deflate = request.negotiate_deflate(&DeflatePolicy::default());
                let acceptance = Acceptance {
                    subprotocol,
                    deflate,
                    headers: &[],
                };
                let mut out = Vec::new();
                assert_eq!(request.accept(&acceptance, &mut out), Ok(()));
                assert!(out.is_ascii() && request.path().starts_with('/'));
                return Some(Ok(end));
            }
            Err(rejection) => {
                let mut out = Vec::new();
                rejection.write_to(&mut out);
                assert!(matches!(rejection.status, 400 | 405 | 414 | 426 | 431));
                return Some(Err(rejection.status));
            }
        }
    }
    None
}

fn response_reader(deflate: Option<DeflateOffer>) -> ResponseReader {
    let request = ClientRequest {
        host: "server.example",
        target: "/",
        origin: None,
        subprotocols: &["p"],
        deflate,
        headers: &[],
    };
    let nonce = *b"the sample nonce";
    request
        .write_to(nonce, &mut Vec::new())
        .expect("lawful")
        .with_limits(LIMITS)
}

/// Any bytes as a response head: the same verdict whole and byte by byte.
pub fn response_head(data: &[u8]) {
    let offer = Some(DeflateOffer {
        client_max_window_bits: Some(15),
        ..DeflateOffer::default()
    });
    let whole = response_reader(offer).advance(data);
    let mut reader = response_reader(offer);
    let mut dribbled = Ok(None);
    for end in 0..=data.len() {
        dribbled = reader.advance(&data[..end]);
        if dribbled != Ok(None) {
            break;
        }
    }
    assert_eq!(whole, dribbled);
}

/// Any bytes as an extension header: what is agreed on is within the policy, can be answered,
/// and as an answer is within the offer.
pub fn extension_header(data: &[u8]) {
    let mut head = b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Extensions: "
        .to_vec();
    head.extend_from_slice(data);
    head.extend_from_slice(b"\r\n\r\n");
    let limits = HandshakeLimits::default();
    if let Ok(Some(request)) = RequestReader::new(limits).advance(&head) {
        for bits in 0..64_u8 {
            let policy = DeflatePolicy {
                server_no_context_takeover: bits & 1 != 0,
                client_no_context_takeover: bits & 2 != 0,
                server_max_window_bits: 8 + (bits >> 2 & 7),
                client_max_window_bits: 15 - (bits >> 3 & 7),
            };
            let Some(agreed) = request.negotiate_deflate(&policy) else {
                continue;
            };
            assert!((9..=15).contains(&agreed.server_max_window_bits));
            assert!((8..=15).contains(&agreed.client_max_window_bits));
            assert!(agreed.server_max_window_bits <= policy.server_max_window_bits.max(9));
            assert!(agreed.server_no_context_takeover || !policy.server_no_context_takeover);
            assert!(agreed.client_no_context_takeover || !policy.client_no_context_takeover);
            let acceptance = Acceptance {
                deflate: Some(agreed),
                ..Acceptance::default()
            };
            assert_eq!(request.accept(&acceptance, &mut Vec::new()), Ok(()));
        }
    }
    let mut head = b"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Extensions: "
        .to_vec();
    head.extend_from_slice(data);
    head.extend_from_slice(b"\r\n\r\n");
    let offer = DeflateOffer {
        server_max_window_bits: Some(10),
        ..DeflateOffer::default()
    };
    let answer = response_reader(Some(offer)).advance(&head);
    if let Ok(Some(Established {
        deflate: Some(agreed),
        ..
    })) = answer
    {
        assert!((8..=10).contains(&agreed.server_max_window_bits));
        assert_eq!(agreed.client_max_window_bits, 15);
    }
    let refused = response_reader(None).advance(&head);
    assert!(!matches!(
        refused,
        Ok(Some(Established {
            deflate: Some(_),
            ..
        }))
    ));
    assert_ne!(refused, Err(ResponseError::Status(101)));
}

/// Any bytes as frames in the server role.
pub fn server_frames(data: &[u8]) {
    frames(Role::Server, data);
}

/// Any bytes as frames in the client role.
pub fn client_frames(data: &[u8]) {
    frames(Role::Client, data);
}

/// What was seen, so that two runs can be compared and a message can be sent again.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Message(MessageKind, Vec<u8>),
    Control(Vec<u8>),
    Failed(ProtocolError),
}

/// The first byte chooses the size of the pieces, the second the compression; the rest arrives
/// whole and in pieces: the same events, bounded memory, and what was received can be sent on.
fn frames(role: Role, data: &[u8]) {
    let [piece_size, choice, bytes @ ..] = data else {
        return;
    };
    let deflate = (choice & 1 != 0).then_some(DeflateParameters {
        server_no_context_takeover: choice & 2 != 0,
        client_no_context_takeover: choice & 4 != 0,
        server_max_window_bits: 8 + (choice >> 3 & 7),
        client_max_window_bits: 8 + (choice >> 3 & 7),
    });
    let whole = receive(role, deflate, bytes, bytes.len().max(1));
    let pieces = receive(role, deflate, bytes, usize::from(*piece_size).max(1));
    assert_eq!(whole, pieces);
    send_on(role, deflate, &whole);
}

fn settings(role: Role) -> Arc<Settings> {
    Arc::new(Settings {
        message_size_max: 2048,
        frame_size_max: 1024,
        fragments_per_message_max: 8,
        ..match role {
            Role::Server => Settings::server(),
            Role::Client => Settings::client(),
        }
    })
}

fn receive(
    role: Role,
    deflate: Option<DeflateParameters>,
    bytes: &[u8],
    piece_size: usize,
) -> Vec<Seen> {
    let limits = WorkspaceLimits {
        spare_buffers_max: 0,
        ..WorkspaceLimits::default()
    };
    let mut workspace = Workspace::new(limits);
    let mut connection = Connection::new(settings(role), deflate);
    let mut seen = Vec::new();
    let mut received = 0;
    for piece in bytes.chunks(piece_size) {
        received += piece.len();
        let mut piece = piece.to_vec();
        let mut input = Input::new(&mut piece);
        loop {
            let event = match connection.receiver.next_event(&mut input, &mut workspace) {
                Ok(Some(event)) => event,
                Ok(None) => break,
                Err(error) => {
                    seen.push(Seen::Failed(error));
                    continue;
                }
            };
            seen.push(match event {
                Event::Message(message) => {
                    assert!(message.payload.len() <= 2048);
                    let is_text = message.kind == MessageKind::Text;
                    assert_eq!(message.as_str().is_some(), is_text);
                    Seen::Message(message.kind, message.payload.to_vec())
                }
                Event::Ping(payload) | Event::Pong(payload) => {
                    assert!(payload.len() <= 125);
                    Seen::Control(payload.to_vec())
                }
                Event::Close(frame) => {
                    assert!(frame.is_none_or(|frame| frame.code.is_receivable()));
                    Seen::Control(Vec::new())
                }
            });
        }
        assert_eq!(input.remaining(), 0);
        assert!(connection.receiver.bytes_held() <= received + 4096 + 125);
    }
    seen
}

/// Sends what was received to a peer, which must receive the same.
fn send_on(role: Role, deflate: Option<DeflateParameters>, seen: &[Seen]) {
    let peer_role = if role == Role::Server {
        Role::Client
    } else {
        Role::Server
    };
    let key = (role == Role::Client).then_some(MaskingKey([0x5a, 0xc3, 0x0f, 0x96]));
    let limits = WorkspaceLimits {
        compress_size_min: 0,
        ..WorkspaceLimits::default()
    };
    let mut workspace = Workspace::new(limits);
    let mut from = Connection::new(settings(role), deflate);
    let mut to = Connection::new(
        Arc::new(Settings {
            frame_size_max: 4096,
            ..(*settings(peer_role)).clone()
        }),
        deflate,
    );
    for sent in seen {
        let Seen::Message(kind, payload) = sent else {
            continue;
        };
        let mut out = Vec::new();
        let result = from
            .sender
            .message(*kind, payload, key, &mut workspace, &mut out);
        assert_eq!(result, Ok(()));
        let mut input = Input::new(&mut out);
        match to.receiver.next_event(&mut input, &mut workspace) {
            Ok(Some(Event::Message(message))) => {
                assert_eq!((message.kind, message.payload), (*kind, &payload[..]));
            }
            other => panic!("sent {sent:?}, received {other:?}"),
        }
        assert_eq!(to.receiver.next_event(&mut input, &mut workspace), Ok(None));
    }
}
