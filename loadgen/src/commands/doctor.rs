//! `doctor`: what this host can do, and what stands in the way.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::{Args, Parser};

use crate::cli::{Cli, Job};
use crate::commands::{Failure, OK, RUN_ERROR};
use crate::config::{Config, Output};
use crate::connect::target::{Target, parse_sources};
use crate::doctor::{self, Diagnosis, Finding, Level, Plan, connection};
use crate::measure::environment::facts::{HostFiles, parse_cpu_list};
use crate::quantity::{format_count, parse_count};
use crate::report::json;
use crate::run::{self, Hooks};

const AFTER_HELP: &str = "\
Each line says ok, warn (the load will run, its numbers may suffer) or fail (the load as planned
will not run), and what to type about it. Changes nothing.

Examples:
  fanwire-loadgen doctor
  fanwire-loadgen doctor -c 200k --source 127.0.0.0/28
  fanwire-loadgen doctor ws://127.0.0.1:9001 -c 10k -t 2 --cpu 2,3
  fanwire-loadgen doctor wss://example.test/feed -- --insecure -H 'Authorization: Bearer x'

Exit codes: 0 nothing is in the way, 1 something is.";

/// `doctor`.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub struct Arguments {
    /// A server to try: resolve, connect, upgrade, one echo
    url: Option<String>,
    /// Connections that are planned
    #[arg(short, long, default_value = "1000", value_name = "N", value_parser = parse_count)]
    connections: u64,
    /// Threads that are planned
    #[arg(short, long, default_value = "1", value_name = "N", value_parser = parse_count)]
    threads: u64,
    /// CPUs that they are to be pinned to: 1 or 2,3 or 4-7
    #[arg(long, value_name = "LIST")]
    cpu: Option<String>,
    /// Addresses to connect from
    #[arg(long, alias = "local-ips", value_name = "CIDR,…")]
    source: Option<String>,
    /// Write the result as one JSON object to a file, or to standard output with -
    #[arg(long, value_name = "FILE|-")]
    json: Option<PathBuf>,
    /// Options of `echo` for trying the server, behind a --
    #[arg(last = true, value_name = "OPTION")]
    options: Vec<String>,
}

/// Does it and returns the exit code.
///
/// # Errors
/// What kept it from being done.
pub fn execute(arguments: Arguments) -> Result<u8, Failure> {
    let plan = plan(&arguments)?;
    let mut findings = doctor::ask_host(&HostFiles::default(), &plan);
    if let Some(url) = &arguments.url {
        findings.extend(try_server(url, &arguments.options));
    } else if !arguments.options.is_empty() {
        return Err(Failure::usage(
            "options behind -- are for trying a server: name its URL",
        ));
    }
    let diagnosis = Diagnosis::of(&plan, findings);
    let output = arguments.json.map(Output::of);
    let text = doctor::render(&diagnosis);
    let written = if output == Some(Output::Stdout) {
        std::io::stderr().write_all(text.as_bytes())
    } else {
        std::io::stdout().write_all(text.as_bytes())
    };
    written.map_err(|error| Failure::run(format!("cannot print the result: {error}")))?;
    if let Some(output) = output {
        json::write(&diagnosis, &output).map_err(|error| Failure::run(error.to_string()))?;
    }
    Ok(if diagnosis.level == Level::Fail {
        RUN_ERROR
    } else {
        OK
    })
}

/// More connections than this no address space holds.
const CONNECTIONS_MAX: u64 = 1 << 32;

fn plan(arguments: &Arguments) -> Result<Plan, Failure> {
    let cpus = match &arguments.cpu {
        None => Vec::new(),
        Some(list) => parse_cpu_list(list).ok_or_else(|| {
            Failure::usage(format!(
                "--cpu '{list}' is not a list; write 1 or 2,3 or 4-7"
            ))
        })?,
    };
    let sources = arguments.source.as_deref().map(parse_sources).transpose();
    if !(1..=CONNECTIONS_MAX).contains(&arguments.connections) {
        return Err(Failure::usage(format!(
            "--connections must be between 1 and {}",
            format_count(CONNECTIONS_MAX)
        )));
    }
    // Without a URL the server is taken to be here: then both ends need what there is.
    let target = arguments
        .url
        .as_deref()
        .and_then(|url| Target::parse(url).ok());
    let addresses = target.and_then(|target| target.resolve().ok());
    let is_loopback = addresses.is_none_or(|addresses| {
        addresses
            .first()
            .is_none_or(|address| address.ip().is_loopback())
    });
    Ok(Plan {
        connections: arguments.connections,
        threads: arguments.threads.clamp(1, arguments.connections),
        cpus,
        sources: sources.map_err(Failure::usage)?.unwrap_or_default().len() as u64,
        is_loopback,
    })
}

fn try_server(url: &str, options: &[String]) -> Vec<Finding> {
    let config = match echo_config(url, options) {
        Ok(config) => config,
        Err(error) => return vec![connection::unresolved(&error)],
    };
    let mut findings = vec![connection::resolved(&config.target.host, config.address)];
    let hooks = Hooks {
        is_interrupted: Arc::new(AtomicBool::new(false)),
        watches: Vec::new(),
        barrier: None,
    };
    match run::run(config, hooks) {
        Ok(report) => findings.extend(connection::read(&report)),
        Err(error) => findings.push(connection::untried(&error)),
    }
    findings
}

fn echo_config(url: &str, options: &[String]) -> Result<Config, String> {
    let words = ["fanwire-loadgen", "echo", url]
        .into_iter()
        .map(str::to_owned);
    let fixed = connection::ECHO_OPTIONS
        .iter()
        .map(|word| (*word).to_owned());
    let all = words.chain(fixed).chain(options.iter().cloned());
    let cli = Cli::try_parse_from(all).map_err(|error| error.to_string())?;
    match cli.into_job()? {
        Job::Run(config) => Ok(*config),
        _ => Err("options behind -- must be those of `echo`".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_test_of_a_server_is_a_run_of_echo() {
        let options = ["-H".to_owned(), "Authorization: Bearer x".to_owned()];
        let config = echo_config("ws://127.0.0.1:9/", &options).expect("makes sense");
        assert_eq!((config.connections, config.threads), (1, 1));
        assert_eq!(config.headers.len(), 1);
        let error = echo_config("http://127.0.0.1:9/", &[]).expect_err("no WebSocket");
        assert!(error.contains("ws://"), "{error}");
    }

    #[test]
    fn nothing_listens_there() {
        // Bound and dropped: nobody else is given this port within the moment.
        let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = socket.local_addr().expect("bound");
        drop(socket);
        let findings = try_server(&format!("ws://{address}/"), &[]);
        let levels: Vec<(&str, Level)> = findings
            .iter()
            .map(|finding| (finding.name, finding.level))
            .collect();
        assert_eq!(
            levels,
            [("resolve", Level::Ok), ("TCP connect", Level::Fail)]
        );
        assert!(
            findings[1].found.contains("connect_refused"),
            "{findings:?}"
        );
    }
}
