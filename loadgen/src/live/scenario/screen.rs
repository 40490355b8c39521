//! The live view of a scenario: where each part stands on a terminal of any size.
//!
//! Owns layout. The words of the rows are `table`'s, and a load is looked at closely with the parts
//! of the view that a single load has. It draws into a buffer and never talks to a terminal, so it
//! is tested without one.

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier};
use ratatui::text::{Line, Span};
use ratatui::widgets::Widget;

use super::scene::{BilledLoad, End, Left, Scene, State};
use super::table::{Column, LoadRow, MARKS_WIDTH, columns, verdict_tone};
use crate::live::rows::Tone;
use crate::live::screen::{
    Theme, bar, few_figures, figures, left_text, legend, line, take, take_bottom, time_text,
};
use crate::live::where_metrics_are;
use crate::measure::watch::LivePhase;

/// From this height on groups of rows stand apart.
const ROOMY_HEIGHT: u16 = 22;
/// With fewer lines than this for one load, only the most important of them are shown.
const FIGURES_HEIGHT_MIN: u16 = 9;
/// One load, looked at closely, gets so many lines before the table takes more than half of them.
const CLOSE_HEIGHT: u16 = 14;
/// A sentence in the table that is cut below this says nothing.
const SENTENCE_WIDTH_MIN: u16 = 20;
/// Reasons of a verdict take no more lines than this.
const REASON_LINES_MAX: usize = 4;
/// The keys in full words and the legend need so much; the legend alone, with short ones, the rest.
const FOOT_WIDTHS: (u16, u16) = (100, 72);
/// The legend without its heading, and the keys.
const FOOT_WIDTH_MIN: u16 = 52;

/// Draws a scene over the whole frame, with one load looked at closely.
pub fn draw(frame: &mut Frame<'_>, scene: &Scene, focus: usize, theme: Theme) {
    let area = frame.area();
    paint(frame.buffer_mut(), area, scene, focus, theme);
}

/// Draws a scene. Whatever does not fit is left out, the least important first.
pub fn paint(buffer: &mut Buffer, area: Rect, scene: &Scene, focus: usize, theme: Theme) {
    if area.is_empty() {
        return;
    }
    let gap = u16::from(area.height >= ROOMY_HEIGHT);
    let mut rest = area;
    head(buffer, take(&mut rest, 1), scene, theme);
    let (share, words) = progress(scene, area.width);
    bar(buffer, take(&mut rest, 1), share, &words, theme);
    take(&mut rest, gap);
    let foot = take_bottom(&mut rest, u16::from(area.height >= 6));
    let heading = u16::from(area.height >= 5);
    let body = rest.height.saturating_sub(heading + gap);
    let wanted = u16::try_from(scene.states.len()).unwrap_or(u16::MAX);
    let lines = wanted.min((body / 2).max(body.saturating_sub(CLOSE_HEIGHT)).max(1));
    let table = take(&mut rest, heading + lines);
    loads(buffer, table, heading, scene, focus, theme);
    take(&mut rest, gap);
    let close = scene.loads().nth(focus);
    let has_strip = close.is_some_and(|load| closely(buffer, rest, scene, load, theme));
    self::foot(buffer, foot, scene, has_strip, theme);
}

/// The name of the scenario, and the step.
fn head(buffer: &mut Buffer, area: Rect, scene: &Scene, theme: Theme) {
    let bold = theme.colored(Color::Cyan).add_modifier(Modifier::BOLD);
    let steps = scene.bill.steps.len();
    let step = scene.bill.steps.get(scene.step);
    let words = match step.filter(|name| !name.is_empty()) {
        _ if scene.is_ending => "ending".to_owned(),
        Some(name) if steps > 1 => format!("step {} of {steps}: {name}", scene.step + 1),
        _ => {
            let running = scene.states.iter().filter(|state| state.is_running());
            format!("{} running", running.count())
        }
    };
    // A long name of a step must leave room for that of the scenario.
    let width = (Line::raw(words.as_str()).width() as u16 + 2).min(area.width * 3 / 4);
    let [left, right] =
        Layout::horizontal([Constraint::Fill(1), Constraint::Length(width)]).areas(area);
    let row = [
        (scene.bill.name.clone(), Tone::Strong),
        (
            match scene.bill.description.as_str() {
                "" => String::new(),
                description => format!("  {description}"),
            },
            Tone::Name,
        ),
    ];
    let [command, name] =
        Layout::horizontal([Constraint::Length(4), Constraint::Fill(1)]).areas(left);
    Line::styled("run", bold).render(command, buffer);
    line(buffer, name, &row, theme);
    let text = Line::styled(words.as_str(), bold);
    if text.width() < usize::from(right.width) {
        text.right_aligned().render(right, buffer);
    } else {
        let place = Rect {
            x: right.x + 2,
            width: right.width.saturating_sub(2),
            ..right
        };
        line(buffer, place, &[(words, Tone::Strong)], theme);
    }
}

/// How far the step is, and what is left of it and of everything.
fn progress(scene: &Scene, width: u16) -> (Option<f64>, String) {
    let elapsed = scene.step_elapsed;
    let (step, all) = (scene.left_of_step(), scene.left_of_all());
    if scene.is_ending {
        return (None, "waiting for what is under way".to_owned());
    }
    let Some(left) = step.time else {
        return (None, format!("{} s so far", elapsed.as_secs()));
    };
    let whole = elapsed + left;
    let share = (!whole.is_zero()).then(|| elapsed.as_secs_f64() / whole.as_secs_f64());
    let text = |left: Left| {
        let ns = u64::try_from(left.time?.as_nanos()).unwrap_or(u64::MAX);
        let about = if left.is_about { "about " } else { "" };
        Some(format!("{about}{}", time_text(ns)))
    };
    let of_step = text(step).unwrap_or_default();
    let is_last = scene.step + 1 >= scene.bill.steps.len();
    let words = match text(all).filter(|_| !is_last && width >= 60) {
        Some(of_all) => format!("{of_step} left of the step, {of_all} of all"),
        None => format!("{of_step} left"),
    };
    (share, words)
}

/// The loads that are shown when there are only `lines` for them: first and last index. The one
/// that is looked at is among them, and as many of those that run as can be.
fn window(scene: &Scene, focus: usize, lines: usize) -> std::ops::Range<usize> {
    let count = scene.states.len();
    if lines >= count {
        return 0..count;
    }
    let focus = focus.min(count.saturating_sub(1));
    let first = focus.saturating_sub(lines.saturating_sub(1));
    let running = |begin: usize| {
        let shown = scene.states.iter().skip(begin).take(lines);
        shown.filter(|state| state.is_running()).count()
    };
    let last = focus.min(count - lines);
    // The first of equals, so that nothing moves without need.
    let begins = (first..=last).rev();
    let begin = begins
        .max_by_key(|begin| (running(*begin), std::cmp::Reverse(*begin)))
        .unwrap_or(first);
    begin..begin + lines
}

/// The table of loads; below it how many are not shown.
fn loads(buffer: &mut Buffer, area: Rect, heading: u16, scene: &Scene, focus: usize, theme: Theme) {
    let columns = columns(&scene.bill, area.width);
    let mut rest = area;
    let place = take(&mut rest, heading);
    for (column, cell) in cells(&columns, place) {
        let text = Line::styled(column.heading(), theme.tone(Tone::Name));
        aligned(text, column).render(cell, buffer);
    }
    let lines = usize::from(rest.height);
    // The line that says how many are missing takes the place of a load.
    let has_more = scene.states.len() > lines && lines > 1;
    let shown = window(scene, focus, lines - usize::from(has_more));
    for (index, (load, state)) in scene.loads().enumerate() {
        if shown.contains(&index) {
            let row = LoadRow::of(scene, load, state);
            let place = take(&mut rest, 1);
            load_row(buffer, place, &columns, &row, index == focus, theme);
        }
    }
    if has_more {
        let hidden = scene.states.iter().enumerate();
        let hidden: Vec<&State> = hidden
            .filter(|(index, _)| !shown.contains(index))
            .map(|(_, state)| state)
            .collect();
        let count =
            |is_wanted: fn(&State) -> bool| hidden.iter().filter(|state| is_wanted(state)).count();
        let mut parts = Vec::new();
        for (count, what) in [
            (count(State::is_running), "run"),
            (count(|state| matches!(state, State::Waiting)), "wait"),
            (count(|state| matches!(state, State::Ended { .. })), "ended"),
        ] {
            if count > 0 {
                parts.push(format!("{count} {what}"));
            }
        }
        let text = format!("   … {} more: {}", hidden.len(), parts.join(", "));
        line(buffer, take(&mut rest, 1), &[(text, Tone::Name)], theme);
    }
}

/// Each column with its place in a line.
fn cells(columns: &[(Column, u16)], line: Rect) -> impl Iterator<Item = (Column, Rect)> {
    let mut x = line.x + MARKS_WIDTH;
    columns.iter().map(move |(column, width)| {
        let cell = Rect {
            x,
            width: *width,
            ..line
        };
        x += width + 1;
        (*column, cell.intersection(line))
    })
}

fn aligned(line: Line<'_>, column: Column) -> Line<'_> {
    if column.is_figure() {
        line.right_aligned()
    } else {
        line
    }
}

fn load_row(
    buffer: &mut Buffer,
    area: Rect,
    columns: &[(Column, u16)],
    row: &LoadRow,
    is_focus: bool,
    theme: Theme,
) {
    let bold = theme.colored(Color::Cyan).add_modifier(Modifier::BOLD);
    let marks = [
        Span::styled(if is_focus { "▸" } else { " " }, bold),
        match row.trouble {
            Some(tone) => Span::styled("!", theme.tone(tone)),
            None => Span::raw(" "),
        },
    ];
    Line::from_iter(marks).render(area, buffer);
    for (column, place) in cells(columns, area) {
        let cell = row.cell(column);
        if column == Column::Notes && row.has_sentences && place.width < SENTENCE_WIDTH_MIN {
            continue;
        }
        if column == Column::Name && is_focus {
            let strong: Vec<_> = cell
                .iter()
                .map(|(text, _)| (text.clone(), Tone::Strong))
                .collect();
            line(buffer, place, &strong, theme);
        } else if column.is_figure() {
            let spans = cell
                .iter()
                .map(|(text, tone)| Span::styled(text.as_str(), theme.tone(*tone)));
            let mut figure = Line::from_iter(spans);
            // A figure that lacks a digit is another figure; what was asked for can be missed.
            if figure.width() > usize::from(place.width) {
                figure.spans.truncate(1);
            }
            figure.right_aligned().render(place, buffer);
        } else {
            line(buffer, place, cell, theme);
        }
    }
}

/// One load with all that is known of it. True when its strip is shown.
fn closely(
    buffer: &mut Buffer,
    area: Rect,
    scene: &Scene,
    (load, state): (&BilledLoad, &State),
    theme: Theme,
) -> bool {
    let mut rest = area;
    title(buffer, take(&mut rest, 1), (load, state), theme);
    match state {
        State::Waiting => waiting(buffer, &mut rest, scene, load, theme),
        State::Running { metrics, .. } => {
            if let Some(address) = metrics.filter(|_| rest.height > FIGURES_HEIGHT_MIN) {
                let row = [(where_metrics_are(address), Tone::Name)];
                line(buffer, take_bottom(&mut rest, 1), &row, theme);
            }
        }
        State::Ended { end, .. } => {
            let texts = match &**end {
                End::Reported(outcome) => outcome.reasons.clone(),
                End::Failed(cause) => vec![cause.clone()],
                End::NotBegun => vec!["the scenario ended before it began".to_owned()],
            };
            let most = REASON_LINES_MAX.min(usize::from(rest.height) / 2);
            let width = rest.width;
            let lines = texts.iter().flat_map(|text| wrapped(text, width));
            for text in lines.take(most) {
                let row = [(text, Tone::Plain)];
                line(buffer, take(&mut rest, 1), &row, theme);
            }
        }
    }
    let Some(view) = state.view() else {
        return false;
    };
    if rest.height >= FIGURES_HEIGHT_MIN {
        // The strip is worth more than distances until there is plenty of room.
        let gap = u16::from(rest.height >= 2 * FIGURES_HEIGHT_MIN);
        figures(buffer, rest, view, gap, theme)
    } else {
        few_figures(buffer, rest, view, theme);
        false
    }
}

/// A rule across the screen with the name of the load, where it goes, and how far it is.
fn title(buffer: &mut Buffer, area: Rect, (load, state): (&BilledLoad, &State), theme: Theme) {
    if area.is_empty() {
        return;
    }
    let (words, tone) = match state {
        State::Waiting => ("waiting".to_owned(), Tone::Name),
        State::Running { view: None, .. } => ("starting".to_owned(), Tone::Strong),
        State::Running {
            view: Some(view), ..
        } => {
            let text = match view.phase {
                // Its name says already what the seconds are of.
                LivePhase::WarmUp => format!("warm-up, {} s", view.phase_elapsed.as_secs()),
                _ => format!("{}, {}", view.phase_text(), left_text(view)),
            };
            (text, Tone::Strong)
        }
        State::Ended { end, .. } => match &**end {
            End::Reported(outcome) => {
                let word = outcome.verdict.as_str().to_owned();
                (word, verdict_tone(outcome.verdict))
            }
            End::Failed(_) => ("failed".to_owned(), Tone::Bad),
            End::NotBegun => ("not begun".to_owned(), Tone::Warn),
        },
    };
    let rule = "─".repeat(usize::from(area.width));
    buffer.set_string(area.x, area.y, rule, theme.tone(Tone::Name));
    let width = (Line::raw(words.as_str()).width() as u16 + 4).min(area.width);
    let [_, left, right] = Layout::horizontal([
        Constraint::Length(2),
        Constraint::Fill(1),
        Constraint::Length(width),
    ])
    .areas(area);
    let row = [
        (format!(" {} ", load.name), Tone::Strong),
        (
            format!(" {} {} ", load.asked.mode.as_str(), load.asked.url),
            Tone::Name,
        ),
    ];
    line(buffer, left, &row, theme);
    let row = [(format!(" {words} "), tone)];
    let place = Rect {
        x: right.x + 1,
        width: right.width.saturating_sub(1),
        ..right
    };
    line(buffer, place, &row, theme);
}

fn waiting(buffer: &mut Buffer, rest: &mut Rect, scene: &Scene, load: &BilledLoad, theme: Theme) {
    let start = time_text(u64::try_from(load.start.as_nanos()).unwrap_or(u64::MAX));
    let step = scene.bill.steps.get(load.step);
    let step = step.filter(|_| scene.bill.steps.len() > 1);
    let text = match (step, load.start.is_zero()) {
        (Some(name), true) => format!("begins with step {}, {name}", load.step + 1),
        (Some(name), false) => format!("begins {start} into step {}, {name}", load.step + 1),
        (None, true) => "begins at once".to_owned(),
        (None, false) => format!("begins {start} after the others"),
    };
    line(buffer, take(rest, 1), &[(text, Tone::Plain)], theme);
    for text in wrapped(&load.command_line, rest.width) {
        line(buffer, take(rest, 1), &[(text, Tone::Name)], theme);
    }
}

/// A text in lines of at most `width` cells, broken between words where that is possible.
fn wrapped(text: &str, width: u16) -> Vec<String> {
    let width = usize::from(width.max(1));
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let Some(last) = lines.last_mut() else {
            break;
        };
        let joined = Line::raw(last.as_str()).width() + 1 + Line::raw(word).width();
        if last.is_empty() {
            last.push_str(word);
        } else if joined <= width {
            last.push(' ');
            last.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

/// The keys, and what the shades mean.
fn foot(buffer: &mut Buffer, area: Rect, scene: &Scene, has_strip: bool, theme: Theme) {
    let key = |text: &'static str| Span::styled(text, theme.tone(Tone::Strong));
    let word = |text: &'static str| Span::styled(text, theme.tone(Tone::Name));
    let is_wide = area.width >= FOOT_WIDTHS.0;
    if scene.has_failed() {
        // A key that ends what ends already does nothing.
        let row = [("a load has failed, so all of them end", Tone::Bad)];
        let row = row.map(|(text, tone)| (text.to_owned(), tone));
        return line(buffer, area, &row, theme);
    }
    let mut spans = vec![key("q")];
    spans.push(word(match (scene.is_ending, is_wide) {
        (true, _) => " end at once, without a report",
        (false, true) => " end with a report",
        (false, false) => " end",
    }));
    if scene.states.len() > 1 {
        spans.extend([word("  "), key("↑↓")]);
        spans.push(word(if is_wide { " choose a load" } else { " load" }));
    }
    if has_strip && !scene.is_ending && area.width >= FOOT_WIDTH_MIN {
        spans.push(word(if area.width >= FOOT_WIDTHS.1 {
            "   share of a second:"
        } else {
            "  "
        }));
        spans.extend(legend(theme));
    }
    Line::from(spans).render(area, buffer);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_broken_between_words() {
        assert_eq!(
            wrapped("one two  three", 7),
            ["one two", "three"],
            "between words"
        );
        assert_eq!(wrapped("unbreakable", 4), ["unbreakable"]);
        assert_eq!(wrapped("", 4), [""]);
    }
}
