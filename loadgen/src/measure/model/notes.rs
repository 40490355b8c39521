//! Remarks of a report that do not touch the verdict: what a reader must know of a run to read its
//! figures right.

use super::Measured;
use crate::config::{Config, Mode};
use crate::connect::tls::TlsClient;
use crate::measure::tally::Tally;
use crate::message::messages::Masking;
use crate::message::payload::Verify;
use crate::quantity::format_count;

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
