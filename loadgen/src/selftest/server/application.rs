//! The reactor application that speaks a script's lines on time.
//!
//! Owns connections, the stage and the alarm. Knows no script in particular.

use std::sync::Arc;
use std::sync::mpsc::Sender;

use fanwire_protocol::{
    Connection, Event, Input, Misuse, Sender as FrameSender, Settings, Workspace,
};
use fanwire_reactor::establish::ListenCloser;
use fanwire_reactor::{Application, Cause, Io, Token};

use crate::selftest::script::{Cue, Heard, Line, Script, Stage};
use crate::selftest::server::Seen;
use crate::table::Table;

/// What the thread that started the server tells it.
#[derive(Clone, Copy, Debug)]
pub enum Order {
    /// End now.
    Stop,
}

/// A connection that was upgraded.
#[derive(Debug)]
pub struct Joined {
    /// Its request target.
    pub target: String,
}

/// One connection.
struct Seat {
    connection: Connection,
    number: u32,
}

/// Speaks a script's lines.
pub struct Stagehand<S> {
    /// Taken out when it is handed back.
    script: Option<S>,
    stage: Stage,
    settings: Arc<Settings>,
    workspace: Workspace,
    seats: Table<Seat>,
    /// Tokens by connection number.
    tokens: Vec<Token>,
    seen: Seen,
    results: Sender<(S, Seen)>,
    closer: Option<ListenCloser>,
}

impl<S: Script> Stagehand<S> {
    /// Nobody is connected yet.
    pub fn new(script: S, results: Sender<(S, Seen)>) -> Stagehand<S> {
        Stagehand {
            script: Some(script),
            stage: Stage::default(),
            settings: Arc::new(Settings::server()),
            workspace: Workspace::default(),
            seats: Table::default(),
            tokens: Vec::new(),
            seen: Seen::default(),
            results,
            closer: None,
        }
    }

    /// What was seen so far; the entrance counts into it.
    pub fn seen_mut(&mut self) -> &mut Seen {
        &mut self.seen
    }

    /// What ends the accept loop.
    pub fn set_closer(&mut self, closer: ListenCloser) {
        self.closer = Some(closer);
    }

    fn hear(&mut self, io: &mut Io, token: Token, bytes: &mut [u8]) {
        let at_ns = io.read_clock_ns();
        let Stagehand {
            script,
            stage,
            workspace,
            seats,
            seen,
            ..
        } = self;
        let (Some(seat), Some(script)) = (seats.get_mut(token), script.as_mut()) else {
            return;
        };
        let Connection { receiver, sender } = &mut seat.connection;
        let is_parrot = script.is_parrot();
        let mut input = Input::new(bytes);
        loop {
            match receiver.next_event(&mut input, workspace) {
                Ok(None) => return,
                Ok(Some(Event::Message(message))) if is_parrot => {
                    seen.heard += 1;
                    let (kind, payload) = (message.kind, message.payload);
                    // The workspace is only for compressing, which was not agreed on, and it is
                    // lent to the message.
                    io.send(token, |out| {
                        sender
                            .fragment(kind, payload, true, true, None, out)
                            .is_ok()
                    });
                }
                Ok(Some(Event::Message(message))) => {
                    let heard = Heard {
                        at_ns,
                        connection: seat.number,
                        number: seen.heard,
                        kind: message.kind,
                        payload: message.payload,
                    };
                    seen.heard += 1;
                    script.on_message(&heard, stage);
                }
                Ok(Some(Event::Ping(payload))) => {
                    // Refused only behind our close frame, where a pong would be wrong.
                    io.send(token, |out| sender.pong(payload, None, out).is_ok());
                }
                Ok(Some(Event::Pong(_))) => seen.pongs += 1,
                Ok(Some(Event::Close(frame))) => {
                    let code = frame.map(|frame| frame.code);
                    io.send(token, |out| sender.close(code, "", None, out).is_ok());
                    io.terminate(token);
                    return;
                }
                Err(error) => {
                    let code = Some(error.close_code());
                    io.send(token, |out| sender.close(code, "", None, out).is_ok());
                    io.terminate(token);
                    return;
                }
            }
        }
    }

    /// Says what is due, and has itself woken for the next cue.
    fn perform(&mut self, io: &mut Io) {
        loop {
            let now_ns = io.read_clock_ns();
            let Some(cue) = self.stage.next_due(now_ns) else {
                break;
            };
            self.seen.late.record(now_ns.saturating_sub(cue.at_ns));
            self.say(io, &cue);
        }
        if let Some(at_ns) = self.stage.next_at_ns() {
            io.set_alarm(at_ns);
        }
    }

    fn say(&mut self, io: &mut Io, cue: &Cue) {
        let Some(token) = self.tokens.get(cue.connection as usize).copied() else {
            return;
        };
        let Stagehand {
            seats, workspace, ..
        } = self;
        let Some(seat) = seats.get_mut(token) else {
            return;
        };
        let sender = &mut seat.connection.sender;
        // A connection that is closing says nothing more.
        io.send(token, |out| {
            write(sender, &cue.line, workspace, out).is_ok()
        });
    }
}

fn write(
    sender: &mut FrameSender,
    line: &Line,
    workspace: &mut Workspace,
    out: &mut Vec<u8>,
) -> Result<(), Misuse> {
    match line {
        Line::Message(kind, payload) => sender.message(*kind, payload, None, workspace, out),
        Line::Ping(payload) => sender.ping(payload, None, out),
    }
}

impl<S: Script> Application for Stagehand<S> {
    type Mail = Order;
    type Adopted = Joined;

    fn on_adopted(&mut self, _io: &mut Io, token: Token, adopted: Joined) {
        let number = self.tokens.len() as u32;
        self.tokens.push(token);
        self.seats.insert(
            token,
            Seat {
                connection: Connection::new(Arc::clone(&self.settings), None),
                number,
            },
        );
        if let Some(script) = &mut self.script {
            script.on_open(number, &adopted.target);
        }
    }

    fn on_received(&mut self, io: &mut Io, token: Token, bytes: &mut [u8]) {
        self.hear(io, token, bytes);
        self.perform(io);
    }

    fn on_alarm(&mut self, io: &mut Io) {
        self.perform(io);
    }

    fn on_mail(&mut self, io: &mut Io, order: Order) {
        match order {
            Order::Stop => {
                if let Some(closer) = self.closer.take() {
                    closer.close();
                }
                if let Some(script) = self.script.take() {
                    // Whoever ordered it waits for the result, or has given up.
                    let _ = self.results.send((script, std::mem::take(&mut self.seen)));
                }
                io.stop();
            }
        }
    }

    fn on_closed(&mut self, _io: &mut Io, token: Token, _cause: Cause) {
        self.seats.remove(token);
    }
}
