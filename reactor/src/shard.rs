//! The turn: the only function that moves a shard on, as named phases in a fixed order.
//!
//! ```text
//! wait → now → mailbox → completions → timers → fan-out → flush → doorbells → account
//! ```
//!
//! Waiting is the caller's (see `core`); everything here returns promptly. Completions are
//! copied out of the kernel before any of them is handled, and what handling asks for happens in
//! the flush, so no callback ever runs inside another.

use crate::application::Application;
use crate::backend::{Backend, Completion};
use crate::io::{Entry, Io, Request, Source};
use crate::mail::MailReceiver;
use crate::ring::{Outgoing, SendShortfall};
use crate::slots::{Cause, NONE, Phase, Receive};
use crate::sys;
use crate::token::Token;
use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};

/// Completions handled in one turn.
const COMPLETIONS_PER_TURN: usize = 1024;
/// Mail taken in one turn.
const MAIL_PER_TURN: usize = 1024;
/// Adoptions in one turn.
const ADOPTIONS_PER_TURN: usize = 256;
/// A turn that has gathered this many bytes sends them before it handles more. Much less would be
/// unfair when receive memory is short: peers answered early in a turn would take it again.
const GATHERED_MAX: usize = 1024 * 1024;

/// Connections that are answered in one go. Answers that leave in small groups keep the peers'
/// next messages coming evenly; with 200 of them in one group the slowest hundredth waited for
/// two groups instead of one. A group costs one system call.
const ANSWERS_PER_FLUSH: usize = 32;

/// Sockets that establishment hands over.
pub(crate) type Adoptions<A> = VecDeque<(OwnedFd, <A as Application>::Adopted)>;

/// A shard's own state beside its application and [`Io`].
pub(crate) struct Shard<B, M> {
    pub(crate) backend: B,
    pub(crate) mail: MailReceiver<M>,
    completions: Vec<Completion>,
    shortfalls: Vec<SendShortfall>,
    entries: Vec<Entry>,
    requests: Vec<Request>,
    due: Vec<Token>,
    drained: Vec<Token>,
    blocked: Vec<Token>,
    /// Connections whose receive ended for want of buffers.
    starved: VecDeque<Token>,
    /// The application was told to stop and every connection has been asked to close.
    has_stopped: bool,
}

/// What a turn leaves behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// There is more to do: take another turn.
    Busy,
    /// Nothing to do until a completion, mail or a timer.
    Idle,
    /// The shard has stopped and every connection is closed.
    Stopped,
}

impl<B: Backend, M: Send + 'static> Shard<B, M> {
    pub(crate) fn new(backend: B, mail: MailReceiver<M>) -> Shard<B, M> {
        Shard {
            backend,
            mail,
            completions: Vec::with_capacity(COMPLETIONS_PER_TURN),
            shortfalls: Vec::new(),
            entries: Vec::new(),
            requests: Vec::new(),
            due: Vec::new(),
            drained: Vec::new(),
            blocked: Vec::new(),
            starved: VecDeque::new(),
            has_stopped: false,
        }
    }

    /// One turn.
    pub(crate) fn turn<A>(
        &mut self,
        io: &mut Io,
        application: &mut A,
        adoptions: &mut Adoptions<A>,
    ) -> Progress
    where
        A: Application<Mail = M>,
    {
        io.now_ns = io.read_clock_ns();
        io.wants_turn = false;
        self.take_adoptions(io, application, adoptions);
        self.take_mail(io, application);
        self.take_completions(io, application);
        self.fire_timers(io, application);
        application.on_turn(io);
        if io.is_stopping && !self.has_stopped {
            self.has_stopped = true;
            for token in io.tokens() {
                io.close(token, Cause::Stopped, false);
            }
        }
        self.flush(io, application);
        application.on_doorbells();
        self.account(io);
        self.progress(io, !adoptions.is_empty())
    }

    fn progress(&mut self, io: &Io, has_adoptions: bool) -> Progress {
        if self.has_stopped && io.slots.occupied() == 0 {
            return Progress::Stopped;
        }
        // A stop that was asked for after this turn looked for one.
        let must_stop = io.is_stopping && !self.has_stopped;
        let has_work = must_stop
            || io.wants_turn
            || has_adoptions
            || !io.outbox.entries.is_empty()
            || !io.requests.is_empty()
            || !self.mail.is_empty()
            || self.backend.is_ready();
        if has_work {
            Progress::Busy
        } else {
            Progress::Idle
        }
    }

    fn take_adoptions<A>(&mut self, io: &mut Io, application: &mut A, adoptions: &mut Adoptions<A>)
    where
        A: Application,
    {
        for _ in 0..ADOPTIONS_PER_TURN {
            let Some((fd, adopted)) = adoptions.pop_front() else {
                return;
            };
            let token = io.adopt(fd);
            application.on_adopted(io, token, adopted);
            let attached = io
                .slots
                .get(token)
                .and_then(|transport| transport.fd.as_ref());
            let attached = attached.map_or(Ok(()), |fd| self.backend.attach(token, fd.as_fd()));
            if let Err(error) = attached {
                io.close(
                    token,
                    Cause::Error(error.raw_os_error().unwrap_or(libc::EIO)),
                    true,
                );
            }
        }
    }

    fn take_mail<A: Application<Mail = M>>(&mut self, io: &mut Io, application: &mut A) {
        for _ in 0..MAIL_PER_TURN {
            let Some(mail) = self.mail.take() else { return };
            io.counters.mail += 1;
            application.on_mail(io, mail);
        }
    }

    fn take_completions<A: Application>(&mut self, io: &mut Io, application: &mut A) {
        let mut completions = std::mem::take(&mut self.completions);
        completions.clear();
        let slots = &io.slots;
        let fds = |token: Token| slots.get(token)?.fd.as_ref().map(OwnedFd::as_fd);
        self.backend
            .poll(COMPLETIONS_PER_TURN, &fds, &mut completions);
        for completion in &completions {
            self.dispatch(io, application, *completion);
            if io.gathered() > GATHERED_MAX || io.outbox.entries.len() >= ANSWERS_PER_FLUSH {
                self.feed_starved(io);
                self.flush_sends(io, application);
            }
        }
        self.completions = completions;
    }

    fn dispatch<A: Application>(
        &mut self,
        io: &mut Io,
        application: &mut A,
        completion: Completion,
    ) {
        match completion {
            Completion::Received {
                token,
                chunk,
                is_last,
            } => {
                io.counters.receives += 1;
                io.counters.received_bytes += chunk.len() as u64;
                if is_last {
                    self.receive_ended(io, token);
                    io.counters.receives_rearmed += 1;
                }
                match io.slots.get(token).map(|transport| transport.phase) {
                    None => io.counters.stale_completions += 1,
                    Some(Phase::Closing) => {}
                    Some(_) => {
                        let bytes = self.backend.bytes(&chunk);
                        application.on_received(io, token, bytes);
                    }
                }
                self.backend.release(chunk);
            }
            Completion::ReceiveEnded { token, result } => {
                self.handle_receive_ended(io, application, token, result);
            }
            Completion::Writable { token } => self.handle_writable(io, token),
            Completion::Doorbell | Completion::Wake => {}
        }
    }

    /// The receive has ended; arms it again if it is still wanted.
    fn receive_ended(&mut self, io: &mut Io, token: Token) {
        let Some(transport) = io.slots.get_mut(token) else {
            return;
        };
        transport.receive = Receive::Idle;
        if transport.phase == Phase::Closing {
            io.requests.push(Request::Close(token));
        } else {
            io.receives.push(token);
        }
    }

    fn handle_receive_ended<A: Application>(
        &mut self,
        io: &mut Io,
        application: &mut A,
        token: Token,
        result: i32,
    ) {
        let Some(transport) = io.slots.get_mut(token) else {
            io.counters.stale_completions += 1;
            return;
        };
        transport.receive = Receive::Idle;
        if transport.phase == Phase::Closing {
            io.requests.push(Request::Close(token));
            return;
        }
        match -result {
            0 => {
                transport.peer_finished = true;
                application.on_end_of_stream(io, token);
            }
            libc::ENOBUFS => {
                io.counters.receive_buffers_exhausted += 1;
                self.starved.push_back(token);
            }
            libc::ECANCELED | libc::EAGAIN | libc::EINTR => {
                io.receives.push(token);
            }
            errno => io.close(token, Cause::Error(errno), true),
        }
    }

    fn handle_writable(&mut self, io: &mut Io, token: Token) {
        let Some(transport) = io.slots.get_mut(token) else {
            io.counters.stale_completions += 1;
            return;
        };
        transport.writable_armed = false;
        if transport.phase == Phase::Closing {
            io.requests.push(Request::Close(token));
        } else if transport.unsent() > 0 && transport.dirty == NONE {
            transport.dirty = io.outbox.entries.len() as u32;
            io.outbox.entries.push(Entry {
                token,
                source: Source::Backlog,
            });
        }
    }

    fn fire_timers<A: Application>(&mut self, io: &mut Io, application: &mut A) {
        let mut due = std::mem::take(&mut self.due);
        due.clear();
        let Io {
            wheel,
            slots,
            now_ns,
            ..
        } = io;
        wheel.advance(slots, *now_ns, &mut due);
        io.counters.timers += due.len() as u64;
        for token in &due {
            // An earlier callback of this turn may have closed it.
            if io.is_open(*token) {
                application.on_timer(io, *token);
            }
        }
        self.due = due;
        if io.alarm_ns != 0 && io.now_ns >= io.alarm_ns {
            io.alarm_ns = 0;
            application.on_alarm(io);
        }
    }

    fn flush<A: Application>(&mut self, io: &mut Io, application: &mut A) {
        while let Some(token) = io.pauses.pop() {
            self.serve_pause(io, token);
        }
        self.serve_receives(io);
        self.feed_starved(io);
        self.flush_sends(io, application);
        // Serving a request may make another (a finish that fails closes); those that a callback
        // makes after this wait for the next turn.
        let mut requests = std::mem::take(&mut self.requests);
        for _ in 0..3 {
            std::mem::swap(&mut requests, &mut io.requests);
            for request in requests.drain(..) {
                self.serve(io, application, request);
            }
        }
        self.requests = requests;
        self.serve_receives(io);
        self.backend.submit();
    }

    fn serve_receives(&mut self, io: &mut Io) {
        while let Some(token) = io.receives.pop() {
            self.serve_receive(io, token, false);
        }
    }

    /// Arms receives that had found no buffer, in the order in which they failed, as many as will
    /// find one now. They go to the kernel ahead of the turn's sends: the peers that are answered
    /// now would otherwise take the memory again before those that wait for it.
    fn feed_starved(&mut self, io: &mut Io) {
        for _ in 0..self.backend.receives_possible().min(self.starved.len()) {
            let Some(token) = self.starved.pop_front() else {
                return;
            };
            self.serve_receive(io, token, true);
        }
    }

    fn flush_sends<A: Application>(&mut self, io: &mut Io, application: &mut A) {
        // Twice: what `on_drained` writes leaves in the same turn.
        for _ in 0..2 {
            if io.outbox.entries.is_empty() {
                return;
            }
            self.send_outbox(io);
            let mut blocked = std::mem::take(&mut self.blocked);
            for token in blocked.drain(..) {
                if io.is_open(token) {
                    application.on_blocked(io, token);
                }
            }
            self.blocked = blocked;
            let mut drained = std::mem::take(&mut self.drained);
            for token in drained.drain(..) {
                if io.is_open(token) {
                    application.on_drained(io, token);
                }
            }
            self.drained = drained;
        }
    }

    fn send_outbox(&mut self, io: &mut Io) {
        queue_behind_backlogs(io);
        let mut entries = std::mem::take(&mut self.entries);
        std::mem::swap(&mut entries, &mut io.outbox.entries);
        // Gone or reset since it wrote, or wrote nothing: there is nothing to send for it.
        let Io { slots, outbox, .. } = io;
        entries.retain(|entry| {
            let Some(transport) = slots.get_mut(entry.token) else {
                return false;
            };
            transport.dirty = NONE;
            let is_reset = transport.phase == Phase::Closing && transport.resets;
            let must_wait = entry.source == Source::Backlog && transport.writable_armed;
            let is_chain = matches!(entry.source, Source::Chain { .. });
            !is_reset && !must_wait && (is_chain || !entry.bytes(outbox, slots).is_empty())
        });
        let mut sent = 0;
        while sent < entries.len() {
            sent += self.send_group(io, &mut entries[sent..]);
        }
        entries.clear();
        // `on_drained` has not run yet, so nobody has written since the batch was taken; what a
        // backlog has behind its shared part may stand in the outbox again.
        std::mem::swap(&mut entries, &mut io.outbox.entries);
        io.outbox.reset();
        std::mem::swap(&mut entries, &mut io.outbox.entries);
        self.entries = entries;
    }

    /// Sends as many of the entries in one batch as may be brought together at once, and says how
    /// many that were.
    fn send_group(&mut self, io: &mut Io, entries: &mut [Entry]) -> usize {
        io.outbox.gathered.clear();
        let mut count = 0;
        for entry in entries.iter_mut() {
            if let Source::Chain { first, .. } = entry.source {
                if io.outbox.gathered.len() > GATHERED_MAX {
                    break;
                }
                entry.source = io.outbox.gather(first);
            }
            count += 1;
        }
        let entries = &entries[..count];
        let Io {
            slots,
            outbox,
            counters,
            ..
        } = io;
        self.shortfalls.clear();
        let batch = entries.iter().filter_map(|entry| {
            let fd = slots.get(entry.token)?.fd.as_ref()?.as_fd();
            Some(Outgoing {
                fd,
                bytes: entry.bytes(outbox, slots),
            })
        });
        counters.sends += u64::from(self.backend.send_batch(batch, &mut self.shortfalls));
        self.settle(io, entries);
        count
    }

    /// Accounts for a batch: what was sent, and what is kept for later.
    fn settle(&mut self, io: &mut Io, entries: &[Entry]) {
        let mut listed = std::mem::take(&mut self.shortfalls);
        listed.sort_unstable_by_key(|shortfall| shortfall.index);
        let mut shortfalls = listed.iter().peekable();
        for (index, entry) in entries.iter().enumerate() {
            let length = entry.bytes(&io.outbox, &io.slots).len();
            let shortfall = shortfalls.next_if(|shortfall| shortfall.index as usize == index);
            let result = shortfall.map_or(length as i64, |shortfall| i64::from(shortfall.result));
            match result {
                taken if taken == length as i64 => self.sent_whole(io, entry, length),
                errno if errno < 0 && errno != -i64::from(libc::EAGAIN) => {
                    io.close(entry.token, Cause::Error(-errno as i32), true);
                }
                taken => self.sent_in_part(io, entry, usize::try_from(taken).unwrap_or(0)),
            }
        }
        self.shortfalls = listed;
    }

    fn sent_whole(&mut self, io: &mut Io, entry: &Entry, length: usize) {
        io.counters.sent_bytes += length as u64;
        if entry.source != Source::Backlog {
            return;
        }
        let Some(transport) = io.slots.get_mut(entry.token) else {
            return;
        };
        if let Some(backlog) = transport.backlog.as_mut() {
            backlog.advance(length);
            if backlog.unsent() > 0 {
                // The shared part is gone; what stands behind it goes next.
                transport.dirty = io.outbox.entries.len() as u32;
                io.outbox.entries.push(*entry);
                return;
            }
        }
        transport.backlog = None;
        if transport.phase == Phase::Finishing {
            io.requests.push(Request::Finish(entry.token));
        }
        self.drained.push(entry.token);
    }

    fn sent_in_part(&mut self, io: &mut Io, entry: &Entry, taken: usize) {
        io.counters.sends_short += 1;
        io.counters.sent_bytes += taken as u64;
        io.keep_unsent(entry, taken);
        let Some(transport) = io.slots.get_mut(entry.token) else {
            return;
        };
        if transport.phase == Phase::Closing || transport.writable_armed {
            return;
        }
        let Some(fd) = transport.fd.as_ref() else {
            return;
        };
        transport.writable_armed = true;
        self.backend.arm_writable(entry.token, fd.as_fd());
        if entry.source != Source::Backlog {
            self.blocked.push(entry.token);
        }
    }

    fn serve<A: Application>(&mut self, io: &mut Io, application: &mut A, request: Request) {
        match request {
            Request::Finish(token) => serve_finish(io, token),
            Request::Close(token) => self.serve_close(io, application, token),
        }
    }

    fn serve_receive(&mut self, io: &mut Io, token: Token, expects_data: bool) {
        let Some(transport) = io.slots.get_mut(token) else {
            return;
        };
        if !Io::may_receive(transport) {
            return;
        }
        if let Some(fd) = transport.fd.as_ref() {
            transport.receive = Receive::Armed;
            self.backend.arm_receive(token, fd.as_fd(), expects_data);
        }
    }

    fn serve_pause(&mut self, io: &mut Io, token: Token) {
        let Some(transport) = io.slots.get_mut(token) else {
            return;
        };
        // Resumed in the same turn, or about to end anyway.
        if transport.wants_receive || transport.receive != Receive::Armed {
            return;
        }
        // It waits for a peer that does not read: what grew by doubling need not stay that large.
        if let Some(backlog) = transport.backlog.as_mut() {
            backlog.bytes.shrink_to_fit();
        }
        if let Some(fd) = transport.fd.as_ref() {
            let will_report = self.backend.cancel_receive(token, fd.as_fd());
            transport.receive = if will_report {
                Receive::Cancelling
            } else {
                Receive::Idle
            };
        }
    }

    /// The one place where a descriptor is closed: when the kernel holds nothing of it any more.
    fn serve_close<A: Application>(&mut self, io: &mut Io, application: &mut A, token: Token) {
        let Some(transport) = io.slots.get_mut(token) else {
            return;
        };
        if transport.is_held() && !transport.is_cancelled {
            transport.is_cancelled = true;
            if let Some(fd) = transport.fd.as_ref()
                && !self.backend.cancel_all(token, fd.as_fd())
            {
                transport.receive = Receive::Idle;
                transport.writable_armed = false;
            }
        }
        if transport.is_held() {
            return;
        }
        let (cause, resets) = (transport.cause, transport.resets);
        io.counters.closed += 1;
        application.on_closed(io, token, cause);
        let Some(fd) = io.slots.remove(token) else {
            return;
        };
        // After an error of the socket there is nobody left to be told.
        if resets && !matches!(cause, Cause::Error(_)) {
            // Refused only for a socket that is already gone.
            let _ = sys::reset_on_close(fd.as_fd());
        }
        self.backend.close(fd);
    }

    fn account(&mut self, io: &mut Io) {
        io.counters.turns += 1;
        if cfg!(debug_assertions) && io.counters.turns.is_multiple_of(64) {
            self.audit(io);
        }
        let (system_calls, overflows) = self.backend.statistics();
        io.counters.system_calls = system_calls;
        io.counters.completion_overflows = overflows;
    }

    /// Every connection that wants to receive has a receive in the kernel, or is on its way to
    /// one. A receive that ended unnoticed would leave its connection deaf for ever.
    fn audit(&self, io: &Io) {
        for token in io.slots.tokens() {
            let is_deaf = io.slots.get(token).is_some_and(Io::may_receive);
            let is_cared_for = self.starved.contains(&token) || io.receives.contains(&token);
            assert!(
                !is_deaf || is_cared_for,
                "{token:?} wants to receive and nothing is armed"
            );
        }
    }

    /// When the shard must be woken, if nothing else happens before.
    pub(crate) fn next_wake_ns(io: &Io) -> Option<u64> {
        let alarm = (io.alarm_ns != 0).then_some(io.alarm_ns);
        [alarm, io.wheel.next_ns()].into_iter().flatten().min()
    }
}

/// What a turn wrote for a socket that has not taken everything yet goes behind that.
fn queue_behind_backlogs(io: &mut Io) {
    for index in 0..io.outbox.entries.len() {
        let entry = io.outbox.entries[index];
        let has_backlog = io
            .slots
            .get(entry.token)
            .is_some_and(|transport| transport.unsent() > 0);
        if has_backlog && entry.source != Source::Backlog {
            io.keep_unsent(&entry, 0);
            io.outbox.entries[index].source = Source::Backlog;
        }
    }
}

fn serve_finish(io: &mut Io, token: Token) {
    let Some(transport) = io.slots.get_mut(token) else {
        return;
    };
    // With a backlog it is tried again when the last byte is sent.
    if transport.phase != Phase::Finishing || transport.unsent() > 0 {
        return;
    }
    transport.phase = Phase::Finished;
    let result = transport
        .fd
        .as_ref()
        .map_or(Ok(()), |fd| sys::shutdown_write(fd.as_fd()));
    if let Err(error) = result {
        io.close(
            token,
            Cause::Error(error.raw_os_error().unwrap_or(libc::ENOTCONN)),
            true,
        );
    }
}
