//! Servers that do every wrong thing a server can do: each is counted exactly, explained, ends the
//! run in bounded time, and never yields a clean report.

use std::io::{Read, Write};
use std::sync::{Arc, Mutex};

use crate::support::servers::{answering_server, echo_server, serve_upgraded};
use crate::support::{echo, honest, run, start};
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Bytes, Message};

/// 500 messages, one connection, no warm-up: every counter can be foretold.
fn five_hundred(url: &str) -> Vec<&str> {
    let words = "echo URL -c 1 -R 500 -d 1s -w 0s --drain 500ms";
    words
        .split(' ')
        .map(|word| if word == "URL" { url } else { word })
        .collect()
}

fn payload(message: &Message) -> Vec<u8> {
    message.clone().into_data().to_vec()
}

#[test]
fn an_honest_server_gets_a_clean_report() {
    let address = echo_server();
    let url = format!("ws://{address}/");
    for backend in ["uring", "epoll"] {
        for kind in ["--binary", "--text"] {
            for size in ["0", "1", "7", "64", "300", "70000"] {
                let words = ["echo", &url, "-c", "3", "-d", "100ms", "-w", "20ms", kind];
                let mut arguments = words.to_vec();
                arguments.extend(["-s", size, "--backend", backend, "--in-flight", "4"]);
                let outcome = run(&arguments);
                assert_eq!(
                    outcome.code,
                    Some(0),
                    "{backend} {kind} {size}: {}",
                    outcome.text
                );
                let sent = outcome.count("/messages/sent");
                assert!(sent >= 12, "every connection sends: {sent}");
                outcome.expect(&[
                    ("/messages/received", sent),
                    ("/messages/lost", 0),
                    ("/messages/in_flight", 0),
                    ("/messages/corrupt", 0),
                    ("/messages/duplicates", 0),
                    ("/messages/unsolicited", 0),
                    ("/connections/asked", 3),
                    ("/connections/open", 3),
                    ("/connections/upgraded", 3),
                    ("/connections/served", 3),
                    ("/connections/alive", 3),
                ]);
            }
        }
    }
}

#[test]
fn flipped_bits() {
    let address = answering_server(|number, message, socket| {
        let mut bytes = payload(&message);
        if number % 10 == 5 {
            let bit = number as usize % (bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        socket.send(Message::binary(bytes)).is_ok()
    });
    run(&five_hundred(&format!("ws://{address}/")))
        .expect_end(4, "INVALID")
        .expect_reason("50 replies were corrupt")
        .expect(&[
            ("/messages/sent", 500),
            ("/messages/received", 500),
            ("/messages/corrupt", 50),
            ("/errors/corrupt_reply", 50),
            ("/messages/lost", 0),
            ("/messages/unsolicited", 0),
        ]);
}

#[test]
fn dropped_messages() {
    let address = answering_server(|number, message, socket| {
        number % 10 == 5 || socket.send(message).is_ok()
    });
    run(&five_hundred(&format!("ws://{address}/")))
        .expect_end(4, "INVALID")
        .expect_reason("50 messages were lost")
        .expect(&[
            ("/messages/sent", 500),
            ("/messages/received", 450),
            ("/messages/lost", 50),
            ("/messages/in_flight", 0),
            ("/latency_ns/response/count", 450),
        ]);
}

#[test]
fn duplicated_messages() {
    for size in ["64", "4"] {
        let address = answering_server(|number, message, socket| {
            let is_repeated = number % 10 == 5;
            socket.send(message.clone()).is_ok() && (!is_repeated || socket.send(message).is_ok())
        });
        let url = format!("ws://{address}/");
        let mut arguments = five_hundred(&url);
        arguments.extend(["-s", size]);
        run(&arguments)
            .expect_end(4, "INVALID")
            .expect_reason("50 replies came twice")
            .expect(&[
                ("/messages/sent", 500),
                ("/messages/received", 500),
                ("/messages/duplicates", 50),
                ("/messages/unsolicited", 0),
            ]);
    }
}

#[test]
fn unsolicited_messages_and_swapped_kinds() {
    let address = answering_server(|number, message, socket| match number % 10 {
        5 => socket.send(Message::text("hello?")).is_ok() && socket.send(message).is_ok(),
        7 => {
            // The same bytes, but as text: the payload of this run is printable.
            let bytes = payload(&message);
            socket.send(Message::binary(bytes)).is_ok()
        }
        _ => socket.send(message).is_ok(),
    });
    let url = format!("ws://{address}/");
    let mut arguments = five_hundred(&url);
    arguments.push("--text");
    run(&arguments).expect_end(4, "INVALID").expect(&[
        ("/messages/sent", 500),
        ("/messages/received", 500),
        ("/messages/unsolicited", 50),
        ("/messages/corrupt", 50),
    ]);
}

#[test]
fn replies_out_of_order() {
    let address = serve_upgraded(|_, mut socket| {
        let mut held = None;
        echo(&mut socket, |number, message, socket| match number % 10 {
            5 => {
                held = Some(message);
                true
            }
            6 => {
                let Some(held) = held.take() else {
                    return false;
                };
                socket.send(message).is_ok() && socket.send(held).is_ok()
            }
            _ => socket.send(message).is_ok(),
        });
    });
    run(&five_hundred(&format!("ws://{address}/")))
        .expect_reason("50 replies came out of order")
        .expect(&[
            ("/messages/received", 500),
            ("/messages/reordered", 50),
            ("/messages/lost", 0),
            ("/messages/duplicates", 0),
        ]);
}

#[test]
fn a_server_that_stops_answering() {
    let address =
        answering_server(|number, message, socket| number > 100 || socket.send(message).is_ok());
    run(&five_hundred(&format!("ws://{address}/")))
        .expect_end(4, "INVALID")
        .expect_reason("400 messages on 1 connections were still unanswered")
        .expect(&[
            ("/messages/sent", 500),
            ("/messages/received", 100),
            ("/messages/in_flight", 400),
            ("/messages/lost", 0),
            ("/connections/stalled", 1),
            ("/connections/alive", 1),
        ]);
    // A closed loop sends one message more than was answered, and waits.
    let url = format!("ws://{address}/");
    let words = [
        "echo", &url, "-c", "2", "-d", "300ms", "-w", "0s", "--drain", "200ms",
    ];
    run(&words).expect_end(4, "INVALID").expect(&[
        ("/messages/sent", 202),
        ("/messages/received", 200),
        ("/messages/in_flight", 2),
        ("/connections/stalled", 2),
    ]);
}

#[test]
fn a_server_that_closes_in_mid_run() {
    let address = serve_upgraded(|number, mut socket| {
        echo(&mut socket, |message_number, message, socket| {
            if number == 0 && message_number == 20 {
                let frame = CloseFrame {
                    code: CloseCode::Error,
                    reason: "out of coffee".into(),
                };
                return socket.close(Some(frame)).is_ok();
            }
            socket.send(message).is_ok()
        });
    });
    let url = format!("ws://{address}/");
    let words = ["echo", &url, "-c", "2", "-d", "500ms", "-w", "0s"];
    let outcome = run(&words);
    let received = outcome.count("/messages/received");
    outcome
        .expect_end(4, "INVALID")
        .expect_reason("1 of 2 connections ended before the run did")
        .expect(&[
            ("/connections/upgraded", 2),
            ("/connections/alive", 1),
            ("/errors/closed_by_server", 1),
            ("/close_codes/1011", 1),
            ("/messages/lost", 1),
            ("/messages/sent", received + 1),
        ]);
}

#[test]
fn a_server_that_hangs_up_or_talks_nonsense() {
    for (is_nonsense, kinds) in [
        (false, ["ended_without_close", "connection_broken"]),
        (true, ["protocol_error"; 2]),
    ] {
        let address = answering_server(move |number, message, socket| {
            if number < 10 {
                return socket.send(message).is_ok();
            }
            if is_nonsense {
                // Reserved bits and an unknown opcode.
                return socket.get_mut().write_all(&[0xff; 64]).is_ok();
            }
            false
        });
        let url = format!("ws://{address}/");
        let outcome = run(&["echo", &url, "-c", "3", "-d", "10s", "-w", "0s"]);
        outcome.expect_end(4, "INVALID").expect(&[
            ("/connections/alive", 0),
            ("/messages/received", 27),
            ("/messages/lost", 3),
        ]);
        let errors: u64 = kinds
            .iter()
            .collect::<std::collections::BTreeSet<_>>()
            .into_iter()
            .filter_map(|kind| outcome.json["errors"][*kind].as_u64())
            .sum();
        assert_eq!(errors, 3, "{}", outcome.text);
        let measured_s = outcome.json["duration_s"].as_f64().expect("a number");
        assert!(
            measured_s < 5.0,
            "a run without connections ends: {measured_s} s"
        );
    }
}

#[test]
fn pings_are_answered_and_every_frame_has_its_own_masking_key() {
    let (sender, receiver) = std::sync::mpsc::channel();
    let address = serve_upgraded(move |_, mut socket| {
        for number in 0..20u8 {
            let _ = socket.send(Message::Ping(Bytes::from(vec![number; 3])));
        }
        for number in 0..20u8 {
            match socket.read() {
                Ok(Message::Pong(payload)) if payload[..] == [number; 3] => {}
                other => {
                    let _ = sender.send(Err(format!("{other:?} instead of pong {number}")));
                    return;
                }
            }
        }
        // From here on the raw frames: pongs have no more part in it.
        let mut keys = std::collections::HashSet::new();
        for _ in 0..100 {
            let _ = socket.send(Message::Ping(Bytes::new()));
            let mut frame = [0; 6];
            if socket.get_mut().read_exact(&mut frame).is_err() || frame[..2] != [0x8a, 0x80] {
                let _ = sender.send(Err(format!("not an empty masked pong: {frame:02x?}")));
                return;
            }
            keys.insert([frame[2], frame[3], frame[4], frame[5]]);
        }
        let _ = sender.send(Ok(keys.len()));
        echo(&mut socket, honest);
    });
    let url = format!("ws://{address}/");
    let outcome = run(&["idle", &url, "-c", "1", "-d", "1s"]);
    assert_eq!(receiver.try_recv(), Ok(Ok(100)), "100 frames, 100 keys");
    outcome
        .expect_end(0, "VALID")
        .expect(&[("/connections/pings_answered", 120)]);
}

#[test]
fn idle_connections_that_a_server_drops() {
    let address = serve_upgraded(|number, mut socket| {
        if number % 3 == 0 {
            // Holds the connection until the client has been seen to be idle: it answers a ping.
            let _ = socket.send(Message::Ping(Bytes::new()));
            let _ = socket.read();
            let frame = CloseFrame {
                code: CloseCode::Away,
                reason: "".into(),
            };
            let _ = socket.close(Some(frame));
        }
        echo(&mut socket, honest);
    });
    let url = format!("ws://{address}/");
    run(&["idle", &url, "-c", "9", "-d", "500ms"])
        .expect_end(4, "INVALID")
        .expect_reason("3 of 9 connections ended before the run did")
        .expect(&[
            ("/connections/upgraded", 9),
            ("/connections/alive", 6),
            ("/connections/pings_answered", 3),
            ("/errors/closed_by_server", 3),
            ("/close_codes/1001", 3),
        ]);
}

#[test]
fn several_threads_share_the_work() {
    let address = echo_server();
    let url = format!("ws://{address}/");
    let words = [
        "echo", &url, "-c", "7", "-t", "3", "-R", "700", "-d", "1s", "-w", "0s", "--spin",
    ];
    let outcome = run(&words);
    outcome.expect(&[
        ("/messages/sent", 700),
        ("/messages/received", 700),
        ("/connections/alive", 7),
        ("/connections/served", 7),
        ("/latency_ns/response/count", 700),
        ("/latency_ns/service/count", 700),
        ("/generator/late_ns/count", 700),
    ]);
    let backends = outcome.json["generator"]["backends"]
        .as_array()
        .map(Vec::len);
    assert_eq!(backends, Some(3), "{}", outcome.text);
}

#[test]
fn a_storm_is_counted_cycle_by_cycle() {
    let accepted = Arc::new(Mutex::new(0u64));
    let counter = Arc::clone(&accepted);
    let address = serve_upgraded(move |_, mut socket| {
        if let Ok(mut count) = counter.lock() {
            *count += 1;
        }
        echo(&mut socket, honest);
    });
    let url = format!("ws://{address}/");
    let words = [
        "storm", &url, "-c", "4", "-d", "500ms", "-w", "0s", "-R", "200",
    ];
    let outcome = run(&words);
    let cycles = outcome.count("/connections/asked");
    // 200 per second for half a second are planned; a machine that is busy with other things may
    // begin fewer, and the books must balance all the same.
    assert!((1..=100).contains(&cycles), "{}", outcome.text);
    assert_eq!(*accepted.lock().expect("not poisoned"), cycles);
    outcome.expect(&[
        ("/connections/upgraded", cycles),
        ("/connections/served", cycles),
        ("/messages/sent", cycles),
        ("/messages/received", cycles),
        ("/latency_ns/first_message/count", cycles),
        ("/latency_ns/connect/count", cycles),
    ]);
}

#[test]
fn an_interrupted_run_still_reports() {
    let (sender, receiver) = std::sync::mpsc::channel();
    let address = answering_server(move |number, message, socket| {
        if number == 50 {
            let _ = sender.send(());
        }
        socket.send(message).is_ok()
    });
    let url = format!("ws://{address}/");
    let running = start(&["echo", &url, "-c", "1", "-d", "1h", "-w", "0s"]);
    let waited = receiver.recv_timeout(std::time::Duration::from_secs(30));
    running.signal("INT");
    let outcome = running.finish();
    assert!(waited.is_ok(), "{}", outcome.text);
    assert_eq!(outcome.code, Some(130), "{}", outcome.text);
    assert_eq!(outcome.json["interrupted"], true);
    assert!(
        outcome.count("/messages/received") >= 50,
        "{}",
        outcome.text
    );
    outcome.expect(&[("/messages/lost", 0), ("/messages/in_flight", 0)]);
}
