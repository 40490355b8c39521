//! Fan-out server on tokio-tungstenite and `tokio::sync::broadcast`, to compare with.
//!
//! Configuration: one broadcast channel per topic, one task per subscriber that owns its socket and a
//! receiver of the channel, as the documentation of the channel describes it; the payload is one
//! shared `Bytes`. What is in the channel when a task wakes up is fed to the sink and flushed
//! once. Read buffer of 4 KiB, which the library advises for many connections. One thread, like
//! everybody.
//!
//! A reader that does not keep up falls behind in the channel, and what the channel no longer
//! holds is left out for it (`RecvError::Lagged`), without a word.

#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use fanwire_benches::ServerArguments;
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::broadcast::{Receiver, Sender, channel};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Bytes; see the top.
const READ_BUFFER_SIZE: usize = 4 * 1024;
/// Messages that a channel keeps for readers that are behind.
const CHANNEL_CAPACITY: usize = 1024;

type Socket = WebSocketStream<TcpStream>;
/// Locked once per connection.
type Topics = Arc<Mutex<HashMap<String, Sender<Message>>>>;

fn main() -> std::io::Result<()> {
    let arguments = ServerArguments::parse_and_pin()?;
    let read_buffer_size = arguments.read_buffer_size.unwrap_or(READ_BUFFER_SIZE);
    let config = WebSocketConfig::default().read_buffer_size(read_buffer_size);
    let topics = Topics::default();
    fanwire_benches::serve_with_tokio(&arguments, move |stream| {
        serve(stream, config, topics.clone())
    })
}

async fn serve(stream: TcpStream, config: WebSocketConfig, topics: Topics) {
    let mut target = None;
    // The signature, large error included, is the library's.
    #[allow(clippy::result_large_err)]
    let look = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
        target = Some(request.uri().clone());
        Ok(response)
    };
    let accepted =
        tokio_tungstenite::accept_hdr_async_with_config(stream, look, Some(config)).await;
    let (Ok(socket), Some(target)) = (accepted, target) else {
        return;
    };
    let sender = topics
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .entry(target.path().to_owned())
        .or_insert_with(|| channel(CHANNEL_CAPACITY).0)
        .clone();
    let query = target.query().unwrap_or_default();
    if query.split('&').any(|member| member == "publish") {
        publish(socket, &sender).await;
    } else {
        let receiver = sender.subscribe();
        drop(sender);
        subscribe(socket, receiver).await;
    }
}

async fn publish(mut socket: Socket, sender: &Sender<Message>) {
    while let Some(Ok(message)) = socket.next().await {
        if message.is_text() || message.is_binary() {
            // Fails when nobody has subscribed, which is no fault.
            let _ = sender.send(message);
        }
    }
}

async fn subscribe(mut socket: Socket, mut receiver: Receiver<Message>) {
    loop {
        tokio::select! {
            biased;
            news = receiver.recv() => {
                let fed = match news {
                    Ok(message) => socket.feed(message).await.is_ok(),
                    Err(RecvError::Lagged(_)) => true,
                    Err(RecvError::Closed) => return,
                };
                if !fed || !feed_rest(&mut socket, &mut receiver).await || socket.flush().await.is_err() {
                    return;
                }
            }
            // Reading answers pings and closes; what else a subscriber says is ignored.
            received = socket.next() => match received {
                Some(Ok(_)) => {}
                _ => return,
            },
        }
    }
}

/// Feeds what else is in the channel; false when the socket has ended.
async fn feed_rest(socket: &mut Socket, receiver: &mut Receiver<Message>) -> bool {
    loop {
        match receiver.try_recv() {
            Ok(message) => {
                if socket.feed(message).await.is_err() {
                    return false;
                }
            }
            Err(TryRecvError::Lagged(_)) => {}
            Err(TryRecvError::Empty | TryRecvError::Closed) => return true,
        }
    }
}
