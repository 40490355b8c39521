//! `${name}` in the texts of a scenario, and the conditions of `when`.
//!
//! Substitution happens in values after the file has been read, never in the file's text: a
//! parameter can be no more than a value, whatever characters it has. `$${` is a literal `${`.

use crate::scenario::source::suggestion;

/// Parameters with their names, in the order of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parameters(Vec<(String, String)>);

/// Whether a parameter may be called so: letters, digits, `-` and `_`.
pub fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

impl Parameters {
    /// Gives a parameter its value.
    pub fn set(&mut self, name: &str, value: String) {
        match self.find(name) {
            Some(known) => *known = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }

    fn find(&mut self, name: &str) -> Option<&mut String> {
        let entry = self.0.iter_mut().find(|(known, _)| known == name);
        entry.map(|(_, value)| value)
    }

    /// The value of a parameter.
    pub fn get(&self, name: &str) -> Option<&str> {
        let entry = self.0.iter().find(|(known, _)| known == name);
        entry.map(|(_, value)| value.as_str())
    }

    /// All names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// Takes `NAME=VALUE` of the command line.
    ///
    /// # Errors
    /// A sentence when it is not that, or when there is no parameter of this name.
    pub fn override_with(&mut self, assignment: &str) -> Result<(), String> {
        let Some((name, value)) = assignment.split_once('=') else {
            return Err(format!(
                "--set {assignment}: write --set NAME=VALUE, for example --set connections=500"
            ));
        };
        match self.find(name.trim()) {
            Some(known) => {
                value.trim().clone_into(known);
                Ok(())
            }
            None => Err(format!("--set {assignment}: {}", self.unknown(name.trim()))),
        }
    }

    fn unknown(&self, name: &str) -> String {
        let hint = suggestion(name, self.names());
        if self.0.is_empty() {
            return format!("there is no parameter '{name}'; the scenario has none");
        }
        let names: Vec<&str> = self.names().collect();
        format!(
            "there is no parameter '{name}'{hint} (there are: {})",
            names.join(", ")
        )
    }

    /// Fills in every `${name}`.
    ///
    /// # Errors
    /// A sentence about a parameter that does not exist, or a brace that is not closed.
    pub fn fill(&self, text: &str) -> Result<String, String> {
        let mut filled = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find("${") {
            let (before, after) = rest.split_at(at);
            if let Some(before) = before.strip_suffix('$') {
                filled.push_str(before);
                filled.push_str("${");
                rest = after.get(2..).unwrap_or_default();
                continue;
            }
            filled.push_str(before);
            let Some((name, after)) = after.get(2..).and_then(|inner| inner.split_once('}')) else {
                return Err("'${' without a '}'; write $${ for the characters themselves".into());
            };
            let value = self.get(name).ok_or_else(|| self.unknown(name))?;
            filled.push_str(value);
            rest = after;
        }
        filled.push_str(rest);
        Ok(filled)
    }

    /// Whether a condition holds: `A == B` or `A != B`, compared as texts after filling in.
    ///
    /// # Errors
    /// As [`Parameters::fill`], and about a text that is no condition.
    pub fn holds(&self, condition: &str) -> Result<bool, String> {
        let (wants_equal, sides) = match (condition.split_once("=="), condition.split_once("!=")) {
            (Some(sides), None) => (true, sides),
            (None, Some(sides)) => (false, sides),
            _ => {
                return Err(format!(
                    "'{condition}' is not a condition; write \"${{name}} == value\" or \"${{name}} \
                     != value\""
                ));
            }
        };
        let (left, right) = (self.fill(sides.0)?, self.fill(sides.1)?);
        Ok((left.trim() == right.trim()) == wants_equal)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parameters(pairs: &[(&str, &str)]) -> Parameters {
        let mut parameters = Parameters::default();
        for (name, value) in pairs {
            parameters.set(name, (*value).to_owned());
        }
        parameters
    }

    #[test]
    fn filling_in() {
        let parameters = parameters(&[("n", "500"), ("dialect", "raw"), ("empty", "")]);
        for (text, wanted) in [
            ("", ""),
            ("plain $5 {x}", "plain $5 {x}"),
            ("${n}", "500"),
            ("a${n}b${dialect}c", "a500brawc"),
            ("$${n} is ${n}", "${n} is 500"),
            ("${empty}", ""),
            ("ä${n}ö", "ä500ö"),
        ] {
            assert_eq!(parameters.fill(text).as_deref(), Ok(wanted), "{text}");
        }
        assert!(
            parameters
                .fill("${m}")
                .is_err_and(|error| error.contains("'m'"))
        );
        assert!(
            parameters
                .fill("${dialekt}")
                .is_err_and(|error| error.contains("did you mean 'dialect'"))
        );
        assert!(
            parameters
                .fill("${n")
                .is_err_and(|error| error.contains("'}'"))
        );
    }

    #[test]
    fn what_is_filled_in_is_not_looked_at_again() {
        let parameters = parameters(&[("a", "${b}"), ("b", "${a}")]);
        assert_eq!(parameters.fill("${a}").as_deref(), Ok("${b}"));
    }

    #[test]
    fn conditions() {
        let parameters = parameters(&[("dialect", "raw")]);
        assert_eq!(parameters.holds("${dialect} == raw"), Ok(true));
        assert_eq!(parameters.holds("${dialect} != raw"), Ok(false));
        assert_eq!(parameters.holds("${dialect}==nats"), Ok(false));
        for wrong in ["", "${dialect}", "a == b != c", "${x} == 1"] {
            assert!(parameters.holds(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn setting() {
        let mut parameters = parameters(&[("connections", "50")]);
        assert_eq!(parameters.override_with("connections=10k"), Ok(()));
        assert_eq!(parameters.get("connections"), Some("10k"));
        for (wrong, word) in [
            ("connections", "NAME=VALUE"),
            ("conections=3", "did you mean"),
        ] {
            let error = parameters.override_with(wrong).expect_err(wrong);
            assert!(error.contains(word), "{error}");
        }
        let error = Parameters::default()
            .override_with("a=b")
            .expect_err("none");
        assert!(error.contains("has none"), "{error}");
    }

    proptest! {
        #[test]
        fn any_text_is_filled_in_or_refused(text in ".{0,60}", value in ".{0,10}") {
            let parameters = parameters(&[("n", &value)]);
            if !text.contains("${") {
                prop_assert_eq!(parameters.fill(&text), Ok(text));
            } else if let Err(error) = parameters.fill(&text) {
                prop_assert!(error.len() > 10);
            }
        }
    }
}
