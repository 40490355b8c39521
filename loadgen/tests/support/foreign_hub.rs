//! A hub that knows nothing of fanwire: one channel, JSON both ways, an envelope of its own, and
//! faults that a test asks for.

use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Error, Message, WebSocket};

use super::{serve, upgrade};

/// What the hub does with what is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Puts it, as a string, into a document that is itself a string of the message.
    Quotes,
    /// Reads it as a document and writes that anew, its members in another order.
    Rewrites,
    /// Puts two of them into a message.
    Batches,
    /// Keeps every hundredth from its first subscriber.
    DropsOneInAHundred,
    /// Sends every hundredth to its first subscriber twice.
    RepeatsOneInAHundred,
    /// Sends it to everybody who is connected, publishers too, and never answers.
    SendsToAll,
    /// Takes subscriptions without an answer, and passes nothing on.
    KeepsQuiet,
    /// Ends the connection of whoever subscribes.
    ClosesOnSubscribe,
}

struct Hub {
    manner: Manner,
    members: Mutex<Vec<(usize, Sender<String>)>>,
    held: Mutex<Vec<Value>>,
    published: AtomicU64,
    faults: AtomicU64,
}

/// A running hub.
pub struct ForeignHub {
    /// Its URL.
    pub url: String,
    hub: Arc<Hub>,
}

impl ForeignHub {
    /// Starts it.
    pub fn start(manner: Manner) -> ForeignHub {
        let hub = Arc::new(Hub {
            manner,
            members: Mutex::default(),
            held: Mutex::default(),
            published: AtomicU64::new(0),
            faults: AtomicU64::new(0),
        });
        let own = Arc::clone(&hub);
        let address = serve(move |number, stream| {
            let _ = connection(number, stream, &own);
            let mut members = own.members.lock().expect("no thread panics");
            members.retain(|(owner, _)| *owner != number);
        });
        ForeignHub {
            url: format!("ws://{address}/chat"),
            hub,
        }
    }

    /// Listens at a second address, of which it returns the URL.
    pub fn second_url(&self) -> String {
        let own = Arc::clone(&self.hub);
        // Numbers of connections must not meet those of the first address.
        let address = serve(move |number, stream| {
            let _ = connection(1_000_000 + number, stream, &own);
        });
        format!("ws://{address}/in")
    }

    /// Messages that were published.
    pub fn published(&self) -> u64 {
        self.hub.published.load(Ordering::SeqCst)
    }

    /// Copies that were dropped or repeated.
    pub fn faults(&self) -> u64 {
        self.hub.faults.load(Ordering::SeqCst)
    }
}

fn connection(number: usize, stream: TcpStream, hub: &Hub) -> Option<()> {
    let mut socket = upgrade(stream)?;
    // One thread both reads and writes: it looks up from reading every millisecond.
    socket
        .get_ref()
        .set_read_timeout(Some(Duration::from_millis(1)))
        .ok()?;
    let (sender, receiver) = mpsc::channel::<String>();
    if hub.manner == Manner::SendsToAll {
        let mut members = hub.members.lock().expect("no thread panics");
        members.push((number, sender.clone()));
    }
    loop {
        match socket.read() {
            Ok(Message::Text(text)) => {
                let answer = heard(number, &text, hub, &sender, &mut socket)?;
                answer.into_iter().for_each(|text| drop(sender.send(text)));
            }
            Ok(Message::Close(_)) => drop(socket.flush()),
            Ok(_) => {}
            Err(Error::Io(error))
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                ) => {}
            Err(_) => return None,
        }
        for text in receiver.try_iter() {
            socket.write(Message::text(text)).ok()?;
        }
        match socket.flush() {
            Ok(()) | Err(Error::Io(_)) => {}
            Err(_) => return None,
        }
    }
}

fn heard(
    number: usize,
    text: &str,
    hub: &Hub,
    sender: &Sender<String>,
    socket: &mut WebSocket<TcpStream>,
) -> Option<Option<String>> {
    if hub.manner == Manner::SendsToAll {
        let members = hub.members.lock().expect("no thread panics");
        hub.published.fetch_add(1, Ordering::SeqCst);
        for (_, member) in members.iter() {
            let _ = member.send(text.to_owned());
        }
        return Some(None);
    }
    let command: Value = serde_json::from_str(text).ok()?;
    match command["op"].as_str()? {
        "login" => Some(Some(
            json!({"type": "hello", "to": command["as"]}).to_string(),
        )),
        "sub" if hub.manner == Manner::ClosesOnSubscribe => {
            let frame = CloseFrame {
                code: CloseCode::Policy,
                reason: "who are \"you\"?".into(),
            };
            let _ = socket.close(Some(frame));
            Some(None)
        }
        "sub" if hub.manner == Manner::KeepsQuiet => Some(None),
        "sub" => {
            let mut members = hub.members.lock().expect("no thread panics");
            members.push((number, sender.clone()));
            let answer = json!({"type": "subscribed", "channel": command["ch"]});
            Some(Some(answer.to_string()))
        }
        "pub" => {
            publish(&command, hub);
            Some(Some(json!({"type": "ok", "id": command["id"]}).to_string()))
        }
        _ => None,
    }
}

fn publish(command: &Value, hub: &Hub) {
    let number = hub.published.fetch_add(1, Ordering::SeqCst);
    let data = command["data"].clone();
    let message = match hub.manner {
        Manner::Quotes => {
            let inner = json!({"from": "publisher", "text": data}).to_string();
            json!({"type": "message", "body": inner}).to_string()
        }
        Manner::Rewrites => {
            let members = data.as_object().into_iter().flatten().rev();
            let members: Vec<String> = members
                .map(|(name, value)| format!(" \"{name}\" : {value:#}"))
                .collect();
            format!("{{\"data\":{{{}}},\"n\":{number}}}", members.join(" ,\n"))
        }
        Manner::Batches => {
            let mut held = hub.held.lock().expect("no thread panics");
            held.push(data);
            if held.len() < 2 {
                return;
            }
            Value::from(std::mem::take(&mut *held)).to_string()
        }
        Manner::KeepsQuiet => return,
        _ => json!({"type": "message", "text": data}).to_string(),
    };
    // Not the last one of a run of a round number of messages: what is missing at the end may
    // still be on its way.
    let is_hundredth = number % 100 == 50;
    let members = hub.members.lock().expect("no thread panics");
    for (place, (_, member)) in members.iter().enumerate() {
        let is_it = is_hundredth && place == 0;
        let copies = match hub.manner {
            Manner::DropsOneInAHundred if is_it => 0,
            Manner::RepeatsOneInAHundred if is_it => 2,
            _ => 1,
        };
        hub.faults
            .fetch_add(u64::from(copies != 1), Ordering::SeqCst);
        for _ in 0..copies {
            let _ = member.send(message.clone());
        }
    }
}
