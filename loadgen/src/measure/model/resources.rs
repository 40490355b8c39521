//! What the server and the generator used, as a report has it.
//!
//! Owns how CPU time and memory are shared out over the measured time, messages and connections.
//! Reads no `/proc`: that is `host`'s.

use super::{Measured, done};
use crate::config::Config;
use crate::measure::figures::{Generator, Percentiles, Server};
use crate::measure::host::{Memory, Switches, ThreadTime};

/// The server's process; `None` when nobody said which it is.
pub fn server(config: &Config, measured: &Measured) -> Option<Server> {
    let pid = config.server_pid?;
    let cpu = measured.server_cpu;
    let done = done(measured);
    let memory = measured.server_memory;
    let per_connection = |read| per_connection(memory, measured.open_at_sample, read);
    Some(Server {
        pid,
        cpu_ns_per_message: cpu
            .filter(|_| done > 0)
            .map(|cpu| cpu.total_ns as f64 / done as f64),
        messages_per_cpu_second: cpu
            .filter(|cpu| cpu.total_ns > 0)
            .map(|cpu| done as f64 * 1e9 / cpu.total_ns as f64),
        busy_share: cpu.and_then(|cpu| share(cpu.busiest.run_ns, measured.measured_ns)),
        wait_share: cpu.and_then(|cpu| share(cpu.busiest.wait_ns, measured.measured_ns)),
        cpus_used: cpu.and_then(|cpu| share(cpu.total_ns, measured.measured_ns)),
        voluntary_switches_per_second: switches(measured, |switches| switches.voluntary),
        involuntary_switches_per_second: switches(measured, |switches| switches.involuntary),
        rss_before_bytes: memory.map(|[before, _]| before.resident),
        rss_open_bytes: memory.map(|[_, open]| open.resident),
        rss_bytes_per_connection: per_connection(|memory| memory.resident),
        anonymous_bytes_per_connection: per_connection(|memory| memory.resident_anonymous),
    })
}

/// This program, which did so much in the measured time.
pub fn generator(measured: &Measured, done: u64) -> Generator {
    let shares: Vec<f64> = measured
        .generator_times
        .iter()
        .filter_map(|time| share(time.run_ns, measured.measured_ns))
        .collect();
    let total_ns: u64 = working_ns(measured).sum();
    let grown = |read| per_connection(measured.own_memory, measured.open_at_sample, read);
    Generator {
        rss_bytes_per_connection: grown(|memory| memory.resident),
        anonymous_bytes_per_connection: grown(|memory| memory.resident_anonymous),
        cpu_share: shares.iter().copied().reduce(f64::max),
        busy_share: busy_share(measured),
        wait_share: largest_share(measured, |time| time.wait_ns),
        thread_cpu_shares: shares,
        cpu_ns_per_message: (done > 0 && total_ns > 0).then(|| total_ns as f64 / done as f64),
        hiccups_ns: Percentiles::of(&measured.hiccups),
        segments_retransmitted: measured.segments.map(|segments| segments.retransmitted),
        completion_overflows: measured.completion_overflows,
        late_ns: Percentiles::of(&measured.sheet.late),
        backends: measured.backends.clone(),
        clock_source: measured.clock_source.clone(),
    }
}

/// CPU time of each of the generator's threads, without what it polled in vain.
fn working_ns(measured: &Measured) -> impl Iterator<Item = u64> + '_ {
    let spun_ns = measured.generator_spun_ns.iter().copied();
    let spun_ns = spun_ns.chain(std::iter::repeat(0));
    let times = measured.generator_times.iter().zip(spun_ns);
    times.map(|(time, spun_ns)| time.run_ns.saturating_sub(spun_ns))
}

/// The share of the measured time in which the busiest of the generator's threads worked.
pub fn busy_share(measured: &Measured) -> Option<f64> {
    share(working_ns(measured).max()?, measured.measured_ns)
}

fn switches(measured: &Measured, read: fn(&Switches) -> u64) -> Option<f64> {
    let count = read(measured.server_switches.as_ref()?);
    let seconds = measured.seconds();
    (seconds > 0.0).then(|| count as f64 / seconds)
}

/// Growth from one sample to the next, shared out.
fn per_connection(
    memory: Option<[Memory; 2]>,
    connections: u64,
    read: fn(&Memory) -> u64,
) -> Option<f64> {
    let [before, open] = memory?;
    (connections > 0).then(|| (read(&open) as f64 - read(&before) as f64) / connections as f64)
}

/// A part of a time, 0 to 1; `None` of no time.
pub fn share(part_ns: u64, whole_ns: u64) -> Option<f64> {
    (whole_ns > 0).then(|| part_ns as f64 / whole_ns as f64)
}

/// The share of the measured time of the generator's thread that has the largest.
pub fn largest_share(measured: &Measured, read: fn(&ThreadTime) -> u64) -> Option<f64> {
    share(
        measured.generator_times.iter().map(read).max()?,
        measured.measured_ns,
    )
}
