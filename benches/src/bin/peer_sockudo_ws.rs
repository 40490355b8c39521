//! Echo server on sockudo-ws, to compare with.
//!
//! Configuration: the tokio (epoll) path of the library's `simple_echo` example with
//! `Config::default()`: keep-alive pings on, text validated, no compression. Its io_uring feature
//! is left out because it submits nothing in 3.1. Replies are fed to the sink and flushed when
//! no further message is ready, as the documentation of `write_coalescing` asks for.

#![forbid(unsafe_code)]

use bytes::BytesMut;
use fanwire_benches::ServerArguments;
use futures_util::{FutureExt as _, SinkExt as _, StreamExt as _};
use sockudo_ws::handshake::{build_response, generate_accept_key, parse_request};
use sockudo_ws::{Config, Message, WebSocketStream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Bytes of a request head to make room for, as in the library's example.
const HEAD_SIZE: usize = 4096;

fn main() -> std::io::Result<()> {
    fanwire_benches::serve_with_tokio(&ServerArguments::parse_and_pin()?, serve)
}

async fn serve(mut stream: TcpStream) {
    if shake_hands(&mut stream).await.is_some() {
        // The end of a connection is the client's affair: it counts what it misses.
        let _ = echo(stream).await;
    }
}

async fn shake_hands(stream: &mut TcpStream) -> Option<()> {
    let mut head = BytesMut::with_capacity(HEAD_SIZE);
    loop {
        if stream.read_buf(&mut head).await.ok()? == 0 {
            return None;
        }
        if let Some((request, _)) = parse_request(&head).ok()? {
            let response = build_response(&generate_accept_key(request.key), None, None);
            return stream.write_all(&response).await.ok();
        }
    }
}

async fn echo(stream: TcpStream) -> sockudo_ws::Result<()> {
    let mut socket = WebSocketStream::server(stream, Config::default());
    let mut next = socket.next().await;
    while let Some(message) = next {
        match message? {
            Message::Close(_) => return Ok(()),
            Message::Ping(_) | Message::Pong(_) => {}
            data => socket.feed(data).await?,
        }
        next = match socket.next().now_or_never() {
            Some(ready) => ready,
            None => {
                socket.flush().await?;
                socket.next().await
            }
        };
    }
    Ok(())
}
