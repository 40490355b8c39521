//! `run` on a pseudo terminal and elsewhere: one view for all loads, and the terminal as it was.

use std::net::SocketAddr;
use std::process::Command;

use crate::session::Session;
use crate::support::files::File;
use crate::support::run;
use crate::support::servers::{echo_server, serve_upgraded};

/// A scenario file.
fn scenario(name: &str, text: &str) -> File {
    File::written(&format!("live-{name}.toml"), text)
}

/// `run` with a scenario against a server, in a session and on a terminal of its own.
fn start(file: &File, address: SocketAddr, options: &[&str]) -> Session {
    let url = format!("ws://{address}");
    let mut command = Command::new("setsid");
    command
        .args(["--ctty", env!("CARGO_BIN_EXE_fanwire-loadgen"), "run"])
        .args([file.path(), &url])
        .args(options)
        .env_remove("NO_COLOR");
    Session::start(command)
}

/// Two loads at once, one of them shorter, and a third in a step of its own.
const STEPS: &str = r#"
[scenario]
name = "lunch"
[parameters]
short = "1s"
long = "2s"
[defaults]
warmup = "0"
connections = 2
rate = 100
[[load]]
name = "soup"
command = "echo"
step = "one"
duration = "${short}"
[[load]]
name = "talk"
command = "echo"
step = "one"
start = "300ms"
duration = "${long}"
[[load]]
name = "coffee"
command = "echo"
step = "two"
duration = "1s"
"#;

#[test]
fn at_the_end_of_a_scenario() {
    let file = scenario("end", STEPS);
    let mut session = start(&file, echo_server(), &["--allow-invalid"]);
    session.await_text("step 1 of 2: one");
    session.await_text("── soup  echo");
    // The shorter one ends; the view goes to the one that still runs.
    session.await_text("── talk  echo");
    session.await_text("step 2 of 2: two");
    session.await_text("── coffee  echo");
    let (status, after) = session.finish();
    assert_eq!(status.code(), Some(0), "{after}");
    assert!(
        after.contains("integrity") && after.contains("coffee"),
        "the report is on the screen that stays: {after}"
    );
    assert!(!after.contains("begins"), "nothing else: {after}");
}

#[test]
fn when_it_is_interrupted() {
    for how in ["key q", "key \u{3}", "signal INT", "signal TERM"] {
        let file = scenario("interrupted", STEPS);
        let mut session = start(&file, echo_server(), &["--set", "long=1h"]);
        session.await_text("talk   echo measuring");
        match how.split_once(' ') {
            Some(("key", key)) => session.press(key),
            Some((_, name)) => session.signal(name),
            None => unreachable!(),
        }
        let (status, after) = session.finish();
        assert_eq!(status.code(), Some(130), "{how:?}: {after}");
        assert!(
            after.contains("integrity") && after.contains("1 loads did not begin"),
            "{how:?}: a partial report: {after}"
        );
    }
}

#[test]
fn when_a_second_signal_ends_it_at_once() {
    // Nobody answers, so the loads wait for their drain, and then for more.
    let address = serve_upgraded(|_, mut socket| while socket.read().is_ok() {});
    let text = STEPS.replace("[defaults]", "[defaults]\ndrain = \"1h\"");
    let file = scenario("twice", &text);
    let mut session = start(&file, address, &["--set", "long=1h"]);
    session.await_text("talk   echo measuring");
    session.press("q");
    session.await_text("end at once, without a report");
    session.await_text("draining");
    session.press("q");
    let (status, after) = session.finish();
    assert_eq!(status.code(), Some(130), "{after}");
    assert!(!after.contains("integrity"), "no report: {after}");
}

#[test]
fn when_a_load_cannot_begin() {
    let text = r#"
[defaults]
warmup = "0"
[[load]]
name = "good"
command = "echo"
duration = "1h"
[[load]]
name = "bad"
command = "echo"
server-pid = 4194304
start = "1s"
"#;
    let file = scenario("unfit", text);
    let mut session = start(&file, echo_server(), &[]);
    session.await_text("── good  echo");
    let (status, after) = session.finish();
    assert_eq!(status.code(), Some(1), "{after}");
    assert!(
        after.contains("load 'bad': --server-pid 4194304"),
        "the cause is on the screen that stays: {after}"
    );
}

#[test]
fn keys_choose_a_load_and_others_do_nothing() {
    let file = scenario("keys", STEPS);
    let options = ["--set", "short=1h", "--set", "long=1h"];
    let mut session = start(&file, echo_server(), &options);
    session.await_text("── soup  echo");
    session.press("\x1b[B");
    session.await_text("── talk  echo");
    session.press("\t");
    session.await_text("begins with step 2, two");
    session.press("\x1bOA\x1b[A");
    session.await_text("── soup  echo");
    // Ctrl-Z, Ctrl-\, Ctrl-S, and a function key whose name holds a q.
    session.press("\x1a\x1c\x13\x1bOq\t");
    session.await_text("── talk  echo");
    session.press("q");
    let (status, after) = session.finish();
    assert_eq!(status.code(), Some(130), "{after}");
}

#[test]
fn when_the_terminal_changes_its_size() {
    let file = scenario("size", STEPS);
    let mut session = start(&file, echo_server(), &["--set", "long=1h"]);
    session.await_text("messages    ");
    session.resize(40, 12);
    let foot = |session: &Session| session.shown().lines().count();
    // The keys stand on the last line, whatever the size.
    session.await_text("↑↓ load");
    while foot(&session) != 12 || session.shown().contains("messages    ") {
        session.await_more();
    }
    session.resize(120, 50);
    session.await_text("choose a load");
    while foot(&session) != 50 {
        session.await_more();
    }
    session.press("q");
    let (status, after) = session.finish();
    assert_eq!(status.code(), Some(130), "{after}");
}

#[test]
fn when_the_terminal_stands_still() {
    let (file, json) = (scenario("still", STEPS), File::new("live-still.json"));
    let url = format!("ws://{}", echo_server());
    let mut command = Command::new("setsid");
    // The report for a person would wait for the terminal, as it should.
    command
        .args(["--ctty", "sh", "-c", "exec \"$@\" > /dev/null", "sh"])
        .args([env!("CARGO_BIN_EXE_fanwire-loadgen"), "run", file.path()])
        .args([&url, "--allow-invalid", "--json", json.path()]);
    let mut session = Session::start(command);
    session.await_text("measuring");
    session.stand_still();
    let status = session.finish_still();
    assert_eq!(status.code(), Some(0));
    let report: serde_json::Value = serde_json::from_str(&json.read()).expect("JSON");
    // 100 a second for 1, 2 and 1 s: nobody waited for the terminal.
    assert_eq!(report["messages"]["sent"], 400);
    assert_eq!(report["messages"]["received"], 400);
}

#[test]
fn without_a_terminal_there_are_lines_of_each_load() {
    let file = scenario("lines", STEPS);
    let url = format!("ws://{}", echo_server());
    let text = run(&["run", file.path(), &url, "--set", "long=1s"]).text;
    for line in [
        "lunch: step one begins\n",
        "lunch: load soup begins\n",
        "soup:   opening 2 connections\n",
        "talk:   measuring, 1.00s\n",
        "lunch: load talk has ended: ",
        "lunch: step two begins\n",
        "coffee: opening 2 connections\n",
    ] {
        assert!(text.contains(line), "no {line:?} in {text}");
    }
    let end = text
        .lines()
        .find(|line| line.contains("coffee has ended: "));
    let end = end.unwrap_or_default();
    assert!(
        end.contains("100/s · p50 ") && end.contains(" · errors 0"),
        "{end}"
    );
    assert!(!text.contains('\u{1b}'), "no escape sequences: {text}");
    let text = run(&["run", file.path(), &url, "--set", "long=1s", "--quiet"]).text;
    assert!(
        !text.contains("begins") && !text.contains("measuring,"),
        "{text}"
    );
}
