//! What only a churn shows: where every attempt and every connection ended.

use super::block::{Block, Section, term};
use crate::measure::model::Report;
use crate::report::text::amount;

/// The section of a churn.
pub fn section(report: &Report) -> Option<Section> {
    let churn = report.churn.as_ref()?;
    let text = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let mut settings = vec![
        term("clients", churn.clients),
        text("a connection is kept for", &churn.lifetime),
        text("coming back", &churn.reconnect),
        text("leaving", &churn.departure),
        (
            "connections opened".to_owned(),
            amount(churn.opened_per_second, "/s").joined(),
        ),
    ];
    if let Some(expected) = churn.expected_per_second {
        let expected = amount(expected, "/s").joined();
        settings.push(("asked for by lifetime".to_owned(), expected));
    }
    let attempts = Block::Identity {
        total: term("attempts to connect", churn.attempts),
        terms: vec![
            term("opened", churn.opened),
            term("failed", churn.failed),
            term("in progress", churn.in_progress),
        ],
        holds: churn.attempts_add_up,
    };
    let connections = Block::Identity {
        total: term("connections opened", churn.opened),
        terms: vec![
            term("left by us", churn.closed_by_us),
            term("closed by the server", churn.closed_by_server),
            term("lost", churn.lost),
            term("alive", churn.alive),
        ],
        holds: churn.connections_add_up,
    };
    let fates = Block::Facts(vec![
        term("attempts of clients that came back", churn.returns),
        term("asked by the server to wait", churn.retry_after),
        term("served again", churn.recovered),
        term("still waiting at the end", churn.waiting),
        term("gone for good", churn.gone),
        term("closing handshakes begun", churn.closings_begun),
        term("completed by the server", churn.closings_completed),
        term("timed out", churn.closings_timed_out),
        term("messages without a connection", churn.skipped),
        term("unanswered when we left", churn.abandoned),
        term(
            "unanswered when the server left",
            churn.lost_with_connection,
        ),
    ]);
    Some(Section {
        title: "Coming and going".to_owned(),
        blocks: vec![Block::Facts(settings), attempts, connections, fates],
    })
}
