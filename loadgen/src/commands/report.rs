//! `report`: render saved runs again, side by side, or merged when they are one.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::Args;

use crate::cli::output::FileArguments;
use crate::commands::{Failure, OK};
use crate::measure::merge::merge;
use crate::measure::model::Report;
use crate::report::outputs;
use crate::report::{json, terminal};

const EXAMPLES: &str = "\
Examples:
  fanwire-loadgen report run.json --html run.html               the page of a saved run
  fanwire-loadgen report a.json b.json --html both.html         side by side, curves laid over each other
  fanwire-loadgen report --merge p1.json p2.json --json sum.json  processes that made one load together
  fanwire-loadgen report run.json --hgrm - --histogram service  one histogram, for HdrHistogram's plotter
  fanwire-loadgen report --schema                               JSON Schema of saved runs

Without an output option the terminal report of each run is printed. The exit code is 0 whatever the
verdict of the saved runs.";

/// More reports than this in a page help nobody.
const REPORTS_MAX: usize = 64;

/// `report`.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Runs saved with --json
    #[arg(value_name = "FILE", required_unless_present = "schema")]
    reports: Vec<PathBuf>,
    /// Add the reports of several processes that made one load together: counters and histograms
    /// add up, the verdict is the worst of them
    #[arg(long)]
    merge: bool,
    /// Which histogram --hgrm shows: response, service, late, connect, upgrade, …
    #[arg(long, value_name = "NAME")]
    histogram: Option<String>,
    /// Print the JSON Schema of saved runs and do nothing else
    #[arg(long, exclusive = true)]
    schema: bool,
    #[command(flatten)]
    files: FileArguments,
}

/// Does it and returns the exit code.
///
/// # Errors
/// What kept it from being done.
pub fn execute(arguments: Arguments) -> Result<u8, Failure> {
    if arguments.schema {
        return print(json::SCHEMA_TEXT.as_bytes());
    }
    if arguments.reports.len() > REPORTS_MAX {
        return Err(Failure::usage(format!(
            "{} reports are more than the {REPORTS_MAX} that can be shown together",
            arguments.reports.len()
        )));
    }
    let unit = arguments.files.unit;
    let files = arguments.files.files();
    outputs::check(&files).map_err(Failure::usage)?;
    let mut reports = Vec::new();
    for path in &arguments.reports {
        reports.push(read(path)?);
    }
    let mut names = names(&arguments.reports);
    if arguments.merge {
        reports = vec![merge(&reports).map_err(Failure::usage)?];
        names = vec![format!("merged: {}", names.join(", "))];
    }
    let runs: Vec<(&str, &Report)> = names.iter().map(String::as_str).zip(&reports).collect();
    if files.is_empty() {
        return print_terminal(&runs, unit);
    }
    for (form, output) in &files {
        let histogram = arguments.histogram.as_deref();
        outputs::render(*form, &runs, unit, histogram)
            .and_then(|bytes| outputs::write(&bytes, output).map_err(|error| error.to_string()))
            .map_err(|error| Failure::run(format!("{}: {error}", form.option())))?;
    }
    Ok(OK)
}

fn read(path: &Path) -> Result<Report, Failure> {
    let text = std::fs::read(path)
        .map_err(|error| Failure::run(format!("cannot read {}: {error}", path.display())))?;
    json::parse(&text).map_err(|error| Failure::run(format!("{}: {error}", path.display())))
}

/// File names without what they have in common at the end; with folders where that alone tells
/// them apart.
fn names(paths: &[PathBuf]) -> Vec<String> {
    let short = |path: &PathBuf| {
        let stem = path.file_stem().unwrap_or(path.as_os_str());
        stem.to_string_lossy().into_owned()
    };
    let names: Vec<String> = paths.iter().map(short).collect();
    let is_unique = |name: &String| names.iter().filter(|other| *other == name).count() == 1;
    if names.iter().all(is_unique) {
        names
    } else {
        paths
            .iter()
            .map(|path| path.display().to_string())
            .collect()
    }
}

fn print_terminal(
    runs: &[(&str, &Report)],
    unit: crate::report::text::TimeUnit,
) -> Result<u8, Failure> {
    let mut out = String::new();
    for (index, (name, report)) in runs.iter().enumerate() {
        if index > 0 {
            out.push('\n');
        }
        if runs.len() > 1 {
            out.push_str(&format!("== {name}\n"));
        }
        out.push_str(&terminal::render_in(report, unit).unwrap_or_default());
    }
    print(out.as_bytes())
}

fn print(bytes: &[u8]) -> Result<u8, Failure> {
    let mut stdout = std::io::stdout().lock();
    let written = stdout.write_all(bytes).and_then(|()| stdout.flush());
    match written {
        Ok(()) => Ok(OK),
        // Whoever read enough has closed the pipe, as `head` does.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe && !stdout.is_terminal() => {
            Ok(OK)
        }
        Err(error) => Err(Failure::run(format!("cannot print: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_told_apart_by_name() {
        let names_of = |paths: &[&str]| names(&paths.iter().map(PathBuf::from).collect::<Vec<_>>());
        assert_eq!(names_of(&["x/a.json", "x/b.json"]), ["a", "b"]);
        assert_eq!(
            names_of(&["x/a.json", "y/a.json"]),
            ["x/a.json", "y/a.json"]
        );
    }
}
