//! A scripted server on a thread of its own: starting, stopping, and what it saw.
//!
//! It shares the reactor and the protocol crate with the generator, never the generator's own
//! client code, and it knows nothing of what is measured. What it does is a [`Script`]; whom it
//! lets in is an [`Entrance`].

mod application;
mod entrance;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc::{self, Receiver};
use std::thread::JoinHandle;
use std::time::Duration;

use fanwire_reactor::establish::{ListenOptions, SocketOptions, listen};
use fanwire_reactor::{Core, CoreOptions, MailSender, mailbox};

use crate::measure::latency::Latency;
use crate::selftest::script::Script;
use application::{Order, Stagehand};

/// Whom the server lets in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entrance {
    /// Everybody.
    Everybody,
    /// TCP connections are accepted, and their opening handshake is never answered.
    Mute,
    /// Every n-th opening handshake is refused with 503, the others are answered.
    RefusesEvery(u32),
    /// So many connections are accepted; the others stay in the listen queue.
    AcceptsOnly(u32),
}

/// How a scripted server runs.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// CPU to pin its thread to.
    pub processor: Option<usize>,
    /// Never sleep, so that answers are due to the microsecond.
    pub spin: bool,
    /// Length of the listen queue.
    pub backlog: u32,
}

/// What a server saw and did.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// TCP connections accepted.
    pub accepted: u64,
    /// Opening handshakes answered with 101.
    pub upgraded: u64,
    /// Opening handshakes refused.
    pub refused: u64,
    /// Messages that arrived.
    pub heard: u64,
    /// Pongs that arrived.
    pub pongs: u64,
    /// How late the server said what it had to say: its own noise.
    pub late: Latency,
}

/// A running server. Dropping it leaves the thread to the end of the process; [`Server::stop`] is
/// the way to get the script back.
pub struct Server<S: Script> {
    address: SocketAddr,
    mail: MailSender<Order>,
    results: Receiver<(S, Seen)>,
    thread: JoinHandle<()>,
}

/// Longest time for the thread to start, and to end.
const PATIENCE: Duration = Duration::from_secs(10);
/// A spin budget that no test outlasts.
const SPIN_US: u32 = u32::MAX;

impl<S: Script> Server<S> {
    /// Starts a server on a free port of loopback.
    ///
    /// # Errors
    /// When there is no port, thread, descriptor or processor for it; the sentence says which.
    pub fn start(script: S, entrance: Entrance, place: Place) -> Result<Server<S>, String> {
        let listen_options = ListenOptions {
            backlog: place.backlog,
            ..ListenOptions::default()
        };
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let socket = listen(any_port, &listen_options)
            .map_err(|error| format!("no port for a scripted server: {error}"))?;
        let address = socket
            .local_address()
            .map_err(|error| format!("a scripted server without an address: {error}"))?;
        socket
            .set_options(&SocketOptions {
                nodelay: true,
                ..SocketOptions::default()
            })
            .map_err(|error| format!("a scripted server's socket: {error}"))?;
        let (mut senders, receiver) =
            mailbox(1, 4).map_err(|error| format!("cannot create a mailbox: {error}"))?;
        let mail = senders.pop().ok_or("a mailbox without a sender")?;
        let (result_sender, results) = mpsc::channel();
        let (started_sender, started) = mpsc::channel();
        let core_options = CoreOptions {
            processor: place.processor,
            spin_us: if place.spin { SPIN_US } else { 0 },
            ..CoreOptions::default()
        };
        let body = move || match Core::build(&core_options, receiver) {
            Err(error) => drop(started_sender.send(Err(error.to_string()))),
            Ok(core) => {
                // The starter waits for it.
                let _ = started_sender.send(Ok(()));
                let stagehand = Stagehand::new(script, result_sender);
                core.run(stagehand, async move |handle| {
                    entrance::welcome(handle, socket, entrance).await;
                });
            }
        };
        let thread = std::thread::Builder::new()
            .name("scripted".into())
            .spawn(body)
            .map_err(|error| format!("cannot start a thread: {error}"))?;
        started
            .recv_timeout(PATIENCE)
            .map_err(|_| "a scripted server did not start")??;
        Ok(Server {
            address,
            mail,
            results,
            thread,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A URL of it; `path` begins with a slash.
    pub fn url(&self, path: &str) -> String {
        format!("ws://{}{path}", self.address)
    }

    /// Ends it. What it had yet to say is not said.
    ///
    /// # Errors
    /// When the thread does not answer.
    pub fn stop(mut self) -> Result<(S, Seen), String> {
        self.mail
            .send(Order::Stop)
            .map_err(|_| "a scripted server takes no orders")?;
        let result = self
            .results
            .recv_timeout(PATIENCE)
            .map_err(|_| "a scripted server did not end")?;
        // A thread that panicked has sent no result.
        let _ = self.thread.join();
        Ok(result)
    }
}
