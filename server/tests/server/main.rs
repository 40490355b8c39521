//! The server over real sockets: both backends, one and two shards, independent clients.
//!
//! Nothing here waits for time to pass: every step waits for bytes, for the end of a stream or
//! for a counter, and fails when that does not come within `client::PATIENCE`.

mod client;
mod echo;
mod frames;
mod handler;
mod handshake;
mod lifecycle;
mod limits;
mod slow;

use fanwire_server::{BackendChoice, Config, Echo, Limits, Placement, Running, Server};

/// Both ways to the kernel, on one and on two shards.
pub const SETUPS: [(BackendChoice, u16); 4] = [
    (BackendChoice::Uring, 1),
    (BackendChoice::Epoll, 1),
    (BackendChoice::Uring, 2),
    (BackendChoice::Epoll, 2),
];

/// Both ways to the kernel on one shard, where the number of shards makes no difference.
pub const BACKENDS: [(BackendChoice, u16); 2] = [SETUPS[0], SETUPS[1]];

/// A configuration for tests: any free port, no pinning.
pub fn config((backend, shards): (BackendChoice, u16)) -> Config {
    Config {
        listen: ([127, 0, 0, 1], 0).into(),
        placement: Placement::Unpinned(shards),
        backend,
        limits: Limits::echo(),
        ..Config::default()
    }
}

/// An echo server.
pub fn echo_server(config: Config) -> Running {
    Server::builder()
        .config(config)
        .handler(|_shard| Echo)
        .start()
        .expect("the server starts")
}

/// An echo server with these limits.
pub fn limited(setup: (BackendChoice, u16), change: impl FnOnce(&mut Limits)) -> Running {
    let mut config = config(setup);
    change(&mut config.limits);
    echo_server(config)
}
