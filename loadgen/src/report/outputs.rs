//! The files that a run leaves behind.
//!
//! Owns which files there are, checks before a run that they can be written, and writes them from
//! one [`Report`]. What stands in them is `report`'s.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use crate::cli::output::OutputSettings;
use crate::config::{Config, Output};
use crate::measure::latency::Latency;
use crate::measure::model::Report;
use crate::report::text::TimeUnit;
use crate::report::{csv, hgrm, hlog, html, json, markdown, rows};

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The report as JSON.
    Json,
    /// The time series as CSV.
    Csv,
    /// Histograms second by second.
    Hlog,
    /// The percentile distribution.
    Hgrm,
    /// Markdown tables.
    Markdown,
    /// A page.
    Html,
}

impl Form {
    /// The option that asks for it.
    pub fn option(self) -> &'static str {
        match self {
            Form::Json => "--json",
            Form::Csv => "--csv",
            Form::Hlog => "--hlog",
            Form::Hgrm => "--hgrm",
            Form::Markdown => "--md",
            Form::Html => "--html",
        }
    }
}

/// Checks that every file can be written and that standard output is asked for once at most. Files
/// that are there stay as they are until the run is over.
///
/// # Errors
/// Cause and cure, with the name of the option.
pub fn check(outputs: &[(Form, Output)]) -> Result<(), String> {
    let to_stdout: Vec<&str> = outputs
        .iter()
        .filter(|(_, output)| *output == Output::Stdout)
        .map(|(form, _)| form.option())
        .collect();
    if to_stdout.len() > 1 {
        return Err(format!(
            "{} all ask for standard output (-); give all but one of them a file",
            to_stdout.join(" and ")
        ));
    }
    let mut paths: Vec<&Path> = Vec::new();
    for (form, output) in outputs {
        let Output::File(path) = output else { continue };
        let option = form.option();
        if paths.contains(&path.as_path()) {
            return Err(format!(
                "{option} {}: another option writes the same file",
                path.display()
            ));
        }
        paths.push(path);
        check_file(path).map_err(|why| format!("{option} {}: {why}", path.display()))?;
    }
    Ok(())
}

fn check_file(path: &Path) -> Result<(), String> {
    if path.is_dir() {
        return Err("that is a directory; name a file in it".to_owned());
    }
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    if !parent.is_dir() {
        return Err(format!(
            "there is no directory {}; create it first (mkdir -p)",
            parent.display()
        ));
    }
    let is_new = !path.exists();
    // Opening for appending changes nothing in a file that is there.
    let opened = OpenOptions::new().append(true).create(true).open(path);
    opened.map_err(|error| format!("it cannot be written: {error}"))?;
    if is_new {
        // Should it fail, an empty file is left where the full one will be.
        let _ = fs::remove_file(path);
    }
    Ok(())
}

/// Writes every file that was asked for. One that fails does not keep the others from being
/// written.
///
/// # Errors
/// What could not be written, the first of several.
pub fn write_files(report: &Report, settings: &OutputSettings) -> Result<(), String> {
    let runs = [("", report)];
    let mut first_error = Ok(());
    for (form, output) in &settings.files {
        let written = render(*form, &runs, settings.unit, None)
            .and_then(|bytes| write(&bytes, output).map_err(|error| error.to_string()))
            .map_err(|error| format!("{}: {error}", form.option()));
        first_error = first_error.and(written);
    }
    first_error
}

/// The terminal report, and every file that was asked for.
///
/// # Errors
/// What could not be written.
pub fn write_all(report: &Report, config: &Config) -> Result<(), String> {
    let settings = &config.outputs;
    let text = crate::report::terminal::render_in(report, settings.unit).unwrap_or_default();
    let takes_stdout = |(_, output): &(Form, Output)| *output == Output::Stdout;
    // With a file on standard output, the text must not get in between.
    let written = if settings.files.iter().any(takes_stdout) {
        io::stderr().write_all(text.as_bytes())
    } else {
        io::stdout().write_all(text.as_bytes())
    };
    let files = write_files(report, settings);
    written.map_err(|error| format!("cannot write the report: {error}"))?;
    files
}

/// One or more named runs in a form. `histogram` is which one `--hgrm` is to show; without it the
/// first that the report lists.
///
/// # Errors
/// A sentence about what the report lacks.
pub fn render(
    form: Form,
    runs: &[(&str, &Report)],
    unit: TimeUnit,
    histogram: Option<&str>,
) -> Result<Vec<u8>, String> {
    let one = || match runs {
        [(_, report)] => Ok(*report),
        _ => Err(format!(
            "{} holds one run, and there are {}; add them with --merge or render them one by one",
            form.option(),
            runs.len()
        )),
    };
    match form {
        Form::Json => json::render(one()?),
        Form::Csv => Ok(csv::render(runs).into_bytes()),
        Form::Hlog => hlog::render(runs),
        Form::Hgrm => distribution(one()?, histogram).map(String::into_bytes),
        Form::Markdown => markdown::render(runs, unit)
            .map(String::into_bytes)
            .map_err(|error| error.to_string()),
        Form::Html => html::render(runs).map(String::into_bytes),
    }
}

fn distribution(report: &Report, name: Option<&str>) -> Result<String, String> {
    let shown = rows::latency_rows(report);
    let mut listed = shown.iter().map(|row| row.histogram);
    let name = match name {
        Some(name) => name,
        None => listed
            .find(|name| report.histograms.contains_key(*name))
            .ok_or("nothing was measured, so there is no distribution")?,
    };
    let Some(text) = report.histograms.get(name) else {
        let there: Vec<&str> = report.histograms.keys().map(String::as_str).collect();
        return Err(format!(
            "the report has no histogram '{name}'; it has {}",
            there.join(", ")
        ));
    };
    Ok(hgrm::render(&Latency::decode(text)?))
}

/// Writes bytes to a file or to standard output.
///
/// # Errors
/// What the file system or the pipe said, with the name of the file.
pub fn write(bytes: &[u8], output: &Output) -> io::Result<()> {
    match output {
        Output::Stdout => {
            let mut stdout = io::stdout().lock();
            stdout.write_all(bytes)?;
            stdout.flush()
        }
        Output::File(path) => fs::write(path, bytes).map_err(|error| {
            let text = format!("cannot write {}: {error}", path.display());
            io::Error::new(error.kind(), text)
        }),
    }
}
