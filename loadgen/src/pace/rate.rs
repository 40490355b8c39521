//! How the rate of an open loop changes over time: constant, or in linear stages.
//!
//! Pure arithmetic over the time since the load began. A curve answers two questions exactly: how
//! many messages are due by a moment (the integral of the rate), and when a given message is due
//! (its inverse). Nothing is summed up message by message, so nothing drifts.

use crate::quantity::{parse_duration_ns, parse_rate};

/// Most stages a plan may have.
const STAGES_MAX: usize = 1_000;

/// One stage of `--stage`: the rate moves linearly from where it was to `target_per_second`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stage {
    /// How long it takes to get there; 0 is a jump.
    pub length_ns: u64,
    /// Messages per second at its end.
    pub target_per_second: f64,
}

/// Reads `30s:10k,2m:50k`: within 30 s to 10,000 per second, within two further minutes to 50,000.
///
/// # Errors
/// One sentence that names the stage and shows an example.
pub fn parse_stages(text: &str) -> Result<Vec<Stage>, String> {
    let stages: Vec<Stage> = text
        .split(',')
        .map(|part| parse_stage(part.trim()))
        .collect::<Result<_, _>>()?;
    if stages.len() > STAGES_MAX {
        return Err("at most 1,000 stages can be given".into());
    }
    let length_ns: u128 = stages.iter().map(|stage| u128::from(stage.length_ns)).sum();
    if length_ns == 0 {
        return Err("the stages take no time; write for example 30s:10k,2m:50k".into());
    }
    // As much as a single duration may have.
    if length_ns > 1_000_000_000_000_000_000 {
        return Err("the stages take too long a time".into());
    }
    Ok(stages)
}

/// Stages as they can be typed in again.
pub fn describe_stages(stages: &[Stage]) -> String {
    let stages: Vec<String> = stages
        .iter()
        .map(|stage| {
            let seconds = stage.length_ns as f64 / 1e9;
            format!("{seconds}s:{}", stage.target_per_second)
        })
        .collect();
    stages.join(",")
}

fn parse_stage(text: &str) -> Result<Stage, String> {
    let Some((length, target)) = text.split_once(':') else {
        return Err(format!(
            "the stage '{text}' lacks a colon; write TIME:RATE, for example 30s:10k"
        ));
    };
    let is_zero = target.trim_end_matches("/s").parse() == Ok(0.0_f64);
    Ok(Stage {
        length_ns: parse_duration_ns(length)?,
        target_per_second: if is_zero { 0.0 } else { parse_rate(target)? },
    })
}

/// A stretch of time in which the rate is linear.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Leg {
    begins_ns: u64,
    /// Messages due before it.
    count_before: f64,
    /// Messages per second at its beginning.
    from_per_second: f64,
    /// By how many per second the rate rises in a second.
    slope: f64,
    /// The last leg has no end.
    length_ns: Option<u64>,
}

impl Leg {
    /// Messages due within its first `elapsed_ns`.
    fn count(&self, elapsed_ns: u64) -> f64 {
        let seconds = elapsed_ns as f64 / 1e9;
        (self.from_per_second + self.slope * seconds / 2.0) * seconds
    }

    /// How long after its beginning `count` messages of it are due.
    fn elapsed_ns(&self, count: f64) -> Option<f64> {
        if self.slope == 0.0 {
            return (self.from_per_second > 0.0).then(|| count * 1e9 / self.from_per_second);
        }
        if count <= 0.0 {
            return Some(0.0);
        }
        // The root of slope/2 t² + from t - count that stays exact when the slope is small. In a
        // falling leg rounding may carry the very last message past the summit of the parabola.
        let root = (self.from_per_second.powi(2) + 2.0 * self.slope * count).max(0.0);
        Some(2e9 * count / (self.from_per_second + root.sqrt()))
    }
}

/// The rate of a run over time.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// In order of time; at least one.
    legs: Vec<Leg>,
}

impl Curve {
    /// The same rate for ever.
    pub fn constant(per_second: f64) -> Curve {
        Curve::staged(per_second, &[])
    }

    /// From `from_per_second` through the stages; the last rate stays.
    pub fn staged(from_per_second: f64, stages: &[Stage]) -> Curve {
        let (mut begins_ns, mut count_before, mut rate) = (0_u64, 0.0, from_per_second);
        let mut legs = Vec::with_capacity(stages.len() + 1);
        for stage in stages {
            if stage.length_ns > 0 {
                let seconds = stage.length_ns as f64 / 1e9;
                let leg = Leg {
                    begins_ns,
                    count_before,
                    from_per_second: rate,
                    slope: (stage.target_per_second - rate) / seconds,
                    length_ns: Some(stage.length_ns),
                };
                begins_ns = begins_ns.saturating_add(stage.length_ns);
                count_before += (rate + stage.target_per_second) / 2.0 * seconds;
                legs.push(leg);
            }
            rate = stage.target_per_second;
        }
        legs.push(Leg {
            begins_ns,
            count_before,
            from_per_second: rate,
            slope: 0.0,
            length_ns: None,
        });
        Curve { legs }
    }

    /// When the message is due before which `count` others are, in nanoseconds since the load
    /// began; `None` when the rate has fallen to nothing by then.
    pub fn due_ns(&self, count: f64) -> Option<u64> {
        let after = self.legs.partition_point(|leg| leg.count_before <= count);
        let leg = self.legs.get(after.saturating_sub(1))?;
        let elapsed_ns = leg.elapsed_ns(count - leg.count_before)?;
        let elapsed_ns = match leg.length_ns {
            Some(length_ns) => (elapsed_ns as u64).min(length_ns),
            None => elapsed_ns as u64,
        };
        // f64 holds whole nanoseconds exactly up to 104 days of run time.
        Some(leg.begins_ns.saturating_add(elapsed_ns))
    }

    /// How many messages are due within the first `elapsed_ns`.
    pub fn count_by(&self, elapsed_ns: u64) -> f64 {
        self.leg_at(elapsed_ns).map_or(0.0, |leg| {
            leg.count_before + leg.count(elapsed_ns - leg.begins_ns)
        })
    }

    /// Messages per second at a moment.
    pub fn per_second_at(&self, elapsed_ns: u64) -> f64 {
        self.leg_at(elapsed_ns).map_or(0.0, |leg| {
            let seconds = (elapsed_ns - leg.begins_ns) as f64 / 1e9;
            (leg.from_per_second + leg.slope * seconds).max(0.0)
        })
    }

    /// Mean rate between two moments.
    pub fn mean_per_second(&self, from_ns: u64, until_ns: u64) -> f64 {
        let seconds = until_ns.saturating_sub(from_ns) as f64 / 1e9;
        if seconds > 0.0 {
            (self.count_by(until_ns) - self.count_by(from_ns)) / seconds
        } else {
            self.per_second_at(from_ns)
        }
    }

    fn leg_at(&self, elapsed_ns: u64) -> Option<&Leg> {
        let after = self.legs.partition_point(|leg| leg.begins_ns <= elapsed_ns);
        self.legs.get(after.saturating_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn stages_are_read_as_k6_writes_them() {
        let stages = parse_stages("30s:10k, 2m:50k,0s:0").expect("valid");
        let expected = [(30 * SECOND, 10_000.0), (120 * SECOND, 50_000.0), (0, 0.0)];
        for (stage, (length_ns, target_per_second)) in stages.iter().zip(expected) {
            assert_eq!(
                (stage.length_ns, stage.target_per_second),
                (length_ns, target_per_second)
            );
        }
        assert_eq!(describe_stages(&stages), "30s:10000,120s:50000,0s:0");
        assert_eq!(parse_stages(&describe_stages(&stages)), Ok(stages));
        for wrong in ["", "30s", "30s:x", "x:5", "0s:5", "30s:5,", "1h:2g"] {
            assert!(parse_stages(wrong).is_err(), "{wrong:?} must be refused");
        }
    }

    #[test]
    fn a_ramp_is_half_as_many_messages() {
        let stages = parse_stages("10s:1000,10s:1000").expect("valid");
        let curve = Curve::staged(0.0, &stages);
        assert_eq!(curve.count_by(10 * SECOND), 5_000.0);
        assert_eq!(curve.count_by(20 * SECOND), 15_000.0);
        assert_eq!(curve.count_by(30 * SECOND), 25_000.0, "the last rate stays");
        // A quarter of the ramp's messages are due in its first half.
        assert_eq!(curve.due_ns(1_250.0), Some(5 * SECOND));
        assert_eq!(curve.due_ns(5_000.0), Some(10 * SECOND));
        assert_eq!(curve.per_second_at(5 * SECOND), 500.0);
        assert_eq!(curve.mean_per_second(0, 20 * SECOND), 750.0);
    }

    #[test]
    fn a_rate_of_nothing_waits_for_the_next_stage() {
        let stages = parse_stages("5s:0,0s:100,1s:100,1s:0").expect("valid");
        let curve = Curve::staged(0.0, &stages);
        assert_eq!(curve.due_ns(0.0), Some(5 * SECOND));
        assert_eq!(curve.due_ns(100.0), Some(6 * SECOND));
        assert!(curve.due_ns(149.9).expect("before the end") < 7 * SECOND);
        assert_eq!(curve.due_ns(150.0), None);
        assert_eq!(curve.count_by(u64::MAX), 150.0);
    }

    fn stages() -> impl Strategy<Value = Vec<Stage>> {
        let stage =
            (0..100 * SECOND, 0.0..1e6_f64).prop_map(|(length_ns, target_per_second)| Stage {
                length_ns,
                target_per_second,
            });
        prop::collection::vec(stage, 0..6)
    }

    proptest! {
        /// Due times never run backwards, and what is due by them is what was asked for.
        #[test]
        fn the_integral_and_its_inverse_agree(
            from in 0.0..1e6_f64,
            stages in stages(),
            counts in prop::collection::vec(0.0..1e8_f64, 1..50),
        ) {
            let curve = Curve::staged(from, &stages);
            let mut counts: Vec<f64> = counts.into_iter().map(f64::floor).collect();
            counts.sort_unstable_by(f64::total_cmp);
            let mut last_ns = 0;
            for count in counts {
                let Some(due_ns) = curve.due_ns(count) else {
                    prop_assert!(curve.count_by(u64::MAX) <= count);
                    continue;
                };
                prop_assert!(due_ns >= last_ns, "{count} is due before the one before it");
                last_ns = due_ns;
                // A nanosecond of the rate at hand, and the rounding of large numbers.
                let tolerance = (curve.per_second_at(due_ns) + 1.0) * 2e-9 + count * 1e-9 + 1e-6;
                let error = (curve.count_by(due_ns) - count).abs();
                prop_assert!(error <= tolerance, "{count}: {error} > {tolerance}");
            }
        }

        /// The parts of a plan add up to the mean of the whole.
        #[test]
        fn means_are_weighted_sums(from in 0.0..1e6_f64, stages in stages(), cut in 0.0..1.0_f64) {
            let curve = Curve::staged(from, &stages);
            let whole_ns = 300 * SECOND;
            let cut_ns = (cut * whole_ns as f64) as u64;
            let left = curve.mean_per_second(0, cut_ns) * cut_ns as f64;
            let right = curve.mean_per_second(cut_ns, whole_ns) * (whole_ns - cut_ns) as f64;
            let whole = curve.mean_per_second(0, whole_ns) * whole_ns as f64;
            prop_assert!((left + right - whole).abs() <= whole * 1e-9 + 1.0);
        }
    }
}
