//! `run`: scenario files from their text to the report of every load.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use crate::support::files::File;
use crate::support::servers::echo_server;
use crate::support::{Outcome, echo, honest, loadgen, run, serve, start, upgrade};
use serde_json::Value;

/// A scenario file.
fn scenario(name: &str, text: &str) -> File {
    File::written(&format!("{name}.toml"), text)
}

fn part<'a>(outcome: &'a Outcome, name: &str) -> &'a Value {
    let parts = outcome.json["parts"].as_array().expect("parts");
    let found = parts.iter().find(|part| part["name"] == name);
    found.unwrap_or_else(|| unreachable!("no part {name}\n{}", outcome.text))
}

fn count(value: &Value, pointer: &str) -> u64 {
    let found = value.pointer(pointer).and_then(Value::as_u64);
    found.unwrap_or_else(|| unreachable!("no {pointer} in {value:#}"))
}

const TWO: &str = r#"
[scenario]
name = "two"
threshold = ["errors.count==0", "talk.response.p50<10s"]

[parameters]
connections = 4
rate = 100

[defaults]
duration = "1s"
warmup = "100ms"

[[load]]
name = "talk"
command = "echo"
connections = "${connections}"
rate = "${rate}"

[[load]]
name = "people"
command = "churn"
connections = 3
lifetime = "300ms"
"#;

#[test]
fn two_loads_have_their_own_ledgers_and_a_sum() {
    let file = scenario("two", TWO);
    let url = format!("ws://{}", echo_server());
    let outcome = run(&["run", file.path(), &url, "--quiet", "--allow-invalid"]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.text);
    let (talk, people) = (part(&outcome, "talk"), part(&outcome, "people"));
    assert_eq!((&talk["stage"], &people["stage"]), (&"".into(), &"".into()));
    assert_eq!(
        (&talk["report"]["mode"], &people["report"]["mode"]),
        (&"echo".into(), &"churn".into())
    );
    assert_eq!(outcome.json["mode"], "run");
    // 100 a second for 1.1 s, on the dot: a schedule leaves nothing out.
    assert_eq!(count(talk, "/report/messages/sent"), 110);
    for part in [talk, people] {
        assert_eq!(part["report"]["messages"]["adds_up"], true);
        assert_eq!(
            count(part, "/report/messages/sent"),
            count(part, "/report/messages/received")
        );
    }
    assert_eq!(people["report"]["churn"]["connections_add_up"], true);
    for pointer in [
        "/messages/sent",
        "/messages/received",
        "/connections/upgraded",
    ] {
        let of_part = |part| count(part, &format!("/report{pointer}"));
        assert_eq!(
            outcome.count(pointer),
            of_part(talk) + of_part(people),
            "{pointer}"
        );
    }
    let met: Vec<(&str, bool)> = outcome.json["thresholds"]
        .as_array()
        .expect("thresholds")
        .iter()
        .map(|result| {
            let expression = result["expression"].as_str().expect("a text");
            (expression, result["is_met"] == true)
        })
        .collect();
    assert_eq!(
        met,
        [
            ("errors.count == 0", true),
            ("talk.response.p50 < 10s", true)
        ]
    );
}

#[test]
fn parameters_thresholds_and_junit_of_the_command_line() {
    let file = scenario("set", TWO);
    let junit = File::new("junit.xml");
    let url = format!("ws://{}", echo_server());
    let outcome = run(&[
        "run",
        file.path(),
        &url,
        "--quiet",
        "--allow-invalid",
        "--set",
        "rate=50",
        "--set",
        "connections=2",
        "--threshold",
        "people.churn.rate<0",
        "--junit",
        junit.path(),
    ]);
    assert_eq!(outcome.code, Some(3), "{}", outcome.text);
    let talk = part(&outcome, "talk");
    assert_eq!(count(talk, "/report/messages/sent"), 55);
    assert_eq!(count(talk, "/report/connections/asked"), 2);
    let xml = std::fs::read_to_string(junit.path()).expect("written");
    assert_eq!(xml.matches("<testsuite ").count(), 3, "{xml}");
    assert!(xml.contains("churn.rate"), "{xml}");
}

#[test]
fn stages_follow_each_other_and_starts_are_kept() {
    let (open, most) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let arrivals = Arc::new(Mutex::new(Vec::new()));
    let (shared, highest, times) = (Arc::clone(&open), Arc::clone(&most), Arc::clone(&arrivals));
    let address = serve(move |_, stream| {
        times.lock().expect("no panic").push(Instant::now());
        let Some(mut socket) = upgrade(stream) else {
            return;
        };
        let now = shared.fetch_add(1, Ordering::SeqCst) + 1;
        highest.fetch_max(now, Ordering::SeqCst);
        echo(&mut socket, honest);
        shared.fetch_sub(1, Ordering::SeqCst);
    });
    let text = r#"
[defaults]
connections = 2
duration = "300ms"
warmup = "0"
[[load]]
name = "first"
command = "echo"
step = "one"
[[load]]
name = "second"
command = "echo"
step = "two"
start = "500ms"
[[load]]
name = "third"
command = "echo"
step = "three"
when = "1 == 2"
"#;
    let file = scenario("stages", text);
    let url = format!("ws://{address}");
    let outcome = run(&["run", file.path(), &url, "--quiet"]);
    let stages: Vec<&Value> = outcome.json["parts"]
        .as_array()
        .expect("parts")
        .iter()
        .map(|part| &part["stage"])
        .collect();
    assert_eq!(stages, ["one", "two"], "{}", outcome.text);
    assert_eq!(most.load(Ordering::SeqCst), 2, "never both at once");
    let arrivals = arrivals.lock().expect("no panic");
    assert_eq!(arrivals.len(), 4);
    let between = arrivals[2].duration_since(arrivals[1]);
    assert!(between >= Duration::from_millis(790), "{between:?}");
}

#[test]
fn a_bad_file_names_line_and_key() {
    let load = "[[load]]\nname = \"a\"\ncommand = \"echo\"\n";
    for (name, text, place, word) in [
        (
            "key",
            format!("{load}conections = 5\n"),
            ":4:1:",
            "did you mean 'connections'",
        ),
        (
            "value",
            format!("{load}duration = \"5 parsecs\"\n"),
            ":4:1:",
            "--duration",
        ),
        ("syntax", format!("{load}duration = \n"), ":4:", ""),
        (
            "agents",
            format!("{load}agents = \"127.0.0.1:1\"\n"),
            ":4:1:",
            "a single load",
        ),
        (
            "section",
            format!("[scenaro]\n{load}"),
            ":1:2:",
            "did you mean 'scenario'",
        ),
    ] {
        let file = scenario(name, &text);
        let outcome = run(&["run", file.path(), "ws://127.0.0.1:1"]);
        assert_eq!(outcome.code, Some(2), "{text}: {}", outcome.text);
        let wanted = format!("{}{place}", file.path());
        assert!(outcome.text.contains(&wanted), "{text}: {}", outcome.text);
        assert!(outcome.text.contains(word), "{text}: {}", outcome.text);
    }
    let outcome = run(&["run", "/nowhere/at-all.toml"]);
    assert_eq!(outcome.code, Some(2), "{}", outcome.text);
    let outcome = run(&["run", "ws://127.0.0.1:1"]);
    assert!(outcome.text.contains("--preset"), "{}", outcome.text);
}

#[test]
fn a_load_that_cannot_start_ends_the_others() {
    let text = r#"
[[load]]
name = "good"
command = "echo"
duration = "30s"
[[load]]
name = "bad"
command = "echo"
server-pid = 4194304
start = "200ms"
"#;
    let file = scenario("unfit", text);
    let url = format!("ws://{}", echo_server());
    let outcome = run(&["run", file.path(), &url, "--quiet"]);
    assert_eq!(outcome.code, Some(1), "{}", outcome.text);
    assert!(outcome.text.contains("load 'bad'"), "{}", outcome.text);
}

#[test]
fn a_signal_ends_all_loads_with_a_partial_report() {
    let (sender, arrivals) = mpsc::channel();
    let sender = Mutex::new(sender);
    let address = serve(move |_, stream| {
        if let Some(mut socket) = upgrade(stream) {
            echo(&mut socket, |message, data, socket| {
                if message == 3 {
                    let _ = sender.lock().expect("no panic").send(());
                }
                socket.send(data).is_ok()
            });
        }
    });
    let text = r#"
[defaults]
duration = "30s"
connections = 1
[[load]]
name = "one"
command = "echo"
step = "now"
[[load]]
name = "two"
command = "echo"
step = "now"
[[load]]
name = "late"
command = "echo"
step = "now"
start = "20s"
[[load]]
name = "never"
command = "echo"
step = "later"
"#;
    let file = scenario("signal", text);
    let url = format!("ws://{address}");
    let running = start(&["run", file.path(), &url, "--quiet"]);
    for _ in 0..2 {
        arrivals
            .recv_timeout(Duration::from_secs(20))
            .expect("a message");
    }
    running.signal("INT");
    let outcome = running.finish();
    assert_eq!(outcome.code, Some(130), "{}", outcome.text);
    let parts = outcome.json["parts"].as_array().expect("parts");
    assert_eq!(parts.len(), 2, "{}", outcome.text);
    assert!(
        parts
            .iter()
            .all(|part| part["report"]["interrupted"] == true)
    );
    assert!(
        outcome.json["notes"]
            .to_string()
            .contains("2 loads did not begin")
    );
}

/// Standard output of the binary.
fn written(arguments: &[&str]) -> (Option<i32>, String) {
    let output = loadgen(arguments);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.code(), text)
}

#[test]
fn presets_are_listed_printed_and_run_from_a_copy() {
    let (code, list) = written(&["run", "--list-presets"]);
    assert_eq!(code, Some(0));
    for name in ["market-data", "chat", "notifications", "uws"] {
        assert!(list.contains(name), "{list}");
        let (code, text) = written(&["run", "--print-preset", name]);
        assert_eq!(code, Some(0));
        let file = scenario(name, &text);
        let url = "ws://127.0.0.1:9001";
        let (code, lines) = written(&["run", file.path(), url, "--dry-run"]);
        assert_eq!(code, Some(0), "{name}");
        let (_, of_preset) = written(&["run", "--profile", name, url, "--dry-run"]);
        assert_eq!(lines, of_preset, "{name}");
    }
    let (code, _) = written(&["run", "--preset", "nothing", "ws://127.0.0.1:1"]);
    assert_eq!(code, Some(2));
}

#[test]
fn the_usual_cases_against_a_server_that_echoes() {
    let url = format!("ws://{}", echo_server());
    let outcome = run(&[
        "run",
        "--preset",
        "uws",
        &url,
        "--quiet",
        "--set",
        "duration=200ms",
        "--set",
        "warmup=0",
    ]);
    let parts = outcome.json["parts"].as_array().expect("parts");
    let sizes: Vec<u64> = parts
        .iter()
        .map(|part| count(part, "/report/config/message_size_bytes"))
        .collect();
    assert_eq!(
        sizes,
        [20, 1_024, 16_384, 16_384, 16_384],
        "{}",
        outcome.text
    );
    for part in parts {
        assert_eq!(part["report"]["loop"], "closed");
        assert!(count(part, "/report/messages/received") > 0);
        assert_eq!(count(part, "/report/messages/corrupt"), 0);
    }
}

#[test]
fn a_server_that_does_not_fit_is_told_what_the_preset_needs() {
    let address = serve(|_, stream| {
        if let Some(mut socket) = upgrade(stream) {
            // Takes everything and says nothing.
            while socket.read().is_ok() {}
        }
    });
    let url = format!("ws://{address}");
    let outcome = run(&[
        "run",
        "--preset",
        "uws",
        &url,
        "--quiet",
        "--set",
        "duration=200ms",
        "--set",
        "warmup=0",
    ]);
    assert_eq!(outcome.code, Some(1), "{}", outcome.text);
    let notes = outcome.json["notes"].to_string();
    assert!(notes.contains("needs a server that echoes"), "{notes}");
}
