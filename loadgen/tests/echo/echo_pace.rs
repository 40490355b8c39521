//! When echo sends: numbers of messages, stages, rhythms and what is overdue. No test depends on the
//! machine being quiet: what is counted is what was due, not how late it went out.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use crate::support::servers::{answering_server, serve_upgraded};
use crate::support::{Outcome, echo, honest, run, start};

/// An echo server and the number of messages it has seen.
fn counting_server() -> (String, Arc<AtomicU64>) {
    let seen = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&seen);
    let address = answering_server(move |number, message, socket| {
        counter.fetch_add(1, Ordering::SeqCst);
        honest(number, message, socket)
    });
    (format!("ws://{address}"), seen)
}

fn sum(outcome: &Outcome, pointers: &[&str]) -> u64 {
    pointers.iter().map(|pointer| outcome.count(pointer)).sum()
}

#[test]
fn a_number_of_messages_is_exact_in_every_loop_and_rhythm() {
    let (url, seen) = counting_server();
    for further in [
        &["--in-flight", "3"][..],
        &["-c", "2", "--in-flight", "50"],
        &["-R", "2000"],
        &["-R", "2000", "--arrival", "poisson"],
        &["-R", "2000", "--arrival", "burst:10"],
        &["-r", "400"],
        &["--stage", "200ms:3000,1s:3000"],
        &["-R", "2000", "-w", "100ms"],
    ] {
        seen.store(0, Ordering::SeqCst);
        let mut arguments = vec!["echo", url.as_str(), "-c", "5", "-n", "701"];
        if further.contains(&"-c") {
            arguments.truncate(2);
            arguments.extend(["-n", "701"]);
        }
        arguments.extend_from_slice(further);
        arguments.extend(["-t", "2"]);
        let outcome = run(&arguments);
        outcome.expect(&[
            ("/messages/sent", 701),
            ("/messages/received", 701),
            ("/messages/unsent", 0),
            ("/config/messages_max", 701),
        ]);
        assert_eq!(seen.load(Ordering::SeqCst), 701, "{further:?}");
        let duration_s = outcome.json["duration_s"].as_f64().unwrap_or(f64::MAX);
        assert!(
            duration_s < 30.0,
            "{further:?}: {duration_s} s were measured"
        );
    }
}

#[test]
fn fewer_messages_than_connections_or_threads() {
    let (url, seen) = counting_server();
    for further in [
        &[][..],
        &["-R", "100"],
        &["-R", "100", "--arrival", "poisson"],
    ] {
        seen.store(0, Ordering::SeqCst);
        let arguments = [
            &["echo", url.as_str(), "-c", "8", "-t", "4", "-n", "3"],
            further,
        ]
        .concat();
        run(&arguments).expect(&[("/messages/sent", 3), ("/messages/received", 3)]);
        assert_eq!(seen.load(Ordering::SeqCst), 3, "{further:?}");
    }
}

#[test]
fn stages_send_the_area_under_the_rate() {
    let (url, _) = counting_server();
    // Half of a second at 1,000/s, a second of it, a jump, and half a second at 400/s: 500 + 1,000 +
    // 200 messages.
    let outcome = run(&[
        "echo",
        &url,
        "-c",
        "10",
        "-t",
        "2",
        "--stage",
        "1s:1000,1s:1000,0s:400,500ms:400",
    ]);
    assert_eq!(
        sum(&outcome, &["/messages/sent", "/messages/unsent"]),
        1_700
    );
    assert_eq!(outcome.json["target_per_second"], 680.0);
    assert_eq!(outcome.json["duration_s"], 2.5);
    assert_eq!(outcome.json["warmup_s"], 0.0);
    assert_eq!(
        outcome.json["config"]["stages"],
        "1s:1000,1s:1000,0s:400,0.5s:400"
    );
    assert_eq!(outcome.json["loop"], "open");
}

#[test]
fn stages_begin_at_the_rate_and_the_warm_up_is_part_of_them() {
    let (url, _) = counting_server();
    let outcome = run(&["echo", &url, "-R", "1000", "-w", "500ms", "--stage", "2s:0"]);
    // From 1,000/s to nothing in two seconds; the last one and a half are measured.
    assert_eq!(
        sum(&outcome, &["/messages/sent", "/messages/unsent"]),
        1_000
    );
    assert_eq!(outcome.json["duration_s"], 1.5);
    assert_eq!(outcome.json["target_per_second"], 375.0);
}

/// Runs for two seconds at 1,000/s and stops the generator for 400 ms in the middle of it.
fn stalled(catch_up: &str) -> Outcome {
    let (sender, arrivals) = mpsc::channel();
    let address = answering_server(move |number, message, socket| {
        let _ = sender.send(());
        honest(number, message, socket)
    });
    let url = format!("ws://{address}");
    let arguments = [
        "echo",
        &url,
        "-R",
        "1000",
        "-d",
        "2s",
        "-w",
        "0",
        "--catchup",
        catch_up,
    ];
    let running = start(&arguments);
    for _ in 0..200 {
        let arrived = arrivals.recv_timeout(Duration::from_secs(20));
        arrived.expect("the generator sends");
    }
    running.signal("STOP");
    // The stall itself.
    std::thread::sleep(Duration::from_millis(400));
    running.signal("CONT");
    running.finish()
}

#[test]
fn overdue_messages_are_dropped_when_asked_and_that_is_judged() {
    let outcome = stalled("none");
    // Every message that was due is accounted for.
    assert_eq!(
        sum(&outcome, &["/messages/sent", "/messages/unsent"]),
        2_000
    );
    let dropped = outcome.count("/messages/dropped");
    assert!((350..2_000).contains(&dropped), "{dropped}");
    outcome.expect_end(4, "INVALID").expect_reason("overdue");
    // What was sent after the stall was at most ten milliseconds late (and what comes after that is
    // the machine's), so the stall is not in the latencies but in the count.
    assert_eq!(outcome.json["config"]["catch_up"], "none");
}

#[test]
fn overdue_messages_are_sent_and_their_clock_keeps_running() {
    let outcome = stalled("all");
    outcome.expect(&[("/messages/sent", 2_000), ("/messages/dropped", 0)]);
    let longest_ns = outcome.count("/latency_ns/response/max");
    assert!(longest_ns >= 350_000_000, "{longest_ns}");
}

#[test]
fn overdue_messages_are_spread_when_asked() {
    // 400 overdue messages at 1,000 more per second than become due are sent within half a second,
    // which leaves none at the end.
    let outcome = stalled("200%");
    assert_eq!(
        sum(&outcome, &["/messages/sent", "/messages/unsent"]),
        2_000
    );
    let longest_ns = outcome.count("/latency_ns/response/max");
    assert!(longest_ns >= 350_000_000, "{longest_ns}");
    assert_eq!(outcome.json["config"]["catch_up"], "200%");
}

#[test]
fn a_silent_server_ends_a_counted_run() {
    let address =
        answering_server(|number, message, socket| number > 10 || honest(number, message, socket));
    let url = format!("ws://{address}");
    let outcome = run(&["echo", &url, "-c", "1", "-n", "100", "--drain", "100ms"]);
    outcome
        .expect(&[("/messages/sent", 11), ("/messages/in_flight", 1)])
        .expect_end(4, "INVALID");
}

#[test]
fn connections_that_are_served_alike_are_fair_and_others_are_not() {
    let (url, _) = counting_server();
    let outcome = run(&["echo", &url, "-c", "8", "-R", "800", "-d", "1s", "-w", "0"]);
    let fairness = outcome.json["connections"]["fairness"].as_f64();
    assert!(fairness.is_some_and(|index| index > 0.99), "{fairness:?}");

    // Three of four connections are never answered: a quarter.
    let address = serve_upgraded(|number, mut socket| {
        echo(&mut socket, |count, message, socket| {
            number > 0 || honest(count, message, socket)
        });
    });
    let url = format!("ws://{address}");
    let outcome = run(&[
        "echo", &url, "-c", "4", "-d", "1s", "-w", "0", "--drain", "100ms",
    ]);
    let fairness = outcome.json["connections"]["fairness"].as_f64();
    assert_eq!(fairness, Some(0.25), "{}", outcome.text);
}

#[test]
fn nonsense_is_refused_with_a_cure() {
    for (further, word) in [
        (&["--arrival", "poisson"][..], "-R"),
        (&["--arrival", "burst:0", "-R", "5"], "burst"),
        (&["--catchup", "none"], "-R"),
        (&["--catchup", "90%", "-R", "5"], "100%"),
        (&["--stage", "10s"], "30s:10k"),
        (&["--stage", "10s:0"], "nothing would be sent"),
        (
            &["--stage", "10s:5", "--in-flight", "2"],
            "cannot be used with",
        ),
        (&["-R", "5", "-r", "5"], "cannot be used with"),
        (&["-n", "0"], "--messages"),
        (&["-n", "5", "-R", "10", "-w", "2s"], "-w 0"),
        (&["-m", "x", "-s", "5"], "cannot be used with"),
        (&["--template"], "--message"),
        (&["-m", "{token}", "--template"], "--token-file"),
        (&["-m", "{rand:0}", "--template"], "{rand:16}"),
        (&["-H", "A: {token}"], "--token-file"),
        (&["-H", "A: {seq}"], "{conn}"),
        (&["--first-message", "{topic}"], "fan-out"),
        (&["--fragment", "0"], "--fragment"),
        (&["--deflate=fast"], "client_max_window_bits"),
        (&["--deflate=server_max_window_bits=7"], "8 to 15"),
        (&["-s", "uniform:9:5"], "smallest"),
        (&["-s", "file:/nonexistent"], "/nonexistent"),
        (&["--token-file", "/nonexistent"], "/nonexistent"),
        (&["-m", "@/nonexistent"], "/nonexistent"),
    ] {
        let arguments = [&["echo", "ws://127.0.0.1:1"][..], further].concat();
        let outcome = run(&arguments);
        assert_eq!(outcome.code, Some(2), "{further:?}: {}", outcome.text);
        assert!(outcome.text.contains(word), "{further:?}: {}", outcome.text);
    }
}
