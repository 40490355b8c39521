//! What a person or a script looks at: readiness, topics, the connections that are most behind.
//!
//! It owns the forms of the answers. All figures come from the cores.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use fanwire_server::ShardId;
use fanwire_server::hub::port::{SlowInfo, TopicInfo};
use fanwire_server::hub::wire::EpochText;
use serde::{Deserialize, Serialize};

use super::routes::{Shared, error, json};

/// Entries of an answer, unless asked for another number.
const LIMIT: usize = 100;
/// Entries of an answer at most.
const LIMIT_MAX: usize = 10_000;

/// 200 if every core answers and the server takes connections.
pub(super) async fn ready(State(shared): State<Arc<Shared>>) -> Response {
    if shared.is_draining() {
        let text = "the server drains; send new clients elsewhere";
        return error(StatusCode::SERVICE_UNAVAILABLE, "draining", text);
    }
    let cores = shared.door.counters().await;
    if !cores.are_all {
        let text = format!(
            "only {} cores answered within a second; see the log and the load of the processors",
            cores.answers.len()
        );
        return error(StatusCode::SERVICE_UNAVAILABLE, "not_ready", &text);
    }
    "ready\n".into_response()
}

#[derive(Deserialize)]
pub(super) struct TopicsQuery {
    #[serde(default)]
    prefix: String,
    limit: Option<usize>,
}

#[derive(Deserialize)]
pub(super) struct SlowQuery {
    limit: Option<usize>,
}

fn limit_of(wanted: Option<usize>) -> usize {
    wanted.unwrap_or(LIMIT).min(LIMIT_MAX)
}

fn wrong_query(rejection: &QueryRejection) -> Response {
    let text = format!("{}; limit is a number", rejection.body_text());
    error(StatusCode::BAD_REQUEST, "bad_request", &text)
}

#[derive(Serialize)]
struct Topic {
    topic: String,
    kind: &'static str,
    epoch: String,
    seq: u64,
    log_messages: usize,
    log_bytes: usize,
    keys: usize,
    /// Subscribers on the core that gives out the numbers.
    subscribers_at_home: u64,
    /// Other cores that have subscribers.
    cores_following: usize,
    home_core: ShardId,
}

#[derive(Serialize)]
struct Topics {
    topics: Vec<Topic>,
    /// False if a core did not answer in time.
    complete: bool,
}

pub(super) async fn topics(
    State(shared): State<Arc<Shared>>,
    query: Result<Query<TopicsQuery>, QueryRejection>,
) -> Response {
    let Query(query) = match query {
        Ok(query) => query,
        Err(rejection) => return wrong_query(&rejection),
    };
    let limit = limit_of(query.limit);
    let cores = shared.door.topics(query.prefix, limit).await;
    let answer = Topics {
        complete: cores.are_all,
        topics: merged(cores.answers, limit),
    };
    json(StatusCode::OK, &answer)
}

/// What the homes of the topics say, in the order of the names.
fn merged(answers: Vec<Vec<TopicInfo>>, limit: usize) -> Vec<Topic> {
    let mut topics: Vec<TopicInfo> = answers.into_iter().flatten().collect();
    topics.sort_by(|one, other| one.topic.cmp(&other.topic));
    topics.truncate(limit);
    let topics = topics.into_iter();
    topics
        .map(|info| Topic {
            topic: info.topic,
            kind: info.kind.as_str(),
            epoch: EpochText(info.epoch).to_string(),
            seq: info.head,
            log_messages: info.log_messages,
            log_bytes: info.log_bytes,
            keys: info.keys,
            subscribers_at_home: info.subscribers,
            cores_following: info.following_shards,
            home_core: info.home,
        })
        .collect()
}

#[derive(Serialize)]
struct Slow {
    peer: String,
    core: ShardId,
    topics_behind: u32,
    messages_behind: u64,
    staleness_ms: u64,
    unsent_bytes: usize,
}

#[derive(Serialize)]
struct Slowest {
    connections: Vec<Slow>,
    /// False if a core did not answer in time.
    complete: bool,
}

pub(super) async fn slow(
    State(shared): State<Arc<Shared>>,
    query: Result<Query<SlowQuery>, QueryRejection>,
) -> Response {
    let Query(query) = match query {
        Ok(query) => query,
        Err(rejection) => return wrong_query(&rejection),
    };
    let limit = limit_of(query.limit);
    let cores = shared.door.slowest(limit).await;
    let mut connections: Vec<SlowInfo> = cores.answers.into_iter().flatten().collect();
    connections.sort_by_key(|one| {
        std::cmp::Reverse((one.staleness_ms, one.messages_behind, one.unsent_bytes))
    });
    connections.truncate(limit);
    let connections = connections.into_iter().map(|info| Slow {
        peer: info.peer.to_string(),
        core: info.shard,
        topics_behind: info.topics_behind,
        messages_behind: info.messages_behind,
        staleness_ms: info.staleness_ms,
        unsent_bytes: info.unsent_bytes,
    });
    let answer = Slowest {
        connections: connections.collect(),
        complete: cores.are_all,
    };
    json(StatusCode::OK, &answer)
}
