//! The text of a configuration file: which settings it has, in which lines.
//!
//! It owns the sections and the shape of the file. What a value means it leaves to the option of the
//! same name, and a `[[topic]]` to `topic_rules`.

use std::ops::Range;
use std::path::Path;

use fanwire_server::hub::rules::TopicRule;
use toml::de::{DeTable, DeValue};

use crate::serve::config::ConfigError;
use crate::serve::topic_rules;

/// The sections, and the options of the command line that each holds, by their names there.
pub(crate) const SECTIONS: [(&str, &[&str]); 8] = [
    (
        "server",
        &[
            "listen",
            "cores",
            "backend",
            "spin_us",
            "congestion",
            "listen_backlog",
        ],
    ),
    ("who", &["origin", "host", "publish_from"]),
    (
        "compression",
        &[
            "deflate",
            "deflate_takeover",
            "deflate_window_bits",
            "deflate_min_bytes",
            "deflate_level",
        ],
    ),
    (
        "hub",
        &[
            "subscriptions_max",
            "matches_max",
            "topics_max",
            "logs_bytes_max",
            "payload_max",
        ],
    ),
    (
        "limits",
        &[
            "connections_max",
            "handshakes_max",
            "handshakes_per_address_max",
            "handshake_timeout_ms",
            "head_size_max",
            "message_size_max",
            "fragments_max",
            "assembly_timeout_ms",
            "unfinished_max_bytes",
            "message_rate_max",
            "message_burst",
            "control_rate_max",
            "control_burst",
            "backlog_pause_bytes",
            "backlog_max_bytes",
            "kernel_unsent_max_bytes",
            "kernel_send_buffer_bytes",
            "unacknowledged_timeout_ms",
            "send_stall_timeout_ms",
            "ping_interval_ms",
            "pong_timeout_ms",
            "idle_timeout_ms",
            "close_timeout_ms",
            "drain_timeout_ms",
        ],
    ),
    ("admin", &["admin", "no_admin", "admin_host"]),
    (
        "simulator",
        &[
            "simulate",
            "simulate_symbols",
            "simulate_rate",
            "simulate_seed",
        ],
    ),
    ("replay", &["replay", "speed", "replay_strict"]),
];

/// One line `key = value`.
#[derive(Debug)]
pub(crate) struct Setting {
    /// The name of the option, with underscores.
    pub(crate) key: &'static str,
    /// Its values as they would stand on the command line; more than one for a list.
    pub(crate) values: Vec<String>,
    /// Counted from 1.
    pub(crate) line: usize,
}

/// What a file says.
#[derive(Debug)]
pub(crate) struct ConfigFile {
    pub(crate) settings: Vec<Setting>,
    pub(crate) rules: Vec<TopicRule>,
}

/// Where in which file, for errors.
pub(crate) struct Source<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Source<'_> {
    fn line(&self, span: &Range<usize>) -> usize {
        let before = &self.text.as_bytes()[..span.start.min(self.text.len())];
        1 + before.iter().filter(|byte| **byte == b'\n').count()
    }

    pub(crate) fn error(&self, span: &Range<usize>, text: String) -> ConfigError {
        ConfigError::in_file(self.path, self.line(span), text)
    }
}

impl ConfigFile {
    /// Reads the text of a file.
    ///
    /// # Errors
    /// The first thing that is no TOML, in no known section, or of no known name.
    pub(crate) fn parse(path: &Path, text: &str) -> Result<ConfigFile, ConfigError> {
        let source = Source { path, text };
        let document = DeTable::parse(text).map_err(|error| {
            let cure = "see docs/fanwire.toml for the form";
            let text = format!("{}; {cure}", error.message().trim().replace('\n', ", "));
            source.error(&error.span().unwrap_or(0..0), text)
        })?;
        let mut file = ConfigFile {
            settings: Vec::new(),
            rules: Vec::new(),
        };
        for (name, value) in document.get_ref() {
            let section = name.get_ref().as_ref();
            if section == "topic" {
                file.rules = topic_rules::parse(&source, value)?;
                continue;
            }
            let Some((_, known)) = SECTIONS.iter().find(|(known, _)| *known == section) else {
                return Err(source.error(&name.span(), unknown_section(section)));
            };
            let Some(table) = value.get_ref().as_table() else {
                let text = format!("{section} is a section; write [{section}] on a line");
                return Err(source.error(&name.span(), text));
            };
            file.read_section(&source, section, known, table)?;
        }
        Ok(file)
    }

    fn read_section(
        &mut self,
        source: &Source<'_>,
        section: &str,
        known: &[&'static str],
        table: &DeTable<'_>,
    ) -> Result<(), ConfigError> {
        for (name, value) in table {
            let key = name.get_ref().as_ref();
            let Some(key) = known.iter().find(|known| **known == key) else {
                return Err(source.error(&name.span(), unknown_key(section, key)));
            };
            let values = values(value.get_ref()).map_err(|found| {
                let text = format!("{key} is {found}; write a value, or a list of values");
                source.error(&name.span(), text)
            })?;
            // An empty list says what saying nothing says.
            if !values.is_empty() {
                self.settings.push(Setting {
                    key,
                    values,
                    line: source.line(&name.span()),
                });
            }
        }
        Ok(())
    }
}

fn unknown_section(name: &str) -> String {
    if let Some((section, _)) = section_of(name) {
        return format!("{name} stands outside its section; write it below [{section}]");
    }
    let names: Vec<_> = SECTIONS.iter().map(|(name, _)| *name).collect();
    format!(
        "there is no section [{name}]; the sections are {}, and [[topic]]",
        names.join(", ")
    )
}

fn unknown_key(section: &str, key: &str) -> String {
    if let Some((right, _)) = section_of(key) {
        return format!("{key} is not in [{section}] but in [{right}]; move it there");
    }
    let known = SECTIONS.iter().find(|(name, _)| *name == section);
    let known = known.map(|(_, keys)| keys.join(", ")).unwrap_or_default();
    format!("[{section}] has no key {key}; its keys are {known}")
}

fn section_of(key: &str) -> Option<&'static (&'static str, &'static [&'static str])> {
    SECTIONS.iter().find(|(_, keys)| keys.contains(&key))
}

/// The values as they would stand on the command line, or what stands there instead.
fn values(value: &DeValue<'_>) -> Result<Vec<String>, &'static str> {
    match value {
        DeValue::Array(list) => list.iter().map(|one| scalar(one.get_ref())).collect(),
        one => Ok(vec![scalar(one)?]),
    }
}

fn scalar(value: &DeValue<'_>) -> Result<String, &'static str> {
    match value {
        DeValue::String(text) => Ok(text.to_string()),
        DeValue::Integer(number) => {
            match u64::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => Ok(number.to_string()),
                // A negative number: the option's parser knows what it wants instead.
                Err(_) => Ok(number.as_str().to_owned()),
            }
        }
        DeValue::Float(number) => Ok(number.as_str().to_owned()),
        DeValue::Boolean(value) => Ok(value.to_string()),
        DeValue::Datetime(_) => Err("a date"),
        DeValue::Array(_) => Err("a list in a list"),
        DeValue::Table(_) => Err("a table"),
    }
}
