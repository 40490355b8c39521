//! What the server and the generator used: CPU, memory, and the work done with it.

use super::block::{Block, Plot};
use super::over_time::{Lines, OverTime};
use crate::measure::figures::{Generator, Server};
use crate::measure::model::Report;
use crate::quantity::format_count;
use crate::report::steps::{Step, steps};
use crate::report::text::{amount, latency, nouns, percent, size};
use crate::svg::{Scale, Unit};

const STEPS_MAX: usize = 240;

/// Figures and plots.
///
/// # Errors
/// A sentence about a histogram that cannot be read.
pub fn blocks(report: &Report) -> Result<Vec<Block>, String> {
    let facts = facts(report);
    let mut blocks = Vec::new();
    if !facts.is_empty() {
        blocks.push(Block::Facts(facts));
    }
    let steps = steps(&report.series, STEPS_MAX)?;
    if steps.len() >= 2 {
        blocks.extend(cpu(&steps).map(Block::Plot));
        blocks.extend(memory(&steps).map(Block::Plot));
    }
    Ok(blocks)
}

/// Facts of which some may not be known.
type Known = Vec<(String, Option<String>)>;

fn facts(report: &Report) -> Vec<(String, String)> {
    let (one, many) = nouns(report);
    let mut facts = Known::new();
    if let Some(server) = &report.server {
        server_facts(server, one, many, &mut facts);
    }
    generator_facts(&report.generator, one, &mut facts);
    facts
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
}

fn shown_share(share: Option<f64>) -> Option<String> {
    share.map(|share| percent(share).joined())
}

fn shown_size(bytes: Option<f64>) -> Option<String> {
    bytes.map(|bytes| size(bytes).joined())
}

fn server_facts(server: &Server, one: &str, many: &str, facts: &mut Known) {
    let mut push = |name: &str, value: Option<String>| facts.push((name.to_owned(), value));
    push("server process", Some(server.pid.to_string()));
    push("server, busiest thread", shown_share(server.busy_share));
    push("it waited for a CPU", shown_share(server.wait_share));
    let used = server.cpus_used.map(|cpus| amount(cpus, "").number);
    push(
        "server, all threads",
        used.map(|cpus| format!("{cpus} CPUs")),
    );
    let switches =
        |rate: Option<f64>| rate.map(|rate| format!("{} a second", amount(rate, "").joined()));
    push(
        "server waited for something",
        switches(server.voluntary_switches_per_second),
    );
    push(
        "server was interrupted",
        switches(server.involuntary_switches_per_second),
    );
    push(
        &format!("server CPU per {one}"),
        server.cpu_ns_per_message.map(|ns| latency(ns).joined()),
    );
    let rate = server.messages_per_cpu_second.filter(|rate| *rate > 0.0);
    push(
        &format!("{many} per server CPU-second"),
        rate.map(|rate| amount(rate, "").joined()),
    );
    let memory = |bytes: Option<u64>| shown_size(bytes.map(|bytes| bytes as f64));
    push("server memory before", memory(server.rss_before_bytes));
    push("server memory, all open", memory(server.rss_open_bytes));
    push(
        "resident per connection",
        shown_size(server.rss_bytes_per_connection),
    );
    push(
        "anonymous per connection",
        shown_size(server.anonymous_bytes_per_connection),
    );
}

fn generator_facts(generator: &Generator, one: &str, facts: &mut Known) {
    let mut push = |name: &str, value: Option<String>| facts.push((name.to_owned(), value));
    push(
        "generator, busiest thread",
        shown_share(generator.cpu_share),
    );
    let is_spinning = generator.busy_share != generator.cpu_share;
    let busy = generator.busy_share.filter(|_| is_spinning);
    push("at work in it, without spinning", shown_share(busy));
    push("it waited for a CPU", shown_share(generator.wait_share));
    if generator.thread_cpu_shares.len() > 1 {
        let shares = generator.thread_cpu_shares.iter();
        let shares: Vec<String> = shares.map(|share| percent(*share).joined()).collect();
        push("generator threads", Some(shares.join(" · ")));
    }
    push(
        &format!("generator CPU per {one}"),
        generator.cpu_ns_per_message.map(|ns| latency(ns).joined()),
    );
    push(
        "generator memory per connection",
        shown_size(generator.rss_bytes_per_connection),
    );
    let hiccups = &generator.hiccups_ns;
    push(
        "an idle thread overslept",
        (hiccups.count > 0).then(|| {
            format!(
                "at most {}, in {} naps",
                latency(hiccups.max as f64).joined(),
                format_count(hiccups.count)
            )
        }),
    );
    push(
        "TCP segments sent again",
        generator.segments_retransmitted.map(format_count),
    );
    let late = &generator.late_ns;
    push(
        "late sends",
        (late.count > 0).then(|| {
            format!(
                "median {}, 99% {}, largest {} of {}",
                latency(late.p50 as f64).joined(),
                latency(late.p99 as f64).joined(),
                latency(late.max as f64).joined(),
                format_count(late.count)
            )
        }),
    );
}

fn cpu(steps: &[Step]) -> Option<Plot> {
    let busy = |step: &Step| step.server_busy_share.unwrap_or(f64::NAN);
    let used = |step: &Step| step.server_cpus_used.unwrap_or(f64::NAN);
    let generator = |step: &Step| step.generator_cpu_share.unwrap_or(f64::NAN);
    let has_server = steps.iter().any(|step| step.server_busy_share.is_some());
    let has_generator = steps.iter().any(|step| step.generator_cpu_share.is_some());
    let mut lines: Lines<'_> = Vec::new();
    if has_server {
        lines.push(("server, busiest thread", &busy));
    }
    if has_generator {
        lines.push(("generator, busiest thread", &generator));
    }
    // One thread uses what all of them use: a second line would lie on the first.
    let differs = |step: &Step| (used(step) - busy(step)).abs() > 0.02;
    if has_server && steps.iter().any(differs) {
        lines.push(("server, all threads", &used));
    }
    let plot = OverTime {
        steps,
        caption: "CPU",
        label: "of one CPU",
        scale: Scale::Linear,
        unit: Unit::Share,
        lines,
        dashed: "server, all threads",
        rule: None,
    };
    (has_server || has_generator).then(|| plot.plot(&|share| percent(share).joined()))
}

fn memory(steps: &[Step]) -> Option<Plot> {
    let resident = |step: &Step| step.server_rss_bytes.map_or(f64::NAN, |bytes| bytes as f64);
    steps
        .iter()
        .any(|step| step.server_rss_bytes.is_some())
        .then(|| {
            OverTime {
                steps,
                caption: "Resident memory of the server",
                label: "resident",
                scale: Scale::Linear,
                unit: Unit::Bytes,
                lines: vec![("server", &resident)],
                dashed: "",
                rule: None,
            }
            .plot(&|bytes| size(bytes).joined())
        })
}
