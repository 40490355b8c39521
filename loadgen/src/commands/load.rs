//! The commands that are one run: `echo`, `fanout`, `storm`, `idle`.
//!
//! The one path from a configuration to an exit code: run, judge, write. Commands that make
//! several runs use its parts.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::agent::lead;
use crate::commands::server::OwnServer;
use crate::commands::{Failure, repeat, signals};
use crate::config::Config;
use crate::judge::live::{AbortWatch, Fired};
use crate::judge::{self, junit};
use crate::live;
use crate::measure::model::Report;
use crate::measure::watch::Watch;
use crate::report::outputs;
use crate::run::{self, Hooks};

/// Runs `config`, prints and writes the reports, and returns the exit code.
///
/// # Errors
/// What kept it from being done.
pub fn execute(config: Config) -> Result<u8, Failure> {
    let is_interrupted = signals::install()?;
    repeat::execute(&config, &is_interrupted)
}

/// One run, watched and judged.
///
/// # Errors
/// What kept the run from starting.
pub fn measure(config: Config, is_interrupted: Arc<AtomicBool>) -> Result<Report, Failure> {
    measure_watched(config, is_interrupted, live::watches)
}

/// The same, watched by whom `watches` says.
///
/// # Errors
/// As [`measure`].
pub fn measure_watched(
    mut config: Config,
    is_interrupted: Arc<AtomicBool>,
    watches: impl FnOnce(&Config) -> Result<Vec<Box<dyn Watch>>, String>,
) -> Result<Report, Failure> {
    let settings = config.judge.clone();
    if let Some(agents) = config.agents.take() {
        // What --restart said of a server of this host, agents cannot watch.
        config.server_pid = None;
        judge::check(&config).map_err(Failure::usage)?;
        let mut report = lead::measure(&config, &agents, &is_interrupted)?;
        judge::apply(&mut report, &settings, None);
        return Ok(report);
    }
    let server = match &settings.server_command {
        Some(command) => Some(OwnServer::start(command, config.address)?),
        None => None,
    };
    if let Some(server) = &server {
        config.server_pid = Some(server.pid());
    }
    judge::check(&config).map_err(Failure::usage)?;
    let fired = Fired::default();
    let mut watches = watches(&config).map_err(Failure::run)?;
    if !settings.abort_on.is_empty() {
        let abort = AbortWatch::new(settings.abort_on.clone(), Arc::clone(&fired));
        watches.push(Box::new(abort));
    }
    let hooks = Hooks {
        is_interrupted,
        watches,
        barrier: None,
    };
    let mut report = run::run(config, hooks).map_err(Failure::run)?;
    judge::apply(&mut report, &settings, fired.get());
    Ok(report)
}

/// The report on the terminal and in every file that was asked for.
///
/// # Errors
/// What could not be written.
pub fn write_all(report: &Report, config: &Config) -> Result<(), Failure> {
    outputs::write_all(report, config).map_err(Failure::run)?;
    if let Some(path) = &config.judge.junit {
        let suite = (format!("{} {}", report.mode, report.url), report);
        junit::write(path, &[suite])
            .map_err(|error| Failure::run(format!("cannot write the JUnit file {error}")))?;
    }
    Ok(())
}
