//! The files of real runs, read back by parsers that are not ours: every mode against the published
//! schema, HdrHistogram's log and distribution, CSV, Markdown, and `report` on what was saved.

use std::fs;
use std::path::Path;

use crate::support::files::Folder;
use crate::support::hub::{Fault, hub};
use crate::support::servers::echo_server;
use crate::support::ticker::{Tick, ticker};
use crate::support::{loadgen, page, run};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fanwire_loadgen::measure::latency::Latency;
use fanwire_loadgen::report::json;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use serde_json::{Value, json};

fn stdout(arguments: &[&str]) -> String {
    let output = loadgen(arguments);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {error}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// What the run says of itself, machine or not, must be there; the verdict depends on the machine.
fn saved(path: &str) -> Value {
    let text = fs::read(path).unwrap_or_else(|error| unreachable!("{path}: {error}"));
    serde_json::from_slice(&text).expect("JSON")
}

fn schema() -> Value {
    serde_json::from_str(json::SCHEMA_TEXT).expect("the schema is JSON")
}

/// The schema with every object closed, so that a field it does not list is a fault.
fn close(schema: &mut Value) {
    if let Value::Object(object) = schema {
        if object.contains_key("properties") {
            object.insert("additionalProperties".into(), Value::Bool(false));
        }
        object.values_mut().for_each(close);
    } else if let Value::Array(items) = schema {
        items.iter_mut().for_each(close);
    }
}

fn require_valid(report: &Value) {
    let mut strict = schema();
    close(&mut strict);
    let validator = jsonschema::draft202012::new(&strict).expect("a right schema");
    let faults: Vec<String> = validator
        .iter_errors(report)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(
        faults.is_empty(),
        "describe new fields in loadgen/schema, with their unit: {faults:#?}"
    );
}

fn merged(path: &str) -> Histogram<u64> {
    let report = saved(path);
    let text = report["histograms"]["response"]
        .as_str()
        .expect("there is one");
    let latency = Latency::decode(text).expect("our own encoding");
    latency.histogram().expect("it has values").clone()
}

#[test]
fn every_mode_fits_the_schema() {
    let folder = Folder::new("schema");
    let url = format!("ws://{}", echo_server());
    let hub = hub(Fault::None);
    let feed = ticker(Tick::Json(0));
    let runs: [&[&str]; 9] = [
        &[
            "echo",
            &url,
            "-c",
            "3",
            "-R",
            "300",
            "--threshold",
            "echo.p99<10s",
        ],
        &["echo", &url, "-c", "3", "--in-flight", "2", "--deflate"],
        &["storm", &url, "-c", "2"],
        &["idle", &url, "-c", "3", "--ping-interval", "200ms"],
        &["churn", &url, "-c", "3", "--lifetime", "300ms"],
        &["fanout", &hub, "-c", "3", "--topics", "2", "-R", "50"],
        &[
            "fanout",
            &feed,
            "-c",
            "12",
            "--readers-only",
            "--stamp",
            "json:/ts",
            "--sequence",
            "json:/seq",
            "--slow",
            "10%:1KB",
        ],
        // A server that says nothing that anybody understands.
        &[
            "fanout",
            &feed,
            "-c",
            "2",
            "-R",
            "50",
            "--dialect",
            "custom",
        ],
        // Nobody listens there.
        &[
            "echo",
            "ws://127.0.0.1:1",
            "-c",
            "2",
            "--connect-timeout",
            "1s",
        ],
    ];
    for (number, arguments) in runs.iter().enumerate() {
        let path = folder.file(&format!("{number}.json"));
        let common = ["-d", "1s", "--json", &path];
        let output = loadgen(&[arguments.to_vec(), common.to_vec()].concat());
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        if !Path::new(&path).exists() {
            assert_eq!(output.status.code(), Some(1), "{arguments:?}: {error}");
            continue;
        }
        let report = saved(&path);
        require_valid(&report);
        // As a load of a scenario, too.
        let mut scenario = report.clone();
        scenario["parts"] = json!([{"name": "a", "stage": "", "report": report}]);
        require_valid(&scenario);
        let html = stdout(&["report", &path, "--html", "-"]);
        let page = page::read(&html);
        assert!(page.tables >= 1, "{arguments:?}");
    }
    let mut wrong = saved(&folder.file("0.json"));
    wrong["latency_ns"]["response"]["p98"] = json!(5);
    let mut strict = schema();
    close(&mut strict);
    assert!(
        !jsonschema::is_valid(&strict, &wrong),
        "an unknown field is noticed"
    );
}

#[test]
fn the_schema_describes_every_field_with_its_unit() {
    fn look(path: &str, schema: &Value, faults: &mut Vec<String>) {
        let Value::Object(object) = schema else {
            return;
        };
        let types = object.get("type").map(Value::to_string).unwrap_or_default();
        let is_number = types.contains("integer") || types.contains("\"number\"");
        if is_number && !object.contains_key("unit") {
            faults.push(format!("{path} has no unit"));
        }
        if let Some(Value::Object(properties)) = object.get("properties") {
            for (name, property) in properties {
                let path = format!("{path}/{name}");
                let text = property["description"].as_str().unwrap_or_default();
                if !text.ends_with('.') {
                    faults.push(format!("{path} is not described in a sentence"));
                }
                look(&path, property, faults);
            }
        }
        for inner in ["items", "additionalProperties"] {
            if let Some(inner) = object.get(inner) {
                look(path, inner, faults);
            }
        }
    }
    let schema = schema();
    let mut faults = Vec::new();
    look("", &schema, &mut faults);
    for (name, definition) in schema["$defs"].as_object().expect("definitions") {
        look(name, definition, &mut faults);
    }
    assert!(faults.is_empty(), "{faults:#?}");
    assert_eq!(stdout(&["report", "--schema"]), json::SCHEMA_TEXT);
}

#[test]
fn all_files_of_a_run_tell_the_same() {
    let folder = Folder::new("files");
    let url = format!("ws://{}", echo_server());
    let (json, csv, md) = (
        folder.file("r.json"),
        folder.file("r.csv"),
        folder.file("r.md"),
    );
    let (hlog, hgrm, html) = (
        folder.file("r.hlog"),
        folder.file("r.hgrm"),
        folder.file("r.html"),
    );
    let output = loadgen(&[
        "echo", &url, "-c", "4", "-R", "400", "-d", "3s", "-w", "1s", "--json", &json, "--csv",
        &csv, "--md", &md, "--hlog", &hlog, "--hgrm", &hgrm, "--html", &html,
    ]);
    assert!(
        output
            .status
            .code()
            .is_some_and(|code| code != 1 && code != 2)
    );
    let whole = merged(&json);
    let report = saved(&json);
    assert_eq!(
        whole.len(),
        report["latency_ns"]["response"]["count"]
            .as_u64()
            .expect("a count")
    );

    // The interval log, by HdrHistogram's own reader.
    let log = fs::read(&hlog).expect("a log");
    let mut sum = Histogram::<u64>::new_from(&whole);
    let (mut lines, mut has_start) = (0, false);
    for entry in IntervalLogIterator::new(&log) {
        match entry.expect("a right line") {
            LogEntry::StartTime(_) => has_start = true,
            LogEntry::BaseTime(_) => {}
            LogEntry::Interval(interval) => {
                let bytes = STANDARD
                    .decode(interval.encoded_histogram())
                    .expect("base64");
                let part: Histogram<u64> = Deserializer::new()
                    .deserialize(&mut bytes.as_slice())
                    .expect("a histogram");
                sum.add(&part).expect("the same bounds");
                lines += 1;
            }
        }
    }
    assert!(has_start);
    assert_eq!(lines, report["series"].as_array().expect("rows").len());
    assert_eq!(sum, whole, "the seconds add up to the whole");

    // The distribution, by white space.
    let text = fs::read_to_string(&hgrm).expect("a distribution");
    let last = text
        .lines()
        .rfind(|line| !line.starts_with('#'))
        .expect("rows");
    let cells: Vec<f64> = last
        .split_whitespace()
        .map(|cell| cell.parse().expect("figures"))
        .collect();
    assert_eq!(cells[1..], [1.0, whole.len() as f64]);
    assert!((cells[0] - whole.max() as f64 / 1e6).abs() < 1e-5, "{last}");

    // The time series.
    let mut reader = csv::Reader::from_path(&csv).expect("a table");
    let head = reader.headers().expect("a head").clone();
    let place = |name: &str| {
        head.iter()
            .position(|column| column == name)
            .expect("a column")
    };
    let (mut rows, mut values) = (0, 0);
    for row in reader.records() {
        let row = row.expect("as many cells as columns");
        values += row[place("response_count")]
            .parse::<u64>()
            .expect("a count");
        assert!(row[place("at_s")].parse::<f64>().expect("seconds") > 0.0);
        rows += 1;
    }
    assert_eq!((rows, values), (lines, whole.len()));

    // Markdown: every row of a table has the columns of its head.
    let text = fs::read_to_string(&md).expect("tables");
    let mut columns = None;
    for line in text.lines() {
        let cells = line.replace("\\|", "").matches('|').count();
        if cells == 0 {
            columns = None;
        } else {
            assert_eq!(*columns.get_or_insert(cells), cells, "{line}\n{text}");
        }
    }
    assert!(text.contains("| response (intended) |"), "{text}");

    let page = page::read(&fs::read_to_string(&html).expect("a page"));
    assert!(page.plots >= 8 && page.text.contains(&url), "{}", page.text);
    // Rendered again from the file it is the same page.
    assert_eq!(
        stdout(&["report", &json, "--csv", "-"]),
        fs::read_to_string(&csv).expect("rows")
    );
    assert_eq!(
        stdout(&["report", &json, "--html", "-"]),
        fs::read_to_string(&html).expect("page")
    );
}

#[test]
fn saved_runs_are_merged_or_shown_side_by_side() {
    let folder = Folder::new("merge");
    let url = format!("ws://{}", echo_server());
    let (one, two, sum) = (
        folder.file("one.json"),
        folder.file("two.json"),
        folder.file("s.json"),
    );
    for path in [&one, &two] {
        loadgen(&[
            "echo", &url, "-c", "2", "-R", "200", "-d", "1s", "--json", path,
        ]);
    }
    stdout(&["report", "--merge", &one, &two, "--json", &sum]);
    let mut added = merged(&one);
    added.add(merged(&two)).expect("the same bounds");
    assert_eq!(merged(&sum), added);
    let report = saved(&sum);
    require_valid(&report);
    assert_eq!(report["connections"]["asked"], 4);
    let html = stdout(&["report", &one, &two, "--html", "-"]);
    let page = page::read(&html);
    assert!(page.text.contains("2 runs side by side"), "{}", page.text);
    assert!(page.text.contains("Response time by percentile"));
    let csv = stdout(&["report", &one, &two, "--csv", "-"]);
    assert!(csv.starts_with("run,at_s") && csv.contains("\none,") && csv.contains("\ntwo,"));
    let text = stdout(&["report", &one, &two, "--unit", "us"]);
    assert!(text.contains("== one") && text.contains("us "), "{text}");
}

#[test]
fn what_cannot_be_done_is_said_before_anything_is_done() {
    let folder = Folder::new("refused");
    let url = format!("ws://{}", echo_server());
    let missing = folder.file("no/such/folder/r.html");
    let refused = run(&["echo", &url, "-d", "60s", "--html", &missing]);
    assert_eq!(refused.code, Some(2), "{}", refused.text);
    assert!(
        refused.text.contains("--html") && refused.text.contains("mkdir"),
        "{}",
        refused.text
    );
    // `run` asks for --json - already.
    let refused = run(&["echo", &url, "-d", "60s", "--csv", "-"]);
    assert_eq!(refused.code, Some(2), "{}", refused.text);
    assert!(refused.text.contains("standard output"), "{}", refused.text);
    let text = folder.file("text.json");
    fs::write(&text, "hello").expect("a file");
    let code_and_word = [
        (vec!["report"], 2, "FILE"),
        (vec!["report", &text, "--html", "-"], 1, "not a report"),
        (vec!["report", "/nowhere.json"], 1, "cannot read"),
        (vec!["report", &text, "--html", &missing], 2, "mkdir"),
    ];
    for (arguments, code, word) in code_and_word {
        let output = loadgen(&arguments);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {error}");
        assert!(error.contains(word), "{arguments:?}: {error}");
    }
}
