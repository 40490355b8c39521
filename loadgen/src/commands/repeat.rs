//! `--runs N` and `--restart COMMAND`: the same run again and again, for `compare`.
//!
//! What a restart of the server changes is the largest part of what differs between two runs, so
//! that a comparison needs runs with restarts between them.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::commands::load::{measure, write_all};
use crate::commands::{Failure, INTERRUPTED, INVALID, OK, REGRESSION, RUN_ERROR, THRESHOLD_FAILED};
use crate::config::{Config, Output};
use crate::report::outputs::Form;

/// Longest wait for a restarted server to accept connections.
const RESTART_MAX: Duration = Duration::from_secs(30);
/// Between two attempts.
const RETRY: Duration = Duration::from_millis(50);

/// Makes all runs of `config` and returns the worst of their exit codes.
///
/// # Errors
/// What kept one of them from being done.
pub fn execute(config: &Config, is_interrupted: &Arc<AtomicBool>) -> Result<u8, Failure> {
    let runs = config.judge.runs.max(1);
    let takes_stdout = |(_, output): &(Form, Output)| *output == Output::Stdout;
    if runs > 1 && config.outputs.files.iter().any(takes_stdout) {
        return Err(Failure::usage(
            "--runs writes a file for each run: --json out.json becomes out-1.json, out-2.json, …",
        ));
    }
    let mut worst = OK;
    for number in 1..=runs {
        let mut config = config.clone();
        if let Some(command) = config.judge.restart.clone() {
            restart(&command, &mut config)?;
        }
        if runs > 1 {
            config = numbered(config, number);
            eprintln!("run {number} of {runs}");
        }
        let report = measure(config.clone(), Arc::clone(is_interrupted))?;
        write_all(&report, &config)?;
        worst = worse(worst, report.exit_code);
        if is_interrupted.load(Ordering::Relaxed) {
            break;
        }
    }
    Ok(worst)
}

/// The exit code that says more: what ended the run first, then what makes it worthless.
pub fn worse(one: u8, other: u8) -> u8 {
    let order = [
        INTERRUPTED,
        RUN_ERROR,
        INVALID,
        REGRESSION,
        THRESHOLD_FAILED,
    ];
    let found = order.into_iter().find(|code| [one, other].contains(code));
    found.unwrap_or(OK)
}

fn numbered(mut config: Config, number: u32) -> Config {
    for (_, output) in &mut config.outputs.files {
        if let Output::File(path) = output {
            *path = numbered_path(path, number);
        }
    }
    if let Some(path) = &mut config.judge.junit {
        *path = numbered_path(path, number);
    }
    config
}

/// `out.json` becomes `out-1.json`.
fn numbered_path(path: &Path, number: u32) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_os_string();
    let mut name = stem;
    name.push(format!("-{number}"));
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}

/// Runs the command and waits until the server accepts a connection again.
fn restart(command: &str, config: &mut Config) -> Result<(), Failure> {
    // A server left in the background keeps its standard error; its standard output must not be
    // ours, or the command would seem to go on for as long as the server lives.
    let output = Command::new("sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| Failure::run(format!("--restart: cannot run sh: {error}")))?;
    if !output.status.success() {
        let status = output.status;
        return Err(Failure::run(format!(
            "--restart '{command}' ended with {status}"
        )));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    if let Some(Ok(pid)) = text.lines().next_back().map(|line| line.trim().parse()) {
        config.server_pid = Some(pid);
    }
    let deadline = Instant::now() + RESTART_MAX;
    while TcpStream::connect_timeout(&config.address, RESTART_MAX).is_err() {
        if Instant::now() >= deadline {
            return Err(Failure::run(format!(
                "--restart '{command}': nothing accepts connections at {} after {} s",
                config.address,
                RESTART_MAX.as_secs()
            )));
        }
        std::thread::sleep(RETRY);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_numbered_before_their_ending() {
        let numbered = |path: &str| numbered_path(Path::new(path), 7);
        assert_eq!(numbered("out.json"), Path::new("out-7.json"));
        assert_eq!(numbered("/a.b/out"), Path::new("/a.b/out-7"));
        assert_eq!(numbered("x/run.tar.gz"), Path::new("x/run.tar-7.gz"));
    }

    #[test]
    fn the_worst_code_wins() {
        assert_eq!(worse(OK, THRESHOLD_FAILED), THRESHOLD_FAILED);
        assert_eq!(worse(INVALID, THRESHOLD_FAILED), INVALID);
        assert_eq!(worse(INVALID, RUN_ERROR), RUN_ERROR);
        assert_eq!(worse(INTERRUPTED, RUN_ERROR), INTERRUPTED);
        assert_eq!(worse(OK, OK), OK);
    }
}
