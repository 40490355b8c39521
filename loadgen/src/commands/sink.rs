//! Where commands of several runs write their own documents: the files that a single run would
//! write its report to.

use std::io::Write;

use serde::Serialize;

use crate::commands::Failure;
use crate::config::{Config, Output};
use crate::report;
use crate::report::outputs::{self, Form};

/// Whether standard output belongs to a document, so that text for a person goes to standard error.
pub fn is_stdout_taken(config: &Config) -> bool {
    let files = &config.outputs.files;
    files.iter().any(|(_, output)| *output == Output::Stdout)
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

/// Where a document goes, if it was asked for.
pub fn output(config: &Config, form: Form) -> Option<&Output> {
    let files = &config.outputs.files;
    let found = files.iter().find(|(wanted, _)| *wanted == form);
    found.map(|(_, output)| output)
}

/// Refuses files that a command does not write.
///
/// # Errors
/// A sentence with the forms that it does.
pub fn check(config: &Config, forms: &[Form]) -> Result<(), String> {
    let files = &config.outputs.files;
    let Some((form, _)) = files.iter().find(|(form, _)| !forms.contains(form)) else {
        return Ok(());
    };
    let names: Vec<&str> = forms.iter().map(|form| form.option()).collect();
    Err(format!(
        "{} is for single runs; here there is {}",
        form.option(),
        names.join(", ")
    ))
}

/// Writes a document as JSON, if it was asked for.
///
/// # Errors
/// What could not be written.
pub fn write_json(config: &Config, document: &impl Serialize) -> Result<(), Failure> {
    match output(config, Form::Json) {
        Some(output) => {
            report::json::write(document, output).map_err(|error| Failure::run(error.to_string()))
        }
        None => Ok(()),
    }
}

/// Writes a document that is text, if it was asked for.
///
/// # Errors
/// What could not be written.
pub fn write_text(config: &Config, form: Form, text: &str) -> Result<(), Failure> {
    match output(config, form) {
        Some(output) => write_to(output, text),
        None => Ok(()),
    }
}

/// Writes text to a file or to standard output.
///
/// # Errors
/// What could not be written, with the path.
pub fn write_to(output: &Output, text: &str) -> Result<(), Failure> {
    outputs::write(text.as_bytes(), output).map_err(|error| Failure::run(error.to_string()))
}
