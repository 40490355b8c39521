//! The opening handshake as far as no floor can do without it: the request head is collected, its
//! key answered (the load generator insists on the computed value), its target kept. Nothing is
//! checked. It must not know what happens to a connection afterwards.

use base64::Engine as _;
use sha1::{Digest as _, Sha1};

/// A request head larger than this is not one of the generator's.
const HEAD_SIZE_MAX: usize = 8 * 1024;
/// RFC 6455, section 1.3.
const ACCEPT_GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The request head of one connection, as far as it has arrived.
#[derive(Clone, Debug, Default)]
pub struct Opening {
    head: Vec<u8>,
}

/// A request head that is whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Path and query of the request line.
    pub target: Vec<u8>,
    /// Bytes that came behind the head: the first of the client's frames.
    pub rest: Vec<u8>,
}

impl Opening {
    /// Takes what has arrived. Once the head is whole, appends the 101 to `out` and returns what
    /// was asked for.
    pub fn take(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Option<Opened> {
        self.head.extend_from_slice(bytes);
        let Some(end) = self
            .head
            .windows(4)
            .position(|window| window == b"\r\n\r\n")
        else {
            if self.head.len() > HEAD_SIZE_MAX {
                self.head.clear();
            }
            return None;
        };
        let head = &self.head[..end];
        let digest = Sha1::new()
            .chain_update(key_of(head))
            .chain_update(ACCEPT_GUID)
            .finalize();
        out.extend_from_slice(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
              Sec-WebSocket-Accept: ",
        );
        out.extend_from_slice(base64::prelude::BASE64_STANDARD.encode(digest).as_bytes());
        out.extend_from_slice(b"\r\n\r\n");
        let opened = Opened {
            target: target_of(head).to_vec(),
            rest: self.head[end + 4..].to_vec(),
        };
        self.head = Vec::new();
        Some(opened)
    }
}

/// The value of Sec-WebSocket-Key, or nothing.
fn key_of(head: &[u8]) -> &[u8] {
    const NAME: &[u8] = b"sec-websocket-key:";
    head.split(|byte| *byte == b'\n')
        .find(|line| line.len() > NAME.len() && line[..NAME.len()].eq_ignore_ascii_case(NAME))
        .map_or(b"", |line| line[NAME.len()..].trim_ascii())
}

/// The second word of the request line, or nothing.
fn target_of(head: &[u8]) -> &[u8] {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    line.split(|byte| *byte == b' ').nth(1).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    // Key and answer are the example of RFC 6455, section 1.3.
    const REQUEST: &[u8] = b"GET /raw/events?publish HTTP/1.1\r\nHost: a\r\n\
        sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\nmore";

    #[test]
    fn any_cut_gives_the_same_answer() {
        for cut in 1..REQUEST.len() {
            let (first, second) = REQUEST.split_at(cut);
            let (mut opening, mut out) = (Opening::default(), Vec::new());
            let opened = match opening.take(first, &mut out) {
                Some(mut opened) => {
                    opened.rest.extend_from_slice(second);
                    opened
                }
                None => opening.take(second, &mut out).expect("the head is whole"),
            };
            assert_eq!(opened.target, b"/raw/events?publish", "cut at {cut}");
            assert_eq!(opened.rest, b"more", "cut at {cut}");
            let answer = String::from_utf8(out).expect("ASCII");
            assert!(
                answer.ends_with("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"),
                "{answer}"
            );
        }
    }
}
