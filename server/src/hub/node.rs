//! One shard of the hub.
//!
//! It owns the shard's state and decides what each event leads to; `publish`, `subscribe`,
//! `follow`, `fan_out`, `catch_up` and `inspect` do it. All of it runs on the shard's thread.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::future::{Future, ready};
use std::sync::Arc;

use fanwire_protocol::{Message, MessageKind, StatusCode};

use crate::close_reason::CloseReason;
use crate::context::{ConnectionId, Context, Turn};
use crate::handler::{Handler, ShardId};
use crate::lanes::Lanes;
use crate::upgrade::{Upgrade, UpgradeRequest};

use super::counters::HubCounters;
use super::exchange::Exchange;
use super::mail::HubMail;
use super::options::{HubOptions, Shared};
use super::publication::{Compressor, Format, Variant};
use super::session::{Session, TopicIndex};
use super::topic::Pattern;
use super::topics::Topics;
use super::wire::command::Command;
use super::wire::{CommandError, ErrorCode, binary, command, json, raw};

/// The subprotocols, the preferred one first.
pub(crate) const SUBPROTOCOLS: [&str; 2] = ["fanwire.v1.json", "fanwire.v1.binary"];

/// A turn of a shard of the hub.
pub(crate) type HubTurn<'a> = Turn<'a, Session>;

/// One shard of the hub.
pub(crate) struct Hub {
    pub(crate) shard: ShardId,
    pub(crate) options: Arc<HubOptions>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) topics: Topics,
    pub(crate) exchange: Exchange,
    pub(crate) compressor: Compressor,
    /// Patterns that connections of this shard are subscribed to.
    pub(crate) patterns: HashMap<Pattern, Vec<ConnectionId>>,
    /// Patterns that connections of other shards are subscribed to.
    pub(crate) foreign_patterns: Vec<(ShardId, Pattern)>,
    /// Topics with something to fan out.
    pub(crate) fresh: Vec<TopicIndex>,
    /// Connections with something to catch up with.
    pub(crate) catching_up: VecDeque<ConnectionId>,
    /// When subscriptions with a rate cap may go on.
    pub(crate) paced: BinaryHeap<Reverse<(u64, ConnectionId)>>,
    /// Connections whose sockets have not taken everything, and since when.
    pub(crate) blocked: HashMap<ConnectionId, u64>,
    /// When to stop following topics that have had no subscribers for a while.
    pub(crate) lingering: VecDeque<(u64, TopicIndex)>,
    /// When to forget the points to resume from that no topic has asked for.
    pub(crate) resuming: VecDeque<(u64, ConnectionId)>,
    pub(crate) counters: HubCounters,
    /// Text that is on its way to one connection.
    pub(crate) scratch: Vec<u8>,
    /// Positions of subscribers that a fan-out found blocked.
    pub(crate) found_blocked: Vec<u32>,
}

impl Hub {
    pub(crate) fn new(
        shard: ShardId,
        lanes: Lanes<HubMail>,
        options: Arc<HubOptions>,
        shared: Arc<Shared>,
        window_bits: u8,
    ) -> Hub {
        let (level, min_bytes) = (options.deflate_level, options.deflate_min_bytes);
        Hub {
            shard,
            exchange: Exchange::new(lanes),
            compressor: Compressor::new(window_bits, level, min_bytes),
            options,
            shared,
            topics: Topics::default(),
            patterns: HashMap::new(),
            foreign_patterns: Vec::new(),
            fresh: Vec::new(),
            catching_up: VecDeque::new(),
            paced: BinaryHeap::new(),
            blocked: HashMap::new(),
            lingering: VecDeque::new(),
            resuming: VecDeque::new(),
            counters: HubCounters::default(),
            scratch: Vec::new(),
            found_blocked: Vec::new(),
        }
    }

    /// Sends one connection a control message.
    pub(crate) fn say(
        &mut self,
        turn: &mut HubTurn<'_>,
        id: ConnectionId,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        self.scratch.clear();
        write(&mut self.scratch);
        turn.send_to(id, MessageKind::Text, &self.scratch);
    }

    /// Answers a request that is refused; closes a connection that makes too many such.
    pub(crate) fn refuse(
        &mut self,
        turn: &mut HubTurn<'_>,
        id: ConnectionId,
        error: &CommandError,
    ) {
        self.counters.errors += 1;
        let now_ns = turn.now_ns();
        let Some(session) = turn.state_of(id) else {
            return;
        };
        if session.variant.format() == Format::Raw {
            let code = match error.code {
                ErrorCode::Busy => StatusCode(1013),
                _ => StatusCode::POLICY,
            };
            turn.close_connection(id, code, &error.message);
        } else if session.body().take_error(now_ns) {
            self.say(turn, id, |out| json::error(error, out));
        } else {
            self.counters.error_floods += 1;
            turn.close_connection(id, StatusCode::POLICY, "too many errors");
        }
    }

    /// Counts a change of a connection's subscriptions. False, and it is told, if there were too
    /// many: each can make the hub look at all its topics.
    pub(crate) fn may_change(
        &mut self,
        turn: &mut HubTurn<'_>,
        id: ConnectionId,
        request_id: Option<u64>,
        text: &str,
    ) -> bool {
        let now_ns = turn.now_ns();
        let session = turn.state_of(id);
        if session.is_some_and(|session| session.body().take_change(now_ns)) {
            return true;
        }
        let message = "too many subscriptions were changed in a short time; wait a second, and \
                       name several topics by a pattern";
        let error = CommandError::new(request_id, ErrorCode::Busy, message).about(text);
        self.refuse(turn, id, &error);
        false
    }

    fn handle_text(&mut self, turn: &mut HubTurn<'_>, id: ConnectionId, text: &str) {
        match command::parse(text) {
            Ok(Command::Publish(publish)) => self.publish_json(turn, id, &publish),
            Ok(Command::Subscribe(subscribe)) => self.subscribe(turn, id, &subscribe),
            Ok(Command::Unsubscribe {
                id: request_id,
                topics,
            }) => {
                for topic in &topics {
                    if self.may_change(turn, id, request_id, topic) {
                        self.unsubscribe(turn, id, request_id, topic);
                    }
                }
            }
            Ok(Command::Configure {
                id: request_id,
                topics,
                max_rate,
            }) => {
                for topic in &topics {
                    if self.may_change(turn, id, request_id, topic) {
                        self.configure(turn, id, request_id, topic, max_rate);
                    }
                }
            }
            Ok(Command::Ping { id: request_id }) => {
                self.say(turn, id, |out| json::pong(request_id, out));
            }
            Err(error) => self.refuse(turn, id, &error),
        }
    }

    fn handle_binary(&mut self, turn: &mut HubTurn<'_>, id: ConnectionId, bytes: &[u8]) {
        match binary::parse_publish(bytes) {
            Ok(publish) => self.publish_binary(turn, id, &publish),
            Err(error) => self.refuse(turn, id, &error),
        }
    }
}

/// What an opening handshake leads to.
fn decide(request: &UpgradeRequest<'_>, options: &HubOptions) -> Upgrade<Session> {
    match raw::parse_target(request.target()) {
        None => {}
        Some(Err((code, _))) => return Upgrade::refuse(400, raw_refusal(code)),
        Some(Ok(target)) => {
            if target.filters().count() > options.subscriptions_max {
                return Upgrade::refuse(400, "there are too many topics; name fewer");
            }
            if target.publishes && !options.may_publish(request.peer_address().ip()) {
                let detail = "this address may not publish; leave out publish, or have the \
                              server's publish_from changed";
                return Upgrade::refuse(403, detail);
            }
            return Upgrade::accept(Session::new(Format::Raw, Some(Box::new(target))));
        }
    }
    let subprotocol = request.select_subprotocol(&SUBPROTOCOLS);
    if subprotocol.is_none() && request.subprotocols().next().is_some() {
        let detail = "none of the subprotocols offered is spoken here; offer fanwire.v1.json or \
                      fanwire.v1.binary, or none";
        return Upgrade::refuse(400, detail);
    }
    let format = match subprotocol {
        Some("fanwire.v1.binary") => Format::Binary,
        _ => Format::Json,
    };
    Upgrade::accept(Session::new(format, None)).with_subprotocol(subprotocol)
}

/// What is wrong with a target under `/raw/`, in words of ours alone.
fn raw_refusal(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::BadTopic => {
            "a topic in the path or in the query breaks the rules of a name (1 to 16 tokens joined \
             by dots, 256 bytes, no white space, quotes or backslashes; one name to publish on)"
        }
        _ => {
            "the query makes no sense: history is a number, publish and subscribe are true or \
             false, topics are at most 128, and something must be received or published"
        }
    }
}

impl Handler for Hub {
    type State = Session;
    type Mail = HubMail;

    fn on_upgrade(
        &self,
        request: &UpgradeRequest<'_>,
    ) -> impl Future<Output = Upgrade<Session>> + 'static {
        ready(decide(request, &self.options))
    }

    fn on_open(&mut self, context: &mut Context<'_, Session>) {
        let can_inflate = context.deflate_parameters().is_some_and(|agreed| {
            agreed.server_no_context_takeover
                && agreed.server_max_window_bits >= self.compressor.window_bits()
        });
        let session = context.state();
        session.variant = Variant::new(session.variant.format(), can_inflate);
        self.shared.add_user(session.variant);
        let raw = session.raw.as_deref().cloned();
        let id = context.id();
        if let Some(target) = raw {
            self.subscribe_raw(&mut context.turn(), id, &target);
        }
    }

    fn on_message(&mut self, context: &mut Context<'_, Session>, message: Message<'_>) {
        let id = context.id();
        let format = context.state().variant.format();
        let turn = &mut context.turn();
        match (format, message.kind) {
            (Format::Raw, kind) => self.publish_raw(turn, id, kind, message.payload),
            (_, MessageKind::Text) => {
                // Text messages are valid UTF-8; an empty text is answered as one.
                let text = std::str::from_utf8(message.payload).unwrap_or_default();
                self.handle_text(turn, id, text);
            }
            (Format::Binary, MessageKind::Binary) => {
                self.handle_binary(turn, id, message.payload);
            }
            (Format::Json, MessageKind::Binary) => {
                let text = "binary messages belong to fanwire.v1.binary; send text, or offer that \
                            subprotocol";
                let error = CommandError::new(None, ErrorCode::BadFrame, text);
                self.refuse(turn, id, &error);
            }
        }
    }

    fn on_close(&mut self, context: &mut Context<'_, Session>, _reason: CloseReason) {
        let id = context.id();
        self.shared.remove_user(context.state().variant);
        self.blocked.remove(&id);
        self.forget(&mut context.turn(), id);
    }

    fn on_blocked(&mut self, context: &mut Context<'_, Session>) {
        self.blocked.insert(context.id(), context.now_ns());
    }

    fn on_drained(&mut self, context: &mut Context<'_, Session>) {
        let id = context.id();
        self.blocked.remove(&id);
        self.catch_up_soon(&mut context.turn(), id);
    }

    fn on_mail(&mut self, turn: &mut HubTurn<'_>, mail: HubMail) {
        match mail {
            HubMail::Publish(forwarded) => self.publish_forwarded(turn, *forwarded),
            HubMail::Message(publication) => self.follow_message(turn, publication),
            HubMail::Outcome {
                id,
                request_id,
                topic,
                outcome,
            } => self.tell_outcome(turn, id, request_id, topic.as_str(), outcome),
            HubMail::Join { from, topic } => self.let_join(turn, from, topic),
            HubMail::Leave { from, topic } => self.let_leave(from, topic),
            HubMail::JoinPattern { from, pattern } => self.let_join_pattern(from, pattern),
            HubMail::LeavePattern { from, pattern } => self.let_leave_pattern(from, &pattern),
            HubMail::Seed(seed) => self.begin_following(turn, *seed),
            HubMail::Refused { topic, code } => self.cannot_follow(turn, &topic, code),
            HubMail::Left { topic } => self.has_left(&topic),
            HubMail::Ask(question) => self.answer(turn, question),
        }
    }

    fn on_turn(&mut self, turn: &mut HubTurn<'_>) {
        let now_ns = turn.now_ns();
        let retry_ns = self.exchange.retry(now_ns);
        self.wake_paced(turn);
        self.fan_out_all(turn);
        self.catch_up_all(turn);
        self.stop_lingering(now_ns);
        self.forget_resume_points(turn);
        let paced_ns = self.paced.peek().map(|due| due.0.0);
        let lingering_ns = self.lingering.front().map(|due| due.0);
        let resuming_ns = self.resuming.front().map(|due| due.0);
        let next_ns = [retry_ns, paced_ns, lingering_ns, resuming_ns]
            .into_iter()
            .flatten()
            .min();
        if let Some(next_ns) = next_ns {
            turn.set_alarm_ns(next_ns);
        }
    }

    fn on_doorbells(&mut self) {
        self.exchange.ring();
    }
}
