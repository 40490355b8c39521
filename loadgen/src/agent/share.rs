//! One load divided among several agents: what each of them does.
//!
//! Pure arithmetic on a configuration. Whatever is divided adds up to what was asked for:
//! connections and messages exactly, rates in proportion to connections, so that a connection has
//! the same rate whoever holds it.

use crate::config::{Config, Mode};
use crate::pace::plan::{Arrival, share};
use crate::pace::warmup::Warmup;

/// Keeps the seeds of agents apart: any odd constant does.
const SEED_STEP: u64 = 0xa076_1d64_78bd_642f;
/// The most by which agents begin one after another so that their messages interleave. Beyond it
/// their seconds would not be the same seconds.
const PHASE_MAX_S: f64 = 0.5;

/// The share of agent `index` (from 0) of `of`.
///
/// # Errors
/// One sentence with cause and cure when there is not enough for all of them.
pub fn divide(config: &Config, index: usize, of: usize) -> Result<Config, String> {
    let agents = u32::try_from(of).unwrap_or(u32::MAX).max(1);
    let whole = config.connections;
    if whole < agents {
        return Err(format!(
            "{whole} connection(s) cannot be divided among {of} agents: ask for more with -c, or \
             name fewer agents"
        ));
    }
    if config.warmup == Warmup::Auto {
        return Err(
            "-w auto does not go with --agents: each would find the load steady at a time of its \
             own, and all have to measure the same seconds; say how long, as in -w 5s"
                .into(),
        );
    }
    let (connections, before) = share(whole, index, of);
    let fraction = f64::from(connections) / f64::from(whole);
    let mut part = config.clone();
    part.warmup = config.warmup.of_window();
    part.connections = connections;
    part.threads = config.threads.min(connections as usize);
    part.rate = config.rate.map(|rate| rate * fraction);
    part.connect_rate = config.connect_rate.map(|rate| rate * fraction);
    part.seed = config
        .seed
        .wrapping_add((index as u64).wrapping_mul(SEED_STEP));
    let pace = &mut part.pace;
    pace.stages_from_per_second *= fraction;
    for stage in &mut pace.stages {
        stage.target_per_second *= fraction;
    }
    if let Some(messages) = pace.messages_max {
        let upto = |connections: u32| {
            (u128::from(messages) * u128::from(connections) / u128::from(whole)) as u64
        };
        let mine = upto(before + connections) - upto(before);
        if mine == 0 {
            return Err(format!(
                "-n {messages} leaves an agent without a message: ask for at least as many \
                 messages as connections ({whole})"
            ));
        }
        pace.messages_max = Some(mine);
    }
    if let Arrival::Burst(size) = pace.arrival {
        if !size.is_multiple_of(agents) || !whole.is_multiple_of(agents) {
            return Err(format!(
                "--arrival burst:{size} is divided among the agents, each sending its part of \
                 every burst: make {size} and -c {whole} multiples of {of}"
            ));
        }
        pace.arrival = Arrival::Burst(size / agents);
    }
    Ok(part)
}

/// How long after the others agent `index` begins, so that messages at equal gaps come from the
/// agents in turn and not from all at once.
pub fn phase_ns(config: &Config, index: usize, of: usize) -> u64 {
    let is_even = config.pace.arrival == Arrival::Constant && config.pace.stages.is_empty();
    match config.rate {
        Some(rate) if is_even && config.mode != Mode::Churn && of as f64 / rate <= PHASE_MAX_S => {
            (index as f64 * 1e9 / rate) as u64
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::judge::testing::config;

    fn parts(config: &Config, of: usize) -> Result<Vec<Config>, String> {
        (0..of).map(|index| divide(config, index, of)).collect()
    }

    proptest! {
        #[test]
        fn shares_add_up(
            connections in 1u32..100_000,
            of in 1usize..65,
            rate in 0.01f64..1e7,
            messages in 1u64..10_000_000_000,
            threads in 1usize..40,
        ) {
            let mut whole = config("echo ws://127.0.0.1 -R 10 --connect-rate 7 --stage 5s:20,9s:3");
            whole.connections = connections;
            whole.threads = threads.min(connections as usize);
            whole.rate = Some(rate);
            whole.pace.messages_max = Some(messages);
            let Ok(parts) = parts(&whole, of) else {
                prop_assert!((connections as usize) < of || messages < u64::from(connections));
                return Ok(());
            };
            let sum: u32 = parts.iter().map(|part| part.connections).sum();
            prop_assert_eq!(sum, connections);
            let sum: u64 = parts.iter().filter_map(|part| part.pace.messages_max).sum();
            prop_assert_eq!(sum, messages);
            let is_close = |sum: f64, whole: f64| (sum / whole - 1.0).abs() < 1e-12;
            prop_assert!(is_close(parts.iter().filter_map(|part| part.rate).sum(), rate));
            prop_assert!(is_close(parts.iter().filter_map(|part| part.connect_rate).sum(), 7.0));
            for (number, target) in [(0, 20.0), (1, 3.0)] {
                let each = parts.iter().map(|part| part.pace.stages[number].target_per_second);
                prop_assert!(is_close(each.sum(), target));
            }
            let from: f64 = parts.iter().map(|part| part.pace.stages_from_per_second).sum();
            prop_assert!(is_close(from, 10.0));
            for part in &parts {
                prop_assert!(part.connections >= 1 && part.pace.messages_max >= Some(1));
                prop_assert!((1..=threads).contains(&part.threads));
                prop_assert!(part.threads <= part.connections as usize);
                // Everybody's connections have the same rate.
                let each = part.rate.expect("a rate") / f64::from(part.connections);
                prop_assert!(is_close(each, rate / f64::from(connections)));
            }
            let mut seeds: Vec<u64> = parts.iter().map(|part| part.seed).collect();
            prop_assert_eq!(seeds[0], whole.seed);
            seeds.sort_unstable();
            seeds.dedup();
            prop_assert_eq!(seeds.len(), of);
        }
    }

    #[test]
    fn what_cannot_be_divided_is_refused_with_a_cure() {
        for (line, of, word) in [
            ("echo ws://127.0.0.1 -c 3", 4, "-c"),
            ("echo ws://127.0.0.1 -c 10 -n 3", 4, "as connections (10)"),
            (
                "echo ws://127.0.0.1 -c 8 -R 100 --arrival burst:5",
                2,
                "multiples of 2",
            ),
            (
                "echo ws://127.0.0.1 -c 9 -R 100 --arrival burst:4",
                2,
                "multiples of 2",
            ),
        ] {
            let error = parts(&config(line), of).expect_err(line);
            assert!(error.contains(word), "{line}: {error}");
        }
        let whole = config("echo ws://127.0.0.1 -c 8 -R 100 --arrival burst:6");
        for part in parts(&whole, 2).expect("divisible") {
            assert_eq!(
                (part.pace.arrival, part.rate),
                (Arrival::Burst(3), Some(50.0))
            );
        }
    }

    #[test]
    fn messages_at_equal_gaps_interleave() {
        let phases = |line: &str, of: usize| {
            let config = config(line);
            (0..of)
                .map(|index| phase_ns(&config, index, of))
                .collect::<Vec<u64>>()
        };
        assert_eq!(
            phases("echo ws://127.0.0.1 -R 1000", 3),
            [0, 1_000_000, 2_000_000]
        );
        // A gap that would put one agent's seconds into another's.
        assert_eq!(phases("echo ws://127.0.0.1 -R 2", 2), [0, 0]);
        for line in ["-R 1000 --arrival poisson", "-R 9 --stage 1s:9", ""] {
            assert_eq!(
                phases(&format!("echo ws://127.0.0.1 {line}"), 2),
                [0, 0],
                "{line}"
            );
        }
    }
}
