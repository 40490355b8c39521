//! What a churn reports beyond what every run does.
//!
//! Owns names of the report (a public interface: adding is fine, renaming is not) and turning the
//! sheet into them. Judges nothing: that is `rules`'.

use serde::{Deserialize, Serialize};

use crate::churn::options::Options;
use crate::churn::sheet::ChurnSheet;
use crate::measure::figures::Percentiles;

/// What only a churn reports. Counters cover the whole run, warm-up included.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Churn {
    /// How long clients keep a connection, as the command line has it.
    pub lifetime: String,
    /// When clients that were sent away or refused try again.
    pub reconnect: String,
    /// How clients leave.
    pub departure: String,
    /// Clients send nothing.
    pub is_hold_only: bool,
    /// Clients.
    pub clients: u64,
    /// Connections per second that the lifetimes ask for while everybody is connected.
    pub expected_per_second: Option<f64>,
    /// Connections opened per measured second.
    pub opened_per_second: f64,
    /// Attempts to connect, those of the beginning included.
    pub attempts: u64,
    /// Attempts of clients that came back.
    pub returns: u64,
    /// Attempts that became a connection.
    pub opened: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// Attempts that had not ended when the run did.
    pub in_progress: u64,
    /// Failed attempts whose server asked for a wait.
    pub retry_after: u64,
    /// attempts = opened + failed + in_progress
    pub attempts_add_up: bool,
    /// Connections that their client left.
    pub closed_by_us: u64,
    /// Connections that the server closed with a close frame.
    pub closed_by_server: u64,
    /// Connections that ended in any other way.
    pub lost: u64,
    /// Connections open at the end.
    pub alive: u64,
    /// opened = closed_by_us + closed_by_server + lost + alive
    pub connections_add_up: bool,
    /// Closing handshakes that clients began.
    pub closings_begun: u64,
    /// Those that the server completed.
    pub closings_completed: u64,
    /// Clients that left and waited in vain for the end of their connection.
    pub closings_timed_out: u64,
    /// Times that a client was sent away or refused, and was served again.
    pub recovered: u64,
    /// Clients that were sent away or refused and waited for their next attempt at the end.
    pub waiting: u64,
    /// Clients that do not come back, by their policy.
    pub gone: u64,
    /// Messages whose turn came while their client had no connection.
    pub skipped: u64,
    /// Messages unanswered when their own client left. Part of `messages.lost`.
    pub abandoned: u64,
    /// Messages unanswered when the server ended the connection. Part of `messages.lost`.
    pub lost_with_connection: u64,
    /// From the loss of a connection, or the first refusal, to being served again.
    pub recover_ns: Percentiles,
    /// The same without the time that clients waited of their own accord.
    pub recover_active_ns: Percentiles,
    /// How late attempts were begun.
    pub attempt_late_ns: Percentiles,
    /// From the client's close frame to the server's.
    pub close_ns: Percentiles,
}

impl Churn {
    /// The figures of a sheet.
    pub fn of(options: &Options, sheet: &ChurnSheet, connections: u32, seconds: f64) -> Churn {
        let opened_per_second = if seconds > 0.0 {
            sheet.opened_measured as f64 / seconds
        } else {
            0.0
        };
        Churn {
            lifetime: options.lifetime.to_string(),
            reconnect: options.reconnect.to_string(),
            departure: options.departure.as_str().to_owned(),
            is_hold_only: options.is_hold_only,
            clients: sheet.clients,
            expected_per_second: options.expected_per_second(connections),
            opened_per_second,
            attempts: sheet.attempts,
            returns: sheet.returns,
            opened: sheet.opened,
            failed: sheet.failed,
            in_progress: sheet.in_progress,
            retry_after: sheet.retry_after,
            attempts_add_up: sheet.attempts_add_up(),
            closed_by_us: sheet.closed_by_us,
            closed_by_server: sheet.closed_by_server,
            lost: sheet.lost,
            alive: sheet.alive,
            connections_add_up: sheet.connections_add_up(),
            closings_begun: sheet.closings_begun,
            closings_completed: sheet.closings_completed,
            closings_timed_out: sheet.closings_timed_out,
            recovered: sheet.recovered,
            waiting: sheet.waiting,
            gone: sheet.gone,
            skipped: sheet.skipped,
            abandoned: sheet.abandoned,
            lost_with_connection: sheet.lost_with_connection,
            recover_ns: Percentiles::of(&sheet.recover),
            recover_active_ns: Percentiles::of(&sheet.recover_active),
            attempt_late_ns: Percentiles::of(&sheet.attempt_late),
            close_ns: Percentiles::of(&sheet.close),
        }
    }
}
