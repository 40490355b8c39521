//! Ends: of a connection that the server closed, and of the run.

use fanwire_protocol::StatusCode;
use fanwire_reactor::{Io, Token};

use crate::connect::ending::{SERVER_CLOSE_MS, await_closing};
use crate::fanout::layout::Class;
use crate::fanout::seat::{Role, Seat, kind_of_end};
use crate::fanout::worker::{FanoutWorker, Phase};

impl FanoutWorker {
    /// The run is over: counts where everybody stands, hands the sheet in, and begins to close.
    pub(super) fn account(&mut self, io: &mut Io) {
        if self.phase == Phase::Closing {
            return;
        }
        self.phase = Phase::Closing;
        let FanoutWorker {
            desk,
            subscribers,
            seats,
            ..
        } = self;
        for subscriber in subscribers.iter() {
            let is_open = subscriber.token.is_some_and(|token| {
                io.is_open(token) && seats.get_mut(token).is_some_and(|seat| !seat.is_explained)
            });
            if desk.options.feed.is_some() && subscriber.books.class == Class::Healthy {
                let account = subscriber.books.feed.as_ref();
                let share = account.map_or(0, |account| account.received_measured);
                desk.fan.feed.shares.push(share);
            }
            let class = &mut desk.fan.classes[subscriber.books.class as usize];
            desk.sheet.tally.served += u64::from(subscriber.books.has_received());
            if is_open {
                desk.sheet.tally.alive += 1;
                class.open.count(&desk.layout, &subscriber.books);
            } else {
                class.ended += 1;
                class.closed.count(&desk.layout, &subscriber.books);
            }
        }
        for token in self.publishers.iter().flatten() {
            // Nothing has to come back to a publisher: one that is open has done its work.
            let is_open = u64::from(io.is_open(*token));
            self.desk.sheet.tally.alive += is_open;
            self.desk.sheet.tally.served += is_open;
        }
        let (now_ns, patience_ns) = (io.read_clock_ns(), self.config.drain_ms * 1_000_000);
        for (_, seat) in self.seats.iter_mut() {
            let tally = &mut self.desk.sheet.tally;
            seat.heartbeat.account(now_ns, patience_ns, tally);
        }
        let mut sheet = std::mem::take(&mut self.desk.sheet);
        sheet.fanout = Some(Box::new(std::mem::take(&mut self.desk.fan)));
        self.results.hand_in(sheet);
        self.close_all(io);
    }

    pub(super) fn close_all(&mut self, io: &mut Io) {
        let FanoutWorker {
            desk,
            subscribers,
            seats,
            writing,
            ..
        } = self;
        for (token, seat) in seats.iter_mut() {
            seat.is_explained = true;
            let reads = match seat.role {
                Role::Publisher(_) => true,
                Role::Subscriber(index) => subscribers
                    .get(index as usize)
                    .is_some_and(|one| matches!(one.books.class, Class::Healthy | Class::Churning)),
            };
            if reads {
                let key = Some(desk.masking_key());
                // Refused only when the close frame is out already.
                let Seat {
                    connection, link, ..
                } = seat;
                io.send(token, |out| {
                    link.write(out, writing, |out| {
                        let sender = &mut connection.sender;
                        let _ = sender.close(Some(StatusCode::NORMAL), "", key, out);
                    });
                });
            } else {
                // It does not read, so it would not see the answer.
                io.reset(token);
            }
        }
        await_closing(io);
        self.stop_when_empty(io);
    }

    pub(super) fn stop_when_empty(&mut self, io: &mut Io) {
        if self.phase == Phase::Closing && self.seats.count() == 0 {
            io.stop();
        }
    }

    /// The server has closed or failed: counted once, where it was not our wish.
    pub(super) fn end_connection(
        &mut self,
        io: &mut Io,
        token: Token,
        kind: &'static str,
        detail: String,
    ) {
        if let Some(seat) = self.seats.get_mut(token)
            && !std::mem::replace(&mut seat.is_explained, true)
        {
            self.gauges.count_failure();
            let class = match seat.role {
                Role::Publisher(_) => Class::Healthy,
                Role::Subscriber(index) => self
                    .subscribers
                    .get(index as usize)
                    .map_or(Class::Healthy, |one| one.books.class),
            };
            let kind = kind_of_end(kind, class);
            self.desk.sheet.tally.fail(&kind, || detail);
        }
        if let Some(seat) = self.seats.get_mut(token) {
            io.send(token, |out| seat.link.finish(out));
        }
        io.finish(token);
        io.set_timer(token, SERVER_CLOSE_MS);
    }
}
