//! The negative table: for each MUST of RFC 6455 and RFC 7692 bytes that break it, the exact
//! error and status code, and how many bytes it takes to be sure. Every row is played whole, at
//! every split point and byte by byte, in the roles it applies to.

mod common;

use std::sync::Arc;

use common::{Seen, feed, feed_whole, frame, splits};
use fanwire_protocol::ProtocolError as E;
use fanwire_protocol::{Connection, DeflateParameters, ProtocolError, Role, Settings, Workspace};

const NO_TAKEOVER: DeflateParameters = DeflateParameters {
    server_no_context_takeover: true,
    client_no_context_takeover: true,
    server_max_window_bits: 15,
    client_max_window_bits: 15,
};

fn settings(role: Role) -> Arc<Settings> {
    Arc::new(Settings {
        message_size_max: 1000,
        frame_size_max: 1000,
        fragments_per_message_max: 4,
        ..match role {
            Role::Server => Settings::server(),
            Role::Client => Settings::client(),
        }
    })
}

/// Plays `bytes` whole and in all splits; the last thing seen must be `error` each time, and
/// `certain` bytes must be enough for it while one fewer is not.
fn check(
    role: Role,
    deflate: Option<DeflateParameters>,
    bytes: &[u8],
    error: ProtocolError,
    certain: usize,
) {
    let name = format!("{error:?} in role {role:?}: {bytes:02x?}");
    let settings = settings(role);
    let whole = feed_whole(&settings, deflate, bytes);
    assert_eq!(whole.last(), Some(&Seen::Failed(error)), "{name}");
    let mut workspace = Workspace::default();
    for pieces in splits(bytes) {
        let mut connection = Connection::new(Arc::clone(&settings), deflate);
        let seen = feed(&mut connection, &mut workspace, pieces.iter().copied());
        assert_eq!(seen, whole, "{name} as {pieces:02x?}");
        assert_eq!(
            connection.receiver.bytes_held(),
            0,
            "{name}: memory is freed"
        );
        assert!(!connection.receiver.is_mid_message(), "{name}");
    }
    let early = feed_whole(&settings, deflate, &bytes[..certain]);
    assert_eq!(
        early.last(),
        Some(&Seen::Failed(error)),
        "{name} from {certain} bytes"
    );
    let too_early = feed_whole(&settings, deflate, &bytes[..certain - 1]);
    assert!(
        !too_early.iter().any(|seen| matches!(seen, Seen::Failed(_))),
        "{name}"
    );
}

const BOTH: [Role; 2] = [Role::Server, Role::Client];

#[test]
fn first_byte() {
    for role in BOTH {
        for reserved in [0x40, 0x20, 0x10, 0x70] {
            for opcode in [0x01, 0x02, 0x08, 0x09, 0x0a] {
                check(
                    role,
                    None,
                    &frame(role, 0x80 | reserved | opcode, b""),
                    E::ReservedBitSet,
                    1,
                );
            }
        }
        for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
            for fin in [0, 0x80] {
                check(
                    role,
                    None,
                    &frame(role, fin | opcode, b"x"),
                    E::UnknownOpcode(opcode),
                    1,
                );
            }
        }
        for control in [0x08, 0x09, 0x0a] {
            check(
                role,
                None,
                &frame(role, control, b""),
                E::ControlFrameFragmented,
                1,
            );
        }
        for continuation in [0x00, 0x80] {
            let bytes = frame(role, continuation, b"x");
            check(role, None, &bytes, E::ContinuationWithoutStart, 1);
        }
        for start in [0x01, 0x02, 0x81, 0x82] {
            let mut bytes = frame(role, 0x01, b"a");
            let certain = bytes.len() + 1;
            bytes.extend(frame(role, start, b"b"));
            check(role, None, &bytes, E::DataFrameInsideMessage, certain);
        }
    }
}

#[test]
fn reserved_bits_with_permessage_deflate() {
    for role in BOTH {
        let agreed = Some(NO_TAKEOVER);
        for first in [0xa1, 0x91, 0xc8, 0xc9, 0xca, 0xf1] {
            check(role, agreed, &frame(role, first, b""), E::ReservedBitSet, 1);
        }
        // RFC 7692 6.1: not on a continuation frame.
        let mut bytes = frame(role, 0x41, &[0xf2, 0x48]);
        let certain = bytes.len() + 1;
        bytes.extend(frame(role, 0xc0, &[0x00]));
        check(role, agreed, &bytes, E::ReservedBitSet, certain);
    }
}

#[test]
fn second_byte() {
    for first in [0x81, 0x82, 0x01, 0x88, 0x89, 0x8a] {
        check(
            Role::Server,
            None,
            &frame(Role::Client, first, b"xy"),
            E::FrameNotMasked,
            2,
        );
        check(
            Role::Client,
            None,
            &frame(Role::Server, first, b"xy"),
            E::FrameMasked,
            2,
        );
    }
    for role in BOTH {
        for first in [0x88, 0x89, 0x8a] {
            for size in [126, 65_536] {
                let bytes = frame(role, first, &vec![0; size]);
                check(role, None, &bytes[..20], E::ControlFrameTooLong, 2);
            }
        }
        check(
            role,
            None,
            &frame(role, 0x88, b"x"),
            E::ClosePayloadOneByte,
            2,
        );
    }
}

#[test]
fn lengths() {
    for (role, mask) in [(Role::Server, 0x80), (Role::Client, 0)] {
        for length in [0_u16, 1, 125] {
            let [high, low] = length.to_be_bytes();
            let bytes = [0x82, mask | 126, high, low, 0, 0, 0, 0];
            check(role, None, &bytes, E::LengthNotMinimal, 4);
        }
        for length in [0_u64, 125, 126, 65_535] {
            let mut bytes = vec![0x82, mask | 127];
            bytes.extend(length.to_be_bytes());
            check(role, None, &bytes, E::LengthNotMinimal, 10);
        }
        for length in [1_u64 << 63, (1 << 63) + 1, u64::MAX] {
            let mut bytes = vec![0x82, mask | 127];
            bytes.extend(length.to_be_bytes());
            check(role, None, &bytes, E::LengthTopBitSet, 3);
        }
        for (length, certain) in [
            (65_536_u64, 8),
            (1 << 24, 7),
            (1 << 31, 7),
            (1 << 32, 6),
            (u64::MAX >> 1, 3),
        ] {
            let mut bytes = vec![0x82, mask | 127];
            bytes.extend(length.to_be_bytes());
            check(role, None, &bytes, E::FrameTooBig, certain);
        }
        check(
            role,
            None,
            &[0x82, mask | 126, 0x03, 0xe9],
            E::FrameTooBig,
            4,
        );
        check(
            role,
            None,
            &[0x82, mask | 126, 0xff, 0xff],
            E::FrameTooBig,
            3,
        );
    }
}

#[test]
fn messages_beyond_their_limits() {
    for role in BOTH {
        let mut bytes = frame(role, 0x02, &[0; 600]);
        bytes.extend(frame(role, 0x00, &[0; 400]));
        // One byte more than the message may have: the length byte of the third frame tells.
        let certain = bytes.len() + 2;
        bytes.extend(frame(role, 0x80, &[0; 1]));
        check(role, None, &bytes, E::MessageTooBig, certain);

        for payload in [&b"x"[..], b""] {
            let mut bytes = frame(role, 0x02, payload);
            for _ in 0..3 {
                bytes.extend(frame(role, 0x00, payload));
            }
            let certain = bytes.len() + 1;
            bytes.extend(frame(role, 0x80, payload));
            check(role, None, &bytes, E::FragmentsTooMany, certain);
        }
    }
}

#[test]
fn close_frames() {
    for role in BOTH {
        for code in [
            0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535_u16,
        ] {
            let bytes = frame(role, 0x88, &code.to_be_bytes());
            check(role, None, &bytes, E::CloseCodeInvalid(code), bytes.len());
        }
        let bytes = frame(role, 0x88, b"\x03\xe8\xed\xa0\x80");
        check(role, None, &bytes, E::CloseReasonNotUtf8, bytes.len());
    }
}

/// Texts that cannot become UTF-8, and how many of their bytes prove it.
const IMPOSSIBLE: [(&[u8], usize); 16] = [
    (b"\x80", 1),
    (b"\xbf", 1),
    (b"\xc0\x80", 1),
    (b"\xc1\xbf", 1),
    (b"\xf5\x80\x80\x80", 1),
    (b"\xff", 1),
    (b"\xfe", 1),
    (b"\xc3\x28", 2),
    (b"\xe0\x9f\xbf", 2),
    (b"\xed\xa0\x80", 2),
    (b"\xf0\x8f\xbf\xbf", 2),
    (b"\xf4\x90\x80\x80", 2),
    (b"\xe2\x82\x28", 3),
    (b"\xf0\x9f\x98\x28", 4),
    (b"ab\xce\xba\xe1\xbd\xb9\xed\xa0\x80cd", 9),
    (
        b"0123456789012345678901234567890123456789012345678901234567890123456789\xc3\xa9\xff",
        73,
    ),
];

#[test]
fn text_that_is_not_utf8_fails_at_the_first_impossible_byte() {
    for (role, header) in [(Role::Server, 6), (Role::Client, 2)] {
        for (text, proof) in IMPOSSIBLE {
            // The frame is announced longer than what follows, so that only the proof can tell.
            let mut padded = text.to_vec();
            padded.resize(100, b'.');
            let bytes = frame(role, 0x81, &padded);
            check(role, None, &bytes, E::TextNotUtf8, header + proof);
            // The same over two fragments, cut at every place.
            for cut in 0..text.len() {
                let mut bytes = frame(role, 0x01, &padded[..cut]);
                let certain = if proof <= cut {
                    header + proof
                } else {
                    bytes.len() + header + proof - cut
                };
                bytes.extend(frame(role, 0x80, &padded[cut..]));
                check(role, None, &bytes, E::TextNotUtf8, certain);
            }
        }
        // A character that is cut off by the end of its message.
        for text in [&b"\xc3"[..], b"\xe2\x82", b"ok \xf0\x9f\x98"] {
            let bytes = frame(role, 0x81, text);
            check(role, None, &bytes, E::TextNotUtf8, bytes.len());
            let mut bytes = frame(role, 0x01, text);
            bytes.extend(frame(role, 0x80, b""));
            check(role, None, &bytes, E::TextNotUtf8, bytes.len());
        }
    }
}

#[test]
fn compressed_messages() {
    for role in BOTH {
        for takeover in [false, true] {
            let agreed = Some(DeflateParameters {
                server_no_context_takeover: !takeover,
                client_no_context_takeover: !takeover,
                ..NO_TAKEOVER
            });
            let rows: [(&[u8], ProtocolError); 5] = [
                // A reserved block type.
                (&[0x07, 0x00], E::DeflateInvalid),
                // A distance beyond the start of the window.
                (&[0x02, 0x02, 0x00, 0x00], E::DeflateInvalid),
                // "Hello", then more behind its final block.
                (
                    &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00, 0x01],
                    E::DeflateLeftover,
                ),
                // A stored block that promises 16 bytes and has 5; the tail counts as four more.
                (
                    &[0x00, 0x10, 0x00, 0xef, 0xff, 1, 2, 3, 4, 5],
                    E::DeflateLeftover,
                ),
                // 0xff as a literal: a text that is not UTF-8.
                (&[0x00, 0x01, 0x00, 0xfe, 0xff, 0xff, 0x00], E::TextNotUtf8),
            ];
            for (payload, error) in rows {
                let bytes = frame(role, 0xc1, payload);
                check(role, agreed, &bytes, error, bytes.len());
                let mut bytes = frame(role, 0x41, &payload[..1]);
                bytes.extend(frame(role, 0x80, &payload[1..]));
                check(role, agreed, &bytes, error, bytes.len());
            }
            let mut encoder = flate2::Compress::new(flate2::Compression::best(), false);
            let mut bomb = Vec::with_capacity(4096);
            let result =
                encoder.compress_vec(&[0; 100_000], &mut bomb, flate2::FlushCompress::Sync);
            assert!(result.is_ok() && bomb.len() < 900, "{} bytes", bomb.len());
            let bytes = frame(role, 0xc2, &bomb);
            check(role, agreed, &bytes, E::MessageTooBig, bytes.len());
            // More compressed bytes than the largest message can need.
            let mut bytes = frame(role, 0x42, &[0; 900]);
            let certain = bytes.len() + 4;
            bytes.extend(frame(role, 0x80, &[0; 300]));
            check(role, agreed, &bytes, E::MessageTooBig, certain);
        }
    }
}

/// With compression agreed on, a plain message has the plain limit.
#[test]
fn plain_messages_keep_their_limit_beside_compressed_ones() {
    let settings = Arc::new(Settings {
        frame_size_max: 1 << 20,
        ..(*settings(Role::Server)).clone()
    });
    let bytes = frame(Role::Server, 0x82, &[0; 1001]);
    for pieces in [vec![&bytes[..]], bytes.chunks(1).collect()] {
        let mut connection = Connection::new(Arc::clone(&settings), Some(NO_TAKEOVER));
        let seen = feed(&mut connection, &mut Workspace::default(), pieces);
        assert_eq!(seen, [Seen::Failed(E::MessageTooBig)]);
    }
}

#[test]
fn what_follows_a_close_frame_or_a_failure_is_ignored() {
    let mut bytes = frame(Role::Server, 0x88, b"\x03\xe8bye");
    bytes.extend(frame(Role::Server, 0x81, b"\xff"));
    bytes.extend([0xff; 100]);
    let expected = [Seen::Close(Some((1000, "bye".to_owned())))];
    let settings = settings(Role::Server);
    for pieces in splits(&bytes) {
        let mut connection = Connection::new(Arc::clone(&settings), None);
        assert_eq!(
            feed(&mut connection, &mut Workspace::default(), pieces),
            expected
        );
    }
}

/// Every error has a status code that may be sent, and a text and a label of its own.
#[test]
fn errors_map_to_status_codes() {
    let all = [
        (E::ReservedBitSet, 1002),
        (E::UnknownOpcode(3), 1002),
        (E::FrameNotMasked, 1002),
        (E::FrameMasked, 1002),
        (E::ControlFrameTooLong, 1002),
        (E::ControlFrameFragmented, 1002),
        (E::LengthNotMinimal, 1002),
        (E::LengthTopBitSet, 1002),
        (E::ContinuationWithoutStart, 1002),
        (E::DataFrameInsideMessage, 1002),
        (E::ClosePayloadOneByte, 1002),
        (E::CloseCodeInvalid(1005), 1002),
        (E::CloseReasonNotUtf8, 1007),
        (E::TextNotUtf8, 1007),
        (E::FrameTooBig, 1009),
        (E::MessageTooBig, 1009),
        (E::FragmentsTooMany, 1008),
        (E::DeflateInvalid, 1007),
        (E::DeflateLeftover, 1007),
    ];
    let mut labels: Vec<_> = all.iter().map(|(error, _)| error.as_str()).collect();
    labels.sort_unstable();
    labels.dedup();
    assert_eq!(labels.len(), all.len());
    for (error, code) in all {
        assert_eq!(error.close_code().0, code, "{error:?}");
        assert!(error.close_code().is_sendable());
        assert!(!error.to_string().is_empty());
    }
}
