//! The program `fanwire` as a person or a service manager runs it.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;
use std::process::{Child, Command, Output, Stdio};

const PROGRAM: &str = env!("CARGO_BIN_EXE_fanwire");

/// A running server; killed when the test is over.
struct Program {
    child: Child,
    address: String,
}

impl Program {
    fn start(options: &[&str]) -> Program {
        let mut child = Command::new(PROGRAM)
            .args(["echo", "--listen", "127.0.0.1:0"])
            .args(options)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("a pipe");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        let address = line
            .trim_end()
            .strip_prefix("listening on ws://")
            .expect("the address");
        Program {
            child,
            address: address.to_owned(),
        }
    }

    fn signal(&self, name: &str) {
        let process = self.child.id().to_string();
        let status = Command::new("kill")
            .args(["-s", name, &process])
            .status()
            .expect("kill");
        assert!(status.success());
    }

    /// Waits for the end: the exit code and the log.
    fn end(mut self) -> (Option<i32>, String) {
        let mut log = String::new();
        let stderr = self.child.stderr.as_mut().expect("a pipe");
        stderr.read_to_string(&mut log).expect("the log");
        let status = self.child.wait().expect("an exit status");
        (status.code(), log)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It has usually ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Program {
    fn connect(&self) -> tungstenite::WebSocket<TcpStream> {
        let stream = TcpStream::connect(&self.address).expect("connect");
        tungstenite::client(format!("ws://{}/", self.address), stream)
            .expect("a handshake")
            .0
    }
}

fn run(arguments: &[&str]) -> Output {
    Command::new(PROGRAM)
        .args(arguments)
        .output()
        .expect("the program runs")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("text")
}

#[test]
fn sigterm_drains_with_1001_and_exit_code_0() {
    for backend in ["uring", "epoll"] {
        let program = Program::start(&["--backend", backend]);
        let mut client = program.connect();
        client.send("hello".into()).expect("send");
        assert_eq!(
            client.read().expect("an echo").into_text().expect("text"),
            "hello"
        );
        program.signal("TERM");
        match client.read().expect("a Close frame") {
            tungstenite::Message::Close(Some(frame)) => assert_eq!(u16::from(frame.code), 1001),
            other => panic!("{other:?}"),
        }
        while client.read().is_ok() {}
        drop(client);
        let (code, log) = program.end();
        assert_eq!(code, Some(0), "{log}");
        for part in [
            "listens on 127.0.0.1:",
            "backend: ",
            "limits: ",
            "memory: ",
            "congestion",
        ] {
            assert!(log.contains(part), "{part} is not in: {log}");
        }
        assert!(log.contains(&format!("backend: {backend}")), "{log}");
        assert!(
            log.contains("messages_received=1") && log.contains("closed.drain=1"),
            "{log}"
        );
    }
}

#[test]
fn a_second_signal_ends_at_once() {
    let program = Program::start(&["--close-timeout-ms=60000", "--drain-timeout-ms=60000"]);
    let mut client = program.connect();
    program.signal("TERM");
    // The client sees the Close frame, so the drain is under way; it never answers.
    let mut byte = [0];
    client
        .get_mut()
        .read_exact(&mut byte)
        .expect("a Close frame");
    assert_eq!(byte[0], 0x88);
    program.signal("INT");
    let (code, log) = program.end();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("a second signal"), "{log}");
}

#[test]
fn sigusr1_logs_the_counters() {
    let mut program = Program::start(&[]);
    let _client = program.connect();
    program.signal("USR1");
    let stderr = program.child.stderr.take().expect("a pipe");
    let found = BufReader::new(stderr)
        .lines()
        .map_while(Result::ok)
        .any(|line| line.contains("counters: ") && line.contains("open=1"));
    assert!(found);
}

#[test]
fn what_cannot_start_says_why_and_exits_with_2() {
    let program = Program::start(&[]);
    let refusals: [(&[&str], &str); 7] = [
        (&["--listen", &program.address], "is in use"),
        (
            &["--listen", "192.0.2.1:0"],
            "not an address of this machine",
        ),
        (
            &["--listen", "127.0.0.1:0", "--cores", "4000"],
            "processor 4000",
        ),
        (&["--listen", "127.0.0.1:0", "--cores", "0,,1"], "0,2-3"),
        (&["--listen", "nonsense"], "--listen"),
        (&["--origin", "example.com"], "https://example.com:8443"),
        (
            &["--listen", "127.0.0.1:0", "--close-timeout-ms", "0"],
            "close_timeout_ms is 0",
        ),
    ];
    for (options, expected) in refusals {
        let output = run(&[&["echo"], options].concat());
        let (message, code) = (text(&output.stderr), output.status.code());
        assert_eq!(code, Some(2), "{options:?}: {message}");
        assert!(message.contains(expected), "{options:?}: {message}");
        assert!(output.stdout.is_empty(), "it does not say that it listens");
    }
}

/// With too few descriptors for one more connection the server goes on serving, and accepts again
/// when descriptors are free.
#[test]
fn a_full_descriptor_table_stops_accepting_only() {
    for backend in ["uring", "epoll"] {
        let script = format!(
            "ulimit -n 64 && exec {PROGRAM} echo --listen 127.0.0.1:0 --cores 0 --backend {backend}"
        );
        let child = Command::new("sh")
            .args(["-c", &script])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = child.expect("the program starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("a pipe");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        let address = line
            .trim_end()
            .strip_prefix("listening on ws://")
            .expect("the address");
        let program = Program {
            child,
            address: address.to_owned(),
        };
        let mut first = program.connect();
        let crowd: Vec<TcpStream> = (0..100)
            .map(|_| TcpStream::connect(&program.address).expect("connect"))
            .collect();
        for number in 0..10 {
            first.send(format!("{number}").into()).expect("send");
            assert_eq!(
                first.read().expect("an echo").into_text().expect("text"),
                format!("{number}")
            );
        }
        drop(crowd);
        let mut second = program.connect();
        second.send("back".into()).expect("send");
        assert_eq!(
            second.read().expect("an echo").into_text().expect("text"),
            "back"
        );
        drop((first, second));
        program.signal("TERM");
        let (code, log) = program.end();
        assert_eq!(code, Some(0), "{log}");
        assert_eq!(
            log.matches("cannot accept connections").count(),
            1,
            "one line: {log}"
        );
    }
}

#[test]
fn help_and_doctor_are_for_people() {
    let output = run(&["echo", "--help"]);
    let help = text(&output.stdout);
    for part in [
        "Limits of messages:",
        "--spin-us",
        "[default: 127.0.0.1:9001]",
        "Examples:",
    ] {
        assert!(help.contains(part), "{part} is not in: {help}");
    }
    let output = run(&["doctor"]);
    let found = text(&output.stdout);
    for part in ["kernel", "backend", "open files", "connections", "memory"] {
        assert!(found.contains(part), "{part} is not in: {found}");
    }
    assert_eq!(output.status.code(), Some(0));
    let output = run(&["doctor", "--connections-max", "100000000"]);
    assert!(text(&output.stdout).contains("need more open files"));
}
