//! What the establishment tasks of a core share with its data path: both run on one thread.
//!
//! It owns their counters, the spare buffers and the count of handshakes in progress. It must not
//! know sockets.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, Waker};

use fanwire_reactor::establish::ListenCloser;

use crate::counters::ShardCounters;

/// Buffers kept for reuse; a handshake needs two.
const BUFFERS_KEPT: usize = 64;
/// Largest buffer that is kept.
const BUFFER_KEPT_BYTES: usize = 16 << 10;

/// The front desk of one core.
#[derive(Debug, Default)]
pub(crate) struct Reception {
    counters: RefCell<ShardCounters>,
    buffers: RefCell<Vec<Vec<u8>>>,
    in_progress: Cell<u32>,
    by_address: RefCell<HashMap<IpAddr, u32>>,
    is_draining: Cell<bool>,
    is_hurried: Cell<bool>,
    /// Wakes the conversations in progress when the server shuts down, by their number.
    wakers: RefCell<HashMap<u64, Waker>>,
    next_number: Cell<u64>,
    closer: RefCell<Option<ListenCloser>>,
    /// The counters of the data path as they were when the shard ended.
    data_path: RefCell<ShardCounters>,
}

/// One opening handshake in progress; its drop ends it.
#[derive(Debug)]
pub(crate) struct InProgress {
    reception: Rc<Reception>,
    number: u64,
    address: Option<IpAddr>,
}

impl Reception {
    pub(crate) fn count(&self, count: impl FnOnce(&mut ShardCounters)) {
        count(&mut self.counters.borrow_mut());
    }

    pub(crate) fn counters(&self) -> ShardCounters {
        self.counters.borrow().clone()
    }

    /// Keeps the counters of a data path that ends.
    pub(crate) fn keep(&self, counters: &ShardCounters) {
        self.data_path.replace(counters.clone());
    }

    /// Everything counted on the core, after its end.
    pub(crate) fn final_counters(&self) -> ShardCounters {
        let mut counters = self.counters();
        counters.add(&self.data_path.borrow());
        counters
    }

    /// Accepting ends by closing this.
    pub(crate) fn close_on_drain(&self, closer: ListenCloser) {
        self.closer.replace(Some(closer));
    }

    /// Nobody is let in any more.
    pub(crate) fn drain(&self) {
        self.is_draining.set(true);
        if let Some(closer) = self.closer.take() {
            closer.close();
        }
        for (_, waker) in self.wakers.take() {
            waker.wake();
        }
    }

    /// As [`Reception::drain`], and nobody waits for a peer to take leave.
    pub(crate) fn hurry(&self) {
        self.is_hurried.set(true);
        self.drain();
    }

    pub(crate) fn is_hurried(&self) -> bool {
        self.is_hurried.get()
    }

    /// Handshakes in progress.
    pub(crate) fn in_progress(&self) -> u32 {
        self.in_progress.get()
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.is_draining.get()
    }

    /// An empty buffer.
    pub(crate) fn take_buffer(&self) -> Vec<u8> {
        self.buffers.borrow_mut().pop().unwrap_or_default()
    }

    pub(crate) fn give_buffer(&self, mut buffer: Vec<u8>) {
        let mut buffers = self.buffers.borrow_mut();
        if buffers.len() < BUFFERS_KEPT && (1..=BUFFER_KEPT_BYTES).contains(&buffer.capacity()) {
            buffer.clear();
            buffers.push(buffer);
        }
    }

    /// Begins a handshake unless there are too many in progress, in all or from this address. A
    /// limit of 0 per address is none.
    pub(crate) fn begin(
        self: &Rc<Self>,
        address: IpAddr,
        handshakes_max: u32,
        per_address_max: u32,
    ) -> Option<InProgress> {
        if self.in_progress.get() >= handshakes_max {
            return None;
        }
        let address = (per_address_max > 0).then_some(address);
        if let Some(address) = address {
            let mut by_address = self.by_address.borrow_mut();
            let count = by_address.entry(address).or_insert(0);
            if *count >= per_address_max {
                return None;
            }
            *count += 1;
        }
        self.in_progress.set(self.in_progress.get() + 1);
        let number = self.next_number.get();
        self.next_number.set(number + 1);
        Some(InProgress {
            reception: self.clone(),
            number,
            address,
        })
    }
}

impl InProgress {
    /// Runs a conversation; `None` if the server shuts down before it is over.
    pub(crate) async fn unless_draining<F: Future>(&self, conversation: F) -> Option<F::Output> {
        let mut conversation = pin!(conversation);
        poll_fn(|context| {
            if self.reception.is_draining() {
                return Poll::Ready(None);
            }
            if let Poll::Ready(output) = conversation.as_mut().poll(context) {
                return Poll::Ready(Some(output));
            }
            let waker = context.waker().clone();
            self.reception
                .wakers
                .borrow_mut()
                .insert(self.number, waker);
            Poll::Pending
        })
        .await
    }
}

impl Drop for InProgress {
    fn drop(&mut self) {
        let reception = &self.reception;
        reception.wakers.borrow_mut().remove(&self.number);
        reception.in_progress.set(reception.in_progress.get() - 1);
        let Some(address) = self.address else { return };
        let mut by_address = reception.by_address.borrow_mut();
        if let Some(count) = by_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                by_address.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handshakes_are_limited_in_all_and_by_address() {
        let reception = Rc::new(Reception::default());
        let one: IpAddr = "192.0.2.1".parse().unwrap();
        let two: IpAddr = "192.0.2.2".parse().unwrap();
        let first = reception.begin(one, 3, 1).unwrap();
        assert!(reception.begin(one, 3, 1).is_none());
        let _second = reception.begin(two, 3, 1).unwrap();
        drop(first);
        let _third = reception.begin(one, 3, 1).unwrap();
        let _fourth = reception.begin(one, 3, 0).unwrap();
        assert!(reception.begin(one, 3, 0).is_none());
        drop(_second);
        assert_eq!(reception.by_address.borrow().len(), 1);
    }

    #[test]
    fn large_buffers_are_not_kept() {
        let reception = Reception::default();
        reception.give_buffer(Vec::new());
        reception.give_buffer(Vec::with_capacity(BUFFER_KEPT_BYTES * 2));
        assert!(reception.buffers.borrow().is_empty());
        reception.give_buffer(b"abc".to_vec());
        assert_eq!(reception.take_buffer(), b"");
    }
}
