//! Servers of a few words: what most tests need of a server beside its one fault.
//!
//! They speak without TLS; `tls` has those that do.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;

use tungstenite::Message;
use tungstenite::protocol::WebSocket;

use super::{echo, honest, serve, upgrade};

/// As [`serve`], but `script` gets every connection after its opening handshake.
pub fn serve_upgraded(
    script: impl Fn(usize, WebSocket<TcpStream>) + Send + Sync + 'static,
) -> SocketAddr {
    serve(move |number, stream| {
        if let Some(socket) = upgrade(stream) {
            script(number, socket);
        }
    })
}

/// Answers the messages of every connection as [`echo`] does with `answer`.
pub fn answering_server(
    answer: impl Fn(u64, Message, &mut WebSocket<TcpStream>) -> bool + Send + Sync + 'static,
) -> SocketAddr {
    serve_upgraded(move |_, mut socket| echo(&mut socket, &answer))
}

/// Echoes, and does nothing wrong.
pub fn echo_server() -> SocketAddr {
    answering_server(honest)
}

/// Accepts every connection, holds it, and never says a word.
pub fn silent_server() -> SocketAddr {
    let held = Mutex::new(Vec::new());
    serve(move |_, stream| {
        if let Ok(mut held) = held.lock() {
            held.push(stream);
        }
    })
}

/// Reads the head of a request to its end. False: the client left before.
pub fn read_request(stream: &mut TcpStream) -> bool {
    let mut request = Vec::new();
    let mut piece = [0; 1024];
    while let Ok(count @ 1..) = stream.read(&mut piece) {
        request.extend_from_slice(&piece[..count]);
        if request.ends_with(b"\r\n\r\n") {
            return true;
        }
    }
    false
}

/// Reads the request, answers with fixed bytes, and hangs up.
pub fn answer_raw(mut stream: TcpStream, response: &str) {
    if read_request(&mut stream) {
        let _ = stream.write_all(response.as_bytes());
    }
}
