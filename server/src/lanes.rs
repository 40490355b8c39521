//! Mail of an application's own: from shard to shard, and from other threads to shards.
//!
//! It owns the senders' side. It must not know what the mail says.

use fanwire_reactor::MailSender;

use crate::counters::ShardCounters;
use crate::handler::ShardId;
use crate::shard::{ControlMail, ShardMail};

/// One thread's way to one shard: a bounded queue that nobody else fills.
#[derive(Debug)]
pub struct Lane<M> {
    sender: MailSender<ShardMail<M>>,
    /// Something was pushed since the last ring.
    is_rung_for: bool,
}

impl<M: Send> Lane<M> {
    /// Puts mail into the queue. The shard sees it when it is awake, or was
    /// [rung](Lane::ring) for.
    ///
    /// # Errors
    /// The queue is full: the mail is given back, and the caller's policy decides.
    pub fn push(&mut self, mail: M) -> Result<(), M> {
        self.is_rung_for = true;
        match self.sender.push(ShardMail::Application(mail)) {
            Ok(()) => Ok(()),
            Err(ShardMail::Application(mail)) => Err(mail),
            Err(ShardMail::Control(_)) => unreachable!("the queue gives back what it was given"),
        }
    }

    /// How many more pushes will succeed.
    pub fn free(&self) -> usize {
        self.sender.free()
    }

    /// Wakes the shard if it sleeps and something was pushed since the last ring.
    pub fn ring(&mut self) {
        if std::mem::take(&mut self.is_rung_for) {
            self.sender.ring();
        }
    }

    /// Asks for the shard's counters; `answer` is called on the shard's thread and must not
    /// block. False if the queue is full.
    pub fn ask_counters(&mut self, answer: Box<dyn FnOnce(ShardCounters) + Send>) -> bool {
        let mail = ShardMail::Control(ControlMail::Count(answer));
        self.sender.send(mail).is_ok()
    }
}

/// One thread's ways to all shards.
#[derive(Debug)]
pub struct Lanes<M> {
    /// By shard; none to the shard that the thread is.
    lanes: Vec<Option<Lane<M>>>,
}

impl<M: Send> Lanes<M> {
    pub(crate) fn new(senders: Vec<Option<MailSender<ShardMail<M>>>>) -> Lanes<M> {
        let lane = |sender| Lane {
            sender,
            is_rung_for: false,
        };
        Lanes {
            lanes: senders.into_iter().map(|sender| sender.map(lane)).collect(),
        }
    }

    /// How many shards there are, this one included.
    pub fn shards(&self) -> usize {
        self.lanes.len()
    }

    /// The way to a shard; none to oneself.
    #[inline]
    pub fn to(&mut self, shard: ShardId) -> Option<&mut Lane<M>> {
        self.lanes.get_mut(usize::from(shard))?.as_mut()
    }

    /// All ways there are.
    pub fn all(&mut self) -> impl Iterator<Item = (ShardId, &mut Lane<M>)> {
        let lanes = self.lanes.iter_mut().enumerate();
        lanes.filter_map(|(shard, lane)| Some((shard as ShardId, lane.as_mut()?)))
    }

    /// Wakes every shard that sleeps and got mail since the last ring.
    pub fn ring(&mut self) {
        for lane in self.lanes.iter_mut().flatten() {
            lane.ring();
        }
    }
}
