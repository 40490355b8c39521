//! `find` and `sweep` against servers whose capacity is known.
//!
//! How busy the host is must not matter: the server's slowness is a hundred times what a scheduler
//! does, and `--allow-invalid` lets the thresholds alone decide.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::support::files::File;
use crate::support::servers::echo_server;
use crate::support::{Outcome, echo, honest, run, serve, upgrade};
use serde_json::Value;
use tungstenite::protocol::{Role, WebSocket};

/// What a message waits when more come than the capacity.
const SLOW: Duration = Duration::from_millis(2_000);
/// Over so many messages the rate is taken, so that a hiccup of the host is no burst.
const RECENT: usize = 60;

/// Echoes at once up to `capacity` messages a second on its one connection, and far too late above.
fn server_with_capacity(capacity: f64) -> SocketAddr {
    serve(move |_, stream| {
        let Ok(second) = stream.try_clone() else {
            return;
        };
        let Some(mut socket) = upgrade(stream) else {
            return;
        };
        let (sender, receiver) = mpsc::channel::<(Instant, tungstenite::Message)>();
        std::thread::spawn(move || {
            let mut writer = WebSocket::from_raw_socket(second, Role::Server, None);
            for (due, message) in receiver {
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                if writer.send(message).is_err() {
                    return;
                }
            }
        });
        let mut recent = VecDeque::new();
        let mut is_slow = false;
        while let Ok(message) = socket.read() {
            if !(message.is_binary() || message.is_text()) {
                continue;
            }
            let now = Instant::now();
            recent.push_back(now);
            if recent.len() > RECENT {
                let took = recent
                    .pop_front()
                    .map(|first| now - first)
                    .unwrap_or_default();
                is_slow |= RECENT as f64 / took.as_secs_f64() > capacity;
            }
            let due = if is_slow { now + SLOW } else { now };
            if sender.send((due, message)).is_err() {
                return;
            }
        }
    })
}

fn number(outcome: &Outcome, name: &str) -> f64 {
    let found = outcome.json[name].as_f64();
    found.unwrap_or_else(|| unreachable!("no {name} in {:#}\n{}", outcome.json, outcome.text))
}

#[test]
fn the_capacity_of_a_server_is_found() {
    let capacity = 400.0;
    let url = format!("ws://{}/", server_with_capacity(capacity));
    let outcome = run(&[
        "find",
        "echo",
        &url,
        "-c",
        "1",
        "--vary",
        "rate",
        "--threshold",
        "echo.p50<1s",
        "--start",
        "50",
        "--max",
        "3200",
        "--tolerance",
        "30%",
        "--window",
        "1s",
        "-w",
        "0s",
        "--confirm",
        "2",
        "--pause",
        "0s",
        "--drain",
        "5s",
        "--allow-invalid",
    ]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.text);
    let best = number(&outcome, "best");
    // A host that stalls the generator makes bursts of what it sends late, so that the server seems
    // to have less; more than it has it never seems to have.
    assert!(
        (40.0..=capacity * 1.15).contains(&best),
        "{best}: {}",
        outcome.text
    );
    assert_eq!(outcome.json["schema"], "fanwire-loadgen-find/1");
    assert!(
        outcome.json["bound"]["server"].is_string(),
        "{}",
        outcome.text
    );
    let windows = outcome.json["windows"].as_array().expect("windows");
    let confirming: Vec<&Value> = windows
        .iter()
        .filter(|window| window["purpose"] == "confirm" && window["load"] == outcome.json["best"])
        .collect();
    assert_eq!(confirming.len(), 2, "{}", outcome.text);
    assert!(
        confirming
            .iter()
            .all(|window| window["report"]["mode"] == "echo")
    );
    assert!(outcome.text.contains("result"), "{}", outcome.text);
}

#[test]
fn whole_connections_are_found() {
    // The fourth connection and those after it are turned away.
    let open = AtomicUsize::new(0);
    let address = serve(move |_, stream| {
        if open.fetch_add(1, SeqCst) < 3
            && let Some(mut socket) = upgrade(stream)
        {
            echo(&mut socket, honest);
        }
        open.fetch_sub(1, SeqCst);
    });
    let url = format!("ws://{address}/");
    let outcome = run(&[
        "find",
        "idle",
        &url,
        "-c",
        "1",
        "--max",
        "16",
        "--threshold",
        "errors.count==0",
        "--window",
        "100ms",
        "--confirm",
        "1",
        "--pause",
        "300ms",
        "--allow-invalid",
    ]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.text);
    assert_eq!(number(&outcome, "best"), 3.0, "{}", outcome.text);
    assert_eq!(number(&outcome, "upper"), 4.0, "{}", outcome.text);
}

#[test]
fn nothing_is_good_enough() {
    let address = serve(|_, stream| {
        if let Some(mut socket) = upgrade(stream) {
            echo(&mut socket, |_, message, socket| {
                std::thread::sleep(Duration::from_millis(5));
                socket.send(message).is_ok()
            });
        }
    });
    let url = format!("ws://{address}/");
    let outcome = run(&[
        "find",
        "echo",
        &url,
        "--vary",
        "connections",
        "-c",
        "2",
        "--threshold",
        "echo.p50<1us",
        "--window",
        "100ms",
        "-w",
        "0s",
        "--pause",
        "0s",
        "--allow-invalid",
    ]);
    assert_eq!(outcome.code, Some(3), "{}", outcome.text);
    assert_eq!(outcome.json["best"], Value::Null);
}

#[test]
fn a_server_that_is_not_there_is_no_overload() {
    let address = serve(|_, _| {});
    for url in ["ws://127.0.0.1:1/".to_owned(), format!("ws://{address}/")] {
        let outcome = run(&[
            "find",
            "echo",
            &url,
            "--threshold",
            "echo.p99<1s",
            "--window",
            "100ms",
        ]);
        assert_eq!(outcome.code, Some(1), "{}", outcome.text);
        assert!(outcome.text.contains("first window"), "{}", outcome.text);
        let windows = outcome.json["windows"].as_array().expect("kept");
        assert_eq!(windows.len(), 1, "{}", outcome.text);
        assert_eq!(outcome.json["exit_code"], 1);
    }
}

#[test]
fn without_a_threshold_there_is_nothing_to_find() {
    for (arguments, word) in [
        (&["find", "echo", "ws://127.0.0.1:1/"][..], "echo.p99<1ms"),
        (
            &[
                "find",
                "echo",
                "ws://127.0.0.1:1/",
                "--threshold",
                "p(9)<1",
                "--vary",
                "subscribers",
            ],
            "subscribers",
        ),
        (
            &[
                "find",
                "echo",
                "ws://127.0.0.1:1/",
                "--threshold",
                "p(9)<1",
                "--min",
                "9",
                "--max",
                "8",
            ],
            "--min",
        ),
        (
            &[
                "find",
                "echo",
                "ws://127.0.0.1:1/",
                "--threshold",
                "p(9)<1",
                "-n",
                "5",
            ],
            "-n",
        ),
        (
            &["sweep", "echo", "ws://127.0.0.1:1/", "--over", "rate"],
            "rate=10k",
        ),
    ] {
        let outcome = run(arguments);
        assert_eq!(outcome.code, Some(2), "{arguments:?}: {}", outcome.text);
        assert!(
            outcome.text.contains(word),
            "{arguments:?}: {}",
            outcome.text
        );
    }
}

#[test]
fn a_sweep_has_a_row_for_each_value() {
    let address = echo_server();
    let url = format!("ws://{address}/");
    let plot = File::new("sweep.svg");
    let outcome = run(&[
        "sweep",
        "echo",
        &url,
        "--over",
        "connections=1,2,3,4",
        "--repeat",
        "2",
        "-d",
        "100ms",
        "-w",
        "0s",
        "--pause",
        "0s",
        "--plot",
        plot.path(),
    ]);
    assert!(matches!(outcome.code, Some(0 | 4)), "{}", outcome.text);
    let points = outcome.json["points"].as_array().expect("points");
    let values: Vec<f64> = points
        .iter()
        .filter_map(|point| point["value"].as_f64())
        .collect();
    assert_eq!(values, [1.0, 2.0, 3.0, 4.0]);
    for point in points {
        assert_eq!(point["runs"], 2);
        assert!(
            point["p99_ns"].as_f64().is_some_and(|ns| ns > 0.0),
            "{point}"
        );
        assert!(
            point["achieved_per_second"]
                .as_f64()
                .is_some_and(|rate| rate > 1.0)
        );
    }
    assert!(
        outcome.json["scalability"]["sigma"].is_number(),
        "{:#}",
        outcome.json
    );
    let drawing = plot.read();
    assert!(
        drawing.starts_with("<svg ") && drawing.contains("p99.9"),
        "{drawing}"
    );
}
