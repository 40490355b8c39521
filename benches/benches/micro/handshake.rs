//! From a browser's request head to the bytes of the 101. fastwebsockets leaves the head to
//! hyper, so hyper is part of its path, as it is in its users' programs; tokio-websockets only
//! does it over a stream, which here is in memory.

use std::convert::Infallible;
use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, Criterion};
use fanwire_protocol::handshake::{Acceptance, HandshakeLimits, RequestReader};
use futures_util::FutureExt as _;
use hyper::body::Incoming;
use tungstenite::handshake::machine::TryParse as _;

use crate::memory_stream::MemoryStream;
use crate::wire::REQUEST_HEAD;

pub fn handshake(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("handshake");
    let pieces: Arc<[Vec<u8>]> = [REQUEST_HEAD.to_vec()].into();

    let mut out = Vec::with_capacity(256);
    group.bench_function("fanwire", |bencher| {
        bencher.iter(|| {
            out.clear();
            let mut reader = RequestReader::new(HandshakeLimits::default());
            let request = reader.advance(black_box(REQUEST_HEAD)).expect("valid");
            request
                .expect("complete")
                .accept(&Acceptance::default(), &mut out)
                .expect("nothing to refuse");
            black_box(&out);
        });
    });

    let mut out = Vec::with_capacity(256);
    group.bench_function("tungstenite", |bencher| {
        bencher.iter(|| {
            out.clear();
            let (_, request) =
                tungstenite::handshake::server::Request::try_parse(black_box(REQUEST_HEAD))
                    .expect("valid")
                    .expect("complete");
            let response =
                tungstenite::handshake::server::create_response(&request).expect("an upgrade");
            tungstenite::handshake::server::write_response(&mut out, &response)
                .expect("memory does not fail");
            black_box(&out);
        });
    });

    group.bench_function("fastwebsockets", |bencher| {
        let service =
            hyper::service::service_fn(|mut request: hyper::Request<Incoming>| async move {
                let (response, _) =
                    fastwebsockets::upgrade::upgrade(&mut request).expect("an upgrade");
                Ok::<_, Infallible>(response)
            });
        bencher.iter_batched(
            || hyper_util::rt::TokioIo::new(MemoryStream::new(&pieces)),
            |stream| {
                hyper::server::conn::http1::Builder::new()
                    .serve_connection(stream, service)
                    .with_upgrades()
                    .now_or_never()
                    .expect("always ready")
            },
            BatchSize::SmallInput,
        );
    });

    group.bench_function("tokio-websockets", |bencher| {
        let builder = tokio_websockets::ServerBuilder::new();
        bencher.iter_batched(
            || MemoryStream::new(&pieces),
            |stream| {
                let accepted = builder.accept(stream).now_or_never();
                accepted.expect("always ready").expect("an upgrade")
            },
            BatchSize::SmallInput,
        );
    });

    group.bench_function("sockudo-ws", |bencher| {
        bencher.iter(|| {
            let (request, _) = sockudo_ws::handshake::parse_request(black_box(REQUEST_HEAD))
                .expect("valid")
                .expect("complete");
            let key = sockudo_ws::handshake::generate_accept_key(request.key);
            black_box(sockudo_ws::handshake::build_response(&key, None, None))
        });
    });
    group.finish();
}
