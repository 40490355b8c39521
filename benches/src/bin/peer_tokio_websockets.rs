//! Echo server on tokio-websockets, to compare with.
//!
//! Configuration: as in the library's own `echo_server` example (one frame per message, no
//! payload limit), SHA-1 from ring, vector unmasking chosen at run time. Replies are fed to the
//! sink and flushed when no further message is ready.

#![forbid(unsafe_code)]

use fanwire_benches::ServerArguments;
use futures_util::{FutureExt as _, SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio_websockets::{Config, Limits, ServerBuilder};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

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
    let mut next = socket.next().await;
    while let Some(Ok(message)) = next {
        if (message.is_text() || message.is_binary()) && socket.feed(message).await.is_err() {
            return;
        }
        next = match socket.next().now_or_never() {
            Some(ready) => ready,
            None if socket.flush().await.is_err() => return,
            None => socket.next().await,
        };
    }
}
