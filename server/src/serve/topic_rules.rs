//! `[[topic]]` in the configuration: which topics are of which kind, and how much they may hold.
//!
//! It owns the names of the keys and the rules that are there when the file has none. What a rule
//! does is the hub's business.

use fanwire_server::hub::rules::{LagPolicy, LogLimits, TopicKind, TopicRule};
use fanwire_server::hub::topic::{Filter, Pattern};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::cli::parse_size;
use crate::serve::config::ConfigError;
use crate::serve::config_file::Source;

const KEYS: &str = "pattern, kind, behind, log_messages_max, log_bytes_max, keys_max, max_rate";

/// The patterns of state topics when the configuration has no rules.
pub(crate) const STATE_PATTERNS: [&str; 3] = ["book.>", "quote.>", "ticker.>"];

/// The rules when the configuration has none.
pub(crate) fn default_rules() -> Vec<TopicRule> {
    let patterns = STATE_PATTERNS
        .iter()
        .filter_map(|text| Filter::parse(text).ok());
    patterns
        .map(|pattern| TopicRule::of_kind(pattern, TopicKind::State))
        .collect()
}

/// The rule for topics that no other rule means.
pub(crate) fn rule_for_the_rest() -> TopicRule {
    let all = Pattern::parse(">").expect("a pattern, as the tests show");
    TopicRule::of_kind(Filter::Pattern(all), TopicKind::Events)
}

/// Reads all `[[topic]]` of a file, in their order.
///
/// # Errors
/// The first thing that is wrong.
pub(crate) fn parse(
    source: &Source<'_>,
    value: &Spanned<DeValue<'_>>,
) -> Result<Vec<TopicRule>, ConfigError> {
    let wrong_form = || {
        let text = "topic rules begin with [[topic]] on a line of its own, in double brackets";
        source.error(&value.span(), text.to_owned())
    };
    let list = value.get_ref().as_array().ok_or_else(wrong_form)?;
    let mut rules = Vec::with_capacity(list.len());
    for one in list {
        let table = one.get_ref().as_table().ok_or_else(wrong_form)?;
        rules.push(parse_rule(source, &one.span(), table)?);
    }
    Ok(rules)
}

fn parse_rule(
    source: &Source<'_>,
    span: &std::ops::Range<usize>,
    table: &DeTable<'_>,
) -> Result<TopicRule, ConfigError> {
    let mut pattern = None;
    let mut kind = TopicKind::Events;
    let mut lag = None;
    let mut limits = LogLimits::default();
    let mut max_rate = None;
    for (name, value) in table {
        let key = name.get_ref().as_ref();
        let value = value.get_ref();
        let wrong = |cure: String| source.error(&name.span(), format!("{key}: {cure}"));
        let number = || whole_number(value).map_err(&wrong);
        match key {
            "pattern" => {
                let text = value.as_str().unwrap_or_default();
                let parsed = Filter::parse(text).map_err(|error| wrong(error.to_string()))?;
                pattern = Some(parsed);
            }
            "kind" => {
                let cure = "write \"events\" or \"state\"";
                kind = parse_kind(value).ok_or_else(|| wrong(cure.to_owned()))?;
            }
            "behind" => {
                let cure = "write \"conflate\", \"gap\" or \"close\"";
                lag = Some(parse_lag(value).ok_or_else(|| wrong(cure.to_owned()))?);
            }
            "log_messages_max" => limits.messages_max = number()?,
            "log_bytes_max" => limits.bytes_max = size(value).map_err(wrong)?,
            "keys_max" => limits.keys_max = number()?,
            "max_rate" => {
                let rate = u32::try_from(number()?);
                max_rate = Some(rate.map_err(|_| wrong("at most 4294967295".to_owned()))?);
            }
            _ => {
                let text = format!("[[topic]] has no key {key}; its keys are {KEYS}");
                return Err(source.error(&name.span(), text));
            }
        }
    }
    let Some(pattern) = pattern else {
        let text = "this [[topic]] has no pattern; say which topics it is for, such as \
                    pattern = \"book.>\"";
        return Err(source.error(span, text.to_owned()));
    };
    let usual = TopicRule::of_kind(pattern, kind);
    if kind == TopicKind::Events && lag == Some(LagPolicy::Conflate) {
        let text = format!(
            "{}: events cannot be conflated, every one counts; write behind = \"gap\" or \
             \"close\", or kind = \"state\"",
            usual.pattern
        );
        return Err(source.error(span, text));
    }
    Ok(TopicRule {
        lag: lag.unwrap_or(usual.lag),
        limits,
        max_rate,
        ..usual
    })
}

fn parse_kind(value: &DeValue<'_>) -> Option<TopicKind> {
    match value.as_str()? {
        "events" => Some(TopicKind::Events),
        "state" => Some(TopicKind::State),
        _ => None,
    }
}

fn parse_lag(value: &DeValue<'_>) -> Option<LagPolicy> {
    match value.as_str()? {
        "conflate" => Some(LagPolicy::Conflate),
        "gap" => Some(LagPolicy::Gap),
        "close" => Some(LagPolicy::Close),
        _ => None,
    }
}

/// A number from 1 on.
fn whole_number(value: &DeValue<'_>) -> Result<usize, String> {
    let number = value
        .as_integer()
        .and_then(|number| usize::from_str_radix(number.as_str(), number.radix()).ok());
    match number {
        Some(number) if number > 0 => Ok(number),
        _ => Err("write a whole number, 1 or more".to_owned()),
    }
}

/// Bytes, as a number or with a unit.
fn size(value: &DeValue<'_>) -> Result<usize, String> {
    let bytes = match value.as_str() {
        Some(text) => parse_size(text)?,
        None => whole_number(value)?,
    };
    match bytes {
        0 => Err("write 1 byte or more".to_owned()),
        bytes => Ok(bytes),
    }
}
