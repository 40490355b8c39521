//! Which options a load may have: those of its command, but for what belongs to the whole scenario.
//!
//! Read off the command line's own definition, so that it cannot fall behind.

use std::collections::BTreeMap;

use clap::{Args, CommandFactory};

use crate::cli::Cli;
use crate::cli::judge::JudgeArguments;
use crate::cli::output::OutputArguments;
use crate::scenario::file::ScenarioText;
use crate::scenario::source::suggestion;

/// Commands that a load may be.
pub const COMMANDS: [&str; 5] = ["echo", "fanout", "churn", "storm", "idle"];
/// Of the options that judge or write, those that a load may have; the others are `run`'s.
const OF_LOADS: [&str; 3] = ["threshold", "abort-on", "prom"];

/// What the command line knows of the options of loads.
pub struct Catalogue {
    /// By command.
    pub commands: BTreeMap<&'static str, Vec<Known>>,
    /// Options that belong to `run` and not to a load.
    of_run: Vec<String>,
}

/// An option.
pub struct Known {
    /// Its long name and the names that stand for it.
    pub names: Vec<String>,
    /// It takes a value.
    pub takes_value: bool,
    /// It takes a value or none.
    pub may_stand_alone: bool,
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
    /// Whether it has this name.
    pub fn is_called(&self, name: &str) -> bool {
        self.names.iter().any(|known| known == name)
    }
}

impl Catalogue {
    /// Of this program.
    pub fn new() -> Catalogue {
        let program = Cli::command();
        let commands = COMMANDS
            .iter()
            .filter_map(|command| Some((*command, known(program.find_subcommand(command)?))))
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
        Catalogue { commands, of_run }
    }

    /// An option of a command.
    pub fn option(&self, command: &str, name: &str) -> Option<&Known> {
        let known = self.commands.get(command)?;
        known.iter().find(|known| known.is_called(name))
    }

    /// An option in `[defaults]` must mean something to one command at least.
    ///
    /// # Errors
    /// A sentence with its place in the file.
    pub fn check_defaults(&self, scenario: &ScenarioText) -> Result<(), String> {
        let unknown = scenario.defaults.iter().find(|option| {
            let name = &option.name.text;
            let is_known = |command: &str| self.option(command, name).is_some();
            self.is_of_run(name) || !COMMANDS.iter().any(|command| is_known(command))
        });
        unknown.map_or(Ok(()), |option| {
            let all = self.commands.values().flatten();
            let names = all.flat_map(|known| known.names.iter().map(String::as_str));
            let sentence = self.refusal(&option.name.text, "no command that a load may be", names);
            Err(scenario.source.error(&option.name.span, sentence))
        })
    }

    /// Whether an option belongs to the whole scenario.
    pub fn is_of_run(&self, name: &str) -> bool {
        self.of_run.iter().any(|known| known == name)
    }

    /// What is said of an option that `who` has not.
    pub fn refusal<'a>(
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

impl Default for Catalogue {
    fn default() -> Catalogue {
        Catalogue::new()
    }
}
