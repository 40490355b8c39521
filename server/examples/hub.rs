//! A hub inside a program of one's own, which publishes the time on `clock` four times a second.
//!
//! ```text
//! cargo run --release -p fanwire-server --example hub -- 127.0.0.1:9001
//! ```
//!
//! and, in a browser's console:
//!
//! ```text
//! s = new WebSocket('ws://127.0.0.1:9001/raw/clock'); s.onmessage = m => console.log(m.data)
//! ```

use std::error::Error;
use std::thread;
use std::time::{Duration, Instant};

use fanwire_server::Config;
use fanwire_server::hub::port::{HubPort, PublishRequest};
use fanwire_server::hub::publication::{Change, PayloadKind};
use fanwire_server::hub::topic::TopicName;
use fanwire_server::hub::{HubOptions, start};

fn publish_time(mut port: HubPort, topic: &TopicName) {
    let started = Instant::now();
    loop {
        let text = format!("{{\"seconds\":{:.2}}}", started.elapsed().as_secs_f64());
        let request = PublishRequest {
            topic: topic.clone(),
            key: None,
            change: Change::Update,
            payload: text.into(),
            payload_kind: PayloadKind::Json,
        };
        // If its queue is full, the hub has other worries than the time.
        let _ = port.publish(request, None);
        port.ring();
        thread::sleep(Duration::from_millis(250));
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1);
    let config = Config {
        listen: address.as_deref().unwrap_or("127.0.0.1:9001").parse()?,
        ..Config::default()
    };
    let (running, mut ports) = start(config, HubOptions::default(), 1)?;
    println!("listening on ws://{}", running.local_address());
    let topic = TopicName::parse("clock")?;
    if let Some(port) = ports.pop() {
        thread::spawn(move || publish_time(port, &topic));
    }
    running.serve_until_signalled()?;
    Ok(())
}
