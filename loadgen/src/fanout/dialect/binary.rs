//! Data messages of `fanwire.v1.binary`: docs/protocol.md 5.

/// A data message from the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Data<'a> {
    /// The server's number of the topic.
    pub alias: u32,
    /// Number of the message.
    pub seq: u64,
    /// What was published.
    pub payload: &'a [u8],
}

const HEADER: usize = 16;
const FROM_SERVER: u8 = 1;
const PUBLISH: u8 = 2;
/// The payload is JSON.
pub const FLAG_JSON: u8 = 4;
/// The payload is other text.
pub const FLAG_TEXT: u8 = 8;
/// Answer with `published`.
pub const FLAG_ANSWER: u8 = 16;

/// Reads a binary message; `None` for one that breaks the protocol.
pub fn parse(message: &[u8]) -> Option<Data<'_>> {
    let (header, rest) = message.split_first_chunk::<HEADER>()?;
    if header[0] != FROM_SERVER {
        return None;
    }
    let key_size = usize::from(u16::from_le_bytes([header[2], header[3]]));
    let (_, payload) = rest.split_at_checked(key_size)?;
    let [_, _, _, _, a, b, c, d, seq @ ..] = *header;
    Some(Data {
        alias: u32::from_le_bytes([a, b, c, d]),
        seq: u64::from_le_bytes(seq),
        payload,
    })
}

/// Appends a publish. Topic and key are at most 65,535 bytes, which the command line checks.
pub fn write_publish(
    id: u64,
    topic: &str,
    key: Option<&str>,
    flags: u8,
    payload: &[u8],
    out: &mut Vec<u8>,
) {
    let key = key.unwrap_or("");
    out.extend_from_slice(&[PUBLISH, flags]);
    out.extend_from_slice(&(key.len() as u16).to_le_bytes());
    out.extend_from_slice(&(topic.len() as u16).to_le_bytes());
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(&id.to_le_bytes());
    out.extend_from_slice(topic.as_bytes());
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(payload);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layouts_of_the_protocol() {
        let mut message = vec![1, 4, 2, 0, 17, 0, 0, 0];
        message.extend_from_slice(&841u64.to_le_bytes());
        message.extend_from_slice(b"k1payload");
        assert_eq!(
            parse(&message),
            Some(Data {
                alias: 17,
                seq: 841,
                payload: b"payload"
            })
        );
        assert_eq!(parse(&message[..15]), None);
        message[2] = 200;
        assert_eq!(parse(&message), None, "the key is longer than the message");
        message[0] = 2;
        assert_eq!(parse(&message), None);
        let mut out = Vec::new();
        write_publish(
            9,
            "a.b",
            Some("k"),
            FLAG_JSON | FLAG_ANSWER,
            b"{}",
            &mut out,
        );
        assert_eq!(&out[..8], [2, 20, 1, 0, 3, 0, 0, 0]);
        assert_eq!(&out[8..16], 9u64.to_le_bytes());
        assert_eq!(&out[16..], b"a.bk{}");
    }
}
