//! A socket that an establishment task still owns, with or without TLS: plain bytes in and out.
//!
//! Owns the order of things on the wire: what TLS has to say leaves before what comes after it.

use std::io;

use fanwire_reactor::establish::Stream;

use crate::connect::link::{Link, LinkState, ReadMemory, WriteMemory};
use crate::connect::tls::TlsClient;

/// Bytes asked for at once: a whole record of TLS, or a large part of a response.
const RECEIVE_AT_MOST: usize = 16 * 1024 + 512;

/// Why nothing more comes or goes.
#[derive(Debug)]
pub enum LineError {
    /// The socket.
    Socket(io::Error),
    /// TLS, with a sentence.
    Tls(String),
}

impl From<io::Error> for LineError {
    fn from(error: io::Error) -> LineError {
        LineError::Socket(error)
    }
}

impl std::fmt::Display for LineError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            LineError::Socket(error) => error.fmt(formatter),
            LineError::Tls(sentence) => formatter.write_str(sentence),
        }
    }
}

/// A socket and what lies between it and the frames.
pub struct Line {
    /// The socket.
    pub stream: Stream,
    /// TLS or nothing.
    pub link: Link,
    reading: ReadMemory,
    writing: WriteMemory,
    wire: Vec<u8>,
    has_ended: bool,
}

impl Line {
    /// Without TLS.
    pub fn plain(stream: Stream) -> Line {
        Line {
            stream,
            link: Link::plain(),
            reading: ReadMemory::default(),
            writing: WriteMemory::default(),
            wire: Vec::new(),
            has_ended: false,
        }
    }

    /// Performs the TLS handshake.
    ///
    /// # Errors
    /// Why it failed. A server that ends the connection instead is a failure of TLS.
    pub async fn secure(stream: Stream, client: &TlsClient) -> Result<Line, LineError> {
        let mut line = Line::plain(stream);
        line.link = Link::secured(client).map_err(LineError::Tls)?;
        // Without bytes to take, it begins to speak. A server has nothing to say to us before the
        // opening handshake, so nothing is decrypted here.
        let mut early = Vec::new();
        line.take(&mut early).await?;
        while line.link.is_handshaking() {
            let hint = "a server that speaks plain WebSocket on this port would do that: use ws://";
            let count = line.receive_wire().await.map_err(|error| {
                LineError::Tls(format!(
                    "the connection broke during the TLS handshake ({error}); {hint}"
                ))
            })?;
            if count == 0 {
                return Err(LineError::Tls(format!(
                    "the server ended the connection during the TLS handshake; {hint}"
                )));
            }
            line.take(&mut early).await?;
        }
        Ok(line)
    }

    /// Sends plain bytes and gives the memory back.
    ///
    /// # Errors
    /// What send(2) reports.
    pub async fn send_all(&mut self, plain: Vec<u8>) -> (Result<(), LineError>, Vec<u8>) {
        if !self.link.is_secured() {
            let (sent, plain) = self.stream.send_all(plain).await;
            return (sent.map_err(LineError::from), plain);
        }
        let mut wire = std::mem::take(&mut self.wire);
        wire.clear();
        self.link.write(&mut wire, &mut self.writing, |out| {
            out.extend_from_slice(&plain);
        });
        let (sent, wire) = self.stream.send_all(wire).await;
        self.wire = wire;
        (sent.map_err(LineError::from), plain)
    }

    /// Receives some plain bytes, about `at_most`, and appends them. 0 is the end of the stream.
    ///
    /// # Errors
    /// What recv(2) reports, and failures of TLS.
    pub async fn receive(
        &mut self,
        plain: &mut Vec<u8>,
        at_most: usize,
    ) -> Result<usize, LineError> {
        if !self.link.is_secured() {
            return Ok(self.stream.receive(plain, at_most).await?);
        }
        let filled = plain.len();
        while !self.has_ended {
            self.has_ended = self.receive_wire().await? == 0;
            self.take(plain).await?;
            if plain.len() > filled {
                break;
            }
        }
        Ok(plain.len() - filled)
    }

    /// Replaces what lies in `wire`.
    async fn receive_wire(&mut self) -> io::Result<usize> {
        self.wire.clear();
        self.stream.receive(&mut self.wire, RECEIVE_AT_MOST).await
    }

    /// Decrypts what lies in `wire` and sends what TLS answers.
    async fn take(&mut self, plain: &mut Vec<u8>) -> Result<(), LineError> {
        let heard = self.link.read(&mut self.wire, &mut self.reading);
        plain.extend_from_slice(heard.plain);
        let (replies, state) = (heard.replies.to_vec(), heard.state);
        self.wire.clear();
        if !replies.is_empty() {
            let (sent, _) = self.stream.send_all(replies).await;
            // An alert that cannot be sent says less than what it was about.
            if state == LinkState::Open {
                sent?;
            }
        }
        match state {
            LinkState::Open => Ok(()),
            LinkState::Finished => {
                self.has_ended = true;
                Ok(())
            }
            LinkState::Failed(sentence) => Err(LineError::Tls(sentence)),
        }
    }
}
