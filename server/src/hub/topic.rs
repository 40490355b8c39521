//! Names of topics and patterns over them (docs/protocol.md section 1).
//!
//! Owns what a name may look like and what a pattern matches. Knows nothing of what is published
//! or of who subscribes.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

/// Longest name of a topic, and longest pattern, in bytes.
pub const TOPIC_SIZE_MAX: usize = 256;
/// Most tokens in a name or a pattern.
pub const TOPIC_TOKENS_MAX: usize = 16;

/// The checked name of one topic. Cheap to clone: the text is shared.
///
/// It holds no character that JSON escapes, so that it may be written between quotes as it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicName(Arc<str>);

impl TopicName {
    /// The name, if it keeps the rules.
    ///
    /// # Errors
    ///
    /// The first rule that it breaks.
    pub fn parse(name: &str) -> Result<Self, TopicError> {
        Self::check(name).map(|()| Self(Arc::from(name)))
    }

    /// Whether [`TopicName::parse`] would take it, without allocating.
    ///
    /// # Errors
    ///
    /// The first rule that it breaks.
    pub fn check(name: &str) -> Result<(), TopicError> {
        check(name, false)
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for TopicName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for TopicName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A name in which `*` stands for one token, and a last token `>` for one or more.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pattern(Arc<str>);

impl Pattern {
    /// The pattern, if it keeps the rules. One without a wildcard matches its own text alone.
    ///
    /// # Errors
    ///
    /// The first rule that it breaks.
    pub fn parse(pattern: &str) -> Result<Self, TopicError> {
        check(pattern, true).map(|()| Self(Arc::from(pattern)))
    }

    /// `>`, which matches every topic.
    pub fn everything() -> Self {
        Self(Arc::from(">"))
    }

    /// The pattern as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the topic of this name is meant.
    pub fn matches(&self, topic: &str) -> bool {
        let mut tokens = topic.split('.');
        for wanted in self.0.split('.') {
            match (wanted, tokens.next()) {
                (">", Some(_)) => return true,
                ("*", Some(_)) => {}
                (wanted, Some(token)) if wanted == token => {}
                _ => return false,
            }
        }
        tokens.next().is_none()
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// What can be subscribed to: one topic, or all that a pattern matches.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Filter {
    /// One topic.
    Topic(TopicName),
    /// All topics that match.
    Pattern(Pattern),
}

impl Filter {
    /// A pattern if there is a wildcard in it, a name otherwise.
    ///
    /// # Errors
    ///
    /// The first rule that it breaks.
    pub fn parse(text: &str) -> Result<Self, TopicError> {
        if text.contains(['*', '>']) {
            Pattern::parse(text).map(Self::Pattern)
        } else {
            TopicName::parse(text).map(Self::Topic)
        }
    }

    /// The name or the pattern as text.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Topic(name) => name.as_str(),
            Self::Pattern(pattern) => pattern.as_str(),
        }
    }

    /// Whether the topic of this name is meant.
    pub fn matches(&self, topic: &str) -> bool {
        match self {
            Self::Topic(name) => name.as_str() == topic,
            Self::Pattern(pattern) => pattern.matches(topic),
        }
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// What is wrong with a name or a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicError {
    /// There is no text at all.
    Empty,
    /// More than [`TOPIC_SIZE_MAX`] bytes.
    TooLong,
    /// More than [`TOPIC_TOKENS_MAX`] tokens.
    TooDeep,
    /// Nothing before, between or behind dots.
    EmptyToken,
    /// A character that no token may hold.
    Character(char),
    /// A wildcard where one topic has to be named.
    WildcardInName,
    /// A wildcard that is not a whole token, or `>` before the last token.
    MisplacedWildcard,
}

impl fmt::Display for TopicError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => formatter.write_str("the topic is empty; name one"),
            Self::TooLong => write!(
                formatter,
                "the topic is longer than {TOPIC_SIZE_MAX} bytes of UTF-8; shorten it"
            ),
            Self::TooDeep => write!(
                formatter,
                "the topic has more than {TOPIC_TOKENS_MAX} tokens; use fewer dots"
            ),
            Self::EmptyToken => formatter.write_str(
                "the topic has an empty token; remove the dot that is first, last or doubled",
            ),
            Self::Character(character) => write!(
                formatter,
                "the topic holds {character:?}; leave out white space, control characters, quotes \
                 and backslashes"
            ),
            Self::WildcardInName => formatter.write_str(
                "one topic has to be named here; replace the wildcard, which is for subscribing",
            ),
            Self::MisplacedWildcard => formatter.write_str(
                "a wildcard is misplaced; let * be a whole token, and > the whole last one",
            ),
        }
    }
}

impl std::error::Error for TopicError {}

/// The rules that names and patterns share.
fn check(text: &str, is_pattern: bool) -> Result<(), TopicError> {
    if text.is_empty() {
        return Err(TopicError::Empty);
    }
    if text.len() > TOPIC_SIZE_MAX {
        return Err(TopicError::TooLong);
    }
    let mut tokens = text.split('.').peekable();
    let mut count = 0;
    while let Some(token) = tokens.next() {
        count += 1;
        if count > TOPIC_TOKENS_MAX {
            return Err(TopicError::TooDeep);
        }
        let is_wildcard = token == "*" || (token == ">" && tokens.peek().is_none());
        if !(is_pattern && is_wildcard) {
            check_token(token, is_pattern)?;
        }
    }
    Ok(())
}

/// The rules of a token that is no wildcard.
fn check_token(token: &str, is_pattern: bool) -> Result<(), TopicError> {
    if token.is_empty() {
        return Err(TopicError::EmptyToken);
    }
    for character in token.chars() {
        match character {
            '*' | '>' if is_pattern => return Err(TopicError::MisplacedWildcard),
            '*' | '>' => return Err(TopicError::WildcardInName),
            '"' | '\\' => return Err(TopicError::Character(character)),
            _ if character.is_whitespace() || character.is_control() => {
                return Err(TopicError::Character(character));
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_that_break_a_rule_are_told_which() {
        let long = "a".repeat(TOPIC_SIZE_MAX + 1);
        let deep = ["a"; TOPIC_TOKENS_MAX + 1].join(".");
        let cases = [
            ("", TopicError::Empty),
            (long.as_str(), TopicError::TooLong),
            (deep.as_str(), TopicError::TooDeep),
            (".", TopicError::EmptyToken),
            ("a..b", TopicError::EmptyToken),
            (".a", TopicError::EmptyToken),
            ("a.", TopicError::EmptyToken),
            ("a b", TopicError::Character(' ')),
            ("a\u{a0}b", TopicError::Character('\u{a0}')),
            ("a\u{7f}", TopicError::Character('\u{7f}')),
            ("a\0", TopicError::Character('\0')),
            ("a\"b", TopicError::Character('"')),
            ("a\\b", TopicError::Character('\\')),
            ("a.*", TopicError::WildcardInName),
            ("a.>", TopicError::WildcardInName),
            ("a>b", TopicError::WildcardInName),
        ];
        for (name, error) in cases {
            assert_eq!(TopicName::parse(name), Err(error), "{name:?}");
            assert!(error.to_string().contains(';'), "no cure in {error}");
        }
        let longest = "é".repeat(TOPIC_SIZE_MAX / 2);
        let deepest = ["a"; TOPIC_TOKENS_MAX].join(".");
        for name in [
            "a",
            "trades.BTC-USD",
            "a/b.c,d",
            "Ünï.c0de",
            &longest,
            &deepest,
        ] {
            let parsed = TopicName::parse(name).map(|name| name.to_string());
            assert_eq!(parsed.as_deref(), Ok(name));
        }
    }

    #[test]
    fn patterns_hold_wildcards_as_whole_tokens() {
        for pattern in ["*", ">", "a.*", "*.a", "*.*", "a.*.>", "a"] {
            assert!(Pattern::parse(pattern).is_ok(), "{pattern}");
        }
        for pattern in ["a*", "*a", "**", "a.b>", ">.a", ">.>", "a.>.*"] {
            let error = Err(TopicError::MisplacedWildcard);
            assert_eq!(Pattern::parse(pattern), error, "{pattern}");
            assert_eq!(Filter::parse(pattern), Err(TopicError::MisplacedWildcard));
        }
        assert_eq!(Pattern::parse("a..>"), Err(TopicError::EmptyToken));
    }

    #[test]
    fn patterns_match_token_by_token() {
        let cases = [
            ("a.*", "a.b", true),
            ("a.*", "a", false),
            ("a.*", "a.b.c", false),
            ("a.>", "a.b", true),
            ("a.>", "a.b.c", true),
            ("a.>", "a", false),
            (">", "a", true),
            (">", "a.b.c", true),
            ("*", "a", true),
            ("*", "a.b", false),
            ("*.b.*", "a.b.c", true),
            ("*.b.*", "a.c.b", false),
            ("a.b", "a.b", true),
            ("a.b", "a.b.c", false),
            ("a.b.c", "a.b", false),
            ("ab.*", "a.b", false),
        ];
        for (pattern, topic, expected) in cases {
            let filter = Pattern::parse(pattern).map(|pattern| pattern.matches(topic));
            assert_eq!(filter, Ok(expected), "{pattern} on {topic}");
        }
        assert!(matches!(Filter::parse("a.b"), Ok(Filter::Topic(_))));
        assert!(matches!(Filter::parse("a.>"), Ok(Filter::Pattern(_))));
    }

    /// The meaning of section 1, by recursion.
    fn matches_by_definition(pattern: &[&str], topic: &[&str]) -> bool {
        match (pattern, topic) {
            ([">"], rest) => !rest.is_empty(),
            ([wanted, pattern @ ..], [token, topic @ ..]) => {
                (*wanted == "*" || wanted == token) && matches_by_definition(pattern, topic)
            }
            (pattern, topic) => pattern.is_empty() && topic.is_empty(),
        }
    }

    proptest! {
        #[test]
        fn matching_follows_the_definition(
            pattern in "(a|b|\\*)(\\.(a|b|\\*)){0,3}(\\.>)?",
            topic in "(a|b)(\\.(a|b)){0,4}",
        ) {
            let expected = matches_by_definition(
                &pattern.split('.').collect::<Vec<_>>(),
                &topic.split('.').collect::<Vec<_>>(),
            );
            let matched = Pattern::parse(&pattern).map(|pattern| pattern.matches(&topic));
            prop_assert_eq!(matched, Ok(expected));
        }

        #[test]
        fn a_name_needs_no_escaping_in_json(text in ".{0,20}") {
            if Filter::parse(&text).is_ok() {
                prop_assert_eq!(serde_json::to_string(&text).ok(), Some(format!("\"{text}\"")));
            }
        }
    }
}
