//! Readers that were made slow, stalled, or restless: when they stop reading, and when they go on.

use fanwire_protocol::StatusCode;
use fanwire_reactor::{Io, Token};

use crate::fanout::layout::Class;
use crate::fanout::seat::Role;
use crate::fanout::worker::FanoutWorker;
use crate::pace::plan::Window;

impl FanoutWorker {
    pub(super) fn stall_when_due(&mut self, io: &mut Io, window: Window, now_ns: u64) {
        let Some(stall) = self.options.stall else {
            return;
        };
        if !self.has_stalled && now_ns >= window.measure_from_ns {
            self.has_stalled = true;
            self.stall_until_ns = stall
                .for_ns
                .map(|for_ns| window.measure_from_ns.saturating_add(for_ns));
            self.each_stalled(|token| io.pause_receive(token));
        }
        if self
            .stall_until_ns
            .is_some_and(|until_ns| now_ns >= until_ns)
        {
            self.stall_until_ns = None;
            self.each_stalled(|token| io.resume_receive(token));
        }
    }

    pub(super) fn each_stalled(&self, visit: impl FnMut(Token)) {
        let stalled = self
            .subscribers
            .iter()
            .filter(|one| one.books.class == Class::Stalled);
        stalled.filter_map(|one| one.token).for_each(visit);
    }

    /// Counts what a subscriber took; a slow one takes what it is allowed and then stops for a while.
    pub(super) fn hold_back(&mut self, io: &mut Io, token: Token, bytes: usize, now_ns: u64) {
        let Some(seat) = self.seats.get_mut(token) else {
            return;
        };
        let Role::Subscriber(index) = seat.role else {
            return;
        };
        self.desk.fan.wire_bytes += bytes as u64;
        let subscriber = self.subscribers.get_mut(index as usize);
        if let Some(throttle) = subscriber.and_then(|one| one.throttle.as_mut()) {
            let pause_ms = throttle.take(bytes, now_ns);
            if pause_ms > 0 {
                io.pause_receive(token);
                io.set_timer(token, pause_ms);
            }
        }
    }

    /// A churning subscriber leaves: a close frame, and the end without waiting for the answer.
    pub(super) fn leave(&mut self, io: &mut Io, index: usize) -> bool {
        let Some(subscriber) = self.subscribers.get_mut(index) else {
            return false;
        };
        let Some(token) = subscriber.token else {
            return false;
        };
        let Some(seat) = self.seats.get_mut(token) else {
            return false;
        };
        if seat.is_explained || !io.is_open(token) {
            return false;
        }
        seat.is_explained = true;
        subscriber.is_away = true;
        self.desk.fan.comings.left += 1;
        let key = Some(self.desk.masking_key());
        let (connection, link) = (&mut seat.connection, &mut seat.link);
        let writing = &mut self.writing;
        io.send(token, |out| {
            link.write(out, writing, |out| {
                let sender = &mut connection.sender;
                let _ = sender.close(Some(StatusCode::NORMAL), "", key, out);
            });
            link.finish(out);
        });
        io.terminate(token);
        true
    }
}
