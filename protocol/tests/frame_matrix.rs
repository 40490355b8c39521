//! Every first byte with every mask bit and every class of length, in every encoding of that
//! length, in both roles, with and without compression, inside and outside a fragmented message,
//! whole and at every split of the header: the verdict must be that of a slow, literal reading of
//! RFC 6455 5.2 to 5.5, and no header may cost memory.

mod common;

use std::sync::Arc;

use common::{Seen, feed, frame};
use fanwire_protocol::ProtocolError as E;
use fanwire_protocol::{
    Connection, DeflateParameters, ProtocolError, Role, Settings, Workspace, WorkspaceLimits,
};

const LIMIT: u64 = 1000;

const LENGTHS: [u64; 16] = [
    0,
    1,
    2,
    125,
    126,
    127,
    LIMIT - 1,
    LIMIT,
    LIMIT + 1,
    65_535,
    65_536,
    1 << 31,
    1 << 32,
    u64::MAX >> 1,
    1 << 63,
    u64::MAX,
];

#[derive(Clone, Copy, Debug)]
struct Case {
    role: Role,
    deflate: bool,
    in_message: bool,
    first: u8,
    masked: bool,
    length: u64,
    /// Bytes of extended length: 0, 2 or 8.
    extended: usize,
}

impl Case {
    fn header(&self) -> Vec<u8> {
        let mask = if self.masked { 0x80 } else { 0 };
        let mut bytes = vec![self.first];
        match self.extended {
            0 => bytes.push(mask | self.length as u8),
            2 => {
                bytes.push(mask | 126);
                bytes.extend((self.length as u16).to_be_bytes());
            }
            _ => {
                bytes.push(mask | 127);
                bytes.extend(self.length.to_be_bytes());
            }
        }
        if self.masked {
            bytes.extend([1, 2, 3, 4]);
        }
        bytes
    }

    /// The rules one after the other, in the order of the bytes that break them.
    fn verdict(&self) -> Result<(), ProtocolError> {
        let opcode = self.first & 0x0f;
        let is_final = self.first & 0x80 != 0;
        let is_control = opcode >= 8;
        let starts_message = opcode == 1 || opcode == 2;
        let rsv1 = self.first & 0x40 != 0;
        if self.first & 0x30 != 0 {
            return Err(E::ReservedBitSet);
        }
        if !matches!(opcode, 0..=2 | 8..=10) {
            return Err(E::UnknownOpcode(opcode));
        }
        if rsv1 && !(self.deflate && starts_message) {
            return Err(E::ReservedBitSet);
        }
        if is_control && !is_final {
            return Err(E::ControlFrameFragmented);
        }
        if starts_message && self.in_message {
            return Err(E::DataFrameInsideMessage);
        }
        if opcode == 0 && !self.in_message {
            return Err(E::ContinuationWithoutStart);
        }
        match (self.role, self.masked) {
            (Role::Server, false) => return Err(E::FrameNotMasked),
            (Role::Client, true) => return Err(E::FrameMasked),
            (Role::Server, true) | (Role::Client, false) => {}
        }
        if is_control && self.extended > 0 {
            return Err(E::ControlFrameTooLong);
        }
        if opcode == 8 && self.length == 1 {
            return Err(E::ClosePayloadOneByte);
        }
        if self.length >> 63 == 1 {
            return Err(E::LengthTopBitSet);
        }
        let minimal = match self.length {
            0..=125 => 0,
            126..=65_535 => 2,
            _ => 8,
        };
        if self.extended != minimal {
            return Err(E::LengthNotMinimal);
        }
        // One byte of the message is there already when it is inside one.
        let room = LIMIT - u64::from(self.in_message);
        let room = if rsv1 { LIMIT + LIMIT / 8 + 64 } else { room };
        if !is_control && self.length > room.min(LIMIT) {
            return Err(if LIMIT <= room {
                E::FrameTooBig
            } else {
                E::MessageTooBig
            });
        }
        Ok(())
    }
}

fn check(case: Case, settings: &Arc<Settings>, workspace: &mut Workspace) {
    let agreed = case.deflate.then_some(DeflateParameters {
        server_no_context_takeover: true,
        client_no_context_takeover: true,
        server_max_window_bits: 15,
        client_max_window_bits: 15,
    });
    let header = case.header();
    let before = if case.in_message {
        frame(case.role, 0x02, b"x")
    } else {
        Vec::new()
    };
    for cut in 0..header.len() {
        let mut connection = Connection::new(Arc::clone(settings), agreed);
        let (start, end) = header.split_at(cut);
        let seen = feed(&mut connection, workspace, [&before[..], start, end]);
        match case.verdict() {
            Err(error) => assert_eq!(seen, [Seen::Failed(error)], "{case:?} cut at {cut}"),
            // An empty compressed payload is not DEFLATE; other payloads are yet to come.
            Ok(()) if case.first & 0xc0 == 0xc0 && case.length == 0 => {
                assert!(
                    matches!(seen[..], [Seen::Failed(E::DeflateLeftover)]),
                    "{case:?} {seen:?}"
                );
            }
            Ok(()) => {
                let is_whole = case.length == 0 && case.first & 0x80 != 0;
                assert_eq!(
                    seen.len(),
                    usize::from(is_whole),
                    "{case:?} cut at {cut}: {seen:?}"
                );
                assert!(
                    !matches!(seen.first(), Some(Seen::Failed(_))),
                    "{case:?}: {seen:?}"
                );
                // Behind a control frame the message around it goes on, but for a close frame.
                let goes_on = case.in_message && matches!(case.first & 0x0f, 9 | 10);
                let is_unfinished = connection.receiver.is_mid_message();
                assert_eq!(is_unfinished, !is_whole || goes_on, "{case:?} cut at {cut}");
            }
        }
        assert!(
            connection.receiver.bytes_held() <= 4096 + 125 + 1,
            "{case:?}"
        );
    }
}

#[test]
fn every_header_gets_the_verdict_of_the_rfc() {
    let limits = WorkspaceLimits {
        spare_buffers_max: 0,
        ..WorkspaceLimits::default()
    };
    let mut workspace = Workspace::new(limits);
    for role in [Role::Server, Role::Client] {
        let settings = Arc::new(Settings {
            role,
            message_size_max: LIMIT as usize,
            frame_size_max: LIMIT,
            ..Settings::server()
        });
        for bits in 0..8_u8 {
            for first in 0..=255 {
                for length in LENGTHS {
                    let widths = [(0, 125_u64), (2, 65_535), (8, u64::MAX)];
                    for (extended, _) in widths.iter().filter(|(_, most)| length <= *most) {
                        let case = Case {
                            role,
                            deflate: bits & 1 != 0,
                            in_message: bits & 2 != 0,
                            first,
                            masked: bits & 4 != 0,
                            length,
                            extended: *extended,
                        };
                        check(case, &settings, &mut workspace);
                    }
                }
            }
        }
    }
}
