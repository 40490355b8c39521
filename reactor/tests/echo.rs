//! A byte echo on real sockets, on both backends: the data loop from accept to close.

mod harness;

use fanwire_reactor::{Cause, CoreOptions};
use harness::{Event, Server, on_both_backends, round_trip};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::Duration;

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
        let paused = std::time::Instant::now();
        round_trip(&mut stream, b"P");
        round_trip(&mut stream, b"after the pause");
        assert!(
            paused.elapsed() >= Duration::from_millis(100),
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
