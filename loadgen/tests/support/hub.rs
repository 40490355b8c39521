//! A small fan-out server of the raw dialect that is honest unless it is told not to be.
//!
//! A thread per connection, frames written by hand, handshake and reading by `tungstenite`: nothing
//! of ours but the stamp's probe flag, from which it knows which messages belong to the load.

use std::collections::HashMap;
use std::io::Write;
use std::net::TcpStream;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex};

use tungstenite::accept_hdr;
use tungstenite::handshake::server::{Request, Response};

use super::serve;

/// What goes wrong, with load message [`AT`] of a topic, at the topic's first subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// The message is left out.
    Drops,
    /// It comes twice.
    Duplicates,
    /// It comes after the one behind it.
    Swaps,
    /// One of another topic comes with it.
    Mixes,
    /// A byte of it is another one.
    Corrupts,
    /// It is cut.
    Cuts,
    /// It and all after it never come.
    FallsSilent,
    /// The subscriber is disconnected.
    Disconnects,
    /// Nobody ever gets anything.
    IsDeaf,
}

/// Where the faults are.
pub const AT: u64 = 20;

/// The stamp's flags in a binary payload, and the flag of a probe.
const FLAGS_AT: usize = 7;
const PROBE: u8 = 1;

type Outgoing = Sender<Vec<u8>>;

#[derive(Default)]
struct Topic {
    subscribers: Vec<Outgoing>,
    messages: u64,
    held: Option<Vec<u8>>,
}

#[derive(Default)]
struct Hub {
    topics: HashMap<String, Topic>,
    /// The last load message of each topic, to be mixed into others.
    last: HashMap<String, Vec<u8>>,
    /// Is told of load message [`AT`] of a topic.
    listener: Option<Sender<()>>,
}

/// Starts it and returns its URL.
pub fn hub(fault: Fault) -> String {
    start(fault, Hub::default())
}

/// An honest one, and what tells when it got load message [`AT`] of a topic.
pub fn hub_with_listener() -> (String, mpsc::Receiver<()>) {
    let (sender, receiver) = mpsc::channel();
    let hub = Hub {
        listener: Some(sender),
        ..Hub::default()
    };
    (start(Fault::None, hub), receiver)
}

fn start(fault: Fault, hub: Hub) -> String {
    let hub = Arc::new(Mutex::new(hub));
    let address = serve(move |_, stream| {
        let _ = connection(stream, &hub, fault);
    });
    format!("ws://{address}")
}

#[expect(
    clippy::result_large_err,
    reason = "the callback's type is tungstenite's"
)]
fn connection(stream: TcpStream, hub: &Arc<Mutex<Hub>>, fault: Fault) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut uri = String::new();
    let mut socket = accept_hdr(stream, |request: &Request, response: Response| {
        uri = request.uri().to_string();
        Ok(response)
    })
    .ok()?;
    let (path, query) = uri.split_once('?').unwrap_or((&uri, ""));
    let first = path.strip_prefix("/raw/")?.to_owned();
    if query.contains("publish") {
        while let Ok(message) = socket.read() {
            if message.is_binary() || message.is_text() {
                let mut hub = hub.lock().expect("no thread panics");
                hub.publish(&first, message.into_data().to_vec(), fault);
            } else if message.is_close() {
                let _ = socket.flush();
            }
        }
        return Some(());
    }
    let (sender, receiver) = mpsc::channel::<Vec<u8>>();
    let more = query.strip_prefix("topics=").unwrap_or("");
    for topic in
        std::iter::once(first.as_str()).chain(more.split(',').filter(|name| !name.is_empty()))
    {
        let mut hub = hub.lock().expect("no thread panics");
        let topic = hub.topics.entry(topic.to_owned()).or_default();
        topic.subscribers.push(sender.clone());
    }
    drop(sender);
    let mut writer = socket.get_ref().try_clone().ok()?;
    std::thread::spawn(move || {
        for payload in receiver {
            // An empty one asks for the end.
            if payload.is_empty() || writer.write_all(&frame(&payload)).is_err() {
                let _ = writer.shutdown(std::net::Shutdown::Both);
                return;
            }
        }
    });
    while let Ok(message) = socket.read() {
        if message.is_close() {
            let _ = socket.flush();
        }
    }
    Some(())
}

/// One unmasked binary frame.
fn frame(payload: &[u8]) -> Vec<u8> {
    let mut out = vec![0x82];
    match payload.len() {
        length @ 0..=125 => out.push(length as u8),
        length @ 126..=65_535 => {
            out.push(126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            out.push(127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
    out
}

impl Hub {
    fn publish(&mut self, name: &str, payload: Vec<u8>, fault: Fault) {
        if fault == Fault::IsDeaf {
            return;
        }
        let is_probe = payload
            .get(FLAGS_AT)
            .is_some_and(|flags| flags & PROBE != 0);
        let other = other_topic(name).and_then(|other| self.last.get(&other).cloned());
        let Some(topic) = self.topics.get_mut(name) else {
            return;
        };
        let Some((first, others)) = topic.subscribers.split_first() else {
            return;
        };
        let send = |to: &Outgoing, payload: &[u8]| drop(to.send(payload.to_vec()));
        others.iter().for_each(|to| send(to, &payload));
        topic.messages += u64::from(!is_probe);
        if is_probe {
            send(first, &payload);
            return;
        }
        let is_it = topic.messages == AT;
        if let Some(listener) = self.listener.as_ref().filter(|_| is_it) {
            let _ = listener.send(());
        }
        match fault {
            Fault::Drops if is_it => {}
            Fault::Duplicates if is_it => {
                send(first, &payload);
                send(first, &payload);
            }
            Fault::Swaps if is_it => topic.held = Some(payload.clone()),
            Fault::Mixes if is_it => {
                send(first, &payload);
                if let Some(other) = other {
                    send(first, &other);
                }
            }
            Fault::Corrupts if is_it => {
                let mut changed = payload.clone();
                if let Some(byte) = changed.last_mut() {
                    *byte ^= 1;
                }
                send(first, &changed);
            }
            Fault::Cuts if is_it => send(first, &payload[..payload.len() - 1]),
            Fault::FallsSilent if topic.messages >= AT => {}
            Fault::Disconnects if is_it => send(first, &[]),
            _ => {
                send(first, &payload);
                if let Some(held) = topic.held.take() {
                    send(first, &held);
                }
            }
        }
        self.last.insert(name.to_owned(), payload);
    }
}

/// A topic that nobody who subscribes to two neighbours of four has beside `name`.
fn other_topic(name: &str) -> Option<String> {
    let number: u32 = name.strip_prefix("load.")?.parse().ok()?;
    Some(format!("load.{}", (number + 2) % 4))
}
