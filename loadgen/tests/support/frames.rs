//! A server that sees frames as they travel, which `tungstenite` does not show: it upgrades through
//! it and then reads the socket itself.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::upgrade;

/// A frame as a client sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub opcode: u8,
    pub is_final: bool,
    pub masking_key: [u8; 4],
    /// Unmasked.
    pub payload: Vec<u8>,
}

/// Upgrades and echoes messages; `seen` gets every data frame.
pub fn echo_frames(stream: TcpStream, mut seen: impl FnMut(&Frame)) {
    let Some(mut socket) = upgrade(stream) else {
        return;
    };
    let stream = socket.get_mut();
    let (mut message, mut opcode) = (Vec::new(), 0);
    while let Some(frame) = read_frame(stream) {
        match frame.opcode {
            0..=2 => {
                seen(&frame);
                if frame.opcode > 0 {
                    opcode = frame.opcode;
                }
                message.extend_from_slice(&frame.payload);
                if frame.is_final && write_frame(stream, opcode, &message).is_err() {
                    return;
                }
                if frame.is_final {
                    message.clear();
                }
            }
            8 => {
                // Nobody waits for the answer if it cannot be written any more.
                let _ = write_frame(stream, 8, &frame.payload);
                return;
            }
            _ => {}
        }
    }
}

fn read_frame(stream: &mut TcpStream) -> Option<Frame> {
    let mut head = [0; 2];
    stream.read_exact(&mut head).ok()?;
    assert!(head[1] & 0x80 != 0, "a client masks its frames");
    let length = match head[1] & 0x7f {
        126 => {
            let mut length = [0; 2];
            stream.read_exact(&mut length).ok()?;
            usize::from(u16::from_be_bytes(length))
        }
        127 => {
            let mut length = [0; 8];
            stream.read_exact(&mut length).ok()?;
            u64::from_be_bytes(length) as usize
        }
        length => usize::from(length),
    };
    let mut masking_key = [0; 4];
    stream.read_exact(&mut masking_key).ok()?;
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload).ok()?;
    for (place, byte) in payload.iter_mut().enumerate() {
        *byte ^= masking_key[place % 4];
    }
    Some(Frame {
        opcode: head[0] & 0x0f,
        is_final: head[0] & 0x80 != 0,
        masking_key,
        payload,
    })
}

fn write_frame(stream: &mut TcpStream, opcode: u8, payload: &[u8]) -> std::io::Result<()> {
    let mut frame = vec![0x80 | opcode];
    match payload.len() {
        length @ 0..126 => frame.push(length as u8),
        length @ 126..65_536 => {
            frame.push(126);
            frame.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            frame.push(127);
            frame.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(payload);
    stream.write_all(&frame)
}
