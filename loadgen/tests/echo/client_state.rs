//! The client's state machine without sockets and without a clock: bytes and times are passed in,
//! the counters come out. The server's end is the protocol library's server role.

use std::sync::Arc;

use fanwire_loadgen::echo::client::{Client, IN_FLIGHT_MAX, Standing};
use fanwire_loadgen::echo::desk::Desk;
use fanwire_loadgen::message::messages::{Content, Filter, Masking, Messages, Recipe};
use fanwire_loadgen::message::outstanding::Stamps;
use fanwire_loadgen::message::payload::Verify;
use fanwire_loadgen::message::sizes::Sizes;
use fanwire_loadgen::message::tokens::Tokens;
use fanwire_loadgen::pace::plan::Window;
use fanwire_protocol::{
    Connection, Event, Input, MessageKind, Settings, StatusCode, Workspace, WorkspaceLimits,
};

struct Pair {
    desk: Desk,
    client: Client,
    client_workspace: Workspace,
    server: Connection,
    server_workspace: Workspace,
    wire: Vec<u8>,
}

impl Pair {
    fn new(verify: Verify) -> Pair {
        let recipe = Recipe {
            kind: MessageKind::Binary,
            content: Content::Generated(Sizes::Fixed(64)),
            verify,
            filter: Filter::default(),
            tokens: Tokens::default(),
            seed: 9,
        };
        let messages = Messages::new(recipe, 9, 0);
        let mut desk = Desk::new(messages, Masking::Fresh, true, 9);
        desk.window = Some(Window {
            start_ns: 0,
            measure_from_ns: 1_000,
            until_ns: 2_000,
        });
        Pair {
            client: Client::new(&desk, 3, None),
            desk,
            client_workspace: Workspace::new(WorkspaceLimits::default()),
            server: Connection::new(Arc::new(Settings::server()), None),
            server_workspace: Workspace::new(WorkspaceLimits::default()),
            wire: Vec::new(),
        }
    }

    fn send(&mut self, intended_ns: u64, sent_ns: u64) -> bool {
        let stamps = Stamps {
            intended_ns,
            sent_ns,
        };
        let Pair {
            desk,
            client,
            client_workspace,
            wire,
            ..
        } = self;
        client.send_message(desk, client_workspace, stamps, wire)
    }

    /// What the server makes of everything that is on the wire.
    fn server_reads(&mut self) -> Vec<Vec<u8>> {
        let mut payloads = Vec::new();
        let mut input = Input::new(&mut self.wire);
        while let Some(event) = self
            .server
            .receiver
            .next_event(&mut input, &mut self.server_workspace)
            .expect("the client keeps to the protocol")
        {
            match event {
                Event::Message(message) => payloads.push(message.payload.to_vec()),
                Event::Pong(payload) => payloads.push(payload.to_vec()),
                Event::Close(frame) => {
                    let code = frame.map_or(0, |frame| frame.code.0);
                    payloads.push(code.to_be_bytes().to_vec());
                }
                Event::Ping(_) => unreachable!("clients of this program never ping"),
            }
        }
        self.wire.clear();
        payloads
    }

    /// The server sends a message; returns how the client stands afterwards.
    fn reply(&mut self, payload: &[u8], at_ns: u64) -> (u32, Standing) {
        let mut bytes = Vec::new();
        self.server
            .sender
            .message(
                MessageKind::Binary,
                payload,
                None,
                &mut self.server_workspace,
                &mut bytes,
            )
            .expect("valid");
        self.client_reads(&mut bytes, at_ns)
    }

    fn client_reads(&mut self, bytes: &mut [u8], at_ns: u64) -> (u32, Standing) {
        let Pair {
            desk,
            client,
            client_workspace,
            wire,
            ..
        } = self;
        let received = client.receive(desk, client_workspace, bytes, at_ns, wire);
        (received.answered, received.standing)
    }
}

#[test]
fn latency_counts_from_both_stamps_and_only_inside_the_window() {
    let mut pair = Pair::new(Verify::Full);
    for (intended_ns, sent_ns) in [(900, 900), (1_500, 1_600), (1_999, 2_100)] {
        assert!(pair.send(intended_ns, sent_ns));
    }
    for (number, payload) in pair.server_reads().iter().enumerate() {
        let at_ns = 2_000 + number as u64;
        assert_eq!(pair.reply(payload, at_ns), (1, Standing::Open));
    }
    let sheet = &pair.desk.sheet;
    assert_eq!(
        (sheet.tally.sent, sheet.tally.received, sheet.tally.served),
        (3, 3, 1)
    );
    // The first was due during the warm-up; no reply arrived before the end of the window.
    assert_eq!(sheet.response().count(), 2);
    assert_eq!(
        (
            sheet.response_halves[0].count(),
            sheet.response_halves[1].count()
        ),
        (0, 2)
    );
    assert_eq!((sheet.response().max(), sheet.service.max()), (501, 401));
    assert_eq!(
        (sheet.tally.sent_measured, sheet.tally.received_measured),
        (1, 0)
    );
}

#[test]
fn byte_by_byte_is_the_same_as_at_once() {
    let mut pair = Pair::new(Verify::Full);
    assert!(pair.send(1_000, 1_000));
    let payload = pair.server_reads().remove(0);
    let mut bytes = Vec::new();
    pair.server
        .sender
        .message(
            MessageKind::Binary,
            &payload,
            None,
            &mut pair.server_workspace,
            &mut bytes,
        )
        .expect("valid");
    let last = bytes.len() - 1;
    for (index, byte) in bytes.iter_mut().enumerate() {
        let answered = pair.client_reads(std::slice::from_mut(byte), 1_100).0;
        assert_eq!(answered, u32::from(index == last), "byte {index}");
    }
    assert_eq!(pair.desk.sheet.tally.corrupt, 0);
}

#[test]
fn verify_none_and_len_look_at_what_they_say() {
    for (verify, payload, corrupt) in [
        (Verify::None, &b"anything"[..], 0),
        (Verify::Length, &[7; 64], 0),
        (Verify::Length, b"too short", 1),
    ] {
        let mut pair = Pair::new(verify);
        assert!(pair.send(1_000, 1_000));
        assert_eq!(pair.reply(payload, 1_100).0, 1);
        assert_eq!(
            pair.desk.sheet.tally.corrupt, corrupt,
            "{verify:?} {payload:?}"
        );
        assert_eq!(pair.reply(payload, 1_100).0, 0);
        assert_eq!(pair.desk.sheet.tally.unsolicited, 1);
    }
}

#[test]
fn closing_from_either_side() {
    let mut pair = Pair::new(Verify::Full);
    assert!(pair.send(1_000, 1_000));
    let mut bytes = Vec::new();
    let code = Some(StatusCode::GOING_AWAY);
    pair.server
        .sender
        .close(code, "restart", None, &mut bytes)
        .expect("first close");
    assert_eq!(
        pair.client_reads(&mut bytes, 1_100),
        (0, Standing::ClosedByServer)
    );
    assert!(pair.client.is_closing());
    assert_eq!(
        pair.server_reads().last(),
        Some(&1001u16.to_be_bytes().to_vec())
    );
    assert!(!pair.send(1_200, 1_200), "nothing follows a close frame");
    pair.client.account_ended(&mut pair.desk.sheet.tally);
    let tally = &pair.desk.sheet.tally;
    assert_eq!((tally.sent, tally.lost, tally.unsent), (1, 1, 1));
    assert_eq!(tally.close_codes[&1001], 1);
    assert!(tally.identity_holds());

    let mut pair = Pair::new(Verify::Full);
    let Pair {
        desk, client, wire, ..
    } = &mut pair;
    client.close(desk, wire);
    assert_eq!(pair.server_reads(), [1000u16.to_be_bytes().to_vec()]);
    let mut bytes = Vec::new();
    pair.server
        .sender
        .close(Some(StatusCode::NORMAL), "", None, &mut bytes)
        .expect("answer");
    assert_eq!(pair.client_reads(&mut bytes, 1_100), (0, Standing::Closed));
    assert!(
        pair.desk.sheet.tally.close_codes.is_empty(),
        "an answer is not a failure"
    );
}

#[test]
fn a_server_that_never_answers_costs_bounded_memory() {
    let mut pair = Pair::new(Verify::Full);
    for _ in 0..IN_FLIGHT_MAX {
        assert!(pair.send(1_000, 1_000));
        pair.wire.clear();
    }
    assert!(!pair.send(1_000, 1_000));
    assert_eq!(pair.desk.sheet.tally.unsent, 1);
    assert_eq!(pair.client.waiting() as usize, IN_FLIGHT_MAX);
    pair.client.account_open(&mut pair.desk.sheet.tally);
    let tally = &pair.desk.sheet.tally;
    assert_eq!((tally.in_flight, tally.stalled), (IN_FLIGHT_MAX as u64, 1));
    assert!(tally.identity_holds());
}

#[test]
fn an_idle_connection_is_small() {
    // The goal is 1 KiB of user memory per idle connection, the reactor's slot included.
    assert!(size_of::<Client>() <= 160, "{}", size_of::<Client>());
}
