//! A fan-out server of the raw dialect whose copies leave one after the other, a fixed time apart.

use fanwire_protocol::MessageKind;

use crate::selftest::script::{Heard, Line, Script, Stage};

/// The byte of a binary payload that holds the stamp's flags, and the flag of a probe. A probe is
/// sent before the load, and every subscriber must hear it or its subscription is not confirmed.
const FLAGS_AT: usize = 7;
const PROBE: u8 = 1;

/// Sends the n-th subscriber its copy n times `step_ns` later than the first.
#[derive(Debug)]
pub struct Ladder {
    /// When the first copy leaves after the message arrived.
    pub base_ns: u64,
    /// Between two subscribers.
    pub step_ns: u64,
    /// The last so many subscribers never get a copy.
    pub silent: usize,
    /// Messages of the load that were heard.
    pub published: u64,
    /// Connections of subscribers.
    subscribers: Vec<u32>,
}

impl Ladder {
    /// Nobody has subscribed.
    pub fn new(base_ns: u64, step_ns: u64, silent: usize) -> Ladder {
        Ladder {
            base_ns,
            step_ns,
            silent,
            published: 0,
            subscribers: Vec::new(),
        }
    }
}

impl Script for Ladder {
    fn on_open(&mut self, connection: u32, target: &str) {
        if !target.contains("publish") {
            self.subscribers.push(connection);
        }
    }

    fn on_message(&mut self, heard: &Heard<'_>, stage: &mut Stage) {
        let is_probe = heard.kind == MessageKind::Binary
            && heard
                .payload
                .get(FLAGS_AT)
                .is_some_and(|flags| flags & PROBE != 0);
        let (step_ns, silent) = if is_probe {
            (0, 0)
        } else {
            self.published += 1;
            (self.step_ns, self.silent)
        };
        let hearing = self.subscribers.len().saturating_sub(silent);
        for (place, connection) in self.subscribers.iter().take(hearing).enumerate() {
            let at_ns = heard.at_ns + self.base_ns + place as u64 * step_ns;
            let line = Line::Message(heard.kind, heard.payload.to_vec());
            stage.say(at_ns, *connection, line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copies(silent: usize, flags: u8) -> Vec<(u64, u32)> {
        let mut ladder = Ladder::new(100, 10, silent);
        ladder.on_open(0, "/raw/load.0?publish&subscribe=false");
        for connection in 1..=4 {
            ladder.on_open(connection, "/raw/load.0");
        }
        let mut stage = Stage::default();
        let payload = [0, 0, 0, 0, 0, 0, 0, flags];
        let heard = Heard {
            at_ns: 1_000,
            connection: 0,
            number: 0,
            kind: MessageKind::Binary,
            payload: &payload,
        };
        ladder.on_message(&heard, &mut stage);
        std::iter::from_fn(|| stage.next_due(u64::MAX))
            .map(|cue| (cue.at_ns, cue.connection))
            .collect()
    }

    #[test]
    fn copies_leave_one_after_the_other() {
        assert_eq!(
            copies(0, 0),
            [(1_100, 1), (1_110, 2), (1_120, 3), (1_130, 4)]
        );
    }

    #[test]
    fn the_last_hear_the_probe_only() {
        assert_eq!(copies(2, 0), [(1_100, 1), (1_110, 2)]);
        assert_eq!(copies(2, PROBE).len(), 4);
    }
}
