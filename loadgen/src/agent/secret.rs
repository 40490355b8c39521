//! The token that an agent wants to hear from a coordinator.
//!
//! Owns reading it and comparing it in constant time. Never shows it.

use std::fmt;
use std::path::Path;

use subtle::ConstantTimeEq;

/// Fewer bytes than this can be guessed.
const SIZE_MIN: usize = 16;
/// More bytes than this are no token but another file.
const SIZE_MAX: usize = 1_024;

/// A token.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Reads the one line of a file.
    ///
    /// # Errors
    /// One sentence with cause and cure. It never shows the token.
    pub fn read(path: &Path) -> Result<Secret, String> {
        let name = path.display();
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("cannot read the agents' token in '{name}': {error}"))?;
        let token = text.trim();
        let is_line = token.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_line || !(SIZE_MIN..=SIZE_MAX).contains(&token.len()) {
            return Err(format!(
                "'{name}' is to hold one line of {SIZE_MIN} to 1,024 ASCII characters without \
                 blanks; make one with: openssl rand -hex 32 > {name}"
            ));
        }
        Ok(Secret(token.to_owned()))
    }

    /// The token itself, to be sent.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether somebody said the same. How long it takes tells nothing but the length.
    pub fn is_said_by(&self, said: &str) -> bool {
        bool::from(self.0.as_bytes().ct_eq(said.as_bytes()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_one_line_and_stays_hidden() {
        let path = std::env::temp_dir().join(format!("agent-token-{}", std::process::id()));
        std::fs::write(&path, "0123456789abcdef\n").expect("a temporary file");
        let secret = Secret::read(&path).expect("valid");
        assert!(secret.is_said_by("0123456789abcdef"));
        for wrong in [
            "",
            "0123456789abcdeF",
            "0123456789abcde",
            "0123456789abcdef0",
        ] {
            assert!(!secret.is_said_by(wrong), "{wrong:?}");
        }
        assert!(!format!("{secret:?}").contains("0123"));
        for wrong in ["", "short", "two lines of it\nare not one token"] {
            std::fs::write(&path, wrong).expect("a temporary file");
            let error = Secret::read(&path).expect_err(wrong);
            assert!(error.contains("openssl rand"), "{error}");
        }
        std::fs::remove_file(&path).expect("written above");
        assert!(Secret::read(&path).is_err());
    }
}
