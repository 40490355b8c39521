//! From bytes of a socket to delivered messages: copy into the library's buffer, parse, unmask,
//! validate, assemble. Every library gets the same pieces, one per read, through its fastest
//! public path: `Receiver` here, `WebSocketContext` (tungstenite), `Protocol` (sockudo-ws), and
//! for the two that have no such layer (fastwebsockets, tokio-websockets) their stream type over
//! a stream in memory that is always ready.

use std::hint::black_box;
use std::sync::Arc;

use bytes::BytesMut;
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput};
use fanwire_protocol::{Connection, Event, Input, Settings, Workspace};
use fastwebsockets::FragmentCollector;
use futures_util::{FutureExt as _, StreamExt as _};
use tungstenite::protocol::{WebSocketConfig, WebSocketContext};

use crate::memory_stream::MemoryStream;
use crate::wire;

/// Messages that arrive in one read, as long as they fit into 64 KiB: a busy connection.
const BURST: usize = 16;
const READ_SIZE_MAX: usize = 64 * 1024;

/// Pieces that the streams deliver in turn, and the messages that one turn through them holds.
struct Traffic {
    pieces: Arc<[Vec<u8>]>,
    messages: usize,
    message_size: usize,
}

impl Traffic {
    /// As many whole messages in one read as a busy connection delivers.
    fn burst(opcode: u8, payload: &[u8]) -> Self {
        let messages = (READ_SIZE_MAX / payload.len()).clamp(1, BURST);
        let frame = wire::masked_frame(opcode, true, payload);
        Self {
            pieces: [frame.repeat(messages)].into(),
            messages,
            message_size: payload.len(),
        }
    }

    /// One message in three reads: cut inside the header, and inside the payload.
    fn split(payload: &[u8]) -> Self {
        let frame = wire::masked_frame(wire::OPCODE_BINARY, true, payload);
        let (head, rest) = frame.split_at(3);
        let (first, second) = rest.split_at(rest.len() / 2);
        Self {
            pieces: [head.to_vec(), first.to_vec(), second.to_vec()].into(),
            messages: 1,
            message_size: payload.len(),
        }
    }

    /// One message in four frames and one read.
    fn fragmented(payload: &[u8]) -> Self {
        Self {
            pieces: [wire::fragmented_message(wire::OPCODE_TEXT, payload)].into(),
            messages: 1,
            message_size: payload.len(),
        }
    }
}

pub fn receive(criterion: &mut Criterion) {
    type Make = fn(usize) -> Traffic;
    let groups: [(&str, Make); 5] = [
        ("receive_binary", |size| {
            Traffic::burst(wire::OPCODE_BINARY, &wire::ascii_payload(size))
        }),
        ("receive_text", |size| {
            Traffic::burst(wire::OPCODE_TEXT, &wire::ascii_payload(size))
        }),
        ("receive_text_mixed", |size| {
            Traffic::burst(wire::OPCODE_TEXT, &wire::mixed_payload(size))
        }),
        ("assemble", |size| {
            Traffic::split(&wire::ascii_payload(size))
        }),
        ("fragments", |size| {
            Traffic::fragmented(&wire::ascii_payload(size))
        }),
    ];
    for (name, make) in groups {
        let mut group = criterion.benchmark_group(name);
        for size in wire::SIZES {
            let traffic = make(size);
            group.throughput(Throughput::Elements(traffic.messages as u64));
            fanwire(&mut group, size, &traffic);
            tungstenite(&mut group, size, &traffic);
            fastwebsockets(&mut group, size, &traffic);
            tokio_websockets(&mut group, size, &traffic);
            sockudo_ws(&mut group, size, &traffic);
        }
        group.finish();
    }
}

type Group<'a> = BenchmarkGroup<'a, WallTime>;

fn fanwire(group: &mut Group<'_>, size: usize, traffic: &Traffic) {
    let mut connection = Connection::new(Arc::new(Settings::server()), None);
    let mut workspace = Workspace::default();
    // The reactor's receive buffer: the kernel writes into it, frames are unmasked in it.
    let mut buffer = vec![0; READ_SIZE_MAX + 64 * BURST];
    group.bench_function(BenchmarkId::new("fanwire", size), |bencher| {
        bencher.iter(|| {
            let mut delivered = 0;
            for piece in traffic.pieces.iter() {
                let received = &mut buffer[..piece.len()];
                received.copy_from_slice(piece);
                let mut input = Input::new(received);
                while let Some(event) = connection
                    .receiver
                    .next_event(&mut input, &mut workspace)
                    .expect("valid frames")
                {
                    let Event::Message(message) = event else {
                        panic!("only messages were sent")
                    };
                    assert_eq!(black_box(message.payload).len(), traffic.message_size);
                    delivered += 1;
                }
            }
            assert_eq!(delivered, traffic.messages);
        });
    });
}

fn tungstenite(group: &mut Group<'_>, size: usize, traffic: &Traffic) {
    // The library clears its read buffer before a read, so the default of 128 KiB only suits
    // messages that need it.
    let read_buffer_size = if size > 16 * 1024 {
        128 * 1024
    } else {
        16 * 1024
    };
    let config = WebSocketConfig::default().read_buffer_size(read_buffer_size);
    let mut context = WebSocketContext::new(tungstenite::protocol::Role::Server, Some(config));
    let mut stream = MemoryStream::new(&traffic.pieces);
    group.bench_function(BenchmarkId::new("tungstenite", size), |bencher| {
        bencher.iter(|| {
            for _ in 0..traffic.messages {
                let message = context.read(&mut stream).expect("valid frames");
                assert_eq!(black_box(&message).len(), traffic.message_size);
            }
        });
    });
}

fn fastwebsockets(group: &mut Group<'_>, size: usize, traffic: &Traffic) {
    let stream = MemoryStream::new(&traffic.pieces);
    let socket = fastwebsockets::WebSocket::after_handshake(stream, fastwebsockets::Role::Server);
    let mut socket = FragmentCollector::new(socket);
    group.bench_function(BenchmarkId::new("fastwebsockets", size), |bencher| {
        bencher.iter(|| {
            for _ in 0..traffic.messages {
                let frame = socket.read_frame().now_or_never();
                let frame = frame.expect("always ready").expect("valid frames");
                assert_eq!(black_box(&frame.payload).len(), traffic.message_size);
            }
        });
    });
}

fn tokio_websockets(group: &mut Group<'_>, size: usize, traffic: &Traffic) {
    let mut socket = tokio_websockets::ServerBuilder::new()
        .limits(tokio_websockets::Limits::unlimited())
        .serve(MemoryStream::new(&traffic.pieces));
    group.bench_function(BenchmarkId::new("tokio-websockets", size), |bencher| {
        bencher.iter(|| {
            for _ in 0..traffic.messages {
                let message = socket.next().now_or_never().flatten();
                let message = message.expect("always ready").expect("valid frames");
                assert_eq!(black_box(message.as_payload()).len(), traffic.message_size);
            }
        });
    });
}

fn sockudo_ws(group: &mut Group<'_>, size: usize, traffic: &Traffic) {
    let config = sockudo_ws::Config::default();
    let mut protocol = sockudo_ws::protocol::Protocol::new(
        sockudo_ws::Role::Server,
        config.max_frame_size,
        config.max_message_size,
    );
    let mut buffer = BytesMut::with_capacity(sockudo_ws::RECV_BUFFER_SIZE);
    let mut messages = Vec::with_capacity(BURST);
    group.bench_function(BenchmarkId::new("sockudo-ws", size), |bencher| {
        bencher.iter(|| {
            let mut delivered = 0;
            for piece in traffic.pieces.iter() {
                buffer.extend_from_slice(piece);
                protocol
                    .process_into(&mut buffer, &mut messages)
                    .expect("valid frames");
                for message in messages.drain(..) {
                    assert_eq!(black_box(message.as_bytes()).len(), traffic.message_size);
                    delivered += 1;
                }
            }
            assert_eq!(delivered, traffic.messages);
        });
    });
}
