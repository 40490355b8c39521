//! Agents that make one load together: shares, the common beginning, and every way in which one
//! of those involved may end before its time.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use crate::agent::{Agent, eventually, list, signal};
use crate::support::ticker::{Tick, ticker};
use crate::support::{Outcome, echo, honest, run, serve, start, upgrade};

/// An echo server that counts.
#[derive(Default)]
struct Counts {
    open: AtomicU64,
    upgraded: AtomicU64,
    messages: AtomicU64,
}

impl Counts {
    fn serve(self: &Arc<Counts>) -> String {
        let counts = Arc::clone(self);
        let address = serve(move |_, stream| {
            let Some(mut socket) = upgrade(stream) else {
                return;
            };
            counts.open.fetch_add(1, Ordering::SeqCst);
            counts.upgraded.fetch_add(1, Ordering::SeqCst);
            echo(&mut socket, |number, message, socket| {
                counts.messages.fetch_add(1, Ordering::SeqCst);
                honest(number, message, socket)
            });
            counts.open.fetch_sub(1, Ordering::SeqCst);
        });
        format!("ws://{address}")
    }

    fn expect_load(&self) {
        eventually("load", || self.messages.load(Ordering::SeqCst) > 20);
    }

    fn expect_silence(&self) {
        eventually("end of all connections", || {
            self.open.load(Ordering::SeqCst) == 0
        });
    }
}

/// A long run, to be cut short.
fn begin(url: &str, agents: &str) -> crate::support::Running {
    start(&[
        "echo", url, "-c", "4", "-R", "200", "-d", "60s", "--agents", agents,
    ])
}

fn expect_no_report(outcome: &Outcome, code: i32, words: &[&str]) {
    assert_eq!(outcome.code, Some(code), "{}", outcome.text);
    assert!(outcome.json.is_null(), "{:#}", outcome.json);
    for word in words {
        assert!(outcome.text.contains(word), "{word:?} in {}", outcome.text);
    }
}

#[test]
fn two_agents_make_one_load() {
    let counts = Arc::new(Counts::default());
    let url = counts.serve();
    let (one, two) = (Agent::start(&[]), Agent::start(&[]));
    let agents = list(&[&one, &two]);
    let line = [
        "echo",
        &url,
        "-c",
        "5",
        "-n",
        "1001",
        "--allow-invalid",
        "--agents",
        &agents,
    ];
    let outcome = run(&line);
    assert_eq!(outcome.code, Some(0), "{}", outcome.text);
    outcome.expect(&[
        ("/messages/sent", 1_001),
        ("/messages/received", 1_001),
        ("/latency_ns/response/count", 1_001),
        ("/connections/asked", 5),
        ("/connections/upgraded", 5),
        ("/config/connections", 5),
        ("/config/seed", 1),
    ]);
    assert_eq!(counts.messages.load(Ordering::SeqCst), 1_001);
    assert_eq!(counts.upgraded.load(Ordering::SeqCst), 5);
    let notes = outcome.json["notes"].to_string();
    let sentence = "made by 2 agents, which began within";
    assert!(notes.contains(sentence), "{notes}");
    for (number, agent, connections, messages) in [(0, &one, 2, 400), (1, &two, 3, 601)] {
        let part = &outcome.json["parts"][number];
        let name = format!("agent {} ({})", number + 1, agent.address);
        assert_eq!(part["name"], name);
        assert!(
            outcome.text.contains(&format!("{name}: echo")),
            "{}",
            outcome.text
        );
        assert_eq!(part["report"]["connections"]["upgraded"], connections);
        assert_eq!(part["report"]["messages"]["received"], messages);
    }
    let seed = |part: usize| &outcome.json["parts"][part]["report"]["config"]["seed"];
    assert_ne!(seed(0), seed(1));
    let typed: Vec<&str> = outcome.json["environment"]["command_line"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|word| word.as_str())
        .collect();
    assert_eq!(typed[1..10], line);
    assert!(
        outcome.text.contains("opening 2 + 3 connections"),
        "{}",
        outcome.text
    );
    // Each made its own share, and both are free for the next runs.
    for (agent, share) in [(&one, "share 1 of 2"), (&two, "share 2 of 2")] {
        let line = agent.lines.recv().expect("a line");
        assert!(line.contains(share), "{line}");
    }
    let line = [
        "echo", &url, "-c", "4", "-R", "300", "-w", "0", "-d", "1s", "--runs", "2",
    ];
    let folder = std::env::temp_dir();
    let file = folder.join(format!("agents-{}.json", std::process::id()));
    let saved = std::process::Command::new(env!("CARGO_BIN_EXE_fanwire-loadgen"))
        .args(line)
        .args([
            "--allow-invalid",
            "--threshold",
            "errors.count==0",
            "--agents",
            &agents,
        ])
        .arg("--json")
        .arg(&file)
        .output()
        .expect("the binary runs");
    let text = String::from_utf8_lossy(&saved.stderr);
    assert_eq!(saved.status.code(), Some(0), "{text}");
    for number in 1..=2 {
        let name = format!("agents-{}-{number}.json", std::process::id());
        let report = std::fs::read_to_string(folder.join(&name)).expect("written");
        std::fs::remove_file(folder.join(&name)).expect("written");
        let report: serde_json::Value = serde_json::from_str(&report).expect("JSON");
        assert_eq!(report["target_per_second"], 300.0);
        assert_eq!(report["messages"]["sent"], 300);
        assert_eq!(report["thresholds"][0]["is_met"], true);
    }
}

#[test]
fn other_loads_are_divided_too() {
    let counts = Arc::new(Counts::default());
    let url = counts.serve();
    let (one, two) = (Agent::start(&[]), Agent::start(&[]));
    let agents = list(&[&one, &two]);
    for (line, pointer, count) in [
        ("idle -c 7 -d 200ms", "/connections/alive", 7),
        ("storm -c 4 -R 50 -w 0 -d 1s", "/connections/asked", 50),
        (
            "churn -c 6 --lifetime forever -w 0 -d 200ms",
            "/connections/served",
            6,
        ),
    ] {
        let mut words: Vec<&str> = line.split(' ').collect();
        words.insert(1, &url);
        words.extend(["--allow-invalid", "--agents", &agents]);
        let outcome = run(&words);
        assert_eq!(outcome.code, Some(0), "{}", outcome.text);
        outcome.expect(&[(pointer, count)]);
    }
}

#[test]
fn a_feed_is_read_by_several() {
    let url = ticker(Tick::Json(0));
    let (one, two) = (Agent::start(&[]), Agent::start(&[]));
    let agents = list(&[&one, &two]);
    let outcome = run(&[
        "fanout",
        &url,
        "-c",
        "6",
        "--readers-only",
        "--subscribe",
        "{\"op\":\"sub\"}",
        "--stamp",
        "json:/ts:ms",
        "--sequence",
        "json:/seq",
        "-w",
        "0",
        "-d",
        "1s",
        "--allow-invalid",
        "--agents",
        &agents,
    ]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.text);
    outcome.expect(&[("/connections/upgraded", 6), ("/fanout/ledger/missing", 0)]);
    let delivered = outcome.count("/fanout/deliveries_measured");
    let parts = [0, 1].map(|part| {
        let pointer = format!("/parts/{part}/report/fanout/deliveries_measured");
        outcome.count(&pointer)
    });
    assert_eq!(delivered, parts.iter().sum::<u64>());
    // Two hundred a second to each of six, less what the edges of a busy host's second cost.
    assert!(parts.iter().all(|part| *part > 100), "{parts:?}");
    // On one host all clocks are the same, as far as that can be told.
    let notes = outcome.json["notes"].to_string();
    assert!(notes.contains("by this host's clock: agent 1 "), "{notes}");
    let reasons = outcome.json["verdict_reasons"].to_string();
    assert!(!reasons.contains("clocks"), "{reasons}");
}

#[test]
fn an_agent_that_nobody_lets_in_ends_the_run() {
    // One connection each, and the server lets in whoever comes first.
    let address = serve(|number, stream| {
        if number == 0
            && let Some(mut socket) = upgrade(stream)
        {
            echo(&mut socket, honest);
        }
    });
    let url = format!("ws://{address}");
    let (one, two) = (Agent::start(&[]), Agent::start(&[]));
    let agents = list(&[&one, &two]);
    let outcome = run(&["echo", &url, "-c", "2", "-d", "60s", "--agents", &agents]);
    expect_no_report(
        &outcome,
        1,
        &["could open none of its 1 connections", "doctor ws://"],
    );
    // When nobody is let in, the reports say why.
    let outcome = run(&["echo", "ws://127.0.0.1:1", "-c", "4", "--agents", &agents]);
    assert_eq!(outcome.code, Some(1), "{}", outcome.text);
    outcome.expect(&[("/errors/connect_refused", 4), ("/connections/upgraded", 0)]);
}

/// What a server's thread waits for.
fn locked<T>(receiver: Receiver<T>) -> impl Fn() -> Option<T> {
    let receiver = Mutex::new(receiver);
    move || {
        receiver
            .lock()
            .ok()?
            .recv_timeout(Duration::from_secs(30))
            .ok()
    }
}

#[test]
fn all_begin_when_all_are_there() {
    let (release, may_answer): (Sender<()>, _) = mpsc::channel();
    let (told, first_message) = mpsc::channel();
    let wait = locked(may_answer);
    let upgraded = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&upgraded);
    let address = serve(move |number, stream| {
        // One of the handshakes takes as long as the test says.
        if number == 3 && wait().is_none() {
            return;
        }
        let Some(mut socket) = upgrade(stream) else {
            return;
        };
        count.fetch_add(1, Ordering::SeqCst);
        echo(&mut socket, |number, message, socket| {
            let _ = told.send(());
            honest(number, message, socket)
        });
    });
    let (one, two) = (Agent::start(&[]), Agent::start(&[]));
    let running = start(&[
        "echo",
        &format!("ws://{address}"),
        "-c",
        "4",
        "-n",
        "40",
        "--allow-invalid",
        "--agents",
        &list(&[&one, &two]),
    ]);
    eventually("three connections", || upgraded.load(Ordering::SeqCst) == 3);
    // One agent has all of its connections, and must not begin: nothing comes.
    let early = first_message.recv_timeout(Duration::from_millis(300));
    assert_eq!(early, Err(mpsc::RecvTimeoutError::Timeout));
    release.send(()).expect("the server waits");
    first_message
        .recv_timeout(Duration::from_secs(30))
        .expect("load");
    let outcome = running.finish();
    assert_eq!(outcome.code, Some(0), "{}", outcome.text);
    outcome.expect(&[("/messages/received", 40), ("/connections/upgraded", 4)]);
}

#[test]
fn an_agent_that_dies_ends_the_run_everywhere() {
    let counts = Arc::new(Counts::default());
    let url = counts.serve();
    let (one, two) = (Agent::start(&[]), Agent::start(&[]));
    let running = begin(&url, &list(&[&one, &two]));
    counts.expect_load();
    two.signal("KILL");
    let name = format!("agent 2 ({}): ", two.address);
    expect_no_report(&running.finish(), 1, &[&name, "ended on the other agents"]);
    // Its process has noticed, and the other agent's.
    counts.expect_silence();
    one.expect_free();
}

#[test]
fn a_process_of_an_agent_that_dies_is_told_of() {
    let counts = Arc::new(Counts::default());
    let url = counts.serve();
    let (one, two) = (Agent::start(&[]), Agent::start(&[]));
    let running = begin(&url, &list(&[&one, &two]));
    counts.expect_load();
    signal(one.work(), "KILL");
    let name = format!("agent 1 ({}): ", one.address);
    expect_no_report(&running.finish(), 1, &[&name, "signal: 9"]);
    counts.expect_silence();
    one.expect_free();
    two.expect_free();
}

#[test]
fn an_agent_that_is_ended_says_so() {
    let counts = Arc::new(Counts::default());
    let url = counts.serve();
    let (one, two) = (Agent::start(&[]), Agent::start(&[]));
    let running = begin(&url, &list(&[&one, &two]));
    counts.expect_load();
    one.signal("TERM");
    let name = format!("agent 1 ({}): ", one.address);
    expect_no_report(&running.finish(), 1, &[&name, "ended by a signal"]);
    assert_eq!(one.finish(), Some(0));
    counts.expect_silence();
}

#[test]
fn a_coordinator_that_dies_leaves_free_agents() {
    let counts = Arc::new(Counts::default());
    let url = counts.serve();
    let (one, two) = (Agent::start(&[]), Agent::start(&[]));
    let running = begin(&url, &list(&[&one, &two]));
    counts.expect_load();
    running.signal("KILL");
    running.finish();
    counts.expect_silence();
    one.expect_free();
    two.expect_free();
}

#[test]
fn an_interruption_leaves_a_partial_report() {
    let counts = Arc::new(Counts::default());
    let url = counts.serve();
    let (one, two) = (Agent::start(&[]), Agent::start(&[]));
    let running = begin(&url, &list(&[&one, &two]));
    counts.expect_load();
    running.signal("INT");
    let outcome = running.finish();
    assert_eq!(outcome.code, Some(130), "{}", outcome.text);
    assert_eq!(outcome.json["interrupted"], true);
    assert_eq!(outcome.json["messages"]["adds_up"], true);
    outcome.expect(&[("/connections/upgraded", 4)]);
    assert!(outcome.count("/messages/received") > 20);
    one.expect_free();
}

#[test]
fn a_busy_agent_says_for_whom() {
    let agent = Agent::start(&[]);
    let mut talk = crate::agent::Talk::with(agent.address);
    assert!(talk.hello(None)["ready"].is_object());
    let other = Agent::start(&[]);
    let outcome = run(&[
        "idle",
        "ws://127.0.0.1:1",
        "--agents",
        &list(&[&other, &agent]),
    ]);
    let patron = format!("busy with a run for {}", talk.from());
    let name = format!("agent 2 ({}): ", agent.address);
    expect_no_report(&outcome, 1, &[&name, &patron, "no load was made"]);
    drop(talk);
    agent.expect_free();
}

/// An agent that answers the hello with a line, and a job with another.
fn false_agent(answers: &'static [&'static str]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a coordinator");
        let mut lines = BufReader::new(stream.try_clone().expect("a socket")).lines();
        for answer in answers {
            let _ = lines.next();
            let _ = writeln!(stream, "{answer}");
        }
    });
    address
}

#[test]
fn what_is_no_agent_of_ours_is_named() {
    let ready = concat!(
        "{\"ready\":{\"version\":\"",
        env!("CARGO_PKG_VERSION"),
        "\",\"processors\":1}}"
    );
    let cases: Vec<(&'static [&'static str], &str)> = vec![
        (
            &["{\"ready\":{\"version\":\"99.0\",\"processors\":1}}"],
            "it is version 99.0",
        ),
        (
            &["HTTP/1.1 400 Bad Request"],
            "no message of fanwire-agent 1",
        ),
        (&["{\"report\":{}}"], "out of turn"),
        (&[""], "no message"),
        (&[], "connection"),
        (Vec::leak(vec![ready, "{\"report\":{}}"]), "not a report"),
        (
            Vec::leak(vec![ready, "{\"report\":{\"schema\":\"other/1\"}}"]),
            "schema",
        ),
        (Vec::leak(vec![ready, "\"begun\""]), "connection ended"),
        (Vec::leak(vec![ready, ready]), "out of turn"),
        (
            Vec::leak(vec![ready, "{\"failed\":{\"message\":\"of a reason\"}}"]),
            "of a reason",
        ),
    ];
    for (answers, word) in cases {
        let address = false_agent(answers);
        let outcome = run(&["idle", "ws://127.0.0.1:1", "--agents", &address.to_string()]);
        let name = format!("agent 1 ({address}): ");
        expect_no_report(&outcome, 1, &[&name, word]);
    }
    // Nobody at all.
    let address = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
    let address = address.expect("a free port").to_string();
    let outcome = run(&["idle", "ws://127.0.0.1:1", "--agents", &address]);
    expect_no_report(&outcome, 1, &[&address, "fanwire-loadgen agent"]);
}

#[test]
fn what_does_not_go_with_agents_is_refused_before_anything_is_done() {
    for (line, word) in [
        ("fanout ws://127.0.0.1:1 -R 5", "--readers-only"),
        ("echo ws://127.0.0.1:1 -c 1", "-c"),
        (
            "echo ws://127.0.0.1:1 --abort-on echo.p99>1s",
            "--threshold",
        ),
        ("echo ws://127.0.0.1:1 --server-cmd true", "--restart"),
        (
            "echo ws://127.0.0.1:1 --threshold server.cpu<1",
            "server-pid",
        ),
        (
            "find echo ws://127.0.0.1:1 --threshold echo.p99<1ms",
            "single load",
        ),
    ] {
        let mut words: Vec<&str> = line.split(' ').collect();
        words.extend(["--agents", "127.0.0.1:1,127.0.0.1:2"]);
        expect_no_report(&run(&words), 2, &[word]);
    }
}
