//! A JSON document of an exact size that looks, and compresses, like a page of an order book.
//!
//! Owns the words and figures only; the stamp in front is `stamp`'s. A pure function of stream and
//! sequence.

use std::io::Write;

/// The member that fills the rest of the size.
const PAD_FRAME: &[u8] = b",\"note\":\"";

/// Appends exactly `size` bytes: further members of an object that is open, and its closing brace.
/// A size of 0 appends nothing; the object then stays open.
pub fn append(stream: u32, sequence: u64, size: usize, out: &mut Vec<u8>) {
    let Some(inner) = size.checked_sub(1) else {
        return;
    };
    let end = out.len() + inner;
    let mut random = fastrand::Rng::with_seed(sequence.rotate_left(24) ^ u64::from(stream));
    // The price of an instrument stays where it was and moves a little with every message.
    let middle_cents = 10_000 + u64::from(stream % 97) * 131 + sequence % 40;
    head(stream, sequence, end, out);
    let mut level = 0;
    loop {
        let before = out.len();
        push_level(&mut random, middle_cents, level, out);
        // Behind the last level come a bracket and the padding.
        if out.len() + 1 > end {
            out.truncate(before);
            break;
        }
        level += 1;
    }
    if level > 0 {
        out.push(b']');
    }
    pad(end, out);
    out.push(b'}');
}

fn head(stream: u32, sequence: u64, end: usize, out: &mut Vec<u8>) {
    let before = out.len();
    // Writing to a Vec does not fail.
    let _ = write!(
        out,
        ",\"symbol\":\"SYM{:04}-USD\",\"type\":\"depth_update\",\"exchange\":\"XSIM\",\"update_id\":{}",
        stream % 10_000,
        900_000_000 + sequence
    );
    if out.len() > end {
        out.truncate(before);
    }
}

fn push_level(random: &mut fastrand::Rng, middle_cents: u64, level: u64, out: &mut Vec<u8>) {
    let is_bid = level.is_multiple_of(2);
    let depth = level / 2 + 1;
    let cents = if is_bid {
        middle_cents.saturating_sub(depth)
    } else {
        middle_cents + depth
    };
    let _ = write!(
        out,
        "{}{{\"side\":\"{}\",\"price\":\"{}.{:02}\",\"size\":\"{}.{:03}\",\"orders\":{}}}",
        if level == 0 { ",\"levels\":[" } else { "," },
        if is_bid { "bid" } else { "ask" },
        cents / 100,
        cents % 100,
        random.u32(0..40),
        random.u32(0..200) * 5,
        random.u32(1..9)
    );
}

fn pad(end: usize, out: &mut Vec<u8>) {
    let room = end.saturating_sub(out.len());
    if room > PAD_FRAME.len() {
        out.extend_from_slice(PAD_FRAME);
        out.resize(end - 1, b'-');
        out.push(b'"');
    } else {
        // White space between tokens means nothing.
        out.resize(end, b' ');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(stream: u32, sequence: u64, size: usize) -> Vec<u8> {
        let mut out = b"{\"stamp\":0".to_vec();
        append(stream, sequence, size, &mut out);
        out
    }

    #[test]
    fn every_size_is_met_and_is_json() {
        for size in (1..600).chain([1_024, 4_096, 65_536]) {
            let text = object(7, 12_345, size);
            assert_eq!(text.len(), size + 10, "size {size}");
            let parsed = serde_json::from_slice::<serde_json::Value>(&text);
            assert!(
                parsed.is_ok(),
                "size {size}: {}",
                String::from_utf8_lossy(&text)
            );
        }
    }

    #[test]
    fn the_same_message_is_the_same_document_and_others_differ() {
        assert_eq!(object(1, 2, 900), object(1, 2, 900));
        assert_ne!(object(1, 2, 900), object(1, 3, 900));
        assert_ne!(object(1, 2, 900), object(2, 2, 900));
    }
}
