//! What a run is to do, resolved and checked. Made by `cli`, read by everybody else.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use fanwire_protocol::MessageKind;
use fanwire_protocol::handshake::DeflateOffer;
use fanwire_reactor::BackendChoice;

use crate::agent::Agents;
use crate::churn;
use crate::cli::judge::JudgeSettings;
use crate::cli::output::OutputSettings;
use crate::connect::target::Target;
use crate::connect::tls::TlsClient;
use crate::fanout::options::Options;
use crate::message::messages::MessageSettings;
use crate::message::payload::Verify;
use crate::message::tokens::Tokens;
use crate::pace::catchup::CatchUp;
use crate::pace::plan::{Arrival, Plan};
use crate::pace::rate::{Curve, Stage};
use crate::pace::warmup::Warmup;

/// Which job a run does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Request and reply.
    Echo,
    /// Hold connections.
    Idle,
    /// Connect, upgrade, one message, reset, again.
    Storm,
    /// Publishers and subscribers.
    Fanout,
    /// Clients that come and go.
    Churn,
}

impl Mode {
    /// The word of the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Mode::Echo => "echo",
            Mode::Idle => "idle",
            Mode::Storm => "storm",
            Mode::Fanout => "fanout",
            Mode::Churn => "churn",
        }
    }
}

/// Where the JSON report goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Standard output; the terminal report then goes to standard error.
    Stdout,
    /// A file, replaced when it exists.
    File(PathBuf),
}

impl Output {
    /// `-` is standard output.
    pub fn of(path: PathBuf) -> Output {
        if path.as_os_str() == "-" {
            Output::Stdout
        } else {
            Output::File(path)
        }
    }
}

/// A whole run.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which job.
    pub mode: Mode,
    /// The URL.
    pub target: Target,
    /// The address that `target` resolved to.
    pub address: SocketAddr,
    /// Connections (storm: concurrent establishers; fan-out: subscribers), all threads together.
    pub connections: u32,
    /// Threads; never more than connections.
    pub threads: usize,
    /// Measured time.
    pub duration_ns: u64,
    /// Load before measuring starts.
    pub warmup: Warmup,
    /// Payload bytes of a message.
    pub message_size: usize,
    /// Open loop: messages (storm: connections) per second, all threads together.
    pub rate: Option<f64>,
    /// Closed loop: unanswered messages per connection.
    pub in_flight: u32,
    /// CPUs to pin the threads to, one each, in turn; empty: not pinned.
    pub cpus: Vec<usize>,
    /// Addresses to connect from, used in turn; empty: the kernel chooses.
    pub sources: Vec<IpAddr>,
    /// How much of a reply is checked.
    pub verify: Verify,
    /// The server's process on this host.
    pub server_pid: Option<u32>,
    /// Never sleep between events.
    pub spin: bool,
    /// Kernel interface.
    pub backend: BackendChoice,
    /// Offer permessage-deflate, with these parameters.
    pub deflate: Option<DeflateOffer>,
    /// New connections per second while opening, all threads together.
    pub connect_rate: Option<f64>,
    /// Longest time for one TCP connect, one TLS handshake and one opening handshake, each.
    pub connect_timeout_ms: u64,
    /// Longest wait for outstanding replies after the last message.
    pub drain_ms: u64,
    /// Decides masking keys, payload pattern and the order of connections.
    pub seed: u64,
    /// Text or binary messages.
    pub kind: MessageKind,
    /// `wss://`: trust, names and our own certificate.
    pub tls: Option<TlsClient>,
    /// Ports of the server beside the URL's, used in turn.
    pub further_ports: Vec<u16>,
    /// Between two pings on one connection; `None`: no pings.
    pub ping_interval_ns: Option<u64>,
    /// Further header fields of the opening handshake.
    pub headers: Vec<(String, String)>,
    /// Subprotocols to offer, in order of preference.
    pub subprotocols: Vec<String>,
    /// What `{token}` stands for, by connection.
    pub tokens: Tokens,
    /// Value of the Origin header field.
    pub origin: Option<String>,
    /// What counts as good enough.
    pub judge: JudgeSettings,
    /// Where results go.
    pub outputs: OutputSettings,
    /// How the rate changes and in what rhythm messages follow each other.
    pub pace: PaceSettings,
    /// What is in messages.
    pub message: MessageSettings,
    /// Fan-out: what only it is told.
    pub fanout: Option<Arc<Options>>,
    /// Churn: what only it is told.
    pub churn: Option<churn::options::Options>,
    /// Other machines that make this load.
    pub agents: Option<Agents>,
}

/// How the rate changes and in what rhythm messages follow each other.
#[derive(Clone, Debug, Default)]
pub struct PaceSettings {
    /// The rhythm.
    pub arrival: Arrival,
    /// What is done with overdue messages.
    pub catch_up: CatchUp,
    /// Linear stages in place of the one rate; `Config::rate` is then the mean over the measured
    /// time.
    pub stages: Vec<Stage>,
    /// The rate before the first stage, in messages per second.
    pub stages_from_per_second: f64,
    /// Messages after which the run ends, all threads together.
    pub messages_max: Option<u64>,
}

impl Config {
    /// The rate over time of an open loop.
    pub fn curve(&self) -> Option<Curve> {
        let pace = &self.pace;
        if pace.stages.is_empty() {
            self.rate.map(Curve::constant)
        } else {
            Some(Curve::staged(pace.stages_from_per_second, &pace.stages))
        }
    }

    /// How long to measure: as asked for, or until the last of a number of messages is due. The end
    /// of random arrivals, and of a closed loop, shows itself only when it has come.
    pub fn measured_ns(&self) -> u64 {
        let Some(messages_max) = self.pace.messages_max else {
            return self.duration_ns;
        };
        let curve = self
            .curve()
            .filter(|_| self.pace.arrival != Arrival::Poisson);
        let end_ns = curve.and_then(|curve| curve.due_ns(messages_max as f64));
        end_ns.map_or(self.duration_ns, |end_ns| {
            let measured_ns = end_ns.saturating_sub(self.warmup.longest_ns());
            measured_ns.clamp(1, self.duration_ns.max(1))
        })
    }

    /// What an open loop sends when.
    pub fn plan(&self) -> Option<Plan> {
        Some(Plan {
            curve: Arc::new(self.curve()?),
            arrival: self.pace.arrival,
            messages_max: self.pace.messages_max,
            seed: self.seed,
        })
    }

    /// Whether messages are sent by a schedule and not when a reply has come.
    pub fn is_open_loop(&self) -> bool {
        self.rate.is_some()
    }
}
