//! Starting, draining, stopping, and starts that must fail.

use std::io::ErrorKind;
use std::net::TcpStream;

use fanwire_server::{CloseReason, Config, CoreList, Echo, Limits, Placement, Server, StartError};

use crate::client::{Client, wait_for};
use crate::{BACKENDS, SETUPS, config, echo_server, limited};

#[test]
fn a_drain_closes_everybody_with_1001_and_ends() {
    for setup in SETUPS {
        let mut server = limited(setup, |_| ());
        let address = server.local_address();
        let mut clients: Vec<Client> = (0..20).map(|_| Client::open(address)).collect();
        clients
            .iter_mut()
            .for_each(|client| client.check_echo("hello"));
        let mut unfinished = Client::connect(address);
        wait_for(&mut server, "all of them", |counters| {
            counters.accepted == 21
        });
        server.drain();
        for client in &mut clients {
            assert_eq!(client.expect_close(), 1001);
        }
        drop(clients);
        assert_eq!(unfinished.response().0, 503);
        assert_eq!(unfinished.read_to_end(), b"");
        drop(unfinished);
        let counters = server.wait();
        assert_eq!(counters.closed_for(CloseReason::Drain), 20, "{counters}");
        assert_eq!(counters.open, 0);
        assert_eq!(counters.refused_with(503), 1);
        let refused = TcpStream::connect(address).expect_err("nobody listens any more");
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    }
}

#[test]
fn a_drain_has_a_bound() {
    for setup in BACKENDS {
        let mut server = limited(setup, |limits| {
            limits.drain_timeout_ms = 200;
            limits.close_timeout_ms = 60_000;
        });
        let mut client = Client::open(server.local_address());
        server.drain();
        // A client that does not answer the Close frame.
        assert_eq!(client.frame().close_code(), 1001);
        let counters = server.wait();
        assert_eq!(counters.closed_for(CloseReason::Drain), 1, "{counters}");
        client.read_to_end();
    }
}

#[test]
fn dropping_a_server_stops_it() {
    for setup in SETUPS {
        let mut server = limited(setup, |_| ());
        let mut client = Client::open(server.local_address());
        client.check_echo("hello");
        let mut unfinished = Client::connect(server.local_address());
        wait_for(&mut server, "both", |counters| counters.accepted == 2);
        drop(server);
        client.read_to_end();
        unfinished.read_to_end();
    }
}

#[test]
fn shards_share_the_port_and_the_counters_are_summed() {
    for setup in SETUPS {
        let mut server = limited(setup, |_| ());
        assert_eq!(server.shards(), usize::from(setup.1));
        let mut clients: Vec<Client> = (0..50)
            .map(|_| Client::open(server.local_address()))
            .collect();
        clients
            .iter_mut()
            .for_each(|client| client.check_echo("hello"));
        wait_for(&mut server, "all messages", |counters| {
            counters.open == 50 && counters.messages_received == 50
        });
    }
}

#[test]
fn a_start_that_cannot_succeed_says_why() {
    let start = |config: Config| {
        Server::builder()
            .config(config)
            .handler(|_shard| Echo)
            .start()
            .expect_err("no start")
    };
    for setup in SETUPS {
        let server = echo_server(config(setup));
        let busy = Config {
            listen: server.local_address(),
            ..config(setup)
        };
        let error = start(busy);
        assert!(matches!(error, StartError::Listen(..)), "{error}");
        assert!(error.to_string().contains("is in use"), "{error}");
    }
    let setup = BACKENDS[0];
    let elsewhere = Config {
        listen: ([192, 0, 2, 1], 0).into(),
        ..config(setup)
    };
    assert!(
        start(elsewhere)
            .to_string()
            .contains("not an address of this machine")
    );
    let cores = CoreList::new(vec![1_000_000]).expect("a list");
    let nowhere = Config {
        placement: Placement::Pinned(cores),
        ..config(setup)
    };
    assert!(start(nowhere).to_string().contains("processor 1000000"));
    let limits = Limits {
        message_size_max: 0,
        ..Limits::default()
    };
    assert!(
        start(Config {
            limits,
            ..config(setup)
        })
        .to_string()
        .contains("message_size_max")
    );
    let congestion = Some("nonsense".to_owned());
    assert!(
        start(Config {
            congestion,
            ..config(setup)
        })
        .to_string()
        .contains("nonsense")
    );
}
