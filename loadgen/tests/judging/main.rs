//! Thresholds, searching, comparing, and the rules of the verdict.

#[path = "../support/mod.rs"]
mod support;

mod judge_compare;
mod judge_find;
mod judge_thresholds;
mod verdict_rules;
