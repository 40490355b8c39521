//! Thresholds, abort conditions, repeated runs and JUnit, through the binary.

use std::net::SocketAddr;
use std::time::Duration;

use crate::support::files::File;
use crate::support::servers::echo_server;
use crate::support::{Outcome, echo, honest, loadgen, run, serve, upgrade};
use quick_xml::events::Event;
use quick_xml::reader::Reader;
use serde_json::Value;

/// Every reply takes at least so long.
fn slow_server(delay: Duration) -> SocketAddr {
    serve(move |_, stream| {
        if let Some(mut socket) = upgrade(stream) {
            echo(&mut socket, |_, message, socket| {
                std::thread::sleep(delay);
                socket.send(message).is_ok()
            });
        }
    })
}

fn threshold(outcome: &Outcome, number: usize) -> &Value {
    let found = outcome.json.pointer(&format!("/thresholds/{number}"));
    found.unwrap_or_else(|| unreachable!("no threshold {number}: {}", outcome.text))
}

#[test]
fn met_and_missed() {
    let url = format!("ws://{}/", slow_server(Duration::from_millis(20)));
    let base = [
        "echo",
        &url,
        "-c",
        "2",
        "-d",
        "300ms",
        "-w",
        "0s",
        "--allow-invalid",
    ];
    let met = run(&[
        &base[..],
        &["--threshold", "echo.p50>=20ms", "--threshold", "p(99)>1"],
    ]
    .concat());
    assert_eq!(met.code, Some(0), "{}", met.text);
    assert_eq!(threshold(&met, 1)["is_met"], true);
    let missed = run(&[
        &base[..],
        &["--threshold", "echo.p50<19ms", "--threshold", "rate>0"],
    ]
    .concat());
    assert_eq!(missed.code, Some(3), "{}", missed.text);
    assert_eq!(missed.json["exit_code"], 3);
    assert_eq!(threshold(&missed, 0)["expression"], "echo.p50 < 19ms");
    assert_eq!(threshold(&missed, 0)["is_met"], false);
    assert!(
        threshold(&missed, 0)["measured"]
            .as_f64()
            .is_some_and(|ns| ns >= 19e6)
    );
    assert_eq!(threshold(&missed, 1)["is_met"], true);
    let line = missed
        .text
        .lines()
        .find(|line| line.contains("echo.p50 < 19ms"));
    assert!(
        line.is_some_and(|line| line.contains("NOT MET")),
        "{}",
        missed.text
    );
}

#[test]
fn what_makes_no_sense_is_said_before_the_run() {
    let url = format!("ws://{}/", echo_server());
    for (expression, word) in [
        ("echo.p99x<1ms", "p99.999"),
        ("fanout.p99<1ms", "measured by `fanout`"),
        ("server.cpu<50%", "--server-pid"),
        ("echo.p99<5", "5ms"),
    ] {
        let outcome = run(&["echo", &url, "--threshold", expression]);
        assert_eq!(outcome.code, Some(2), "{expression}: {}", outcome.text);
        assert!(
            outcome.text.contains(word),
            "{expression}: {}",
            outcome.text
        );
        assert_eq!(outcome.json, Value::Null, "nothing was run");
    }
}

#[test]
fn an_invalid_measurement_proves_no_threshold() {
    // One connection of two is refused: INVALID whatever the host does.
    let address = serve(|number, stream| {
        if number == 0
            && let Some(mut socket) = upgrade(stream)
        {
            echo(&mut socket, honest);
        }
    });
    let url = format!("ws://{address}/");
    let base = [
        "echo",
        &url,
        "-c",
        "2",
        "-d",
        "200ms",
        "-w",
        "0s",
        "--threshold",
        "rate>1g",
    ];
    let invalid = run(&base);
    assert_eq!(invalid.code, Some(4), "{}", invalid.text);
    assert_eq!(threshold(&invalid, 0)["is_met"], false);
}

#[test]
fn an_abort_condition_ends_the_run_early() {
    let url = format!("ws://{}/", slow_server(Duration::from_millis(50)));
    let outcome = run(&[
        "echo",
        &url,
        "-c",
        "1",
        "-d",
        "50s",
        "-w",
        "0s",
        "--abort-on",
        "echo.p50>40ms",
    ]);
    assert_eq!(outcome.code, Some(3), "{}", outcome.text);
    assert_eq!(
        threshold(&outcome, 0)["expression"],
        "abort-on echo.p50 > 40ms"
    );
    let measured_s = outcome.json["duration_s"].as_f64().expect("a number");
    assert!((2.0..45.0).contains(&measured_s), "{measured_s}");
    assert!(
        outcome.text.contains("ended by --abort-on"),
        "{}",
        outcome.text
    );
}

#[test]
fn junit_is_read_by_a_parser() {
    let url = format!("ws://{}/?a=1&b='2'", echo_server());
    let file = File::new("junit.xml");
    let outcome = run(&[
        "echo",
        &url,
        "-c",
        "1",
        "-d",
        "200ms",
        "-w",
        "0s",
        "--junit",
        file.path(),
        "--threshold",
        "rate>1g",
        "--threshold",
        "echo.p99<1h",
    ]);
    let text = file.read();
    let mut reader = Reader::from_str(&text);
    let (mut cases, mut failures, mut suite) = (0, 0, String::new());
    loop {
        match reader.read_event().expect("well-formed") {
            Event::Eof => break,
            Event::Start(element) | Event::Empty(element) => match element.name().as_ref() {
                b"testcase" => cases += 1,
                b"failure" => failures += 1,
                b"testsuite" => {
                    let name = element.try_get_attribute("name").expect("attributes");
                    let name = name.expect("a name").unescape_value().expect("escaped");
                    suite = name.into_owned();
                }
                _ => {}
            },
            _ => {}
        }
    }
    assert_eq!((cases, failures), (3, 1), "{text}\n{}", outcome.text);
    assert_eq!(suite, format!("echo {url}"));
}

#[test]
fn repeated_runs_write_a_file_each_after_a_restart() {
    let address = echo_server();
    let (one, two) = (File::new("repeat-1.json"), File::new("repeat-2.json"));
    let (base, trace) = (File::new("repeat.json"), File::new("trace"));
    let url = format!("ws://{address}/");
    let restart = format!("echo again >> '{}'", trace.path());
    let words = [
        "echo", &url, "-c", "1", "-d", "100ms", "-w", "0s", "--runs", "2",
    ];
    let ends = ["--restart", &restart, "--json", base.path()];
    let output = loadgen(&[&words[..], &ends].concat());
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    for file in [&one, &two] {
        let report: Value = serde_json::from_str(&file.read()).expect("JSON");
        assert_eq!(report["mode"], "echo", "{text}");
    }
    assert!(!base.exists(), "the name itself is not used");
    assert_eq!(trace.read().lines().count(), 2);
    let failing = loadgen(&["echo", &url, "--restart", "exit 7"]);
    assert_eq!(failing.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&failing.stderr).contains("exit 7"));
}
