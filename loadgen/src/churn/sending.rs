//! What the clients of a core send, by an absolute schedule.

use fanwire_reactor::{Io, Token};

use crate::churn::seat::{End, Seat};
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
                self.desk.sheet.record_late(now_ns - due_ns);
            }
        }
    }

    /// Sends the pings that are due.
    pub(super) fn send_pings(&mut self, io: &mut Io, window: Window) {
        let Churner {
            seats,
            desk,
            writing,
            rounds,
            members,
            ..
        } = self;
        let Some(rounds) = rounds else { return };
        let now_ns = io.read_clock_ns().min(window.until_ns.saturating_sub(1));
        while let Some(place) = rounds.take_due(now_ns) {
            let token = u32::try_from(place)
                .ok()
                .and_then(|member| members.token(member));
            let Some(token) = token else { continue };
            let Some(seat) = seats.get_mut(token).filter(|seat| seat.end == End::Open) else {
                continue;
            };
            let (client, link, sent_ns) = (&mut seat.client, &mut seat.link, io.read_clock_ns());
            io.send(token, |out| {
                link.write(out, writing, |out| client.ping(desk, sent_ns, out));
            });
        }
    }

    /// Sends what a client says before anything else, whatever else it sends.
    pub(super) fn send_first_messages(&mut self, io: &mut Io, token: Token) {
        if self.config.message.first_messages.is_empty() {
            return;
        }
        let now_ns = io.read_clock_ns();
        let Churner {
            seats,
            desk,
            workspace,
            writing,
            ..
        } = self;
        let Some(Seat { client, link, .. }) = seats.get_mut(token) else {
            return;
        };
        // Nothing is lost silently: a connection that is gone by now is counted where it ends.
        let _ = io.send(token, |out| {
            link.write(out, writing, |out| {
                client.greet(desk, workspace, now_ns, out);
            });
        });
    }

    /// False when the connection takes no messages any more.
    pub(super) fn send(&mut self, io: &mut Io, token: Token, stamps: Stamps) -> bool {
        let Churner {
            seats,
            desk,
            workspace,
            writing,
            ..
        } = self;
        let Some(seat) = seats.get_mut(token).filter(|seat| seat.end == End::Open) else {
            return false;
        };
        let Seat { client, link, .. } = seat;
        io.send(token, |out| {
            link.write(out, writing, |out| {
                client.send_message(desk, workspace, stamps, out);
            });
        })
        .is_some()
    }
}
