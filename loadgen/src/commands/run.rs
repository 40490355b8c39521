//! `run`: mixed, staged scenario from a file or a preset.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::cli::common::{CpuList, parse_cpus};
use crate::cli::output::OutputArguments;
use crate::commands::{Failure, OK, load, signals};
use crate::config::Config;
use crate::judge::junit;
use crate::live::scenario::Audience;
use crate::measure::model::Report;
use crate::scenario::file::ScenarioText;
use crate::scenario::plan::{Overrides, Plan};
use crate::scenario::play::{bill, combined, play};
use crate::scenario::presets::{self, PRESETS};
use crate::scenario::source::Source;

/// What `run --help` ends with.
pub const EXAMPLES: &str = "\
Examples:
  fanwire-loadgen run lunch.toml ws://127.0.0.1:9001                  loads of a file
  fanwire-loadgen run --list-presets                                  what comes with the program
  fanwire-loadgen run --preset chat ws://127.0.0.1:9001 --set members=500
  fanwire-loadgen run --print-preset chat > my-chat.toml              a start for one's own
  fanwire-loadgen run my-chat.toml ws://127.0.0.1:9001 --dry-run      the command lines it amounts to

A scenario is made of loads, each an echo, fanout, churn, storm or idle with that command's own long
options. Loads of one step run together, steps follow each other. The report has every load on its
own and their sum; the verdict is the worst of theirs. On a terminal one view shows all loads while
they last; the arrow keys choose the one that is looked at closely.";

/// `run`.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Scenario file (with --preset: the URL)
    #[arg(value_name = "FILE", required_unless_present_any = ["list_presets", "print_preset"])]
    first: Option<String>,
    /// Where to: ws://HOST[:PORT][/PATH]; goes before what the file says
    #[arg(value_name = "URL")]
    url: Option<String>,
    /// Run a scenario that comes with the program
    #[arg(long, alias = "profile", value_name = "NAME", conflicts_with = "url")]
    preset: Option<String>,
    /// Say which presets there are
    #[arg(long)]
    list_presets: bool,
    /// Write a preset's file to standard output, to be copied and changed
    #[arg(long, value_name = "NAME")]
    print_preset: Option<String>,
    /// Give a parameter of the scenario another value; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// Write the command lines that the loads amount to, and run nothing
    #[arg(long)]
    dry_run: bool,
    /// Deal these CPUs out to the threads of all loads: 1 or 2,3 or 4-7
    #[arg(long, value_name = "LIST", value_parser = parse_cpus)]
    cpu: Option<CpuList>,
    /// Process of the server on this host: reports its CPU and memory
    #[arg(long, value_name = "PID")]
    server_pid: Option<u32>,
    /// Seed of the first load; the others get the numbers that follow
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// What must hold: of the whole ('errors.ratio<1%'), or of the load whose name comes first
    /// ('talk.echo.p99<5ms'). May be repeated; exit code 3 when one does not hold
    #[arg(long, value_name = "EXPR")]
    threshold: Vec<String>,
    /// Exit codes as if an INVALID report were valid (0 or 3 instead of 4)
    #[arg(long)]
    allow_invalid: bool,
    /// Write verdicts and thresholds as JUnit XML: a suite for the whole and for each load
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    #[command(flatten)]
    output: OutputArguments,
}

/// Does it and returns the exit code.
///
/// # Errors
/// What kept it from being done.
pub fn execute(arguments: Arguments) -> Result<u8, Failure> {
    if arguments.list_presets {
        return print(&list()?);
    }
    if let Some(name) = &arguments.print_preset {
        return print(presets::find(name).map_err(Failure::usage)?.text);
    }
    let (source, url) = source(&arguments)?;
    let outputs = arguments.output.into_settings().map_err(Failure::usage)?;
    if outputs.prometheus.is_some() {
        return Err(Failure::usage(
            "--prom shows one load: write prom = \"ADDR:PORT\" into the load of the scenario that it \
             is to show, and another port into the next",
        ));
    }
    let scenario = ScenarioText::parse(source).map_err(Failure::usage)?;
    let overrides = Overrides {
        url,
        parameters: arguments.set,
        cpus: arguments.cpu.map(|list| list.0).unwrap_or_default(),
        server_pid: arguments.server_pid,
        seed: arguments.seed,
        thresholds: arguments.threshold,
        is_invalid_allowed: arguments.allow_invalid,
        is_quiet: outputs.is_quiet,
    };
    let plan = Plan::new(scenario, &overrides).map_err(Failure::usage)?;
    if arguments.dry_run {
        return print(&describe(&plan));
    }
    let first = plan.loads().next().map(|load| load.config.clone());
    let Some(first) = first else {
        return Err(Failure::usage("the scenario has no load"));
    };
    let is_interrupted = signals::install()?;
    let mut audience = Audience::gather(
        bill(&plan),
        outputs.is_quiet,
        outputs.has_view,
        &is_interrupted,
    );
    let played = play(&plan, &is_interrupted, &audience);
    audience.end();
    let parts = played?;
    let whole = combined(&plan, parts, overrides.is_invalid_allowed)?;
    let mut config = Config { outputs, ..first };
    config.judge.junit = None;
    load::write_all(&whole, &config)?;
    if let Some(path) = &arguments.junit {
        write_junit(path, &plan, &whole)?;
    }
    Ok(whole.exit_code)
}

fn write_junit(path: &Path, plan: &Plan, whole: &Report) -> Result<(), Failure> {
    let parts = whole.parts.iter().map(|part| {
        let name = format!("{} {}", plan.name, part.name);
        (name, &part.report)
    });
    let suites: Vec<(String, &Report)> = std::iter::once((plan.name.clone(), whole))
        .chain(parts)
        .collect();
    junit::write(path, &suites)
        .map_err(|error| Failure::run(format!("cannot write the JUnit file {error}")))
}

/// The file or preset, and the URL of the command line.
fn source(arguments: &Arguments) -> Result<(Source, Option<String>), Failure> {
    let first = arguments.first.clone();
    match (&arguments.preset, first) {
        (Some(name), url) => {
            let preset = presets::find(name).map_err(Failure::usage)?;
            Ok((preset.source(), url))
        }
        (None, Some(path)) if path.contains("://") => Err(Failure::usage(format!(
            "'{path}' is where to; name a scenario file before it, or a preset with --preset \
             (run --list-presets)"
        ))),
        (None, Some(path)) => Ok((read(Path::new(&path))?, arguments.url.clone())),
        (None, None) => Err(Failure::usage(
            "name a scenario file, or a preset with --preset",
        )),
    }
}

/// A scenario is a page of text; something larger is another file.
const FILE_SIZE_MAX: u64 = 1 << 20;

fn read(path: &Path) -> Result<Source, Failure> {
    let refused = |cause: String| {
        let path = PathBuf::from(path);
        Failure::usage(format!("cannot read {}: {cause}", path.display()))
    };
    let size = std::fs::metadata(path)
        .map_err(|error| refused(error.to_string()))?
        .len();
    if size > FILE_SIZE_MAX {
        return Err(refused(
            "it is larger than 1 MiB, so it is no scenario".into(),
        ));
    }
    let text = std::fs::read_to_string(path).map_err(|error| refused(error.to_string()))?;
    Ok(Source {
        name: path.display().to_string(),
        text,
    })
}

fn print(text: &str) -> Result<u8, Failure> {
    let written = std::io::stdout().write_all(text.as_bytes());
    written.map_err(|error| Failure::run(format!("cannot write: {error}")))?;
    Ok(OK)
}

fn list() -> Result<String, Failure> {
    let mut text = String::new();
    for preset in PRESETS {
        let scenario = ScenarioText::parse(preset.source()).map_err(Failure::run)?;
        text.push_str(&format!("{:<14} {}\n", preset.name, scenario.description));
        if let Some(needs) = &scenario.needs {
            text.push_str(&format!("{:14} needs {needs}\n", ""));
        }
        let parameters: Vec<String> = scenario
            .parameters
            .names()
            .filter_map(|name| Some(format!("{name}={}", scenario.parameters.get(name)?)))
            .collect();
        if !parameters.is_empty() {
            text.push_str(&format!("{:14} --set {}\n", "", parameters.join(" ")));
        }
    }
    Ok(text)
}

fn describe(plan: &Plan) -> String {
    let mut text = String::new();
    for step in &plan.steps {
        if !step.name.is_empty() {
            text.push_str(&format!("# step {}\n", step.name));
        }
        for load in &step.loads {
            let start_s = load.start_ns as f64 / 1e9;
            text.push_str(&format!(
                "# load {}, {start_s} s after the beginning\n{}\n",
                load.name, load.command_line
            ));
        }
    }
    for threshold in &plan.thresholds {
        text.push_str(&format!("# threshold of the whole: {threshold}\n"));
    }
    text
}
