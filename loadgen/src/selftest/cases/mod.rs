//! The cases: each runs the generator against a scripted server and compares what it reports with
//! what must have happened.

mod arrival;
mod connections;
mod fanout;
mod integrity;
mod latency;
mod mathematics;
mod merge;
mod saturation;
mod stall;

use crate::selftest::check::Check;
use crate::selftest::script::Script;
use crate::selftest::server::{Entrance, Place, Seen, Server};
use crate::selftest::subject::{Outcome, Subject};

/// How thorough a test is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Under a minute, for a busy machine: scripted delays of tens of milliseconds.
    Short,
    /// A few minutes on an idle machine.
    Standard,
    /// Longer windows and more messages.
    Long,
}

impl Form {
    /// The word of the command line and of reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Form::Short => "short",
            Form::Standard => "standard",
            Form::Long => "long",
        }
    }

    /// One of three values.
    pub fn pick<T>(self, short: T, standard: T, long: T) -> T {
        match self {
            Form::Short => short,
            Form::Standard => standard,
            Form::Long => long,
        }
    }
}

/// What a case is given.
#[derive(Clone, Debug)]
pub struct Context {
    /// How thorough to be.
    pub form: Form,
    /// The scripted server is to do something else than the case expects, which must be noticed.
    pub is_canary: bool,
    /// The generator.
    pub subject: Subject,
    /// Where scripted servers run.
    pub place: Place,
    /// CPU that the generator is pinned to, if it is.
    pub generator_processor: Option<usize>,
    /// Decides the order of delays and which bits flip.
    pub seed: u64,
}

/// What a case found.
pub type Findings = Result<Vec<Check>, String>;

/// A case.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it proves, in a sentence.
    pub title: &'static str,
    /// Whether `--short` runs it.
    pub is_in_short: bool,
    /// Runs it once.
    pub body: fn(&Context) -> Findings,
}

/// Every case, in the order in which they run.
pub const ALL: &[Case] = &[
    integrity::INTEGRITY,
    connections::MUTE,
    connections::REFUSALS,
    connections::BACKLOG,
    fanout::SPREAD,
    fanout::REACH,
    latency::FIXED,
    latency::EXPONENTIAL,
    latency::BIMODAL,
    stall::OPEN_LOOP,
    stall::CLOSED_LOOP,
    stall::GENERATOR,
    arrival::CONSTANT,
    arrival::POISSON,
    saturation::UNREACHABLE,
    saturation::THROTTLED,
    saturation::CROWDED,
    merge::MERGE,
    mathematics::COMPARE,
    mathematics::SEARCH,
];

impl Context {
    /// Runs the generator once against a scripted server. `line` is its command line, with `{url}`
    /// for the server's address.
    ///
    /// # Errors
    /// What kept either of them from running.
    pub fn play<S: Script>(
        &self,
        script: S,
        entrance: Entrance,
        line: &str,
    ) -> Result<Played<S>, String> {
        let server = Server::start(script, entrance, self.place)?;
        let line = line.replace("{url}", &server.url(""));
        let outcome = self.subject.run(&line);
        // The server is stopped whatever became of the generator.
        let (script, seen) = server.stop()?;
        Ok(Played {
            outcome: outcome?,
            script,
            seen,
        })
    }
}

/// One run and both ends' view of it.
#[derive(Debug)]
pub struct Played<S> {
    /// What the generator reported.
    pub outcome: Outcome,
    /// The script, with what it counted.
    pub script: S,
    /// What the server saw.
    pub seen: Seen,
}

impl<S> Played<S> {
    /// The accounts of an open loop of `echo` without warm-up: every message is somewhere, both
    /// ends counted the same, and the histogram holds each reply once.
    ///
    /// # Errors
    /// When a counter is missing from the report.
    pub fn accounts(&self) -> Findings {
        let mut checks = self.messages()?;
        checks.push(Check::exact(
            "values in the response histogram",
            self.outcome.count("/messages/received")?,
            self.outcome.histogram("response")?.len(),
        ));
        Ok(checks)
    }

    /// The same of a closed loop, where replies that come while the end of the window is being
    /// noticed still send messages, which are counted and not timed.
    ///
    /// # Errors
    /// As [`Played::accounts`].
    pub fn messages(&self) -> Findings {
        let count = |name: &str| self.outcome.count(&format!("/messages/{name}"));
        let sent = count("sent")?;
        let sum = count("received")? + count("lost")? + count("in_flight")?;
        Ok(vec![
            Check::exact("sent = received + lost + in flight", sent, sum),
            Check::exact(
                "messages sent, as the server heard them",
                self.seen.heard,
                sent,
            ),
        ])
    }
}

/// Requires a verdict, its exit code, and a phrase in its reasons.
fn expect_verdict(outcome: &Outcome, verdict: &str, exit_code: i32, phrase: &str) -> Vec<Check> {
    let code = outcome
        .exit_code
        .map_or("a signal".to_owned(), |code| code.to_string());
    let reasons = outcome.reasons();
    let said = reasons.iter().find(|reason| reason.contains(phrase));
    let shown = said.or(reasons.first()).map_or("(nothing)", String::as_str);
    vec![
        Check::word(
            "verdict",
            verdict,
            outcome.verdict(),
            outcome.verdict() == verdict,
        ),
        Check::word(
            "exit code",
            &exit_code.to_string(),
            &code,
            outcome.exit_code == Some(exit_code),
        ),
        Check::word("a reason says", phrase, shown, said.is_some()),
    ]
}
