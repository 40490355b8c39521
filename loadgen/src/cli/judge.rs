//! The options that say what counts as good enough.

use clap::Args;

/// What is told of thresholds.
#[derive(Args, Debug)]
pub struct JudgeArguments {}

/// What counts as good enough.
#[derive(Clone, Debug, Default)]
pub struct JudgeSettings {}

impl JudgeArguments {
    /// Checks what clap cannot.
    ///
    /// # Errors
    /// One or two sentences with cause and cure.
    pub fn into_settings(self) -> Result<JudgeSettings, String> {
        Ok(JudgeSettings {})
    }
}
