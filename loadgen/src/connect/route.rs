//! Which way each connection of a run takes: target address and port, source address, TLS.
//!
//! Owns how `--ports` and `--source` are taken in turn. Opens nothing.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::config::Config;
use crate::connect::establish::{Greeting, Way};

/// A port of the server with its `Host` header field.
#[derive(Clone, Debug)]
struct Door {
    address: SocketAddr,
    host: String,
}

/// The ways of a run.
#[derive(Clone, Debug)]
pub struct Routes {
    config: Arc<Config>,
    /// The URL's port first.
    doors: Vec<Door>,
}

impl Routes {
    /// The ways that the command line asks for.
    pub fn of(config: &Arc<Config>) -> Routes {
        let ports =
            std::iter::once(config.address.port()).chain(config.further_ports.iter().copied());
        let doors = ports
            .map(|port| Door {
                address: SocketAddr::new(config.address.ip(), port),
                host: config.target.host_header_at(port),
            })
            .collect();
        Routes {
            doors,
            config: Arc::clone(config),
        }
    }

    /// The way of connection `number` of the whole run. Source addresses change with every
    /// connection, ports when all of them have had their turn, so that every pair is used.
    pub fn way<'a>(&'a self, number: u32, greeting: &'a Greeting) -> Way<'a> {
        let sources = &self.config.sources;
        let number = number as usize;
        let turn = number / sources.len().max(1);
        // There is always the door of the URL.
        let door = &self.doors[turn % self.doors.len()];
        Way {
            address: door.address,
            source: source_of(sources, number),
            host: &door.host,
            greeting,
            tls: self.config.tls.as_ref(),
            timeout_ms: self.config.connect_timeout_ms,
        }
    }
}

fn source_of(sources: &[IpAddr], number: usize) -> Option<IpAddr> {
    let index = number.checked_rem(sources.len())?;
    sources.get(index).copied()
}
