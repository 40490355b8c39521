//! `--server-cmd`: a server that lives for one run.
//!
//! Owns its process: it is started before the run, measured as `--server-pid` would be, and ended
//! however the run ends. Knows nothing of what is sent to it.

use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::commands::Failure;

/// Longest wait until it accepts connections.
const READY_MAX: Duration = Duration::from_secs(30);
/// Longest wait for its end after SIGTERM; then it is killed.
const END_MAX: Duration = Duration::from_secs(10);
/// Between two looks.
const RETRY: Duration = Duration::from_millis(20);
/// Longest time for one attempt to connect.
const CONNECT_MAX: Duration = Duration::from_secs(1);

/// A server process that ends with this value.
#[derive(Debug)]
pub struct OwnServer {
    child: Child,
}

impl OwnServer {
    /// Starts `command`, one program with its arguments, and waits until `address` accepts
    /// connections. What it prints is thrown away: it would run through our own output.
    ///
    /// # Errors
    /// When something listens there already, the command cannot be started, ends, or nothing
    /// listens after half a minute.
    pub fn start(command: &str, address: SocketAddr) -> Result<OwnServer, Failure> {
        if accepts(address) {
            return Err(Failure::run(format!(
                "--server-cmd: something listens at {address} already, which would be measured in \
                 its place; end it, or leave --server-cmd out"
            )));
        }
        // The shell becomes the program, so that the process number is the server's.
        let child = Command::new("sh")
            .args(["-c", &format!("exec {command}")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| Failure::run(format!("--server-cmd: cannot run sh: {error}")))?;
        let mut server = OwnServer { child };
        let deadline = Instant::now() + READY_MAX;
        while !accepts(address) {
            if let Ok(Some(status)) = server.child.try_wait() {
                return Err(Failure::run(format!(
                    "--server-cmd '{command}' ended with {status} before it listened at \
                     {address}; run it by hand to see why"
                )));
            }
            if Instant::now() >= deadline {
                return Err(Failure::run(format!(
                    "--server-cmd '{command}': nothing accepts connections at {address} after {} s",
                    READY_MAX.as_secs()
                )));
            }
            std::thread::sleep(RETRY);
        }
        Ok(server)
    }

    /// Its process number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

fn accepts(address: SocketAddr) -> bool {
    TcpStream::connect_timeout(&address, CONNECT_MAX).is_ok()
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        // A process that has ended already cannot be signalled, which is what is wanted.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let deadline = Instant::now() + END_MAX;
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() >= deadline {
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            std::thread::sleep(RETRY);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn what_listens_already_is_not_taken_for_the_server() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let failure = OwnServer::start("sleep 5", address).expect_err("taken");
        assert!(failure.message.contains("listens"), "{failure:?}");
    }

    #[test]
    fn a_command_that_ends_is_told() {
        // Bound and not listening, so that nobody else is given the port.
        let socket = rustix::net::socket(
            rustix::net::AddressFamily::INET,
            rustix::net::SocketType::STREAM,
            None,
        )
        .expect("a socket");
        let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
        rustix::net::bind(&socket, &any).expect("bound");
        let name = rustix::net::getsockname(&socket).expect("bound");
        let address = SocketAddr::try_from(name).expect("IPv4");
        let failure = OwnServer::start("false", address).expect_err("ended");
        assert!(failure.message.contains("ended with"), "{failure:?}");
    }
}
