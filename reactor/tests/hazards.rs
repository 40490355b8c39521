//! What io_uring is known to do to the careless, provoked on real sockets.

mod harness;

use fanwire_reactor::{BackendChoice, CoreOptions};
use harness::{Server, on_both_backends, round_trip};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

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
    let mut blocker = server.connect();
    for round in 0..20_u8 {
        let bytes = [round | 0x80; 32];
        blocker.write_all(b"B").expect("the peer reads");
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
    assert_eq!(counters.received_bytes, 200 * 20 * 32 + 20);
    assert!(
        counters.completion_overflows > 0,
        "the queue sufficed: the test tests nothing"
    );
}

/// Threads that the kernel made to run operations that could not complete at once.
fn kernel_workers() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").expect("own threads");
    let names =
        tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|name| name.starts_with("iou-wrk")).count()
}

#[test]
fn nothing_is_punted_to_kernel_workers() {
    let server = Server::start(CoreOptions {
        backend: BackendChoice::Uring,
        backlog_bytes_max: 64 << 20,
        ..CoreOptions::default()
    });
    let mut streams: Vec<TcpStream> = (0..64).map(|_| server.connect()).collect();
    // Full sockets are where a send could be made to wait.
    for stream in &mut streams {
        stream
            .write_all(&vec![0x80; 1 << 20])
            .expect("the peer reads");
    }
    for stream in &mut streams {
        let mut received = vec![0; 1 << 20];
        stream.read_exact(&mut received).expect("the peer answers");
    }
    assert_eq!(kernel_workers(), 0);
    server.stop();
}

#[test]
fn a_flooding_peer_does_not_starve_others() {
    on_both_backends(|options| {
        let server = Server::start(CoreOptions {
            backlog_bytes_max: 256 << 20,
            ..options
        });
        let flooder = server.connect();
        let mut bystander = server.connect();
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            let (mut writer, mut reader) = (&flooder, &flooder);
            let is_over = &is_over;
            scope.spawn(move || {
                let chunk = vec![0x80; 256 * 1024];
                while !is_over.load(Ordering::Relaxed) {
                    writer.write_all(&chunk).expect("the peer reads");
                }
                writer.shutdown(Shutdown::Write).expect("it is connected");
            });
            scope.spawn(move || {
                let mut sink = vec![0; 1 << 20];
                while matches!(reader.read(&mut sink), Ok(count) if count > 0) {}
            });
            // The read time-out of the harness is the bound: a starved bystander fails.
            for _ in 0..300 {
                round_trip(&mut bystander, b"is anybody there?");
            }
            is_over.store(true, Ordering::Relaxed);
        });
        server.stop();
    });
}

/// Slots and descriptors are reused all the time here; what a peer gets back must be its own.
#[test]
fn reused_slots_never_cross() {
    on_both_backends(|options| {
        let server = Server::start(options);
        let address = server.address;
        let seed = 0x5eed_u64;
        println!("seed {seed:#x}: change it in this test to try another");
        thread::scope(|scope| {
            for worker in 0..4_u64 {
                scope.spawn(move || {
                    let mut random = fastrand::Rng::with_seed(seed + worker);
                    for round in 0..150_u64 {
                        let mut stream = TcpStream::connect(address).expect("it listens");
                        stream
                            .set_read_timeout(Some(Duration::from_secs(10)))
                            .expect("an option");
                        // 0x80 keeps the bytes clear of the harness's commands.
                        let own = (worker << 32 | round).to_le_bytes().map(|byte| byte | 0x80);
                        let bytes = own.repeat(random.usize(1..2000));
                        stream.write_all(&bytes).expect("the peer reads");
                        let wanted = if random.bool() {
                            bytes.len()
                        } else {
                            random.usize(0..8)
                        };
                        let mut received = vec![0; wanted];
                        stream.read_exact(&mut received).expect("the peer answers");
                        assert!(received == bytes[..wanted], "bytes of another connection");
                        // Half of them leave with a reset while data is on its way.
                        if random.bool() {
                            socket2::SockRef::from(&stream)
                                .set_linger(Some(Duration::ZERO))
                                .expect("an option");
                        }
                    }
                });
            }
        });
        let counters = server.stop();
        assert_eq!(counters.adopted, 600);
    });
}
