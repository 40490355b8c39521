//! Writers. All of them print one [`crate::model::Report`] and compute nothing.

pub mod churn;
pub mod fanout;
pub mod foreign;
pub mod json;
pub mod terminal;
