//! Merging reports: several processes are one, counter by counter, and what is not one is refused.

use std::collections::BTreeMap;

use crate::support::reports::report;
use fanwire_loadgen::measure::latency::Latency;
use fanwire_loadgen::measure::merge::{combine, merge};
use fanwire_loadgen::measure::model::{Part, Report};
use fanwire_loadgen::measure::verdict::Verdict;
use proptest::prelude::*;

const LINE: &str = "echo ws://127.0.0.1:9001 -c 5 -R 1000";

fn histograms(report: &Report) -> BTreeMap<String, Latency> {
    let decode = |(name, text): (&String, &String)| {
        let latency = Latency::decode(text).expect("our own encoding");
        (name.clone(), latency)
    };
    report.histograms.iter().map(decode).collect()
}

/// Response times of some processes, each second by second.
fn processes() -> impl Strategy<Value = Vec<Vec<Vec<u64>>>> {
    let second = proptest::collection::vec(1u64..5_000_000_000, 0..40);
    let process = proptest::collection::vec(second, 3);
    proptest::collection::vec(process, 2..5)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn several_processes_are_one(processes in processes()) {
        let parts: Vec<Report> = processes.iter().map(|seconds| report(LINE, seconds)).collect();
        let sum = merge(&parts).expect("they did the same");
        // What one process would have measured that saw every value itself.
        let seconds: Vec<Vec<u64>> = (0..3)
            .map(|second| processes.iter().flat_map(|process| process[second].clone()).collect())
            .collect();
        let whole = report(LINE, &seconds);
        let (mine, theirs) = (histograms(&sum), histograms(&whole));
        prop_assert_eq!(mine.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>());
        for (name, latency) in &mine {
            prop_assert!(latency.histogram() == theirs[name].histogram(), "{}", name);
        }
        prop_assert_eq!(&sum.latency_ns.response, &whole.latency_ns.response);
        prop_assert_eq!(&sum.latency_ns.service, &whole.latency_ns.service);
        prop_assert_eq!(&sum.generator.late_ns, &whole.generator.late_ns);
        prop_assert_eq!(sum.messages.sent, whole.messages.sent);
        prop_assert!((sum.messages_per_second - whole.messages_per_second).abs() < 1e-6);
        prop_assert_eq!(sum.series.len(), whole.series.len());
        for (mine, theirs) in sum.series.iter().zip(&whole.series) {
            prop_assert_eq!(mine.received, theirs.received);
            prop_assert_eq!(&mine.response, &theirs.response);
            prop_assert!(
                Latency::decode(&mine.response_histogram).expect("ours").histogram()
                    == Latency::decode(&theirs.response_histogram).expect("ours").histogram()
            );
        }
        prop_assert_eq!(sum.connections.asked, 5 * processes.len() as u64);
    }
}

#[test]
fn the_sum_of_percentiles_is_not_their_mean() {
    let fast = report(LINE, &[vec![1_000_000; 900], vec![1_000_000; 90]]);
    let slow = report(LINE, &[vec![100_000_000; 10]]);
    let sum = merge(&[fast, slow]).expect("they did the same");
    assert_eq!(sum.latency_ns.response.count, 1_000);
    assert!(sum.latency_ns.response.p90 < 1_100_000);
    assert!(sum.latency_ns.response.p999 > 99_000_000);
}

#[test]
fn what_is_not_one_load_is_refused_with_the_difference() {
    let first = report(LINE, &[vec![5]]);
    for (line, word) in [
        ("echo ws://127.0.0.1:9002 -c 5 -R 1000", "url"),
        (
            "echo ws://127.0.0.1:9001 -c 5 -R 1000 -s 100",
            "message size",
        ),
        ("echo ws://127.0.0.1:9001 -c 5", "loop model"),
        ("storm ws://127.0.0.1:9001 -c 5 -R 1000", "mode"),
        (
            "echo ws://127.0.0.1:9001 -c 5 -R 1000 --deflate",
            "compression",
        ),
    ] {
        let other = report(line, &[vec![5]]);
        let error = merge(&[first.clone(), other]).expect_err(line);
        assert!(
            error.contains(word) && error.contains("side by side"),
            "{error}"
        );
    }
    assert!(merge(&[]).is_err());
    // Its percentiles cannot be added to anything.
    let mut bare = first.clone();
    bare.histograms.clear();
    let error = merge(&[first, bare]).expect_err("no histograms");
    assert!(
        error.contains("report 2") && error.contains("no histograms"),
        "{error}"
    );
}

#[test]
fn the_worst_verdict_stands_and_the_sum_is_checked() {
    let mut good = report(LINE, &[vec![5_000_000; 2_000]]);
    good.verdict = Verdict::Valid;
    good.verdict_reasons.clear();
    good.exit_code = 0;
    let mut bad = good.clone();
    bad.verdict = Verdict::Invalid;
    bad.verdict_reasons = vec!["2 messages were lost".into()];
    bad.exit_code = 4;
    let sum = merge(&[good.clone(), good.clone()]).expect("two");
    assert_eq!((sum.verdict, sum.exit_code), (Verdict::Valid, 0));
    let sum = merge(&[good.clone(), bad]).expect("two");
    assert_eq!((sum.verdict, sum.exit_code), (Verdict::Invalid, 4));
    assert_eq!(sum.verdict_reasons, ["process 2: 2 messages were lost"]);
    // Somebody changed a counter in a file.
    let mut changed = good.clone();
    changed.messages.received += 1;
    let sum = merge(&[good, changed]).expect("two");
    assert_eq!(sum.verdict, Verdict::Invalid);
    assert!(!sum.messages.adds_up);
    assert!(sum.verdict_reasons[0].contains("do not add up"), "{sum:?}");
}

#[test]
fn loads_of_a_scenario_are_added_at_their_own_times() {
    let mut first = report(LINE, &[vec![1_000; 10], vec![1_000; 10]]);
    let mut second = report("storm ws://127.0.0.1:9001 -c 5 -R 10", &[vec![2_000; 6]]);
    first.environment.started_unix_ms = 1_000_000;
    second.environment.started_unix_ms = 1_002_000;
    let sum = combine(&[first.clone(), second.clone()]).expect("loads");
    assert_eq!(sum.mode, "run");
    assert_eq!(sum.latency_ns.response.count, 26);
    let received: Vec<u64> = sum.series.iter().map(|second| second.received).collect();
    assert_eq!(received, [10, 10, 6]);
    assert!((sum.duration_s - 3.0).abs() < 1e-9, "{}", sum.duration_s);
    // Processes that each ran such a scenario: their loads are merged by name.
    let mut scenario = sum;
    let part = |name: &str, report: Report| Part {
        name: name.into(),
        stage: String::new(),
        report,
    };
    scenario.parts = vec![part("calm", first), part("rush", second)];
    let both = merge(&[scenario.clone(), scenario]).expect("the same scenario");
    let counts: Vec<(&str, u64)> = both
        .parts
        .iter()
        .map(|part| (part.name.as_str(), part.report.latency_ns.response.count))
        .collect();
    assert_eq!(counts, [("calm", 40), ("rush", 12)]);
}
