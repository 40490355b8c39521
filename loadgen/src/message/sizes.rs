//! How large each message is: a number, a distribution, or the lines of a file.
//!
//! A size is a pure function of (connection, sequence) like the payload itself, so that a reply's
//! length can be checked without remembering what was sent. Knows no message.

use std::sync::Arc;

use crate::quantity::parse_size;

/// Largest payload of a message.
pub const MESSAGE_SIZE_MAX: u64 = 64 * 1024 * 1024;
/// Where `lognormal` and `pareto`, which have no largest value, are cut when nothing is said.
const TAIL_SIZE_MAX: u64 = 1024 * 1024;
/// Most lines of a file of sizes.
const LINES_MAX: usize = 10_000_000;
/// Sizes that are looked at for the mean of a distribution.
const SAMPLES: u64 = 65_536;

/// `--size`.
#[derive(Clone, Debug, PartialEq)]
pub enum Sizes {
    /// All messages have this many bytes.
    Fixed(usize),
    /// Any size between the two, both included, as often as any other.
    Uniform {
        /// Smallest.
        min: usize,
        /// Largest.
        max: usize,
    },
    /// The logarithm is normally distributed.
    LogNormal {
        /// Half of the messages are smaller.
        median: f64,
        /// Standard deviation of the natural logarithm.
        sigma: f64,
        /// Larger ones are cut to this.
        max: usize,
    },
    /// Few large ones: the share of messages above a size falls with its power.
    Pareto {
        /// Smallest.
        min: f64,
        /// The power: the smaller, the heavier the tail.
        alpha: f64,
        /// Larger ones are cut to this.
        max: usize,
    },
    /// In this order, over and over; every connection begins elsewhere. Never empty.
    Listed(Arc<[u32]>),
}

impl Sizes {
    /// Reads `64`, `uniform:64:512`, `lognormal:MEDIAN:SIGMA[:MAX]`, `pareto:MIN:ALPHA[:MAX]` or
    /// `file:FILE` (one size a line).
    ///
    /// # Errors
    /// One sentence with cause and cure.
    pub fn parse(text: &str) -> Result<Sizes, String> {
        let Some((shape, rest)) = text.split_once(':') else {
            return size(text).map(Sizes::Fixed);
        };
        if shape == "file" {
            return read_file(rest);
        }
        let fields: Vec<&str> = rest.split(':').collect();
        match (shape, fields.as_slice()) {
            ("uniform", [min, max]) => {
                let (min, max) = (size(min)?, size(max)?);
                if min > max {
                    return Err(format!("'{text}': the smallest size comes first"));
                }
                Ok(Sizes::Uniform { min, max })
            }
            ("lognormal", [median, sigma, rest @ ..]) if rest.len() <= 1 => {
                let median = size(median)?.max(1);
                Ok(Sizes::LogNormal {
                    median: median as f64,
                    sigma: number(sigma, 0.0, 10.0, "the SIGMA of lognormal:MEDIAN:SIGMA")?,
                    max: tail_max(rest.first(), median)?,
                })
            }
            ("pareto", [min, alpha, rest @ ..]) if rest.len() <= 1 => {
                let min = size(min)?.max(1);
                Ok(Sizes::Pareto {
                    min: min as f64,
                    alpha: number(alpha, 0.1, 100.0, "the ALPHA of pareto:MIN:ALPHA")?,
                    max: tail_max(rest.first(), min)?,
                })
            }
            _ => Err(format!(
                "'{text}' is not a size; write 64, 16KiB, uniform:64:512, lognormal:200:0.8, \
                 pareto:100:1.5 or file:sizes.txt"
            )),
        }
    }

    /// Bytes of a message.
    #[inline]
    pub fn of(&self, seed: u64, connection: u32, sequence: u64) -> usize {
        match self {
            Sizes::Fixed(size) => *size,
            Sizes::Uniform { min, max } => {
                let span = (max - min) as u128 + 1;
                let drawn = u128::from(draw(seed, connection, sequence)) * span;
                min + (drawn >> 64) as usize
            }
            Sizes::LogNormal { median, sigma, max } => {
                let normal = standard_normal(draw(seed, connection, sequence));
                cut(median * (sigma * normal).exp(), *max)
            }
            Sizes::Pareto { min, alpha, max } => {
                let share = unit(draw(seed, connection, sequence));
                cut(min * share.powf(-1.0 / alpha), *max)
            }
            Sizes::Listed(sizes) => {
                // Connections begin at places that have nothing to do with their numbers.
                let begin = draw(seed, connection, u64::MAX) % sizes.len().max(1) as u64;
                let place = (begin + sequence % sizes.len().max(1) as u64) as usize;
                let place = place % sizes.len().max(1);
                sizes.get(place).map_or(0, |size| *size as usize)
            }
        }
    }

    /// As `--size` takes them; of a file only that there was one.
    pub fn describe(&self) -> String {
        match self {
            Sizes::Fixed(size) => size.to_string(),
            Sizes::Uniform { min, max } => format!("uniform:{min}:{max}"),
            Sizes::LogNormal { median, sigma, max } => format!("lognormal:{median}:{sigma}:{max}"),
            Sizes::Pareto { min, alpha, max } => format!("pareto:{min}:{alpha}:{max}"),
            Sizes::Listed(sizes) => format!("file of {} sizes", sizes.len()),
        }
    }

    /// The largest that can occur.
    pub fn max(&self) -> usize {
        match self {
            Sizes::Fixed(max)
            | Sizes::Uniform { max, .. }
            | Sizes::LogNormal { max, .. }
            | Sizes::Pareto { max, .. } => *max,
            Sizes::Listed(sizes) => sizes.iter().copied().max().unwrap_or(0) as usize,
        }
    }

    /// The mean, in bytes; of `lognormal` and `pareto` that of a large sample.
    pub fn mean(&self) -> f64 {
        match self {
            Sizes::Fixed(size) => *size as f64,
            Sizes::Uniform { min, max } => (min + max) as f64 / 2.0,
            Sizes::Listed(sizes) => {
                let sum: f64 = sizes.iter().map(|size| f64::from(*size)).sum();
                sum / sizes.len().max(1) as f64
            }
            Sizes::LogNormal { .. } | Sizes::Pareto { .. } => {
                let sum: f64 = (0..SAMPLES)
                    .map(|number| self.of(0, 0, number) as f64)
                    .sum();
                sum / SAMPLES as f64
            }
        }
    }
}

fn size(text: &str) -> Result<usize, String> {
    match parse_size(text)? {
        size @ 0..=MESSAGE_SIZE_MAX => Ok(size as usize),
        _ => Err("--size must be at most 64MiB".into()),
    }
}

fn number(text: &str, min: f64, max: f64, name: &str) -> Result<f64, String> {
    let number = text.parse().ok();
    number
        .filter(|number| (min..=max).contains(number))
        .ok_or_else(|| format!("{name} must be a number between {min} and {max}, not '{text}'"))
}

fn tail_max(text: Option<&&str>, least: usize) -> Result<usize, String> {
    let max = match text {
        Some(text) => size(text)?,
        None => (TAIL_SIZE_MAX as usize).max(least),
    };
    if max < least {
        return Err("the largest size is below the MEDIAN or MIN of the distribution".into());
    }
    Ok(max)
}

fn read_file(path: &str) -> Result<Sizes, String> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("cannot read the sizes in '{path}': {error}"))?;
    let mut sizes = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let size = size(line).map_err(|error| format!("{path}, line {}: {error}", number + 1))?;
        // At most 64 MiB, checked just above.
        sizes.push(size as u32);
        if sizes.len() > LINES_MAX {
            return Err(format!("'{path}' has more than 10,000,000 sizes"));
        }
    }
    if sizes.is_empty() {
        return Err(format!(
            "'{path}' has no sizes; write one a line, such as 64 or 16KiB"
        ));
    }
    Ok(Sizes::Listed(sizes.into()))
}

/// Sixty-four bits that look random and belong to one message: two rounds of a well-known mixing
/// function (the finalizer of SplitMix64).
fn draw(seed: u64, connection: u32, sequence: u64) -> u64 {
    let mixed = mix(seed ^ (u64::from(connection) << 32));
    mix(mixed ^ sequence)
}

fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// Between 0 and 1, never 0.
fn unit(bits: u64) -> f64 {
    ((bits >> 11) + 1) as f64 / (1_u64 << 53) as f64
}

/// By the method of Box and Muller, from two numbers that are made of one.
fn standard_normal(bits: u64) -> f64 {
    let (radius, angle) = (unit(bits), unit(mix(bits)));
    (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
}

fn cut(size: f64, max: usize) -> usize {
    // A float that is too large becomes the largest integer, which is cut too.
    (size.round() as usize).min(max)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sizes(text: &str) -> Sizes {
        Sizes::parse(text).expect(text)
    }

    fn sample(text: &str) -> Vec<usize> {
        let sizes = sizes(text);
        let mut sample: Vec<usize> = (0..100_000).map(|number| sizes.of(7, 3, number)).collect();
        sample.sort_unstable();
        assert!(sample.last().is_some_and(|largest| *largest <= sizes.max()));
        sample
    }

    /// The share of a sample at or below a size must be what theory says, to within 1 %.
    fn share_below(sample: &[usize], size: usize, expected: f64) {
        let share = sample.partition_point(|drawn| *drawn <= size) as f64 / sample.len() as f64;
        assert!(
            (share - expected).abs() < 0.01,
            "{share} at or below {size}, not {expected}"
        );
    }

    #[test]
    fn distributions_have_the_shapes_they_are_named_for() {
        let uniform = sample("uniform:64:163");
        assert_eq!((uniform[0], uniform[uniform.len() - 1]), (64, 163));
        share_below(&uniform, 88, 0.25);
        share_below(&uniform, 138, 0.75);

        let lognormal = sample("lognormal:2000:0.8");
        share_below(&lognormal, 2_000, 0.5);
        share_below(&lognormal, (2_000.0 * 0.8_f64.exp()) as usize, 0.841_3);
        share_below(&lognormal, (2_000.0 * (-1.6_f64).exp()) as usize, 0.022_8);

        let pareto = sample("pareto:1000:1.5:100k");
        assert!(pareto[0] >= 1_000 && pareto[pareto.len() - 1] == 100_000);
        share_below(&pareto, 2_000, 1.0 - 0.5_f64.powf(1.5));
        share_below(&pareto, 10_000, 1.0 - 0.1_f64.powf(1.5));
    }

    #[test]
    fn means_are_those_of_theory() {
        let near = |text: &str, expected: f64| {
            let mean = sizes(text).mean();
            assert!(
                (mean / expected - 1.0).abs() < 0.02,
                "{text}: {mean}, not {expected}"
            );
        };
        near("64", 64.0);
        near("uniform:100:300", 200.0);
        near("lognormal:1000:0.5", 1_000.0 * 0.125_f64.exp());
        near("pareto:1000:3", 1_500.0);
    }

    #[test]
    fn nonsense_is_refused() {
        for wrong in [
            "",
            "x",
            "65MiB",
            "uniform:5",
            "uniform:9:5",
            "uniform:1:2:3",
            "lognormal:5",
            "lognormal:5:x",
            "lognormal:5:-1",
            "lognormal:50:1:40",
            "pareto:5:0",
            "pareto:5:inf",
            "normal:5:1",
            "file:/nonexistent/sizes",
        ] {
            assert!(Sizes::parse(wrong).is_err(), "{wrong:?} must be refused");
        }
    }

    #[test]
    fn the_lines_of_a_file_are_used_in_order() {
        let path = std::env::temp_dir().join(format!("sizes-{}.txt", std::process::id()));
        std::fs::write(&path, "# recorded\n10\n\n2KiB\n30\n").expect("a temporary file");
        let sizes = sizes(&format!("file:{}", path.display()));
        assert_eq!(sizes, Sizes::Listed([10, 2_048, 30].into()));
        let first: Vec<usize> = (0..6).map(|number| sizes.of(1, 4, number)).collect();
        assert_eq!(first[..3], first[3..]);
        let begin = [10, 2_048, 30].iter().position(|size| *size == first[0]);
        let begin = begin.expect("one of the lines");
        assert_eq!(first[1], [2_048, 30, 10][begin]);
        std::fs::remove_file(&path).expect("written above");
    }

    proptest! {
        #[test]
        fn a_size_depends_on_nothing_else(seed: u64, connection: u32, sequence: u64) {
            for text in ["uniform:0:100", "lognormal:50:3", "pareto:1:0.1"] {
                let sizes = sizes(text);
                let size = sizes.of(seed, connection, sequence);
                prop_assert_eq!(size, sizes.of(seed, connection, sequence));
                prop_assert!(size <= sizes.max());
            }
        }
    }
}
