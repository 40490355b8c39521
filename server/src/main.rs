//! The program `fanwire`: reads the command line, runs the command, turns errors into one line
//! and an exit code.
//!
//! Exit codes: 0 after a drain, 1 when something failed while serving, 2 when the command line is
//! wrong or the server could not start.

#![forbid(unsafe_code)]

mod cli;
mod doctor;
mod echo;
mod serve;

use std::ffi::OsString;
use std::io::IsTerminal;
use std::process::ExitCode;

use clap::FromArgMatches;
use tracing_subscriber::EnvFilter;

use crate::cli::{Cli, Command};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What a command that failed leaves behind.
enum Failure {
    /// Nothing was served.
    Start(anyhow::Error),
    /// It served and then failed.
    Serving(anyhow::Error),
}

fn main() -> ExitCode {
    // A wrong command line prints its own message and exits with 2.
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let matches = cli::command().get_matches_from(&arguments);
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    let filter = EnvFilter::try_from_env("FANWIRE_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
    let result = match cli.command {
        Command::Echo(options) => echo::run(&options),
        Command::Serve(_) => serve::run(&arguments),
        Command::Doctor(options) => doctor::run(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Start(error)) => {
            eprintln!("fanwire: {error:#}");
            ExitCode::from(2)
        }
        Err(Failure::Serving(error)) => {
            eprintln!("fanwire: {error:#}");
            ExitCode::from(1)
        }
    }
}
