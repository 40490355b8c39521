//! What the connections of a shard share: spare memory, and the inflater and deflaters for peers
//! without context takeover. Owns no state of any connection.

use std::sync::Arc;

use crate::assembly::Assembly;
use crate::deflate::{DEFLATE_WINDOW_BITS_MIN, Deflater, Inflater, WINDOW_BITS_MAX};

const WINDOW_SIZES: usize = (WINDOW_BITS_MAX - DEFLATE_WINDOW_BITS_MIN + 1) as usize;

/// Bounds of a [`Workspace`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkspaceLimits {
    /// Most buffers kept for reuse, lent ones included. Beyond it: allocated and freed.
    pub spare_buffers_max: usize,
    /// Largest capacity in bytes of a buffer that is kept. Larger ones are freed after use.
    pub spare_buffer_size_max: usize,
    /// Messages shorter than this many bytes are sent plain even where compression was agreed.
    pub compress_size_min: usize,
    /// Effort of compression, 1 (fast) to 9 (small).
    pub compression_level: u32,
}

impl Default for WorkspaceLimits {
    fn default() -> Self {
        Self {
            spare_buffers_max: 16,
            spare_buffer_size_max: 64 * 1024,
            compress_size_min: 128,
            compression_level: 1,
        }
    }
}

/// One per shard, passed to the calls that need memory for longer than a call.
#[derive(Debug)]
pub struct Workspace {
    limits: WorkspaceLimits,
    #[expect(
        clippy::vec_box,
        reason = "lending moves the box into a receiver of 48 bytes"
    )]
    spares: Vec<Box<Assembly>>,
    /// Each reusable assembly holds a clone, wherever it is, so the count says how many exist;
    /// one that dies with its connection gives its place back by itself.
    permit: Arc<()>,
    inflater: Option<Box<Inflater>>,
    /// By window size; a stream of 15 bits takes about 300 KB.
    deflaters: [Option<Box<Deflater>>; WINDOW_SIZES],
    /// Where a message is deflated before its length is known.
    pub(crate) scratch: Vec<u8>,
}

impl Default for Workspace {
    fn default() -> Self {
        Self::new(WorkspaceLimits::default())
    }
}

impl Workspace {
    /// An empty workspace; memory comes with use.
    pub fn new(limits: WorkspaceLimits) -> Self {
        Self {
            limits,
            spares: Vec::new(),
            permit: Arc::new(()),
            inflater: None,
            deflaters: [const { None }; WINDOW_SIZES],
            scratch: Vec::new(),
        }
    }

    /// The limits in force.
    pub fn limits(&self) -> &WorkspaceLimits {
        &self.limits
    }

    /// Bytes of spare buffers held for reuse, lent ones not included.
    pub fn bytes_spare(&self) -> usize {
        self.spares
            .iter()
            .map(|spare| spare.bytes_held())
            .sum::<usize>()
            + self.scratch.capacity()
    }

    /// An empty assembly: a spare one, or a new one that is reusable while there are few.
    pub(crate) fn lend(&mut self) -> Box<Assembly> {
        self.spares.pop().unwrap_or_else(|| {
            let reusable = Arc::strong_count(&self.permit) <= self.limits.spare_buffers_max;
            Box::new(Assembly::new(reusable.then(|| Arc::clone(&self.permit))))
        })
    }

    /// Takes an assembly back, or frees it.
    pub(crate) fn give_back(&mut self, mut assembly: Box<Assembly>) {
        if assembly.is_reusable() && assembly.bytes_held() <= self.limits.spare_buffer_size_max {
            assembly.clear();
            self.spares.push(assembly);
        }
    }

    /// The inflater of all peers without context takeover.
    pub(crate) fn inflater(&mut self) -> &mut Inflater {
        self.inflater
            .get_or_insert_with(|| Box::new(Inflater::new(WINDOW_BITS_MAX)))
    }

    /// The deflater for this window size, shared by all connections without context takeover, and
    /// the buffer to deflate into, emptied.
    pub(crate) fn deflater(&mut self, window_bits: u8) -> (&mut Deflater, &mut Vec<u8>) {
        let window_bits = window_bits.clamp(DEFLATE_WINDOW_BITS_MIN, WINDOW_BITS_MAX);
        let slot = &mut self.deflaters[usize::from(window_bits - DEFLATE_WINDOW_BITS_MIN)];
        let level = self.limits.compression_level;
        self.scratch.clear();
        let deflater = slot.get_or_insert_with(|| Box::new(Deflater::new(window_bits, level)));
        (deflater, &mut self.scratch)
    }

    /// Frees what one large message left in the scratch buffer.
    pub(crate) fn shrink_scratch(&mut self) {
        if self.scratch.capacity() > self.limits.spare_buffer_size_max {
            self.scratch = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_reusable_buffers_is_bounded() {
        let mut workspace = Workspace::new(WorkspaceLimits {
            spare_buffers_max: 2,
            ..WorkspaceLimits::default()
        });
        let lent: Vec<_> = (0..5).map(|_| workspace.lend()).collect();
        assert_eq!(
            lent.iter()
                .filter(|assembly| assembly.is_reusable())
                .count(),
            2
        );
        for assembly in lent {
            workspace.give_back(assembly);
        }
        assert_eq!(workspace.spares.len(), 2);
        // Dropped with their connections, they give their places back.
        workspace.spares.clear();
        assert!(workspace.lend().is_reusable());
    }
}
