//! What the connections of a core send: by an absolute schedule, or when a reply has come.

use fanwire_reactor::{Io, Token};

use crate::echo::worker::Worker;
use crate::message::outstanding::Stamps;
use crate::pace::catchup::Turn;

/// Messages sent before arrivals get their turn again, when the schedule is behind.
const SENDS_PER_ALARM: usize = 512;

impl Worker {
    /// Closed loop: the first messages of every connection.
    pub(super) fn kick_off(&mut self, io: &mut Io) {
        self.awaits_start = false;
        let in_flight = self.config.in_flight;
        for position in 0..self.positions.len() {
            let Some(token) = self.positions[position] else {
                continue;
            };
            let in_flight = self.take_messages(in_flight);
            let now_ns = io.read_clock_ns();
            let stamps = Stamps {
                intended_ns: now_ns,
                sent_ns: now_ns,
            };
            self.send(io, token, in_flight, stamps);
        }
    }

    /// So many messages of those that are left to send.
    pub(super) fn take_messages(&mut self, count: u32) -> u32 {
        let taken = u64::from(count).min(self.messages_left);
        self.messages_left -= taken;
        // Not more than what was asked for.
        taken as u32
    }

    /// Sends `count` messages with the same stamps.
    pub(super) fn send(&mut self, io: &mut Io, token: Token, count: u32, stamps: Stamps) {
        self.last_ns = stamps.sent_ns;
        let is_sent = self.seats.get_mut(token).is_some_and(|seat| {
            let conversation = &mut seat.conversation;
            self.bench.send(io, token, conversation, count, stamps)
        });
        if !is_sent {
            self.bench.desk.sheet.tally.unsent += u64::from(count);
        }
    }

    /// Sends what is to be sent before any load.
    pub(super) fn send_first_messages(&mut self, io: &mut Io, token: Token) {
        if let Some(seat) = self.seats.get_mut(token) {
            self.bench.greet(io, token, &mut seat.conversation);
        }
    }

    /// Sends what the schedule wants by now.
    pub(super) fn send_due(&mut self, io: &mut Io) {
        let Some(window) = self.bench.desk.window else {
            return;
        };
        for _ in 0..SENDS_PER_ALARM {
            let Some(schedule) = &mut self.schedule else {
                return;
            };
            let (due_ns, number) = (schedule.next_due_ns(), schedule.next_number());
            let now_ns = io.read_clock_ns();
            if due_ns > now_ns || due_ns >= window.until_ns {
                return;
            }
            let turn = self
                .gate
                .ask(due_ns, now_ns, || schedule.per_second_at(now_ns));
            if let Turn::WaitUntil(until_ns) = turn {
                self.resume_ns = until_ns;
                return;
            }
            schedule.advance();
            self.bench.desk.sheet.tally.due_measured += u64::from(window.measures(due_ns));
            if turn == Turn::Drop {
                self.bench.desk.sheet.tally.unsent += 1;
                self.bench.desk.sheet.tally.dropped += 1;
                continue;
            }
            let place = (number % self.order.len().max(1) as u64) as usize;
            let position = self.order.get(place).map(|position| *position as usize);
            let token =
                position.and_then(|position| self.positions.get(position).copied().flatten());
            let Some(token) = token else {
                self.bench.desk.sheet.tally.unsent += 1;
                continue;
            };
            if window.measures(due_ns) {
                self.bench.desk.sheet.record_late(now_ns - due_ns);
            }
            self.send(
                io,
                token,
                1,
                Stamps {
                    intended_ns: due_ns,
                    sent_ns: now_ns,
                },
            );
        }
    }

    /// Sends the pings that are due.
    pub(super) fn send_pings(&mut self, io: &mut Io, now_ns: u64) {
        let Some(rounds) = &mut self.rounds else {
            return;
        };
        while let Some(place) = rounds.take_due(now_ns) {
            let token = self.positions.get(place).copied().flatten();
            let seat = token.and_then(|token| Some((token, self.seats.get_mut(token)?)));
            if let Some((token, seat)) = seat {
                self.bench.ping(io, token, &mut seat.conversation);
            }
        }
    }
}
