//! `compare`, on saved runs of which the truth is known: one real report, altered.

use std::path::PathBuf;
use std::process::{Command, Output};

use crate::support::{echo, honest, run, serve, upgrade};
use serde_json::{Value, json};

/// A folder of its own for each test, taken away in the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("fanwire-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder");
        Folder(path)
    }

    /// Saves runs whose response percentiles are those of `report` times a factor each.
    fn save(&self, side: &str, report: &Value, factors: &[f64]) -> Vec<String> {
        let save = |(number, factor): (usize, &f64)| {
            let mut report = report.clone();
            for percentile in ["p50", "p90", "p99", "p999", "max"] {
                let value = 1_000_000.0 * factor;
                report["latency_ns"]["response"][percentile] = json!(value as u64);
            }
            report["messages_per_second"] = json!(5_000.0 / factor);
            self.write(&format!("{side}-{number}.json"), &report)
        };
        factors.iter().enumerate().map(save).collect()
    }

    fn write(&self, name: &str, report: &Value) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, report.to_string()).expect("a file");
        path.to_string_lossy().into_owned()
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.0.join(name)).expect("written")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A real report of a short closed loop, cleared of whatever this host did to it.
fn real_report() -> Value {
    let address = serve(|_, stream| {
        if let Some(mut socket) = upgrade(stream) {
            echo(&mut socket, honest);
        }
    });
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
    let base = folder.save("base", &report, &STEADY);
    let same = folder.save("same", &report, &[1.003, 0.992, 1.008, 0.998, 1.001, 1.004]);
    let slower = folder.save("slower", &report, &SLOWER);
    let json = folder.0.join("out.json").to_string_lossy().into_owned();
    let markdown = folder.0.join("out.md").to_string_lossy().into_owned();

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
    let base = folder.save("base", &report, &STEADY[..4]);
    let slower = folder.save("slower", &report, &SLOWER);
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
    let base = folder.save("base", &report, &STEADY);
    let altered = |name: &str, change: fn(&mut Value)| -> Vec<String> {
        let mut other = report.clone();
        change(&mut other);
        vec![folder.write(name, &other)]
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
    let nonsense = folder.write("nonsense.json", &json!({"schema": "another"}));
    let missing = folder.0.join("missing.json").to_string_lossy().into_owned();
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
    let outcome = Command::new(env!("CARGO_BIN_EXE_fanwire-loadgen"))
        .args(["compare", "a.json"])
        .output()
        .expect("the binary starts");
    assert_eq!(outcome.status.code(), Some(2));
    assert!(text(&outcome).contains("-- NEW.json"), "{}", text(&outcome));
}
