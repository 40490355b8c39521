//! Properties: any split of the input gives the same events, what is sent is what is received,
//! memory follows what arrived.
//!
//! proptest prints the failing case and writes its seed to `properties.proptest-regressions`
//! beside this file, from where the next run repeats it first.

mod common;

use std::sync::Arc;

use common::{Seen, feed, feed_whole, frame};
use fanwire_protocol::{
    CloseFrame, Connection, DeflateParameters, MaskingKey, MessageKind, PreparedMessage,
    ProtocolError, Role, Settings, SharedDeflater, Workspace, WorkspaceLimits,
};
use proptest::prelude::*;

fn roles() -> impl Strategy<Value = Role> {
    prop_oneof![Just(Role::Client), Just(Role::Server)]
}

fn deflate_parameters() -> impl Strategy<Value = DeflateParameters> {
    (any::<bool>(), any::<bool>(), 8..=15_u8, 8..=15_u8).prop_map(|(server, client, s, c)| {
        DeflateParameters {
            server_no_context_takeover: server,
            client_no_context_takeover: client,
            server_max_window_bits: s,
            client_max_window_bits: c,
        }
    })
}

/// Payloads of every interesting size and kind: text with wide characters, ASCII, noise.
fn payloads() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        "\\PC{0,80}".prop_map(String::into_bytes),
        "[a-z ]{0,300}".prop_map(String::into_bytes),
        prop::collection::vec(any::<u8>(), 0..200),
        (any::<u8>(), 120..140_usize).prop_map(|(byte, size)| vec![byte; size]),
        (any::<u8>(), 65_530..65_540_usize).prop_map(|(byte, size)| vec![byte; size]),
    ]
}

/// Frames of a peer: mostly lawful, now and then not.
fn frames(role: Role) -> impl Strategy<Value = Vec<u8>> {
    let first = prop_oneof![
        12 => prop::sample::select(vec![0x81, 0x82, 0x01, 0x02, 0x00, 0x80, 0x89, 0x8a]),
        2 => prop::sample::select(vec![0xc1, 0xc2, 0x41, 0x88]),
        1 => any::<u8>(),
    ];
    let one = (first, payloads()).prop_map(move |(first, payload)| {
        let size = if first & 8 == 0 {
            payload.len()
        } else {
            payload.len().min(125)
        };
        frame(role, first, &payload[..size])
    });
    (
        prop::collection::vec(one, 1..8),
        any::<bool>(),
        prop::collection::vec(any::<u8>(), 0..20),
    )
        .prop_map(|(frames, with_noise, noise)| {
            let mut bytes = frames.concat();
            if with_noise {
                bytes.extend(noise);
            }
            bytes
        })
}

/// `bytes` cut where `cuts` say; sizes are taken in turn.
fn cut<'b>(bytes: &'b [u8], sizes: &[usize]) -> Vec<&'b [u8]> {
    let mut pieces = Vec::new();
    let mut rest = bytes;
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, more) = rest.split_at((*size).clamp(1, rest.len()));
        pieces.push(piece);
        rest = more;
    }
    pieces
}

fn piece_sizes() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(prop_oneof![4 => 1..20_usize, 1 => 20..5000_usize], 1..6)
}

fn settings(role: Role) -> Settings {
    match role {
        Role::Server => Settings::server(),
        Role::Client => Settings::client(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn any_split_gives_the_same_events(
        (role, bytes) in roles().prop_flat_map(|role| (Just(role), frames(role))),
        sizes in piece_sizes(),
        deflate in prop::option::of(deflate_parameters()),
        message_size_max in prop_oneof![Just(100_usize), Just(70_000), Just(200_000)],
    ) {
        let settings = Arc::new(Settings { message_size_max, ..settings(role) });
        let whole = feed_whole(&settings, deflate, &bytes);
        let mut connection = Connection::new(settings, deflate);
        let seen = feed(&mut connection, &mut Workspace::default(), cut(&bytes, &sizes));
        prop_assert_eq!(seen, whole);
    }

    #[test]
    fn memory_follows_what_arrived(
        (role, bytes) in roles().prop_flat_map(|role| (Just(role), frames(role))),
        sizes in piece_sizes(),
    ) {
        let settings = Arc::new(Settings { message_size_max: 1 << 40, frame_size_max: 1 << 40, ..settings(role) });
        // No spare buffers: what is held was reserved for this connection.
        let limits = WorkspaceLimits { spare_buffers_max: 0, ..WorkspaceLimits::default() };
        let mut workspace = Workspace::new(limits);
        let mut connection = Connection::new(settings, None);
        let mut received = 0;
        for piece in cut(&bytes, &sizes) {
            received += piece.len();
            feed(&mut connection, &mut workspace, [piece]);
            let held = connection.receiver.bytes_held();
            prop_assert!(held <= received + 4096.max(received / 8) + 125, "{held} held for {received}");
        }
        prop_assert_eq!(workspace.bytes_spare(), 0);
    }

    #[test]
    fn what_is_sent_is_what_is_received(
        role in roles(),
        messages in prop::collection::vec((any::<bool>(), payloads(), any::<[u8; 4]>(), 0..6_u8), 1..8),
        sizes in piece_sizes(),
        deflate in prop::option::of(deflate_parameters()),
        compression_level in 1..=9_u32,
    ) {
        let limits = WorkspaceLimits { compress_size_min: 0, compression_level, ..WorkspaceLimits::default() };
        let mut workspace = Workspace::new(limits);
        let peer_role = if role == Role::Server { Role::Client } else { Role::Server };
        let unlimited = |role| Arc::new(Settings { message_size_max: 1 << 20, frame_size_max: 1 << 20, fragments_per_message_max: 1000, ..settings(role) });
        let mut from = Connection::new(unlimited(role), deflate);
        let mut to = Connection::new(unlimited(peer_role), deflate);
        let mut out = Vec::new();
        let mut expected = Vec::new();
        for (is_text, payload, key, fragments) in messages {
            let key = (role == Role::Client).then_some(MaskingKey(key));
            let is_text = is_text && std::str::from_utf8(&payload).is_ok();
            let kind = if is_text { MessageKind::Text } else { MessageKind::Binary };
            if fragments == 0 {
                let sent = from.sender.message(kind, &payload, key, &mut workspace, &mut out);
                prop_assert_eq!(sent, Ok(()));
            } else {
                let size = payload.len() / usize::from(fragments) + 1;
                let count = payload.len().div_ceil(size).max(1);
                for index in 0..count {
                    let end = ((index + 1) * size).min(payload.len());
                    let sent = from.sender.fragment(
                        kind, &payload[index * size..end], index == 0, index + 1 == count, key, &mut out);
                    prop_assert_eq!(sent, Ok(()));
                    if index == 0 && count > 1 {
                        prop_assert_eq!(from.sender.ping(b"between", key, &mut out), Ok(()));
                        expected.push(Seen::Ping(b"between".to_vec()));
                    }
                }
            }
            let seen = if is_text { Seen::Text(payload) } else { Seen::Binary(payload) };
            expected.push(seen);
        }
        let seen = feed(&mut to, &mut workspace, cut(&out, &sizes));
        prop_assert_eq!(seen, expected);
        prop_assert_eq!(to.receiver.bytes_held(), 0);
    }

    #[test]
    fn incremental_utf8_is_that_of_the_standard_library(
        text in prop_oneof![
            "\\PC{0,100}".prop_map(String::into_bytes),
            prop::collection::vec(any::<u8>(), 0..40),
            ("\\PC{1,60}", any::<prop::sample::Index>(), any::<u8>()).prop_map(|(text, at, byte)| {
                let mut bytes = text.into_bytes();
                let at = at.index(bytes.len());
                bytes[at] = byte;
                bytes
            }),
        ],
        sizes in piece_sizes(),
        fragment_sizes in piece_sizes(),
    ) {
        let settings = Arc::new(Settings { fragments_per_message_max: 1000, ..Settings::server() });
        let mut bytes = frame(Role::Server, 0x01, b"");
        for fragment in cut(&text, &fragment_sizes) {
            bytes.extend(frame(Role::Server, 0x00, fragment));
        }
        bytes.extend(frame(Role::Server, 0x80, b""));
        let mut connection = Connection::new(settings, None);
        let seen = feed(&mut connection, &mut Workspace::default(), cut(&bytes, &sizes));
        let expected = match std::str::from_utf8(&text) {
            Ok(_) => Seen::Text(text),
            Err(_) => Seen::Failed(ProtocolError::TextNotUtf8),
        };
        prop_assert_eq!(seen, [expected]);
    }

    #[test]
    fn noise_never_panics(
        role in roles(),
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        sizes in piece_sizes(),
        deflate in prop::option::of(deflate_parameters()),
    ) {
        let settings = Arc::new(settings(role));
        let whole = feed_whole(&settings, deflate, &bytes);
        let mut connection = Connection::new(settings, deflate);
        let seen = feed(&mut connection, &mut Workspace::default(), cut(&bytes, &sizes));
        prop_assert_eq!(seen, whole);
    }

    /// Any bytes as a compressed message: no panic, no memory beyond the limit, and the verdict
    /// on one message does not depend on those that other connections inflated before it.
    #[test]
    fn noise_as_deflate(
        noise in prop::collection::vec(any::<u8>(), 0..200),
        parameters in deflate_parameters(),
        earlier in prop::collection::vec(any::<u8>(), 0..50),
    ) {
        let parameters = DeflateParameters { client_no_context_takeover: true, ..parameters };
        let settings = Arc::new(Settings { message_size_max: 10_000, ..Settings::server() });
        let mut workspace = Workspace::default();
        let bytes = frame(Role::Server, 0xc2, &noise);
        let fresh = feed_whole(&settings, Some(parameters), &bytes);
        let mut other = Connection::new(Arc::clone(&settings), Some(parameters));
        feed(&mut other, &mut workspace, [&frame(Role::Server, 0xc2, &earlier)[..]]);
        let mut connection = Connection::new(settings, Some(parameters));
        let seen = feed(&mut connection, &mut workspace, [&bytes[..]]);
        prop_assert_eq!(seen, fresh);
    }

    #[test]
    fn prepared_messages_are_ordinary_ones(
        payload in payloads(),
        window_bits in 9..=15_u8,
        parameters in deflate_parameters(),
    ) {
        let mut deflater = SharedDeflater::new(window_bits, 6);
        for _ in 0..2 {
            let prepared = PreparedMessage::new(MessageKind::Binary, &payload, Some(&mut deflater));
            for agreed in [None, Some(parameters)] {
                let settings = Arc::new(Settings::client());
                let bytes = prepared.frame_for(agreed);
                let seen = feed_whole(&settings, agreed, bytes);
                prop_assert_eq!(seen, [Seen::Binary(payload.clone())]);
                let may_be_shared = agreed.is_some_and(|agreed| {
                    agreed.server_no_context_takeover && agreed.server_max_window_bits >= window_bits
                });
                prop_assert!(may_be_shared || bytes == &prepared.plain);
            }
        }
    }

    #[test]
    fn close_payloads_are_read_as_written(code in 1000..5000_u16, reason in "\\PC{0,60}") {
        let mut connection = Connection::new(Arc::new(Settings::server()), None);
        let mut out = Vec::new();
        let code = fanwire_protocol::StatusCode(code);
        let sent = connection.sender.close(Some(code), &reason, None, &mut out);
        prop_assert_eq!(sent.is_ok(), code.is_sendable());
        if sent.is_ok() {
            let parsed = CloseFrame::parse(&out[2..]);
            let Ok(Some(frame)) = parsed else { return Err(TestCaseError::fail(format!("{parsed:?}"))) };
            prop_assert_eq!(frame.code, code);
            prop_assert!(reason.starts_with(frame.reason) && frame.reason.len() <= 123);
            prop_assert!(reason.len() - frame.reason.len() < 4 || frame.reason.len() >= 120);
        }
    }
}
