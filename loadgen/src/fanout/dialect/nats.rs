//! The client protocol of NATS, as it travels in WebSocket binary messages: a stream of bytes,
//! whatever the frames. Only what a publisher and a subscriber need.

/// An operation from the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation<'a> {
    /// The server introduces itself.
    Info,
    /// Answer with PONG.
    Ping,
    /// The answer to our PING: everything before it has been processed.
    Pong,
    /// Verbose mode, which is not asked for.
    Ok,
    /// The server complains, and may close.
    Error(&'a str),
    /// A message of a subject.
    Message {
        /// What was published.
        payload: &'a [u8],
    },
}

/// A control line longer than this is no NATS: the server's own limit is 4 KiB, and its INFO with
/// the addresses of a cluster may be larger.
const LINE_MAX: usize = 64 * 1024;

/// What a client says first.
pub const CONNECT: &[u8] =
    b"CONNECT {\"verbose\":false,\"pedantic\":false,\"lang\":\"rust\",\"version\":\"1\",\"protocol\":1}\r\n";
/// Asks for a PONG.
pub const PING: &[u8] = b"PING\r\n";
/// Answers a PING.
pub const PONG: &[u8] = b"PONG\r\n";

/// Takes the first operation off `bytes`: it, and how many bytes it was. `Ok(None)`: there is not a
/// whole one yet.
///
/// # Errors
/// What is wrong with the bytes.
pub fn next(bytes: &[u8]) -> Result<Option<(Operation<'_>, usize)>, &'static str> {
    let Some(end) = bytes.iter().take(LINE_MAX).position(|byte| *byte == b'\n') else {
        return if bytes.len() >= LINE_MAX {
            Err("a control line of more than 64 KiB")
        } else {
            Ok(None)
        };
    };
    let (line, rest) = bytes.split_at(end + 1);
    let line = std::str::from_utf8(line).map_err(|_| "a control line that is not UTF-8")?;
    let line = line.trim_end();
    let (word, arguments) = line.split_once([' ', '\t']).unwrap_or((line, ""));
    let operation = match word.to_ascii_uppercase().as_str() {
        "MSG" => return message(arguments, rest, end + 1),
        "INFO" => Operation::Info,
        "PING" => Operation::Ping,
        "PONG" => Operation::Pong,
        "+OK" => Operation::Ok,
        "-ERR" => Operation::Error(arguments.trim().trim_matches('\'')),
        _ => return Err("an operation that a client does not expect"),
    };
    Ok(Some((operation, end + 1)))
}

/// `subject sid [reply-to] size`, then the payload and a line end.
fn message<'a>(
    arguments: &str,
    rest: &'a [u8],
    line: usize,
) -> Result<Option<(Operation<'a>, usize)>, &'static str> {
    let size: usize = arguments
        .split_ascii_whitespace()
        .next_back()
        .and_then(|size| size.parse().ok())
        .filter(|size| *size <= crate::fanout::stamp::SIZE_MAX)
        .ok_or("a MSG without a size that can be")?;
    let Some((payload, behind)) = rest.split_at_checked(size) else {
        return Ok(None);
    };
    match behind {
        [b'\r', b'\n', ..] => Ok(Some((Operation::Message { payload }, line + size + 2))),
        [] | [b'\r'] => Ok(None),
        _ => Err("a payload that is longer than its MSG said"),
    }
}

/// The server's side of one connection.
#[derive(Debug, Default)]
pub struct Session {
    /// The beginning of an operation whose rest has not come.
    partial: Vec<u8>,
    has_greeted: bool,
}

impl Session {
    /// Runs through the operations that `bytes` complete. Of several INFOs only the first is
    /// handed on: a server sends more of them when its cluster changes.
    pub fn receive(
        &mut self,
        bytes: &[u8],
        mut handle: impl FnMut(Result<Operation<'_>, &'static str>),
    ) {
        // Mostly a message holds whole operations, and nothing has to be copied.
        let held;
        let mut rest: &[u8] = if self.partial.is_empty() {
            bytes
        } else {
            self.partial.extend_from_slice(bytes);
            held = std::mem::take(&mut self.partial);
            &held
        };
        loop {
            match next(rest) {
                Ok(Some((operation, size))) => {
                    let is_greeting = operation == Operation::Info;
                    if !(is_greeting && self.has_greeted) {
                        handle(Ok(operation));
                    }
                    self.has_greeted |= is_greeting;
                    rest = rest.get(size..).unwrap_or(&[]);
                }
                Ok(None) => break,
                Err(reason) => {
                    handle(Err(reason));
                    rest = &[];
                    break;
                }
            }
        }
        if !rest.is_empty() {
            self.partial = rest.to_vec();
        }
    }
}

/// Appends a SUB.
pub fn write_subscribe(subject: &str, id: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("SUB {subject} {id}\r\n").as_bytes());
}

/// Appends a PUB.
pub fn write_publish(subject: &str, payload: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"PUB ");
    out.extend_from_slice(subject.as_bytes());
    out.extend_from_slice(format!(" {}\r\n", payload.len()).as_bytes());
    out.extend_from_slice(payload);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const STREAM: &[u8] =
        b"INFO {\"server_id\":\"x\"}\r\nPING\r\n+OK\r\nMSG load.0 1 5\r\nhe\r\no\r\n\
        MSG load.0 1 _INBOX.1 0\r\n\r\npong\r\n-ERR 'Slow Consumer'\r\n";

    fn all(mut bytes: &[u8]) -> Vec<String> {
        let mut seen = Vec::new();
        while let Ok(Some((operation, size))) = next(bytes) {
            seen.push(format!("{operation:?}"));
            bytes = &bytes[size..];
        }
        assert!(bytes.is_empty(), "{bytes:?}");
        seen
    }

    #[test]
    fn a_session() {
        let seen = all(STREAM);
        assert_eq!(seen.len(), 7);
        assert_eq!(seen[0], "Info");
        assert_eq!(
            seen[3],
            format!(
                "{:?}",
                Operation::Message {
                    payload: b"he\r\no"
                }
            )
        );
        assert_eq!(seen[6], "Error(\"Slow Consumer\")");
    }

    #[test]
    fn pieces_wait_for_the_rest() {
        let mut from = 0;
        for end in 0..=STREAM.len() {
            while let Ok(Some((_, size))) = next(&STREAM[from..end]) {
                from += size;
            }
        }
        assert_eq!(from, STREAM.len());
    }

    #[test]
    fn a_session_in_pieces_is_the_same_and_greets_once() {
        for piece in 1..STREAM.len() {
            let (mut session, mut seen) = (Session::default(), Vec::new());
            let twice = [STREAM, STREAM].concat();
            for bytes in twice.chunks(piece) {
                session.receive(bytes, |operation| seen.push(format!("{operation:?}")));
            }
            assert_eq!(seen.len(), 13, "pieces of {piece}");
            assert!(seen.iter().all(|operation| operation.starts_with("Ok(")));
            assert_eq!(
                seen.iter()
                    .filter(|operation| *operation == "Ok(Info)")
                    .count(),
                1
            );
        }
    }

    #[test]
    fn rubbish_is_refused() {
        for wrong in [
            "HELLO\r\n",
            "MSG a 1 x\r\n",
            "MSG a 1 99999999999\r\n",
            "MSG a 1 2\r\nabc\r\n",
        ] {
            assert!(next(wrong.as_bytes()).is_err(), "{wrong}");
        }
        assert!(next(&vec![b'x'; LINE_MAX]).is_err());
        let mut out = Vec::new();
        write_publish("load.1", b"hi", &mut out);
        assert_eq!(out, b"PUB load.1 2\r\nhi\r\n");
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(Some((_, size))) = next(&bytes) {
                prop_assert!(size <= bytes.len());
            }
        }
    }
}
