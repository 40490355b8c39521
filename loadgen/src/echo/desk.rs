//! What the connections of a thread share: codec, limits, random numbers, and the sheet that
//! everything is counted on.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use fanwire_protocol::{MaskingKey, Settings};
use fanwire_reactor::host::monotonic_ns;

use crate::config::Config;
use crate::measure::tally::Sheet;
use crate::message::messages::{Masking, Messages, Recipe};
use crate::message::template::Template;
use crate::pace::plan::Window;

/// What the connections of a thread share.
#[derive(Debug)]
pub struct Desk {
    /// Writes messages and recognises replies.
    pub messages: Messages,
    /// Sent as text on every connection before any load.
    pub first_messages: Arc<[Template]>,
    /// Messages are cut into frames of at most this many payload bytes.
    pub fragment_size_bytes: Option<usize>,
    /// Whether latency is also kept from the actual send time (open loop).
    pub keeps_service: bool,
    /// When measuring starts and stops, once that is known.
    pub window: Option<Window>,
    /// What this thread counted.
    pub sheet: Sheet,
    pub(super) settings: Arc<Settings>,
    random: fastrand::Rng,
    /// The masking key of all frames, where they are not to differ.
    constant_key: Option<MaskingKey>,
    /// Memory for the payload of the message that is being written.
    pub(super) payload: Vec<u8>,
}

impl Desk {
    /// `seed` must differ between threads: it decides the masking keys.
    pub fn new(messages: Messages, masking: Masking, keeps_service: bool, seed: u64) -> Desk {
        let mut settings = Settings::client();
        // Replies are as large as our own messages. Room for twice that lets a wrong reply be
        // counted as wrong; more than that is refused with 1009.
        let size = messages.size_hint();
        settings.message_size_max = settings.message_size_max.max(2 * size);
        settings.frame_size_max = settings.frame_size_max.max(2 * size as u64);
        let mut random = fastrand::Rng::with_seed(seed);
        let constant_key = match masking {
            Masking::Fresh => None,
            Masking::Fixed => Some(MaskingKey(random.u32(1..).to_le_bytes())),
            Masking::Zero => Some(MaskingKey([0; 4])),
        };
        Desk {
            messages,
            first_messages: Arc::default(),
            fragment_size_bytes: None,
            keeps_service,
            window: None,
            sheet: Sheet::default(),
            settings: Arc::new(settings),
            random,
            constant_key,
            payload: Vec::new(),
        }
    }

    /// The desk of thread `thread` (0-based) of a run.
    pub fn of(config: &Config, thread: usize) -> Desk {
        // Any odd constant keeps the threads' masking keys apart.
        let seed = config
            .seed
            .wrapping_add((thread as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        // A clock before 1970 shows itself as Unix time 0.
        let unix_ns = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |elapsed| elapsed.as_nanos() as u64);
        let unix_offset_ns = unix_ns.saturating_sub(monotonic_ns());
        let messages = Messages::new(Recipe::of(config), !seed, unix_offset_ns);
        let message = &config.message;
        let mut desk = Desk::new(messages, message.masking, config.is_open_loop(), seed);
        desk.first_messages = message.first_messages.as_slice().into();
        desk.fragment_size_bytes = message.fragment_size_bytes;
        desk
    }

    /// The masking key for one frame, a fresh one (RFC 6455 5.3) unless asked otherwise. The
    /// generator is seeded and not cryptographic: a load test wants runs that repeat, and its
    /// payloads are no attacker's.
    #[inline]
    pub fn masking_key(&mut self) -> MaskingKey {
        match self.constant_key {
            None => MaskingKey(self.random.u32(..).to_le_bytes()),
            Some(key) => key,
        }
    }

    /// Sixteen bytes for `Sec-WebSocket-Key`.
    pub fn nonce(&mut self) -> [u8; 16] {
        self.random.u128(..).to_le_bytes()
    }
}
