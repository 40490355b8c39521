//! A server that echoes at once and keeps when every message arrived.

use crate::selftest::script::{Heard, Script, Stage};

/// Arrival times that are kept at most: 8 MB.
const KEPT_MAX: usize = 1 << 20;

/// Keeps arrival times.
#[derive(Debug, Default)]
pub struct Clerk {
    /// CLOCK_MONOTONIC, in order.
    pub arrivals_ns: Vec<u64>,
}

impl Script for Clerk {
    fn on_message(&mut self, heard: &Heard<'_>, stage: &mut Stage) {
        if self.arrivals_ns.len() < KEPT_MAX {
            self.arrivals_ns.push(heard.at_ns);
        }
        stage.echo(heard.at_ns, heard);
    }
}
