//! SIGINT and SIGTERM: the first ends a run with a partial report, the second ends the program.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::exit;

use crate::commands::{Failure, INTERRUPTED};
use crate::live::terminal;

/// Installs both and returns the flag that the first one sets.
///
/// # Errors
/// When the system refuses a handler.
pub fn install() -> Result<Arc<AtomicBool>, Failure> {
    let refused = |error| Failure::run(format!("cannot handle signals: {error}"));
    let is_interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&is_interrupted)).map_err(refused)?;
    }
    // A handler could only end the program; a thread can put the terminal back first.
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(refused)?;
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            if signals.forever().nth(1).is_some() {
                terminal::restore();
                exit(i32::from(INTERRUPTED));
            }
        })
        .map_err(refused)?;
    Ok(is_interrupted)
}

/// How soon a pause ends after a signal.
const LOOK: Duration = Duration::from_millis(20);

/// Waits between two runs, unless a signal comes.
pub fn pause(length: Duration, is_interrupted: &AtomicBool) {
    let until = Instant::now() + length;
    while !is_interrupted.load(Ordering::Relaxed) {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        std::thread::sleep(left.min(LOOK));
    }
}
