//! What the clients of a core send, by an absolute schedule.

use fanwire_reactor::{Io, Token};

use crate::churn::seat::End;
use crate::churn::worker::{Churner, STEPS_PER_ALARM};
use crate::message::outstanding::Stamps;
use crate::pace::plan::Window;

impl Churner {
    /// Sends what the schedule wants by now.
    pub(super) fn send_due(&mut self, io: &mut Io, window: Window) {
        for _ in 0..STEPS_PER_ALARM {
            let Some(schedule) = &mut self.schedule else {
                return;
            };
            let (due_ns, number) = (schedule.next_due_ns(), schedule.next_number());
            let now_ns = io.read_clock_ns();
            if due_ns > now_ns || due_ns >= window.until_ns {
                return;
            }
            schedule.advance();
            let place = (number % self.order.len().max(1) as u64) as usize;
            let member = self.order.get(place).copied();
            let token = member.and_then(|member| self.members.token(member));
            let stamps = Stamps {
                intended_ns: due_ns,
                sent_ns: now_ns,
            };
            if !token.is_some_and(|token| self.send(io, token, stamps)) {
                self.sheet.skipped += 1;
            } else if window.measures(due_ns) {
                self.bench.desk.sheet.record_late(now_ns - due_ns);
            }
        }
    }

    /// Sends the pings that are due.
    pub(super) fn send_pings(&mut self, io: &mut Io, window: Window) {
        let now_ns = io.read_clock_ns().min(window.until_ns.saturating_sub(1));
        let Some(rounds) = &mut self.rounds else {
            return;
        };
        while let Some(place) = rounds.take_due(now_ns) {
            let member = u32::try_from(place).ok();
            let token = member.and_then(|member| self.members.token(member));
            let seat = token.and_then(|token| Some((token, self.seats.get_mut(token)?)));
            if let Some((token, seat)) = seat.filter(|(_, seat)| seat.end == End::Open) {
                self.bench.ping(io, token, &mut seat.conversation);
            }
        }
    }

    /// Sends what a client says before anything else, whatever else it sends.
    pub(super) fn send_first_messages(&mut self, io: &mut Io, token: Token) {
        if let Some(seat) = self.seats.get_mut(token) {
            self.bench.greet(io, token, &mut seat.conversation);
        }
    }

    /// False when the connection takes no messages any more.
    pub(super) fn send(&mut self, io: &mut Io, token: Token, stamps: Stamps) -> bool {
        let seat = self.seats.get_mut(token);
        seat.filter(|seat| seat.end == End::Open)
            .is_some_and(|seat| {
                self.bench
                    .send(io, token, &mut seat.conversation, 1, stamps)
            })
    }
}
