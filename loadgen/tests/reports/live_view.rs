//! What the live view shows on terminals of any size, and what the plain lines say.

use std::time::{Duration, Instant};

use crate::live::Staged;
use fanwire_loadgen::live::lines::Lines;
use fanwire_loadgen::live::screen::{Theme, paint};
use fanwire_loadgen::live::view::{Follower, View};
use fanwire_loadgen::measure::watch::LivePhase;
use proptest::prelude::*;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Color;

const MILLISECOND: u64 = 1_000_000;

/// 20 seconds of an open loop: usually 100 us, and a stall of a second in the middle.
fn echo() -> Staged {
    let mut run = Staged::new("echo ws://127.0.0.1:9/path -c 1000 -R 1000 -d 30s -w 1s");
    run.phase = LivePhase::Measuring;
    run.left_ns = 11_000 * MILLISECOND;
    run.reading.opened = 1_000;
    run.reading.open = 999;
    run.second(&[(100_000, 1_000)], false);
    for number in 0..19 {
        let stall = if number == 9 { 150 } else { 0 };
        let values = [(100_000, 1_000 - stall), (500 * MILLISECOND, stall)];
        let second = run.second(&values, true);
        second.late_p99_ns = 20_000;
        second.generator_cpu_share = Some(0.61);
        second.server_busy_share = Some(0.98);
        second.server_cpus_used = Some(1.02);
        second.server_rss_bytes = Some(50 << 20);
    }
    run.reading.sent += 7;
    run
}

/// What is shown after a look at the end.
fn view(run: &Staged) -> View {
    let began = Instant::now();
    let mut follower = Follower::default();
    follower.look(&run.live(), began);
    let now = began + Duration::from_secs(1);
    follower.look(&run.live(), now);
    follower.view(&run.live(), now).expect("it has looked")
}

fn drawn(view: &View, width: u16, height: u16, theme: Theme) -> Buffer {
    let area = Rect::new(0, 0, width, height);
    let mut buffer = Buffer::empty(area);
    paint(&mut buffer, area, view, theme);
    buffer
}

fn text(view: &View, width: u16, height: u16) -> Vec<String> {
    let buffer = drawn(view, width, height, Theme { has_color: true });
    let cells: Vec<&str> = buffer.content().iter().map(|cell| cell.symbol()).collect();
    let rows = cells.chunks(usize::from(width));
    rows.map(|row| row.concat().trim_end().to_owned()).collect()
}

fn expect(lines: &[String], phrases: &[&str]) {
    let whole = lines.join("\n");
    for phrase in phrases {
        assert!(whole.contains(phrase), "no {phrase:?} in\n{whole}");
    }
}

#[test]
fn an_ordinary_terminal_shows_everything() {
    let lines = text(&view(&echo()), 80, 24);
    expect(
        &lines,
        &[
            "echo        ws://127.0.0.1:9/path",
            "measuring",
            "11 s left",
            "999 open · 1,000 asked for · 1 gone · 0 failed",
            "20,007 sent · 20,000 answered · 7 under way",
            "1,000/s asked for",
            "cpu 61% · late sends p99 20us",
            "busiest thread 98% · 1.02 CPUs · 50.0 MiB RSS",
            "last second    100us",
            "measured       100us",
            "19,000",
            "q end with a report",
            "█ more",
        ],
    );
    assert!(lines.iter().all(|line| line.chars().count() <= 80));
    // The strip: the tenth measured second has its stall far above the others.
    let stall = lines
        .iter()
        .find(|line| line.contains("│") && line.contains('▓'));
    let stall = stall.expect("what stalled is 15 % of a second");
    assert_eq!(
        stall.matches('▓').count(),
        2,
        "one second is two cells wide: {stall}"
    );
}

#[test]
fn the_smallest_terminal_shows_what_matters() {
    let lines = text(&view(&echo()), 60, 15);
    expect(
        &lines,
        &[
            "11 s left",
            "999 open",
            "7 under way",
            "p99.9",
            "measured       100us",
            "│",
            "q end",
        ],
    );
    assert_eq!(lines.len(), 15);
    let below = text(&view(&echo()), 60, 5);
    expect(&below, &["echo", "999 open"]);
}

#[test]
fn without_colour_nothing_is_coloured_and_nothing_is_lost() {
    let view = view(&echo());
    let (plain, colored) = (
        drawn(&view, 100, 30, Theme { has_color: false }),
        drawn(&view, 100, 30, Theme { has_color: true }),
    );
    let symbols = |buffer: &Buffer| {
        let cells = buffer.content().iter();
        cells
            .map(|cell| cell.symbol().to_owned())
            .collect::<String>()
    };
    assert_eq!(symbols(&plain), symbols(&colored));
    let is_colored = |buffer: &Buffer| {
        let mut cells = buffer.content().iter();
        cells.any(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset)
    };
    assert!(!is_colored(&plain));
    assert!(is_colored(&colored));
}

#[test]
fn what_spoils_a_result_is_said_while_it_lasts() {
    let mut run = echo();
    let second = run.second(&[(100_000, 10)], true);
    second.late_p99_ns = 5 * MILLISECOND;
    second.generator_cpu_share = Some(0.99);
    second.troubles.insert("lost".to_owned(), 12);
    second.troubles.insert("closed_by_server".to_owned(), 1);
    run.reading.failed = 1;
    expect(
        &text(&view(&run), 100, 24),
        &[
            "cpu 99%, too busy",
            "late sends p99 5.00ms, too late",
            "12 lost · 1 closed_by_server",
            "1 failed",
            "0/s answered · 1,000/s asked for, behind",
        ],
    );
}

#[test]
fn every_command_has_rows_of_its_own() {
    let mut run = Staged::new("fanout ws://127.0.0.1:9 -c 5000 -R 20 -d 10s");
    run.phase = LivePhase::Subscribing;
    run.reading.fanout.awaited = Some(4_321);
    expect(
        &text(&view(&run), 80, 24),
        &["subscribing 4,321 not confirmed yet"],
    );
    run.phase = LivePhase::Measuring;
    run.reading.fanout.sent = 40;
    run.reading.fanout.owed = 200_000;
    run.reading.fanout.settled = 190_000;
    run.reading.received = 190_000;
    let rows = [
        "40 published · 190,000 delivered · 10,000 under way",
        "delivery",
    ];
    expect(&text(&view(&run), 80, 24), &rows);

    let mut run = Staged::new("storm ws://127.0.0.1:9 -c 50 -d 10s");
    run.phase = LivePhase::Measuring;
    run.reading.open = 49;
    run.reading.sent = 749;
    run.reading.received = 700;
    expect(
        &text(&view(&run), 80, 24),
        &[
            "49 under way · up to 50 at once",
            "749 begun · 700 completed",
            "cycle",
        ],
    );

    let mut run = Staged::new("idle ws://127.0.0.1:9 -c 50 -d 10s");
    run.phase = LivePhase::Measuring;
    run.reading.open = 50;
    let lines = text(&view(&run), 80, 24);
    expect(&lines, &["holding", "50 open", "none are sent"]);
    assert!(!lines.join("\n").contains("p50"), "nothing is timed");

    let mut run = Staged::new("echo ws://127.0.0.1:9 -c 200 -d 10s");
    run.reading.opened = 50;
    run.reading.failed = 3;
    expect(&text(&view(&run), 80, 24), &["opening", "26%", "3 failed"]);
}

#[test]
fn a_staged_rate_and_a_number_of_messages_are_followed() {
    let mut run = Staged::new("echo ws://127.0.0.1:9 -c 5 --stage 10s:1000,10s:1000 -w 0");
    run.phase = LivePhase::Measuring;
    run.left_ns = 15_000 * MILLISECOND;
    assert_eq!(
        view(&run).target_per_second,
        Some(500.0),
        "half of the ramp"
    );
    run.left_ns = 5_000 * MILLISECOND;
    assert_eq!(view(&run).target_per_second, Some(1_000.0));
    let mut run = Staged::new("echo ws://127.0.0.1:9 -c 5 -n 200");
    run.phase = LivePhase::Measuring;
    run.reading.sent = 50;
    expect(&text(&view(&run), 80, 24), &["25% of the messages"]);
}

#[test]
fn a_url_cannot_speak_to_the_terminal() {
    let mut run = echo();
    run.config.target.url = "ws://127.0.0.1/\u{1b}[31m\u{7}".to_owned();
    let buffer = drawn(&view(&run), 80, 24, Theme { has_color: true });
    let is_control = |symbol: &str| symbol.chars().any(char::is_control);
    assert!(
        !buffer
            .content()
            .iter()
            .any(|cell| is_control(cell.symbol()))
    );
}

#[test]
fn rates_are_those_of_the_last_second_not_of_the_opening() {
    let mut run = Staged::new("echo ws://127.0.0.1:9 -c 10 -w 1s -d 10s");
    let began = Instant::now();
    let mut follower = Follower::default();
    follower.look(&run.live(), began);
    run.phase = LivePhase::WarmUp;
    follower.look(&run.live(), began + Duration::from_secs(30));
    run.reading.received = 5_000;
    run.reading.sent = 5_010;
    let now = began + Duration::from_secs(31);
    follower.look(&run.live(), now);
    let view = follower.view(&run.live(), now).expect("a view");
    assert_eq!(view.received_per_second, Some(5_000.0));
    assert_eq!(view.sent_per_second, Some(5_010.0));
    assert_eq!(view.under_way(), 10);
    assert_eq!(
        view.progress(),
        Some(1.0),
        "a second of a second of warm-up"
    );
}

#[test]
fn a_day_long_run_takes_no_more_memory_than_an_hour() {
    let mut run = Staged::new("echo ws://127.0.0.1:9 -c 10 -d 10s");
    let mut follower = Follower::default();
    let second = run.second(&[(50_000, 1)], true).clone();
    run.seconds.resize(700, second);
    follower.look(&run.live(), Instant::now());
    let view = follower.view(&run.live(), Instant::now()).expect("a view");
    assert!(view.columns.len() <= 512 && view.rates.len() <= 512);
    assert_eq!(view.columns.len() + view.seconds_dropped, 700);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn no_size_is_too_small_or_too_large(
        width in 1u16..300,
        height in 1u16..100,
        seconds in 0usize..6,
        mode in prop::sample::select(vec!["echo", "storm", "idle", "fanout -R 5"]),
        phase in prop::sample::select(vec![
            LivePhase::Opening,
            LivePhase::Subscribing,
            LivePhase::WarmUp,
            LivePhase::Measuring,
            LivePhase::Draining,
        ]),
        values in prop::collection::vec(0u64..4_000_000_000_000, 0..5),
    ) {
        let mut run = Staged::new(&format!("{mode} -c 7 -d 9s ws://127.0.0.1:9/"));
        run.phase = phase;
        run.left_ns = seconds as u64 * 777 * MILLISECOND;
        let values: Vec<(u64, u64)> = values.into_iter().map(|ns| (ns, 3)).collect();
        for _ in 0..seconds {
            run.second(&values, true).server_busy_share = Some(0.5);
        }
        let lines = text(&view(&run), width, height);
        prop_assert_eq!(lines.len(), usize::from(height));
    }
}

/// All lines of a run, looked at after every second.
fn lines(run: &Staged, every: usize) -> Vec<String> {
    let mut lines = Lines::new(every);
    let mut written = Vec::new();
    for count in 0..=run.seconds.len() {
        let live = run.live();
        let seconds = &live.seconds[..count];
        let phase = match seconds.last() {
            None => LivePhase::Opening,
            Some(second) if second.is_measured => LivePhase::Measuring,
            Some(_) => LivePhase::WarmUp,
        };
        let live = fanwire_loadgen::measure::watch::Live {
            phase,
            seconds,
            ..live
        };
        written.extend(lines.look(&live, count as u64));
    }
    written
}

#[test]
fn a_line_covers_all_its_seconds() {
    let run = echo();
    let written = lines(&run, 5);
    assert_eq!(written[0], "opening 1,000 connections");
    expect(&written, &["warm-up, 1.00s", "measuring, 30.00s"]);
    let figures: Vec<&String> = written
        .iter()
        .filter(|line| line.contains("/s  "))
        .collect();
    assert_eq!(
        figures.len(),
        4,
        "one of warm-up, three of measuring: {written:#?}"
    );
    assert!(
        figures[0].contains("   1s  1,000/s  not measured"),
        "{written:#?}"
    );
    // The stall of one second shows in the line of the five that it is part of.
    assert!(
        figures[2].contains("p50 100us p99 500ms max 500ms"),
        "{written:#?}"
    );
    expect(
        &written,
        &[
            "  11s  1,000/s  p50 100us",
            "late p99 20us",
            "gen 61%",
            "server 98%",
            "errors 0",
        ],
    );
    assert_eq!(
        lines(&run, 1)
            .iter()
            .filter(|line| line.contains("/s  "))
            .count(),
        20
    );
}

#[test]
fn a_slow_opening_is_reported() {
    let mut run = Staged::new("idle ws://127.0.0.1:9 -c 20 -d 10s");
    run.reading.opened = 12;
    let mut lines = Lines::new(5);
    assert_eq!(lines.look(&run.live(), 0), ["opening 20 connections"]);
    assert!(lines.look(&run.live(), 4).is_empty());
    assert_eq!(
        lines.look(&run.live(), 5),
        ["   5s  12 connections opened · 0 failed"]
    );
    assert!(lines.look(&run.live(), 9).is_empty());
    assert_eq!(lines.look(&run.live(), 11).len(), 1);
}
