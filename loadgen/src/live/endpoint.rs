//! `--prom`: the HTTP endpoint that Prometheus scrapes while a run lasts.
//!
//! Owns its listener and a thread that accepts, with one more thread per scraper, few of them and
//! each with a deadline. A scraper that is slow, silent or talks nonsense costs itself its answer
//! and the run nothing. What is shown is `metrics`'.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::metrics::Snapshot;
use crate::config::Config;
use crate::measure::watch::{Flow, Live, Watch};

/// Scrapers at a time; one more is turned away.
const SCRAPERS_MAX: usize = 8;
/// A scraper has so long to send its request and to take its answer.
const SCRAPE_TIMEOUT: Duration = Duration::from_secs(2);
/// A request head is no longer than this.
const HEAD_BYTES_MAX: usize = 8 * 1024;
/// Header fields of a request.
const FIELDS_MAX: usize = 64;
/// How soon the end of the run is noticed.
const LOOK_EVERY: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 50_000_000,
};
/// Between two updates of what is shown.
const UPDATE_EVERY: Duration = Duration::from_millis(100);
/// Media type of OpenMetrics text.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PLAIN: &str = "text/plain; charset=utf-8";

/// What the threads share.
struct Shared {
    /// Locked for the moment that it takes to clone or replace the pointer.
    latest: Mutex<Arc<Snapshot>>,
    is_over: AtomicBool,
    scrapers: AtomicUsize,
}

impl Shared {
    fn latest(&self) -> Arc<Snapshot> {
        Arc::clone(&self.latest.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn show(&self, snapshot: Snapshot) {
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(snapshot);
    }
}

/// A listening endpoint.
pub struct Endpoint {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
    updated: Option<(Instant, usize)>,
}

impl Endpoint {
    /// Listens on an address and answers from now on.
    ///
    /// # Errors
    /// A sentence when the address cannot be listened on.
    pub fn bind(address: SocketAddr, config: &Config) -> Result<Endpoint, String> {
        let refused = |error: io::Error| {
            let cure = match error.kind() {
                ErrorKind::AddrInUse => "; choose another port, or end what listens there",
                ErrorKind::AddrNotAvailable => "; it is not an address of this host",
                ErrorKind::PermissionDenied => "; choose a port above 1023",
                _ => "",
            };
            format!("--prom {address}: cannot listen: {error}{cure}")
        };
        let listener = TcpListener::bind(address).map_err(refused)?;
        listener.set_nonblocking(true).map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        let shared = Arc::new(Shared {
            latest: Mutex::new(Arc::new(Snapshot::new(config))),
            is_over: AtomicBool::new(false),
            scrapers: AtomicUsize::new(0),
        });
        let theirs = Arc::clone(&shared);
        let acceptor = std::thread::Builder::new()
            .name("metrics".to_owned())
            .spawn(move || accept_all(&listener, &theirs))
            .map_err(refused)?;
        Ok(Endpoint {
            address,
            shared,
            acceptor: Some(acceptor),
            updated: None,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Watch for Endpoint {
    fn look(&mut self, live: &Live<'_>) -> Flow {
        let (now, seconds) = (Instant::now(), live.seconds.len());
        let is_fresh = self.updated.is_some_and(|(at, known)| {
            known == seconds && now.saturating_duration_since(at) < UPDATE_EVERY
        });
        if !is_fresh {
            self.updated = Some((now, seconds));
            self.shared.show(self.shared.latest().after(live));
        }
        Flow::Continue
    }

    /// Frees the port: another run of this process may want it.
    fn end(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        if let Some(acceptor) = self.acceptor.take() {
            // It looks up twenty times a second and waits for nothing else.
            let _ = acceptor.join();
        }
    }
}

impl Drop for Endpoint {
    /// A run that fails does not come to its end.
    fn drop(&mut self) {
        self.end();
    }
}

fn accept_all(listener: &TcpListener, shared: &Arc<Shared>) {
    while !shared.is_over.load(Ordering::Relaxed) {
        let mut ready = [PollFd::new(listener, PollFlags::IN)];
        // Interrupted or not: whatever is there is accepted, and the flag is read again.
        let _ = poll(&mut ready, Some(&LOOK_EVERY));
        match listener.accept() {
            Ok((stream, _)) => serve(stream, shared),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            // Out of descriptors, for example: the run may have taken the last one.
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

/// Answers on a thread of its own, or not at all when there are too many.
fn serve(stream: TcpStream, shared: &Arc<Shared>) {
    if shared.scrapers.fetch_add(1, Ordering::Relaxed) >= SCRAPERS_MAX {
        shared.scrapers.fetch_sub(1, Ordering::Relaxed);
        return;
    }
    let theirs = Arc::clone(shared);
    let spawned = std::thread::Builder::new()
        .name("scraper".to_owned())
        .spawn(move || {
            // Whatever goes wrong is the scraper's affair: it sees a broken connection.
            let _ = answer(stream, &theirs);
            theirs.scrapers.fetch_sub(1, Ordering::Relaxed);
        });
    if spawned.is_err() {
        shared.scrapers.fetch_sub(1, Ordering::Relaxed);
    }
}

fn answer(mut stream: TcpStream, shared: &Shared) -> io::Result<()> {
    let deadline = Instant::now() + SCRAPE_TIMEOUT;
    stream.set_nonblocking(false)?;
    let request = read_request(&mut stream, deadline)?;
    let reply = match request {
        Request::Get { path, is_head } => page(&path, is_head, shared),
        Request::OtherMethod => Reply::text(405, "only GET and HEAD are answered\n"),
        Request::Bad => Reply::text(400, "this is no HTTP/1.1 request\n"),
        Request::TooLong => Reply::text(431, "the request head is too long\n"),
        Request::TooSlow => Reply::text(408, "the request did not come in time\n"),
    };
    send_all(&mut stream, &reply.encode(), deadline)
}

fn page(path: &str, is_head: bool, shared: &Shared) -> Reply {
    let mut reply = match path.split('?').next() {
        Some("/metrics") => match Snapshot::clone(&shared.latest()).encode() {
            Ok(text) => Reply {
                status: 200,
                media_type: OPEN_METRICS,
                body: text,
                is_head: false,
            },
            Err(_) => Reply::text(
                500,
                "the metrics could not be written; please report this\n",
            ),
        },
        _ => Reply::text(404, "the metrics are at /metrics\n"),
    };
    reply.is_head = is_head;
    reply
}

/// What a scraper asked for.
#[derive(Debug, PartialEq, Eq)]
enum Request {
    Get { path: String, is_head: bool },
    OtherMethod,
    Bad,
    TooLong,
    TooSlow,
}

/// Time left, or none.
fn left(deadline: Instant) -> Option<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    (!left.is_zero()).then_some(left)
}

fn read_request(stream: &mut TcpStream, deadline: Instant) -> io::Result<Request> {
    let mut head = Vec::new();
    let mut part = [0; 1024];
    loop {
        let Some(left) = left(deadline) else {
            return Ok(Request::TooSlow);
        };
        stream.set_read_timeout(Some(left))?;
        let count = match stream.read(&mut part) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Request::TooSlow),
            Err(error) => return Err(error),
        };
        head.extend_from_slice(part.get(..count).unwrap_or_default());
        if let Some(request) = parse(&head) {
            return Ok(request);
        }
        if head.len() >= HEAD_BYTES_MAX {
            return Ok(Request::TooLong);
        }
    }
}

/// A whole request head, or what is wrong with it; `None` when more of it is to come.
fn parse(head: &[u8]) -> Option<Request> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(head) {
        Ok(httparse::Status::Partial) => None,
        Ok(httparse::Status::Complete(_)) => Some(match (request.method, request.path) {
            (Some(method @ ("GET" | "HEAD")), Some(path)) => Request::Get {
                path: path.to_owned(),
                is_head: method == "HEAD",
            },
            _ => Request::OtherMethod,
        }),
        Err(httparse::Error::TooManyHeaders) => Some(Request::TooLong),
        Err(_) => Some(Request::Bad),
    }
}

struct Reply {
    status: u16,
    media_type: &'static str,
    body: String,
    is_head: bool,
}

impl Reply {
    fn text(status: u16, body: &str) -> Reply {
        Reply {
            status,
            media_type: PLAIN,
            body: body.to_owned(),
            is_head: false,
        }
    }

    fn encode(&self) -> Vec<u8> {
        let reason = match self.status {
            200 => "OK",
            400 => "Bad Request",
            404 => "Not Found",
            405 => "Method Not Allowed",
            408 => "Request Timeout",
            431 => "Request Header Fields Too Large",
            _ => "Internal Server Error",
        };
        let allow = if self.status == 405 {
            "Allow: GET, HEAD\r\n"
        } else {
            ""
        };
        let mut bytes = format!(
            "HTTP/1.1 {} {reason}\r\nContent-Type: {}\r\nContent-Length: {}\r\n{allow}\
             Cache-Control: no-store\r\nConnection: close\r\n\r\n",
            self.status,
            self.media_type,
            self.body.len()
        )
        .into_bytes();
        if !self.is_head {
            bytes.extend_from_slice(self.body.as_bytes());
        }
        bytes
    }
}

fn send_all(stream: &mut TcpStream, mut bytes: &[u8], deadline: Instant) -> io::Result<()> {
    while !bytes.is_empty() {
        let left = left(deadline).unwrap_or(Duration::from_millis(1));
        stream.set_write_timeout(Some(left))?;
        match stream.write(bytes) {
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if Instant::now() >= deadline {
            return Err(ErrorKind::TimedOut.into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_heads() {
        let get = |path: &str, is_head| {
            Some(Request::Get {
                path: path.to_owned(),
                is_head,
            })
        };
        assert_eq!(
            parse(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"),
            get("/metrics", false)
        );
        assert_eq!(parse(b"HEAD / HTTP/1.0\r\n\r\n"), get("/", true));
        assert_eq!(parse(b"GET /metr"), None);
        assert_eq!(
            parse(b"POST /metrics HTTP/1.1\r\n\r\n"),
            Some(Request::OtherMethod)
        );
        assert_eq!(parse(b"\x16\x03\x01\x02"), Some(Request::Bad));
        let many = format!(
            "GET / HTTP/1.1\r\n{}\r\n",
            "A: b\r\n".repeat(FIELDS_MAX + 1)
        );
        assert_eq!(parse(many.as_bytes()), Some(Request::TooLong));
    }
}
