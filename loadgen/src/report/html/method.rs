//! How it was measured: everything that somebody needs who wants the same figures again.

use super::block::{Block, Section};
use crate::measure::environment::Environment;
use crate::measure::model::Report;
use crate::quantity::{format_count, format_ns};
use crate::report::text::{amount, moment, percent, size, span};

const SAFE: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:=,@%+";

/// The section. A load of a scenario was measured where the scenario was: only its settings differ.
pub fn section(report: &Report, is_part: bool) -> Section {
    let mut blocks = vec![Block::Text(loop_model(report).to_owned())];
    let environment = &report.environment;
    if !is_part && !environment.command_line.is_empty() {
        blocks.push(Block::Code(command_line(&environment.command_line)));
    }
    blocks.push(Block::Facts(settings(report)));
    if !is_part {
        blocks.push(Block::Facts(host(environment, report)));
    }
    if !report.notes.is_empty() {
        blocks.push(Block::List(report.notes.clone()));
    }
    Section {
        title: if is_part {
            "Settings"
        } else {
            "How it was measured"
        }
        .to_owned(),
        blocks,
    }
}

/// Two sentences about the loop, two about what was timed.
fn loop_model(report: &Report) -> &'static str {
    match (report.mode.as_ref(), report.loop_model.as_ref()) {
        (_, "server") => {
            "The server published by itself: no message was asked for, and readers took what came. \
             Response counts from the time stamp in a message to its arrival, one way, by the \
             server's clock and ours."
        }
        ("churn", "none") => {
            "Clients connected, kept their connection for its lifetime, left, and came back. Nothing \
             but the first message of a connection was sent, which shows that it is served."
        }
        ("idle", _) => {
            "Connections were opened and held, and no messages were sent. Pings were answered, and \
             connections that ended were counted."
        }
        (_, "open") => {
            "Open loop: messages were sent by a schedule that does not wait for replies, as \
             independent users would. A server that falls behind is not spared: its queue grows \
             and latency shows it. Response (intended) counts from the moment the schedule asked \
             for, so a stall is felt by every message that was due in it. Service (actual) counts \
             from the moment of sending: what the server did with messages that got through."
        }
        (_, "closed") => {
            "Closed loop: every connection sent its next message when a reply had come. This finds \
             the largest throughput, but a server that stalls is asked less, so the latencies \
             leave out what users would have waited (coordinated omission). Intended and actual \
             time of sending are the same here. Do not compare these latencies with those of an \
             open loop."
        }
        _ => {
            "Several loads with loops of their own were added up here. Each stands below with its \
             own model; percentiles of the sum are read off their added histograms."
        }
    }
}

/// As a shell takes it.
pub fn command_line(words: &[String]) -> String {
    let quoted = words.iter().map(|word| {
        let is_plain = !word.is_empty() && word.chars().all(|character| SAFE.contains(character));
        if is_plain {
            word.clone()
        } else {
            format!("'{}'", word.replace('\'', "'\\''"))
        }
    });
    let quoted: Vec<String> = quoted.collect();
    quoted.join(" ")
}

fn settings(report: &Report) -> Vec<(String, String)> {
    let config = &report.config;
    let mut facts = Vec::new();
    let mut push = |name: &str, value: String| facts.push((name.to_owned(), value));
    push("server address", config.address.clone());
    push("warm-up and measurement", {
        format!("{} and {}", span(report.warmup_s), span(report.duration_s))
    });
    push(
        "connections and threads",
        format!(
            "{} and {}",
            format_count(u64::from(config.connections)),
            config.threads
        ),
    );
    facts.extend(messages(report));
    let mut push = |name: &str, value: String| facts.push((name.to_owned(), value));
    push("replies checked", config.verify.to_string());
    push("compression", compression(report));
    push("kernel interface", backend(report));
    push(
        "waiting",
        if config.spin {
            "polls without sleeping"
        } else {
            "sleeps between events"
        }
        .to_owned(),
    );
    if !config.cpus.is_empty() {
        let cpus: Vec<String> = config.cpus.iter().map(usize::to_string).collect();
        push("pinned to CPUs", cpus.join(", "));
    }
    if config.sources > 0 {
        push("source addresses", config.sources.to_string());
    }
    if let Some(rate) = config.connect_rate_per_second {
        push("connections opened", amount(rate, "/s").joined());
    }
    push(
        "time limits",
        format!(
            "connect {}, drain {}",
            format_ns(config.connect_timeout_ms.saturating_mul(1_000_000)),
            format_ns(config.drain_ms.saturating_mul(1_000_000))
        ),
    );
    push("seed", config.seed.to_string());
    push("version", config.version.to_string());
    facts
}

/// What was sent, and when.
fn messages(report: &Report) -> Vec<(String, String)> {
    let config = &report.config;
    let mut facts = Vec::new();
    let mut push = |name: &str, value: String| facts.push((name.to_owned(), value));
    if report.loop_model != "none" {
        push(
            "messages",
            format!(
                "{}, {}",
                size(config.message_size_bytes as f64).joined(),
                config.message_kind
            ),
        );
    }
    // What only some runs have; empty is what everybody takes for granted.
    let special = [
        ("sizes", &config.message_sizes),
        ("arrival of messages", &config.arrival),
        ("when behind the schedule", &config.catch_up),
        ("stages", &config.stages),
    ];
    for (name, value) in special {
        // In a closed loop there is no schedule to keep.
        let applies = report.loop_model == "open" || name == "sizes";
        if !value.is_empty() && applies {
            push(name, value.clone());
        }
    }
    if let Some(count) = config.messages_max {
        push("ended after", format!("{} messages", format_count(count)));
    }
    if let Some(bytes) = config.fragment_size_bytes {
        push("fragments of", size(bytes as f64).joined());
    }
    if !config.masking.is_empty() && config.masking != "fresh" {
        push("masking key", config.masking.to_string());
    }
    match config.rate_per_second {
        Some(rate) => push("asked rate", amount(rate, "/s").joined()),
        None if report.loop_model == "closed" => push(
            "in flight per connection",
            format_count(u64::from(config.in_flight)),
        ),
        None => {}
    }
    facts
}

fn compression(report: &Report) -> String {
    if !report.config.deflate_offered {
        return "not offered".to_owned();
    }
    let agreed = report.connections.deflate_agreed.iter();
    let agreed: Vec<String> = agreed
        .map(|(parameters, count)| {
            let name = if parameters.is_empty() {
                "declined"
            } else {
                parameters
            };
            format!("{name} on {} connections", format_count(*count))
        })
        .collect();
    if agreed.is_empty() {
        "offered".to_owned()
    } else {
        agreed.join("; ")
    }
}

fn backend(report: &Report) -> String {
    let mut backends = report.generator.backends.clone();
    backends.dedup();
    if backends.is_empty() {
        report.config.backend.clone()
    } else {
        backends.join("; ")
    }
}

fn host(environment: &Environment, report: &Report) -> Vec<(String, String)> {
    let mut facts = Vec::new();
    let mut push = |name: &str, value: Option<String>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            facts.push((name.to_owned(), value));
        }
    };
    push(
        "begun",
        (environment.started_unix_ms > 0).then(|| moment(environment.started_unix_ms)),
    );
    push("commit", environment.commit.clone());
    push("kernel", environment.kernel.clone());
    push("processor", environment.cpu_model.clone());
    push(
        "processors for us",
        (environment.processors > 0).then(|| environment.processors.to_string()),
    );
    push(
        "CPU quota",
        environment.cpu_quota.map(|cpus| amount(cpus, "").number),
    );
    push(
        "virtual machine",
        environment
            .is_virtual_machine
            .map(|is_one| if is_one { "yes" } else { "no" }.to_owned()),
    );
    push(
        "memory",
        environment
            .memory_bytes
            .map(|bytes| size(bytes as f64).joined()),
    );
    push("frequency governor", environment.governor.clone());
    push("clock source", report.generator.clock_source.clone());
    push("mitigations", environment.mitigations.clone());
    push(
        "path to the server",
        Some(
            if report.config.is_loopback {
                "loopback: shared host, no network in between"
            } else {
                "network"
            }
            .to_owned(),
        ),
    );
    push("host", environment.host_id.clone());
    if let Some(share) = report.delivered_share {
        push(
            "delivered to healthy readers",
            Some(percent(share).joined()),
        );
    }
    facts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_lines_can_be_pasted() {
        let words = ["echo", "ws://a:1/x", "", "it's", "-H", "A: b"].map(str::to_owned);
        assert_eq!(
            command_line(&words),
            "echo ws://a:1/x '' 'it'\\''s' -H 'A: b'"
        );
    }
}
