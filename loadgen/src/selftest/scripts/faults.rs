//! A server that breaks what a server should keep, and counts what it broke.

use std::collections::BTreeMap;

use fanwire_protocol::MessageKind;

use crate::selftest::script::{Heard, Line, Script, Stage};

/// How often each thing was done to the client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Injected {
    /// Messages that were not answered.
    pub dropped: u64,
    /// Messages that were answered twice.
    pub duplicated: u64,
    /// Pairs of messages that were answered in the wrong order.
    pub reordered: u64,
    /// Answers with one bit flipped.
    pub corrupted: u64,
    /// Messages that answer nothing.
    pub unsolicited: u64,
    /// Pings.
    pub pings: u64,
}

/// Of every so many messages one meets each fault.
pub const EVERY: u64 = 1_000;
/// Where in a thousand each fault lies. Far apart, so that no two meet on one connection.
const DROP_AT: u64 = 100;
const DUPLICATE_AT: u64 = 250;
const REORDER_AT: u64 = 400;
const CORRUPT_AT: u64 = 550;
const UNSOLICITED_AT: u64 = 700;
const PING_AT: u64 = 850;
/// Longer than any message of the test, and of bytes that none of them begins with.
const UNSOLICITED: [u8; 200] = [0xa5; 200];

/// Breaks one in a thousand in each of six ways.
#[derive(Debug)]
pub struct Saboteur {
    /// What was done.
    pub injected: Injected,
    random: fastrand::Rng,
    /// No message from this one on meets a fault: the end of the run must be clean, so that a
    /// dropped message is overtaken by others.
    faults_until: u64,
    /// Answers that wait for the next message of their connection.
    held: BTreeMap<u32, Vec<u8>>,
    /// Drops one more than it books: what must be noticed when the test is itself under test.
    has_secret: bool,
}

impl Saboteur {
    /// `expected` messages will come over `connections`.
    pub fn new(expected: u64, connections: u32, seed: u64, has_secret: bool) -> Saboteur {
        Saboteur {
            injected: Injected::default(),
            random: fastrand::Rng::with_seed(seed),
            faults_until: expected.saturating_sub(20 * u64::from(connections)),
            held: BTreeMap::new(),
            has_secret,
        }
    }

    fn flip(&mut self, payload: &[u8]) -> Vec<u8> {
        let mut changed = payload.to_vec();
        let bit = self.random.usize(0..8 * changed.len().max(1));
        if let Some(byte) = changed.get_mut(bit / 8) {
            *byte ^= 1 << (bit % 8);
        }
        changed
    }
}

impl Script for Saboteur {
    fn on_message(&mut self, heard: &Heard<'_>, stage: &mut Stage) {
        let (at_ns, connection) = (heard.at_ns, heard.connection);
        let fault = (heard.number < self.faults_until).then_some(heard.number % EVERY);
        match fault {
            Some(DROP_AT) => {
                self.injected.dropped += 1;
                return;
            }
            Some(1) if self.has_secret => {
                self.has_secret = false;
                return;
            }
            Some(DUPLICATE_AT) => {
                self.injected.duplicated += 1;
                stage.echo(at_ns, heard);
                stage.echo(at_ns, heard);
            }
            Some(REORDER_AT) => {
                self.injected.reordered += 1;
                self.held.insert(connection, heard.payload.to_vec());
                return;
            }
            Some(CORRUPT_AT) => {
                self.injected.corrupted += 1;
                let payload = self.flip(heard.payload);
                stage.say(at_ns, connection, Line::Message(heard.kind, payload));
            }
            Some(UNSOLICITED_AT) => {
                self.injected.unsolicited += 1;
                stage.echo(at_ns, heard);
                let line = Line::Message(MessageKind::Binary, UNSOLICITED.to_vec());
                stage.say(at_ns, connection, line);
            }
            Some(PING_AT) => {
                self.injected.pings += 1;
                stage.say(at_ns, connection, Line::Ping(b"are you there".to_vec()));
                stage.echo(at_ns, heard);
            }
            _ => stage.echo(at_ns, heard),
        }
        if let Some(payload) = self.held.remove(&connection) {
            stage.say(at_ns, connection, Line::Message(heard.kind, payload));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `count` different messages over `connections` and returns everything said.
    fn play(saboteur: &mut Saboteur, count: u64, connections: u32) -> Vec<(u32, Line)> {
        let mut stage = Stage::default();
        for number in 0..count {
            let payload = number.to_le_bytes();
            let heard = Heard {
                at_ns: number,
                connection: (number % u64::from(connections)) as u32,
                number,
                kind: MessageKind::Binary,
                payload: &payload,
            };
            saboteur.on_message(&heard, &mut stage);
        }
        std::iter::from_fn(|| stage.next_due(u64::MAX))
            .map(|cue| (cue.connection, cue.line))
            .collect()
    }

    #[test]
    fn it_does_what_it_books() {
        let mut saboteur = Saboteur::new(5_200, 10, 1, false);
        let said = play(&mut saboteur, 5_200, 10);
        let Injected {
            dropped,
            duplicated,
            reordered,
            corrupted,
            unsolicited,
            pings,
        } = saboteur.injected;
        assert_eq!(
            [
                dropped,
                duplicated,
                reordered,
                corrupted,
                unsolicited,
                pings
            ],
            [5; 6]
        );
        let messages = said
            .iter()
            .filter(|(_, line)| matches!(line, Line::Message(..)))
            .count() as u64;
        assert_eq!(messages, 5_200 - dropped + duplicated + unsolicited);
        assert_eq!(said.len() as u64 - messages, pings);
        assert!(saboteur.held.is_empty());
    }

    #[test]
    fn the_secret_is_one_message_and_is_not_booked() {
        let (mut honest, mut sly) = (
            Saboteur::new(5_200, 10, 1, false),
            Saboteur::new(5_200, 10, 1, true),
        );
        let difference = play(&mut honest, 5_200, 10).len() - play(&mut sly, 5_200, 10).len();
        assert_eq!(difference, 1);
        assert_eq!(honest.injected, sly.injected);
    }

    #[test]
    fn the_end_is_clean() {
        let mut saboteur = Saboteur::new(1_000, 10, 1, false);
        play(&mut saboteur, 1_000, 10);
        // The last 200 meet nothing, so the ping at 850 is left out.
        assert_eq!(
            (saboteur.injected.pings, saboteur.injected.unsolicited),
            (0, 1)
        );
    }
}
