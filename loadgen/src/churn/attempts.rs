//! Attempts to connect, as the application of a core books them. They are made by `opening`.

use fanwire_reactor::Io;

use crate::churn::worker::{Churner, Phase};
use crate::connect::establish::{OpenFailure, Opened};

impl Churner {
    /// Every client has made its first attempt: `done` is called as soon as all connections are
    /// here.
    pub(super) fn opening_ended(&mut self, done: Box<dyn FnOnce()>) {
        self.awaiting_adoptions = Some(done);
        self.check_adoptions();
    }

    pub(super) fn check_adoptions(&mut self) {
        if self.sheet.in_progress == 0
            && let Some(done) = self.awaiting_adoptions.take()
        {
            done();
        }
    }

    /// An attempt begins; returns the sixteen bytes for `Sec-WebSocket-Key`.
    pub(super) fn attempt_begins(&mut self, member: u32, due_ns: u64, begun_ns: u64) -> [u8; 16] {
        self.members.attempt_begins(member);
        self.sheet.attempts += 1;
        self.sheet.in_progress += 1;
        self.bench.desk.sheet.tally.asked += 1;
        if self.phase == Phase::Running {
            self.sheet.returns += 1;
            if self.is_measured(due_ns) {
                let late_ns = begun_ns.saturating_sub(due_ns);
                self.sheet.attempt_late.record(late_ns);
            }
        }
        self.bench.desk.nonce()
    }

    /// An attempt has become a connection, which is on its way here.
    pub(super) fn attempt_opened(&mut self, due_ns: u64, opened: &Opened) {
        self.bench.desk.sheet.count_agreed(opened);
        if self.is_measured(due_ns) {
            self.sheet.opened_measured += 1;
            self.bench.desk.sheet.count_opening(opened);
        }
    }

    /// An attempt has failed.
    pub(super) fn attempt_failed(
        &mut self,
        io: &mut Io,
        member: u32,
        begun_ns: u64,
        failure: OpenFailure,
    ) {
        if self.phase == Phase::Closing {
            return;
        }
        self.sheet.in_progress -= 1;
        self.sheet.failed += 1;
        self.sheet.retry_after += u64::from(failure.retry_after_ms.is_some());
        let tally = &mut self.bench.desk.sheet.tally;
        tally.open += u64::from(failure.connect_ns.is_some());
        tally.fail(&failure.kind, || failure.detail);
        let is_running = self.phase == Phase::Running;
        let (now_ns, wait) = (io.read_clock_ns(), failure.retry_after_ms);
        self.members
            .attempt_failed(member, begun_ns, now_ns, wait, is_running);
        self.check_adoptions();
        self.carry_on(io);
    }
}
