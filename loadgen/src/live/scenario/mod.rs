//! What people see of a scenario while it lasts: one view for all of its loads, or plain lines.
//!
//! Owns what the loads leave for the view to be seen, and the one display of them all. Each load is
//! watched by a watch of its own, which leaves what it sees and goes; the display fetches it when it
//! draws. So a load never waits for the terminal, nor for another load.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use super::canvas::Canvas;
use super::display::{Display, Inlet, Painter};
use super::keys::Key;
use super::lines::Lines;
use super::terminal::{self, Terminal};
use super::view::{Follower, View};
use super::{FRAME_EVERY, LINE_EVERY, SharedLines, listen, plain_lines, where_metrics_are};
use crate::config::Config;
use crate::measure::model::Report;
use crate::measure::watch::{Flow, Live, Watch};
use scene::{Bill, End, Focus, Outcome, Scene, State};

pub mod scene;
pub mod screen;
pub mod table;

/// Between two things that a load leaves to be seen.
const LEAVE_EVERY: Duration = Duration::from_millis(100);
/// Plain lines that may wait to be written: of each load, and beside them.
const LINES_WAITING_MAX: (usize, usize) = (8, 64);

/// What the loads leave and the display fetches. Every lock is held for as long as it takes to
/// clone a pointer or two.
struct Board {
    bill: Arc<Bill>,
    /// Index of the step, and when it began.
    step: Mutex<(usize, Instant)>,
    states: Vec<Mutex<State>>,
    is_interrupted: Arc<AtomicBool>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Board {
    fn scene(&self) -> Scene {
        let (step, began) = *lock(&self.step);
        Scene {
            bill: Arc::clone(&self.bill),
            step,
            step_elapsed: began.elapsed(),
            is_ending: self.is_interrupted.load(Ordering::Relaxed),
            states: self
                .states
                .iter()
                .map(|state| lock(state).clone())
                .collect(),
        }
    }

    fn change(&self, load: usize, change: impl FnOnce(&mut State)) {
        if let Some(state) = self.states.get(load) {
            change(&mut lock(state));
        }
    }
}

/// Whoever watches a scenario.
pub struct Audience {
    board: Arc<Board>,
    face: Face,
}

enum Face {
    /// Nobody.
    Nobody,
    /// Somebody who reads lines.
    Lines(Display<String>),
    /// Somebody at a terminal. A nudge has it drawn at once.
    Screen(Display<()>),
}

impl Audience {
    /// Nobody when `is_quiet`; otherwise a view if one is wanted and there is a terminal for it;
    /// otherwise plain lines. `is_interrupted` is set when the scenario is to end early.
    pub fn gather(
        bill: Bill,
        is_quiet: bool,
        has_view: bool,
        is_interrupted: &Arc<AtomicBool>,
    ) -> Audience {
        let loads = bill.loads.len();
        let board = Arc::new(Board {
            states: bill
                .loads
                .iter()
                .map(|_| Mutex::new(State::Waiting))
                .collect(),
            bill: Arc::new(bill),
            step: Mutex::new((0, Instant::now())),
            is_interrupted: Arc::clone(is_interrupted),
        });
        let waiting_max = LINES_WAITING_MAX.0 * loads + LINES_WAITING_MAX.1;
        let lines = || plain_lines(waiting_max).map_or(Face::Nobody, Face::Lines);
        let face = match (is_quiet, has_view) {
            (true, _) => Face::Nobody,
            (false, true) => view(&board).map_or_else(lines, Face::Screen),
            // Without a thread for it there are no lines; the report comes all the same.
            (false, false) => lines(),
        };
        Audience { board, face }
    }

    /// A step begins.
    pub fn step_begins(&self, step: usize) {
        *lock(&self.board.step) = (step, Instant::now());
        let bill = &self.board.bill;
        match (&self.face, bill.steps.get(step)) {
            (Face::Lines(lines), Some(name)) if !name.is_empty() => {
                lines.show(format!("{}: step {name} begins\n", bill.name));
            }
            (Face::Screen(display), _) => display.show(()),
            _ => {}
        }
    }

    /// The place of a load; the scenario's loads are numbered through.
    pub fn seat(&self, load: usize) -> Seat {
        Seat {
            board: Arc::clone(&self.board),
            load,
            way: match &self.face {
                Face::Nobody => Way::Nowhere,
                Face::Lines(lines) => lines.inlet().map_or(Way::Nowhere, Way::Lines),
                Face::Screen(display) => display.inlet().map_or(Way::Nowhere, Way::Screen),
            },
        }
    }

    /// The scenario is over, before anything else is printed. All seats must be empty by then.
    pub fn end(&mut self) {
        match &mut self.face {
            Face::Nobody => {}
            Face::Lines(lines) => lines.end(),
            Face::Screen(display) => {
                display.end();
                terminal::restore();
            }
        }
    }
}

impl Drop for Audience {
    /// A scenario that fails does not come to its end.
    fn drop(&mut self) {
        self.end();
    }
}

/// The display of a view, on a terminal that was entered for it.
fn view(board: &Arc<Board>) -> Option<Display<()>> {
    let terminal = Terminal::enter()?;
    let painter = Canvas::new(terminal).map(|canvas| ScenePainter {
        canvas,
        board: Arc::clone(board),
        focus: Focus::default(),
        last_frame: None,
    });
    let display = painter.and_then(|painter| Display::start(painter, 1));
    display.map_err(|_: io::Error| terminal::restore()).ok()
}

/// Draws what is on the board.
struct ScenePainter {
    canvas: Canvas,
    board: Arc<Board>,
    focus: Focus,
    last_frame: Option<Instant>,
}

impl ScenePainter {
    fn draw(&mut self, scene: &Scene) -> bool {
        self.last_frame = Some(Instant::now());
        let focus = self.focus.on(scene);
        self.canvas
            .draw(|frame, theme| screen::draw(frame, scene, focus, theme))
    }
}

impl Painter<()> for ScenePainter {
    fn paint(&mut self, (): ()) -> bool {
        let scene = self.board.scene();
        self.draw(&scene)
    }

    fn idle(&mut self) -> bool {
        let keys = self.canvas.keys();
        let is_due = self
            .last_frame
            .is_none_or(|last| last.elapsed() >= FRAME_EVERY);
        if !is_due && keys.is_empty() {
            return true;
        }
        let scene = self.board.scene();
        for key in keys {
            match key {
                Key::Next => self.focus.step_by(&scene, true),
                Key::Previous => self.focus.step_by(&scene, false),
                // The canvas has seen to it.
                Key::End => {}
            }
        }
        self.draw(&scene)
    }
}

/// Where a load can be heard.
enum Way {
    Nowhere,
    Lines(Inlet<String>),
    Screen(Inlet<()>),
}

/// The place of one load: what it says, and who watches it.
pub struct Seat {
    board: Arc<Board>,
    load: usize,
    way: Way,
}

impl Seat {
    /// Changes how far the load is, and says so in a line.
    fn say(&self, change: impl FnOnce(&mut State), what: &str) {
        self.board.change(self.load, change);
        let bill = &self.board.bill;
        let name = bill.loads.get(self.load).map_or("", |load| &load.name);
        match &self.way {
            Way::Nowhere => {}
            Way::Lines(lines) => lines.show(format!("{}: load {name} {what}\n", bill.name)),
            Way::Screen(display) => display.show(()),
        }
    }

    /// The load begins.
    pub fn begins(&self) {
        let running = State::Running {
            view: None,
            metrics: None,
        };
        self.say(|state| *state = running, "begins");
    }

    /// Everybody who looks at the load, which is `config`.
    ///
    /// # Errors
    /// When the address of its endpoint cannot be listened on.
    pub fn watches(&self, config: &Config) -> Result<Vec<Box<dyn Watch>>, String> {
        let mut watches: Vec<Box<dyn Watch>> = Vec::new();
        if let Some(endpoint) = listen(config)? {
            let address = endpoint.address();
            let set = |state: &mut State| {
                if let State::Running { metrics, .. } = state {
                    *metrics = Some(address);
                }
            };
            self.say(set, &format!("has {}", where_metrics_are(address)));
            watches.push(Box::new(endpoint));
        }
        match &self.way {
            Way::Nowhere => {}
            Way::Lines(inlet) => watches.push(Box::new(SharedLines {
                began: Instant::now(),
                label: self.label(),
                lines: Lines::new(LINE_EVERY.1),
                inlet: inlet.clone(),
            })),
            Way::Screen(_) => watches.push(Box::new(Leaver {
                follower: Follower::default(),
                board: Arc::clone(&self.board),
                load: self.load,
                last: None,
            })),
        }
        Ok(watches)
    }

    /// What each line of the load begins with; all are equally wide.
    fn label(&self) -> String {
        let loads = &self.board.bill.loads;
        let width = loads.iter().map(|load| load.name.len()).max().unwrap_or(0) + 1;
        let name = loads.get(self.load).map_or("", |load| &load.name);
        format!("{:<width$} ", format!("{name}:"))
    }

    /// The load has ended, with a report or for a reason.
    pub fn ends(&self, report: Result<&Report, &str>) {
        let (end, what) = match report {
            Ok(report) => {
                let outcome = Outcome::of(report);
                let what = format!("has ended: {}", outcome.describe());
                (End::Reported(outcome), what)
            }
            Err(cause) => (End::Failed(cause.to_owned()), "has failed".to_owned()),
        };
        let close = |view: Arc<View>| match report {
            Ok(report) => Arc::new(view.closed(report)),
            Err(_) => view,
        };
        self.say(|state| *state = ended(state, end, close), &what);
    }

    /// The scenario ends before the load began.
    pub fn stays_empty(&self) {
        let close = |view| view;
        self.board.change(self.load, |state| {
            *state = ended(state, End::NotBegun, close);
        });
    }
}

fn ended(state: &State, end: End, close: impl Fn(Arc<View>) -> Arc<View>) -> State {
    let view: Option<Arc<View>> = match state {
        State::Waiting => None,
        State::Running { view, .. } | State::Ended { view, .. } => view.clone(),
    };
    State::Ended {
        view: view.map(close),
        end: Arc::new(end),
    }
}

/// Leaves what it sees of a load on the board.
struct Leaver {
    follower: Follower,
    board: Arc<Board>,
    load: usize,
    last: Option<Instant>,
}

impl Watch for Leaver {
    fn look(&mut self, live: &Live<'_>) -> Flow {
        let now = Instant::now();
        self.follower.look(live, now);
        let is_due = |last: Instant| now.saturating_duration_since(last) >= LEAVE_EVERY;
        if !self.last.is_none_or(is_due) {
            return Flow::Continue;
        }
        let Some(slot) = self.board.states.get(self.load) else {
            return Flow::Continue;
        };
        // If it is being fetched in this very moment, the next look is soon.
        let mut state = match slot.try_lock() {
            Ok(state) => state,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Flow::Continue,
        };
        if let State::Running { view, .. } = &mut *state {
            self.last = Some(now);
            *view = self.follower.view(live, now).map(Arc::new);
        }
        Flow::Continue
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::testing::{config, report};
    use crate::live::view::Asked;
    use crate::measure::figures::Percentiles;
    use crate::measure::gauges::Reading;
    use crate::measure::latency::Latency;
    use crate::measure::watch::LivePhase;
    use scene::BilledLoad;

    /// A scenario of one load, and its audience. Quiet, so that nobody looks but the test.
    fn audience(config: &Config) -> Audience {
        let bill = Bill {
            steps: vec![String::new()],
            loads: vec![BilledLoad {
                name: "talk".to_owned(),
                step: 0,
                start: Duration::ZERO,
                command_line: String::new(),
                asked: Arc::new(Asked::of(config)),
            }],
            ..Bill::default()
        };
        Audience::gather(bill, true, true, &Arc::default())
    }

    fn leaver(audience: &Audience) -> Leaver {
        Leaver {
            follower: Follower::default(),
            board: Arc::clone(&audience.board),
            load: 0,
            last: None,
        }
    }

    /// Takes a look at a run of `config` in which nothing has happened.
    fn look(leaver: &mut Leaver, config: &Config) {
        let live = Live {
            config,
            phase: LivePhase::Opening,
            left_ns: 0,
            reading: Reading::default(),
            seconds: &[],
            response: &Latency::default(),
        };
        assert_eq!(leaver.look(&live), Flow::Continue);
    }

    #[test]
    fn a_load_waits_for_nobody_who_looks() {
        let config = config("echo ws://127.0.0.1:9 -c 3 -d 5s");
        let audience = audience(&config);
        let (board, mut leaver) = (&audience.board, leaver(&audience));
        audience.seat(0).begins();
        let held = lock(&board.states[0]);
        // It comes back, or this test does not end.
        look(&mut leaver, &config);
        drop(held);
        assert!(board.scene().states[0].view().is_none(), "nothing was left");
        look(&mut leaver, &config);
        let scene = board.scene();
        let view = scene.states[0].view().expect("left with the next look");
        assert_eq!(view.asked.connections, 3);
        audience.seat(0).ends(Err("for a reason"));
        leaver.last = None;
        look(&mut leaver, &config);
        let state = &board.scene().states[0];
        assert!(
            matches!(state, State::Ended { view: Some(_), .. }),
            "{state:?}"
        );
    }

    #[test]
    fn what_came_of_a_load_is_what_its_report_says() {
        let config = config("echo ws://127.0.0.1:9 -c 3 -R 50 -d 5s");
        let audience = audience(&config);
        audience.seat(0).begins();
        look(&mut leaver(&audience), &config);
        let mut report = report("echo");
        let mut response = Latency::default();
        for ns in [1_000, 2_000, 4_000] {
            response.record(ns);
        }
        report.latency_ns.response = Percentiles::of(&response);
        report.messages_per_second = 49.5;
        report.messages.lost = 2;
        report.errors.insert("reset".to_owned(), 3);
        audience.seat(0).ends(Ok(&report));
        let scene = audience.board.scene();
        let State::Ended { view, end } = &scene.states[0] else {
            unreachable!("{scene:?}");
        };
        let view = view.as_deref().expect("what was seen last");
        assert_eq!(view.measured.as_ref().map(|times| times.count), Some(3));
        assert_eq!(view.received_per_second, Some(49.5));
        let End::Reported(outcome) = &**end else {
            unreachable!("{end:?}");
        };
        assert_eq!(outcome.errors, 5);
        let described = outcome.describe();
        assert_eq!(described, "VALID · 50/s · p50 2.0us p99 4.0us · errors 5");
    }
}
