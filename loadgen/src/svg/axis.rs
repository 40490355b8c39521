//! Axes: where a value lies, which ticks there are, and how they are written.

/// How values are spread over an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Evenly.
    Linear,
    /// By their logarithm; what is not above zero lies at the lower end.
    Log,
    /// Quantiles by 1/(1-q): 0.9, 0.99 and 0.999 lie at equal distances.
    Nines,
}

/// What the values of an axis are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Latencies in nanoseconds.
    Nanoseconds,
    /// Time since the load began, in seconds.
    Seconds,
    /// Things.
    Count,
    /// Bytes.
    Bytes,
    /// A share of one, written in percent.
    Share,
    /// A quantile from 0 to 1, written in percent.
    Quantile,
    /// A plain number.
    Plain,
}

/// The best quantile that an axis of nines goes to: 99.99999 %.
const NINES_MAX: f64 = 7.0;

/// A horizontal or vertical axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    /// What is drawn, with its unit where ticks do not show it.
    pub label: String,
    /// How values are spread.
    pub scale: Scale,
    /// How ticks are written.
    pub unit: Unit,
    /// Value at the lower end.
    pub min: f64,
    /// Value at the upper end, above `min`.
    pub max: f64,
}

/// A mark of an axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Tick {
    /// Where, from 0 to 1.
    pub position: f64,
    /// What is written there.
    pub text: String,
}

impl Axis {
    /// An axis that holds all values and ends at round numbers. A linear one begins at zero.
    pub fn around(
        label: &str,
        scale: Scale,
        unit: Unit,
        values: impl Iterator<Item = f64>,
    ) -> Axis {
        let is_usable = |value: &f64| value.is_finite() && (scale != Scale::Log || *value > 0.0);
        let (mut min, mut max) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.filter(is_usable) {
            min = min.min(value);
            max = max.max(value);
        }
        let (min, max) = match scale {
            _ if !min.is_finite() => (fallback_min(scale), 1.0),
            Scale::Linear => linear_range(min, max, unit),
            Scale::Log => log_range(min, max),
            Scale::Nines => (0.0, max.clamp(0.9, 1.0 - 10f64.powf(-NINES_MAX))),
        };
        Axis {
            label: label.to_owned(),
            scale,
            unit,
            min,
            max,
        }
    }

    /// An axis from one value to another, ends as given.
    pub fn from_to(label: &str, scale: Scale, unit: Unit, min: f64, max: f64) -> Axis {
        let max = if max > min { max } else { min + 1.0 };
        Axis {
            label: label.to_owned(),
            scale,
            unit,
            min,
            max,
        }
    }

    /// Where a value lies, 0 at the lower and 1 at the upper end; values outside lie at the ends.
    pub fn position(&self, value: f64) -> f64 {
        let stretch = |value: f64| match self.scale {
            Scale::Linear => value,
            Scale::Log => value.max(f64::MIN_POSITIVE).log10(),
            Scale::Nines => -(1.0 - value).max(10f64.powf(-NINES_MAX)).log10(),
        };
        let (low, high) = (stretch(self.min), stretch(self.max));
        let position = (stretch(value) - low) / (high - low);
        if position.is_finite() {
            position.clamp(0.0, 1.0)
        } else {
            0.0
        }
    }

    /// About `most` ticks at round values.
    pub fn ticks(&self, most: usize) -> Vec<Tick> {
        let values = match self.scale {
            Scale::Linear => self.linear_ticks(most),
            Scale::Log => self.log_ticks(most),
            Scale::Nines => self.nines_ticks(),
        };
        let step = values
            .windows(2)
            .map(|pair| pair[1] - pair[0])
            .fold(f64::INFINITY, f64::min);
        values
            .into_iter()
            .map(|value| Tick {
                position: self.position(value),
                text: self.unit.write(value, step),
            })
            .collect()
    }

    fn linear_ticks(&self, most: usize) -> Vec<f64> {
        let step = round_step((self.max - self.min) / most.max(1) as f64, self.unit);
        let first = (self.min / step).ceil() as i64;
        let last = (self.max / step + 1e-9).floor() as i64;
        // Both are small: `round_step` is of the order of the range.
        (first..=last.min(first + 64))
            .map(|number| number as f64 * step)
            .collect()
    }

    fn log_ticks(&self, most: usize) -> Vec<f64> {
        let decades = (self.max / self.min).log10();
        let stride = (decades / most.max(1) as f64).ceil().max(1.0) as usize;
        let fine = self.log_values(&[1.0, 2.0, 5.0], 1);
        let coarse = self.log_values(&[1.0], stride);
        // An axis that ends between powers of ten may hold no more than one of them.
        if fine.len() <= most || coarse.len() < 2 {
            fine
        } else {
            coarse
        }
    }

    fn log_values(&self, factors: &[f64], stride: usize) -> Vec<f64> {
        let is_inside =
            |value: &f64| *value >= self.min * 0.999_999 && *value <= self.max * 1.000_001;
        // Powers of ten are counted from the first one inside: one before it would use up a stride.
        let first = match self.min.log10().floor() as i32 {
            below if stride > 1 && !is_inside(&10f64.powi(below)) => below + 1,
            first => first,
        };
        let last = self.max.log10().ceil() as i32;
        let exponents = (first..=last).step_by(stride);
        exponents
            .flat_map(|exponent| {
                factors
                    .iter()
                    .map(move |factor| factor * 10f64.powi(exponent))
            })
            .filter(is_inside)
            .collect()
    }

    fn nines_ticks(&self) -> Vec<f64> {
        let mut values = vec![0.0, 0.5];
        values.extend((1..=NINES_MAX as i32).map(|nines| 1.0 - 10f64.powi(-nines)));
        values.retain(|value| *value <= self.max + 1e-12);
        values
    }
}

fn fallback_min(scale: Scale) -> f64 {
    if scale == Scale::Log { 0.1 } else { 0.0 }
}

fn linear_range(min: f64, max: f64, unit: Unit) -> (f64, f64) {
    let top = max.max(0.0);
    let top = if top > 0.0 { top } else { 1.0 };
    let step = round_step(top / 5.0, unit);
    let bottom = if min < 0.0 {
        (min / step).floor() * step
    } else {
        0.0
    };
    (bottom, (top / step - 1e-9).ceil() * step)
}

/// Ends at 1, 2 or 5 times a power of ten, at least a factor of ten apart.
fn log_range(min: f64, max: f64) -> (f64, f64) {
    let low = round_log(min, false);
    let high = round_log(max, true);
    if high / low < 9.99 {
        let low = round_log((low * high).sqrt() / 3.5, false);
        (low, (low * 10.0).max(high))
    } else {
        (low, high)
    }
}

fn round_log(value: f64, is_up: bool) -> f64 {
    let power = 10f64.powf(value.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0];
    let found = if is_up {
        steps
            .iter()
            .find(|step| power * **step >= value * 0.999_999)
    } else {
        let mut down = steps.iter().rev();
        down.find(|step| power * **step <= value * 1.000_001)
    };
    power * found.copied().unwrap_or(1.0)
}

/// The next step at or above `least` that people count in.
fn round_step(least: f64, unit: Unit) -> f64 {
    let least = if least.is_finite() && least > 0.0 {
        least
    } else {
        1.0
    };
    if unit == Unit::Seconds && least > 5.0 {
        let steps = [10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1_800.0];
        let hours = || (least / 3_600.0).ceil() * 3_600.0;
        return steps
            .into_iter()
            .find(|step| *step >= least)
            .unwrap_or_else(hours);
    }
    if unit == Unit::Bytes && least > 1.0 {
        return 2f64.powf(least.log2().ceil());
    }
    let power = 10f64.powf(least.log10().floor());
    // Quarters of a second are not what people count in.
    let has_quarters = unit != Unit::Seconds;
    let steps = [1.0, 2.0, 2.5, 5.0, 10.0];
    let found = steps
        .into_iter()
        .filter(|step| has_quarters || *step != 2.5)
        .find(|step| power * step >= least * 0.999_999);
    let step = power * found.unwrap_or(10.0);
    // Half a connection does not exist.
    if unit == Unit::Count {
        step.max(1.0)
    } else {
        step
    }
}

impl Unit {
    /// A value of an axis whose ticks are `step` apart.
    fn write(self, value: f64, step: f64) -> String {
        match self {
            Unit::Nanoseconds => nanoseconds(value),
            Unit::Seconds => seconds(value),
            Unit::Count | Unit::Plain => with_prefix(value, step),
            Unit::Bytes => bytes(value),
            Unit::Share => format!("{}%", short(value * 100.0, 3)),
            Unit::Quantile => quantile(value),
        }
    }
}

/// A number without the zeros at its end.
fn short(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    if !text.contains('.') {
        return text;
    }
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0" } else { text }.to_owned()
}

fn nanoseconds(value: f64) -> String {
    match value {
        _ if value <= 0.0 => "0".to_owned(),
        _ if value < 999.5 => format!("{} ns", short(value, 1)),
        _ if value < 999_500.0 => format!("{} µs", short(value / 1e3, 1)),
        _ if value < 999_500_000.0 => format!("{} ms", short(value / 1e6, 1)),
        _ => format!("{} s", short(value / 1e9, 1)),
    }
}

fn seconds(value: f64) -> String {
    if value >= 3_600.0 && (value / 3_600.0).fract().abs() < 1e-9 {
        format!("{} h", short(value / 3_600.0, 0))
    } else if value >= 120.0 && (value / 60.0).fract().abs() < 1e-9 {
        format!("{} min", short(value / 60.0, 0))
    } else {
        format!("{} s", short(value, 3))
    }
}

fn with_prefix(value: f64, step: f64) -> String {
    let size = value.abs();
    let decimals = if step.is_finite() && step < 0.01 {
        4
    } else {
        2
    };
    match size {
        _ if size >= 1e9 => format!("{}G", short(value / 1e9, 2)),
        _ if size >= 1e6 => format!("{}M", short(value / 1e6, 2)),
        _ if size >= 1e4 => format!("{}k", short(value / 1e3, 2)),
        _ => short(value, decimals),
    }
}

fn bytes(value: f64) -> String {
    let size = value.abs();
    match size {
        _ if size >= 1_073_741_824.0 => format!("{} GiB", short(value / 1_073_741_824.0, 2)),
        _ if size >= 1_048_576.0 => format!("{} MiB", short(value / 1_048_576.0, 1)),
        _ if size >= 1_024.0 => format!("{} KiB", short(value / 1_024.0, 1)),
        _ => format!("{} B", short(value, 0)),
    }
}

fn quantile(value: f64) -> String {
    format!("{}%", short(value * 100.0, 6))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(axis: &Axis, most: usize) -> Vec<String> {
        axis.ticks(most).into_iter().map(|tick| tick.text).collect()
    }

    #[test]
    fn nines_lie_at_equal_distances() {
        let axis = Axis::around("", Scale::Nines, Unit::Quantile, [0.999].into_iter());
        assert_eq!(texts(&axis, 9), ["0%", "50%", "90%", "99%", "99.9%"]);
        let third = axis.position(0.9);
        assert!((axis.position(0.99) - 2.0 * third).abs() < 1e-9);
        assert!((axis.position(0.999) - 1.0).abs() < 1e-9);
        assert!(axis.position(1.0) <= 1.0);
    }

    #[test]
    fn ticks_are_round_and_readable() {
        let axis = Axis::around("", Scale::Linear, Unit::Count, [49_800.0].into_iter());
        assert_eq!(texts(&axis, 5), ["0", "10k", "20k", "30k", "40k", "50k"]);
        let axis = Axis::around(
            "",
            Scale::Log,
            Unit::Nanoseconds,
            [3.1e4, 7.7e6].into_iter(),
        );
        assert_eq!(texts(&axis, 5), ["100 µs", "1 ms", "10 ms"], "{axis:?}");
        let axis = Axis::from_to("", Scale::Linear, Unit::Seconds, 0.0, 600.0);
        assert_eq!(
            texts(&axis, 5),
            ["0 s", "2 min", "4 min", "6 min", "8 min", "10 min"]
        );
        let axis = Axis::around("", Scale::Linear, Unit::Bytes, [5e6].into_iter());
        assert_eq!(
            texts(&axis, 5),
            ["0 B", "1 MiB", "2 MiB", "3 MiB", "4 MiB", "5 MiB"]
        );
    }

    #[test]
    fn odd_values_give_an_axis_all_the_same() {
        for scale in [Scale::Linear, Scale::Log, Scale::Nines] {
            for values in [vec![], vec![0.0], vec![f64::NAN, 5.0], vec![f64::INFINITY]] {
                let axis = Axis::around("", scale, Unit::Plain, values.iter().copied());
                assert!(axis.min < axis.max && axis.max.is_finite(), "{axis:?}");
                for tick in axis.ticks(5) {
                    assert!((0.0..=1.0).contains(&tick.position), "{axis:?} {tick:?}");
                }
                assert!(axis.ticks(5).len() > 1, "{axis:?}");
            }
        }
    }

    #[test]
    fn powers_of_ten_are_counted_from_the_first_one_inside() {
        let values = [5.4e10, 6e14];
        let axis = Axis::around("", Scale::Log, Unit::Nanoseconds, values.into_iter());
        assert_eq!((axis.min, axis.max), (5e10, 1e15));
        assert_eq!(texts(&axis, 2), ["100 s", "100000 s"]);
    }

    proptest::proptest! {
        #[test]
        fn every_axis_holds_its_values(
            values in proptest::collection::vec(1e-3f64..1e15, 1..20),
            most in 2usize..12,
        ) {
            for scale in [Scale::Linear, Scale::Log] {
                for unit in [Unit::Nanoseconds, Unit::Seconds, Unit::Count, Unit::Bytes] {
                    let axis = Axis::around("", scale, unit, values.iter().copied());
                    for value in &values {
                        proptest::prop_assert!(*value >= axis.min * 0.999_99);
                        proptest::prop_assert!(*value <= axis.max * 1.000_01);
                    }
                    let count = axis.ticks(most).len();
                    proptest::prop_assert!((2..=3 * most + 4).contains(&count), "{count} {axis:?}");
                }
            }
        }
    }
}
