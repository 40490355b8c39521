//! What this host can do for a load that is planned, and what stands in its way.
//!
//! Owns the list of questions and the form of an answer. [`limits`], [`processors`] and [`network`]
//! ask the host's files, [`connection`] asks a server. Changes nothing.

pub mod connection;
pub mod limits;
pub mod network;
pub mod processors;
#[cfg(test)]
mod tree;

use std::fmt::Write as _;

use serde::Serialize;

use crate::measure::environment::facts::HostFiles;

/// Name and version of the JSON layout.
pub const SCHEMA: &str = "fanwire-doctor/1";

/// How an answer is to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Nothing to do.
    Ok,
    /// The load will run, and its numbers may suffer.
    Warn,
    /// The load as planned will not run.
    Fail,
}

impl Level {
    /// The word at the beginning of a line.
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Ok => "ok",
            Level::Warn => "warn",
            Level::Fail => "fail",
        }
    }
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was asked, in a word or two.
    pub name: &'static str,
    /// How it is to be taken.
    pub level: Level,
    /// What was found.
    pub found: String,
    /// What to type, or to do, about it.
    pub cure: Option<String>,
}

impl Finding {
    /// Nothing to do.
    pub fn ok(name: &'static str, found: impl Into<String>) -> Finding {
        Finding {
            name,
            level: Level::Ok,
            found: found.into(),
            cure: None,
        }
    }

    /// The numbers may suffer.
    pub fn warn(name: &'static str, found: impl Into<String>, cure: impl Into<String>) -> Finding {
        Finding {
            name,
            level: Level::Warn,
            found: found.into(),
            cure: Some(cure.into()),
        }
    }

    /// It will not run.
    pub fn fail(name: &'static str, found: impl Into<String>, cure: impl Into<String>) -> Finding {
        Finding {
            level: Level::Fail,
            ..Finding::warn(name, found, cure)
        }
    }
}

/// The load that is planned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Connections.
    pub connections: u64,
    /// Threads of the generator.
    pub threads: u64,
    /// CPUs that they are pinned to; empty: not pinned.
    pub cpus: Vec<usize>,
    /// Addresses to connect from; empty: the kernel chooses one.
    pub sources: u64,
    /// The server is on this host, as far as is known.
    pub is_loopback: bool,
}

/// Everything found.
#[derive(Clone, Debug, Serialize)]
pub struct Diagnosis {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// The worst of all findings.
    pub level: Level,
    /// Connections that were asked about.
    pub connections: u64,
    /// The answers, in order.
    pub findings: Vec<Finding>,
}

impl Diagnosis {
    /// Puts answers together.
    pub fn of(plan: &Plan, findings: Vec<Finding>) -> Diagnosis {
        let worst = findings.iter().map(|finding| finding.level).max();
        Diagnosis {
            schema: SCHEMA,
            level: worst.unwrap_or(Level::Ok),
            connections: plan.connections,
            findings,
        }
    }
}

/// Asks the host.
pub fn ask_host(host: &HostFiles, plan: &Plan) -> Vec<Finding> {
    let mut findings = processors::ask(host, plan);
    findings.extend(limits::ask(host, plan));
    findings.extend(network::ask(host, plan));
    findings
}

/// Width of the column of names.
const NAME_WIDTH: usize = 28;

/// What a person reads.
pub fn render(diagnosis: &Diagnosis) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    for finding in &diagnosis.findings {
        let level = finding.level.as_str();
        let _ = writeln!(
            text,
            "{level:4}  {:NAME_WIDTH$} {}",
            finding.name, finding.found
        );
        if let Some(cure) = &finding.cure {
            let _ = writeln!(text, "      {:NAME_WIDTH$} -> {cure}", "");
        }
    }
    let count = |level| {
        let of_level = |finding: &&Finding| finding.level == level;
        diagnosis.findings.iter().filter(of_level).count()
    };
    let _ = writeln!(
        text,
        "\n{} ok, {} to look at, {} in the way",
        count(Level::Ok),
        count(Level::Warn),
        count(Level::Fail)
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_finding_decides() {
        let plan = Plan {
            connections: 1,
            threads: 1,
            cpus: Vec::new(),
            sources: 0,
            is_loopback: true,
        };
        let mut findings = vec![Finding::ok("a", "fine")];
        assert_eq!(Diagnosis::of(&plan, findings.clone()).level, Level::Ok);
        findings.push(Finding::fail("b", "broken", "mend it"));
        findings.push(Finding::warn("c", "odd", "look"));
        let diagnosis = Diagnosis::of(&plan, findings);
        assert_eq!(diagnosis.level, Level::Fail);
        let text = render(&diagnosis);
        assert!(
            text.contains("fail  b                            broken\n"),
            "{text}"
        );
        assert!(text.contains("-> mend it"), "{text}");
        assert!(
            text.ends_with("1 ok, 1 to look at, 1 in the way\n"),
            "{text}"
        );
    }
}
