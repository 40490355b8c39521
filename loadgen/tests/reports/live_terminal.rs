//! The program on a pseudo terminal: the terminal is as it was, however the program ends.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use crate::support::servers::echo_server;
use fanwire_loadgen::live::terminal::Terminal;
use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Termios, Winsize, tcgetattr, tcsetwinsize};

/// Whatever takes longer than this hangs.
const PATIENCE: Duration = Duration::from_secs(60);
/// Set for the child of the test that panics.
const CHILD: &str = "FANWIRE_TEST_IS_CHILD";
const ENTER: &str = "\x1b[?1049h";
const LEAVE: &str = "\x1b[?1049l";

/// A program on a terminal of its own. The command that started it is gone with its descriptors.
struct Session {
    child: Child,
    master: File,
    found: Termios,
    output: Receiver<Vec<u8>>,
    /// What stands on the screen, the alternate one while that is shown.
    screen: vt100::Parser,
    /// Everything that was written.
    written: String,
}

impl Session {
    fn start(mut command: Command) -> Session {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pseudo terminal");
        grantpt(&master).expect("ours");
        unlockpt(&master).expect("ours");
        let name = ptsname(&master, Vec::new()).expect("a name");
        let flags = OFlags::RDWR | OFlags::NOCTTY;
        // Ours is closed with the end of this function, so that the last program's close is the end.
        let slave: OwnedFd = rustix::fs::open(name.as_c_str(), flags, Mode::empty()).expect("it");
        let size = Winsize {
            ws_row: 24,
            ws_col: 80,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&slave, size).expect("a size");
        let found = tcgetattr(&slave).expect("modes");
        let end = || Stdio::from(slave.try_clone().expect("a descriptor"));
        let child = command
            .env("TERM", "xterm-256color")
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .expect("setsid(1) runs");
        let master = File::from(master);
        let mut reader = master.try_clone().expect("a descriptor");
        let (sender, output) = channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // Ends with an error when the last program has closed the terminal.
            while let Ok(count) = reader.read(&mut bytes) {
                if count == 0 || sender.send(bytes[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
        Session {
            child,
            master,
            found,
            output,
            screen: vt100::Parser::new(24, 80, 200),
            written: String::new(),
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        self.screen.process(bytes);
        self.written.push_str(&String::from_utf8_lossy(bytes));
    }

    fn shown(&self) -> String {
        self.screen.screen().contents()
    }

    /// Waits until a text stands on the screen.
    fn await_text(&mut self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.shown().contains(text) {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.output.recv_timeout(left) {
                Ok(bytes) => self.take(&bytes),
                Err(error) => unreachable!("no {text:?}: {error}\n{}", self.shown()),
            }
        }
    }

    fn press(&mut self, keys: &str) {
        std::io::Write::write_all(&mut self.master, keys.as_bytes()).expect("a terminal");
    }

    fn signal(&self, name: &str) {
        let process = self.child.id().to_string();
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &process])
            .status();
        assert!(sent.expect("kill(1) runs").success());
    }

    /// Waits for the end, and requires the terminal to be as it was found. Returns what was written
    /// after the alternate screen was left.
    fn finish(mut self) -> (ExitStatus, String) {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("our child") {
                break status;
            }
            match self.output.recv_timeout(Duration::from_millis(10)) {
                Ok(bytes) => self.take(&bytes),
                Err(RecvTimeoutError::Timeout) => {}
                // The output is closed: the end is a moment away.
                Err(RecvTimeoutError::Disconnected) => std::thread::yield_now(),
            }
            if Instant::now() > deadline {
                let _ = self.child.kill();
                unreachable!("it does not end\n{}", self.shown());
            }
        };
        let modes = tcgetattr(&self.master).expect("modes");
        // The reader ends when it has read what the last program on the terminal wrote.
        while let Ok(bytes) = self.output.recv_timeout(PATIENCE) {
            self.take(&bytes);
        }
        let shown = self.shown();
        assert_eq!(modes.local_modes, self.found.local_modes, "{shown}");
        assert_eq!(modes.input_modes, self.found.input_modes, "{shown}");
        let (codes, before) = (&modes.special_codes, &self.found.special_codes);
        assert_eq!(format!("{codes:?}"), format!("{before:?}"), "{shown}");
        let screen = self.screen.screen();
        assert!(
            !screen.alternate_screen() && !screen.hide_cursor(),
            "{shown}"
        );
        assert_eq!(self.written.matches(ENTER).count(), 1, "{shown}");
        assert_eq!(self.written.matches(LEAVE).count(), 1, "{shown}");
        let after = self.written.rsplit(LEAVE).next();
        (status, after.unwrap_or_default().to_owned())
    }
}

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
