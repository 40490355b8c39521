//! Between the frames of a connection and the bytes on its socket: nothing for `ws://`, TLS for
//! `wss://`.
//!
//! All modes read and write through a [`Link`], so that none of them knows whether it is encrypted.
//! Without TLS each call is one branch and copies nothing. Knows no socket.

use crate::connect::tls::{Session, SessionMemory, TlsClient, Writing, explain};

/// What lies between one connection and its socket.
#[derive(Debug, Default)]
pub struct Link(Option<Box<Session>>);

/// Memory that the links of a thread read with, in turn; empty as long as there is no TLS.
#[derive(Debug, Default)]
pub struct ReadMemory {
    session: SessionMemory,
    /// Decrypted bytes of the read in progress.
    received: Vec<u8>,
    /// What TLS itself has to say.
    replies: Vec<u8>,
}

/// Memory that the links of a thread write with, in turn; empty as long as there is no TLS.
#[derive(Debug, Default)]
pub struct WriteMemory(Vec<u8>);

/// What a read found out.
#[derive(Debug)]
pub struct Heard<'a> {
    /// Plain bytes.
    pub plain: &'a mut [u8],
    /// Wire bytes to be sent before anything else; usually none.
    pub replies: &'a [u8],
    /// How the stream stands.
    pub state: LinkState,
}

/// How a link stands after a read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// Open.
    Open,
    /// The server has announced that nothing more comes.
    Finished,
    /// Broken, with a sentence about why. The plain bytes before it are good.
    Failed(String),
}

impl<'a> Heard<'a> {
    /// Bytes that were plain from the beginning.
    pub fn plain(bytes: &'a mut [u8]) -> Heard<'a> {
        Heard {
            plain: bytes,
            replies: &[],
            state: LinkState::Open,
        }
    }
}

impl Link {
    /// A link without TLS.
    pub fn plain() -> Link {
        Link(None)
    }

    /// A link whose TLS handshake has not begun.
    ///
    /// # Errors
    /// A sentence, when TLS cannot be set up for this server.
    pub fn secured(client: &TlsClient) -> Result<Link, String> {
        match Session::new(client) {
            Ok(session) => Ok(Link(Some(Box::new(session)))),
            Err(error) => Err(explain(&error, client.server_name())),
        }
    }

    /// Whether a TLS handshake is going on.
    pub fn is_handshaking(&self) -> bool {
        self.0
            .as_ref()
            .is_some_and(|session| session.is_handshaking())
    }

    /// Whether there is TLS.
    pub fn is_secured(&self) -> bool {
        self.0.is_some()
    }

    /// Version and cipher suite of TLS.
    pub fn agreed(&self) -> Option<String> {
        self.0.as_ref().and_then(|session| session.agreed())
    }

    /// What is to be added to the explanation of an end that no close frame announced.
    pub fn remark(&self) -> &'static str {
        match &self.0 {
            Some(session) if session.writing() == Writing::Exhausted => {
                "; the keys of this TLS 1.2 connection were used up and cannot be renewed"
            }
            Some(session) if !session.has_peer_finished() => {
                "; the TLS stream was cut off (no close_notify)"
            }
            _ => "",
        }
    }

    /// Takes received wire bytes.
    #[inline]
    pub fn read<'a>(&mut self, wire: &'a mut [u8], memory: &'a mut ReadMemory) -> Heard<'a> {
        match &mut self.0 {
            None => Heard::plain(wire),
            Some(session) => decrypt(session, wire, memory),
        }
    }

    /// Lets `write` append plain bytes, which leave through `out`.
    #[inline]
    pub fn write<R>(
        &mut self,
        out: &mut Vec<u8>,
        memory: &mut WriteMemory,
        write: impl FnOnce(&mut Vec<u8>) -> R,
    ) -> R {
        match &mut self.0 {
            None => write(out),
            Some(session) => {
                memory.0.clear();
                let result = write(&mut memory.0);
                session.encrypt(&memory.0, out);
                result
            }
        }
    }

    /// Appends what ends the stream in good order (`close_notify`); nothing can be written
    /// afterwards. Without TLS there is nothing to say.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        if let Some(session) = &mut self.0 {
            session.finish(out);
        }
    }
}

fn decrypt<'a>(session: &mut Session, wire: &mut [u8], memory: &'a mut ReadMemory) -> Heard<'a> {
    let ReadMemory {
        session: parts,
        received,
        replies,
    } = memory;
    received.clear();
    replies.clear();
    let state = match session.receive(wire, parts, received, replies) {
        Ok(()) if session.has_peer_finished() => LinkState::Finished,
        Ok(()) => LinkState::Open,
        Err(error) => LinkState::Failed(explain(&error, session.server_name())),
    };
    Heard {
        plain: received,
        replies,
        state,
    }
}
