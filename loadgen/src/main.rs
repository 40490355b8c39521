//! `fanwire-loadgen`: reads the command line, has the command done, and exits with its code.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use fanwire_loadgen::cli::{Cli, Job};
use fanwire_loadgen::commands::{self, Failure};
use fanwire_loadgen::conformance;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let words = commands::compare::with_separator(std::env::args_os());
    let done = Cli::parse_from(words)
        .into_job()
        .map_err(Failure::usage)
        .and_then(execute);
    match done {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            eprintln!("fanwire-loadgen: {}", failure.message);
            ExitCode::from(failure.code)
        }
    }
}

fn execute(job: Job) -> Result<u8, Failure> {
    match job {
        Job::Run(config) => commands::load::execute(*config),
        Job::Conformance(arguments) => conformance::run(&arguments)
            .map(|()| commands::OK)
            .map_err(Failure::run),
        Job::Churn(arguments) => commands::churn::execute(*arguments),
        Job::Scenario(arguments) => commands::run::execute(*arguments),
        Job::Find(arguments) => commands::find::execute(arguments),
        Job::Sweep(arguments) => commands::sweep::execute(arguments),
        Job::Compare(arguments) => commands::compare::execute(arguments),
        Job::Report(arguments) => commands::report::execute(arguments),
        Job::Doctor(arguments) => commands::doctor::execute(arguments),
        Job::Calibrate(arguments) => commands::calibrate::execute(arguments),
        Job::Selftest(arguments) => commands::selftest::execute(arguments),
        Job::Agent(arguments) => commands::agent::execute(arguments),
        Job::AgentWork => commands::agent::work(),
    }
}
