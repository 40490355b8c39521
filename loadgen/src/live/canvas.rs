//! The terminal as something that is drawn on, in a frame at a time.
//!
//! Owns the size and the colours. What is drawn is the views' affair, entering and restoring the
//! terminal `terminal`'s.

use std::io;

use ratatui::Frame;
use ratatui::backend::CrosstermBackend;
use ratatui::layout::Rect;
use ratatui::{TerminalOptions, Viewport};
use signal_hook::consts::SIGINT;
use signal_hook::low_level::raise;

use super::keys::Key;
use super::screen::Theme;
use super::terminal::Terminal;

/// A terminal that was entered.
pub struct Canvas {
    terminal: Terminal,
    drawing: ratatui::Terminal<CrosstermBackend<io::BufWriter<io::Stderr>>>,
    area: Rect,
    theme: Theme,
}

impl Canvas {
    /// Takes the terminal as large as it is now.
    ///
    /// # Errors
    /// When it cannot be written to.
    pub fn new(terminal: Terminal) -> io::Result<Canvas> {
        let (width, height) = terminal.size();
        let area = Rect::new(0, 0, width, height);
        // A frame is some kilobytes and is written in one go.
        let output = io::BufWriter::with_capacity(64 * 1024, io::stderr());
        // The size is asked of the terminal that was entered, before every frame.
        let options = TerminalOptions {
            viewport: Viewport::Fixed(area),
        };
        let drawing = ratatui::Terminal::with_options(CrosstermBackend::new(output), options)?;
        let has_color = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Ok(Canvas {
            terminal,
            drawing,
            area,
            theme: Theme { has_color },
        })
    }

    /// Draws a frame, unless the terminal has been restored meanwhile. False when the terminal has
    /// gone away, which is no reason to end a measurement.
    pub fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>, Theme)) -> bool {
        let (width, height) = self.terminal.size();
        let area = Rect::new(0, 0, width, height);
        let (drawing, theme) = (&mut self.drawing, self.theme);
        let mut is_drawn = true;
        let was = std::mem::replace(&mut self.area, area);
        self.terminal.frame(|| {
            is_drawn = (was == area || drawing.resize(area).is_ok())
                && drawing.draw(|frame| draw(frame, theme)).is_ok();
        });
        is_drawn
    }

    /// What was typed since the last call. The key that ends a run does so here, in the same way as
    /// Ctrl-C, down to what a second one does.
    pub fn keys(&mut self) -> Vec<Key> {
        let keys = self.terminal.keys();
        for _ in keys.iter().filter(|key| **key == Key::End) {
            let _ = raise(SIGINT);
        }
        keys
    }
}
