//! What subscribers that are behind are sent, when their sockets take something again: history,
//! snapshots, what was missed, or the news that it is gone.
//!
//! It owns the rules of docs/protocol.md section 4. A subscriber is served from its topic's log
//! in pieces, so it never owns a queue; what is between its cursor and the head costs nothing.

use fanwire_protocol::{MessageKind, StatusCode};

use crate::context::ConnectionId;

use super::log::Log;
use super::node::{Hub, HubTurn};
use super::publication::{Compressor, Format, Variant};
use super::rules::{LagPolicy, TopicKind};
use super::session::TopicIndex;
use super::topics::Subscriber;
use super::wire::GapCause;
use super::wire::json::{self, Conflated, Snapshot};

/// Bytes that a connection catches up with in one turn.
const CATCH_UP_BYTES: usize = 64 << 10;
/// Bytes that all connections of a shard together catch up with in one turn: what is live must
/// not wait for long.
const CATCH_UP_BYTES_PER_TURN: usize = 1 << 20;
/// A rate cap is kept to in steps of this length.
const PACE_STEP_NS: u64 = 50_000_000;
/// "Insufficient state": something would have been left out where it cannot be said.
const INSUFFICIENT_STATE: StatusCode = StatusCode(4010);

/// A piece of a log that is about to be sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Piece {
    /// Messages in it.
    count: usize,
    /// Bytes of their frames.
    bytes: usize,
    /// The last of them.
    last: u64,
    /// There is nothing after it.
    is_all: bool,
}

/// What is to be said before a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Notice {
    None,
    Snapshot { as_of: u64, whole: bool },
    Conflated { from: u64, to: u64, whole: bool },
}

/// How far a subscription came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// It has everything.
    Caught,
    /// It has more to catch up with at once.
    More,
    /// It goes on later, or the connection is closing.
    Later,
}

impl Hub {
    /// A connection may have something to catch up with at the end of this turn.
    pub(crate) fn catch_up_soon(&mut self, turn: &mut HubTurn<'_>, id: ConnectionId) {
        let body = turn.state_of(id).and_then(|session| session.body.as_mut());
        if let Some(body) = body
            && body.behind > 0
            && !body.is_catching_up
        {
            body.is_catching_up = true;
            self.catching_up.push_back(id);
            // Sockets drain after the turn's own time for this.
            turn.again();
        }
    }

    pub(crate) fn catch_up_all(&mut self, turn: &mut HubTurn<'_>) {
        let mut budget = CATCH_UP_BYTES_PER_TURN;
        for _ in 0..self.catching_up.len() {
            if budget == 0 {
                break;
            }
            let Some(id) = self.catching_up.pop_front() else {
                break;
            };
            if let Some(body) = turn.state_of(id).and_then(|state| state.body.as_mut()) {
                body.is_catching_up = false;
            }
            let (written, has_more) = self.catch_up(turn, id, budget.min(CATCH_UP_BYTES));
            budget = budget.saturating_sub(written);
            if has_more {
                self.catch_up_soon(turn, id);
            }
        }
        if !self.catching_up.is_empty() {
            turn.again();
        }
    }

    /// Serves a connection's subscriptions that are behind, each time from another one on. Gives
    /// the bytes written and whether there is more to write at once.
    fn catch_up(
        &mut self,
        turn: &mut HubTurn<'_>,
        id: ConnectionId,
        budget: usize,
    ) -> (usize, bool) {
        if turn.unsent_bytes(id) > 0 {
            // It goes on when the socket has drained.
            return (0, false);
        }
        let body = turn.state_of(id).and_then(|session| session.body.as_ref());
        let (count, first) = body.map_or((0, 0), |body| {
            (body.subscriptions.len(), body.turn as usize)
        });
        let mut written = 0;
        for step in 0..count {
            let Some(body) = turn.state_of(id).and_then(|state| state.body.as_mut()) else {
                return (written, false);
            };
            if body.behind == 0 {
                return (written, false);
            }
            let at = (first + step) % count;
            let Some(subscription) = body.subscriptions.get(at).copied() else {
                return (written, true);
            };
            if written >= budget {
                body.turn = at as u32;
                return (written, true);
            }
            let topic = self.topics.get(subscription.topic);
            if topic.is_none_or(|topic| topic.is_live(subscription.position)) {
                continue;
            }
            let left = budget - written;
            let (bytes, progress) =
                self.pull(turn, subscription.topic, subscription.position, left);
            written += bytes;
            match progress {
                Progress::Caught => self.has_caught_up(turn, subscription.topic, id),
                Progress::Later => {}
                Progress::More => {
                    if let Some(body) = turn.state_of(id).and_then(|state| state.body.as_mut()) {
                        body.turn = at as u32;
                    }
                    return (written, true);
                }
            }
        }
        (written, false)
    }

    /// A subscription has everything: it is live again, unless it has a rate cap.
    fn has_caught_up(&mut self, turn: &mut HubTurn<'_>, index: TopicIndex, id: ConnectionId) {
        let found = turn.state_of(id).and_then(|session| session.find(index));
        let (Some(found), Some(topic)) = (found, self.topics.get_mut(index)) else {
            return;
        };
        let Some(subscriber) = topic.subscriber(found.position) else {
            return;
        };
        if subscriber.pace.is_some() {
            if !topic.paced_idle.contains(&id) {
                topic.paced_idle.push(id);
            }
            return;
        }
        if topic.fanned != topic.log.head() {
            // Published on since the fan-out of this turn; it catches up in the next one.
            self.catch_up_soon(turn, id);
            return;
        }
        let moved = topic.make_live(found.position);
        self.have_moved(turn, index, moved);
        self.counters.subscriptions_behind -= 1;
        if let Some(session) = turn.state_of(id) {
            let body = session.body();
            body.behind = body.behind.saturating_sub(1);
        }
    }

    /// Sends one subscription the next piece of what it has missed.
    fn pull(
        &mut self,
        turn: &mut HubTurn<'_>,
        index: TopicIndex,
        position: u32,
        budget: usize,
    ) -> (usize, Progress) {
        let now_ns = turn.now_ns();
        let Some(topic) = self.topics.get_mut(index) else {
            return (0, Progress::Later);
        };
        let head = topic.log.head();
        let Some(subscriber) = topic.subscribers.get_mut(position as usize) else {
            return (0, Progress::Later);
        };
        let id = subscriber.id;
        let is_in_snapshot = subscriber.cursor < subscriber.snapshot_through;
        if subscriber.cursor >= head && subscriber.is_whole {
            return (0, Progress::Caught);
        }
        let mut messages_max = usize::MAX;
        if let Some(pace) = subscriber.pace.as_mut().filter(|_| !is_in_snapshot) {
            if pace.next_ns > now_ns {
                if !pace.is_scheduled {
                    pace.is_scheduled = true;
                    self.paced.push(std::cmp::Reverse((pace.next_ns, id)));
                }
                return (0, Progress::Later);
            }
            messages_max = pace.messages_per_step();
        }
        let Some(missed) = self.announce_missed(turn, index, position, messages_max) else {
            return (0, Progress::Later);
        };
        let (bytes, count) = self.send_piece(turn, index, position, budget, messages_max);
        let Some(topic) = self.topics.get_mut(index) else {
            return (bytes, Progress::Later);
        };
        let Some(subscriber) = topic.subscribers.get_mut(position as usize) else {
            return (bytes, Progress::Later);
        };
        let is_caught = subscriber.cursor >= head && subscriber.is_whole;
        if let Some(pace) = subscriber.pace.as_mut().filter(|_| !is_in_snapshot) {
            pace.next_ns = now_ns + count as u64 * 1_000_000_000 / u64::from(pace.rate.max(1));
            if !is_caught && !pace.is_scheduled {
                pace.is_scheduled = true;
                self.paced.push(std::cmp::Reverse((pace.next_ns, id)));
            }
        }
        let progress = match (is_caught, subscriber.pace.is_some() && !is_in_snapshot) {
            (true, _) => Progress::Caught,
            (false, true) => Progress::Later,
            (false, false) => Progress::More,
        };
        (bytes + missed, progress)
    }

    /// Deals with messages that can no longer be sent, or must not be because of a rate cap: says
    /// so and moves the cursor, by the topic's policy. Gives the bytes it took; none if the
    /// connection is closing now.
    fn announce_missed(
        &mut self,
        turn: &mut HubTurn<'_>,
        index: TopicIndex,
        position: u32,
        messages_max: usize,
    ) -> Option<usize> {
        let topic = self.topics.get_mut(index)?;
        let (head, floor) = (topic.log.head(), topic.log.floor());
        let subscriber = topic.subscribers.get_mut(position as usize)?;
        let is_in_snapshot = subscriber.cursor < subscriber.snapshot_through;
        let (is_overrun, to, cause) = match topic.log.kind() {
            TopicKind::Events if subscriber.cursor < floor => (true, floor, GapCause::Slow),
            TopicKind::Events => {
                let last = head.saturating_sub(messages_max as u64);
                (subscriber.cursor < last, last, GapCause::Rate)
            }
            TopicKind::State if is_in_snapshot => {
                if floor > subscriber.snapshot_through {
                    // What was removed meanwhile can no longer be told: it begins again.
                    subscriber.cursor = 0;
                    subscriber.snapshot_through = head;
                }
                return Some(0);
            }
            TopicKind::State => {
                let is_conflated = topic.lag != LagPolicy::Conflate
                    && topic.log.after(subscriber.cursor).count() as u64
                        != head - subscriber.cursor;
                let is_overrun = subscriber.cursor < floor || is_conflated;
                (is_overrun, head, GapCause::Slow)
            }
        };
        if !is_overrun {
            return Some(0);
        }
        let id = subscriber.id;
        let from = subscriber.cursor + 1;
        match topic.lag {
            _ if cause == GapCause::Rate => {}
            LagPolicy::Close => {
                self.counters.closed_behind += u64::from(turn.close_slow(id));
                return None;
            }
            LagPolicy::Gap | LagPolicy::Conflate => {}
        }
        if subscriber.variant.format() == Format::Raw && cause == GapCause::Slow {
            let reason = "messages would have been left out";
            let is_closing = turn.close_connection(id, INSUFFICIENT_STATE, reason);
            self.counters.closed_behind += u64::from(is_closing);
            return None;
        }
        match cause {
            GapCause::Slow => self.counters.gap_slow += to + 1 - from,
            GapCause::Rate => self.counters.gap_rate += to + 1 - from,
        }
        if topic.log.kind() == TopicKind::State {
            subscriber.cursor = 0;
            subscriber.snapshot_through = head;
        } else {
            subscriber.cursor = to;
        }
        if subscriber.variant.format() == Format::Raw {
            return Some(0);
        }
        self.scratch.clear();
        json::gap(topic.name.as_str(), from, to, cause, &mut self.scratch);
        turn.send_to(id, MessageKind::Text, &self.scratch);
        Some(self.scratch.len())
    }

    /// Sends a piece of the log, with what has to be said before it. Gives its bytes and its
    /// messages.
    fn send_piece(
        &mut self,
        turn: &mut HubTurn<'_>,
        index: TopicIndex,
        position: u32,
        budget: usize,
        messages_max: usize,
    ) -> (usize, usize) {
        let Some(topic) = self.topics.get_mut(index) else {
            return (0, 0);
        };
        let Some(subscriber) = topic.subscribers.get_mut(position as usize) else {
            return (0, 0);
        };
        let head = topic.log.head();
        let (id, variant) = (subscriber.id, subscriber.variant);
        let (cursor, through) = (subscriber.cursor, subscriber.snapshot_through);
        let is_in_snapshot = cursor < through;
        let last_max = if is_in_snapshot { through } else { u64::MAX };
        let piece = measure(
            messages(&topic.log, cursor, is_in_snapshot, last_max),
            variant,
            &mut self.compressor,
            budget,
            messages_max,
        );
        let (end, notice) = subscriber.advance(topic.log.kind(), head, &piece);
        let merged = match is_in_snapshot {
            true => 0,
            false => (end - cursor).saturating_sub(piece.count as u64),
        };
        self.counters.conflated += merged;
        self.counters.delivered_late += piece.count as u64;
        self.counters.snapshots += u64::from(is_in_snapshot && cursor == 0);
        let mut said = 0;
        if variant.format() != Format::Raw {
            self.scratch.clear();
            let (name, epoch) = (topic.name.as_str(), topic.epoch);
            write_notice(notice, name, epoch, piece.count as u64, &mut self.scratch);
            said = self.scratch.len();
            if said > 0 {
                turn.send_to(id, MessageKind::Text, &self.scratch);
            }
        }
        let compressor = &mut self.compressor;
        let chosen = messages(&topic.log, cursor, is_in_snapshot, last_max).take(piece.count);
        turn.write_frames(id, piece.count as u64, |out| {
            out.reserve(piece.bytes);
            for publication in chosen {
                out.extend_from_slice(publication.frame(variant, compressor));
            }
        });
        (piece.bytes + said, piece.count)
    }

    /// Lets subscriptions go on whose rate cap allows it now.
    pub(crate) fn wake_paced(&mut self, turn: &mut HubTurn<'_>) {
        let now_ns = turn.now_ns();
        while let Some(std::cmp::Reverse((due_ns, id))) = self.paced.peek().copied() {
            if due_ns > now_ns {
                return;
            }
            self.paced.pop();
            let body = turn.state_of(id).and_then(|session| session.body.as_ref());
            let subscriptions = body.map_or(Vec::new(), |body| body.subscriptions.clone());
            for one in subscriptions {
                let topic = self.topics.get_mut(one.topic);
                let subscriber = topic.and_then(|topic| topic.subscriber(one.position));
                if let Some(pace) = subscriber.and_then(|subscriber| subscriber.pace.as_mut())
                    && pace.next_ns <= now_ns
                {
                    pace.is_scheduled = false;
                }
            }
            self.catch_up_soon(turn, id);
        }
    }
}

impl super::topics::Pace {
    /// How many messages one step may bring.
    fn messages_per_step(&self) -> usize {
        (u64::from(self.rate) * PACE_STEP_NS / 1_000_000_000).max(1) as usize
    }
}

impl Subscriber {
    /// Moves the cursor over a piece, and says what has to be said before it.
    fn advance(&mut self, kind: TopicKind, head: u64, piece: &Piece) -> (u64, Notice) {
        let cursor = self.cursor;
        let is_in_snapshot = cursor < self.snapshot_through;
        let end = match (piece.is_all, is_in_snapshot) {
            (true, true) => self.snapshot_through,
            (true, false) => head,
            (false, _) => piece.last,
        };
        self.cursor = end;
        if kind == TopicKind::Events {
            return (end, Notice::None);
        }
        let is_complete = end - cursor == piece.count as u64 && !is_in_snapshot;
        let whole = end >= head || (self.is_whole && is_complete);
        let notice = if is_in_snapshot && cursor == 0 {
            Notice::Snapshot { as_of: end, whole }
        } else if self.is_whole && is_complete {
            Notice::None
        } else {
            Notice::Conflated {
                from: cursor + 1,
                to: end,
                whole,
            }
        };
        self.is_whole = whole;
        (end, notice)
    }
}

/// The messages that a subscriber at `cursor` is sent, up to `last_max`.
fn messages(
    log: &Log,
    cursor: u64,
    is_in_snapshot: bool,
    last_max: u64,
) -> impl Iterator<Item = &super::publication::Publication> {
    let all = match is_in_snapshot {
        true => log.state_after(cursor),
        false => log.after(cursor),
    };
    all.map(|publication| &**publication)
        .take_while(move |publication| publication.seq <= last_max)
}

/// The longest piece within the limits, of one message at least.
fn measure<'a>(
    mut messages: impl Iterator<Item = &'a super::publication::Publication>,
    variant: Variant,
    compressor: &mut Compressor,
    budget: usize,
    messages_max: usize,
) -> Piece {
    let mut piece = Piece::default();
    loop {
        let Some(publication) = messages.next() else {
            piece.is_all = true;
            return piece;
        };
        let size = publication.frame(variant, compressor).len();
        let is_over = piece.bytes + size > budget || piece.count >= messages_max;
        if is_over && piece.count > 0 {
            return piece;
        }
        piece.count += 1;
        piece.bytes += size;
        piece.last = publication.seq;
    }
}

fn write_notice(notice: Notice, topic: &str, epoch: u64, count: u64, out: &mut Vec<u8>) {
    match notice {
        Notice::None => {}
        Notice::Snapshot { as_of, whole } => json::snapshot(
            &Snapshot {
                topic,
                epoch,
                as_of,
                count,
                whole,
            },
            out,
        ),
        Notice::Conflated { from, to, whole } => json::conflated(
            &Conflated {
                topic,
                from,
                to,
                count,
                whole,
            },
            out,
        ),
    }
}
