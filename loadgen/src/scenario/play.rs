//! Running a plan: step after step, the loads of a step together, each on threads of its own.
//!
//! Owns waiting for the start of a load, ending all of them at once, and putting their reports
//! together. What a load does, and how it is judged, is the business of the one path that all
//! commands take.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::commands::repeat::worse;
use crate::commands::{Failure, INTERRUPTED, INVALID, OK, RUN_ERROR, THRESHOLD_FAILED, load};
use crate::judge::measure::judge;
use crate::live::scenario::scene::{Bill, BilledLoad};
use crate::live::scenario::{Audience, Seat};
use crate::live::view::Asked;
use crate::measure::merge::combine;
use crate::measure::model::{Part, Report, ThresholdResult};
use crate::measure::verdict::Verdict;
use crate::scenario::plan::{Plan, PlannedLoad, Step};

/// How often a load that waits for its start looks whether it is to end.
const LOOK: Duration = Duration::from_millis(20);

/// What the audience is told before it begins.
pub fn bill(plan: &Plan) -> Bill {
    let steps = plan.steps.iter().enumerate();
    let loads = steps.flat_map(|(step, of)| {
        of.loads.iter().map(move |load| BilledLoad {
            name: load.name.clone(),
            step,
            start: Duration::from_nanos(load.start_ns),
            command_line: load.command_line.clone(),
            asked: Arc::new(Asked::of(&load.config)),
        })
    });
    Bill {
        name: plan.name.clone(),
        description: plan.description.clone(),
        steps: plan.steps.iter().map(|step| step.name.clone()).collect(),
        loads: loads.collect(),
    }
}

/// Runs all loads and returns the reports of those that began. Ends early, with partial reports,
/// when `is_interrupted` is set. The audience is one for the [`bill`] of this plan.
///
/// # Errors
/// What kept a load from starting, with its name; the other loads are ended then.
pub fn play(
    plan: &Plan,
    is_interrupted: &Arc<AtomicBool>,
    audience: &Audience,
) -> Result<Vec<Part>, Failure> {
    let mut parts = Vec::new();
    let mut first = 0;
    for (number, step) in plan.steps.iter().enumerate() {
        if is_interrupted.load(Ordering::Relaxed) {
            break;
        }
        audience.step_begins(number);
        parts.extend(play_step(step, first, is_interrupted, audience)?);
        first += step.loads.len();
    }
    Ok(parts)
}

/// `first`: the number of its first load, of all in the scenario.
fn play_step(
    step: &Step,
    first: usize,
    is_interrupted: &Arc<AtomicBool>,
    audience: &Audience,
) -> Result<Vec<Part>, Failure> {
    let begun = Instant::now();
    let reports: Vec<Result<Option<Report>, Failure>> = std::thread::scope(|scope| {
        let loads = step.loads.iter().enumerate();
        let running: Vec<_> = loads
            .map(|(index, load)| {
                let seat = audience.seat(first + index);
                scope.spawn(move || play_load(load, begun, is_interrupted, &seat))
            })
            .collect();
        let joined = running.into_iter().map(|thread| thread.join());
        joined
            .map(|ended| {
                let died = || Failure::run("a thread of a load ended early; please report this");
                ended.unwrap_or_else(|_| Err(died()))
            })
            .collect()
    });
    let mut parts = Vec::new();
    for (load, report) in step.loads.iter().zip(reports) {
        let report = report.map_err(|failure| Failure {
            message: format!("load '{}': {}", load.name, failure.message),
            code: failure.code,
        })?;
        parts.extend(report.map(|report| Part {
            name: load.name.clone(),
            stage: step.name.clone(),
            report,
        }));
    }
    Ok(parts)
}

/// `None` when the scenario ended before the load began.
fn play_load(
    planned: &PlannedLoad,
    begun: Instant,
    is_interrupted: &Arc<AtomicBool>,
    seat: &Seat,
) -> Result<Option<Report>, Failure> {
    let start = Duration::from_nanos(planned.start_ns);
    while let Some(left) = start
        .checked_sub(begun.elapsed())
        .filter(|left| !left.is_zero())
    {
        if is_interrupted.load(Ordering::Relaxed) {
            seat.stays_empty();
            return Ok(None);
        }
        std::thread::sleep(left.min(LOOK));
    }
    seat.begins();
    let watches = |config: &_| seat.watches(config);
    let flag = Arc::clone(is_interrupted);
    let report = load::measure_watched(planned.config.clone(), flag, watches);
    if report.is_err() {
        // Without one of its loads a scenario is another scenario.
        is_interrupted.store(true, Ordering::Relaxed);
    }
    seat.ends(report.as_ref().map_err(|failure| failure.message.as_str()));
    report.map(Some)
}

/// One report of all loads, which are its parts.
///
/// # Errors
/// When no load began, or when reports cannot be put together.
pub fn combined(
    plan: &Plan,
    parts: Vec<Part>,
    is_invalid_allowed: bool,
) -> Result<Report, Failure> {
    if parts.is_empty() {
        return Err(Failure {
            message: "interrupted before a load began".into(),
            code: INTERRUPTED,
        });
    }
    let reports: Vec<Report> = parts.iter().map(|part| part.report.clone()).collect();
    let mut whole = combine(&reports).map_err(Failure::run)?;
    if let [part] = parts.as_slice() {
        let reasons = &mut whole.verdict_reasons;
        reasons
            .iter_mut()
            .for_each(|reason| *reason = format!("{}: {reason}", part.name));
    }
    for (index, part) in parts.iter().enumerate() {
        let numbered = format!("load {}: ", index + 1);
        for reason in &mut whole.verdict_reasons {
            if let Some(rest) = reason.strip_prefix(&numbered) {
                *reason = format!("{}: {rest}", part.name);
            }
        }
    }
    let skipped = plan.loads().count() - parts.len();
    if skipped > 0 {
        whole
            .notes
            .push(format!("{skipped} loads did not begin before the end"));
    }
    whole.notes.extend(plan.notes.iter().cloned());
    let is_unfit = parts.iter().any(|part| part.report.exit_code == RUN_ERROR);
    if let Some(needs) = plan.needs.as_ref().filter(|_| is_unfit) {
        whole
            .notes
            .push(format!("the scenario {} needs {needs}", plan.name));
    }
    judge_whole(plan, &mut whole, &parts, is_invalid_allowed);
    whole.parts = parts;
    Ok(whole)
}

/// Thresholds of the whole and of the parts, and the exit code that says most.
fn judge_whole(plan: &Plan, whole: &mut Report, parts: &[Part], is_invalid_allowed: bool) {
    let own = plan.thresholds.iter();
    whole.thresholds = own.map(|threshold| judge(whole, threshold)).collect();
    let is_missed = whole.thresholds.iter().any(|result| !result.is_met);
    for part in parts {
        let named = part.report.thresholds.iter().cloned();
        whole.thresholds.extend(named.map(|result| ThresholdResult {
            expression: format!("{}.{}", part.name, result.expression),
            ..result
        }));
    }
    let codes = parts.iter().map(|part| part.report.exit_code);
    let code = codes.fold(OK, worse);
    let of_sum = match whole.verdict {
        Verdict::Invalid if !is_invalid_allowed => INVALID,
        _ if is_missed => THRESHOLD_FAILED,
        _ => OK,
    };
    whole.exit_code = worse(code, of_sum);
}
