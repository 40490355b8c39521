//! Servers that are not there, and opening handshakes that they refuse, garble, cut off or drag out:
//! for every command each is counted under its name, explained with what the server said and with a
//! cure, and ends in time.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::Duration;

use crate::support::servers::{answer_raw, read_request, serve_upgraded, silent_server};
use crate::support::{Outcome, echo, honest, run, serve, upgrade};

/// Every command that opens connections, as it is called here.
const COMMANDS: [&str; 5] = [
    "echo URL -c 3 -d 300ms -w 0s",
    "idle URL -c 3 -d 300ms",
    "storm URL -c 3 -d 300ms -w 0s",
    "fanout URL --dialect raw -c 3 -R 10 -d 300ms -w 0s",
    "churn URL -c 3 -d 300ms -w 0s --reconnect never",
];

fn start(command: &str, address: SocketAddr) -> Outcome {
    let url = format!("ws://{address}/");
    let line = command.replace("URL", &url);
    let mut words: Vec<&str> = line.split(' ').collect();
    words.extend(["--connect-timeout", "400ms"]);
    run(&words)
}

/// Tells the client that nothing more comes, and waits until it has gone: a socket that is dropped
/// with unread bytes would reset the connection, and what was sent might not arrive.
fn hang_up(mut stream: TcpStream) {
    let _ = stream.shutdown(Shutdown::Write);
    while let Ok(1..) = stream.read(&mut [0; 1024]) {}
}

/// Requires that all attempts of all commands ended under `kind`, with an explanation that contains
/// all `words`.
fn expect_everywhere(kind: &str, words: &[&str], script: fn(TcpStream)) {
    let address = serve(move |_, stream| script(stream));
    for command in COMMANDS {
        let outcome = start(command, address);
        assert_eq!(outcome.code, Some(1), "{command}: {}", outcome.text);
        assert_eq!(outcome.json["verdict"], "INVALID", "{command}");
        let asked = outcome.count("/connections/asked");
        assert!(asked >= 3, "{command}: {asked}");
        assert_eq!(
            outcome.count(&format!("/errors/{kind}")),
            asked,
            "{command}: {}",
            outcome.text
        );
        outcome.expect(&[
            ("/connections/open", asked),
            ("/connections/upgraded", 0),
            ("/messages/received", 0),
        ]);
        let example = outcome.json["error_examples"][kind].to_string();
        for word in words {
            assert!(example.contains(word), "{command}: {word:?} in {example}");
        }
        let shown = format!("error      {kind}");
        assert!(outcome.text.contains(&shown), "{command}: {}", outcome.text);
    }
}

#[test]
fn redirects() {
    expect_everywhere(
        "upgrade_status_302",
        &["wss://example.org/chat", "not followed"],
        |mut stream| {
            if read_request(&mut stream) {
                let head = "HTTP/1.1 302 Found\r\nLocation: https://example.org/chat\r\n\
                            Content-Length: 0\r\n\r\n";
                let _ = stream.write_all(head.as_bytes());
                hang_up(stream);
            }
        },
    );
}

#[test]
fn refusals_with_a_body_of_their_own() {
    expect_everywhere(
        "upgrade_status_401",
        &["who are you?", "Authorization", "Bearer"],
        |mut stream| {
            if read_request(&mut stream) {
                let head = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer\r\n\
                            Content-Length: 12\r\n\r\n";
                let _ = stream.write_all(head.as_bytes());
                let _ = stream.flush();
                // The body comes in a segment of its own, as proxies like to send it.
                let _ = stream.write_all(b"who are you?");
                hang_up(stream);
            }
        },
    );
}

#[test]
fn full_servers_that_say_when_to_come_back() {
    expect_everywhere(
        "upgrade_status_503",
        &["Retry-After: 7", "out of seats", "--connect-rate"],
        |mut stream| {
            if read_request(&mut stream) {
                // A body without a length, cut off by the end of the connection.
                let response = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 7\r\n\r\n\
                                <p>out of seats</p>";
                let _ = stream.write_all(response.as_bytes());
                hang_up(stream);
            }
        },
    );
}

#[test]
fn pages_instead_of_sockets() {
    expect_everywhere(
        "upgrade_status_200",
        &["no WebSocket is served at this path"],
        |mut stream| {
            if read_request(&mut stream) {
                let response = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
                let _ = stream.write_all(response.as_bytes());
                hang_up(stream);
            }
        },
    );
}

#[test]
fn other_protocols() {
    expect_everywhere("upgrade_invalid", &["SSH-2.0"], |mut stream| {
        let _ = stream.write_all(b"SSH-2.0-OpenSSH_9.9\r\n\r\n");
        hang_up(stream);
    });
    expect_everywhere("upgrade_invalid", &["ff ff"], |mut stream| {
        let _ = stream.write_all(&[0xff; 3_000]);
        let _ = stream.write_all(b"\r\n\r\n");
        hang_up(stream);
    });
    // Without an end of a line there is nothing to judge.
    expect_everywhere("upgrade_closed", &["ff ff"], |mut stream| {
        let _ = stream.write_all(&[0xff; 3_000]);
        hang_up(stream);
    });
}

#[test]
fn heads_without_end() {
    expect_everywhere("upgrade_invalid", &["large"], |mut stream| {
        let _ = stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\n");
        while stream
            .write_all(b"X-Filler: aaaaaaaaaaaaaaaaaaaaaaa\r\n")
            .is_ok()
        {}
    });
}

#[test]
fn hanging_up_in_the_middle() {
    expect_everywhere(
        "upgrade_closed",
        &["closed the connection"],
        |mut stream| {
            if read_request(&mut stream) {
                hang_up(stream);
            }
        },
    );
    expect_everywhere("upgrade_closed", &["HTTP/1.1 101 Swi"], |mut stream| {
        if read_request(&mut stream) {
            let _ = stream.write_all(b"HTTP/1.1 101 Swi");
            hang_up(stream);
        }
    });
}

#[test]
fn answers_that_never_come_to_an_end() {
    expect_everywhere(
        "upgrade_timeout",
        &["nothing came", "400 ms"],
        |mut stream| {
            // Ends when the client gives up.
            let _ = stream.read_to_end(&mut Vec::new());
        },
    );
    expect_everywhere("upgrade_timeout", &["bytes of it came"], |mut stream| {
        if read_request(&mut stream) {
            let _ = stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: webso");
            let _ = stream.read_to_end(&mut Vec::new());
        }
    });
}

#[test]
fn a_response_that_comes_byte_by_byte_is_a_response() {
    let address = serve(|_, stream| {
        let Ok(slow) = stream.try_clone() else { return };
        // The response of a real server, handed on in single bytes.
        let (sender, receiver) = mpsc::channel::<u8>();
        std::thread::spawn(move || {
            let mut slow = slow;
            while let Ok(byte) = receiver.recv_timeout(Duration::from_secs(30)) {
                if slow.write_all(&[byte]).is_err() {
                    return;
                }
            }
        });
        let relay = Relay { stream, sender };
        if let Ok(mut socket) = tungstenite::accept(relay) {
            echo(&mut socket, honest);
        }
    });
    let url = format!("ws://{address}/");
    let outcome = run(&["echo", &url, "-c", "2", "-d", "300ms", "-w", "0s"]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.text);
    outcome.expect(&[("/connections/upgraded", 2), ("/connections/alive", 2)]);
}

/// Reads from a socket and writes to a thread.
struct Relay {
    stream: TcpStream,
    sender: mpsc::Sender<u8>,
}

impl Read for Relay {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.stream.read(buffer)
    }
}

impl Write for Relay {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        for byte in buffer {
            self.sender
                .send(*byte)
                .map_err(|_| std::io::ErrorKind::BrokenPipe)?;
        }
        Ok(buffer.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn servers_that_do_not_answer_pings() {
    let address = serve_upgraded(|number, mut socket| {
        if number == 0 {
            // Takes the bytes, and never looks at them.
            let _ = socket.get_mut().read_to_end(&mut Vec::new());
        } else {
            echo(&mut socket, honest);
        }
    });
    let url = format!("ws://{address}/");
    let words = [
        "idle",
        &url,
        "-c",
        "3",
        "-d",
        "1s",
        "--ping-interval",
        "250ms",
        "--drain",
        "500ms",
    ];
    let outcome = run(&words);
    let missing = outcome.count("/connections/pongs_missing");
    assert!(missing >= 3, "one connection of three: {}", outcome.text);
    let sent = outcome.count("/connections/pings_sent");
    assert_eq!(sent, outcome.count("/connections/pongs") + missing);
    outcome
        .expect_end(4, "INVALID")
        .expect_reason("of our pings had no pong");
}

#[test]
fn further_ports_and_source_addresses_are_used_in_turn() {
    let (sender, receiver) = mpsc::channel();
    let serve_one = |sender: mpsc::Sender<(u16, String)>| {
        serve(move |_, stream| {
            let local = stream.local_addr().expect("connected");
            let peer = stream.peer_addr().expect("connected");
            let _ = sender.send((local.port(), peer.ip().to_string()));
            if let Some(mut socket) = upgrade(stream) {
                echo(&mut socket, honest);
            }
        })
    };
    let addresses: Vec<SocketAddr> = (0..3).map(|_| serve_one(sender.clone())).collect();
    let url = format!("ws://{}/", addresses[0]);
    let ports = format!("{},{}", addresses[1].port(), addresses[2].port());
    let words = [
        "idle",
        &url,
        "-c",
        "12",
        "-d",
        "200ms",
        "--ports",
        &ports,
        "--source",
        "127.0.0.8/31",
    ];
    run(&words)
        .expect_end(0, "VALID")
        .expect(&[("/connections/alive", 12)]);
    let mut seen = std::collections::BTreeMap::new();
    for place in receiver.try_iter() {
        *seen.entry(place).or_insert(0) += 1;
    }
    assert_eq!(seen.len(), 6, "each port from each address: {seen:?}");
    assert!(seen.values().all(|count| *count == 2), "{seen:?}");
}

#[test]
fn addresses_of_the_other_family() {
    let Ok(listener) = TcpListener::bind("[::1]:0") else {
        eprintln!("this host has no IPv6 loopback: nothing to test");
        return;
    };
    let port = listener.local_addr().expect("bound").port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                if let Some(mut socket) = upgrade(stream) {
                    echo(&mut socket, honest);
                }
            });
        }
    });
    let url = format!("ws://[::1]:{port}/");
    for source in [&[][..], &["--source", "::1"]] {
        let mut words = vec!["echo", &url, "-c", "2", "-d", "200ms", "-w", "0s"];
        words.extend(source);
        let outcome = run(&words);
        assert_eq!(outcome.code, Some(0), "{source:?}: {}", outcome.text);
    }
}

#[test]
fn refused_handshakes() {
    let refusal = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";
    let wrong_key = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                     Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    for (response, kind) in [
        (refusal, "upgrade_status_503"),
        (wrong_key, "upgrade_invalid"),
        ("", "upgrade_closed"),
    ] {
        let address = serve(move |_, stream| answer_raw(stream, response));
        let url = format!("ws://{address}/");
        for command in ["echo", "idle"] {
            run(&[command, &url, "-c", "7", "-d", "10s"])
                .expect_end(1, "INVALID")
                .expect(&[
                    ("/connections/asked", 7),
                    ("/connections/open", 7),
                    ("/connections/upgraded", 0),
                    (&format!("/errors/{kind}"), 7),
                    ("/messages/sent", 0),
                ]);
        }
        let outcome = run(&["storm", &url, "-c", "7", "-d", "10s"]);
        outcome
            .expect_end(1, "INVALID")
            .expect(&[("/connections/upgraded", 0)]);
        assert_eq!(
            outcome.count(&format!("/errors/{kind}")),
            outcome.count("/connections/asked"),
            "{}",
            outcome.text
        );
    }
}

#[test]
fn half_of_the_handshakes_refused() {
    let refusal = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";
    let address = serve(move |number, stream| {
        if number % 2 == 1 {
            answer_raw(stream, refusal);
        } else if let Some(mut socket) = upgrade(stream) {
            echo(&mut socket, honest);
        }
    });
    let url = format!("ws://{address}/");
    run(&["echo", &url, "-c", "10", "-d", "200ms", "-w", "0s"])
        .expect_end(4, "INVALID")
        .expect_reason("5 of 10 connections failed")
        .expect(&[
            ("/connections/asked", 10),
            ("/connections/open", 10),
            ("/connections/upgraded", 5),
            ("/connections/served", 5),
            ("/connections/alive", 5),
            ("/errors/upgrade_status_503", 5),
        ]);
}

#[test]
fn a_handshake_that_is_never_answered() {
    let url = format!("ws://{}/", silent_server());
    for command in ["echo", "idle", "storm"] {
        let words = [
            command,
            &url,
            "-c",
            "4",
            "-d",
            "300ms",
            "--connect-timeout",
            "200ms",
        ];
        let outcome = run(&words);
        outcome
            .expect_end(1, "INVALID")
            .expect(&[("/connections/upgraded", 0)]);
        let timeouts = outcome.count("/errors/upgrade_timeout");
        assert!(timeouts >= 4, "{command}: {}", outcome.text);
    }
}

#[test]
fn nobody_listens() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("ws://{}/", listener.local_addr().expect("bound"));
    drop(listener);
    run(&["echo", &url, "-c", "3"])
        .expect_end(1, "INVALID")
        .expect(&[("/errors/connect_refused", 3), ("/connections/open", 0)]);
    // Many connections are not all tried when the first ones show that it is hopeless.
    let outcome = run(&["echo", &url, "-c", "5000"]);
    let refused = outcome.count("/errors/connect_refused");
    assert!((64..200).contains(&refused), "{refused}");
    outcome.expect(&[("/errors/not_attempted", 5_000 - refused)]);
}
