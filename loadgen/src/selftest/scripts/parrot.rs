//! A server that does nothing but echo: what is left is the generator's own limit.

use crate::selftest::script::{Heard, Script, Stage};

/// Echoes at once.
#[derive(Clone, Copy, Debug, Default)]
pub struct Parrot;

impl Script for Parrot {
    fn is_parrot(&self) -> bool {
        true
    }

    fn on_message(&mut self, heard: &Heard<'_>, stage: &mut Stage) {
        stage.echo(heard.at_ns, heard);
    }
}
