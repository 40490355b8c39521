//! Where in a scenario file something stands, for errors that a person can act on.

use std::ops::Range;

/// A scenario file.
#[derive(Clone, Debug)]
pub struct Source {
    /// What it is called: its path, or the name of a preset.
    pub name: String,
    /// What it says.
    pub text: String,
}

impl Source {
    /// Line and column of a byte, both counted from 1; columns are characters.
    pub fn position(&self, at: usize) -> (usize, usize) {
        let before = self.text.get(..at).unwrap_or(&self.text);
        let line = before.matches('\n').count() + 1;
        let begin = before.rfind('\n').map_or(0, |newline| newline + 1);
        let column = before.get(begin..).unwrap_or_default().chars().count() + 1;
        (line, column)
    }

    /// `file:line:column: sentence`.
    pub fn error(&self, span: &Range<usize>, sentence: impl AsRef<str>) -> String {
        let (line, column) = self.position(span.start);
        format!("{}:{line}:{column}: {}", self.name, sentence.as_ref())
    }
}

/// `, did you mean x?` when one of `known` is close to what was written.
pub fn suggestion<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let nearest = known
        .into_iter()
        .map(|name| (distance(written, name), name))
        .filter(|(distance, name)| *distance <= 1 + name.len() / 4)
        .min();
    nearest.map_or_else(String::new, |(_, name)| format!("; did you mean '{name}'?"))
}

/// Letters to insert, drop or replace to make one word of the other.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, letter) in one.chars().enumerate() {
        let mut diagonal = index;
        row[0] = index + 1;
        for column in 0..other.len() {
            let replaced = diagonal + usize::from(other[column] != letter);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions() {
        let source = Source {
            name: "a.toml".into(),
            text: "one\ntwö = 3\n".into(),
        };
        assert_eq!(source.position(0), (1, 1));
        assert_eq!(source.position(4), (2, 1));
        assert_eq!(source.position(9), (2, 5), "columns are characters");
        assert_eq!(source.position(999), (3, 1));
        assert_eq!(source.error(&(4..7), "wrong"), "a.toml:2:1: wrong");
    }

    #[test]
    fn near_words_are_suggested() {
        let known = ["connections", "connect-rate", "rate"];
        assert!(suggestion("conections", known).contains("'connections'"));
        assert!(suggestion("rates", known).contains("'rate'"));
        assert_eq!(suggestion("payload", known), "");
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
