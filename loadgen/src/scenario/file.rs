//! What a scenario file says, with the place of everything in it.
//!
//! Owns the sections and their keys. What an option of a load means is the business of the command
//! line: here it is a name and texts.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::quantity::parse_duration_ns;
use crate::scenario::parameters::{Parameters, is_name};
use crate::scenario::source::{Source, suggestion};

/// Sections of a file.
const SECTIONS: [&str; 4] = ["scenario", "parameters", "defaults", "load"];
/// Keys of `[scenario]`.
const SCENARIO_KEYS: [&str; 5] = ["name", "description", "needs", "url", "threshold"];
/// Keys of a `[[load]]` that are not options of its command.
pub const OWN_KEYS: [&str; 6] = ["name", "command", "step", "start", "when", "url"];
/// The parameter that every scenario has.
pub const URL: &str = "url";
/// First words of thresholds, which therefore cannot be names of loads.
const METRICS: [&str; 13] = [
    "echo", "response", "service", "fanout", "connect", "storm", "churn", "gen", "errors", "alive",
    "lost", "server", "rate",
];

/// A text and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The text.
    pub text: String,
    /// Its place in the file.
    pub span: Range<usize>,
}

/// An option of a load as the file has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptionText {
    /// Long name, without the dashes.
    pub name: Placed,
    /// What it is set to.
    pub setting: Setting,
}

/// What an option is set to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Setting {
    /// `true` or `false`.
    Flag(bool),
    /// One text or number, or a list of them.
    Values(Vec<String>),
}

/// A `[[load]]`.
#[derive(Clone, Debug)]
pub struct LoadText {
    /// Unique name.
    pub name: String,
    /// What it is: a command of the program.
    pub command: Placed,
    /// Step it belongs to; empty when the file has no steps.
    pub step: String,
    /// Time after the beginning of the step.
    pub start: Option<Placed>,
    /// Condition under which it takes part.
    pub when: Option<Placed>,
    /// Own URL.
    pub url: Option<Placed>,
    /// Everything else.
    pub options: Vec<OptionText>,
    /// Where it stands.
    pub span: Range<usize>,
}

/// A whole file.
#[derive(Clone, Debug)]
pub struct ScenarioText {
    /// The file.
    pub source: Source,
    /// Short name.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// What the server must be able to do.
    pub needs: Option<String>,
    /// Where to, unless the command line says.
    pub url: Option<String>,
    /// Thresholds of the whole, or of a load whose name they begin with.
    pub thresholds: Vec<Placed>,
    /// Parameters with their defaults.
    pub parameters: Parameters,
    /// Options of every load that knows them.
    pub defaults: Vec<OptionText>,
    /// The loads.
    pub loads: Vec<LoadText>,
}

type Table<'a> = DeTable<'a>;
type Value<'a> = Spanned<DeValue<'a>>;

impl ScenarioText {
    /// Reads a file.
    ///
    /// # Errors
    /// `file:line:column: sentence` about the first thing that is wrong.
    pub fn parse(source: Source) -> Result<ScenarioText, String> {
        let text = source.text.clone();
        let table = DeTable::parse(&text).map_err(|error| {
            let span = error.span().unwrap_or(0..0);
            source.error(&span, error.message())
        })?;
        let reader = Reader { source: &source };
        let mut scenario = ScenarioText {
            name: source.name.clone(),
            description: String::new(),
            needs: None,
            url: None,
            thresholds: Vec::new(),
            parameters: Parameters::default(),
            defaults: Vec::new(),
            loads: Vec::new(),
            source: source.clone(),
        };
        for (name, value) in table.get_ref() {
            match name.get_ref().as_ref() {
                "scenario" => reader.scenario(value, &mut scenario)?,
                "parameters" => reader.parameters(value, &mut scenario.parameters)?,
                "defaults" => scenario.defaults = reader.options(reader.table(value)?, &[])?,
                "load" => scenario.loads = reader.loads(value)?,
                other => {
                    let hint = suggestion(other, SECTIONS);
                    let sentence = format!(
                        "there is no section '{other}'{hint} (there are: {})",
                        SECTIONS.join(", ")
                    );
                    return Err(source.error(&name.span(), sentence));
                }
            }
        }
        scenario.check()?;
        Ok(scenario)
    }

    fn check(&self) -> Result<(), String> {
        if self.loads.is_empty() {
            let sentence = "a scenario needs at least one [[load]] with name and command";
            return Err(self.source.error(&(0..0), sentence));
        }
        let has_steps = self.loads.iter().any(|load| !load.step.is_empty());
        for (index, load) in self.loads.iter().enumerate() {
            let is_known = |other: &LoadText| other.name == load.name;
            if self.loads.iter().take(index).any(is_known) {
                let sentence = format!("there are two loads named '{}'", load.name);
                return Err(self.source.error(&load.span, sentence));
            }
            if has_steps && load.step.is_empty() {
                let sentence = format!(
                    "load '{}' has no step although others have one; give it step = \"…\" too",
                    load.name
                );
                return Err(self.source.error(&load.span, sentence));
            }
        }
        Ok(())
    }
}

struct Reader<'a> {
    source: &'a Source,
}

impl Reader<'_> {
    fn table<'v, 'i>(&self, value: &'v Value<'i>) -> Result<&'v Table<'i>, String> {
        match value.get_ref() {
            DeValue::Table(table) => Ok(table),
            _ => Err(self
                .source
                .error(&value.span(), "a section must stand here: [name]")),
        }
    }

    fn string(&self, value: &Value<'_>) -> Result<String, String> {
        match value.get_ref() {
            DeValue::String(text) => Ok(text.to_string()),
            _ => Err(self
                .source
                .error(&value.span(), "a text must stand here, in quotation marks")),
        }
    }

    /// A text, or a number as it was written.
    fn scalar(&self, value: &Value<'_>) -> Result<String, String> {
        match value.get_ref() {
            DeValue::String(text) => Ok(text.to_string()),
            DeValue::Integer(_) | DeValue::Float(_) => {
                let written = self.source.text.get(value.span()).unwrap_or_default();
                Ok(written.replace('_', ""))
            }
            _ => Err(self
                .source
                .error(&value.span(), "a text or a number must stand here")),
        }
    }

    fn placed(&self, value: &Value<'_>) -> Result<Placed, String> {
        Ok(Placed {
            text: self.scalar(value)?,
            span: value.span(),
        })
    }

    fn list(&self, value: &Value<'_>) -> Result<Vec<Placed>, String> {
        match value.get_ref() {
            DeValue::Array(array) => array.iter().map(|value| self.placed(value)).collect(),
            _ => Ok(vec![self.placed(value)?]),
        }
    }

    fn scenario(&self, value: &Value<'_>, scenario: &mut ScenarioText) -> Result<(), String> {
        for (key, value) in self.table(value)? {
            match key.get_ref().as_ref() {
                "name" => scenario.name = self.string(value)?,
                "description" => scenario.description = self.string(value)?,
                "needs" => scenario.needs = Some(self.string(value)?),
                "url" => scenario.url = Some(self.string(value)?),
                "threshold" => scenario.thresholds = self.list(value)?,
                other => {
                    let hint = suggestion(other, SCENARIO_KEYS);
                    let sentence = format!("[scenario] has no key '{other}'{hint}");
                    return Err(self.source.error(&key.span(), sentence));
                }
            }
        }
        Ok(())
    }

    fn parameters(&self, value: &Value<'_>, parameters: &mut Parameters) -> Result<(), String> {
        let mut entries: Vec<_> = self.table(value)?.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        for (key, value) in entries {
            let name = key.get_ref().as_ref();
            if !is_name(name) || name == URL {
                let sentence = format!(
                    "'{name}' cannot be a parameter: letters, digits, - and _ make a name, and \
                     ${{url}} is what the command line gives"
                );
                return Err(self.source.error(&key.span(), sentence));
            }
            parameters.set(name, self.scalar(value)?);
        }
        Ok(())
    }

    fn loads(&self, value: &Value<'_>) -> Result<Vec<LoadText>, String> {
        let DeValue::Array(array) = value.get_ref() else {
            let sentence = "loads are written with two brackets: [[load]]";
            return Err(self.source.error(&value.span(), sentence));
        };
        array.iter().map(|value| self.load(value)).collect()
    }

    fn load(&self, value: &Value<'_>) -> Result<LoadText, String> {
        let table = self.table(value)?;
        let find = |wanted: &str| {
            let entry = table.iter().find(|(key, _)| key.get_ref() == wanted);
            entry.map(|(_, value)| value)
        };
        let placed = |name: &str| find(name).map(|value| self.placed(value)).transpose();
        let missing = |key: &str, example: &str| {
            let sentence = format!("a [[load]] needs {key}: {key} = \"{example}\"");
            self.source.error(&value.span(), sentence)
        };
        let name = placed("name")?.ok_or_else(|| missing("name", "prices"))?;
        if !is_name(&name.text) || METRICS.contains(&name.text.as_str()) {
            let sentence = format!(
                "a load cannot be called '{}': letters, digits, - and _ make a name, and words \
                 that thresholds begin with ({}) are taken",
                name.text,
                METRICS.join(", ")
            );
            return Err(self.source.error(&name.span, sentence));
        }
        let start = placed("start")?;
        if let Some(start) = start.as_ref().filter(|start| !start.text.contains("${")) {
            parse_duration_ns(&start.text)
                .map_err(|sentence| self.source.error(&start.span, sentence))?;
        }
        Ok(LoadText {
            command: placed("command")?.ok_or_else(|| missing("command", "echo"))?,
            step: placed("step")?.map_or_else(String::new, |step| step.text),
            when: placed("when")?,
            url: placed("url")?,
            options: self.options(table, &OWN_KEYS)?,
            span: value.span(),
            name: name.text,
            start,
        })
    }

    fn options(&self, table: &Table<'_>, own: &[&str]) -> Result<Vec<OptionText>, String> {
        let mut options = Vec::new();
        for (key, value) in table {
            if own.contains(&key.get_ref().as_ref()) {
                continue;
            }
            let setting = match value.get_ref() {
                DeValue::Boolean(is_set) => Setting::Flag(*is_set),
                _ => {
                    let values = self.list(value)?;
                    Setting::Values(values.into_iter().map(|value| value.text).collect())
                }
            };
            options.push(OptionText {
                name: Placed {
                    text: key.get_ref().to_string(),
                    span: key.span(),
                },
                setting,
            });
        }
        options.sort_by_key(|option| option.name.span.start);
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<ScenarioText, String> {
        ScenarioText::parse(Source {
            name: "s.toml".into(),
            text: text.to_owned(),
        })
    }

    const WHOLE: &str = r#"
[scenario]
name = "lunch"
url = "ws://h"
threshold = ["errors.ratio<1%"]

[parameters]
connections = 1_000
dialect = "raw"

[defaults]
duration = "5s"

[[load]]
name = "talk"
command = "echo"
start = "5s"
connections = "${connections}"
rate = 2.5
header = ["A: b", "C: d"]
deflate = true
spin = false
"#;

    #[test]
    fn a_whole_file() {
        let scenario = parse(WHOLE).expect("valid");
        assert_eq!((scenario.name.as_str(), scenario.loads.len()), ("lunch", 1));
        assert_eq!(scenario.parameters.get("connections"), Some("1000"));
        let load = &scenario.loads[0];
        let names: Vec<&str> = load
            .options
            .iter()
            .map(|option| option.name.text.as_str())
            .collect();
        assert_eq!(names, ["connections", "rate", "header", "deflate", "spin"]);
        assert_eq!(load.options[1].setting, Setting::Values(vec!["2.5".into()]));
        assert_eq!(
            load.options[2].setting,
            Setting::Values(vec!["A: b".into(), "C: d".into()])
        );
        assert_eq!(load.options[3].setting, Setting::Flag(true));
        assert_eq!(scenario.source.position(load.command.span.start), (16, 11));
    }

    #[test]
    fn faults_name_line_and_column() {
        let load = "[[load]]\nname = \"a\"\ncommand = \"echo\"\n";
        for (text, place, word) in [
            ("x = ", "s.toml:1:", ""),
            ("[scenari]\n", "s.toml:1:2", "did you mean 'scenario'"),
            (
                "[scenario]\nnme = \"x\"\n",
                "s.toml:2:1",
                "did you mean 'name'",
            ),
            ("[scenario]\nname = 3\n", "s.toml:2:8", "quotation marks"),
            (
                "[parameters]\nurl = \"x\"\n",
                "s.toml:2:1",
                "cannot be a parameter",
            ),
            (
                "[parameters]\na = [1]\n",
                "s.toml:2:5",
                "a text or a number",
            ),
            ("[load]\nname = \"a\"\n", "s.toml:1:1", "two brackets"),
            (
                "[scenario]\nname = \"x\"\n",
                "s.toml:1:1",
                "at least one [[load]]",
            ),
            ("[[load]]\ncommand = \"echo\"\n", "s.toml:1:1", "needs name"),
            ("[[load]]\nname = \"a\"\n", "s.toml:1:1", "needs command"),
            (
                "[[load]]\nname = \"echo\"\ncommand = \"echo\"\n",
                "s.toml:2:8",
                "thresholds begin",
            ),
            (
                &format!("{load}start = \"5 lightyears\"\n"),
                "s.toml:4:9",
                "unit",
            ),
            (
                &format!("{load}{load}"),
                "s.toml:4:1",
                "two loads named 'a'",
            ),
            (
                &format!("{load}step = \"one\"\n[[load]]\nname = \"b\"\ncommand = \"idle\"\n"),
                "s.toml:5:1",
                "no step",
            ),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.starts_with(place), "{text}: {error}");
            assert!(error.contains(word), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_with_a_place(text in "(?s).{0,200}") {
            if let Err(error) = parse(&text) {
                prop_assert!(error.starts_with("s.toml:"));
            }
        }

        #[test]
        fn any_change_of_a_valid_file_is_read_or_refused(at in 0usize..400, byte in 32u8..127) {
            let mut bytes = WHOLE.as_bytes().to_vec();
            let at = at % bytes.len();
            bytes[at] = byte;
            if let Err(error) = parse(&String::from_utf8_lossy(&bytes)) {
                prop_assert!(error.starts_with("s.toml:"));
            }
        }
    }
}
