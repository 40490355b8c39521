//! Why a server did not start: the cause and what to do about it.
//!
//! It owns the sentences. It must not know how starting works.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use crate::limits::InvalidLimit;

/// A server that did not start. The text of each names the cause and the cure.
#[derive(Debug)]
pub enum StartError {
    /// A limit makes no sense.
    Limit(InvalidLimit),
    /// The listening socket could not be had.
    Listen(SocketAddr, io::Error),
    /// A processor of the list does not exist or is not allowed.
    Processor {
        /// The processor asked for.
        processor: usize,
        /// Those this process may run on.
        allowed: Vec<usize>,
    },
    /// The process may open too few files.
    Descriptors {
        /// What it may open.
        limit: u64,
        /// What the server needs before its first connection.
        needed: u64,
    },
    /// This process cannot use the congestion control.
    Congestion {
        /// The algorithm asked for.
        name: String,
        /// Those that need no privilege.
        allowed: String,
        /// What the kernel said.
        error: io::Error,
    },
    /// A core could not be set up.
    Core(u16, fanwire_reactor::StartError),
    /// A thread, a queue or a signal handler could not be had.
    System(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Limit(error) => write!(formatter, "{error}"),
            StartError::Listen(address, error) => listen(formatter, *address, error),
            StartError::Processor { processor, allowed } => {
                write!(
                    formatter,
                    "processor {processor} does not exist or this process may not run on it; allowed \
                     are {}. Name some of these, or widen the affinity that taskset, the \
                     container or the service manager set",
                    ranges(allowed),
                )
            }
            StartError::Descriptors { limit, needed } => write!(
                formatter,
                "this process may open {limit} files and the server needs at least {needed} of \
                 them; raise the limit (ulimit -n, LimitNOFILE=) or use fewer cores",
            ),
            StartError::Congestion {
                name,
                allowed,
                error,
            } => write!(
                formatter,
                "the congestion control `{name}` cannot be used ({error}); allowed are {allowed}. \
                 Choose one of these, load the module tcp_{name}, or add it to the sysctl \
                 net.ipv4.tcp_allowed_congestion_control",
            ),
            StartError::Core(shard, error) => write!(formatter, "shard {shard}: {error}"),
            StartError::System(error) => write!(
                formatter,
                "the system did not give what the server needs: {error}; look at the limits on \
                 threads, memory and open files",
            ),
        }
    }
}

fn listen(
    formatter: &mut fmt::Formatter<'_>,
    address: SocketAddr,
    error: &io::Error,
) -> fmt::Result {
    let port = address.port();
    match error.kind() {
        io::ErrorKind::AddrInUse => write!(
            formatter,
            "{address} is in use: another program listens there (see who with `ss -ltnp sport = \
             :{port}`); stop it, or listen on another port",
        ),
        io::ErrorKind::PermissionDenied => write!(
            formatter,
            "no permission to listen on {address}: ports below 1024 belong to root; choose a \
             higher port, grant CAP_NET_BIND_SERVICE, or lower \
             net.ipv4.ip_unprivileged_port_start",
        ),
        io::ErrorKind::AddrNotAvailable => write!(
            formatter,
            "{address} is not an address of this machine; see `ip address`, or listen on \
             {}:{port} for all of them",
            if address.is_ipv4() { "0.0.0.0" } else { "[::]" },
        ),
        _ => write!(
            formatter,
            "cannot listen on {address}: {error}; see `fanwire doctor`"
        ),
    }
}

/// Numbers in order as ranges: `0-3,8`.
pub fn ranges(numbers: &[usize]) -> String {
    let mut text = String::new();
    let mut index = 0;
    while let Some(first) = numbers.get(index) {
        let mut last = index;
        while numbers
            .get(last + 1)
            .is_some_and(|next| *next == numbers[last] + 1)
        {
            last += 1;
        }
        let separator = if text.is_empty() { "" } else { "," };
        match last - index {
            0 => text += &format!("{separator}{first}"),
            _ => text += &format!("{separator}{first}-{}", numbers[last]),
        }
        index = last + 1;
    }
    text
}

impl std::error::Error for StartError {}

impl From<InvalidLimit> for StartError {
    fn from(error: InvalidLimit) -> StartError {
        StartError::Limit(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_has_a_cure() {
        let address: SocketAddr = "127.0.0.1:80".parse().unwrap();
        let texts = [
            (
                StartError::Listen(address, io::ErrorKind::AddrInUse.into()),
                "ss -ltnp",
            ),
            (
                StartError::Listen(address, io::ErrorKind::PermissionDenied.into()),
                "higher port",
            ),
            (
                StartError::Listen(address, io::ErrorKind::AddrNotAvailable.into()),
                "0.0.0.0:80",
            ),
            (
                StartError::Processor {
                    processor: 9,
                    allowed: vec![0, 1, 2, 5],
                },
                "0-2,5",
            ),
            (
                StartError::Descriptors {
                    limit: 10,
                    needed: 30,
                },
                "ulimit -n",
            ),
            (
                StartError::Congestion {
                    name: "x".to_owned(),
                    allowed: "reno".to_owned(),
                    error: io::Error::from_raw_os_error(2),
                },
                "allowed are reno",
            ),
        ];
        for (error, cure) in texts {
            let text = error.to_string();
            assert!(text.contains(cure), "{text}");
            assert!(!text.contains('\n'), "{text}");
        }
    }
}
