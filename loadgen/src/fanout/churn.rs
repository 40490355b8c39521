//! Subscribers that leave and come back, with a resume, at a rate.
//!
//! Owns who leaves when. Runs as one establishment task beside the data loop of its core, because
//! coming back is a connection to be opened.

use std::rc::Rc;
use std::sync::Arc;

use fanwire_reactor::establish::sleep_ms;
use fanwire_reactor::host::monotonic_ns;
use fanwire_reactor::{Handle, Io};

use crate::config::Config;
use crate::connect::establish::{OpenFailure, open};
use crate::connect::opening::Opens;
use crate::connect::opening::Upgraded;
use crate::connect::route::Routes;
use crate::fanout::layout::{Class, Layout};
use crate::fanout::opening::Doors;
use crate::fanout::options::Options;
use crate::fanout::worker::{FanoutWorker, Phase};

/// How often it is looked who has to leave, and who is gone and may come back.
const LOOK_MS: u64 = 2;

/// Who leaves next.
struct Turn {
    next_ns: u64,
    interval_ns: u64,
    /// Place among the subscribers from which the next one is looked for.
    from: usize,
    /// Left, and to be opened again as soon as the connection has ended.
    away: Vec<usize>,
}

/// Begins, if it was asked for.
pub fn start(
    config: &Arc<Config>,
    options: &Arc<Options>,
    layout: &Arc<Layout>,
    handle: &Handle<FanoutWorker>,
) {
    let Some(churn) = options.churn else { return };
    let doors = Rc::new(Doors::new(config, options, layout));
    let (routes, own) = (Rc::new(Routes::of(config)), handle.clone());
    let mut turn = Turn {
        next_ns: 0,
        interval_ns: (1e9 * config.threads as f64 / churn.per_second) as u64,
        from: 0,
        away: Vec::new(),
    };
    handle.spawn(async move {
        loop {
            sleep_ms(LOOK_MS).await;
            let found = own.with(|worker, io| step(worker, io, &mut turn));
            let Some(returning) = found else { return };
            for number in returning {
                let task = come_back(Rc::clone(&routes), Rc::clone(&doors), own.clone(), number);
                own.spawn(task);
            }
        }
    });
}

/// Lets those leave whose turn it is, and returns the numbers of those that may come back. `None`
/// when the run is over.
fn step(worker: &mut FanoutWorker, io: &mut Io, turn: &mut Turn) -> Option<Vec<u32>> {
    match worker.phase {
        Phase::Opening | Phase::Preparing => return Some(Vec::new()),
        Phase::Closing => return None,
        Phase::Running => leave(worker, io, turn),
        Phase::Draining => {}
    }
    let (subscribers, first) = (&worker.subscribers, worker.first);
    let mut returning = Vec::new();
    turn.away.retain(|index| {
        let is_gone = subscribers
            .get(*index)
            .is_some_and(|one| one.token.is_none());
        if is_gone {
            returning.push(first + *index as u32);
        }
        !is_gone
    });
    Some(returning)
}

fn leave(worker: &mut FanoutWorker, io: &mut Io, turn: &mut Turn) {
    let now_ns = monotonic_ns();
    if turn.next_ns == 0 {
        turn.next_ns = now_ns + turn.interval_ns;
    }
    while turn.next_ns <= now_ns {
        turn.next_ns += turn.interval_ns.max(1);
        let count = worker.subscribers.len();
        let chosen = (0..count)
            .map(|step| (turn.from + step) % count)
            .find(|index| {
                let one = &worker.subscribers[*index];
                let is_ready = one.books.lanes().iter().all(|lane| lane.is_ready);
                one.books.class == Class::Churning && one.token.is_some() && is_ready
            });
        // All of them are away: the rate is more than they can do.
        let Some(index) = chosen else { return };
        turn.from = index + 1;
        if worker.leave(io, index) {
            turn.away.push(index);
        }
    }
}

async fn come_back(
    routes: Rc<Routes>,
    doors: Rc<Doors>,
    handle: Handle<FanoutWorker>,
    number: u32,
) {
    let nonce = handle.with(|worker, _| worker.nonce());
    let greeting = doors.greeting(number);
    match open(&routes.way(number, &greeting), nonce).await {
        Ok(opened) => {
            doors.prepare(number, &opened.line.stream);
            let (stream, upgraded) = Upgraded::new(number, opened);
            handle.adopt(stream, upgraded);
        }
        Err(OpenFailure { kind, detail, .. }) => handle.with(|worker, _| {
            worker.gauges.count_failure();
            let kind = format!("return_{kind}");
            worker.desk.sheet.tally.fail(&kind, || detail);
        }),
    }
}
