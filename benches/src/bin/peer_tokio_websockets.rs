//! Echo server on tokio-websockets, to compare with.
//!
//! Configuration: as in the library's own `echo_server` example (one frame per message, no
//! payload limit), SHA-1 from ring, vector unmasking chosen at run time. Reading flushes what was fed
//! before, so the messages that are ready are read first and their replies fed and flushed then:
//! one write for a burst instead of one per message.

#![forbid(unsafe_code)]

use fanwire_benches::ServerArguments;
use futures_util::{FutureExt as _, SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio_websockets::{Config, Limits, ServerBuilder};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Messages that are answered with one flush at most.
const BATCH_MAX: usize = 64;

fn main() -> std::io::Result<()> {
    fanwire_benches::serve_with_tokio(&ServerArguments::parse_and_pin()?, echo)
}

async fn echo(stream: TcpStream) {
    let accepted = ServerBuilder::new()
        .config(Config::default().frame_size(usize::MAX))
        .limits(Limits::unlimited())
        .accept(stream)
        .await;
    let Ok((_, mut socket)) = accepted else {
        return;
    };
    let mut batch = Vec::with_capacity(BATCH_MAX);
    while let Some(Ok(first)) = socket.next().await {
        batch.push(first);
        while batch.len() < BATCH_MAX
            && let Some(Some(Ok(message))) = socket.next().now_or_never()
        {
            batch.push(message);
        }
        for message in batch.drain(..) {
            if (message.is_text() || message.is_binary()) && socket.feed(message).await.is_err() {
                return;
            }
        }
        if socket.flush().await.is_err() {
            return;
        }
    }
}
