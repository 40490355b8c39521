//! Extension negotiation: the grammar of `Sec-WebSocket-Extensions` (RFC 6455 9.1) and the
//! parameters of permessage-deflate (RFC 7692 7.1). Linear in the size of the header.

use std::io::Write as _;

use super::fields::{is_token, split_unquoted, trim};
use crate::deflate::{DEFLATE_WINDOW_BITS_MIN, DeflateParameters, WINDOW_BITS_MAX};

pub(super) const DEFLATE: &str = "permessage-deflate";
/// Smallest window that can be agreed on, in bits (RFC 7692 7.1.2).
const WINDOW_BITS_MIN: u8 = 8;

/// What the server wants of permessage-deflate (RFC 7692 7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeflatePolicy {
    /// Compress each message from an empty window even if the client does not ask for it.
    pub server_no_context_takeover: bool,
    /// Require the client to compress each message from an empty window.
    pub client_no_context_takeover: bool,
    /// Largest window the server will use, 9 to 15 bits. zlib has none of 8, so an offer that
    /// asks for that is declined.
    pub server_max_window_bits: u8,
    /// Largest window the client may use, 8 to 15 bits. A client that does not let its window be
    /// limited is required to compress each message from an empty one instead, so that no memory
    /// is held for it between messages.
    pub client_max_window_bits: u8,
}

impl Default for DeflatePolicy {
    /// No memory per connection: every message stands alone, and windows of 4 KiB.
    fn default() -> Self {
        Self {
            server_no_context_takeover: true,
            client_no_context_takeover: true,
            server_max_window_bits: 12,
            client_max_window_bits: 12,
        }
    }
}

/// What the client offers of permessage-deflate (RFC 7692 7.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeflateOffer {
    /// Ask the server to compress each message from an empty window.
    pub server_no_context_takeover: bool,
    /// Tell the server that the client will compress each message from an empty window.
    pub client_no_context_takeover: bool,
    /// Ask the server for a window of at most this many bits, 8 to 15.
    pub server_max_window_bits: Option<u8>,
    /// Let the server limit the client's window; 15 is sent without a value, others as a hint.
    /// If the server answers with 8, messages are sent plain: zlib has no such window.
    pub client_max_window_bits: Option<u8>,
}

impl DeflateOffer {
    pub(super) fn is_valid(&self) -> bool {
        let is_size = |bits: Option<u8>| bits.is_none_or(is_window_bits);
        is_size(self.server_max_window_bits) && is_size(self.client_max_window_bits)
    }

    /// Appends the offer as an element of `Sec-WebSocket-Extensions`.
    pub(super) fn write_to(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(DEFLATE.as_bytes());
        // Writing to a vector cannot fail.
        if self.server_no_context_takeover {
            out.extend_from_slice(b"; server_no_context_takeover");
        }
        if self.client_no_context_takeover {
            out.extend_from_slice(b"; client_no_context_takeover");
        }
        if let Some(bits) = self.server_max_window_bits {
            let _ = write!(out, "; server_max_window_bits={bits}");
        }
        match self.client_max_window_bits {
            Some(WINDOW_BITS_MAX) => out.extend_from_slice(b"; client_max_window_bits"),
            Some(bits) => {
                let _ = write!(out, "; client_max_window_bits={bits}");
            }
            None => {}
        }
    }

    /// What is agreed on when the server answered this offer with `answer`; `None` when the
    /// answer does not fit the offer and the connection must be failed (RFC 7692 5.1).
    pub(super) fn agree(&self, answer: &Parameters) -> Option<DeflateParameters> {
        if self.server_no_context_takeover && !answer.server_no_context_takeover {
            return None;
        }
        let server_bits = answer.server_max_window_bits.unwrap_or(WINDOW_BITS_MAX);
        if self
            .server_max_window_bits
            .is_some_and(|asked| server_bits > asked)
        {
            return None;
        }
        let client_bits = match (self.client_max_window_bits, answer.client_max_window_bits) {
            // RFC 7692 7.1.2.2: not in a response unless it was offered, and with a value.
            (None, Some(_)) | (Some(_), Some(None)) => return None,
            (Some(hint), Some(Some(bits))) => bits.min(hint),
            (Some(hint), None) => hint,
            (None, None) => WINDOW_BITS_MAX,
        };
        Some(DeflateParameters {
            server_no_context_takeover: answer.server_no_context_takeover,
            client_no_context_takeover: self.client_no_context_takeover
                || answer.client_no_context_takeover,
            server_max_window_bits: server_bits,
            client_max_window_bits: client_bits,
        })
    }
}

/// The parameters of one permessage-deflate element, as written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Parameters {
    pub server_no_context_takeover: bool,
    pub client_no_context_takeover: bool,
    pub server_max_window_bits: Option<u8>,
    /// Present, and with or without a value.
    pub client_max_window_bits: Option<Option<u8>>,
}

impl Parameters {
    /// Reads an element; `None` for other extensions, and for parameters that are unknown, given
    /// twice or have a value they may not have: such an offer is declined (RFC 7692 7).
    pub(super) fn parse(element: &str) -> Option<Self> {
        let (name, mut rest) = split_unquoted(element, b';');
        // RFC 6455 9.1 has the names of registered extensions as tokens, compared as they are.
        if trim(name) != DEFLATE {
            return None;
        }
        let mut parsed = Self::default();
        while let Some(text) = rest {
            let (parameter, next) = split_unquoted(text, b';');
            rest = next;
            let (name, value) = split_parameter(parameter);
            let is_new = match (name, value) {
                ("server_no_context_takeover", None) => {
                    !std::mem::replace(&mut parsed.server_no_context_takeover, true)
                }
                ("client_no_context_takeover", None) => {
                    !std::mem::replace(&mut parsed.client_no_context_takeover, true)
                }
                ("server_max_window_bits", Some(value)) => parsed
                    .server_max_window_bits
                    .replace(parse_window_bits(value)?)
                    .is_none(),
                ("client_max_window_bits", value) => {
                    let bits = match value {
                        Some(value) => Some(parse_window_bits(value)?),
                        None => None,
                    };
                    parsed.client_max_window_bits.replace(bits).is_none()
                }
                _ => return None,
            };
            if !is_new {
                return None;
            }
        }
        Some(parsed)
    }

    /// What a server with `policy` agrees on when it accepts this offer; `None` to decline it.
    pub(super) fn negotiate(&self, policy: &DeflatePolicy) -> Option<DeflateParameters> {
        let own_bits = policy
            .server_max_window_bits
            .clamp(DEFLATE_WINDOW_BITS_MIN, WINDOW_BITS_MAX);
        let server_bits = own_bits.min(self.server_max_window_bits.unwrap_or(WINDOW_BITS_MAX));
        if server_bits < DEFLATE_WINDOW_BITS_MIN {
            return None;
        }
        let wanted_bits = policy
            .client_max_window_bits
            .clamp(WINDOW_BITS_MIN, WINDOW_BITS_MAX);
        let (client_bits, is_limited) = match self.client_max_window_bits {
            Some(hint) => (wanted_bits.min(hint.unwrap_or(WINDOW_BITS_MAX)), true),
            None => (WINDOW_BITS_MAX, wanted_bits == WINDOW_BITS_MAX),
        };
        Some(DeflateParameters {
            server_no_context_takeover: policy.server_no_context_takeover
                || self.server_no_context_takeover,
            client_no_context_takeover: policy.client_no_context_takeover
                || self.client_no_context_takeover
                || !is_limited,
            server_max_window_bits: server_bits,
            client_max_window_bits: client_bits,
        })
    }

    /// Whether `agreed` is an answer that this offer allows (RFC 7692 7.1).
    pub(super) fn allows(&self, agreed: &DeflateParameters) -> bool {
        let server_bits_max = self.server_max_window_bits.unwrap_or(WINDOW_BITS_MAX);
        is_window_bits(agreed.server_max_window_bits)
            && is_window_bits(agreed.client_max_window_bits)
            && agreed.server_max_window_bits <= server_bits_max
            && (agreed.server_no_context_takeover || !self.server_no_context_takeover)
            && (agreed.client_max_window_bits == WINDOW_BITS_MAX
                || self.client_max_window_bits.is_some())
    }

    /// Appends `agreed` as the answer to this offer.
    pub(super) fn write_answer(&self, agreed: &DeflateParameters, out: &mut Vec<u8>) {
        out.extend_from_slice(DEFLATE.as_bytes());
        if agreed.server_no_context_takeover {
            out.extend_from_slice(b"; server_no_context_takeover");
        }
        if agreed.client_no_context_takeover {
            out.extend_from_slice(b"; client_no_context_takeover");
        }
        // RFC 7692 7.1.2.1: an offer that names the parameter is accepted by naming it.
        if agreed.server_max_window_bits < WINDOW_BITS_MAX || self.server_max_window_bits.is_some()
        {
            let _ = write!(
                out,
                "; server_max_window_bits={}",
                agreed.server_max_window_bits
            );
        }
        if agreed.client_max_window_bits < WINDOW_BITS_MAX {
            let _ = write!(
                out,
                "; client_max_window_bits={}",
                agreed.client_max_window_bits
            );
        }
    }
}

/// Whether an element of `Sec-WebSocket-Extensions` has the form of RFC 6455 9.1.
pub(super) fn is_element(element: &str) -> bool {
    let (name, mut rest) = split_unquoted(element, b';');
    if !is_token(trim(name)) {
        return false;
    }
    while let Some(text) = rest {
        let (parameter, next) = split_unquoted(text, b';');
        rest = next;
        let (name, value) = split_parameter(parameter);
        if !is_token(name) || value.is_some_and(|value| !is_parameter_value(value)) {
            return false;
        }
    }
    true
}

/// The elements of one `Sec-WebSocket-Extensions` header, trimmed; empty ones are skipped.
pub(super) fn elements(value: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(value);
    std::iter::from_fn(move || {
        let (element, next) = split_unquoted(rest?, b',');
        rest = next;
        Some(trim(element))
    })
    .filter(|element| !element.is_empty())
}

fn split_parameter(parameter: &str) -> (&str, Option<&str>) {
    let (name, value) = split_unquoted(parameter, b'=');
    (trim(name), value.map(trim))
}

/// A token, or a quoted string that would be a token without its quotes (RFC 6455 9.1).
fn is_parameter_value(value: &str) -> bool {
    match value.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"').is_some_and(|inner| {
            let mut unescaped = inner.bytes();
            let mut is_valid = !inner.is_empty();
            while let Some(byte) = unescaped.next() {
                let meant = if byte == b'\\' {
                    unescaped.next()
                } else {
                    Some(byte)
                };
                is_valid &= meant.is_some_and(super::fields::is_token_byte);
            }
            is_valid
        }),
        None => is_token(value),
    }
}

/// 8 to 15 in decimal without leading zeros (RFC 7692 7.1.2), bare or in quotes.
fn parse_window_bits(value: &str) -> Option<u8> {
    let bare = value
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .unwrap_or(value);
    match bare {
        "8" => Some(8),
        "9" => Some(9),
        "10" => Some(10),
        "11" => Some(11),
        "12" => Some(12),
        "13" => Some(13),
        "14" => Some(14),
        "15" => Some(15),
        _ => None,
    }
}

fn is_window_bits(bits: u8) -> bool {
    (WINDOW_BITS_MIN..=WINDOW_BITS_MAX).contains(&bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offers_are_parsed_or_declined() {
        let parse = |text: &str| Parameters::parse(&format!("permessage-deflate{text}"));
        assert_eq!(parse(""), Some(Parameters::default()));
        let bits = |text| parse(text).map(|found| found.server_max_window_bits);
        assert_eq!(bits("; server_max_window_bits=8"), Some(Some(8)));
        assert_eq!(bits(" ;server_max_window_bits=\"15\" "), Some(Some(15)));
        let client = |text| parse(text).map(|found| found.client_max_window_bits);
        assert_eq!(client("; client_max_window_bits"), Some(Some(None)));
        assert_eq!(client("; client_max_window_bits=10"), Some(Some(Some(10))));
        for declined in [
            "; server_max_window_bits",
            "; server_max_window_bits=7",
            "; server_max_window_bits=16",
            "; server_max_window_bits=08",
            "; server_max_window_bits=+9",
            "; server_max_window_bits=9; server_max_window_bits=9",
            "; server_no_context_takeover=1",
            "; client_no_context_takeover; client_no_context_takeover",
            "; unknown",
            "; client_max_window_bits=",
            ";",
        ] {
            assert_eq!(parse(declined), None, "{declined}");
        }
        assert_eq!(Parameters::parse("x-webkit-deflate-frame"), None);
    }

    #[test]
    fn the_grammar_of_elements() {
        for element in ["a", "a; b", "a;b=c", "a; b=\"c\"", "a; b=\"c\\d\"; e"] {
            assert!(is_element(element), "{element}");
        }
        for element in [
            "",
            ";",
            "a;",
            "a; =b",
            "a b",
            "a; b=",
            "a; b=\"\"",
            "a; b=\"c d\"",
            "a; b=\"c",
        ] {
            assert!(!is_element(element), "{element}");
        }
        assert_eq!(
            elements("a, b;c=\"x,y\" ,,d").collect::<Vec<_>>(),
            ["a", "b;c=\"x,y\"", "d"]
        );
    }

    #[test]
    fn a_window_of_256_bytes_is_declined_by_the_server() {
        let offer = Parameters {
            server_max_window_bits: Some(8),
            ..Parameters::default()
        };
        assert_eq!(offer.negotiate(&DeflatePolicy::default()), None);
    }
}
