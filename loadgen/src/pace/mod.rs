//! What is due when. Pure arithmetic over times that are passed in.

pub mod catchup;
pub mod plan;
pub mod rate;
pub mod warmup;
