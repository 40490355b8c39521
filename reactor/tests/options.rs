//! Accepted sockets have the options of their listener, whichever driver accepts them.

use fanwire_reactor::establish::{ListenOptions, SocketOptions, listen};
use fanwire_reactor::{
    Application, BackendChoice, Cause, Core, CoreOptions, Handle, Io, Token, mailbox,
};
use rustix::net::sockopt;
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::sync::mpsc;
use std::thread;

/// Nothing ever reaches its shard.
struct Nothing;

impl Application for Nothing {
    type Mail = ();
    type Adopted = ();

    fn on_adopted(&mut self, _io: &mut Io, _token: Token, _adopted: ()) {}

    fn on_received(&mut self, _io: &mut Io, _token: Token, _bytes: &mut [u8]) {}

    fn on_closed(&mut self, _io: &mut Io, _token: Token, _cause: Cause) {}
}

#[derive(Debug, PartialEq)]
struct Seen {
    nodelay: bool,
    user_timeout_ms: u32,
    congestion: String,
    notsent_lowat_bytes: u32,
    closes_on_exec: bool,
}

fn look(fd: impl AsFd) -> Seen {
    let fd = fd.as_fd();
    Seen {
        nodelay: sockopt::tcp_nodelay(fd).expect("an option"),
        user_timeout_ms: sockopt::tcp_user_timeout(fd).expect("an option"),
        congestion: sockopt::tcp_congestion(fd).expect("an option"),
        notsent_lowat_bytes: socket2::SockRef::from(&fd)
            .tcp_notsent_lowat()
            .expect("an option"),
        closes_on_exec: rustix::io::fcntl_getfd(fd)
            .expect("an open descriptor")
            .contains(rustix::io::FdFlags::CLOEXEC),
    }
}

#[test]
fn accepted_sockets_inherit() {
    for backend in [BackendChoice::Uring, BackendChoice::Epoll] {
        let address = "127.0.0.1:0".parse().expect("an address");
        let socket = listen(address, &ListenOptions::default()).expect("a port");
        let address = socket.local_address().expect("it listens");
        socket
            .set_options(&SocketOptions {
                nodelay: true,
                notsent_lowat_bytes: Some(12_345),
                send_buffer_bytes: None,
                user_timeout_ms: Some(4_321),
                congestion: Some("reno".to_owned()),
            })
            .expect("options of an open socket");
        let (seen, looked) = mpsc::channel();
        let core = thread::spawn(move || {
            let options = CoreOptions {
                backend,
                ..CoreOptions::default()
            };
            let (_senders, mail) = mailbox(1, 1).expect("a descriptor");
            let core: Core<Nothing> = Core::build(&options, mail).expect("a core");
            core.run(Nothing, async move |handle: Handle<Nothing>| {
                let mut listener = socket.into_listener().expect("a descriptor");
                let (stream, _) = listener.accept().await.expect("a connection");
                seen.send(look(&stream)).expect("the test waits");
                handle.stop();
            });
        });
        let _client = TcpStream::connect(address).expect("it listens");
        let expected = Seen {
            nodelay: true,
            user_timeout_ms: 4_321,
            congestion: "reno".to_owned(),
            notsent_lowat_bytes: 12_345,
            closes_on_exec: true,
        };
        assert_eq!(looked.recv().expect("a look"), expected, "{backend:?}");
        core.join().expect("the core ends");
    }
}
