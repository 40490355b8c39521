//! What is seen while a run lasts and what it leaves behind.

#[path = "../support/live.rs"]
mod live;
#[path = "../support/session.rs"]
mod session;
#[path = "../support/mod.rs"]
mod support;

mod live_endpoint;
mod live_scenario;
mod live_scenario_view;
mod live_terminal;
mod live_view;
mod merging;
mod report_files;
mod report_pages;
