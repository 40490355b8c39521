//! What a thread counted and timed. Sheets of several threads (later: processes) add up.
//!
//! Owns counters, error kinds, which histograms there are, and the identity that they must satisfy. Draws no
//! conclusion: that is `verdict`'s.

use std::collections::BTreeMap;

use fanwire_protocol::DeflateParameters;

use crate::churn::sheet::ChurnSheet;
use crate::connect::establish::Opened;
use crate::fanout::sheet::FanoutSheet;
use crate::measure::latency::Latency;
use crate::measure::sums::{add_counts, add_fields, add_optional};

/// One kind of failure: how often, and what the first one said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failure {
    /// Occurrences.
    pub count: u64,
    /// A sentence about the first of them.
    pub example: String,
}

/// Sums over the connections from which their equality of treatment follows.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Fairness {
    connections: u64,
    replies: f64,
    squares: f64,
}

impl Fairness {
    /// Counts one connection by the replies it got.
    pub fn count(&mut self, replies: u64) {
        self.connections += 1;
        self.replies += replies as f64;
        self.squares += (replies as f64).powi(2);
    }

    /// Adds the connections of another thread.
    pub fn add(&mut self, other: &Fairness) {
        self.connections += other.connections;
        self.replies += other.replies;
        self.squares += other.squares;
    }

    /// Jain's index: 1 when all connections got the same, 1/n when one of n got everything. `None`
    /// without replies.
    pub fn index(&self) -> Option<f64> {
        let is_known = self.connections > 0 && self.squares > 0.0;
        is_known.then(|| self.replies.powi(2) / (self.connections as f64 * self.squares))
    }
}

/// Plain counters of one thread.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tally {
    /// Messages handed to sockets, warm-up included.
    pub sent: u64,
    /// Replies that answered a message for the first time, corrupt ones included.
    pub received: u64,
    /// Messages whose reply can no longer come: overtaken, or their connection ended.
    pub lost: u64,
    /// Messages unanswered at the end of the drain on connections still open.
    pub in_flight: u64,
    /// Replies received inside the measured window.
    pub received_measured: u64,
    /// Messages handed to sockets inside the measured window.
    pub sent_measured: u64,
    /// Messages that an open loop had to send inside the measured window.
    pub due_measured: u64,
    /// Messages that were due but could not be sent: connection gone or `in_flight_max` reached.
    pub unsent: u64,
    /// Those of `unsent` that were overdue and given up (`--catchup none`).
    pub dropped: u64,
    /// Received messages that are no replies by what the command line says.
    pub ignored: u64,
    /// Replies to a message that had been answered before.
    pub duplicates: u64,
    /// Replies that came after the reply to a younger message.
    pub reordered: u64,
    /// Replies with a wrong byte, length or kind. Part of `received`.
    pub corrupt: u64,
    /// Messages that no connection asked for.
    pub unsolicited: u64,
    /// Pings answered.
    pub pings: u64,
    /// Pings that we sent.
    pub pings_sent: u64,
    /// Pongs that came before the next ping was due.
    pub pongs: u64,
    /// Pings whose pong did not.
    pub pongs_missing: u64,
    /// Payload bytes of received messages.
    pub payload_bytes_received: u64,

    /// Connections that were to be opened (storm: attempts begun).
    pub asked: u64,
    /// TCP connections established.
    pub open: u64,
    /// Opening handshakes completed.
    pub upgraded: u64,
    /// Connections that got at least one right reply.
    pub served: u64,
    /// Connections still open at the end of the measurement.
    pub alive: u64,
    /// Open connections with a message unanswered at the end of the drain.
    pub stalled: u64,
    /// Storm: whole cycles completed inside the measured window.
    pub cycles_measured: u64,
    /// Storm: whole cycles completed.
    pub cycles: u64,

    /// How evenly the replies of the measured window are spread over the connections.
    pub fairness: Fairness,
    /// What was agreed on permessage-deflate, and on how many connections.
    pub deflate: BTreeMap<String, u64>,

    /// Failures by kind.
    pub failures: BTreeMap<String, Failure>,
    /// Status codes of close frames that servers sent before we asked them to.
    pub close_codes: BTreeMap<u16, u64>,
}

impl Tally {
    /// Counts a failure of a kind; only the first one pays for its description.
    pub fn fail(&mut self, kind: &str, describe: impl FnOnce() -> String) {
        self.fail_many(kind, 1, describe);
    }

    /// Counts several failures of a kind.
    pub fn fail_many(&mut self, kind: &str, count: u64, describe: impl FnOnce() -> String) {
        if let Some(failure) = self.failures.get_mut(kind) {
            failure.count += count;
        } else {
            self.failures.insert(
                kind.to_owned(),
                Failure {
                    count,
                    example: describe(),
                },
            );
        }
    }

    /// What went wrong so far, by kind: failures (corrupt replies are among them) under their own
    /// names, messages as `lost`, `unsent`, `duplicate`, `reordered` and `unsolicited`. Kinds
    /// without any are left out. Made once per second.
    pub fn troubles(&self) -> BTreeMap<String, u64> {
        let failures = self.failures.iter();
        let mut troubles: BTreeMap<String, u64> = failures
            .map(|(kind, failure)| (kind.clone(), failure.count))
            .collect();
        for (kind, count) in [
            ("lost", self.lost),
            ("unsent", self.unsent),
            ("duplicate", self.duplicates),
            ("reordered", self.reordered),
            ("unsolicited", self.unsolicited),
        ] {
            if count > 0 {
                *troubles.entry(kind.to_owned()).or_default() += count;
            }
        }
        troubles
    }

    /// Counts what a connection agreed on permessage-deflate.
    pub fn count_deflate(&mut self, agreed: Option<&DeflateParameters>) {
        let text = agreed.map_or_else(
            || "none".to_owned(),
            |agreed| {
                let takeover = |is_refused: bool| if is_refused { "no " } else { "" };
                format!(
                    "server window {} bits, {}context takeover; client window {} bits, {}context \
                     takeover",
                    agreed.server_max_window_bits,
                    takeover(agreed.server_no_context_takeover),
                    agreed.client_max_window_bits,
                    takeover(agreed.client_no_context_takeover),
                )
            },
        );
        *self.deflate.entry(text).or_default() += 1;
    }

    /// `sent = received + lost + in flight`, each side counted on its own.
    pub fn identity_holds(&self) -> bool {
        self.sent == self.received + self.lost + self.in_flight
    }

    /// Adds the counters of another thread.
    pub fn add(&mut self, other: &Tally) {
        add_fields!(self, other, Tally {
            sent, received, lost, in_flight, received_measured, sent_measured, due_measured,
            unsent, dropped, ignored, duplicates, reordered, corrupt, unsolicited,
            pings, pings_sent, pongs, pongs_missing, payload_bytes_received,
            asked, open, upgraded, served, alive, stalled, cycles_measured, cycles,
        } apart { fairness, deflate, failures, close_codes });
        self.fairness.add(&other.fairness);
        add_counts(&mut self.deflate, &other.deflate);
        add_counts(&mut self.close_codes, &other.close_codes);
        for (kind, failure) in &other.failures {
            let entry = self.failures.entry(kind.clone()).or_default();
            entry.count += failure.count;
            if entry.example.is_empty() {
                entry.example.clone_from(&failure.example);
            }
        }
    }
}

/// What was timed since the thread was last asked.
#[derive(Clone, Debug, Default)]
pub struct Interval {
    /// As `Sheet::response_halves`.
    pub response: Latency,
    /// As `Sheet::late`.
    pub late: Latency,
    /// What went wrong meanwhile; see [`Tally::troubles`].
    pub troubles: BTreeMap<String, u64>,
}

impl Interval {
    /// Adds what another thread, or the same one a moment later, timed.
    pub fn add(&mut self, other: &Interval) {
        self.response.add(&other.response);
        self.late.add(&other.late);
        add_counts(&mut self.troubles, &other.troubles);
    }
}

/// Everything one thread brings home.
#[derive(Clone, Debug, Default)]
pub struct Sheet {
    /// Counters.
    pub tally: Tally,
    /// Latency from the intended send time, first and second half of the measured window.
    pub response_halves: [Latency; 2],
    /// Latency from the actual send time; stays empty in a closed loop, where it is the same.
    pub service: Latency,
    /// How late messages were handed to their sockets.
    pub late: Latency,
    /// Responses to what was sent in the warm-up, since they were last asked for. They tell when
    /// the load is steady and do not add up to anything.
    pub warmup: Latency,
    /// The same as `response_halves` and `late` since the last [`Sheet::take_interval`].
    pub interval: Interval,
    /// [`Tally::troubles`] as of the last [`Sheet::take_interval`].
    troubles_shown: BTreeMap<String, u64>,
    /// TCP connect.
    pub connect: Latency,
    /// TLS handshake of `wss://`.
    pub tls: Latency,
    /// Versions and cipher suites of TLS, with the number of handshakes that agreed on them.
    pub tls_agreed: BTreeMap<String, u64>,
    /// Our pings to their pongs.
    pub ping: Latency,
    /// Opening handshake: request written to response complete.
    pub upgrade: Latency,
    /// Storm: first message sent to its reply.
    pub first_message: Latency,
    /// When the last message was answered of a run that ends by their number.
    pub ended_ns: Option<u64>,
    /// What only a fan-out counts.
    pub fanout: Option<Box<FanoutSheet>>,
    /// What only a churn counts.
    pub churn: Option<Box<ChurnSheet>>,
}

impl Sheet {
    /// Counts the phases of an opening.
    pub fn count_opening(&mut self, opened: &Opened) {
        self.connect.record(opened.connect_ns);
        self.upgrade.record(opened.upgrade_ns);
        if let Some(tls_ns) = opened.tls_ns {
            self.tls.record(tls_ns);
        }
    }

    /// Counts what TLS agreed on, whenever that was.
    pub fn count_agreed(&mut self, opened: &Opened) {
        if let Some(agreed) = opened.line.link.agreed() {
            *self.tls_agreed.entry(agreed).or_default() += 1;
        }
    }

    /// Counts the response to a measured message of the first (0) or second (1) half.
    #[inline]
    pub fn record_response(&mut self, half: usize, ns: u64) {
        if let Some(latency) = self.response_halves.get_mut(half) {
            latency.record(ns);
            self.interval.response.record(ns);
        }
    }

    /// Counts how late a measured message was sent.
    #[inline]
    pub fn record_late(&mut self, ns: u64) {
        self.late.record(ns);
        self.interval.late.record(ns);
    }

    /// What was timed, and what went wrong, since the last call.
    pub fn take_interval(&mut self) -> Interval {
        let mut troubles = self.tally.troubles();
        for (kind, shown) in std::mem::replace(&mut self.troubles_shown, troubles.clone()) {
            if let Some(count) = troubles.get_mut(&kind) {
                *count = count.saturating_sub(shown);
            }
        }
        troubles.retain(|_, count| *count > 0);
        Interval {
            troubles,
            ..std::mem::take(&mut self.interval)
        }
    }

    /// Adds the sheet of another thread.
    pub fn add(&mut self, other: &Sheet) {
        self.tally.add(&other.tally);
        add_counts(&mut self.troubles_shown, &other.troubles_shown);
        self.tls.add(&other.tls);
        self.ping.add(&other.ping);
        add_counts(&mut self.tls_agreed, &other.tls_agreed);
        for (mine, theirs) in self.response_halves.iter_mut().zip(&other.response_halves) {
            mine.add(theirs);
        }
        self.service.add(&other.service);
        self.late.add(&other.late);
        self.connect.add(&other.connect);
        self.upgrade.add(&other.upgrade);
        self.first_message.add(&other.first_message);
        self.interval.response.add(&other.interval.response);
        self.interval.late.add(&other.interval.late);
        self.ended_ns = self.ended_ns.max(other.ended_ns);
        add_optional(&mut self.fanout, other.fanout.as_ref(), |mine, theirs| {
            mine.add(theirs)
        });
        add_optional(&mut self.churn, other.churn.as_ref(), |mine, theirs| {
            mine.add(theirs)
        });
    }

    /// Response latency of the whole measured window.
    pub fn response(&self) -> Latency {
        let mut whole = self.response_halves[0].clone();
        whole.add(&self.response_halves[1]);
        whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn troubles_are_shown_once_and_survive_adding_up() {
        let mut sheet = Sheet::default();
        sheet
            .tally
            .fail_many("connect-refused", 2, || "refused".to_owned());
        sheet.tally.lost = 1;
        let shown = |interval: Interval| interval.troubles.into_iter().collect::<Vec<_>>();
        let kind = |kind: &str, count| (kind.to_owned(), count);
        assert_eq!(
            shown(sheet.take_interval()),
            [kind("connect-refused", 2), kind("lost", 1)]
        );
        assert!(sheet.take_interval().troubles.is_empty());
        sheet.tally.lost = 4;
        sheet.tally.duplicates = 1;
        let mut whole = Sheet::default();
        whole.add(&sheet);
        whole.add(&Sheet::default());
        assert_eq!(
            shown(whole.take_interval()),
            [kind("duplicate", 1), kind("lost", 3)]
        );
    }

    #[test]
    fn fairness_is_one_for_equals_and_an_nth_for_a_winner() {
        let of = |replies: &[u64]| {
            let mut parts = [Fairness::default(), Fairness::default()];
            for (number, replies) in replies.iter().enumerate() {
                parts[number % 2].count(*replies);
            }
            let [mut whole, part] = parts;
            whole.add(&part);
            whole.index()
        };
        assert_eq!(of(&[7; 10]), Some(1.0));
        assert_eq!(of(&[0, 0, 0, 9]), Some(0.25));
        assert_eq!(of(&[1, 3]), Some(0.8));
        assert_eq!(of(&[0, 0]), None);
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn tallies_add_up() {
        let mut left = Tally {
            sent: 3,
            received: 2,
            lost: 1,
            ..Tally::default()
        };
        left.fail("a", || "first".into());
        let mut right = Tally {
            sent: 2,
            received: 1,
            in_flight: 1,
            ..Tally::default()
        };
        right.fail("a", || "second".into());
        right.fail("a", || "third".into());
        right.close_codes.insert(1001, 4);
        assert!(left.identity_holds() && right.identity_holds());
        left.add(&right);
        assert!(left.identity_holds());
        assert_eq!(
            left.failures["a"],
            Failure {
                count: 3,
                example: "first".into()
            }
        );
        assert_eq!(left.close_codes[&1001], 4);
        left.lost += 1;
        assert!(!left.identity_holds());
    }
}
