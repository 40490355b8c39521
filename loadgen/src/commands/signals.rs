//! SIGINT and SIGTERM: the first ends a run with a partial report, the second ends the program.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGINT, SIGTERM};

use crate::commands::{Failure, INTERRUPTED};

/// Installs both and returns the flag that the first one sets.
///
/// # Errors
/// When the system refuses a handler.
pub fn install() -> Result<Arc<AtomicBool>, Failure> {
    let is_interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        let (flag, second) = (Arc::clone(&is_interrupted), Arc::clone(&is_interrupted));
        let code = i32::from(INTERRUPTED);
        signal_hook::flag::register_conditional_shutdown(signal, code, second)
            .and_then(|_| signal_hook::flag::register(signal, flag))
            .map_err(|error| Failure::run(format!("cannot handle signals: {error}")))?;
    }
    Ok(is_interrupted)
}
