//! The seam between the server and an application.
//!
//! It owns the trait an application implements and the echo handler, its simplest example.
//! It must not know how connections are served.

use std::future::Future;

use fanwire_protocol::Message;

use crate::close_reason::CloseReason;
use crate::context::{Context, Turn};
use crate::upgrade::{Upgrade, UpgradeRequest};

/// Number of a shard: 0 for the first processor of the list, and so on.
pub type ShardId = u16;

/// An application: what happens when a connection opens, a message comes, a connection ends.
///
/// Every shard has a handler of its own, made by the factory given to
/// [`Builder::handler`](crate::Builder::handler), on the shard's thread. All calls come from that
/// thread, one after the other:
///
/// * A call must not block. While it runs, none of the shard's connections is served. Ask other
///   systems in [`on_upgrade`](Handler::on_upgrade), which is async, or from another thread.
/// * No call happens inside another: sending, closing and timers are recorded and take effect
///   when the call has returned.
/// * A panic ends the process: the release profile aborts, because the state of a shard whose
///   handler was cut short cannot be trusted.
pub trait Handler: Sized + 'static {
    /// What the application keeps per connection. It is stored inline, so its size counts for
    /// every idle connection.
    type State: 'static;

    /// What other threads and other shards may send to this one; [`Infallible`] for a handler
    /// that keeps to itself.
    ///
    /// [`Infallible`]: std::convert::Infallible
    type Mail: Send + 'static;

    /// Decides on an opening handshake that was valid. The future runs beside the data path and
    /// may wait, for example for an identity service, but not longer than what is left of
    /// `handshake_timeout_ms`; then the client gets 408.
    ///
    /// The future must not borrow the request: take what it needs out of it first. Accepting
    /// everybody is `std::future::ready(Upgrade::accept(state))`.
    fn on_upgrade(
        &self,
        request: &UpgradeRequest<'_>,
    ) -> impl Future<Output = Upgrade<Self::State>> + 'static;

    /// The connection is established: the first moment at which it can be sent to.
    fn on_open(&mut self, context: &mut Context<'_, Self::State>) {
        let _ = context;
    }

    /// A whole message came. Text is valid UTF-8.
    fn on_message(&mut self, context: &mut Context<'_, Self::State>, message: Message<'_>);

    /// The connection ended; exactly once per [`on_open`](Handler::on_open). It can no longer be
    /// sent to; its state is dropped after this call.
    fn on_close(&mut self, context: &mut Context<'_, Self::State>, reason: CloseReason) {
        let _ = (context, reason);
    }

    /// The timer set with [`Context::set_timer_ms`] is due.
    fn on_timer(&mut self, context: &mut Context<'_, Self::State>) {
        let _ = context;
    }

    /// The connection's socket did not take everything: something waits from now on, until
    /// [`Handler::on_drained`].
    fn on_blocked(&mut self, context: &mut Context<'_, Self::State>) {
        let _ = context;
    }

    /// The connection's socket has taken everything that waited for it.
    fn on_drained(&mut self, context: &mut Context<'_, Self::State>) {
        let _ = context;
    }

    /// Mail came over one of the [`Lanes`](crate::Lanes) to this shard.
    fn on_mail(&mut self, turn: &mut Turn<'_, Self::State>, mail: Self::Mail) {
        let _ = (turn, mail);
    }

    /// The alarm set with [`Turn::set_alarm_ns`] is due.
    fn on_alarm(&mut self, turn: &mut Turn<'_, Self::State>) {
        let _ = turn;
    }

    /// Once per turn, after everything that arrived in it was handled and before anything is
    /// sent: the place for fan-out.
    fn on_turn(&mut self, turn: &mut Turn<'_, Self::State>) {
        let _ = turn;
    }

    /// After the turn's messages were sent: the place to [ring](crate::Lane::ring) the shards
    /// that got mail in this turn.
    fn on_doorbells(&mut self) {}
}

/// Sends every message back to where it came from.
#[derive(Clone, Copy, Debug, Default)]
pub struct Echo;

impl Handler for Echo {
    type State = ();
    type Mail = std::convert::Infallible;

    fn on_upgrade(
        &self,
        _request: &UpgradeRequest<'_>,
    ) -> impl Future<Output = Upgrade<()>> + 'static {
        std::future::ready(Upgrade::accept(()))
    }

    #[inline]
    fn on_message(&mut self, context: &mut Context<'_, ()>, message: Message<'_>) {
        context.send(message.kind, message.payload);
    }
}
