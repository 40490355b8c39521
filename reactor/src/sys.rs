//! Small system calls with a safe face, through `rustix`.

use rustix::event::{EventfdFlags, eventfd};
use rustix::net::{RecvFlags, SendFlags};
use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec,
};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// CLOCK_MONOTONIC in nanoseconds.
pub(crate) fn monotonic_ns() -> u64 {
    to_ns(rustix::time::clock_gettime(ClockId::Monotonic))
}

/// CPU time of the calling thread in nanoseconds.
pub(crate) fn thread_cpu_ns() -> u64 {
    to_ns(rustix::time::clock_gettime(ClockId::ThreadCPUTime))
}

fn to_ns(time: Timespec) -> u64 {
    // Both clocks count up from zero, so neither field is ever negative.
    (time.tv_sec as u64) * 1_000_000_000 + time.tv_nsec as u64
}

/// Receives what is there, without waiting. 0 is the end of the stream.
pub(crate) fn receive_now(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    let (received, _) = rustix::net::recv(fd, buffer, RecvFlags::DONTWAIT)?;
    Ok(received)
}

/// Sends what the socket takes, without waiting and without SIGPIPE.
pub(crate) fn send_now(fd: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    Ok(rustix::net::send(
        fd,
        bytes,
        SendFlags::DONTWAIT | SendFlags::NOSIGNAL,
    )?)
}

/// Tells the peer that nothing more comes.
pub(crate) fn shutdown_write(fd: BorrowedFd<'_>) -> io::Result<()> {
    Ok(rustix::net::shutdown(fd, rustix::net::Shutdown::Write)?)
}

/// Makes the next close of the socket a reset.
pub(crate) fn reset_on_close(fd: BorrowedFd<'_>) -> io::Result<()> {
    let zero = Some(std::time::Duration::ZERO);
    Ok(rustix::net::sockopt::set_socket_linger(fd, zero)?)
}

/// A non-blocking event counter.
pub(crate) fn event() -> io::Result<OwnedFd> {
    Ok(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)
}

/// Makes an event or timer descriptor unreadable again.
pub(crate) fn drain_event(fd: impl AsFd) {
    let mut count = [0_u8; 8];
    // EAGAIN: it was not readable, which is what was wanted.
    let _ = rustix::io::read(fd, &mut count);
}

/// Makes an event descriptor readable.
pub(crate) fn signal_event(fd: impl AsFd) {
    // EAGAIN: the counter is at its maximum, so the descriptor is readable already.
    let _ = rustix::io::write(fd, &1_u64.to_ne_bytes());
}

/// A timer descriptor on CLOCK_MONOTONIC.
pub(crate) fn timer() -> io::Result<OwnedFd> {
    let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
    Ok(rustix::time::timerfd_create(
        TimerfdClockId::Monotonic,
        flags,
    )?)
}

/// Lets a timer descriptor become readable at `at_ns` (CLOCK_MONOTONIC).
pub(crate) fn set_timer(timer: impl AsFd, at_ns: u64) {
    let at_ns = at_ns.max(1);
    let zero = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let value = Timespec {
        tv_sec: (at_ns / 1_000_000_000) as i64,
        tv_nsec: (at_ns % 1_000_000_000) as i64,
    };
    let setting = Itimerspec {
        it_interval: zero,
        it_value: value,
    };
    // Only a descriptor that is not a timer could be refused.
    let _ = rustix::time::timerfd_settime(timer, TimerfdTimerFlags::ABSTIME, &setting);
}
