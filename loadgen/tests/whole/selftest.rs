//! `selftest` and `doctor` as a person runs them. Only cases whose counters are exact run here: the
//! machine that runs the tests may be busy, and then times are about the machine.

use crate::support::servers::echo_server;
use crate::support::{loadgen, tls};
use serde_json::Value;

fn json_of(arguments: &[&str]) -> (Option<i32>, Value, String) {
    let output = loadgen(arguments);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let json = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| unreachable!("no JSON: {error}\n{text}"));
    (output.status.code(), json, text)
}

const EXACT: &[&str] = &[
    "integrity",
    "never-upgrades",
    "upgrades-most",
    "backlog",
    "fanout-reach",
    "merge",
    "search",
];

fn selftest(more: &[&str]) -> (Option<i32>, Value, String) {
    let mut arguments = vec!["selftest", "--short", "--json", "-"];
    for name in EXACT {
        arguments.extend(["--only", name]);
    }
    arguments.extend(more);
    json_of(&arguments)
}

#[test]
fn the_generator_counts_exactly_what_servers_did() {
    let (code, json, text) = selftest(&[]);
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(json["schema"], "fanwire-selftest/1");
    assert_eq!(json["passed"], EXACT.len(), "{text}");
    for case in json["cases"].as_array().expect("cases") {
        assert_eq!(case["attempts"], 1, "a counter has one chance: {text}");
    }
}

#[test]
fn every_canary_is_noticed() {
    let (code, json, text) = selftest(&["--canary"]);
    assert_eq!(code, Some(0), "{text}");
    for case in json["cases"].as_array().expect("cases") {
        let checks = case["checks"].as_array().expect("checks");
        let wrong = checks.iter().filter(|check| check["is_ok"] == false);
        assert!(wrong.count() > 0, "{}: {text}", case["name"]);
    }
}

#[test]
fn a_case_that_does_not_exist_is_a_mistake_of_the_command_line() {
    let output = loadgen(&["selftest", "--only", "nothing"]);
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("integrity"), "names those that exist: {text}");
}

#[test]
fn doctor_says_what_is_in_the_way_by_its_exit_code() {
    let address = echo_server();
    let url = format!("ws://{address}/");
    let (_, json, text) = json_of(&["doctor", &url, "-c", "10", "--json", "-"]);
    let level = |json: &Value, name: &str| {
        let findings = json["findings"].as_array().expect("findings");
        let found = findings.iter().find(|finding| finding["name"] == name);
        found.map(|finding| finding["level"].as_str().expect("a word").to_owned())
    };
    for name in ["resolve", "TCP connect", "upgrade", "echo", "round trip"] {
        assert_eq!(level(&json, name).as_deref(), Some("ok"), "{name}: {text}");
    }
    let (code, json, text) = json_of(&["doctor", "-c", "100m", "--json", "-"]);
    assert_eq!(code, Some(1), "{text}");
    assert_eq!(
        level(&json, "source ports").as_deref(),
        Some("fail"),
        "{text}"
    );
    assert!(text.contains("--source"), "names the cure: {text}");
}

#[test]
fn doctor_tells_a_server_that_does_not_upgrade_from_one_that_does_not_echo() {
    let mute = crate::support::serve(|_, stream| {
        let mut socket = crate::support::upgrade(stream);
        while let Some(socket) = &mut socket {
            if socket.read().is_err() {
                return;
            }
        }
    });
    let (_, json, text) = json_of(&[
        "doctor",
        &format!("ws://{mute}/"),
        "-c",
        "10",
        "--json",
        "-",
    ]);
    let findings = json["findings"].to_string();
    assert!(findings.contains("nothing came back"), "{text}");
    let refusing = crate::support::serve(|_, stream| {
        use std::io::{Read, Write};
        let mut stream = stream;
        let mut head = [0; 4096];
        if stream.read(&mut head).is_ok() {
            let answer = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n";
            stream.write_all(answer).expect("the client reads");
        }
    });
    let url = format!("ws://{refusing}/");
    let (code, json, text) = json_of(&["doctor", &url, "-c", "10", "--json", "-"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(
        json["findings"].to_string().contains("upgrade_status_403"),
        "{text}"
    );
}

#[test]
fn doctor_tries_a_server_through_tls() {
    let authority = tls::Authority::new();
    let config = tls::config(&authority.issue("127.0.0.1"), &[&rustls::version::TLS13]);
    let address = tls::echo_secured(config);
    let url = format!("wss://{address}/");
    let mut arguments = vec!["doctor", &url, "-c", "10", "--json", "-"];
    let (code, json, text) = json_of(&arguments);
    assert_eq!(code, Some(1), "nobody vouches for that authority: {text}");
    let findings = json["findings"].as_array().expect("findings");
    let last = findings.last().expect("some");
    assert_eq!(last["name"], "TLS", "{text}");
    assert!(text.contains("--tls-ca"), "names the cure: {text}");
    arguments.extend(["--", "--tls-ca", authority.file()]);
    let (_, json, text) = json_of(&arguments);
    let findings = json["findings"].as_array().expect("findings");
    for name in ["TLS", "upgrade", "echo"] {
        let found = findings.iter().find(|finding| finding["name"] == name);
        assert_eq!(found.expect("tried")["level"], "ok", "{name}: {text}");
    }
}

#[test]
fn calibrate_wants_two_processors() {
    for list in ["0", "0,0,0", "a,b", "99999,0"] {
        let output = loadgen(&["calibrate", "--cpu", list]);
        assert_eq!(output.status.code(), Some(2), "{list}");
    }
}
