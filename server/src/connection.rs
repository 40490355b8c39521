//! The state of one established connection, and when it next needs attention.
//!
//! It owns the inline state and the arithmetic of its deadlines. It must not know sockets,
//! handlers or other connections.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use fanwire_protocol::{PendingPong, Sender};
use fanwire_reactor::Token;

use crate::close_reason::CloseReason;
use crate::limits::Limits;
use crate::token_bucket::TokenBucket;

/// Milliseconds of the shard's clock in 32 bits. It wraps after 49 days, so values are only ever
/// compared by their distance, and no limit is longer than a quarter of the range.
pub(crate) type Moment = u32;

/// Whether `moment` is not after `now`.
pub(crate) fn is_due(moment: Moment, now: Moment) -> bool {
    now.wrapping_sub(moment) < 1 << 31
}

/// The moment `after_ms` from `now`; what does not fit a quarter of the clock's range is cut.
pub(crate) fn after(now: Moment, after_ms: u64) -> Moment {
    now.wrapping_add(after_ms.min(1 << 30) as u32)
}

/// Where a connection is between its opening and its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Messages flow both ways.
    Open,
    /// Our Close frame is on its way; the peer's is awaited and everything else is ignored.
    CloseSent,
    /// Both are done talking, or the peer broke a rule: what it still sends is ignored, only the
    /// end of its stream is awaited.
    Finishing,
    /// The reactor was told to close it.
    Ended,
}

/// The peer's address in the 18 bytes it needs.
#[derive(Clone, Copy, Debug)]
struct Peer {
    address: [u8; 16],
    port: u16,
}

impl Peer {
    fn pack(address: SocketAddr) -> Peer {
        let ip = match address.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        Peer {
            address: ip.octets(),
            port: address.port(),
        }
    }

    fn unpack(self) -> SocketAddr {
        SocketAddr::new(Ipv6Addr::from(self.address).to_canonical(), self.port)
    }
}

/// Everything the shard keeps for a connection besides its receiver.
#[derive(Debug)]
pub(crate) struct Connection<S> {
    pub(crate) sender: Sender,
    pub(crate) pending_pong: PendingPong,
    pub(crate) token: Token,
    pub(crate) last_received: Moment,
    pub(crate) last_message: Moment,
    /// When the unanswered keep-alive ping was sent.
    ping_sent: Moment,
    /// When the unfinished message began.
    assembly_began: Moment,
    /// When the closing handshake must be over.
    closing_due: Moment,
    /// When the application wants its timer.
    handler_due: Moment,
    /// When the reactor's timer is set to fire.
    timer_due: Moment,
    /// When the peer last took some of what is unsent.
    progress_at: Moment,
    /// Bytes ever given to the reactor for this connection, wrapping.
    queued: u32,
    /// Bytes that had left us at `progress_at`, wrapping.
    progress: u32,
    /// Bytes of its unfinished message that are counted in the shard's sum.
    pub(crate) held: u32,
    pub(crate) messages: TokenBucket,
    pub(crate) controls: TokenBucket,
    peer: Peer,
    /// Status code of the closing handshake; 1006 while there was none.
    pub(crate) close_code: u16,
    pub(crate) reason: Option<CloseReason>,
    pub(crate) phase: Phase,
    /// Index into the shard's list of subprotocols, plus one; 0 for none.
    pub(crate) subprotocol: u8,
    /// Pings of ours that no pong has answered.
    pings_unanswered: u8,
    pub(crate) is_paused: bool,
    awaits_pong: bool,
    is_assembling: bool,
    is_backlogged: bool,
    has_handler_timer: bool,
    has_timer: bool,
    pub(crate) state: S,
}

/// What a connection needs now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// The closing handshake took too long.
    Closing,
    /// An end for the reason given.
    End(CloseReason),
    /// A keep-alive ping.
    Ping,
    /// The application's timer.
    Handler,
}

impl<S> Connection<S> {
    pub(crate) fn new(
        token: Token,
        sender: Sender,
        peer: SocketAddr,
        subprotocol: u8,
        state: S,
        limits: &Limits,
        now: Moment,
    ) -> Connection<S> {
        Connection {
            sender,
            pending_pong: PendingPong::new(),
            token,
            last_received: now,
            last_message: now,
            ping_sent: now,
            assembly_began: now,
            closing_due: now,
            handler_due: now,
            timer_due: now,
            progress_at: now,
            queued: 0,
            progress: 0,
            held: 0,
            messages: TokenBucket::full(limits.message_burst, now),
            controls: TokenBucket::full(limits.control_burst, now),
            peer: Peer::pack(peer),
            close_code: crate::close_reason::ABNORMAL,
            reason: None,
            phase: Phase::Open,
            subprotocol,
            pings_unanswered: 0,
            is_paused: false,
            awaits_pong: false,
            is_assembling: false,
            is_backlogged: false,
            has_handler_timer: false,
            has_timer: false,
            state,
        }
    }

    pub(crate) fn peer_address(&self) -> SocketAddr {
        self.peer.unpack()
    }

    /// Whether what comes from the peer is looked at.
    #[inline]
    pub(crate) fn is_heard(&self) -> bool {
        matches!(self.phase, Phase::Open | Phase::CloseSent)
    }

    /// Something came from the peer, which is as good a sign of life as a pong.
    pub(crate) fn note_received(&mut self, now: Moment) {
        self.last_received = now;
        self.awaits_pong = false;
    }

    /// A ping was sent.
    pub(crate) fn note_ping_sent(&mut self) {
        self.pings_unanswered = self.pings_unanswered.saturating_add(1);
    }

    /// The ping that was sent asks whether the peer is alive.
    pub(crate) fn await_pong(&mut self, now: Moment) {
        self.ping_sent = now;
        self.awaits_pong = true;
    }

    /// A pong came. True if we had asked for one.
    pub(crate) fn note_pong(&mut self) -> bool {
        let was_asked_for = self.pings_unanswered > 0;
        self.pings_unanswered = self.pings_unanswered.saturating_sub(1);
        was_asked_for
    }

    /// Whether a message is unfinished after a call of the parser, and whether one was finished
    /// during it. True if the assembly deadline starts now.
    pub(crate) fn note_assembly(
        &mut self,
        is_mid_message: bool,
        finished_one: bool,
        now: Moment,
    ) -> bool {
        let starts = is_mid_message && (!self.is_assembling || finished_one);
        if starts {
            self.assembly_began = now;
        }
        self.is_assembling = is_mid_message;
        starts
    }

    /// Bytes were given to the reactor.
    pub(crate) fn note_queued(&mut self, bytes: usize) {
        self.queued = self.queued.wrapping_add(bytes as u32);
    }

    /// How many bytes the socket has not taken. True if the stall deadline starts now.
    pub(crate) fn note_unsent(&mut self, unsent: usize, now: Moment) -> bool {
        if unsent == 0 {
            self.is_backlogged = false;
            return false;
        }
        let progress = self.queued.wrapping_sub(unsent as u32);
        let starts = !self.is_backlogged;
        if starts || progress != self.progress {
            self.progress = progress;
            self.progress_at = now;
        }
        self.is_backlogged = true;
        starts
    }

    /// The closing handshake began or the socket is being finished.
    pub(crate) fn note_closing(&mut self, phase: Phase, now: Moment, within_ms: u64) {
        self.phase = phase;
        self.closing_due = after(now, within_ms);
    }

    pub(crate) fn set_handler_timer(&mut self, due: Option<Moment>) {
        self.has_handler_timer = due.is_some();
        self.handler_due = due.unwrap_or(self.handler_due);
    }

    /// The reactor's timer fired.
    pub(crate) fn note_timer_fired(&mut self) {
        self.has_timer = false;
    }

    /// How long its unfinished message has been unfinished.
    pub(crate) fn assembly_age(&self, now: Moment) -> u32 {
        now.wrapping_sub(self.assembly_began)
    }

    /// The most pressing thing that is due, if any.
    pub(crate) fn due(&mut self, limits: &Limits, now: Moment) -> Option<Due> {
        match self.phase {
            Phase::Ended => return None,
            Phase::CloseSent | Phase::Finishing => {
                return is_due(self.closing_due, now).then_some(Due::Closing);
            }
            Phase::Open => {}
        }
        let due =
            |began: Moment, limit_ms: u64| limit_ms > 0 && is_due(after(began, limit_ms), now);
        if self.is_backlogged && due(self.progress_at, limits.send_stall_timeout_ms) {
            return Some(Due::End(CloseReason::Slow));
        }
        if self.is_assembling
            && !self.is_paused
            && due(self.assembly_began, limits.assembly_timeout_ms)
        {
            return Some(Due::End(CloseReason::Assembly));
        }
        // A peer we do not listen to cannot be blamed for its silence.
        if !self.is_paused {
            if self.awaits_pong {
                if due(self.ping_sent, limits.pong_timeout_ms) {
                    return Some(Due::End(CloseReason::NoPong));
                }
            } else if due(self.last_received, limits.ping_interval_ms) {
                return Some(Due::Ping);
            }
            if due(self.last_message, limits.idle_timeout_ms) {
                return Some(Due::End(CloseReason::Idle));
            }
        }
        if self.has_handler_timer && is_due(self.handler_due, now) {
            self.has_handler_timer = false;
            return Some(Due::Handler);
        }
        None
    }

    /// The next moment at which something can be due.
    fn next_deadline(&self, limits: &Limits, now: Moment) -> Option<Moment> {
        if self.phase == Phase::Ended {
            return None;
        }
        if self.phase != Phase::Open {
            return Some(self.closing_due);
        }
        let mut next: Option<Moment> = None;
        let mut consider = |moment: Moment| {
            let sooner = next.is_none_or(|other| {
                (moment.wrapping_sub(now) as i32) < (other.wrapping_sub(now) as i32)
            });
            if sooner {
                next = Some(moment);
            }
        };
        if self.is_backlogged && limits.send_stall_timeout_ms > 0 {
            consider(after(self.progress_at, limits.send_stall_timeout_ms));
        }
        if self.is_assembling && !self.is_paused {
            consider(after(self.assembly_began, limits.assembly_timeout_ms));
        }
        if !self.is_paused {
            if self.awaits_pong {
                consider(after(self.ping_sent, limits.pong_timeout_ms));
            } else if limits.ping_interval_ms > 0 {
                consider(after(self.last_received, limits.ping_interval_ms));
            }
            if limits.idle_timeout_ms > 0 {
                consider(after(self.last_message, limits.idle_timeout_ms));
            }
        }
        if self.has_handler_timer {
            consider(self.handler_due);
        }
        next
    }

    /// Milliseconds to set the reactor's timer to, or `None` if it is early enough as it is. A
    /// timer that fires before anything is due only leads to this question again.
    pub(crate) fn rearm(&mut self, limits: &Limits, now: Moment) -> Option<u64> {
        let due = self.next_deadline(limits, now)?;
        let in_ms = (due.wrapping_sub(now) as i32).max(1);
        if self.has_timer && (self.timer_due.wrapping_sub(now) as i32) <= in_ms {
            return None;
        }
        self.has_timer = true;
        self.timer_due = now.wrapping_add(in_ms as u32);
        Some(in_ms as u64)
    }
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
