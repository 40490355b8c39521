//! A small hub of the dialect `fanwire.v1.json`, as docs/protocol.md has it, that keeps to it unless
//! it is told not to.

use std::collections::HashMap;
use std::net::TcpStream;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tungstenite::handshake::server::{Request, Response};
use tungstenite::http::HeaderValue;
use tungstenite::{Error, Message, WebSocket, accept_hdr};

use super::serve;

/// What happens with message [`AT`] of a topic, at the topic's first subscriber unless it says
/// otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trick {
    /// Nothing.
    None,
    /// It is left out without a word.
    LeavesOut,
    /// It is left out, and the following ones get the numbers that close the hole.
    Renumbers,
    /// It is announced as a gap.
    AnnouncesGap,
    /// It and the next are announced as conflated, and only the next one comes.
    Conflates,
    /// It is refused: nobody gets it.
    IsBusy,
    /// It is accepted and never acknowledged.
    KeepsQuiet,
    /// An acknowledgement comes for it and nobody gets it.
    Lies,
    /// The resume of a subscriber that comes back is refused.
    ForgetsResume,
}

/// Where the tricks are.
pub const AT: u64 = 20;

#[derive(Default)]
struct Topic {
    subscribers: Vec<(usize, Sender<String>)>,
    seq: u64,
    log: Vec<String>,
}

type Hub = Arc<Mutex<HashMap<String, Topic>>>;

/// Starts it and returns its URL.
pub fn json_hub(trick: Trick) -> String {
    let hub: Hub = Arc::default();
    let address = serve(move |number, stream| {
        let _ = connection(number, stream, &hub, trick);
    });
    format!("ws://{address}")
}

#[expect(
    clippy::result_large_err,
    clippy::unnecessary_wraps,
    reason = "the callback's type is tungstenite's"
)]
fn choose(
    _request: &Request,
    mut response: Response,
) -> Result<Response, tungstenite::handshake::server::ErrorResponse> {
    let name = HeaderValue::from_static("fanwire.v1.json");
    response
        .headers_mut()
        .insert("Sec-WebSocket-Protocol", name);
    Ok(response)
}

fn connection(number: usize, stream: TcpStream, hub: &Hub, trick: Trick) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut socket = accept_hdr(stream, choose).ok()?;
    // One thread both reads and writes: it looks up from reading every millisecond.
    socket
        .get_ref()
        .set_read_timeout(Some(Duration::from_millis(1)))
        .ok()?;
    let (sender, receiver) = mpsc::channel::<String>();
    loop {
        match socket.read() {
            Ok(Message::Text(text)) => {
                let command: Value = serde_json::from_str(&text).ok()?;
                let answers = match command["op"].as_str() {
                    Some("subscribe") => subscribe(number, &command, hub, &sender, trick),
                    Some("publish") => publish(&command, &text, hub, trick),
                    _ => return None,
                };
                answer(&mut socket, answers)?;
            }
            Ok(Message::Close(_)) => drop(socket.flush()),
            Ok(_) => {}
            Err(Error::Io(error))
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                ) => {}
            Err(_) => break,
        }
        answer(&mut socket, receiver.try_iter().collect())?;
    }
    let mut hub = hub.lock().expect("no thread panics");
    for topic in hub.values_mut() {
        topic.subscribers.retain(|(owner, _)| *owner != number);
    }
    Some(())
}

fn answer(socket: &mut WebSocket<TcpStream>, answers: Vec<String>) -> Option<()> {
    answers
        .into_iter()
        .try_for_each(|text| socket.write(Message::text(text)).ok())?;
    match socket.flush() {
        Ok(()) | Err(Error::Io(_)) => Some(()),
        Err(_) => None,
    }
}

fn subscribe(
    number: usize,
    command: &Value,
    hub: &Hub,
    sender: &Sender<String>,
    trick: Trick,
) -> Vec<String> {
    let mut answers = Vec::new();
    let mut hub = hub.lock().expect("no thread panics");
    for name in command["topics"].as_array().into_iter().flatten() {
        let name = name.as_str().unwrap_or("");
        let topic = hub.entry(name.to_owned()).or_default();
        topic.subscribers.push((number, sender.clone()));
        let mut said = json!({"op": "subscribed", "id": command["id"], "topic": name, "kind": "events",
            "epoch": "5f3a09c2d417be60", "seq": topic.seq, "alias": 1});
        if let Some(seen) = command["resume"][name]["seq"].as_u64() {
            let is_whole = trick != Trick::ForgetsResume;
            said["recovered"] = is_whole.into();
            answers.push(said.to_string());
            if is_whole {
                answers.extend(topic.log[seen as usize..].iter().cloned());
            }
        } else {
            answers.push(said.to_string());
        }
    }
    answers
}

/// The data as it was written: a hub hands it on byte for byte.
#[derive(Deserialize)]
struct Data<'a> {
    #[serde(borrow)]
    data: &'a RawValue,
}

fn publish(command: &Value, text: &str, hub: &Hub, trick: Trick) -> Vec<String> {
    let Ok(Data { data: written }) = serde_json::from_str(text) else {
        return Vec::new();
    };
    let mut hub = hub.lock().expect("no thread panics");
    let name = command["topic"].as_str().unwrap_or("").to_owned();
    let topic = hub.entry(name.clone()).or_default();
    let is_it = topic.log.len() as u64 + 1 == AT;
    if is_it && trick == Trick::IsBusy {
        // So that it happens once.
        topic.log.push(String::new());
        return vec![
            json!({"op": "error", "id": command["id"], "code": "busy", "message": "later"})
                .to_string(),
        ];
    }
    topic.seq += 1;
    let seq = topic.seq;
    let data = |seq: u64| format!("{{\"topic\":\"{name}\",\"seq\":{seq},\"data\":{written}}}");
    topic.log.push(data(seq));
    let say = |to: &Sender<String>, text: String| drop(to.send(text));
    for (position, (_, to)) in topic.subscribers.iter().enumerate() {
        let is_first = position == 0;
        match trick {
            Trick::LeavesOut if is_it && is_first => {}
            Trick::Renumbers if is_first && seq >= AT => {
                if seq > AT {
                    say(to, data(seq - 1));
                }
            }
            Trick::AnnouncesGap if is_it && is_first => {
                let gap =
                    json!({"op": "gap", "topic": name, "from": seq, "to": seq, "cause": "slow"});
                say(to, gap.to_string());
            }
            Trick::Conflates if is_it && is_first => {
                let notice = json!({"op": "conflated", "topic": name, "from": seq, "to": seq + 1,
                    "count": 1, "whole": true});
                say(to, notice.to_string());
            }
            Trick::Lies if is_it => {}
            _ => say(to, data(seq)),
        }
    }
    if is_it && trick == Trick::KeepsQuiet {
        return Vec::new();
    }
    vec![
        json!({"op": "published", "id": command["id"], "topic": name, "epoch": "5f", "seq": seq})
            .to_string(),
    ]
}
