//! `selftest`: prove the measurement against servers with known faults.

use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use clap::Args;
use fanwire_reactor::host::processors;

use crate::commands::{Failure, INTERRUPTED, OK, RUN_ERROR, signals};
use crate::config::Output;
use crate::doctor::processors::load_average;
use crate::measure::environment::facts::HostFiles;
use crate::report::json;
use crate::selftest::cases::{self, Case, Context, Form};
use crate::selftest::server::Place;
use crate::selftest::subject::Subject;
use crate::selftest::{self, table};

const AFTER_HELP: &str = "\
Every case starts a server with a scripted fault, delay or refusal on loopback, runs this program
against it as you would, and compares what it reports with what must have happened. Counters must
be exact. Times must be within 3 % of their closed form; a case in which only times are off is run
up to three times, and says so.

Examples:
  fanwire-loadgen selftest                      on an idle machine, some minutes
  fanwire-loadgen selftest --short              for CI, under a minute, on a busy machine too
  fanwire-loadgen selftest --only stall --only integrity
  fanwire-loadgen selftest --short --canary     every server does something else than is expected:
                                                each case must notice

Exit codes: 0 every case is ok · 1 some case is not · 130 interrupted.";

/// `selftest`.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub struct Arguments {
    /// For CI: scripted delays of tens of milliseconds, no pinning, under a minute in all
    #[arg(long, conflicts_with = "long")]
    short: bool,
    /// Longer windows and more messages
    #[arg(long)]
    long: bool,
    /// Only this case; may be repeated
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// List the cases and stop
    #[arg(long)]
    list: bool,
    /// Have every scripted server do something else than its case expects, which must be noticed
    #[arg(long)]
    canary: bool,
    /// Decides the order of delays and which bits flip
    #[arg(long, default_value = "1", value_name = "N")]
    seed: u64,
    /// Write the result as one JSON object to a file, or to standard output with -
    #[arg(long, value_name = "FILE|-")]
    json: Option<PathBuf>,
}

/// Does it and returns the exit code.
///
/// # Errors
/// What kept it from being done.
pub fn execute(arguments: Arguments) -> Result<u8, Failure> {
    let form = match (arguments.short, arguments.long) {
        (true, _) => Form::Short,
        (_, true) => Form::Long,
        _ => Form::Standard,
    };
    let chosen = choose(&arguments.only, form)?;
    if arguments.list {
        let lines: String = chosen
            .iter()
            .map(|case| format!("{:22} {}\n", case.name, case.title))
            .collect();
        return print(&lines, false).map(|()| OK);
    }
    let is_interrupted = signals::install()?;
    let context = context(form, arguments.canary, arguments.seed)?;
    let output = arguments.json.map(Output::of);
    // With the JSON on standard output, the text must not get in between.
    let is_on_stderr = output == Some(Output::Stdout);
    if form != Form::Short
        && let Some((load, true)) = load_average(&HostFiles::default(), processors().len())
    {
        eprintln!(
            "note: the load average is {load:.1}: something else runs here, and times will be off; \
             --short is made for busy machines"
        );
    }
    print(&table::head(), is_on_stderr)?;
    let mut printed = Ok(());
    let summary = selftest::run(&context, &chosen, |result| {
        if printed.is_ok() {
            printed = print(&table::case(result), is_on_stderr);
        }
        !is_interrupted.load(Ordering::Relaxed)
    });
    printed?;
    print(&table::summary(&summary), is_on_stderr)?;
    if let Some(output) = output {
        json::write(&summary, &output).map_err(|error| Failure::run(error.to_string()))?;
    }
    Ok(if is_interrupted.load(Ordering::Relaxed) {
        INTERRUPTED
    } else if summary.is_ok {
        OK
    } else {
        RUN_ERROR
    })
}

fn print(text: &str, is_on_stderr: bool) -> Result<(), Failure> {
    let written = if is_on_stderr {
        std::io::stderr().write_all(text.as_bytes())
    } else {
        let mut stdout = std::io::stdout();
        stdout
            .write_all(text.as_bytes())
            .and_then(|()| stdout.flush())
    };
    written.map_err(|error| Failure::run(format!("cannot print the result: {error}")))
}

fn choose(only: &[String], form: Form) -> Result<Vec<Case>, Failure> {
    if only.is_empty() {
        let all = cases::ALL.iter();
        return Ok(all
            .filter(|case| case.is_in_short || form != Form::Short)
            .copied()
            .collect());
    }
    only.iter()
        .map(|name| {
            let found = cases::ALL.iter().find(|case| case.name == name);
            found.copied().ok_or_else(|| {
                let names: Vec<&str> = cases::ALL.iter().map(|case| case.name).collect();
                Failure::usage(format!(
                    "--only {name}: there is no such case; there are {}",
                    names.join(", ")
                ))
            })
        })
        .collect()
}

/// On an idle machine with two processors or more, the scripted server and the generator get one
/// each and never sleep. The short form leaves both to the scheduler, which knows better what else
/// runs on a machine that is shared.
fn context(form: Form, is_canary: bool, seed: u64) -> Result<Context, Failure> {
    let mut subject = Subject::this_program().map_err(Failure::run)?;
    let processors = processors();
    let mut place = Place {
        processor: None,
        spin: false,
        backlog: 1_024,
    };
    let mut generator_processor = None;
    if form != Form::Short
        && let [first, .., last] = processors[..]
    {
        place.processor = Some(first);
        place.spin = true;
        generator_processor = Some(last);
        subject.placement = vec!["--cpu".into(), last.to_string()];
    }
    Ok(Context {
        form,
        is_canary,
        subject,
        place,
        generator_processor,
        seed,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_none_is_refused_with_those_that_are() {
        let error = choose(&["stalls".into()], Form::Short).expect_err("no such case");
        assert!(
            error.message.contains("stall-closed-loop"),
            "{}",
            error.message
        );
        assert_eq!(
            choose(&["stall".into()], Form::Short).expect("one").len(),
            1
        );
    }

    #[test]
    fn names_are_unique_and_the_short_form_leaves_some_out() {
        let mut names: Vec<&str> = cases::ALL.iter().map(|case| case.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), cases::ALL.len());
        let short = choose(&[], Form::Short).expect("some").len();
        assert!(short > 10 && short < cases::ALL.len());
        assert_eq!(
            choose(&[], Form::Standard).expect("all").len(),
            cases::ALL.len()
        );
    }
}
