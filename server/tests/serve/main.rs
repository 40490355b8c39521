//! `fanwire serve` as its operators and publishers see it: over real HTTP, with the real hub.

mod program;

use std::collections::BTreeMap;
use std::net::TcpListener;

use program::{Program, next, run};
use serde_json::json;

const JSON: &str = "application/json";
const LINES: &str = "application/x-ndjson";

#[test]
fn a_message_posted_arrives_and_the_answer_has_its_number() {
    let program = Program::start(&[]);
    let mut reader = program.connect(r#"{"op":"subscribe","id":1,"topics":["trades.>"]}"#);
    assert_eq!(next(&mut reader)["op"], "subscribed");
    let answer = program.post(JSON, r#"{"topic":"trades.A","data":{"price" : 1.50}}"#);
    assert_eq!(answer.status, 200, "{answer:?}");
    let published = answer.json();
    assert_eq!(
        (&published["topic"], &published["seq"]),
        (&json!("trades.A"), &json!(1))
    );
    assert_eq!(published["epoch"].as_str().map(str::len), Some(16));
    let subscribed = next(&mut reader);
    assert_eq!(subscribed["topic"], "trades.A");
    assert_eq!(subscribed["epoch"], published["epoch"]);
    assert_eq!(
        next(&mut reader),
        json!({"topic": "trades.A", "seq": 1, "data": {"price": 1.50}})
    );
}

#[test]
fn a_batch_says_what_became_of_every_line() {
    let program = Program::start(&[]);
    let lines = "{\"topic\":\"a.b\",\"data\":1}\n\n{\"topic\":\"a..b\",\"data\":2}\nnothing\n\
                 {\"topic\":\"book.x\",\"data\":3}\n{\"topic\":\"a.b\",\"data\":4}\n";
    let answer = program.post(LINES, lines);
    assert_eq!(answer.status, 400, "{answer:?}");
    let body = answer.json();
    assert_eq!(
        (&body["published"], &body["refused"]),
        (&json!(2), &json!(3))
    );
    let results: Vec<(u64, Option<u64>, Option<String>)> = body["results"]
        .as_array()
        .expect("results")
        .iter()
        .map(|one| {
            let code = one["code"].as_str().map(str::to_owned);
            (
                one["line"].as_u64().expect("a line"),
                one["seq"].as_u64(),
                code,
            )
        })
        .collect();
    let code = |code: &str| Some(code.to_owned());
    assert_eq!(
        results,
        [
            (1, Some(1), None),
            (3, None, code("bad_topic")),
            (4, None, code("bad_json")),
            (5, None, code("bad_key")),
            (6, Some(2), None),
        ]
    );
    let batch = r#"{"messages":[{"topic":"book.x","key":"bid.1","data":5},
                                {"topic":"book.x","key":"bid.1","event":true,"data":6},
                                {"topic":"book.x","key":"bid.1","remove":true}]}"#;
    let answer = program.post("application/json; charset=utf-8", batch);
    assert_eq!(answer.status, 200, "{answer:?}");
    let results = answer.json();
    assert_eq!(results["results"][2]["seq"], 3, "{results}");
    let topics = program.get("/v1/topics?prefix=book.").json();
    assert_eq!(topics["complete"], true);
    let topic = &topics["topics"][0];
    assert_eq!(
        (&topic["topic"], &topic["kind"]),
        (&json!("book.x"), &json!("state"))
    );
    assert_eq!((&topic["seq"], &topic["keys"]), (&json!(3), &json!(0)));
    let all = program.get("/v1/topics?limit=1").json();
    assert_eq!(all["topics"].as_array().map(Vec::len), Some(1));
}

#[test]
fn a_large_batch_keeps_its_order() {
    let program = Program::start(&[]);
    let lines: String = (0..10_000)
        .map(|number| format!("{{\"topic\":\"t.{}\",\"data\":{number}}}\n", number % 3))
        .collect();
    let answer = program.post(LINES, &lines);
    assert_eq!(answer.status, 200, "{}", answer.head);
    let body = answer.json();
    assert_eq!(body["published"], 10_000);
    let mut newest = BTreeMap::new();
    for result in body["results"].as_array().expect("results") {
        let seq = result["seq"].as_u64().expect("a number");
        let topic = result["topic"].as_str().expect("a topic").to_owned();
        assert_eq!(newest.insert(topic, seq).unwrap_or(0) + 1, seq);
    }
    let answer = program.post(LINES, &format!("{lines}{lines}"));
    assert_eq!(
        (answer.status, &answer.json()["code"]),
        (413, &json!("too_big"))
    );
}

#[test]
fn what_is_wrong_is_refused_with_a_code_and_the_cure() {
    let program = Program::start(&["--payload-max=1KiB"]);
    let large = format!(r#"{{"topic":"a","data":"{}"}}"#, "x".repeat(1025));
    let huge = format!(r#"{{"topic":"a","data":"{}"}}"#, "x".repeat(5 << 20));
    for (kind, body, status, code) in [
        (JSON, "", 400, "bad_json"),
        (JSON, "{", 400, "bad_json"),
        (JSON, "[1]", 400, "bad_json"),
        (JSON, "{}", 400, "bad_request"),
        (JSON, r#"{"messages":5}"#, 400, "bad_request"),
        (JSON, r#"{"topic":"a.>","data":1}"#, 400, "bad_topic"),
        (JSON, r#"{"topic":"book.a","data":1}"#, 400, "bad_key"),
        (
            JSON,
            r#"{"topic":"trades.a","key":"k","remove":true}"#,
            400,
            "bad_request",
        ),
        (JSON, &large, 413, "too_big"),
        (JSON, &huge, 413, "too_big"),
        (
            "text/plain",
            r#"{"topic":"a","data":1}"#,
            415,
            "bad_request",
        ),
        (
            "application/x-www-form-urlencoded",
            "a=b",
            415,
            "bad_request",
        ),
    ] {
        let answer = program.post(kind, body);
        let shown = &body[..body.len().min(60)];
        assert_eq!(answer.status, status, "{shown}: {answer:?}");
        let told = answer.json();
        assert_eq!(told["code"], code, "{shown}: {told}");
        let message = told["message"].as_str().expect("a message");
        assert!(message.contains(';'), "no cure: {message}");
    }
    let no_type = "POST /v1/publish HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
                   Content-Length: 2\r\n\r\n{}";
    assert_eq!(program.raw(no_type.as_bytes()).status, 415);
    assert_eq!(program.get("/v1/publish").status, 405);
    assert_eq!(program.get("/v2").status, 404);
    assert_eq!(
        program.get("/v1/topics?limit=many").json()["code"],
        "bad_request"
    );
    let topics = program.get("/v1/topics").json();
    for topic in topics["topics"].as_array().expect("topics") {
        assert_eq!(topic["seq"], 0, "nothing of this was published: {topics}");
    }
}

#[test]
fn a_hub_that_is_full_says_busy_and_takes_nothing_behind_it() {
    let program = Program::start(&["--logs-bytes-max=1MiB"]);
    let large = format!("{{\"topic\":\"t\",\"data\":\"{}\"}}\n", "x".repeat(200_000));
    let answer = program.post(LINES, &large.repeat(10));
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.head.contains("retry-after: 1"), "{}", answer.head);
    let body = answer.json();
    let published = body["published"].as_u64().expect("a number");
    assert!(published > 0 && published < 10, "{body}");
    for (result, number) in body["results"].as_array().expect("results").iter().zip(1..) {
        match number <= published {
            true => assert_eq!(result["seq"], number, "{result}"),
            false => assert_eq!(result["code"], "busy", "{result}"),
        }
    }
    let single = program.post(JSON, r#"{"topic":"t","data":1}"#);
    assert_eq!(
        (single.status, &single.json()["code"]),
        (503, &json!("busy"))
    );
    assert_eq!(program.get("/readyz").status, 200);
}

#[test]
fn who_may_not_publish_is_told_so() {
    let program = Program::start(&["--publish-from=10.0.0.0/8"]);
    let answer = program.post(JSON, r#"{"topic":"a","data":1}"#);
    assert_eq!(
        (answer.status, &answer.json()["code"]),
        (403, &json!("forbidden"))
    );
}

#[test]
fn only_requests_for_this_host_are_answered() {
    let program = Program::start(&["--admin-host=metrics.internal"]);
    let port = program.admin.rsplit(':').next().expect("a port");
    for (host, status) in [
        (format!("localhost:{port}"), 200),
        ("127.0.0.1".to_owned(), 200),
        (format!("[::1]:{port}"), 200),
        (format!("metrics.internal:{port}"), 200),
        ("evil.example".to_owned(), 421),
        (format!("evil.example:{port}"), 421),
        ("127.0.0.1.evil.example".to_owned(), 421),
        ("10.0.0.1".to_owned(), 421),
        (String::new(), 421),
    ] {
        let request = format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let answer = program.raw(request.as_bytes());
        assert_eq!(answer.status, status, "{host}: {answer:?}");
    }
}

/// The samples of OpenMetrics text; panics on what a scraper would refuse.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let (body, rest) = text.split_once("# EOF\n").expect("an end");
    assert_eq!(rest, "");
    let mut families = Vec::new();
    let mut samples = BTreeMap::new();
    for line in body.lines() {
        if let Some(family) = line.strip_prefix("# TYPE ") {
            let (name, kind) = family.split_once(' ').expect("a type");
            assert!(!families.contains(&name.to_owned()), "{name} twice");
            assert!(["counter", "gauge"].contains(&kind), "{line}");
            families.push(name.to_owned());
        } else if !line.starts_with('#') {
            let (name, value) = line.rsplit_once(' ').expect("a value");
            let family = name.split('{').next().expect("a name");
            let family = family.strip_suffix("_total").unwrap_or(family);
            assert_eq!(families.last().map(String::as_str), Some(family), "{line}");
            let before = samples.insert(name.to_owned(), value.parse().expect("a number"));
            assert!(before.is_none(), "{name} twice");
        }
    }
    samples
}

#[test]
fn metrics_count_every_core() {
    let program = Program::start(&[]);
    let mut reader = program.connect(r#"{"op":"subscribe","id":1,"topics":["a.b"]}"#);
    next(&mut reader);
    for number in 0..3 {
        program.post(JSON, &format!(r#"{{"topic":"a.b","data":{number}}}"#));
        next(&mut reader);
    }
    let answer = program.get("/metrics");
    assert!(
        answer.head.contains("application/openmetrics-text"),
        "{}",
        answer.head
    );
    let samples = samples(&answer.body);
    let sum = |prefix: &str| -> f64 {
        let matching = samples.iter().filter(|(name, _)| name.starts_with(prefix));
        let values: Vec<f64> = matching.map(|(_, value)| *value).collect();
        assert!(!values.is_empty(), "{prefix} is missing in {}", answer.body);
        values.iter().sum()
    };
    assert_eq!(sum("fanwire_hub_published_total{core="), 3.0);
    assert_eq!(sum("fanwire_hub_topics{core="), 1.0);
    assert_eq!(sum("fanwire_upgraded_total{core="), 1.0);
    assert_eq!(sum("fanwire_connections_open{core="), 1.0);
    assert_eq!(sum("fanwire_closed_total{"), 0.0);
    assert_eq!(sum("fanwire_draining"), 0.0);
    assert!(sum("fanwire_cores_answered") >= 1.0);
    assert!(samples.keys().any(|name| name.contains("reason=\"drain\"")));
    assert!(samples.keys().any(|name| name.contains("status=\"503\"")));
}

#[test]
fn readiness_ends_with_the_drain_and_life_does_not() {
    let program = Program::start(&["--drain-timeout-ms=60000", "--close-timeout-ms=60000"]);
    assert_eq!(program.get("/readyz").status, 200);
    // A client that does not answer the Close frame holds the drain up.
    let mut reader = program.connect(r#"{"op":"ping","id":1}"#);
    next(&mut reader);
    program.signal("TERM");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    let answer = loop {
        let answer = program.get("/readyz");
        if answer.status == 503 || std::time::Instant::now() > deadline {
            break answer;
        }
    };
    assert_eq!(answer.json()["code"], "draining");
    assert!(answer.head.contains("retry-after: 1"), "{}", answer.head);
    assert_eq!(program.get("/healthz").body, "alive\n");
    let refused = program.post(JSON, r#"{"topic":"a","data":1}"#);
    assert_eq!(
        (refused.status, &refused.json()["code"]),
        (503, &json!("busy"))
    );
    drop(reader);
    let (code, log) = program.end();
    assert_eq!(code, Some(0), "{log}");
}

#[test]
fn the_slowest_readers_are_listed() {
    let program = Program::start(&["--kernel-send-buffer-bytes=16384"]);
    let mut reader = program.connect(r#"{"op":"subscribe","id":1,"topics":["t"]}"#);
    next(&mut reader);
    let payload = "x".repeat(200_000);
    let line = format!("{{\"topic\":\"t\",\"data\":\"{payload}\"}}\n");
    for _ in 0..4 {
        assert_eq!(program.post(LINES, &line.repeat(10)).status, 200);
    }
    let slow = program.get("/v1/slow").json();
    let slowest = &slow["connections"][0];
    let own = reader
        .get_ref()
        .local_addr()
        .expect("an address")
        .to_string();
    assert_eq!(slowest["peer"], own, "{slow}");
    assert!(slowest["messages_behind"].as_u64() > Some(0), "{slow}");
    assert_eq!(slowest["topics_behind"], 1, "{slow}");
}

#[test]
fn the_page_knows_where_the_hub_is_and_loads_nothing_from_elsewhere() {
    let program = Program::start(&[]);
    let answer = program.get("/");
    assert_eq!(answer.status, 200);
    let port = program.websocket.rsplit(':').next().expect("a port");
    assert!(answer.body.contains(&format!(":{port}/`")), "the port");
    assert!(
        answer
            .head
            .contains("content-security-policy: default-src 'none'")
    );
    for mark in ["__WEBSOCKET_PORT__", "src=\"http", "href=\"http", "@import"] {
        assert!(!answer.body.contains(mark), "{mark}");
    }
}

/// A reader's book, made as docs/simulator.md says.
#[derive(Default)]
struct Book {
    levels: BTreeMap<String, (String, String, String)>,
    check: u64,
}

impl Book {
    fn take(&mut self, message: &serde_json::Value) {
        let key = message["key"].as_str().expect("a key").to_owned();
        if message["removed"] == true {
            self.levels.remove(&key);
            return;
        }
        let text = |name: &str| message["data"][name].as_str().expect("text").to_owned();
        self.levels
            .insert(key, (text("side"), text("price"), text("size")));
        self.check = message["data"]["check"].as_u64().expect("a checksum");
    }

    fn computed(&self) -> u64 {
        let side = |wanted: &str| {
            let levels = self.levels.values().filter(|level| level.0 == wanted);
            let price = |text: &str| text.parse::<f64>().expect("a decimal");
            let mut levels: Vec<_> = levels.filter(|level| price(&level.2) > 0.0).collect();
            levels.sort_by(|one, other| price(&one.1).total_cmp(&price(&other.1)));
            levels
        };
        let text = |level: &&(String, String, String)| format!("{}:{},", level.1, level.2);
        let asks: String = side("ask").iter().take(10).map(text).collect();
        let bids: String = side("bid").iter().rev().take(10).map(text).collect();
        u64::from(crc32fast::hash((asks + &bids).as_bytes()))
    }
}

#[test]
fn a_simulated_book_is_right_after_its_snapshot_and_after_every_message() {
    let program = Program::start(&[
        "--simulate",
        "--simulate-symbols=2",
        "--simulate-rate=3000/s",
        "--simulate-seed=7",
    ]);
    let mut reader = program.connect(r#"{"op":"subscribe","id":1,"topics":["book.BTC-USD"]}"#);
    let mut book = Book::default();
    let mut announced = 0;
    let mut is_whole = true;
    let mut checks = 0;
    while checks < 1_000 {
        let message = next(&mut reader);
        match message["op"].as_str() {
            Some("snapshot") => {
                book = Book::default();
                is_whole = message["whole"] == true;
                announced = message["count"].as_u64().expect("a count");
            }
            Some("conflated") => {
                is_whole = message["whole"] == true;
                announced = message["count"].as_u64().expect("a count");
            }
            Some(_) => {}
            None => {
                book.take(&message);
                announced = announced.saturating_sub(1);
                if announced == 0 && is_whole {
                    assert_eq!(book.computed(), book.check, "after {message}");
                    checks += 1;
                }
            }
        }
    }
    program.signal("TERM");
    drop(reader);
    let (code, log) = program.end();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("--simulate-seed 7"), "{log}");
    assert!(log.contains("simulator: ended; "), "{log}");
    assert!(log.contains(" 0 refused"), "{log}");
}

#[test]
fn a_file_is_replayed_and_the_server_stays_up() {
    let path = std::env::temp_dir().join(format!("fanwire-replay-{}.jsonl", std::process::id()));
    let mut text: String = (0..2_000)
        .map(|number| {
            let time = 1_700_000_000_000_u64 + number;
            format!(
                "{{\"ts\":{time},\"topic\":\"r.{}\",\"data\":{number}}}\n",
                number % 4
            )
        })
        .collect();
    text += "broken\n";
    std::fs::write(&path, text).expect("a file for the test");
    let file = path.to_str().expect("a path");
    let program = Program::start(&["--replay", file, "--speed=10"]);
    let mut reader = program
        .connect(r#"{"op":"subscribe","id":1,"topics":["r.0","r.1","r.2","r.3"],"history":4000}"#);
    let mut newest = BTreeMap::new();
    let mut numbers = BTreeMap::new();
    while numbers.values().sum::<u64>() < 2_000 {
        let message = next(&mut reader);
        if message["op"].is_null() {
            let topic = message["topic"].as_str().expect("a topic").to_owned();
            let data = message["data"].as_u64().expect("a number");
            assert!(newest.insert(topic.clone(), data) < Some(data), "{message}");
            *numbers.entry(topic).or_insert(0) += 1;
        }
    }
    let topics = program.get("/v1/topics?prefix=r.").json();
    for topic in topics["topics"].as_array().expect("topics") {
        assert_eq!(topic["seq"], 500, "{topics}");
    }
    drop(reader);
    program.signal("TERM");
    let (code, log) = program.end();
    // The system's own cleaning takes what is left.
    let _ = std::fs::remove_file(&path);
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("2000 messages in "), "{log}");
    assert!(log.contains("1 bad lines"), "{log}");
    assert!(log.contains("first bad line 2001: bad_json"), "{log}");
}

#[test]
fn a_wrong_start_says_why_and_ends_with_2() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    for (arguments, part) in [
        (vec!["--admin", &address], "--no-admin"),
        (vec!["--replay", "/nowhere/day.jsonl"], "/nowhere/day.jsonl"),
        (
            vec!["--config", "/nowhere/fanwire.toml"],
            "/nowhere/fanwire.toml",
        ),
        (vec!["--speed", "0"], "max"),
        (
            vec!["--check", "--close-timeout-ms", "0"],
            "close_timeout_ms",
        ),
    ] {
        let mut all = vec!["--listen", "127.0.0.1:0"];
        all.extend(arguments);
        let output = run(&all);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(told.contains(part), "{part} is not in: {told}");
    }
    let output = run(&["--check"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&output.stdout).contains("is good"));
}
