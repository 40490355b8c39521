//! What a shard counts: plain numbers, written by its own thread only.
//!
//! It owns the names. It must not know who reads them.

use std::fmt;

use crate::close_reason::CloseReason;

/// HTTP status codes that have a counter of their own; everything else is counted as "other".
pub const REFUSAL_STATUSES: [u16; 12] =
    [400, 401, 403, 404, 405, 408, 414, 421, 426, 429, 431, 503];

/// Counters of one shard, or the sum over several. All since start except `open`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShardCounters {
    /// TCP connections accepted.
    pub accepted: u64,
    /// Opening handshakes answered with 101.
    pub upgraded: u64,
    /// Refused opening handshakes, in the order of [`REFUSAL_STATUSES`], then all other codes.
    pub refused: [u64; REFUSAL_STATUSES.len() + 1],
    /// Connections that ended before a whole request had come.
    pub handshakes_abandoned: u64,
    /// Connections closed without an answer because too many were being refused at once.
    pub refusals_dropped: u64,
    /// Times that accepting stopped because the host had no file descriptor or memory left.
    pub accept_backoffs: u64,
    /// Established connections that are open now.
    pub open: u64,
    /// Ended connections, by [`CloseReason::index`].
    pub closed: [u64; CloseReason::COUNT],
    /// Connections reset because the peer did not finish the closing handshake in time.
    pub close_timeouts: u64,
    /// Messages received.
    pub messages_received: u64,
    /// Payload bytes of the messages received, after inflating.
    pub message_bytes_received: u64,
    /// Messages given to connections to send.
    pub messages_sent: u64,
    /// Payload bytes of the messages sent, before deflating.
    pub message_bytes_sent: u64,
    /// Pings received.
    pub pings_received: u64,
    /// Pings that a newer ping replaced before they could be answered (RFC 6455 5.5.3).
    pub pings_superseded: u64,
    /// Keep-alive pings sent.
    pub pings_sent: u64,
    /// Times that receiving from a connection was paused because its peer did not read.
    pub receive_pauses: u64,
}

impl ShardCounters {
    /// Counts a refused opening handshake.
    pub(crate) fn refuse(&mut self, status: u16) {
        let index = REFUSAL_STATUSES.iter().position(|known| *known == status);
        self.refused[index.unwrap_or(REFUSAL_STATUSES.len())] += 1;
    }

    /// Refused opening handshakes with this status code; codes without a counter of their own
    /// share one.
    pub fn refused_with(&self, status: u16) -> u64 {
        let index = REFUSAL_STATUSES.iter().position(|known| *known == status);
        self.refused[index.unwrap_or(REFUSAL_STATUSES.len())]
    }

    /// Connections that ended for this reason.
    pub fn closed_for(&self, reason: CloseReason) -> u64 {
        self.closed[reason.index()]
    }

    /// Adds another shard's counters to these.
    pub fn add(&mut self, other: &ShardCounters) {
        let ShardCounters {
            accepted,
            upgraded,
            refused,
            handshakes_abandoned,
            refusals_dropped,
            accept_backoffs,
            open,
            closed,
            close_timeouts,
            messages_received,
            message_bytes_received,
            messages_sent,
            message_bytes_sent,
            pings_received,
            pings_superseded,
            pings_sent,
            receive_pauses,
        } = other;
        self.accepted += accepted;
        self.upgraded += upgraded;
        for (sum, count) in self.refused.iter_mut().zip(refused) {
            *sum += count;
        }
        self.handshakes_abandoned += handshakes_abandoned;
        self.refusals_dropped += refusals_dropped;
        self.accept_backoffs += accept_backoffs;
        self.open += open;
        for (sum, count) in self.closed.iter_mut().zip(closed) {
            *sum += count;
        }
        self.close_timeouts += close_timeouts;
        self.messages_received += messages_received;
        self.message_bytes_received += message_bytes_received;
        self.messages_sent += messages_sent;
        self.message_bytes_sent += message_bytes_sent;
        self.pings_received += pings_received;
        self.pings_superseded += pings_superseded;
        self.pings_sent += pings_sent;
        self.receive_pauses += receive_pauses;
    }
}

/// One line; causes that never happened are left out.
impl fmt::Display for ShardCounters {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "accepted={} upgraded={} open={} messages_received={} message_bytes_received={} \
             messages_sent={} message_bytes_sent={} pings_received={} pings_sent={}",
            self.accepted,
            self.upgraded,
            self.open,
            self.messages_received,
            self.message_bytes_received,
            self.messages_sent,
            self.message_bytes_sent,
            self.pings_received,
            self.pings_sent,
        )?;
        for (name, count) in [
            ("pings_superseded", self.pings_superseded),
            ("receive_pauses", self.receive_pauses),
            ("handshakes_abandoned", self.handshakes_abandoned),
            ("refusals_dropped", self.refusals_dropped),
            ("accept_backoffs", self.accept_backoffs),
            ("close_timeouts", self.close_timeouts),
        ] {
            if count > 0 {
                write!(formatter, " {name}={count}")?;
            }
        }
        for (index, count) in self
            .refused
            .iter()
            .enumerate()
            .filter(|(_, count)| **count > 0)
        {
            match REFUSAL_STATUSES.get(index) {
                Some(status) => write!(formatter, " refused.{status}={count}")?,
                None => write!(formatter, " refused.other={count}")?,
            }
        }
        for reason in CloseReason::all().filter(|reason| self.closed_for(*reason) > 0) {
            write!(formatter, " closed.{reason}={}", self.closed_for(reason))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_and_one_line() {
        let mut one = ShardCounters {
            accepted: 3,
            open: 1,
            ..ShardCounters::default()
        };
        one.refuse(408);
        one.refuse(418);
        one.closed[CloseReason::Peer.index()] = 2;
        let mut sum = one.clone();
        sum.add(&one);
        assert_eq!(sum.accepted, 6);
        assert_eq!(sum.refused_with(408), 2);
        assert_eq!(sum.refused_with(418), 2);
        assert_eq!(sum.closed_for(CloseReason::Peer), 4);
        let line = sum.to_string();
        for part in [
            "accepted=6",
            "refused.408=2",
            "refused.other=2",
            "closed.peer=4",
        ] {
            assert!(line.contains(part), "{part} is not in: {line}");
        }
        assert!(!line.contains("closed.drain"));
        assert!(!line.contains('\n'));
    }
}
