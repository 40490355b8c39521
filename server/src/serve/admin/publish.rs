//! `POST /v1/publish`: one message, a batch, or newline-delimited JSON.
//!
//! It owns the forms of the body and of the answer. What a message is it leaves to `message`, and
//! whether the hub takes it to the hub.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use fanwire_server::hub::port::{PublishOutcome, PublishRequest};
use fanwire_server::hub::wire::{EpochText, ErrorCode};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::Peer;
use super::routes::{Shared, error, json};
use crate::serve::message::{JsonMessage, Refusal, refusal_of};

/// Bytes of a body, if one payload may not be larger.
const BODY_SIZE_MAX: usize = 4 << 20;
/// Room for what stands around the largest payload.
const BODY_MARGIN: usize = 4096;
/// Messages of one body.
const BATCH_MAX: usize = 10_000;

/// What became of one message.
#[derive(Debug, Serialize)]
struct Published {
    /// Its place in the batch, counted from 1; for a single message left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    topic: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

/// What became of a batch.
#[derive(Debug, Serialize)]
struct BatchAnswer {
    published: usize,
    refused: usize,
    results: Vec<Published>,
}

#[derive(Deserialize)]
struct Batch<'a> {
    #[serde(borrow)]
    messages: Vec<&'a RawValue>,
}

/// What the content type says.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Json,
    Lines,
}

pub(super) async fn publish(
    State(shared): State<Arc<Shared>>,
    Extension(Peer(peer)): Extension<Peer>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    if !shared.options.hub.may_publish(peer.ip()) {
        let cure = "this address may not publish; --publish-from names the networks that may";
        return error(StatusCode::FORBIDDEN, "forbidden", cure);
    }
    // A page of another origin may send some content types without asking first; not these.
    let Some(form) = form(&headers) else {
        let cure = "the content type is not one of ours; set it to application/json, \
                    or to application/x-ndjson for one message a line";
        return error(StatusCode::UNSUPPORTED_MEDIA_TYPE, "bad_request", cure);
    };
    if shared.is_draining() {
        return error(
            StatusCode::SERVICE_UNAVAILABLE,
            "busy",
            "the server is ending",
        );
    }
    let body = match whole_body(body, body_max(&shared)).await {
        Ok(body) => body,
        Err(response) => return response,
    };
    let Ok(text) = std::str::from_utf8(&body) else {
        return error(
            StatusCode::BAD_REQUEST,
            "bad_json",
            "the body is not UTF-8; encode it so",
        );
    };
    match form {
        Form::Lines => publish_lines(&shared, text).await,
        Form::Json => publish_json(&shared, text).await,
    }
}

fn form(headers: &HeaderMap) -> Option<Form> {
    let kind = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let kind = kind.split(';').next()?.trim();
    if kind.eq_ignore_ascii_case("application/json") {
        return Some(Form::Json);
    }
    let is_lines = kind.eq_ignore_ascii_case("application/x-ndjson");
    is_lines.then_some(Form::Lines)
}

fn body_max(shared: &Shared) -> usize {
    BODY_SIZE_MAX.max(
        shared
            .options
            .hub
            .payload_size_max
            .saturating_add(BODY_MARGIN),
    )
}

async fn whole_body(body: Body, size_max: usize) -> Result<Bytes, Response> {
    match Limited::new(body, size_max).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(cause) if cause.is::<LengthLimitError>() => {
            let text = format!("the body is larger than {size_max} bytes; send smaller batches");
            Err(error(StatusCode::PAYLOAD_TOO_LARGE, "too_big", &text))
        }
        Err(_) => {
            let text = "the body did not come whole; send it again";
            Err(error(StatusCode::BAD_REQUEST, "bad_request", text))
        }
    }
}

async fn publish_json(shared: &Shared, text: &str) -> Response {
    #[derive(Deserialize)]
    struct Probe {
        messages: Option<serde::de::IgnoredAny>,
    }
    let probe: Result<Probe, _> = serde_json::from_str(text);
    let is_batch =
        text.trim_start().starts_with('{') && probe.is_ok_and(|probe| probe.messages.is_some());
    if !is_batch {
        let message = JsonMessage::parse(text);
        let request =
            message.and_then(|message| message.request(shared.options.hub.payload_size_max));
        let results = publish_all(shared, vec![request]).await;
        let status = results
            .first()
            .map_or(StatusCode::OK, |one| status_of(one.code));
        return with_retry(json(status, &results.first()));
    }
    let batch: Batch<'_> = match serde_json::from_str(text) {
        Ok(batch) => batch,
        Err(cause) => {
            let refusal = refusal_of(&cause);
            return error(
                StatusCode::BAD_REQUEST,
                refusal.code.as_str(),
                &refusal.message,
            );
        }
    };
    let messages = batch.messages.iter().map(|message| message.get());
    publish_batch(shared, messages).await
}

async fn publish_lines(shared: &Shared, text: &str) -> Response {
    publish_batch(shared, text.lines()).await
}

async fn publish_batch<'a>(shared: &Shared, texts: impl Iterator<Item = &'a str>) -> Response {
    let mut lines = Vec::new();
    let mut requests = Vec::new();
    for (index, text) in texts.enumerate() {
        if text.trim().is_empty() {
            continue;
        }
        if requests.len() == BATCH_MAX {
            let text = format!("more than {BATCH_MAX} messages; send smaller batches");
            return error(StatusCode::PAYLOAD_TOO_LARGE, "too_big", &text);
        }
        let message = JsonMessage::parse(text);
        requests
            .push(message.and_then(|message| message.request(shared.options.hub.payload_size_max)));
        lines.push(index + 1);
    }
    let mut results = publish_all(shared, requests).await;
    for (result, line) in results.iter_mut().zip(lines) {
        result.line = Some(line);
    }
    let refused = results
        .iter()
        .filter(|result| result.code.is_some())
        .count();
    let statuses = results.iter().map(|result| status_of(result.code));
    let status = statuses.max().unwrap_or(StatusCode::OK);
    let answer = BatchAnswer {
        published: results.len() - refused,
        refused,
        results,
    };
    with_retry(json(status, &answer))
}

/// Publishes what can be published, in order, and says what became of each.
async fn publish_all(
    shared: &Shared,
    requests: Vec<Result<PublishRequest, Refusal>>,
) -> Vec<Published> {
    let good: Vec<PublishRequest> = requests.iter().flatten().cloned().collect();
    let mut outcomes = match good.is_empty() {
        true => Vec::new(),
        false => shared.door.publish(good).await,
    }
    .into_iter();
    let result = |request| match request {
        Err(Refusal { code, message }) => refused(None, code, message),
        Ok(PublishRequest { topic, .. }) => match outcomes.next() {
            Some(PublishOutcome::Accepted { epoch, seq }) => Published {
                line: None,
                topic: Some(topic.to_string()),
                epoch: Some(EpochText(epoch).to_string()),
                seq: Some(seq),
                code: None,
                message: None,
            },
            Some(PublishOutcome::Refused { code, message }) => {
                refused(Some(topic.to_string()), code, message.to_owned())
            }
            None => refused(Some(topic.to_string()), ErrorCode::Busy, String::new()),
        },
    };
    requests.into_iter().map(result).collect()
}

fn refused(topic: Option<String>, code: ErrorCode, message: String) -> Published {
    Published {
        line: None,
        topic,
        epoch: None,
        seq: None,
        code: Some(code.as_str()),
        message: Some(message),
    }
}

/// The status of one message; the largest of a batch is the status of the batch.
fn status_of(code: Option<&str>) -> StatusCode {
    match code {
        None => StatusCode::OK,
        Some("busy") => StatusCode::SERVICE_UNAVAILABLE,
        Some("forbidden") => StatusCode::FORBIDDEN,
        Some("too_big") => StatusCode::PAYLOAD_TOO_LARGE,
        Some(_) => StatusCode::BAD_REQUEST,
    }
}

fn with_retry(mut response: Response) -> Response {
    if response.status() == StatusCode::SERVICE_UNAVAILABLE {
        let after = HeaderValue::from_static("1");
        response.headers_mut().insert(header::RETRY_AFTER, after);
    }
    response
}
