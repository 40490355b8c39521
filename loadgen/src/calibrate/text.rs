//! What a person reads of a calibration: the figures, and what they mean.

use std::fmt::Write as _;

use super::{Calibration, Ceiling};
use crate::measure::figures::Percentiles;
use crate::quantity::{format_count, format_ns, format_size};

/// From this share of a processor on the null server was as busy as one can be.
const SERVER_BUSY: f64 = 0.95;

fn mode(is_spinning: bool) -> &'static str {
    if is_spinning {
        "with --spin"
    } else {
        "sleeping"
    }
}

/// Rates are given in thousands: the last digits are noise.
fn rate(per_second: f64) -> String {
    if per_second >= 10_000.0 {
        format!("{}k", format_count((per_second / 1e3) as u64))
    } else {
        format_count(per_second as u64)
    }
}

/// Headroom in words.
pub fn sentences(calibration: &Calibration) -> Vec<String> {
    let size = format_size(calibration.message_size_bytes);
    let mut sentences = Vec::new();
    for ceiling in &calibration.ceilings {
        sentences.push(headroom(ceiling, &size));
    }
    let closed = &calibration.closed_loop;
    let server = closed
        .server_busy_share
        .filter(|share| *share > SERVER_BUSY);
    sentences.push(format!(
        "a closed loop goes up to {} messages of {size} per second on one core{}",
        rate(closed.messages_per_second),
        if server.is_some() {
            "; the null server was busy all the time, so the generator can do more"
        } else {
            ""
        }
    ));
    sentences.push(format!(
        "round trips below {} cannot be seen from this host, and differences of less than {} are \
         noise: that long a thread overslept once in a thousand times",
        format_ns(calibration.round_trip_min_ns),
        format_ns(calibration.hiccup_ns.p999)
    ));
    if calibration.generator_processor.is_none()
        || calibration.generator_processor == calibration.server_processor
    {
        sentences.push(
            "generator and null server shared a processor: give both one of their own (--cpu A,B)"
                .into(),
        );
    }
    sentences
}

fn headroom(ceiling: &Ceiling, size: &str) -> String {
    let how = mode(ceiling.is_spinning);
    if ceiling.per_second == 0 {
        return format!(
            "{how}: no rate gave a valid open loop on this machine now: {}",
            ceiling.reason
        );
    }
    format!(
        "{how}: up to {} messages of {size} per second and core are sent on time on this machine \
         (99 % within {}); above that, results are about the generator",
        rate(ceiling.per_second as f64),
        format_ns(ceiling.late_p99_ns)
    )
}

fn row(text: &mut String, name: &str, percentiles: &Percentiles) {
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "{name:34} p50 {:>8}  p99 {:>8}  p99.9 {:>8}  max {:>8}",
        format_ns(percentiles.p50),
        format_ns(percentiles.p99),
        format_ns(percentiles.p999),
        format_ns(percentiles.max)
    );
}

/// The whole of it.
pub fn render(calibration: &Calibration) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{:34} {:.1} ns",
        "reading the clock", calibration.clock_read_ns
    );
    row(
        &mut text,
        "hiccups of an idle thread",
        &calibration.hiccup_ns,
    );
    row(
        &mut text,
        "round trip, one message in flight",
        &calibration.round_trip_ns,
    );
    let closed = &calibration.closed_loop;
    let share = |share: Option<f64>| {
        share.map_or("unknown".to_owned(), |share| {
            format!("{:.0} %", share * 100.0)
        })
    };
    let _ = writeln!(
        text,
        "{:34} {}/s, generator {} of a CPU, null server {}",
        "closed loop",
        format_count(closed.messages_per_second as u64),
        share(closed.generator_cpu_share),
        share(closed.server_busy_share)
    );
    for pacing in &calibration.pacing {
        let name = format!(
            "late at {}/s, {}",
            rate(pacing.per_second as f64),
            mode(pacing.is_spinning)
        );
        row(&mut text, &name, &pacing.late_ns);
    }
    for ceiling in &calibration.ceilings {
        let above = ceiling
            .first_bad_per_second
            .map_or_else(String::new, |bad| {
                format!("; at {}/s: {}", format_count(bad), ceiling.reason)
            });
        let _ = writeln!(
            text,
            "{:34} {}/s{above}",
            format!("ceiling, {}", mode(ceiling.is_spinning)),
            format_count(ceiling.per_second)
        );
    }
    text.push('\n');
    for sentence in &calibration.sentences {
        let _ = writeln!(text, "* {sentence}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibrate::{ClosedLoop, SCHEMA};
    use crate::measure::environment::Environment;

    fn calibration() -> Calibration {
        let ceiling = |is_spinning, per_second| Ceiling {
            is_spinning,
            per_second,
            late_p99_ns: 43_000,
            first_bad_per_second: Some(200_000),
            reason: "the generator was not on time".into(),
        };
        Calibration {
            schema: SCHEMA,
            generator_processor: Some(1),
            server_processor: Some(0),
            message_size_bytes: 64,
            clock_read_ns: 21.0,
            hiccup_ns: Percentiles {
                p999: 70_000,
                ..Percentiles::default()
            },
            round_trip_min_ns: 9_000,
            round_trip_ns: Percentiles::default(),
            closed_loop: ClosedLoop {
                messages_per_second: 412_345.0,
                generator_cpu_share: Some(0.8),
                server_busy_share: Some(0.99),
                generator_cpu_ns_per_message: Some(2_000.0),
                limiter: "server".into(),
            },
            pacing: Vec::new(),
            ceilings: vec![ceiling(false, 0), ceiling(true, 180_000)],
            sentences: Vec::new(),
            environment: Environment::default(),
        }
    }

    #[test]
    fn headroom_in_words() {
        let sentences = sentences(&calibration());
        assert!(
            sentences[0].contains("no rate gave a valid open loop"),
            "{sentences:?}"
        );
        assert!(
            sentences[1]
                .starts_with("with --spin: up to 180k messages of 64 B per second and core"),
            "{sentences:?}"
        );
        assert!(sentences[2].contains("412k") && sentences[2].contains("can do more"));
        assert_eq!(sentences.len(), 4);
    }

    #[test]
    fn one_processor_is_said_aloud() {
        let mut shared = calibration();
        shared.server_processor = Some(1);
        let last = sentences(&shared).pop().expect("some");
        assert!(last.contains("--cpu A,B"), "{last}");
        assert!(render(&shared).contains("reading the clock"));
    }
}
