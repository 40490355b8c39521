//! From what a scenario file says to what will run: which loads take part, in which steps, held
//! against which thresholds, on which CPUs.
//!
//! Every load goes through the command line's own options (`maker`), so that each option works, and
//! errors are the same and point into the file. Runs nothing.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::config::Config;
use crate::connect::target::Target;
use crate::judge::{self, Threshold};
use crate::scenario::catalogue::Catalogue;
use crate::scenario::file::{LoadText, ScenarioText, URL};
use crate::scenario::maker::Maker;

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
    /// Time after the beginning of its step.
    pub start_ns: u64,
    /// What it does.
    pub config: Config,
    /// The same as a command line, for a person.
    pub command_line: String,
}

/// Loads that run together.
#[derive(Clone, Debug)]
pub struct Step {
    /// Its name; empty when the scenario has no steps.
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
    /// Steps, which follow each other.
    pub steps: Vec<Step>,
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
        let mut steps: Vec<Step> = Vec::new();
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
            match steps.iter_mut().find(|step| step.name == load.step) {
                Some(step) => step.loads.push(planned),
                None => steps.push(Step {
                    name: load.step.clone(),
                    loads: vec![planned],
                }),
            }
        }
        if steps.is_empty() {
            return Err(format!(
                "{}: no load takes part with these parameters: every 'when' is false",
                scenario.name
            ));
        }
        let mut plan = Plan {
            name: scenario.name.clone(),
            description: scenario.description.clone(),
            needs: scenario.needs.clone(),
            steps,
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
        self.steps.iter().flat_map(|step| &step.loads)
    }

    /// Deals out CPUs and names the server's process.
    fn place(&mut self, overrides: &Overrides) {
        let cpus = &overrides.cpus;
        let mut shared = false;
        for step in &mut self.steps {
            let mut dealt = 0;
            for load in &mut step.loads {
                let config = &mut load.config;
                config.server_pid = config.server_pid.or(overrides.server_pid);
                config.judge.is_invalid_allowed = overrides.is_invalid_allowed;
                config.outputs.is_quiet = overrides.is_quiet;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::source::Source;

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
command = "echo"
start = "2s"
connections = "${connections}"
threads = 2
[[load]]
name = "feed"
command = "fanout"
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
        assert_eq!((plan.steps.len(), loads.len()), (1, 2));
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
    fn steps_follow_in_the_order_of_the_file() {
        let text = r#"
[parameters]
dialect = "raw"
[[load]]
name = "a"
command = "echo"
step = "one"
[[load]]
name = "b"
command = "echo"
step = "two"
when = "${dialect} == raw"
[[load]]
name = "c"
command = "idle"
step = "one"
[[load]]
name = "d"
command = "idle"
step = "two"
when = "${dialect} != raw"
"#;
        let plan = plan(text).expect("valid");
        let named: Vec<(&str, Vec<&str>)> = plan
            .steps
            .iter()
            .map(|step| {
                let names = step.loads.iter().map(|load| load.name.as_str());
                (step.name.as_str(), names.collect())
            })
            .collect();
        assert_eq!(named, [("one", vec!["a", "c"]), ("two", vec!["b"])]);
    }

    #[test]
    fn faults_name_line_and_key() {
        let load = "[[load]]\nname = \"a\"\ncommand = \"echo\"\n";
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
                "s.toml:3:11",
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
        let text = "[[load]]\nname = \"a\"\ncommand = \"echo\"\nwhen = \"1 == 2\"\n";
        assert!(plan(text).expect_err("none").contains("no load takes part"));
    }
}
