//! The provided-buffer ring: receive memory that belongs to a core, not to a connection.
//!
//! The kernel picks memory at the moment when data has arrived, so an idle connection pins
//! none. In incremental mode (Linux 6.12) several receives share one large buffer: each takes
//! the next slice of it, and the buffer comes back when its last slice has been handled. On
//! older kernels each receive takes a whole small buffer.
//!
//! ```text
//! buffer 3:  | slice of A | slice of B | slice of A |   free, the kernel writes here next   |
//!            ^ lent and handled in order            ^ heads[3]
//! ```

use io_uring::types::BufRingEntry;
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

/// `IOU_PBUF_RING_INC`, Linux 6.12.
pub(crate) const INCREMENTAL: u16 = 2;

/// Received bytes lent by the kernel: a slice of one buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    buffer: u16,
    offset: u32,
    length: u32,
    /// The kernel has finished with the buffer: it comes back when this chunk is released.
    is_last: bool,
}

impl Chunk {
    /// A chunk of memory that is not a ring's: the arena of the epoll backend.
    pub(crate) fn of_arena(offset: u32, length: u32) -> Chunk {
        Chunk {
            buffer: 0,
            offset,
            length,
            is_last: false,
        }
    }

    pub(crate) fn range(&self) -> std::ops::Range<usize> {
        self.offset as usize..self.offset as usize + self.length as usize
    }

    /// Bytes in the chunk.
    pub fn len(&self) -> usize {
        self.length as usize
    }

    /// Whether the chunk has no bytes.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }
}

/// Anonymous memory of the process, unmapped when dropped.
struct Mapping {
    address: NonNull<u8>,
    length: usize,
}

impl Mapping {
    fn new(length: usize) -> io::Result<Mapping> {
        use rustix::mm::{MapFlags, ProtFlags};
        // SAFETY: a fresh private anonymous mapping aliases no Rust object.
        let address = unsafe {
            rustix::mm::mmap_anonymous(
                std::ptr::null_mut(),
                length,
                ProtFlags::READ | ProtFlags::WRITE,
                // Present from the start: no page fault on the data path, and no memory that
                // seems to grow with the first traffic.
                MapFlags::PRIVATE | MapFlags::POPULATE,
            )
        }?;
        let address = NonNull::new(address.cast::<u8>())
            .ok_or_else(|| io::Error::other("mmap returned the null page"))?;
        Ok(Mapping { address, length })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range was mapped by `new` and nobody keeps a reference into it: slices are
        // lent with the lifetime of the `BufferRing` that owns this mapping.
        let _ = unsafe { rustix::mm::munmap(self.address.as_ptr().cast(), self.length) };
    }
}

/// Receive buffers shared by all connections of one ring.
pub struct BufferRing {
    entries: Mapping,
    memory: Mapping,
    count: u16,
    size: u32,
    is_incremental: bool,
    /// Per buffer: how much of it the kernel has filled.
    heads: Vec<u32>,
    tail: u16,
    /// Buffers that the kernel may fill at present.
    available: u16,
}

impl BufferRing {
    /// Allocates `count` (rounded up to a power of two) buffers of `size` bytes. They are not
    /// yet known to any ring.
    pub(crate) fn allocate(count: u16, size: u32, is_incremental: bool) -> io::Result<BufferRing> {
        let count = count.clamp(1, 1 << 14).next_power_of_two();
        let entries = Mapping::new(usize::from(count) * size_of::<BufRingEntry>())?;
        let memory = Mapping::new(usize::from(count) * size as usize)?;
        let heads = vec![0; usize::from(count)];
        Ok(BufferRing {
            entries,
            memory,
            count,
            size,
            is_incremental,
            heads,
            tail: 0,
            available: 0,
        })
    }

    pub(crate) fn entries_address(&self) -> u64 {
        self.entries.address.as_ptr() as u64
    }

    pub(crate) fn count(&self) -> u16 {
        self.count
    }

    /// Buffers that the kernel may fill at present. Zero means that receives end with ENOBUFS.
    pub fn available(&self) -> u16 {
        self.available
    }

    /// Gives every buffer to the kernel. Once, after registration.
    pub(crate) fn provide_all(&mut self) {
        for buffer in 0..self.count {
            self.provide(buffer);
        }
        self.publish();
    }

    fn provide(&mut self, buffer: u16) {
        let position = usize::from(self.tail & (self.count - 1));
        let first = self.entries.address.as_ptr().cast::<BufRingEntry>();
        // SAFETY: `position < count`, and the mapping holds `count` entries.
        let slot = unsafe { first.add(position) };
        // SAFETY: the mapping is zeroed or written by us, and the kernel only reads entries
        // before the published tail; this one lies beyond it.
        let entry = unsafe { &mut *slot };
        entry.set_addr(self.address_of(buffer, 0) as u64);
        entry.set_len(self.size);
        entry.set_bid(buffer);
        self.heads[usize::from(buffer)] = 0;
        self.tail = self.tail.wrapping_add(1);
        self.available += 1;
        debug_assert!(self.available <= self.count, "a buffer was returned twice");
    }

    fn publish(&self) {
        let first = self.entries.address.as_ptr().cast::<BufRingEntry>();
        // SAFETY: `first` is the address of the first entry of a live, zeroed mapping.
        let tail = unsafe { BufRingEntry::tail(first) };
        // SAFETY: the tail field is two aligned bytes that only this thread writes and the kernel
        // reads; an atomic view of it is what the interface asks for.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }

    fn address_of(&self, buffer: u16, offset: u32) -> *mut u8 {
        let distance = usize::from(buffer) * self.size as usize + offset as usize;
        debug_assert!(distance <= self.memory.length);
        self.memory.address.as_ptr().wrapping_add(distance)
    }

    /// Takes note of a completion that filled `length` bytes of `buffer`. Must be called in the
    /// order of the completions: that order is where a slice's offset comes from.
    ///
    /// Returns `None` for a buffer that does not exist or could not have held that much, which
    /// only a broken kernel can say.
    pub(crate) fn take(&mut self, buffer: u16, length: u32, more_follows: bool) -> Option<Chunk> {
        let offset = *self.heads.get(usize::from(buffer))?;
        let end = offset.checked_add(length).filter(|end| *end <= self.size)?;
        let is_last = !(self.is_incremental && more_follows);
        self.heads[usize::from(buffer)] = end;
        if is_last {
            self.available = self.available.saturating_sub(1);
        }
        Some(Chunk {
            buffer,
            offset,
            length,
            is_last,
        })
    }

    /// The bytes of a chunk that was taken and not yet released.
    pub fn bytes(&mut self, chunk: &Chunk) -> &mut [u8] {
        let end = u64::from(chunk.offset) + u64::from(chunk.length);
        assert!(
            chunk.buffer < self.count && end <= u64::from(self.size),
            "chunk of another ring"
        );
        let address = self.address_of(chunk.buffer, chunk.offset);
        // SAFETY: the range lies inside the mapping (asserted above), the kernel has filled it
        // and writes only beyond it until the buffer is provided again, which takes `&mut self`.
        unsafe { std::slice::from_raw_parts_mut(address, chunk.length as usize) }
    }

    /// Gives a chunk back. Chunks of one buffer are released in the order in which they were
    /// taken, so with the last one the whole buffer is free.
    pub fn release(&mut self, chunk: Chunk) {
        if chunk.is_last {
            self.provide(chunk.buffer);
            self.publish();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_of_an_incremental_buffer_follow_each_other() {
        let mut ring = BufferRing::allocate(2, 4096, true).expect("memory");
        ring.provide_all();
        assert_eq!(ring.available(), 2);
        let first = ring.take(0, 100, true).expect("fits");
        let second = ring.take(0, 50, true).expect("fits");
        assert_eq!(
            (first.offset, second.offset, second.is_last),
            (0, 100, false)
        );
        ring.bytes(&first).fill(1);
        ring.bytes(&second).fill(2);
        assert!(ring.bytes(&first).iter().all(|byte| *byte == 1));
        let last = ring.take(0, 3946, false).expect("fills the buffer exactly");
        assert_eq!(ring.available(), 1);
        ring.release(first);
        ring.release(second);
        assert_eq!(
            ring.available(),
            1,
            "only the last slice returns the buffer"
        );
        ring.release(last);
        assert_eq!(ring.available(), 2);
        assert_eq!(ring.take(0, 10, true).expect("starts anew").offset, 0);
    }

    #[test]
    fn a_completion_that_cannot_be_true_is_refused() {
        let mut ring = BufferRing::allocate(2, 4096, true).expect("memory");
        ring.provide_all();
        assert_eq!(ring.take(2, 1, true), None, "no such buffer");
        assert_eq!(ring.take(0, 4097, true), None, "more than a buffer holds");
        assert!(ring.take(0, 4096, false).is_some());
    }

    #[test]
    fn whole_buffers_come_back_one_by_one_without_incremental_mode() {
        let mut ring = BufferRing::allocate(4, 1024, false).expect("memory");
        ring.provide_all();
        let chunk = ring.take(3, 10, true).expect("fits");
        assert!(chunk.is_last);
        assert_eq!(ring.available(), 3);
        ring.release(chunk);
        assert_eq!(ring.available(), 4);
    }
}
