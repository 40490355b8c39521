//! The scripted servers of `selftest` under an independent client: a fault of our own protocol
//! library must not hide in both ends of a selftest.

use fanwire_loadgen::selftest::scripts::delays::Dealer;
use fanwire_loadgen::selftest::scripts::faults::{EVERY, Saboteur};
use fanwire_loadgen::selftest::scripts::parrot::Parrot;
use fanwire_loadgen::selftest::server::{Entrance, Place, Server};
use std::net::TcpStream;
use std::time::{Duration, Instant};
use tungstenite::{Error, Message, WebSocket, connect, stream::MaybeTlsStream};

const PLACE: Place = Place {
    processor: None,
    spin: false,
    backlog: 128,
};

fn client(url: &str) -> WebSocket<MaybeTlsStream<TcpStream>> {
    connect(url).expect("upgraded").0
}

#[test]
fn it_echoes_and_tells_what_it_saw() {
    let server = Server::start(Parrot, Entrance::Everybody, PLACE).expect("starts");
    let mut socket = client(&server.url("/any"));
    for message in [
        Message::text("grüße"),
        Message::binary(vec![0, 255, 7]),
        Message::text(""),
    ] {
        socket.send(message.clone()).expect("sent");
        assert_eq!(socket.read().expect("answered"), message);
    }
    socket.close(None).expect("closing");
    while socket.read().is_ok() {}
    let (_, seen) = server.stop().expect("stops");
    assert_eq!(
        (seen.accepted, seen.upgraded, seen.refused, seen.heard),
        (1, 1, 0, 3)
    );
}

#[test]
fn an_answer_is_never_early() {
    let delay_ns = 30_000_000;
    let dealer = Dealer::new(vec![delay_ns]);
    let server = Server::start(dealer, Entrance::Everybody, PLACE).expect("starts");
    let mut socket = client(&server.url("/"));
    for _ in 0..3 {
        let begun = Instant::now();
        socket.send(Message::text("now")).expect("sent");
        socket.read().expect("answered");
        assert!(begun.elapsed() >= Duration::from_nanos(delay_ns));
    }
    let (_, seen) = server.stop().expect("stops");
    assert_eq!(seen.late.count(), 3);
}

#[test]
fn a_refusal_is_a_whole_answer() {
    let server = Server::start(Parrot, Entrance::RefusesEvery(2), PLACE).expect("starts");
    let first = client(&server.url("/"));
    match connect(server.url("/")) {
        Err(Error::Http(response)) => assert_eq!(response.status(), 503),
        other => unreachable!("refused: {other:?}"),
    }
    drop(first);
    let (_, seen) = server.stop().expect("stops");
    assert_eq!((seen.upgraded, seen.refused), (1, 1));
}

#[test]
fn what_an_independent_client_sees_is_what_the_script_booked() {
    let count = 2 * EVERY;
    let saboteur = Saboteur::new(count, 1, 9, false);
    let server = Server::start(saboteur, Entrance::Everybody, PLACE).expect("starts");
    let mut socket = client(&server.url("/"));
    for number in 0..count {
        let message = Message::binary(number.to_le_bytes().to_vec());
        socket.send(message).expect("sent");
    }
    // The last message meets no fault and is answered last.
    let last = (count - 1).to_le_bytes();
    let (mut answers, mut pings) = (0, 0);
    loop {
        match socket.read().expect("the server goes on") {
            Message::Binary(payload) => {
                answers += 1;
                if payload[..] == last {
                    break;
                }
            }
            Message::Ping(_) => pings += 1,
            other => unreachable!("{other:?}"),
        }
    }
    let (saboteur, seen) = server.stop().expect("stops");
    let injected = saboteur.injected;
    assert_eq!(seen.heard, count);
    assert_eq!(
        answers,
        count - injected.dropped + injected.duplicated + injected.unsolicited
    );
    assert_eq!(pings, injected.pings);
    assert!(injected.dropped > 0 && injected.pings > 0, "{injected:?}");
}
