//! The floor: what the kernel's TCP path costs when user space does next to nothing.
//!
//! One thread, one io_uring: multishot accept, multishot receive into shared buffers, all replies
//! of a turn in one batch of sends. It is driven by the same load generator as everybody, which
//! insists on a computed `Sec-WebSocket-Accept` and on its own payload, so exactly that is done:
//! one SHA-1 per connection, and `Turnaround` per frame (about ten nanoseconds for 64 bytes). No
//! validation, no limits, no timers, no state machine, no counters. It serves the echo and the
//! storm workloads alike.
//!
//! A socket that does not take a whole reply at once is closed: a floor that queues would no
//! longer be one. The generator reports such a connection as an error.

#![forbid(unsafe_code)]

use std::io;
use std::net::TcpListener;
use std::ops::Range;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

use fanwire_benches::opening::Opening;
use fanwire_benches::turnaround::Turnaround;
use fanwire_benches::{ServerArguments, announce};
use fanwire_reactor::ring::{Outgoing, Ring, RingCompletion, RingOptions, Waiting};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const RECEIVE_BUFFER_COUNT: u16 = 1024;
const RECEIVE_BUFFER_SIZE: u32 = 16 * 1024;
/// `user_data` of the accept and of closes; connections use their slot.
const LISTENER: u64 = u32::MAX as u64;
const CLOSE: u64 = LISTENER - 1;

fn main() -> io::Result<()> {
    let arguments = ServerArguments::parse_and_pin()?;
    let listener = arguments.bind()?;
    // Linux: accepted sockets inherit it, which saves a system call per connection.
    socket2::SockRef::from(&listener).set_tcp_nodelay(true)?;
    let mut floor = Floor::new(listener)?;
    announce(&floor.listener)?;
    loop {
        floor.turn()?;
    }
}

struct Connection {
    socket: OwnedFd,
    /// `None` once the opening handshake was answered.
    opening: Option<Opening>,
    turnaround: Turnaround,
}

struct Floor {
    ring: Ring,
    listener: TcpListener,
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    completions: Vec<RingCompletion>,
    /// Bytes that go out at the end of the turn, and whose they are.
    replies: Vec<u8>,
    batch: Vec<(usize, Range<usize>)>,
    ended: Vec<usize>,
}

impl Floor {
    fn new(listener: TcpListener) -> io::Result<Self> {
        let options = RingOptions {
            waiting: Waiting::Alone,
            ..RingOptions::default()
        };
        let mut ring = Ring::new(&options)?;
        ring.provide_buffers(RECEIVE_BUFFER_COUNT, RECEIVE_BUFFER_SIZE, true)?;
        ring.accept_multishot(listener.as_fd(), LISTENER);
        Ok(Self {
            ring,
            listener,
            connections: Vec::new(),
            free: Vec::new(),
            completions: Vec::new(),
            replies: Vec::new(),
            batch: Vec::new(),
            ended: Vec::new(),
        })
    }

    fn turn(&mut self) -> io::Result<()> {
        // Completions may have been set aside while the last batch was sent.
        if !self.ring.is_ready() {
            match self.ring.enter(1) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
        }
        let mut completions = std::mem::take(&mut self.completions);
        self.ring.take_completions(usize::MAX, &mut completions);
        for completion in completions.drain(..) {
            match completion.user_data() {
                LISTENER => self.accepted(completion),
                CLOSE => {}
                slot => self.received(slot as usize, &completion),
            }
        }
        self.completions = completions;
        self.flush();
        self.close_ended();
        Ok(())
    }

    fn accepted(&mut self, completion: RingCompletion) {
        if !completion.more_follows() {
            self.ring.accept_multishot(self.listener.as_fd(), LISTENER);
        }
        // An accept that failed (no free descriptor) leaves the client waiting: it counts that.
        let Some(Ok(socket)) = completion.into_accepted() else {
            return;
        };
        let slot = self.free.pop().unwrap_or_else(|| {
            self.connections.push(None);
            self.connections.len() - 1
        });
        self.ring
            .receive_multishot(socket.as_raw_fd(), slot as u64, false);
        let turnaround = Turnaround::default();
        self.connections[slot] = Some(Connection {
            socket,
            opening: Some(Opening::default()),
            turnaround,
        });
    }

    fn received(&mut self, slot: usize, completion: &RingCompletion) {
        let Some(connection) = self.connections.get_mut(slot).and_then(Option::as_mut) else {
            return;
        };
        let start = self.replies.len();
        if let Some(chunk) = self.ring.take_chunk(completion)
            && let Some(buffers) = self.ring.buffers()
        {
            let bytes = buffers.bytes(&chunk);
            match &mut connection.opening {
                None => connection.turnaround.turn(bytes, &mut self.replies),
                Some(opening) => {
                    if let Some(opened) = opening.take(bytes, &mut self.replies) {
                        connection.turnaround.turn(&opened.rest, &mut self.replies);
                        connection.opening = None;
                    }
                }
            }
            buffers.release(chunk);
        }
        if !completion.more_follows() {
            self.ring.receive_ended();
            if completion.result() > 0 || completion.result() == -NO_BUFFERS {
                let fd = connection.socket.as_raw_fd();
                self.ring.receive_multishot(fd, slot as u64, false);
            } else {
                self.ended.push(slot);
            }
        }
        let end = self.replies.len();
        match self.batch.last_mut() {
            // Completions of one socket follow each other, so they leave in one send.
            Some((last, range)) if *last == slot => range.end = end,
            _ if end > start => self.batch.push((slot, start..end)),
            _ => {}
        }
    }

    fn flush(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let (connections, replies) = (&self.connections, &self.replies);
        let outgoing = self.batch.iter().filter_map(|(slot, range)| {
            let connection = connections[*slot].as_ref()?;
            Some(Outgoing {
                fd: connection.socket.as_fd(),
                bytes: &replies[range.clone()],
            })
        });
        let mut shortfalls = Vec::new();
        self.ring.send_batch(outgoing, &mut shortfalls);
        for shortfall in shortfalls {
            let (slot, _) = self.batch[shortfall.index as usize];
            if let Some(connection) = &self.connections[slot] {
                // Ends the multishot receive, whose last completion closes the socket.
                let socket = socket2::SockRef::from(&connection.socket);
                let _ = socket.shutdown(std::net::Shutdown::Both);
            }
        }
        self.batch.clear();
        self.replies.clear();
    }

    fn close_ended(&mut self) {
        for slot in self.ended.drain(..) {
            if let Some(connection) = self.connections[slot].take() {
                self.ring.close(connection.socket, CLOSE);
                self.free.push(slot);
            }
        }
    }
}

/// ENOBUFS: the receive ended because all buffers were in use.
const NO_BUFFERS: i32 = 105;
