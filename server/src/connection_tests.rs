//! Deadlines of a connection, without sockets and without waiting.

use std::sync::Arc;

use fanwire_protocol::Settings;

use super::*;

const PEER: &str = "192.0.2.7:4711";

fn connection(limits: &Limits, now: Moment) -> Connection<()> {
    let protocol = fanwire_protocol::Connection::new(Arc::new(Settings::server()), None);
    let token = Token::from_bits(1);
    let peer = PEER.parse().unwrap();
    Connection::new(token, protocol.sender, peer, 0, (), limits, now)
}

fn limits() -> Limits {
    Limits {
        idle_timeout_ms: 60_000,
        ..Limits::default()
    }
}

#[test]
fn an_idle_connection_is_pinged_and_then_closed() {
    let limits = limits();
    for start in [0, 5_000, u32::MAX - 10_000] {
        let mut idle = connection(&limits, start);
        let at = |ms: u32| start.wrapping_add(ms);
        assert_eq!(idle.rearm(&limits, start), Some(25_000));
        assert_eq!(idle.rearm(&limits, start), None, "the timer is set already");
        assert_eq!(idle.due(&limits, at(24_999)), None);
        idle.note_timer_fired();
        assert_eq!(idle.due(&limits, at(25_000)), Some(Due::Ping));
        idle.await_pong(at(25_000));
        assert_eq!(idle.due(&limits, at(25_000)), None);
        assert_eq!(idle.rearm(&limits, at(25_000)), Some(10_000));
        assert_eq!(
            idle.due(&limits, at(35_000)),
            Some(Due::End(CloseReason::NoPong))
        );
        idle.note_received(at(35_000));
        assert_eq!(idle.due(&limits, at(35_000)), None);
        idle.note_received(at(59_999));
        assert_eq!(
            idle.due(&limits, at(60_000)),
            Some(Due::End(CloseReason::Idle))
        );
    }
}

#[test]
fn a_timer_that_fires_early_is_set_again() {
    let limits = limits();
    let mut busy = connection(&limits, 0);
    assert_eq!(busy.rearm(&limits, 0), Some(25_000));
    busy.note_received(20_000);
    assert_eq!(
        busy.rearm(&limits, 20_000),
        None,
        "what is later needs no new timer"
    );
    busy.note_timer_fired();
    assert_eq!(busy.due(&limits, 25_000), None);
    assert_eq!(busy.rearm(&limits, 25_000), Some(20_000));
    busy.set_handler_timer(Some(after(25_000, 100)));
    assert_eq!(
        busy.rearm(&limits, 25_000),
        Some(100),
        "what is sooner does"
    );
    assert_eq!(busy.due(&limits, 25_100), Some(Due::Handler));
    assert_eq!(busy.due(&limits, 25_100), None, "once");
}

#[test]
fn a_dribbled_message_has_a_deadline_and_a_new_one_starts_afresh() {
    let limits = limits();
    let mut slow = connection(&limits, 0);
    assert!(slow.note_assembly(true, false, 1_000));
    for now in (2_000..11_000).step_by(1_000) {
        slow.note_received(now);
        assert!(
            !slow.note_assembly(true, false, now),
            "more of the same message"
        );
        assert_eq!(slow.due(&limits, now), None);
    }
    assert_eq!(
        slow.due(&limits, 11_000),
        Some(Due::End(CloseReason::Assembly))
    );
    assert!(
        slow.note_assembly(true, true, 11_000),
        "one ended and another began"
    );
    assert_eq!(slow.due(&limits, 20_999), None);
    assert!(!slow.note_assembly(false, true, 20_999));
    slow.note_received(21_000);
    assert_eq!(slow.due(&limits, 21_000), None);
}

#[test]
fn a_peer_that_takes_nothing_is_cut_and_one_that_takes_a_little_is_not() {
    let limits = limits();
    let mut reader = connection(&limits, 0);
    reader.note_queued(100_000);
    assert!(reader.note_unsent(90_000, 0));
    for second in 1..=20 {
        let now = second * 1_000;
        reader.note_received(now);
        assert!(!reader.note_unsent(90_000 - second as usize, now));
        assert_eq!(reader.due(&limits, now), None);
    }
    assert!(!reader.note_unsent(89_980, 24_999));
    assert_eq!(reader.due(&limits, 24_999), None);
    assert_eq!(
        reader.due(&limits, 25_000),
        Some(Due::End(CloseReason::Slow))
    );
    assert!(!reader.note_unsent(0, 25_000));
    reader.note_received(25_000);
    assert_eq!(reader.due(&limits, 25_000), None);
}

#[test]
fn nobody_is_blamed_for_silence_while_nobody_listens() {
    let limits = limits();
    let mut paused = connection(&limits, 0);
    paused.is_paused = true;
    assert_eq!(paused.due(&limits, 1_000_000), None);
    assert_eq!(paused.rearm(&limits, 1_000_000), None);
}

#[test]
fn a_closing_handshake_has_a_bound() {
    let limits = limits();
    let mut closing = connection(&limits, 0);
    assert_eq!(closing.rearm(&limits, 0), Some(25_000));
    closing.note_closing(Phase::CloseSent, 1_000, limits.close_timeout_ms);
    assert_eq!(closing.rearm(&limits, 1_000), Some(5_000));
    assert_eq!(closing.due(&limits, 5_999), None);
    assert_eq!(closing.due(&limits, 6_000), Some(Due::Closing));
    closing.phase = Phase::Ended;
    assert_eq!(closing.due(&limits, 6_000), None);
    assert_eq!(closing.rearm(&limits, 6_000), None);
}

#[test]
fn pongs_nobody_asked_for_are_known() {
    let limits = limits();
    let mut peer = connection(&limits, 0);
    assert!(!peer.note_pong());
    peer.note_ping_sent();
    peer.note_ping_sent();
    assert!(peer.note_pong() && peer.note_pong());
    assert!(!peer.note_pong());
}

#[test]
fn addresses_survive_packing() {
    for text in [PEER, "[2001:db8::1]:65535", "[::1]:1", "255.255.255.255:0"] {
        let address: SocketAddr = text.parse().unwrap();
        assert_eq!(Peer::pack(address).unpack(), address);
    }
}

/// The sizes that the memory of an idle connection is made of.
#[test]
fn sizes_are_as_small_as_they_were() {
    assert!(
        size_of::<Option<Connection<()>>>() <= 136,
        "{}",
        size_of::<Connection<()>>()
    );
    assert_eq!(
        size_of::<Option<Connection<[u64; 4]>>>() - size_of::<Option<Connection<()>>>(),
        32,
        "state is inline and costs what it is"
    );
}
