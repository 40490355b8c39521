//! Echo server on tokio-tungstenite, to compare with.
//!
//! Configuration: a read buffer of 16 KiB, measured to be best here both at 64 B and at 16 KiB; the
//! default of 128 KiB is cleared before reads and costs nearly twice the CPU time per message.
//! Replies are fed to the sink and flushed when no further message is ready, which is what
//! `StreamExt::forward` in the library's own echo example does, without the lock that splitting
//! the stream costs.

#![forbid(unsafe_code)]

use fanwire_benches::ServerArguments;
use futures_util::{FutureExt as _, SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Bytes; see the top.
const READ_BUFFER_SIZE: usize = 16 * 1024;

fn main() -> std::io::Result<()> {
    let arguments = ServerArguments::parse_and_pin()?;
    let read_buffer_size = arguments.read_buffer_size.unwrap_or(READ_BUFFER_SIZE);
    let config = WebSocketConfig::default().read_buffer_size(read_buffer_size);
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
