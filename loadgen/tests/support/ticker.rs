//! Feeds that a server paces by itself: the same message to every subscriber at the same moment.

use std::net::TcpStream;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::json;
use tungstenite::{Error, Message};

use super::{serve, upgrade};

/// What the messages look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tick {
    /// JSON with `ts` in milliseconds, that many before now (below zero: after now), `seq` and `sym`.
    Json(i64),
    /// `seq` and the time in nanoseconds, eight bytes each, the least significant first.
    Binary,
    /// As `Json(0)`, but every fiftieth number is left out.
    WithGaps,
    /// Text without a time or a number.
    Plain,
}

/// Between two messages.
pub const EVERY: Duration = Duration::from_millis(5);

/// Starts a feed and returns its URL.
pub fn ticker(tick: Tick) -> String {
    let begun = Instant::now();
    let address = serve(move |_, stream| {
        let _ = connection(stream, begun, tick);
    });
    format!("ws://{address}/feed")
}

fn now_ns() -> u128 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("after 1970").as_nanos()
}

fn connection(stream: TcpStream, begun: Instant, tick: Tick) -> Option<()> {
    let mut socket = upgrade(stream)?;
    socket
        .get_ref()
        .set_read_timeout(Some(Duration::from_millis(1)))
        .ok()?;
    let mut next = (begun.elapsed().as_millis() / EVERY.as_millis()) as u32 + 1;
    loop {
        match socket.read() {
            Ok(Message::Close(_)) => drop(socket.flush()),
            Ok(_) => {}
            Err(Error::Io(error))
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                ) => {}
            Err(_) => return None,
        }
        while begun.elapsed() >= EVERY * next {
            if let Some(message) = message(next, tick) {
                socket.send(message).ok()?;
            }
            next += 1;
        }
    }
}

fn message(number: u32, tick: Tick) -> Option<Message> {
    let json_at = |ms: i128| {
        let text = json!({"sym": "A", "p": [1, {"q": "}"}], "ts": ms as i64, "seq": number});
        Message::text(text.to_string())
    };
    let now_ms = (now_ns() / 1_000_000) as i128;
    Some(match tick {
        Tick::Json(ago_ms) => json_at(now_ms - i128::from(ago_ms)),
        Tick::WithGaps if number.is_multiple_of(50) => return None,
        Tick::WithGaps => json_at(now_ms),
        Tick::Plain => Message::text("tick"),
        Tick::Binary => {
            let mut bytes = u64::from(number).to_le_bytes().to_vec();
            bytes.extend_from_slice(&(now_ns() as u64).to_le_bytes());
            bytes.extend_from_slice(b"price");
            Message::binary(bytes)
        }
    })
}
