//! The clients of one thread: who holds a connection, who leaves when, who comes back when.
//!
//! A state machine over times that are passed in, and the agenda of everything that is due. Knows
//! no socket and reads no clock.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use fanwire_reactor::Token;

use crate::churn::backoff::Reconnect;
use crate::churn::lifetime::Lifetime;
use crate::churn::options::Options;

/// Where a client stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stand {
    /// Without a connection, and none is being opened: it waits, or is not wanted back yet.
    Away,
    /// A connection is being opened.
    Opening,
    /// It has one.
    Held(Token),
    /// It does not come back.
    Gone,
}

/// A client.
#[derive(Clone, Copy, Debug)]
pub struct Member {
    /// Where it stands.
    pub stand: Stand,
    /// Counts changes of `stand`, so that what was put on the agenda for an earlier one is ignored.
    epoch: u32,
    /// Failures in a row.
    failures: u32,
    /// When it lost its connection or was first refused; `None` while nothing is to be recovered.
    lost_ns: Option<u64>,
    /// Of the time since then, how long it waited of its own accord.
    waited_ns: u64,
    /// Refused before the load began: the server asked it to wait until then.
    not_before_ns: u64,
}

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// The client leaves its connection.
    Leave(u32),
    /// The client is to connect again; it was due at this time.
    Return(u32, u64),
}

/// An entry of the agenda; the order of its members is the order of the agenda.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    at_ns: u64,
    member: u32,
    epoch: u32,
    is_return: bool,
}

/// How long a client was without service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// From the loss to being served again.
    pub whole_ns: u64,
    /// The same without what the client waited of its own accord.
    pub active_ns: u64,
}

/// The clients of one thread.
#[derive(Debug)]
pub struct Members {
    all: Vec<Member>,
    agenda: BinaryHeap<Reverse<Entry>>,
    random: fastrand::Rng,
    lifetime: Lifetime,
    reconnect: Reconnect,
    held: u32,
}

impl Members {
    /// `count` clients without connections. `seed` must differ between threads.
    pub fn new(count: u32, options: &Options, seed: u64) -> Members {
        let member = Member {
            stand: Stand::Away,
            epoch: 0,
            failures: 0,
            lost_ns: None,
            waited_ns: 0,
            not_before_ns: 0,
        };
        Members {
            all: vec![member; count as usize],
            agenda: BinaryHeap::new(),
            random: fastrand::Rng::with_seed(seed),
            lifetime: options.lifetime,
            reconnect: options.reconnect,
            held: 0,
        }
    }

    /// How many there are.
    pub fn count(&self) -> u32 {
        self.all.len() as u32
    }

    /// How many hold a connection.
    pub fn held(&self) -> u32 {
        self.held
    }

    /// How many do not come back.
    pub fn gone(&self) -> u64 {
        self.count_where(|member| member.stand == Stand::Gone)
    }

    /// How many were sent away or refused and wait for their next attempt.
    pub fn waiting(&self) -> u64 {
        self.count_where(|member| member.stand == Stand::Away && member.lost_ns.is_some())
    }

    fn count_where(&self, is_wanted: impl Fn(&Member) -> bool) -> u64 {
        self.all.iter().filter(|member| is_wanted(member)).count() as u64
    }

    /// The connection of a client.
    pub fn token(&self, member: u32) -> Option<Token> {
        match self.all.get(member as usize)?.stand {
            Stand::Held(token) => Some(token),
            Stand::Away | Stand::Opening | Stand::Gone => None,
        }
    }

    /// The load begins: everybody who holds a connection has what is left of a life, everybody who
    /// was refused waits for a next attempt.
    pub fn begin(&mut self, now_ns: u64) {
        for member in 0..self.count() {
            let Member {
                stand,
                not_before_ns,
                ..
            } = self.all[member as usize];
            match stand {
                Stand::Held(_) => {
                    if let Some(rest_ns) = self.lifetime.draw_rest_ns(&mut self.random) {
                        self.note(member, now_ns.saturating_add(rest_ns), false);
                    }
                }
                Stand::Away => {
                    let asked_ns = not_before_ns.saturating_sub(now_ns);
                    self.wait(member, now_ns, Some(asked_ns.div_ceil(1_000_000)));
                }
                Stand::Opening | Stand::Gone => {}
            }
        }
    }

    /// An attempt to connect begins.
    pub fn attempt_begins(&mut self, member: u32) {
        self.stand(member, Stand::Opening);
    }

    /// An attempt failed. `is_running`: the next one is put on the agenda at once.
    pub fn attempt_failed(
        &mut self,
        member: u32,
        begun_ns: u64,
        now_ns: u64,
        retry_after_ms: Option<u64>,
        is_running: bool,
    ) {
        self.stand(member, Stand::Away);
        let Some(one) = self.all.get_mut(member as usize) else {
            return;
        };
        one.lost_ns.get_or_insert(begun_ns);
        let asked_ns = retry_after_ms.unwrap_or(0).saturating_mul(1_000_000);
        one.not_before_ns = now_ns.saturating_add(asked_ns);
        if is_running {
            self.wait(member, now_ns, retry_after_ms);
        } else if self.reconnect == Reconnect::Never {
            self.stand(member, Stand::Gone);
        }
    }

    /// A connection is open. `is_running`: its life begins.
    pub fn connected(&mut self, member: u32, token: Token, now_ns: u64, is_running: bool) {
        self.stand(member, Stand::Held(token));
        if is_running && let Some(life_ns) = self.lifetime.draw_ns(&mut self.random) {
            self.note(member, now_ns.saturating_add(life_ns), false);
        }
    }

    /// The client was served: the first right reply of its connection, or, where nothing is sent,
    /// the connection itself. Says what it had to recover from.
    pub fn served(&mut self, member: u32, now_ns: u64) -> Option<Recovery> {
        let one = self.all.get_mut(member as usize)?;
        one.failures = 0;
        let waited_ns = std::mem::take(&mut one.waited_ns);
        let whole_ns = now_ns.saturating_sub(one.lost_ns.take()?);
        Some(Recovery {
            whole_ns,
            active_ns: whole_ns.saturating_sub(waited_ns),
        })
    }

    /// The client has left its connection and comes back at once.
    pub fn left(&mut self, member: u32, now_ns: u64) {
        self.stand(member, Stand::Away);
        self.note(member, now_ns, true);
    }

    /// The server has ended the connection at `lost_ns`. `is_running`: the next attempt is put on
    /// the agenda at once.
    pub fn lost(&mut self, member: u32, lost_ns: u64, now_ns: u64, is_running: bool) {
        self.stand(member, Stand::Away);
        if let Some(one) = self.all.get_mut(member as usize) {
            one.lost_ns.get_or_insert(lost_ns);
        }
        if is_running {
            self.wait(member, now_ns, None);
        } else if self.reconnect == Reconnect::Never {
            self.stand(member, Stand::Gone);
        }
    }

    /// Nobody leaves or comes back any more.
    pub fn end(&mut self) {
        self.agenda.clear();
    }

    /// When the next thing is due.
    pub fn next_due_ns(&mut self) -> Option<u64> {
        self.drop_outdated();
        self.agenda.peek().map(|Reverse(entry)| entry.at_ns)
    }

    /// Takes what is due by now.
    pub fn take_due(&mut self, now_ns: u64) -> Option<Due> {
        self.drop_outdated();
        let Reverse(entry) = self
            .agenda
            .peek()
            .copied()
            .filter(|Reverse(entry)| entry.at_ns <= now_ns)?;
        self.agenda.pop();
        Some(if entry.is_return {
            Due::Return(entry.member, entry.at_ns)
        } else {
            Due::Leave(entry.member)
        })
    }

    fn drop_outdated(&mut self) {
        while let Some(Reverse(entry)) = self.agenda.peek() {
            let member = self.all.get(entry.member as usize);
            if member.is_some_and(|member| member.epoch == entry.epoch) {
                return;
            }
            self.agenda.pop();
        }
    }

    /// Puts the next attempt on the agenda, or lets the client go.
    fn wait(&mut self, member: u32, now_ns: u64, retry_after_ms: Option<u64>) {
        let Some(one) = self.all.get_mut(member as usize) else {
            return;
        };
        let failures = one.failures;
        one.failures = failures.saturating_add(1);
        let delay_ns = self
            .reconnect
            .delay_ns(failures, retry_after_ms, &mut self.random);
        match delay_ns {
            None => self.stand(member, Stand::Gone),
            Some(delay_ns) => {
                one.waited_ns = one.waited_ns.saturating_add(delay_ns);
                self.note(member, now_ns.saturating_add(delay_ns), true);
            }
        }
    }

    fn note(&mut self, member: u32, at_ns: u64, is_return: bool) {
        let Some(one) = self.all.get(member as usize) else {
            return;
        };
        self.agenda.push(Reverse(Entry {
            at_ns,
            member,
            epoch: one.epoch,
            is_return,
        }));
    }

    fn stand(&mut self, member: u32, stand: Stand) {
        let Some(one) = self.all.get_mut(member as usize) else {
            return;
        };
        let was_held = matches!(one.stand, Stand::Held(_));
        let is_held = matches!(stand, Stand::Held(_));
        self.held = self.held + u32::from(is_held) - u32::from(was_held);
        one.stand = stand;
        one.epoch = one.epoch.wrapping_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::churn::options::Departure;

    const SECOND: u64 = 1_000_000_000;

    fn members(lifetime: &str, reconnect: &str) -> Members {
        let options = Options {
            lifetime: Lifetime::parse(lifetime).expect("valid"),
            reconnect: Reconnect::parse(reconnect).expect("valid"),
            departure: Departure::Clean,
            is_hold_only: false,
        };
        Members::new(2, &options, 1)
    }

    fn token(slot: u64) -> Token {
        Token::from_bits(slot)
    }

    #[test]
    fn a_life_ends_and_the_client_comes_back_at_once() {
        let mut members = members("10s", "never");
        members.attempt_begins(0);
        members.connected(0, token(7), 0, false);
        assert_eq!(members.next_due_ns(), None, "before the load nobody leaves");
        members.begin(100);
        let first = members.next_due_ns().expect("a first life ends");
        assert!(first <= 100 + 10 * SECOND);
        assert_eq!(members.take_due(first - 1), None);
        assert_eq!(members.take_due(first), Some(Due::Leave(0)));
        members.left(0, first + 5);
        assert_eq!((members.held(), members.token(0)), (0, None));
        let back = first + 5;
        assert_eq!(members.take_due(back), Some(Due::Return(0, back)));
        members.attempt_begins(0);
        members.connected(0, token(8), back + 7, true);
        assert_eq!(members.served(0, back + 9), None, "nothing was lost");
        assert_eq!(members.next_due_ns(), Some(back + 7 + 10 * SECOND));
        // Member 1 never had a connection, and nobody waits for it.
        assert_eq!(members.gone(), 1);
    }

    #[test]
    fn recovery_counts_from_the_loss_with_and_without_waiting() {
        let mut members = members("forever", "expo:1s..30s,jitter=none");
        members.connected(0, token(1), 0, true);
        members.lost(0, 50, 60, true);
        assert_eq!(
            members.take_due(60 + SECOND),
            Some(Due::Return(0, 60 + SECOND))
        );
        members.attempt_begins(0);
        members.attempt_failed(0, 60 + SECOND, 70 + SECOND, None, true);
        let again = 70 + 3 * SECOND;
        assert_eq!(
            members.next_due_ns(),
            Some(again),
            "the second wait is twice as long"
        );
        assert_eq!(members.take_due(again), Some(Due::Return(0, again)));
        members.attempt_begins(0);
        members.connected(0, token(2), again + 20, true);
        let recovery = members.served(0, again + 30).expect("it was lost");
        assert_eq!(recovery.whole_ns, again + 30 - 50);
        assert_eq!(recovery.active_ns, again + 30 - 50 - 3 * SECOND);
        // Being served ends the row of failures.
        members.lost(0, again + 40, again + 40, true);
        assert_eq!(members.next_due_ns(), Some(again + 40 + SECOND));
    }

    #[test]
    fn a_server_that_asks_for_a_wait_is_given_it() {
        let mut members = members("forever", "immediate");
        members.attempt_begins(1);
        members.attempt_failed(1, 0, 10, Some(2_000), true);
        assert_eq!(members.next_due_ns(), Some(10 + 2 * SECOND));
    }

    #[test]
    fn what_was_planned_for_a_connection_ends_with_it() {
        let mut members = members("1s", "never");
        members.connected(0, token(1), 0, true);
        members.lost(0, 5, 5, true);
        assert_eq!(
            members.next_due_ns(),
            None,
            "its departure is off the agenda"
        );
        assert_eq!(members.gone(), 1);
    }

    #[test]
    fn refused_at_the_beginning_they_wait_for_the_load() {
        let mut members = members("forever", "expo:1s..30s,jitter=none");
        members.attempt_begins(0);
        members.attempt_failed(0, 5, 10, None, false);
        members.connected(1, token(1), 10, false);
        members.lost(1, 11, 12, false);
        assert_eq!((members.next_due_ns(), members.waiting()), (None, 2));
        members.attempt_begins(0);
        members.attempt_failed(0, 13, 13, Some(5_000), false);
        members.begin(20);
        assert_eq!(
            members.take_due(u64::MAX),
            Some(Due::Return(1, 20 + SECOND))
        );
        let asked = members.next_due_ns().expect("it comes back");
        assert!((20 + 6 * SECOND - 7..20 + 6 * SECOND + 1_000_000).contains(&asked));
        members.end();
        assert_eq!(members.next_due_ns(), None);
    }
}
