//! A report, or what another command found, as one JSON object; and the schema of reports.

use std::io;

use serde::Serialize;

use crate::config::Output;
use crate::measure::model::{Report, SCHEMA};
use crate::report::outputs;

/// JSON Schema (2020-12) of reports.
pub const SCHEMA_TEXT: &str = include_str!("../../schema/fanwire-loadgen-1.schema.json");

/// Renders the object and a newline.
///
/// # Errors
/// Never with what a run brings home; anything else would be a fault of ours.
pub fn render(report: &impl Serialize) -> Result<Vec<u8>, String> {
    let mut text = serde_json::to_vec_pretty(report).map_err(|error| error.to_string())?;
    text.push(b'\n');
    Ok(text)
}

/// Writes the object and a newline.
///
/// # Errors
/// What the file system or the pipe said, with the name of the file.
pub fn write(report: &impl Serialize, output: &Output) -> io::Result<()> {
    let text = render(report).map_err(io::Error::other)?;
    outputs::write(&text, output)
}

/// Reads a report back.
///
/// # Errors
/// Where the text is not a report of this schema, and what to do about it.
pub fn parse(text: &[u8]) -> Result<Report, String> {
    #[derive(serde::Deserialize)]
    struct Head {
        schema: String,
    }
    let head: Head = serde_json::from_slice(text)
        .map_err(|error| format!("it is not a report of fanwire-loadgen ({error})"))?;
    if head.schema != SCHEMA {
        return Err(format!(
            "its schema is '{}' and this program reads '{SCHEMA}'",
            head.schema
        ));
    }
    serde_json::from_slice(text).map_err(|error| {
        format!("it is a report that this program cannot read ({error}); was it cut or changed?")
    })
}
