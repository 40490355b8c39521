//! A run as OpenMetrics text (version 1.0).
//!
//! Owns names, labels and buckets. Labels are words of the program: a kind of failure that a server
//! made up is one of `other`. Counters start at zero with every run; response times cover the measured window only.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::view::target_per_second;
use crate::config::{Config, Mode};
use crate::measure::gauges::Reading;
use crate::measure::latency::Latency;
use crate::measure::series::Second;
use crate::measure::watch::{Live, LivePhase};

/// Upper bounds of the buckets in nanoseconds: 1, 2, 5 of every decade from 10 us to 50 s.
const BOUNDS_NS: [u64; 21] = [
    10_000,
    20_000,
    50_000,
    100_000,
    200_000,
    500_000,
    1_000_000,
    2_000_000,
    5_000_000,
    10_000_000,
    20_000_000,
    50_000_000,
    100_000_000,
    200_000_000,
    500_000_000,
    1_000_000_000,
    2_000_000_000,
    5_000_000_000,
    10_000_000_000,
    20_000_000_000,
    50_000_000_000,
];

const PHASES: [(LivePhase, &str); 5] = [
    (LivePhase::Opening, "opening"),
    (LivePhase::Subscribing, "subscribing"),
    (LivePhase::WarmUp, "warm-up"),
    (LivePhase::Measuring, "measuring"),
    (LivePhase::Draining, "draining"),
];

/// Longest kind of failure that becomes a label.
const KIND_BYTES_MAX: usize = 48;

/// Some kinds end in a word of the server's: what does not look like ours is not passed on.
fn label(kind: &str) -> &str {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let is_ours = kind.len() <= KIND_BYTES_MAX && kind.bytes().all(is_plain);
    if is_ours { kind } else { "other" }
}

/// Response times in buckets.
#[derive(Debug, Default, PartialEq)]
struct Buckets {
    /// Upper bound in seconds and values in the bucket; the last bound is infinite.
    counts: Vec<(f64, u64)>,
    count: u64,
    sum_s: f64,
}

impl Buckets {
    fn of(latency: &Latency) -> Buckets {
        let mut counts = [0; BOUNDS_NS.len() + 1];
        let (mut count, mut sum_ns) = (0, 0.0);
        for value in latency
            .histogram()
            .into_iter()
            .flat_map(|of| of.iter_recorded())
        {
            let (ns, times) = (
                value.value_iterated_to(),
                value.count_since_last_iteration(),
            );
            let bucket = BOUNDS_NS.partition_point(|bound| *bound < ns);
            counts[bucket] += times;
            count += times;
            sum_ns += ns as f64 * times as f64;
        }
        let bounds = BOUNDS_NS.iter().map(|ns| *ns as f64 / 1e9);
        Buckets {
            counts: bounds.chain([f64::INFINITY]).zip(counts).collect(),
            count,
            sum_s: sum_ns / 1e9,
        }
    }
}

/// What a scrape shows.
#[derive(Clone, Debug)]
pub struct Snapshot {
    mode: Mode,
    is_open_loop: bool,
    rate: Option<f64>,
    connections: u64,
    phase: LivePhase,
    left_ns: u64,
    reading: Reading,
    last: Option<Arc<Second>>,
    response: Arc<Buckets>,
    troubles: Arc<BTreeMap<String, u64>>,
    seconds: usize,
}

impl Snapshot {
    /// Before anything happened.
    pub fn new(config: &Config) -> Snapshot {
        Snapshot {
            mode: config.mode,
            is_open_loop: config.is_open_loop(),
            rate: config.rate,
            connections: u64::from(crate::run::all_connections(config)),
            phase: LivePhase::Opening,
            left_ns: 0,
            reading: Reading::default(),
            last: None,
            response: Arc::new(Buckets::of(&Latency::default())),
            troubles: Arc::default(),
            seconds: 0,
        }
    }

    /// The same run, later. Buckets are filled again when a second is complete only.
    pub fn after(&self, live: &Live<'_>) -> Snapshot {
        let mut next = Snapshot {
            phase: live.phase,
            left_ns: live.left_ns,
            rate: target_per_second(live),
            reading: live.reading,
            ..self.clone()
        };
        if live.seconds.len() != self.seconds {
            let new = live.seconds.get(self.seconds..).unwrap_or_default();
            let troubles = Arc::make_mut(&mut next.troubles);
            for (kind, count) in new.iter().flat_map(|second| &second.troubles) {
                *troubles.entry(label(kind).to_owned()).or_default() += count;
            }
            next.seconds = live.seconds.len();
            next.last = live.seconds.last().cloned().map(Arc::new);
            next.response = Arc::new(Buckets::of(live.response));
        }
        next
    }

    /// The text of a scrape.
    ///
    /// # Errors
    /// Never in practice: it is written to memory.
    pub fn encode(self) -> Result<String, fmt::Error> {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self));
        let mut text = String::new();
        text::encode(&mut text, &registry)?;
        Ok(text)
    }
}

/// Writes metrics of one label set, or of one per label value.
struct Sink<'a, 'b>(&'a mut DescriptorEncoder<'b>);

impl Sink<'_, '_> {
    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let name = format!("fanwire_loadgen_{name}");
        let mut metric = self
            .0
            .encode_descriptor(&name, help, None, MetricType::Counter)?;
        metric.encode_counter::<NoLabelSet, u64, u64>(&value, None)
    }

    fn counters(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: &BTreeMap<String, u64>,
    ) -> fmt::Result {
        let name = format!("fanwire_loadgen_{name}");
        let mut family = self
            .0
            .encode_descriptor(&name, help, None, MetricType::Counter)?;
        for (of, value) in values {
            let labels = [(label, of.as_str())];
            let mut metric = family.encode_family(&labels)?;
            metric.encode_counter::<NoLabelSet, u64, u64>(value, None)?;
        }
        Ok(())
    }

    fn gauge(&mut self, name: &str, help: &str, value: Option<f64>) -> fmt::Result {
        let Some(value) = value else { return Ok(()) };
        let name = format!("fanwire_loadgen_{name}");
        let mut metric = self
            .0
            .encode_descriptor(&name, help, None, MetricType::Gauge)?;
        metric.encode_gauge(&value)
    }

    fn gauges(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: &[(&str, f64)],
    ) -> fmt::Result {
        let name = format!("fanwire_loadgen_{name}");
        let mut family = self
            .0
            .encode_descriptor(&name, help, None, MetricType::Gauge)?;
        for (of, value) in values {
            let labels = [(label, *of)];
            family.encode_family(&labels)?.encode_gauge(value)?;
        }
        Ok(())
    }
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.encode_run(&mut encoder)?;
        let mut sink = Sink(&mut encoder);
        self.encode_counters(&mut sink)?;
        self.encode_last_second(&mut sink)?;
        let mut response = encoder.encode_descriptor(
            "fanwire_loadgen_response_seconds",
            "From when a message was due (closed loop: sent) to its reply, in the measured window",
            None,
            MetricType::Histogram,
        )?;
        let buckets = &self.response;
        response.encode_histogram::<NoLabelSet>(buckets.sum_s, buckets.count, &buckets.counts, None)
    }
}

impl Snapshot {
    fn encode_run(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let loop_model = match (self.mode, self.is_open_loop) {
            (Mode::Idle, _) => "none",
            (_, true) => "open",
            (_, false) => "closed",
        };
        let labels = [
            ("command", self.mode.as_str()),
            ("loop", loop_model),
            ("version", env!("CARGO_PKG_VERSION")),
        ];
        encoder
            .encode_descriptor(
                "fanwire_loadgen_run",
                "What is being measured",
                None,
                MetricType::Info,
            )?
            .encode_info(&labels)?;
        let mut sink = Sink(encoder);
        let phases = PHASES.map(|(phase, name)| (name, f64::from(u8::from(phase == self.phase))));
        sink.gauges("phase", "1 for the phase of the run", "phase", &phases)?;
        let left = Some(self.left_ns as f64 / 1e9);
        sink.gauge("left_seconds", "Until the end of the measurement", left)?;
        sink.gauge(
            "rate_target",
            "Messages (storm: connections) per second that are asked for now",
            self.rate,
        )
    }

    fn encode_counters(&self, sink: &mut Sink<'_, '_>) -> fmt::Result {
        let (reading, fanout) = (&self.reading, &self.reading.fanout);
        sink.counter(
            "messages_sent",
            "Messages handed to sockets (storm: cycles begun; fan-out: messages published)",
            reading.sent,
        )?;
        sink.counter(
            "messages_received",
            "Replies (storm: cycles completed; fan-out: copies delivered)",
            reading.received,
        )?;
        if self.mode != Mode::Storm {
            sink.counter(
                "connections_opened",
                "Connections whose opening handshake was completed",
                reading.opened,
            )?;
        }
        let help = "Failures of connections, of any kind, as they happen";
        sink.counter("connections_failed", help, reading.failed)?;
        let help = "What went wrong with connections and messages, by kind, second by second";
        sink.counters("troubles", help, "kind", &self.troubles)?;
        let asked = Some(self.connections as f64);
        sink.gauge("connections_asked", "Connections that are asked for", asked)?;
        let open = Some(reading.open as f64);
        sink.gauge("connections_open", "Connections that are open", open)?;
        if self.mode != Mode::Fanout {
            return Ok(());
        }
        let help = "Copies of published messages that subscribers are owed";
        sink.counter("copies_owed", help, fanout.owed)?;
        let help = "Copies delivered, or announced not to be";
        sink.counter("copies_settled", help, fanout.settled)?;
        let unanswered = Some(fanout.unanswered as f64);
        let help = "Publishes that are not acknowledged yet";
        sink.gauge("publishes_unanswered", help, unanswered)
    }

    fn encode_last_second(&self, sink: &mut Sink<'_, '_>) -> fmt::Result {
        let Some(last) = &self.last else {
            return Ok(());
        };
        let response = &last.response;
        if response.count > 0 {
            let quantiles = [
                ("0.5", response.p50),
                ("0.9", response.p90),
                ("0.99", response.p99),
                ("0.999", response.p999),
                ("1", response.max),
            ];
            sink.gauges(
                "response_last_second_seconds",
                "Quantiles of the response times of the last second",
                "quantile",
                &quantiles.map(|(quantile, ns)| (quantile, ns as f64 / 1e9)),
            )?;
            sink.gauge(
                "late_send_p99_seconds",
                "99th percentile of how late messages were sent in the last second",
                self.is_open_loop.then_some(last.late_p99_ns as f64 / 1e9),
            )?;
        }
        sink.gauge(
            "generator_busiest_thread_ratio",
            "CPU share of the generator's busiest thread in the last second, 0 to 1",
            last.generator_cpu_share,
        )?;
        sink.gauge(
            "server_busiest_thread_ratio",
            "CPU share of the server's busiest thread in the last second, 0 to 1",
            last.server_busy_share,
        )?;
        let help = "CPUs that the server used in the last second";
        sink.gauge("server_cpus", help, last.server_cpus_used)?;
        sink.gauge(
            "server_resident_memory_bytes",
            "Resident memory of the server",
            last.server_rss_bytes.map(|bytes| bytes as f64),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_words() {
        assert_eq!(label("connect_refused"), "connect_refused");
        assert_eq!(label("error_\"x\n"), "other");
        assert_eq!(label(&"a".repeat(KIND_BYTES_MAX + 1)), "other");
    }

    #[test]
    fn every_value_is_in_one_bucket() {
        let mut latency = Latency::default();
        for ns in [1, 9_000, 15_000, 1_500_000, 3_000_000_000, 100_000_000_000] {
            latency.record(ns);
        }
        let buckets = Buckets::of(&latency);
        assert_eq!(buckets.count, 6);
        let sum: u64 = buckets.counts.iter().map(|(_, count)| count).sum();
        assert_eq!(sum, 6);
        assert_eq!(buckets.counts[0], (0.000_01, 2));
        assert_eq!(buckets.counts[1], (0.000_02, 1));
        assert_eq!(buckets.counts.last(), Some(&(f64::INFINITY, 1)));
        assert!((buckets.sum_s - 103.0).abs() < 0.2, "{}", buckets.sum_s);
    }
}
