//! One frame header from bytes. Only tungstenite has a public function for exactly this.

use std::hint::black_box;
use std::io::Cursor;

use criterion::{BenchmarkId, Criterion};
use fanwire_protocol::frame::Header;
use tungstenite::protocol::frame::FrameHeader;

use crate::wire;

/// Payload sizes that need the three forms of the length field.
const FORMS: [usize; 3] = [64, 1024, 64 * 1024];

pub fn header(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("header");
    for size in FORMS {
        let frame = wire::masked_frame(wire::OPCODE_BINARY, true, &wire::ascii_payload(size));
        group.bench_with_input(
            BenchmarkId::new("fanwire", size),
            &frame,
            |bencher, frame| {
                bencher.iter(|| {
                    let (header, length) = Header::parse(black_box(frame))
                        .expect("valid")
                        .expect("complete");
                    black_box((header.payload_len, header.masking_key, length))
                });
            },
        );
        group.bench_with_input(
            BenchmarkId::new("tungstenite", size),
            &frame,
            |bencher, frame| {
                bencher.iter(|| {
                    let mut cursor = Cursor::new(black_box(frame.as_slice()));
                    let (header, payload_length) = FrameHeader::parse(&mut cursor)
                        .expect("valid")
                        .expect("complete");
                    black_box((payload_length, header.mask, cursor.position()))
                });
            },
        );
    }
    group.finish();
}
