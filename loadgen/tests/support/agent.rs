//! Agents as processes, and coordinators that speak to them by hand.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Longer than this nothing takes here.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// A running agent; killed with this value.
pub struct Agent {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
    /// What it prints after the first line.
    pub lines: Receiver<String>,
}

impl Agent {
    /// Starts one on a free port of loopback.
    pub fn start(arguments: &[&str]) -> Agent {
        let mut child = Command::new(env!("CARGO_BIN_EXE_fanwire-loadgen"))
            .args(["agent", "--listen", "127.0.0.1:0"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let output = child.stdout.take().expect("piped");
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let first = lines.recv_timeout(WAIT_MAX).expect("it listens");
        let address = first
            .split_whitespace()
            .find_map(|word| word.parse().ok())
            .unwrap_or_else(|| unreachable!("no address in {first:?}"));
        Agent {
            child,
            address,
            lines,
        }
    }

    /// Sends a signal by name.
    pub fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }

    /// The process that makes its share.
    pub fn work(&self) -> u32 {
        let pid = self.child.id();
        let path = format!("/proc/{pid}/task");
        let children = || {
            let threads = std::fs::read_dir(&path).expect("it runs");
            let lists = threads.flatten().map(|thread| {
                std::fs::read_to_string(thread.path().join("children")).unwrap_or_default()
            });
            lists.collect::<String>()
        };
        let mut found = None;
        eventually("a process of the run", || {
            found = children()
                .split_whitespace()
                .find_map(|pid| pid.parse().ok());
            found.is_some()
        });
        found.expect("found above")
    }

    /// Waits for its end and returns the exit code.
    pub fn finish(mut self) -> Option<i32> {
        let mut status = None;
        eventually("the end of the agent", || {
            status = self.child.try_wait().expect("our child");
            status.is_some()
        });
        status.expect("ended").code()
    }

    /// Waits until it works for somebody again.
    pub fn expect_free(&self) {
        eventually("a free agent", || {
            let mut talk = Talk::with(self.address);
            talk.hello(None)["ready"].is_object()
        });
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `--agents` for these.
pub fn list(agents: &[&Agent]) -> String {
    let addresses: Vec<String> = agents
        .iter()
        .map(|agent| agent.address.to_string())
        .collect();
    addresses.join(",")
}

/// Sends a signal to a process of ours.
pub fn signal(pid: u32, name: &str) {
    let status = Command::new("kill")
        .args([format!("-{name}"), pid.to_string()])
        .status()
        .expect("kill(1) runs");
    assert!(status.success(), "kill -{name}");
}

/// Looks again and again until it is so.
pub fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + WAIT_MAX;
    while !is_so() {
        assert!(Instant::now() < deadline, "no {what} after {WAIT_MAX:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// An end of any kind is an answer; silence is none.
fn is_late(read: &std::io::Result<usize>) -> bool {
    read.as_ref()
        .is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
}

/// A conversation with an agent.
pub struct Talk {
    stream: TcpStream,
    lines: BufReader<TcpStream>,
}

impl Talk {
    /// Connects.
    pub fn with(address: SocketAddr) -> Talk {
        let stream = TcpStream::connect(address).expect("it listens");
        stream.set_read_timeout(Some(WAIT_MAX)).expect("a socket");
        let lines = BufReader::new(stream.try_clone().expect("a socket"));
        Talk { stream, lines }
    }

    /// Where we speak from.
    pub fn from(&self) -> SocketAddr {
        self.stream.local_addr().expect("connected")
    }

    /// Sends bytes as they are. An agent that has hung up already says so when it is heard.
    pub fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Sends a message.
    pub fn say(&mut self, message: &Value) {
        self.send(format!("{message}\n").as_bytes());
    }

    /// The next message; null at the end.
    pub fn hear(&mut self) -> Value {
        let mut line = String::new();
        let read = self.lines.read_line(&mut line);
        assert!(!is_late(&read), "no answer after {WAIT_MAX:?}");
        serde_json::from_str(&line).unwrap_or(Value::Null)
    }

    /// Introduces us with a token and hears the answer.
    pub fn hello(&mut self, token: Option<&str>) -> Value {
        self.say(&json!({"hello": {
            "protocol": "fanwire-agent 1", "version": "0", "token": token
        }}));
        self.hear()
    }

    /// Hears the end of the conversation, or says that it does not come.
    pub fn hear_until_the_end(&mut self) -> bool {
        let mut rest = Vec::new();
        !is_late(&self.lines.read_to_end(&mut rest))
    }

    /// Hears until a message of this name.
    pub fn hear_of(&mut self, name: &str) -> Value {
        loop {
            let message = self.hear();
            assert!(!message.is_null(), "it ended without '{name}'");
            if message.get(name).is_some() || message == name {
                return message;
            }
        }
    }
}
