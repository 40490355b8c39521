//! A client of the hub that believes nothing: it checks every number and every announcement.

use std::collections::HashMap;
use std::io::{ErrorKind, Read};
use std::net::SocketAddr;

use serde::Deserialize;

use crate::client::{BINARY, CLOSE, Client, PING, PONG, TEXT, message};

/// What a key contributes to the checksum of a book. The sum over all keys does not depend on
/// their order.
pub fn digest(key: &str, value: u64) -> u64 {
    let key: u64 = key.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    });
    (key ^ value.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Anything that the server sends as text.
#[derive(Debug, Deserialize)]
pub struct Incoming {
    pub op: Option<String>,
    pub id: Option<u64>,
    pub topic: Option<String>,
    pub epoch: Option<String>,
    pub seq: Option<u64>,
    pub alias: Option<u32>,
    pub key: Option<String>,
    #[serde(default)]
    pub event: bool,
    #[serde(default)]
    pub removed: bool,
    pub data: Option<serde_json::Value>,
    pub recovered: Option<bool>,
    pub code: Option<String>,
    #[serde(default)]
    pub snapshot: bool,
    #[serde(default)]
    pub already: bool,
    pub replay: Option<u64>,
    pub as_of: Option<u64>,
    pub from: Option<u64>,
    pub to: Option<u64>,
    pub count: Option<u64>,
    pub whole: Option<bool>,
}

/// Messages that an announcement has announced.
#[derive(Clone, Copy, Debug)]
struct Piece {
    left: u64,
    end: u64,
    whole: bool,
    is_snapshot: bool,
}

/// What the client knows of one topic.
#[derive(Debug, Default)]
pub struct View {
    pub epoch: String,
    pub seq: u64,
    pub is_state: bool,
    pub whole: bool,
    pub book: HashMap<String, u64>,
    sum: u64,
    piece: Option<Piece>,
    awaits_snapshot: bool,
}

/// What was seen, for the ledger and to know that the test tested something.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    pub checks: u64,
    pub messages: u64,
    pub conflated: u64,
    pub snapshots: u64,
    pub gaps: u64,
    pub recovered: u64,
    pub not_recovered: u64,
}

impl Seen {
    pub fn add(&mut self, other: &Seen) {
        self.checks += other.checks;
        self.messages += other.messages;
        self.conflated += other.conflated;
        self.snapshots += other.snapshots;
        self.gaps += other.gaps;
        self.recovered += other.recovered;
        self.not_recovered += other.not_recovered;
    }
}

impl View {
    fn set(&mut self, key: &str, value: Option<u64>) {
        let before = match value {
            Some(value) => self.book.insert(key.to_owned(), value),
            None => self.book.remove(key),
        };
        if let Some(before) = before {
            self.sum = self.sum.wrapping_sub(digest(key, before));
        }
        if let Some(value) = value {
            self.sum = self.sum.wrapping_add(digest(key, value));
        }
    }

    fn begin_piece(&mut self, piece: Piece) {
        assert!(self.piece.is_none(), "announced within a piece: {self:?}");
        if piece.left == 0 {
            self.seq = piece.end;
            self.whole = piece.whole;
        } else {
            self.piece = Some(piece);
        }
    }

    /// Takes a message of the topic.
    fn take(&mut self, message: &Incoming, seen: &mut Seen, name: &str) {
        let seq = message.seq.expect("a seq");
        assert!(!self.awaits_snapshot, "{name}: {seq} before the snapshot");
        seen.messages += 1;
        let was_whole = self.whole;
        let mut in_snapshot = false;
        match self.piece.as_mut() {
            None => {
                assert_eq!(seq, self.seq + 1, "{name}: a hole that was not announced");
                self.seq = seq;
            }
            Some(piece) => {
                assert!(
                    seq > self.seq && seq <= piece.end,
                    "{name}: {seq} in {piece:?}"
                );
                in_snapshot = piece.is_snapshot;
                self.seq = seq;
                piece.left -= 1;
                if piece.left == 0 {
                    (self.seq, self.whole) = (piece.end, piece.whole);
                    self.piece = None;
                } else {
                    self.whole = false;
                }
            }
        }
        if !self.is_state {
            return;
        }
        let key = message.key.as_deref().expect("a key");
        if message.removed {
            self.set(key, None);
            return;
        }
        let data = message.data.as_ref().expect("data");
        let number = |name: &str| data.get(name).and_then(serde_json::Value::as_u64);
        if message.event {
            if was_whole && !in_snapshot {
                let known = self.book.get(key).copied();
                assert_eq!(known, number("at"), "{name}: an event overtook its state");
            }
        } else {
            self.set(key, number("v"));
        }
        if self.whole && self.seq == seq {
            let check = number("check").expect("a check");
            assert_eq!(
                self.sum, check,
                "{name} at {seq}: the book is wrong: {self:?}"
            );
            seen.checks += 1;
        }
    }
}

/// A client whose receive buffer does not grow, so that it is noticed soon when it stalls and not
/// only after megabytes.
pub fn connect(address: SocketAddr) -> Client {
    use socket2::{Domain, Socket, Type};
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a descriptor");
    // Before connecting: a window that shrinks later is one that peers probe slowly.
    socket.set_recv_buffer_size(64 << 10).expect("an option");
    socket.connect(&address.into()).expect("connect");
    let client = Client {
        stream: socket.into(),
    };
    let patience = Some(crate::client::PATIENCE);
    client.stream.set_read_timeout(patience).expect("a limit");
    client.stream.set_write_timeout(patience).expect("a limit");
    client.stream.set_nodelay(true).expect("an option");
    client
}

/// A connection to the hub, with what outlives connections.
pub struct Reader {
    address: SocketAddr,
    is_binary: bool,
    pub client: Option<Client>,
    pub views: HashMap<String, View>,
    aliases: HashMap<u32, String>,
    pub seen: Seen,
    buffer: Vec<u8>,
    /// Bytes of `buffer` that were taken.
    taken: usize,
}

impl Reader {
    pub fn new(address: SocketAddr, is_binary: bool) -> Reader {
        Reader {
            address,
            is_binary,
            client: None,
            views: HashMap::new(),
            aliases: HashMap::new(),
            seen: Seen::default(),
            buffer: Vec::new(),
            taken: 0,
        }
    }

    /// Connects, forgetting what was under way.
    pub fn connect(&mut self) {
        let subprotocol = match self.is_binary {
            true => "fanwire.v1.binary",
            false => "fanwire.v1.json",
        };
        let mut client = connect(self.address);
        let request = crate::client::REQUEST;
        client.send(format!("{request}Sec-WebSocket-Protocol: {subprotocol}\r\n\r\n").as_bytes());
        let (status, head, _) = client.response();
        assert_eq!(status, 101, "{head}");
        self.client = Some(client);
        self.aliases.clear();
        self.buffer.clear();
        self.taken = 0;
        for view in self.views.values_mut() {
            if view.piece.take().is_some() {
                view.whole = false;
            }
        }
    }

    pub fn send(&mut self, text: &str) {
        let client = self.client.as_mut().expect("a connection");
        client.try_send(&message(TEXT, text.as_bytes()));
    }

    /// Subscribes, resuming what is known well enough to be resumed.
    pub fn subscribe(&mut self, filters: &[&str], resumes: bool) {
        let points = self.views.iter().filter(|(_, view)| view.whole && resumes);
        let resume: serde_json::Map<String, serde_json::Value> = points
            .map(|(name, view)| {
                let point = serde_json::json!({"epoch": view.epoch, "seq": view.seq});
                (name.clone(), point)
            })
            .collect();
        let command = serde_json::json!({"op": "subscribe", "topics": filters, "resume": resume});
        self.send(&command.to_string());
    }

    /// Takes one message; false at the end of the stream.
    pub fn step(&mut self) -> Option<Incoming> {
        let (opcode, payload) = self.next_frame()?;
        let incoming = match opcode {
            TEXT => serde_json::from_slice(&payload)
                .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&payload))),
            BINARY => self.decode(&payload),
            PING => {
                let pong = message(PONG, &payload);
                self.client.as_mut().expect("a connection").try_send(&pong);
                return self.step();
            }
            CLOSE => panic!("closed: {}", String::from_utf8_lossy(&payload)),
            opcode => panic!("a frame with opcode {opcode}"),
        };
        self.handle(&incoming);
        Some(incoming)
    }

    /// Reads in large pieces: a test reads very many messages.
    fn next_frame(&mut self) -> Option<(u8, Vec<u8>)> {
        loop {
            let bytes = &self.buffer[self.taken..];
            if bytes.len() >= 2 {
                let (header, length) = match bytes[1] {
                    126 if bytes.len() >= 4 => {
                        (4, usize::from(u16::from_be_bytes([bytes[2], bytes[3]])))
                    }
                    127 if bytes.len() >= 10 => {
                        let length: [u8; 8] = bytes[2..10].try_into().expect("eight bytes");
                        (10, u64::from_be_bytes(length) as usize)
                    }
                    126 | 127 => (usize::MAX / 2, 0),
                    length => (2, usize::from(length)),
                };
                if bytes.len() >= header + length {
                    let frame = (bytes[0] & 15, bytes[header..header + length].to_vec());
                    self.taken += header + length;
                    return Some(frame);
                }
            }
            self.buffer.drain(..self.taken);
            self.taken = 0;
            let mut chunk = [0; 16 << 10];
            let stream = &mut self.client.as_mut().expect("a connection").stream;
            match stream.read(&mut chunk) {
                Ok(0) => return None,
                Ok(read) => self.buffer.extend_from_slice(&chunk[..read]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("nothing came: {error}; {:?}", self.views),
            }
        }
    }

    fn decode(&self, bytes: &[u8]) -> Incoming {
        let number = |from: usize, size: usize| {
            let bytes = &bytes[from..from + size];
            bytes
                .iter()
                .rev()
                .fold(0, |sum, byte| sum << 8 | u64::from(*byte))
        };
        assert_eq!(bytes[0], 1);
        let (flags, key_size) = (bytes[1], number(2, 2) as usize);
        let alias = number(4, 4) as u32;
        let key = std::str::from_utf8(&bytes[16..16 + key_size]).expect("a key in UTF-8");
        let payload = &bytes[16 + key_size..];
        Incoming {
            op: None,
            id: None,
            topic: Some(self.aliases.get(&alias).expect("a known alias").clone()),
            epoch: None,
            seq: Some(number(8, 8)),
            alias: None,
            key: (key_size > 0).then(|| key.to_owned()),
            event: flags & 1 != 0,
            removed: flags & 2 != 0,
            data: (flags & 4 != 0).then(|| serde_json::from_slice(payload).expect("JSON")),
            recovered: None,
            code: None,
            snapshot: false,
            already: false,
            replay: None,
            as_of: None,
            from: None,
            to: None,
            count: None,
            whole: None,
        }
    }

    fn handle(&mut self, incoming: &Incoming) {
        let Some(name) = incoming.topic.clone() else {
            assert_ne!(incoming.op.as_deref(), Some("error"), "{incoming:?}");
            return;
        };
        let seen = &mut self.seen;
        match incoming.op.as_deref() {
            None => {
                let view = self.views.get_mut(&name).expect("a topic subscribed to");
                view.take(incoming, seen, &name);
            }
            Some("subscribed") => self.subscribed(name, incoming),
            Some("unsubscribed" | "published" | "configured") => {}
            Some("snapshot") => {
                let view = self.views.get_mut(&name).expect("a topic subscribed to");
                view.awaits_snapshot = false;
                view.book.clear();
                (view.sum, view.seq) = (0, 0);
                seen.snapshots += 1;
                view.begin_piece(Piece {
                    left: incoming.count.expect("a count"),
                    end: incoming.as_of.expect("as_of"),
                    whole: incoming.whole.expect("whole"),
                    is_snapshot: true,
                });
            }
            Some("conflated") => {
                let view = self.views.get_mut(&name).expect("a topic subscribed to");
                let (from, to) = (incoming.from.expect("from"), incoming.to.expect("to"));
                let count = incoming.count.expect("count");
                assert_eq!(from, view.seq + 1, "{name}: {incoming:?}");
                seen.conflated += to + 1 - from - count;
                view.begin_piece(Piece {
                    left: count,
                    end: to,
                    whole: incoming.whole.expect("whole"),
                    is_snapshot: false,
                });
            }
            Some("gap") => {
                let view = self.views.get_mut(&name).expect("a topic subscribed to");
                let (from, to) = (incoming.from.expect("from"), incoming.to.expect("to"));
                assert_eq!(from, view.seq + 1, "{name}: {incoming:?}");
                assert!(to >= from);
                view.seq = to;
                view.awaits_snapshot = view.is_state;
                view.whole = !view.is_state;
                seen.gaps += to + 1 - from;
            }
            Some(op) => panic!("unexpected {op}: {incoming:?}"),
        }
    }

    fn subscribed(&mut self, name: String, incoming: &Incoming) {
        if incoming.already {
            return;
        }
        let epoch = incoming.epoch.clone().expect("an epoch");
        let seq = incoming.seq.expect("a seq");
        self.aliases
            .insert(incoming.alias.expect("an alias"), name.clone());
        let view = self.views.entry(name).or_default();
        match incoming.recovered {
            Some(true) => {
                self.seen.recovered += 1;
                assert_eq!(view.epoch, epoch);
                assert_eq!(incoming.replay, Some(seq - view.seq), "{incoming:?}");
                return;
            }
            Some(false) => {
                self.seen.not_recovered += 1;
                assert!(incoming.code.is_some(), "{incoming:?}");
            }
            None => {}
        }
        let is_state = view.is_state;
        *view = View {
            epoch,
            seq: seq - incoming.replay.unwrap_or(0),
            whole: !incoming.snapshot,
            awaits_snapshot: incoming.snapshot,
            is_state,
            ..View::default()
        };
    }
}
