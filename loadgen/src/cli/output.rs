//! The options that say where results go.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

use clap::Args;

use crate::config::Output;
use crate::report::outputs::{self, Form};
use crate::report::text::TimeUnit;

/// Where results go.
#[derive(Args, Debug)]
#[command(next_help_heading = "Output")]
pub struct OutputArguments {
    #[command(flatten)]
    files: FileArguments,
    /// Show nothing while the run lasts
    #[arg(short, long)]
    quiet: bool,
    /// Plain lines instead of the live view on a terminal
    #[arg(long)]
    no_tui: bool,
    /// Answer Prometheus at http://ADDR:PORT/metrics while the run lasts, for example on 127.0.0.1:9464
    #[arg(long, value_name = "ADDR:PORT", value_parser = parse_address)]
    prom: Option<SocketAddr>,
}

/// Files that a report is written to. Each replaces the one that is there; one of them may be -
/// for standard output.
#[derive(Args, Clone, Debug, Default)]
pub struct FileArguments {
    /// Write the whole report as one JSON object (schema: `report --schema`)
    #[arg(long, value_name = "FILE|-", help_heading = "Output")]
    pub json: Option<PathBuf>,
    /// Write a page that needs nothing else: curves, time series, tables; for browsers and paper
    #[arg(long, value_name = "FILE|-", help_heading = "Output")]
    pub html: Option<PathBuf>,
    /// Write Markdown tables
    #[arg(long, value_name = "FILE|-", help_heading = "Output")]
    pub md: Option<PathBuf>,
    /// Write the time series as CSV, one row per second, units in the names of columns
    #[arg(long, value_name = "FILE|-", help_heading = "Output")]
    pub csv: Option<PathBuf>,
    /// Write the histogram of every second as HdrHistogram's interval log
    #[arg(long, value_name = "FILE|-", help_heading = "Output")]
    pub hlog: Option<PathBuf>,
    /// Write the percentile distribution as HdrHistogram's plotter reads it, in milliseconds
    #[arg(long, value_name = "FILE|-", help_heading = "Output")]
    pub hgrm: Option<PathBuf>,
    /// Unit of latencies on the terminal and in Markdown
    #[arg(
        long,
        value_enum,
        default_value = "auto",
        value_name = "UNIT",
        help_heading = "Output"
    )]
    pub unit: TimeUnit,
}

/// Where results go.
#[derive(Clone, Debug, Default)]
pub struct OutputSettings {
    /// Files, each with what it holds.
    pub files: Vec<(Form, Output)>,
    /// Unit of latencies for a person.
    pub unit: TimeUnit,
    /// Nothing is shown while the run lasts.
    pub is_quiet: bool,
    /// The live view is shown where there is a terminal; otherwise plain lines.
    pub has_view: bool,
    /// Where the OpenMetrics endpoint listens.
    pub prometheus: Option<SocketAddr>,
}

fn parse_address(text: &str) -> Result<SocketAddr, String> {
    let unusable =
        || format!("'{text}' is no address with a port; write for example 127.0.0.1:9464");
    // A name may have several addresses; the first is the one that others try first, too.
    let mut addresses = text.to_socket_addrs().map_err(|_| unusable())?;
    addresses.next().ok_or_else(unusable)
}

impl FileArguments {
    /// What was asked for, in a fixed order.
    pub fn files(self) -> Vec<(Form, Output)> {
        let asked = [
            (Form::Json, self.json),
            (Form::Html, self.html),
            (Form::Markdown, self.md),
            (Form::Csv, self.csv),
            (Form::Hlog, self.hlog),
            (Form::Hgrm, self.hgrm),
        ];
        asked
            .into_iter()
            .filter_map(|(form, path)| Some((form, Output::of(path?))))
            .collect()
    }
}

impl OutputArguments {
    /// Checks what clap cannot: above all that every file can be written, before a run that may
    /// take hours.
    ///
    /// # Errors
    /// One or two sentences with cause and cure.
    pub fn into_settings(self) -> Result<OutputSettings, String> {
        let unit = self.files.unit;
        let files = self.files.files();
        outputs::check(&files)?;
        Ok(OutputSettings {
            files,
            unit,
            is_quiet: self.quiet,
            has_view: !self.no_tui,
            prometheus: self.prom,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(files: FileArguments) -> Result<OutputSettings, String> {
        OutputArguments {
            files,
            quiet: false,
            no_tui: false,
            prom: None,
        }
        .into_settings()
    }

    #[test]
    fn standard_output_is_given_once() {
        let dash = || Some(PathBuf::from("-"));
        let one = FileArguments {
            json: dash(),
            ..FileArguments::default()
        };
        let settings_of_one = settings(one.clone()).expect("one is right");
        assert_eq!(settings_of_one.files, [(Form::Json, Output::Stdout)]);
        let error = settings(FileArguments { csv: dash(), ..one }).expect_err("two are not");
        assert!(error.contains("--json and --csv"), "{error}");
    }

    #[test]
    fn a_file_that_cannot_be_written_is_refused_before_the_run() {
        let folder = std::env::temp_dir();
        let of = |path: PathBuf| FileArguments {
            html: Some(path),
            ..FileArguments::default()
        };
        let error = settings(of(folder.join("no-such-folder/a.html"))).expect_err("no parent");
        assert!(
            error.contains("--html") && error.contains("mkdir"),
            "{error}"
        );
        let error = settings(of(folder.clone())).expect_err("a directory");
        assert!(error.contains("directory"), "{error}");
        let path = folder.join(format!("fanwire-output-{}.html", std::process::id()));
        assert!(settings(of(path.clone())).is_ok());
        assert!(!path.exists(), "looking leaves nothing behind");
        std::fs::write(&path, "kept").expect("a file");
        assert!(settings(of(path.clone())).is_ok());
        assert_eq!(std::fs::read_to_string(&path).expect("still there"), "kept");
        let twice = FileArguments {
            md: Some(path.clone()),
            ..of(path.clone())
        };
        assert!(settings(twice).expect_err("twice").contains("same file"));
        std::fs::remove_file(&path).expect("removed");
    }
}
