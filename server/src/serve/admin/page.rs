//! The live page: an order book and its trades in a browser.
//!
//! It owns how the page learns where the hub listens. The page itself is `assets/live.html`.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::routes::Shared;

const PAGE: &str = include_str!("../../../assets/live.html");
/// Where the page expects the port of the hub.
const PORT_MARK: &str = "__WEBSOCKET_PORT__";
/// Nothing from elsewhere is loaded, and no other page may frame this one.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
                      connect-src 'self' ws: wss:; img-src data:; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";

pub(super) async fn page(State(shared): State<Arc<Shared>>) -> Response {
    let port = shared.options.websocket.port().to_string();
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    (headers, PAGE.replace(PORT_MARK, &port)).into_response()
}
