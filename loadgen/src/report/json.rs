//! A report, or what another command found, as one JSON object.

use std::io::{self, Write};

use serde::Serialize;

use crate::config::Output;

/// Writes the object and a newline.
///
/// # Errors
/// What the file system or the pipe said, with the name of the file.
pub fn write(report: &impl Serialize, output: &Output) -> io::Result<()> {
    let mut text = serde_json::to_vec_pretty(report).map_err(io::Error::from)?;
    text.push(b'\n');
    match output {
        Output::Stdout => {
            let mut stdout = io::stdout().lock();
            stdout.write_all(&text)?;
            stdout.flush()
        }
        Output::File(path) => std::fs::write(path, text).map_err(|error| {
            io::Error::new(
                error.kind(),
                format!("cannot write {}: {error}", path.display()),
            )
        }),
    }
}
