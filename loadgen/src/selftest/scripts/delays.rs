//! Servers that echo late, by a closed form: from a deck of delays, or with pauses.

use crate::selftest::script::{Heard, Script, Stage};
use crate::selftest::theory::Stall;

/// Echoes the n-th message after the n-th delay of a deck.
#[derive(Debug)]
pub struct Dealer {
    deck: Vec<u64>,
}

impl Dealer {
    /// Messages beyond the deck begin it again.
    pub fn new(deck: Vec<u64>) -> Dealer {
        Dealer { deck }
    }
}

impl Script for Dealer {
    fn on_message(&mut self, heard: &Heard<'_>, stage: &mut Stage) {
        let index = heard.number % self.deck.len().max(1) as u64;
        let delay_ns = self.deck.get(index as usize).copied().unwrap_or(0);
        stage.echo(heard.at_ns + delay_ns, heard);
    }
}

/// Echoes after a fixed time, and pauses at the beginning of every period. The first period
/// begins with the first message.
#[derive(Debug)]
pub struct Pauser {
    stall: Stall,
    began_ns: Option<u64>,
}

impl Pauser {
    /// A server that pauses by `stall`.
    pub fn new(stall: Stall) -> Pauser {
        Pauser {
            stall,
            began_ns: None,
        }
    }
}

impl Script for Pauser {
    fn on_message(&mut self, heard: &Heard<'_>, stage: &mut Stage) {
        let began_ns = *self.began_ns.get_or_insert(heard.at_ns);
        let into_ns = heard.at_ns.saturating_sub(began_ns);
        stage.echo(began_ns + self.stall.answers_at_ns(into_ns), heard);
    }
}

#[cfg(test)]
mod tests {
    use fanwire_protocol::MessageKind;

    use super::*;

    fn heard(number: u64, at_ns: u64) -> Heard<'static> {
        Heard {
            at_ns,
            connection: 0,
            number,
            kind: MessageKind::Binary,
            payload: b"x",
        }
    }

    #[test]
    fn a_deck_is_dealt_in_order() {
        let mut dealer = Dealer::new(vec![5, 1]);
        let mut stage = Stage::default();
        for number in 0..4 {
            dealer.on_message(&heard(number, 100 * number), &mut stage);
        }
        let times: Vec<u64> = std::iter::from_fn(|| stage.next_due(u64::MAX))
            .map(|cue| cue.at_ns)
            .collect();
        assert_eq!(times, [5, 101, 205, 301]);
    }

    #[test]
    fn a_pause_begins_with_the_first_message() {
        let stall = Stall {
            base_ns: 1,
            pause_ns: 100,
            period_ns: 1_000,
        };
        let mut pauser = Pauser::new(stall);
        let mut stage = Stage::default();
        for (number, at_ns) in [7_000, 7_050, 7_100, 7_500, 8_001].into_iter().enumerate() {
            pauser.on_message(&heard(number as u64, at_ns), &mut stage);
        }
        let times: Vec<u64> = std::iter::from_fn(|| stage.next_due(u64::MAX))
            .map(|cue| cue.at_ns)
            .collect();
        assert_eq!(times, [7_101, 7_101, 7_101, 7_501, 8_101]);
    }
}
