//! `calibrate`: ceiling and noise floor of the generator on this host.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Args;
use fanwire_reactor::host::processors;

use crate::calibrate::{self, Plan, text};
use crate::commands::{Failure, INTERRUPTED, OK, signals};
use crate::config::Output;
use crate::measure::environment::facts::parse_cpu_list;
use crate::quantity::{parse_duration_ns, parse_size};
use crate::report::json;

const AFTER_HELP: &str = "\
Runs the generator against a server that only echoes, on another processor of this host: the
fastest closed loop, the highest rate that is still sent on time (sleeping and with --spin), how
exact the pacing is, the smallest round trip, and the host's own hiccups. Takes about a minute, and
wants the machine for itself.

Examples:
  fanwire-loadgen calibrate
  fanwire-loadgen calibrate --cpu 2,3 -s 1KiB --json calibration.json

Exit codes: 0 measured · 1 something could not be measured · 130 interrupted.";

/// `calibrate`.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub struct Arguments {
    /// The generator's processor and the null server's: 2,3 (default: the last and the first)
    #[arg(long, value_name = "A,B")]
    cpu: Option<String>,
    /// Payload bytes of a message
    #[arg(short, long, default_value = "64", value_name = "BYTES", value_parser = parse_size)]
    size: u64,
    /// Length of each measurement
    #[arg(short, long, default_value = "2s", value_name = "TIME", value_parser = parse_duration_ns)]
    duration: u64,
    /// Write the result as one JSON object to a file, or to standard output with -
    #[arg(long, value_name = "FILE|-")]
    json: Option<PathBuf>,
}

/// Shorter windows hold too few messages for a 99.9th percentile.
const WINDOW_MIN_MS: u64 = 200;
/// Larger messages measure memory.
const SIZE_MAX: u64 = 64 * 1024;

/// Does it and returns the exit code.
///
/// # Errors
/// What kept it from being done.
pub fn execute(arguments: Arguments) -> Result<u8, Failure> {
    let is_interrupted = signals::install()?;
    let plan = plan(&arguments, &is_interrupted)?;
    let calibration = calibrate::run(&plan, |step| eprintln!("calibrating: {step}"));
    let calibration =
        calibration.map_err(|message| match is_interrupted.load(Ordering::Relaxed) {
            true => Failure {
                message,
                code: INTERRUPTED,
            },
            false => Failure::run(message),
        })?;
    let output = arguments.json.map(Output::of);
    let text = text::render(&calibration);
    let written = if output == Some(Output::Stdout) {
        std::io::stderr().write_all(text.as_bytes())
    } else {
        std::io::stdout().write_all(text.as_bytes())
    };
    written.map_err(|error| Failure::run(format!("cannot print the result: {error}")))?;
    if let Some(output) = output {
        json::write(&calibration, &output).map_err(|error| Failure::run(error.to_string()))?;
    }
    Ok(OK)
}

fn plan(arguments: &Arguments, is_interrupted: &Arc<AtomicBool>) -> Result<Plan, Failure> {
    let window_ms = arguments.duration / 1_000_000;
    if window_ms < WINDOW_MIN_MS {
        return Err(Failure::usage("--duration must be at least 200ms"));
    }
    if arguments.size > SIZE_MAX {
        return Err(Failure::usage("--size must be at most 64KiB"));
    }
    let allowed = processors();
    let (generator, server) = match &arguments.cpu {
        None => match allowed[..] {
            [first, .., last] => (Some(last), Some(first)),
            _ => (None, None),
        },
        // Not sorted: the first is the generator's.
        Some(list) => {
            let cpus: Vec<usize> = list
                .split(',')
                .filter_map(|part| parse_cpu_list(part).and_then(|cpus| cpus.first().copied()))
                .collect();
            match (cpus.len() == list.split(',').count(), &cpus[..]) {
                (true, [generator, server]) => (Some(*generator), Some(*server)),
                _ => {
                    return Err(Failure::usage(format!(
                        "--cpu '{list}' must be two processors: the generator's and the null \
                         server's, for example 2,3"
                    )));
                }
            }
        }
    };
    for processor in [generator, server].into_iter().flatten() {
        if !allowed.contains(&processor) {
            return Err(Failure::usage(format!(
                "--cpu {processor}: this process may run on {allowed:?}"
            )));
        }
    }
    Ok(Plan {
        generator_processor: generator,
        server_processor: server,
        window_ms,
        message_size_bytes: arguments.size,
        is_interrupted: Arc::clone(is_interrupted),
    })
}
