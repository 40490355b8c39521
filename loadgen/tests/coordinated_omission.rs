//! What a stall does to the reported percentiles, against the closed form.
//!
//! A stall of S in a run of T at a constant rate delays the share S/T of all messages by times
//! that are spread evenly between 0 and S; everything else is fast. With S/T = 0.1 the 95th
//! percentile is therefore S/2, the 99th 0.9 S, and the largest S.

// A program of its own: nothing else runs while it times.
mod support;

use std::sync::mpsc;
use std::time::{Duration, Instant};

use support::servers::answering_server;
use support::{Outcome, honest, run, start};

const STALL: Duration = Duration::from_millis(300);

/// Answers at once, except that it does nothing for a while when it gets message `at`. Reports
/// how long that took.
fn stalling_server(at: u64) -> (String, mpsc::Receiver<Duration>) {
    let (sender, receiver) = mpsc::channel();
    let address = answering_server(move |number, message, socket| {
        if number == at {
            let begun = Instant::now();
            std::thread::sleep(STALL);
            let _ = sender.send(begun.elapsed());
        }
        socket.send(message).is_ok()
    });
    (format!("ws://{address}/"), receiver)
}

fn latency_ms(outcome: &Outcome, which: &str) -> f64 {
    outcome.count(&format!("/latency_ns/{which}")) as f64 / 1e6
}

/// 8 ms for the scheduler of a busy machine, and 5 % for the rest.
fn assert_close(outcome: &Outcome, which: &str, expected_ms: f64) {
    let found_ms = latency_ms(outcome, which);
    let tolerance_ms = 8.0 + expected_ms * 0.05;
    assert!(
        (found_ms - expected_ms).abs() <= tolerance_ms,
        "{which}: {found_ms:.1} ms instead of {expected_ms:.1} ± {tolerance_ms:.1} ms\n{}",
        outcome.text
    );
}

fn assert_closed_form(outcome: &Outcome, stall: Duration, run_s: f64) {
    let stall_ms = stall.as_secs_f64() * 1e3;
    let share = stall.as_secs_f64() / run_s;
    for (which, quantile) in [("response/p99", 0.99), ("response/p999", 0.999)] {
        assert_close(outcome, which, stall_ms * (1.0 - (1.0 - quantile) / share));
    }
    assert_close(outcome, "response/max", stall_ms);
    assert!(
        latency_ms(outcome, "response/p50") < 30.0,
        "{}",
        outcome.text
    );
}

#[test]
fn an_open_loop_sees_a_stall_of_the_server_in_full() {
    let (url, stalls) = stalling_server(1_500);
    let outcome = run(&[
        "echo", &url, "-c", "1", "-R", "1000", "-d", "3s", "-w", "0s",
    ]);
    let stall = stalls.try_recv().expect("the server stalled");
    outcome.expect(&[("/messages/sent", 3_000), ("/messages/received", 3_000)]);
    assert_closed_form(&outcome, stall, 3.0);
    // The generator was not the one that was late: it sent on through the stall, so the latency
    // from the actual send time says the same.
    assert_close(
        &outcome,
        "service/p99",
        latency_ms(&outcome, "response/p99"),
    );
}

#[test]
fn a_closed_loop_hides_the_same_stall() {
    let (url, stalls) = stalling_server(200);
    let outcome = run(&["echo", &url, "-c", "1", "-d", "3s", "-w", "0s"]);
    let stall = stalls.try_recv().expect("the server stalled");
    // One message only met the stall; with every other one fast, p99 knows nothing of it.
    assert!(
        outcome.count("/messages/received") > 1_000,
        "{}",
        outcome.text
    );
    assert_close(&outcome, "service/max", stall.as_secs_f64() * 1e3);
    assert!(
        latency_ms(&outcome, "service/p99") < 100.0,
        "{}",
        outcome.text
    );
    assert_eq!(outcome.json["loop"], "closed");
}

#[test]
fn a_stall_of_the_generator_is_in_response_but_not_in_service_and_makes_it_invalid() {
    let (sender, receiver) = mpsc::channel();
    let address = answering_server(move |number, message, socket| {
        if number == 1_000 {
            let _ = sender.send(());
        }
        honest(number, message, socket)
    });
    let url = format!("ws://{address}/");
    let running = start(&[
        "echo", &url, "-c", "1", "-R", "1000", "-d", "3s", "-w", "0s",
    ]);
    let is_halfway = receiver.recv_timeout(Duration::from_secs(30));
    running.signal("STOP");
    let begun = Instant::now();
    std::thread::sleep(STALL);
    running.signal("CONT");
    let stall = begun.elapsed();
    let outcome = running.finish();
    assert!(is_halfway.is_ok(), "{}", outcome.text);
    outcome.expect(&[("/messages/sent", 3_000), ("/messages/received", 3_000)]);
    assert_closed_form(&outcome, stall, 3.0);
    // Messages that were due while the process was stopped were sent late, and answered at once.
    let (service, response) = (
        latency_ms(&outcome, "service/p99"),
        latency_ms(&outcome, "response/p99"),
    );
    assert!(
        service < response / 3.0,
        "service {service} ms, response {response} ms"
    );
    assert_close(
        &outcome,
        "response/p99",
        outcome.count("/generator/late_ns/p99") as f64 / 1e6,
    );
    outcome
        .expect_end(4, "INVALID")
        .expect_reason("the generator was not on time");
}
