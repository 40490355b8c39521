//! What the administration listener answers, and whom.
//!
//! It owns the routes, the form of errors, and the checks that every request passes: the host (DNS
//! rebinding) and the time limit.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use fanwire_server::host_allowed;
use serde::Serialize;

use super::AdminOptions;
use super::door::Door;
use super::{metrics, page, publish, views};

/// From the end of a request's head to the end of its answer.
const REQUEST_LIMIT: Duration = Duration::from_secs(15);

/// What every request can use.
pub(super) struct Shared {
    pub(super) options: AdminOptions,
    pub(super) address: SocketAddr,
    pub(super) is_draining: Arc<AtomicBool>,
    pub(super) door: Door,
}

impl Shared {
    /// Whether the server has begun to end.
    pub(super) fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Relaxed)
    }
}

/// An error as a client reads it: a stable code, and a sentence with the cure.
#[derive(Debug, Serialize)]
pub(super) struct ErrorBody<'a> {
    pub(super) code: &'a str,
    pub(super) message: &'a str,
}

pub(super) fn error(status: StatusCode, code: &str, message: &str) -> Response {
    let mut response = json(status, &ErrorBody { code, message });
    if status == StatusCode::SERVICE_UNAVAILABLE {
        let after = HeaderValue::from_static("1");
        response.headers_mut().insert(header::RETRY_AFTER, after);
    }
    response
}

pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    match serde_json::to_vec(body) {
        Ok(body) => {
            let kind = [(header::CONTENT_TYPE, "application/json")];
            (status, kind, body).into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

pub(super) fn router(
    options: AdminOptions,
    address: SocketAddr,
    is_draining: Arc<AtomicBool>,
    door: Door,
) -> Router {
    let shared = Arc::new(Shared {
        options,
        address,
        is_draining,
        door,
    });
    Router::new()
        .route("/", get(page::page))
        .route("/healthz", get(|| async { "alive\n" }))
        .route("/readyz", get(views::ready))
        .route("/metrics", get(metrics::metrics))
        .route("/v1/publish", post(publish::publish))
        .route("/v1/topics", get(views::topics))
        .route("/v1/slow", get(views::slow))
        .fallback(|| async {
            let paths = "there are /, /healthz, /readyz, /metrics, /v1/publish, /v1/topics and \
                         /v1/slow";
            error(StatusCode::NOT_FOUND, "not_found", paths)
        })
        .method_not_allowed_fallback(|| async {
            let cure = "POST goes to /v1/publish, GET to everything else";
            error(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", cure)
        })
        .layer(middleware::from_fn_with_state(shared.clone(), check))
        .with_state(shared)
}

/// The checks of every request.
async fn check(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST);
    let host = host.and_then(|host| host.to_str().ok()).unwrap_or_default();
    if !is_our_host(host, &shared) {
        let cure = "the administration listener does not answer for this host; ask for it by \
                    its address, or name the host with --admin-host";
        return error(StatusCode::MISDIRECTED_REQUEST, "wrong_host", cure);
    }
    let mut response = match tokio::time::timeout(REQUEST_LIMIT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let cure = "the request took too long; send its body faster, or a smaller one";
            error(StatusCode::REQUEST_TIMEOUT, "timeout", cure)
        }
    };
    let headers = response.headers_mut();
    let nosniff = HeaderValue::from_static("nosniff");
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    let no_store = HeaderValue::from_static("no-store");
    headers.entry(header::CACHE_CONTROL).or_insert(no_store);
    response
}

/// A page of another site reaches this listener only under that site's name: an address cannot be
/// rebound, a name can.
fn is_our_host(host: &str, shared: &Shared) -> bool {
    let hosts = &shared.options.hosts;
    if !hosts.is_empty() && host_allowed(hosts, host) {
        return true;
    }
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    if name.eq_ignore_ascii_case("localhost") {
        return true;
    }
    let own = shared.address.ip();
    name.parse::<IpAddr>()
        .is_ok_and(|ip| ip.is_loopback() || ip == own || own.is_unspecified())
}
