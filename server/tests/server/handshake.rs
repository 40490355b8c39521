//! Every request that is not a valid opening handshake gets its exact status and a closed socket.

use fanwire_server::{BackendChoice, Config};

use crate::client::{Client, REQUEST};
use crate::{BACKENDS, config, echo_server};

fn without(line_start: &str) -> String {
    let kept: String = REQUEST
        .split_inclusive("\r\n")
        .filter(|line| !line.starts_with(line_start))
        .collect();
    assert_ne!(kept, REQUEST, "{line_start} is not in the request");
    kept + "\r\n"
}

fn with(line: &str) -> String {
    format!("{REQUEST}{line}\r\n\r\n")
}

fn replaced(from: &str, to: &str) -> String {
    assert!(REQUEST.contains(from));
    REQUEST.replace(from, to) + "\r\n"
}

/// What is sent and the status that answers it.
fn table() -> Vec<(String, u16)> {
    vec![
        (replaced("GET", "POST"), 405),
        (replaced("HTTP/1.1", "HTTP/1.0"), 400),
        (replaced("Version: 13", "Version: 8"), 426),
        (without("Sec-WebSocket-Version"), 426),
        (without("Sec-WebSocket-Key"), 400),
        (replaced("dGhlIHNhbXBsZSBub25jZQ==", "dG9vIHNob3J0"), 400),
        (with("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="), 400),
        (without("Host"), 400),
        (with("Host: other"), 400),
        (with("Content-Length: 5"), 400),
        (with("Transfer-Encoding: chunked"), 400),
        (with(" folded: yes"), 400),
        (with("Bad Name: yes"), 400),
        (with(&format!("X-Long: {}", "a".repeat(9_000))), 431),
        (with("X-Many: 1\r\n".repeat(80).trim_end()), 431),
        (
            replaced("GET /", &format!("GET /{}", "a".repeat(5_000))),
            414,
        ),
        (format!("{REQUEST}\r\nearly bytes"), 400),
        (
            "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}".to_owned() + "\r\n\r\n",
            400,
        ),
    ]
}

#[test]
fn every_bad_request_gets_its_status_and_a_closed_socket() {
    for setup in BACKENDS {
        let server = echo_server(config(setup));
        let address = server.local_address();
        let mut bystander = Client::open(address);
        for (request, expected) in table() {
            let mut client = Client::connect(address);
            client.try_send(request.as_bytes());
            let (status, head, body) = client.response();
            let shown: String = request.chars().take(90).collect();
            assert_eq!(status, expected, "{shown:?}: {head}{body}");
            assert!(head.contains("Connection: close"), "{head}");
            assert!(!body.is_empty(), "the body says why");
            assert_eq!(client.read_to_end(), b"", "{shown:?}: the socket is closed");
            bystander.check_echo("nothing noticed");
        }
        let mut server = server;
        server.stop();
        let counters = server.wait();
        let refused: u64 = counters.refused.iter().sum();
        assert_eq!(refused, table().len() as u64, "{counters}");
        assert_eq!(counters.refused_with(414), 1);
        assert_eq!(counters.upgraded, 1);
    }
}

#[test]
fn a_request_may_come_byte_by_byte() {
    for setup in BACKENDS {
        let server = echo_server(config(setup));
        let mut client = Client::connect(server.local_address());
        for byte in format!("{REQUEST}\r\n").bytes() {
            client.send(&[byte]);
        }
        assert_eq!(client.response().0, 101);
        client.check_echo("hello");
    }
}

fn status_with(config: Config, lines: &[&str]) -> Vec<u16> {
    let server = echo_server(config);
    let statuses = lines.iter().map(|line| {
        let mut client = Client::connect(server.local_address());
        client.send(with(line).as_bytes());
        client.response().0
    });
    statuses.collect()
}

#[test]
fn origins_and_hosts_are_compared_whole() {
    let allowed = ["https://example.com".parse().expect("an origin")];
    let setup = (BackendChoice::Auto, 1);
    let origins = Config {
        origins: allowed.to_vec(),
        ..config(setup)
    };
    let lines = [
        "Origin: https://example.com",
        "X-Browser: no",
        "Origin: https://example.com.evil.test",
        "Origin: http://example.com",
        "Origin: null",
    ];
    assert_eq!(status_with(origins, &lines), [101, 101, 403, 403, 403]);
    let hosts = |host: &str| Config {
        hosts: vec![host.parse().expect("a host")],
        ..config(setup)
    };
    assert_eq!(status_with(hosts("localhost"), &["X-Nothing: 1"]), [101]);
    assert_eq!(status_with(hosts("example.com"), &["X-Nothing: 1"]), [421]);
}

#[test]
fn peers_that_go_away_in_the_middle_are_only_counted() {
    for setup in BACKENDS {
        let mut server = echo_server(config(setup));
        for bytes in ["", "GET / HT", REQUEST] {
            let mut client = Client::connect(server.local_address());
            client.send(bytes.as_bytes());
            client.finish();
            assert_eq!(client.read_to_end(), b"");
        }
        crate::client::wait_for(&mut server, "three abandoned handshakes", |counters| {
            counters.handshakes_abandoned == 3
        });
        Client::open(server.local_address()).check_echo("still here");
    }
}
