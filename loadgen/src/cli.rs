//! The command line: what a person types, and what is said when it makes no sense.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use fanwire_protocol::MessageKind;
use fanwire_reactor::BackendChoice;

use crate::config::{Config, Mode, Output};
use crate::fanout::cli::FanoutArguments;
use crate::payload::{CONNECTIONS_MAX, Verify};
use crate::quantity::{parse_count, parse_duration_ns, parse_rate, parse_size};
use crate::target::{Target, parse_sources};

const EXAMPLES: &str = "\
Examples:
  fanwire-loadgen echo  ws://127.0.0.1:9001 -c 200 -d 10s                 closed loop: how fast can it go?
  fanwire-loadgen echo  ws://127.0.0.1:9001 -c 200 -d 30s -R 50k          open loop: what latency at 50,000/s?
  fanwire-loadgen idle  ws://127.0.0.1:9001 -c 15k -d 60s --server-pid 42 memory per connection, drops
  fanwire-loadgen storm ws://127.0.0.1:9001 -c 50 -d 10s --source 127.0.0.0/28
  fanwire-loadgen fanout ws://127.0.0.1:9001 -c 5k -R 20 -s 100            1 publisher, 5,000 subscribers

Counts take k, m, g (10k); sizes B, k, KiB, MiB (16KiB); times ns, us, ms, s, m, h (500us; a bare number is seconds).

Exit codes:
  0    the report is VALID or SUSPECT (read the reasons it gives)
  1    the run failed: nothing could be connected, or nothing was answered
  2    the command line makes no sense
  3    reserved: a threshold was not met
  4    the report is INVALID: connections failed, replies were wrong or missing, the ledger of a
       fan-out does not add up, or the generator itself was the bottleneck
  130  interrupted; the report covers what was measured until then";

/// WebSocket load generator with honest clocks: measures in an open or a closed loop, checks every
/// reply, and says first whether its own result can be believed.
#[derive(Parser, Debug)]
#[command(name = "fanwire-loadgen", version, after_help = EXAMPLES, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Request and reply: throughput in a closed loop, latency at a rate in an open loop (-R)
    #[command(after_help = EXAMPLES)]
    Echo(EchoArguments),
    /// Hold connections: answers pings, counts drops, measures the server's memory per connection
    #[command(after_help = EXAMPLES)]
    Idle(IdleArguments),
    /// Connection storm: connect, upgrade, one echoed message, reset, over and over
    #[command(after_help = EXAMPLES)]
    Storm(StormArguments),
    /// Publishers and subscribers over topics: delivery latency, first, last, spread and reach of
    /// every message, and a ledger in which each copy is accounted for
    #[command(after_help = EXAMPLES)]
    Fanout(Box<FanoutArguments>),
    /// Client half of an Autobahn fuzzing server: echo every case, then ask for the reports.
    ///
    /// Runs `/getCaseCount`, `/runCase?case=N&agent=NAME` for every case, and
    /// `/updateReports?agent=NAME`, with permessage-deflate offered in full. The verdicts are in
    /// the fuzzing server's report, not here.
    #[command(hide = true)]
    Conformance(ConformanceArguments),
}

/// `echo`.
#[derive(Args, Debug)]
pub struct EchoArguments {
    #[command(flatten)]
    common: CommonArguments,
    #[command(flatten)]
    message: MessageArguments,
    /// Open loop: send this many messages per second over all connections by an absolute schedule,
    /// whatever the server does; latency then counts from when a message was due. Without it every
    /// connection sends its next message when a reply has come
    #[arg(short = 'R', long, alias = "qps", short_alias = 'q', value_name = "N/s", value_parser = parse_rate)]
    rate: Option<f64>,
    /// Closed loop: unanswered messages per connection
    #[arg(long, default_value = "1", value_name = "N", value_parser = parse_count, conflicts_with = "rate")]
    in_flight: u64,
    /// Load before measuring starts
    #[arg(short, long, default_value = "1s", value_name = "TIME", value_parser = parse_duration_ns)]
    warmup: u64,
    /// New connections per second while opening them (default: as fast as they open)
    #[arg(long, value_name = "N/s", value_parser = parse_rate)]
    connect_rate: Option<f64>,
}

/// `idle`.
#[derive(Args, Debug)]
pub struct IdleArguments {
    #[command(flatten)]
    common: CommonArguments,
    /// New connections per second while opening them (default: as fast as they open)
    #[arg(long, value_name = "N/s", value_parser = parse_rate)]
    connect_rate: Option<f64>,
}

/// `storm`.
#[derive(Args, Debug)]
pub struct StormArguments {
    #[command(flatten)]
    common: CommonArguments,
    #[command(flatten)]
    message: MessageArguments,
    /// Open loop: begin this many connections per second by an absolute schedule, -c of them at
    /// once at most; `total` then counts from when a connection was due
    #[arg(short = 'R', long, alias = "connect-rate", value_name = "N/s", value_parser = parse_rate)]
    rate: Option<f64>,
    /// Load before measuring starts
    #[arg(short, long, default_value = "1s", value_name = "TIME", value_parser = parse_duration_ns)]
    warmup: u64,
}

/// `conformance`.
#[derive(Args, Debug)]
pub struct ConformanceArguments {
    /// Address of the fuzzing server, for example ws://127.0.0.1:9010
    pub url: String,
    /// Name of this client in the reports
    #[arg(long, default_value = "fanwire-loadgen", value_name = "NAME")]
    pub agent: String,
    /// Kernel interface
    #[arg(long, value_enum, default_value = "auto")]
    pub backend: Backend,
    /// Give a case up after this long
    #[arg(long, default_value = "60s", value_name = "TIME", value_parser = parse_duration_ns)]
    pub case_timeout: u64,
}

#[derive(Args, Debug)]
struct MessageArguments {
    /// Payload bytes of a message
    #[arg(short, long, default_value = "64", value_name = "BYTES", value_parser = parse_size)]
    size: u64,
    /// Send text messages (printable ASCII)
    #[arg(long, conflicts_with = "binary")]
    text: bool,
    /// Send binary messages (the default)
    #[arg(long)]
    binary: bool,
    /// How much of every reply is checked
    #[arg(long, value_enum, default_value = "full")]
    verify: VerifyChoice,
}

#[derive(Args, Debug)]
pub(crate) struct CommonArguments {
    /// Where to: ws://HOST[:PORT][/PATH][?QUERY]
    url: String,
    /// Connections to open (storm: how many are being established at once)
    #[arg(short, long, default_value = "50", value_name = "N", value_parser = parse_count)]
    connections: u64,
    /// Threads, each with its own event loop and its share of the connections
    #[arg(short, long, default_value = "1", value_name = "N", value_parser = parse_count)]
    threads: u64,
    /// How long to measure, after the warm-up
    #[arg(short, long, alias = "time", short_alias = 'z', default_value = "10s", value_name = "TIME", value_parser = parse_duration_ns)]
    duration: u64,
    /// Pin the threads to these CPUs, in turn: 1 or 2,3 or 4-7
    #[arg(long, value_name = "LIST", value_parser = parse_cpus)]
    cpu: Option<CpuList>,
    /// Connect from these addresses, in turn: each carries some 28,000 connections to one port
    #[arg(long, alias = "local-ips", value_name = "CIDR,…")]
    source: Option<String>,
    /// Write the report as one JSON object to a file, or to standard output with -
    #[arg(long, value_name = "FILE|-")]
    json: Option<PathBuf>,
    /// Process of the server on this host: reports its CPU per message and memory per connection
    #[arg(long, value_name = "PID")]
    server_pid: Option<u32>,
    /// Poll without sleeping: sends on time to the microsecond, at the price of a whole CPU
    #[arg(long)]
    spin: bool,
    /// Kernel interface: io_uring, or epoll where it is refused
    #[arg(long, value_enum, default_value = "auto")]
    backend: Backend,
    /// Offer permessage-deflate (RFC 7692)
    #[arg(long)]
    deflate: bool,
    /// Longest time for one TCP connect, and for one opening handshake
    #[arg(long, default_value = "10s", value_name = "TIME", value_parser = parse_duration_ns)]
    connect_timeout: u64,
    /// Longest wait for outstanding replies at the end
    #[arg(long, default_value = "2s", value_name = "TIME", value_parser = parse_duration_ns)]
    drain: u64,
    /// Repeats masking keys, payloads and the order of connections
    #[arg(long, default_value = "1", value_name = "N")]
    seed: u64,
    /// Further header field of the opening handshake; may be repeated
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = parse_header)]
    headers: Vec<(String, String)>,
    /// Offer a subprotocol; may be repeated
    #[arg(long, value_name = "NAME")]
    subprotocol: Vec<String>,
    /// Origin header field, as a browser would send it
    #[arg(long, value_name = "ORIGIN")]
    origin: Option<String>,
    /// No progress line
    #[arg(long, alias = "no-tui")]
    quiet: bool,
}

/// `--verify`.
#[derive(ValueEnum, Clone, Copy, Debug)]
enum VerifyChoice {
    /// Replies are counted in order and not looked at
    None,
    /// The length must be right
    Len,
    /// Every byte must be right
    Full,
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

#[derive(Clone, Debug)]
struct CpuList(Vec<usize>);

fn parse_cpus(text: &str) -> Result<CpuList, String> {
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

/// What the command line asks for.
#[derive(Debug)]
pub enum Job {
    /// A load run.
    Run(Box<Config>),
    /// The Autobahn client.
    Conformance(ConformanceArguments),
}

impl Cli {
    /// Checks what clap cannot: limits, combinations, names that must resolve.
    ///
    /// # Errors
    /// One or two sentences with cause and cure; the program exits with 2.
    pub fn into_job(self) -> Result<Job, String> {
        let config = match self.command {
            Command::Conformance(arguments) => return Ok(Job::Conformance(arguments)),
            Command::Echo(echo) => {
                let in_flight = u32::try_from(echo.in_flight)
                    .ok()
                    .filter(|count| (1..=crate::client::IN_FLIGHT_MAX as u32).contains(count))
                    .ok_or("--in-flight must be between 1 and 65,536 messages")?;
                Config {
                    rate: echo.rate,
                    in_flight,
                    warmup_ns: echo.warmup,
                    connect_rate: echo.connect_rate,
                    ..with_messages(echo.common.into_config(Mode::Echo)?, &echo.message)?
                }
            }
            Command::Idle(idle) => Config {
                connect_rate: idle.connect_rate,
                ..idle.common.into_config(Mode::Idle)?
            },
            Command::Storm(storm) => Config {
                rate: storm.rate,
                warmup_ns: storm.warmup,
                ..with_messages(storm.common.into_config(Mode::Storm)?, &storm.message)?
            },
            Command::Fanout(fanout) => fanout.into_config()?,
        };
        Ok(Job::Run(Box::new(config)))
    }
}

/// Largest payload of a message.
const MESSAGE_SIZE_MAX: u64 = 64 * 1024 * 1024;
/// More threads than this on one host help nobody.
const THREADS_MAX: u64 = 1_024;

fn with_messages(config: Config, message: &MessageArguments) -> Result<Config, String> {
    if message.size > MESSAGE_SIZE_MAX {
        return Err("--size must be at most 64MiB".into());
    }
    Ok(Config {
        message_size: message.size as usize,
        kind: if message.text {
            MessageKind::Text
        } else {
            MessageKind::Binary
        },
        verify: match message.verify {
            VerifyChoice::None => Verify::None,
            VerifyChoice::Len => Verify::Length,
            VerifyChoice::Full => Verify::Full,
        },
        ..config
    })
}

impl CommonArguments {
    pub(crate) fn into_config(self, mode: Mode) -> Result<Config, String> {
        let target = Target::parse(&self.url)?;
        let connections = u32::try_from(self.connections)
            .ok()
            .filter(|count| (1..=CONNECTIONS_MAX).contains(count))
            .ok_or("--connections must be between 1 and 16,777,216")?;
        if !(1..=THREADS_MAX).contains(&self.threads) {
            return Err("--threads must be between 1 and 1,024".into());
        }
        if self.duration == 0 {
            return Err("--duration must be longer than nothing".into());
        }
        let sources = self
            .source
            .as_deref()
            .map(parse_sources)
            .transpose()?
            .unwrap_or_default();
        let addresses = target.resolve()?;
        let is_reachable = |address: &&std::net::SocketAddr| {
            sources
                .first()
                .is_none_or(|source| source.is_ipv4() == address.is_ipv4())
        };
        let Some(address) = addresses.iter().find(is_reachable).copied() else {
            return Err(format!(
                "'{}' has no address of the family of --source",
                target.host
            ));
        };
        Ok(Config {
            mode,
            address,
            connections,
            // A thread without a connection would only burn a CPU.
            threads: self.threads.min(u64::from(connections)) as usize,
            duration_ns: self.duration,
            warmup_ns: 0,
            message_size: 64,
            rate: None,
            in_flight: 1,
            cpus: self.cpu.map(|list| list.0).unwrap_or_default(),
            sources,
            verify: Verify::Full,
            json: self.json.map(|path| {
                if path.as_os_str() == "-" {
                    Output::Stdout
                } else {
                    Output::File(path)
                }
            }),
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
            origin: self.origin,
            quiet: self.quiet,
            fanout: None,
            target,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(line: &str) -> Result<Job, String> {
        let words = std::iter::once("fanwire-loadgen").chain(line.split_whitespace());
        Cli::try_parse_from(words)
            .map_err(|error| error.to_string())?
            .into_job()
    }

    fn config(line: &str) -> Config {
        match job(line) {
            Ok(Job::Run(config)) => *config,
            other => unreachable!("{line}: {other:?}"),
        }
    }

    #[test]
    fn wrk_users_feel_at_home() {
        let config =
            config("echo ws://127.0.0.1:9001/x -c 10k -t 2 -d 30s -R 200k -s 16KiB -H A:b");
        assert_eq!((config.connections, config.threads), (10_000, 2));
        assert_eq!(config.duration_ns, 30_000_000_000);
        assert_eq!(config.rate, Some(200_000.0));
        assert_eq!(config.message_size, 16_384);
        assert_eq!(config.headers, [("A".to_owned(), "b".to_owned())]);
        assert_eq!(config.verify, Verify::Full);
        assert_eq!(config.warmup_ns, 1_000_000_000);
    }

    #[test]
    fn cpu_lists() {
        let config = config("idle ws://127.0.0.1 --cpu 1,4-6");
        assert_eq!(config.cpus, [1, 4, 5, 6]);
        assert!(job("idle ws://127.0.0.1 --cpu 6-4").is_err());
        assert!(job("idle ws://127.0.0.1 --cpu x").is_err());
    }

    #[test]
    fn a_thread_has_a_connection() {
        assert_eq!(config("echo ws://127.0.0.1 -c 3 -t 8").threads, 3);
    }

    #[test]
    fn nonsense_is_refused_with_a_cure() {
        for (line, word) in [
            ("echo http://127.0.0.1", "ws://"),
            ("echo wss://127.0.0.1", "TLS"),
            ("echo ws://127.0.0.1 -c 0", "--connections"),
            ("echo ws://127.0.0.1 -c 10x", "10k"),
            ("echo ws://127.0.0.1 -d 0", "--duration"),
            ("echo ws://127.0.0.1 --in-flight 0", "--in-flight"),
            (
                "echo ws://127.0.0.1 -R 10 --in-flight 4",
                "cannot be used with",
            ),
            ("echo ws://127.0.0.1 --text --binary", "cannot be used with"),
            ("echo ws://127.0.0.1 -s 1g", "KiB"),
            ("echo ws://127.0.0.1 --source ::1", "--source"),
            ("echo ws://127.0.0.1 -H nonsense", "colon"),
            ("idle ws://127.0.0.1 -R 5", "-R"),
        ] {
            let error = job(line).expect_err(line);
            assert!(error.contains(word), "{line}: {error}");
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
