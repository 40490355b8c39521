//! What only a churn counts. Sheets of several threads add up.
//!
//! Owns the two identities that every attempt and every connection must satisfy. Draws no
//! conclusion: that is `rules`'.

use crate::measure::latency::Latency;
use crate::measure::sums::add_fields;

/// Counters and histograms of one thread, or of all.
#[derive(Clone, Debug, Default)]
pub struct ChurnSheet {
    /// Clients.
    pub clients: u64,
    /// Attempts to connect, those of the beginning included.
    pub attempts: u64,
    /// Attempts begun after the beginning: somebody came back.
    pub returns: u64,
    /// Attempts that became a connection.
    pub opened: u64,
    /// Attempts that became a connection inside the measured window.
    pub opened_measured: u64,
    /// Attempts that failed; by kind they are in the tally.
    pub failed: u64,
    /// Attempts that had not ended when the run did.
    pub in_progress: u64,
    /// Failed attempts whose server asked for a wait (`Retry-After`).
    pub retry_after: u64,

    /// Connections that their client left.
    pub closed_by_us: u64,
    /// Connections that the server closed with a close frame.
    pub closed_by_server: u64,
    /// Connections that ended in any other way.
    pub lost: u64,
    /// Connections open at the end.
    pub alive: u64,
    /// Closing handshakes that a client began, and how many of them the server completed.
    pub closings_begun: u64,
    /// The server answered the close frame.
    pub closings_completed: u64,
    /// A client that left waited in vain for the end of its connection.
    pub closings_timed_out: u64,

    /// Clients that were sent away or refused and have been served again.
    pub recovered: u64,
    /// Clients without a connection at the end that wait for their next attempt.
    pub waiting: u64,
    /// Clients that do not come back, by their policy.
    pub gone: u64,
    /// Messages whose turn came while their client had no connection.
    pub skipped: u64,
    /// Messages unanswered when their own client left. Part of `lost` of the tally.
    pub abandoned: u64,
    /// Messages unanswered when the server ended the connection. Part of `lost` of the tally.
    pub lost_with_connection: u64,

    /// From the loss of a connection, or the first refusal, to being served again.
    pub recover: Latency,
    /// The same without the time that the client waited of its own accord.
    pub recover_active: Latency,
    /// How late attempts were begun.
    pub attempt_late: Latency,
    /// From the client's close frame to the server's.
    pub close: Latency,
}

impl ChurnSheet {
    /// Adds the sheet of another thread.
    pub fn add(&mut self, other: &ChurnSheet) {
        add_fields!(self, other, ChurnSheet {
            clients, attempts, returns, opened, opened_measured, failed, in_progress, retry_after,
            closed_by_us, closed_by_server, lost, alive,
            closings_begun, closings_completed, closings_timed_out,
            recovered, waiting, gone, skipped, abandoned, lost_with_connection,
        } apart { recover, recover_active, attempt_late, close });
        self.recover.add(&other.recover);
        self.recover_active.add(&other.recover_active);
        self.attempt_late.add(&other.attempt_late);
        self.close.add(&other.close);
    }

    /// The histograms by the names that a report gives them.
    pub fn histograms(&self) -> [(&'static str, &Latency); 4] {
        [
            ("recover", &self.recover),
            ("recover_active", &self.recover_active),
            ("attempt_late", &self.attempt_late),
            ("close", &self.close),
        ]
    }

    /// Every attempt is open, failed, or still in progress.
    pub fn attempts_add_up(&self) -> bool {
        self.attempts == self.opened + self.failed + self.in_progress
    }

    /// Every connection was left, closed, lost, or is alive.
    pub fn connections_add_up(&self) -> bool {
        self.opened == self.closed_by_us + self.closed_by_server + self.lost + self.alive
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sheets_add_up() {
        let mut left = ChurnSheet {
            attempts: 7,
            opened: 4,
            failed: 2,
            in_progress: 1,
            closed_by_us: 1,
            closed_by_server: 1,
            lost: 1,
            alive: 1,
            ..ChurnSheet::default()
        };
        left.recover.record(5);
        assert!(left.attempts_add_up() && left.connections_add_up());
        left.add(&left.clone());
        assert!(left.attempts_add_up() && left.connections_add_up());
        assert_eq!((left.attempts, left.recover.count()), (14, 2));
        left.lost += 1;
        assert!(!left.connections_add_up());
        left.failed += 1;
        assert!(!left.attempts_add_up());
    }
}
