//! The agents of one load, as the coordinator sees them: connections, and what comes over them.
//!
//! Owns connecting, introducing and telling. One thread for each agent reads what it says; all of
//! it arrives in one queue. What follows from it is [`crate::agent::lead`]'s.

use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::time::{Duration, Instant};

use crate::agent::Agents;
use crate::agent::wire::{
    self, FromAgent, FromLead, HERE_EVERY, Hello, LineReader, PROTOCOL, Patience, REPORT_SIZE_MAX,
    SILENCE_MAX, WAKE, WRITE_MAX,
};

/// Longest time for one TCP connect to an agent.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// What they said and nobody has heard yet; an agent that says more waits.
const EVENTS_MAX: usize = 1_024;

/// What comes from one of the agents.
#[derive(Debug)]
pub enum Event {
    /// The connection is there, and this is its writing half.
    Connected(TcpStream),
    /// The agent said something, which was read at this moment.
    Said(FromAgent, Instant),
    /// Nothing more comes, and why.
    Gone(String),
}

/// The connections to all agents, numbered from 0.
#[derive(Debug)]
pub struct Team {
    /// What they say.
    pub events: Receiver<(usize, Event)>,
    sockets: Vec<Option<TcpStream>>,
    last_here: Instant,
}

impl Drop for Team {
    /// However the coordinator ends: agents whose connection ends make no more load.
    fn drop(&mut self) {
        for socket in self.sockets.iter().flatten() {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

impl Team {
    /// Begins to connect to all of them.
    ///
    /// # Errors
    /// When the system has no thread for that.
    pub fn gather(agents: &Agents) -> Result<Team, String> {
        let (sender, events) = mpsc::sync_channel(EVENTS_MAX);
        for (index, address) in agents.addresses.iter().enumerate() {
            let (address, sender) = (address.clone(), sender.clone());
            let hello = Hello {
                protocol: PROTOCOL.to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                token: agents.token.as_ref().map(|token| token.reveal().to_owned()),
            };
            std::thread::Builder::new()
                .name(format!("agent-{}", index + 1))
                .spawn(move || {
                    let reason = follow(index, &address, hello, &sender);
                    // The coordinator may have ended.
                    let _ = sender.send((index, Event::Gone(reason)));
                })
                .map_err(|error| format!("cannot start a thread: {error}"))?;
        }
        Ok(Team {
            events,
            sockets: agents.addresses.iter().map(|_| None).collect(),
            last_here: Instant::now(),
        })
    }

    /// Keeps the writing half of a connection.
    pub fn keep(&mut self, index: usize, socket: TcpStream) {
        if let Some(place) = self.sockets.get_mut(index) {
            *place = Some(socket);
        }
    }

    /// Says something to one of them. One that cannot be written to is noticed by its thread.
    pub fn tell(&mut self, index: usize, message: &FromLead) {
        if let Some(Some(socket)) = self.sockets.get_mut(index)
            && wire::say(socket, message).is_err()
        {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    /// Says the same to all of them.
    pub fn tell_all(&mut self, message: &FromLead) {
        for index in 0..self.sockets.len() {
            self.tell(index, message);
        }
    }

    /// Ends the conversation with all of them, who end their runs then. What they still say is heard.
    pub fn hang_up(&self) {
        for socket in self.sockets.iter().flatten() {
            let _ = socket.shutdown(Shutdown::Write);
        }
    }

    /// Says now and then that the coordinator is still there.
    pub fn keep_alive(&mut self) {
        if self.last_here.elapsed() >= HERE_EVERY {
            self.last_here = Instant::now();
            self.tell_all(&FromLead::Here);
        }
    }
}

/// Connects and hands on what the agent says. Returns why it says no more.
fn follow(
    index: usize,
    address: &str,
    hello: Hello,
    sender: &SyncSender<(usize, Event)>,
) -> String {
    let stream = match connect(address) {
        Ok(stream) => stream,
        Err(error) => {
            return format!(
                "cannot be reached ({error}): is `fanwire-loadgen agent` running there, listening \
                 on this address?"
            );
        }
    };
    let halves = introduce(&stream, hello).and_then(|()| stream.try_clone());
    let writer = match halves {
        Ok(writer) => writer,
        Err(error) => return format!("the connection broke ({error})"),
    };
    if sender.send((index, Event::Connected(writer))).is_err() {
        return "the coordinator has ended".to_owned();
    }
    let mut lines = LineReader::new(stream);
    loop {
        let line = match lines.next(REPORT_SIZE_MAX, Patience::Silence(SILENCE_MAX)) {
            Ok(Some(line)) => line,
            Ok(None) => return "the connection ended".to_owned(),
            Err(error) => return error.to_string(),
        };
        let message = match wire::parse(&line) {
            Ok(message) => message,
            Err(error) => {
                return format!("{error}; is that an agent of fanwire-loadgen, of this version?");
            }
        };
        if sender
            .send((index, Event::Said(message, Instant::now())))
            .is_err()
        {
            return "the coordinator has ended".to_owned();
        }
    }
}

fn connect(address: &str) -> std::io::Result<TcpStream> {
    let mut last = std::io::Error::other("the name has no address");
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT_MAX) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn introduce(stream: &TcpStream, hello: Hello) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(WAKE))?;
    stream.set_write_timeout(Some(WRITE_MAX))?;
    let mut writer = stream;
    wire::say(&mut writer, &FromLead::Hello(hello))
}
