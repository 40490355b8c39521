//! The search for the largest load that is still good enough, as a pure state machine.
//!
//! It is told what a window at a load showed and answers which load to try next: twice as much until
//! something gives, then the middle of the bracket until it is narrow enough, then the best load
//! again and again to confirm it. It runs nothing and reads no clock, so that its promises (it
//! always ends; the result is within the tolerance of a system that behaves; it is confirmed) are
//! tested on made-up systems by the thousand.
//!
//! A window in which the generator was the bottleneck says nothing of the server: it is tried once
//! more, and then bounds the search from above as what it is, so that the result is a lower bound.

use serde::{Deserialize, Serialize};

#[cfg(test)]
mod tests;

/// What the search may do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Smallest load tried.
    pub min: f64,
    /// Largest load tried.
    pub max: f64,
    /// First load tried.
    pub start: f64,
    /// The bracket is narrow enough at this share of the load (0.02).
    pub tolerance: f64,
    /// Windows that confirm the result.
    pub confirm: u32,
    /// Loads are whole numbers: connections.
    pub is_whole: bool,
}

/// What a window showed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Everything was met.
    Met,
    /// The server did not meet this.
    Failed(String),
    /// The generator could not measure, for this reason.
    Invalid(String),
}

/// Why a load is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// To find a load that is too much, or one that is not.
    Bracket,
    /// To narrow the bracket.
    Narrow,
    /// To confirm the best load.
    Confirm,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Run a window at this load.
    Try {
        /// The load.
        load: f64,
        /// What for.
        purpose: Purpose,
        /// The generator failed at this load just now.
        is_again: bool,
    },
    /// The search is over.
    Done(Finding),
}

/// Why there is no higher load.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// The server did not meet this at the upper end of the bracket.
    Server(String),
    /// The generator could not measure the upper end: the result is a lower bound.
    Generator(String),
    /// More was not to be tried: the result is a lower bound.
    Maximum,
    /// The search took all its steps.
    Steps,
}

/// The result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// Largest confirmed load; `None` when not even the smallest was good enough.
    pub best: Option<f64>,
    /// Smallest load above it that was not.
    pub upper: Option<f64>,
    /// Why there is no higher one.
    pub bound: Bound,
    /// Windows that confirmed `best`.
    pub confirmations: u32,
}

/// Whatever happens, a search ends after this many windows.
pub const STEPS_MAX: u32 = 200;
/// What the load is multiplied by until something gives.
const GROWTH: f64 = 2.0;
/// Largest factor between a load that was too much and the next one.
const SHRINK_MAX: f64 = 256.0;

#[derive(Clone, Debug, PartialEq)]
enum Phase {
    Bracket,
    Narrow,
    Confirm { met: u32 },
}

/// A search under way.
#[derive(Clone, Debug)]
pub struct Search {
    limits: Limits,
    phase: Phase,
    /// Largest load that was met.
    lower: Option<f64>,
    /// Smallest load that was not, and why.
    upper: Option<(f64, Bound)>,
    /// The load being tried.
    load: f64,
    is_again: bool,
    steps: u32,
    /// What the load is divided by when nothing was met yet: squared each time, since a first load
    /// may be wrong by orders of magnitude and every window takes seconds.
    shrink: f64,
    /// By how much the next failed confirmation steps down, as a share of the load.
    step_down: f64,
    finding: Option<Finding>,
}

impl Search {
    /// Begins a search. Limits that contradict each other are put in order.
    pub fn new(limits: Limits) -> Search {
        let (mut min, mut max) = (limits.min.max(f64::MIN_POSITIVE), limits.max);
        if limits.is_whole {
            (min, max) = (min.ceil(), max.floor());
        }
        max = max.max(min);
        let limits = Limits {
            min,
            max,
            start: limits.start.clamp(min, max),
            tolerance: limits.tolerance.clamp(1e-6, 0.5),
            confirm: limits.confirm.max(1),
            is_whole: limits.is_whole,
        };
        Search {
            load: rounded(limits.start, limits),
            limits,
            phase: Phase::Bracket,
            lower: None,
            upper: None,
            is_again: false,
            steps: 0,
            shrink: GROWTH,
            step_down: limits.tolerance,
            finding: None,
        }
    }

    /// What to do now.
    pub fn next(&self) -> Step {
        match &self.finding {
            Some(finding) => Step::Done(finding.clone()),
            None => Step::Try {
                load: self.load,
                purpose: self.purpose(),
                is_again: self.is_again,
            },
        }
    }

    fn purpose(&self) -> Purpose {
        match self.phase {
            Phase::Bracket => Purpose::Bracket,
            Phase::Narrow => Purpose::Narrow,
            Phase::Confirm { .. } => Purpose::Confirm,
        }
    }

    /// Takes in what the window at [`Search::next`]'s load showed.
    pub fn observe(&mut self, outcome: Outcome) {
        if self.finding.is_some() {
            return;
        }
        self.steps += 1;
        let bound = match outcome {
            Outcome::Met => None,
            Outcome::Failed(reason) => Some(Bound::Server(reason)),
            Outcome::Invalid(_) if !self.is_again => {
                self.is_again = true;
                self.end_if_out_of_steps();
                return;
            }
            Outcome::Invalid(reason) => Some(Bound::Generator(reason)),
        };
        self.is_again = false;
        match (self.phase.clone(), bound) {
            (Phase::Confirm { met }, None) => self.confirmed(met + 1),
            (Phase::Confirm { .. }, Some(bound)) => self.step_down(bound),
            (_, None) => self.met(),
            (_, Some(bound)) => self.missed(bound),
        }
        self.end_if_out_of_steps();
    }

    fn met(&mut self) {
        self.lower = Some(self.load);
        match &self.upper {
            Some(_) => self.narrow(),
            None if self.load >= self.limits.max => self.confirm(),
            None => self.load = self.between(self.load * GROWTH),
        }
    }

    fn missed(&mut self, bound: Bound) {
        self.upper = Some((self.load, bound));
        match self.lower {
            Some(_) => self.narrow(),
            None if self.load <= self.limits.min => self.finish(None, 0),
            None => {
                self.load = self.between(self.load / self.shrink);
                self.shrink = (self.shrink * self.shrink).min(SHRINK_MAX);
            }
        }
    }

    /// The middle of the bracket, or the confirmation when it is narrow enough.
    fn narrow(&mut self) {
        let (Some(lower), Some((upper, _))) = (self.lower, &self.upper) else {
            return;
        };
        // Between loads of different orders of magnitude the middle is a ratio.
        let middle = if *upper > lower * GROWTH {
            (lower * upper).sqrt()
        } else {
            f64::midpoint(lower, *upper)
        };
        let middle = rounded(middle, self.limits);
        let is_narrow = upper - lower <= self.limits.tolerance * lower;
        if is_narrow || middle <= lower || middle >= *upper {
            self.confirm();
        } else {
            self.phase = Phase::Narrow;
            self.load = middle;
        }
    }

    fn confirm(&mut self) {
        if let Some(lower) = self.lower {
            self.phase = Phase::Confirm { met: 0 };
            self.load = lower;
        }
    }

    fn confirmed(&mut self, met: u32) {
        if met >= self.limits.confirm {
            self.finish(Some(self.load), met);
        } else {
            self.phase = Phase::Confirm { met };
        }
    }

    /// The best load did not hold: the bracket moves down below it, further each time, since a
    /// system that fails at random would otherwise be followed down in tiny steps.
    fn step_down(&mut self, bound: Bound) {
        let failed = self.load;
        self.upper = Some((failed, bound));
        if failed <= self.limits.min {
            self.finish(None, 0);
            return;
        }
        let mut next = self.between(failed * (1.0 - self.step_down));
        if next >= failed {
            // Whole numbers: the share may be less than one.
            next = self.between(failed - 1.0);
        }
        self.step_down = (self.step_down * 2.0).min(0.5);
        self.lower = Some(next);
        self.confirm();
    }

    fn between(&self, load: f64) -> f64 {
        rounded(load.clamp(self.limits.min, self.limits.max), self.limits)
    }

    fn finish(&mut self, best: Option<f64>, confirmations: u32) {
        let (upper, bound) = match self.upper.take() {
            Some((upper, bound)) => (Some(upper), bound),
            None => (None, Bound::Maximum),
        };
        self.finding = Some(Finding {
            best,
            upper,
            bound,
            confirmations,
        });
    }

    fn end_if_out_of_steps(&mut self) {
        if self.steps >= STEPS_MAX && self.finding.is_none() {
            let confirmations = match self.phase {
                Phase::Confirm { met } => met,
                _ => 0,
            };
            self.finding = Some(Finding {
                best: self.lower.filter(|_| confirmations > 0),
                upper: self.upper.as_ref().map(|(upper, _)| *upper),
                bound: Bound::Steps,
                confirmations,
            });
        }
    }
}

/// A whole number where loads are, but never below the limits.
fn rounded(load: f64, limits: Limits) -> f64 {
    if limits.is_whole {
        load.floor().max(limits.min)
    } else {
        load
    }
}
