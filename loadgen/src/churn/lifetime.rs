//! How long a client keeps its connection: the words of `--lifetime` and the draws from them.
//!
//! Pure arithmetic over a generator that is passed in. Knows no clock and no connection.

use std::fmt;

use crate::quantity::{format_ns, parse_duration_ns};

/// Shorter lives than this are a connection storm: the command `storm` measures those.
pub const LIFETIME_MIN_NS: u64 = 1_000_000;
/// A life longer than this does not end in any run (some 31 years).
const LIFETIME_MAX_NS: f64 = 1e18;
/// Largest spread of a lognormal lifetime: beyond it the mean is decided by one life in a million.
const SIGMA_MAX: f64 = 4.0;

/// A distribution of lifetimes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Lifetime {
    /// Until the server or the run ends it.
    Forever,
    /// Exactly so long.
    Constant {
        /// The life, in nanoseconds.
        ns: u64,
    },
    /// Exponential: who has stayed long leaves no sooner than who has just come.
    Exponential {
        /// Mean life, in nanoseconds.
        mean_ns: f64,
    },
    /// Every life between two bounds is as likely.
    Uniform {
        /// Shortest life, in nanoseconds.
        low_ns: f64,
        /// Longest life, in nanoseconds.
        high_ns: f64,
    },
    /// Many short lives and a few very long ones, as of people.
    Lognormal {
        /// Half of all lives are shorter, in nanoseconds.
        median_ns: f64,
        /// Standard deviation of the logarithm.
        sigma: f64,
    },
}

impl Lifetime {
    /// Reads `30s`, `exp:30s`, `uniform:10s:60s`, `lognormal:30s:1.0` or `forever`.
    ///
    /// # Errors
    /// One sentence with cause and cure.
    pub fn parse(text: &str) -> Result<Lifetime, String> {
        if text == "forever" {
            return Ok(Lifetime::Forever);
        }
        let Some((name, rest)) = text.split_once(':') else {
            return Ok(Lifetime::Constant { ns: life(text)? });
        };
        match name {
            "exp" | "exponential" => Ok(Lifetime::Exponential {
                mean_ns: life(rest)? as f64,
            }),
            "uniform" => {
                let (low, high) = pair(rest, "uniform:10s:60s")?;
                let (low, high) = (life(low)?, life(high)?);
                if low > high {
                    return Err(format!("'{text}' runs backwards; write uniform:LOW:HIGH"));
                }
                Ok(Lifetime::Uniform {
                    low_ns: low as f64,
                    high_ns: high as f64,
                })
            }
            "lognormal" => {
                let (median, sigma) = pair(rest, "lognormal:30s:1.0")?;
                let sigma: f64 = sigma
                    .parse()
                    .ok()
                    .filter(|sigma| (0.0..=SIGMA_MAX).contains(sigma))
                    .ok_or_else(|| {
                        format!("'{sigma}' is not a spread between 0 and {SIGMA_MAX}; 1.0 is usual")
                    })?;
                Ok(Lifetime::Lognormal {
                    median_ns: life(median)? as f64,
                    sigma,
                })
            }
            _ => Err(format!(
                "'{name}' is not a distribution; write 30s, exp:30s, uniform:10s:60s, \
                 lognormal:30s:1.0 or forever"
            )),
        }
    }

    /// The mean life in nanoseconds; `None` for one that does not end.
    pub fn mean_ns(self) -> Option<f64> {
        match self {
            Lifetime::Forever => None,
            Lifetime::Constant { ns } => Some(ns as f64),
            Lifetime::Exponential { mean_ns } => Some(mean_ns),
            Lifetime::Uniform { low_ns, high_ns } => Some(f64::midpoint(low_ns, high_ns)),
            Lifetime::Lognormal { median_ns, sigma } => {
                Some(median_ns * (sigma * sigma / 2.0).exp())
            }
        }
    }

    /// A whole life, for a connection that has just been opened. `None`: it does not end.
    pub fn draw_ns(self, random: &mut fastrand::Rng) -> Option<u64> {
        let ns = match self {
            Lifetime::Forever => return None,
            Lifetime::Constant { ns } => ns as f64,
            Lifetime::Exponential { mean_ns } => mean_ns * exponential(random),
            Lifetime::Uniform { low_ns, high_ns } => low_ns + (high_ns - low_ns) * random.f64(),
            Lifetime::Lognormal { median_ns, sigma } => median_ns * (sigma * normal(random)).exp(),
        };
        Some(bounded(ns))
    }

    /// What is left of the life of a connection that is met at a random moment.
    ///
    /// The connections of the beginning get this instead of a whole life: departures then come at
    /// an even rate from the first second on, where whole lives would make all of them leave
    /// together, and together again. A moment falls into a long life more often than into a short
    /// one, so the life is drawn in proportion to its length, and the moment evenly inside it.
    pub fn draw_rest_ns(self, random: &mut fastrand::Rng) -> Option<u64> {
        let life_ns = match self {
            Lifetime::Forever => return None,
            Lifetime::Constant { ns } => ns as f64,
            // It has no memory: what is left is distributed like the whole.
            Lifetime::Exponential { .. } => return self.draw_ns(random),
            Lifetime::Uniform { low_ns, high_ns } => {
                let (low, high) = (low_ns * low_ns, high_ns * high_ns);
                (low + (high - low) * random.f64()).sqrt()
            }
            Lifetime::Lognormal { median_ns, sigma } => {
                median_ns * (sigma * normal(random) + sigma * sigma).exp()
            }
        };
        Some(bounded(life_ns * random.f64()))
    }
}

impl fmt::Display for Lifetime {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = |ns: f64| format_ns(ns as u64);
        match self {
            Lifetime::Forever => out.write_str("forever"),
            Lifetime::Constant { ns } => write!(out, "{}", format_ns(*ns)),
            Lifetime::Exponential { mean_ns } => write!(out, "exp:{}", time(*mean_ns)),
            Lifetime::Uniform { low_ns, high_ns } => {
                write!(out, "uniform:{}:{}", time(*low_ns), time(*high_ns))
            }
            Lifetime::Lognormal { median_ns, sigma } => {
                write!(out, "lognormal:{}:{sigma}", time(*median_ns))
            }
        }
    }
}

fn life(text: &str) -> Result<u64, String> {
    let ns = parse_duration_ns(text)?;
    if ns < LIFETIME_MIN_NS {
        return Err(format!(
            "'{text}' is shorter than 1ms; the command storm measures connections that end at once"
        ));
    }
    Ok(ns)
}

fn pair<'a>(text: &'a str, example: &str) -> Result<(&'a str, &'a str), String> {
    text.split_once(':')
        .ok_or_else(|| format!("'{text}' lacks its second value; write for example {example}"))
}

/// Mean 1. The generator's value is below 1, so the logarithm is finite.
fn exponential(random: &mut fastrand::Rng) -> f64 {
    -(1.0 - random.f64()).ln()
}

/// Mean 0, standard deviation 1 (Box and Muller).
fn normal(random: &mut fastrand::Rng) -> f64 {
    let radius = (2.0 * exponential(random)).sqrt();
    radius * (std::f64::consts::TAU * random.f64()).cos()
}

fn bounded(ns: f64) -> u64 {
    ns.clamp(0.0, LIFETIME_MAX_NS) as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DRAWS: usize = 20_000;

    fn lifetimes() -> impl Strategy<Value = Lifetime> {
        let life = || 1_000_000u64..600_000_000_000;
        prop_oneof![
            life().prop_map(|ns| Lifetime::Constant { ns }),
            life().prop_map(|ns| Lifetime::Exponential { mean_ns: ns as f64 }),
            (life(), life()).prop_map(|(one, other)| Lifetime::Uniform {
                low_ns: one.min(other) as f64,
                high_ns: one.max(other) as f64,
            }),
            (life(), 0.0..1.0f64).prop_map(|(median, sigma)| Lifetime::Lognormal {
                median_ns: median as f64,
                sigma,
            }),
        ]
    }

    /// Mean and standard error of `DRAWS` draws.
    fn measured(draw: impl FnMut(&mut fastrand::Rng) -> Option<u64>, seed: u64) -> (f64, f64) {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut draw = draw;
        let values: Vec<f64> = (0..DRAWS)
            .filter_map(|_| draw(&mut random))
            .map(|ns| ns as f64)
            .collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let deviation = (squares / (values.len() - 1) as f64).sqrt();
        (mean, deviation / (values.len() as f64).sqrt())
    }

    /// Second moment over twice the mean: what renewal theory says is left of a life.
    fn mean_rest_ns(lifetime: Lifetime) -> f64 {
        match lifetime {
            Lifetime::Forever => unreachable!("it has no rest"),
            Lifetime::Constant { ns } => ns as f64 / 2.0,
            Lifetime::Exponential { mean_ns } => mean_ns,
            Lifetime::Uniform { low_ns, high_ns } => {
                let square = (low_ns * low_ns + low_ns * high_ns + high_ns * high_ns) / 3.0;
                square / (low_ns + high_ns)
            }
            Lifetime::Lognormal { median_ns, sigma } => {
                median_ns * (1.5 * sigma * sigma).exp() / 2.0
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn means_are_those_of_the_theory(lifetime in lifetimes(), seed: u64) {
            let (mean, error) = measured(|random| lifetime.draw_ns(random), seed);
            let theory = lifetime.mean_ns().expect("it ends");
            // Six standard errors: one case in half a thousand million is further off by chance.
            prop_assert!((mean - theory).abs() <= 6.0 * error + 1.0, "{mean} is not {theory}");

            let (mean, error) = measured(|random| lifetime.draw_rest_ns(random), seed);
            let theory = mean_rest_ns(lifetime);
            // The tail of a length-biased lognormal is heavy: its own error is underestimated.
            let slack = if matches!(lifetime, Lifetime::Lognormal { .. }) { theory / 20.0 } else { 1.0 };
            prop_assert!((mean - theory).abs() <= 6.0 * error + slack, "rest {mean} is not {theory}");
        }

        #[test]
        fn bounds_hold(low in 1_000_000u64..1_000_000_000, span in 0u64..1_000_000_000, seed: u64) {
            let high = low + span;
            let uniform = Lifetime::Uniform { low_ns: low as f64, high_ns: high as f64 };
            let mut random = fastrand::Rng::with_seed(seed);
            for _ in 0..1_000 {
                let life = uniform.draw_ns(&mut random).expect("it ends");
                prop_assert!((low..=high).contains(&life));
                prop_assert!(uniform.draw_rest_ns(&mut random).expect("it ends") <= high);
                let constant = Lifetime::Constant { ns: low };
                prop_assert_eq!(constant.draw_ns(&mut random), Some(low));
                prop_assert!(constant.draw_rest_ns(&mut random).expect("it ends") <= low);
            }
        }

        #[test]
        fn any_text_is_read_or_refused_with_a_sentence(text in ".{0,40}") {
            if let Err(error) = Lifetime::parse(&text) {
                prop_assert!(error.len() > 10);
            }
        }
    }

    #[test]
    fn the_words() {
        assert_eq!(Lifetime::parse("forever"), Ok(Lifetime::Forever));
        assert_eq!(
            Lifetime::parse("30s"),
            Ok(Lifetime::Constant { ns: 30_000_000_000 })
        );
        assert_eq!(
            Lifetime::parse("exp:500ms"),
            Ok(Lifetime::Exponential { mean_ns: 5e8 })
        );
        assert_eq!(
            Lifetime::parse("uniform:10s:60s"),
            Ok(Lifetime::Uniform {
                low_ns: 1e10,
                high_ns: 6e10
            })
        );
        assert_eq!(
            Lifetime::parse("lognormal:30s:1.5"),
            Ok(Lifetime::Lognormal {
                median_ns: 3e10,
                sigma: 1.5
            })
        );
        assert_eq!(Lifetime::Forever.draw_ns(&mut fastrand::Rng::new()), None);
        assert_eq!(
            Lifetime::Forever.draw_rest_ns(&mut fastrand::Rng::new()),
            None
        );
    }

    #[test]
    fn nonsense_is_refused_with_a_cure() {
        for (text, word) in [
            ("", "number"),
            ("10us", "storm"),
            ("normal:3s", "exp:30s"),
            ("uniform:3s", "uniform:10s:60s"),
            ("uniform:3s:1s", "backwards"),
            ("lognormal:3s:99", "1.0"),
            ("lognormal:3s:NaN", "1.0"),
            ("exp:3x", "unit"),
        ] {
            let error = Lifetime::parse(text).expect_err(text);
            assert!(error.contains(word), "{text}: {error}");
        }
    }

    #[test]
    fn what_is_shown_can_be_typed_in_again() {
        for text in [
            "forever",
            "exp:30.00s",
            "uniform:10.00s:60.00s",
            "lognormal:30.00s:1.5",
        ] {
            let lifetime = Lifetime::parse(text).expect("valid");
            assert_eq!(Lifetime::parse(&lifetime.to_string()), Ok(lifetime));
        }
    }
}
