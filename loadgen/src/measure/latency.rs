//! A latency histogram: how values are counted, added up, read, saved and read back.
//!
//! Owns its bounds and its precision, which are the same everywhere, so that any two add up. Knows
//! nothing of what is timed.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer};

/// Largest latency that is told apart: an hour. Above it a value counts as an hour.
const LATENCY_MAX_NS: u64 = 3_600_000_000_000;
/// Three significant digits: a printed percentile is at most 0.1 % off.
const DIGITS: u8 = 3;

/// A latency histogram in nanoseconds. It never fails, and takes memory (270 KiB) with the first
/// value only.
#[derive(Clone, Debug, Default)]
pub struct Latency(Option<Histogram<u64>>);

/// The bounds are constants that satisfy the constructor (low of at least 1, high of at least twice
/// that, at most 5 digits), so this is always `Some`.
fn empty_histogram() -> Option<Histogram<u64>> {
    Histogram::new_with_bounds(1, LATENCY_MAX_NS, DIGITS).ok()
}

impl Latency {
    /// Counts one value.
    #[inline]
    pub fn record(&mut self, ns: u64) {
        if self.0.is_none() {
            self.0 = empty_histogram();
        }
        if let Some(histogram) = &mut self.0 {
            histogram.saturating_record(ns);
        }
    }

    /// Adds the counts of another histogram.
    pub fn add(&mut self, other: &Latency) {
        let Some(theirs) = &other.0 else { return };
        match &mut self.0 {
            None => self.0 = Some(theirs.clone()),
            Some(mine) => {
                // Both sides have the same constant bounds, so nothing can be out of range.
                let added = mine.add(theirs);
                debug_assert!(added.is_ok(), "histograms have the same bounds");
            }
        }
    }

    /// How many values were counted.
    pub fn count(&self) -> u64 {
        self.0.as_ref().map_or(0, Histogram::len)
    }

    /// The value that `quantile` (0 to 1) of all values do not exceed; 0 when nothing was counted.
    pub fn quantile(&self, quantile: f64) -> u64 {
        let value = |histogram: &Histogram<u64>| histogram.value_at_quantile(quantile);
        self.0.as_ref().map_or(0, value).min(self.max())
    }

    /// The largest value, 0 when nothing was counted.
    pub fn max(&self) -> u64 {
        self.0.as_ref().map_or(0, Histogram::max)
    }

    /// The histogram itself, once it holds a value.
    pub fn histogram(&self) -> Option<&Histogram<u64>> {
        self.0.as_ref()
    }

    /// HdrHistogram's V2 encoding with deflate as base64; empty when nothing was counted.
    pub fn encode(&self) -> String {
        let mut bytes = Vec::new();
        let is_written = self.0.as_ref().is_some_and(|histogram| {
            // Writing to memory does not fail, and the counts of a run fit the encoding.
            V2DeflateSerializer::new()
                .serialize(histogram, &mut bytes)
                .is_ok()
        });
        if is_written {
            STANDARD.encode(bytes)
        } else {
            String::new()
        }
    }

    /// Reads what [`Latency::encode`] wrote.
    ///
    /// # Errors
    /// A sentence about text that is not such a histogram.
    pub fn decode(text: &str) -> Result<Latency, String> {
        if text.is_empty() {
            return Ok(Latency::default());
        }
        let bytes = STANDARD
            .decode(text)
            .map_err(|error| format!("a histogram is not base64: {error}"))?;
        let theirs: Histogram<u64> = Deserializer::new()
            .deserialize(&mut bytes.as_slice())
            .map_err(|error| format!("a histogram cannot be read: {error:?}"))?;
        // Brought into our own bounds, so that it adds up with any other.
        let mut latency = Latency(empty_histogram());
        if let Some(mine) = &mut latency.0 {
            mine.add(&theirs)
                .map_err(|error| format!("a histogram has other bounds: {error:?}"))?;
        }
        Ok(latency)
    }

    /// The arithmetic mean, 0 when nothing was counted.
    pub fn mean(&self) -> f64 {
        self.0.as_ref().map_or(0.0, Histogram::mean)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merging_equals_recording_in_one_place() {
        let mut random = fastrand::Rng::with_seed(11);
        let (mut whole, mut parts) = (Latency::default(), [Latency::default(), Latency::default()]);
        for number in 0..10_000 {
            let value = random.u64(1..5_000_000_000);
            whole.record(value);
            parts[number % 2].record(value);
        }
        let mut merged = Latency::default();
        for part in &parts {
            merged.add(part);
        }
        for quantile in [0.0, 0.5, 0.9, 0.99, 0.999, 1.0] {
            assert_eq!(merged.quantile(quantile), whole.quantile(quantile));
        }
        assert_eq!((merged.count(), merged.max()), (whole.count(), whole.max()));
    }

    #[test]
    fn three_digits() {
        let mut latency = Latency::default();
        latency.record(1_234_567);
        let read = latency.quantile(0.5);
        assert!(read.abs_diff(1_234_567) * 1_000 <= 1_234_567, "{read}");
        latency.record(u64::MAX);
        assert!(latency.max() >= LATENCY_MAX_NS);
        assert_eq!(Latency::default().quantile(0.5), 0);
    }

    #[test]
    fn encoded_and_read_back() {
        let mut random = fastrand::Rng::with_seed(5);
        let mut latency = Latency::default();
        for _ in 0..1_000 {
            latency.record(random.u64(1..90_000_000_000));
        }
        let read = Latency::decode(&latency.encode()).expect("our own encoding");
        assert_eq!(read.histogram(), latency.histogram());
        assert_eq!(Latency::decode("").expect("nothing").count(), 0);
        assert!(Latency::decode("!").is_err() && Latency::decode("AAAA").is_err());
    }
}
