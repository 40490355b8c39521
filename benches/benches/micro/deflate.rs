//! RFC 7692 without context takeover on either side, window of 15 bits. Of the peers only
//! sockudo-ws has the extension. Both sides run at the same level, once at ours (1) and once at
//! theirs (6); the compressed size is printed beside the times, so that speed is not bought with it.

use std::hint::black_box;
use std::sync::Arc;

use bytes::BytesMut;
use criterion::{BenchmarkId, Criterion, Throughput};
use fanwire_protocol::{
    Connection, DeflateParameters, Event, Input, MaskingKey, MessageKind, Settings, Workspace,
    WorkspaceLimits,
};
use sockudo_ws::protocol::CompressedProtocol;

use crate::wire::{self, MASKING_KEY};

const PARAMETERS: DeflateParameters = DeflateParameters {
    server_no_context_takeover: true,
    client_no_context_takeover: true,
    server_max_window_bits: 15,
    client_max_window_bits: 15,
};

/// Below this nobody compresses: messages go out plain.
const SIZE_MIN: usize = 256;

pub fn deflate(criterion: &mut Criterion) {
    compress(criterion, "deflate_level_1", 1);
    compress(criterion, "deflate_level_6", 6);
    decompress(criterion);
}

fn workspace(level: u32) -> Workspace {
    Workspace::new(WorkspaceLimits {
        compression_level: level,
        ..WorkspaceLimits::default()
    })
}

fn peer(level: u32) -> CompressedProtocol {
    let config = sockudo_ws::Config::default();
    let deflate = sockudo_ws::DeflateConfig {
        compression_level: level,
        server_no_context_takeover: true,
        client_no_context_takeover: true,
        ..sockudo_ws::DeflateConfig::default()
    };
    CompressedProtocol::server(config.max_frame_size, config.max_message_size, deflate)
}

fn compress(criterion: &mut Criterion, name: &str, level: u32) {
    let mut group = criterion.benchmark_group(name);
    for size in wire::SIZES.into_iter().filter(|size| *size >= SIZE_MIN) {
        let payload = bytes::Bytes::from(wire::ascii_payload(size));
        group.throughput(Throughput::Bytes(size as u64));

        let mut connection = Connection::new(Arc::new(Settings::server()), Some(PARAMETERS));
        let mut workspace = workspace(level);
        let mut out = Vec::new();
        let mut encode = || {
            out.clear();
            connection
                .sender
                .message(
                    MessageKind::Text,
                    black_box(&payload),
                    None,
                    &mut workspace,
                    &mut out,
                )
                .expect("a server sends without a key");
            black_box(out.len())
        };
        eprintln!("{name}/fanwire/{size}: {} bytes on the wire", encode());
        group.bench_function(BenchmarkId::new("fanwire", size), |bencher| {
            bencher.iter(&mut encode);
        });

        let mut protocol = peer(level);
        let mut out = BytesMut::new();
        let message = sockudo_ws::Message::Text(payload.clone());
        let mut encode = || {
            out.clear();
            protocol
                .encode_message(black_box(&message), &mut out)
                .expect("an open connection");
            black_box(out.len())
        };
        eprintln!("{name}/sockudo-ws/{size}: {} bytes on the wire", encode());
        group.bench_function(BenchmarkId::new("sockudo-ws", size), |bencher| {
            bencher.iter(&mut encode);
        });
    }
    group.finish();
}

/// One compressed client message as it is on the wire.
fn compressed_frame(payload: &[u8]) -> Vec<u8> {
    let mut client = Connection::new(Arc::new(Settings::client()), Some(PARAMETERS));
    let mut frame = Vec::new();
    client
        .sender
        .message(
            MessageKind::Text,
            payload,
            Some(MaskingKey(MASKING_KEY)),
            &mut Workspace::default(),
            &mut frame,
        )
        .expect("a client sends with a key");
    frame
}

fn decompress(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("inflate");
    for size in wire::SIZES.into_iter().filter(|size| *size >= SIZE_MIN) {
        let payload = wire::ascii_payload(size);
        let frame = compressed_frame(&payload);
        group.throughput(Throughput::Bytes(size as u64));

        let mut connection = Connection::new(Arc::new(Settings::server()), Some(PARAMETERS));
        let mut workspace = Workspace::default();
        let mut buffer = frame.clone();
        group.bench_function(BenchmarkId::new("fanwire", size), |bencher| {
            bencher.iter(|| {
                buffer.copy_from_slice(black_box(&frame));
                let mut input = Input::new(&mut buffer);
                let event = connection.receiver.next_event(&mut input, &mut workspace);
                let Some(Event::Message(message)) = event.expect("valid") else {
                    panic!("a whole message was given");
                };
                assert_eq!(black_box(message.payload).len(), size);
            });
        });

        let mut protocol = peer(6);
        let mut buffer = BytesMut::new();
        let mut messages = Vec::new();
        group.bench_function(BenchmarkId::new("sockudo-ws", size), |bencher| {
            bencher.iter(|| {
                buffer.extend_from_slice(black_box(&frame));
                protocol
                    .process_into(&mut buffer, &mut messages)
                    .expect("valid");
                let message = messages.pop().expect("a whole message was given");
                assert_eq!(black_box(message.as_bytes()).len(), size);
            });
        });
    }
    group.finish();
}
