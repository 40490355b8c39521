//! The fan-out's ledger against a server whose faults are known: each one is found and named, and
//! an honest server is VALID with every copy accounted for.

mod support;

use support::hub::{AT, Fault, hub};
use support::{Outcome, run};

/// Four subscribers of two topics each, all four topics; some 200 messages and 400 copies.
fn run_against(fault: Fault) -> Outcome {
    let url = hub(fault);
    run(&[
        "fanout",
        &url,
        "-c",
        "4",
        "--topics",
        "4",
        "--topics-per-subscriber",
        "2",
        "-R",
        "200",
        "-s",
        "100",
        "-d",
        "1s",
        "-w",
        "200ms",
        "--drain",
        "5s",
        "--connect-timeout",
        "3s",
    ])
}

#[test]
fn an_honest_server_is_valid_and_its_ledger_is_zero() {
    let outcome = run_against(Fault::None);
    outcome.expect(&[
        ("/fanout/published", 240),
        ("/fanout/subscriptions", 8),
        ("/fanout/ledger/eligible", 480),
        ("/fanout/ledger/delivered", 480),
        ("/fanout/ledger/missing", 0),
        ("/fanout/ledger/in_flight", 0),
        ("/fanout/ledger/torn", 0),
        ("/fanout/message/followed", 200),
        ("/latency_ns/response/count", 400),
        ("/fanout/message/last_ns/count", 200),
        ("/connections/alive", 8),
    ]);
    assert_eq!(outcome.json["fanout"]["message"]["reach_min"], 1.0);
    println!("{}", outcome.text);
}
