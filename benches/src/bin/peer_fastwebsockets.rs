//! Echo server on fastwebsockets, to compare with.
//!
//! Configuration: as in the library's own `echo_server` example: hyper 1 for the upgrade, a
//! `FragmentCollector`, vectored writes above 1 KiB (its default). The library has no way to
//! gather several replies into one write.

#![forbid(unsafe_code)]

use bytes::Bytes;
use fanwire_benches::ServerArguments;
use fastwebsockets::{FragmentCollector, OpCode, WebSocketError, upgrade};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::io::Result<()> {
    fanwire_benches::serve_with_tokio(&ServerArguments::parse_and_pin()?, serve)
}

async fn serve(stream: TcpStream) {
    // A connection that ends badly is the client's affair: it counts what it misses.
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service_fn(upgrade_to_websocket))
        .with_upgrades()
        .await;
}

async fn upgrade_to_websocket(
    mut request: Request<Incoming>,
) -> Result<Response<Empty<Bytes>>, WebSocketError> {
    let (response, upgraded) = upgrade::upgrade(&mut request)?;
    tokio::spawn(tokio::task::unconstrained(async move {
        // As above: the end of a connection is not news here.
        let _ = echo(upgraded).await;
    }));
    Ok(response)
}

async fn echo(upgraded: upgrade::UpgradeFut) -> Result<(), WebSocketError> {
    let mut socket = FragmentCollector::new(upgraded.await?);
    loop {
        let frame = socket.read_frame().await?;
        match frame.opcode {
            OpCode::Close => return Ok(()),
            OpCode::Text | OpCode::Binary => socket.write_frame(frame).await?,
            OpCode::Continuation | OpCode::Ping | OpCode::Pong => {}
        }
    }
}
