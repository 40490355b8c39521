//! An agent and those who speak to it by hand: strangers, the curious, and the ill-meaning.

use std::process::Command;

use serde_json::{Value, json};

use crate::agent::{Agent, Talk};
use crate::support::{echo, honest, run, serve, upgrade};

fn refusal(answer: &Value) -> &str {
    answer["refused"]["reason"]
        .as_str()
        .unwrap_or_else(|| unreachable!("no refusal: {answer}"))
}

fn order(command: &str, options: &Value, url: &str) -> Value {
    json!({"job": {
        "command": command, "options": options, "url": url, "index": 0, "of": 1
    }})
}

#[test]
fn strangers_are_sent_away_and_the_agent_goes_on() {
    let agent = Agent::start(&[]);
    let long = [b'x'; 9_000];
    let cases: Vec<(&[u8], &str)> =
        vec![
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "--agents HOST:PORT"),
        (&long, "more than 8192 bytes"),
        (b"\n", "no message"),
        (b"\0\xff\xfe\n", "no message"),
        (b"{\"hello\":{\"protocol\":7}}\n", "no message"),
        (b"{\"hello\":{\"protocol\":\"fanwire-agent 1\",\"version\":\"0\",\"more\":1}}\n", "more"),
        (b"\"stop\"\n", "begins with a hello"),
        (b"{\"go\":{\"after_ns\":0}}\n", "begins with a hello"),
        (
            b"{\"hello\":{\"protocol\":\"fanwire-agent 2\",\"version\":\"9\",\"token\":null}}\n",
            "same version",
        ),
    ];
    for (bytes, word) in cases {
        let mut talk = Talk::with(agent.address);
        talk.send(bytes);
        let answer = talk.hear();
        assert!(refusal(&answer).contains(word), "{word:?} in {answer}");
        assert!(talk.hear().is_null(), "the conversation is over");
    }
    // Somebody who only looks whether anything listens, and somebody who says half a line.
    drop(Talk::with(agent.address));
    Talk::with(agent.address).send(b"{\"hello\"");
    agent.expect_free();
}

#[test]
fn those_who_say_nothing_keep_nobody_out_for_long() {
    let agent = Agent::start(&[]);
    let silent: Vec<Talk> = (0..16).map(|_| Talk::with(agent.address)).collect();
    let answer = Talk::with(agent.address).hear();
    assert!(refusal(&answer).contains("16 coordinators"), "{answer}");
    drop(silent);
    agent.expect_free();
}

#[test]
fn a_token_is_wanted_and_must_be_right() {
    let file = std::env::temp_dir().join(format!("agent-talk-token-{}", std::process::id()));
    let short = std::env::temp_dir().join(format!("agent-talk-short-{}", std::process::id()));
    std::fs::write(&short, "a-wrong-token-of-23-too\n").expect("a temporary file");
    std::fs::write(&file, "a-token-of-23-character\n").expect("a temporary file");
    let [file, wrong] = [&file, &short].map(|path| path.display().to_string());
    let agent = Agent::start(&["--token-file", &file]);
    let answer = Talk::with(agent.address).hello(None);
    assert!(refusal(&answer).contains("--agents-token-file"), "{answer}");
    for token in ["", "a-wrong-token-of-23-too", "a-token-of-23-character "] {
        let answer = Talk::with(agent.address).hello(Some(token));
        assert!(refusal(&answer).contains("the token is wrong"), "{answer}");
    }
    let answer = Talk::with(agent.address).hello(Some("a-token-of-23-character"));
    assert!(answer["ready"].is_object(), "{answer}");
    let url = echo_server();
    let agents = agent.address.to_string();
    let line = [
        "echo",
        &url,
        "-c",
        "1",
        "-n",
        "9",
        "--allow-invalid",
        "--agents",
        &agents,
    ];
    let with = |file: &str| run(&[&line[..], &["--agents-token-file", file]].concat());
    let outcome = with(&file);
    assert_eq!(outcome.code, Some(0), "{}", outcome.text);
    outcome.expect(&[("/messages/received", 9)]);
    let outcome = with(&wrong);
    assert_eq!(outcome.code, Some(1), "{}", outcome.text);
    assert!(
        outcome.text.contains("the token is wrong"),
        "{}",
        outcome.text
    );
    let shown = format!("{}{}", outcome.text, outcome.json);
    assert!(
        !shown.contains("a-token") && !shown.contains("a-wrong"),
        "{shown}"
    );
    for path in [&file, &wrong] {
        std::fs::remove_file(path).expect("written above");
    }
}

fn echo_server() -> String {
    let address = serve(|_, stream| {
        if let Some(mut socket) = upgrade(stream) {
            echo(&mut socket, honest);
        }
    });
    format!("ws://{address}")
}

#[test]
fn an_order_has_the_host_do_nothing_else() {
    let agent = Agent::start(&[]);
    let file = std::env::temp_dir().join(format!("agent-talk-file-{}", std::process::id()));
    let path = file.display().to_string();
    for (job, word) in [
        (
            order("echo", &json!([["json", path]]), "ws://127.0.0.1:1"),
            "--json",
        ),
        (
            order(
                "echo",
                &json!([["restart", format!("touch {path}")]]),
                "ws://127.0.0.1:1",
            ),
            "--restart",
        ),
        (
            order(
                "echo",
                &json!([["server-cmd", format!("touch {path}")]]),
                "ws://127.0.0.1:1",
            ),
            "--server-cmd",
        ),
        (
            order(
                "echo",
                &json!([["token-file", "/etc/hostname"]]),
                "ws://127.0.0.1:1",
            ),
            "--token-file",
        ),
        (
            order(
                "echo",
                &json!([["message", "@/etc/hostname"]]),
                "ws://127.0.0.1:1",
            ),
            "@/etc/hostname",
        ),
        (order("report", &json!([]), "/etc/hostname"), "report"),
        (
            order("echo", &json!([["connections", "0"]]), "ws://127.0.0.1:1"),
            "--connections",
        ),
        (
            order("echo", &json!([["size", "x"]]), "ws://127.0.0.1:1"),
            "'x'",
        ),
        (order("echo", &json!([]), "--json=x"), "scheme"),
    ] {
        let mut talk = Talk::with(agent.address);
        assert!(talk.hello(None)["ready"].is_object());
        talk.say(&job);
        let answer = talk.hear_of("failed");
        let message = answer["failed"]["message"].as_str().expect("a sentence");
        assert!(message.contains(word), "{word:?} in {message}");
        assert!(!file.exists(), "{job}");
        assert!(talk.hear().is_null(), "the conversation is over");
    }
    for wrong in [
        json!({"job": {"command": "echo"}}),
        json!("stop"),
        json!({"go": {"after_ns": 1}}),
    ] {
        let mut talk = Talk::with(agent.address);
        assert!(talk.hello(None)["ready"].is_object());
        talk.say(&wrong);
        refusal(&talk.hear());
    }
    agent.expect_free();
}

#[test]
fn a_whole_conversation_by_hand() {
    let agent = Agent::start(&[]);
    let url = echo_server();
    let mut talk = Talk::with(agent.address);
    assert!(talk.hello(None)["ready"]["processors"].as_u64() > Some(0));
    for _ in 0..3 {
        talk.say(&json!("here"));
        talk.say(&json!("clock"));
        let unix_ns = talk.hear()["clock"]["unix_ns"].as_u64();
        assert!(unix_ns > Some(1_700_000_000_000_000_000), "{unix_ns:?}");
    }
    talk.say(&order(
        "echo",
        &json!([["connections", "2"], ["messages", "10"]]),
        &url,
    ));
    let opened = talk.hear_of("opened");
    assert_eq!(opened["opened"], json!({"open": 2, "failed": 0}));
    talk.say(&json!("here"));
    talk.say(&json!({"go": {"after_ns": 1_000_000}}));
    talk.hear_of("begun");
    let report = talk.hear_of("report");
    assert_eq!(report["report"]["messages"]["received"], 10);
    assert!(talk.hear().is_null(), "the conversation is over");
    // Gibberish in the middle of a run ends it.
    let mut talk = Talk::with(agent.address);
    assert!(talk.hello(None)["ready"].is_object());
    talk.say(&order("echo", &json!([["duration", "60s"]]), &url));
    talk.hear_of("opened");
    talk.send(b"gibberish\n");
    assert!(talk.hear_until_the_end());
    agent.expect_free();
}

#[test]
fn an_agent_is_not_open_to_everybody() {
    let outcome = Command::new(env!("CARGO_BIN_EXE_fanwire-loadgen"))
        .args(["agent", "--listen", "0.0.0.0:0"])
        .output()
        .expect("the binary runs");
    assert_eq!(outcome.status.code(), Some(2));
    let text = String::from_utf8_lossy(&outcome.stderr);
    assert!(
        text.contains("--token-file") && text.contains("ssh -L"),
        "{text}"
    );
    let agent = Agent::start(&[]);
    let listen = agent.address.to_string();
    let outcome = Command::new(env!("CARGO_BIN_EXE_fanwire-loadgen"))
        .args(["agent", "--listen", &listen])
        .output()
        .expect("the binary runs");
    assert_eq!(outcome.status.code(), Some(1));
    let text = String::from_utf8_lossy(&outcome.stderr);
    assert!(
        text.contains(&listen) && text.contains("another agent"),
        "{text}"
    );
    agent.signal("TERM");
    assert_eq!(agent.finish(), Some(0));
}
