//! What a thread of a fan-out run opens: its subscribers, then its publishers, each with its own
//! opening handshake.

use std::rc::Rc;
use std::sync::Arc;

use fanwire_reactor::establish::Stream;

use crate::config::Config;
use crate::establish::Greeting;
use crate::fanout::dialect::raw;
use crate::fanout::layout::{Class, Layout};
use crate::fanout::options::{Dialect, Options};
use crate::fanout::publish::publisher_connections;
use crate::opening::Share;
use crate::plan;

/// Receive buffer in the kernel of readers that are to feel slow to the server; the kernel doubles
/// it. The usual one grows to megabytes, behind which a stalled reader goes unnoticed for long. A
/// much smaller one makes the sender wait for its timers, because TCP waits for a window of half
/// of the largest one it has seen: then every such reader is slow, also when it reads.
const SLOW_RECEIVE_BUFFER: usize = 64 * 1024;

/// Words and sockets of every connection of a run, by number.
#[derive(Clone)]
pub struct Doors {
    config: Arc<Config>,
    options: Arc<Options>,
    layout: Arc<Layout>,
    /// The handshake of dialects in which all connections have the same.
    plain: Rc<Greeting>,
    /// The same with permessage-deflate, where it was asked for: subscribers only, so that what is
    /// measured is the fan-out.
    compressed: Rc<Greeting>,
}

impl Doors {
    /// For a run.
    pub fn new(config: &Arc<Config>, options: &Arc<Options>, layout: &Arc<Layout>) -> Doors {
        let mut compressed = Greeting::of(config);
        if let Some(name) = options.dialect.subprotocol() {
            compressed.subprotocols.insert(0, name.to_owned());
        }
        let plain = Greeting {
            deflate: None,
            ..compressed.clone()
        };
        Doors {
            config: Arc::clone(config),
            options: Arc::clone(options),
            layout: Arc::clone(layout),
            plain: Rc::new(plain),
            compressed: Rc::new(compressed),
        }
    }

    /// The opening handshake of connection `number`: subscribers first, then publishers.
    pub fn greeting(&self, number: u32) -> Rc<Greeting> {
        let publisher = number.checked_sub(self.config.connections);
        let common = match publisher {
            Some(_) => &self.plain,
            None => &self.compressed,
        };
        match (self.options.dialect, publisher) {
            (Dialect::Raw, _) => {}
            (Dialect::Custom, Some(place)) => return Rc::new(self.publisher_greeting(place)),
            _ => return Rc::clone(common),
        }
        let base = &self.config.target.request_target;
        let request_target = match publisher {
            Some(stream) => {
                let topic = self.layout.topic_name(self.layout.topic_of(stream));
                raw::publish_target(base, &self.options.publish_path, topic)
            }
            None => {
                let topics = self.layout.topics_of(number);
                let names: Vec<&str> = topics
                    .iter()
                    .map(|topic| self.layout.topic_name(*topic))
                    .collect();
                raw::subscribe_target(base, &self.options.subscribe_path, &names)
            }
        };
        Rc::new(Greeting {
            request_target,
            ..Greeting::clone(common)
        })
    }

    /// The opening handshake of a publisher that connects to another place than subscribers do.
    fn publisher_greeting(&self, place: u32) -> Greeting {
        let custom = &self.options.custom;
        let target = match &custom.elsewhere {
            Some(elsewhere) => &elsewhere.target,
            None => &self.config.target,
        };
        let request_target = if custom.publish_path.is_empty() {
            target.request_target.clone()
        } else {
            let topic = self.layout.topic_name(self.layout.topic_of(place));
            raw::publish_target("/", &custom.publish_path, topic)
        };
        Greeting {
            host: target.host_header(),
            request_target,
            ..Greeting::clone(&self.plain)
        }
    }

    /// Sets the socket of connection `number` up.
    pub fn prepare(&self, number: u32, stream: &Stream) {
        let is_subscriber = number < self.config.connections;
        if is_subscriber && matches!(self.layout.class_of(number), Class::Slow | Class::Stalled) {
            // A socket that refuses the option is about to fail anyway.
            let _ = rustix::net::sockopt::set_socket_recv_buffer_size(stream, SLOW_RECEIVE_BUFFER);
        }
    }
}

/// What thread `thread` opens.
pub fn share(
    config: &Arc<Config>,
    options: &Arc<Options>,
    layout: &Arc<Layout>,
    thread: usize,
) -> Share {
    let doors = Rc::new(Doors::new(config, options, layout));
    let (subscribers, first) = plan::share(config.connections, thread, config.threads);
    let (_, publishers) = publisher_connections(options, layout, thread, config.threads);
    let all_subscribers = config.connections;
    let own = Rc::clone(&doors);
    Share {
        count: subscribers + publishers.len() as u32,
        number: Box::new(move |index| match index.checked_sub(subscribers) {
            None => first + index,
            Some(place) => all_subscribers + publishers.get(place as usize).copied().unwrap_or(0),
        }),
        greeting: Box::new(move |number| own.greeting(number)),
        prepare: Box::new(move |number, stream| doors.prepare(number, stream)),
    }
}
