//! What is sent comes back.

use std::net::TcpStream;

use fanwire_protocol::handshake::{ClientRequest, DeflateOffer};
use fanwire_protocol::{Connection, Event, Input, MaskingKey, MessageKind, Settings, Workspace};
use fanwire_server::DeflatePolicy;
use std::io::{Read, Write};
use std::sync::Arc;
use tungstenite::Message;

use crate::client::{BINARY, Client, Frame, PATIENCE, PING, PONG, TEXT, frame, message};
use crate::{SETUPS, config, echo_server};

/// Sizes around every boundary of the framing, and larger than every buffer on the way.
const SIZES: [usize; 12] = [
    0,
    1,
    7,
    125,
    126,
    127,
    4096,
    65_535,
    65_536,
    70_001,
    1 << 20,
    (3 << 20) + 1,
];

#[test]
fn an_independent_client_gets_every_size_back() {
    for setup in SETUPS {
        let server = echo_server(config(setup));
        let stream = TcpStream::connect(server.local_address()).expect("connect");
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("a time limit");
        let (mut client, _) =
            tungstenite::client("ws://localhost/", stream).expect("an opening handshake");
        for size in SIZES {
            let bytes: Vec<u8> = (0..size)
                .map(|index| (index * 7 + index / 251) as u8)
                .collect();
            let text: String = (0..size / 2).map(|index| ['é', 'ü'][index % 2]).collect();
            for message in [Message::binary(bytes), Message::text(text)] {
                client.send(message.clone()).expect("send");
                assert_eq!(client.read().expect("an echo"), message, "{setup:?} {size}");
            }
        }
        client.close(None).expect("close");
        while client.read().is_ok() {}
        let mut server = server;
        server.stop();
        let counters = server.wait();
        assert_eq!(counters.messages_received, 2 * SIZES.len() as u64);
        assert_eq!(counters.messages_sent, counters.messages_received);
        assert_eq!(counters.message_bytes_sent, counters.message_bytes_received);
    }
}

#[test]
fn fragments_come_back_as_one_message_with_pings_between_them() {
    for setup in SETUPS {
        let server = echo_server(config(setup));
        let mut client = Client::open(server.local_address());
        client.send(&frame(TEXT, "Grü".as_bytes()));
        client.send(&message(PING, b"still there?"));
        // Cut inside a character.
        client.send(&frame(0, &"ße ü".as_bytes()[..1]));
        client.send(&frame(0, b""));
        client.send(&frame(0x80, &"ße ü".as_bytes()[1..]));
        assert_eq!(
            client.frame(),
            Frame {
                first_byte: 0x80 | PONG,
                payload: b"still there?".to_vec()
            }
        );
        let expected = Frame {
            first_byte: 0x80 | TEXT,
            payload: "Grüße ü".as_bytes().to_vec(),
        };
        assert_eq!(client.frame(), expected);
    }
}

#[test]
fn many_messages_in_one_piece_come_back_in_order() {
    for setup in SETUPS {
        let server = echo_server(config(setup));
        let mut client = Client::open(server.local_address());
        let bytes: Vec<u8> = (0..5_000_u32)
            .flat_map(|number| message(BINARY, &number.to_be_bytes()))
            .collect();
        client.send(&bytes);
        for number in 0..5_000_u32 {
            let expected = Frame {
                first_byte: 0x82,
                payload: number.to_be_bytes().to_vec(),
            };
            assert_eq!(client.frame(), expected);
        }
    }
}

/// Ten pings at once are a normal thing to send and each is answered.
#[test]
fn pings_are_answered_one_by_one_while_the_peer_reads() {
    for setup in SETUPS {
        let server = echo_server(config(setup));
        let mut client = Client::open(server.local_address());
        let pings: Vec<u8> = (0..10_u8)
            .flat_map(|number| message(PING, &[number; 125]))
            .collect();
        client.send(&pings);
        for number in 0..10_u8 {
            assert_eq!(
                client.frame(),
                Frame {
                    first_byte: 0x8a,
                    payload: vec![number; 125]
                }
            );
        }
        // An answer nobody asked for is ignored.
        client.send(&message(PONG, b"unasked"));
        client.check_echo("on we go");
    }
}

#[test]
fn compressed_messages_come_back_compressed() {
    let takeover = DeflatePolicy {
        server_no_context_takeover: false,
        client_no_context_takeover: false,
        ..DeflatePolicy::default()
    };
    for setup in SETUPS {
        for policy in [DeflatePolicy::default(), takeover] {
            let mut config = config(setup);
            config.deflate = Some(policy);
            let server = echo_server(config);
            check_deflate(server.local_address(), policy);
        }
    }
}

fn check_deflate(address: std::net::SocketAddr, policy: DeflatePolicy) {
    let mut stream = TcpStream::connect(address).expect("connect");
    stream
        .set_read_timeout(Some(PATIENCE))
        .expect("a time limit");
    let request = ClientRequest {
        host: "localhost",
        target: "/",
        origin: None,
        subprotocols: &[],
        deflate: Some(DeflateOffer::default()),
        headers: &[],
    };
    let mut bytes = Vec::new();
    let mut reader = request
        .write_to([7; 16], &mut bytes)
        .expect("a valid request");
    stream.write_all(&bytes).expect("send");
    let mut received = Vec::new();
    let established = loop {
        let mut chunk = [0; 1024];
        let count = stream.read(&mut chunk).expect("a response");
        received.extend_from_slice(&chunk[..count]);
        if let Some(established) = reader.advance(&received).expect("a 101") {
            break established;
        }
    };
    let agreed = established.deflate.expect("compression was agreed on");
    assert_eq!(
        agreed.server_no_context_takeover,
        policy.server_no_context_takeover
    );
    let mut workspace = Workspace::default();
    let settings = Arc::new(Settings {
        message_size_max: 1 << 20,
        frame_size_max: 1 << 20,
        ..Settings::client()
    });
    let mut connection = Connection::new(settings, Some(agreed));
    let text = "{\"symbol\":\"BTC-USD\",\"bid\":1,\"ask\":2}".repeat(20);
    let mut sizes = Vec::new();
    for _ in 0..3 {
        bytes.clear();
        let key = Some(MaskingKey([1, 2, 3, 4]));
        let kind = MessageKind::Text;
        connection
            .sender
            .message(kind, text.as_bytes(), key, &mut workspace, &mut bytes)
            .expect("a message");
        stream.write_all(&bytes).expect("send");
        let mut size = 0;
        let mut is_back = false;
        while !is_back {
            let mut chunk = [0; 4096];
            let count = stream.read(&mut chunk).expect("an echo");
            assert!(count > 0, "the server closed");
            size += count;
            let mut input = Input::new(&mut chunk[..count]);
            while let Some(event) = connection
                .receiver
                .next_event(&mut input, &mut workspace)
                .expect("valid frames")
            {
                let Event::Message(message) = event else {
                    panic!("not a message: {event:?}")
                };
                assert!(message.compressed);
                assert_eq!(message.as_str(), Some(text.as_str()));
                is_back = true;
            }
        }
        sizes.push(size);
    }
    assert!(sizes[0] < text.len() / 4, "{sizes:?} for {}", text.len());
    // With its window kept, the same text is a reference to the one before.
    assert_eq!(
        sizes[2] < sizes[0] / 2,
        !policy.server_no_context_takeover,
        "{sizes:?}"
    );
}
