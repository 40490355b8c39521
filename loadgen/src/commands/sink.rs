//! Where commands of several runs write their own documents: the files that a single run would
//! write its report to.

use std::io::Write;

use serde::Serialize;

use crate::commands::Failure;
use crate::config::{Config, Output};
use crate::report;

/// Whether standard output belongs to a document, so that text for a person goes to standard error.
pub fn is_stdout_taken(config: &Config) -> bool {
    json(config) == Some(&Output::Stdout)
}

/// One line for a person.
pub fn say(config: &Config, line: &str) {
    // A reader that has gone, such as `head`, is no reason to end a measurement.
    let _ = if is_stdout_taken(config) {
        writeln!(std::io::stderr(), "{line}")
    } else {
        writeln!(std::io::stdout(), "{line}")
    };
}

/// Where the JSON goes.
pub fn json(config: &Config) -> Option<&Output> {
    config.outputs.json.as_ref()
}

/// Writes a document as JSON, if it was asked for.
///
/// # Errors
/// What could not be written.
pub fn write_json(config: &Config, document: &impl Serialize) -> Result<(), Failure> {
    match json(config) {
        Some(output) => {
            report::json::write(document, output).map_err(|error| Failure::run(error.to_string()))
        }
        None => Ok(()),
    }
}
