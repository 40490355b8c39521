//! Names for connections that survive the reuse of their slot.
//!
//! A slot is reused as soon as the kernel has let go of it. A completion, a timer or a message
//! from another core may still carry the name of the previous tenant, so every name has a
//! generation, and a name of an earlier generation is simply not found.

/// Bits of a user data word: kind 8, generation 24, slot 32.
const KIND_SHIFT: u32 = 56;
const GENERATION_SHIFT: u32 = 32;
/// Generations wrap after this value.
pub(crate) const GENERATION_MASK: u32 = 0x00ff_ffff;

const _: () = assert!(GENERATION_SHIFT + 24 == KIND_SHIFT);
const _: () = assert!(size_of::<Token>() == 8);

/// One connection of one shard: a slot and the generation of its tenant.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct Token {
    slot: u32,
    generation: u32,
}

impl Token {
    pub(crate) fn new(slot: u32, generation: u32) -> Token {
        Token {
            slot,
            generation: generation & GENERATION_MASK,
        }
    }

    /// Dense index: slots start at 0 and the lowest free one is not guaranteed, but never more
    /// slots exist than connections were open at the same time.
    pub fn slot(self) -> usize {
        self.slot as usize
    }

    pub(crate) fn slot_u32(self) -> u32 {
        self.slot
    }

    /// Which tenant of the slot; wraps after 2^24.
    pub fn generation(self) -> u32 {
        self.generation
    }

    /// The token as one word, for logs and for messages between cores.
    pub fn to_bits(self) -> u64 {
        (u64::from(self.generation) << GENERATION_SHIFT) | u64::from(self.slot)
    }

    /// The inverse of [`Token::to_bits`].
    pub fn from_bits(bits: u64) -> Token {
        Token::new(bits as u32, (bits >> GENERATION_SHIFT) as u32)
    }
}

/// What an operation given to the kernel was for; the highest byte of its user data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Kind {
    Receive = 1,
    Writable = 2,
    /// A cancel or a close: its result does not matter.
    Discard = 3,
    Doorbell = 4,
    Wake = 5,
}

impl Kind {
    pub(crate) fn user_data(self, token: Token) -> u64 {
        (u64::from(self as u8) << KIND_SHIFT) | token.to_bits()
    }

    pub(crate) fn bare(self) -> u64 {
        u64::from(self as u8) << KIND_SHIFT
    }

    pub(crate) fn split(user_data: u64) -> (Option<Kind>, Token) {
        let kind = match (user_data >> KIND_SHIFT) as u8 {
            1 => Some(Kind::Receive),
            2 => Some(Kind::Writable),
            3 => Some(Kind::Discard),
            4 => Some(Kind::Doorbell),
            5 => Some(Kind::Wake),
            _ => None,
        };
        (kind, Token::from_bits(user_data))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_data_carries_kind_generation_and_slot() {
        let token = Token::new(0xdead_beef, 0x00ab_cdef);
        for kind in [
            Kind::Receive,
            Kind::Writable,
            Kind::Discard,
            Kind::Doorbell,
            Kind::Wake,
        ] {
            assert_eq!(Kind::split(kind.user_data(token)), (Some(kind), token));
        }
        assert_eq!(Kind::split(0xff << KIND_SHIFT).0, None);
    }

    #[test]
    fn generations_wrap_inside_their_field() {
        let token = Token::new(1, GENERATION_MASK + 5);
        assert_eq!(token.generation(), 4);
        assert_eq!(Token::from_bits(token.to_bits()), token);
    }
}
