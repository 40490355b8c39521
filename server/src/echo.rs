//! `fanwire echo`: sends every message back.

use std::io::Write;

use anyhow::Context;
use fanwire_server::{Echo, Server};

use crate::Failure;
use crate::cli::EchoOptions;

/// Serves until a signal ends it.
pub(crate) fn run(options: &EchoOptions) -> Result<(), Failure> {
    let config = options.config();
    let server = Server::builder().config(config).handler(|_shard| Echo);
    let mut running = server
        .start()
        .map_err(|error| Failure::Start(error.into()))?;
    running
        .catch_signals()
        .context("cannot catch signals")
        .map_err(Failure::Start)?;
    // The one line on standard output: scripts read the port from it, so it must not wait in a
    // buffer. Whoever started us may have closed it; that is no reason not to serve.
    let mut stdout = std::io::stdout().lock();
    let _ = writeln!(stdout, "listening on ws://{}", running.local_address());
    let _ = stdout.flush();
    drop(stdout);
    running
        .serve_until_signalled()
        .context("while serving")
        .map_err(Failure::Serving)?;
    Ok(())
}
