//! `churn` against servers that are kind, refuse, close, vanish, or never answer: every count must
//! be exactly what the server did, and the report must say so.

use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::support::servers::{answer_raw, serve_upgraded, silent_server};
use crate::support::{Outcome, Running, echo, honest, run, serve, start, upgrade};
use tungstenite::Message;
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;

/// The two identities, and that of messages.
fn expect_sums(outcome: &Outcome) {
    for pointer in [
        "/churn/attempts_add_up",
        "/churn/connections_add_up",
        "/messages/adds_up",
    ] {
        let value = outcome.json.pointer(pointer);
        assert_eq!(
            value.and_then(|it| it.as_bool()),
            Some(true),
            "{pointer}\n{}",
            outcome.text
        );
    }
}

fn churn(address: std::net::SocketAddr, options: &str) -> Outcome {
    running(address, options).finish()
}

fn running(address: std::net::SocketAddr, options: &str) -> Running {
    let url = format!("ws://{address}");
    let mut words = vec!["churn", &url, "--quiet"];
    words.extend(options.split_whitespace());
    start(&words)
}

/// Answers the request with something other than 101.
fn refuse(stream: TcpStream, head: &str) {
    answer_raw(
        stream,
        &format!("HTTP/1.1 {head}\r\nContent-Length: 0\r\n\r\n"),
    );
}

/// What a server saw of one connection.
#[derive(Clone, Debug)]
struct Seen {
    number: usize,
    held: Duration,
    code: Option<CloseCode>,
}

/// Echoes, and notes how each connection ended.
fn noting() -> (std::net::SocketAddr, Arc<Mutex<Vec<Seen>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let notes = Arc::clone(&seen);
    let address = serve_upgraded(move |number, mut socket| {
        let begun = Instant::now();
        let mut code = None;
        while let Ok(message) = socket.read() {
            match message {
                Message::Close(frame) => {
                    code = frame.map(|frame| frame.code);
                    let _ = socket.flush();
                }
                data if data.is_binary() => {
                    let _ = socket.send(data);
                }
                _ => {}
            }
        }
        let held = begun.elapsed();
        let note = Seen { number, held, code };
        notes.lock().expect("no panic").push(note);
    });
    (address, seen)
}

#[test]
fn clients_leave_when_their_lifetime_is_over_and_come_back() {
    let (address, seen) = noting();
    let outcome = churn(address, "-c 10 --lifetime 300ms -w 0 -d 2s");
    expect_sums(&outcome);
    let opened = outcome.count("/churn/opened");
    let left = outcome.count("/churn/closed_by_us");
    outcome.expect(&[
        ("/churn/clients", 10),
        ("/churn/failed", 0),
        ("/churn/closed_by_server", 0),
        ("/churn/lost", 0),
        ("/churn/closings_begun", left),
        ("/churn/closings_completed", left),
        ("/connections/served", opened),
        ("/messages/received", opened),
    ]);
    // Ten clients of 0.3 s lives in 2 s: 60 and some, fewer on a busy host.
    assert!((30..=80).contains(&left), "{left} left\n{}", outcome.text);
    assert_eq!(outcome.count("/churn/close_ns/count"), left);
    let seen = seen.lock().expect("no panic").clone();
    for one in &seen {
        assert_eq!(one.code, Some(CloseCode::Normal), "{one:?}");
    }
    // The first ten had the rest of a life only, and the last ten the end of the run.
    let whole = seen
        .iter()
        .filter(|one| (10..opened as usize - 10).contains(&one.number));
    for one in whole {
        assert!(one.held >= Duration::from_millis(295), "{one:?}");
    }
}

#[test]
fn those_who_reset_or_end_their_stream_leave_without_a_close_frame() {
    for how in ["reset", "half"] {
        let (address, seen) = noting();
        let options = format!("-c 5 --lifetime uniform:200ms:300ms --disconnect {how} -w 0 -d 1s");
        let outcome = churn(address, &options);
        expect_sums(&outcome);
        let left = outcome.count("/churn/closed_by_us");
        assert!(left >= 5, "{how}: {left} left\n{}", outcome.text);
        outcome.expect(&[("/churn/closings_begun", 0), ("/churn/lost", 0)]);
        let seen = seen.lock().expect("no panic");
        let unannounced = seen.iter().filter(|one| one.code.is_none()).count();
        assert_eq!(unannounced as u64, left, "{how}");
    }
}

#[test]
fn a_server_that_asks_for_a_wait_is_given_it() {
    let arrivals = Arc::new(Mutex::new(Vec::new()));
    let notes = Arc::clone(&arrivals);
    let address = serve(move |number, stream| {
        notes.lock().expect("no panic").push(Instant::now());
        if (1..5).contains(&number) {
            refuse(stream, "503 Busy\r\nRetry-After: 1");
        } else if let Some(mut socket) = upgrade(stream) {
            echo(&mut socket, honest);
        }
    });
    let options = "-c 5 --lifetime forever --reconnect immediate -w 0 -d 3s";
    let outcome = churn(address, options);
    expect_sums(&outcome);
    outcome.expect(&[
        ("/churn/attempts", 9),
        ("/churn/opened", 5),
        ("/churn/failed", 4),
        ("/churn/retry_after", 4),
        ("/churn/recovered", 4),
        ("/churn/waiting", 0),
        ("/churn/alive", 5),
        ("/errors/upgrade_status_503", 4),
    ]);
    outcome.expect_reason("4 of 9 attempts to connect failed");
    let arrivals = arrivals.lock().expect("no panic");
    let waited = arrivals[5].duration_since(arrivals[4]);
    assert!(
        waited >= Duration::from_millis(990),
        "came back after {waited:?}"
    );
    // With the wait a client was without service for a second, without it for much less.
    assert!(outcome.count("/churn/recover_ns/p50") >= 990_000_000);
    let active = outcome.count("/churn/recover_active_ns/p50");
    assert!(active < outcome.count("/churn/recover_ns/p50") - 900_000_000);
}

#[test]
fn everybody_is_closed_once_and_served_again() {
    let address = serve_upgraded(|number, mut socket| {
        if number >= 10 {
            echo(&mut socket, honest);
            return;
        }
        echo(&mut socket, |message, data, socket| {
            if message == 1 {
                return socket.send(data).is_ok();
            }
            let frame = CloseFrame {
                code: CloseCode::Away,
                reason: "restart".into(),
            };
            socket.close(Some(frame)).is_ok()
        });
    });
    let options = "-c 10 --lifetime forever -r 10 --reconnect expo:100ms..1s -w 0 -d 3s";
    let outcome = churn(address, options);
    expect_sums(&outcome);
    outcome.expect(&[
        ("/churn/opened", 20),
        ("/churn/closed_by_server", 10),
        ("/churn/closed_by_us", 0),
        ("/churn/lost", 0),
        ("/churn/recovered", 10),
        ("/churn/alive", 10),
        ("/close_codes/1001", 10),
        ("/errors/closed_by_server", 10),
        ("/churn/recover_ns/count", 10),
    ]);
    assert!(outcome.count("/churn/lost_with_connection") >= 10);
    assert_eq!(
        outcome.count("/messages/lost"),
        outcome.count("/churn/lost_with_connection")
    );
    outcome.expect_reason("the server ended 10 of 20 connections (10 with a close frame)");
    assert_eq!(outcome.json["churn"]["recover_ns"]["count"], 10);
}

#[test]
fn a_herd_comes_back_through_refusals() {
    let address = serve(|number, stream| match number {
        0..20 => {
            let Some(mut socket) = upgrade(stream) else {
                return;
            };
            echo(&mut socket, |message, data, socket| {
                message == 1 && socket.send(data).is_ok()
            });
        }
        20..60 => drop(stream),
        _ => {
            if let Some(mut socket) = upgrade(stream) {
                echo(&mut socket, honest);
            }
        }
    });
    let options = "-c 20 --lifetime forever -r 10 --reconnect expo:20ms..400ms -w 0 -d 6s";
    let outcome = churn(address, options);
    expect_sums(&outcome);
    outcome.expect(&[
        ("/churn/attempts", 80),
        ("/churn/opened", 40),
        ("/churn/failed", 40),
        ("/churn/lost", 20),
        ("/churn/recovered", 20),
        ("/churn/recover_ns/count", 20),
        ("/churn/waiting", 0),
        ("/churn/alive", 20),
    ]);
}

#[test]
fn a_server_that_lets_nine_of_ten_in() {
    let (refused, let_in) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let counts = (Arc::clone(&refused), Arc::clone(&let_in));
    let address = serve(move |number, stream| {
        if number % 10 == 9 {
            counts.0.fetch_add(1, Ordering::SeqCst);
            refuse(stream, "500 No");
        } else if let Some(mut socket) = upgrade(stream) {
            counts.1.fetch_add(1, Ordering::SeqCst);
            echo(&mut socket, honest);
        }
    });
    let options = "-c 30 --lifetime exp:400ms --reconnect expo:10ms..50ms -t 2 -d 2s";
    let outcome = churn(address, options);
    expect_sums(&outcome);
    let failed = refused.load(Ordering::SeqCst);
    assert!(failed > 3, "{}", outcome.text);
    outcome.expect(&[
        ("/churn/in_progress", 0),
        ("/churn/failed", failed),
        ("/errors/upgrade_status_500", failed),
        ("/churn/opened", let_in.load(Ordering::SeqCst)),
        ("/connections/served", let_in.load(Ordering::SeqCst)),
    ]);
}

#[test]
fn a_server_that_never_upgrades_ends_the_run() {
    let outcome = churn(silent_server(), "-c 3 --connect-timeout 300ms -w 0 -d 1s");
    expect_sums(&outcome);
    outcome.expect_end(1, "INVALID").expect(&[
        ("/churn/attempts", 3),
        ("/churn/opened", 0),
        ("/churn/failed", 3),
        ("/errors/upgrade_timeout", 3),
        ("/connections/open", 3),
    ]);
}

#[test]
fn those_who_never_come_back_are_missed() {
    let address = serve_upgraded(|number, mut socket| {
        echo(&mut socket, |message, data, socket| {
            (number > 1 || message == 1) && socket.send(data).is_ok()
        });
    });
    let outcome = churn(
        address,
        "-c 4 --lifetime forever -r 10 --reconnect never -w 0 -d 1s",
    );
    expect_sums(&outcome);
    outcome.expect_end(4, "INVALID").expect(&[
        ("/churn/opened", 4),
        ("/churn/gone", 2),
        ("/churn/lost", 2),
        ("/churn/alive", 2),
    ]);
    outcome.expect_reason("2 of 4 clients had not come back at the end, 2 of them for good");
}

#[test]
fn a_server_that_pushes_is_held_and_not_spoken_to() {
    let address = serve_upgraded(|_, mut socket| {
        let _ = socket.send(Message::Binary(b"news".to_vec().into()));
        echo(&mut socket, |_, _, _| unreachable!("nobody was to send"));
    });
    let outcome = churn(address, "-c 4 --lifetime 200ms --hold-only -w 0 -d 1s");
    expect_sums(&outcome);
    outcome.expect(&[("/messages/sent", 0), ("/churn/failed", 0)]);
    assert_eq!(
        outcome.count("/messages/unsolicited"),
        outcome.count("/churn/opened")
    );
    let reasons = outcome.json["verdict_reasons"].to_string();
    assert!(
        !reasons.contains("arrived"),
        "they came to hear it: {reasons}"
    );
    assert!(outcome.count("/churn/closed_by_us") >= 4);
}

#[test]
fn a_signal_ends_the_run_with_a_partial_report() {
    let (is_there, arrivals) = std::sync::mpsc::channel();
    let is_there = Mutex::new(is_there);
    let address = serve(move |_, stream| {
        if let Some(mut socket) = upgrade(stream) {
            let _ = is_there.lock().expect("no panic").send(());
            echo(&mut socket, honest);
        }
    });
    let running = running(address, "-c 3 --lifetime 200ms -w 0 -d 30s");
    // The fourth connection is the first return: the load has begun.
    for _ in 0..4 {
        arrivals
            .recv_timeout(Duration::from_secs(20))
            .expect("a connection");
    }
    running.signal("INT");
    let outcome = running.finish();
    expect_sums(&outcome);
    assert_eq!(outcome.code, Some(130), "{}", outcome.text);
    outcome.expect_reason("interrupted");
    assert!(outcome.count("/churn/returns") >= 1);
}

#[test]
fn nonsense_is_refused_before_anything_is_opened() {
    let outcome = run(&["churn", "ws://127.0.0.1:1", "--lifetime", "1us"]);
    assert_eq!(outcome.code, Some(2));
    assert!(outcome.text.contains("storm"), "{}", outcome.text);
}
