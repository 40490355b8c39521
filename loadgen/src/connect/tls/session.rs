//! One TLS session of one connection: wire bytes in, plain bytes out, and the other way round.
//!
//! Uses rustls without its buffers: an idle session holds its keys and nothing else, and a thread's
//! memory serves all of its sessions. rustls still allocates for every record that it encrypts or
//! decrypts, which 0.23 leaves no way around. Knows no socket.

use std::fmt;
use std::sync::Arc;

use rustls::Error;
use rustls::client::UnbufferedClientConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};

use super::settings::TlsClient;

/// Bytes that may wait for the rest of their record, or of their handshake message in several
/// records. A handshake message has at most 64 KiB; what is longer is refused by rustls.
const PARTIAL_MAX: usize = 128 * 1024;
/// What a record adds to its payload, generously: header, explicit nonce, kind, tag.
const RECORD_OVERHEAD: usize = 64;
/// Payload of the largest record.
const RECORD_PAYLOAD: usize = 16 * 1024;
/// Room for a handshake flight or an alert; more is asked for when it is needed.
const FLIGHT_SIZE: usize = 1024;

/// Memory that the sessions of a thread use in turn.
#[derive(Debug, Default)]
pub struct SessionMemory {
    /// Lent to a session that holds a part of a record.
    spare: Vec<u8>,
}

/// One TLS session, client side.
pub struct Session {
    connection: UnbufferedClientConnection,
    /// Received bytes that are no whole record yet.
    partial: Vec<u8>,
    server_name: Arc<str>,
    has_peer_finished: bool,
    writing: Writing,
}

/// Whether something can still be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writing {
    /// Yes.
    Open,
    /// We have announced that nothing more comes.
    Finished,
    /// Something was received that TLS refuses. rustls is not to be asked for anything afterwards:
    /// it may still hold places in bytes that are gone.
    Failed,
    /// The keys are used up. TLS 1.3 renews them, TLS 1.2 cannot.
    Exhausted,
}

impl fmt::Debug for Session {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Session")
            .field("server_name", &self.server_name)
            .field("partial_bytes", &self.partial.len())
            .field("has_peer_finished", &self.has_peer_finished)
            .field("writing", &self.writing)
            .finish_non_exhaustive()
    }
}

impl Session {
    /// A session about to begin its handshake.
    ///
    /// # Errors
    /// When rustls refuses what it was set up with.
    pub fn new(client: &TlsClient) -> Result<Session, Error> {
        Ok(Session {
            connection: UnbufferedClientConnection::new(
                Arc::clone(&client.config),
                client.name.clone(),
            )?,
            server_name: Arc::clone(&client.label),
            partial: Vec::new(),
            has_peer_finished: false,
            writing: Writing::Open,
        })
    }

    /// The name that was asked for.
    pub fn server_name(&self) -> &str {
        &self.server_name
    }

    /// Whether the handshake is still going on.
    pub fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// Whether the server has announced that nothing more comes (`close_notify`).
    pub fn has_peer_finished(&self) -> bool {
        self.has_peer_finished
    }

    /// Whether something can still be sent.
    pub fn writing(&self) -> Writing {
        self.writing
    }

    /// Version and cipher suite, once agreed.
    pub fn agreed(&self) -> Option<String> {
        let version = self.connection.protocol_version()?;
        let suite = self.connection.negotiated_cipher_suite()?.suite();
        let version = version
            .as_str()
            .unwrap_or("TLS")
            .replace("TLSv1_", "TLS 1.");
        Some(format!(
            "{version} {}",
            suite.as_str().unwrap_or("unknown suite")
        ))
    }

    /// Takes received bytes: appends what they decrypt to to `plain`, and what TLS itself has to say
    /// (handshake, key updates, alerts) to `out`, which is to be sent before anything else. Also
    /// begins the handshake, when called without bytes.
    ///
    /// # Errors
    /// The session has failed; `out` may hold the alert that tells the server.
    pub fn receive(
        &mut self,
        wire: &mut [u8],
        memory: &mut SessionMemory,
        plain: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        if self.writing == Writing::Failed {
            return Err(Error::General("bytes behind a failure of TLS".into()));
        }
        let outcome = self.take(wire, memory, plain, out);
        if outcome.is_err() {
            self.writing = Writing::Failed;
        }
        outcome
    }

    fn take(
        &mut self,
        wire: &mut [u8],
        memory: &mut SessionMemory,
        plain: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        if self.partial.is_empty() {
            let used = self.advance(wire, plain, out)?;
            let rest = wire.get(used..).unwrap_or_default();
            if !rest.is_empty() {
                self.partial = std::mem::take(&mut memory.spare);
                self.partial.extend_from_slice(rest);
            }
        } else {
            let mut partial = std::mem::take(&mut self.partial);
            partial.extend_from_slice(wire);
            let used = self.advance(&mut partial, plain, out)?;
            partial.drain(..used.min(partial.len()));
            if partial.is_empty() {
                memory.spare = partial;
            } else {
                self.partial = partial;
            }
        }
        if self.partial.len() > PARTIAL_MAX {
            return Err(Error::General("a TLS message without end".into()));
        }
        Ok(())
    }

    /// Lets rustls work off whole records. Returns how many bytes it needs no more.
    fn advance(
        &mut self,
        wire: &mut [u8],
        plain: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<usize, Error> {
        let mut used = 0;
        loop {
            let left = wire.get_mut(used..).unwrap_or_default();
            let UnbufferedStatus { mut discard, state } = self.connection.process_tls_records(left);
            match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record?;
                        plain.extend_from_slice(record.payload);
                        discard += record.discard;
                    }
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    append(out, FLIGHT_SIZE, |space| {
                        data.encode(space).map_err(encode_size)
                    });
                }
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => self.has_peer_finished = true,
                // Everything is worked off, and more bytes are needed for anything else.
                Ok(_) => return Ok(used + discard),
                Err(error) => {
                    let left = wire.get_mut(used + discard..).unwrap_or_default();
                    // The alert that tells the server.
                    if self.connection.wants_write()
                        && let Ok(ConnectionState::EncodeTlsData(mut alert)) =
                            self.connection.process_tls_records(left).state
                    {
                        append(out, FLIGHT_SIZE, |space| {
                            alert.encode(space).map_err(encode_size)
                        });
                    }
                    return Err(error);
                }
            }
            used += discard;
        }
    }

    /// Appends `plain` to `out` as records. Does nothing any more when nothing can be sent:
    /// [`Session::writing`] then says why.
    pub fn encrypt(&mut self, plain: &[u8], out: &mut Vec<u8>) {
        if plain.is_empty() || self.writing != Writing::Open {
            return;
        }
        let records = plain.len() / RECORD_PAYLOAD + 1;
        let guess = plain.len() + records * RECORD_OVERHEAD;
        let is_encrypted = self.with_traffic(out, |traffic, out| {
            append(out, guess, |space| {
                traffic.encrypt(plain, space).map_err(encrypt_size)
            })
        });
        if !is_encrypted {
            self.writing = Writing::Exhausted;
        }
    }

    /// Appends `close_notify` to `out`. Nothing can be sent afterwards.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        if self.writing == Writing::Open {
            self.with_traffic(out, |traffic, out| {
                append(out, FLIGHT_SIZE, |space| {
                    traffic.queue_close_notify(space).map_err(encrypt_size)
                })
            });
            self.writing = Writing::Finished;
        }
    }

    /// Calls `act` when application data may be sent, after what TLS itself had to say.
    fn with_traffic(
        &mut self,
        out: &mut Vec<u8>,
        act: impl FnOnce(
            &mut rustls::unbuffered::WriteTraffic<'_, rustls::client::ClientConnectionData>,
            &mut Vec<u8>,
        ) -> bool,
    ) -> bool {
        loop {
            // The part of a record that waits is shown again: rustls remembers places in it.
            let UnbufferedStatus { state, .. } =
                self.connection.process_tls_records(&mut self.partial);
            match state {
                Ok(ConnectionState::WriteTraffic(mut traffic)) => return act(&mut traffic, out),
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    append(out, FLIGHT_SIZE, |space| {
                        data.encode(space).map_err(encode_size)
                    });
                }
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => self.has_peer_finished = true,
                Ok(_) | Err(_) => return false,
            }
        }
    }
}

/// Lets `encode` write behind what `out` holds; it says how much room it needs when `guess` bytes
/// are too few.
fn append(
    out: &mut Vec<u8>,
    guess: usize,
    mut encode: impl FnMut(&mut [u8]) -> Result<usize, Option<usize>>,
) -> bool {
    let start = out.len();
    let mut size = guess;
    for _ in 0..2 {
        out.resize(start + size, 0);
        match encode(out.get_mut(start..).unwrap_or_default()) {
            Ok(written) => {
                out.truncate(start + written);
                return true;
            }
            Err(Some(required)) => size = required,
            Err(None) => break,
        }
    }
    out.truncate(start);
    false
}

fn encode_size(error: EncodeError) -> Option<usize> {
    match error {
        EncodeError::InsufficientSize(error) => Some(error.required_size),
        EncodeError::AlreadyEncoded => None,
    }
}

fn encrypt_size(error: EncryptError) -> Option<usize> {
    match error {
        EncryptError::InsufficientSize(error) => Some(error.required_size),
        EncryptError::EncryptExhausted => None,
    }
}
