//! When a client that was sent away, or refused, tries again: the words of `--reconnect` and the
//! delays they mean.
//!
//! Pure arithmetic over a generator that is passed in. Knows no clock and no connection.

use std::fmt;

use crate::quantity::{format_ns, parse_duration_ns};

/// A server may ask for a longer wait (`Retry-After`) than this; it is not granted. Bounds what
/// bytes of the server decide about our schedule.
pub const RETRY_AFTER_MAX_MS: u64 = 3_600_000;
/// After a failure a client waits at least so long even when told to come back at once, because
/// on loopback a refusal takes microseconds and the retries would take the whole CPU.
pub const PAUSE_MIN_NS: u64 = 1_000_000;
/// Doublings after which no delay grows any more: a millisecond doubled so often is 34 years.
const DOUBLINGS_MAX: u32 = 40;

/// How delays are spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Jitter {
    /// Evenly between nothing and the delay: a herd that was sent away together comes back spread
    /// over the whole delay.
    Full,
    /// Half of the delay, and evenly up to the whole of it.
    Equal,
    /// Exactly the delay: a herd comes back as a herd.
    None,
}

/// When a client tries again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reconnect {
    /// It does not.
    Never,
    /// At once, like a client that does not care.
    Immediate,
    /// After `base · 2^n` on the n-th failure in a row (from 0), at most `cap`.
    Exponential {
        /// First delay, in nanoseconds.
        base_ns: u64,
        /// Longest delay, in nanoseconds.
        cap_ns: u64,
        /// Spread.
        jitter: Jitter,
    },
}

impl Reconnect {
    /// Reads `expo:1s..30s`, `expo:1s..30s,jitter=full|equal|none`, `immediate` or `never`.
    ///
    /// # Errors
    /// One sentence with cause and cure.
    pub fn parse(text: &str) -> Result<Reconnect, String> {
        match text {
            "immediate" => return Ok(Reconnect::Immediate),
            "never" => return Ok(Reconnect::Never),
            _ => {}
        }
        let wrong = || {
            format!(
                "'{text}' is not a way to reconnect; write expo:1s..30s, \
                 expo:1s..30s,jitter=none, immediate or never"
            )
        };
        let rest = text
            .strip_prefix("expo:")
            .or_else(|| text.strip_prefix("exponential:"))
            .ok_or_else(wrong)?;
        let (delays, jitter) = match rest.split_once(',') {
            None => (rest, Jitter::Full),
            Some((delays, "jitter=full")) => (delays, Jitter::Full),
            Some((delays, "jitter=equal")) => (delays, Jitter::Equal),
            Some((delays, "jitter=none")) => (delays, Jitter::None),
            Some((_, other)) => {
                return Err(format!(
                    "'{other}' is not a jitter; write jitter=full, jitter=equal or jitter=none"
                ));
            }
        };
        let (base, cap) = delays.split_once("..").ok_or_else(wrong)?;
        let (base_ns, cap_ns) = (parse_duration_ns(base)?, parse_duration_ns(cap)?);
        if base_ns < PAUSE_MIN_NS || base_ns > cap_ns {
            return Err(format!(
                "'{delays}' must go from 1ms or more to something no shorter; write for example \
                 expo:1s..30s"
            ));
        }
        Ok(Reconnect::Exponential {
            base_ns,
            cap_ns,
            jitter,
        })
    }

    /// The delay after `failures` failures in a row that came before this one. `None`: the client
    /// stays away. `retry_after_ms` is what the server asked for; a polite client waits at least
    /// so long.
    pub fn delay_ns(
        self,
        failures: u32,
        retry_after_ms: Option<u64>,
        random: &mut fastrand::Rng,
    ) -> Option<u64> {
        let own_ns = match self {
            Reconnect::Never => return None,
            Reconnect::Immediate => 0,
            Reconnect::Exponential {
                base_ns,
                cap_ns,
                jitter,
            } => {
                let factor = 1u64 << failures.min(DOUBLINGS_MAX);
                let ceiling_ns = base_ns.saturating_mul(factor).min(cap_ns);
                match jitter {
                    Jitter::Full => random.u64(0..=ceiling_ns),
                    Jitter::Equal => ceiling_ns / 2 + random.u64(0..=ceiling_ns - ceiling_ns / 2),
                    Jitter::None => ceiling_ns,
                }
            }
        };
        let asked_ns = retry_after_ms.map_or(0, |wait| wait.min(RETRY_AFTER_MAX_MS) * 1_000_000);
        // Whoever was asked to wait is one of many: what the client would have waited anyway is
        // added, so that the herd does not come back at the same second.
        Some(asked_ns.saturating_add(own_ns).max(PAUSE_MIN_NS))
    }
}

impl fmt::Display for Reconnect {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reconnect::Never => out.write_str("never"),
            Reconnect::Immediate => out.write_str("immediate"),
            Reconnect::Exponential {
                base_ns,
                cap_ns,
                jitter,
            } => {
                let jitter = match jitter {
                    Jitter::Full => "full",
                    Jitter::Equal => "equal",
                    Jitter::None => "none",
                };
                let (base, cap) = (format_ns(*base_ns), format_ns(*cap_ns));
                write!(out, "expo:{base}..{cap},jitter={jitter}")
            }
        }
    }
}

/// The seconds of a `Retry-After` header field (RFC 9110 10.2.3) in a response head, in
/// milliseconds. Its other form, a date, is not read: it would compare two hosts' clocks.
pub fn retry_after_ms(head: &[u8]) -> Option<u64> {
    let value = head.split(|byte| *byte == b'\n').find_map(|line| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let (name, value) = line.split_at_checked(colon)?;
        name.eq_ignore_ascii_case(b"retry-after")
            .then(|| value.get(1..))
            .flatten()
    })?;
    let seconds: u64 = std::str::from_utf8(value).ok()?.trim().parse().ok()?;
    Some(seconds.saturating_mul(1_000).min(RETRY_AFTER_MAX_MS))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn exponential(jitter: Jitter) -> Reconnect {
        Reconnect::Exponential {
            base_ns: SECOND,
            cap_ns: 30 * SECOND,
            jitter,
        }
    }

    #[test]
    fn the_words() {
        assert_eq!(Reconnect::parse("never"), Ok(Reconnect::Never));
        assert_eq!(Reconnect::parse("immediate"), Ok(Reconnect::Immediate));
        let full = Ok(exponential(Jitter::Full));
        assert_eq!(Reconnect::parse("expo:1s..30s"), full);
        assert_eq!(Reconnect::parse("expo:1s..30s,jitter=full"), full);
        let none = Ok(exponential(Jitter::None));
        assert_eq!(Reconnect::parse("expo:1s..30s,jitter=none"), none);
        assert_eq!(
            exponential(Jitter::Full).to_string(),
            "expo:1.00s..30.00s,jitter=full"
        );
        assert_eq!(
            Reconnect::parse("expo:1.00s..30.00s,jitter=full"),
            full,
            "what is shown can be typed in again"
        );
    }

    #[test]
    fn nonsense_is_refused_with_a_cure() {
        for (text, word) in [
            ("", "expo:1s..30s"),
            ("1s", "expo:1s..30s"),
            ("expo:1s", "expo:1s..30s"),
            ("expo:30s..1s", "no shorter"),
            ("expo:0..1s", "1ms"),
            ("expo:1s..2x", "unit"),
            ("expo:1s..2s,jitter=some", "jitter=full"),
        ] {
            let error = Reconnect::parse(text).expect_err(text);
            assert!(error.contains(word), "{text}: {error}");
        }
    }

    #[test]
    fn without_jitter_delays_double_up_to_the_cap() {
        let policy = exponential(Jitter::None);
        let mut random = fastrand::Rng::with_seed(1);
        let delays: Vec<u64> = [0, 1, 2, 3, 4, 5, 6, 99, u32::MAX]
            .iter()
            .filter_map(|failures| policy.delay_ns(*failures, None, &mut random))
            .map(|ns| ns / SECOND)
            .collect();
        assert_eq!(delays, [1, 2, 4, 8, 16, 30, 30, 30, 30]);
    }

    #[test]
    fn never_and_immediate() {
        let mut random = fastrand::Rng::with_seed(1);
        assert_eq!(Reconnect::Never.delay_ns(0, Some(3_000), &mut random), None);
        let pause = Some(PAUSE_MIN_NS);
        assert_eq!(Reconnect::Immediate.delay_ns(9, None, &mut random), pause);
        assert_eq!(
            Reconnect::Immediate.delay_ns(0, Some(3_000), &mut random),
            Some(3 * SECOND),
            "even the impatient wait as long as they are asked to"
        );
    }

    #[test]
    fn retry_after() {
        let head = |field: &str| format!("HTTP/1.1 503 Busy\r\nServer: x\r\n{field}\r\n\r\n");
        for (field, wanted) in [
            ("Retry-After: 2", Some(2_000)),
            ("retry-after:120 ", Some(120_000)),
            ("Retry-After: 99999999999", Some(RETRY_AFTER_MAX_MS)),
            ("Retry-After: Wed, 21 Oct 2026 07:28:00 GMT", None),
            ("Retry-After: -1", None),
            ("Retry-After:", None),
            ("X-Retry-After: 2", None),
            ("Content-Length: 0", None),
        ] {
            assert_eq!(retry_after_ms(head(field).as_bytes()), wanted, "{field}");
        }
        assert_eq!(retry_after_ms(b""), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn delays_stay_in_their_bounds(
            base in 1_000_000u64..60_000_000_000,
            span in 0u64..600_000_000_000,
            failures: u32,
            retry_after in proptest::option::of(0u64..10_000_000),
            seed: u64,
        ) {
            let cap_ns = base + span;
            let mut random = fastrand::Rng::with_seed(seed);
            let ceiling = base.saturating_mul(1 << failures.min(DOUBLINGS_MAX)).min(cap_ns);
            let asked = retry_after.map_or(0, |wait: u64| wait.min(RETRY_AFTER_MAX_MS) * 1_000_000);
            for jitter in [Jitter::Full, Jitter::Equal, Jitter::None] {
                let policy = Reconnect::Exponential { base_ns: base, cap_ns, jitter };
                let delay = policy.delay_ns(failures, retry_after, &mut random).expect("it returns");
                let least = match jitter {
                    Jitter::Full => 0,
                    Jitter::Equal => ceiling / 2,
                    Jitter::None => ceiling,
                };
                prop_assert!(delay >= (asked + least).max(PAUSE_MIN_NS));
                prop_assert!(delay <= (asked + ceiling).max(PAUSE_MIN_NS));
            }
        }

        /// Kolmogorov and Smirnov: the largest distance between the sample's distribution and the
        /// even one stays below the bound that chance exceeds once in ten million.
        #[test]
        fn full_jitter_is_even(failures in 0u32..8, seed: u64) {
            const DRAWS: usize = 4_000;
            let policy = exponential(Jitter::Full);
            let ceiling = (SECOND << failures).min(30 * SECOND) as f64;
            let mut random = fastrand::Rng::with_seed(seed);
            let mut delays: Vec<f64> = (0..DRAWS)
                .filter_map(|_| policy.delay_ns(failures, None, &mut random))
                .map(|ns| ns as f64 / ceiling)
                .collect();
            delays.sort_by(f64::total_cmp);
            let distance = delays
                .iter()
                .enumerate()
                .map(|(index, value)| {
                    let (before, after) = (index as f64, index as f64 + 1.0);
                    (value - before / DRAWS as f64).abs().max((after / DRAWS as f64 - value).abs())
                })
                .fold(0.0, f64::max);
            let bound = ((2.0f64 / 1e-7).ln() / (2.0 * DRAWS as f64)).sqrt();
            // The pause of 1 ms moves a thousandth of the values of the shortest delay.
            prop_assert!(distance < bound + 0.001, "{distance} exceeds {bound}");
        }

        #[test]
        fn any_head_is_read_without_a_fault(head in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Some(wait) = retry_after_ms(&head) {
                prop_assert!(wait <= RETRY_AFTER_MAX_MS);
            }
        }

        #[test]
        fn any_text_is_read_or_refused_with_a_sentence(text in ".{0,40}") {
            if let Err(error) = Reconnect::parse(&text) {
                prop_assert!(error.len() > 10);
            }
        }
    }
}
