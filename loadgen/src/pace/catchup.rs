//! What an open loop does with messages that are overdue (`--catchup`).
//!
//! Pure: told when a message was due, what time it is and how fast the thread is to send, it says
//! whether the message goes out. The schedule itself never moves: an overdue message keeps its due
//! time, and its response time counts from there.

/// A message that is at most this late is on time for the purpose of catching up: timers, other
/// threads and the kernel take milliseconds now and then, and nobody would call that falling behind.
pub const BEHIND_NS: u64 = 10_000_000;

/// `--catchup`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum CatchUp {
    /// Everything that is overdue is sent at once: what a population of users would do that does not
    /// know of each other.
    #[default]
    All,
    /// What is more than [`BEHIND_NS`] late is not sent and counts as dropped.
    Drop,
    /// What is more than [`BEHIND_NS`] late is sent at this multiple of the rate, which is above 1.
    Share(f64),
}

impl CatchUp {
    /// Reads `all`, `none` or a percentage above 100.
    ///
    /// # Errors
    /// One sentence with the choices.
    pub fn parse(text: &str) -> Result<CatchUp, String> {
        match text {
            "all" => return Ok(CatchUp::All),
            "none" => return Ok(CatchUp::Drop),
            _ => {}
        }
        let percent: Option<f64> = text.strip_suffix('%').and_then(|text| text.parse().ok());
        match percent {
            Some(percent) if percent > 100.0 && percent <= 1e6 => {
                Ok(CatchUp::Share(percent / 100.0))
            }
            _ => Err(format!(
                "'{text}' is neither all, nor none, nor a share of the rate above 100%, as in 150%"
            )),
        }
    }

    /// The word of the command line.
    pub fn describe(self) -> String {
        match self {
            CatchUp::All => "all".into(),
            CatchUp::Drop => "none".into(),
            CatchUp::Share(share) => format!("{:.0}%", share * 100.0),
        }
    }
}

/// What is to be done with the next message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Send it.
    Send,
    /// Do not send it: it counts as dropped.
    Drop,
    /// Ask again then.
    WaitUntil(u64),
}

/// Applies `--catchup` to the messages of one thread.
#[derive(Clone, Copy, Debug, Default)]
pub struct Gate {
    policy: CatchUp,
    /// Overdue messages that may be sent now.
    credit: f64,
    /// Up to when `credit` has been counted.
    counted_ns: u64,
}

impl Gate {
    /// A gate that has seen no message yet.
    pub fn new(policy: CatchUp) -> Gate {
        Gate {
            policy,
            ..Gate::default()
        }
    }

    /// What to do with a message that was due at `due_ns`, not after `now_ns`, by a thread that is
    /// to send `per_second` messages per second.
    #[inline]
    pub fn ask(&mut self, due_ns: u64, now_ns: u64, per_second: impl FnOnce() -> f64) -> Turn {
        match self.policy {
            CatchUp::All => Turn::Send,
            _ if now_ns.saturating_sub(due_ns) <= BEHIND_NS => {
                (self.credit, self.counted_ns) = (0.0, now_ns);
                Turn::Send
            }
            CatchUp::Drop => Turn::Drop,
            CatchUp::Share(share) => self.ask_overdue(now_ns, per_second() * share),
        }
    }

    fn ask_overdue(&mut self, now_ns: u64, per_second: f64) -> Turn {
        let per_ns = per_second / 1e9;
        if per_ns <= 0.0 {
            // Nothing is to be sent at this moment, but what is overdue must go out at some time.
            return Turn::Send;
        }
        let elapsed_ns = now_ns.saturating_sub(self.counted_ns) as f64;
        let credit_max = (per_ns * BEHIND_NS as f64).max(1.0);
        self.credit = (self.credit + elapsed_ns * per_ns).min(credit_max);
        self.counted_ns = now_ns;
        if self.credit >= 1.0 {
            self.credit -= 1.0;
            return Turn::Send;
        }
        let wait_ns = ((1.0 - self.credit) / per_ns).ceil();
        Turn::WaitUntil(now_ns.saturating_add((wait_ns as u64).max(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn words_and_percentages() {
        assert_eq!(CatchUp::parse("all"), Ok(CatchUp::All));
        assert_eq!(CatchUp::parse("none"), Ok(CatchUp::Drop));
        assert_eq!(CatchUp::parse("150%"), Ok(CatchUp::Share(1.5)));
        assert_eq!(CatchUp::Share(1.5).describe(), "150%");
        for wrong in ["", "some", "150", "100%", "50%", "-5%", "NaN%", "inf%"] {
            assert!(CatchUp::parse(wrong).is_err(), "{wrong:?} must be refused");
        }
    }

    /// A thread that sends 1,000/s and stood still from second 1 to second 2: when is what sent?
    /// Returns (sent at once after the stall, dropped, second at which it was on time again).
    fn stall(policy: CatchUp) -> (u64, u64, Option<u64>) {
        let mut gate = Gate::new(policy);
        let (mut at_once, mut dropped, mut caught_up_ns) = (0, 0, None);
        let mut now_ns = 0;
        for number in 0..10_000_u64 {
            let due_ns = number * SECOND / 1_000;
            now_ns = now_ns.max(due_ns);
            if (SECOND..2 * SECOND).contains(&now_ns) {
                now_ns = 2 * SECOND;
            }
            loop {
                match gate.ask(due_ns, now_ns, || 1_000.0) {
                    Turn::Send => break at_once += u64::from(now_ns == 2 * SECOND),
                    Turn::Drop => break dropped += 1,
                    Turn::WaitUntil(until_ns) => {
                        assert!(until_ns > now_ns, "time must go on");
                        now_ns = until_ns;
                    }
                }
            }
            if number > 1_000 && now_ns == due_ns {
                caught_up_ns.get_or_insert(now_ns);
            }
        }
        (at_once, dropped, caught_up_ns)
    }

    #[test]
    fn all_is_sent_at_once() {
        assert_eq!(stall(CatchUp::All), (1_001, 0, Some(2_000_000_000)));
    }

    #[test]
    fn none_drops_what_is_more_than_ten_milliseconds_late() {
        // Due from 1.000 to 1.989: 990 of them.
        assert_eq!(stall(CatchUp::Drop), (11, 990, Some(2_000_000_000)));
    }

    #[test]
    fn a_share_of_the_rate_catches_up_in_closed_form() {
        // 1,000 overdue messages at 500 more per second than become due take two seconds, less what
        // ten milliseconds of credit and of tolerance are worth (15 and 10 messages, 50 ms).
        let (at_once, dropped, caught_up_ns) = stall(CatchUp::Share(1.5));
        assert_eq!((at_once, dropped), (15, 0));
        let caught_up_ns = caught_up_ns.expect("caught up");
        let expected_ns = 4 * SECOND - 50_000_000;
        assert!(
            caught_up_ns.abs_diff(expected_ns) < 5_000_000,
            "{caught_up_ns}"
        );
    }

    #[test]
    fn overdue_messages_go_out_even_when_the_rate_has_fallen_to_nothing() {
        let mut gate = Gate::new(CatchUp::Share(2.0));
        assert_eq!(gate.ask(0, SECOND, || 0.0), Turn::Send);
    }
}
