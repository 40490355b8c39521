//! Mail between threads: bounded queues with one producer each, and a doorbell that is rung
//! only when the receiving core sleeps.
//!
//! Going to sleep and ringing must not miss each other. The core announces that it sleeps, and
//! then looks into its queues once more; a sender puts its mail into the queue, and then looks
//! whether the core sleeps. Both steps are separated by a sequentially consistent fence, so at
//! least one of the two sees the other.

use crate::sys;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};

/// Wakes one core.
#[derive(Debug)]
pub(crate) struct Doorbell {
    event: OwnedFd,
    is_asleep: AtomicBool,
}

impl Doorbell {
    fn new() -> io::Result<Doorbell> {
        Ok(Doorbell {
            event: sys::event()?,
            is_asleep: AtomicBool::new(false),
        })
    }

    fn ring(&self) {
        fence(Ordering::SeqCst);
        // The swap lets only the first of several senders make the system call.
        if self.is_asleep.load(Ordering::Relaxed) && self.is_asleep.swap(false, Ordering::AcqRel) {
            sys::signal_event(&self.event);
        }
    }
}

/// One thread's way to send mail to one shard.
#[derive(Debug)]
pub struct MailSender<T> {
    queue: rtrb::Producer<T>,
    doorbell: Arc<Doorbell>,
}

impl<T: Send> MailSender<T> {
    /// Puts mail into the queue without waking the shard; [`MailSender::ring`] does that, once
    /// for any number of pushes.
    ///
    /// # Errors
    /// The queue is full: the mail is given back, and the caller's policy decides.
    pub fn push(&mut self, mail: T) -> Result<(), T> {
        self.queue
            .push(mail)
            .map_err(|rtrb::PushError::Full(mail)| mail)
    }

    /// How many more pieces of mail the queue takes now. Only this sender fills it, so that many
    /// pushes will succeed.
    pub fn free(&self) -> usize {
        self.queue.slots()
    }

    /// Wakes the shard if it sleeps.
    pub fn ring(&self) {
        self.doorbell.ring();
    }

    /// Push and ring.
    ///
    /// # Errors
    /// As [`MailSender::push`].
    pub fn send(&mut self, mail: T) -> Result<(), T> {
        let result = self.push(mail);
        self.ring();
        result
    }
}

/// The receiving end of one shard, with a queue for each of its senders.
#[derive(Debug)]
pub struct MailReceiver<T> {
    queues: Vec<rtrb::Consumer<T>>,
    doorbell: Arc<Doorbell>,
    /// Where the next look begins, so that no sender is always last.
    first: usize,
}

/// Queues for the mail of `producers` threads to one shard, each `capacity` long.
///
/// # Errors
/// EMFILE or ENFILE when no descriptor is left for the doorbell.
pub fn mailbox<T: Send>(
    producers: usize,
    capacity: usize,
) -> io::Result<(Vec<MailSender<T>>, MailReceiver<T>)> {
    let doorbell = Arc::new(Doorbell::new()?);
    let (senders, queues) = (0..producers)
        .map(|_| {
            let (queue, consumer) = rtrb::RingBuffer::new(capacity.max(1));
            (
                MailSender {
                    queue,
                    doorbell: Arc::clone(&doorbell),
                },
                consumer,
            )
        })
        .unzip();
    Ok((
        senders,
        MailReceiver {
            queues,
            doorbell,
            first: 0,
        },
    ))
}

impl<T> MailReceiver<T> {
    pub(crate) fn event(&self) -> io::Result<OwnedFd> {
        self.doorbell.event.try_clone()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queues.iter().all(rtrb::Consumer::is_empty)
    }

    /// Takes one piece of mail, from each sender in turn.
    pub(crate) fn take(&mut self) -> Option<T> {
        for _ in 0..self.queues.len() {
            let queue = self.first % self.queues.len();
            self.first = self.first.wrapping_add(1);
            if let Ok(mail) = self.queues[queue].pop() {
                return Some(mail);
            }
        }
        None
    }

    /// Announces that the shard is about to sleep. False: mail has come, do not sleep.
    pub(crate) fn fall_asleep(&self) -> bool {
        self.doorbell.is_asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if self.is_empty() {
            return true;
        }
        self.wake_up();
        false
    }

    pub(crate) fn wake_up(&self) {
        self.doorbell.is_asleep.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_gives_the_mail_back() {
        let (mut senders, mut receiver) = mailbox::<u32>(1, 2).expect("a descriptor");
        assert_eq!(senders[0].send(1), Ok(()));
        assert_eq!(senders[0].send(2), Ok(()));
        assert_eq!(senders[0].send(3), Err(3));
        assert_eq!(receiver.take(), Some(1));
        assert_eq!(senders[0].send(3), Ok(()));
        assert_eq!(
            (receiver.take(), receiver.take(), receiver.take()),
            (Some(2), Some(3), None)
        );
    }

    #[test]
    fn senders_take_turns() {
        let (mut senders, mut receiver) = mailbox::<u32>(3, 8).expect("a descriptor");
        for (number, sender) in senders.iter_mut().enumerate() {
            for _ in 0..2 {
                sender.push(number as u32).expect("there is room");
            }
        }
        let order: Vec<u32> = std::iter::from_fn(|| receiver.take()).collect();
        assert_eq!(order, [0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn only_a_sleeping_shard_is_rung() {
        let (mut senders, receiver) = mailbox::<u32>(1, 8).expect("a descriptor");
        let event = receiver.event().expect("a descriptor");
        let is_rung = || rustix::io::read(&event, &mut [0_u8; 8]).is_ok();
        senders[0].send(1).expect("there is room");
        assert!(!is_rung(), "it is awake");
        assert!(!receiver.fall_asleep(), "mail is waiting");
        let mut receiver = receiver;
        receiver.take();
        assert!(receiver.fall_asleep());
        senders[0].send(2).expect("there is room");
        senders[0].send(3).expect("there is room");
        assert!(is_rung());
        assert!(!is_rung(), "once is enough");
    }

    #[test]
    fn no_wake_up_is_lost() {
        let (mut senders, mut receiver) = mailbox::<u32>(1, 4).expect("a descriptor");
        let event = receiver.event().expect("a descriptor");
        let mut sender = senders.remove(0);
        const COUNT: u32 = 20_000;
        let producer = std::thread::spawn(move || {
            for number in 0..COUNT {
                while sender.send(number).is_err() {
                    std::thread::yield_now();
                }
            }
        });
        let mut expected = 0;
        while expected < COUNT {
            while let Some(number) = receiver.take() {
                assert_eq!(number, expected);
                expected += 1;
            }
            if expected < COUNT && receiver.fall_asleep() {
                // Without a bell this poll would run into its limit.
                let mut fds = [rustix::event::PollFd::new(
                    &event,
                    rustix::event::PollFlags::IN,
                )];
                let limit = rustix::time::Timespec {
                    tv_sec: 10,
                    tv_nsec: 0,
                };
                let ready = rustix::event::poll(&mut fds, Some(&limit)).expect("poll");
                assert_eq!(ready, 1, "slept with mail in the queue after {expected}");
                sys::drain_event(&event);
                receiver.wake_up();
            }
        }
        producer.join().expect("the producer ends");
    }
}
