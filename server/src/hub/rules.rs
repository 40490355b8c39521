//! What the configuration says about topics, by pattern.
//!
//! Owns the kinds of topics, what happens to a subscriber that falls behind, and the limits of a
//! log. Knows nothing of where the configuration comes from.

use std::fmt;

use super::topic::{Filter, Pattern};

/// What the messages of a topic are to each other (docs/protocol.md section 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TopicKind {
    /// Every message counts.
    Events,
    /// A message replaces what its key had before.
    State,
}

impl TopicKind {
    /// The word of the wire protocol.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::State => "state",
        }
    }
}

/// What a subscriber gets that has fallen behind further than it can be served as usual.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LagPolicy {
    /// The newest message of every key. For topics of kind [`TopicKind::State`] alone.
    Conflate,
    /// The announcement of a gap, then what is newer.
    Gap,
    /// Close code 4008.
    Close,
}

/// How much one topic may hold on one core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogLimits {
    /// Most messages that are not the state of a key; the oldest make room. 4,096 by default.
    pub messages_max: usize,
    /// Most memory for these messages, in bytes; the oldest make room. As much again is for the
    /// state of the keys, where a message too many is refused. 4 MiB by default.
    pub bytes_max: usize,
    /// Most keys that have state; the message of one more is refused. 10,000 by default.
    pub keys_max: usize,
}

impl Default for LogLimits {
    fn default() -> Self {
        Self {
            messages_max: 4096,
            bytes_max: 4 << 20,
            keys_max: 10_000,
        }
    }
}

/// What holds for the topics that one name or pattern means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicRule {
    /// For which topics.
    pub pattern: Filter,
    /// The kind of these topics.
    pub kind: TopicKind,
    /// What a subscriber gets that falls behind.
    pub lag: LagPolicy,
    /// How much each of them may hold.
    pub limits: LogLimits,
    /// Most messages a second that one subscriber gets of each of them; none for no cap.
    pub max_rate: Option<u32>,
}

impl TopicRule {
    /// The usual rule of a kind: state is conflated, events have gaps; limits as by default.
    pub fn of_kind(pattern: Filter, kind: TopicKind) -> Self {
        Self {
            pattern,
            kind,
            lag: match kind {
                TopicKind::Events => LagPolicy::Gap,
                TopicKind::State => LagPolicy::Conflate,
            },
            limits: LogLimits::default(),
            max_rate: None,
        }
    }

    fn check(&self) -> Result<(), InvalidRule> {
        let cause = if self.lag == LagPolicy::Conflate && self.kind == TopicKind::Events {
            InvalidRuleCause::ConflatedEvents
        } else if self.limits.messages_max == 0 {
            InvalidRuleCause::Zero("messages_max")
        } else if self.limits.bytes_max == 0 {
            InvalidRuleCause::Zero("bytes_max")
        } else if self.limits.keys_max == 0 {
            InvalidRuleCause::Zero("keys_max")
        } else if self.max_rate == Some(0) {
            InvalidRuleCause::Zero("max_rate")
        } else {
            return Ok(());
        };
        Err(InvalidRule {
            pattern: self.pattern.to_string(),
            cause,
        })
    }
}

impl Default for TopicRule {
    /// All topics: events, with gaps.
    fn default() -> Self {
        Self::of_kind(Filter::Pattern(Pattern::everything()), TopicKind::Events)
    }
}

/// All rules: the first that means a topic holds for it.
#[derive(Clone, Debug, Default)]
pub struct TopicRules {
    rules: Vec<TopicRule>,
    rest: TopicRule,
}

impl TopicRules {
    /// `rules` in their order, and the one for topics that none of them means, whose pattern is of
    /// no importance.
    ///
    /// # Errors
    ///
    /// The first rule that contradicts itself.
    pub fn new(rules: Vec<TopicRule>, rest: TopicRule) -> Result<Self, InvalidRule> {
        rules.iter().chain([&rest]).try_for_each(TopicRule::check)?;
        Ok(Self { rules, rest })
    }

    /// The rule of the topic of this name.
    pub fn rule_for(&self, topic: &str) -> &TopicRule {
        let mut rules = self.rules.iter();
        rules
            .find(|rule| rule.pattern.matches(topic))
            .unwrap_or(&self.rest)
    }
}

/// A rule that contradicts itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidRule {
    /// Which one: its name or pattern.
    pub pattern: String,
    /// What is wrong with it.
    pub cause: InvalidRuleCause,
}

/// What is wrong with a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidRuleCause {
    /// [`LagPolicy::Conflate`] for [`TopicKind::Events`].
    ConflatedEvents,
    /// The limit of this name is zero.
    Zero(&'static str),
}

impl fmt::Display for InvalidRule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pattern = &self.pattern;
        match self.cause {
            InvalidRuleCause::ConflatedEvents => write!(
                formatter,
                "the rule for {pattern} conflates events, of which every one counts; make the \
                 topics state, or choose gap or close"
            ),
            InvalidRuleCause::Zero(limit) => write!(
                formatter,
                "the rule for {pattern} has a {limit} of 0; set it to 1 or more, or leave it out"
            ),
        }
    }
}

impl std::error::Error for InvalidRule {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::topic::TopicError;

    fn rule(pattern: &str, kind: TopicKind) -> Result<TopicRule, TopicError> {
        Ok(TopicRule::of_kind(Filter::parse(pattern)?, kind))
    }

    #[test]
    fn the_first_rule_that_matches_wins() -> Result<(), Box<dyn std::error::Error>> {
        let rules = vec![
            rule("book.special", TopicKind::Events)?,
            rule("book.>", TopicKind::State)?,
            rule("book.other", TopicKind::Events)?,
        ];
        let rules = TopicRules::new(rules, TopicRule::default())?;
        for (topic, kind, lag) in [
            ("book.special", TopicKind::Events, LagPolicy::Gap),
            ("book.other", TopicKind::State, LagPolicy::Conflate),
            ("trades", TopicKind::Events, LagPolicy::Gap),
        ] {
            let rule = rules.rule_for(topic);
            assert_eq!((rule.kind, rule.lag), (kind, lag), "{topic}");
        }
        let none = TopicRules::default();
        assert_eq!(none.rule_for("a").limits, LogLimits::default());
        Ok(())
    }

    #[test]
    fn rules_that_contradict_themselves_are_refused() -> Result<(), TopicError> {
        let events = rule("trades.>", TopicKind::Events)?;
        let zero = |limits| TopicRule {
            limits,
            ..events.clone()
        };
        let cases = [
            (
                TopicRule {
                    lag: LagPolicy::Conflate,
                    ..events.clone()
                },
                InvalidRuleCause::ConflatedEvents,
            ),
            (
                TopicRule {
                    max_rate: Some(0),
                    ..events.clone()
                },
                InvalidRuleCause::Zero("max_rate"),
            ),
            (
                zero(LogLimits {
                    messages_max: 0,
                    ..LogLimits::default()
                }),
                InvalidRuleCause::Zero("messages_max"),
            ),
            (
                zero(LogLimits {
                    bytes_max: 0,
                    ..LogLimits::default()
                }),
                InvalidRuleCause::Zero("bytes_max"),
            ),
            (
                zero(LogLimits {
                    keys_max: 0,
                    ..LogLimits::default()
                }),
                InvalidRuleCause::Zero("keys_max"),
            ),
        ];
        for (rule, cause) in cases {
            let expected = InvalidRule {
                pattern: "trades.>".to_owned(),
                cause,
            };
            assert!(expected.to_string().contains("trades.>"), "{expected}");
            for rules in [
                TopicRules::new(vec![rule.clone()], TopicRule::default()),
                TopicRules::new(Vec::new(), rule),
            ] {
                assert_eq!(rules.err().as_ref(), Some(&expected));
            }
        }
        Ok(())
    }
}
