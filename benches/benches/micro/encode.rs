//! One unmasked server frame, header and payload, into a buffer. tokio-websockets has no public
//! function for this; it is measured with the way to the socket in `send`.

use std::hint::black_box;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use criterion::{BenchmarkId, Criterion, Throughput};
use fanwire_protocol::{Connection, MessageKind, Settings, Workspace};
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::wire;

pub fn encode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode");
    for size in wire::SIZES {
        let payload = Bytes::from(wire::ascii_payload(size));
        group.throughput(Throughput::Bytes(size as u64));

        let mut connection = Connection::new(Arc::new(Settings::server()), None);
        let mut workspace = Workspace::default();
        let mut out = Vec::with_capacity(size + 14);
        group.bench_function(BenchmarkId::new("fanwire", size), |bencher| {
            bencher.iter(|| {
                out.clear();
                connection
                    .sender
                    .message(
                        MessageKind::Binary,
                        black_box(&payload),
                        None,
                        &mut workspace,
                        &mut out,
                    )
                    .expect("a server sends without a key");
                black_box(&out);
            });
        });

        let mut out = Vec::with_capacity(size + 14);
        group.bench_function(BenchmarkId::new("tungstenite", size), |bencher| {
            bencher.iter(|| {
                out.clear();
                // The library wants to own the payload: a shared handle is its cheapest form.
                Frame::message(
                    black_box(&payload).clone(),
                    OpCode::Data(Data::Binary),
                    true,
                )
                .format(&mut out)
                .expect("memory does not fail");
                black_box(&out);
            });
        });

        let mut out = Vec::with_capacity(size + 14);
        group.bench_function(BenchmarkId::new("fastwebsockets", size), |bencher| {
            bencher.iter(|| {
                let payload = fastwebsockets::Payload::Borrowed(black_box(&payload));
                black_box(fastwebsockets::Frame::binary(payload).write(&mut out));
            });
        });

        let mut out = BytesMut::with_capacity(size + 14);
        group.bench_function(BenchmarkId::new("sockudo-ws", size), |bencher| {
            bencher.iter(|| {
                out.clear();
                sockudo_ws::frame::encode_frame(
                    &mut out,
                    sockudo_ws::OpCode::Binary,
                    black_box(&payload),
                    true,
                    None,
                );
                black_box(&out);
            });
        });
    }
    group.finish();
}
