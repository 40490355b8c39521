//! The OpenMetrics endpoint over real sockets: what it answers to scrapers of every kind.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crate::live::Staged;
use fanwire_loadgen::live::endpoint::Endpoint;
use fanwire_loadgen::measure::watch::{LivePhase, Watch};

/// Whatever takes longer than this hangs.
const PATIENCE: Duration = Duration::from_secs(20);

fn run() -> Staged {
    let mut run = Staged::new("echo ws://127.0.0.1:9 -c 10 -R 500 -d 10s");
    run.phase = LivePhase::Measuring;
    run.reading.open = 9;
    run.reading.opened = 10;
    run.reading.failed = 1;
    let second = run.second(&[(150_000, 400), (3_000_000, 100)], true);
    second.late_p99_ns = 17_000;
    second.generator_cpu_share = Some(0.5);
    second.server_rss_bytes = Some(1 << 20);
    second.troubles.insert("lost".to_owned(), 2);
    run
}

fn endpoint(run: &Staged) -> Endpoint {
    let any = "127.0.0.1:0".parse().expect("an address");
    Endpoint::bind(any, &run.config).expect("a free port")
}

/// Sends bytes and reads to the end.
fn exchange(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    stream.write_all(request).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

fn scrape(address: SocketAddr) -> Exposition {
    let answer = exchange(address, b"GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(
        head.contains("Content-Type: application/openmetrics-text; version=1.0.0; charset=utf-8"),
        "{head}"
    );
    assert!(
        head.contains(&format!("Content-Length: {}", body.len())),
        "{head}"
    );
    Exposition::read(body)
}

/// OpenMetrics text, read strictly and without the crate that wrote it.
struct Exposition {
    types: BTreeMap<String, String>,
    samples: BTreeMap<String, f64>,
}

impl Exposition {
    fn read(text: &str) -> Exposition {
        let body = text.strip_suffix("# EOF\n").expect("it ends with # EOF");
        let mut read = Exposition {
            types: BTreeMap::new(),
            samples: BTreeMap::new(),
        };
        let mut family = String::new();
        for line in body.lines() {
            if let Some(described) = line.strip_prefix("# TYPE ") {
                let (name, kind) = described.split_once(' ').expect("name and type");
                family = name.to_owned();
                let before = read.types.insert(name.to_owned(), kind.to_owned());
                assert!(before.is_none(), "{name} is described twice");
                continue;
            }
            if line.starts_with("# HELP ") {
                continue;
            }
            assert!(!line.starts_with('#') && !line.is_empty(), "{line:?}");
            let (sample, value) = line.rsplit_once(' ').expect("sample and value");
            let name = sample.split('{').next().expect("a name");
            let suffix = name.strip_prefix(family.as_str()).expect(line);
            let allowed: &[&str] = match read.types.get(&family).map(String::as_str) {
                Some("counter") => &["_total"],
                Some("gauge") => &[""],
                Some("info") => &["_info"],
                Some("histogram") => &["_bucket", "_sum", "_count"],
                other => unreachable!("{other:?} in {line}"),
            };
            assert!(allowed.contains(&suffix), "{line}");
            let value = value.parse().expect("a number");
            let before = read.samples.insert(sample.to_owned(), value);
            assert!(before.is_none(), "{sample} twice");
        }
        read
    }

    fn value(&self, sample: &str) -> f64 {
        let name = format!("fanwire_loadgen_{sample}");
        let value = self.samples.get(&name).copied();
        value.unwrap_or_else(|| unreachable!("no {name} in {:#?}", self.samples))
    }
}

#[test]
fn a_scrape_shows_the_run_as_it_is() {
    let run = run();
    let mut endpoint = endpoint(&run);
    let before = scrape(endpoint.address());
    assert_eq!(before.value("phase{phase=\"opening\"}"), 1.0);
    assert_eq!(before.value("response_seconds_count"), 0.0);
    endpoint.look(&run.live());
    let shown = scrape(endpoint.address());
    for (sample, value) in [
        ("phase{phase=\"measuring\"}", 1.0),
        ("phase{phase=\"opening\"}", 0.0),
        ("rate_target", 500.0),
        ("messages_sent_total", 500.0),
        ("messages_received_total", 500.0),
        ("connections_asked", 10.0),
        ("connections_open", 9.0),
        ("connections_opened_total", 10.0),
        ("connections_failed_total", 1.0),
        ("troubles_total{kind=\"lost\"}", 2.0),
        ("late_send_p99_seconds", 0.000_017),
        ("generator_busiest_thread_ratio", 0.5),
        ("server_resident_memory_bytes", 1_048_576.0),
        ("response_seconds_count", 500.0),
        ("response_seconds_bucket{le=\"0.0001\"}", 0.0),
        ("response_seconds_bucket{le=\"0.0002\"}", 400.0),
        ("response_seconds_bucket{le=\"0.005\"}", 500.0),
        ("response_seconds_bucket{le=\"+Inf\"}", 500.0),
    ] {
        assert_eq!(shown.value(sample), value, "{sample}");
    }
    let sum = shown.value("response_seconds_sum");
    assert!((sum - 0.36).abs() < 0.001, "{sum}");
    let median = shown.value("response_last_second_seconds{quantile=\"0.5\"}");
    assert!((median - 0.000_150).abs() < 0.000_001, "{median}");
}

#[test]
fn counters_only_grow() {
    let mut run = run();
    let mut endpoint = endpoint(&run);
    endpoint.look(&run.live());
    let first = scrape(endpoint.address());
    run.second(&[(90_000, 300)], true)
        .troubles
        .insert("lost".to_owned(), 1);
    endpoint.look(&run.live());
    let second = scrape(endpoint.address());
    assert_eq!(second.value("response_seconds_count"), 800.0);
    assert_eq!(second.value("troubles_total{kind=\"lost\"}"), 3.0);
    let mut counted = 0;
    for (sample, value) in &first.samples {
        let name = sample.split('{').next().expect("a name");
        let is_counter = ["_total", "_bucket", "_count", "_sum"]
            .iter()
            .any(|suffix| name.ends_with(suffix));
        if is_counter {
            counted += 1;
            assert!(second.samples[sample] >= *value, "{sample} shrank");
        }
    }
    assert!(counted > 25, "{counted}");
}

#[test]
fn nonsense_is_answered_and_refused() {
    let run = run();
    let endpoint = endpoint(&run);
    for (request, status) in [
        ("GET / HTTP/1.1\r\n\r\n", "404 Not Found"),
        ("GET /metricsx HTTP/1.1\r\n\r\n", "404 Not Found"),
        ("GET /metrics?a=b HTTP/1.1\r\n\r\n", "200 OK"),
        (
            "POST /metrics HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
            "405 Method Not Allowed",
        ),
        ("hello\r\n\r\n", "400 Bad Request"),
    ] {
        let answer = exchange(endpoint.address(), request.as_bytes());
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}\r\n")),
            "{request}: {answer}"
        );
    }
    let refused = exchange(endpoint.address(), b"PUT / HTTP/1.1\r\n\r\n");
    assert!(refused.contains("Allow: GET, HEAD\r\n"), "{refused}");
    let head = exchange(endpoint.address(), b"HEAD /metrics HTTP/1.1\r\n\r\n");
    assert!(
        head.starts_with("HTTP/1.1 200 OK\r\n") && head.ends_with("\r\n\r\n"),
        "{head}"
    );
    let long = format!("GET /{}", "a".repeat(8 * 1024 - 5));
    let answer = exchange(endpoint.address(), long.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
}

#[test]
fn silent_scrapers_hold_up_neither_others_nor_the_end() {
    let run = run();
    let mut endpoint = endpoint(&run);
    let connect = |_| TcpStream::connect(endpoint.address()).expect("it listens");
    // One fewer than there may be: the last place serves everybody else.
    let silent: Vec<TcpStream> = (0..7).map(connect).collect();
    scrape(endpoint.address());
    let before = Instant::now();
    endpoint.look(&run.live());
    endpoint.end();
    assert!(before.elapsed() < PATIENCE / 10, "{:?}", before.elapsed());
    // The port is free again at once, for the next run of this process.
    let again = Endpoint::bind(endpoint.address(), &run.config).expect("the port is free");
    scrape(again.address());
    drop(silent);
}

#[test]
fn too_many_scrapers_are_turned_away_and_let_in_again() {
    let run = run();
    let endpoint = endpoint(&run);
    let connect = || TcpStream::connect(endpoint.address()).expect("it listens");
    let silent: Vec<TcpStream> = (0..8).map(|_| connect()).collect();
    let mut answer = Vec::new();
    let mut turned_away = connect();
    turned_away
        .set_read_timeout(Some(PATIENCE))
        .expect("a socket");
    // Closed without a word, or reset if that comes first.
    let count = turned_away.read_to_end(&mut answer).unwrap_or(0);
    assert_eq!(count, 0, "{answer:?}");
    // Those that said nothing are told so, and their places are free.
    for mut stream in silent {
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    }
    let deadline = Instant::now() + PATIENCE;
    // The place is given back just after the answer is sent.
    while Instant::now() < deadline {
        let mut stream = connect();
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        let sent = stream.write_all(b"GET /metrics HTTP/1.1\r\n\r\n");
        let mut answer = String::new();
        if sent.is_ok() && stream.read_to_string(&mut answer).is_ok() && !answer.is_empty() {
            assert!(answer.ends_with("# EOF\n"), "{answer}");
            return;
        }
    }
    unreachable!("nobody was let in again");
}

#[test]
fn a_port_in_use_is_refused_with_a_cure() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("bound");
    let error = match Endpoint::bind(address, &run().config) {
        Err(error) => error,
        Ok(_) => unreachable!("two listen on {address}"),
    };
    assert!(
        error.contains("--prom") && error.contains("another port"),
        "{error}"
    );
}
