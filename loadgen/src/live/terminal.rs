//! The terminal as it was found, and as the live view needs it.
//!
//! Owns entering the alternate screen and, above all, leaving it: at the end of a run, on a panic
//! (which ends a release build on the spot) and before a second signal ends the program. Knows
//! nothing of what is drawn.
//!
//! Keys that make signals keep making them, so Ctrl-C ends a run even when nobody reads keys. The
//! ones that would stop the program or its output in the middle of a measurement do not.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, IsTerminal, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::{Mutex, MutexGuard, Once, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use rustix::process::getpgrp;
use rustix::termios::{
    InputModes, LocalModes, OptionalActions, QueueSelector, SpecialCodeIndex, Termios, tcflush,
    tcgetattr, tcgetpgrp, tcgetwinsize, tcsetattr,
};

use super::keys::{Key, Keys};

/// Alternate screen, cursor hidden.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
/// Plain attributes, cursor shown, the screen that was there before.
const LEAVE: &str = "\x1b[0m\x1b[?25h\x1b[?1049l";
/// So long a terminal that takes no bytes is waited for when it is to be restored.
const PATIENCE: Duration = Duration::from_millis(200);
/// A special character with this value does not exist (`_POSIX_VDISABLE`).
const DISABLED: u8 = 0;
/// A terminal that does not know its size has this one.
const SIZE_DEFAULT: (u16, u16) = (80, 24);

/// What is needed to put the terminal back; `None` while nobody has changed it.
static FOUND: Mutex<Option<Found>> = Mutex::new(None);
/// Held while a frame is written, so that none follows the restoring.
static DRAWING: Mutex<()> = Mutex::new(());

struct Found {
    tty: File,
    modes: Termios,
}

/// Whether standard error is a terminal on which this process may draw: one that understands
/// escape sequences, and whose foreground job we are.
pub fn is_ours() -> bool {
    let stderr = io::stderr();
    let is_dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
    // Fails for a terminal that does not control this process: no signal could come from it.
    let is_foreground = tcgetpgrp(&stderr).is_ok_and(|group| group == getpgrp());
    stderr.is_terminal() && !is_dumb && is_foreground
}

/// A terminal on its alternate screen.
#[derive(Debug)]
pub struct Terminal {
    tty: File,
    typed: Keys,
}

fn open() -> io::Result<File> {
    // Not to be waited for, neither when keys are read nor when a stuck terminal is restored.
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits();
    // The flags are those of open(2), which fit.
    let flags = i32::try_from(flags).unwrap_or_default();
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(flags)
        .open("/dev/tty")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Terminal {
    /// Enters the alternate screen. `None` when the terminal is not ours, or already entered by
    /// another run of this process.
    pub fn enter() -> Option<Terminal> {
        if !is_ours() {
            return None;
        }
        let (tty, ours) = (open().ok()?, open().ok()?);
        let modes = tcgetattr(&tty).ok()?;
        let mut changed = modes.clone();
        changed.local_modes -= LocalModes::ICANON | LocalModes::ECHO;
        // Ctrl-S would hold up the drawing, and Ctrl-Z and Ctrl-\ the measurement itself.
        changed.input_modes -= InputModes::IXON;
        for (key, code) in [
            (SpecialCodeIndex::VSUSP, DISABLED),
            (SpecialCodeIndex::VQUIT, DISABLED),
            (SpecialCodeIndex::VMIN, 0),
            (SpecialCodeIndex::VTIME, 0),
        ] {
            changed.special_codes[key] = code;
        }
        let mut found = lock(&FOUND);
        if found.is_some() {
            return None;
        }
        restore_on_panic();
        tcsetattr(&tty, OptionalActions::Now, &changed).ok()?;
        *found = Some(Found { tty, modes });
        drop(found);
        let mut stderr = io::stderr();
        if stderr.write_all(ENTER.as_bytes()).is_err() {
            restore();
            return None;
        }
        Some(Terminal {
            tty: ours,
            typed: Keys::default(),
        })
    }

    /// What was typed since the last call, which is to be made about ten times a second.
    pub fn keys(&mut self) -> Vec<Key> {
        let mut bytes = [0; 64];
        // In the background, reading would stop the process.
        if !is_ours() {
            return Vec::new();
        }
        let count = self.tty.read(&mut bytes).unwrap_or(0);
        self.typed.read(bytes.get(..count).unwrap_or_default())
    }

    /// Columns and rows, as they are now.
    pub fn size(&self) -> (u16, u16) {
        match tcgetwinsize(&self.tty) {
            Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col, size.ws_row),
            _ => SIZE_DEFAULT,
        }
    }

    /// Lets `draw` write a frame, unless the terminal has been restored meanwhile.
    pub fn frame(&self, draw: impl FnOnce()) {
        let drawing = lock(&DRAWING);
        if is_ours() && lock(&FOUND).is_some() {
            draw();
        }
        drop(drawing);
    }
}

/// Puts the terminal back as it was found. May be called from any thread, any number of times, and
/// takes a fraction of a second even when the terminal is stuck.
pub fn restore() {
    let deadline = Instant::now() + PATIENCE;
    // A frame that is being written is waited for; one that hangs in a stuck terminal is not.
    let _drawing = loop {
        match DRAWING.try_lock() {
            Ok(guard) => break Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => break Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) if Instant::now() >= deadline => break None,
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(1)),
        }
    };
    let Some(mut found) = lock(&FOUND).take() else {
        return;
    };
    let mut left = LEAVE.as_bytes();
    while !left.is_empty() {
        match found.tty.write(left) {
            Ok(count) => left = left.get(count..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(1));
            }
            // The terminal is gone or stuck: its modes are still put back.
            Err(_) => break,
        }
    }
    let _ = tcsetattr(&found.tty, OptionalActions::Now, &found.modes);
    // What was typed at the view is not meant for the shell.
    let _ = tcflush(&found.tty, QueueSelector::IFlush);
}

/// The message of a panic belongs on the screen that stays.
fn restore_on_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let earlier = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            restore();
            earlier(panic);
        }));
    });
}
