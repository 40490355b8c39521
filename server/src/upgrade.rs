//! What an application sees of an opening handshake, and what it can answer.
//!
//! It owns the question and the answer. It must not know sockets.

use std::net::SocketAddr;

use fanwire_protocol::handshake::Request;

/// A valid opening handshake that waits for the application's decision.
#[derive(Debug)]
pub struct UpgradeRequest<'a> {
    request: &'a Request<'a>,
    peer: SocketAddr,
}

impl<'a> UpgradeRequest<'a> {
    pub(crate) fn new(request: &'a Request<'a>, peer: SocketAddr) -> UpgradeRequest<'a> {
        UpgradeRequest { request, peer }
    }

    /// Path and query as the client sent them.
    pub fn target(&self) -> &'a str {
        self.request.target()
    }

    /// The path of the target, without the query.
    pub fn path(&self) -> &'a str {
        self.request.path()
    }

    /// What follows the `?` of the target. It may hold secrets: never log it.
    pub fn query(&self) -> Option<&'a str> {
        self.request.query()
    }

    /// The authority the client asked for.
    pub fn host(&self) -> &'a str {
        self.request.host()
    }

    /// The Origin header. Browsers send it always, other clients mostly not.
    pub fn origin(&self) -> Option<&'a str> {
        self.request.origin()
    }

    /// The first header with this name, in any case.
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.request.header(name)
    }

    /// The subprotocols the client offers, in its order of preference.
    pub fn subprotocols(&self) -> impl Iterator<Item = &'a str> + '_ {
        self.request.subprotocols()
    }

    /// The first of `ours` that the client offers.
    pub fn select_subprotocol(&self, ours: &[&'static str]) -> Option<&'static str> {
        ours.iter()
            .copied()
            .find(|name| self.subprotocols().any(|offered| offered == *name))
    }

    /// Where the TCP connection comes from. Behind a proxy that is the proxy.
    pub fn peer_address(&self) -> SocketAddr {
        self.peer
    }
}

/// The answer to an opening handshake.
#[derive(Debug)]
#[must_use]
pub struct Upgrade<S>(pub(crate) Decision<S>);

#[derive(Debug)]
pub(crate) enum Decision<S> {
    Accept {
        state: S,
        subprotocol: Option<&'static str>,
    },
    Refuse {
        status: u16,
        detail: &'static str,
    },
}

impl<S> Upgrade<S> {
    /// Accepts, with the state that the connection starts with.
    pub fn accept(state: S) -> Upgrade<S> {
        Upgrade(Decision::Accept {
            state,
            subprotocol: None,
        })
    }

    /// Refuses with an HTTP status from 400 to 599 and one sentence for the body that says why and
    /// what to do. Any other status becomes 500.
    pub fn refuse(status: u16, detail: &'static str) -> Upgrade<S> {
        let status = if (400..=599).contains(&status) {
            status
        } else {
            500
        };
        Upgrade(Decision::Refuse { status, detail })
    }

    /// Speaks this subprotocol. It must be one of those the client offered
    /// ([`UpgradeRequest::select_subprotocol`] finds it); otherwise the handshake fails with 500.
    pub fn with_subprotocol(self, subprotocol: Option<&'static str>) -> Upgrade<S> {
        match self.0 {
            Decision::Accept { state, .. } => Upgrade(Decision::Accept { state, subprotocol }),
            refused @ Decision::Refuse { .. } => Upgrade(refused),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_has_an_error_status() {
        for (given, used) in [(401, 401), (200, 500), (101, 500), (599, 599), (0, 500)] {
            match Upgrade::<()>::refuse(given, "no")
                .with_subprotocol(Some("a"))
                .0
            {
                Decision::Refuse { status, .. } => assert_eq!(status, used),
                Decision::Accept { .. } => panic!("a refusal became an acceptance"),
            }
        }
    }
}
