//! What agents have reported becomes one report.
//!
//! Owns what is said of a sum beyond the adding up, which is [`crate::measure::merge`]'s: who made
//! it, how well they began together, and how well their clocks agree.

use std::time::Duration;

use crate::agent::Agents;
use crate::agent::clock::{self, Offset};
use crate::config::Config;
use crate::measure::environment::Environment;
use crate::measure::merge::merge_as;
use crate::measure::model::{Part, Report};
use crate::measure::verdict::Verdict;
use crate::quantity::format_ns;

/// What is to be known of a feed that was read on several machines.
const FEED: &str = "first, last, spread and reach of a message are those among the subscribers of \
                    one agent";

/// A load that agents have made.
pub struct Made<'a> {
    /// What was asked for, undivided.
    pub config: &'a Config,
    /// Who made it.
    pub agents: &'a Agents,
    /// What each calls himself and reports, in their order.
    pub shares: Vec<(String, Report)>,
    /// At most this much lies between the first and the last of them to begin.
    pub spread: Option<Duration>,
    /// Their clocks, where that matters.
    pub clocks: Vec<Offset>,
}

impl Made<'_> {
    /// Adds up the reports.
    ///
    /// # Errors
    /// A sentence when they are not of one load.
    pub fn add_up(self) -> Result<Report, String> {
        let (names, reports): (Vec<String>, Vec<Report>) = self.shares.into_iter().unzip();
        let config = self.config;
        let mut sum = merge_as("agent", &reports)?;
        sum.environment.command_line = Environment::read(&[], None).command_line;
        sum.config.seed = config.seed;
        // As it was asked for, and not as its parts add up in binary fractions.
        sum.target_per_second = config.rate;
        sum.config.rate_per_second = config.rate;
        sum.config.connect_rate_per_second = config.connect_rate;
        sum.notes.push(made_by(self.agents, self.spread));
        if config.fanout.is_some() {
            sum.notes.push(FEED.to_owned());
        }
        doubt_clocks(&mut sum, &self.clocks);
        if reports.len() > 1 {
            let parts = names.into_iter().zip(reports);
            sum.parts = parts
                .map(|(name, report)| Part {
                    name,
                    stage: String::new(),
                    report,
                })
                .collect();
        }
        Ok(sum)
    }
}

/// Says how far the clocks are apart that a feed was read by, and whether that is in the figures.
fn doubt_clocks(sum: &mut Report, offsets: &[Offset]) {
    if offsets.is_empty() {
        return;
    }
    sum.notes.push(format!(
        "deliveries count from the server's clock to each agent's, and are as right as they agree; \
         by this host's clock: {}",
        clock::describe(offsets)
    ));
    let apart_ns = clock::apart_ns(offsets).unsigned_abs();
    if apart_ns > sum.latency_ns.response.p50 {
        sum.verdict = sum.verdict.max(Verdict::Suspect);
        sum.verdict_reasons.push(format!(
            "the agents' clocks are {} apart at least, which is more than the median delivery: \
             synchronise them (chrony with PTP), or read the feed on one machine",
            format_ns(apart_ns)
        ));
    }
}

fn made_by(agents: &Agents, spread: Option<Duration>) -> String {
    let count = match agents.addresses.len() {
        1 => return format!("made by the agent {}", agents.addresses.concat()),
        count => count,
    };
    let began = spread.map_or_else(String::new, |spread| {
        let spread = format_ns(spread.as_nanos() as u64);
        format!(", which began within {spread} of each other")
    });
    format!(
        "made by {count} agents{began}; their shares are the parts of this report, and the host that \
         it describes is that of agent 1"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::testing::report;

    fn doubted(p50_ns: u64, clocks: &[(i64, i64)]) -> Report {
        let mut sum = report("fanout");
        sum.latency_ns.response.p50 = p50_ns;
        let clocks: Vec<Offset> = clocks
            .iter()
            .map(|(ahead_ns, bound_ns)| Offset {
                ahead_ns: *ahead_ns,
                bound_ns: *bound_ns,
            })
            .collect();
        doubt_clocks(&mut sum, &clocks);
        sum
    }

    #[test]
    fn clocks_that_disagree_by_more_than_what_is_measured_are_doubted() {
        let sum = doubted(1_000_000, &[(0, 50_000), (3_000_000, 100_000)]);
        assert_eq!(sum.verdict, Verdict::Suspect);
        assert!(sum.verdict_reasons[0].contains("2.85ms apart"), "{sum:?}");
        for clocks in [
            &[(0, 50_000), (900_000, 100_000)][..],
            // So far apart that nothing is known is not known to be apart.
            &[(0, 5_000_000), (9_000_000, 5_000_000)],
        ] {
            let sum = doubted(1_000_000, clocks);
            assert_eq!(sum.verdict, Verdict::Valid);
            assert!(
                sum.notes.iter().any(|note| note.contains("agent 2")),
                "{sum:?}"
            );
        }
        assert_eq!(doubted(1, &[]).notes, report("fanout").notes);
    }
}
