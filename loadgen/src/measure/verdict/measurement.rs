//! Rules about the measuring itself: the clock, whether the run was long enough to have settled, and
//! whether throughput and latency fit together.

use super::{
    Evidence, HALF_COUNT_MIN, LITTLE_MAX, Reasons, STATIONARY_MAX, TRUSTED_CLOCKS, Verdict,
};
use crate::quantity::format_ns;

/// A clock that can be read fast, equal halves, and Little's law.
pub fn measurement_rules(evidence: &Evidence, reasons: &mut Reasons) {
    if let Some(source) = &evidence.clock_source
        && !TRUSTED_CLOCKS.contains(&source.as_str())
    {
        reasons.push((
            Verdict::Invalid,
            format!(
                "the kernel's clock source is '{source}': reading it is slow and coarse; use a \
                 host where it is one of {}",
                TRUSTED_CLOCKS.join(", ")
            ),
        ));
    }
    let [(first_count, first), (second_count, second)] = evidence.halves;
    if first_count >= HALF_COUNT_MIN && second_count >= HALF_COUNT_MIN {
        let change = (second as f64 - first as f64) / (first.max(1) as f64);
        if change.abs() > STATIONARY_MAX {
            reasons.push((
                Verdict::Suspect,
                format!(
                    "not stationary: the median went from {} in the first half to {} in the \
                     second; warm up longer (-w) or measure longer (-d)",
                    format_ns(first),
                    format_ns(second)
                ),
            ));
        }
    }
    if let Some(residual) = evidence.little_residual
        && residual > LITTLE_MAX
    {
        reasons.push((
            Verdict::Suspect,
            format!(
                "throughput times latency is {:.0} % off the concurrency (Little's law): some \
                 connections were not working all the time",
                residual * 100.0
            ),
        ));
    }
}
