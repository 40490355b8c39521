//! What the live view of a scenario shows on terminals of any size.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::live::Staged;
use fanwire_loadgen::live::scenario::scene::{Bill, BilledLoad, End, Focus, Outcome, Scene, State};
use fanwire_loadgen::live::scenario::screen::paint;
use fanwire_loadgen::live::screen::Theme;
use fanwire_loadgen::live::view::{Asked, Follower, View};
use fanwire_loadgen::measure::verdict::Verdict;
use fanwire_loadgen::measure::watch::LivePhase;
use proptest::prelude::*;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Color;

const MILLISECOND: u64 = 1_000_000;

/// What is seen of a run after a look at the end of its seconds.
fn view(run: &Staged) -> Arc<View> {
    let began = Instant::now();
    let mut follower = Follower::default();
    follower.look(&run.live(), began);
    let now = began + Duration::from_secs(1);
    follower.look(&run.live(), now);
    Arc::new(follower.view(&run.live(), now).expect("it has looked"))
}

fn running(run: &Staged) -> State {
    State::Running {
        view: Some(view(run)),
        metrics: None,
    }
}

/// An open loop in its eleventh measured second.
fn echo() -> Staged {
    let mut run = Staged::new("echo ws://127.0.0.1:9/talk -c 1000 -R 1000 -d 30s -w 1s");
    run.phase = LivePhase::Measuring;
    run.left_ns = 20_000 * MILLISECOND;
    run.reading.opened = 1_000;
    run.reading.open = 1_000;
    run.second(&[(100_000, 1_000)], false);
    for _ in 0..10 {
        let second = run.second(&[(100_000, 980), (7 * MILLISECOND, 20)], true);
        second.late_p99_ns = 20_000;
        second.generator_cpu_share = Some(0.31);
    }
    run
}

/// A scenario of loads, each with its step, its start and its command line.
fn scene(steps: &[&str], loads: &[(&str, usize, u64, &str)], states: Vec<State>) -> Scene {
    let billed = |(name, step, start_s, line): &(&str, usize, u64, &str)| BilledLoad {
        name: (*name).to_owned(),
        step: *step,
        start: Duration::from_secs(*start_s),
        command_line: format!("fanwire-loadgen {line}"),
        asked: Arc::new(Asked::of(&crate::live::config(line))),
    };
    assert_eq!(loads.len(), states.len());
    Scene {
        bill: Arc::new(Bill {
            name: "lunch".to_owned(),
            description: "people talk while they eat".to_owned(),
            steps: steps.iter().map(|step| (*step).to_owned()).collect(),
            loads: loads.iter().map(billed).collect(),
        }),
        step: 0,
        step_elapsed: Duration::from_secs(11),
        is_ending: false,
        states,
    }
}

fn ended(verdict: Verdict, reasons: &[&str], view: Option<Arc<View>>) -> State {
    State::Ended {
        view,
        end: Arc::new(End::Reported(Outcome {
            verdict,
            reasons: reasons.iter().map(|reason| (*reason).to_owned()).collect(),
            alive: Some(998),
            per_second: 12_345.0,
            opened_per_second: None,
            latency_ns: Some([81_000, 12 * MILLISECOND]),
            errors: 7,
        })),
    }
}

const TALK: &str = "echo ws://127.0.0.1:9/talk -c 1000 -R 1000 -d 30s -w 1s";
const FEED: &str = "fanout ws://127.0.0.1:9/feed -c 500 -R 20 -d 10s -w 1s";
const CROWD: &str = "idle ws://127.0.0.1:9/crowd -c 20000 -d 10s";

/// Loads that have ended, run, wait, and belong to the next step.
fn lunch() -> Scene {
    scene(
        &["soup", "coffee"],
        &[
            ("first", 0, 0, TALK),
            ("talk", 0, 0, TALK),
            ("late", 0, 40, CROWD),
            ("feed", 1, 0, FEED),
        ],
        vec![
            ended(
                Verdict::Suspect,
                &["the generator used 85 % of a CPU: above 80 % its own queueing shows"],
                Some(view(&echo())),
            ),
            running(&echo()),
            State::Waiting,
            State::Waiting,
        ],
    )
}

fn drawn(scene: &Scene, focus: usize, size: (u16, u16), theme: Theme) -> Buffer {
    let area = Rect::new(0, 0, size.0, size.1);
    let mut buffer = Buffer::empty(area);
    paint(&mut buffer, area, scene, focus, theme);
    buffer
}

fn text(scene: &Scene, focus: usize, size: (u16, u16)) -> Vec<String> {
    let buffer = drawn(scene, focus, size, Theme { has_color: true });
    let cells: Vec<&str> = buffer.content().iter().map(|cell| cell.symbol()).collect();
    let rows = cells.chunks(usize::from(size.0));
    rows.map(|row| row.concat().trim_end().to_owned()).collect()
}

fn expect(lines: &[String], phrases: &[&str]) {
    let whole = lines.join("\n");
    for phrase in phrases {
        assert!(whole.contains(phrase), "no {phrase:?} in\n{whole}");
    }
}

/// The row of a load in the table.
fn row<'a>(lines: &'a [String], name: &str) -> &'a str {
    let wanted = format!("{name} ");
    let found = lines.iter().find(|line| {
        line.chars()
            .skip(3)
            .collect::<String>()
            .starts_with(&wanted)
    });
    found.unwrap_or_else(|| unreachable!("no row {name}\n{}", lines.join("\n")))
}

#[test]
fn an_ordinary_terminal_shows_every_load_and_one_closely() {
    let lines = text(&lunch(), 1, (80, 24));
    expect(
        &lines,
        &[
            "run lunch  people talk while they eat",
            "step 1 of 2: soup",
            // 40 s and 10 s (the idle load that is late), then 1 s and 10 s.
            "about 39 s left of the step, about 50 s of all",
            "── talk  echo ws://127.0.0.1:9/talk ──",
            "measuring, 20 s left",
            "1,000 open · 1,000 asked for",
            "11,000 sent · 11,000 answered · 0 under way",
            "cpu 31% · late sends p99 20us",
            "measured       100us",
            "│██",
            "q end  ↑↓ load",
            "█ more",
        ],
    );
    let first = row(&lines, "first");
    assert!(first.ends_with(" 7"), "no begin of a sentence: {first}");
    let words = |name: &str| row(&lines, name).split_whitespace().collect::<Vec<_>>();
    assert_eq!(
        words("talk"),
        [
            "▸",
            "talk",
            "echo",
            "measuring",
            "1000/1000",
            "0/1000",
            "100us",
            "7.00ms",
            "0"
        ],
        "nothing came back in the second between the looks"
    );
    assert_eq!(
        words("first")[..9],
        [
            "!", "first", "echo", "SUSPECT", "998/1000", "12.3k", "81us", "12.00ms", "7"
        ],
        "what was asked for goes before a figure is cut"
    );
    assert_eq!(words("late"), ["late", "idle", "in", "29", "s", "/20.0k"]);
    assert_eq!(
        words("feed"),
        ["feed", "fanout", "step", "2", "/501", "/20"]
    );
}

#[test]
fn what_a_load_is_about_to_do_and_what_came_of_it() {
    let scene = lunch();
    expect(
        &text(&scene, 2, (80, 24)),
        &[
            "── late  idle ws://127.0.0.1:9/crowd ──",
            " waiting ─",
            "begins 40 s into step 1, soup",
            "fanwire-loadgen idle ws://127.0.0.1:9/crowd -c 20000 -d 10s",
        ],
    );
    expect(
        &text(&scene, 3, (80, 24)),
        &["begins with step 2, coffee", "fanwire-loadgen fanout"],
    );
    expect(
        &text(&scene, 0, (80, 24)),
        &[
            " SUSPECT ─",
            "the generator used 85 % of a CPU: above 80 % its own queueing shows",
            "measured       100us",
        ],
    );
    let mut scene = scene;
    scene.is_ending = true;
    expect(
        &text(&scene, 1, (80, 24)),
        &["ending", "q end at once, without a report"],
    );
    let cause = "--server-pid 4194304: there is no such process".to_owned();
    scene.states[2] = State::Ended {
        view: None,
        end: Arc::new(End::Failed(cause)),
    };
    let lines = text(&scene, 2, (80, 24));
    expect(
        &lines,
        &[
            "ending",
            " failed ─",
            "--server-pid 4194304: there is no such process",
            "waiting for what is under way",
            "a load has failed, so all of them end",
        ],
    );
    assert!(row(&lines, "late").starts_with("▸! late"), "{lines:#?}");
}

#[test]
fn a_small_terminal_shows_what_matters() {
    let lines = text(&lunch(), 1, (40, 12));
    expect(
        &lines,
        &[
            "run lunch",
            "step 1 of 2: soup",
            "39 s left",
            "▸  talk",
            "measuring",
            "7.00ms",
            "measured       100us   100us  7.00ms",
            "q end  ↑↓ load",
        ],
    );
    assert_eq!(lines.len(), 12);
    expect(&text(&lunch(), 1, (40, 5)), &["run lunch", "▸  talk"]);
}

#[test]
fn a_large_terminal_says_more() {
    let lines = text(&lunch(), 1, (200, 60));
    expect(
        &lines,
        &[
            "about 39 s left of the step, about 50 s of all",
            "12.00ms      7 the generator used 85 % of a CPU: above 80 % its own queueing shows",
            "q end with a report  ↑↓ choose a load   share of a second:",
        ],
    );
    assert!(lines.iter().all(|line| line.chars().count() <= 200));
}

#[test]
fn loads_that_do_not_fit_are_counted_and_those_that_run_are_seen() {
    let names: Vec<String> = (0..30).map(|number| format!("load-{number}")).collect();
    let loads: Vec<(&str, usize, u64, &str)> = names
        .iter()
        .map(|name| (name.as_str(), 0, 5, TALK))
        .collect();
    let mut states = vec![State::Waiting; 30];
    for state in &mut states[..10] {
        *state = ended(Verdict::Valid, &[], None);
    }
    for state in &mut states[14..17] {
        *state = running(&echo());
    }
    let scene = scene(&[""], &loads, states);
    for (size, focus) in [((80, 24), 14), ((80, 24), 16), ((40, 12), 15)] {
        let lines = text(&scene, focus, size);
        let shown = lines.iter().filter(|line| line.contains("load-")).count();
        let of_table = shown - 1;
        for number in 14..17 {
            row(&lines, &format!("load-{number}"));
        }
        expect(
            &lines,
            &["3 running", &format!("… {} more: ", 30 - of_table)],
        );
        assert!(!lines.join("\n").contains(" run,"), "all that run are seen");
    }
    // Whatever is looked at is among them, to the first and the last.
    for focus in [0, 29] {
        let lines = text(&scene, focus, (80, 24));
        let name = format!("load-{focus}");
        assert!(row(&lines, &name).starts_with('▸'), "{lines:#?}");
        expect(&lines, &["3 run,"]);
    }
}

#[test]
fn what_would_spoil_a_verdict_is_said_in_the_row() {
    let mut run = echo();
    for _ in 0..5 {
        let second = run.second(&[(100_000, 100)], true);
        second.late_p99_ns = 5 * MILLISECOND;
        second.generator_cpu_share = Some(2.9);
        second.troubles.insert("lost".to_owned(), 3);
    }
    run.reading.open = 997;
    let scene = scene(&[""], &[("talk", 0, 0, TALK)], vec![running(&run)]);
    let lines = text(&scene, 0, (120, 24));
    let talk = row(&lines, "talk");
    assert!(talk.starts_with("▸! talk"), "{talk}");
    assert!(
        talk.ends_with("15 late, too busy, behind, 15 lost, 3 gone"),
        "{talk}"
    );
    let narrow = text(&scene, 0, (80, 24));
    assert!(row(&narrow, "talk").contains("15 late, too"), "{narrow:#?}");
    let more = "so far      sends late in 5 of 15 s · too busy · behind · 15 lost";
    expect(&narrow, &[more]);
    let smallest = text(&scene, 0, (40, 12));
    expect(&smallest, &["so far      sends late in 5 of 15 s · t…"]);
}

#[test]
fn those_who_only_listen_are_told_from_those_who_err() {
    let line = "churn ws://127.0.0.1:9 -c 50 -R 5 --hold-only -d 10s";
    let mut run = Staged::new(line);
    run.phase = LivePhase::Measuring;
    run.reading.open = 50;
    run.second(&[], true)
        .troubles
        .insert("unsolicited".to_owned(), 1_400);
    let scene = scene(&[""], &[("people", 0, 0, line)], vec![running(&run)]);
    let lines = text(&scene, 0, (80, 24));
    let words: Vec<&str> = row(&lines, "people").split_whitespace().collect();
    assert_eq!(
        words,
        [
            "▸",
            "people",
            "churn",
            "measuring",
            "50/50",
            "0/5",
            "–",
            "–",
            "0"
        ]
    );
    expect(&lines, &["none are sent", "1,400 pushed by the server"]);
    assert!(!lines.join("\n").contains("unsolicited"), "{lines:#?}");
}

#[test]
fn the_view_stays_with_what_runs_unless_somebody_chooses() {
    let mut scene = lunch();
    let mut focus = Focus::default();
    assert_eq!(focus.on(&scene), 1, "the first that runs");
    focus.step_by(&scene, true);
    assert_eq!(focus.on(&scene), 2, "it waits, but was chosen");
    focus.step_by(&scene, true);
    focus.step_by(&scene, true);
    assert_eq!(focus.on(&scene), 0, "behind the last comes the first");
    focus.step_by(&scene, false);
    assert_eq!(focus.on(&scene), 3);
    scene.step = 1;
    scene.states[1] = ended(Verdict::Valid, &[], None);
    scene.states[2] = ended(Verdict::Valid, &[], None);
    assert_eq!(focus.on(&scene), 3, "the step's own");
    let mut quiet = lunch();
    let mut busy = echo();
    busy.reading.sent *= 2;
    quiet.states[0] = running(&busy);
    let mut focus = Focus::default();
    assert_eq!(focus.on(&quiet), 0, "the busiest");
    quiet.states[1] = running(&{
        let mut busier = echo();
        busier.reading.sent *= 9;
        busier
    });
    assert_eq!(focus.on(&quiet), 0, "it does not jump");
    quiet.states[0] = ended(Verdict::Valid, &[], None);
    assert_eq!(focus.on(&quiet), 1, "when one ends, another that runs");
}

#[test]
fn an_end_that_nobody_knows_is_not_made_up() {
    let line = "echo ws://127.0.0.1:9 -c 5 -n 200 -w 0";
    let mut run = Staged::new(line);
    run.phase = LivePhase::Measuring;
    run.reading.sent = 50;
    let scene = scene(&[""], &[("some", 0, 0, line)], vec![running(&run)]);
    let lines = text(&scene, 0, (80, 24));
    expect(&lines, &["11 s so far", "measuring, 25% of the messages"]);
    assert!(!lines.join("\n").contains("left"), "{lines:#?}");
}

#[test]
fn without_colour_nothing_is_coloured_and_nothing_is_lost() {
    let scene = lunch();
    let (plain, colored) = (
        drawn(&scene, 1, (100, 30), Theme { has_color: false }),
        drawn(&scene, 1, (100, 30), Theme { has_color: true }),
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

/// A load in any of its states.
fn any_state(kind: u8, phase: LivePhase, run: &mut Staged) -> State {
    run.phase = phase;
    match kind {
        0 => State::Waiting,
        1 => State::Running {
            view: None,
            metrics: None,
        },
        2 => running(run),
        3 => State::Running {
            view: Some(view(run)),
            metrics: Some(([127, 0, 0, 1], 9_464).into()),
        },
        4 => ended(
            Verdict::Invalid,
            &["one reason of many words, and then", "another"],
            Some(view(run)),
        ),
        5 => State::Ended {
            view: None,
            end: Arc::new(End::Failed("it did not \u{1b}[31m work".to_owned())),
        },
        _ => State::Ended {
            view: None,
            end: Arc::new(End::NotBegun),
        },
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn no_size_is_too_small_or_too_large(
        width in 1u16..250,
        height in 1u16..80,
        kinds in prop::collection::vec(0u8..7, 1..12),
        focus in any::<prop::sample::Index>(),
        step in 0usize..2,
        mode in prop::sample::select(vec![
            "echo", "echo -n 9", "storm", "idle", "fanout -R 5", "churn --hold-only",
        ]),
        phase in prop::sample::select(vec![
            LivePhase::Opening,
            LivePhase::Subscribing,
            LivePhase::WarmUp,
            LivePhase::Measuring,
            LivePhase::Draining,
        ]),
    ) {
        let line = format!("{mode} -c 7 -d 9s ws://127.0.0.1:9/");
        let mut run = Staged::new(&line);
        run.second(&[(30_000, 3)], true);
        let states = kinds.iter().map(|kind| any_state(*kind, phase, &mut run)).collect();
        let names: Vec<String> = (0..kinds.len()).map(|number| format!("l{number}")).collect();
        let loads: Vec<(&str, usize, u64, &str)> = names
            .iter()
            .enumerate()
            .map(|(number, name)| (name.as_str(), number % 2, 1, line.as_str()))
            .collect();
        let mut scene = scene(&["one", "two"], &loads, states);
        scene.step = step;
        let focus = focus.index(kinds.len());
        let buffer = drawn(&scene, focus, (width, height), Theme { has_color: true });
        let is_control = |symbol: &str| symbol.chars().any(char::is_control);
        prop_assert!(!buffer.content().iter().any(|cell| is_control(cell.symbol())));
        let chosen = format!("l{focus}");
        let lines = text(&scene, focus, (width, height));
        // From ten lines on, what is looked at stands in the table and above its figures.
        if width >= 30 && height >= 10 {
            let found = lines.iter().filter(|line| {
                line.split(|letter: char| !letter.is_ascii_alphanumeric())
                    .any(|word| word == chosen)
            });
            prop_assert_eq!(found.count(), 2, "{:#?}", lines);
        }
    }
}
