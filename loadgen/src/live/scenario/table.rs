//! The table of loads: what each of them says of itself in a line, and which columns there is room
//! for.
//!
//! Owns wording and widths. Widths follow from what was asked for and not from what is measured, so
//! that figures may change without anything moving. Where the table goes is `screen`'s.

use super::scene::{Bill, BilledLoad, End, Scene, State};
use crate::config::Mode;
use crate::live::rows::{self, Row, Tone};
use crate::live::view::{Asked, View};
use crate::measure::verdict::Verdict;
use crate::measure::watch::LivePhase;
use crate::quantity::{format_count, format_ns};

/// A column of the table, in their order from left to right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// What the load is called.
    Name,
    /// What it does.
    Command,
    /// How far it is.
    Phase,
    /// Connections open, of those asked for.
    Open,
    /// What it does per second, of what was asked for.
    Rate,
    /// The median.
    Median,
    /// The 99th percentile.
    High,
    /// How often something went wrong.
    Errors,
    /// What else a verdict would look at.
    Notes,
}

impl Column {
    const ALL: [Column; 9] = [
        Column::Name,
        Column::Command,
        Column::Phase,
        Column::Open,
        Column::Rate,
        Column::Median,
        Column::High,
        Column::Errors,
        Column::Notes,
    ];
    /// On narrow terminals these go, the first one first.
    const SPARE: [Column; 6] = [
        Column::Command,
        Column::Open,
        Column::Median,
        Column::Rate,
        Column::Errors,
        Column::High,
    ];

    /// Its heading.
    pub fn heading(self) -> &'static str {
        match self {
            Column::Name => "load",
            Column::Command => "does",
            Column::Phase => "phase",
            Column::Open => "open",
            Column::Rate => "rate/s",
            Column::Median => "p50",
            Column::High => "p99",
            Column::Errors => "errors",
            Column::Notes => "",
        }
    }

    /// Figures stand to the right, words to the left.
    pub fn is_figure(self) -> bool {
        matches!(
            self,
            Column::Open | Column::Rate | Column::Median | Column::High | Column::Errors
        )
    }
}

/// The marks before each row, and a gap: what is looked at closely, and what is not as it should be.
pub const MARKS_WIDTH: u16 = 3;
/// Names are cut to so much; below the second there is no telling them apart.
const NAME_WIDTH: (u16, u16) = (24, 8);
/// `99.99ms`.
const LATENCY_WIDTH: u16 = 7;
/// `99.9k`, and the heading.
const ERRORS_WIDTH: u16 = 6;
/// A note that is narrower says nothing.
const NOTES_WIDTH_MIN: u16 = 4;
/// `measuring`, `not begun`.
const PHASE_WIDTH: u16 = 9;
/// `subscribing`.
const PHASE_WIDTH_FANOUT: u16 = 11;

fn width_of(text: &str) -> u16 {
    u16::try_from(text.chars().count()).unwrap_or(u16::MAX)
}

/// The widest that a column becomes.
fn widest(loads: &[BilledLoad], width: impl Fn(&BilledLoad) -> u16) -> u16 {
    loads.iter().map(width).max().unwrap_or(0)
}

fn natural_width(column: Column, bill: &Bill) -> u16 {
    let loads = &bill.loads;
    let width = match column {
        Column::Name => widest(loads, |load| width_of(&load.name)).min(NAME_WIDTH.0),
        Column::Command => widest(loads, |load| width_of(load.asked.mode.as_str())),
        Column::Phase => widest(loads, |load| match load.asked.mode {
            Mode::Fanout => PHASE_WIDTH_FANOUT,
            _ => PHASE_WIDTH,
        }),
        Column::Open => widest(loads, |load| {
            2 * width_of(&compact(load.asked.connections as f64)) + 1
        }),
        // Without a rate asked for, the figure may become as wide as any.
        Column::Rate => widest(loads, |load| {
            asked_rate(&load.asked).map_or(5, |rate| 2 * width_of(&compact(rate)) + 1)
        }),
        Column::Median | Column::High => LATENCY_WIDTH,
        Column::Errors => ERRORS_WIDTH,
        Column::Notes => 0,
    };
    width.max(width_of(column.heading()))
}

/// The columns that fit into `width` cells, each with its own width.
pub fn columns(bill: &Bill, width: u16) -> Vec<(Column, u16)> {
    let mut columns: Vec<(Column, u16)> = Column::ALL
        .into_iter()
        .filter(|column| *column != Column::Notes)
        .map(|column| (column, natural_width(column, bill)))
        .collect();
    // The marks, and a gap before each column but the first.
    let taken = |columns: &[(Column, u16)]| {
        let widths: u16 = columns.iter().map(|(_, width)| width).sum();
        MARKS_WIDTH + widths + columns.len().saturating_sub(1) as u16
    };
    let mut spare = Column::SPARE.into_iter();
    while taken(&columns) > width {
        let over = taken(&columns) - width;
        let name = columns
            .iter_mut()
            .find(|(column, _)| *column == Column::Name);
        match name.filter(|(_, name)| *name >= NAME_WIDTH.1 + over) {
            Some((_, name)) => *name -= over,
            None => match spare.next() {
                Some(next) => columns.retain(|(column, _)| *column != next),
                None => break,
            },
        }
    }
    let left = width.saturating_sub(taken(&columns) + 1);
    if left >= NOTES_WIDTH_MIN {
        columns.push((Column::Notes, left));
    }
    columns
}

/// A load in a line.
#[derive(Clone, Debug)]
pub struct LoadRow {
    cells: Vec<(Column, Row)>,
    /// The worst tone of anything that is not as it should be.
    pub trouble: Option<Tone>,
    /// The notes are sentences, which say nothing when only their begin is shown.
    pub has_sentences: bool,
}

impl LoadRow {
    /// What stands in a column.
    pub fn cell(&self, column: Column) -> &[(String, Tone)] {
        let found = self.cells.iter().find(|(own, _)| *own == column);
        found.map_or(&[], |(_, cell)| cell.as_slice())
    }

    /// Of a load.
    pub fn of(scene: &Scene, load: &BilledLoad, state: &State) -> LoadRow {
        let (notes, figures) = (notes(state), Figures::of(&load.asked, state));
        let errors = match figures.errors {
            Some(0) => (compact(0.0), Tone::Plain),
            Some(count) => (compact(count as f64), Tone::Bad),
            None => (String::new(), Tone::Plain),
        };
        let phase = phase(scene, load, state);
        let tones = notes.iter().chain([&errors, &phase]);
        let trouble = tones
            .map(|(_, tone)| *tone)
            .filter(|tone| matches!(tone, Tone::Warn | Tone::Bad))
            .max_by_key(|tone| *tone == Tone::Bad);
        let latency = |ns: Option<u64>| match (ns, state) {
            (Some(ns), _) => vec![(format_ns(ns), Tone::Plain)],
            (None, State::Waiting) => Vec::new(),
            (None, _) => vec![("–".to_owned(), Tone::Name)],
        };
        let asked = &load.asked;
        let command = asked.mode.as_str().to_owned();
        let cells = vec![
            (Column::Name, vec![(load.name.clone(), Tone::Plain)]),
            (Column::Command, vec![(command, Tone::Name)]),
            (Column::Phase, vec![phase]),
            (
                Column::Open,
                of_asked(figures.open, Some(asked.connections as f64)),
            ),
            (
                Column::Rate,
                of_asked(figures.rate, figures.target.or(asked_rate(asked))),
            ),
            (Column::Median, latency(figures.latency_ns[0])),
            (Column::High, latency(figures.latency_ns[1])),
            (Column::Errors, vec![errors]),
            (Column::Notes, joined(notes)),
        ];
        LoadRow {
            cells,
            trouble,
            has_sentences: matches!(state, State::Ended { .. }),
        }
    }
}

fn joined(notes: Vec<(String, Tone)>) -> Row {
    let mut row = Row::new();
    for note in notes {
        if !row.is_empty() {
            row.push((", ".to_owned(), Tone::Name));
        }
        row.push(note);
    }
    row
}

/// `998/1000`; what was asked for, alone, while there is nothing to set against it.
fn of_asked(value: Option<f64>, asked: Option<f64>) -> Row {
    let asked = asked.map(|asked| (format!("/{}", compact(asked)), Tone::Name));
    let value = value.map(|value| (compact(value), Tone::Plain));
    value.into_iter().chain(asked).collect()
}

/// What a load is to do per second: messages, or connections where there are none.
fn asked_rate(asked: &Asked) -> Option<f64> {
    asked
        .rate
        .or(asked.openings_per_second.filter(|_| asked.is_hold_only))
}

/// A figure in at most five cells: `0.5`, `9999`, `12.3k`, `4.00m`.
pub fn compact(value: f64) -> String {
    match value {
        value if value > 0.0 && value < 9.95 && value.fract() > 0.049 => format!("{value:.1}"),
        value if value < 9_999.5 => format!("{value:.0}"),
        value if value < 99_950.0 => format!("{:.1}k", value / 1e3),
        value if value < 999_500.0 => format!("{:.0}k", value / 1e3),
        value if value < 9.995e6 => format!("{:.2}m", value / 1e6),
        value if value < 99.95e6 => format!("{:.1}m", value / 1e6),
        value if value < 999.5e6 => format!("{:.0}m", value / 1e6),
        value => format!("{:.0}g", value / 1e9),
    }
}

/// How far a load is, in a word or two.
fn phase(scene: &Scene, load: &BilledLoad, state: &State) -> (String, Tone) {
    match state {
        State::Waiting if load.step > scene.step => (format!("step {}", load.step + 1), Tone::Name),
        State::Waiting => {
            let left = load.start.saturating_sub(scene.step_elapsed);
            match left.as_millis().div_ceil(1_000) {
                0 => ("waiting".to_owned(), Tone::Name),
                seconds @ 1..600 => (format!("in {seconds} s"), Tone::Name),
                seconds => (format!("in {} min", seconds / 60), Tone::Name),
            }
        }
        State::Running { view: None, .. } => ("starting".to_owned(), Tone::Plain),
        State::Running {
            view: Some(view), ..
        } => (view.phase_text().to_owned(), Tone::Plain),
        State::Ended { end, .. } => match &**end {
            End::Reported(outcome) => {
                let word = outcome.verdict.as_str().to_owned();
                (word, verdict_tone(outcome.verdict))
            }
            End::Failed(_) => ("failed".to_owned(), Tone::Bad),
            End::NotBegun => ("not begun".to_owned(), Tone::Warn),
        },
    }
}

/// How a verdict is meant.
pub fn verdict_tone(verdict: Verdict) -> Tone {
    match verdict {
        Verdict::Valid => Tone::Strong,
        Verdict::Suspect => Tone::Warn,
        Verdict::Invalid => Tone::Bad,
    }
}

/// The figures of a row.
#[derive(Clone, Copy, Debug, Default)]
struct Figures {
    open: Option<f64>,
    rate: Option<f64>,
    /// Where it differs from what was asked for at first: stages.
    target: Option<f64>,
    latency_ns: [Option<u64>; 2],
    errors: Option<u64>,
}

impl Figures {
    fn of(asked: &Asked, state: &State) -> Figures {
        match state {
            State::Waiting => Figures::default(),
            State::Running { view, .. } => view.as_deref().map(of_view).unwrap_or_default(),
            State::Ended { view, end } => match (&**end, view.as_deref()) {
                (End::Reported(outcome), _) => Figures {
                    open: outcome.alive.map(|alive| alive as f64),
                    rate: match outcome.opened_per_second {
                        Some(opened) if asked.is_hold_only => Some(opened),
                        _ => has_rate(asked).then_some(outcome.per_second),
                    },
                    target: None,
                    latency_ns: match outcome.latency_ns {
                        Some(latencies) => latencies.map(Some),
                        None => [None; 2],
                    },
                    errors: Some(outcome.errors),
                },
                (End::Failed(_) | End::NotBegun, Some(view)) => of_view(view),
                (End::Failed(_) | End::NotBegun, None) => Figures::default(),
            },
        }
    }
}

fn has_rate(asked: &Asked) -> bool {
    asked.mode != Mode::Idle
}

fn of_view(view: &View) -> Figures {
    let asked = &view.asked;
    let is_loaded = matches!(view.phase, LivePhase::WarmUp | LivePhase::Measuring);
    let lately = match asked.mode {
        Mode::Churn if asked.is_hold_only => view.opened_per_second,
        // A server that paces its own feed publishes without us.
        Mode::Fanout if asked.rate.is_some() => view.sent_per_second,
        _ => view.received_per_second,
    };
    // While the last replies are awaited nothing is sent, and that is as it should be.
    let rate = if is_loaded {
        lately
    } else {
        view.so_far.per_second().filter(|_| !asked.is_hold_only)
    };
    let measured = view.measured.as_deref().filter(|times| times.count > 0);
    let troubles: u64 = view.troubles.values().sum();
    Figures {
        open: Some(view.reading.open as f64),
        rate: rate.filter(|_| has_rate(asked)),
        target: view.target_per_second,
        latency_ns: [
            measured.map(|times| times.p50),
            measured.map(|times| times.p99),
        ],
        // The gauge knows failures at once, the seconds know everything else, too.
        errors: Some(troubles.max(view.reading.failed)),
    }
}

/// What else a verdict would look at, the worst first; of a load that has ended, what it was.
pub fn notes(state: &State) -> Vec<(String, Tone)> {
    match state {
        State::Waiting => Vec::new(),
        State::Running { view, .. } => view.as_deref().map(notes_so_far).unwrap_or_default(),
        State::Ended { end, .. } => match &**end {
            End::Reported(outcome) => {
                let tone = verdict_tone(outcome.verdict);
                let reasons = outcome.reasons.iter();
                reasons.map(|reason| (reason.clone(), tone)).collect()
            }
            End::Failed(cause) => vec![(cause.clone(), Tone::Bad)],
            End::NotBegun => Vec::new(),
        },
    }
}

fn notes_so_far(view: &View) -> Vec<(String, Tone)> {
    let mode = view.asked.mode;
    let mut notes = rows::doubts(view, |_| "late".to_owned());
    let is_loaded = matches!(view.phase, LivePhase::WarmUp | LivePhase::Measuring);
    let gone = view.reading.opened.saturating_sub(view.reading.open);
    if is_loaded && gone > 0 && !matches!(mode, Mode::Churn | Mode::Storm) {
        notes.push((format!("{} gone", format_count(gone)), Tone::Warn));
    }
    notes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn figures_are_short_and_their_magnitude_is_right() {
        for (value, text) in [
            (0.0, "0"),
            (0.5, "0.5"),
            (3.0, "3"),
            (9.97, "10"),
            (999.6, "1000"),
            (9_999.0, "9999"),
            (9_999.7, "10.0k"),
            (123_456.0, "123k"),
            (999_499.0, "999k"),
            (999_600.0, "1.00m"),
            (4_000_000.0, "4.00m"),
            (2e9, "2g"),
        ] {
            assert_eq!(compact(value), text);
        }
    }

    proptest! {
        #[test]
        fn no_figure_is_wider_than_five_cells(value in 0.0f64..9e11) {
            let text = compact(value);
            prop_assert!(text.len() <= 5, "{} is {:?}", value, text);
        }
    }
}
