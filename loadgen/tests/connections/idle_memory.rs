//! What an idle connection costs the generator: at most 1 KiB of its own memory.
//!
//! Buffers, rings and histograms are there once, however many connections there are. So two runs are
//! compared that differ in nothing but their number of connections.

use std::net::{SocketAddr, TcpListener};
use std::thread;

use crate::support::{start_with, upgrade};
use fanwire_reactor::host::raise_fd_limit;

/// Connections of the smaller and of the larger run.
const FEW: u64 = 500;
const MANY: u64 = 4_500;
/// In bytes. The goal is 1,024; some 260 are what there is, and half the goal is room enough.
const CONNECTION_BYTES_MAX: f64 = 512.0;

/// Opens and holds every connection, on one thread: nobody sends anything.
fn holding_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    thread::spawn(move || {
        let mut held = Vec::new();
        for stream in listener.incoming().flatten() {
            held.extend(upgrade(stream).map(|socket| socket.into_inner()));
        }
    });
    address
}

/// Bytes of anonymous memory by which the generator grew.
fn growth(backend: &str, connections: u64) -> f64 {
    let url = format!("ws://{}/", holding_server());
    let count = connections.to_string();
    let arguments = [
        "idle",
        &url,
        "-c",
        &count,
        "-d",
        "200ms",
        "--backend",
        backend,
    ];
    // Huge pages come in steps of 2 MiB, which hide what is looked for here.
    let outcome = start_with(&arguments, &[("MIMALLOC_ALLOW_THP", "0")]).finish();
    outcome.expect(&[("/connections/alive", connections)]);
    let pointer = "/generator/anonymous_bytes_per_connection";
    let per_connection = outcome
        .json
        .pointer(pointer)
        .and_then(|value| value.as_f64());
    per_connection.expect("measured") * connections as f64
}

#[test]
fn an_idle_connection_costs_less_than_a_kibibyte() {
    let needed = 2 * MANY;
    if raise_fd_limit().soft.is_some_and(|limit| limit < needed) {
        eprintln!("{needed} open files are not allowed here (ulimit -n): nothing to test");
        return;
    }
    for backend in ["uring", "epoll"] {
        let (few, many) = (growth(backend, FEW), growth(backend, MANY));
        let each = (many - few) / (MANY - FEW) as f64;
        assert!(
            each > 0.0 && each <= CONNECTION_BYTES_MAX,
            "{backend}: {each:.0} bytes per connection: {few:.0} with {FEW}, {many:.0} with {MANY}"
        );
        println!("{backend}: {each:.0} bytes per connection");
    }
}
