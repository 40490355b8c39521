//! One connection of a client, and what its end is called.
//!
//! Knows no socket: it says what is to be done with it.

use crate::churn::sheet::ChurnSheet;
use crate::connect::link::LinkState;
use crate::echo::client::Standing;
use crate::echo::conversation::Conversation;
use crate::measure::tally::Tally;

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It does not, yet.
    Open,
    /// Its client has left it at this time.
    Leaving { since_ns: u64, is_answered: bool },
    /// The server has closed it with a close frame at this time.
    ByServer { at_ns: u64 },
    /// The server has broken the protocol at this time.
    Broken { at_ns: u64 },
}

/// One connection.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) conversation: Conversation,
    /// Whose it is.
    pub(super) member: u32,
    pub(super) opened_ns: u64,
    pub(super) is_served: bool,
    pub(super) end: End,
}

/// What is to be done with the socket after bytes were received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing.
    Nothing,
    /// Its end is to be awaited.
    Await,
    /// Nothing more is sent, and its end is awaited.
    Finish,
    /// It is closed.
    Terminate,
}

/// What came of received bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outcome {
    pub(super) next: Next,
    /// The connection has failed by these bytes.
    pub(super) is_failure: bool,
}

impl Seat {
    /// Decides what the state after received bytes means, and books it.
    pub(super) fn judge(
        &mut self,
        standing: Standing,
        state: LinkState,
        now_ns: u64,
        tally: &mut Tally,
        sheet: &mut ChurnSheet,
    ) -> Outcome {
        let was_open = self.end == End::Open;
        let mut next = match standing {
            Standing::Open => Next::Nothing,
            Standing::Closed => {
                self.book_answer(now_ns, sheet);
                Next::Await
            }
            Standing::ClosedByServer => {
                let sentence = || "the server sent a close frame that nobody had asked for".into();
                self.fail(
                    End::ByServer { at_ns: now_ns },
                    "closed_by_server",
                    sentence,
                    tally,
                );
                Next::Finish
            }
            Standing::Failed(error) => {
                let sentence = || format!("the server broke the protocol: {error}");
                self.fail(
                    End::Broken { at_ns: now_ns },
                    "protocol_error",
                    sentence,
                    tally,
                );
                Next::Terminate
            }
        };
        match state {
            LinkState::Open => {}
            // The server ends the stream without a close frame: that is booked when it has ended.
            LinkState::Finished => next = Next::Terminate,
            LinkState::Failed(sentence) => {
                self.fail(
                    End::Broken { at_ns: now_ns },
                    "tls_failed",
                    || sentence,
                    tally,
                );
                next = Next::Terminate;
            }
        }
        Outcome {
            next,
            is_failure: was_open && self.end != End::Open,
        }
    }

    /// The first thing that goes wrong names the end.
    fn fail(&mut self, end: End, kind: &str, sentence: impl FnOnce() -> String, tally: &mut Tally) {
        if self.end == End::Open {
            self.end = end;
            tally.fail(kind, sentence);
        }
    }

    /// The server has answered our close frame.
    fn book_answer(&mut self, now_ns: u64, sheet: &mut ChurnSheet) {
        if let End::Leaving {
            since_ns,
            is_answered,
        } = &mut self.end
            && !std::mem::replace(is_answered, true)
        {
            sheet.closings_completed += 1;
            sheet.close.record(now_ns.saturating_sub(*since_ns));
        }
    }

    /// Books the end of the connection under its name, and what can no longer be answered.
    pub(super) fn book_end(&mut self, tally: &mut Tally, sheet: &mut ChurnSheet) {
        let waiting = u64::from(self.conversation.client.waiting());
        self.conversation.client.account_ended(tally);
        match self.end {
            End::Leaving { .. } => {
                sheet.closed_by_us += 1;
                sheet.abandoned += waiting;
            }
            End::ByServer { .. } => {
                sheet.closed_by_server += 1;
                sheet.lost_with_connection += waiting;
            }
            End::Open | End::Broken { .. } => {
                sheet.lost += 1;
                sheet.lost_with_connection += waiting;
            }
        }
    }
}
