//! The options that every load command takes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use fanwire_protocol::MessageKind;
use fanwire_protocol::handshake::DeflateOffer;
use fanwire_reactor::BackendChoice;

use crate::cli::agents::AgentsArguments;
use crate::cli::connect::ConnectArguments;
use crate::cli::judge::JudgeArguments;
use crate::cli::output::OutputArguments;
use crate::cli::tls::TlsArguments;
use crate::config::{Config, Mode, PaceSettings};
use crate::connect::greetings;
use crate::connect::target::{Target, parse_sources};
use crate::message::messages::MessageSettings;
use crate::message::payload::{CONNECTIONS_MAX, Verify};
use crate::message::tokens::Tokens;
use crate::pace::warmup::Warmup;
use crate::quantity::{parse_count, parse_duration_ns};

/// What every load command takes.
#[derive(Args, Debug)]
pub struct CommonArguments {
    /// Where to: ws://HOST[:PORT][/PATH][?QUERY], or wss:// for TLS
    url: String,
    /// Connections to open (storm: how many are being established at once; fanout: subscribers, also
    /// as --subscribers)
    #[arg(help_heading = "Load", short, long, alias = "subscribers", default_value = "50", value_name = "N", value_parser = parse_count)]
    connections: u64,
    /// Threads, each with its own event loop and its share of the connections
    #[arg(help_heading = "Load", short, long, default_value = "1", value_name = "N", value_parser = parse_count)]
    threads: u64,
    /// How long to measure, after the warm-up [default: 10s]
    #[arg(help_heading = "Load", short, long, alias = "time", short_alias = 'z', value_name = "TIME", value_parser = parse_duration_ns)]
    duration: Option<u64>,
    /// Pin the threads to these CPUs, in turn: 1 or 2,3 or 4-7
    #[arg(help_heading = "Generator", long, value_name = "LIST", value_parser = parse_cpus)]
    cpu: Option<CpuList>,
    /// Connect from these addresses, in turn: each carries some 28,000 connections to one port
    #[arg(
        help_heading = "Connecting",
        long,
        alias = "local-ips",
        value_name = "CIDR,…"
    )]
    source: Option<String>,
    /// Process of the server on this host: reports its CPU per message and memory per connection
    #[arg(help_heading = "Generator", long, value_name = "PID")]
    server_pid: Option<u32>,
    /// Poll without sleeping: sends on time to the microsecond, at the price of a whole CPU
    #[arg(help_heading = "Generator", long)]
    spin: bool,
    /// Kernel interface: io_uring, or epoll where it is refused
    #[arg(help_heading = "Generator", long, value_enum, default_value = "auto")]
    backend: Backend,
    /// Offer permessage-deflate (RFC 7692), with these parameters if any, separated by commas:
    /// server_no_context_takeover, client_no_context_takeover, server_max_window_bits=N,
    /// client_max_window_bits=N
    #[arg(help_heading = "Opening handshake", long, value_name = "PARAMETERS", num_args = 0..=1, require_equals = true, default_missing_value = "", value_parser = parse_deflate)]
    deflate: Option<DeflateOffer>,
    /// Longest time for one TCP connect, one TLS handshake, and one opening handshake, each
    #[arg(help_heading = "Connecting", long, default_value = "10s", value_name = "TIME", value_parser = parse_duration_ns)]
    connect_timeout: u64,
    /// Longest wait for outstanding replies at the end
    #[arg(help_heading = "Load", long, default_value = "2s", value_name = "TIME", value_parser = parse_duration_ns)]
    drain: u64,
    /// Repeats masking keys, payloads and the order of connections
    #[arg(
        help_heading = "Generator",
        long,
        default_value = "1",
        value_name = "N"
    )]
    seed: u64,
    /// Further header field of the opening handshake, in which {conn} is replaced by the number of
    /// the connection and {token} by its line of --token-file; may be repeated
    #[arg(help_heading = "Opening handshake", short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = parse_header)]
    headers: Vec<(String, String)>,
    /// One token a line; connection k takes line k, and begins again after the last one. {token}
    /// stands for it in header fields, in the URL's path and query, and in messages
    #[arg(help_heading = "Opening handshake", long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Offer a subprotocol; may be repeated
    #[arg(help_heading = "Opening handshake", long, value_name = "NAME")]
    subprotocol: Vec<String>,
    /// Origin header field, as a browser would send it
    #[arg(help_heading = "Opening handshake", long, value_name = "ORIGIN")]
    origin: Option<String>,
    #[command(flatten)]
    connect: ConnectArguments,
    #[command(flatten)]
    tls: TlsArguments,
    #[command(flatten)]
    agents: AgentsArguments,
    #[command(flatten)]
    judge: JudgeArguments,
    #[command(flatten)]
    output: OutputArguments,
}

/// `--backend`.
#[derive(ValueEnum, Clone, Copy, Debug)]
pub enum Backend {
    /// io_uring where the kernel allows it, else epoll
    Auto,
    /// io_uring or fail
    Uring,
    /// epoll
    Epoll,
}

impl Backend {
    /// The reactor's word for it.
    pub fn choice(self) -> BackendChoice {
        match self {
            Backend::Auto => BackendChoice::Auto,
            Backend::Uring => BackendChoice::Uring,
            Backend::Epoll => BackendChoice::Epoll,
        }
    }
}

/// CPU numbers.
#[derive(Clone, Debug)]
pub struct CpuList(
    /// In the order given.
    pub Vec<usize>,
);

/// Reads `1`, `2,3` or `4-7`.
///
/// # Errors
/// One sentence with cause and cure.
pub fn parse_cpus(text: &str) -> Result<CpuList, String> {
    let number = |text: &str| {
        text.trim()
            .parse::<usize>()
            .ok()
            .filter(|cpu| *cpu < 4_096)
            .ok_or_else(|| format!("'{text}' is not a CPU number; write 1 or 2,3 or 4-7"))
    };
    let mut cpus = Vec::new();
    for part in text.split(',') {
        match part.split_once('-') {
            None => cpus.push(number(part)?),
            Some((first, last)) => {
                let (first, last) = (number(first)?, number(last)?);
                if first > last {
                    return Err(format!("'{part}' runs backwards"));
                }
                cpus.extend(first..=last);
            }
        }
    }
    Ok(CpuList(cpus))
}

fn parse_header(text: &str) -> Result<(String, String), String> {
    let Some((name, value)) = text.split_once(':') else {
        return Err(format!("'{text}' lacks a colon; write -H 'Name: value'"));
    };
    let name = name.trim();
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(is_token) {
        return Err(format!("'{name}' is not a header field name"));
    }
    let value = value.trim();
    if value.bytes().any(|byte| byte.is_ascii_control()) {
        return Err(format!(
            "the value of '{name}' contains a control character"
        ));
    }
    Ok((name.to_owned(), value.to_owned()))
}

/// Measured time where nothing is said.
const DURATION_NS: u64 = 10_000_000_000;

fn parse_deflate(text: &str) -> Result<DeflateOffer, String> {
    // The server may limit our window, and decides the rest.
    let mut offer = DeflateOffer {
        client_max_window_bits: Some(15),
        ..DeflateOffer::default()
    };
    let bits = |value: &str| {
        let bits = value.trim().parse().ok();
        bits.filter(|bits| (8..=15).contains(bits))
            .ok_or_else(|| format!("a window has 8 to 15 bits, not '{value}'"))
    };
    for parameter in text.split([',', ';']).map(str::trim) {
        match parameter.split_once('=') {
            None if parameter.is_empty() => {}
            None if parameter == "server_no_context_takeover" => {
                offer.server_no_context_takeover = true;
            }
            None if parameter == "client_no_context_takeover" => {
                offer.client_no_context_takeover = true;
            }
            Some(("server_max_window_bits", value)) => {
                offer.server_max_window_bits = Some(bits(value)?);
            }
            Some(("client_max_window_bits", value)) => {
                offer.client_max_window_bits = Some(bits(value)?);
            }
            _ => {
                return Err(format!(
                    "'{parameter}' is no parameter of permessage-deflate; there are \
                     server_no_context_takeover, client_no_context_takeover, \
                     server_max_window_bits=N and client_max_window_bits=N"
                ));
            }
        }
    }
    Ok(offer)
}

/// Stands for a server that this host does not know and does not connect to.
fn nowhere(port: u16) -> Vec<SocketAddr> {
    vec![
        (Ipv4Addr::UNSPECIFIED, port).into(),
        (Ipv6Addr::UNSPECIFIED, port).into(),
    ]
}

/// More threads than this on one host help nobody.
const THREADS_MAX: u64 = 1_024;

impl CommonArguments {
    /// Whether the duration was asked for.
    pub fn has_duration(&self) -> bool {
        self.duration.is_some()
    }

    /// How many connections, and whether the other numbers make sense with them.
    fn connections(&self) -> Result<u32, String> {
        if !(1..=THREADS_MAX).contains(&self.threads) {
            return Err("--threads must be between 1 and 1,024".into());
        }
        if self.duration == Some(0) {
            return Err("--duration must be longer than nothing".into());
        }
        u32::try_from(self.connections)
            .ok()
            .filter(|count| (1..=CONNECTIONS_MAX).contains(count))
            .ok_or_else(|| "--connections must be between 1 and 16,777,216".into())
    }

    /// The server's address that can be reached from the sources.
    fn address(&self, target: &Target, sources: &[IpAddr]) -> Result<SocketAddr, String> {
        // With agents it is enough that they find the server.
        let addresses = match target.resolve() {
            Err(_) if self.agents.is_given() => nowhere(target.port),
            found => found?,
        };
        let is_reachable = |address: &SocketAddr| {
            let source = sources.first();
            source.is_none_or(|source| source.is_ipv4() == address.is_ipv4())
        };
        let reachable = addresses.into_iter().find(is_reachable);
        reachable
            .ok_or_else(|| format!("'{}' has no address of the family of --source", target.host))
    }

    /// Checks what clap cannot: limits, combinations, names that must resolve.
    ///
    /// # Errors
    /// One or two sentences with cause and cure.
    pub fn into_config(self, mode: Mode) -> Result<Config, String> {
        let target = Target::parse(&self.url)?;
        let connections = self.connections()?;
        let tokens = match &self.token_file {
            Some(path) => Tokens::read(path)?,
            None => Tokens::default(),
        };
        for (_, value) in &self.headers {
            greetings::check(value, !tokens.is_empty())?;
        }
        greetings::check(&target.request_target, !tokens.is_empty())?;
        let sources = self
            .source
            .as_deref()
            .map(parse_sources)
            .transpose()?
            .unwrap_or_default();
        let address = self.address(&target, &sources)?;
        let config = Config {
            mode,
            address,
            connections,
            // A thread without a connection would only burn a CPU.
            threads: self.threads.min(u64::from(connections)) as usize,
            duration_ns: self.duration.unwrap_or(DURATION_NS),
            warmup: Warmup::NONE,
            message_size: 64,
            rate: None,
            in_flight: 1,
            cpus: self.cpu.map(|list| list.0).unwrap_or_default(),
            sources,
            verify: Verify::Full,
            server_pid: self.server_pid,
            spin: self.spin,
            backend: self.backend.choice(),
            deflate: self.deflate,
            connect_rate: None,
            connect_timeout_ms: (self.connect_timeout / 1_000_000).max(1),
            drain_ms: self.drain / 1_000_000,
            seed: self.seed,
            kind: MessageKind::Binary,
            headers: self.headers,
            subprotocols: self.subprotocol,
            tokens,
            origin: self.origin,
            tls: self.tls.into_client(&target)?,
            further_ports: Vec::new(),
            ping_interval_ns: None,
            judge: self.judge.into_settings()?,
            outputs: self.output.into_settings()?,
            pace: PaceSettings::default(),
            message: MessageSettings::default(),
            fanout: None,
            churn: None,
            agents: self.agents.into_agents()?,
            target,
        };
        self.connect.apply(config)
    }
}
