//! What the main thread tells a core.

use crate::pace::plan::Window;

/// One message to the application of a core.
#[derive(Clone, Copy, Debug)]
pub enum Command {
    /// All threads have opened what they could: the load begins.
    Begin(Window),
    /// Fan-out: all connections are open; subscriptions are to be confirmed.
    Prepare,
    /// The run ends now.
    Stop,
    /// Fan-out: nothing more is to be expected; the sheet is wanted.
    Account,
    /// Measuring starts sooner than was announced.
    Measure(Window),
    /// Warm-up: the response times since the last such question are wanted. The number of the
    /// question, from 0.
    Warmth(u32),
    /// A second is over: what was timed in it is wanted. The number of the second, from 0.
    Pulse(u32),
}
