//! Scripted servers and a way to run the binary against them.
//!
//! The servers speak through `tungstenite`, so that a fault of our own protocol library cannot
//! hide in both ends. Nothing here waits without a bound.

#![allow(dead_code, reason = "every test binary uses its own part of this")]

pub mod files;
pub mod foreign_hub;
pub mod frames;
pub mod hub;
pub mod json_hub;
pub mod page;
pub mod reports;
pub mod servers;
pub mod ticker;
pub mod tls;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use serde_json::Value;
use tungstenite::protocol::WebSocket;
use tungstenite::{Message, accept};

/// A run that takes longer than this hangs, which is itself a failure.
const RUN_MAX: Duration = Duration::from_secs(60);

/// Starts a server on a free port of loopback: `script` gets every connection, numbered from 0 in
/// the order of arrival, on a thread of its own. The threads end with the test process.
pub fn serve(script: impl Fn(usize, TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    let script = Arc::new(script);
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let Ok(stream) = stream else { continue };
            let script = Arc::clone(&script);
            std::thread::spawn(move || script(number, stream));
        }
    });
    address
}

/// The opening handshake of a well-behaved server.
pub fn upgrade(stream: TcpStream) -> Option<WebSocket<TcpStream>> {
    stream.set_nodelay(true).ok()?;
    accept(stream).ok()
}

/// Echoes until the client leaves. `answer` sees every data message with its number, counted from
/// 1 on this connection, and says what is sent back. False ends the connection without a word.
pub fn echo<Stream: Read + Write>(
    socket: &mut WebSocket<Stream>,
    mut answer: impl FnMut(u64, Message, &mut WebSocket<Stream>) -> bool,
) {
    let mut number = 0;
    while let Ok(message) = socket.read() {
        if message.is_binary() || message.is_text() {
            number += 1;
            if !answer(number, message, socket) {
                return;
            }
        } else if message.is_close() {
            // Sends the answer that `read` has queued.
            let _ = socket.flush();
        }
    }
}

/// The plain echo.
pub fn honest<Stream: Read + Write>(
    _number: u64,
    message: Message,
    socket: &mut WebSocket<Stream>,
) -> bool {
    socket.send(message).is_ok()
}

/// Runs the binary to its end, with nothing but these arguments.
pub fn loadgen(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_fanwire-loadgen"))
        .args(arguments)
        .output()
        .expect("the binary starts")
}

/// A running generator.
pub struct Running {
    child: Child,
}

/// What a run left behind.
pub struct Outcome {
    /// Exit code.
    pub code: Option<i32>,
    /// The JSON object; null when there was none.
    pub json: Value,
    /// Standard error: the report for a person, or the error.
    pub text: String,
}

/// Starts the binary with `--json -`.
pub fn start(arguments: &[&str]) -> Running {
    start_with(arguments, &[])
}

/// The same with variables of the environment.
pub fn start_with(arguments: &[&str], variables: &[(&str, &str)]) -> Running {
    let child = Command::new(env!("CARGO_BIN_EXE_fanwire-loadgen"))
        .envs(variables.iter().copied())
        .args(arguments)
        .args(["--json", "-"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    Running { child }
}

impl Running {
    /// Sends a signal by name.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args([format!("-{name}"), self.child.id().to_string()])
            .status()
            .expect("kill(1) runs");
        assert!(status.success(), "kill -{name}");
    }

    /// Its process number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the end.
    pub fn finish(self) -> Outcome {
        let pid = self.child.id();
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || sender.send(self.child.wait_with_output()));
        let Ok(output) = receiver.recv_timeout(RUN_MAX) else {
            // The process is ours; it must not outlive the test.
            let _ = Command::new("kill")
                .args(["-KILL", &pid.to_string()])
                .status();
            unreachable!("the generator did not end within {RUN_MAX:?}");
        };
        let output = output.expect("waited for");
        Outcome {
            code: output.status.code(),
            json: serde_json::from_slice(&output.stdout).unwrap_or(Value::Null),
            text: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Runs the binary with `--json -` to its end.
pub fn run(arguments: &[&str]) -> Outcome {
    start(arguments).finish()
}

impl Outcome {
    /// A whole number of the report, by JSON pointer.
    pub fn count(&self, pointer: &str) -> u64 {
        let value = self.json.pointer(pointer).and_then(Value::as_u64);
        value.unwrap_or_else(|| unreachable!("no {pointer} in {:#}\n{}", self.json, self.text))
    }

    /// Requires counters, each by its JSON pointer.
    pub fn expect(&self, counts: &[(&str, u64)]) -> &Outcome {
        for (pointer, count) in counts {
            assert_eq!(
                self.count(pointer),
                *count,
                "{pointer}\n{:#}\n{}",
                self.json,
                self.text
            );
        }
        self
    }

    /// Requires the exit code and the verdict.
    pub fn expect_end(&self, code: i32, verdict: &str) -> &Outcome {
        assert_eq!(self.code, Some(code), "{}", self.text);
        assert_eq!(self.json["verdict"], verdict, "{}", self.text);
        assert_eq!(self.json["exit_code"], code);
        self
    }

    /// Requires that one of the reasons contains a phrase.
    pub fn expect_reason(&self, phrase: &str) -> &Outcome {
        let reasons = self.json["verdict_reasons"].to_string();
        assert!(
            reasons.contains(phrase),
            "{phrase:?} in {reasons}\n{}",
            self.text
        );
        self
    }
}
