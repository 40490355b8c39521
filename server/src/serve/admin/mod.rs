//! The administration listener: an HTTP server on one ordinary thread beside the data path.
//!
//! It owns the thread, its connections and their limits. What is answered is in the modules below
//! it. Everything is bounded: connections, time for a head, size of a body, time for an answer.

mod door;
mod metrics;
mod page;
mod publish;
mod routes;
mod views;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use fanwire_server::Host;
use fanwire_server::hub::HubOptions;
use fanwire_server::hub::port::HubPort;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::Semaphore;
use tower::Service as _;

/// HTTP connections at one time; more wait to be accepted.
const CONNECTIONS_MAX: usize = 32;
/// From the first byte of a connection, or the end of an answer, to the end of the next head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of a request head.
const HEAD_SIZE_MAX: usize = 16 << 10;
/// Pause after accepting failed: the process has no file descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the listener is told.
pub(crate) struct AdminOptions {
    /// Where clients of the hub connect.
    pub(crate) websocket: SocketAddr,
    /// Names it answers for beside its address and those of loopback.
    pub(crate) hosts: Vec<Host>,
    /// What the hub was told: who may publish, and how large a payload may be.
    pub(crate) hub: HubOptions,
}

/// Who sent a request.
#[derive(Clone, Copy, Debug)]
struct Peer(SocketAddr);

/// A listener that is bound and does not serve yet.
pub(crate) struct Bound {
    listener: TcpListener,
    address: SocketAddr,
}

/// Binds the address.
///
/// # Errors
/// When it cannot be had.
pub(crate) fn bind(address: SocketAddr) -> io::Result<Bound> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    Ok(Bound { listener, address })
}

impl Bound {
    /// With the real port if 0 was asked for.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves on a thread of its own until the process ends.
    ///
    /// # Errors
    /// When the thread or its event loop cannot be had.
    pub(crate) fn serve(
        self,
        options: AdminOptions,
        is_draining: Arc<AtomicBool>,
        port: HubPort,
    ) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .max_blocking_threads(2)
            .build()?;
        let address = self.address;
        thread::Builder::new()
            .name("fanwire-admin".to_owned())
            .spawn(move || {
                runtime.block_on(async move {
                    let listener = match tokio::net::TcpListener::from_std(self.listener) {
                        Ok(listener) => listener,
                        Err(error) => {
                            tracing::error!("administration listener: {error}; it does not serve");
                            return;
                        }
                    };
                    let door = door::open(port);
                    let router = routes::router(options, address, is_draining, door);
                    accept_all(listener, router).await;
                });
            })?;
        Ok(())
    }
}

async fn accept_all(listener: tokio::net::TcpListener, router: Router) {
    let seats = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(seat) = seats.clone().acquire_owned().await else {
            return;
        };
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(_) => {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let router = router.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request: hyper::Request<Incoming>| {
                let mut request = request.map(Body::new);
                request.extensions_mut().insert(Peer(peer));
                router.clone().call(request)
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .max_buf_size(HEAD_SIZE_MAX)
                .serve_connection(TokioIo::new(stream), service);
            // A client that breaks off or breaks the rules was answered as far as it goes.
            let _ = connection.await;
            drop(seat);
        });
    }
}
