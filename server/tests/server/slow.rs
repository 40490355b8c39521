//! Peers that write slowly or do not read.

use std::io::Write;
use std::thread::JoinHandle;

use fanwire_server::CloseReason;

use crate::client::{BINARY, Client, PING, PONG, TEXT, frame, message, wait_for};
use crate::{BACKENDS, SETUPS, limited};

#[test]
fn bytes_may_come_one_by_one() {
    for setup in SETUPS {
        let server = limited(setup, |_| ());
        let mut client = Client::open(server.local_address());
        let payload = vec![b'x'; 300];
        let bytes = [
            frame(TEXT, b"a"),
            message(PING, b"p"),
            frame(0x80, &payload),
        ]
        .concat();
        for byte in bytes {
            client.send(&[byte]);
        }
        assert_eq!(client.frame().opcode(), PONG);
        assert_eq!(client.frame().payload.len(), 301);
    }
}

/// Writes a message so many times from a thread of its own, because the server will stop taking
/// them; ends early when the server closes.
fn write_aside(client: &Client, bytes: Vec<u8>, times: usize) -> JoinHandle<()> {
    let mut stream = client.stream.try_clone().expect("a descriptor");
    std::thread::spawn(move || {
        for _ in 0..times {
            if stream.write_all(&bytes).is_err() {
                return;
            }
        }
    })
}

#[test]
fn a_peer_that_reads_late_gets_everything() {
    /// More than all buffers on the way hold.
    const MESSAGES: usize = 1_500;
    for setup in BACKENDS {
        let mut server = limited(setup, |limits| limits.send_stall_timeout_ms = 0);
        let mut client = Client::open(server.local_address());
        let payload = vec![7; 60_000];
        let writer = write_aside(&client, message(BINARY, &payload), MESSAGES);
        wait_for(&mut server, "a pause", |counters| {
            counters.receive_pauses > 0
        });
        for number in 0..MESSAGES {
            assert_eq!(client.frame().payload, payload, "message {number}");
        }
        writer.join().expect("the writer ends");
    }
}

#[test]
fn a_peer_that_never_reads_is_cut_and_holds_bounded_memory() {
    for setup in BACKENDS {
        let mut server = limited(setup, |limits| {
            limits.send_stall_timeout_ms = 1_000;
            limits.backlog_pause_bytes = 64 << 10;
        });
        let address = server.local_address();
        let mut bystander = Client::open(address);
        let client = Client::open(address);
        let writer = write_aside(&client, message(BINARY, &[7; 16_000]), usize::MAX);
        wait_for(&mut server, "a pause", |counters| {
            counters.receive_pauses > 0
        });
        bystander.check_echo("others are served");
        wait_for(&mut server, "the cut", |counters| {
            counters.closed_for(CloseReason::Slow) == 1
        });
        // What the server took and could not send is the kernel's buffers and little more.
        let taken = server.counters().message_bytes_received;
        assert!(
            taken < 64 << 20,
            "{taken} bytes were taken from a peer that reads nothing"
        );
        writer.join().expect("the writer sees the cut");
        bystander.check_echo("and still are");
    }
}

#[test]
fn a_backlog_above_the_hard_limit_is_cut() {
    for setup in BACKENDS {
        let mut server = limited(setup, |limits| {
            limits.backlog_max_bytes = 1 << 20;
            limits.backlog_pause_bytes = 512 << 10;
        });
        let address = server.local_address();
        let mut bystander = Client::open(address);
        let mut client = Client::open(address);
        // One message that is larger than the limit and than what loopback sockets hold.
        client.try_send(&message(BINARY, &vec![0; 15 << 20]));
        wait_for(&mut server, "the cut", |counters| {
            counters.closed_for(CloseReason::Backlog) == 1
        });
        bystander.check_echo("others are served");
    }
}

#[test]
fn only_the_newest_ping_of_a_peer_that_does_not_read_is_answered() {
    for setup in BACKENDS {
        let mut server = limited(setup, |limits| {
            limits.send_stall_timeout_ms = 0;
            limits.control_rate_max = 0;
            // So large that receiving goes on beside a backlog.
            limits.backlog_pause_bytes = 32 << 20;
        });
        let mut client = Client::open(server.local_address());
        client.send(&message(BINARY, &vec![0; 15 << 20]));
        wait_for(&mut server, "the large message", |counters| {
            counters.messages_received == 1
        });
        for number in 0..1_000_u32 {
            client.send(&message(PING, &number.to_be_bytes()));
        }
        wait_for(&mut server, "the pings", |counters| {
            counters.pings_received == 1_000
        });
        assert_eq!(server.counters().pings_superseded, 999);
        assert_eq!(client.frame().payload.len(), 15 << 20);
        let pong = client.frame();
        assert_eq!(
            (pong.opcode(), pong.payload),
            (PONG, 999_u32.to_be_bytes().to_vec())
        );
        client.check_echo("nothing else came");
    }
}
