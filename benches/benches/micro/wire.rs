//! The bytes that every library is given: payloads and masked frames, made here and by nobody's
//! encoder, the same for all.

/// Payload sizes in bytes at which every step is measured.
pub const SIZES: [usize; 7] = [16, 64, 256, 1024, 4 * 1024, 16 * 1024, 64 * 1024];

/// A masking key without a zero byte, so that no library can take a shortcut.
pub const MASKING_KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

pub const OPCODE_CONTINUATION: u8 = 0;
pub const OPCODE_TEXT: u8 = 1;
pub const OPCODE_BINARY: u8 = 2;

/// Market data as JSON, repeated and cut to `size` bytes: ASCII, and about as compressible as
/// what such a server carries.
pub fn ascii_payload(size: usize) -> Vec<u8> {
    let mut payload = Vec::with_capacity(size + 128);
    let mut sequence = 184_467u64;
    while payload.len() < size {
        // A fixed multiplier makes the digits look like prices, the same ones in every run.
        let noise = sequence.wrapping_mul(6_364_136_223_846_793_005) >> 40;
        let entry = format!(
            "{{\"topic\":\"book.BTC-USD\",\"seq\":{sequence},\"price\":\"{}.{:02}\",\"size\":\"{}\"}},",
            60_000 + noise % 997,
            noise % 100,
            noise % 8191,
        );
        payload.extend_from_slice(entry.as_bytes());
        sequence += 1;
    }
    payload.truncate(size);
    payload
}

/// Text of exactly `size` bytes in which characters of one to four bytes alternate.
pub fn mixed_payload(size: usize) -> Vec<u8> {
    let mut text = String::with_capacity(size + 4);
    for character in "Börse Москва 取引所 €/£ 📈 plain words ".chars().cycle() {
        if text.len() + character.len_utf8() > size {
            break;
        }
        text.push(character);
    }
    while text.len() < size {
        text.push('.');
    }
    text.into_bytes()
}

/// One frame as a client sends it.
pub fn masked_frame(opcode: u8, is_final: bool, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(payload.len() + 14);
    frame.push(opcode | if is_final { 0x80 } else { 0 });
    match payload.len() {
        length @ ..126 => frame.push(0x80 | length as u8),
        length @ ..65_536 => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            frame.push(0x80 | 127);
            frame.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&MASKING_KEY);
    frame.extend(
        payload
            .iter()
            .zip(MASKING_KEY.iter().cycle())
            .map(|(byte, key)| byte ^ key),
    );
    frame
}

/// One message in four frames.
pub fn fragmented_message(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let quarter = payload.len().div_ceil(4);
    let count = payload.len().div_ceil(quarter);
    let mut wire = Vec::with_capacity(payload.len() + 64);
    for (index, part) in payload.chunks(quarter).enumerate() {
        let opcode = if index == 0 {
            opcode
        } else {
            OPCODE_CONTINUATION
        };
        wire.extend_from_slice(&masked_frame(opcode, index + 1 == count, part));
    }
    wire
}

/// A request head as a browser sends it: what matters between what does not.
pub const REQUEST_HEAD: &[u8] = b"GET /stream?symbols=BTC-USD HTTP/1.1\r\n\
Host: feed.example.com:9001\r\n\
Connection: Upgrade\r\n\
Pragma: no-cache\r\n\
Cache-Control: no-cache\r\n\
User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/140.0.0.0 Safari/537.36\r\n\
Upgrade: websocket\r\n\
Origin: https://feed.example.com\r\n\
Sec-WebSocket-Version: 13\r\n\
Accept-Encoding: gzip, deflate, br\r\n\
Accept-Language: en-GB,en;q=0.9\r\n\
Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
\r\n";
