//! Remarks of a report that do not touch the verdict: what a reader must know of a run to read its
//! figures right.

use super::Measured;
use crate::config::{Config, Mode};
use crate::connect::tls::TlsClient;
use crate::measure::tally::Tally;
use crate::message::messages::Masking;
use crate::message::payload::Verify;
use crate::quantity::{format_count, format_ns};

/// The remarks of the run itself, and those that follow from what was asked for and agreed.
pub fn notes(config: &Config, measured: &Measured) -> Vec<String> {
    let mut notes = measured.notes.clone();
    if config.address.ip().is_loopback() {
        notes.push(
            "shared host: the generator takes CPU time and cache from the server, and there is no \
             network in between"
                .into(),
        );
    }
    host_notes(config, measured, &mut notes);
    for (agreed, count) in &measured.sheet.tls_agreed {
        notes.push(format!(
            "TLS handshakes: {} × {agreed}, each a whole one (no resumption)",
            format_count(*count)
        ));
    }
    if config.tls.as_ref().is_some_and(TlsClient::is_insecure) {
        notes.push("the server's certificate was not verified (--insecure)".into());
    }
    if matches!(config.mode, Mode::Echo | Mode::Storm | Mode::Churn) {
        message_notes(config, &measured.sheet.tally, &mut notes);
    }
    if config.server_pid.is_some() && measured.server_cpu.is_none() && config.mode != Mode::Idle {
        notes.push("the server's CPU time could not be read: gone, or not ours to read".into());
    }
    notes
}

/// What the host did meanwhile that shows in the figures.
fn host_notes(config: &Config, measured: &Measured, notes: &mut Vec<String>) {
    let (hiccup_ns, p999_ns) = (
        measured.hiccups.max(),
        measured.sheet.response().quantile(0.999),
    );
    if config.address.ip().is_loopback() && p999_ns > 0 && hiccup_ns > p999_ns {
        notes.push(format!(
            "this host had an idle thread wait for up to {}, longer than the p99.9 of {}: the tail \
             may be its doing",
            format_ns(hiccup_ns),
            format_ns(p999_ns)
        ));
    }
    if let Some(segments) = measured.segments
        && segments.retransmitted > 0
    {
        notes.push(format!(
            "this host sent {} of {} TCP segments again, whichever program they belong to: they were \
             lost, late, or found no room at their receiver",
            format_count(segments.retransmitted),
            format_count(segments.sent)
        ));
    }
    if measured.completion_overflows > 0 {
        notes.push(format!(
            "the generator's completion queue overflowed {} times: more arrived at once than it \
             looked for; nothing was lost, but it was late to see some of it",
            format_count(measured.completion_overflows)
        ));
    }
}

/// Remarks on how replies were recognised, and on what is unusual about the frames.
fn message_notes(config: &Config, tally: &Tally, notes: &mut Vec<String>) {
    let message = &config.message;
    if matches!(config.verify, Verify::None | Verify::Length) {
        notes.push("replies were not checked byte by byte (--verify)".into());
    }
    if message.is_matched_in_order(config.verify) {
        notes.push(
            "replies were matched in order of sending, as they do not say which message they answer"
                .into(),
        );
    }
    if tally.ignored > 0 {
        notes.push(format!(
            "{} received messages were no replies (--first-message, --ignore, --reply-contains)",
            format_count(tally.ignored)
        ));
    }
    match message.masking {
        Masking::Fresh => {}
        Masking::Fixed => notes.push(
            "all frames of a thread had the same masking key, which RFC 6455 5.3 forbids (--mask)"
                .into(),
        ),
        Masking::Zero => notes.push(
            "the masking key was zero, which RFC 6455 5.3 forbids and which spares the server the \
             unmasking (--mask)"
                .into(),
        ),
    }
    for (agreed, count) in &tally.deflate {
        let connections = format_count(*count);
        notes.push(format!(
            "permessage-deflate on {connections} connections: {agreed}"
        ));
    }
    if message.fragment_size_bytes.is_some() && config.deflate.is_some() {
        notes.push("messages in several fragments were not compressed (--fragment)".into());
    }
}
