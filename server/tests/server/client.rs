//! A client made of a blocking socket and nothing else, so that tests control every byte.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use fanwire_server::{Running, ShardCounters};

/// How long anything may take before the test fails.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;

/// A valid request without its last line, so that headers can be added.
pub const REQUEST: &str = "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
                           Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                           Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// A frame as a client sends it.
pub fn frame(first_byte: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first_byte];
    match payload.len() {
        length @ 0..=125 => bytes.push(0x80 | length as u8),
        length @ 126..=0xffff => {
            bytes.push(0x80 | 126);
            bytes.extend((length as u16).to_be_bytes());
        }
        length => {
            bytes.push(0x80 | 127);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    let key = [0x3d, 0xa1, 0x00, 0x7f];
    bytes.extend(key);
    bytes.extend(
        payload
            .iter()
            .zip(key.iter().cycle())
            .map(|(byte, key)| byte ^ key),
    );
    bytes
}

/// A whole message in one frame.
pub fn message(opcode: u8, payload: &[u8]) -> Vec<u8> {
    frame(0x80 | opcode, payload)
}

/// One frame from the server.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame {
    pub first_byte: u8,
    pub payload: Vec<u8>,
}

impl Frame {
    pub fn opcode(&self) -> u8 {
        self.first_byte & 15
    }

    /// The status code of a Close frame; 1005 if it has none.
    pub fn close_code(&self) -> u16 {
        assert_eq!(self.opcode(), CLOSE, "{self:?}");
        match self.payload.as_slice() {
            [high, low, ..] => u16::from_be_bytes([*high, *low]),
            _ => 1005,
        }
    }
}

pub struct Client {
    pub stream: TcpStream,
}

impl Client {
    /// A TCP connection and nothing more.
    pub fn connect(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).expect("connect");
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("a time limit");
        stream
            .set_write_timeout(Some(PATIENCE))
            .expect("a time limit");
        stream.set_nodelay(true).expect("an option");
        Client { stream }
    }

    /// A WebSocket connection.
    pub fn open(address: SocketAddr) -> Client {
        let mut client = Client::connect(address);
        client.send(format!("{REQUEST}\r\n").as_bytes());
        let (status, head, _) = client.response();
        assert_eq!(status, 101, "{head}");
        client
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.stream
            .write_all(bytes)
            .expect("the server takes bytes");
    }

    /// Sends without minding that the server may have closed.
    pub fn try_send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Reads an HTTP response: status, head, body. For a 101 nothing behind the head is read.
    pub fn response(&mut self) -> (u16, String, String) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.stream
                .read_exact(&mut byte)
                .expect("a whole response head");
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).expect("a head in ASCII");
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|code| code.parse().ok())
            .expect("a status");
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("Content-Length: "))
            .map_or(0, |length| length.parse().expect("a length"));
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).expect("the whole body");
        (
            status,
            head,
            String::from_utf8(body).expect("a body in UTF-8"),
        )
    }

    /// Reads one frame; `None` at the end of the stream.
    pub fn try_frame(&mut self) -> Option<Frame> {
        let mut header = [0; 2];
        match self.stream.read_exact(&mut header) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return None,
            Err(error) => panic!("reading a frame: {error}"),
        }
        assert_eq!(header[1] & 0x80, 0, "a server does not mask");
        let length = match header[1] {
            126 => {
                let mut length = [0; 2];
                self.stream.read_exact(&mut length).expect("a length");
                u64::from(u16::from_be_bytes(length))
            }
            127 => {
                let mut length = [0; 8];
                self.stream.read_exact(&mut length).expect("a length");
                u64::from_be_bytes(length)
            }
            length => u64::from(length),
        };
        let mut payload = vec![0; length as usize];
        self.stream.read_exact(&mut payload).expect("a payload");
        Some(Frame {
            first_byte: header[0],
            payload,
        })
    }

    pub fn frame(&mut self) -> Frame {
        self.try_frame()
            .expect("a frame, not the end of the stream")
    }

    /// Sends a text message and checks that it comes back.
    pub fn check_echo(&mut self, text: &str) {
        self.send(&message(TEXT, text.as_bytes()));
        let expected = Frame {
            first_byte: 0x80 | TEXT,
            payload: text.as_bytes().to_vec(),
        };
        assert_eq!(self.frame(), expected);
    }

    /// Reads up to the Close frame and gives its status code; then the stream must end after our
    /// answer, without a reset.
    pub fn expect_close(&mut self) -> u16 {
        loop {
            let frame = self.frame();
            if frame.opcode() == CLOSE {
                let code = frame.close_code();
                self.try_send(&message(
                    CLOSE,
                    &frame.payload[..frame.payload.len().min(2)],
                ));
                assert_eq!(self.try_frame(), None, "nothing may follow a Close frame");
                // The server waits for our end of the stream; it may also have left already.
                let _ = self.stream.shutdown(Shutdown::Both);
                return code;
            }
        }
    }

    /// Reads to the end, however it comes, and gives what was read.
    pub fn read_to_end(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        match self.stream.read_to_end(&mut bytes) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            Err(error) => panic!("waiting for the end: {error}"),
        }
        bytes
    }

    pub fn finish(&self) {
        self.stream.shutdown(Shutdown::Write).expect("half-close");
    }
}

/// Asks for the counters until they are as wanted.
pub fn wait_for(server: &mut Running, what: &str, is_so: impl Fn(&ShardCounters) -> bool) {
    let until = Instant::now() + PATIENCE;
    loop {
        let counters = server.counters();
        if is_so(&counters) {
            return;
        }
        assert!(Instant::now() < until, "{what} did not come: {counters}");
        std::thread::yield_now();
    }
}
