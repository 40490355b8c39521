//! The way into a scripted server: accepting and the opening handshake, as its entrance wants it.

use std::cell::Cell;
use std::rc::Rc;

use fanwire_protocol::handshake::{Acceptance, HandshakeLimits, Rejection, RequestReader};
use fanwire_reactor::Handle;
use fanwire_reactor::establish::{ListenSocket, Stream, sleep_ms, within};

use super::Entrance;
use super::application::{Joined, Stagehand};
use crate::selftest::script::Script;

/// Longest time for a client's opening handshake.
const HANDSHAKE_TIMEOUT_MS: u64 = 10_000;
/// Bytes read at once; a longer request head takes several reads.
const HEAD_CHUNK: usize = 2_048;
/// Between two tries to accept when one has failed.
const RETRY_MS: u64 = 10;
/// How long a refused client has to read its answer.
const REFUSAL_LINGER_MS: u64 = 1_000;

/// Accepts until the listener is closed.
pub async fn welcome<S: Script>(
    handle: Handle<Stagehand<S>>,
    socket: ListenSocket,
    entrance: Entrance,
) {
    let Ok(mut listener) = socket.into_listener() else {
        return;
    };
    if let Ok(closer) = listener.closer() {
        handle.with(|stagehand, _| stagehand.set_closer(closer));
    }
    // Held, so that they are neither answered nor closed.
    let mut mute = Vec::new();
    let requests = Rc::new(Cell::new(0u32));
    let mut accepted = 0u32;
    loop {
        if let Entrance::AcceptsOnly(most) = entrance
            && accepted >= most
        {
            // The listener stays open, and nobody is taken from its queue.
            std::future::pending::<()>().await;
        }
        let Ok((stream, _)) = listener.accept().await else {
            if handle.is_stopping() {
                return;
            }
            // Descriptors are short, or the client was gone already.
            sleep_ms(RETRY_MS).await;
            continue;
        };
        accepted += 1;
        handle.with(|stagehand, _| stagehand.seen_mut().accepted += 1);
        if entrance == Entrance::Mute {
            mute.push(stream);
            continue;
        }
        let (handle_of_task, requests) = (handle.clone(), Rc::clone(&requests));
        handle.spawn(async move {
            let number = requests.get();
            requests.set(number + 1);
            let is_refused = match entrance {
                Entrance::RefusesEvery(every) => (number + 1).is_multiple_of(every.max(1)),
                _ => false,
            };
            let shaken = shake_hands(&handle_of_task, stream, is_refused);
            // A client that says nothing is dropped.
            let _ = within(HANDSHAKE_TIMEOUT_MS, shaken).await;
        });
    }
}

async fn shake_hands<S: Script>(
    handle: &Handle<Stagehand<S>>,
    mut stream: Stream,
    is_refused: bool,
) {
    let mut head = Vec::new();
    let mut reader = RequestReader::new(HandshakeLimits::default());
    loop {
        match stream.receive(&mut head, HEAD_CHUNK).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let rejection = match reader.advance(&head) {
            Ok(None) => continue,
            Ok(Some(_)) if is_refused => Rejection::new(503, "The script refuses this one."),
            Ok(Some(request)) => {
                let mut response = Vec::new();
                match request.accept(&Acceptance::default(), &mut response) {
                    Ok(()) => {
                        let target = request.target().to_owned();
                        if stream.send_all(response).await.0.is_ok() {
                            handle.with(|stagehand, _| stagehand.seen_mut().upgraded += 1);
                            handle.adopt(stream, Joined { target });
                        }
                        return;
                    }
                    Err(_) => Rejection::new(500, "The script could not answer."),
                }
            }
            Err(rejection) => rejection,
        };
        handle.with(|stagehand, _| stagehand.seen_mut().refused += 1);
        refuse(stream, &rejection).await;
        return;
    }
}

/// Answers, and waits until the client has closed, so that no reset overtakes the answer.
async fn refuse(mut stream: Stream, rejection: &Rejection) {
    let mut response = Vec::new();
    rejection.write_to(&mut response);
    let (sent, mut buffer) = stream.send_all(response).await;
    if sent.and_then(|()| stream.finish()).is_err() {
        return;
    }
    let read_to_end = async {
        loop {
            buffer.clear();
            if !matches!(stream.receive(&mut buffer, HEAD_CHUNK).await, Ok(count) if count > 0) {
                return;
            }
        }
    };
    let _ = within(REFUSAL_LINGER_MS, read_to_end).await;
}
