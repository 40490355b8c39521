//! The same bytes to an independent implementation, `tungstenite`: both must accept the same
//! messages and fail at the same frame.
//!
//! Known differences, each an event of ours that tungstenite does not have:
//!
//! | rule | here | tungstenite 0.30 |
//! |---|---|---|
//! | RFC 6455 5.2 "the minimal number of bytes MUST be used to encode the length" | 1002 | accepts |
//! | RFC 6455 5.2 "the most significant bit MUST be 0" | 1002 | too large for its limit |
//! | RFC 6455 5.5.1 close payload of one byte, 7.4.2 codes that must not be sent | 1002 | an event or another error, according to the case |
//! | RFC 6455 8.1 text that is not UTF-8 | at the first impossible byte | when the frame is complete |
//! | a frame that is announced and never completed, with a fault in it | fails | waits |
//!
//! proptest prints the failing case and writes its seed beside this file, from where the next
//! run repeats it first.

mod common;

use std::io::{self, Read, Write};
use std::sync::Arc;

use common::{Seen, feed_whole, frame};
use fanwire_protocol::{ProtocolError, Role, Settings};
use proptest::prelude::*;
use tungstenite::protocol::{Role as TheirRole, WebSocketConfig};
use tungstenite::{Error, Message, WebSocket};

/// A stream that has `bytes` to read and takes what is written.
struct Stream<'b>(&'b [u8]);

impl Read for Stream<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.0.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.0.read(out)
    }
}

impl Write for Stream<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How a run over the bytes ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// All bytes were taken and nothing was wrong with them.
    Open,
    Closed,
    Failed,
}

fn theirs(role: Role, bytes: &[u8]) -> (Vec<Seen>, End) {
    let role = match role {
        Role::Server => TheirRole::Server,
        Role::Client => TheirRole::Client,
    };
    let config = WebSocketConfig::default()
        .max_message_size(Some(SIZE_MAX))
        .max_frame_size(Some(SIZE_MAX));
    let mut socket = WebSocket::from_raw_socket(Stream(bytes), role, Some(config));
    let mut seen = Vec::new();
    loop {
        match socket.read() {
            Ok(Message::Text(text)) => seen.push(Seen::Text(text.as_bytes().to_vec())),
            Ok(Message::Binary(bytes)) => seen.push(Seen::Binary(bytes.to_vec())),
            Ok(Message::Ping(bytes)) => seen.push(Seen::Ping(bytes.to_vec())),
            Ok(Message::Pong(bytes)) => seen.push(Seen::Pong(bytes.to_vec())),
            Ok(Message::Close(frame)) => {
                let frame = frame.map(|frame| (u16::from(frame.code), frame.reason.to_string()));
                seen.push(Seen::Close(frame));
                return (seen, End::Closed);
            }
            Ok(Message::Frame(_)) => {}
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                return (seen, End::Open);
            }
            Err(_) => return (seen, End::Failed),
        }
    }
}

const SIZE_MAX: usize = 100_000;

fn ours(role: Role, bytes: &[u8]) -> (Vec<Seen>, End, Option<ProtocolError>) {
    let settings = Arc::new(Settings {
        message_size_max: SIZE_MAX,
        frame_size_max: SIZE_MAX as u64,
        fragments_per_message_max: u32::MAX,
        ..match role {
            Role::Server => Settings::server(),
            Role::Client => Settings::client(),
        }
    });
    let mut seen = feed_whole(&settings, None, bytes);
    match seen.last() {
        Some(Seen::Failed(error)) => {
            let error = *error;
            seen.pop();
            (seen, End::Failed, Some(error))
        }
        Some(Seen::Close(_)) => (seen, End::Closed, None),
        _ => (seen, End::Open, None),
    }
}

/// Compares, and allows for what the table above lists.
fn compare(role: Role, bytes: &[u8]) -> Result<(), TestCaseError> {
    let (our_events, our_end, error) = ours(role, bytes);
    let (their_events, their_end) = theirs(role, bytes);
    match error {
        Some(
            ProtocolError::LengthNotMinimal
            | ProtocolError::LengthTopBitSet
            | ProtocolError::ClosePayloadOneByte
            | ProtocolError::CloseCodeInvalid(_)
            | ProtocolError::CloseReasonNotUtf8,
        ) => {
            prop_assert!(their_events.starts_with(&our_events), "{their_events:?}");
        }
        // Sooner than tungstenite, which waits for the frame or the rest of the header.
        Some(_) => {
            prop_assert_eq!(&our_events, &their_events);
            prop_assert!(
                matches!(their_end, End::Failed | End::Open),
                "{their_end:?}, ours {error:?}"
            );
            if their_end == End::Open {
                // It is the missing rest that it waits for, not another opinion.
                let mut longer = bytes.to_vec();
                longer.resize(bytes.len() + SIZE_MAX + 14, 0);
                prop_assert_eq!(theirs(role, &longer).1, End::Failed, "ours {:?}", error);
            }
        }
        None => {
            prop_assert_eq!(&our_events, &their_events);
            prop_assert_eq!(our_end, their_end);
        }
    }
    Ok(())
}

fn payloads() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => "\\PC{0,60}".prop_map(String::into_bytes),
        2 => prop::collection::vec(any::<u8>(), 0..130),
        1 => (any::<u8>(), 65_500..65_600_usize).prop_map(|(byte, size)| vec![byte; size]),
    ]
}

fn lawful_frames(role: Role) -> impl Strategy<Value = Vec<u8>> {
    let control = prop::sample::select(vec![0x89_u8, 0x8a]);
    let message = (
        any::<bool>(),
        prop::collection::vec(payloads(), 1..4),
        control,
    )
        .prop_map(move |(is_text, fragments, control)| {
            let mut bytes = Vec::new();
            let count = fragments.len();
            for (index, payload) in fragments.iter().enumerate() {
                let opcode = match (index, is_text) {
                    (0, true) => 1,
                    (0, false) => 2,
                    _ => 0,
                };
                let fin = if index + 1 == count { 0x80 } else { 0 };
                bytes.extend(frame(role, fin | opcode, payload));
                bytes.extend(frame(role, control, &payload[..payload.len().min(100)]));
            }
            bytes
        });
    (
        prop::collection::vec(message, 1..4),
        prop::option::of("[a-z]{0,100}"),
    )
        .prop_map(move |(messages, close)| {
            let mut bytes = messages.concat();
            if let Some(reason) = close {
                bytes.extend(frame(
                    role,
                    0x88,
                    &[b"\x03\xe8", reason.as_bytes()].concat(),
                ));
            }
            bytes
        })
}

fn roles() -> impl Strategy<Value = Role> {
    prop_oneof![Just(Role::Client), Just(Role::Server)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn lawful_streams((role, bytes) in roles().prop_flat_map(|role| (Just(role), lawful_frames(role)))) {
        compare(role, &bytes)?;
    }

    #[test]
    fn mutated_streams(
        (role, bytes) in roles().prop_flat_map(|role| (Just(role), lawful_frames(role))),
        mutations in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3_u8), 1..4),
    ) {
        let mut bytes = bytes;
        for (at, value, how) in mutations {
            // Most mutations go where the headers are.
            let at = at.index(bytes.len().min(200));
            match how {
                0 => bytes[at] = value,
                1 => bytes[at] ^= 1 << (value & 7),
                _ => bytes.truncate(at.max(1)),
            }
        }
        compare(role, &bytes)?;
    }

    #[test]
    fn noise(role in roles(), bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        compare(role, &bytes)?;
    }
}
