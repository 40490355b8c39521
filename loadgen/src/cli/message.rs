//! The options that say what messages are.

use clap::{Args, ValueEnum};
use fanwire_protocol::MessageKind;

use crate::config::Config;
use crate::payload::Verify;
use crate::quantity::parse_size;

/// What messages are.
#[derive(Args, Debug)]
pub struct MessageArguments {
    /// Payload bytes of a message
    #[arg(short, long, default_value = "64", value_name = "BYTES", value_parser = parse_size)]
    size: u64,
    /// Send text messages (printable ASCII)
    #[arg(long, conflicts_with = "binary")]
    text: bool,
    /// Send binary messages (the default)
    #[arg(long)]
    binary: bool,
    /// How much of every reply is checked
    #[arg(long, value_enum, default_value = "full")]
    verify: VerifyChoice,
}

/// `--verify`.
#[derive(ValueEnum, Clone, Copy, Debug)]
enum VerifyChoice {
    /// Replies are counted in order and not looked at
    None,
    /// The length must be right
    Len,
    /// Every byte must be right
    Full,
}

/// Largest payload of a message.
const MESSAGE_SIZE_MAX: u64 = 64 * 1024 * 1024;
impl MessageArguments {
    /// Puts the settings into `config`.
    ///
    /// # Errors
    /// One or two sentences with cause and cure.
    pub fn apply(self, config: Config) -> Result<Config, String> {
        let message = self;
        if message.size > MESSAGE_SIZE_MAX {
            return Err("--size must be at most 64MiB".into());
        }
        Ok(Config {
            message_size: message.size as usize,
            kind: if message.text {
                MessageKind::Text
            } else {
                MessageKind::Binary
            },
            verify: match message.verify {
                VerifyChoice::None => Verify::None,
                VerifyChoice::Len => Verify::Length,
                VerifyChoice::Full => Verify::Full,
            },
            ..config
        })
    }
}
