//! A byte echo on real sockets, on both backends: the data loop from accept to close.

use fanwire_reactor::establish::{ListenOptions, SocketOptions, listen};
use fanwire_reactor::{
    Application, BackendChoice, Cause, Core, CoreOptions, Counters, Handle, Io, Token, mailbox,
};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// Commands to the echo application.
enum Command {
    Stop,
}

/// Echoes; `P` pauses receiving for 100 ms, `Q` echoes and finishes, `R` resets.
struct Echo {
    events: mpsc::Sender<Event>,
}

#[derive(Debug, PartialEq)]
enum Event {
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

async fn accept_all(socket: fanwire_reactor::establish::ListenSocket, handle: Handle<Echo>) {
    let mut listener = socket.into_listener().expect("a descriptor");
    while let Ok((stream, _)) = listener.accept().await {
        let options = SocketOptions {
            nodelay: true,
            ..SocketOptions::default()
        };
        stream
            .set_options(&options)
            .expect("options of an open socket");
        handle.adopt(stream, ());
    }
}

struct Server {
    address: SocketAddr,
    events: mpsc::Receiver<Event>,
    sender: fanwire_reactor::MailSender<Command>,
    thread: thread::JoinHandle<Counters>,
}

impl Server {
    fn start(options: CoreOptions) -> Server {
        let address = "127.0.0.1:0".parse().expect("an address");
        let socket = listen(address, &ListenOptions::default()).expect("a port");
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

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("it listens");
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .expect("an option");
        stream.set_nodelay(true).expect("an option");
        assert_eq!(self.event(), Event::Opened);
        stream
    }

    fn event(&self) -> Event {
        self.events
            .recv_timeout(Duration::from_secs(10))
            .expect("an event within 10 s")
    }

    fn stop(mut self) -> Counters {
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

fn on_both_backends(test: impl Fn(CoreOptions)) {
    for backend in [BackendChoice::Uring, BackendChoice::Epoll] {
        test(CoreOptions {
            backend,
            ..CoreOptions::default()
        });
    }
}

fn round_trip(stream: &mut TcpStream, bytes: &[u8]) {
    stream.write_all(bytes).expect("the peer reads");
    let mut received = vec![0; bytes.len()];
    stream.read_exact(&mut received).expect("the peer answers");
    assert!(received == bytes, "the echo differs");
}

#[test]
fn echoes_small_and_large() {
    on_both_backends(|options| {
        let server = Server::start(options);
        let mut stream = server.connect();
        for length in [1, 64, 4096, 100_000] {
            round_trip(&mut stream, &vec![b'x'; length]);
        }
        drop(stream);
        assert_eq!(server.event(), Event::EndOfStream);
        assert_eq!(server.event(), Event::Closed(Cause::Local));
        let counters = server.stop();
        assert_eq!(counters.received_bytes, counters.sent_bytes);
    });
}

#[test]
fn a_peer_that_does_not_read_loses_nothing() {
    on_both_backends(|options| {
        let server = Server::start(CoreOptions {
            backlog_bytes_max: 64 << 20,
            ..options
        });
        let mut stream = server.connect();
        let total = 24 << 20;
        let mut writer = stream.try_clone().expect("a descriptor");
        let written = thread::spawn(move || {
            let bytes: Vec<u8> = (0..total)
                .map(|at: usize| (at % 251) as u8 | 0x80)
                .collect();
            writer.write_all(&bytes).expect("the server keeps reading");
            bytes
        });
        let bytes = written.join().expect("the writer ends");
        let mut received = vec![0; total];
        stream
            .read_exact(&mut received)
            .expect("everything comes back");
        assert!(received == bytes, "bytes were lost, repeated or mixed up");
        assert_eq!(server.event(), Event::Drained);
        drop(stream);
        let counters = server.stop();
        assert!(
            counters.sends_short > 0,
            "the socket never was full: the test tests nothing"
        );
    });
}

#[test]
fn too_many_unsent_bytes_close_the_connection() {
    on_both_backends(|options| {
        let server = Server::start(CoreOptions {
            backlog_bytes_max: 1 << 20,
            ..options
        });
        let mut stream = server.connect();
        let mut bystander = server.connect();
        let chunk = vec![0x80; 64 * 1024];
        // Ends with an error when the server closes.
        while stream.write_all(&chunk).is_ok() {}
        round_trip(&mut bystander, b"still here");
        assert_eq!(server.event(), Event::Closed(Cause::Backlog));
        let counters = server.stop();
        assert_eq!(counters.backlog_breaches, 1);
    });
}

#[test]
fn pausing_holds_bytes_back_and_resuming_delivers_them() {
    on_both_backends(|options| {
        let server = Server::start(options);
        let mut stream = server.connect();
        round_trip(&mut stream, b"P");
        let paused = std::time::Instant::now();
        round_trip(&mut stream, b"after the pause");
        assert!(
            paused.elapsed() >= Duration::from_millis(80),
            "it was not paused"
        );
        drop(stream);
        server.stop();
    });
}

#[test]
fn finish_half_closes_and_still_receives() {
    on_both_backends(|options| {
        let server = Server::start(options);
        let mut stream = server.connect();
        stream.write_all(b"Quit").expect("the peer reads");
        let mut received = Vec::new();
        stream
            .read_to_end(&mut received)
            .expect("the server finishes");
        assert_eq!(received, b"Quit");
        stream
            .write_all(b"ignored")
            .expect("the server still receives");
        stream.shutdown(Shutdown::Write).expect("it is connected");
        assert_eq!(server.event(), Event::EndOfStream);
        assert_eq!(server.event(), Event::Closed(Cause::Local));
        server.stop();
    });
}

#[test]
fn a_reset_is_a_reset_in_both_directions() {
    on_both_backends(|options| {
        let server = Server::start(options);
        let mut stream = server.connect();
        stream.write_all(b"R").expect("the peer reads");
        let error = stream.read(&mut [0; 8]).expect_err("a reset");
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        assert_eq!(server.event(), Event::Closed(Cause::Local));

        let mut stream = server.connect();
        round_trip(&mut stream, b"hello");
        socket2::SockRef::from(&stream)
            .set_linger(Some(Duration::ZERO))
            .expect("an option");
        drop(stream);
        assert_eq!(server.event(), Event::Closed(Cause::Error(104)));
        server.stop();
    });
}

#[test]
fn stopping_closes_whatever_is_open() {
    on_both_backends(|options| {
        let server = Server::start(options);
        let mut streams: Vec<TcpStream> = (0..50).map(|_| server.connect()).collect();
        for stream in &mut streams {
            round_trip(stream, b"hello");
        }
        let counters = server.stop();
        assert_eq!(counters.closed, 50);
        for mut stream in streams {
            assert_eq!(stream.read(&mut [0; 8]).expect("an orderly end"), 0);
        }
    });
}

#[test]
fn running_out_of_receive_buffers_only_delays() {
    // 4 buffers of 4 KiB for 32 peers that send 64 KiB each at the same time.
    let options = CoreOptions {
        backend: BackendChoice::Uring,
        receive_buffer_count: 4,
        receive_buffer_size: 4096,
        ..CoreOptions::default()
    };
    let server = Server::start(options);
    let streams: Vec<TcpStream> = (0..32).map(|_| server.connect()).collect();
    thread::scope(|scope| {
        for (number, mut stream) in streams.into_iter().enumerate() {
            scope.spawn(move || {
                let bytes = vec![0x80 | number as u8; 64 * 1024];
                for _ in 0..8 {
                    round_trip(&mut stream, &bytes);
                }
            });
        }
    });
    let counters = server.stop();
    assert_eq!(counters.received_bytes, 32 * 8 * 64 * 1024);
    assert!(
        counters.receive_buffers_exhausted > 0,
        "buffers sufficed: the test tests nothing"
    );
}

#[test]
fn a_small_completion_queue_loses_nothing() {
    let options = CoreOptions {
        backend: BackendChoice::Uring,
        ring_entries: 8,
        ring_completions: 8,
        ..CoreOptions::default()
    };
    let server = Server::start(options);
    let mut streams: Vec<TcpStream> = (0..200).map(|_| server.connect()).collect();
    for round in 0..20_u8 {
        let bytes = [round | 0x80; 32];
        for stream in &mut streams {
            stream.write_all(&bytes).expect("the peer reads");
        }
        for stream in &mut streams {
            let mut received = [0; 32];
            stream.read_exact(&mut received).expect("the peer answers");
            assert_eq!(received, bytes);
        }
    }
    let counters = server.stop();
    assert_eq!(counters.received_bytes, 200 * 20 * 32);
}

#[test]
fn a_spinning_core_still_accepts_and_keeps_its_timers() {
    on_both_backends(|options| {
        let server = Server::start(CoreOptions {
            spin_us: 10_000_000,
            ..options
        });
        let mut stream = server.connect();
        round_trip(&mut stream, b"P");
        let mut second = server.connect();
        round_trip(&mut second, b"hello");
        round_trip(&mut stream, b"after the pause");
        server.stop();
    });
}
