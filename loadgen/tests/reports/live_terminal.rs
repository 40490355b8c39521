//! The program on a pseudo terminal: the terminal is as it was, however the program ends.

use std::process::Command;

use crate::session::Session;
use crate::support::servers::echo_server;
use fanwire_loadgen::live::terminal::Terminal;

/// Set for the child of the test that panics.
const CHILD: &str = "FANWIRE_TEST_IS_CHILD";

/// A run of `echo` against an honest server, in a session and on a terminal of its own.
fn start(options: &[&str]) -> Session {
    let address = echo_server();
    let url = format!("ws://{address}/");
    let mut command = Command::new("setsid");
    command
        .args([
            "--ctty",
            env!("CARGO_BIN_EXE_fanwire-loadgen"),
            "echo",
            &url,
        ])
        .args(["-c", "2", "-R", "100", "-w", "0"])
        .args(options)
        .env_remove("NO_COLOR");
    Session::start(command)
}

#[test]
fn at_the_end_of_a_run() {
    let mut session = start(&["-d", "1s"]);
    session.await_text("measuring");
    let (status, after) = session.finish();
    assert!(
        status.code().is_some_and(|code| code == 0 || code == 4),
        "{status} {after}"
    );
    assert!(
        after.contains("integrity"),
        "the report is on the screen that stays: {after}"
    );
}

#[test]
fn when_it_is_interrupted() {
    for how in ["key q", "key \u{3}", "signal INT", "signal TERM"] {
        let mut session = start(&["-d", "1h"]);
        session.await_text("measuring");
        match how.split_once(' ') {
            Some(("key", key)) => session.press(key),
            Some((_, name)) => session.signal(name),
            None => unreachable!(),
        }
        let (status, after) = session.finish();
        assert_eq!(status.code(), Some(130), "{how:?}: {after}");
        assert!(
            after.contains("integrity"),
            "{how:?}: a partial report: {after}"
        );
    }
}

#[test]
fn when_a_second_signal_ends_it_at_once() {
    // Nobody answers, so the run waits for its drain, and then for more.
    let address = crate::support::serve(|_, stream| {
        if let Some(mut socket) = crate::support::upgrade(stream) {
            while socket.read().is_ok() {}
        }
    });
    let url = format!("ws://{address}/");
    let mut command = Command::new("setsid");
    command.args([
        "--ctty",
        env!("CARGO_BIN_EXE_fanwire-loadgen"),
        "echo",
        &url,
    ]);
    command.args([
        "-c", "1", "-R", "10", "-w", "0", "-d", "1h", "--drain", "1h",
    ]);
    let mut session = Session::start(command);
    session.await_text("measuring");
    session.press("q");
    session.await_text("draining");
    session.press("q");
    let (status, after) = session.finish();
    assert_eq!(status.code(), Some(130), "{after}");
    assert!(!after.contains("integrity"), "no report: {after}");
}

#[test]
fn keys_that_would_stop_it_do_not() {
    let mut session = start(&["-d", "2s"]);
    session.await_text("measuring");
    // Ctrl-Z, Ctrl-\, Ctrl-S, and a function key whose name holds a q.
    session.press("\x1a\x1c\x13");
    session.press("\x1bOq");
    let (status, after) = session.finish();
    assert!(
        status.code().is_some_and(|code| code == 0 || code == 4),
        "{status} {after}"
    );
    assert!(after.contains("integrity"), "{after}");
}

#[test]
fn when_it_panics() {
    if std::env::var_os(CHILD).is_some() {
        let _terminal = Terminal::enter().expect("a terminal");
        panic!("on purpose");
    }
    let this = std::env::current_exe().expect("this test");
    let mut command = Command::new("setsid");
    command
        .arg("--ctty")
        .arg(this)
        .args(["--exact", "live_terminal::when_it_panics", "--nocapture"])
        .env(CHILD, "1");
    let (status, after) = Session::start(command).finish();
    assert!(!status.success());
    assert!(
        after.contains("on purpose"),
        "the message is on the screen that stays: {after}"
    );
}

#[test]
fn without_a_terminal_there_are_lines() {
    let address = echo_server();
    let url = format!("ws://{address}/");
    let run = |more: &[&str]| {
        let line = ["echo", &url, "-c", "2", "-R", "100", "-w", "0", "-d", "1s"];
        crate::support::run(&[&line, more].concat()).text
    };
    let text = run(&[]);
    assert!(
        text.starts_with("opening 2 connections\nmeasuring, 1.00s\n"),
        "{text}"
    );
    assert!(!text.contains('\u{1b}'), "no escape sequences: {text}");
    let text = run(&["--quiet"]);
    assert!(
        !text.contains("opening") && !text.contains("measuring,"),
        "{text}"
    );
}
