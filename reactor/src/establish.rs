//! Sockets on their way to the data loop: listening, accepting, connecting, and the first
//! exchange of bytes, as async code on the core's monoio runtime.
//!
//! monoio's sockets stay behind this module, because 0.2.4 has faults that callers should not
//! have to know: an accept that is dropped as it completes leaks a descriptor, so accepting is
//! done by a loop that owns its listener and is never dropped; accepted descriptors lack
//! CLOEXEC; and some options cannot be set through it.

use monoio::io::{AsyncReadRent, AsyncWriteRentExt};
use monoio::net::{TcpListener, TcpStream};
use rustix::io::FdFlags;
use rustix::net::sockopt;
use socket2::{Domain, Protocol, Socket, Type};
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::time::Duration;

/// Settings of a listening socket.
#[derive(Debug, Clone, Copy)]
pub struct ListenOptions {
    /// Connections that wait to be accepted; the kernel caps it at `net.core.somaxconn`.
    pub backlog: u32,
    /// Several sockets listen on the address and the kernel spreads connections over them.
    pub reuse_port: bool,
}

impl Default for ListenOptions {
    fn default() -> ListenOptions {
        ListenOptions {
            backlog: 4096,
            reuse_port: false,
        }
    }
}

/// A listening socket, not yet bound to a core. Created where errors can still be reported.
#[derive(Debug)]
pub struct ListenSocket(std::net::TcpListener);

/// Opens a listening socket.
///
/// # Errors
/// EADDRINUSE, EACCES (a port below 1024 without privilege), EADDRNOTAVAIL, EMFILE.
pub fn listen(address: SocketAddr, options: &ListenOptions) -> io::Result<ListenSocket> {
    let domain = Domain::for_address(address);
    let socket = Socket::new(domain, Type::STREAM.cloexec(), Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if options.reuse_port {
        socket.set_reuse_port(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(options.backlog).unwrap_or(i32::MAX))?;
    Ok(ListenSocket(socket.into()))
}

impl ListenSocket {
    /// The address with the port that was given for port 0.
    ///
    /// # Errors
    /// Never for a socket that listens.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// Sets options that every accepted socket inherits, so that accepting costs no system call
    /// for them.
    ///
    /// # Errors
    /// ENOENT or EPERM for a congestion control that does not exist or is not allowed.
    pub fn set_options(&self, options: &SocketOptions) -> io::Result<()> {
        options.apply(self.0.as_fd())
    }

    /// Gives the socket to the runtime of the calling core.
    ///
    /// # Errors
    /// When the epoll driver cannot watch one more descriptor.
    pub fn into_listener(self) -> io::Result<Listener> {
        if monoio::utils::is_legacy() {
            self.0.set_nonblocking(true)?;
        }
        Ok(Listener(TcpListener::from_std(self.0)?))
    }
}

/// A listening socket of a core.
#[derive(Debug)]
pub struct Listener(TcpListener);

impl Listener {
    /// Accepts a connection. The future must be awaited to its end: see the module. To end an
    /// accept loop call [`Listener::closer`]'s `close`, which lets the accept fail.
    ///
    /// # Errors
    /// EMFILE and ENFILE when descriptors are exhausted, ECONNABORTED when the peer is gone
    /// already, EINVAL when the listener was closed.
    pub async fn accept(&mut self) -> io::Result<(Stream, SocketAddr)> {
        let (stream, peer) = self.0.accept().await?;
        let stream = Stream(stream);
        rustix::io::fcntl_setfd(stream.as_fd(), FdFlags::CLOEXEC)?;
        Ok((stream, peer))
    }

    /// Ends the accept loop from another task.
    ///
    /// # Errors
    /// When no descriptor is left.
    pub fn closer(&self) -> io::Result<ListenCloser> {
        // SAFETY: the listener is open for the whole call, and the result is a duplicate.
        let fd = unsafe { BorrowedFd::borrow_raw(self.0.as_raw_fd()) };
        Ok(ListenCloser(fd.try_clone_to_owned()?))
    }
}

/// Ends an accept loop.
#[derive(Debug)]
pub struct ListenCloser(OwnedFd);

impl ListenCloser {
    /// Lets the pending accept, and every later one, fail with EINVAL. New connections are
    /// refused; with several listeners on the port the kernel spreads them over the others.
    pub fn close(&self) {
        // Refused only if the socket does not listen any more, which is what is wanted.
        let _ = rustix::net::shutdown(&self.0, rustix::net::Shutdown::Both);
    }
}

/// Options of a connected socket; what is `None` stays as the system sets it.
#[derive(Debug, Clone, Default)]
pub struct SocketOptions {
    /// Send small segments at once (TCP_NODELAY).
    pub nodelay: bool,
    /// Bytes that may wait unsent in the kernel before the socket counts as full
    /// (TCP_NOTSENT_LOWAT). Low values keep the queue where limits can see it.
    pub notsent_lowat_bytes: Option<u32>,
    /// Cap of the kernel's send buffer (SO_SNDBUF; the kernel doubles it).
    pub send_buffer_bytes: Option<u32>,
    /// How long sent bytes may stay unacknowledged (TCP_USER_TIMEOUT).
    pub user_timeout_ms: Option<u32>,
    /// Congestion control (TCP_CONGESTION).
    pub congestion: Option<String>,
}

impl SocketOptions {
    fn apply(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        if self.nodelay {
            sockopt::set_tcp_nodelay(fd, true)?;
        }
        if let Some(bytes) = self.send_buffer_bytes {
            sockopt::set_socket_send_buffer_size(fd, bytes as usize)?;
        }
        if let Some(timeout_ms) = self.user_timeout_ms {
            sockopt::set_tcp_user_timeout(fd, timeout_ms)?;
        }
        if let Some(name) = &self.congestion {
            sockopt::set_tcp_congestion(fd, name)?;
        }
        if let Some(bytes) = self.notsent_lowat_bytes {
            socket2::SockRef::from(&fd).set_tcp_notsent_lowat(bytes)?;
        }
        Ok(())
    }
}

/// Whether this process may use a congestion control, found out on a socket made for it: what is
/// listed as available may still need a privilege.
///
/// # Errors
/// ENOENT when there is none of that name, EPERM when it needs CAP_NET_ADMIN, EMFILE.
pub fn check_congestion_control(name: &str) -> io::Result<()> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM.cloexec(), Some(Protocol::TCP))?;
    Ok(sockopt::set_tcp_congestion(&socket, name)?)
}

/// A connected socket that an establishment task still owns.
#[derive(Debug)]
pub struct Stream(TcpStream);

impl Stream {
    /// Receives at most `at_most` bytes and appends them. 0 is the end of the stream.
    ///
    /// # Errors
    /// ECONNRESET and what else recv(2) reports.
    pub async fn receive(&mut self, buffer: &mut Vec<u8>, at_most: usize) -> io::Result<usize> {
        let mut owned = std::mem::take(buffer);
        let filled = owned.len();
        owned.reserve(at_most);
        let space = monoio::buf::SliceMut::new(owned, filled, filled + at_most);
        let (result, space) = self.0.read(space).await;
        *buffer = space.into_inner();
        result
    }

    /// Sends all of `bytes` and gives the memory back.
    ///
    /// # Errors
    /// EPIPE, ECONNRESET and what else send(2) reports.
    pub async fn send_all(&mut self, bytes: Vec<u8>) -> (io::Result<()>, Vec<u8>) {
        let (result, bytes) = self.0.write_all(bytes).await;
        (result.map(|_| ()), bytes)
    }

    /// Sets socket options.
    ///
    /// # Errors
    /// ENOENT or EPERM for a congestion control that does not exist or is not allowed.
    pub fn set_options(&self, options: &SocketOptions) -> io::Result<()> {
        options.apply(self.as_fd())
    }

    /// The other end.
    ///
    /// # Errors
    /// ENOTCONN when the connection is gone.
    pub fn peer_address(&self) -> io::Result<SocketAddr> {
        socket2::SockRef::from(&self.as_fd())
            .peer_addr()?
            .as_socket()
            .ok_or_else(|| io::Error::from_raw_os_error(libc::ENOTCONN))
    }

    /// Tells the peer that nothing more comes; it may still send.
    ///
    /// # Errors
    /// ENOTCONN when the connection is gone.
    pub fn finish(&self) -> io::Result<()> {
        crate::sys::shutdown_write(self.as_fd())
    }

    /// Makes dropping this socket a reset.
    ///
    /// # Errors
    /// Never for an open socket.
    pub fn reset_on_close(&self) -> io::Result<()> {
        crate::sys::reset_on_close(self.as_fd())
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor is open as long as `self.0` lives, and the result borrows it.
        unsafe { BorrowedFd::borrow_raw(self.0.as_raw_fd()) }
    }
}

impl From<Stream> for OwnedFd {
    fn from(stream: Stream) -> OwnedFd {
        // SAFETY: `into_raw_fd` gives up the ownership of an open descriptor.
        unsafe { OwnedFd::from_raw_fd(stream.0.into_raw_fd()) }
    }
}

/// Connects, from `source` if given (with a port chosen per destination, so that one source
/// address serves as many connections as each destination has ports for).
///
/// # Errors
/// ECONNREFUSED, EADDRNOTAVAIL when ports or the source address are missing, EMFILE.
pub async fn connect(address: SocketAddr, source: Option<IpAddr>) -> io::Result<Stream> {
    let kind = Type::STREAM.cloexec().nonblocking();
    let socket = Socket::new(Domain::for_address(address), kind, Some(Protocol::TCP))?;
    if let Some(source) = source {
        set_bind_address_no_port(&socket)?;
        socket.bind(&SocketAddr::new(source, 0).into())?;
    }
    let is_pending = match socket.connect(&address.into()) {
        Ok(()) => false,
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => true,
        Err(error) => return Err(error),
    };
    let stream = TcpStream::from_std(socket.into())?;
    if is_pending {
        stream.writable(false).await?;
    }
    let stream = Stream(stream);
    if let Some(error) = socket2::SockRef::from(&stream.as_fd()).take_error()? {
        return Err(error);
    }
    if !monoio::utils::is_legacy() {
        // On io_uring a non-blocking socket would make sends fail rather than wait.
        socket2::SockRef::from(&stream.as_fd()).set_nonblocking(false)?;
    }
    Ok(stream)
}

fn set_bind_address_no_port(socket: &Socket) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the option takes an int, and its address and size are passed.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            std::ptr::from_ref(&on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Sleeps on the core's runtime (resolution 1 ms).
pub async fn sleep_ms(duration_ms: u64) {
    monoio::time::sleep(Duration::from_millis(duration_ms)).await;
}

/// Runs `future` for at most `limit_ms`; `None` if it took longer and was dropped.
pub async fn within<F: Future>(limit_ms: u64, future: F) -> Option<F::Output> {
    monoio::time::timeout(Duration::from_millis(limit_ms), future)
        .await
        .ok()
}
