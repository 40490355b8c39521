//! A load inside of another command: `find echo URL …`, `sweep fanout URL …`.

use clap::{Args, Subcommand};

use crate::cli::{EchoArguments, IdleArguments, StormArguments};
use crate::config::Config;
use crate::fanout::cli::FanoutArguments;

/// Which load, with its own options and those of the command around it.
#[derive(Subcommand, Debug)]
pub enum LoadCommand<Extra: Args> {
    /// Request and reply
    Echo(Box<Around<EchoArguments, Extra>>),
    /// Publishers and subscribers
    Fanout(Box<Around<FanoutArguments, Extra>>),
    /// Connection storm
    Storm(Box<Around<StormArguments, Extra>>),
    /// Held connections
    Idle(Box<Around<IdleArguments, Extra>>),
}

/// The options of both.
#[derive(Args, Debug)]
pub struct Around<Load: Args, Extra: Args> {
    #[command(flatten)]
    load: Load,
    #[command(flatten)]
    extra: Extra,
}

impl<Extra: Args> LoadCommand<Extra> {
    /// Takes the two apart.
    ///
    /// # Errors
    /// One or two sentences with cause and cure.
    pub fn into_parts(self) -> Result<(Config, Extra), String> {
        let (config, extra) = match self {
            LoadCommand::Echo(around) => (around.load.into_config()?, around.extra),
            LoadCommand::Fanout(around) => (around.load.into_config()?, around.extra),
            LoadCommand::Storm(around) => (around.load.into_config()?, around.extra),
            LoadCommand::Idle(around) => (around.load.into_config()?, around.extra),
        };
        if config.pace.messages_max.is_some() || !config.pace.stages.is_empty() {
            return Err(
                "the windows here have one length and one rate: leave out -n and --stage".into(),
            );
        }
        if config.agents.is_some() {
            return Err(
                "--agents divides a single load (echo, storm, idle, churn, fanout): leave it out"
                    .into(),
            );
        }
        if config.judge.runs > 1 || config.judge.restart.is_some() {
            return Err(
                "--runs and --restart repeat a single load; here use --repeat or --confirm".into(),
            );
        }
        let config = Config {
            warmup: config.warmup.of_window(),
            ..config
        };
        Ok((config, extra))
    }
}
