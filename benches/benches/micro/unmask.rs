//! A payload unmasked in place. tungstenite and tokio-websockets keep theirs private; they are
//! measured with the rest of the receive path in `receive`.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput};
use fanwire_protocol::MaskingKey;

use crate::wire::{self, MASKING_KEY};

/// A frame's payload rarely begins on a boundary that vectors like: two bytes of header and four
/// of key come first.
const PAYLOAD_OFFSET: usize = 6;

pub fn unmask(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("unmask");
    for size in wire::SIZES {
        let mut bytes = vec![0; PAYLOAD_OFFSET];
        bytes.extend_from_slice(&wire::ascii_payload(size));
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(BenchmarkId::new("fanwire", size), |bencher| {
            bencher.iter(|| {
                let payload = black_box(&mut bytes[PAYLOAD_OFFSET..]);
                fanwire_protocol::frame::unmask(payload, MaskingKey(MASKING_KEY), 0);
            });
        });
        group.bench_function(BenchmarkId::new("fastwebsockets", size), |bencher| {
            bencher.iter(|| {
                fastwebsockets::unmask(black_box(&mut bytes[PAYLOAD_OFFSET..]), MASKING_KEY);
            });
        });
        group.bench_function(BenchmarkId::new("sockudo-ws", size), |bencher| {
            bencher.iter(|| {
                sockudo_ws::simd::apply_mask(black_box(&mut bytes[PAYLOAD_OFFSET..]), MASKING_KEY);
            });
        });
    }
    group.finish();
}
