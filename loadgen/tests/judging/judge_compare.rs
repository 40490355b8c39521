//! `compare`, on saved runs of which the truth is known: one real report, altered.

use std::process::{Command, Output};

use crate::support::files::Folder;
use crate::support::servers::echo_server;
use crate::support::{loadgen, run};
use serde_json::{Value, json};

/// Saves runs whose response percentiles are those of `report` times a factor each.
fn save(folder: &Folder, side: &str, report: &Value, factors: &[f64]) -> Vec<String> {
    let save = |(number, factor): (usize, &f64)| {
        let mut report = report.clone();
        for percentile in ["p50", "p90", "p99", "p999", "max"] {
            let value = 1_000_000.0 * factor;
            report["latency_ns"]["response"][percentile] = json!(value as u64);
        }
        report["messages_per_second"] = json!(5_000.0 / factor);
        folder.write(&format!("{side}-{number}.json"), report.to_string())
    };
    factors.iter().enumerate().map(save).collect()
}

/// A real report of a short closed loop, cleared of whatever this host did to it.
fn real_report() -> Value {
    let address = echo_server();
    let url = format!("ws://{address}/");
    let mut report = run(&["echo", &url, "-c", "2", "-d", "200ms", "-w", "50ms"]).json;
    report["verdict"] = json!("VALID");
    report["verdict_reasons"] = json!([]);
    report
}

fn compare(base: &[String], new: &[String], options: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_fanwire-loadgen"))
        .arg("compare")
        .args(base)
        .arg("--")
        .args(new)
        .args(options)
        .output()
        .expect("the binary starts")
}

fn text(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&both).into_owned()
}

const STEADY: [f64; 6] = [1.0, 1.01, 0.99, 1.005, 0.995, 1.002];
const SLOWER: [f64; 6] = [1.2, 1.21, 1.19, 1.205, 1.195, 1.202];

#[test]
fn a_slowdown_is_found_and_a_difference_within_the_noise_is_not() {
    let folder = Folder::new("compare");
    let report = real_report();
    let base = save(&folder, "base", &report, &STEADY);
    let same = save(
        &folder,
        "same",
        &report,
        &[1.003, 0.992, 1.008, 0.998, 1.001, 1.004],
    );
    let slower = save(&folder, "slower", &report, &SLOWER);
    let json = folder.file("out.json");
    let markdown = folder.file("out.md");

    let outcome = compare(&base, &same, &["--fail-on-regression", "5%"]);
    let shown = text(&outcome);
    assert_eq!(outcome.status.code(), Some(0), "{shown}");
    assert!(
        shown.contains('~') && !shown.contains("REGRESSION"),
        "{shown}"
    );

    let options = [
        "--fail-on-regression",
        "5%",
        "--json",
        &json,
        "--md",
        &markdown,
    ];
    let outcome = compare(&base, &slower, &options);
    let shown = text(&outcome);
    assert_eq!(outcome.status.code(), Some(5), "{shown}");
    assert!(
        shown.contains("response p99 is 20.0% worse (limit 5%)"),
        "{shown}"
    );
    let document: Value = serde_json::from_str(&folder.read("out.json")).expect("JSON");
    let figures = document["figures"].as_array().expect("figures");
    let figure = |name: &str| {
        let found = figures.iter().find(|figure| figure["name"] == name);
        found.unwrap_or_else(|| unreachable!("{name} in {document:#}"))
    };
    assert_eq!(figure("response p99")["finding"], "significant");
    assert_eq!(figure("response max")["finding"], "not_tested");
    assert_eq!(
        figure("rate")["is_regression"],
        true,
        "a closed loop got slower"
    );
    let low = figure("response p50")["ratio_low"]
        .as_f64()
        .expect("a number");
    let high = figure("response p50")["ratio_high"]
        .as_f64()
        .expect("a number");
    assert!(low > 1.15 && high < 1.25, "{low} {high}");
    assert!(
        folder
            .read("out.md")
            .contains("| response p99 | 1.00ms | 1.20ms | +20.")
    );

    // Getting better is no regression, and a limit beyond the change is not exceeded.
    let options = ["--fail-on-regression", "5%"];
    assert_eq!(compare(&slower, &base, &options).status.code(), Some(0));
    let options = ["--fail-on-regression", "30%"];
    assert_eq!(compare(&base, &slower, &options).status.code(), Some(0));
}

#[test]
fn fewer_than_five_runs_prove_nothing() {
    let folder = Folder::new("compare-few");
    let report = real_report();
    let base = save(&folder, "base", &report, &STEADY[..4]);
    let slower = save(&folder, "slower", &report, &SLOWER);
    let outcome = compare(&base, &slower, &["--fail-on-regression", "5%"]);
    let shown = text(&outcome);
    assert_eq!(outcome.status.code(), Some(0), "{shown}");
    assert!(
        shown.contains("~ (n<5)") && shown.contains("+19.8%"),
        "{shown}"
    );
}

#[test]
fn runs_that_measure_different_things_are_refused() {
    let folder = Folder::new("compare-refused");
    let report = real_report();
    let base = save(&folder, "base", &report, &STEADY);
    let altered = |name: &str, change: fn(&mut Value)| -> Vec<String> {
        let mut other = report.clone();
        change(&mut other);
        vec![folder.write(name, other.to_string())]
    };
    let larger = altered("larger.json", |report| {
        report["config"]["message_size_bytes"] = json!(1024);
    });
    let invalid = altered("invalid.json", |report| {
        report["verdict"] = json!("INVALID");
        report["verdict_reasons"] = json!(["5 messages were lost"]);
    });
    let other_host = altered("host.json", |report| {
        report["environment"]["host_id"] = json!("another");
    });
    for (new, words, override_option) in [
        (&larger, ["payload size: 64 B", "larger.json"], "--force"),
        (&other_host, ["host", "host.json"], "--force"),
        (
            &invalid,
            ["5 messages were lost", "invalid.json"],
            "--allow-invalid",
        ),
    ] {
        let outcome = compare(&base, new, &[]);
        let shown = text(&outcome);
        assert_eq!(outcome.status.code(), Some(2), "{shown}");
        for word in words {
            assert!(shown.contains(word), "{word} in {shown}");
        }
        assert!(shown.contains(override_option), "{shown}");
        let outcome = compare(&base, new, &[override_option]);
        assert_eq!(outcome.status.code(), Some(0), "{}", text(&outcome));
    }
}

#[test]
fn files_that_are_no_reports_are_named() {
    let folder = Folder::new("compare-files");
    let nonsense = folder.write("nonsense.json", r#"{"schema":"another"}"#);
    let missing = folder.file("missing.json");
    for (path, word) in [(nonsense, "nonsense.json"), (missing, "missing.json")] {
        let outcome = compare(
            std::slice::from_ref(&path),
            std::slice::from_ref(&path),
            &[],
        );
        let shown = text(&outcome);
        assert_eq!(outcome.status.code(), Some(2), "{shown}");
        assert!(shown.contains(word), "{shown}");
    }
    let outcome = loadgen(&["compare", "a.json"]);
    assert_eq!(outcome.status.code(), Some(2));
    assert!(text(&outcome).contains("-- NEW.json"), "{}", text(&outcome));
}
