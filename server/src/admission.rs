//! How many connections the whole server may have.
//!
//! It owns the one number that shards share. It is touched when a connection is established and
//! when it ends, never per message.

use std::sync::atomic::{AtomicU32, Ordering};

/// The connection limit of a server.
#[derive(Debug)]
pub(crate) struct Admission {
    open: AtomicU32,
    connections_max: u32,
}

/// A place for one connection; given back unless it is kept.
#[derive(Debug)]
pub(crate) struct Place<'a>(Option<&'a Admission>);

impl Admission {
    pub(crate) fn new(connections_max: u32) -> Admission {
        Admission {
            open: AtomicU32::new(0),
            connections_max,
        }
    }

    /// Whether another connection would be refused. Only a hint; [`Admission::admit`] decides.
    pub(crate) fn is_full(&self) -> bool {
        self.open.load(Ordering::Relaxed) >= self.connections_max
    }

    /// A place, if one is free.
    pub(crate) fn admit(&self) -> Option<Place<'_>> {
        // Only the number itself is shared, so no ordering is needed with anything else.
        self.open
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |open| {
                (open < self.connections_max).then(|| open + 1)
            })
            .ok()
            .map(|_| Place(Some(self)))
    }

    /// Gives back a place that was kept.
    pub(crate) fn release(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Place<'_> {
    /// The connection is established; its end gives the place back.
    pub(crate) fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(admission) = self.0 {
            admission.release();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_come_back() {
        let admission = Admission::new(2);
        let first = admission.admit().unwrap();
        admission.admit().unwrap().keep();
        assert!(admission.is_full());
        assert!(admission.admit().is_none());
        drop(first);
        assert!(!admission.is_full());
        admission.release();
        assert_eq!(admission.open.load(Ordering::Relaxed), 0);
    }
}
