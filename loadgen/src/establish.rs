//! One connection from nothing to open: TCP connect, opening handshake, both with a deadline.
//!
//! Owns the names of everything that can go wrong on the way. What happens on the open connection
//! is the business of `worker`, `storm` and `conformance`, which all come through here.

use std::io;
use std::net::{IpAddr, SocketAddr};

use fanwire_protocol::DeflateParameters;
use fanwire_protocol::handshake::{ClientRequest, DeflateOffer, ResponseError};
use fanwire_reactor::establish::{SocketOptions, Stream, connect, within};
use fanwire_reactor::host::monotonic_ns;

use crate::churn::backoff::retry_after_ms;
use crate::config::Config;

/// The opening handshake that all connections of a run send, but for its key.
#[derive(Clone, Debug)]
pub struct Greeting {
    /// Host header field.
    pub host: String,
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
            host: config.target.host_header(),
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
    /// The opening handshake.
    pub greeting: &'a Greeting,
    /// Longest time for the TCP connect, and for the opening handshake, each.
    pub timeout_ms: u64,
}

/// An open connection.
#[derive(Debug)]
pub struct Opened {
    /// The socket.
    pub stream: Stream,
    /// What was agreed on compression.
    pub deflate: Option<DeflateParameters>,
    /// Bytes that came behind the response head: the first frames.
    pub first_bytes: Vec<u8>,
    /// Duration of the TCP connect.
    pub connect_ns: u64,
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
    /// TCP was established, and for how long it took; the handshake failed.
    pub connect_ns: Option<u64>,
    /// The server refused and asked for a wait (`Retry-After`).
    pub retry_after_ms: Option<u64>,
}

fn failure(kind: &str, detail: impl Into<String>, connect_ns: Option<u64>) -> OpenFailure {
    OpenFailure {
        kind: kind.to_owned(),
        detail: detail.into(),
        connect_ns,
        retry_after_ms: None,
    }
}

/// A response head larger than this is refused by the protocol library; the buffer never grows
/// further.
const RECEIVE_AT_MOST: usize = 4_096;

/// Opens one connection.
///
/// # Errors
/// The kind of failure and a sentence about it. The socket is closed by then.
pub async fn open(
    way: &Way<'_>,
    source: Option<IpAddr>,
    nonce: [u8; 16],
) -> Result<Opened, OpenFailure> {
    let timeout_ms = way.timeout_ms;
    let begun_ns = monotonic_ns();
    let stream = match within(timeout_ms, connect(way.address, source)).await {
        Some(Ok(stream)) => stream,
        Some(Err(error)) => return Err(connect_failure(&error, source)),
        None => {
            let detail = format!("no answer to the TCP connect within {timeout_ms} ms");
            return Err(failure("connect_timeout", detail, None));
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
    let handshake = within(timeout_ms, shake_hands(stream, way.greeting, nonce)).await;
    match handshake {
        Some(Ok((stream, deflate, first_bytes))) => Ok(Opened {
            stream,
            deflate,
            first_bytes,
            connect_ns,
            upgrade_ns: monotonic_ns().saturating_sub(connected_ns),
        }),
        Some(Err(mut failed)) => {
            failed.connect_ns = Some(connect_ns);
            Err(failed)
        }
        None => {
            let detail =
                format!("no complete answer to the opening handshake within {timeout_ms} ms");
            Err(failure("upgrade_timeout", detail, Some(connect_ns)))
        }
    }
}

async fn shake_hands(
    mut stream: Stream,
    greeting: &Greeting,
    nonce: [u8; 16],
) -> Result<(Stream, Option<DeflateParameters>, Vec<u8>), OpenFailure> {
    let mut request = Vec::with_capacity(512);
    let mut reader = {
        let subprotocols: Vec<&str> = greeting.subprotocols.iter().map(String::as_str).collect();
        let headers: Vec<(&str, &str)> = greeting
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        ClientRequest {
            host: &greeting.host,
            target: &greeting.request_target,
            origin: greeting.origin.as_deref(),
            subprotocols: &subprotocols,
            deflate: greeting.deflate,
            headers: &headers,
        }
        .write_to(nonce, &mut request)
        .map_err(|misuse| failure("request_invalid", misuse.to_string(), None))?
    };
    let (sent, mut received) = stream.send_all(request).await;
    sent.map_err(|error| broken(&error))?;
    received.clear();
    loop {
        let count = stream
            .receive(&mut received, RECEIVE_AT_MOST)
            .await
            .map_err(|error| broken(&error))?;
        if count == 0 {
            let detail = "the server closed the connection during the opening handshake";
            return Err(failure("upgrade_closed", detail, None));
        }
        match reader.advance(&received) {
            Ok(None) => {}
            Ok(Some(established)) => {
                received.drain(..established.head_len.min(received.len()));
                return Ok((stream, established.deflate, received));
            }
            Err(error) => return Err(refused(error, &received)),
        }
    }
}

fn refused(error: ResponseError, head: &[u8]) -> OpenFailure {
    match error {
        ResponseError::Status(status) => OpenFailure {
            retry_after_ms: retry_after_ms(head),
            ..failure(&format!("upgrade_status_{status}"), error.to_string(), None)
        },
        _ => failure("upgrade_invalid", error.to_string(), None),
    }
}

fn broken(error: &io::Error) -> OpenFailure {
    failure(
        "upgrade_broken",
        format!("during the opening handshake: {error}"),
        None,
    )
}

fn connect_failure(error: &io::Error, source: Option<IpAddr>) -> OpenFailure {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => failure(
            "connect_refused",
            "nothing listens at this address and port",
            None,
        ),
        io::ErrorKind::AddrNotAvailable => {
            let from = source.map_or_else(String::new, |source| format!(" of {source}"));
            let detail = format!(
                "no free port{from} towards the server is left ({error}); pass more addresses with \
                 --source, or widen net.ipv4.ip_local_port_range"
            );
            failure("source_ports_exhausted", detail, None)
        }
        _ if is_fd_limit(error) => {
            let detail = format!("{error}; raise the limit of open files (ulimit -n)");
            failure("fd_limit", detail, None)
        }
        _ => failure("connect_failed", format!("TCP connect: {error}"), None),
    }
}

/// EMFILE and ENFILE, which `io::ErrorKind` does not tell apart.
fn is_fd_limit(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(23 | 24))
}
