//! The command line: what a person types, and what is said when it makes no sense.

pub mod agents;
pub mod common;
pub mod connect;
pub mod judge;
pub mod loads;
pub mod message;
pub mod output;
pub mod pace;
pub mod tls;

use clap::{Args, Parser, Subcommand};

pub use common::{Backend, CommonArguments};
use message::MessageArguments;
use pace::{PaceArguments, RhythmArguments};

use crate::commands;
use crate::config::{Config, Mode};
use crate::fanout::cli::FanoutArguments;
use crate::fanout::foreign_cli;
use crate::pace::warmup::Warmup;
use crate::quantity::{parse_duration_ns, parse_rate};

const EXAMPLES: &str = "\
Examples:
  fanwire-loadgen echo ws://127.0.0.1:9001 -c 200                     closed loop: how fast?
  fanwire-loadgen echo ws://127.0.0.1:9001 -c 200 -R 50k              open loop: what latency?
  fanwire-loadgen fanout ws://127.0.0.1:9001 -c 5k -R 20 -s 100       1 publisher, 5,000 readers
  fanwire-loadgen storm ws://127.0.0.1:9001 -c 50 --source 127.0.0.0/28
  fanwire-loadgen idle ws://127.0.0.1:9001 -c 15k -d 60s --server-pid 42
  fanwire-loadgen find echo ws://127.0.0.1:9001 -c 1000 --threshold 'echo.p99<1ms'
  fanwire-loadgen compare base/*.json -- new/*.json --fail-on-regression 5%
  fanwire-loadgen report run.json --html run.html
  fanwire-loadgen echo ws://10.0.0.9:9001 -c 20k -R 400k --agents 10.0.0.5:9977,10.0.0.6:9977

Counts take k, m, g (10k); sizes B, k, KiB, MiB (16KiB); times ns, us, ms, s, m, h (500us; a bare
number is seconds).

Exit codes:
  0    the report is VALID or SUSPECT (read the reasons it gives)
  1    the run failed: nothing could be connected, nothing was answered, or an agent failed
  2    the command line makes no sense
  3    a threshold was not met (--threshold), or the run was ended by --abort-on
  4    the report is INVALID: connections failed, replies were wrong or missing, the ledger of a
       fan-out does not add up, or the generator itself was the bottleneck; stands above 3, since it
       proves nothing about thresholds (--allow-invalid: exits with 0 or 3 nevertheless)
  5    `compare` found a regression
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
    #[command(after_help = foreign_cli::EXAMPLES)]
    Fanout(Box<FanoutArguments>),
    /// Steady connecting and disconnecting, and reconnecting with backoff
    #[command(after_help = crate::churn::cli::EXAMPLES)]
    Churn(Box<commands::churn::Arguments>),
    /// Mixed, staged scenario from a file or a preset
    #[command(after_help = commands::run::EXAMPLES)]
    Run(Box<commands::run::Arguments>),
    /// Largest load that meets the thresholds
    Find(commands::find::Arguments),
    /// One run per value of a parameter: table and plot
    Sweep(commands::sweep::Arguments),
    /// Two sets of saved runs, with statistics
    Compare(commands::compare::Arguments),
    /// Render saved runs again, or merge those of several processes
    Report(commands::report::Arguments),
    /// What this host can do, and what stands in the way
    Doctor(commands::doctor::Arguments),
    /// Ceiling and noise floor of the generator on this host
    Calibrate(commands::calibrate::Arguments),
    /// Prove the measurement against servers with known faults
    Selftest(commands::selftest::Arguments),
    /// Make shares of loads for other machines, which name it with --agents
    Agent(commands::agent::Arguments),
    /// One share of a load, told on standard input. Started by `agent`
    #[command(hide = true, name = commands::agent::WORK)]
    AgentWork,
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
    #[command(flatten)]
    pace: PaceArguments,
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
    #[command(flatten)]
    rhythm: RhythmArguments,
    /// Load before measuring starts: a time, or auto: until rate and median response time are
    /// steady from one second to the next, 10 s at most [default: auto; 0 with --stage, 1s with --agents]
    #[arg(short, long, value_name = "TIME", value_parser = Warmup::parse)]
    warmup: Option<Warmup>,
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

/// What the command line asks for.
#[derive(Debug)]
pub enum Job {
    /// A load run.
    Run(Box<Config>),
    /// The Autobahn client.
    Conformance(ConformanceArguments),
    /// `churn`.
    Churn(Box<commands::churn::Arguments>),
    /// `run`.
    Scenario(Box<commands::run::Arguments>),
    /// `find`.
    Find(commands::find::Arguments),
    /// `sweep`.
    Sweep(commands::sweep::Arguments),
    /// `compare`.
    Compare(commands::compare::Arguments),
    /// `report`.
    Report(commands::report::Arguments),
    /// `doctor`.
    Doctor(commands::doctor::Arguments),
    /// `calibrate`.
    Calibrate(commands::calibrate::Arguments),
    /// `selftest`.
    Selftest(commands::selftest::Arguments),
    /// `agent`.
    Agent(commands::agent::Arguments),
    /// The process that `agent` starts.
    AgentWork,
}

impl EchoArguments {
    /// Checks what clap cannot.
    ///
    /// # Errors
    /// One or two sentences with cause and cure.
    pub fn into_config(self) -> Result<Config, String> {
        let has_duration = self.common.has_duration();
        let config = self.common.into_config(Mode::Echo)?;
        self.pace.apply(self.message.apply(config)?, has_duration)
    }
}

impl IdleArguments {
    /// Checks what clap cannot.
    ///
    /// # Errors
    /// One or two sentences with cause and cure.
    pub fn into_config(self) -> Result<Config, String> {
        Ok(Config {
            connect_rate: self.connect_rate,
            ..self.common.into_config(Mode::Idle)?
        })
    }
}

impl StormArguments {
    /// Checks what clap cannot.
    ///
    /// # Errors
    /// One or two sentences with cause and cure.
    pub fn into_config(self) -> Result<Config, String> {
        let has_duration = self.common.has_duration();
        let config = self.common.into_config(Mode::Storm)?;
        let config = self.message.apply(config)?;
        self.rhythm
            .apply_to(config, self.rate, self.warmup, has_duration)
    }
}

impl Cli {
    /// Checks what clap cannot: limits, combinations, names that must resolve.
    ///
    /// # Errors
    /// One or two sentences with cause and cure; the program exits with 2.
    pub fn into_job(self) -> Result<Job, String> {
        let config = match self.command {
            Command::Conformance(arguments) => return Ok(Job::Conformance(arguments)),
            Command::Echo(echo) => echo.into_config()?,
            Command::Idle(idle) => idle.into_config()?,
            Command::Storm(storm) => storm.into_config()?,
            Command::Fanout(fanout) => fanout.into_config()?,
            Command::Churn(arguments) => return Ok(Job::Churn(arguments)),
            Command::Run(arguments) => return Ok(Job::Scenario(arguments)),
            Command::Find(arguments) => return Ok(Job::Find(arguments)),
            Command::Sweep(arguments) => return Ok(Job::Sweep(arguments)),
            Command::Compare(arguments) => return Ok(Job::Compare(arguments)),
            Command::Report(arguments) => return Ok(Job::Report(arguments)),
            Command::Doctor(arguments) => return Ok(Job::Doctor(arguments)),
            Command::Calibrate(arguments) => return Ok(Job::Calibrate(arguments)),
            Command::Selftest(arguments) => return Ok(Job::Selftest(arguments)),
            Command::Agent(arguments) => return Ok(Job::Agent(arguments)),
            Command::AgentWork => return Ok(Job::AgentWork),
        };
        Ok(Job::Run(Box::new(config)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fanout::options::Form;
    use crate::message::payload::Verify;

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
        assert_eq!(config.warmup, Warmup::Unsaid);
    }

    #[test]
    fn the_stamp_of_our_own_messages_is_their_payload() {
        let form = |line: &str| config(line).fanout.expect("a fan-out").form;
        assert_eq!(form("fanout ws://127.0.0.1 -R 9"), Form::Binary);
        assert_eq!(form("fanout ws://127.0.0.1 -R 9 --stamp bin"), Form::Binary);
        assert_eq!(form("fanout ws://127.0.0.1 -R 9 --stamp text"), Form::Text);
    }

    #[test]
    fn warm_ups() {
        let warmup = |line: &str| config(line).warmup;
        assert_eq!(warmup("echo ws://127.0.0.1 -w auto"), Warmup::Auto);
        assert_eq!(warmup("storm ws://127.0.0.1"), Warmup::Unsaid);
        assert_eq!(warmup("fanout ws://127.0.0.1 -R 9"), Warmup::Unsaid);
        assert_eq!(warmup("echo ws://127.0.0.1 -n 10"), Warmup::NONE);
        assert_eq!(warmup("echo ws://127.0.0.1 --stage 1s:10"), Warmup::NONE);
        assert_eq!(warmup("idle ws://127.0.0.1"), Warmup::NONE);
    }

    #[test]
    fn q_is_quiet() {
        assert!(config("echo ws://127.0.0.1 -q").outputs.is_quiet);
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
            ("echo ws://127.0.0.1 --insecure", "wss://"),
            ("echo ws://127.0.0.1 --sni a", "wss://"),
            ("echo wss://127.0.0.1 --cert a.pem", "--key"),
            ("echo wss://127.0.0.1 --tls-ca /nonexistent", "--tls-ca"),
            ("echo wss://127.0.0.1 --sni a/b", "--sni"),
            ("echo ws://127.0.0.1 --ports 9-8", "backwards"),
            ("storm ws://127.0.0.1 --ping-interval 1s", "idle"),
            ("idle ws://127.0.0.1 --ping-interval 1us", "1ms"),
            ("echo ws://127.0.0.1 -c 0", "--connections"),
            ("echo ws://127.0.0.1 -c 10x", "10k"),
            ("echo ws://127.0.0.1 -d 0", "--duration"),
            ("echo ws://127.0.0.1 --in-flight 0", "--in-flight"),
            (
                "echo ws://127.0.0.1 -R 10 --in-flight 4",
                "cannot be used with",
            ),
            ("echo ws://127.0.0.1 -w soon", "auto"),
            ("echo ws://127.0.0.1 -n 10 -w auto", "-d"),
            ("echo ws://127.0.0.1 --stage 1s:10 -w auto", "-w"),
            ("fanout ws://127.0.0.1 --stage 1s:10 -w auto", "-w"),
            (
                "fanout ws://127.0.0.1 -R 9 --stamp json:/ts",
                "--readers-only",
            ),
            (
                "fanout ws://127.0.0.1 -R 9 --stamp text --payload json",
                "--stamp",
            ),
            (
                "fanout ws://127.0.0.1 --readers-only --stamp bin",
                "json:/ts",
            ),
            (
                "fanout ws://127.0.0.1 -R 9 --stamp bin --dialect custom",
                "--payload text",
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
