//! How connections end: every way goes through here.
//!
//! It owns the closing handshake from our side and the peer's, the ends without one, and the
//! reason that is counted. It must not know the application.

use fanwire_protocol::StatusCode;
use fanwire_reactor::{Cause, Io, Token};

use crate::close_reason::{CloseReason, NO_CODE};
use crate::connection::Phase;
use crate::connections::{Connections, moment};

/// How long a peer that is thought dead has to answer our Close frame.
const DEAD_PEER_CLOSE_MS: u64 = 1_000;

impl<S> Connections<S> {
    /// Closes a connection with a handshake: our Close frame now, then the peer's.
    pub(crate) fn close(
        &mut self,
        io: &mut Io,
        token: Token,
        reason: CloseReason,
        code: Option<StatusCode>,
        phrase: &str,
    ) -> bool {
        let within_ms = self.limits.close_timeout_ms;
        if !self.send_close(io, token, reason, code, phrase, Phase::CloseSent, within_ms) {
            return false;
        }
        let Some(connection) = self.get_mut(token) else {
            return false;
        };
        if std::mem::take(&mut connection.is_paused) {
            // Only the peer's Close frame is of interest from here on, but it has to be read.
            io.resume_receive(token);
        }
        true
    }

    /// Ends a connection whose peer broke a rule: our Close frame, then the end of our stream;
    /// nothing of what the peer still sends is looked at.
    pub(crate) fn fail(&mut self, io: &mut Io, token: Token, reason: CloseReason) {
        self.release_unfinished(token);
        self.failed.push(token);
        if matches!(reason, CloseReason::Slow | CloseReason::Backlog) {
            // A Close frame would only wait behind what the peer does not read.
            self.cut(io, token, reason);
            return;
        }
        let within_ms = match reason {
            CloseReason::NoPong => DEAD_PEER_CLOSE_MS.min(self.limits.close_timeout_ms),
            _ => self.limits.close_timeout_ms,
        };
        let now = moment(io);
        if let Some(connection) = self
            .get_mut(token)
            .filter(|connection| connection.phase == Phase::CloseSent)
        {
            // Our Close frame is on its way already and says what it says.
            connection.note_closing(Phase::Finishing, now, within_ms);
            self.finish(io, token);
            return;
        }
        let code = reason.status_code();
        if self.send_close(
            io,
            token,
            reason,
            code,
            reason.phrase(),
            Phase::Finishing,
            within_ms,
        ) {
            self.finish(io, token);
        }
    }

    /// The peer's Close frame came: answers it if it began the handshake, and ends our stream.
    pub(crate) fn peer_closed(&mut self, io: &mut Io, token: Token, code: Option<StatusCode>) {
        self.release_unfinished(token);
        self.failed.push(token);
        let within_ms = self.limits.close_timeout_ms;
        let Some(connection) = self.get_mut(token) else {
            return;
        };
        match connection.phase {
            Phase::Open => {
                let reason = CloseReason::Peer;
                self.send_close(io, token, reason, code, "", Phase::Finishing, within_ms);
            }
            Phase::CloseSent => {
                let now = moment(io);
                connection.note_closing(Phase::Finishing, now, within_ms);
            }
            Phase::Finishing | Phase::Ended => return,
        }
        self.finish(io, token);
    }

    fn finish(&mut self, io: &mut Io, token: Token) {
        let Some(connection) = self.get_mut(token) else {
            return;
        };
        if std::mem::take(&mut connection.is_paused) {
            io.resume_receive(token);
        }
        io.finish(token);
    }

    #[allow(clippy::too_many_arguments)]
    fn send_close(
        &mut self,
        io: &mut Io,
        token: Token,
        reason: CloseReason,
        code: Option<StatusCode>,
        phrase: &str,
        phase: Phase,
        within_ms: u64,
    ) -> bool {
        let now = moment(io);
        let Some(connection) = self.open_mut(token) else {
            return false;
        };
        let sender = &mut connection.sender;
        let queued = io.send(token, |out| {
            let before = out.len();
            sender
                .close(code, phrase, None, out)
                .ok()
                .map(|()| out.len() - before)
        });
        let Some(Some(queued)) = queued else {
            return false;
        };
        connection.note_queued(queued);
        connection.reason = Some(reason);
        connection.close_code = code.map_or(NO_CODE, |code| code.0);
        connection.note_closing(phase, now, within_ms);
        self.rearm(io, token);
        true
    }

    /// Ends a connection at once with a reset.
    pub(crate) fn cut(&mut self, io: &mut Io, token: Token, reason: CloseReason) {
        let Some(connection) = self.get_mut(token) else {
            return;
        };
        if connection.phase != Phase::Ended {
            connection.phase = Phase::Ended;
            connection.reason.get_or_insert(reason);
            io.reset(token);
        }
    }

    /// The peer ended its stream.
    pub(crate) fn stream_ended(&mut self, io: &mut Io, token: Token) {
        self.release_unfinished(token);
        let Some(connection) = self.get_mut(token) else {
            return;
        };
        if connection.phase != Phase::Ended {
            connection.phase = Phase::Ended;
            connection.reason.get_or_insert(CloseReason::EndOfStream);
            io.terminate(token);
        }
    }

    pub(crate) fn release_unfinished(&mut self, token: Token) {
        if let Some(connection) = self.get_mut(token) {
            let held = std::mem::take(&mut connection.held);
            self.unfinished_bytes -= held as usize;
        }
    }

    /// Begins the closing handshake with everybody.
    pub(crate) fn drain(&mut self, io: &mut Io) {
        let reason = CloseReason::Drain;
        for token in io.tokens() {
            self.close(io, token, reason, reason.status_code(), reason.phrase());
        }
    }

    /// The reactor let go of a connection: the reason it ended for.
    pub(crate) fn ended(&mut self, token: Token, cause: Cause) -> Option<CloseReason> {
        self.release_unfinished(token);
        let connection = self.get_mut(token)?;
        connection.phase = Phase::Ended;
        let decided = connection.reason;
        let reason = decided.unwrap_or(match cause {
            Cause::Local => CloseReason::Internal,
            Cause::Error(_) => CloseReason::Error,
            Cause::Backlog => CloseReason::Backlog,
            Cause::Stopped => CloseReason::Stopped,
        });
        self.counters.open -= 1;
        self.counters.closed[reason.index()] += 1;
        self.admission.release();
        Some(reason)
    }
}
