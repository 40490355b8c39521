//! The schedules of an open loop, without a socket and without a clock: whatever rate, stages and
//! rhythm are asked for, the threads together must send exactly that.

use std::sync::Arc;

use fanwire_loadgen::pace::plan::{Arrival, Plan, Schedule, share_of_messages};
use fanwire_loadgen::pace::rate::{Curve, Stage};
use proptest::prelude::*;

const SECOND: u64 = 1_000_000_000;
const START: u64 = 77 * SECOND;

fn plan(curve: Curve, arrival: Arrival, messages_max: Option<u64>, seed: u64) -> Plan {
    Plan {
        curve: Arc::new(curve),
        arrival,
        messages_max,
        seed,
    }
}

/// The due times of one thread before `until_ns`.
fn due_times(mut schedule: Schedule, until_ns: u64) -> Vec<u64> {
    let mut due = Vec::new();
    while schedule.next_due_ns() < until_ns {
        assert_eq!(schedule.next_number(), due.len() as u64);
        due.push(schedule.next_due_ns());
        schedule.advance();
    }
    due
}

/// The due times of all threads before `until_ns`, sorted.
fn all_due_times(plan: &Plan, threads: usize, until_ns: u64) -> Vec<u64> {
    let mut all = Vec::new();
    for thread in 0..threads {
        let due = due_times(Schedule::of(plan, START, thread, threads), until_ns);
        assert!(due.is_sorted(), "a thread's schedule runs backwards");
        all.extend(due);
    }
    all.sort_unstable();
    all
}

fn stages() -> impl Strategy<Value = Vec<Stage>> {
    let stage =
        (0..3 * SECOND, 0.0..5_000.0_f64).prop_map(|(length_ns, target_per_second)| Stage {
            length_ns,
            target_per_second,
        });
    prop::collection::vec(stage, 0..4)
}

/// Largest distance between the shares of a sorted sample and a distribution function.
fn kolmogorov_smirnov(sorted: &[f64], distribution: impl Fn(f64) -> f64) -> f64 {
    let count = sorted.len() as f64;
    let distances = sorted.iter().enumerate().map(|(place, value)| {
        let expected = distribution(*value);
        let (below, at) = (place as f64 / count, (place + 1) as f64 / count);
        (expected - below).abs().max((at - expected).abs())
    });
    distances.fold(0.0, f64::max)
}

/// A sample of that size is further away than this once in a million times.
fn critical_distance(count: usize) -> f64 {
    (-(0.5e-6_f64).ln() / 2.0).sqrt() / (count as f64).sqrt()
}

/// Gaps in the number of messages that the rate adds up to between two due times, sorted.
fn gaps_in_messages(curve: &Curve, due: &[u64]) -> Vec<f64> {
    let counts: Vec<f64> = due
        .iter()
        .map(|due_ns| curve.count_by(due_ns - START))
        .collect();
    let mut gaps: Vec<f64> = counts.windows(2).map(|pair| pair[1] - pair[0]).collect();
    gaps.sort_unstable_by(f64::total_cmp);
    gaps
}

fn exponential(gap: f64) -> f64 {
    1.0 - (-gap).exp()
}

#[test]
fn poisson_gaps_are_exponential_over_one_thread_and_over_many() {
    for (seed, threads) in [(1, 1), (2, 4), (3, 7)] {
        let curve = Curve::constant(10_000.0);
        let plan = plan(curve.clone(), Arrival::Poisson, None, seed);
        let due = all_due_times(&plan, threads, START + 10 * SECOND);
        // A Poisson number with mean 100,000 is within five standard deviations of it.
        assert!(
            due.len().abs_diff(100_000) < 1_600,
            "seed {seed}: {}",
            due.len()
        );
        let gaps = gaps_in_messages(&curve, &due);
        let distance = kolmogorov_smirnov(&gaps, exponential);
        let limit = critical_distance(gaps.len());
        assert!(
            distance < limit,
            "seed {seed}, {threads} threads: {distance} > {limit}"
        );
        // Given their number, the due times themselves are uniform.
        let shares: Vec<f64> = due
            .iter()
            .map(|due_ns| (due_ns - START) as f64 / (10 * SECOND) as f64)
            .collect();
        assert!(kolmogorov_smirnov(&shares, |share| share) < critical_distance(shares.len()));
    }
}

#[test]
fn poisson_arrivals_follow_the_stages() {
    let stages =
        [(4, 20_000.0), (2, 20_000.0), (4, 1_000.0)].map(|(seconds, target_per_second)| Stage {
            length_ns: seconds * SECOND,
            target_per_second,
        });
    let curve = Curve::staged(0.0, &stages);
    let plan = plan(curve.clone(), Arrival::Poisson, None, 5);
    let due = all_due_times(&plan, 3, START + 10 * SECOND);
    let gaps = gaps_in_messages(&curve, &due);
    let distance = kolmogorov_smirnov(&gaps, exponential);
    assert!(distance < critical_distance(gaps.len()), "{distance}");
}

#[test]
fn the_test_itself_tells_wrong_gaps() {
    // Constant gaps taken for random ones, and random ones of a rate 3 % too high.
    let curve = Curve::constant(10_000.0);
    let constant = plan(curve.clone(), Arrival::Constant, None, 1);
    let due = all_due_times(&constant, 1, START + 10 * SECOND);
    let gaps = gaps_in_messages(&curve, &due);
    assert!(kolmogorov_smirnov(&gaps, exponential) > critical_distance(gaps.len()));
    let hasty = plan(Curve::constant(10_300.0), Arrival::Poisson, None, 1);
    let due = all_due_times(&hasty, 1, START + 10 * SECOND);
    let gaps = gaps_in_messages(&curve, &due);
    assert!(kolmogorov_smirnov(&gaps, exponential) > critical_distance(gaps.len()));
}

#[test]
fn constant_gaps_are_equal_to_the_nanosecond() {
    let curve = Curve::constant(30_000.0);
    let plan = plan(curve, Arrival::Constant, None, 1);
    let due = all_due_times(&plan, 4, START + 10 * SECOND);
    assert_eq!(due.len(), 300_000);
    assert!(
        due.windows(2)
            .all(|pair| (33_333..=33_334).contains(&(pair[1] - pair[0])))
    );
    let shares: Vec<f64> = due
        .iter()
        .map(|due_ns| (due_ns - START) as f64 / (10 * SECOND) as f64)
        .collect();
    assert!(kolmogorov_smirnov(&shares, |share| share) < 1.0 / 300_000.0 + 1e-9);
}

#[test]
fn a_burst_is_at_one_moment_and_the_rate_is_kept() {
    let plan = plan(Curve::constant(1_000.0), Arrival::Burst(100), None, 1);
    let due = all_due_times(&plan, 3, START + 5 * SECOND);
    assert_eq!(due.len(), 5_000);
    for (burst, moment) in due.chunks(100).zip(0..) {
        let expected = START + moment * SECOND / 10;
        assert!(
            burst.iter().all(|due_ns| *due_ns == expected),
            "burst {moment}"
        );
    }
}

#[test]
fn the_same_seed_is_the_same_schedule_and_another_is_not() {
    let times = |seed| {
        let plan = plan(Curve::constant(1_000.0), Arrival::Poisson, None, seed);
        all_due_times(&plan, 2, START + SECOND)
    };
    assert_eq!(times(1), times(1));
    assert_ne!(times(1), times(2));
}

proptest! {
    /// Over any number of threads, what is due by the end is the integral of the rate.
    #[test]
    fn the_threads_together_send_the_integral(
        from in 0.0..5_000.0_f64,
        stages in stages(),
        threads in 1_usize..6,
        burst in 1_u32..50,
    ) {
        let curve = Curve::staged(from, &stages);
        let until_ns = 5 * SECOND;
        // Message k is due when the integral has reached k: one more than its whole part, unless
        // the rate is nothing at all.
        let count = curve.count_by(until_ns);
        let plan = plan(curve.clone(), Arrival::Constant, None, 1);
        let due = all_due_times(&plan, threads, START + until_ns);
        let expected = count.ceil();
        prop_assert!((due.len() as f64 - expected).abs() <= 1.0, "{} of {count}", due.len());
        for (number, due_ns) in due.iter().enumerate() {
            let reached = curve.count_by(due_ns - START);
            // A nanosecond of the rate, and the rounding of the sum.
            prop_assert!((reached - number as f64).abs() < 1e-4, "{number}: {reached}");
        }
        let plan = Plan { arrival: Arrival::Burst(burst), ..plan };
        let bursts = all_due_times(&plan, threads, START + until_ns);
        prop_assert!(bursts.len() >= due.len() && bursts.len() < due.len() + burst as usize + 1);
    }

    /// A number of messages is sent exactly, whatever the rhythm, and shares differ by one at most.
    #[test]
    fn a_number_of_messages_is_shared_exactly(
        messages in 0_u64..2_000,
        threads in 1_usize..9,
        rhythm in 0_usize..3,
        seed: u64,
    ) {
        let arrival = [Arrival::Constant, Arrival::Poisson, Arrival::Burst(7)][rhythm];
        let plan = plan(Curve::constant(1_000.0), arrival, Some(messages), seed);
        let due = all_due_times(&plan, threads, u64::MAX);
        prop_assert_eq!(due.len() as u64, messages);
        let shares: Vec<u64> = (0..threads)
            .map(|thread| share_of_messages(messages, thread, threads))
            .collect();
        prop_assert_eq!(shares.iter().sum::<u64>(), messages);
        let (least, most) = (shares.iter().min(), shares.iter().max());
        prop_assert!(most.zip(least).is_some_and(|(most, least)| most - least <= 1));
    }

    /// What is skipped at the end is what would have been sent; a number too large to be counted is
    /// the integral of the rate.
    #[test]
    fn what_is_skipped_is_what_was_due(sent in 0_usize..500, threads in 1_usize..4, thread in 0_usize..3) {
        prop_assume!(thread < threads);
        let plan = plan(Curve::constant(1_000.0), Arrival::Poisson, None, 9);
        let all = due_times(Schedule::of(&plan, START, thread, threads), START + 2 * SECOND);
        let mut schedule = Schedule::of(&plan, START, thread, threads);
        let sent = sent.min(all.len());
        (0..sent).for_each(|_| schedule.advance());
        prop_assert_eq!(schedule.skip_until(START + 2 * SECOND) as usize, all.len() - sent);

        let fast = Plan { curve: Arc::new(Curve::constant(1e6)), arrival: Arrival::Constant, ..plan };
        let mut schedule = Schedule::of(&fast, START, thread, threads);
        let expected = 60_000_000 / threads as u64;
        prop_assert!(schedule.skip_until(START + 60 * SECOND).abs_diff(expected) <= 1);
        prop_assert_eq!(schedule.next_due_ns(), u64::MAX);
    }
}
