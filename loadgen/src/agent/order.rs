//! What an agent is asked to do: a load command with its options, and which share of it.
//!
//! Owns which options may be asked of another machine. Every option of a load command is in one of
//! three lists: sent to the agents, kept by the coordinator, or refused with `--agents`. An agent
//! holds what it is sent against the same list before it parses anything, because parsing already
//! opens files.

use std::ffi::OsString;

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, CommandFactory, Parser};
use serde::{Deserialize, Serialize};

use crate::agent::AGENTS_MAX;
use crate::agent::share::divide;
use crate::cli::{Cli, Job};
use crate::config::Config;

/// Commands whose load may be divided.
pub const COMMANDS: [&str; 5] = ["echo", "storm", "idle", "churn", "fanout"];

/// Options that an agent takes: none of them names a file, a process or a listener of its host.
const SENT: [&str; 60] = [
    "arrival",
    "backend",
    "binary",
    "catchup",
    "connect-rate",
    "connect-timeout",
    "connections",
    "cpu",
    "deflate",
    "dialect",
    "disconnect",
    "drain",
    "duration",
    "first-message",
    "fragment",
    "header",
    "hold-only",
    "ignore",
    "in-flight",
    "insecure",
    "lifetime",
    "mask",
    "message",
    "messages",
    "origin",
    "payload",
    "ping-interval",
    "ports",
    "rate",
    "rate-per-conn",
    "readers-only",
    "reconnect",
    "reply-contains",
    "seed",
    "sequence",
    "sequence-key",
    "settle",
    "size",
    "slow",
    "sni",
    "source",
    "spin",
    "stage",
    "stall",
    "stamp",
    "stamp-clock",
    "strict",
    "subprotocol",
    "subscribe",
    "subscribe-path",
    "subscribed-when",
    "template",
    "text",
    "threads",
    "topic-name",
    "topics",
    "topics-per-subscriber",
    "verify",
    "warmup",
    "zipf",
];

/// Options that are about the merged report, or about how the coordinator goes on.
const KEPT: [&str; 16] = [
    "agents",
    "agents-token-file",
    "allow-invalid",
    "csv",
    "hgrm",
    "hlog",
    "html",
    "json",
    "junit",
    "md",
    "no-tui",
    "quiet",
    "restart",
    "runs",
    "threshold",
    "unit",
];

/// Options of a fan-out that publishes, or speaks a dialect of fanwire, which agents do not.
const OF_PUBLISHERS: [&str; 12] = [
    "acknowledged-when",
    "burst",
    "churn",
    "churn-share",
    "keys",
    "kind",
    "max-rate",
    "publish",
    "publish-path",
    "publisher-url",
    "publishers",
    "snapshot",
];

/// Options that do not go with agents, and why.
const REFUSED: [(&str, &str); 8] = [
    (
        "abort-on",
        "the agents' latencies are known together only when all have ended; use --threshold, which \
         judges the merged report",
    ),
    (
        "prom",
        "the agents' figures are known together only when all have ended",
    ),
    (
        "server-pid",
        "a process can be watched on its own host only, and agents are elsewhere",
    ),
    (
        "server-cmd",
        "a server of the coordinator's host would not be measured by agents; start it yourself, \
         or before every run with --restart",
    ),
    ("token-file", FILE),
    ("tls-ca", FILE),
    ("cert", FILE),
    ("key", FILE),
];
const FILE: &str = "an agent reads no files, so that nobody can have it read its host's; run \
                    without --agents on each machine with --json, and add the reports with \
                    report --merge";

/// The work of one agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// The load command.
    pub command: String,
    /// Options by their long names, with their values if they take one.
    pub options: Vec<(String, Option<String>)>,
    /// Where to.
    pub url: String,
    /// Which share, from 0.
    pub index: usize,
    /// How many shares there are.
    pub of: usize,
}

fn is_sent(name: &str) -> bool {
    SENT.contains(&name)
}

/// Why an option does not go with agents, if it does not.
fn refusal(name: &str, value: Option<&str>) -> Option<String> {
    if let Some((name, why)) = REFUSED.iter().find(|(refused, _)| *refused == name) {
        return Some(format!("--{name} does not go with --agents: {why}"));
    }
    if OF_PUBLISHERS.contains(&name) {
        return Some(format!(
            "--{name} does not go with --agents: agents only read a feed"
        ));
    }
    let value = value.unwrap_or_default().trim();
    if name == "stamp-clock" && value != "realtime" {
        return Some(
            "--stamp-clock monotonic does not go with --agents: it is the clock of the server's \
             host alone; have the server stamp with the time since 1970"
                .to_owned(),
        );
    }
    let is_file = match name {
        "size" => value.to_ascii_lowercase().starts_with("file:"),
        "message" => value.starts_with('@'),
        _ => false,
    };
    is_file.then(|| format!("--{name} {value} does not go with --agents: {FILE}"))
}

impl Order {
    /// The load of a command line, undivided: share 0 of 1.
    ///
    /// # Errors
    /// Which part of it does not go with agents, and what to do instead.
    pub fn of_command_line(words: impl IntoIterator<Item = OsString>) -> Result<Order, String> {
        let program = Cli::command();
        let matches = program
            .clone()
            .try_get_matches_from(words)
            .map_err(|error| error.to_string())?;
        let (name, matches) = matches.subcommand().ok_or("there is no command")?;
        check_command(name, || matches.get_flag("readers_only"))?;
        let command = program
            .find_subcommand(name)
            .ok_or("there is no such command")?;
        let mut order = Order {
            command: name.to_owned(),
            options: Vec::new(),
            url: String::new(),
            index: 0,
            of: 1,
        };
        for argument in command.get_arguments() {
            let id = argument.get_id().as_str();
            if matches.value_source(id) == Some(ValueSource::CommandLine) {
                order.add(argument, matches)?;
            }
        }
        Ok(order)
    }

    fn add(&mut self, argument: &Arg, matches: &ArgMatches) -> Result<(), String> {
        let mut values = Vec::new();
        for value in matches
            .get_raw(argument.get_id().as_str())
            .into_iter()
            .flatten()
        {
            let value = value.to_str().ok_or_else(|| {
                format!(
                    "'{}' is not UTF-8, which agents demand",
                    value.to_string_lossy()
                )
            })?;
            values.push(value.to_owned());
        }
        let Some(name) = argument.get_long() else {
            // The one argument without a name.
            self.url = values.pop().unwrap_or_default();
            return Ok(());
        };
        if KEPT.contains(&name) {
            return Ok(());
        }
        if !argument.get_action().takes_values() {
            values.truncate(1);
        }
        for value in values {
            let is_bare = !argument.get_action().takes_values() || value.is_empty();
            self.options
                .push((name.to_owned(), (!is_bare).then_some(value)));
        }
        self.check_options()
    }

    /// The same load, and which share of it.
    pub fn share(&self, index: usize, of: usize) -> Order {
        Order {
            index,
            of,
            ..self.clone()
        }
    }

    fn check_options(&self) -> Result<(), String> {
        for (name, value) in &self.options {
            if let Some(refusal) = refusal(name, value.as_deref()) {
                return Err(refusal);
            }
            if !is_sent(name) {
                return Err(format!("--{name} cannot be asked of an agent"));
            }
        }
        Ok(())
    }

    /// What is to be done, as a configuration of this host. Opens no file and listens nowhere,
    /// whatever the order says.
    ///
    /// # Errors
    /// What is refused or makes no sense.
    pub fn into_config(self) -> Result<Config, String> {
        let is_feed = || self.options.iter().any(|(name, _)| name == "readers-only");
        check_command(&self.command, is_feed)?;
        self.check_options()?;
        if !(1..=AGENTS_MAX).contains(&self.of) || self.index >= self.of {
            return Err(format!("there is no share {} of {}", self.index, self.of));
        }
        let mut words = vec!["fanwire-loadgen".to_owned(), self.command];
        words.extend(self.options.into_iter().map(|(name, value)| match value {
            Some(value) => format!("--{name}={value}"),
            None => format!("--{name}"),
        }));
        words.extend(["--".to_owned(), self.url]);
        let job = Cli::try_parse_from(words)
            .map_err(|error| first_sentence(&error.to_string()))?
            .into_job()?;
        let config = match job {
            Job::Run(config) => *config,
            Job::Churn(arguments) => arguments.into_config()?,
            _ => return Err("that is not a load".to_owned()),
        };
        check_harmless(&config)?;
        divide(&config, self.index, self.of)
    }
}

/// `is_feed`: of a fan-out, that it only reads.
fn check_command(name: &str, is_feed: impl FnOnce() -> bool) -> Result<(), String> {
    match name {
        "fanout" if !is_feed() => Err(
            "a fanout that publishes does not go with --agents: a copy's latency is the time from a \
             publisher's clock to a subscriber's, and clocks of two machines differ by more than \
             what is measured. Publish and subscribe from one machine with more threads (-t), or \
             have the agents read what the server sends by itself: --readers-only"
                .to_owned(),
        ),
        name if COMMANDS.contains(&name) => Ok(()),
        other => Err(format!(
            "{other} does not go with --agents; {} do",
            COMMANDS.join(", ")
        )),
    }
}

/// Says it once more of what came out: no order has this host read, write, watch or start anything.
fn check_harmless(config: &Config) -> Result<(), String> {
    let judge = &config.judge;
    let is_harmless = config.outputs.files.is_empty()
        && config.outputs.prometheus.is_none()
        && judge.junit.is_none()
        && judge.restart.is_none()
        && judge.server_command.is_none()
        && config.server_pid.is_none()
        && config.tokens.is_empty()
        && config.agents.is_none()
        && config
            .fanout
            .as_ref()
            .is_none_or(|fanout| fanout.feed.is_some());
    if is_harmless {
        Ok(())
    } else {
        Err("an agent opens connections to a server and nothing else".to_owned())
    }
}

/// What clap says before usage and hints.
fn first_sentence(text: &str) -> String {
    let text = text.trim_start_matches("error: ");
    let paragraph = text.split("\n\n").next().unwrap_or(text);
    let lines: Vec<&str> = paragraph.lines().map(str::trim).collect();
    lines.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(line: &str) -> Result<Order, String> {
        let words = std::iter::once("fanwire-loadgen").chain(line.split_whitespace());
        Order::of_command_line(words.map(OsString::from))
    }

    #[test]
    fn every_option_of_a_load_is_in_one_list() {
        let mut seen = Vec::new();
        for name in COMMANDS {
            let program = Cli::command();
            let command = program.find_subcommand(name).expect(name);
            for argument in command.get_arguments() {
                let Some(long) = argument.get_long() else {
                    assert_eq!(argument.get_id(), "url");
                    continue;
                };
                let lists = [
                    is_sent(long),
                    KEPT.contains(&long),
                    REFUSED.iter().any(|(refused, _)| *refused == long)
                        || OF_PUBLISHERS.contains(&long),
                ];
                let count = lists.iter().filter(|is_in| **is_in).count();
                assert_eq!(count, 1, "{name} --{long} is in {count} of the lists");
                seen.push(long.to_owned());
            }
        }
        let listed = SENT.iter().chain(&KEPT).chain(&OF_PUBLISHERS);
        for long in listed.chain(REFUSED.iter().map(|(long, _)| long)) {
            assert!(seen.iter().any(|seen| seen == long), "there is no --{long}");
        }
    }

    #[test]
    fn a_command_line_arrives_as_it_was_meant() {
        let order = order(
            "echo ws://127.0.0.1:9/x -c10 -z 3s -R 4k --deflate -HA:b -H C:d --text --json - --quiet \
             --threshold echo.p99<1ms --agents 127.0.0.1:1,127.0.0.1:2",
        )
        .expect("a load");
        assert_eq!(order.url, "ws://127.0.0.1:9/x");
        let mut options = order.options.clone();
        options.sort();
        let some = |name: &str, value: &str| (name.to_owned(), Some(value.to_owned()));
        let bare = |name: &str| (name.to_owned(), None);
        assert_eq!(
            options,
            [
                some("connections", "10"),
                bare("deflate"),
                some("duration", "3s"),
                some("header", "A:b"),
                some("header", "C:d"),
                some("rate", "4k"),
                bare("text"),
            ]
        );
        let config = order.share(1, 2).into_config().expect("makes sense");
        assert_eq!((config.connections, config.rate), (5, Some(2_000.0)));
        assert_eq!(config.headers.len(), 2);
        assert!(config.deflate.is_some() && config.agents.is_none());
        assert!(config.judge.thresholds.is_empty() && config.outputs.files.is_empty());
    }

    #[test]
    fn what_does_not_go_with_agents_is_refused_by_both_sides() {
        let file = std::env::temp_dir().join(format!("agent-order-{}", std::process::id()));
        for (name, value) in [
            ("json", file.display().to_string()),
            ("html", file.display().to_string()),
            ("junit", file.display().to_string()),
            ("token-file", "/etc/passwd".to_owned()),
            ("tls-ca", "/etc/passwd".to_owned()),
            ("cert", "/etc/passwd".to_owned()),
            ("key", "/etc/passwd".to_owned()),
            ("restart", format!("touch {}", file.display())),
            ("server-cmd", format!("touch {}", file.display())),
            ("server-pid", "1".to_owned()),
            ("prom", "127.0.0.1:0".to_owned()),
            ("abort-on", "echo.p99>1s".to_owned()),
            ("agents", "127.0.0.1:1".to_owned()),
            ("size", "file:/etc/passwd".to_owned()),
            ("size", " FILE:/etc/passwd".to_owned()),
            ("message", "@/etc/passwd".to_owned()),
            ("help", String::new()),
            ("jso", file.display().to_string()),
            ("connections=1 --json", file.display().to_string()),
        ] {
            let asked = Order {
                command: "echo".to_owned(),
                options: vec![(name.to_owned(), Some(value))],
                url: "ws://127.0.0.1:9".to_owned(),
                index: 0,
                of: 1,
            };
            let error = asked.into_config().expect_err(name);
            assert!(error.contains(name), "{error}");
            assert!(!file.exists(), "--{name} touched a file");
        }
        for (line, word) in [
            ("echo ws://127.0.0.1 --prom 127.0.0.1:0", "--prom"),
            ("echo ws://127.0.0.1 --abort-on echo.p99>1s", "--threshold"),
            ("echo ws://127.0.0.1 -m @Cargo.toml", "report --merge"),
            ("echo ws://127.0.0.1 --server-pid 1", "own host"),
            ("fanout ws://127.0.0.1 -R 5", "--readers-only"),
            (
                "fanout ws://127.0.0.1 --readers-only --stamp-clock monotonic --stamp json:/t:ms",
                "1970",
            ),
            (
                "fanout ws://127.0.0.1 --readers-only --kind state",
                "--kind",
            ),
            ("find echo ws://127.0.0.1 --threshold echo.p99<1ms", "find"),
        ] {
            let error = order(line).expect_err(line);
            assert!(error.contains(word), "{line}: {error}");
        }
    }

    #[test]
    fn an_order_is_checked_before_it_is_obeyed() {
        let asked = order("storm ws://127.0.0.1:9 -c 4").expect("a load");
        for (index, of) in [(0, 0), (2, 2), (0, AGENTS_MAX + 1), (usize::MAX, 3)] {
            let error = asked.share(index, of).into_config().expect_err("no share");
            assert!(error.contains("no share"), "{error}");
        }
        for command in ["fanout", "run", "report", "agent", ""] {
            let asked = Order {
                command: command.to_owned(),
                ..asked.clone()
            };
            assert!(asked.into_config().is_err(), "{command}");
        }
        for url in ["", "--json=x", "http://127.0.0.1", "ws://"] {
            let asked = Order {
                url: url.to_owned(),
                ..asked.clone()
            };
            assert!(asked.into_config().is_err(), "{url}");
        }
    }
}
