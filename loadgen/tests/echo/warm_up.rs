//! A warm-up that ends when the load is steady, against servers that are, become so, or never are.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::support::{Outcome, echo, honest, run, serve, upgrade};

/// Echoes each message after a time that depends on how long ago the load began.
fn delaying_server(delay_ms: fn(since_s: f64) -> f64) -> String {
    let begun: OnceLock<Instant> = OnceLock::new();
    let begun = std::sync::Arc::new(begun);
    let address = serve(move |_, stream| {
        let Some(mut socket) = upgrade(stream) else {
            return;
        };
        echo(&mut socket, |number, message, socket| {
            let since = begun.get_or_init(Instant::now).elapsed();
            let delay_ms = delay_ms(since.as_secs_f64());
            std::thread::sleep(Duration::from_secs_f64(delay_ms / 1e3));
            honest(number, message, socket)
        });
    });
    format!("ws://{address}")
}

fn measured(url: &str, further: &[&str]) -> Outcome {
    // Late sends of a busy machine are not what this is about.
    let mut arguments = vec!["echo", url, "-c", "10", "-d", "1s", "--allow-invalid"];
    arguments.extend_from_slice(further);
    run(&arguments)
}

fn warmup_s(outcome: &Outcome) -> f64 {
    let warmup_s = outcome.json["warmup_s"].as_f64();
    warmup_s.unwrap_or_else(|| unreachable!("no warm-up\n{}", outcome.text))
}

/// The counts of an open loop: what was due in the measured second, and nothing else, is measured.
fn expect_one_second(outcome: &Outcome, per_second: u64) {
    let whole_s = warmup_s(outcome) as u64 + 1;
    outcome.expect(&[
        ("/latency_ns/response/count", per_second),
        ("/messages/sent", whole_s * per_second),
        ("/messages/received", whole_s * per_second),
        ("/messages/lost", 0),
    ]);
    let rows = outcome.json["series"].as_array().expect("rows");
    let is_measured = |row: &&serde_json::Value| row["is_measured"] == true;
    let counts = rows
        .iter()
        .filter(is_measured)
        .map(|row| row["response"]["count"].as_u64().unwrap_or(0));
    // The last reply may come a moment after the row's end.
    assert!(counts.sum::<u64>() + 10 >= per_second, "{rows:#?}");
}

#[test]
fn a_steady_server_is_measured_soon() {
    let url = delaying_server(|_| 5.0);
    let outcome = measured(&url, &["-R", "200"]);
    assert_eq!(outcome.json["is_warmup_steady"], true, "{}", outcome.text);
    // Whole seconds, two at least. A busy machine is less steady than the server.
    assert_eq!(warmup_s(&outcome).fract(), 0.0);
    assert!(warmup_s(&outcome) >= 2.0 && warmup_s(&outcome) < 10.0);
    expect_one_second(&outcome, 200);
}

#[test]
fn a_server_that_becomes_faster_is_waited_for() {
    // 80 ms in the beginning, 20 ms after four seconds.
    let url = delaying_server(|since_s| (80.0 - 15.0 * since_s).max(20.0));
    let outcome = measured(&url, &["-R", "50"]);
    assert!(
        warmup_s(&outcome) >= 5.0,
        "{}\n{}",
        warmup_s(&outcome),
        outcome.text
    );
    let slowest_ns = outcome.count("/latency_ns/response/p50");
    assert!(slowest_ns < 35_000_000, "{slowest_ns}\n{}", outcome.text);
    expect_one_second(&outcome, 50);
}

#[test]
fn a_server_that_becomes_ever_slower_is_measured_after_ten_seconds_and_that_is_said() {
    let url = delaying_server(|since_s| 10.0 * 1.35f64.powf(since_s));
    let outcome = measured(&url, &["-R", "20"]);
    assert_eq!(outcome.json["is_warmup_steady"], false, "{}", outcome.text);
    assert_eq!(warmup_s(&outcome), 10.0);
    assert!(
        outcome
            .text
            .contains("the load was not steady after a warm-up"),
        "{}",
        outcome.text
    );
    expect_one_second(&outcome, 20);
}

#[test]
fn a_length_that_is_asked_for_is_kept() {
    let url = delaying_server(|_| 1.0);
    let outcome = measured(&url, &["-R", "100", "-w", "1s"]);
    assert!(outcome.json.get("is_warmup_steady").is_none());
    assert_eq!(warmup_s(&outcome), 1.0);
    expect_one_second(&outcome, 100);
}
