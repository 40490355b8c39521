//! The thread that writes to the terminal, so that the one that keeps a run's time never waits.
//!
//! A terminal can take its time: a slow line, a pipe that nobody reads. What it cannot take is
//! dropped, not queued. Knows nothing of what is written.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

/// How often a painter is asked whether anything happened, when there is nothing to paint.
const IDLE: Duration = Duration::from_millis(100);
/// A painter may take so long to finish; then it is left behind.
const PATIENCE: Duration = Duration::from_millis(500);

/// Writes what it is given.
pub trait Painter<T>: Send {
    /// Writes one thing. False when there is no point in any more of them.
    fn paint(&mut self, item: T) -> bool;

    /// Called about ten times a second, whatever else happens. False as with `paint`.
    fn idle(&mut self) -> bool {
        true
    }
}

/// A way into a [`Display`] that several threads share.
#[derive(Debug)]
pub struct Inlet<T>(SyncSender<T>);

impl<T> Clone for Inlet<T> {
    fn clone(&self) -> Inlet<T> {
        Inlet(self.0.clone())
    }
}

impl<T> Inlet<T> {
    /// As [`Display::show`].
    pub fn show(&self, item: T) {
        let _ = self.0.try_send(item);
    }
}

/// A painter on a thread of its own.
#[derive(Debug)]
pub struct Display<T> {
    items: Option<SyncSender<T>>,
    done: Receiver<()>,
}

impl<T: Send + 'static> Display<T> {
    /// Starts the thread. At most `waiting_max` things wait for it.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(
        painter: impl Painter<T> + 'static,
        waiting_max: usize,
    ) -> std::io::Result<Display<T>> {
        let (sender, items) = sync_channel(waiting_max);
        let (finished, done) = sync_channel(1);
        std::thread::Builder::new()
            .name("display".to_owned())
            .spawn(move || {
                paint_all(painter, &items);
                // Nobody may be waiting any more.
                let _ = finished.try_send(());
            })?;
        Ok(Display {
            items: Some(sender),
            done,
        })
    }

    /// Hands something over to be written, or drops it when too much is waiting already.
    pub fn show(&self, item: T) {
        if let Some(items) = &self.items {
            let _ = items.try_send(item);
        }
    }

    /// Another way in, for a thread of its own. `None` when the display has ended.
    pub fn inlet(&self) -> Option<Inlet<T>> {
        self.items.clone().map(Inlet)
    }

    /// Waits until everything is written, within reason; inlets must be gone by then.
    pub fn end(&mut self) {
        if self.items.take().is_some() {
            let _ = self.done.recv_timeout(PATIENCE);
        }
    }
}

fn paint_all<T>(mut painter: impl Painter<T>, items: &Receiver<T>) {
    loop {
        match items.recv_timeout(IDLE) {
            Ok(item) => {
                if !painter.paint(item) {
                    return;
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        if !painter.idle() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};
    use std::time::Instant;

    use super::*;

    struct Stuck {
        began: Sender<u32>,
        release: Receiver<()>,
    }

    impl Painter<u32> for Stuck {
        fn paint(&mut self, item: u32) -> bool {
            // The test ends by dropping its side.
            self.began.send(item).is_ok() && self.release.recv().is_ok()
        }
    }

    #[test]
    fn a_stuck_terminal_holds_up_nobody_and_misses_what_came_meanwhile() {
        let (began, painted) = channel();
        let (go, release) = channel();
        let mut display = Display::start(Stuck { began, release }, 1).expect("a thread");
        display.show(1);
        assert_eq!(painted.recv(), Ok(1), "it hangs in the first");
        for item in 2..1_000 {
            display.show(item);
        }
        go.send(()).expect("it waits");
        assert_eq!(painted.recv(), Ok(2), "one had room to wait");
        let before = Instant::now();
        display.end();
        assert!(before.elapsed() < 20 * PATIENCE, "left behind");
        drop(go);
        assert!(painted.recv().is_err(), "the others were dropped");
    }
}
