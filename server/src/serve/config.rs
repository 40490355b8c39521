//! One configuration from the defaults, the file and the command line.
//!
//! It owns the order of the three: the command line beats the file, the file beats the defaults. A
//! value of the file goes through the same parser as the option of the same name, so the two cannot
//! differ. It must not start anything.

use std::error::Error as _;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use clap::error::{ContextKind, ContextValue};
use clap::parser::ValueSource;
use clap::{ArgAction, ArgMatches, FromArgMatches};
use fanwire_server::hub::rules::{TopicKind, TopicRules};

use crate::cli::{self, Cli, Command};
use crate::serve::config_file::{ConfigFile, Setting};
use crate::serve::options::ServeOptions;
use crate::serve::topic_rules;

/// Everything `fanwire serve` was told.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) options: ServeOptions,
    pub(crate) rules: TopicRules,
}

/// What is wrong with a configuration, where, and what to do about it.
#[derive(Debug)]
pub(crate) struct ConfigError {
    place: Option<(PathBuf, usize)>,
    text: String,
}

impl ConfigError {
    /// In a line of a file; line 0 stands for the whole file.
    pub(crate) fn in_file(file: &Path, line: usize, text: String) -> ConfigError {
        ConfigError {
            place: Some((file.to_owned(), line)),
            text,
        }
    }

    fn in_general(text: String) -> ConfigError {
        ConfigError { place: None, text }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some((file, 0)) => write!(formatter, "{}: ", file.display())?,
            Some((file, line)) => write!(formatter, "{}:{line}: ", file.display())?,
            None => {}
        }
        formatter.write_str(&self.text)
    }
}

impl std::error::Error for ConfigError {}

/// Reads the file that the command line names, if it names one, and puts all together.
///
/// # Errors
/// The first thing that is wrong.
pub(crate) fn load(arguments: &[OsString]) -> Result<Loaded, ConfigError> {
    let matches = parse(arguments)?;
    let options = serve_options(&matches)?;
    let Some(path) = options.config.clone() else {
        return checked(options, topic_rules::default_rules(), &[], Path::new(""));
    };
    let text = std::fs::read_to_string(&path).map_err(|error| {
        let text = format!("cannot be read: {error}; --config names a TOML file");
        ConfigError::in_file(&path, 0, text)
    })?;
    let file = ConfigFile::parse(&path, &text)?;
    for setting in &file.settings {
        check_setting(&path, setting)?;
    }
    let given = matches.subcommand_matches("serve");
    let mut merged: Vec<OsString> = vec!["fanwire".into(), "serve".into()];
    for setting in &file.settings {
        let is_given = given
            .is_some_and(|given| given.value_source(setting.key) == Some(ValueSource::CommandLine));
        if !is_given {
            merged.extend(as_arguments(setting));
        }
    }
    let own = arguments.iter().skip_while(|argument| *argument != "serve");
    merged.extend(own.skip(1).cloned());
    let options = serve_options(&parse(&merged)?)?;
    let rules = if file.rules.is_empty() {
        topic_rules::default_rules()
    } else {
        file.rules
    };
    checked(options, rules, &file.settings, &path)
}

fn parse(arguments: &[OsString]) -> Result<ArgMatches, ConfigError> {
    // Every part was checked on its own before, so that only a combination can be wrong here.
    let matches = cli::command().try_get_matches_from(arguments);
    matches.map_err(|error| ConfigError::in_general(error.to_string()))
}

fn serve_options(matches: &ArgMatches) -> Result<ServeOptions, ConfigError> {
    match Cli::from_arg_matches(matches).map(|cli| cli.command) {
        Ok(Command::Serve(options)) => Ok(*options),
        Ok(_) => Err(ConfigError::in_general(
            "serve was not asked for".to_owned(),
        )),
        Err(error) => Err(ConfigError::in_general(error.to_string())),
    }
}

/// The same setting as arguments.
fn as_arguments(setting: &Setting) -> Vec<OsString> {
    let name = setting.key.replace('_', "-");
    let argument = |value: &str| OsString::from(format!("--{name}={value}"));
    let command = cli::command();
    let option = command.find_subcommand("serve").and_then(|serve| {
        serve
            .get_arguments()
            .find(|option| option.get_id() == setting.key)
    });
    if option.is_some_and(|option| matches!(option.get_action(), ArgAction::Append)) {
        return setting.values.iter().map(|value| argument(value)).collect();
    }
    vec![argument(&setting.values.join(","))]
}

/// Parses one setting by itself, so that an error can name its line.
fn check_setting(file: &Path, setting: &Setting) -> Result<(), ConfigError> {
    let mut arguments: Vec<OsString> = vec!["fanwire".into(), "serve".into()];
    arguments.extend(as_arguments(setting));
    let Err(error) = cli::command().try_get_matches_from(arguments) else {
        return Ok(());
    };
    let mut text = format!(
        "{} = {}: {}",
        setting.key,
        setting.values.join(", "),
        reason(&error)
    );
    if let Some(help) = help_of(setting.key) {
        text += &format!(". It means: {help}");
    }
    Err(ConfigError::in_file(file, setting.line, text))
}

/// What clap found, without its layout for a terminal.
fn reason(error: &clap::Error) -> String {
    if let Some(source) = error.source() {
        return source.to_string();
    }
    if let Some(ContextValue::Strings(values)) = error.get(ContextKind::ValidValue)
        && !values.is_empty()
    {
        return format!("write one of {}", values.join(", "));
    }
    let text = error.to_string();
    let first = text.lines().next().unwrap_or_default();
    first.trim_start_matches("error: ").to_owned()
}

/// The explanation that `--help` gives.
pub(crate) fn help_of(key: &str) -> Option<String> {
    let command = cli::command();
    let serve = command.find_subcommand("serve")?;
    let option = serve
        .get_arguments()
        .find(|option| option.get_id() == key)?;
    Some(option.get_help()?.to_string())
}

/// What only the whole can be checked for.
fn checked(
    options: ServeOptions,
    rules: Vec<fanwire_server::hub::rules::TopicRule>,
    settings: &[Setting],
    file: &Path,
) -> Result<Loaded, ConfigError> {
    let blame = |text: String, key: &str| match settings.iter().find(|one| one.key == key) {
        Some(setting) => ConfigError::in_file(file, setting.line, text),
        None => ConfigError::in_general(text),
    };
    let config = options.config();
    if let Err(error) = config.limits.validate() {
        let text = error.to_string();
        let key = text.split(' ').next().unwrap_or_default().to_owned();
        return Err(blame(text, &key));
    }
    if options.hub.payload_max > config.limits.message_size_max {
        let text = format!(
            "payload_max is {} and message_size_max is {}: no client could publish the largest \
             payload; raise message_size_max or lower payload_max",
            options.hub.payload_max, config.limits.message_size_max
        );
        return Err(blame(text, "payload_max"));
    }
    let rest = topic_rules::rule_for_the_rest();
    let rules = TopicRules::new(rules, rest)
        .map_err(|error| ConfigError::in_file(file, 0, error.to_string()))?;
    if options.simulator.simulate {
        check_simulator(&options, &rules).map_err(|text| blame(text, "simulate"))?;
    }
    Ok(Loaded { options, rules })
}

/// The simulator publishes on topics whose kinds it relies on.
fn check_simulator(options: &ServeOptions, rules: &TopicRules) -> Result<(), String> {
    for (topic, kind) in [
        ("book.SYMBOL", TopicKind::State),
        ("quote.SYMBOL", TopicKind::State),
        ("trades.SYMBOL", TopicKind::Events),
    ] {
        let rule = rules.rule_for(topic);
        if rule.kind != kind {
            return Err(format!(
                "the simulator needs topics such as {topic} to be of kind \"{}\", and the rule \
                 for {} says \"{}\"; add a [[topic]] rule before it",
                kind.as_str(),
                rule.pattern,
                rule.kind.as_str(),
            ));
        }
        if kind == TopicKind::State && rule.limits.keys_max < crate::serve::market::KEYS_MAX {
            return Err(format!(
                "the simulator's order books have up to {} keys, and the rule for {} allows {}; \
                 raise its keys_max",
                crate::serve::market::KEYS_MAX,
                rule.pattern,
                rule.limits.keys_max,
            ));
        }
    }
    let topics = options.simulator.simulate_symbols.saturating_mul(3);
    if topics > options.hub.topics_max {
        return Err(format!(
            "the simulator needs {topics} topics and topics_max is {}; raise it or lower \
             simulate_symbols",
            options.hub.topics_max
        ));
    }
    Ok(())
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
