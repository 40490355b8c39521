//! `sweep`: one run per value of a parameter: table, plot, and what the curve says.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use clap::Args;

use crate::cli::loads::LoadCommand;
use crate::commands::load::measure;
use crate::commands::repeat::worse;
use crate::commands::vary::Vary;
use crate::commands::{Failure, INTERRUPTED, OK, RUN_ERROR, signals, sink};
use crate::config::{Config, Output};
use crate::judge;
use crate::measure::model::Report;
use crate::quantity::parse_duration_ns;
use crate::report::outputs::Form;

mod plot;
mod table;

use table::{Point, Sweep};

const EXAMPLES: &str = "\
Examples:
  fanwire-loadgen sweep echo   ws://127.0.0.1:9001 -c 200 --over rate=10k,20k,50k,100k --plot sweep.svg
  fanwire-loadgen sweep echo   ws://127.0.0.1:9001 --over connections=1,2,5,10,20,50,100 --html sweep.html
  fanwire-loadgen sweep fanout ws://127.0.0.1:9001 -R 10 --over subscribers=100,1k,10k --repeat 3 --csv -

Over connections or subscribers, with at least four values, the universal scalability law is fitted to
the throughput: what share of the work queues for something shared, what each pair costs, and where
the peak would be. That is a diagnosis of the curve, not a proof.

Exit codes: the worst of the runs (0, 3 when a threshold was not met, 4 when one is INVALID, 130)";

/// `sweep`.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(subcommand)]
    load: LoadCommand<SweepArguments>,
}

/// What is changed, and what is made of it.
#[derive(Args, Debug)]
#[command(next_help_heading = "Sweep")]
pub struct SweepArguments {
    /// What is changed, and its values: rate=10k,20k,50k, connections=1,10,100, subscribers=100,1k,
    /// connect-rate=100,1k or size=64,1KiB,16KiB
    #[arg(long, value_name = "NAME=A,B,…", value_parser = parse_over)]
    over: Over,
    /// Run all values so often, in turns; the figures are medians then
    #[arg(long, default_value = "1", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    repeat: u32,
    /// Time between two runs, for the server to settle
    #[arg(long, default_value = "500ms", value_name = "TIME", value_parser = parse_duration_ns)]
    pause: u64,
    /// Draw latency percentiles over the load into an SVG file
    #[arg(long, value_name = "FILE|-")]
    plot: Option<PathBuf>,
}

/// What is changed, and its values.
#[derive(Clone, Debug, PartialEq)]
struct Over {
    vary: Vary,
    values: Vec<f64>,
}

/// More values than this are a slip of the finger.
const VALUES_MAX: usize = 200;

fn parse_over(text: &str) -> Result<Over, String> {
    const EXAMPLE: &str = "write for example rate=10k,20k,50k or connections=1,10,100";
    let Some((name, values)) = text.split_once('=') else {
        return Err(format!("'{text}' has no values; {EXAMPLE}"));
    };
    let vary = <Vary as clap::ValueEnum>::from_str(name.trim(), false)
        .map_err(|_| format!("there is no '{name}' to vary; {EXAMPLE}"))?;
    let values: Vec<f64> = values
        .split(',')
        .map(|value| vary.parse(value))
        .collect::<Result<_, _>>()?;
    if values.len() > VALUES_MAX {
        return Err(format!(
            "{} values are more than {VALUES_MAX}",
            values.len()
        ));
    }
    Ok(Over { vary, values })
}

/// Does it and returns the exit code.
///
/// # Errors
/// What kept it from being done.
pub fn execute(arguments: Arguments) -> Result<u8, Failure> {
    let (config, arguments) = arguments.load.into_parts().map_err(Failure::usage)?;
    check(&config, &arguments).map_err(Failure::usage)?;
    let Over { vary, values } = arguments.over;
    let is_interrupted = signals::install()?;
    let mut runs: Vec<Vec<Report>> = values.iter().map(|_| Vec::new()).collect();
    let mut code = OK;
    let total = values.len() * arguments.repeat as usize;
    let mut number = 0;
    let mut failures = Vec::new();
    // In turns: a machine that warms up, or a neighbour that comes, then touches all values alike.
    'all: for _ in 0..arguments.repeat {
        for (value, reports) in values.iter().zip(&mut runs) {
            number += 1;
            if number > 1 {
                signals::pause(Duration::from_nanos(arguments.pause), &is_interrupted);
            }
            eprintln!(
                "run {number} of {total}: {} {}",
                vary.as_str(),
                vary.format(*value)
            );
            let mut config = vary.apply(&config, *value);
            config.outputs.is_quiet = true;
            let report = match measure(config, Arc::clone(&is_interrupted)) {
                Ok(report) => report,
                // What cannot begin at all is said at once; a value that this host cannot do, such
                // as too many connections, does not cost the others.
                Err(failure) if number == 1 => return Err(failure),
                Err(failure) => {
                    failures.push(format!("{}: {}", vary.format(*value), failure.message));
                    code = worse(code, RUN_ERROR);
                    continue;
                }
            };
            if is_interrupted.load(Ordering::Relaxed) {
                code = INTERRUPTED;
                break 'all;
            }
            code = worse(code, report.exit_code);
            reports.push(report);
        }
    }
    let points = values.iter().zip(&runs);
    let points = points
        .filter(|(_, reports)| !reports.is_empty())
        .map(|(value, reports)| Point::of(*value, reports))
        .collect();
    failures.dedup();
    let sweep = Sweep {
        failures,
        ..Sweep::new(&config, vary, arguments.repeat, points, code)
    };
    write(&sweep, &config, arguments.plot)?;
    Ok(code)
}

fn check(config: &Config, arguments: &SweepArguments) -> Result<(), String> {
    sink::check(config, &[Form::Json, Form::Csv, Form::Markdown, Form::Html])?;
    let vary = arguments.over.vary;
    vary.check(config)?;
    if config.judge.junit.is_some() {
        return Err("--junit is for single runs and for find; a sweep has no verdict".into());
    }
    let is_plot_on_stdout = arguments.plot.as_deref() == Some(std::path::Path::new("-"));
    if is_plot_on_stdout && sink::is_stdout_taken(config) {
        return Err("only one output can be written to -".into());
    }
    let first = arguments.over.values.first().copied().unwrap_or(1.0);
    judge::check(&vary.apply(config, first))
}

fn write(sweep: &Sweep, config: &Config, plot: Option<PathBuf>) -> Result<(), Failure> {
    let plot = plot.map(Output::of);
    let text = sweep.render();
    if plot == Some(Output::Stdout) {
        eprint!("{text}");
    } else {
        sink::say(config, text.trim_end());
    }
    sink::write_json(config, sweep)?;
    sink::write_text(config, Form::Csv, &sweep.csv())?;
    sink::write_text(config, Form::Markdown, &sweep.markdown())?;
    if sink::output(config, Form::Html).is_some() {
        sink::write_text(
            config,
            Form::Html,
            &plot::page(sweep).map_err(Failure::run)?,
        )?;
    }
    match plot {
        Some(output) => sink::write_to(&output, &plot::latency_file(sweep)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_in_their_own_unit() {
        let over = parse_over("size=64,1KiB").expect("right");
        assert_eq!(
            over,
            Over {
                vary: Vary::Size,
                values: vec![64.0, 1024.0]
            }
        );
        let over = parse_over("connect-rate=100/s,1k").expect("right");
        assert_eq!(over.values, [100.0, 1_000.0]);
        for (text, word) in [
            ("rate", "rate=10k"),
            ("speed=1", "no 'speed'"),
            ("rate=", "number"),
            ("connections=0", "range"),
        ] {
            let error = parse_over(text).expect_err(text);
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
