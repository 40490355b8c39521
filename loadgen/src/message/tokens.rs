//! The tokens of `--token-file`: one a line, one for each connection, over and over.
//!
//! Owns reading and checking the file. Knows nothing of where tokens are used.

use std::path::Path;
use std::sync::Arc;

/// Most tokens of a file; a connection more than that is unusual even here.
const TOKENS_MAX: usize = 16_777_216;
/// Longest token, in bytes: servers refuse longer header fields.
const TOKEN_SIZE_MAX: usize = 8_192;

/// The tokens of a run, shared by all threads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tokens(Arc<[String]>);

impl Tokens {
    /// Reads a file; empty lines are skipped.
    ///
    /// # Errors
    /// One sentence with cause and cure. It never shows a token.
    pub fn read(path: &Path) -> Result<Tokens, String> {
        let name = path.display();
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("cannot read the tokens in '{name}': {error}"))?;
        let mut tokens = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let token = line.trim();
            if token.is_empty() {
                continue;
            }
            if token.len() > TOKEN_SIZE_MAX || token.bytes().any(|byte| byte.is_ascii_control()) {
                return Err(format!(
                    "{name}, line {}: a token has at most 8,192 bytes and no control characters",
                    number + 1
                ));
            }
            tokens.push(token.to_owned());
            if tokens.len() > TOKENS_MAX {
                return Err(format!("'{name}' has more than 16,777,216 tokens"));
            }
        }
        if tokens.is_empty() {
            return Err(format!("'{name}' has no tokens; write one a line"));
        }
        Ok(Tokens(tokens.into()))
    }

    /// The token of a connection; empty when there are none.
    pub fn of(&self, connection: u32) -> &str {
        (connection as usize)
            .checked_rem(self.0.len())
            .and_then(|place| self.0.get(place))
            .map_or("", String::as_str)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_take_lines_in_turn() {
        let path = std::env::temp_dir().join(format!("tokens-{}.txt", std::process::id()));
        std::fs::write(&path, "alpha\n\n  beta \r\ngamma").expect("a temporary file");
        let tokens = Tokens::read(&path).expect("valid");
        let taken: Vec<&str> = (0..5).map(|number| tokens.of(number)).collect();
        assert_eq!(taken, ["alpha", "beta", "gamma", "alpha", "beta"]);
        for wrong in ["", "\n\n", "good\nb\u{7}d"] {
            std::fs::write(&path, wrong).expect("a temporary file");
            let error = Tokens::read(&path).expect_err(wrong);
            assert!(!error.contains("good"), "{error}");
        }
        std::fs::remove_file(&path).expect("written above");
        assert!(Tokens::read(&path).is_err());
        assert_eq!(Tokens::default().of(3), "");
    }
}
