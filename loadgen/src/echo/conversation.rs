//! What a thread does on a connection of requests and replies, whoever drives it: writing through
//! the link, and taking in what comes back.
//!
//! Owns the memory that all calls of a thread share. What is to be sent when, and what an end
//! means, is the driver's.

use fanwire_protocol::{DeflateParameters, Workspace, WorkspaceLimits};
use fanwire_reactor::{Io, Token};

use crate::connect::link::{Heard, Link, LinkState, ReadMemory, WriteMemory};
use crate::echo::client::{Client, Received, Standing};
use crate::echo::desk::Desk;
use crate::message::outstanding::Stamps;

/// One connection: its client end, and what lies between that and the socket.
#[derive(Debug)]
pub struct Conversation {
    /// The client end.
    pub client: Client,
    /// TLS or nothing.
    pub link: Link,
}

impl Conversation {
    /// A connection whose opening handshake is complete; `number` is its own in the whole run.
    pub fn new(
        desk: &Desk,
        number: u32,
        link: Link,
        deflate: Option<DeflateParameters>,
    ) -> Conversation {
        Conversation {
            client: Client::new(desk, number, deflate),
            link,
        }
    }
}

/// What every call of a thread uses.
pub struct Workbench {
    /// What the connections share.
    pub desk: Desk,
    workspace: Workspace,
    /// Pongs and close frames of the call in progress.
    scratch: Vec<u8>,
    reading: ReadMemory,
    writing: WriteMemory,
}

impl Workbench {
    /// With nothing on it yet but the desk.
    pub fn new(desk: Desk) -> Workbench {
        Workbench {
            desk,
            workspace: Workspace::new(WorkspaceLimits::default()),
            scratch: Vec::new(),
            reading: ReadMemory::default(),
            writing: WriteMemory::default(),
        }
    }

    /// Sends `count` messages with the same stamps. False when the connection takes none any more.
    #[inline]
    pub fn send(
        &mut self,
        io: &mut Io,
        token: Token,
        conversation: &mut Conversation,
        count: u32,
        stamps: Stamps,
    ) -> bool {
        let Workbench {
            desk,
            workspace,
            writing,
            ..
        } = self;
        let Conversation { client, link } = conversation;
        io.send(token, |out| {
            link.write(out, writing, |out| {
                for _ in 0..count {
                    client.send_message(desk, workspace, stamps, out);
                }
            });
        })
        .is_some()
    }

    /// Sends what is to be sent before any load. Nothing is lost silently: a connection that is
    /// gone by now is counted where it ends.
    pub fn greet(&mut self, io: &mut Io, token: Token, conversation: &mut Conversation) {
        if self.desk.first_messages.is_empty() {
            return;
        }
        let now_ns = io.read_clock_ns();
        let Workbench {
            desk,
            workspace,
            writing,
            ..
        } = self;
        let Conversation { client, link } = conversation;
        io.send(token, |out| {
            link.write(out, writing, |out| {
                client.greet(desk, workspace, now_ns, out)
            });
        });
    }

    /// Sends a ping.
    pub fn ping(&mut self, io: &mut Io, token: Token, conversation: &mut Conversation) {
        let sent_ns = io.read_clock_ns();
        let Workbench { desk, writing, .. } = self;
        let Conversation { client, link } = conversation;
        io.send(token, |out| {
            link.write(out, writing, |out| client.ping(desk, sent_ns, out));
        });
    }

    /// Begins the closing handshake.
    pub fn close(&mut self, io: &mut Io, token: Token, conversation: &mut Conversation) {
        let Workbench { desk, writing, .. } = self;
        let Conversation { client, link } = conversation;
        io.send(token, |out| {
            link.write(out, writing, |out| client.close(desk, out));
        });
    }

    /// Takes bytes from the socket, or such as were decrypted already, and sends what is owed for
    /// them: pongs, close frames, the ends of TLS.
    #[inline]
    pub fn receive(
        &mut self,
        io: &mut Io,
        token: Token,
        conversation: &mut Conversation,
        bytes: &mut [u8],
        is_plain: bool,
        now_ns: u64,
    ) -> (Received, LinkState) {
        let Workbench {
            desk,
            workspace,
            scratch,
            reading,
            writing,
        } = self;
        let Conversation { client, link } = conversation;
        scratch.clear();
        let heard = if is_plain {
            Heard::plain(bytes)
        } else {
            link.read(bytes, reading)
        };
        if !heard.replies.is_empty() {
            io.send(token, |out| out.extend_from_slice(heard.replies));
        }
        let received = client.receive(desk, workspace, heard.plain, now_ns, scratch);
        if !scratch.is_empty() {
            io.send(token, |out| {
                link.write(out, writing, |out| out.extend_from_slice(scratch));
            });
        }
        if received.standing != Standing::Open || heard.state != LinkState::Open {
            io.send(token, |out| link.finish(out));
        }
        (received, heard.state)
    }
}
