//! What people see of a run while it lasts: a live view on a terminal, plain lines elsewhere, and
//! an OpenMetrics endpoint for machines.
//!
//! Owns the choice between them. All of them are watches of the main thread ([`Watch`]): they take
//! what it shows them, and write on threads of their own.

use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::config::Config;
use crate::measure::watch::{Flow, Live, Watch};
use canvas::Canvas;
use display::{Display, Inlet, Painter};
use endpoint::Endpoint;
use lines::Lines;
use terminal::Terminal;
use view::{Follower, View};

mod canvas;
pub mod display;
pub mod endpoint;
pub mod heat;
pub mod keys;
pub mod lines;
pub mod metrics;
pub mod rows;
pub mod scenario;
pub mod screen;
pub mod terminal;
pub mod view;

/// Between two frames: four a second at most.
const FRAME_EVERY: Duration = Duration::from_millis(250);
/// Seconds in a plain line on a terminal, and in a file or pipe.
const LINE_EVERY: (usize, usize) = (1, 5);
/// Plain lines that may wait to be written.
const LINES_WAITING_MAX: usize = 64;

/// Everybody who looks at a run of `config`.
///
/// # Errors
/// When the address of the endpoint cannot be listened on.
pub fn watches(config: &Config) -> Result<Vec<Box<dyn Watch>>, String> {
    let mut watches: Vec<Box<dyn Watch>> = Vec::new();
    if let Some(endpoint) = listen(config)? {
        if !config.outputs.is_quiet {
            // Before the view takes the terminal, so that it is read.
            eprintln!("{}", where_metrics_are(endpoint.address()));
        }
        watches.push(Box::new(endpoint));
    }
    watches.extend(for_people(config));
    Ok(watches)
}

/// The endpoint that `config` asks for.
fn listen(config: &Config) -> Result<Option<Endpoint>, String> {
    let address = config.outputs.prometheus;
    address
        .map(|address| Endpoint::bind(address, config))
        .transpose()
}

fn where_metrics_are(address: SocketAddr) -> String {
    format!("metrics at http://{address}/metrics")
}

fn for_people(config: &Config) -> Option<Box<dyn Watch>> {
    if config.outputs.is_quiet {
        return None;
    }
    if config.outputs.has_view
        && let Some(terminal) = Terminal::enter()
    {
        match LiveView::start(terminal) {
            Ok(view) => return Some(Box::new(view)),
            Err(_) => terminal::restore(),
        }
    }
    PlainLines::start()
        .ok()
        .map(|lines| Box::new(lines) as Box<dyn Watch>)
}

/// Draws views on the terminal.
struct ScreenPainter(Canvas);

impl Painter<View> for ScreenPainter {
    fn paint(&mut self, view: View) -> bool {
        self.0
            .draw(|frame, theme| screen::draw(frame, &view, theme))
    }

    fn idle(&mut self) -> bool {
        self.0.keys();
        true
    }
}

/// The live view of a run.
struct LiveView {
    follower: Follower,
    display: Display<View>,
    last_frame: Option<Instant>,
}

impl LiveView {
    fn start(terminal: Terminal) -> io::Result<LiveView> {
        Ok(LiveView {
            follower: Follower::default(),
            display: Display::start(ScreenPainter(Canvas::new(terminal)?), 1)?,
            last_frame: None,
        })
    }
}

impl Watch for LiveView {
    fn look(&mut self, live: &Live<'_>) -> Flow {
        let now = Instant::now();
        self.follower.look(live, now);
        let is_due = |last: Instant| now.saturating_duration_since(last) >= FRAME_EVERY;
        if self.last_frame.is_none_or(is_due)
            && let Some(view) = self.follower.view(live, now)
        {
            self.last_frame = Some(now);
            self.display.show(view);
        }
        Flow::Continue
    }

    fn end(&mut self) {
        self.display.end();
        terminal::restore();
    }
}

impl Drop for LiveView {
    /// A run that fails does not come to its end.
    fn drop(&mut self) {
        self.end();
    }
}

/// Lines for standard error, each with its end. At most `waiting_max` wait; what does not fit is
/// dropped, so that whoever writes them never waits.
///
/// # Errors
/// When the system gives no thread.
pub fn plain_lines(waiting_max: usize) -> io::Result<Display<String>> {
    Display::start(LinePainter, waiting_max)
}

/// Writes lines to standard error.
struct LinePainter;

impl Painter<String> for LinePainter {
    fn paint(&mut self, line: String) -> bool {
        io::stderr().write_all(line.as_bytes()).is_ok()
    }
}

/// The plain lines of a run.
struct PlainLines {
    began: Instant,
    lines: Lines,
    display: Display<String>,
}

impl PlainLines {
    fn start() -> io::Result<PlainLines> {
        let every = match io::stderr().is_terminal() {
            true => LINE_EVERY.0,
            false => LINE_EVERY.1,
        };
        Ok(PlainLines {
            began: Instant::now(),
            lines: Lines::new(every),
            display: plain_lines(LINES_WAITING_MAX)?,
        })
    }
}

impl Watch for PlainLines {
    fn look(&mut self, live: &Live<'_>) -> Flow {
        for line in self.lines.look(live, self.began.elapsed().as_secs()) {
            self.display.show(format!("{line}\n"));
        }
        Flow::Continue
    }

    fn end(&mut self) {
        self.display.end();
    }
}

/// The plain lines of one of several runs, which share a display.
struct SharedLines {
    began: Instant,
    /// What every line begins with.
    label: String,
    lines: Lines,
    inlet: Inlet<String>,
}

impl Watch for SharedLines {
    fn look(&mut self, live: &Live<'_>) -> Flow {
        for line in self.lines.look(live, self.began.elapsed().as_secs()) {
            self.inlet.show(format!("{}{line}\n", self.label));
        }
        Flow::Continue
    }
}
