//! What the protocol crate costs, beside its peers, on the same bytes.
//!
//! One program, so that everybody is compiled and linked in the same way. A group is a step, a
//! function is a library, a parameter is the payload size in bytes: `unmask/fanwire/64`. Within a
//! group the libraries take turns at each size, so that a slow moment of the machine meets all.
//!
//! Like is compared with like. Where a peer has no public function for a step, the smallest
//! public path that includes it is measured for everybody, and the group's file says so:
//!
//! | group | what | who |
//! |---|---|---|
//! | `header` | parse one frame header | fanwire, tungstenite (nobody else's is public) |
//! | `unmask` | unmask a payload in place | fanwire, fastwebsockets, sockudo-ws |
//! | `receive_binary` | copy from the wire, parse, unmask, deliver | all |
//! | `receive_text`, `receive_text_mixed` | the same with UTF-8 validation; ASCII, several scripts | all |
//! | `assemble` | one message in three reads, cut inside the header and inside the payload | all |
//! | `fragments` | one text message in four frames | all |
//! | `encode` | one server frame into a buffer | all but tokio-websockets (not public) |
//! | `send` | one message through the library into a socket-like sink | all |
//! | `handshake` | request head to 101 | all |
//! | `deflate_level_1`, `deflate_level_6`, `inflate` | RFC 7692 without context takeover | fanwire, sockudo-ws (nobody else has it) |

#![forbid(unsafe_code)]
#![allow(missing_docs)] // criterion's macros make public functions

mod deflate;
mod encode;
mod handshake;
mod header;
mod memory_stream;
mod receive;
mod send;
mod unmask;
mod wire;

use criterion::{criterion_group, criterion_main};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

criterion_group!(
    steps,
    header::header,
    unmask::unmask,
    receive::receive,
    encode::encode,
    send::send,
    handshake::handshake,
    deflate::deflate,
);
criterion_main!(steps);
