//! What a person sees: help, refusals, exit codes.

use crate::support::servers::echo_server;
use crate::support::{echo, honest, loadgen, run, serve, upgrade};

#[test]
fn help_teaches() {
    let help = String::from_utf8(loadgen(&["echo", "--help"]).stdout).expect("UTF-8");
    for word in [
        "--connections",
        "--threads",
        "--duration",
        "--rate",
        "--in-flight",
        "--source",
        "--server-pid",
        "Examples:",
        "Exit codes:",
        "KiB",
    ] {
        assert!(help.contains(word), "{word} in\n{help}");
    }
    let short = String::from_utf8(loadgen(&["--help"]).stdout).expect("UTF-8");
    assert!(!short.contains("conformance"), "hidden from the short help");
}

#[test]
fn usage_errors_exit_with_2_and_name_the_cure() {
    for (arguments, word) in [
        (&["echo", "ws://127.0.0.1:1/", "--insecure"][..], "wss://"),
        (&["echo", "127.0.0.1:9001"], "ws://"),
        (&["echo", "ws://127.0.0.1:1/", "-d", "10 parsecs"], "30s"),
        (
            &["echo", "ws://127.0.0.1:1/", "--source", "300.0.0.0/8"],
            "127.0.0.0/28",
        ),
        (&["flood", "ws://127.0.0.1:1/"], "flood"),
        (&["echo"], "URL"),
    ] {
        let output = loadgen(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(text.contains(word), "{word} in {text}");
    }
}

#[test]
fn what_cannot_start_exits_with_1() {
    for (arguments, word) in [
        (&["--server-pid", "4194304"][..], "no such process"),
        (&["--cpu", "4000"], "4000"),
        (&["-c", "16m"], "ulimit -n"),
    ] {
        let output = loadgen(&[&["echo", "ws://127.0.0.1:1/"], arguments].concat());
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {text}");
        assert!(text.contains(word), "{word} in {text}");
    }
}

#[test]
fn sources_are_used_in_turn() {
    let (sender, receiver) = std::sync::mpsc::channel();
    let address = serve(move |_, stream| {
        let peer = stream.peer_addr().map(|peer| peer.ip().to_string());
        let _ = sender.send(peer.unwrap_or_default());
        if let Some(mut socket) = upgrade(stream) {
            echo(&mut socket, honest);
        }
    });
    let url = format!("ws://{address}/");
    let words = [
        "idle",
        &url,
        "-c",
        "28",
        "-d",
        "50ms",
        "--source",
        "127.0.1.0/28",
    ];
    run(&words).expect(&[("/connections/alive", 28)]);
    let mut peers: Vec<String> = receiver.try_iter().collect();
    peers.sort();
    let mut expected: Vec<String> = (1..=14)
        .flat_map(|host| [format!("127.0.1.{host}"), format!("127.0.1.{host}")])
        .collect();
    expected.sort();
    assert_eq!(peers, expected);
}

#[test]
fn the_server_process_is_measured() {
    let address = echo_server();
    let url = format!("ws://{address}/");
    // The scripted server lives in this very process.
    let pid = std::process::id().to_string();
    let outcome = run(&["echo", &url, "-c", "2", "-d", "500ms", "--server-pid", &pid]);
    assert_eq!(outcome.json["schema"], "fanwire-loadgen/1");
    let server = &outcome.json["server"];
    for field in ["cpu_ns_per_message", "busy_share", "rss_open_bytes"] {
        let value = server[field].as_f64().unwrap_or_default();
        assert!(value > 0.0, "{field} in {server:#}");
    }
    assert!(
        outcome.json["generator"]["cpu_share"]
            .as_f64()
            .is_some_and(|share| share > 0.0)
    );
    for field in ["p50", "p90", "p99", "p999", "max"] {
        assert!(outcome.count(&format!("/latency_ns/response/{field}")) > 0);
        assert_eq!(
            outcome.json["latency_ns"]["response"][field],
            outcome.json["latency_ns"]["service"][field],
            "a closed loop has one latency"
        );
    }
}

#[test]
fn fanout_help_teaches_and_nonsense_is_refused() {
    let help = String::from_utf8(loadgen(&["fanout", "--help"]).stdout).expect("UTF-8");
    for word in [
        "--dialect",
        "--zipf",
        "--stall",
        "--burst",
        "--topics-per-subscriber",
        "--churn",
        "-R",
    ] {
        assert!(help.contains(word), "{word} in\n{help}");
    }
    let url = "ws://127.0.0.1:1";
    for (more, word) in [
        (&["-R", "10", "-s", "20"][..], "39 bytes"),
        (&["-R", "10", "-s", "80", "--payload", "json"], "90 bytes"),
        (
            &["-R", "10", "-s", "70", "--dialect", "fanwire-json"],
            "78 bytes",
        ),
        (&["-R", "10", "-s", "16MiB"], "16MiB"),
        (&["-s", "100"], "--rate"),
        (
            &["-R", "10", "--topics", "2", "--topics-per-subscriber", "3"],
            "raise --topics",
        ),
        (
            &["-R", "10", "--topics", "2", "--topic-name", "same"],
            "{topic}",
        ),
        (&["-R", "10", "--topic-name", "a b"], "white space"),
        (&["-R", "10", "--zipf", "11"], "--zipf"),
        (&["-R", "10", "--churn", "5"], "--dialect fanwire-json"),
        (
            &["-R", "10", "--kind", "state", "--dialect", "nats"],
            "--dialect fanwire-json",
        ),
        (
            &[
                "-R",
                "10",
                "--payload",
                "binary",
                "--dialect",
                "fanwire-json",
            ],
            "--payload text",
        ),
        (&["-R", "10", "--slow", "5"], "5%:10KB"),
        (&["-R", "10", "--slow", "5%:0"], "--stall"),
        (&["-R", "10", "--stall", "150%:1s"], "10%"),
        (&["-R", "10", "--stall", "10%:soon"], "10%:inf"),
    ] {
        let output = loadgen(&[&["fanout", url], more].concat());
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{more:?}: {text}");
        assert!(text.contains(word), "{more:?}: {word} in {text}");
    }
    let refused = run(&["fanout", url, "-R", "10", "-c", "2", "-d", "1s"]);
    assert_eq!(refused.code, Some(1), "{}", refused.text);
    assert_eq!(refused.json["errors"]["connect_refused"], 3);
}
