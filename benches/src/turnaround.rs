//! The least that has to happen to a client's bytes so that the same client accepts them back:
//! the mask bit and the key leave the header, the payload is unmasked. Nothing is checked, nothing
//! is assembled, no limit is kept: this is what the floor does instead of WebSocket.

/// Header bytes before the masking key, at most (RFC 6455, section 5.2).
const HEADER_SIZE_MAX: usize = 10;
const KEY_SIZE: usize = 4;
const MASK_BIT: u8 = 0x80;
const OPCODE_PING: u8 = 9;
const OPCODE_PONG: u8 = 10;
/// Bytes that are unmasked in one step; a multiple of the key's size.
const BLOCK_SIZE: usize = 64;

/// Where one connection is within a frame. A frame may arrive in any number of pieces.
#[derive(Clone, Debug, Default)]
pub struct Turnaround {
    header: [u8; HEADER_SIZE_MAX + KEY_SIZE],
    header_length: usize,
    payload_left: u64,
    /// Already turned to the next payload byte's place.
    key: [u8; KEY_SIZE],
}

impl Turnaround {
    /// Appends to `out` what goes back for `received`.
    pub fn turn(&mut self, mut received: &[u8], out: &mut Vec<u8>) {
        while !received.is_empty() {
            if self.payload_left == 0 && !self.take_header(&mut received, out) {
                return;
            }
            let available = usize::try_from(self.payload_left).unwrap_or(usize::MAX);
            let (payload, rest) = received.split_at(received.len().min(available));
            append_unmasked(payload, self.key, out);
            self.key.rotate_left(payload.len() % KEY_SIZE);
            self.payload_left -= payload.len() as u64;
            received = rest;
        }
    }

    /// Takes a header, or what has arrived of it; true when it is whole.
    fn take_header(&mut self, received: &mut &[u8], out: &mut Vec<u8>) -> bool {
        loop {
            let size = match self.header_length {
                0 | 1 => 2,
                _ => header_size(self.header[1]),
            };
            if self.header_length == size && size > 2 {
                break;
            }
            let wanted = size - self.header_length;
            let (part, rest) = received.split_at(received.len().min(wanted));
            self.header[self.header_length..][..part.len()].copy_from_slice(part);
            self.header_length += part.len();
            *received = rest;
            if part.len() < wanted {
                return false;
            }
        }
        let before_key = self.header_length - KEY_SIZE;
        self.key
            .copy_from_slice(&self.header[before_key..self.header_length]);
        self.payload_left = payload_length(&self.header);
        self.header_length = 0;
        if self.header[0] & 0x0f == OPCODE_PING {
            self.header[0] = self.header[0] & 0xf0 | OPCODE_PONG;
        }
        self.header[1] &= !MASK_BIT;
        out.extend_from_slice(&self.header[..before_key]);
        true
    }
}

/// Bytes of the frame that `received` begins with, masking key and payload included; `None` until
/// its header is whole.
#[must_use]
pub fn frame_size(received: &[u8]) -> Option<usize> {
    let size = header_size(*received.get(1)?);
    let mut header = [0; HEADER_SIZE_MAX + KEY_SIZE];
    header[..size].copy_from_slice(received.get(..size)?);
    usize::try_from(payload_length(&header))
        .ok()?
        .checked_add(size)
}

fn header_size(second: u8) -> usize {
    let length_size = match second & !MASK_BIT {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    2 + length_size + KEY_SIZE
}

fn payload_length(header: &[u8; HEADER_SIZE_MAX + KEY_SIZE]) -> u64 {
    match header[1] & !MASK_BIT {
        126 => u64::from(u16::from_be_bytes([header[2], header[3]])),
        127 => u64::from_be_bytes([
            header[2], header[3], header[4], header[5], header[6], header[7], header[8], header[9],
        ]),
        short => u64::from(short),
    }
}

/// Unmasks and copies in one pass.
fn append_unmasked(payload: &[u8], key: [u8; KEY_SIZE], out: &mut Vec<u8>) {
    out.reserve(payload.len());
    let mut blocks = payload.chunks_exact(BLOCK_SIZE);
    for block in &mut blocks {
        let mut unmasked = [0; BLOCK_SIZE];
        for (index, byte) in unmasked.iter_mut().enumerate() {
            *byte = block[index] ^ key[index % KEY_SIZE];
        }
        out.extend_from_slice(&unmasked);
    }
    let rest = blocks.remainder().iter().enumerate();
    out.extend(rest.map(|(index, byte)| byte ^ key[index % KEY_SIZE]));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(opcode: u8, payload: &[u8], key: [u8; 4]) -> Vec<u8> {
        let mut frame = vec![MASK_BIT | opcode];
        match payload.len() {
            length @ ..126 => frame.push(MASK_BIT | length as u8),
            length @ ..65_536 => {
                frame.push(MASK_BIT | 126);
                frame.extend_from_slice(&(length as u16).to_be_bytes());
            }
            length => {
                frame.push(MASK_BIT | 127);
                frame.extend_from_slice(&(length as u64).to_be_bytes());
            }
        }
        frame.extend_from_slice(&key);
        frame.extend(
            payload
                .iter()
                .zip(key.iter().cycle())
                .map(|(byte, key)| byte ^ key),
        );
        frame
    }

    fn unmasked(opcode: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = masked(opcode, payload, [0; 4]);
        let key_at = header_size(frame[1]) - KEY_SIZE;
        frame.drain(key_at..key_at + KEY_SIZE);
        frame[1] &= !MASK_BIT;
        frame
    }

    #[test]
    fn any_cut_gives_the_same_bytes() {
        let mut wire = Vec::new();
        let mut expected = Vec::new();
        for (number, size) in [0, 1, 64, 125, 126, 200, 65_535, 65_536]
            .into_iter()
            .enumerate()
        {
            let payload: Vec<u8> = (0..size).map(|index| (index * 7 + number) as u8).collect();
            wire.extend(masked(2, &payload, [1, 2, 3, number as u8]));
            expected.extend(unmasked(2, &payload));
        }
        for piece_size in [1, 2, 3, 5, 7, 63, 64, 65, 4096, wire.len()] {
            let mut turnaround = Turnaround::default();
            let mut out = Vec::new();
            for piece in wire.chunks(piece_size) {
                turnaround.turn(piece, &mut out);
            }
            assert!(out == expected, "pieces of {piece_size} bytes");
        }
    }

    #[test]
    fn a_frame_is_as_large_as_it_says() {
        for size in [0, 1, 125, 126, 65_535, 65_536] {
            let frame = masked(2, &vec![7; size], [1, 2, 3, 4]);
            let header_size = frame.len() - size;
            assert_eq!(frame_size(&frame[..header_size - 1]), None, "{size}");
            assert_eq!(
                frame_size(&frame[..header_size]),
                Some(frame.len()),
                "{size}"
            );
        }
        assert_eq!(frame_size(&[]), None);
    }

    #[test]
    fn a_ping_comes_back_as_a_pong_and_a_close_as_a_close() {
        let mut out = Vec::new();
        let mut turnaround = Turnaround::default();
        turnaround.turn(&masked(9, b"hello", [9, 8, 7, 6]), &mut out);
        turnaround.turn(&masked(8, &1000_u16.to_be_bytes(), [9, 8, 7, 6]), &mut out);
        let mut expected = unmasked(10, b"hello");
        expected.extend(unmasked(8, &1000_u16.to_be_bytes()));
        assert_eq!(out, expected);
    }
}
