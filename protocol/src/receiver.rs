//! The receiving half: bytes in, events out.
//!
//! Owns where the input stands between two calls: a partial header (at most 13 bytes, spilled),
//! or an [`Assembly`] with what arrived of an unfinished frame or message. Knows nothing of
//! sockets and of what is sent.
//!
//! ```text
//! input   ──►│ header │ payload ................ │ header │ payl…          (one read)
//!             parsed    whole: unmasked in place    spilled or   partial: copied into the
//!             in place  and borrowed as an event    parsed       assembly, unmasked on the way
//! ```

use std::ops::Range;
use std::sync::Arc;

use crate::assembly::{Assembly, PartialFrame, PartialMessage, validate};
use crate::close::CloseFrame;
use crate::deflate::{DeflateParameters, Inflater};
use crate::error::ProtocolError;
use crate::event::{Event, Message, MessageKind};
use crate::frame::{Context, Header, MaskingKey, Opcode, unmask};
use crate::input::Input;
use crate::mask::{is_ascii, unmask_is_ascii};
use crate::settings::{Role, Settings};
use crate::spill::Spill;
use crate::workspace::Workspace;

/// The receiving half of a connection.
#[derive(Debug)]
pub struct Receiver {
    settings: Arc<Settings>,
    /// Present while a frame or message is unfinished, and while an event borrows from it.
    assembly: Option<Box<Assembly>>,
    /// With context takeover only, and only from the first compressed message on.
    inflater: Option<Box<Inflater>>,
    deflate: Option<DeflateParameters>,
    /// The beginning of a header that the last input ended in.
    spill: Spill,
    /// A close frame was received or the connection failed: all further input is ignored.
    is_finished: bool,
}

/// Where the next event lies; found first and borrowed afterwards.
enum Found {
    /// All input has been taken.
    Nothing,
    /// A whole data frame that is a whole message, in the input.
    Whole {
        kind: MessageKind,
        payload: Range<usize>,
    },
    /// A message in the assembly.
    Assembled { kind: MessageKind, compressed: bool },
    /// A whole control frame in the input.
    Control {
        opcode: Opcode,
        payload: Range<usize>,
    },
    /// A control frame in the assembly.
    AssembledControl { opcode: Opcode },
}

impl Receiver {
    pub(crate) fn new(settings: Arc<Settings>, deflate: Option<DeflateParameters>) -> Self {
        Self {
            settings,
            assembly: None,
            inflater: None,
            deflate,
            spill: Spill::default(),
            is_finished: false,
        }
    }

    /// The next event, or `None` when all input has been taken. Call it until it returns `None`:
    /// only then is a partial header or payload remembered and may the input's memory be reused.
    ///
    /// # Errors
    ///
    /// The rule that the peer broke (RFC 6455, RFC 7692) or the limit it exceeded. The connection
    /// is failed: send `close_code()`; all further input is taken and ignored.
    #[inline]
    pub fn next_event<'a>(
        &'a mut self,
        input: &'a mut Input<'_>,
        workspace: &mut Workspace,
    ) -> Result<Option<Event<'a>>, ProtocolError> {
        let found = match self.find(input, workspace) {
            Ok(found) => found,
            Err(error) => {
                self.finish(input, workspace);
                return Err(error);
            }
        };
        let assembly = self.assembly.as_deref();
        Ok(Some(match found {
            Found::Whole { kind, payload } => Event::Message(Message {
                kind,
                payload: input.at(payload),
                compressed: false,
            }),
            Found::Nothing => return Ok(None),
            Found::Assembled { kind, compressed } => {
                let payload = assembly.map_or(&[][..], |assembly| assembly.payload.bytes());
                Event::Message(Message {
                    kind,
                    payload,
                    compressed,
                })
            }
            Found::Control { opcode, payload } => control_event(opcode, input.at(payload))?,
            Found::AssembledControl { opcode } => control_event(
                opcode,
                assembly.map_or(&[][..], |assembly| &assembly.control),
            )?,
        }))
    }

    /// Bytes of memory that an unfinished frame or message holds beyond the receiver itself.
    pub fn bytes_held(&self) -> usize {
        self.assembly.as_deref().map_or(0, Assembly::bytes_held)
    }

    /// Whether an unfinished frame or fragmented message exists: what an assembly deadline times.
    pub fn is_mid_message(&self) -> bool {
        !self.spill.is_empty()
            || self
                .assembly
                .as_deref()
                .is_some_and(Assembly::is_unfinished)
    }

    /// The settings in force.
    pub fn settings(&self) -> &Arc<Settings> {
        &self.settings
    }

    #[inline(always)]
    fn find(
        &mut self,
        input: &mut Input<'_>,
        workspace: &mut Workspace,
    ) -> Result<Found, ProtocolError> {
        if self.assembly.is_none() && self.spill.is_empty() && !self.is_finished {
            // The common case: input begins with a header and no message is unfinished.
            let context = self.context();
            if let Some((header, size)) = Header::parse_in(input.rest(), &context)? {
                let available = input.remaining() - size;
                if header.is_final
                    && !header.rsv1
                    && header.payload_len <= available as u64
                    && let Some(kind) = message_kind(header.opcode)
                {
                    input.take(size);
                    let payload = input.take(header.payload_len as usize);
                    let bytes = input.at(payload.clone());
                    if kind == MessageKind::Text && self.settings.validate_utf8 {
                        unmask_text(bytes, header.masking_key)?;
                    } else if let Some(key) = header.masking_key {
                        unmask(bytes, key, 0);
                    }
                    return Ok(Found::Whole { kind, payload });
                }
            }
        }
        if input.remaining() == 0 && !self.is_finished {
            self.settle(workspace);
            return Ok(Found::Nothing);
        }
        self.find_slowly(input, workspace)
    }

    /// Everything but the common case.
    #[inline(never)]
    fn find_slowly(
        &mut self,
        input: &mut Input<'_>,
        workspace: &mut Workspace,
    ) -> Result<Found, ProtocolError> {
        if self.is_finished {
            self.finish(input, workspace);
            return Ok(Found::Nothing);
        }
        self.settle(workspace);
        loop {
            if let Some(frame) = self.assembly.as_deref().and_then(|assembly| assembly.frame) {
                match self.go_on_with_frame(frame, input, workspace)? {
                    Some(found) => return Ok(found),
                    None if self.is_inside_frame() => return Ok(Found::Nothing),
                    None => continue,
                }
            }
            let Some(header) = self.take_header(input)? else {
                return Ok(Found::Nothing);
            };
            let is_whole = header.payload_len <= input.remaining() as u64;
            if is_whole && header.opcode.is_control() {
                return self.take_control(&header, input);
            }
            if is_whole
                && header.is_final
                && let Some(kind) = message_kind(header.opcode)
            {
                return self.take_message(&header, kind, input, workspace);
            }
            self.begin_frame(&header, workspace);
        }
    }

    /// Puts away the assembly that the last event may have borrowed from.
    fn settle(&mut self, workspace: &mut Workspace) {
        if let Some(assembly) = &mut self.assembly
            && assembly.frame.is_none()
        {
            assembly.control.clear();
            if assembly.message.is_none()
                && let Some(assembly) = self.assembly.take()
            {
                workspace.give_back(assembly);
            }
        }
    }

    /// Takes all input without looking at it and frees what was remembered.
    #[cold]
    fn finish(&mut self, input: &mut Input<'_>, workspace: &mut Workspace) {
        self.is_finished = true;
        self.spill = Spill::default();
        self.inflater = None;
        if let Some(assembly) = self.assembly.take() {
            workspace.give_back(assembly);
        }
        input.take(usize::MAX);
    }

    fn is_inside_frame(&self) -> bool {
        self.assembly
            .as_deref()
            .is_some_and(|assembly| assembly.frame.is_some())
    }

    /// What the next header is judged against.
    #[inline(always)]
    fn context(&self) -> Context {
        let settings = &*self.settings;
        let assembly = self.assembly.as_deref();
        let message = assembly.and_then(|assembly| assembly.message);
        let size_max = settings.message_size_max as u64;
        let mut message_room = size_max;
        let mut fragments_spent = false;
        if let (Some(message), Some(assembly)) = (message, assembly) {
            if message.compressed {
                message_room = compressed_size_max(size_max);
            }
            message_room = message_room.saturating_sub(assembly.payload.len() as u64);
            fragments_spent = message.fragments >= settings.fragments_per_message_max;
        }
        Context {
            mask_bit: if settings.role == Role::Server {
                0x80
            } else {
                0
            },
            deflate: self.deflate.is_some(),
            in_message: message.is_some(),
            fragments_spent,
            frame_size_max: settings.frame_size_max,
            message_room,
            message_room_compressed: compressed_size_max(size_max),
        }
    }

    /// Takes the next header; `None` when the input ends inside it, which is then remembered.
    fn take_header(&mut self, input: &mut Input<'_>) -> Result<Option<Header>, ProtocolError> {
        let context = self.context();
        let spilled = self.spill.len();
        let (joined, size) = self.spill.join(input.rest());
        let joined = joined.get(..size).unwrap_or_default();
        match Header::parse_in(joined, &context)? {
            Some((header, size)) => {
                self.spill = Spill::default();
                // What was spilled was no complete header, so `size` reaches into the input.
                input.take(size - spilled);
                Ok(Some(header))
            }
            None => {
                // 14 bytes are always a complete header, so all input was looked at.
                self.spill.take(input.rest());
                input.take(usize::MAX);
                Ok(None)
            }
        }
    }

    fn take_control(
        &mut self,
        header: &Header,
        input: &mut Input<'_>,
    ) -> Result<Found, ProtocolError> {
        let payload = input.take(header.payload_len as usize);
        let bytes = input.at(payload.clone());
        if let Some(key) = header.masking_key {
            unmask(bytes, key, 0);
        }
        if header.opcode == Opcode::Close {
            CloseFrame::parse(bytes)?;
            self.is_finished = true;
        }
        Ok(Found::Control {
            opcode: header.opcode,
            payload,
        })
    }

    /// A message in one frame that lies whole in the input.
    fn take_message(
        &mut self,
        header: &Header,
        kind: MessageKind,
        input: &mut Input<'_>,
        workspace: &mut Workspace,
    ) -> Result<Found, ProtocolError> {
        let payload = input.take(header.payload_len as usize);
        let bytes = input.at(payload.clone());
        if header.rsv1 {
            if let Some(key) = header.masking_key {
                unmask(bytes, key, 0);
            }
            let mut output = workspace.lend();
            let result = output
                .payload
                .refill(|output| self.inflate(bytes, kind, output, workspace));
            self.assembly = Some(output);
            return result.map(|()| Found::Assembled {
                kind,
                compressed: true,
            });
        }
        if kind == MessageKind::Text && self.settings.validate_utf8 {
            unmask_text(bytes, header.masking_key)?;
        } else if let Some(key) = header.masking_key {
            unmask(bytes, key, 0);
        }
        Ok(Found::Whole { kind, payload })
    }

    /// Remembers a frame whose payload has not arrived completely or is part of a message.
    fn begin_frame(&mut self, header: &Header, workspace: &mut Workspace) {
        let assembly = self.assembly.get_or_insert_with(|| workspace.lend());
        assembly.frame = Some(PartialFrame::new(header));
        if let Some(kind) = message_kind(header.opcode) {
            let compressed = header.rsv1;
            assembly.message = Some(PartialMessage {
                kind,
                compressed,
                fragments: 1,
                validated: 0,
            });
        } else if let (Opcode::Continuation, Some(message)) = (header.opcode, &mut assembly.message)
        {
            message.fragments = message.fragments.saturating_add(1);
        }
    }

    /// Takes what arrived of the unfinished frame; something is found when it or its message ends.
    fn go_on_with_frame(
        &mut self,
        frame: PartialFrame,
        input: &mut Input<'_>,
        workspace: &mut Workspace,
    ) -> Result<Option<Found>, ProtocolError> {
        let Some(assembly) = &mut self.assembly else {
            return Ok(None);
        };
        let count = usize::try_from(frame.remaining).unwrap_or(usize::MAX);
        let range = input.take(count);
        let frame = assembly.append(frame, input.at(range), self.settings.validate_utf8)?;
        if frame.remaining > 0 {
            assembly.frame = Some(frame);
            return Ok(None);
        }
        assembly.frame = None;
        if frame.opcode.is_control() {
            if frame.opcode == Opcode::Close {
                CloseFrame::parse(&assembly.control)?;
                self.is_finished = true;
            }
            return Ok(Some(Found::AssembledControl {
                opcode: frame.opcode,
            }));
        }
        if !frame.is_final {
            return Ok(None);
        }
        let Some(message) = assembly.message.take() else {
            return Ok(None);
        };
        self.finish_message(message, workspace).map(Some)
    }

    /// The final frame of an assembled message is complete.
    fn finish_message(
        &mut self,
        message: PartialMessage,
        workspace: &mut Workspace,
    ) -> Result<Found, ProtocolError> {
        let PartialMessage {
            kind,
            compressed,
            validated,
            ..
        } = message;
        let Some(assembly) = self.assembly.take() else {
            return Ok(Found::Nothing);
        };
        if compressed {
            let mut output = workspace.lend();
            let compressed = assembly.payload.bytes();
            let result = output
                .payload
                .refill(|output| self.inflate(compressed, kind, output, workspace));
            workspace.give_back(assembly);
            self.assembly = Some(output);
            result?;
        } else {
            let is_whole = validated == assembly.payload.len();
            self.assembly = Some(assembly);
            if kind == MessageKind::Text && self.settings.validate_utf8 && !is_whole {
                return Err(ProtocolError::TextNotUtf8);
            }
        }
        Ok(Found::Assembled { kind, compressed })
    }

    /// Inflates a whole compressed message into `output`.
    fn inflate(
        &mut self,
        compressed: &[u8],
        kind: MessageKind,
        output: &mut Vec<u8>,
        workspace: &mut Workspace,
    ) -> Result<(), ProtocolError> {
        let (takeover, window_bits) = match (self.deflate, self.settings.role) {
            (Some(agreed), Role::Server) => (
                !agreed.client_no_context_takeover,
                agreed.client_max_window_bits,
            ),
            (Some(agreed), Role::Client) => (
                !agreed.server_no_context_takeover,
                agreed.server_max_window_bits,
            ),
            // A header with RSV1 was refused before it came here.
            (None, _) => return Err(ProtocolError::ReservedBitSet),
        };
        let inflater = if takeover {
            self.inflater
                .get_or_insert_with(|| Box::new(Inflater::new(window_bits)))
        } else {
            workspace.inflater()
        };
        inflater.inflate(compressed, takeover, self.settings.message_size_max, output)?;
        if kind == MessageKind::Text
            && self.settings.validate_utf8
            && validate(output, 0)? != output.len()
        {
            return Err(ProtocolError::TextNotUtf8);
        }
        Ok(())
    }
}

/// The most bytes a compressed message may take for `size_max` bytes inflated. The fixed Huffman
/// code of RFC 1951 3.2.6 needs nine bits for the bytes it likes least, stored blocks need less.
fn compressed_size_max(size_max: u64) -> u64 {
    size_max.saturating_add(size_max / 8).saturating_add(64)
}

#[inline(always)]
fn message_kind(opcode: Opcode) -> Option<MessageKind> {
    match opcode {
        Opcode::Text => Some(MessageKind::Text),
        Opcode::Binary => Some(MessageKind::Binary),
        Opcode::Continuation | Opcode::Close | Opcode::Ping | Opcode::Pong => None,
    }
}

/// Unmasks a whole text message and validates it; ASCII needs no second pass.
#[inline(always)]
fn unmask_text(bytes: &mut [u8], key: Option<MaskingKey>) -> Result<(), ProtocolError> {
    let ascii = match key {
        Some(key) => unmask_is_ascii(bytes, key, 0),
        None => is_ascii(bytes),
    };
    if ascii || simdutf8::basic::from_utf8(bytes).is_ok() {
        return Ok(());
    }
    Err(ProtocolError::TextNotUtf8)
}

fn control_event(opcode: Opcode, payload: &[u8]) -> Result<Event<'_>, ProtocolError> {
    Ok(match opcode {
        Opcode::Ping => Event::Ping(payload),
        Opcode::Pong => Event::Pong(payload),
        Opcode::Close | Opcode::Continuation | Opcode::Text | Opcode::Binary => {
            Event::Close(CloseFrame::parse(payload)?)
        }
    })
}
