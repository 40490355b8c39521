//! A price ticker in small: every connection gets a number each second, counted down from the one
//! in its URL (`/10`), and is closed at zero. Run it with `cargo run --example countdown`.

use std::future::{Future, ready};

use fanwire_server::{
    Context, Handler, Message, Server, StartError, StatusCode, Upgrade, UpgradeRequest,
};

struct Countdown;

impl Handler for Countdown {
    type State = u32;
    type Mail = std::convert::Infallible;

    fn on_upgrade(
        &self,
        request: &UpgradeRequest<'_>,
    ) -> impl Future<Output = Upgrade<u32>> + 'static {
        ready(match request.path().trim_start_matches('/').parse() {
            Ok(start) => Upgrade::accept(start),
            Err(_) => Upgrade::refuse(404, "Connect to a number, such as /10."),
        })
    }

    fn on_open(&mut self, context: &mut Context<'_, u32>) {
        self.on_timer(context);
    }

    fn on_timer(&mut self, context: &mut Context<'_, u32>) {
        let left = *context.state();
        context.send_text(&left.to_string());
        if left == 0 {
            context.close(StatusCode::NORMAL, "lift-off");
            return;
        }
        *context.state() = left - 1;
        context.set_timer_ms(1_000);
    }

    fn on_message(&mut self, _context: &mut Context<'_, u32>, _message: Message<'_>) {}
}

fn main() -> Result<(), StartError> {
    Server::builder()
        .handler(|_shard| Countdown)
        .run()
        .map(drop)
}
