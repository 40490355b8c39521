//! The options that say what counts as good enough.

use std::path::PathBuf;

use clap::Args;

use crate::judge::Threshold;
use crate::quantity::parse_count;

/// What is told of thresholds.
#[derive(Args, Debug)]
#[command(next_help_heading = "Judgement")]
pub struct JudgeArguments {
    /// What must hold, as metric[.phase].statistic comparison value: 'echo.p99<1ms',
    /// 'fanout.last.p99.9<50ms', 'errors.ratio<0.1%', 'rate>=10k', or in k6's spelling 'p(99)<5'.
    /// May be repeated; exit code 3 when one does not hold
    #[arg(long, value_name = "EXPR", value_parser = Threshold::parse)]
    threshold: Vec<Threshold>,
    /// End the run as soon as this holds, from 2 s into the measurement on: 'echo.p99>1s'. May be
    /// repeated; exit code 3 when it happens
    #[arg(long, value_name = "EXPR", value_parser = Threshold::parse)]
    abort_on: Vec<Threshold>,
    /// Exit codes as if an INVALID report were valid (0 or 3 instead of 4)
    #[arg(long)]
    allow_invalid: bool,
    /// Write verdict and thresholds as JUnit XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Repeat the run so often, for `compare`: --json out.json then writes out-1.json, out-2.json, …
    #[arg(long, default_value = "1", value_name = "N", value_parser = parse_count)]
    runs: u64,
    /// Run this with `sh -c` before each of --runs, to start the server afresh; its last line may be
    /// the server's new process number, which takes the place of --server-pid
    #[arg(long, value_name = "COMMAND")]
    restart: Option<String>,
    /// Start this server for the run (for every run of --runs, find and sweep), wait until it
    /// accepts connections, measure it as with --server-pid, and end it with SIGTERM: one program
    /// with its arguments, as './server --port 9001'
    #[arg(long, value_name = "COMMAND", conflicts_with_all = ["restart", "server_pid"])]
    server_cmd: Option<String>,
}

/// What counts as good enough.
#[derive(Clone, Debug, Default)]
pub struct JudgeSettings {
    /// What must hold after the run.
    pub thresholds: Vec<Threshold>,
    /// What ends the run.
    pub abort_on: Vec<Threshold>,
    /// INVALID does not decide the exit code.
    pub is_invalid_allowed: bool,
    /// JUnit XML goes here.
    pub junit: Option<PathBuf>,
    /// How often the run is made.
    pub runs: u32,
    /// Makes a fresh server before each run.
    pub restart: Option<String>,
    /// The server itself, which lives for one run.
    pub server_command: Option<String>,
}

/// More runs than this are a slip of the finger.
const RUNS_MAX: u64 = 1_000;

impl JudgeArguments {
    /// Checks what clap cannot.
    ///
    /// # Errors
    /// One or two sentences with cause and cure.
    pub fn into_settings(self) -> Result<JudgeSettings, String> {
        if !(1..=RUNS_MAX).contains(&self.runs) {
            return Err("--runs must be between 1 and 1,000".into());
        }
        Ok(JudgeSettings {
            thresholds: self.threshold,
            abort_on: self.abort_on,
            is_invalid_allowed: self.allow_invalid,
            junit: self.junit,
            runs: self.runs as u32,
            restart: self.restart,
            server_command: self.server_cmd,
        })
    }
}
