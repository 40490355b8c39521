//! Connections: TLS, churn, and what an idle one costs.

#[path = "../support/mod.rs"]
mod support;

mod churn;
mod idle_memory;
mod tls;
mod tls_link;
