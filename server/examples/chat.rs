//! A chat room per shard: what one says, all hear. The name comes from the URL: `/ada`.
//!
//! Run it with `cargo run --example chat`, then in a browser's console, twice:
//! `s = new WebSocket('ws://127.0.0.1:9001/ada'); s.onmessage = m => console.log(m.data)`

use std::collections::HashSet;
use std::future::{Future, ready};

use fanwire_server::{
    CloseReason, ConnectionId, Context, Handler, Message, MessageKind, Placement, PreparedMessage,
    Server, StartError, Upgrade, UpgradeRequest,
};

#[derive(Default)]
struct Chat {
    present: HashSet<ConnectionId>,
}

impl Chat {
    /// Encodes once, sends to all.
    fn tell(&self, context: &mut Context<'_, String>, text: &str) {
        let message = PreparedMessage::new(MessageKind::Text, text.as_bytes(), None);
        for id in &self.present {
            context.send_prepared_to(*id, &message);
        }
    }
}

impl Handler for Chat {
    type State = String;
    type Mail = std::convert::Infallible;

    fn on_upgrade(
        &self,
        request: &UpgradeRequest<'_>,
    ) -> impl Future<Output = Upgrade<String>> + 'static {
        let name = request.path().trim_start_matches('/').to_owned();
        ready(match name.is_empty() {
            true => Upgrade::refuse(404, "Connect to /yourname."),
            false => Upgrade::accept(name),
        })
    }

    fn on_open(&mut self, context: &mut Context<'_, String>) {
        self.present.insert(context.id());
        let text = format!("{} came", context.state());
        self.tell(context, &text);
    }

    fn on_message(&mut self, context: &mut Context<'_, String>, message: Message<'_>) {
        let text = format!(
            "{}: {}",
            context.state(),
            message.as_str().unwrap_or("(bytes)")
        );
        self.tell(context, &text);
    }

    fn on_close(&mut self, context: &mut Context<'_, String>, _reason: CloseReason) {
        self.present.remove(&context.id());
        let text = format!("{} left", context.state());
        self.tell(context, &text);
    }
}

fn main() -> Result<(), StartError> {
    let server = Server::builder().placement(Placement::Unpinned(1));
    server.handler(|_shard| Chat::default()).run().map(drop)
}
