//! Every malformed frame gets its exact status code, and nobody else notices.

use crate::client::{BINARY, CLOSE, Client, TEXT, frame, message, wait_for};
use crate::{SETUPS, limited};

/// Bytes after the opening handshake and the status code they are answered with.
fn table() -> Vec<(&'static str, Vec<u8>, u16)> {
    let masked = |first: u8, second: u8, rest: &[u8]| {
        let mut bytes = vec![first, second];
        bytes.extend_from_slice(rest);
        bytes
    };
    let mut continued_by_text = frame(TEXT, b"a");
    continued_by_text.extend(message(TEXT, b"b"));
    vec![
        (
            "RSV1 without an extension",
            message(0x40 | TEXT, b"a"),
            1002,
        ),
        ("RSV2", message(0x20 | TEXT, b"a"), 1002),
        ("RSV3 on a ping", message(0x10 | 9, b"a"), 1002),
        ("opcode 3", message(3, b""), 1002),
        ("opcode 11", message(11, b""), 1002),
        (
            "not masked, judged before its payload",
            vec![0x81, 0x05],
            1002,
        ),
        (
            "64-bit length with its top bit set",
            masked(0x82, 0xff, &[0x80, 0, 0, 0, 0, 0, 0, 1]),
            1002,
        ),
        (
            "above the limit, judged before its payload",
            masked(0x82, 0xff, &(70_000_u64.to_be_bytes())),
            1009,
        ),
        (
            "length in more bytes than it needs",
            masked(0x82, 0xfe, &[0, 5]),
            1002,
        ),
        ("ping of 126 bytes", masked(0x89, 0xfe, &[0, 126]), 1002),
        ("fragmented ping", frame(9, b""), 1002),
        ("continuation of nothing", message(0, b"a"), 1002),
        ("a new message inside another", continued_by_text, 1002),
        ("Close of one byte", message(CLOSE, &[3]), 1002),
        (
            "Close with 1005",
            message(CLOSE, &1005_u16.to_be_bytes()),
            1002,
        ),
        (
            "Close with 2999",
            message(CLOSE, &2999_u16.to_be_bytes()),
            1002,
        ),
        ("text that is not UTF-8", message(TEXT, &[b'a', 0xff]), 1007),
        (
            "text that is not UTF-8, judged before its end",
            frame(TEXT, &[0xed, 0xa0, 0x80]),
            1007,
        ),
        (
            "message above the limit in fragments",
            [frame(BINARY, &[0; 40_000]), frame(0, &[0; 40_000])].concat(),
            1009,
        ),
        (
            "too many fragments",
            [frame(BINARY, b""), frame(0, b"").repeat(200)].concat(),
            1008,
        ),
    ]
}

#[test]
fn malformed_frames_get_their_status_code_and_nobody_else_notices() {
    for setup in SETUPS {
        let mut server = limited(setup, |limits| {
            limits.message_size_max = 64 << 10;
            limits.fragments_max = 100;
        });
        let address = server.local_address();
        let mut bystander = Client::open(address);
        for (what, bytes, code) in table() {
            let mut client = Client::open(address);
            client.check_echo("all is well");
            client.send(&bytes);
            assert_eq!(client.expect_close(), code, "{what} on {setup:?}");
            bystander.check_echo(what);
        }
        wait_for(&mut server, "the end of all but one", |counters| {
            counters.open == 1
        });
    }
}

#[test]
fn a_valid_close_is_answered_with_its_own_code() {
    for setup in SETUPS {
        let mut server = limited(setup, |_| ());
        for (payload, code) in [
            (&b""[..], 1005),
            (&[3, 232], 1000),
            (&[3, 233, b'x'], 1001),
            (&[15, 160], 4000),
        ] {
            let mut client = Client::open(server.local_address());
            client.send(&message(TEXT, b"last words"));
            client.send(&message(CLOSE, payload));
            client.try_send(&message(TEXT, b"ignored"));
            assert_eq!(client.frame().payload, b"last words");
            assert_eq!(client.frame().close_code(), code);
            assert_eq!(client.try_frame(), None);
        }
        wait_for(&mut server, "four ends", |counters| {
            counters.closed_for(fanwire_server::CloseReason::Peer) == 4
        });
    }
}
