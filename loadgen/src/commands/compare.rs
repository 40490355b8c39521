//! `compare`: two sets of saved runs, with statistics.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

use crate::commands::{Failure, OK, REGRESSION, sink};
use crate::config::Output;
use crate::judge::headlines::{Setting, headlines, settings};
use crate::measure::model::Report;
use crate::measure::verdict::Verdict;
use crate::report::json;
use crate::statistics::comparison::{Figure, RUNS_MIN, compare};

mod text;

use text::{Comparison, Line};

const EXAMPLES: &str = "\
Examples:
  fanwire-loadgen echo ws://127.0.0.1:9001 -R 10k --runs 10 --restart ./restart-server --json base/run.json
  fanwire-loadgen compare base/*.json -- new/*.json --fail-on-regression 5%

The unit is a run: messages of one run share its luck. With at least 5 runs on each side a difference
is shown when a Mann-Whitney test, corrected after Holm for the number of figures, puts it below
p = 0.05; otherwise there is a ~. The interval is of the ratio of medians (bootstrap, 95 %). Restart
the server between runs, and take them in turns (base, new, base, new): machines warm up.

Exit codes: 0 compared · 2 the runs cannot be compared · 5 a regression (--fail-on-regression)";

/// `compare`.
#[derive(Args, Debug)]
#[command(
    after_help = EXAMPLES,
    override_usage = "fanwire-loadgen compare BASE.json... -- NEW.json... [OPTIONS]"
)]
pub struct Arguments {
    /// Reports of the runs before (--json of any load command)
    #[arg(required = true, value_name = "BASE.json")]
    base: Vec<PathBuf>,
    /// Reports of the runs after; `--` stands for it
    #[arg(long = "against", required = true, num_args = 1.., value_name = "NEW.json", hide = true)]
    new: Vec<PathBuf>,
    /// Exit code 5 when a figure is significantly worse, by this much or more
    #[arg(long, value_name = "P%", value_parser = parse_limit)]
    fail_on_regression: Option<f64>,
    /// Compare runs with different settings, or of different hosts, nevertheless
    #[arg(long)]
    force: bool,
    /// Take runs that are INVALID, or were interrupted
    #[arg(long)]
    allow_invalid: bool,
    /// Seed of the bootstrap
    #[arg(long, default_value = "1", value_name = "N")]
    seed: u64,
    /// Write the comparison as one JSON object to a file, or to standard output with -
    #[arg(long, value_name = "FILE|-")]
    json: Option<PathBuf>,
    /// Write the table as Markdown to a file, or to standard output with -
    #[arg(long, value_name = "FILE|-")]
    md: Option<PathBuf>,
}

/// What stands for `--` in the parsed command line.
const SEPARATOR: &str = "--against";

/// Makes `compare A -- B --option` readable for a parser that takes nothing behind `--` for an
/// option: the two bare dashes of `compare` become an option of their own.
pub fn with_separator(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = arguments.collect();
    let is_compare = arguments.get(1).is_some_and(|command| command == "compare");
    if is_compare && let Some(dashes) = arguments.iter_mut().find(|word| *word == "--") {
        *dashes = SEPARATOR.into();
    }
    arguments
}

fn parse_limit(text: &str) -> Result<f64, String> {
    text.strip_suffix('%')
        .and_then(|digits| digits.trim().parse::<f64>().ok())
        .filter(|percent| percent.is_finite() && *percent >= 0.0)
        .map(|percent| percent / 100.0)
        .ok_or_else(|| format!("'{text}' is not a share; write for example 5%"))
}

/// A run as it was saved.
struct Saved {
    path: PathBuf,
    report: Report,
}

/// Does it and returns the exit code.
///
/// # Errors
/// What kept it from being done.
pub fn execute(arguments: Arguments) -> Result<u8, Failure> {
    let base = read_all(&arguments.base)?;
    let new = read_all(&arguments.new)?;
    refuse_invalid(base.iter().chain(&new), arguments.allow_invalid)?;
    let differences = differences(&base, &new);
    if !differences.is_empty() && !arguments.force {
        let listed = differences.join("\n  ");
        return Err(Failure::usage(format!(
            "these runs measure different things; --force compares them nevertheless:\n  {listed}"
        )));
    }
    let comparison = build(&base, &new, differences, &arguments);
    let code = comparison.exit_code;
    write(&comparison, &arguments)?;
    Ok(code)
}

fn read_all(paths: &[PathBuf]) -> Result<Vec<Saved>, Failure> {
    paths.iter().map(read).collect()
}

fn read(path: &PathBuf) -> Result<Saved, Failure> {
    let shown = path.display();
    let text = std::fs::read(path)
        .map_err(|error| Failure::usage(format!("cannot read {shown}: {error}")))?;
    let report = json::parse(&text).map_err(|error| Failure::usage(format!("{shown}: {error}")))?;
    Ok(Saved {
        path: path.clone(),
        report,
    })
}

fn refuse_invalid<'a>(
    runs: impl Iterator<Item = &'a Saved>,
    is_invalid_allowed: bool,
) -> Result<(), Failure> {
    let is_bad = |run: &&Saved| run.report.verdict == Verdict::Invalid || run.report.interrupted;
    let bad: Vec<String> = runs
        .filter(is_bad)
        .map(|run| {
            let first = run.report.verdict_reasons.first();
            let reason = first.map_or("interrupted", String::as_str);
            format!("{}: {reason}", run.path.display())
        })
        .collect();
    if bad.is_empty() || is_invalid_allowed {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "nothing follows from runs that are INVALID or were interrupted; measure them again \
         (--allow-invalid takes them nevertheless):\n  {}",
        bad.join("\n  ")
    )))
}

/// In what the runs do not agree with the first one, in sentences.
fn differences(base: &[Saved], new: &[Saved]) -> Vec<String> {
    let Some(first) = base.first() else {
        return Vec::new();
    };
    let expected = settings(&first.report);
    let mut found = Vec::new();
    for run in base.iter().chain(new).skip(1) {
        let settings = settings(&run.report);
        let differing = |(wanted, is): &(&Setting, &Setting)| wanted != is;
        let pairs = expected.iter().zip(&settings).filter(differing);
        found.extend(pairs.map(|(wanted, is)| {
            format!(
                "{}: {} in {}, {} in {}",
                wanted.name,
                wanted.value,
                first.path.display(),
                is.value,
                run.path.display()
            )
        }));
    }
    found
}

fn build(
    base: &[Saved],
    new: &[Saved],
    differences: Vec<String>,
    arguments: &Arguments,
) -> Comparison {
    let values = |runs: &[Saved], index: usize| -> Vec<f64> {
        let of = |run: &Saved| headlines(&run.report).get(index)?.value;
        runs.iter().filter_map(of).collect()
    };
    let wanted = base.first().map(|run| headlines(&run.report));
    let (mut kept, mut figures) = (Vec::new(), Vec::new());
    for (index, headline) in wanted.unwrap_or_default().into_iter().enumerate() {
        let (before, after) = (values(base, index), values(new, index));
        // A figure that some run lacks would compare other runs than it says.
        if before.len() < base.len() || after.len() < new.len() {
            continue;
        }
        figures.push(Figure {
            name: headline.name.to_owned(),
            better: headline.better,
            is_tested: headline.is_tested,
            base: before,
            new: after,
        });
        kept.push(headline);
    }
    let limit = arguments.fail_on_regression;
    let compared = compare(&figures, arguments.seed);
    let lines: Vec<Line> = kept
        .iter()
        .zip(figures)
        .zip(compared)
        .filter_map(|((headline, figure), compared)| {
            Some(Line::new(headline, figure, compared?, limit))
        })
        .collect();
    let is_regression = lines.iter().any(|line| line.is_regression);
    Comparison {
        schema: text::SCHEMA,
        base_runs: base.len(),
        new_runs: new.len(),
        has_enough_runs: base.len().min(new.len()) >= RUNS_MIN,
        settings: base
            .first()
            .map(|run| settings(&run.report))
            .unwrap_or_default(),
        differences,
        regression_limit: limit,
        figures: lines,
        exit_code: if is_regression { REGRESSION } else { OK },
    }
}

fn write(comparison: &Comparison, arguments: &Arguments) -> Result<(), Failure> {
    let outputs = [&arguments.json, &arguments.md].map(|path| path.clone().map(Output::of));
    let [json, md] = outputs;
    let taken = [&json, &md]
        .into_iter()
        .filter(|output| **output == Some(Output::Stdout));
    match taken.count() {
        0 => print!("{}", comparison.render()),
        1 => eprint!("{}", comparison.render()),
        _ => {
            return Err(Failure::usage(
                "only one of --json and --md can be written to -",
            ));
        }
    }
    if let Some(output) = json {
        json::write(comparison, &output).map_err(|error| Failure::run(error.to_string()))?;
    }
    if let Some(output) = md {
        sink::write_to(&output, &comparison.markdown())?;
    }
    Ok(())
}
