//! `agent`: makes shares of loads for coordinators on other machines.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use crate::agent::secret::Secret;
use crate::agent::serve::{self, Agent, Desk, log};
use crate::agent::work;
use crate::commands::{Failure, OK, signals};

/// The hidden command that makes one share of a load. Standard input says which.
pub const WORK: &str = "agent-work";

const AFTER_HELP: &str = "\
Examples:
  On each machine that is to make load, once, with the same token:
    openssl rand -hex 32 > token
    fanwire-loadgen agent --listen 10.0.0.5:9977 --token-file token
  On the machine where you are:
    fanwire-loadgen echo ws://10.0.0.9:9001 -c 20k -R 400k --json sum.json \\
      --agents 10.0.0.5:9977,10.0.0.6:9977 --agents-token-file token
  Without a token, agents on 127.0.0.1 of their machines and ways to them through ssh:
    ssh -N -L 9971:127.0.0.1:9977 one & ssh -N -L 9972:127.0.0.1:9977 two &
    fanwire-loadgen idle ws://10.0.0.9:9001 -c 100k --agents 127.0.0.1:9971,127.0.0.1:9972

An agent opens connections to whatever server it is told, and nothing else: it reads and writes no
files for a coordinator and starts no programs. Whoever knows the token can have it make load
against anybody. The token, and header fields such as Authorization, travel in plain text: use a
network of your own or ssh -L.

All machines need the same version of this program. An agent works for one coordinator at a time and
tells others that it is busy. It runs until SIGINT or SIGTERM; what it is doing then ends, too.";

/// `agent`.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub struct Arguments {
    /// Where to listen for coordinators. Other than on loopback it needs --token-file; port 0 is any
    /// free one
    #[arg(long, default_value = "127.0.0.1:9977", value_name = "HOST:PORT", value_parser = parse_listen)]
    listen: SocketAddr,
    /// Work only for coordinators that know the one line of this file (--agents-token-file)
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

fn parse_listen(text: &str) -> Result<SocketAddr, String> {
    let found = text
        .to_socket_addrs()
        .ok()
        .and_then(|mut found| found.next());
    found.ok_or_else(|| format!("'{text}' is no HOST:PORT; write 127.0.0.1:9977 or 10.0.0.5:9977"))
}

/// Listens until a signal comes and returns the exit code.
///
/// # Errors
/// What kept it from listening.
pub fn execute(arguments: Arguments) -> Result<u8, Failure> {
    let token = arguments.token_file.as_deref().map(Secret::read);
    let token = token.transpose().map_err(Failure::usage)?;
    let listener = serve::listen(arguments.listen, token.as_ref())?;
    let agent = Arc::new(Agent {
        token,
        desk: Desk::default(),
        is_interrupted: signals::install()?,
    });
    let address = listener
        .local_addr()
        .map_err(|error| Failure::run(format!("the listener has no address: {error}")))?;
    let whom = match agent.token {
        Some(_) => "coordinators that know the token",
        None => "coordinators on this machine",
    };
    log(&format!(
        "fanwire-loadgen {} agent listening on {address} for {whom}",
        env!("CARGO_PKG_VERSION")
    ));
    serve::serve(&listener, &agent).map_err(Failure::run)?;
    Ok(OK)
}

/// Makes one share of a load, as standard input says, and returns the exit code.
///
/// # Errors
/// When the agent that started it is gone.
pub fn work() -> Result<u8, Failure> {
    let is_interrupted = signals::install()?;
    work::work(&is_interrupted)
        .map_err(|error| Failure::run(format!("the agent is gone ({error})")))?;
    Ok(OK)
}
