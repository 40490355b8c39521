//! What is typed at a live view.
//!
//! Owns telling a key from the bytes that a terminal sends for it. What a key does is the views'
//! affair, where the bytes come from `terminal`'s.

/// A key that means something to a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// `q`: end the run.
    End,
    /// Arrow down or right, tab: the next of several.
    Next,
    /// Arrow up or left, shift with tab: the one before.
    Previous,
}

const ESCAPE: u8 = 0x1b;
/// Longer sequences than any key has; what goes on beyond is taken for typed letters.
const SEQUENCE_BYTES_MAX: usize = 32;

/// Puts keys together from what is read.
#[derive(Debug, Default)]
pub struct Keys {
    /// The begin of a sequence whose rest is still to come.
    begun: Vec<u8>,
}

impl Keys {
    /// The keys in what was read since the last call, which may be nothing. A sequence that does
    /// not go on by the next call was the escape key.
    pub fn read(&mut self, bytes: &[u8]) -> Vec<Key> {
        let mut joined = std::mem::take(&mut self.begun);
        if bytes.is_empty() {
            return Vec::new();
        }
        joined.extend_from_slice(bytes);
        let mut keys = Vec::new();
        let mut rest = joined.as_slice();
        while let [first, after @ ..] = rest {
            if *first != ESCAPE {
                keys.extend(plain(*first));
                rest = after;
                continue;
            }
            match sequence_length(after) {
                Some(length) => {
                    let (sequence, others) = after.split_at(length);
                    keys.extend(named(sequence));
                    rest = others;
                }
                None => {
                    if rest.len() <= SEQUENCE_BYTES_MAX {
                        self.begun = rest.to_vec();
                    }
                    break;
                }
            }
        }
        keys
    }
}

fn plain(byte: u8) -> Option<Key> {
    match byte {
        b'q' | b'Q' => Some(Key::End),
        b'\t' => Some(Key::Next),
        _ => None,
    }
}

/// How many bytes behind an escape belong to it; `None` when the last of them is still to come.
/// ECMA-48 (5.4) has the form of a control sequence; a letter behind `ESC O`, or any other single
/// byte, is a key of its own.
fn sequence_length(after: &[u8]) -> Option<usize> {
    match after {
        [] | [b'O'] => None,
        [b'O', ..] => Some(2),
        [b'[', parameters @ ..] => {
            let end = parameters
                .iter()
                .position(|byte| !(0x20..=0x3f).contains(byte));
            end.map(|end| end + 2)
        }
        _ => Some(1),
    }
}

fn named(sequence: &[u8]) -> Option<Key> {
    match sequence {
        [b'[' | b'O', b'B' | b'C'] => Some(Key::Next),
        [b'[' | b'O', b'A' | b'D'] | [b'[', b'Z'] => Some(Key::Previous),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(bytes: &[u8]) -> Vec<Key> {
        Keys::default().read(bytes)
    }

    #[test]
    fn keys_are_told_apart() {
        assert_eq!(read(b"q"), [Key::End]);
        assert_eq!(read(b"xQ"), [Key::End]);
        assert_eq!(read(b"\t\x1b[B\x1bOC"), [Key::Next; 3]);
        assert_eq!(read(b"\x1b[A\x1bOD\x1b[Z"), [Key::Previous; 3]);
        assert_eq!(read(b"\x1b[Aq"), [Key::Previous, Key::End]);
    }

    #[test]
    fn letters_inside_sequences_are_no_keys() {
        // Function keys, an arrow with shift, a letter with alt, a report of the terminal.
        for sequence in ["\x1bOq", "\x1b[24~", "\x1b[1;2A", "\x1bq", "\x1b[?1q"] {
            assert_eq!(read(sequence.as_bytes()), [], "{sequence:?}");
        }
    }

    #[test]
    fn a_sequence_may_come_in_parts_but_not_after_a_while() {
        let mut keys = Keys::default();
        assert_eq!(keys.read(b"\x1b"), []);
        assert_eq!(keys.read(b"["), []);
        assert_eq!(keys.read(b"B"), [Key::Next]);
        assert_eq!(keys.read(b"\x1b"), []);
        assert_eq!(keys.read(b""), []);
        assert_eq!(keys.read(b"q"), [Key::End], "the escape stood alone");
    }

    proptest! {
        #[test]
        fn cuts_change_nothing(bytes in prop::collection::vec(
            prop::sample::select(b"q\t\x1b[OABCDZ1;~".to_vec()), 1..20,
        ), cut in any::<prop::sample::Index>()) {
            let (first, second) = bytes.split_at(cut.index(bytes.len()));
            // A call without bytes would mean that time has passed.
            prop_assume!(!first.is_empty() && !second.is_empty());
            let mut keys = Keys::default();
            let mut parts = keys.read(first);
            parts.extend(keys.read(second));
            prop_assert_eq!(parts, read(&bytes));
        }
    }
}
