//! The floor of fan-out: what the kernel's TCP path costs when one message goes to many sockets
//! and user space does next to nothing.
//!
//! One thread, one io_uring: multishot accept, multishot receive into shared buffers. A connection
//! whose target has `publish` in its query is a publisher, any other a subscriber of the path that it
//! asked for. The mask is taken off a published frame, and those bytes go to every subscriber of the
//! path in one batch of sends; frames that were received together leave together. There is no hub:
//! no numbers, no log, no limits, no timers, no check of anything. It is driven by the same load
//! generator as everybody.
//!
//! A socket that does not take a whole send at once is closed: a floor that queues would no
//! longer be one. The generator reports such a connection as lost.

#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::io;
use std::net::TcpListener;
use std::ops::Range;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

use fanwire_benches::opening::{Opened, Opening};
use fanwire_benches::turnaround::{Turnaround, frame_size};
use fanwire_benches::{ServerArguments, announce};
use fanwire_reactor::ring::{Outgoing, Ring, RingCompletion, RingOptions, SendShortfall, Waiting};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const RECEIVE_BUFFER_COUNT: u16 = 1024;
const RECEIVE_BUFFER_SIZE: u32 = 16 * 1024;
/// `user_data` of the accept and of closes; connections use their slot.
const LISTENER: u64 = u32::MAX as u64;
const CLOSE: u64 = LISTENER - 1;
/// ENOBUFS: the receive ended because all buffers were in use.
const NO_BUFFERS: i32 = 105;
/// Opcodes from here on are of control frames (RFC 6455, section 5.2).
const FIRST_CONTROL_OPCODE: u8 = 8;

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

/// What a connection has said about itself, apart from its socket.
enum Connection {
    Opening(Opening),
    /// Subscribers say little; what they say (a close) goes back to them.
    Subscriber {
        topic: usize,
        turnaround: Turnaround,
    },
    /// Collects received bytes until a frame is whole.
    Publisher {
        topic: usize,
        received: Vec<u8>,
    },
}

#[derive(Default)]
struct Topics {
    by_path: HashMap<Vec<u8>, usize>,
    /// Slots, by topic.
    subscribers: Vec<Vec<usize>>,
}

struct Floor {
    ring: Ring,
    listener: TcpListener,
    /// By slot, apart from the rest: all that a delivery reads of a subscriber.
    sockets: Vec<Option<OwnedFd>>,
    connections: Vec<Connection>,
    topics: Topics,
    free: Vec<usize>,
    completions: Vec<RingCompletion>,
    turn: Turn,
}

/// What goes out at the end of a turn.
#[derive(Default)]
struct Turn {
    bytes: Vec<u8>,
    /// To one slot each.
    replies: Vec<(usize, Range<usize>)>,
    /// To all subscribers of a topic.
    published: Vec<(usize, Range<usize>)>,
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
            sockets: Vec::new(),
            connections: Vec::new(),
            topics: Topics::default(),
            free: Vec::new(),
            completions: Vec::new(),
            turn: Turn::default(),
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
        let opening = Connection::Opening(Opening::default());
        let slot = self.free.pop().unwrap_or(self.sockets.len());
        self.ring
            .receive_multishot(socket.as_raw_fd(), slot as u64, false);
        if slot == self.sockets.len() {
            self.sockets.push(Some(socket));
            self.connections.push(opening);
        } else {
            self.sockets[slot] = Some(socket);
            self.connections[slot] = opening;
        }
    }

    fn received(&mut self, slot: usize, completion: &RingCompletion) {
        let Some(Some(socket)) = self.sockets.get(slot) else {
            return;
        };
        if let Some(chunk) = self.ring.take_chunk(completion)
            && let Some(buffers) = self.ring.buffers()
        {
            let connection = &mut self.connections[slot];
            connection.take(
                slot,
                buffers.bytes(&chunk),
                &mut self.topics,
                &mut self.turn,
            );
            buffers.release(chunk);
        }
        if !completion.more_follows() {
            self.ring.receive_ended();
            if completion.result() > 0 || completion.result() == -NO_BUFFERS {
                self.ring
                    .receive_multishot(socket.as_raw_fd(), slot as u64, false);
            } else {
                self.turn.ended.push(slot);
            }
        }
    }

    fn flush(&mut self) {
        let (sockets, turn) = (&self.sockets, &mut self.turn);
        let mut shortfalls = Vec::new();
        let bytes = &turn.bytes;
        let replies = turn.replies.iter().filter_map(|(slot, range)| {
            Some(Outgoing {
                fd: sockets[*slot].as_ref()?.as_fd(),
                bytes: &bytes[range.clone()],
            })
        });
        self.ring.send_batch(replies, &mut shortfalls);
        cut_off(sockets, &mut shortfalls, |index| turn.replies[index].0);
        for (topic, range) in &turn.published {
            let subscribers = &self.topics.subscribers[*topic];
            let message = &bytes[range.clone()];
            let copies = subscribers.iter().filter_map(|slot| {
                Some(Outgoing {
                    fd: sockets[*slot].as_ref()?.as_fd(),
                    bytes: message,
                })
            });
            self.ring.send_batch(copies, &mut shortfalls);
            cut_off(sockets, &mut shortfalls, |index| subscribers[index]);
        }
        turn.replies.clear();
        turn.published.clear();
        turn.bytes.clear();
    }

    fn close_ended(&mut self) {
        for slot in self.turn.ended.drain(..) {
            if let Connection::Subscriber { topic, .. } = self.connections[slot] {
                self.topics.subscribers[topic].retain(|subscriber| *subscriber != slot);
            }
            if let Some(socket) = self.sockets[slot].take() {
                self.ring.close(socket, CLOSE);
                self.free.push(slot);
            }
        }
    }
}

/// Ends the multishot receives of sockets that did not take everything; the last completion of each
/// closes the socket. Slots are emptied only at the end of a turn, so that positions in a
/// batch are positions in the list it was made of.
fn cut_off(
    sockets: &[Option<OwnedFd>],
    shortfalls: &mut Vec<SendShortfall>,
    slot_at: impl Fn(usize) -> usize,
) {
    for shortfall in shortfalls.drain(..) {
        if let Some(socket) = &sockets[slot_at(shortfall.index as usize)] {
            // A peer that has gone already needs no shutdown.
            let _ = socket2::SockRef::from(socket).shutdown(std::net::Shutdown::Both);
        }
    }
}

impl Connection {
    /// Handles received bytes.
    fn take(&mut self, slot: usize, bytes: &[u8], topics: &mut Topics, turn: &mut Turn) {
        let start = turn.bytes.len();
        match self {
            Connection::Opening(opening) => {
                let Some(opened) = opening.take(bytes, &mut turn.bytes) else {
                    return;
                };
                turn.reply(slot, start);
                *self = topics.enter(slot, &opened);
                if !opened.rest.is_empty() {
                    self.take(slot, &opened.rest, topics, turn);
                }
            }
            Connection::Subscriber { turnaround, .. } => {
                turnaround.turn(bytes, &mut turn.bytes);
                turn.reply(slot, start);
            }
            Connection::Publisher { topic, received } => {
                received.extend_from_slice(bytes);
                turn.publish(slot, *topic, received);
            }
        }
    }
}

impl Topics {
    /// Makes a publisher or a subscriber of a connection, by its target.
    fn enter(&mut self, slot: usize, opened: &Opened) -> Connection {
        let mut parts = opened.target.splitn(2, |byte| *byte == b'?');
        let path = parts.next().unwrap_or_default();
        let mut query = parts.next().unwrap_or_default().split(|byte| *byte == b'&');
        let topic = *self.by_path.entry(path.to_vec()).or_insert_with(|| {
            self.subscribers.push(Vec::new());
            self.subscribers.len() - 1
        });
        if query.any(|member| member == b"publish") {
            return Connection::Publisher {
                topic,
                received: Vec::new(),
            };
        }
        self.subscribers[topic].push(slot);
        Connection::Subscriber {
            topic,
            turnaround: Turnaround::default(),
        }
    }
}

impl Turn {
    /// What was appended since `start` goes back to `slot`.
    fn reply(&mut self, slot: usize, start: usize) {
        let end = self.bytes.len();
        if end > start {
            self.replies.push((slot, start..end));
        }
    }

    /// Publishes the whole frames that `received` begins with; control frames go back.
    fn publish(&mut self, slot: usize, topic: usize, received: &mut Vec<u8>) {
        let mut taken = 0;
        while let Some(size) = frame_size(&received[taken..])
            && let Some(frame) = received.get(taken..taken + size)
        {
            let start = self.bytes.len();
            Turnaround::default().turn(frame, &mut self.bytes);
            if frame[0] & 0x0f >= FIRST_CONTROL_OPCODE {
                self.reply(slot, start);
            } else {
                let end = self.bytes.len();
                match self.published.last_mut() {
                    Some((last, range)) if *last == topic && range.end == start => range.end = end,
                    _ => self.published.push((topic, start..end)),
                }
            }
            taken += size;
        }
        received.drain(..taken);
    }
}
