//! What runs on a shard: the callbacks of the program that embeds the reactor.

use crate::io::Io;
use crate::slots::Cause;
use crate::token::Token;

/// The program on one shard. All callbacks run on the shard's thread, one at a time and to
/// their end: they must not block, because every connection of the core waits for them. What
/// they ask for through [`Io`] is recorded and takes effect in the flush phase of the turn.
pub trait Application: 'static {
    /// What other threads may send to this shard.
    type Mail: Send + 'static;
    /// What a newly established socket brings with it.
    type Adopted: 'static;

    /// A socket joined the shard; receiving begins after this turn.
    fn on_adopted(&mut self, io: &mut Io, token: Token, adopted: Self::Adopted);

    /// Bytes arrived. They are lent for this call only, may be changed in place, and must be
    /// taken whole: what is to be kept is copied.
    fn on_received(&mut self, io: &mut Io, token: Token, bytes: &mut [u8]);

    /// The peer has finished sending: nothing more will be received.
    fn on_end_of_stream(&mut self, io: &mut Io, token: Token) {
        io.terminate(token);
    }

    /// The socket did not take everything: something waits for it from now on, until
    /// [`Application::on_drained`].
    fn on_blocked(&mut self, _io: &mut Io, _token: Token) {}

    /// The socket has taken everything that had to wait for it.
    fn on_drained(&mut self, _io: &mut Io, _token: Token) {}

    /// The connection's coarse timer is due.
    fn on_timer(&mut self, _io: &mut Io, _token: Token) {}

    /// The shard's precise alarm is due.
    fn on_alarm(&mut self, _io: &mut Io) {}

    /// Mail from another thread.
    fn on_mail(&mut self, _io: &mut Io, _mail: Self::Mail) {}

    /// Once per turn, after everything that arrived was handled: the place for fan-out.
    fn on_turn(&mut self, _io: &mut Io) {}

    /// After the flush: ring the shards that were sent mail in this turn.
    fn on_doorbells(&mut self) {}

    /// The connection has ended and its slot is about to be reused. Called exactly once for
    /// each `on_adopted`, as the last callback of that token.
    fn on_closed(&mut self, io: &mut Io, token: Token, cause: Cause);
}
