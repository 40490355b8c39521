//! Echo server on tokio-tungstenite, to compare with.
//!
//! Configuration: defaults of the library (128 KiB read buffer, messages up to 64 MiB). Replies
//! are fed to the sink and flushed when no further message is ready, which is what
//! `StreamExt::forward` in the library's own echo example does, without the lock that splitting
//! the stream costs.

#![forbid(unsafe_code)]

use fanwire_benches::ServerArguments;
use futures_util::{FutureExt as _, SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::io::Result<()> {
    let arguments = ServerArguments::parse_and_pin()?;
    let mut config = WebSocketConfig::default();
    if let Some(size) = arguments.read_buffer_size {
        config = config.read_buffer_size(size);
    }
    fanwire_benches::serve_with_tokio(&arguments, |stream| echo(stream, config))
}

async fn echo(stream: TcpStream, config: WebSocketConfig) {
    let Ok(mut socket) = tokio_tungstenite::accept_async_with_config(stream, Some(config)).await
    else {
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
