//! A running `fanwire serve`, and a small HTTP client for its administration listener.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

const PROGRAM: &str = env!("CARGO_BIN_EXE_fanwire");

/// A running server; killed when the test is over.
pub(crate) struct Program {
    child: Child,
    pub(crate) websocket: String,
    pub(crate) admin: String,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl Program {
    /// On two shards, wherever that machine has them, and on free ports.
    pub(crate) fn start(options: &[&str]) -> Program {
        let mut child = Command::new(PROGRAM)
            .args(["serve", "--listen=127.0.0.1:0", "--admin=127.0.0.1:0"])
            .args(options)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut line = |prefix: &str| {
            let mut line = String::new();
            stdout.read_line(&mut line).expect("a line");
            let address = line.trim_end().strip_prefix(prefix);
            address.unwrap_or_else(|| panic!("{line}")).to_owned()
        };
        let websocket = line("listening on ws://");
        let admin = line("administration on http://");
        Program {
            child,
            websocket,
            admin: admin.trim_end_matches('/').to_owned(),
        }
    }

    pub(crate) fn signal(&self, name: &str) {
        let process = self.child.id().to_string();
        let status = Command::new("kill").args(["-s", name, &process]).status();
        assert!(status.expect("kill").success());
    }

    /// Waits for the end: the exit code and the log.
    pub(crate) fn end(mut self) -> (Option<i32>, String) {
        let mut log = String::new();
        let stderr = self.child.stderr.as_mut().expect("a pipe");
        stderr.read_to_string(&mut log).expect("the log");
        let status = self.child.wait().expect("an exit status");
        (status.code(), log)
    }

    /// Sends a request as it stands and reads until the server closes.
    pub(crate) fn raw(&self, request: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(&self.admin).expect("connect");
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .expect("a time limit");
        stream.write_all(request).expect("write");
        let mut bytes = Vec::new();
        // A server that has answered a body it did not read may reset what is left of it.
        let _ = stream.read_to_end(&mut bytes);
        let text = String::from_utf8(bytes).expect("text");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        Answer {
            status: status.unwrap_or_else(|| panic!("{head}")),
            head: head.to_ascii_lowercase(),
            body: body.to_owned(),
        }
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        let host = &self.admin;
        self.raw(
            format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").as_bytes(),
        )
    }

    pub(crate) fn post(&self, content_type: &str, body: &str) -> Answer {
        let request = format!(
            "POST /v1/publish HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Type: \
             {content_type}\r\nContent-Length: {}\r\n\r\n{body}",
            self.admin,
            body.len()
        );
        self.raw(request.as_bytes())
    }

    /// A WebSocket client of the hub that has sent one message.
    pub(crate) fn connect(&self, first: &str) -> tungstenite::WebSocket<TcpStream> {
        let stream = TcpStream::connect(&self.websocket).expect("connect");
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .expect("a time limit");
        let url = format!("ws://{}/", self.websocket);
        let mut socket = tungstenite::client(url, stream).expect("a handshake").0;
        socket.send(first.into()).expect("send");
        socket
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It has usually ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The next message as JSON.
pub(crate) fn next(socket: &mut tungstenite::WebSocket<TcpStream>) -> serde_json::Value {
    loop {
        match socket.read().expect("a message") {
            tungstenite::Message::Text(text) => {
                return serde_json::from_str(&text).expect("JSON");
            }
            tungstenite::Message::Ping(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// Runs the program to its end.
pub(crate) fn run(arguments: &[&str]) -> Output {
    let output = Command::new(PROGRAM).arg("serve").args(arguments).output();
    output.expect("the program runs")
}
