//! The agent: listens for coordinators and works for one of them at a time.
//!
//! Owns the listener, the number of conversations at once, and who has the agent to himself. What
//! is said in a conversation is [`crate::agent::session`]'s.

use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::agent::secret::Secret;
use crate::agent::session;
use crate::agent::wire::{self, FromAgent, WRITE_MAX};
use crate::commands::Failure;

/// Coordinators that are spoken to at once, all but one of them to be told that the agent is busy.
/// More are sent away unheard.
const SESSIONS_MAX: usize = 16;
/// How soon a signal is noticed.
const LOOK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};
/// After an accept that failed, for example for want of descriptors, and for somebody who is sent
/// away to finish his sentence.
const REST: Duration = Duration::from_millis(100);

/// Whom the agent works for, and since when.
#[derive(Clone, Copy, Debug)]
struct Patron {
    peer: SocketAddr,
    since: Instant,
}

/// The one place for a coordinator.
#[derive(Debug, Default)]
pub struct Desk {
    patron: Mutex<Option<Patron>>,
}

/// Whoever holds it has the agent to himself.
#[derive(Debug)]
pub struct Seat<'a>(&'a Desk);

impl Desk {
    fn patron(&self) -> MutexGuard<'_, Option<Patron>> {
        // It is one value, which a panic cannot leave half written.
        self.patron.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the place.
    ///
    /// # Errors
    /// Who has it.
    pub fn sit_down(&self, peer: SocketAddr) -> Result<Seat<'_>, String> {
        let mut patron = self.patron();
        if let Some(patron) = *patron {
            return Err(format!(
                "busy with a run for {} since {} s; try again when it is over, or use another agent",
                patron.peer,
                patron.since.elapsed().as_secs()
            ));
        }
        *patron = Some(Patron {
            peer,
            since: Instant::now(),
        });
        Ok(Seat(self))
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        *self.0.patron() = None;
    }
}

/// What all conversations share.
#[derive(Debug)]
pub struct Agent {
    /// What coordinators must say.
    pub token: Option<Secret>,
    /// Who works with it.
    pub desk: Desk,
    /// Set by a signal: everything ends.
    pub is_interrupted: Arc<AtomicBool>,
}

impl Agent {
    /// Whether a signal ended it.
    pub fn is_interrupted(&self) -> bool {
        self.is_interrupted.load(Ordering::Relaxed)
    }
}

/// A line for whoever looks after the agent.
pub fn log(line: &str) {
    let mut stdout = io::stdout().lock();
    // That nobody reads it any more is no reason to stop working.
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}

/// Listens, where that is safe.
///
/// # Errors
/// When the address is open to others without a token, or cannot be listened on.
pub fn listen(address: SocketAddr, token: Option<&Secret>) -> Result<TcpListener, Failure> {
    if token.is_none() && !is_private(address.ip()) {
        return Err(Failure::usage(format!(
            "--listen {address} is open to other machines, and whoever reaches an agent can have it \
             make load against anybody: pass --token-file FILE (openssl rand -hex 32 > FILE), or \
             listen on 127.0.0.1 and come through ssh -L"
        )));
    }
    TcpListener::bind(address).map_err(|error| {
        Failure::run(format!(
            "cannot listen on {address}: {error}; is another agent running? Choose an address and a \
             port with --listen"
        ))
    })
}

fn is_private(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// Works until a signal comes.
///
/// # Errors
/// When the listener breaks.
pub fn serve(listener: &TcpListener, agent: &Arc<Agent>) -> Result<(), String> {
    let broken = |error: io::Error| format!("the listener broke: {error}");
    listener.set_nonblocking(true).map_err(broken)?;
    let mut sessions: Vec<JoinHandle<()>> = Vec::new();
    while !agent.is_interrupted() {
        match poll(&mut [PollFd::new(listener, PollFlags::IN)], Some(&LOOK)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => continue,
            Ok(_) => {}
            Err(error) => return Err(broken(error.into())),
        }
        sessions.retain(|session| !session.is_finished());
        match listener.accept() {
            Ok((stream, peer)) if sessions.len() >= SESSIONS_MAX => send_away(stream, peer),
            Ok((stream, peer)) => sessions.extend(begin(stream, peer, agent)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => {
                log(&format!("cannot accept a connection: {error}"));
                std::thread::sleep(REST);
            }
        }
    }
    log("ending on a signal");
    // Each of them looks for the signal, too, and ends within some seconds.
    for session in sessions {
        let _ = session.join();
    }
    Ok(())
}

fn begin(stream: TcpStream, peer: SocketAddr, agent: &Arc<Agent>) -> Option<JoinHandle<()>> {
    let agent = Arc::clone(agent);
    let started = std::thread::Builder::new()
        .name("session".to_owned())
        .spawn(move || session::hold(&stream, peer, &agent));
    started
        .map_err(|error| log(&format!("cannot start a thread for {peer}: {error}")))
        .ok()
}

fn send_away(mut stream: TcpStream, peer: SocketAddr) {
    log(&format!(
        "{peer}: sent away, {SESSIONS_MAX} coordinators are here already"
    ));
    let _ = stream.set_write_timeout(Some(WRITE_MAX));
    let reason = format!("{SESSIONS_MAX} coordinators are talking to this agent already");
    let _ = wire::say(&mut stream, &FromAgent::Refused { reason });
    let _ = stream.set_read_timeout(Some(REST));
    session::linger(&stream, REST);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::USAGE;

    #[test]
    fn there_is_one_seat() {
        let desk = Desk::default();
        let [first, second] = [1, 2].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let seat = desk.sit_down(first).expect("free");
        let error = desk.sit_down(second).expect_err("taken");
        assert!(error.contains("127.0.0.1:1 "), "{error}");
        drop(seat);
        assert!(desk.sit_down(second).is_ok());
    }

    #[test]
    fn an_agent_is_open_to_others_only_with_a_token() {
        for open in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0", "[::ffff:10.0.0.1]:0"] {
            let address = open.parse().expect("an address");
            let error = listen(address, None).expect_err(open);
            assert!(error.message.contains("--token-file"), "{error:?}");
            assert_eq!(error.code, USAGE);
        }
        let address = "127.0.0.1:0".parse().expect("an address");
        assert!(listen(address, None).is_ok());
    }
}
