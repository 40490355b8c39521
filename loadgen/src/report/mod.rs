//! Writers. All of them print one or more of [`crate::measure::model::Report`] and judge nothing.

pub mod churn;
pub mod csv;
pub mod fanout;
pub mod foreign;
pub mod hgrm;
pub mod hlog;
pub mod html;
pub mod json;
pub mod markdown;
pub mod outputs;
pub mod rows;
pub mod steps;
pub mod terminal;
pub mod text;
