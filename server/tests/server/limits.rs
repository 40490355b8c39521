//! Every limit has its answer.

use fanwire_server::CloseReason;

use crate::client::{BINARY, Client, PING, REQUEST, TEXT, frame, message, wait_for};
use crate::{BACKENDS, SETUPS, limited};

#[test]
fn a_handshake_that_takes_too_long_gets_408() {
    for setup in BACKENDS {
        let server = limited(setup, |limits| limits.handshake_timeout_ms = 200);
        let mut silent = Client::connect(server.local_address());
        let mut slow = Client::connect(server.local_address());
        slow.send(REQUEST.as_bytes());
        for client in [&mut silent, &mut slow] {
            assert_eq!(client.response().0, 408);
            assert_eq!(client.read_to_end(), b"");
        }
        Client::open(server.local_address()).check_echo("others are served");
    }
}

#[test]
fn connections_above_the_limit_get_503_and_places_come_back() {
    for setup in SETUPS {
        let mut server = limited(setup, |limits| limits.connections_max = 3);
        let address = server.local_address();
        let mut open: Vec<Client> = (0..3).map(|_| Client::open(address)).collect();
        let mut refused = Client::connect(address);
        refused.try_send(format!("{REQUEST}\r\n").as_bytes());
        let (status, head, _) = refused.response();
        assert_eq!(status, 503);
        assert!(head.contains("Retry-After: "), "{head}");
        assert_eq!(refused.read_to_end(), b"");
        open.iter_mut()
            .for_each(|client| client.check_echo("unharmed"));
        drop(open.pop());
        wait_for(&mut server, "a free place", |counters| counters.open == 2);
        Client::open(address).check_echo("welcome");
    }
}

#[test]
fn handshakes_above_the_limit_get_503() {
    for setup in BACKENDS {
        let per_core = |limits: &mut fanwire_server::Limits| limits.handshakes_max = 2;
        let per_address =
            |limits: &mut fanwire_server::Limits| limits.handshakes_per_address_max = 2;
        for server in [limited(setup, per_core), limited(setup, per_address)] {
            let mut server = server;
            let address = server.local_address();
            let mut waiting: Vec<Client> = (0..2).map(|_| Client::connect(address)).collect();
            wait_for(&mut server, "two handshakes", |counters| {
                counters.accepted == 2
            });
            let mut refused = Client::connect(address);
            assert_eq!(refused.response().0, 503);
            assert_eq!(refused.read_to_end(), b"");
            for client in &mut waiting {
                client.send(format!("{REQUEST}\r\n").as_bytes());
                assert_eq!(client.response().0, 101);
            }
            Client::open(address).check_echo("welcome");
        }
    }
}

#[test]
fn floods_are_closed_with_1008() {
    for setup in BACKENDS {
        let mut server = limited(setup, |limits| {
            limits.message_rate_max = 10;
            limits.message_burst = 50;
        });
        let address = server.local_address();
        let mut bystander = Client::open(address);
        let mut client = Client::open(address);
        client.send(&message(PING, b"x").repeat(200));
        assert_eq!(client.expect_close(), 1008);
        let mut client = Client::open(address);
        client.send(&message(TEXT, b"x").repeat(200));
        assert_eq!(client.expect_close(), 1008);
        wait_for(&mut server, "both reasons", |counters| {
            counters.closed_for(CloseReason::ControlFlood) == 1
                && counters.closed_for(CloseReason::MessageFlood) == 1
        });
        bystander.check_echo("others are served");
    }
}

#[test]
fn a_message_that_is_never_finished_is_closed_with_1008() {
    for setup in BACKENDS {
        let mut server = limited(setup, |limits| limits.assembly_timeout_ms = 200);
        let mut in_fragments = Client::open(server.local_address());
        in_fragments.send(&frame(TEXT, b"to be continued"));
        let mut in_a_frame = Client::open(server.local_address());
        in_a_frame.send(&message(BINARY, &[0; 5_000])[..4_000]);
        assert_eq!(in_fragments.expect_close(), 1008);
        assert_eq!(in_a_frame.expect_close(), 1008);
        wait_for(&mut server, "both ends", |counters| {
            counters.closed_for(CloseReason::Assembly) == 2
        });
    }
}

#[test]
fn the_oldest_unfinished_message_makes_room() {
    for setup in BACKENDS {
        let mut server = limited(setup, |limits| limits.unfinished_max_bytes = 1 << 20);
        let address = server.local_address();
        let mut clients = Vec::new();
        // Each holds a little less than half of the budget; the third does not fit.
        for number in 1..=3_u64 {
            let mut client = Client::open(address);
            client.check_echo("hello");
            client.send(&frame(BINARY, &[0; 400_000]));
            // The pong shows that the fragment before it was taken in.
            client.send(&message(PING, b""));
            if number < 3 {
                assert_eq!(client.frame().opcode(), 10);
            }
            clients.push(client);
        }
        assert_eq!(clients[0].expect_close(), 1008);
        for client in &mut clients[1..] {
            client.send(&frame(0x80, b""));
        }
        assert_eq!(clients[1].frame().payload.len(), 400_000);
        assert_eq!(clients[2].frame().opcode(), 10);
        assert_eq!(clients[2].frame().payload.len(), 400_000);
        wait_for(&mut server, "one end", |counters| {
            counters.closed_for(CloseReason::UnfinishedBudget) == 1 && counters.open == 2
        });
    }
}

#[test]
fn a_silent_peer_is_pinged_and_then_closed() {
    for setup in BACKENDS {
        let mut server = limited(setup, |limits| {
            limits.ping_interval_ms = 100;
            limits.pong_timeout_ms = 200;
        });
        let mut client = Client::open(server.local_address());
        for _ in 0..2 {
            assert_eq!(client.frame().opcode(), PING);
            client.send(&message(10, b""));
        }
        assert_eq!(client.frame().opcode(), PING);
        assert_eq!(client.expect_close(), 4012);
        wait_for(&mut server, "the end", |counters| {
            counters.closed_for(CloseReason::NoPong) == 1
        });
    }
}

#[test]
fn an_idle_peer_is_closed_with_1001() {
    for setup in BACKENDS {
        let server = limited(setup, |limits| limits.idle_timeout_ms = 200);
        let mut client = Client::open(server.local_address());
        client.check_echo("hello");
        assert_eq!(client.expect_close(), 1001);
    }
}

#[test]
fn a_closing_handshake_that_is_not_finished_is_cut() {
    for setup in BACKENDS {
        let mut server = limited(setup, |limits| limits.close_timeout_ms = 200);
        let mut client = Client::open(server.local_address());
        client.send(&message(3, b""));
        assert_eq!(client.frame().close_code(), 1002);
        // The stream of the peer stays open; ours has ended.
        assert_eq!(client.try_frame(), None);
        wait_for(&mut server, "the cut", |counters| {
            counters.close_timeouts == 1 && counters.open == 0
        });
    }
}
