//! A byte echo server on one core, and what tests do with it.

#![allow(dead_code, reason = "each test file uses its own part")]

use fanwire_reactor::establish::{ListenOptions, SocketOptions, listen};
use fanwire_reactor::{
    Application, BackendChoice, Cause, Core, CoreOptions, Counters, Handle, Io, Token, mailbox,
};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// Commands to the echo application.
pub enum Command {
    Stop,
}

/// Echoes; `P` pauses receiving for 100 ms, `Q` echoes and finishes, `R` resets, `B` blocks the core for 50 ms.
pub struct Echo {
    pub events: mpsc::Sender<Event>,
}

#[derive(Debug, PartialEq)]
pub enum Event {
    Opened,
    EndOfStream,
    Drained,
    Closed(Cause),
}

impl Application for Echo {
    type Mail = Command;
    type Adopted = ();

    fn on_adopted(&mut self, _io: &mut Io, _token: Token, _adopted: ()) {
        let _ = self.events.send(Event::Opened);
    }

    fn on_received(&mut self, io: &mut Io, token: Token, bytes: &mut [u8]) {
        io.send(token, |out| out.extend_from_slice(bytes));
        match bytes.first() {
            Some(b'P') => {
                io.pause_receive(token);
                io.set_timer(token, 100);
            }
            Some(b'Q') => io.finish(token),
            Some(b'R') => io.reset(token),
            // Stalls the core on purpose, so that the kernel's queues fill up meanwhile.
            Some(b'B') => thread::sleep(Duration::from_millis(50)),
            _ => {}
        }
    }

    fn on_end_of_stream(&mut self, io: &mut Io, token: Token) {
        let _ = self.events.send(Event::EndOfStream);
        io.terminate(token);
    }

    fn on_drained(&mut self, _io: &mut Io, _token: Token) {
        let _ = self.events.send(Event::Drained);
    }

    fn on_timer(&mut self, io: &mut Io, token: Token) {
        io.resume_receive(token);
    }

    fn on_mail(&mut self, io: &mut Io, mail: Command) {
        match mail {
            Command::Stop => io.stop(),
        }
    }

    fn on_closed(&mut self, _io: &mut Io, _token: Token, cause: Cause) {
        let _ = self.events.send(Event::Closed(cause));
    }
}

pub async fn accept_all(socket: fanwire_reactor::establish::ListenSocket, handle: Handle<Echo>) {
    let mut listener = socket.into_listener().expect("a descriptor");
    while let Ok((stream, _)) = listener.accept().await {
        handle.adopt(stream, ());
    }
}

pub struct Server {
    pub address: SocketAddr,
    pub events: mpsc::Receiver<Event>,
    pub sender: fanwire_reactor::MailSender<Command>,
    pub thread: thread::JoinHandle<Counters>,
}

impl Server {
    pub fn start(options: CoreOptions) -> Server {
        let address = "127.0.0.1:0".parse().expect("an address");
        let socket = listen(address, &ListenOptions::default()).expect("a port");
        let inherited = SocketOptions {
            nodelay: true,
            ..SocketOptions::default()
        };
        socket
            .set_options(&inherited)
            .expect("options of an open socket");
        let address = socket.local_address().expect("it listens");
        let (events, received) = mpsc::channel();
        let (mut senders, receiver) = mailbox(1, 8).expect("a descriptor");
        let thread = thread::spawn(move || {
            let core: Core<Echo> = Core::build(&options, receiver).expect("a core");
            let establish = async move |handle| accept_all(socket, handle).await;
            core.run(Echo { events }, establish).counters
        });
        Server {
            address,
            events: received,
            sender: senders.remove(0),
            thread,
        }
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("it listens");
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .expect("an option");
        stream.set_nodelay(true).expect("an option");
        assert_eq!(self.event(), Event::Opened);
        stream
    }

    pub fn event(&self) -> Event {
        self.events
            .recv_timeout(Duration::from_secs(10))
            .expect("an event within 10 s")
    }

    pub fn stop(mut self) -> Counters {
        self.sender
            .send(Command::Stop)
            .unwrap_or_else(|_| panic!("the mailbox has room"));
        let counters = self.thread.join().expect("the core ends");
        assert_eq!(
            counters.adopted, counters.closed,
            "every connection ends exactly once"
        );
        counters
    }
}

pub fn on_both_backends(test: impl Fn(CoreOptions)) {
    for backend in [BackendChoice::Uring, BackendChoice::Epoll] {
        test(CoreOptions {
            backend,
            ..CoreOptions::default()
        });
    }
}

pub fn round_trip(stream: &mut TcpStream, bytes: &[u8]) {
    stream.write_all(bytes).expect("the peer reads");
    let mut received = vec![0; bytes.len()];
    stream.read_exact(&mut received).expect("the peer answers");
    assert!(received == bytes, "the echo differs");
}
