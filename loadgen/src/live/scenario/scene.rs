//! A scenario as it is at one moment: which loads there are, how far each is, what is left.
//!
//! Owns which load is looked at closely, and the arithmetic of the time that is left. A scene owns
//! all its parts, so that it can be drawn while the loads go on. Draws nothing itself.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::live::view::{Asked, View};
use crate::measure::model::Report;
use crate::measure::verdict::Verdict;
use crate::measure::watch::LivePhase;
use crate::quantity::{format_count, format_ns};

/// What is known of a scenario before it begins.
#[derive(Clone, Debug, Default)]
pub struct Bill {
    /// Its name.
    pub name: String,
    /// What it is for; may be empty.
    pub description: String,
    /// Names of its steps, which follow each other. The name is empty when there is only one.
    pub steps: Vec<String>,
    /// Its loads, in the order of their steps.
    pub loads: Vec<BilledLoad>,
}

/// What is known of a load before it begins.
#[derive(Clone, Debug)]
pub struct BilledLoad {
    /// Its name.
    pub name: String,
    /// Index of its step.
    pub step: usize,
    /// When it begins, from the beginning of its step on.
    pub start: Duration,
    /// What it does, as a command line.
    pub command_line: String,
    /// What was asked for.
    pub asked: Arc<Asked>,
}

/// How far a load is.
#[derive(Clone, Debug)]
pub enum State {
    /// It has not begun.
    Waiting,
    /// It runs.
    Running {
        /// What is seen of it; `None` in its first moments.
        view: Option<Arc<View>>,
        /// Where its endpoint listens, if it has one.
        metrics: Option<SocketAddr>,
    },
    /// It is over.
    Ended {
        /// What was seen of it last.
        view: Option<Arc<View>>,
        /// What came of it.
        end: Arc<End>,
    },
}

/// What came of a load.
#[derive(Clone, Debug)]
pub enum End {
    /// A report.
    Reported(Outcome),
    /// It could not be done, for this reason.
    Failed(String),
    /// The scenario ended before it began.
    NotBegun,
}

/// What a row says of a report.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The verdict.
    pub verdict: Verdict,
    /// Why it is not VALID.
    pub reasons: Vec<String>,
    /// Connections open at the end; `None` for a storm, which leaves none.
    pub alive: Option<u64>,
    /// Replies (storm: cycles; fan-out: messages published) per second.
    pub per_second: f64,
    /// Connections opened per second, of a churn.
    pub opened_per_second: Option<f64>,
    /// Median and 99th percentile in nanoseconds, when anything was timed.
    pub latency_ns: Option<[u64; 2]>,
    /// Everything that went wrong.
    pub errors: u64,
}

impl Outcome {
    /// Of a report.
    pub fn of(report: &Report) -> Outcome {
        let (messages, response) = (&report.messages, &report.latency_ns.response);
        let churn = report.churn.as_ref();
        let hears_pushes = churn.is_some_and(|churn| churn.is_hold_only);
        let of_messages = [
            messages.lost,
            messages.unsent,
            messages.duplicates,
            messages.reordered,
            if hears_pushes {
                0
            } else {
                messages.unsolicited
            },
        ];
        Outcome {
            verdict: report.verdict,
            reasons: report.verdict_reasons.clone(),
            alive: match (churn, report.mode.as_ref()) {
                (Some(churn), "churn") => Some(churn.alive),
                (_, "storm") => None,
                _ => Some(report.connections.alive),
            },
            per_second: report.messages_per_second,
            opened_per_second: churn.map(|churn| churn.opened_per_second),
            latency_ns: (response.count > 0).then_some([response.p50, response.p99]),
            errors: report.errors.values().sum::<u64>() + of_messages.iter().sum::<u64>(),
        }
    }
}

impl Outcome {
    /// In a line: `VALID · 100/s · p50 81us p99 1.20ms · errors 0`.
    pub fn describe(&self) -> String {
        let per_second = format_count(self.per_second.round() as u64);
        let mut parts = vec![self.verdict.as_str().to_owned()];
        if let Some([median, high]) = self.latency_ns {
            parts.push(format!("{per_second}/s"));
            parts.push(format!("p50 {} p99 {}", format_ns(median), format_ns(high)));
        }
        parts.push(format!("errors {}", format_count(self.errors)));
        parts.join(" · ")
    }
}

impl State {
    /// What is or was seen of the load.
    pub fn view(&self) -> Option<&View> {
        match self {
            State::Waiting => None,
            State::Running { view, .. } | State::Ended { view, .. } => view.as_deref(),
        }
    }

    /// It has begun and not ended.
    pub fn is_running(&self) -> bool {
        matches!(self, State::Running { .. })
    }
}

/// A scenario at one moment.
#[derive(Clone, Debug)]
pub struct Scene {
    /// What does not change.
    pub bill: Arc<Bill>,
    /// Index of the step that runs.
    pub step: usize,
    /// Since that step began.
    pub step_elapsed: Duration,
    /// Somebody has asked for the end.
    pub is_ending: bool,
    /// How far each load is, in the order of the bill.
    pub states: Vec<State>,
}

/// What is left of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// So long; `None` when that shows itself only when it has come.
    pub time: Option<Duration>,
    /// It may be longer: opening connections takes as long as it takes.
    pub is_about: bool,
}

impl Left {
    const NOTHING: Left = Left {
        time: Some(Duration::ZERO),
        is_about: false,
    };

    /// Of two things at the same time.
    fn beside(self, other: Left) -> Left {
        Left {
            time: self.time.zip(other.time).map(|(one, two)| one.max(two)),
            is_about: self.is_about || other.is_about,
        }
    }

    /// Of two things one after the other.
    fn then(self, other: Left) -> Left {
        Left {
            time: self.time.zip(other.time).map(|(one, two)| one + two),
            is_about: self.is_about || other.is_about,
        }
    }
}

impl Scene {
    /// Each load with how far it is.
    pub fn loads(&self) -> impl Iterator<Item = (&BilledLoad, &State)> {
        self.bill.loads.iter().zip(&self.states)
    }

    /// Whether a load could not be done, which ends the others.
    pub fn has_failed(&self) -> bool {
        let is_failure = |state: &State| match state {
            State::Ended { end, .. } => matches!(**end, End::Failed(_)),
            State::Waiting | State::Running { .. } => false,
        };
        self.states.iter().any(is_failure)
    }

    /// What is left of a step.
    fn left_of(&self, step: usize) -> Left {
        let loads = self.loads().filter(|(load, _)| load.step == step);
        loads
            .map(|(load, state)| self.left_of_load(load, state))
            .fold(Left::NOTHING, Left::beside)
    }

    /// What is left of the step that runs.
    pub fn left_of_step(&self) -> Left {
        self.left_of(self.step)
    }

    /// What is left of the scenario.
    pub fn left_of_all(&self) -> Left {
        let following = self.step + 1..self.bill.steps.len();
        let lefts = following.map(|step| self.left_of(step));
        lefts.fold(self.left_of_step(), Left::then)
    }

    fn left_of_load(&self, load: &BilledLoad, state: &State) -> Left {
        let to_come = |wait: Duration| Left {
            time: load.asked.length().map(|length| wait + length),
            is_about: true,
        };
        match state {
            State::Ended { .. } => Left::NOTHING,
            State::Waiting if load.step == self.step => {
                to_come(load.start.saturating_sub(self.step_elapsed))
            }
            State::Waiting => to_come(load.start),
            State::Running { view: None, .. } => to_come(Duration::ZERO),
            State::Running {
                view: Some(view), ..
            } => match view.phase {
                LivePhase::Opening | LivePhase::Subscribing => to_come(Duration::ZERO),
                LivePhase::Draining => Left::NOTHING,
                LivePhase::WarmUp | LivePhase::Measuring => Left {
                    time: load
                        .asked
                        .length()
                        .map(|_| Duration::from_nanos(view.left_ns)),
                    is_about: false,
                },
            },
        }
    }
}

/// Which load is looked at closely: the one that somebody has chosen, until the step is over, or one
/// that runs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Focus {
    load: usize,
    step: usize,
    is_chosen: bool,
}

impl Focus {
    /// The index of the load, as things are now.
    pub fn on(&mut self, scene: &Scene) -> usize {
        self.is_chosen &= self.step == scene.step;
        self.step = scene.step;
        let runs = |index: usize| scene.states.get(index).is_some_and(State::is_running);
        let exists = self.load < scene.states.len();
        // It stays where it is for as long as there is something to see.
        if !(exists && (self.is_chosen || runs(self.load))) {
            let candidates = scene.bill.loads.iter().enumerate();
            let best = candidates
                .filter(|(_, load)| load.step == scene.step)
                .max_by_key(|(index, load)| {
                    // The busiest of those that run, the first of equals; then whatever waits.
                    let state = scene.states.get(*index);
                    // One that is due is about to run, and may be the first.
                    let is_due = load.start <= scene.step_elapsed;
                    let messages = state.and_then(State::view).map_or(0, |view| {
                        view.reading.sent.saturating_add(view.reading.received)
                    });
                    let waits = matches!(state, Some(State::Waiting));
                    let is_timed = !load.asked.is_hold_only;
                    let order = std::cmp::Reverse(*index);
                    let rank = match (runs(*index) || (waits && is_due), waits) {
                        (true, _) => 2,
                        (false, true) => 1,
                        (false, false) => 0,
                    };
                    (rank, is_timed, messages, order)
                });
            self.load = best.map_or(0, |(index, _)| index);
        }
        self.load
    }

    /// Chooses the next load, or the one before; behind the last comes the first.
    pub fn step_by(&mut self, scene: &Scene, is_forward: bool) {
        let count = scene.states.len().max(1);
        let step = if is_forward { 1 } else { count - 1 };
        self.load = (self.on(scene) + step) % count;
        self.is_chosen = true;
    }
}
