//! A socket without a kernel: reads copy prepared pieces out, for ever and in order, one piece at
//! most per read; writes copy into a scratch buffer, as a kernel would. Both as `std::io` and as
//! tokio traits, never pending, so that a library's own cost is all that is left.

use std::io::{self, IoSlice, Read, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

const SCRATCH_SIZE: usize = 256 * 1024;

/// See the file's comment.
pub struct MemoryStream {
    pieces: Arc<[Vec<u8>]>,
    piece: usize,
    offset: usize,
    scratch: Box<[u8]>,
}

impl MemoryStream {
    /// A stream that delivers `pieces` again and again.
    pub fn new(pieces: &Arc<[Vec<u8>]>) -> Self {
        Self {
            pieces: Arc::clone(pieces),
            piece: 0,
            offset: 0,
            scratch: vec![0; SCRATCH_SIZE].into_boxed_slice(),
        }
    }

    /// The rest of the piece that is due, at most `room` bytes of it.
    fn next_bytes(&mut self, room: usize) -> &[u8] {
        let piece = &self.pieces[self.piece];
        let from = self.offset;
        let to = piece.len().min(from + room);
        if to == piece.len() {
            self.offset = 0;
            self.piece = (self.piece + 1) % self.pieces.len();
        } else {
            self.offset = to;
        }
        &piece[from..to]
    }

    fn put(&mut self, bytes: &[u8]) -> usize {
        let length = bytes.len().min(self.scratch.len());
        self.scratch[..length].copy_from_slice(&bytes[..length]);
        length
    }

    fn put_vectored(&mut self, slices: &[IoSlice<'_>]) -> usize {
        let mut written = 0;
        for slice in slices {
            let length = slice.len().min(self.scratch.len() - written);
            self.scratch[written..written + length].copy_from_slice(&slice[..length]);
            written += length;
        }
        written
    }
}

impl Read for MemoryStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.next_bytes(buffer.len());
        buffer[..bytes.len()].copy_from_slice(bytes);
        Ok(bytes.len())
    }
}

impl Write for MemoryStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(self.put(bytes))
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        Ok(self.put_vectored(slices))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsyncRead for MemoryStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        buffer.put_slice(self.next_bytes(buffer.remaining()));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for MemoryStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(self.put(bytes)))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(self.put_vectored(slices)))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
