//! `wss://` against servers that are not ours: every mode works through TLS, and everything that can
//! be wrong with it is counted, explained with a cure, and ends in bounded time.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use crate::support::servers::silent_server;
use crate::support::tls::{Authority, Identity, config, echo_secured, secure, serve_secured, text};
use crate::support::{Outcome, echo, honest, run, serve};
use rustls::version::{TLS12, TLS13};
use tungstenite::Message;

/// An echo server with a certificate.
fn echo_server(identity: &Identity) -> SocketAddr {
    echo_secured(config(identity, &[&TLS13, &TLS12]))
}

/// One short run of `echo` with further words.
fn short_echo(url: &str, words: &[&str]) -> Outcome {
    let mut arguments = vec!["echo", url, "-c", "3", "-d", "200ms", "-w", "50ms"];
    arguments.extend(words);
    run(&arguments)
}

fn expect_refusal(outcome: &Outcome, kind: &str, words: &[&str]) {
    outcome.expect_end(1, "INVALID").expect(&[
        ("/connections/asked", 3),
        ("/connections/open", 3),
        ("/connections/upgraded", 0),
        (&format!("/errors/{kind}"), 3),
        ("/messages/sent", 0),
    ]);
    let example = outcome.json["error_examples"][kind].to_string();
    for word in words {
        assert!(example.contains(word), "{word:?} in {example}");
    }
}

#[test]
fn a_trusted_server_gets_a_clean_report() {
    let authority = Authority::new();
    let address = echo_server(&authority.issue("127.0.0.1"));
    let url = format!("wss://{address}/");
    for backend in ["uring", "epoll"] {
        for size in ["0", "64", "300", "65536", "200000"] {
            let words = [
                "--tls-ca",
                authority.file(),
                "--backend",
                backend,
                "-s",
                size,
                "--in-flight",
                "3",
            ];
            let outcome = short_echo(&url, &words);
            assert_eq!(outcome.code, Some(0), "{backend} {size}: {}", outcome.text);
            let sent = outcome.count("/messages/sent");
            assert!(sent >= 9, "every connection sends: {sent}");
            outcome.expect(&[
                ("/messages/received", sent),
                ("/messages/lost", 0),
                ("/messages/in_flight", 0),
                ("/messages/corrupt", 0),
                ("/connections/alive", 3),
                ("/latency_ns/tls/count", 3),
                ("/latency_ns/upgrade/count", 3),
            ]);
            assert_eq!(
                outcome.json["errors"].as_object().map(|map| map.len()),
                Some(0)
            );
            let notes = outcome.json["notes"].to_string();
            assert!(notes.contains("TLS 1.3"), "{notes}");
            assert!(outcome.text.contains("tls "), "{}", outcome.text);
        }
    }
}

#[test]
fn trust_and_names() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let by_name = format!(
        "wss://{}/",
        echo_server(&authority.issue("chat.example.org"))
    );
    let ca = authority.file();
    // Nobody vouches for it.
    expect_refusal(
        &short_echo(&by_name, &[]),
        "tls_failed",
        &["--tls-ca", "--insecure"],
    );
    expect_refusal(
        &short_echo(&by_name, &["--tls-ca", stranger.file()]),
        "tls_failed",
        &["--tls-ca", "127.0.0.1"],
    );
    // The right authority, but for another name.
    expect_refusal(
        &short_echo(&by_name, &["--tls-ca", ca]),
        "tls_failed",
        &["--sni", "chat.example.org"],
    );
    for words in [
        &["--tls-ca", ca, "--sni", "chat.example.org"][..],
        &["--insecure"],
    ] {
        let outcome = short_echo(&by_name, words);
        assert_eq!(outcome.code, Some(0), "{words:?}: {}", outcome.text);
        let notes = outcome.json["notes"].to_string();
        assert_eq!(notes.contains("not verified"), words.len() == 1, "{notes}");
    }
}

#[test]
fn a_server_that_demands_a_certificate() {
    let authority = Authority::new();
    let server = authority.demanding(&authority.issue("127.0.0.1"));
    let address = echo_secured(server);
    let url = format!("wss://{address}/");
    let ca = authority.file();
    let outcome = short_echo(&url, &["--tls-ca", ca]);
    outcome
        .expect_end(1, "INVALID")
        .expect(&[("/connections/upgraded", 0)]);
    let examples = outcome.json["error_examples"].to_string();
    assert!(examples.contains("--cert"), "{examples}");
    let client = authority.issue("client");
    let words = [
        "--tls-ca",
        ca,
        "--cert",
        text(&client.files.0),
        "--key",
        text(&client.files.1),
    ];
    let outcome = short_echo(&url, &words);
    assert_eq!(outcome.code, Some(0), "{}", outcome.text);
    // A certificate with somebody else's key is refused before the run.
    let other = authority.issue("other");
    let words = [
        "--cert",
        text(&client.files.0),
        "--key",
        text(&other.files.1),
    ];
    let outcome = short_echo(&url, &words);
    assert_eq!(outcome.code, Some(2), "{}", outcome.text);
    assert!(outcome.text.contains("--key"), "{}", outcome.text);
}

#[test]
fn tls_1_2_alone() {
    let authority = Authority::new();
    let server = config(&authority.issue("127.0.0.1"), &[&TLS12]);
    let address = echo_secured(server);
    let url = format!("wss://{address}/");
    let outcome = short_echo(&url, &["--tls-ca", authority.file(), "-s", "20000"]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.text);
    let notes = outcome.json["notes"].to_string();
    assert!(notes.contains("TLS 1.2"), "{notes}");
}

#[test]
fn plain_where_tls_was_expected_and_the_other_way_round() {
    // A WebSocket server that gets a TLS handshake answers 400, or ends the connection.
    for answer in ["HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n", ""] {
        let address = serve(move |_, mut stream| {
            let mut received = [0; 512];
            let _ = stream.read(&mut received);
            let _ = stream.write_all(answer.as_bytes());
        });
        let outcome = short_echo(&format!("wss://{address}/"), &[]);
        expect_refusal(&outcome, "tls_failed", &["ws://"]);
    }
    let authority = Authority::new();
    let address = echo_server(&authority.issue("127.0.0.1"));
    let outcome = short_echo(&format!("ws://{address}/"), &[]);
    outcome
        .expect_end(1, "INVALID")
        .expect(&[("/connections/upgraded", 0)]);
    let examples = outcome.json["error_examples"].to_string();
    assert!(examples.contains("wss://"), "{examples}");
}

#[test]
fn a_tls_handshake_that_is_never_answered() {
    let url = format!("wss://{}/", silent_server());
    for command in ["echo", "idle", "storm"] {
        let words = [
            command,
            &url,
            "-c",
            "3",
            "-d",
            "300ms",
            "--connect-timeout",
            "200ms",
        ];
        let outcome = run(&words);
        outcome
            .expect_end(1, "INVALID")
            .expect(&[("/connections/upgraded", 0)]);
        assert!(
            outcome.count("/errors/tls_timeout") >= 3,
            "{}",
            outcome.text
        );
    }
}

#[test]
fn a_handshake_that_is_cut_off_or_comes_to_a_halt() {
    let authority = Authority::new();
    let server = Arc::new(config(&authority.issue("127.0.0.1"), &[&TLS13]));
    for (is_held, kind, word) in [
        (false, "tls_failed", "during the TLS handshake"),
        (true, "tls_timeout", "within 300 ms"),
    ] {
        let server = Arc::clone(&server);
        let address = serve(move |_, mut stream| {
            // The first flight of the server, of which half is sent.
            let session = rustls::ServerConnection::new(Arc::clone(&server));
            let mut session = session.expect("a session");
            while !session.wants_write() {
                if !matches!(session.read_tls(&mut stream), Ok(1..)) {
                    return;
                }
                let _ = session.process_new_packets();
            }
            let mut flight = Vec::new();
            let _ = session.write_tls(&mut flight);
            let _ = stream.write_all(&flight[..flight.len() / 2]);
            if is_held {
                // Ends when the client gives up.
                let _ = stream.read_to_end(&mut Vec::new());
            }
        });
        let words = ["--tls-ca", authority.file(), "--connect-timeout", "300ms"];
        let outcome = short_echo(&format!("wss://{address}/"), &words);
        expect_refusal(&outcome, kind, &[word]);
    }
}

#[test]
fn both_layers_are_closed_in_good_order() {
    let authority = Authority::new();
    let server = config(&authority.issue("127.0.0.1"), &[&TLS13, &TLS12]);
    let (sender, receiver) = std::sync::mpsc::channel();
    let address = serve_secured(server, move |_, mut socket| {
        echo(&mut socket, honest);
        // Behind the closing handshake of WebSocket comes that of TLS: the end of the stream is
        // then an end, and not an error.
        let _ = sender.send(matches!(socket.get_mut().read(&mut [0; 16]), Ok(0)));
    });
    let url = format!("wss://{address}/");
    let outcome = short_echo(&url, &["--tls-ca", authority.file()]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.text);
    let ends: Vec<bool> = (0..3)
        .map(|_| receiver.recv_timeout(std::time::Duration::from_secs(30)))
        .map(|end| end.expect("the server saw the end"))
        .collect();
    assert_eq!(ends, [true; 3], "close_notify was missing");
}

#[test]
fn a_stream_that_is_cut_off_or_closed_without_a_close_frame() {
    let authority = Authority::new();
    let identity = authority.issue("127.0.0.1");
    for is_announced in [false, true] {
        let server = config(&identity, &[&TLS13]);
        let address = serve_secured(server, move |_, mut socket| {
            for _ in 0..10 {
                let Ok(message) = socket.read() else { return };
                let _ = socket.send(message);
            }
            let _ = socket.read();
            if is_announced {
                let stream = socket.get_mut();
                stream.conn.send_close_notify();
                let _ = stream.flush();
            }
        });
        let url = format!("wss://{address}/");
        let ca = authority.file();
        let words = [
            "echo", &url, "-c", "3", "-d", "10s", "-w", "0s", "--tls-ca", ca,
        ];
        let outcome = run(&words);
        outcome.expect_end(4, "INVALID").expect(&[
            ("/connections/alive", 0),
            ("/messages/received", 30),
            ("/messages/lost", 3),
        ]);
        let ends = ["ended_without_close", "connection_broken"];
        let counted: u64 = ends
            .iter()
            .filter_map(|kind| outcome.json["errors"][*kind].as_u64())
            .sum();
        assert_eq!(counted, 3, "{}", outcome.text);
        let examples = outcome.json["error_examples"].to_string();
        assert_eq!(
            examples.contains("cut off"),
            !is_announced,
            "{is_announced}: {examples}"
        );
    }
}

#[test]
fn records_that_are_damaged_in_mid_run() {
    let authority = Authority::new();
    let server = Arc::new(config(&authority.issue("127.0.0.1"), &[&TLS13]));
    let address = serve(move |_, stream| {
        let Some(stream) = secure(&server, stream) else {
            return;
        };
        let Ok(mut socket) = tungstenite::accept(stream) else {
            return;
        };
        for _ in 0..5 {
            let Ok(message) = socket.read() else { return };
            let _ = socket.send(message);
        }
        // Behind TLS's back: a record of application data that nobody encrypted.
        let record = [0x17, 0x03, 0x03, 0x00, 0x20];
        let socket = socket.get_mut();
        let _ = socket.sock.write_all(&record);
        let _ = socket.sock.write_all(&[0x55; 32]);
        let _ = socket.sock.read(&mut [0; 512]);
    });
    let url = format!("wss://{address}/");
    let ca = authority.file();
    let words = [
        "echo", &url, "-c", "2", "-d", "10s", "-w", "0s", "--tls-ca", ca,
    ];
    run(&words).expect_end(4, "INVALID").expect(&[
        ("/connections/alive", 0),
        ("/messages/received", 10),
        ("/errors/tls_failed", 2),
    ]);
}

#[test]
fn compression_over_tls() {
    let authority = Authority::new();
    // tungstenite knows no extension: it declines, which must be just as good.
    let address = echo_server(&authority.issue("127.0.0.1"));
    let url = format!("wss://{address}/");
    let words = ["--tls-ca", authority.file(), "--deflate", "-s", "4096"];
    let outcome = short_echo(&url, &words);
    assert_eq!(outcome.code, Some(0), "{}", outcome.text);
}

#[test]
fn a_storm_over_tls_is_counted_cycle_by_cycle() {
    let authority = Authority::new();
    let address = echo_server(&authority.issue("127.0.0.1"));
    let url = format!("wss://{address}/");
    let ca = authority.file();
    let words = [
        "storm", &url, "-c", "4", "-d", "500ms", "-w", "0s", "-R", "60", "--tls-ca", ca,
    ];
    let outcome = run(&words);
    let cycles = outcome.count("/connections/asked");
    assert!((1..=30).contains(&cycles), "{}", outcome.text);
    outcome.expect(&[
        ("/connections/upgraded", cycles),
        ("/connections/served", cycles),
        ("/messages/received", cycles),
        ("/latency_ns/tls/count", cycles),
        ("/latency_ns/first_message/count", cycles),
    ]);
}

#[test]
#[expect(clippy::result_large_err, reason = "tungstenite's type of a callback")]
fn a_fanout_over_tls_reaches_everybody() {
    let authority = Authority::new();
    let hub: Arc<Mutex<Vec<std::sync::mpsc::Sender<Message>>>> = Arc::default();
    let server = Arc::new(config(&authority.issue("127.0.0.1"), &[&TLS13]));
    let address = serve(move |_, stream| {
        let Some(stream) = secure(&server, stream) else {
            return;
        };
        let mut query = String::new();
        let callback = |request: &tungstenite::handshake::server::Request, response| {
            query = request.uri().query().unwrap_or_default().to_owned();
            Ok(response)
        };
        let Ok(mut socket) = tungstenite::accept_hdr(stream, callback) else {
            return;
        };
        if query.contains("publish") {
            while let Ok(message) = socket.read() {
                if message.is_binary() || message.is_text() {
                    let mut hub = hub.lock().expect("not poisoned");
                    hub.retain(|subscriber| subscriber.send(message.clone()).is_ok());
                } else if message.is_close() {
                    let _ = socket.flush();
                }
            }
        } else {
            let (sender, receiver) = std::sync::mpsc::channel();
            hub.lock().expect("not poisoned").push(sender);
            while let Ok(message) = receiver.recv() {
                if socket.send(message).is_err() {
                    return;
                }
            }
        }
    });
    let url = format!("wss://{address}/");
    let ca = authority.file();
    let words = [
        "fanout",
        &url,
        "--dialect",
        "raw",
        "-c",
        "5",
        "-R",
        "50",
        "-d",
        "1s",
        "-w",
        "0s",
        "--tls-ca",
        ca,
    ];
    let outcome = run(&words);
    assert!(
        outcome.count("/fanout/ledger/delivered") >= 5,
        "{}",
        outcome.text
    );
    outcome.expect(&[
        ("/connections/upgraded", 6),
        ("/messages/lost", 0),
        ("/latency_ns/tls/count", 6),
    ]);
    assert_eq!(
        outcome.json["messages"]["adds_up"], true,
        "{}",
        outcome.text
    );
}

#[test]
fn pings_over_tls_have_their_pongs() {
    let authority = Authority::new();
    let address = echo_server(&authority.issue("127.0.0.1"));
    let url = format!("wss://{address}/");
    let ca = authority.file();
    let words = [
        "idle",
        &url,
        "-c",
        "4",
        "-d",
        "1s",
        "--ping-interval",
        "250ms",
        "--tls-ca",
        ca,
    ];
    let outcome = run(&words);
    // Four rounds over four connections. On a busy machine a pong may be late; none may be lost.
    let count = |name: &str| outcome.count(&format!("/connections/{name}"));
    assert_eq!(count("pings_sent"), 16, "{}", outcome.text);
    assert_eq!(count("pongs") + count("pongs_missing"), 16);
    assert!(count("pongs") >= 4, "{}", outcome.text);
    outcome.expect(&[
        ("/latency_ns/ping/count", count("pongs")),
        ("/connections/alive", 4),
    ]);
}
