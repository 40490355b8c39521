//! The report as one JSON object, and its schema.

use crate::model::{Report, SCHEMA};

/// JSON Schema (2020-12) of what [`render`] writes.
pub const SCHEMA_TEXT: &str = include_str!("../../schema/fanwire-loadgen-1.schema.json");

/// Renders the object and a newline.
///
/// # Errors
/// Never with the reports of a run; a text that is no JSON would be a fault of ours.
pub fn render(report: &Report) -> Result<Vec<u8>, String> {
    let mut text = serde_json::to_vec_pretty(report).map_err(|error| error.to_string())?;
    text.push(b'\n');
    Ok(text)
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
