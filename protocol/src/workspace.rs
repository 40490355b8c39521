//! What the connections of a shard share: spare buffers, inflaters and deflaters.

/// Bounds of a [`Workspace`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkspaceLimits {
    /// Most buffers kept for reuse, lent ones included.
    pub spare_buffers_max: usize,
    /// Largest capacity in bytes of a buffer that is kept.
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
#[derive(Debug, Default)]
pub struct Workspace {
    limits: WorkspaceLimits,
}

impl Workspace {
    /// An empty workspace; memory comes with use.
    pub fn new(limits: WorkspaceLimits) -> Self {
        Self { limits }
    }

    /// The limits in force.
    pub fn limits(&self) -> &WorkspaceLimits {
        &self.limits
    }
}
