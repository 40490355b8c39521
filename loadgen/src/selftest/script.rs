//! What a scripted server does, without sockets and clocks.
//!
//! A [`Script`] is told what arrived and when; it writes onto a [`Stage`] what is to be said to
//! whom at which time. Whoever holds the stage says it: the reactor application in `server`, or a
//! unit test with times of its own.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use fanwire_protocol::MessageKind;

/// A message that arrived.
#[derive(Clone, Copy, Debug)]
pub struct Heard<'a> {
    /// When, CLOCK_MONOTONIC.
    pub at_ns: u64,
    /// On which connection, numbered from 0 in the order of opening.
    pub connection: u32,
    /// How many messages the server had heard before, on all connections.
    pub number: u64,
    /// Text or binary.
    pub kind: MessageKind,
    /// The payload.
    pub payload: &'a [u8],
}

/// What is said to a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// A message.
    Message(MessageKind, Vec<u8>),
    /// A ping.
    Ping(Vec<u8>),
}

/// Something to be said at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cue {
    /// When, CLOCK_MONOTONIC.
    pub at_ns: u64,
    /// Breaks ties: cues of one time keep the order in which they were given.
    order: u64,
    /// To which connection.
    pub connection: u32,
    /// What.
    pub line: Line,
}

impl PartialOrd for Cue {
    fn partial_cmp(&self, other: &Cue) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Cue {
    fn cmp(&self, other: &Cue) -> std::cmp::Ordering {
        (self.at_ns, self.order).cmp(&(other.at_ns, other.order))
    }
}

/// Everything that is still to be said. Bounded by what clients have sent and nobody answered.
#[derive(Debug, Default)]
pub struct Stage {
    cues: BinaryHeap<Reverse<Cue>>,
    given: u64,
}

impl Stage {
    /// Has `line` said to `connection` at `at_ns`, or at once when that has passed.
    pub fn say(&mut self, at_ns: u64, connection: u32, line: Line) {
        self.cues.push(Reverse(Cue {
            at_ns,
            order: self.given,
            connection,
            line,
        }));
        self.given += 1;
    }

    /// Has a message answered with itself.
    pub fn echo(&mut self, at_ns: u64, heard: &Heard<'_>) {
        let line = Line::Message(heard.kind, heard.payload.to_vec());
        self.say(at_ns, heard.connection, line);
    }

    /// The next cue, if it is due.
    pub fn next_due(&mut self, now_ns: u64) -> Option<Cue> {
        if self.cues.peek()?.0.at_ns > now_ns {
            return None;
        }
        self.cues.pop().map(|Reverse(cue)| cue)
    }

    /// When the next cue is due.
    pub fn next_at_ns(&self) -> Option<u64> {
        self.cues.peek().map(|Reverse(cue)| cue.at_ns)
    }
}

/// What a scripted server does.
pub trait Script: Send + 'static {
    /// A connection was upgraded; `target` is its request target.
    fn on_open(&mut self, _connection: u32, _target: &str) {}

    /// Every message is answered with itself at once: then nobody asks further, and the server is
    /// as quick as one can be.
    fn is_parrot(&self) -> bool {
        false
    }

    /// A message arrived.
    fn on_message(&mut self, heard: &Heard<'_>, stage: &mut Stage);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cues_come_in_order_of_time_and_then_of_giving() {
        let mut stage = Stage::default();
        for (at_ns, connection) in [(30, 0), (10, 1), (30, 2), (20, 3)] {
            stage.say(at_ns, connection, Line::Ping(Vec::new()));
        }
        assert!(stage.next_due(9).is_none());
        assert_eq!(stage.next_at_ns(), Some(10));
        let order: Vec<u32> = std::iter::from_fn(|| stage.next_due(30))
            .map(|cue| cue.connection)
            .collect();
        assert_eq!(order, [1, 3, 0, 2]);
        assert_eq!(stage.next_at_ns(), None);
    }
}
