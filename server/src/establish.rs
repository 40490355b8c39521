//! From an accepted socket to an answered opening handshake, as tasks beside the data path.
//!
//! It owns the accept loop and the conversation. It must not know frames: the answer, 101 or
//! refusal, leaves on the data path together with the socket.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fanwire_protocol::handshake::{Acceptance, DeflatePolicy, Rejection, Request, RequestReader};
use fanwire_reactor::Handle;
use fanwire_reactor::establish::{ListenSocket, Stream, sleep_ms, within};

use crate::admission::Admission;
use crate::allow_list::{Host, Origin, host_allowed, origin_allowed};
use crate::connections::{Admitted, Established};
use crate::handler::Handler;
use crate::limits::Limits;
use crate::reception::{InProgress, Reception};
use crate::shard::{REFUSAL_LINGER_MS, Shard};
use crate::upgrade::{Decision, UpgradeRequest};

/// First and longest pause when the host has no descriptor or memory left for another socket.
const BACKOFF_MS: std::ops::RangeInclusive<u64> = 10..=1_000;
/// Accepting has recovered when it has not been short of anything for this long.
const EPISODE: Duration = Duration::from_secs(1);
/// Seconds after which a refused client may try again.
const RETRY_AFTER_SECONDS: u32 = 5;
/// Sockets beyond the connection limit that may be waiting to be told so, per core. Above it
/// they are reset.
const REFUSALS_MAX: usize = 1024;
/// Bytes that are read from a peer after it was told that it was too late.
const LATE_READ_MAX: usize = 64 << 10;
/// Why a client that comes during a drain is refused.
const SHUTTING_DOWN: &str = "This server is shutting down; connect again later.";
/// Why a client that takes too long is refused.
const TOO_LATE: &str =
    "The opening handshake was not finished in time; send the whole request at once.";
/// Bytes asked of a socket at once while its request head comes.
const HEAD_CHUNK: usize = 2048;

/// What opening handshakes are judged by; the same for all cores.
#[derive(Debug)]
pub(crate) struct Rules {
    pub(crate) limits: Arc<Limits>,
    pub(crate) origins: Vec<Origin>,
    pub(crate) hosts: Vec<Host>,
    pub(crate) deflate: Option<DeflatePolicy>,
}

/// Everything the establishment tasks of one core need.
pub(crate) struct Establishment<H: Handler> {
    pub(crate) handle: Handle<Shard<H>>,
    pub(crate) reception: Rc<Reception>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) rules: Arc<Rules>,
}

/// How a conversation ended, unless it ended by itself.
enum Outcome<S> {
    Accepted(Vec<u8>, Established<S>),
    Rejected(Rejection),
    /// The peer went away before it had asked for anything.
    Abandoned,
}

impl<S> From<Rejection> for Outcome<S> {
    fn from(rejection: Rejection) -> Outcome<S> {
        Outcome::Rejected(rejection)
    }
}

fn overloaded(detail: &'static str) -> Rejection {
    Rejection {
        retry_after_seconds: Some(RETRY_AFTER_SECONDS),
        ..Rejection::new(503, detail)
    }
}

/// Whether accepting failed because the host ran out of something, which trying again at once
/// would not change.
fn is_exhaustion(error: &io::Error) -> bool {
    /// ENOMEM, ENFILE, EMFILE, ENOBUFS on Linux.
    const EXHAUSTED: [i32; 4] = [12, 23, 24, 105];
    error
        .raw_os_error()
        .is_some_and(|code| EXHAUSTED.contains(&code))
}

impl<H: Handler> Establishment<H> {
    /// Accepts until the shard ends or drains.
    pub(crate) async fn accept_all(self: Rc<Self>, socket: ListenSocket) {
        let begun = socket.into_listener().and_then(|listener| {
            let closer = listener.closer()?;
            Ok((listener, closer))
        });
        let mut listener = match begun {
            Ok((listener, closer)) => {
                self.reception.close_on_drain(closer);
                listener
            }
            Err(error) => {
                tracing::error!(
                    "this core cannot listen: {error}; raise the limit of open files (ulimit -n)"
                );
                self.handle.stop();
                return;
            }
        };
        let mut backoff_ms = 0;
        let mut exhausted_at = None;
        while !self.reception.is_draining() && !self.handle.is_stopping() {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    backoff_ms = 0;
                    if exhausted_at.is_some_and(|at: Instant| at.elapsed() > EPISODE) {
                        tracing::info!("accepting connections again");
                        exhausted_at = None;
                    }
                    self.reception.count(|counters| counters.accepted += 1);
                    self.clone().welcome(stream, peer);
                }
                Err(error) if is_exhaustion(&error) => {
                    // Descriptors come and go one by one while they are short, so an episode ends
                    // only with some time in which they sufficed.
                    if exhausted_at.replace(Instant::now()).is_none() {
                        self.reception
                            .count(|counters| counters.accept_backoffs += 1);
                        tracing::warn!(
                            "cannot accept connections: {error}; established ones are served, \
                             accepting is tried again from {} ms to {} ms apart. Raise the limit \
                             of open files (ulimit -n) or lower connections_max",
                            BACKOFF_MS.start(),
                            BACKOFF_MS.end(),
                        );
                    }
                    backoff_ms = (backoff_ms * 2).clamp(*BACKOFF_MS.start(), *BACKOFF_MS.end());
                    sleep_ms(backoff_ms).await;
                }
                // The connection that was to be accepted is gone: that is its own affair. The
                // pause keeps an error that does not go away from taking the whole core.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    tracing::debug!("accept: {error}");
                    sleep_ms(*BACKOFF_MS.start()).await;
                }
            }
        }
    }

    /// Admits a new socket to the conversation or refuses it at the door.
    fn welcome(self: Rc<Self>, stream: Stream, peer: SocketAddr) {
        let limits = &self.rules.limits;
        if self.reception.is_draining() {
            self.refuse(stream, &overloaded(SHUTTING_DOWN));
            return;
        }
        if self.admission.is_full() {
            self.refuse(stream, &self.full());
            return;
        }
        let begun = self.reception.begin(
            peer.ip(),
            limits.handshakes_max,
            limits.handshakes_per_address_max,
        );
        let Some(in_progress) = begun else {
            let detail = "Too many opening handshakes are in progress; connect again later.";
            self.refuse(stream, &overloaded(detail));
            return;
        };
        let handle = self.handle.clone();
        handle.spawn(async move {
            self.converse(&in_progress, stream, peer).await;
            drop(in_progress);
            if self.reception.is_draining() {
                self.handle.with(|shard, io| shard.stop_if_over(io));
            }
        });
    }

    fn full(&self) -> Rejection {
        overloaded("The server has as many connections as it may have; connect again later.")
    }

    /// Sends a refusal and closes.
    fn refuse(&self, stream: Stream, rejection: &Rejection) {
        self.reception
            .count(|counters| counters.refuse(rejection.status));
        let connections_max = self.rules.limits.connections_max as usize;
        if self.handle.open_count() > connections_max.saturating_add(REFUSALS_MAX) {
            self.reception
                .count(|counters| counters.refusals_dropped += 1);
            // An open socket always takes this option.
            let _ = stream.reset_on_close();
            return;
        }
        let mut response = self.reception.take_buffer();
        rejection.write_to(&mut response);
        self.handle.adopt(stream, Admitted::Refused(response));
    }

    async fn converse(&self, in_progress: &InProgress, mut stream: Stream, peer: SocketAddr) {
        let mut head = self.reception.take_buffer();
        let deadline_ms = self.rules.limits.handshake_timeout_ms;
        let conversation = self.negotiate(&mut stream, &mut head, peer);
        let outcome = within(deadline_ms, in_progress.unless_draining(conversation)).await;
        self.reception.give_buffer(head);
        match outcome {
            Some(Some(outcome)) => self.conclude(stream, outcome),
            Some(None) => self.interrupt(stream, &overloaded(SHUTTING_DOWN)).await,
            None => self.interrupt(stream, &Rejection::new(408, TOO_LATE)).await,
        }
    }

    fn conclude(&self, stream: Stream, outcome: Outcome<H::State>) {
        match outcome {
            Outcome::Accepted(response, established) => {
                let Some(place) = self.admission.admit() else {
                    self.refuse(stream, &self.full());
                    return;
                };
                place.keep();
                self.reception.count(|counters| counters.upgraded += 1);
                self.handle
                    .adopt(stream, Admitted::Established(response, established));
            }
            Outcome::Rejected(rejection) => self.refuse(stream, &rejection),
            Outcome::Abandoned => {
                self.reception
                    .count(|counters| counters.handshakes_abandoned += 1);
            }
        }
    }

    /// Refuses a peer in the middle of the conversation. The receive that was given up may still
    /// be known to the kernel, so the socket cannot change hands: it is answered and closed from
    /// here.
    async fn interrupt(&self, mut stream: Stream, rejection: &Rejection) {
        self.reception
            .count(|counters| counters.refuse(rejection.status));
        let mut response = self.reception.take_buffer();
        rejection.write_to(&mut response);
        let farewell = async {
            let (sent, mut buffer) = stream.send_all(response).await;
            if sent.and_then(|()| stream.finish()).is_err() {
                return;
            }
            // What the peer still sends is read, because closing with unread bytes is a reset,
            // which could overtake the answer.
            let mut unread = LATE_READ_MAX;
            while unread > 0 && !self.reception.is_hurried() {
                buffer.clear();
                match stream.receive(&mut buffer, HEAD_CHUNK).await {
                    Ok(received) if received > 0 => unread = unread.saturating_sub(received),
                    _ => break,
                }
            }
            self.reception.give_buffer(buffer);
        };
        // A peer that does not close by itself is closed when this is over.
        let _ = within(REFUSAL_LINGER_MS, farewell).await;
    }

    /// Reads the request and answers it.
    async fn negotiate(
        &self,
        stream: &mut Stream,
        head: &mut Vec<u8>,
        peer: SocketAddr,
    ) -> Outcome<H::State> {
        let mut reader = RequestReader::new(self.rules.limits.handshake());
        let request = loop {
            match stream.receive(head, HEAD_CHUNK).await {
                Ok(0) | Err(_) => return Outcome::Abandoned,
                Ok(_) => {}
            }
            match reader.advance(head) {
                Ok(Some(request)) => break request,
                Ok(None) => {}
                Err(rejection) => return rejection.into(),
            }
        };
        self.decide(&request, peer)
            .await
            .unwrap_or_else(Outcome::Rejected)
    }

    async fn decide(
        &self,
        request: &Request<'_>,
        peer: SocketAddr,
    ) -> Result<Outcome<H::State>, Rejection> {
        if !host_allowed(&self.rules.hosts, request.host()) {
            let detail = "This server does not answer for that host; it has to be started with \
                          --host for it.";
            return Err(Rejection::new(421, detail));
        }
        if !origin_allowed(&self.rules.origins, request.origin()) {
            let detail = "Pages of that origin may not connect; the server has to be started \
                          with --origin for it.";
            return Err(Rejection::new(403, detail));
        }
        let upgrade = UpgradeRequest::new(request, peer);
        // Boxed, so that its type does not name the borrow of the shard it was made under.
        let decision = self
            .handle
            .with(|shard, _| -> Pin<Box<dyn Future<Output = _>>> {
                Box::pin(shard.handler.on_upgrade(&upgrade))
            });
        let (state, subprotocol) = match decision.await.0 {
            Decision::Accept { state, subprotocol } => (state, subprotocol),
            Decision::Refuse { status, detail } => return Err(Rejection::new(status, detail)),
        };
        if self.reception.is_draining() {
            return Err(overloaded(SHUTTING_DOWN));
        }
        let deflate = self
            .rules
            .deflate
            .as_ref()
            .and_then(|policy| request.negotiate_deflate(policy));
        let mut response = self.reception.take_buffer();
        let acceptance = Acceptance {
            subprotocol,
            deflate,
            headers: &[],
        };
        if let Err(misuse) = request.accept(&acceptance, &mut response) {
            tracing::error!("the handler's answer to an opening handshake is not valid: {misuse}");
            return Err(Rejection::new(
                500,
                "The server made an invalid answer; tell its operator.",
            ));
        }
        Ok(Outcome::Accepted(
            response,
            Established {
                deflate,
                peer,
                subprotocol,
                state,
            },
        ))
    }
}
