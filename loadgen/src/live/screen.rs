//! The live view: where each row stands on a terminal of any size, and in which colour.
//!
//! Owns layout and colours. The figures and their wording are `rows`', the cells of the strip are
//! `heat`'s. It draws into a buffer and never talks to a terminal, so it is tested without one.

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Sparkline, Widget};

use super::heat::{Shade, Strip};
use super::rows::{self, NAME_WIDTH, Row, Tone};
use super::view::View;
use crate::measure::watch::LivePhase;

/// Whether colours are wanted. Without them everything is still told apart by words and glyphs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Theme {
    /// False with `NO_COLOR`.
    pub has_color: bool,
}

impl Theme {
    pub(super) fn tone(self, tone: Tone) -> Style {
        let color = match tone {
            Tone::Name => return Style::new().add_modifier(Modifier::DIM),
            Tone::Plain => return Style::new(),
            Tone::Strong => return Style::new().add_modifier(Modifier::BOLD),
            Tone::Warn => Color::Yellow,
            Tone::Bad => Color::Red,
        };
        self.colored(color).add_modifier(Modifier::BOLD)
    }

    pub(super) fn colored(self, color: Color) -> Style {
        match self.has_color {
            true => Style::new().fg(color),
            false => Style::new(),
        }
    }

    /// The sixteen colours that every terminal has, in its owner's choice of them.
    fn shade(self, shade: Shade) -> Style {
        self.colored(match shade {
            Shade::Empty => return Style::new(),
            Shade::Trace => Color::LightRed,
            Shade::Light => Color::LightBlue,
            Shade::Medium => Color::Cyan,
            Shade::Dark => Color::Green,
            Shade::Full => Color::Yellow,
        })
    }
}

/// Latency labels left of the strip are so wide.
const SCALE_WIDTH: u16 = 8;
/// A sparkline narrower than this says nothing.
const SPARKLINE_WIDTH_MIN: u16 = 10;
/// With fewer rows than this there is no strip.
const STRIP_HEIGHT_MIN: u16 = 2;
/// The strip does not grow beyond this: a row is then half a decade or less.
const STRIP_HEIGHT_MAX: u16 = 24;
/// The widest cell of the strip, for short runs on wide terminals.
const CELL_WIDTH_MAX: usize = 4;
/// The legend in full words needs so much.
const LEGEND_WIDTH: u16 = 76;
/// From this height on groups of rows stand apart.
const ROOMY_HEIGHT: u16 = 22;

/// Draws a view over the whole frame.
pub fn draw(frame: &mut Frame<'_>, view: &View, theme: Theme) {
    let area = frame.area();
    paint(frame.buffer_mut(), area, view, theme);
}

/// Draws a view. Whatever does not fit is left out, the least important first.
pub fn paint(buffer: &mut Buffer, area: Rect, view: &View, theme: Theme) {
    if area.is_empty() {
        return;
    }
    let gap = u16::from(area.height >= ROOMY_HEIGHT);
    let mut rest = area;
    head(buffer, take(&mut rest, 1), view, theme);
    progress(buffer, take(&mut rest, 1), view, theme);
    take(&mut rest, gap);
    let foot = take_bottom(&mut rest, u16::from(area.height >= 6));
    figures(buffer, rest, view, gap, theme);
    self::foot(buffer, foot, view, theme);
}

/// All that is known of a load but its name and phase. Groups of rows stand `gap` apart.
/// True when the strip is among it.
pub(super) fn figures(
    buffer: &mut Buffer,
    area: Rect,
    view: &View,
    gap: u16,
    theme: Theme,
) -> bool {
    let mut rest = area;
    line(buffer, take(&mut rest, 1), &rows::connections(view), theme);
    line(buffer, take(&mut rest, 1), &rows::messages(view), theme);
    if let Some(row) = rows::rate(view) {
        rate(buffer, take(&mut rest, 1), &row, view, theme);
    }
    line(buffer, take(&mut rest, 1), &rows::generator(view), theme);
    if let Some(row) = rows::server(view) {
        line(buffer, take(&mut rest, 1), &row, theme);
    }
    if let Some(row) = rows::so_far(view) {
        line(buffer, take(&mut rest, 1), &row, theme);
    }
    let table = rows::percentiles(view, usize::from(area.width));
    if table.is_empty() {
        return false;
    }
    take(&mut rest, gap);
    for row in &table {
        line(buffer, take(&mut rest, 1), row, theme);
    }
    take(&mut rest, gap);
    strip(buffer, rest, view, theme)
}

/// The same where there are only a few lines: those that say most, in their usual order.
pub(super) fn few_figures(buffer: &mut Buffer, area: Rect, view: &View, theme: Theme) {
    let mut table = rows::percentiles(view, usize::from(area.width)).into_iter();
    let (heading, last, measured) = (table.next(), table.next(), table.next());
    // The lower, the more it says.
    let rows = [
        (6, Some(rows::connections(view))),
        (7, Some(rows::messages(view))),
        (3, rows::rate(view)),
        (4, Some(rows::generator(view))),
        (2, rows::so_far(view)),
        (0, heading),
        (5, last),
        (1, measured),
    ];
    let mut ranks: Vec<u8> = rows
        .iter()
        .filter_map(|(rank, row)| row.as_ref().map(|_| *rank))
        .collect();
    ranks.sort_unstable();
    ranks.truncate(usize::from(area.height));
    let mut rest = area;
    for (rank, row) in rows {
        let Some(row) = row.filter(|_| ranks.contains(&rank)) else {
            continue;
        };
        let place = take(&mut rest, 1);
        match rank {
            3 => rate(buffer, place, &row, view, theme),
            _ => line(buffer, place, &row, theme),
        }
    }
}

/// Cuts rows off the top of an area; fewer, or none, when it has not so many.
pub(super) fn take(area: &mut Rect, height: u16) -> Rect {
    let [top, rest] = Layout::vertical([
        Constraint::Length(height.min(area.height)),
        Constraint::Fill(1),
    ])
    .areas(*area);
    *area = rest;
    top
}

pub(super) fn take_bottom(area: &mut Rect, height: u16) -> Rect {
    let [rest, bottom] = Layout::vertical([
        Constraint::Fill(1),
        Constraint::Length(height.min(area.height)),
    ])
    .areas(*area);
    *area = rest;
    bottom
}

/// A row; one that is cut off says so.
pub(super) fn line(buffer: &mut Buffer, area: Rect, row: &[(String, Tone)], theme: Theme) {
    let spans = row
        .iter()
        .map(|(text, tone)| Span::styled(text.as_str(), theme.tone(*tone)));
    let line = Line::from_iter(spans);
    let is_cut = line.width() > usize::from(area.width);
    line.render(area, buffer);
    if is_cut && !area.is_empty() {
        let style = theme.tone(Tone::Name);
        buffer.set_string(area.right() - 1, area.y, "…", style);
    }
}

fn head(buffer: &mut Buffer, area: Rect, view: &View, theme: Theme) {
    let phase = view.phase_text();
    let [left, right] = Layout::horizontal([
        Constraint::Fill(1),
        Constraint::Length(phase.len() as u16 + 1),
    ])
    .areas(area);
    let bold = theme.colored(Color::Cyan).add_modifier(Modifier::BOLD);
    let command = format!("{:<NAME_WIDTH$}", view.asked.mode.as_str());
    let parts = [
        Span::styled(command, bold),
        Span::raw(view.asked.url.as_str()),
    ];
    Line::from_iter(parts).render(left, buffer);
    Line::styled(phase, bold)
        .right_aligned()
        .render(right, buffer);
}

/// A bar of the phase, and what is left of it in words.
fn progress(buffer: &mut Buffer, area: Rect, view: &View, theme: Theme) {
    bar(buffer, area, view.progress(), &left_text(view), theme);
}

/// What is left of a phase, or how long it lasts already.
pub(super) fn left_text(view: &View) -> String {
    match (view.phase, view.progress()) {
        (LivePhase::WarmUp, Some(_)) => format!("{} s of warm-up", view.phase_elapsed.as_secs()),
        (LivePhase::Measuring, Some(share)) if view.asked.messages_max.is_some() => {
            format!("{:.0}% of the messages", share * 100.0)
        }
        (LivePhase::Measuring, Some(_)) => format!("{} left", time_text(view.left_ns)),
        (LivePhase::Opening, Some(share)) => format!("{:.0}%", share * 100.0),
        _ => format!("{} s", view.phase_elapsed.as_secs()),
    }
}

/// A bar that is filled so far (0 to 1) where that is known, with words behind it.
pub(super) fn bar(buffer: &mut Buffer, area: Rect, share: Option<f64>, words: &str, theme: Theme) {
    let [bar, _, behind] = Layout::horizontal([
        Constraint::Fill(1),
        Constraint::Length(1),
        Constraint::Length(Line::raw(words).width() as u16),
    ])
    .areas(area);
    let cells = f64::from(bar.width) * share.unwrap_or(0.0);
    let filled = (cells.round() as usize).min(usize::from(bar.width));
    let style = theme.colored(Color::Cyan);
    let parts = [
        Span::styled("━".repeat(filled), style),
        Span::styled(
            "╌".repeat(usize::from(bar.width) - filled),
            theme.tone(Tone::Name),
        ),
    ];
    Line::from_iter(parts).render(bar, buffer);
    Line::raw(words).render(behind, buffer);
}

/// A time that is left, in whole seconds: `11 s`, `2 min 05 s`.
pub(super) fn time_text(left_ns: u64) -> String {
    match left_ns.div_ceil(1_000_000_000) {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds => format!("{} min {:02} s", seconds / 60, seconds % 60),
    }
}

/// The rate in words, and as a curve if there is room for one.
fn rate(buffer: &mut Buffer, area: Rect, row: &Row, view: &View, theme: Theme) {
    line(buffer, area, row, theme);
    let words: usize = row.iter().map(|(text, _)| text.chars().count()).sum();
    let taken = u16::try_from(words + 2).unwrap_or(u16::MAX);
    let Some(width) = area.width.checked_sub(taken) else {
        return;
    };
    if width < SPARKLINE_WIDTH_MIN || area.height == 0 {
        return;
    }
    let curve = Rect {
        x: area.x + taken,
        width,
        ..area
    };
    let shown = view.rates.len().min(usize::from(width));
    let rates: Vec<u64> = view
        .rates
        .iter()
        .skip(view.rates.len() - shown)
        .copied()
        .collect();
    let target = view.target_per_second.unwrap_or(0.0) as u64;
    let highest = rates.iter().copied().max().unwrap_or(0).max(target).max(1);
    Sparkline::default()
        .data(rates)
        .max(highest)
        .style(theme.colored(Color::Cyan))
        .render(curve, buffer);
}

/// The strip: a scale on the left, the seconds, and their numbers below. False when there is no
/// room for it, or nothing to show.
fn strip(buffer: &mut Buffer, area: Rect, view: &View, theme: Theme) -> bool {
    let height = area.height.saturating_sub(1).min(STRIP_HEIGHT_MAX);
    if height < STRIP_HEIGHT_MIN || area.width <= SCALE_WIDTH + 1 || view.columns.is_empty() {
        return false;
    }
    let cells = area.width - SCALE_WIDTH - 1;
    let planned_s = (view.asked.warmup_ns + view.asked.duration_ns).div_ceil(1_000_000_000);
    let cell_width = usize::try_from(u64::from(cells) / planned_s.max(1))
        .unwrap_or(1)
        .clamp(1, CELL_WIDTH_MAX);
    let shown = view.columns.len().min(usize::from(cells) / cell_width);
    let first = view.columns.len() - shown;
    let columns = view.columns.iter().skip(first).map(|column| &**column);
    let strip = Strip::lay_out(columns, usize::from(height));
    // Never more than there is room for.
    let height = height.min(u16::try_from(strip.height()).unwrap_or(height));
    for row in 0..height {
        // Row 0 of the strip is the lowest.
        let y = area.y + height - 1 - row;
        let begin_ns = strip.row_begin_ns(usize::from(row));
        if row % 2 == 0 || height <= 6 {
            let label = begin_ns.map_or_else(String::new, round_latency);
            let label = format!("{label:>width$} ", width = usize::from(SCALE_WIDTH) - 1);
            buffer.set_string(area.x, y, label, theme.tone(Tone::Name));
        }
        buffer.set_string(area.x + SCALE_WIDTH, y, "│", theme.tone(Tone::Name));
        for (index, shade) in strip.row(usize::from(row)).iter().enumerate() {
            let x = area.x + SCALE_WIDTH + 1 + (index * cell_width) as u16;
            let cell = shade.glyph().to_string().repeat(cell_width);
            buffer.set_string(x, y, cell, theme.shade(*shade));
        }
    }
    let axis = Rect {
        x: area.x + SCALE_WIDTH + 1,
        y: area.y + height,
        width: cells,
        height: 1,
    };
    time_axis(
        buffer,
        axis,
        view.seconds_dropped + first,
        shown,
        cell_width,
        theme,
    );
    true
}

/// Seconds since the load began: the first that is shown, and then every tenth.
fn time_axis(
    buffer: &mut Buffer,
    area: Rect,
    first: usize,
    shown: usize,
    cell_width: usize,
    theme: Theme,
) {
    const EVERY: usize = 10;
    let mut free_from = 0;
    for second in first..first + shown {
        let label = format!("{second}s");
        let x = (second - first) * cell_width;
        let is_wanted = second == first || second.is_multiple_of(EVERY);
        if is_wanted && x >= free_from && x + label.len() <= usize::from(area.width) {
            buffer.set_string(area.x + x as u16, area.y, &label, theme.tone(Tone::Name));
            free_from = x + label.len() + 1;
        }
    }
}

/// Two digits say enough on an axis.
fn round_latency(ns: u64) -> String {
    match ns {
        0..1_000_000 => format_axis(ns as f64 / 1e3, "us"),
        1_000_000..1_000_000_000 => format_axis(ns as f64 / 1e6, "ms"),
        _ => format_axis(ns as f64 / 1e9, "s"),
    }
}

fn format_axis(value: f64, unit: &str) -> String {
    match value {
        value if value < 9.95 => format!("{value:.1}{unit}"),
        value if value < 99.5 => format!("{value:.0}{unit}"),
        value => format!("{:.0}{unit}", (value / 10.0).round() * 10.0),
    }
}

/// The keys, and what the shades mean.
fn foot(buffer: &mut Buffer, area: Rect, view: &View, theme: Theme) {
    let is_roomy = area.width >= LEGEND_WIDTH;
    let mut spans = vec![Span::styled("q", theme.tone(Tone::Strong))];
    let words = if is_roomy {
        " end with a report"
    } else {
        " end"
    };
    spans.push(Span::styled(words, theme.tone(Tone::Name)));
    if !view.columns.is_empty() {
        let words = if is_roomy {
            "   share of a second:"
        } else {
            "  "
        };
        spans.push(Span::styled(words, theme.tone(Tone::Name)));
        spans.extend(legend(theme));
    }
    Line::from(spans).render(area, buffer);
}

/// What the shades mean.
pub(super) fn legend(theme: Theme) -> impl Iterator<Item = Span<'static>> {
    Shade::LEGEND.into_iter().flat_map(move |(shade, share)| {
        [
            Span::raw(" "),
            Span::styled(shade.glyph().to_string(), theme.shade(shade)),
            Span::styled(format!(" {share}"), theme.tone(Tone::Name)),
        ]
    })
}
