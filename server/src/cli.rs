//! The command line: every option with its unit, its default, when to change it and what it costs.
//!
//! It owns the texts and turns them into a configuration. It must not start anything.

use std::net::SocketAddr;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use fanwire_server::{
    BackendChoice, Config, CoreList, DeflatePolicy, Host, Limits, Origin, Placement,
};

use crate::serve::options::ServeOptions;

/// WebSocket server for Linux: one event loop per core, on io_uring.
#[derive(Debug, Parser)]
#[command(
    name = "fanwire",
    version,
    max_term_width = 100,
    after_help = "Exit codes: 0 ended by a signal after a drain, 1 failed while serving, 2 wrong \
                  command line or could not start.\n\
                  Logs go to standard error; FANWIRE_LOG=debug shows more (error, warn, info, \
                  debug).\n\
                  Signals: SIGTERM and SIGINT drain (again: end at once), SIGUSR1 logs the counters."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Send every message back: for measuring, and for testing clients.
    #[command(after_help = ECHO_EXAMPLES)]
    Echo(Box<EchoOptions>),
    /// Serve topics: market data and other feeds fanned out to very many subscribers.
    #[command(after_help = SERVE_EXAMPLES)]
    Serve(Box<ServeOptions>),
    /// Look at this host and say what it allows, what will run, and what to change.
    Doctor(DoctorOptions),
}

const ECHO_EXAMPLES: &str = "Examples:
  fanwire echo                                           on 127.0.0.1:9001, all processors
  fanwire echo --listen 0.0.0.0:9001 --cores 2-5         four shards, pinned
  fanwire echo --cores 1 --spin-us 100                   lowest latency, one busy processor
  fanwire echo --listen 127.0.0.1:0                      any free port; read it from standard output
Try it from a browser's console:
  s = new WebSocket('ws://127.0.0.1:9001'); s.onmessage = m => console.log(m.data)
  s.send('hello')";

const SERVE_EXAMPLES: &str = "Examples:
  fanwire serve --simulate                               order books and trades of a made-up market
  fanwire serve --config /etc/fanwire.toml               everything from a file; --check only checks
  fanwire serve --replay day.jsonl --speed 10            a recorded file, ten times as fast
Publish, with the administration listener on its default address:
  curl -H 'content-type: application/json' http://127.0.0.1:9002/v1/publish \\
       -d '{\"topic\":\"trades.BTC-USD\",\"data\":{\"price\":\"101.5\"}}'
See it: http://127.0.0.1:9002/ in a browser, or in a browser's console
  s = new WebSocket('ws://127.0.0.1:9001/raw/trades.BTC-USD'); s.onmessage = m => console.log(m.data)";

const WHERE: &str = "Where it listens and runs";
const WHO: &str = "Who may connect";
const ADMISSION: &str = "Limits of connecting";
const MESSAGES: &str = "Limits of messages";
const SENDING: &str = "Limits of peers that do not read";
const LIVENESS: &str = "Keep-alive and closing";
const COMPRESSION: &str = "Compression (permessage-deflate, RFC 7692)";

/// Which way to the kernel.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Backend {
    /// io_uring where the kernel offers what is needed, otherwise epoll; the log says why
    Auto,
    /// io_uring or do not start
    Uring,
    /// epoll: everywhere the same, for comparing and for hosts that forbid io_uring
    Epoll,
}

impl From<Backend> for BackendChoice {
    fn from(backend: Backend) -> BackendChoice {
        match backend {
            Backend::Auto => BackendChoice::Auto,
            Backend::Uring => BackendChoice::Uring,
            Backend::Epoll => BackendChoice::Epoll,
        }
    }
}

/// A size with an optional unit: `65536`, `64KiB`, `16MiB`.
pub(crate) fn parse_size(text: &str) -> Result<usize, String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit: u64 = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        other => return Err(format!("`{other}` is not a unit; use KiB, MiB or GiB")),
    };
    let number: u64 = digits
        .parse()
        .map_err(|_| "write a number of bytes, such as 65536 or 64KiB".to_owned())?;
    let bytes = number
        .checked_mul(unit)
        .and_then(|bytes| usize::try_from(bytes).ok());
    bytes.ok_or_else(|| "more bytes than this machine can count".to_owned())
}

#[derive(Debug, Args)]
pub(crate) struct EchoOptions {
    #[command(flatten)]
    place: PlaceOptions,
    #[command(flatten)]
    who: WhoOptions,
    #[command(flatten)]
    compression: CompressionOptions,
    #[command(flatten)]
    limits: LimitOptions,
}

#[derive(Debug, Args)]
#[command(next_help_heading = WHERE)]
pub(crate) struct PlaceOptions {
    /// Address and port. Port 0 takes any free one; the real port is printed
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:9001")]
    listen: SocketAddr,
    /// Processors to run on, one shard pinned to each, such as 0,2-3. Default: all that this
    /// process may use. Leave one free for the kernel's network work on a busy machine
    #[arg(long, value_name = "LIST")]
    cores: Option<CoreList>,
    /// Which way to the kernel
    #[arg(long, value_enum, default_value = "auto")]
    backend: Backend,
    /// Microseconds an idle core polls before it sleeps. 20 to 200 takes the cost of waking up
    /// (tens of microseconds) out of every round trip; costs up to a whole busy processor
    #[arg(long, value_name = "N", default_value_t = 0)]
    spin_us: u32,
    /// TCP congestion control of the connections, such as reno, cubic or bbr. Default: the host's
    #[arg(long, value_name = "NAME")]
    congestion: Option<String>,
    /// TCP connections that may wait to be accepted, per core; the host's
    /// net.core.somaxconn caps it
    #[arg(long, value_name = "N", default_value_t = 4096)]
    listen_backlog: u32,
}

#[derive(Debug, Args)]
#[command(next_help_heading = WHO)]
pub(crate) struct WhoOptions {
    /// Only pages of this origin may connect, such as `https://example.com`; others get 403. May be
    /// given several times. Set it wherever browsers connect: without it any page can
    #[arg(long, value_name = "ORIGIN")]
    origin: Vec<Origin>,
    /// Answer only for this host, such as example.com or example.com:9001; others get 421. May be
    /// given several times. Keeps DNS rebinding out
    #[arg(long, value_name = "HOST")]
    host: Vec<Host>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = COMPRESSION)]
pub(crate) struct CompressionOptions {
    /// Agree to compression without context takeover when a client offers it. Saves bytes of
    /// text; costs about 5 microseconds of processor per KiB and nothing per idle connection
    #[arg(long, value_name = "BOOL", action = clap::ArgAction::Set, num_args = 0..=1,
          require_equals = true, default_value_t = false, default_missing_value = "true",
          hide_default_value = true, hide_possible_values = true)]
    deflate: bool,
    /// Also let both sides keep their window from message to message: smaller still, but costs
    /// up to some 300 KiB per connection. Implies --deflate
    #[arg(long, value_name = "BOOL", action = clap::ArgAction::Set, num_args = 0..=1,
          require_equals = true, default_value_t = false, default_missing_value = "true",
          hide_default_value = true, hide_possible_values = true)]
    deflate_takeover: bool,
    /// Largest window, 9 to 15 bits: 12 is 4 KiB of memory for matches, 15 is 32 KiB
    #[arg(long, value_name = "N", default_value_t = 12,
          value_parser = clap::value_parser!(u8).range(9..=15))]
    deflate_window_bits: u8,
}

#[derive(Debug, Args)]
pub(crate) struct LimitOptions {
    /// Connections of the whole server; more get 503. 0 = what the limit of open files allows
    #[arg(help_heading = ADMISSION, long, value_name = "N",
          default_value_t = Limits::echo().connections_max)]
    connections_max: u32,
    /// Opening handshakes in progress per core; more get 503
    #[arg(help_heading = ADMISSION, long, value_name = "N",
          default_value_t = Limits::echo().handshakes_max)]
    handshakes_max: u32,
    /// The same from one address; 0 = no such limit. Set it (64) where clients connect directly,
    /// not behind a proxy, where all share the proxy's address
    #[arg(help_heading = ADMISSION, long, value_name = "N",
          default_value_t = Limits::echo().handshakes_per_address_max)]
    handshakes_per_address_max: u32,
    /// From accept to the 101; then 408. Raise it for clients on very slow links
    #[arg(help_heading = ADMISSION, long, value_name = "MS",
          default_value_t = Limits::echo().handshake_timeout_ms)]
    handshake_timeout_ms: u64,
    /// Bytes of a request head; more get 431. Raise it for large cookies
    #[arg(help_heading = ADMISSION, long, value_name = "SIZE", value_parser = parse_size,
          default_value = "8KiB")]
    head_size_max: usize,

    /// Bytes of a message, after inflating; more close with 1009. One unfinished message may
    /// hold this much memory
    #[arg(help_heading = MESSAGES, long, value_name = "SIZE", value_parser = parse_size,
          default_value = "16MiB")]
    message_size_max: usize,
    /// Frames of one message; more close with 1008
    #[arg(help_heading = MESSAGES, long, value_name = "N",
          default_value_t = Limits::echo().fragments_max)]
    fragments_max: u32,
    /// From the first byte of a message to its last; then 1008. Raise it for large messages over
    /// slow links
    #[arg(help_heading = MESSAGES, long, value_name = "MS",
          default_value_t = Limits::echo().assembly_timeout_ms)]
    assembly_timeout_ms: u64,
    /// Memory of all unfinished messages of a core; above it the oldest closes with 1008
    #[arg(help_heading = MESSAGES, long, value_name = "SIZE", value_parser = parse_size,
          default_value = "64MiB")]
    unfinished_max_bytes: usize,
    /// Messages per second from one connection; more close with 1008. 0 = no such limit
    #[arg(help_heading = MESSAGES, long, value_name = "N",
          default_value_t = Limits::echo().message_rate_max)]
    message_rate_max: u32,
    /// Messages that may come at once on top of that rate
    #[arg(help_heading = MESSAGES, long, value_name = "N",
          default_value_t = Limits::echo().message_burst)]
    message_burst: u32,
    /// Pings and unasked pongs per second from one connection; more close with 1008. 0 = no limit
    #[arg(help_heading = MESSAGES, long, value_name = "N",
          default_value_t = Limits::echo().control_rate_max)]
    control_rate_max: u32,
    /// Control frames that may come at once on top of that rate
    #[arg(help_heading = MESSAGES, long, value_name = "N",
          default_value_t = Limits::echo().control_burst)]
    control_burst: u32,

    /// Unsent bytes of a connection above which nothing more is received from it
    #[arg(help_heading = SENDING, long, value_name = "SIZE", value_parser = parse_size,
          default_value = "256KiB")]
    backlog_pause_bytes: usize,
    /// Unsent bytes of a connection above which it is cut; 0 = four largest messages and 1 MiB
    #[arg(help_heading = SENDING, long, value_name = "SIZE", value_parser = parse_size,
          default_value = "0")]
    backlog_max_bytes: usize,
    /// Unsent bytes the kernel may hold per connection (TCP_NOTSENT_LOWAT); 0 = the host's
    /// default, which can be megabytes
    #[arg(help_heading = SENDING, long, value_name = "BYTES",
          default_value_t = Limits::echo().kernel_unsent_max_bytes)]
    kernel_unsent_max_bytes: u32,
    /// The kernel's send buffer per connection (SO_SNDBUF); 0 = the host's automatic size. A cap
    /// bounds what a stalled reader costs the kernel, and the throughput of far ones
    #[arg(help_heading = SENDING, long, value_name = "BYTES",
          default_value_t = Limits::echo().kernel_send_buffer_bytes)]
    kernel_send_buffer_bytes: u32,
    /// Sent bytes that nobody acknowledges for this long end the connection (TCP_USER_TIMEOUT);
    /// 0 = the host's default, many minutes
    #[arg(help_heading = SENDING, long, value_name = "MS",
          default_value_t = Limits::echo().unacknowledged_timeout_ms)]
    unacknowledged_timeout_ms: u32,
    /// A peer that takes none of its bytes for this long is cut; 0 = never
    #[arg(help_heading = SENDING, long, value_name = "MS",
          default_value_t = Limits::echo().send_stall_timeout_ms)]
    send_stall_timeout_ms: u64,

    /// Silence after which a ping is sent; 0 = never. Keep it below the idle time-out of proxies
    /// on the way (often 60 s)
    #[arg(help_heading = LIVENESS, long, value_name = "MS",
          default_value_t = Limits::echo().ping_interval_ms)]
    ping_interval_ms: u64,
    /// Silence after that ping that closes with 4012
    #[arg(help_heading = LIVENESS, long, value_name = "MS",
          default_value_t = Limits::echo().pong_timeout_ms)]
    pong_timeout_ms: u64,
    /// No message for this long closes with 1001; 0 = never
    #[arg(help_heading = LIVENESS, long, value_name = "MS",
          default_value_t = Limits::echo().idle_timeout_ms)]
    idle_timeout_ms: u64,
    /// From our Close frame to the end of the peer's stream; then reset
    #[arg(help_heading = LIVENESS, long, value_name = "MS",
          default_value_t = Limits::echo().close_timeout_ms)]
    close_timeout_ms: u64,
    /// From SIGTERM to the end, whatever is still open
    #[arg(help_heading = LIVENESS, long, value_name = "MS",
          default_value_t = Limits::echo().drain_timeout_ms)]
    drain_timeout_ms: u64,
}

impl LimitOptions {
    fn limits(&self) -> Limits {
        Limits {
            connections_max: self.connections_max,
            handshakes_max: self.handshakes_max,
            handshakes_per_address_max: self.handshakes_per_address_max,
            handshake_timeout_ms: self.handshake_timeout_ms,
            head_size_max: self.head_size_max,
            target_size_max: Limits::echo().target_size_max.min(self.head_size_max),
            headers_max: Limits::echo().headers_max,
            message_size_max: self.message_size_max,
            fragments_max: self.fragments_max,
            assembly_timeout_ms: self.assembly_timeout_ms,
            unfinished_max_bytes: self.unfinished_max_bytes,
            message_rate_max: self.message_rate_max,
            message_burst: self.message_burst,
            control_rate_max: self.control_rate_max,
            control_burst: self.control_burst,
            backlog_pause_bytes: self.backlog_pause_bytes,
            backlog_max_bytes: self.backlog_max_bytes,
            kernel_unsent_max_bytes: self.kernel_unsent_max_bytes,
            kernel_send_buffer_bytes: self.kernel_send_buffer_bytes,
            unacknowledged_timeout_ms: self.unacknowledged_timeout_ms,
            send_stall_timeout_ms: self.send_stall_timeout_ms,
            ping_interval_ms: self.ping_interval_ms,
            pong_timeout_ms: self.pong_timeout_ms,
            idle_timeout_ms: self.idle_timeout_ms,
            close_timeout_ms: self.close_timeout_ms,
            drain_timeout_ms: self.drain_timeout_ms,
        }
    }
}

impl CompressionOptions {
    fn policy(&self) -> Option<DeflatePolicy> {
        (self.deflate || self.deflate_takeover).then_some(DeflatePolicy {
            server_no_context_takeover: !self.deflate_takeover,
            client_no_context_takeover: !self.deflate_takeover,
            server_max_window_bits: self.deflate_window_bits,
            client_max_window_bits: self.deflate_window_bits,
        })
    }
}

/// The configuration of the part that all servers share.
pub(crate) fn shared_config(
    place: &PlaceOptions,
    who: &WhoOptions,
    compression: &CompressionOptions,
    limits: &LimitOptions,
) -> Config {
    let placement = match &place.cores {
        Some(list) => Placement::Pinned(list.clone()),
        None => Placement::AllAllowed,
    };
    Config {
        listen: place.listen,
        placement,
        backend: place.backend.into(),
        spin_us: place.spin_us,
        limits: limits.limits(),
        deflate: compression.policy(),
        origins: who.origin.clone(),
        hosts: who.host.clone(),
        congestion: place.congestion.clone(),
        listen_backlog: place.listen_backlog,
    }
}

impl EchoOptions {
    /// The configuration that these options ask for.
    pub(crate) fn config(&self) -> Config {
        shared_config(&self.place, &self.who, &self.compression, &self.limits)
    }
}

/// The whole command line. `serve` shares its options with `echo`, but not all of their defaults:
/// an echo server is for measuring, with messages larger than a hub wants.
pub(crate) fn command() -> clap::Command {
    Cli::command().mut_subcommand("serve", |serve| {
        serve
            .mut_arg("message_size_max", |option| option.default_value("1MiB"))
            .mut_arg("fragments_max", |option| option.default_value("1024"))
    })
}

#[derive(Debug, Args)]
pub(crate) struct DoctorOptions {
    /// Processors the server would run on, such as 0,2-3. Default: all that this process may use
    #[arg(long, value_name = "LIST")]
    pub(crate) cores: Option<CoreList>,
    /// Connections the server should hold. Default: as many as the host allows
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) connections_max: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn echo(arguments: &[&str]) -> Config {
        let all = ["fanwire", "echo"].iter().chain(arguments);
        match Cli::try_parse_from(all).unwrap().command {
            Command::Echo(options) => options.config(),
            _ => panic!("echo was asked for"),
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn defaults_are_those_of_the_library() {
        let config = echo(&[]);
        assert_eq!(config.limits, Limits::echo());
        assert_eq!(config.listen, Config::default().listen);
        assert_eq!(config.listen_backlog, Config::default().listen_backlog);
        assert_eq!(config.deflate, None);
        assert_eq!(echo(&["--deflate"]).deflate, Some(DeflatePolicy::default()));
        assert!(config.origins.is_empty());
    }

    #[test]
    fn options_reach_the_configuration() {
        let config = echo(&[
            "--listen=[::1]:0",
            "--cores=0,2-3",
            "--deflate-takeover",
            "--message-size-max=64KiB",
            "--origin=https://a.test",
            "--origin=https://b.test:1",
        ]);
        assert_eq!(config.listen.port(), 0);
        assert_eq!(
            config.placement,
            Placement::Pinned(CoreList::new(vec![0, 2, 3]).unwrap())
        );
        assert!(
            config
                .deflate
                .is_some_and(|policy| !policy.client_no_context_takeover)
        );
        assert_eq!(config.limits.message_size_max, 64 << 10);
        assert_eq!(config.origins.len(), 2);
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(parse_size("123"), Ok(123));
        assert_eq!(parse_size("64KiB"), Ok(65536));
        assert_eq!(parse_size("16m"), Ok(16 << 20));
        for wrong in [
            "",
            "KiB",
            "1.5MiB",
            "12parsec",
            "99999999999999999999",
            "9999999999999GiB",
        ] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
    }
}
