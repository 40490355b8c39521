//! `find`: the largest load that meets the thresholds.
//!
//! Runs a window for every step of [`Search`], which decides; here are the options, the windows and
//! what is printed.

use std::fmt::Write as _;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use crate::cli::loads::LoadCommand;
use crate::commands::load::measure;
use crate::commands::vary::Vary;
use crate::commands::{
    Failure, INTERRUPTED, INVALID, OK, RUN_ERROR, THRESHOLD_FAILED, signals, sink,
};
use crate::config::{Config, Mode};
use crate::judge::metric::Unit;
use crate::judge::{self, junit, window};
use crate::measure::model::Report;
use crate::quantity::parse_duration_ns;
use crate::report::outputs::Form;
use crate::search::{Bound, Finding, Limits, Outcome, Purpose, Search, Step};

/// Name and version of the JSON layout.
const SCHEMA: &str = "fanwire-loadgen-find/1";

const EXAMPLES: &str = "\
Examples:
  fanwire-loadgen find echo   ws://127.0.0.1:9001 -c 1000 --threshold 'echo.p99<1ms'
  fanwire-loadgen find fanout ws://127.0.0.1:9001 -R 20 --vary subscribers --threshold 'fanout.last.p99<50ms'
  fanwire-loadgen find storm  ws://127.0.0.1:9001 --vary connect-rate --threshold 'storm.p99<100ms'

Doubles the load until a threshold is not met, bisects, and confirms the best load in further windows.
A window in which the generator itself was the limit is repeated once, and is never counted against
the server: the result is then a lower bound and says so.

Exit codes: 0 found · 3 not even the smallest load meets the thresholds · 4 the generator could not
measure even the smallest load · 1, 2 and 130 as everywhere";

/// Longest wait to see whether the server is still there.
const PROBE_MAX: Duration = Duration::from_secs(5);

/// `find`.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(subcommand)]
    load: LoadCommand<FindArguments>,
}

/// What the search may do.
#[derive(Args, Debug)]
#[command(next_help_heading = "Search")]
pub struct FindArguments {
    /// What is changed until the thresholds break [default: rate; idle: connections]
    #[arg(long, value_enum)]
    vary: Option<Vary>,
    /// Smallest load tried [default: 1]
    #[arg(long, value_name = "N")]
    min: Option<String>,
    /// Largest load tried [default: what makes sense at all]
    #[arg(long, value_name = "N")]
    max: Option<String>,
    /// First load tried [default: what -R, -c or --connect-rate say, or 1000]
    #[arg(long, value_name = "N")]
    start: Option<String>,
    /// The result may be so far below the first load that fails
    #[arg(long, default_value = "2%", value_name = "P%", value_parser = parse_percent)]
    tolerance: f64,
    /// Measured time of a window; the warm-up (-w) comes before it
    #[arg(long, default_value = "5s", value_name = "TIME", value_parser = parse_duration_ns)]
    window: u64,
    /// Windows in a row that must confirm the result
    #[arg(long, default_value = "3", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=20))]
    confirm: u32,
    /// Time between two windows, for the server to settle
    #[arg(long, default_value = "500ms", value_name = "TIME", value_parser = parse_duration_ns)]
    pause: u64,
}

/// Reads `2%` as 0.02.
///
/// # Errors
/// One sentence with an example.
pub fn parse_percent(text: &str) -> Result<f64, String> {
    text.strip_suffix('%')
        .and_then(|digits| digits.trim().parse::<f64>().ok())
        .filter(|percent| *percent > 0.0 && *percent <= 50.0)
        .map(|percent| percent / 100.0)
        .ok_or_else(|| format!("'{text}' is not a share up to 50%; write for example 2%"))
}

/// A window as the JSON has it.
#[derive(Clone, Debug, Serialize)]
struct Window {
    load: f64,
    purpose: Purpose,
    outcome: &'static str,
    reason: Option<String>,
    /// `None` when the run could not even begin.
    report: Option<Report>,
}

/// The whole search as the JSON has it.
#[derive(Clone, Debug, Serialize)]
struct Document {
    schema: &'static str,
    mode: &'static str,
    url: String,
    vary: &'static str,
    unit: &'static str,
    thresholds: Vec<String>,
    tolerance: f64,
    best: Option<f64>,
    upper: Option<f64>,
    bound: Option<Bound>,
    confirmations: u32,
    is_lower_bound: bool,
    interrupted: bool,
    exit_code: u8,
    windows: Vec<Window>,
}

/// Does it and returns the exit code.
///
/// # Errors
/// What kept it from being done.
pub fn execute(arguments: Arguments) -> Result<u8, Failure> {
    let (mut config, arguments) = arguments.load.into_parts().map_err(Failure::usage)?;
    sink::check(&config, &[Form::Json]).map_err(Failure::usage)?;
    config.duration_ns = arguments.window.max(1);
    let vary = arguments.vary.unwrap_or(match config.mode {
        Mode::Idle => Vary::Connections,
        _ => Vary::Rate,
    });
    let limits = limits(&config, vary, &arguments).map_err(Failure::usage)?;
    let is_interrupted = signals::install()?;
    let mut hunt = Hunt {
        pause: Duration::from_nanos(arguments.pause),
        windows: Vec::new(),
        is_interrupted,
        config,
        vary,
    };
    hunt.say(&hunt.headline(limits.tolerance));
    let finding = match hunt.search(limits) {
        Ok(finding) => finding,
        Err(failure) => {
            // What was measured until then is kept.
            hunt.write_document(None, limits.tolerance, failure.code)?;
            return Err(failure);
        }
    };
    let code = hunt.exit_code(finding.as_ref());
    hunt.conclude(finding.as_ref(), limits.tolerance, code)?;
    Ok(code)
}

fn limits(config: &Config, vary: Vary, arguments: &FindArguments) -> Result<Limits, String> {
    vary.check(config)?;
    if config.judge.thresholds.is_empty() {
        let example = match config.mode {
            Mode::Fanout => "fanout.last.p99<50ms",
            Mode::Storm => "storm.p99<100ms",
            Mode::Idle => "alive.ratio==100%",
            _ => "echo.p99<1ms",
        };
        return Err(format!(
            "find needs to know what is good enough: --threshold '{example}'"
        ));
    }
    let read = |text: &Option<String>, option: &str| -> Result<Option<f64>, String> {
        let parsed = text.as_deref().map(|text| vary.parse(text)).transpose();
        parsed.map_err(|error| format!("{option}: {error}"))
    };
    let min = read(&arguments.min, "--min")?.unwrap_or(1.0);
    let max = read(&arguments.max, "--max")?.unwrap_or(vary.largest());
    if min > max {
        return Err("--min must not be above --max".into());
    }
    let start = read(&arguments.start, "--start")?
        .or(vary.current(config))
        .unwrap_or(1_000.0);
    let limits = Limits {
        min,
        max,
        start,
        tolerance: arguments.tolerance,
        confirm: arguments.confirm,
        is_whole: vary.is_whole(),
    };
    // What cannot be measured is said before the first window.
    judge::check(&vary.apply(config, start.clamp(min, max)))?;
    Ok(limits)
}

/// A search under way.
struct Hunt {
    config: Config,
    vary: Vary,
    pause: Duration,
    windows: Vec<Window>,
    is_interrupted: Arc<AtomicBool>,
}

impl Hunt {
    fn is_interrupted(&self) -> bool {
        self.is_interrupted.load(Ordering::Relaxed)
    }

    fn say(&self, line: &str) {
        sink::say(&self.config, line);
    }

    fn headline(&self, tolerance: f64) -> String {
        let thresholds: Vec<String> = self.thresholds();
        format!(
            "find       largest {} of {} {} with {} (tolerance {})",
            self.vary.as_str(),
            self.config.mode.as_str(),
            self.config.target.url,
            thresholds.join(" and "),
            Unit::Share.format(tolerance)
        )
    }

    fn thresholds(&self) -> Vec<String> {
        let thresholds = self.config.judge.thresholds.iter();
        thresholds.map(ToString::to_string).collect()
    }

    /// `None` when it was interrupted.
    fn search(&mut self, limits: Limits) -> Result<Option<Finding>, Failure> {
        let mut search = Search::new(limits);
        loop {
            let (load, purpose) = match search.next() {
                Step::Done(finding) => return Ok(Some(finding)),
                Step::Try { load, purpose, .. } => (load, purpose),
            };
            if !self.windows.is_empty() {
                signals::pause(self.pause, &self.is_interrupted);
            }
            if self.is_interrupted() {
                return Ok(None);
            }
            let outcome = self.window(load, purpose)?;
            if self.is_interrupted() {
                return Ok(None);
            }
            search.observe(outcome);
        }
    }

    fn window(&mut self, load: f64, purpose: Purpose) -> Result<Outcome, Failure> {
        let mut config = self.vary.apply(&self.config, load);
        // Each window would otherwise draw and clear a view of its own.
        config.outputs.is_quiet = true;
        let (outcome, report) = match measure(config, Arc::clone(&self.is_interrupted)) {
            Ok(report) => (
                window::outcome(&report, self.config.judge.is_invalid_allowed),
                Some(report),
            ),
            // The first window shows whether this can be done at all; a later one that cannot
            // begin ran into a limit of this host, such as open files.
            Err(failure) if self.windows.is_empty() => return Err(failure),
            Err(failure) => (Outcome::Invalid(failure.message), None),
        };
        if !self.is_interrupted() {
            self.say(&self.line(load, purpose, &outcome, report.as_ref()));
        }
        let is_unanswered = report
            .as_ref()
            .is_some_and(|report| report.exit_code == RUN_ERROR);
        let (word, reason) = match &outcome {
            Outcome::Met => ("met", None),
            Outcome::Failed(reason) => ("failed", Some(reason.clone())),
            Outcome::Invalid(reason) => ("invalid", Some(reason.clone())),
        };
        self.windows.push(Window {
            load,
            purpose,
            outcome: word,
            reason,
            report: report.map(without_series),
        });
        if is_unanswered {
            self.refuse_silence()?;
        }
        Ok(outcome)
    }

    /// A window in which nothing was answered at all is an overload only if the server is there:
    /// searching on without one would blame the load.
    fn refuse_silence(&self) -> Result<(), Failure> {
        let is_there = || TcpStream::connect_timeout(&self.config.address, PROBE_MAX).is_ok();
        if self.windows.len() > 1 && is_there() {
            return Ok(());
        }
        let last = self
            .windows
            .last()
            .and_then(|window| window.report.as_ref());
        let errors = last.map(|report| &report.error_examples);
        let example = errors.and_then(|examples| examples.values().next());
        let example = example.map_or("no reply came", String::as_str);
        Err(Failure::run(if self.windows.len() > 1 {
            format!(
                "the server is gone since window {}: {example}",
                self.windows.len()
            )
        } else {
            format!("nothing was answered in the first window: {example}")
        }))
    }

    fn line(
        &self,
        load: f64,
        purpose: Purpose,
        outcome: &Outcome,
        report: Option<&Report>,
    ) -> String {
        let purpose = match purpose {
            Purpose::Bracket => "bracket",
            Purpose::Narrow => "narrow",
            Purpose::Confirm => "confirm",
        };
        let mut line = format!(
            "{:>4}  {purpose:<8} {:>14}  ",
            self.windows.len() + 1,
            self.vary.format(load)
        );
        let values = report.map_or_else(String::new, |report| {
            let shown = report.thresholds.iter();
            let shown: Vec<String> = shown
                .map(|result| format!("{} ({})", result.expression, result.text))
                .collect();
            shown.join(" · ")
        });
        // Writing to a `String` does not fail.
        let _ = match outcome {
            Outcome::Met => write!(line, "met      {values}"),
            Outcome::Failed(reason) => write!(line, "NOT MET  {reason}"),
            Outcome::Invalid(reason) => write!(line, "INVALID  {reason}"),
        };
        line
    }

    fn exit_code(&self, finding: Option<&Finding>) -> u8 {
        match finding {
            None => INTERRUPTED,
            Some(Finding { best: Some(_), .. }) => OK,
            Some(Finding {
                bound: Bound::Generator(_),
                ..
            }) => INVALID,
            Some(_) => THRESHOLD_FAILED,
        }
    }

    fn conclude(
        &self,
        finding: Option<&Finding>,
        tolerance: f64,
        exit_code: u8,
    ) -> Result<(), Failure> {
        self.say(&match finding {
            Some(finding) => self.result(finding),
            None => "interrupted before the search was over".to_owned(),
        });
        if let Some(path) = &self.config.judge.junit {
            self.write_junit(path)?;
        }
        self.write_document(finding, tolerance, exit_code)
    }

    fn write_document(
        &self,
        finding: Option<&Finding>,
        tolerance: f64,
        exit_code: u8,
    ) -> Result<(), Failure> {
        let document = Document {
            schema: SCHEMA,
            mode: self.config.mode.as_str(),
            url: self.config.target.url.clone(),
            vary: self.vary.as_str(),
            unit: self.vary.unit(),
            thresholds: self.thresholds(),
            tolerance,
            best: finding.and_then(|finding| finding.best),
            upper: finding.and_then(|finding| finding.upper),
            bound: finding.map(|finding| finding.bound.clone()),
            confirmations: finding.map_or(0, |finding| finding.confirmations),
            is_lower_bound: finding.is_some_and(is_lower_bound),
            interrupted: self.is_interrupted(),
            exit_code,
            windows: self.windows.clone(),
        };
        sink::write_json(&self.config, &document)
    }

    fn result(&self, finding: &Finding) -> String {
        let shown = |load: f64| self.vary.format(load);
        let why = match (&finding.bound, finding.upper) {
            (Bound::Server(reason), Some(upper)) => {
                format!("at {} the server did not meet {reason}", shown(upper))
            }
            (Bound::Generator(reason), Some(upper)) => {
                format!("generator limit at {}: {reason}", shown(upper))
            }
            (Bound::Steps, _) => "the search ran out of steps: this system answers differently \
                                  each time; make windows longer (--window)"
                .to_owned(),
            _ => "no larger load was to be tried (--max)".to_owned(),
        };
        match finding.best {
            None => format!("result     none: {why}"),
            Some(best) => format!(
                "result     {}{} · confirmed in {} windows · {why}",
                if is_lower_bound(finding) {
                    "at least "
                } else {
                    ""
                },
                shown(best),
                finding.confirmations
            ),
        }
    }

    /// The windows that confirmed the result, or else the last one.
    fn write_junit(&self, path: &std::path::Path) -> Result<(), Failure> {
        let name = |window: &Window| {
            let load = self.vary.format(window.load);
            format!(
                "find {} {} {load}",
                self.config.mode.as_str(),
                self.vary.as_str()
            )
        };
        let last = self.windows.last().map(|window| window.load);
        let suites: Vec<(String, &Report)> = self
            .windows
            .iter()
            .filter(|window| window.purpose == Purpose::Confirm && Some(window.load) == last)
            .filter_map(|window| Some((name(window), window.report.as_ref()?)))
            .collect();
        junit::write(path, &suites)
            .map_err(|error| Failure::run(format!("cannot write the JUnit file {error}")))
    }
}

fn is_lower_bound(finding: &Finding) -> bool {
    finding.best.is_some() && !matches!(finding.bound, Bound::Server(_))
}

/// A search has dozens of windows; their rows per second would be most of the file.
fn without_series(report: Report) -> Report {
    Report {
        series: Vec::new(),
        ..report
    }
}
