//! What echo sends and how it recognises replies, against servers that know nothing of it.

use std::collections::BTreeSet;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};

use crate::support::files::File;
use crate::support::frames::{Frame, echo_frames};
use crate::support::servers::{answering_server, serve_upgraded};
use crate::support::{Outcome, echo, honest, run, serve};
use tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tungstenite::{Message, accept_hdr};

/// A closed loop of 200 messages over three connections, with further arguments.
fn counted(url: &str, further: &[&str]) -> Outcome {
    counted_over("3", url, further)
}

fn counted_over(connections: &str, url: &str, further: &[&str]) -> Outcome {
    let mut arguments = vec!["echo", url, "-c", connections, "-n", "200"];
    arguments.extend_from_slice(further);
    run(&arguments)
}

fn has_note(outcome: &Outcome, phrase: &str) -> bool {
    outcome.json["notes"].to_string().contains(phrase)
}

#[test]
fn templates_differ_and_are_matched_in_order_of_sending() {
    let (sender, messages) = mpsc::channel();
    let address = answering_server(move |number, message, socket| {
        let _ = sender.send(message.to_string());
        honest(number, message, socket)
    });
    let text = r#"{"op":"echo","id":{seq},"from":{conn},"at":{now_ms},"salt":"{rand:12}"}"#;
    let outcome = counted(&format!("ws://{address}"), &["-m", text, "--template"]);
    outcome.expect(&[
        ("/messages/sent", 200),
        ("/messages/received", 200),
        ("/messages/corrupt", 0),
        ("/messages/unsolicited", 0),
    ]);
    assert!(has_note(&outcome, "order of sending"), "{}", outcome.text);
    assert_eq!(outcome.json["config"]["verify"], "hash");
    assert_eq!(outcome.json["config"]["message_kind"], "text");
    let messages: BTreeSet<String> = messages.try_iter().collect();
    assert_eq!(messages.len(), 200, "all messages are different");
    for message in &messages {
        let json: serde_json::Value = serde_json::from_str(message).expect(message);
        assert_eq!(json["op"], "echo");
        assert!(
            json["from"].as_u64().is_some_and(|number| number < 3),
            "{message}"
        );
        // Unix time: later than 2025.
        assert!(
            json["at"].as_u64().is_some_and(|at| at > 1_735_689_600_000),
            "{message}"
        );
    }
}

#[test]
fn a_reply_that_is_no_echo_is_corrupt_unless_nothing_is_checked() {
    let address = answering_server(|_, message, socket| {
        let text = message.to_string().to_uppercase();
        socket.send(Message::text(text)).is_ok()
    });
    let url = format!("ws://{address}");
    let outcome = counted(&url, &["-m", "hello {world}"]);
    outcome
        .expect(&[("/messages/received", 200), ("/messages/corrupt", 200)])
        .expect_end(4, "INVALID");
    counted(&url, &["-m", "hello {world}", "--verify", "len"])
        .expect(&[("/messages/received", 200), ("/messages/corrupt", 0)]);
    let outcome = counted(&url, &["-m", "hello {world}", "--verify", "none"]);
    outcome.expect(&[("/messages/received", 200), ("/messages/corrupt", 0)]);
    assert!(has_note(&outcome, "not checked byte by byte"));
}

#[test]
fn messages_of_many_sizes_are_checked_in_full() {
    let (sender, sizes) = mpsc::channel();
    let address = answering_server(move |number, message, socket| {
        let _ = sender.send(message.len());
        honest(number, message, socket)
    });
    let url = format!("ws://{address}");
    for (size, least, most) in [
        ("uniform:0:300", 0, 300),
        ("lognormal:200:0.7:2000", 1, 2_000),
        ("pareto:100:1.2:5k", 100, 5_000),
    ] {
        let outcome = counted(&url, &["-s", size, "--text"]);
        outcome.expect(&[
            ("/messages/received", 200),
            ("/messages/corrupt", 0),
            ("/messages/unsolicited", 0),
        ]);
        assert!(!has_note(&outcome, "order of sending"), "{}", outcome.text);
        let seen: BTreeSet<usize> = sizes.try_iter().collect();
        assert!(seen.len() > 50, "{size}: {seen:?}");
        assert!(
            seen.iter().all(|size| (least..=most).contains(size)),
            "{size}: {seen:?}"
        );
    }
}

#[test]
fn pushes_beside_the_replies_are_left_out() {
    // Greets, wants to hear a token first, answers that, and sends a heartbeat with every reply.
    let address = serve_upgraded(|_, mut socket| {
        let Ok(Message::Text(first)) = socket.read() else {
            return;
        };
        let is_right =
            first.as_str() == "{\"auth\":\"gamma-0\"}" || first.starts_with("{\"auth\":\"delta");
        if !is_right || socket.send(Message::text("welcome")).is_err() {
            return;
        }
        echo(&mut socket, |number, message, socket| {
            socket.send(Message::text("heartbeat")).is_ok() && honest(number, message, socket)
        });
    });
    let tokens = File::written("first.txt", "gamma\ndelta\n");
    let url = format!("ws://{address}");
    let first = [
        "--token-file",
        tokens.path(),
        "--first-message",
        "{\"auth\":\"{token}-{conn}\"}",
        "-c",
        "2",
    ];
    let arguments = [&["echo", url.as_str(), "-n", "100", "--text"][..], &first].concat();
    let ignoring = [&arguments[..], &["--ignore", "heartbeat"]].concat();
    let outcome = run(&ignoring);
    outcome.expect(&[
        ("/messages/received", 100),
        ("/messages/unsolicited", 0),
        ("/messages/ignored", 102),
        ("/connections/served", 2),
    ]);
    assert!(has_note(&outcome, "were no replies"), "{}", outcome.text);
    // Without the filter the heartbeats are what they are.
    let outcome = run(&arguments);
    outcome
        .expect(&[("/messages/received", 100), ("/messages/unsolicited", 100)])
        .expect_end(4, "INVALID");
}

#[test]
fn every_cycle_of_a_storm_says_its_first_message_first() {
    let (sender, firsts) = mpsc::channel();
    let address = serve_upgraded(move |_, mut socket| {
        let Ok(first) = socket.read() else { return };
        let _ = sender.send(first.to_string());
        echo(&mut socket, honest);
    });
    let url = format!("ws://{address}");
    let outcome = run(&[
        "storm",
        &url,
        "-c",
        "2",
        "-d",
        "500ms",
        "-w",
        "0",
        "--first-message",
        "hello {conn}",
    ]);
    let cycles = outcome.count("/messages/received");
    assert!(cycles > 0, "{}", outcome.text);
    outcome.expect(&[("/messages/corrupt", 0), ("/messages/unsolicited", 0)]);
    let firsts: BTreeSet<String> = firsts.try_iter().collect();
    assert!(
        firsts.len() as u64 >= cycles,
        "every cycle is a connection of its own"
    );
    assert!(
        firsts.iter().all(|first| first.starts_with("hello ")),
        "{firsts:?}"
    );
}

/// Runs against a server that keeps all data frames.
fn frames_of(connections: &str, further: &[&str]) -> (Outcome, Vec<Frame>) {
    let (sender, frames) = mpsc::channel();
    let address = serve(move |_, stream| {
        echo_frames(stream, |frame| {
            let _ = sender.send(frame.clone());
        });
    });
    let outcome = counted_over(connections, &format!("ws://{address}"), further);
    (outcome, frames.try_iter().collect())
}

#[test]
fn messages_travel_in_the_fragments_asked_for() {
    // One connection: frames of several would come in any order.
    let (outcome, frames) = frames_of("1", &["-s", "1000", "--fragment", "300"]);
    outcome.expect(&[("/messages/received", 200), ("/messages/corrupt", 0)]);
    assert_eq!(frames.len(), 800);
    for message in frames.chunks(4) {
        let lengths: Vec<usize> = message.iter().map(|frame| frame.payload.len()).collect();
        assert_eq!(lengths, [300, 300, 300, 100]);
        let opcodes: Vec<u8> = message.iter().map(|frame| frame.opcode).collect();
        assert_eq!(opcodes, [2, 0, 0, 0]);
        let finals: Vec<bool> = message.iter().map(|frame| frame.is_final).collect();
        assert_eq!(finals, [false, false, false, true]);
    }
    let (outcome, frames) = frames_of("3", &["-s", "300", "--fragment", "300"]);
    outcome.expect(&[("/messages/received", 200)]);
    assert!(frames.len() == 200 && frames.iter().all(|frame| frame.is_final));
}

#[test]
fn masking_keys_are_those_asked_for_and_the_report_says_so() {
    let keys = |further: &[&str]| {
        let (outcome, frames) = frames_of("3", further);
        outcome.expect(&[("/messages/received", 200), ("/messages/corrupt", 0)]);
        let keys: BTreeSet<[u8; 4]> = frames.iter().map(|frame| frame.masking_key).collect();
        (outcome, keys)
    };
    let (outcome, fresh) = keys(&[]);
    assert!(fresh.len() > 190, "{} keys", fresh.len());
    assert!(!has_note(&outcome, "masking key"), "{}", outcome.text);
    let (outcome, fixed) = keys(&["--mask", "fixed"]);
    assert!(fixed.len() == 1 && !fixed.contains(&[0; 4]), "{fixed:?}");
    assert!(has_note(&outcome, "same masking key"), "{}", outcome.text);
    let (outcome, zero) = keys(&["--mask", "zero"]);
    assert_eq!(zero, BTreeSet::from([[0; 4]]));
    assert!(
        has_note(&outcome, "masking key was zero"),
        "{}",
        outcome.text
    );
}

#[test]
fn tokens_and_numbers_are_in_the_opening_handshake() {
    let seen: Arc<Mutex<BTreeSet<String>>> = Arc::default();
    let kept = Arc::clone(&seen);
    let address = serve(move |_, stream| {
        let kept = Arc::clone(&kept);
        #[expect(clippy::result_large_err, reason = "the type is tungstenite's")]
        let note = move |request: &Request, response: Response| {
            let header = |name: &str| {
                let value = request
                    .headers()
                    .get(name)
                    .and_then(|value| value.to_str().ok());
                value.unwrap_or_default().to_owned()
            };
            let line = [
                request.uri().to_string(),
                header("Authorization"),
                header("X-Client"),
                header("Sec-WebSocket-Extensions"),
            ];
            kept.lock()
                .expect("no test panics with it")
                .insert(line.join(" | "));
            Ok::<Response, ErrorResponse>(response)
        };
        let Ok(mut socket) = accept_hdr(stream, note) else {
            return;
        };
        echo(&mut socket, honest);
    });
    let tokens = File::written("handshake.txt", "alpha\nbeta\n");
    let outcome = counted(
        &format!("ws://{address}/feed?access={{token}}"),
        &[
            "--token-file",
            tokens.path(),
            "-H",
            "Authorization: Bearer {token}",
            "-H",
            "X-Client: client-{conn} {\"a\":1}",
            "--deflate=server_no_context_takeover,client_max_window_bits=11",
        ],
    );
    outcome.expect(&[
        ("/messages/received", 200),
        ("/connections/deflate_agreed/none", 3),
    ]);
    let offer = "permessage-deflate; server_no_context_takeover; client_max_window_bits=11";
    let expected: BTreeSet<String> = [("alpha", 0), ("beta", 1), ("alpha", 2)]
        .map(|(token, number)| {
            format!("/feed?access={token} | Bearer {token} | client-{number} {{\"a\":1}} | {offer}")
        })
        .into();
    assert_eq!(*seen.lock().expect("no test panics with it"), expected);
}

#[test]
fn the_content_of_a_file_is_sent_as_it_is() {
    let (sender, messages) = mpsc::channel();
    let address = answering_server(move |number, message, socket| {
        let _ = sender.send(message.clone());
        honest(number, message, socket)
    });
    let content = [0xff, b'{', b's', b'e', b'q', b'}', 0];
    let file = File::written("content.bin", content);
    let argument = format!("@{}", file.path());
    let url = format!("ws://{address}");
    counted(&url, &["-m", &argument])
        .expect(&[("/messages/received", 200), ("/messages/corrupt", 0)]);
    assert_eq!(messages.recv(), Ok(Message::binary(content.to_vec())));
    let refused = counted(&url, &["-m", &argument, "--text"]);
    assert_eq!(refused.code, Some(2));
    assert!(refused.text.contains("not UTF-8"), "{}", refused.text);
}
