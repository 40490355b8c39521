//! From what a scenario file says to configurations: every load goes through the command line's own
//! options, so that each option works, and errors are the same and point into the file.
//!
//! Owns which options a load may have, whose defaults it gets, and how the CPUs are dealt out. Runs
//! nothing.

use std::collections::BTreeMap;
use std::ops::Range;

use clap::error::{ContextKind, ContextValue};
use clap::{Args, CommandFactory, Parser};

use crate::cli::judge::JudgeArguments;
use crate::cli::output::OutputArguments;
use crate::cli::{Cli, Job};
use crate::config::Config;
use crate::judge::{self, Threshold};
use crate::quantity::parse_duration_ns;
use crate::scenario::file::{LoadText, OptionText, Placed, ScenarioText, Setting, URL};
use crate::scenario::source::{Source, suggestion};
use crate::target::Target;

/// Commands that a load may be.
const KINDS: [&str; 5] = ["echo", "fanout", "churn", "storm", "idle"];
/// Of the options that judge or write, those that a load may have; the others are `run`'s.
const OF_LOADS: [&str; 3] = ["threshold", "abort-on", "prom"];

/// What the command line of `run` says about all loads.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// Where to; goes before the file's own.
    pub url: Option<String>,
    /// `NAME=VALUE` of parameters.
    pub parameters: Vec<String>,
    /// CPUs to deal out.
    pub cpus: Vec<usize>,
    /// The server's process.
    pub server_pid: Option<u32>,
    /// Seed of the first load; the others get the numbers that follow.
    pub seed: Option<u64>,
    /// Further thresholds.
    pub thresholds: Vec<String>,
    /// INVALID does not decide exit codes.
    pub is_invalid_allowed: bool,
    /// Nothing is shown while loads last.
    pub is_quiet: bool,
}

/// A load that is ready to run.
#[derive(Clone, Debug)]
pub struct PlannedLoad {
    /// Its name.
    pub name: String,
    /// Time after the beginning of its stage.
    pub start_ns: u64,
    /// What it does.
    pub config: Config,
    /// The same as a command line, for a person.
    pub command_line: String,
}

/// Loads that run together.
#[derive(Clone, Debug)]
pub struct Stage {
    /// Its name; empty when the scenario has no stages.
    pub name: String,
    /// The loads.
    pub loads: Vec<PlannedLoad>,
}

/// A scenario that is ready to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// What the server must be able to do.
    pub needs: Option<String>,
    /// Stages, which follow each other.
    pub stages: Vec<Stage>,
    /// Thresholds of the whole.
    pub thresholds: Vec<Threshold>,
    /// Remarks for the report.
    pub notes: Vec<String>,
}

impl Plan {
    /// Makes a scenario ready.
    ///
    /// # Errors
    /// A sentence with its place in the file, or about an override.
    pub fn new(mut scenario: ScenarioText, overrides: &Overrides) -> Result<Plan, String> {
        for assignment in &overrides.parameters {
            scenario.parameters.override_with(assignment)?;
        }
        let url = overrides.url.clone().or_else(|| scenario.url.clone());
        let Some(url) = url else {
            return Err(format!(
                "{} does not say where to; add the server's URL to the command line, for example \
                 ws://127.0.0.1:9001",
                scenario.name
            ));
        };
        // Checked here, because in a load it may stand in the middle of a longer text.
        Target::parse(&url)?;
        let url = url.trim_end_matches('/').to_owned();
        scenario.parameters.set(URL, url);
        let catalogue = Catalogue::new();
        catalogue.check_defaults(&scenario)?;
        let (whole, of_loads) = thresholds(&scenario, overrides)?;
        let mut stages: Vec<Stage> = Vec::new();
        let mut seed = overrides.seed;
        for load in &scenario.loads {
            if !takes_part(&scenario, load)? {
                continue;
            }
            let maker = Maker {
                scenario: &scenario,
                load,
                catalogue: &catalogue,
                thresholds: of_loads.get(&load.name).map_or(&[], Vec::as_slice),
                seed,
            };
            let planned = maker.make()?;
            seed = seed.map(|seed| seed.wrapping_add(1));
            match stages.iter_mut().find(|stage| stage.name == load.stage) {
                Some(stage) => stage.loads.push(planned),
                None => stages.push(Stage {
                    name: load.stage.clone(),
                    loads: vec![planned],
                }),
            }
        }
        if stages.is_empty() {
            return Err(format!(
                "{}: no load takes part with these parameters: every 'when' is false",
                scenario.name
            ));
        }
        let mut plan = Plan {
            name: scenario.name.clone(),
            description: scenario.description.clone(),
            needs: scenario.needs.clone(),
            stages,
            thresholds: Vec::new(),
            notes: Vec::new(),
        };
        plan.place(overrides);
        for (text, span) in whole {
            let threshold = plan.threshold(&text).map_err(|sentence| match span {
                Some(span) => scenario.source.error(&span, sentence),
                None => sentence,
            })?;
            plan.thresholds.push(threshold);
        }
        Ok(plan)
    }

    /// A threshold of the whole: every load must measure what it is about.
    fn threshold(&self, text: &str) -> Result<Threshold, String> {
        let threshold = Threshold::parse(text)?;
        let measures = |load: &&PlannedLoad| {
            let mut config = load.config.clone();
            config.judge.thresholds = vec![threshold.clone()];
            config.judge.abort_on.clear();
            judge::check(&config).is_ok()
        };
        let able: Vec<&str> = self
            .loads()
            .filter(measures)
            .map(|load| load.name.as_str())
            .collect();
        if able.len() == self.loads().count() {
            return Ok(threshold);
        }
        let cure = able.first().map_or_else(
            || "no load measures it".to_owned(),
            |name| {
                format!(
                    "not every load measures it ({} can); write '{name}.{text}' for that load alone",
                    able.join(", ")
                )
            },
        );
        Err(format!("threshold '{text}': {cure}"))
    }

    /// All loads, in their order.
    pub fn loads(&self) -> impl Iterator<Item = &PlannedLoad> {
        self.stages.iter().flat_map(|stage| &stage.loads)
    }

    /// Deals out CPUs and names the server's process.
    fn place(&mut self, overrides: &Overrides) {
        let cpus = &overrides.cpus;
        let mut shared = false;
        for stage in &mut self.stages {
            let mut dealt = 0;
            for load in &mut stage.loads {
                let config = &mut load.config;
                config.server_pid = config.server_pid.or(overrides.server_pid);
                config.judge.is_invalid_allowed = overrides.is_invalid_allowed;
                config.outputs.is_quiet = overrides.is_quiet;
                // Several live views would fight for one terminal.
                config.outputs.has_view = false;
                config.outputs.label = Some(load.name.clone());
                if cpus.is_empty() || !config.cpus.is_empty() {
                    continue;
                }
                let threads = dealt..dealt + config.threads;
                config.cpus = threads.map(|thread| cpus[thread % cpus.len()]).collect();
                dealt += config.threads;
            }
            shared |= dealt > cpus.len();
        }
        if shared && !cpus.is_empty() {
            self.notes.push(format!(
                "the loads have more threads than --cpu has CPUs ({}): some share one",
                cpus.len()
            ));
        }
    }
}

fn takes_part(scenario: &ScenarioText, load: &LoadText) -> Result<bool, String> {
    load.when.as_ref().map_or(Ok(true), |when| {
        let holds = scenario.parameters.holds(&when.text);
        holds.map_err(|sentence| scenario.source.error(&when.span, sentence))
    })
}

/// Thresholds of the whole with their places, and of loads by name.
type Thresholds = (
    Vec<(String, Option<Range<usize>>)>,
    BTreeMap<String, Vec<String>>,
);

fn thresholds(scenario: &ScenarioText, overrides: &Overrides) -> Result<Thresholds, String> {
    let mut whole = Vec::new();
    let mut of_loads: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut add = |text: String, span: Option<Range<usize>>| {
        let named = text.split_once('.').and_then(|(name, rest)| {
            let is_load = scenario.loads.iter().any(|load| load.name == name.trim());
            is_load.then(|| (name.trim().to_owned(), rest.to_owned()))
        });
        match named {
            Some((name, rest)) => of_loads.entry(name).or_default().push(rest),
            None => whole.push((text, span)),
        }
    };
    for threshold in &scenario.thresholds {
        let filled = scenario.parameters.fill(&threshold.text);
        let filled = filled.map_err(|sentence| scenario.source.error(&threshold.span, sentence))?;
        add(filled, Some(threshold.span.clone()));
    }
    for threshold in &overrides.thresholds {
        add(threshold.clone(), None);
    }
    Ok((whole, of_loads))
}

/// What the command line knows of the options of loads.
struct Catalogue {
    kinds: BTreeMap<&'static str, Vec<Known>>,
    /// Options that belong to `run` and not to a load.
    of_run: Vec<String>,
}

/// An option.
struct Known {
    /// Its long name and the names that stand for it.
    names: Vec<String>,
    takes_value: bool,
    /// It takes a value or none.
    may_stand_alone: bool,
}

fn known(command: &clap::Command) -> Vec<Known> {
    let arguments = command.get_arguments();
    arguments
        .filter_map(|argument| {
            let mut names = vec![argument.get_long()?.to_owned()];
            let aliases = argument.get_all_aliases().unwrap_or_default();
            names.extend(aliases.into_iter().map(str::to_owned));
            Some(Known {
                names,
                takes_value: argument.get_action().takes_values(),
                may_stand_alone: argument
                    .get_num_args()
                    .is_some_and(|range| range.min_values() == 0),
            })
        })
        .filter(|known| !known.is_called("help") && !known.is_called("version"))
        .collect()
}

impl Known {
    fn is_called(&self, name: &str) -> bool {
        self.names.iter().any(|known| known == name)
    }
}

impl Catalogue {
    fn new() -> Catalogue {
        let program = Cli::command();
        let kinds = KINDS
            .iter()
            .filter_map(|kind| Some((*kind, known(program.find_subcommand(kind)?))))
            .collect();
        let bare = || clap::Command::new("run");
        let outputs = known(&OutputArguments::augment_args(bare()));
        let judging = known(&JudgeArguments::augment_args(bare()));
        let of_run = outputs
            .into_iter()
            .chain(judging)
            .flat_map(|known| known.names)
            .filter(|name| !OF_LOADS.contains(&name.as_str()))
            .collect();
        Catalogue { kinds, of_run }
    }

    fn option(&self, kind: &str, name: &str) -> Option<&Known> {
        let known = self.kinds.get(kind)?;
        known.iter().find(|known| known.is_called(name))
    }

    /// An option in `[defaults]` must mean something to one kind at least.
    fn check_defaults(&self, scenario: &ScenarioText) -> Result<(), String> {
        let unknown = scenario.defaults.iter().find(|option| {
            let name = &option.name.text;
            let is_known = |kind: &str| self.option(kind, name).is_some();
            self.is_of_run(name) || !KINDS.iter().any(|kind| is_known(kind))
        });
        unknown.map_or(Ok(()), |option| {
            let all = self.kinds.values().flatten();
            let names = all.flat_map(|known| known.names.iter().map(String::as_str));
            let sentence = self.refusal(&option.name.text, "no kind of load", names);
            Err(scenario.source.error(&option.name.span, sentence))
        })
    }

    fn is_of_run(&self, name: &str) -> bool {
        self.of_run.iter().any(|known| known == name)
    }

    fn refusal<'a>(
        &self,
        name: &str,
        who: &str,
        names: impl IntoIterator<Item = &'a str>,
    ) -> String {
        if self.is_of_run(name) {
            return format!(
                "'{name}' belongs to the whole scenario: write run … --{name} on the command line"
            );
        }
        let hint = suggestion(name, names);
        format!("{who} has an option '{name}'{hint}")
    }
}

/// Makes one load ready.
struct Maker<'a> {
    scenario: &'a ScenarioText,
    load: &'a LoadText,
    catalogue: &'a Catalogue,
    thresholds: &'a [String],
    seed: Option<u64>,
}

impl Maker<'_> {
    fn source(&self) -> &Source {
        &self.scenario.source
    }

    fn fill(&self, text: &str, span: &Range<usize>) -> Result<String, String> {
        let filled = self.scenario.parameters.fill(text);
        filled.map_err(|sentence| self.source().error(span, sentence))
    }

    fn make(&self) -> Result<PlannedLoad, String> {
        let kind = self.kind()?;
        let mut words = vec!["fanwire-loadgen".to_owned(), kind.clone(), self.url()?];
        let own = &self.load.options;
        for option in own {
            self.check(&kind, option)?;
            self.write(option, &kind, &mut words)?;
        }
        for option in &self.scenario.defaults {
            let name = &option.name.text;
            if self.catalogue.option(&kind, name).is_some() && !self.has(&kind, name) {
                self.write(option, &kind, &mut words)?;
            }
        }
        words.extend(
            self.thresholds
                .iter()
                .map(|text| format!("--threshold={text}")),
        );
        if let Some(seed) = self.seed.filter(|_| !self.has(&kind, "seed")) {
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

    fn kind(&self) -> Result<String, String> {
        let Placed { text, span } = &self.load.kind;
        let kind = self.fill(text, span)?;
        if self.catalogue.kinds.contains_key(kind.as_str()) {
            return Ok(kind);
        }
        let hint = suggestion(&kind, KINDS);
        let sentence = format!(
            "'{kind}' is not a kind of load{hint} (there are: {})",
            KINDS.join(", ")
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
    fn has(&self, kind: &str, name: &str) -> bool {
        let option = self.catalogue.option(kind, name);
        self.load
            .options
            .iter()
            .any(|own| option.is_some_and(|option| option.is_called(&own.name.text)))
    }

    fn check(&self, kind: &str, option: &OptionText) -> Result<(), String> {
        let name = &option.name.text;
        let is_known = self.catalogue.option(kind, name).is_some();
        if is_known && !self.catalogue.is_of_run(name) {
            return Ok(());
        }
        let known = self.catalogue.kinds.get(kind).into_iter().flatten();
        let names = known.flat_map(|known| known.names.iter().map(String::as_str));
        let own = ["name", "kind", "stage", "start", "when", "url"];
        let who = format!("neither a load nor the command {kind}");
        let sentence = self.catalogue.refusal(name, &who, names.chain(own));
        Err(self.source().error(&option.name.span, sentence))
    }

    /// The option as the command line has it. A text that is empty after filling in leaves the
    /// option out, so that a parameter can switch it off.
    fn write(
        &self,
        option: &OptionText,
        kind: &str,
        words: &mut Vec<String>,
    ) -> Result<(), String> {
        let Placed { text: name, span } = &option.name;
        let known = self.catalogue.option(kind, name);
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
        match parsed.into_job() {
            Ok(Job::Run(config)) => Ok(*config),
            Ok(Job::Churn(arguments)) => arguments
                .into_config()
                .map_err(|sentence| self.unsound(&sentence)),
            Ok(_) => Err(self.unsound("this command is not a load")),
            Err(sentence) => Err(self.unsound(&sentence)),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn plan_with(text: &str, overrides: &Overrides) -> Result<Plan, String> {
        let source = Source {
            name: "s.toml".into(),
            text: text.to_owned(),
        };
        Plan::new(ScenarioText::parse(source)?, overrides)
    }

    fn plan(text: &str) -> Result<Plan, String> {
        let overrides = Overrides {
            url: Some("ws://127.0.0.1:1/".into()),
            ..Overrides::default()
        };
        plan_with(text, &overrides)
    }

    const TWO: &str = r#"
[parameters]
connections = 10
dialect = "raw"
burst = ""
[defaults]
duration = "3s"
in-flight = 2
[[load]]
name = "talk"
kind = "echo"
start = "2s"
connections = "${connections}"
threads = 2
[[load]]
name = "feed"
kind = "fanout"
url = "${url}/md?x=1"
duration = "7s"
R = 3
"#;

    fn two() -> String {
        TWO.replace("R = 3", "rate = 3\nburst = \"${burst}\"")
    }

    #[test]
    fn loads_become_configurations() {
        let plan = plan(&two()).expect("valid");
        let loads: Vec<&PlannedLoad> = plan.loads().collect();
        assert_eq!((plan.stages.len(), loads.len()), (1, 2));
        assert_eq!((loads[0].start_ns, loads[1].start_ns), (2_000_000_000, 0));
        let (talk, feed) = (&loads[0].config, &loads[1].config);
        assert_eq!((talk.connections, talk.in_flight, talk.threads), (10, 2, 2));
        assert_eq!(
            (talk.duration_ns, feed.duration_ns),
            (3_000_000_000, 7_000_000_000)
        );
        assert_eq!(talk.target.request_target, "/");
        assert_eq!(feed.target.request_target, "/md?x=1");
        assert_eq!(feed.in_flight, 1, "fanout has no such option");
        assert!(
            loads[1]
                .command_line
                .contains("fanout 'ws://127.0.0.1:1/md?x=1'")
        );
    }

    #[test]
    fn overrides_go_first() {
        let overrides = Overrides {
            url: Some("ws://127.0.0.1:7".into()),
            parameters: vec!["connections=20".into(), "burst=4".into()],
            cpus: vec![3, 5],
            server_pid: Some(42),
            seed: Some(9),
            ..Overrides::default()
        };
        let plan = plan_with(&two(), &overrides).expect("valid");
        let loads: Vec<&PlannedLoad> = plan.loads().collect();
        assert_eq!(loads[0].config.connections, 20);
        assert_eq!(loads[0].config.address.port(), 7);
        assert_eq!((loads[0].config.seed, loads[1].config.seed), (9, 10));
        assert_eq!(loads[0].config.cpus, [3, 5]);
        assert_eq!(
            loads[1].config.cpus,
            [3],
            "the third thread shares the first CPU"
        );
        assert_eq!(plan.notes.len(), 1);
        assert!(loads.iter().all(|load| load.config.server_pid == Some(42)));
        assert_eq!(
            loads[1].config.fanout.as_ref().map(|fanout| fanout.burst),
            Some(4)
        );
    }

    #[test]
    fn stages_follow_in_the_order_of_the_file() {
        let text = r#"
[parameters]
dialect = "raw"
[[load]]
name = "a"
kind = "echo"
stage = "one"
[[load]]
name = "b"
kind = "echo"
stage = "two"
when = "${dialect} == raw"
[[load]]
name = "c"
kind = "idle"
stage = "one"
[[load]]
name = "d"
kind = "idle"
stage = "two"
when = "${dialect} != raw"
"#;
        let plan = plan(text).expect("valid");
        let named: Vec<(&str, Vec<&str>)> = plan
            .stages
            .iter()
            .map(|stage| {
                let names = stage.loads.iter().map(|load| load.name.as_str());
                (stage.name.as_str(), names.collect())
            })
            .collect();
        assert_eq!(named, [("one", vec!["a", "c"]), ("two", vec!["b"])]);
    }

    #[test]
    fn faults_name_line_and_key() {
        let load = "[[load]]\nname = \"a\"\nkind = \"echo\"\n";
        for (text, place, word) in [
            (
                format!("{load}conections = 5\n"),
                "s.toml:4:1",
                "did you mean 'connections'",
            ),
            (
                format!("{load}json = \"x\"\n"),
                "s.toml:4:1",
                "run … --json",
            ),
            (
                format!("{load}connections = \"many\"\n"),
                "s.toml:4:1",
                "many",
            ),
            (
                format!("{load}rate = 5\nin-flight = 2\n"),
                "s.toml:",
                "cannot be used with",
            ),
            (
                format!("{load}connections = 0\n"),
                "s.toml:4:1",
                "between 1 and",
            ),
            (
                format!("{load}connections = true\n"),
                "s.toml:4:1",
                "needs a value",
            ),
            (format!("{load}spin = 5\n"), "s.toml:4:1", "true or false"),
            (
                format!("{load}size = \"${{none}}\"\n"),
                "s.toml:4:1",
                "no parameter 'none'",
            ),
            (
                format!("{load}when = \"maybe\"\n"),
                "s.toml:4:8",
                "not a condition",
            ),
            (format!("{load}url = \"http://x\"\n"), "s.toml:4:7", "ws://"),
            (
                format!("[defaults]\nsise = 5\n{load}"),
                "s.toml:2:1",
                "did you mean 'size'",
            ),
            (
                format!("[defaults]\nsize = \"1q\"\n{load}"),
                "s.toml:2:1",
                "suffix",
            ),
            (
                load.replace("echo", "ecco"),
                "s.toml:3:8",
                "did you mean 'echo'",
            ),
        ] {
            let error = plan(&text).expect_err(&text);
            assert!(error.starts_with(place), "{text}: {error}");
            assert!(error.contains(word), "{text}: {error}");
            assert!(!error.contains("Usage:"), "{error}");
        }
    }

    #[test]
    fn thresholds_are_of_the_whole_or_of_a_load() {
        let text = format!(
            "[scenario]\nthreshold = [\"errors.ratio<1%\", \"talk.echo.p99<5ms\"]\n{}",
            two()
        );
        let planned = plan(&text).expect("valid");
        assert_eq!(planned.thresholds[0].expression, "errors.ratio<1%");
        let talk = planned.loads().next().expect("a load");
        assert_eq!(talk.config.judge.thresholds[0].expression, "echo.p99<5ms");
        let general = text.replace("talk.echo", "echo");
        let error = plan(&general).expect_err("fanout measures no echo");
        assert!(
            error.starts_with("s.toml:2:") && error.contains("'talk.echo.p99"),
            "{error}"
        );
        let wrong = text.replace("talk.echo.p99<5ms", "talk.echo.p99<5lightyears");
        assert!(plan(&wrong).expect_err("no unit").starts_with("s.toml:"));
    }

    #[test]
    fn a_scenario_without_a_url_asks_for_one() {
        let error = plan_with(&two(), &Overrides::default()).expect_err("no url");
        assert!(error.contains("ws://127.0.0.1:9001"), "{error}");
    }

    #[test]
    fn nothing_that_takes_part_is_an_error() {
        let text = "[[load]]\nname = \"a\"\nkind = \"echo\"\nwhen = \"1 == 2\"\n";
        assert!(plan(text).expect_err("none").contains("no load takes part"));
    }
}
