//! The part of the terminal report that only a churn has.

use std::fmt::{self, Write as _};

use crate::churn::figures::Churn;
use crate::quantity::format_count;
use crate::report::text::mark;

/// What the first line says of the rate.
pub fn rate(churn: &Churn) -> String {
    let opened = format!("{:.1} connections/s opened", churn.opened_per_second);
    match churn.expected_per_second {
        Some(expected) => format!("{opened} of {expected:.1}/s by lifetime"),
        None => opened,
    }
}

/// What was asked for, before the latencies.
pub fn head(churn: &Churn, out: &mut String) -> fmt::Result {
    writeln!(
        out,
        "churn       {} clients · lifetime {} · reconnect {} · leaving {}{}",
        format_count(churn.clients),
        churn.lifetime,
        churn.reconnect,
        churn.departure,
        if churn.is_hold_only {
            " · holding only"
        } else {
            ""
        }
    )
}

/// The two identities, closings, and what became of the clients.
pub fn integrity(churn: &Churn, out: &mut String) -> fmt::Result {
    writeln!(
        out,
        "attempts   {} = opened {} + failed {} + in progress {} {} · returns {}{}",
        format_count(churn.attempts),
        format_count(churn.opened),
        format_count(churn.failed),
        format_count(churn.in_progress),
        mark(churn.attempts_add_up),
        format_count(churn.returns),
        match churn.retry_after {
            0 => String::new(),
            count => format!(" · asked to wait {}", format_count(count)),
        }
    )?;
    writeln!(
        out,
        "opened     {} = closed by us {} + closed by server {} + lost {} + alive {} {}",
        format_count(churn.opened),
        format_count(churn.closed_by_us),
        format_count(churn.closed_by_server),
        format_count(churn.lost),
        format_count(churn.alive),
        mark(churn.connections_add_up),
    )?;
    if churn.closings_begun > 0 {
        writeln!(
            out,
            "closings   {} begun · {} completed · {} timed out",
            format_count(churn.closings_begun),
            format_count(churn.closings_completed),
            format_count(churn.closings_timed_out),
        )?;
    }
    if churn.recovered + churn.waiting + churn.gone > 0 {
        writeln!(
            out,
            "clients    served again {} times · still waiting {} · gone for good {}",
            format_count(churn.recovered),
            format_count(churn.waiting),
            format_count(churn.gone),
        )?;
    }
    if churn.skipped + churn.abandoned + churn.lost_with_connection > 0 {
        writeln!(
            out,
            "messages   not sent for want of a connection {} · unanswered when the client left {} · \
             when the server ended the connection {}",
            format_count(churn.skipped),
            format_count(churn.abandoned),
            format_count(churn.lost_with_connection),
        )?;
    }
    Ok(())
}
