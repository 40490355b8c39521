//! The figures of a view in words, row by row, with a tone for what deserves attention.
//!
//! Owns wording and units. Where a row goes and which colour a tone has is `screen`'s.

use super::view::{View, is_late};
use crate::config::Mode;
use crate::measure::figures::Percentiles;
use crate::measure::verdict::{ACHIEVED_MIN, GENERATOR_BUSY, GENERATOR_WARM};
use crate::measure::watch::LivePhase;
use crate::quantity::{format_count, format_ns, format_size};

/// How a piece of text is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// What a row is called.
    Name,
    /// A figure.
    Plain,
    /// A figure that matters most.
    Strong,
    /// Something to keep an eye on; the text says so too.
    Warn,
    /// Something that spoils the result; the text says so too.
    Bad,
}

/// Pieces of a row.
pub type Row = Vec<(String, Tone)>;

/// Names of rows are so wide.
pub const NAME_WIDTH: usize = 12;

fn named(name: &str) -> Row {
    vec![(format!("{name:<NAME_WIDTH$}"), Tone::Name)]
}

fn push(row: &mut Row, text: String, tone: Tone) {
    if row.len() > 1 {
        row.push((" · ".to_owned(), Tone::Name));
    }
    row.push((text, tone));
}

fn per_second(rate: f64) -> String {
    if rate > 0.0 && rate < 10.0 {
        format!("{rate:.1}/s")
    } else {
        format!("{}/s", format_count(rate.round() as u64))
    }
}

fn percent(share: f64) -> String {
    format!("{:.0}%", share * 100.0)
}

/// Connections open, asked for and failed.
pub fn connections(view: &View) -> Row {
    let (reading, asked) = (view.reading, view.asked.connections);
    let mut row = named("connections");
    match view.asked.mode {
        Mode::Storm => {
            // In a storm, connections are there to be opened, not to be open.
            let open = format!("{} under way", format_count(reading.open));
            push(&mut row, open, Tone::Strong);
            let most = format!("up to {} at once", format_count(asked));
            push(&mut row, most, Tone::Plain);
        }
        _ => {
            let open = format!("{} open", format_count(reading.open));
            push(&mut row, open, Tone::Strong);
            push(
                &mut row,
                format!("{} asked for", format_count(asked)),
                Tone::Plain,
            );
            if view.asked.mode == Mode::Churn {
                let opened = format!("{} opened", format_count(reading.opened));
                push(&mut row, opened, Tone::Plain);
            }
            // Before the load begins, those that are gone are still to come.
            let is_loaded = !matches!(view.phase, LivePhase::Opening | LivePhase::Subscribing);
            let gone = reading.opened.saturating_sub(reading.open);
            if is_loaded && gone > 0 && view.asked.mode != Mode::Churn {
                push(&mut row, format!("{} gone", format_count(gone)), Tone::Warn);
            }
        }
    }
    let tone = if reading.failed > 0 {
        Tone::Bad
    } else {
        Tone::Plain
    };
    push(
        &mut row,
        format!("{} failed", format_count(reading.failed)),
        tone,
    );
    row
}

/// What was sent and what came back.
pub fn messages(view: &View) -> Row {
    let (reading, fanout) = (view.reading, view.reading.fanout);
    let under_way = format!("{} under way", format_count(view.under_way()));
    let count = |count: u64, what: &str| format!("{} {what}", format_count(count));
    match view.asked.mode {
        Mode::Fanout if view.phase == LivePhase::Subscribing => {
            let mut row = named("subscribing");
            let awaited = fanout
                .awaited
                .map_or_else(|| "some".to_owned(), format_count);
            push(
                &mut row,
                format!("{awaited} not confirmed yet"),
                Tone::Plain,
            );
            row
        }
        Mode::Fanout => {
            let mut row = named("messages");
            push(&mut row, count(fanout.sent, "published"), Tone::Plain);
            push(&mut row, count(reading.received, "delivered"), Tone::Plain);
            push(&mut row, under_way, Tone::Plain);
            row
        }
        Mode::Storm => {
            let mut row = named("cycles");
            push(&mut row, count(reading.sent, "begun"), Tone::Plain);
            push(&mut row, count(reading.received, "completed"), Tone::Plain);
            row
        }
        _ if view.asked.is_hold_only => {
            let mut row = named("messages");
            push(
                &mut row,
                "none are sent; pings are answered".to_owned(),
                Tone::Plain,
            );
            if view.pushed > 0 {
                let pushed = count(view.pushed, "pushed by the server");
                push(&mut row, pushed, Tone::Plain);
            }
            row
        }
        _ => {
            let mut row = named("messages");
            push(&mut row, count(reading.sent, "sent"), Tone::Plain);
            push(&mut row, count(reading.received, "answered"), Tone::Plain);
            push(&mut row, under_way, Tone::Plain);
            row
        }
    }
}

/// The rate beside the one asked for; `None` where there is none.
pub fn rate(view: &View) -> Option<Row> {
    let (done, unit) = match view.asked.mode {
        Mode::Idle => return None,
        Mode::Churn if view.asked.is_hold_only => (view.opened_per_second, "connections opened"),
        Mode::Fanout => (view.sent_per_second, "published"),
        Mode::Storm => (view.received_per_second, "cycles"),
        _ => (view.received_per_second, "answered"),
    };
    let mut row = named("rate");
    let Some(done) = done.filter(|_| view.phase != LivePhase::Opening) else {
        push(&mut row, "–".to_owned(), Tone::Plain);
        return Some(row);
    };
    push(
        &mut row,
        format!("{} {unit}", per_second(done)),
        Tone::Strong,
    );
    if let Some(target) = view.target_per_second {
        let is_loaded = matches!(view.phase, LivePhase::WarmUp | LivePhase::Measuring);
        // In a stage the target has moved on while the rate was taken.
        let is_behind = is_loaded && !view.asked.has_stages && done < ACHIEVED_MIN * target;
        let tone = if is_behind { Tone::Warn } else { Tone::Plain };
        let mark = if is_behind { ", behind" } else { "" };
        push(
            &mut row,
            format!("{} asked for{mark}", per_second(target)),
            tone,
        );
    }
    if view.asked.mode == Mode::Churn
        && !view.asked.is_hold_only
        && let Some(opened) = view.opened_per_second
    {
        push(
            &mut row,
            format!("{} connections opened", per_second(opened)),
            Tone::Strong,
        );
    }
    if view.asked.mode == Mode::Fanout
        && let Some(delivered) = view.received_per_second
    {
        push(
            &mut row,
            format!("{} delivered", per_second(delivered)),
            Tone::Plain,
        );
    }
    Some(row)
}

/// What would spoil a verdict so far, the worst first: the generator's own shortcomings, and what
/// went wrong, the most frequent first. `late` says of how many seconds sends were late.
pub fn doubts(view: &View, late: impl FnOnce(u32) -> String) -> Row {
    let (asked, so_far) = (&view.asked, &view.so_far);
    let mut doubts = Row::new();
    if so_far.late_seconds > 0 {
        // A few late seconds may not reach the percentile of the whole.
        let is_usual = 2.0 * f64::from(so_far.late_seconds) >= so_far.measured_s;
        let tone = if is_usual { Tone::Bad } else { Tone::Warn };
        doubts.push((late(so_far.late_seconds), tone));
    }
    match so_far.generator_share().filter(|_| !asked.spins) {
        Some(share) if share > GENERATOR_BUSY => doubts.push(("too busy".to_owned(), Tone::Bad)),
        Some(share) if share > GENERATOR_WARM => doubts.push(("busy".to_owned(), Tone::Warn)),
        _ => {}
    }
    let is_behind = so_far
        .per_second()
        .zip(asked.rate.filter(|_| !asked.has_stages))
        .is_some_and(|(done, rate)| so_far.measured_s >= 2.0 && done < ACHIEVED_MIN * rate);
    if is_behind {
        doubts.push(("behind".to_owned(), Tone::Warn));
    }
    let mut kinds: Vec<(&String, &u64)> = view.troubles.iter().collect();
    kinds.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let kinds = kinds.into_iter();
    doubts.extend(kinds.map(|(kind, count)| {
        let text = format!("{} {kind}", format_count(*count));
        (text, Tone::Bad)
    }));
    doubts
}

/// The same as a row; `None` when there is nothing to say.
pub fn so_far(view: &View) -> Option<Row> {
    let mut row = named("so far");
    let measured_s = view.so_far.measured_s;
    let late = |seconds: u32| format!("sends late in {seconds} of {measured_s:.0} s");
    for (text, tone) in doubts(view, late) {
        push(&mut row, text, tone);
    }
    (row.len() > 1).then_some(row)
}

/// The generator itself: whether its figures can be believed.
pub fn generator(view: &View) -> Row {
    let mut row = named("generator");
    let Some(last) = &view.last else {
        push(&mut row, "–".to_owned(), Tone::Plain);
        return row;
    };
    if let Some(share) = last.generator_cpu_share {
        let (tone, mark) = match share {
            _ if view.asked.spins => (Tone::Plain, ", spinning"),
            share if share > GENERATOR_BUSY => (Tone::Bad, ", too busy"),
            share if share > GENERATOR_WARM => (Tone::Warn, ", busy"),
            _ => (Tone::Plain, ""),
        };
        push(&mut row, format!("cpu {}{mark}", percent(share)), tone);
    }
    if view.target_per_second.is_some() && last.is_measured {
        let (tone, mark) = if is_late(last) {
            (Tone::Bad, ", too late")
        } else {
            (Tone::Plain, "")
        };
        let late = format!("late sends p99 {}{mark}", format_ns(last.late_p99_ns));
        push(&mut row, late, tone);
    }
    row
}

/// The server's process, with `--server-pid`.
pub fn server(view: &View) -> Option<Row> {
    let last = view.last.as_ref()?;
    let mut row = named("server");
    if let Some(share) = last.server_busy_share {
        push(
            &mut row,
            format!("busiest thread {}", percent(share)),
            Tone::Strong,
        );
    }
    if let Some(cpus) = last.server_cpus_used {
        push(&mut row, format!("{cpus:.2} CPUs"), Tone::Plain);
    }
    if let Some(bytes) = last.server_rss_bytes {
        push(&mut row, format!("{} RSS", format_size(bytes)), Tone::Plain);
        let grown = bytes.saturating_sub(view.server_rss_first_bytes.unwrap_or(bytes));
        if grown > 0 && view.asked.mode == Mode::Idle {
            push(
                &mut row,
                format!("{} more than at first", format_size(grown)),
                Tone::Plain,
            );
        }
    }
    (row.len() > 1).then_some(row)
}

/// Widths of the columns of the percentile table: the number of values, then five latencies.
const COUNT_WIDTH: usize = 12;
const LATENCY_WIDTH: usize = 8;

/// What the latencies of a mode are called.
fn latency_name(view: &View) -> &'static str {
    match view.asked.mode {
        Mode::Fanout => "delivery",
        Mode::Storm => "cycle",
        _ => "response",
    }
}

/// The percentile table: a heading, the last second, everything measured. `width` decides how
/// many columns there are; none is cut in two.
pub fn percentiles(view: &View, width: usize) -> Vec<Row> {
    if view.asked.is_hold_only {
        return Vec::new();
    }
    let has_count = width >= NAME_WIDTH + 3 + COUNT_WIDTH + 5 * LATENCY_WIDTH;
    let latencies = (width.saturating_sub(NAME_WIDTH) / LATENCY_WIDTH).clamp(1, 5);
    let mut heading = named(latency_name(view));
    for name in ["p50", "p90", "p99", "p99.9", "max"]
        .into_iter()
        .take(latencies)
    {
        heading.push((format!("{name:>LATENCY_WIDTH$}"), Tone::Name));
    }
    if has_count {
        heading.push((format!("{:>COUNT_WIDTH$}", "values"), Tone::Name));
    }
    let last = view.last.as_ref().map(|second| &second.response);
    vec![
        heading,
        table_row("last second", last, latencies, has_count),
        table_row("measured", view.measured.as_deref(), latencies, has_count),
    ]
}

fn table_row(
    name: &str,
    percentiles: Option<&Percentiles>,
    latencies: usize,
    has_count: bool,
) -> Row {
    let mut row = named(name);
    let Some(of) = percentiles.filter(|percentiles| percentiles.count > 0) else {
        (0..latencies).for_each(|_| row.push((format!("{:>LATENCY_WIDTH$}", "–"), Tone::Plain)));
        return row;
    };
    for (ns, tone) in [
        (of.p50, Tone::Strong),
        (of.p90, Tone::Plain),
        (of.p99, Tone::Strong),
        (of.p999, Tone::Plain),
        (of.max, Tone::Plain),
    ]
    .into_iter()
    .take(latencies)
    {
        row.push((format!("{:>LATENCY_WIDTH$}", format_ns(ns)), tone));
    }
    if has_count {
        row.push((
            format!("{:>COUNT_WIDTH$}", format_count(of.count)),
            Tone::Plain,
        ));
    }
    row
}
