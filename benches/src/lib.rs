//! What every program of this package shares: command line, pinning, the listening socket and
//! the line that says "ready". It must stay free of anything that differs between contenders:
//! all of them are started, pinned and bound in exactly this way.

#![forbid(unsafe_code)]

pub mod opening;
pub mod turnaround;

use std::io::{self, Write as _};
use std::net::{SocketAddr, TcpListener};

use clap::Parser;
use socket2::{Domain, Protocol, Socket, Type};

/// Pending connections that the kernel keeps for us. Alike for all contenders; the kernel lowers
/// it to `net.core.somaxconn`.
pub const LISTEN_BACKLOG: i32 = 4096;

/// Bytes of a message that any contender has to accept. The largest message that is measured
/// has 64 KiB; libraries that want a limit get this one.
pub const MESSAGE_SIZE_MAX: usize = 16 * 1024 * 1024;

/// The command line of every peer and floor program.
#[derive(Clone, Debug, Parser)]
#[command(about = "An echo server to compare with, pinned to one core")]
pub struct ServerArguments {
    /// Address and port to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,

    /// Core to run on; without it the scheduler decides
    #[arg(long, value_name = "CORE")]
    pub cpu: Option<usize>,

    /// Bytes of each connection's read buffer, for a peer whose documentation advises another
    /// size for many connections; without it what is best for throughput
    #[arg(long, value_name = "BYTES")]
    pub read_buffer_size: Option<usize>,
}

impl ServerArguments {
    /// Reads the command line and pins the calling thread, before anything else allocates or
    /// starts a thread.
    ///
    /// # Errors
    ///
    /// When the asked core does not exist or this process may not run on it.
    pub fn parse_and_pin() -> io::Result<Self> {
        let arguments = Self::parse();
        if let Some(cpu) = arguments.cpu
            && !core_affinity::set_for_current(core_affinity::CoreId { id: cpu })
        {
            return Err(io::Error::other(format!(
                "cannot run on core {cpu}: choose one that `taskset -pc $$` lists"
            )));
        }
        Ok(arguments)
    }

    /// Binds a non-blocking listening socket.
    ///
    /// # Errors
    ///
    /// When the address is taken or not ours.
    pub fn bind(&self) -> io::Result<TcpListener> {
        let socket = Socket::new(
            Domain::for_address(self.listen),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&self.listen.into())?;
        socket.listen(LISTEN_BACKLOG)?;
        Ok(socket.into())
    }
}

/// Prints the one line that a script waits for.
///
/// # Errors
///
/// When standard output is closed or the socket has no address.
pub fn announce(listener: &TcpListener) -> io::Result<()> {
    let mut output = io::stdout().lock();
    writeln!(output, "listening {}", listener.local_addr()?)?;
    output.flush()
}

/// Runs `serve` for every accepted connection on one current-thread tokio runtime, without
/// cooperative budgeting (as the echo servers in the documentation of fastwebsockets and
/// tokio-websockets do). Never returns unless the runtime or the socket cannot be set up.
///
/// # Errors
///
/// When the runtime or the listening socket cannot be made.
pub fn serve_with_tokio<Served>(
    arguments: &ServerArguments,
    serve: impl Fn(tokio::net::TcpStream) -> Served,
) -> io::Result<()>
where
    Served: Future<Output = ()> + Send + 'static,
{
    let listener = arguments.bind()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async move {
        announce(&listener)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    if stream.set_nodelay(true).is_ok() {
                        tokio::spawn(tokio::task::unconstrained(serve(stream)));
                    }
                }
                // A client that left before it was accepted, or no free descriptor: the
                // connections that exist go on.
                Err(_) => tokio::task::yield_now().await,
            }
        }
    })
}
