//! A link over TLS, without a socket: whatever the sizes in which bytes arrive, what was written at
//! one end is read at the other, and damaged bytes are refused and never more than that.

use std::io::{Read, Write};
use std::sync::Arc;

use crate::support::tls::{Authority, config};
use fanwire_loadgen::connect::link::{Link, LinkState, ReadMemory, WriteMemory};
use fanwire_loadgen::connect::tls::{TlsClient, TlsOptions};
use proptest::prelude::*;
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, ServerConnection};

/// Both ends of a connection, and what is on the way between them.
struct Pair {
    link: Link,
    reading: ReadMemory,
    writing: WriteMemory,
    server: ServerConnection,
    to_server: Vec<u8>,
    to_client: Vec<u8>,
    received: Vec<u8>,
    state: LinkState,
}

impl Pair {
    fn new(client: &TlsClient, server: &Arc<ServerConfig>) -> Pair {
        let mut pair = Pair {
            link: Link::secured(client).expect("a session"),
            reading: ReadMemory::default(),
            writing: WriteMemory::default(),
            server: ServerConnection::new(Arc::clone(server)).expect("a session"),
            to_server: Vec::new(),
            to_client: Vec::new(),
            received: Vec::new(),
            state: LinkState::Open,
        };
        pair.deliver(0);
        pair
    }

    /// The client takes the first `count` bytes that are on the way to it.
    fn deliver(&mut self, count: usize) {
        let mut wire: Vec<u8> = self.to_client.drain(..count).collect();
        let heard = self.link.read(&mut wire, &mut self.reading);
        self.received.extend_from_slice(heard.plain);
        self.to_server.extend_from_slice(heard.replies);
        self.state = heard.state;
    }

    /// The server takes and says everything it can. Returns what it has read.
    fn serve(&mut self) -> Vec<u8> {
        let mut wire = &self.to_server[..];
        let mut read = Vec::new();
        while !wire.is_empty() {
            self.server.read_tls(&mut wire).expect("memory");
            let state = self.server.process_new_packets().expect("lawful bytes");
            let mut plain = vec![0; state.plaintext_bytes_to_read()];
            self.server
                .reader()
                .read_exact(&mut plain)
                .expect("announced");
            read.extend_from_slice(&plain);
        }
        self.to_server.clear();
        while self.server.wants_write() {
            self.server.write_tls(&mut self.to_client).expect("memory");
        }
        read
    }

    /// After a failure nothing more is said, whatever is asked for.
    fn say_more_after_the_end(&mut self) {
        let mut out = Vec::new();
        let writing = &mut self.writing;
        self.link
            .write(&mut out, writing, |out| out.extend_from_slice(b"more"));
        self.link.finish(&mut out);
        assert!(out.is_empty(), "{out:02x?}");
    }

    fn shake_hands(&mut self) {
        for _ in 0..10 {
            self.serve();
            self.deliver(self.to_client.len());
            if !self.link.is_handshaking() && !self.server.is_handshaking() {
                return;
            }
        }
        unreachable!("no end of the handshake: {:?}", self.state);
    }
}

/// What happens next.
#[derive(Clone, Debug)]
enum Step {
    ClientWrites(usize),
    ServerWrites(usize),
    /// So many bytes on the way to the client arrive, or all there are.
    Arrive(usize),
    ServerRenewsKeys,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (0usize..70_000).prop_map(Step::ClientWrites),
        (0usize..70_000).prop_map(Step::ServerWrites),
        (0usize..200).prop_map(Step::ServerWrites),
        (1usize..40_000).prop_map(Step::Arrive),
        (1usize..30).prop_map(Step::Arrive),
        Just(Step::ServerRenewsKeys),
    ];
    proptest::collection::vec(step, 1..24)
}

fn bytes(from: usize, count: usize) -> Vec<u8> {
    (from..from + count)
        .map(|number| (number % 251) as u8)
        .collect()
}

fn ends(is_newest: bool) -> (Authority, TlsClient, Arc<ServerConfig>) {
    let authority = Authority::new();
    let version = if is_newest { &TLS13 } else { &TLS12 };
    let server = config(&authority.issue("localhost"), &[version]);
    let options = TlsOptions {
        authorities: Some(authority.file().into()),
        ..TlsOptions::default()
    };
    let client = TlsClient::new(&options, "localhost").expect("a sound file");
    (authority, client, Arc::new(server))
}

proptest! {
    // Replay: PROPTEST_CASES and the seed that a failure prints into proptest-regressions.
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn any_split_of_records_carries_the_same_bytes(steps in steps(), is_newest in any::<bool>()) {
        let (_authority, client, server) = ends(is_newest);
        let mut pair = Pair::new(&client, &server);
        pair.shake_hands();
        pair.server.set_buffer_limit(None);
        let (mut sent_up, mut sent_down, mut read_up) = (0, 0, Vec::new());
        for step in steps {
            match step {
                Step::ClientWrites(count) => {
                    let plain = bytes(sent_up, count);
                    let Pair { link, writing, to_server, .. } = &mut pair;
                    link.write(to_server, writing, |out| out.extend_from_slice(&plain));
                    sent_up += count;
                }
                Step::ServerWrites(count) => {
                    pair.server.writer().write_all(&bytes(sent_down, count)).expect("memory");
                    sent_down += count;
                }
                Step::Arrive(count) => {
                    let count = count.min(pair.to_client.len());
                    pair.deliver(count);
                }
                Step::ServerRenewsKeys if is_newest => {
                    pair.server.refresh_traffic_keys().expect("TLS 1.3");
                }
                Step::ServerRenewsKeys => {}
            }
            read_up.extend(pair.serve());
            prop_assert_eq!(&pair.state, &LinkState::Open);
        }
        pair.server.send_close_notify();
        read_up.extend(pair.serve());
        pair.deliver(pair.to_client.len());
        read_up.extend(pair.serve());
        prop_assert_eq!(pair.received.len(), sent_down);
        prop_assert!(pair.received == bytes(0, sent_down), "the client read other bytes");
        prop_assert_eq!(read_up.len(), sent_up);
        prop_assert!(read_up == bytes(0, sent_up), "the server read other bytes");
        prop_assert_eq!(&pair.state, &LinkState::Finished);
        // What ends the stream in good order is understood too.
        pair.link.finish(&mut pair.to_server);
        pair.serve();
        prop_assert!(pair.link.remark().is_empty());
    }

    #[test]
    fn damaged_bytes_are_refused(
        place in any::<prop::sample::Index>(),
        bit in 0u8..8,
        is_handshake in any::<bool>(),
        sizes in proptest::collection::vec(1usize..600, 1..40),
    ) {
        let (_authority, client, server) = ends(true);
        let mut pair = Pair::new(&client, &server);
        if is_handshake {
            pair.serve();
        } else {
            pair.shake_hands();
            pair.server.writer().write_all(&bytes(0, 5_000)).expect("memory");
            pair.serve();
        }
        let place = place.index(pair.to_client.len());
        pair.to_client[place] ^= 1 << bit;
        // The length of a record may have grown: more bytes of anything complete it.
        pair.to_client.extend_from_slice(&[0; 70_000]);
        let mut sizes = sizes.into_iter().cycle();
        while pair.state == LinkState::Open && !pair.to_client.is_empty() {
            let count = sizes.next().unwrap_or(1).min(pair.to_client.len());
            pair.deliver(count);
        }
        let is_refused = matches!(&pair.state, LinkState::Failed(sentence) if !sentence.is_empty());
        prop_assert!(is_refused, "{:?}", pair.state);
        pair.say_more_after_the_end();
        prop_assert!(bytes(0, 5_000).starts_with(&pair.received), "damaged bytes were believed");
    }

    #[test]
    fn anything_at_all_is_taken_without_a_fault(
        garbage in proptest::collection::vec(any::<u8>(), 0..2_000),
        record in proptest::option::of((20u8..25, 0u16..20_000)),
        size in 1usize..500,
    ) {
        let (_authority, client, server) = ends(true);
        let mut pair = Pair::new(&client, &server);
        if let Some((kind, length)) = record {
            let [high, low] = length.to_be_bytes();
            pair.to_client.extend_from_slice(&[kind, 3, 3, high, low]);
        }
        pair.to_client.extend_from_slice(&garbage);
        while pair.state == LinkState::Open && !pair.to_client.is_empty() {
            let count = size.min(pair.to_client.len());
            pair.deliver(count);
        }
        prop_assert!(pair.received.is_empty());
        prop_assert!(pair.link.is_handshaking());
        if pair.state != LinkState::Open {
            pair.say_more_after_the_end();
        }
    }
}

#[test]
fn a_link_without_tls_changes_nothing() {
    let (mut link, mut reading, mut writing) =
        (Link::plain(), ReadMemory::default(), WriteMemory::default());
    let mut wire = bytes(0, 100);
    let address = wire.as_ptr();
    let heard = link.read(&mut wire, &mut reading);
    assert_eq!(heard.plain.as_ptr(), address, "nothing is copied");
    assert_eq!((heard.plain.len(), heard.replies.len()), (100, 0));
    assert_eq!(heard.state, LinkState::Open);
    let mut out = Vec::new();
    let result = link.write(&mut out, &mut writing, |out| {
        out.extend_from_slice(b"plain");
        5
    });
    assert_eq!((result, &out[..]), (5, &b"plain"[..]));
    link.finish(&mut out);
    assert_eq!(out, b"plain", "there is nothing to say");
    assert!(link.remark().is_empty() && !link.is_secured());
}
