//! One load of a scenario becomes a configuration, by way of a command line.
//!
//! Owns how a key of the file becomes an option, and where in the file a complaint of the command
//! line belongs.

use std::ops::Range;

use clap::Parser;
use clap::error::{ContextKind, ContextValue};

use crate::cli::{Cli, Job};
use crate::config::Config;
use crate::connect::target::Target;
use crate::quantity::parse_duration_ns;
use crate::scenario::catalogue::{COMMANDS, Catalogue};
use crate::scenario::file::{LoadText, OWN_KEYS, OptionText, Placed, ScenarioText, Setting};
use crate::scenario::plan::PlannedLoad;
use crate::scenario::source::{Source, suggestion};

/// Makes one load ready.
pub struct Maker<'a> {
    /// The file.
    pub scenario: &'a ScenarioText,
    /// The load.
    pub load: &'a LoadText,
    /// Options that there are.
    pub catalogue: &'a Catalogue,
    /// Thresholds that the scenario has for it.
    pub thresholds: &'a [String],
    /// Its seed, unless it says.
    pub seed: Option<u64>,
}

impl Maker<'_> {
    fn source(&self) -> &Source {
        &self.scenario.source
    }

    fn fill(&self, text: &str, span: &Range<usize>) -> Result<String, String> {
        let filled = self.scenario.parameters.fill(text);
        filled.map_err(|sentence| self.source().error(span, sentence))
    }

    /// Makes it.
    ///
    /// # Errors
    /// A sentence with its place in the file.
    pub fn make(&self) -> Result<PlannedLoad, String> {
        let command = self.command()?;
        let mut words = vec!["fanwire-loadgen".to_owned(), command.clone(), self.url()?];
        let own = &self.load.options;
        for option in own {
            self.check(&command, option)?;
            self.write(option, &command, &mut words)?;
        }
        for option in &self.scenario.defaults {
            let name = &option.name.text;
            if self.catalogue.option(&command, name).is_some() && !self.has(&command, name) {
                self.write(option, &command, &mut words)?;
            }
        }
        words.extend(
            self.thresholds
                .iter()
                .map(|text| format!("--threshold={text}")),
        );
        if let Some(seed) = self.seed.filter(|_| !self.has(&command, "seed")) {
            words.push(format!("--seed={seed}"));
        }
        Ok(PlannedLoad {
            name: self.load.name.clone(),
            start_ns: self.start_ns()?,
            config: self.configure(&words)?,
            command_line: words
                .iter()
                .map(|word| quoted(word))
                .collect::<Vec<_>>()
                .join(" "),
        })
    }

    fn command(&self) -> Result<String, String> {
        let Placed { text, span } = &self.load.command;
        let command = self.fill(text, span)?;
        if self.catalogue.commands.contains_key(command.as_str()) {
            return Ok(command);
        }
        let hint = suggestion(&command, COMMANDS);
        let sentence = format!(
            "'{command}' is not a command that a load may be{hint} (there are: {})",
            COMMANDS.join(", ")
        );
        Err(self.source().error(span, sentence))
    }

    fn url(&self) -> Result<String, String> {
        match &self.load.url {
            None => self.fill("${url}", &self.load.span),
            Some(url) => {
                let filled = self.fill(&url.text, &url.span)?;
                let parsed = Target::parse(&filled);
                parsed.map_err(|sentence| self.source().error(&url.span, sentence))?;
                Ok(filled)
            }
        }
    }

    fn start_ns(&self) -> Result<u64, String> {
        let Some(Placed { text, span }) = &self.load.start else {
            return Ok(0);
        };
        parse_duration_ns(&self.fill(text, span)?)
            .map_err(|sentence| self.source().error(span, sentence))
    }

    /// Whether the load says it itself, under whatever name.
    fn has(&self, command: &str, name: &str) -> bool {
        let option = self.catalogue.option(command, name);
        self.load
            .options
            .iter()
            .any(|own| option.is_some_and(|option| option.is_called(&own.name.text)))
    }

    fn check(&self, command: &str, option: &OptionText) -> Result<(), String> {
        let name = &option.name.text;
        let is_known = self.catalogue.option(command, name).is_some();
        if is_known && !self.catalogue.is_of_run(name) {
            return Ok(());
        }
        let known = self.catalogue.commands.get(command).into_iter().flatten();
        let names = known.flat_map(|known| known.names.iter().map(String::as_str));
        let who = format!("neither a load nor the command {command}");
        let sentence = self.catalogue.refusal(name, &who, names.chain(OWN_KEYS));
        Err(self.source().error(&option.name.span, sentence))
    }

    /// The option as the command line has it. A text that is empty after filling in leaves the
    /// option out, so that a parameter can switch it off.
    fn write(
        &self,
        option: &OptionText,
        command: &str,
        words: &mut Vec<String>,
    ) -> Result<(), String> {
        let Placed { text: name, span } = &option.name;
        let known = self.catalogue.option(command, name);
        let takes_value = known.is_some_and(|known| known.takes_value);
        let may_stand_alone = !takes_value || known.is_some_and(|known| known.may_stand_alone);
        match (&option.setting, takes_value) {
            (Setting::Flag(true), _) if may_stand_alone => words.push(format!("--{name}")),
            (Setting::Flag(false), _) if may_stand_alone => {}
            (Setting::Values(values), true) => {
                for value in values {
                    let value = self.fill(value, span)?;
                    if !value.is_empty() {
                        words.push(format!("--{name}={value}"));
                    }
                }
            }
            (Setting::Values(values), false) => {
                for value in values {
                    match self.fill(value, span)?.as_str() {
                        "true" => words.push(format!("--{name}")),
                        "false" | "" => {}
                        other => {
                            let sentence = format!(
                                "'{name}' is switched on or off: true or false, not '{other}'"
                            );
                            return Err(self.source().error(span, sentence));
                        }
                    }
                }
            }
            (Setting::Flag(_), _) => {
                let sentence = format!("'{name}' needs a value, not true or false");
                return Err(self.source().error(span, sentence));
            }
        }
        Ok(())
    }

    fn configure(&self, words: &[String]) -> Result<Config, String> {
        let name = &self.load.name;
        let parsed = Cli::try_parse_from(words).map_err(|error| {
            let sentence = first_paragraph(&error.to_string());
            let span = self.place_of(&blamed(&error).unwrap_or_default());
            self.source()
                .error(&span, format!("load '{name}': {sentence}"))
        })?;
        let made = match parsed.into_job() {
            Ok(Job::Run(config)) => Ok(*config),
            Ok(Job::Churn(arguments)) => arguments.into_config(),
            Ok(_) => Err("this command is not a load".to_owned()),
            Err(sentence) => Err(sentence),
        };
        let made = made.and_then(|config| match config.agents {
            None => Ok(config),
            Some(_) => Err("--agents divides a single load, not those of a scenario".to_owned()),
        });
        made.map_err(|sentence| self.unsound(&sentence))
    }

    /// A sentence of the command line, at the option that it names first.
    fn unsound(&self, sentence: &str) -> String {
        let span = self.place_of(sentence);
        let name = &self.load.name;
        self.source()
            .error(&span, format!("load '{name}': {sentence}"))
    }

    /// Where the option stands that a sentence names as `--name`; the load itself otherwise.
    fn place_of(&self, sentence: &str) -> Range<usize> {
        let options = self.load.options.iter().chain(&self.scenario.defaults);
        let named = options.filter_map(|option| {
            let at = sentence.match_indices("--").find(|(at, _)| {
                let word = sentence.get(at + 2..).unwrap_or_default();
                let end = word
                    .find(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '-'))
                    .unwrap_or(word.len());
                word.get(..end) == Some(option.name.text.as_str())
            });
            at.map(|(at, _)| (at, option.name.span.clone()))
        });
        let first = named.min_by_key(|(at, _)| *at);
        first.map_or_else(|| self.load.span.clone(), |(_, span)| span)
    }
}

/// The option that clap complains about, as `--name <VALUE>`.
fn blamed(error: &clap::Error) -> Option<String> {
    match error.get(ContextKind::InvalidArg)? {
        ContextValue::String(text) => Some(text.clone()),
        ContextValue::Strings(texts) => texts.first().cloned(),
        _ => None,
    }
}

/// What clap says before usage and hints.
fn first_paragraph(text: &str) -> String {
    let text = text.trim_start_matches("error: ");
    let paragraph = text.split("\n\n").next().unwrap_or(text);
    let lines: Vec<&str> = paragraph.lines().map(str::trim).collect();
    lines.join(" ")
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_=./:,%+@".contains(&byte);
    if !word.is_empty() && word.bytes().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}
