//! One binary message from the application's hands into a socket-like sink that copies, as a
//! kernel does: framing, the library's own buffering, one write. tokio-websockets hands header
//! and payload over separately; the others copy first, which is part of what is measured.

use std::hint::black_box;
use std::io::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput};
use fanwire_protocol::{Connection, MessageKind, Settings, Workspace};
use futures_util::{FutureExt as _, SinkExt as _};
use tungstenite::protocol::WebSocketContext;

use crate::memory_stream::MemoryStream;
use crate::wire;

type Group<'a> = BenchmarkGroup<'a, WallTime>;

pub fn send(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("send");
    for size in wire::SIZES {
        let payload = Bytes::from(wire::ascii_payload(size));
        // Nothing is read here, but a stream has to have something to read.
        let pieces: Arc<[Vec<u8>]> = [wire::masked_frame(wire::OPCODE_BINARY, true, b"x")].into();
        group.throughput(Throughput::Bytes(size as u64));
        fanwire(&mut group, &payload, MemoryStream::new(&pieces));
        tungstenite(&mut group, &payload, MemoryStream::new(&pieces));
        fastwebsockets(&mut group, &payload, MemoryStream::new(&pieces));
        tokio_websockets(&mut group, &payload, MemoryStream::new(&pieces));
        sockudo_ws(&mut group, &payload, MemoryStream::new(&pieces));
    }
    group.finish();
}

fn fanwire(group: &mut Group<'_>, payload: &Bytes, mut stream: MemoryStream) {
    let mut connection = Connection::new(Arc::new(Settings::server()), None);
    let mut workspace = Workspace::default();
    let mut out = Vec::new();
    group.bench_function(BenchmarkId::new("fanwire", payload.len()), |bencher| {
        bencher.iter(|| {
            out.clear();
            connection
                .sender
                .message(
                    MessageKind::Binary,
                    black_box(payload),
                    None,
                    &mut workspace,
                    &mut out,
                )
                .expect("a server sends without a key");
            stream.write_all(&out).expect("memory does not fail");
        });
    });
}

fn tungstenite(group: &mut Group<'_>, payload: &Bytes, mut stream: MemoryStream) {
    let mut context = WebSocketContext::new(tungstenite::protocol::Role::Server, None);
    group.bench_function(BenchmarkId::new("tungstenite", payload.len()), |bencher| {
        bencher.iter(|| {
            let message = tungstenite::Message::Binary(black_box(payload).clone());
            context
                .write(&mut stream, message)
                .expect("memory does not fail");
            context.flush(&mut stream).expect("memory does not fail");
        });
    });
}

fn fastwebsockets(group: &mut Group<'_>, payload: &Bytes, stream: MemoryStream) {
    let mut socket =
        fastwebsockets::WebSocket::after_handshake(stream, fastwebsockets::Role::Server);
    group.bench_function(
        BenchmarkId::new("fastwebsockets", payload.len()),
        |bencher| {
            bencher.iter(|| {
                let borrowed = fastwebsockets::Payload::Borrowed(black_box(payload));
                let written = socket.write_frame(fastwebsockets::Frame::binary(borrowed));
                written
                    .now_or_never()
                    .expect("always ready")
                    .expect("memory does not fail");
            });
        },
    );
}

fn tokio_websockets(group: &mut Group<'_>, payload: &Bytes, stream: MemoryStream) {
    let mut socket = tokio_websockets::ServerBuilder::new()
        .config(tokio_websockets::Config::default().frame_size(usize::MAX))
        .serve(stream);
    group.bench_function(
        BenchmarkId::new("tokio-websockets", payload.len()),
        |bencher| {
            bencher.iter(|| {
                let message = tokio_websockets::Message::binary(black_box(payload).clone());
                let sent = socket.send(message).now_or_never();
                sent.expect("always ready").expect("memory does not fail");
            });
        },
    );
}

fn sockudo_ws(group: &mut Group<'_>, payload: &Bytes, mut stream: MemoryStream) {
    let config = sockudo_ws::Config::default();
    let mut protocol = sockudo_ws::protocol::Protocol::new(
        sockudo_ws::Role::Server,
        config.max_frame_size,
        config.max_message_size,
    );
    let mut out = bytes::BytesMut::with_capacity(config.write_buffer_size);
    group.bench_function(BenchmarkId::new("sockudo-ws", payload.len()), |bencher| {
        bencher.iter(|| {
            out.clear();
            let message = sockudo_ws::Message::Binary(black_box(payload).clone());
            protocol
                .encode_message(&message, &mut out)
                .expect("an open connection");
            stream.write_all(&out).expect("memory does not fail");
        });
    });
}
