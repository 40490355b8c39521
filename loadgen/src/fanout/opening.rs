//! What a thread of a fan-out run opens: its subscribers, then its publishers, each with its own
//! opening handshake.

use std::rc::Rc;
use std::sync::Arc;

use fanwire_reactor::establish::Stream;

use crate::config::Config;
use crate::connect::establish::Greeting;
use crate::connect::greetings::Greetings;
use crate::connect::opening::Share;
use crate::fanout::dialect::raw;
use crate::fanout::layout::{Class, Layout};
use crate::fanout::options::{Dialect, Options};
use crate::fanout::publish::publisher_connections;
use crate::pace::plan;

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
    /// The opening handshakes of subscribers, before their topics come into them.
    subscribers: Rc<Greetings>,
    /// Those of publishers: without permessage-deflate, so that what is measured is the fan-out.
    publishers: Rc<Greetings>,
}

/// The configuration as publishers have it: they may connect elsewhere, and do not compress.
pub fn publishers_config(config: &Config, options: &Options) -> Config {
    let mut own = Config {
        deflate: None,
        ..config.clone()
    };
    if let Some(elsewhere) = &options.custom.elsewhere {
        own.target = elsewhere.target.clone();
        own.address = elsewhere.address;
        own.tls.clone_from(&elsewhere.tls);
        own.further_ports.clear();
    }
    own
}

impl Doors {
    /// For a run.
    pub fn new(config: &Arc<Config>, options: &Arc<Options>, layout: &Arc<Layout>) -> Doors {
        let mut subscribers = Config::clone(config);
        if let Some(name) = options.dialect.subprotocol() {
            subscribers.subprotocols.insert(0, name.to_owned());
        }
        let publishers = publishers_config(&subscribers, options);
        Doors {
            config: Arc::clone(config),
            options: Arc::clone(options),
            layout: Arc::clone(layout),
            subscribers: Rc::new(Greetings::of(&subscribers)),
            publishers: Rc::new(Greetings::of(&publishers)),
        }
    }

    /// The opening handshake of connection `number`: subscribers first, then publishers.
    pub fn greeting(&self, number: u32) -> Rc<Greeting> {
        let publisher = number.checked_sub(self.config.connections);
        let common = match publisher {
            Some(_) => self.publishers.of_connection(number),
            None => self.subscribers.of_connection(number),
        };
        let base = &common.request_target;
        let request_target = match (self.options.dialect, publisher) {
            (Dialect::Raw, Some(stream)) => {
                let topic = self.layout.topic_name(self.layout.topic_of(stream));
                raw::publish_target(base, &self.options.publish_path, topic)
            }
            (Dialect::Custom, Some(place)) if !self.options.custom.publish_path.is_empty() => {
                let topic = self.layout.topic_name(self.layout.topic_of(place));
                raw::publish_target("/", &self.options.custom.publish_path, topic)
            }
            (Dialect::Raw, None) => {
                let topics = self.layout.topics_of(number);
                let names: Vec<&str> = topics
                    .iter()
                    .map(|topic| self.layout.topic_name(*topic))
                    .collect();
                raw::subscribe_target(base, &self.options.subscribe_path, &names)
            }
            _ => return common,
        };
        Rc::new(Greeting {
            request_target,
            ..Greeting::clone(&common)
        })
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
        elsewhere: options.custom.elsewhere.as_ref().map(|_| {
            let publishers = publishers_config(config, options);
            (all_subscribers, Arc::new(publishers))
        }),
    }
}
