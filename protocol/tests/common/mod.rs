//! What the integration tests share: events that outlive their input, and feeding in pieces.

#![allow(dead_code, reason = "each test program uses its own part")]

use std::sync::Arc;

use fanwire_protocol::frame::{HEADER_SIZE_MAX, Header, Opcode, unmask};
use fanwire_protocol::{
    Connection, DeflateParameters, Event, Input, MaskingKey, MessageKind, ProtocolError, Role,
    Settings, Workspace,
};

/// An event that owns its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    Text(Vec<u8>),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(u16, String)>),
    Failed(ProtocolError),
}

impl Seen {
    pub fn from_event(event: &Event<'_>) -> Self {
        match event {
            Event::Message(message) => match message.kind {
                MessageKind::Text => Self::Text(message.payload.to_vec()),
                MessageKind::Binary => Self::Binary(message.payload.to_vec()),
            },
            Event::Ping(payload) => Self::Ping(payload.to_vec()),
            Event::Pong(payload) => Self::Pong(payload.to_vec()),
            Event::Close(frame) => {
                Self::Close(frame.map(|frame| (frame.code.0, frame.reason.to_owned())))
            }
        }
    }
}

/// Feeds `pieces` one after the other and collects what was seen, the failure last.
pub fn feed<'p>(
    connection: &mut Connection,
    workspace: &mut Workspace,
    pieces: impl IntoIterator<Item = &'p [u8]>,
) -> Vec<Seen> {
    let mut seen = Vec::new();
    for piece in pieces {
        let mut bytes = piece.to_vec();
        let mut input = Input::new(&mut bytes);
        loop {
            match connection.receiver.next_event(&mut input, workspace) {
                Ok(Some(event)) => seen.push(Seen::from_event(&event)),
                Ok(None) => break,
                Err(error) => {
                    seen.push(Seen::Failed(error));
                    // RFC 6455 7.1.7: what follows is ignored.
                    assert_eq!(
                        connection.receiver.next_event(&mut input, workspace),
                        Ok(None)
                    );
                    break;
                }
            }
        }
        assert_eq!(input.remaining(), 0, "all input is taken");
    }
    seen
}

/// As [`feed`], on a new connection with everything in one piece.
pub fn feed_whole(
    settings: &Arc<Settings>,
    deflate: Option<DeflateParameters>,
    bytes: &[u8],
) -> Vec<Seen> {
    let mut connection = Connection::new(Arc::clone(settings), deflate);
    feed(&mut connection, &mut Workspace::default(), [bytes])
}

/// One frame as the peer of `role` would send it, lawful or not.
pub fn frame(role: Role, first: u8, payload: &[u8]) -> Vec<u8> {
    let header = Header {
        is_final: first & 0x80 != 0,
        rsv1: first & 0x40 != 0,
        rsv2: first & 0x20 != 0,
        rsv3: first & 0x10 != 0,
        opcode: Opcode::Text,
        masking_key: (role == Role::Server).then_some(MaskingKey([0xa1, 0x5c, 0x07, 0xfe])),
        payload_len: payload.len() as u64,
    };
    let mut encoded = [0; HEADER_SIZE_MAX];
    let size = header.encode(&mut encoded);
    let mut bytes = encoded[..size].to_vec();
    bytes[0] = first;
    let start = bytes.len();
    bytes.extend_from_slice(payload);
    if let Some(key) = header.masking_key {
        unmask(&mut bytes[start..], key, 0);
    }
    bytes
}

/// All cuts of `bytes` into two pieces, and into single bytes.
pub fn splits(bytes: &[u8]) -> Vec<Vec<&[u8]>> {
    let mut all: Vec<Vec<&[u8]>> = (0..=bytes.len())
        .map(|cut| vec![&bytes[..cut], &bytes[cut..]])
        .collect();
    all.push(bytes.chunks(1).collect());
    all
}
