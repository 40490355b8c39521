//! One connection from nothing to open: TCP connect, TLS handshake, opening handshake, each with a
//! deadline.
//!
//! Owns the names of everything that can go wrong on the way. What happens on the open connection
//! is the business of `worker`, `storm` and `conformance`, which all come through here.

use std::cell::Cell;
use std::io;
use std::net::{IpAddr, SocketAddr};

use fanwire_protocol::DeflateParameters;
use fanwire_protocol::handshake::{ClientRequest, DeflateOffer, ResponseError};
use fanwire_reactor::establish::{SocketOptions, connect, within};
use fanwire_reactor::host::monotonic_ns;

use crate::churn::backoff::retry_after_ms;
use crate::config::Config;
use crate::connect::line::{Line, LineError};
use crate::connect::refusal;
use crate::connect::tls::TlsClient;

/// The opening handshake that all connections of a run send, but for its key and the `Host`.
#[derive(Clone, Debug)]
pub struct Greeting {
    /// Request target.
    pub request_target: String,
    /// Origin header field.
    pub origin: Option<String>,
    /// Subprotocols in order of preference.
    pub subprotocols: Vec<String>,
    /// permessage-deflate.
    pub deflate: Option<DeflateOffer>,
    /// Further header fields.
    pub headers: Vec<(String, String)>,
}

impl Greeting {
    /// What the command line asks for.
    pub fn of(config: &Config) -> Greeting {
        Greeting {
            request_target: config.target.request_target.clone(),
            origin: config.origin.clone(),
            subprotocols: config.subprotocols.clone(),
            deflate: config.deflate,
            headers: config.headers.clone(),
        }
    }
}

/// Where to, with which words, and how long to wait.
#[derive(Clone, Copy, Debug)]
pub struct Way<'a> {
    /// The server.
    pub address: SocketAddr,
    /// The address to connect from; `None` leaves it to the kernel.
    pub source: Option<IpAddr>,
    /// `Host` header field.
    pub host: &'a str,
    /// The opening handshake.
    pub greeting: &'a Greeting,
    /// `wss://`.
    pub tls: Option<&'a TlsClient>,
    /// Longest time for the TCP connect, the TLS handshake and the opening handshake, each.
    pub timeout_ms: u64,
}

/// An open connection.
pub struct Opened {
    /// The socket, and TLS on it.
    pub line: Line,
    /// What was agreed on compression.
    pub deflate: Option<DeflateParameters>,
    /// Bytes that came behind the response head: the first frames.
    pub first_bytes: Vec<u8>,
    /// Duration of the TCP connect.
    pub connect_ns: u64,
    /// Duration of the TLS handshake, where there was one.
    pub tls_ns: Option<u64>,
    /// Duration of the opening handshake.
    pub upgrade_ns: u64,
}

/// Why a connection was not opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenFailure {
    /// Stable name, used as a key in reports.
    pub kind: String,
    /// A sentence about this one.
    pub detail: String,
    /// TCP was established, and for how long it took; a handshake failed.
    pub connect_ns: Option<u64>,
    /// TLS was established too, and for how long it took; the opening handshake failed.
    pub tls_ns: Option<u64>,
    /// The server refused and asked for a wait (`Retry-After`).
    pub retry_after_ms: Option<u64>,
}

fn failure(kind: &str, detail: impl Into<String>) -> OpenFailure {
    OpenFailure {
        kind: kind.to_owned(),
        detail: detail.into(),
        connect_ns: None,
        tls_ns: None,
        retry_after_ms: None,
    }
}

/// A response head larger than this is refused by the protocol library; the buffer never grows
/// further.
const RECEIVE_AT_MOST: usize = 4_096;
/// How long the body of a refusal is waited for, so that it can be quoted.
const BODY_WAIT_MS: u64 = 100;

/// Opens one connection.
///
/// # Errors
/// The kind of failure and a sentence about it. The socket is closed by then.
pub async fn open(way: &Way<'_>, nonce: [u8; 16]) -> Result<Opened, OpenFailure> {
    let timeout_ms = way.timeout_ms;
    let begun_ns = monotonic_ns();
    let stream = match within(timeout_ms, connect(way.address, way.source)).await {
        Some(Ok(stream)) => stream,
        Some(Err(error)) => return Err(connect_failure(&error, way.source)),
        None => {
            let detail = format!("no answer to the TCP connect within {timeout_ms} ms");
            return Err(failure("connect_timeout", detail));
        }
    };
    let connected_ns = monotonic_ns();
    let connect_ns = connected_ns.saturating_sub(begun_ns);
    // Without it Nagle's algorithm would hold back what is sent while a reply is awaited. A
    // socket that refuses the option is about to fail anyway.
    let _ = stream.set_options(&SocketOptions {
        nodelay: true,
        ..SocketOptions::default()
    });
    let at = |tls_ns: Option<u64>| {
        move |failed: OpenFailure| OpenFailure {
            connect_ns: Some(connect_ns),
            tls_ns,
            ..failed
        }
    };
    let (mut line, tls_ns) = match way.tls {
        None => (Line::plain(stream), None),
        Some(client) => {
            let line = match within(timeout_ms, Line::secure(stream, client)).await {
                Some(Ok(line)) => line,
                Some(Err(error)) => {
                    return Err(at(None)(failure("tls_failed", error.to_string())));
                }
                None => return Err(at(None)(tls_timeout(timeout_ms))),
            };
            (line, Some(monotonic_ns().saturating_sub(connected_ns)))
        }
    };
    let secured_ns = monotonic_ns();
    let came = Cell::new(0);
    let handshake = shake_hands(&mut line, way, nonce, &came);
    let (deflate, first_bytes) = match within(timeout_ms, handshake).await {
        Some(outcome) => outcome.map_err(at(tls_ns))?,
        None => return Err(at(tls_ns)(upgrade_timeout(timeout_ms, came.get(), way))),
    };
    Ok(Opened {
        line,
        deflate,
        first_bytes,
        connect_ns,
        tls_ns,
        upgrade_ns: monotonic_ns().saturating_sub(secured_ns),
    })
}

fn tls_timeout(timeout_ms: u64) -> OpenFailure {
    failure(
        "tls_timeout",
        format!(
            "the TLS handshake was not complete within {timeout_ms} ms; a server that speaks plain \
             WebSocket on this port would not answer it: then use ws://"
        ),
    )
}

fn upgrade_timeout(timeout_ms: u64, came: usize, way: &Way<'_>) -> OpenFailure {
    let hint = match (came, way.tls) {
        (0, None) => "nothing came; if the server speaks TLS on this port, use wss://".to_owned(),
        (0, Some(_)) => "nothing came".to_owned(),
        _ => format!("{came} bytes of it came"),
    };
    failure(
        "upgrade_timeout",
        format!("no complete answer to the opening handshake within {timeout_ms} ms: {hint}"),
    )
}

/// Sends the request and reads the response. `came` shows how much of it has arrived.
async fn shake_hands(
    line: &mut Line,
    way: &Way<'_>,
    nonce: [u8; 16],
    came: &Cell<usize>,
) -> Result<(Option<DeflateParameters>, Vec<u8>), OpenFailure> {
    let greeting = way.greeting;
    let mut request = Vec::with_capacity(512);
    let mut reader = {
        let subprotocols: Vec<&str> = greeting.subprotocols.iter().map(String::as_str).collect();
        let headers: Vec<(&str, &str)> = greeting
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        ClientRequest {
            host: way.host,
            target: &greeting.request_target,
            origin: greeting.origin.as_deref(),
            subprotocols: &subprotocols,
            deflate: greeting.deflate,
            headers: &headers,
        }
        .write_to(nonce, &mut request)
        .map_err(|misuse| failure("request_invalid", misuse.to_string()))?
    };
    let (sent, mut received) = line.send_all(request).await;
    sent.map_err(|error| broken(&error))?;
    received.clear();
    loop {
        let count = line
            .receive(&mut received, RECEIVE_AT_MOST)
            .await
            .map_err(|error| broken(&error))?;
        came.set(received.len());
        if count == 0 {
            return Err(closed(&received, way));
        }
        match reader.advance(&received) {
            Ok(None) => {}
            Ok(Some(established)) => {
                received.drain(..established.head_len.min(received.len()));
                return Ok((established.deflate, received));
            }
            Err(error) => return Err(refused(line, received, &error, way).await),
        }
    }
}

/// The server said something else than 101, or nothing that can be understood.
async fn refused(
    line: &mut Line,
    mut received: Vec<u8>,
    error: &ResponseError,
    way: &Way<'_>,
) -> OpenFailure {
    let missing = refusal::missing_body(&received);
    if missing > 0 {
        let mut body = Vec::new();
        let waited = within(BODY_WAIT_MS, async {
            // One more piece is enough for a person to see what it is about.
            let _ = line.receive(&mut body, missing).await;
            body
        });
        received.extend(waited.await.unwrap_or_default());
    }
    let (kind, detail) = refusal::explain(error, &received, way.tls.is_some());
    OpenFailure {
        retry_after_ms: match error {
            ResponseError::Status(_) => retry_after_ms(&received),
            _ => None,
        },
        ..failure(&kind, detail)
    }
}

fn closed(received: &[u8], way: &Way<'_>) -> OpenFailure {
    let mut detail = "the server closed the connection during the opening handshake".to_owned();
    if !received.is_empty() {
        detail.push_str(&format!(", after {}", refusal::quoted(received)));
    } else if way.tls.is_none() {
        detail.push_str("; if it speaks TLS on this port, use wss://");
    }
    failure("upgrade_closed", detail)
}

fn broken(error: &LineError) -> OpenFailure {
    failure(
        "upgrade_broken",
        format!("during the opening handshake: {error}"),
    )
}

fn connect_failure(error: &io::Error, source: Option<IpAddr>) -> OpenFailure {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => failure(
            "connect_refused",
            "nothing listens at this address and port",
        ),
        io::ErrorKind::AddrNotAvailable => {
            let from = source.map_or_else(String::new, |source| format!(" of {source}"));
            let detail = format!(
                "no free port{from} towards the server is left ({error}); pass more addresses with \
                 --source or more target ports with --ports, or widen net.ipv4.ip_local_port_range"
            );
            failure("source_ports_exhausted", detail)
        }
        _ if is_fd_limit(error) => {
            let detail = format!("{error}; raise the limit of open files (ulimit -n)");
            failure("fd_limit", detail)
        }
        _ => failure("connect_failed", format!("TCP connect: {error}")),
    }
}

/// EMFILE and ENFILE, which `io::ErrorKind` does not tell apart.
fn is_fd_limit(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(23 | 24))
}
