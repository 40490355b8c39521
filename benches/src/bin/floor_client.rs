//! The floor of a load generator: what driving an echo server costs when user space does next to
//! nothing.
//!
//! One thread, one io_uring: multishot receives into shared buffers, all messages of a turn in one
//! batch of sends. A connection sends the same prebuilt, masked frame whenever the bytes of a reply
//! have been counted. Nothing is stamped, recorded, compared or parsed, and no masking key is drawn:
//! whatever the load generator needs beyond this is the price of what it tells.
//!
//! Prints one JSON object: messages and CPU time of the measured part, from the scheduler's clock
//! of this thread.

#![forbid(unsafe_code)]

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd as _, AsRawFd as _};

use clap::Parser;
use fanwire_reactor::host::{monotonic_ns, thread_cpu_ns};
use fanwire_reactor::ring::{Outgoing, Ring, RingCompletion, RingOptions, Waiting};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const RECEIVE_BUFFER_COUNT: u16 = 1024;
const RECEIVE_BUFFER_SIZE: u32 = 16 * 1024;
/// ENOBUFS: the receive ended because all buffers were in use.
const NO_BUFFERS: i32 = 105;
/// A response head larger than this is not one of ours.
const HEAD_SIZE_MAX: usize = 8 * 1024;
const MASKING_KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// The floor of an echo load generator, pinned to one core
#[derive(Parser)]
struct Arguments {
    /// Server to drive
    #[arg(long, value_name = "ADDRESS:PORT")]
    server: SocketAddr,
    /// Connections
    #[arg(long, value_name = "N", default_value_t = 200)]
    connections: usize,
    /// Messages that each connection keeps under way
    #[arg(long, value_name = "N", default_value_t = 1)]
    in_flight: usize,
    /// Payload bytes of a message, at most 65,535
    #[arg(long, value_name = "BYTES", default_value_t = 64)]
    size: u16,
    /// Seconds before measuring starts
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0)]
    warmup: f64,
    /// Seconds that are measured
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0)]
    duration: f64,
    /// Core to run on; without it the scheduler decides
    #[arg(long, value_name = "CORE")]
    cpu: Option<usize>,
}

fn main() -> io::Result<()> {
    let arguments = Arguments::parse();
    if let Some(cpu) = arguments.cpu
        && !core_affinity::set_for_current(core_affinity::CoreId { id: cpu })
    {
        return Err(io::Error::other(format!(
            "cannot run on core {cpu}: choose one that `taskset -pc $$` lists"
        )));
    }
    let mut client = Client::new(&arguments)?;
    let begun_ns = monotonic_ns();
    let measure_from_ns = begun_ns + (arguments.warmup * 1e9) as u64;
    client.run_until(measure_from_ns)?;
    let (replies, cpu_ns, from_ns) = (client.replies, thread_cpu_ns(), monotonic_ns());
    client.run_until(from_ns + (arguments.duration * 1e9) as u64)?;
    let messages = client.replies - replies;
    let (cpu_ns, measured_ns) = (thread_cpu_ns() - cpu_ns, monotonic_ns() - from_ns);
    println!(
        "{{\"messages\": {messages}, \"messages_per_second\": {:.1}, \"cpu_ns_per_message\": {:.1}, \
         \"cpu_share\": {:.4}}}",
        messages as f64 * 1e9 / measured_ns as f64,
        cpu_ns as f64 / messages.max(1) as f64,
        cpu_ns as f64 / measured_ns as f64,
    );
    Ok(())
}

struct Connection {
    socket: TcpStream,
    /// Bytes of a reply that have not arrived yet.
    missing: usize,
}

struct Client {
    ring: Ring,
    connections: Vec<Connection>,
    completions: Vec<RingCompletion>,
    /// The frame, as many times as a connection may have under way.
    frames: Vec<u8>,
    frame_size: usize,
    reply_size: usize,
    /// Connections that send at the end of the turn, and how many messages.
    batch: Vec<(usize, usize)>,
    replies: u64,
}

impl Client {
    fn new(arguments: &Arguments) -> io::Result<Client> {
        let options = RingOptions {
            waiting: Waiting::Alone,
            ..RingOptions::default()
        };
        let mut ring = Ring::new(&options)?;
        ring.provide_buffers(RECEIVE_BUFFER_COUNT, RECEIVE_BUFFER_SIZE, true)?;
        let frame = frame(arguments.size);
        let (frame_size, reply_size) = (frame.len(), frame.len() - MASKING_KEY.len());
        let mut connections = Vec::with_capacity(arguments.connections);
        for slot in 0..arguments.connections {
            let socket = open(arguments.server)?;
            ring.receive_multishot(socket.as_raw_fd(), slot as u64, false);
            let missing = reply_size;
            connections.push(Connection { socket, missing });
        }
        let in_flight = arguments.in_flight.max(1);
        let batch = (0..connections.len())
            .map(|slot| (slot, in_flight))
            .collect();
        let mut client = Client {
            ring,
            connections,
            completions: Vec::new(),
            frames: frame.repeat(in_flight),
            frame_size,
            reply_size,
            batch,
            replies: 0,
        };
        client.flush()?;
        Ok(client)
    }

    fn run_until(&mut self, until_ns: u64) -> io::Result<()> {
        while monotonic_ns() < until_ns {
            if !self.ring.is_ready() {
                match self.ring.enter(1) {
                    Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                    _ => {}
                }
            }
            let mut completions = std::mem::take(&mut self.completions);
            self.ring.take_completions(usize::MAX, &mut completions);
            for completion in completions.drain(..) {
                self.received(&completion)?;
            }
            self.completions = completions;
            self.flush()?;
        }
        Ok(())
    }

    fn received(&mut self, completion: &RingCompletion) -> io::Result<()> {
        let slot = completion.user_data() as usize;
        let connection = &mut self.connections[slot];
        let mut arrived = 0;
        if let Some(chunk) = self.ring.take_chunk(completion)
            && let Some(buffers) = self.ring.buffers()
        {
            arrived = chunk.len();
            buffers.release(chunk);
        }
        if !completion.more_follows() {
            self.ring.receive_ended();
            if completion.result() <= 0 && completion.result() != -NO_BUFFERS {
                return Err(io::Error::other("the server ended a connection"));
            }
            let fd = connection.socket.as_raw_fd();
            self.ring.receive_multishot(fd, slot as u64, false);
        }
        let mut answered = 0;
        while arrived >= connection.missing {
            arrived -= connection.missing;
            connection.missing = self.reply_size;
            answered += 1;
        }
        connection.missing -= arrived;
        self.replies += answered as u64;
        match self.batch.last_mut() {
            Some((last, count)) if *last == slot => *count += answered,
            _ if answered > 0 => self.batch.push((slot, answered)),
            _ => {}
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let (connections, frames, size) = (&self.connections, &self.frames, self.frame_size);
        let outgoing = self.batch.iter().map(|(slot, count)| Outgoing {
            fd: connections[*slot].socket.as_fd(),
            bytes: &frames[..count * size],
        });
        let mut shortfalls = Vec::new();
        self.ring.send_batch(outgoing, &mut shortfalls);
        self.batch.clear();
        if shortfalls.is_empty() {
            Ok(())
        } else {
            // A floor that queues would no longer be one.
            Err(io::Error::other("a socket did not take a whole message"))
        }
    }
}

/// A binary message in one masked frame (RFC 6455 5.2). The payload is zeros: masked, it is the
/// key over and over.
fn frame(size: u16) -> Vec<u8> {
    let mut frame = vec![0x82];
    match u8::try_from(size) {
        Ok(short) if short < 126 => frame.push(0x80 | short),
        _ => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&size.to_be_bytes());
        }
    }
    frame.extend_from_slice(&MASKING_KEY);
    frame.extend(MASKING_KEY.iter().cycle().take(usize::from(size)));
    frame
}

/// Connects and shakes hands. The server's key is not checked.
fn open(server: SocketAddr) -> io::Result<TcpStream> {
    let mut socket = TcpStream::connect(server)?;
    socket.set_nodelay(true)?;
    write!(
        socket,
        "GET / HTTP/1.1\r\nHost: {server}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if socket.read(&mut byte)? == 0 || head.len() > HEAD_SIZE_MAX {
            return Err(io::Error::other("no answer to the opening handshake"));
        }
        head.push(byte[0]);
    }
    if head.starts_with(b"HTTP/1.1 101 ") {
        Ok(socket)
    } else {
        Err(io::Error::other(
            String::from_utf8_lossy(&head).into_owned(),
        ))
    }
}
