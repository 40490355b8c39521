//! `fanwire-loadgen`: reads the command line, runs, reports, and exits with a documented code.

#![forbid(unsafe_code)]

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Parser;
use fanwire_loadgen::cli::{Cli, Job};
use fanwire_loadgen::config::{Config, Output};
use fanwire_loadgen::{conformance, report, run};
use signal_hook::consts::{SIGINT, SIGTERM};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The run failed before there was anything to report.
const RUN_ERROR: u8 = 1;
/// The command line makes no sense; clap uses the same.
const USAGE: u8 = 2;
/// A second signal ends the program at once.
const INTERRUPTED: i32 = 130;

fn main() -> ExitCode {
    let job = match Cli::parse().into_job() {
        Ok(job) => job,
        Err(error) => return fail(&error, USAGE),
    };
    match job {
        Job::Conformance(arguments) => match conformance::run(&arguments) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&error, RUN_ERROR),
        },
        Job::Run(config) => load(*config),
    }
}

fn fail(error: &str, code: u8) -> ExitCode {
    eprintln!("fanwire-loadgen: {error}");
    ExitCode::from(code)
}

fn load(config: Config) -> ExitCode {
    let is_interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        let flag = Arc::clone(&is_interrupted);
        let second = Arc::clone(&is_interrupted);
        let registered =
            signal_hook::flag::register_conditional_shutdown(signal, INTERRUPTED, second)
                .and_then(|_| signal_hook::flag::register(signal, flag));
        if let Err(error) = registered {
            return fail(&format!("cannot handle signals: {error}"), RUN_ERROR);
        }
    }
    let json = config.json.clone();
    let report = match run::run(config, is_interrupted) {
        Ok(report) => report,
        Err(error) => return fail(&error, RUN_ERROR),
    };
    let text = report::terminal::render(&report).unwrap_or_default();
    // With the JSON on standard output, the text must not get in between.
    let written = if json == Some(Output::Stdout) {
        std::io::stderr().write_all(text.as_bytes())
    } else {
        std::io::stdout().write_all(text.as_bytes())
    };
    if let Err(error) = written {
        return fail(&format!("cannot write the report: {error}"), RUN_ERROR);
    }
    if let Some(output) = json
        && let Err(error) = report::json::write(&report, &output)
    {
        return fail(&error.to_string(), RUN_ERROR);
    }
    ExitCode::from(report.exit_code)
}
