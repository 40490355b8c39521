//! Readers that do not read.
