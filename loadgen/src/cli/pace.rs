//! The options that say when messages are sent.

use clap::Args;

use crate::config::{Config, PaceSettings};
use crate::pace::catchup::CatchUp;
use crate::pace::plan::Arrival;
use crate::pace::rate::{Stage, parse_stages};
use crate::pace::warmup::Warmup;
use crate::quantity::{parse_count, parse_rate};

/// A run of so many messages is over when they are answered; this is where it ends at the latest.
const COUNTED_RUN_NS: u64 = 24 * 3_600_000_000_000;

/// `--stage`, which clap would take for a repeated option if it were a bare list.
#[derive(Clone, Debug)]
struct Stages(Vec<Stage>);

fn stages(text: &str) -> Result<Stages, String> {
    parse_stages(text).map(Stages)
}

/// How the rate of an open loop changes, for every command that has one.
#[derive(Args, Debug)]
#[command(next_help_heading = "Pace")]
pub struct StageArguments {
    /// Open loop in linear stages, as in k6: 30s:10k,2m:50k rises to 10,000 per second within 30
    /// seconds and to 50,000 within two more minutes. It begins at -R, or at 0; 0s:N is a jump. The
    /// run lasts as long as the stages, unless -d says otherwise; the warm-up (-w) is part of them
    #[arg(long, value_name = "TIME:N,…", value_parser = stages)]
    stage: Option<Stages>,
}

impl StageArguments {
    /// Whether there are any.
    pub fn is_given(&self) -> bool {
        self.stage.is_some()
    }

    /// Puts the stages into `config`, whose rate is the one before them and whose warm-up is known.
    /// `has_duration`: its duration was asked for.
    ///
    /// # Errors
    /// One sentence with cause and cure.
    pub fn apply(self, config: Config, has_duration: bool) -> Result<Config, String> {
        let mut config = config;
        let Some(Stages(stages)) = self.stage else {
            return Ok(config);
        };
        let Warmup::Fixed(warmup_ns) = config.warmup else {
            return Err(
                "the warm-up is part of the stages, which begin once: say how long it is with -w, or \
                 leave it out (none with --stage)"
                    .into(),
            );
        };
        let length_ns: u64 = stages.iter().map(|stage| stage.length_ns).sum();
        if !has_duration {
            config.duration_ns = length_ns.saturating_sub(warmup_ns).max(1);
        }
        config.pace.stages_from_per_second = config.rate.unwrap_or(0.0);
        config.pace.stages = stages;
        let until_ns = warmup_ns.saturating_add(config.duration_ns);
        let curve = config.curve();
        let mean = curve.map(|curve| curve.mean_per_second(warmup_ns, until_ns));
        if mean.is_none_or(|rate| rate <= 0.0) {
            return Err("nothing would be sent in the measured part of --stage".into());
        }
        config.rate = mean;
        Ok(config)
    }
}

/// The rhythm of an open loop of requests.
#[derive(Args, Debug)]
#[command(next_help_heading = "Pace")]
pub struct RhythmArguments {
    #[command(flatten)]
    stages: StageArguments,
    /// Rhythm of an open loop: const (equal gaps), poisson (independent, as many users are), or
    /// burst:N (N at the same moment)
    #[arg(long, default_value = "const", value_name = "RHYTHM", value_parser = Arrival::parse)]
    arrival: Arrival,
}

impl RhythmArguments {
    /// As [`PaceArguments::apply`], for a command with a rate and a warm-up of its own.
    ///
    /// # Errors
    /// One sentence with cause and cure.
    pub fn apply_to(
        self,
        config: Config,
        rate: Option<f64>,
        warmup: Option<Warmup>,
        has_duration: bool,
    ) -> Result<Config, String> {
        let has_stages = self.stages.is_given();
        let unsaid = if has_stages {
            Warmup::NONE
        } else {
            Warmup::Unsaid
        };
        if rate.is_none() && !has_stages && self.arrival != Arrival::Constant {
            return Err("--arrival is the rhythm of an open loop: say how many with -R".into());
        }
        let config = Config {
            rate,
            warmup: warmup.unwrap_or(unsaid),
            pace: PaceSettings {
                arrival: self.arrival,
                ..config.pace
            },
            ..config
        };
        self.stages.apply(config, has_duration)
    }
}

/// When messages are sent.
#[derive(Args, Debug)]
#[command(next_help_heading = "Pace")]
pub struct PaceArguments {
    /// Open loop: send this many messages per second over all connections by an absolute schedule,
    /// whatever the server does; latency then counts from when a message was due. Without it every
    /// connection sends its next message when a reply has come
    #[arg(short = 'R', long, alias = "qps", value_name = "N/s", value_parser = parse_rate)]
    rate: Option<f64>,
    /// Open loop: as -R, for each connection
    #[arg(short, long, value_name = "N/s", value_parser = parse_rate, conflicts_with = "rate")]
    rate_per_conn: Option<f64>,
    #[command(flatten)]
    rhythm: RhythmArguments,
    /// Open loop: what to do with messages that are overdue. all: send them at once; none: give up
    /// what is more than 10 ms late, which counts as dropped; 150%: send what is more than 10 ms late
    /// at one and a half times the rate
    #[arg(long, default_value = "all", value_name = "HOW", value_parser = CatchUp::parse)]
    catchup: CatchUp,
    /// Closed loop: unanswered messages per connection
    #[arg(long, default_value = "1", value_name = "N", value_parser = parse_count, conflicts_with_all = ["rate", "rate_per_conn", "stage"])]
    in_flight: u64,
    /// End after this many messages over all connections, warm-up included. There is no warm-up then
    /// without -w, and -d is only the longest the run may take; a closed loop also ends when nothing
    /// was answered for 10 s
    #[arg(short = 'n', long, value_name = "N", value_parser = parse_count)]
    messages: Option<u64>,
    /// Load before measuring starts: a time, or auto: until rate and median response time are
    /// steady from one second to the next, 10 s at most [default: auto; 0 with --stage or -n, 1s with --agents]
    #[arg(short, long, value_name = "TIME", value_parser = Warmup::parse)]
    warmup: Option<Warmup>,
    /// New connections per second while opening them [default: as fast as they open]
    #[arg(long, value_name = "N/s", value_parser = parse_rate)]
    connect_rate: Option<f64>,
}

impl PaceArguments {
    /// Puts the settings into `config`. `has_duration`: its duration was asked for.
    ///
    /// # Errors
    /// One or two sentences with cause and cure.
    pub fn apply(self, config: Config, has_duration: bool) -> Result<Config, String> {
        let in_flight = u32::try_from(self.in_flight)
            .ok()
            .filter(|count| (1..=crate::echo::client::IN_FLIGHT_MAX as u32).contains(count))
            .ok_or("--in-flight must be between 1 and 65,536 messages")?;
        if self.messages == Some(0) {
            return Err("--messages must be at least 1".into());
        }
        let per_connection = self.rate_per_conn;
        let rate = self
            .rate
            .or(per_connection.map(|rate| rate * f64::from(config.connections)));
        if self.catchup != CatchUp::All && rate.is_none() && !self.rhythm.stages.is_given() {
            return Err("--catchup is about an open loop: say how many messages with -R".into());
        }
        let is_counted = self.messages.is_some();
        let warmup = self.warmup.or(is_counted.then_some(Warmup::NONE));
        if is_counted && warmup.is_some_and(Warmup::is_auto) {
            return Err("-w auto needs a run of a certain length (-d), not of -n messages".into());
        }
        let has_stages = self.rhythm.stages.is_given();
        let mut config = self.rhythm.apply_to(config, rate, warmup, has_duration)?;
        if is_counted && !has_duration && !has_stages {
            config.duration_ns = COUNTED_RUN_NS;
        }
        config.in_flight = in_flight;
        config.connect_rate = self.connect_rate;
        config.pace.catch_up = self.catchup;
        config.pace.messages_max = self.messages;
        if config.measured_ns() <= 1 && config.warmup != Warmup::NONE {
            return Err("all of --messages would be sent in the warm-up; pass -w 0".into());
        }
        Ok(config)
    }
}
