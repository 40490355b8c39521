//! The options that let other machines make the load.

use std::path::PathBuf;

use clap::Args;

use crate::agent::secret::Secret;
use crate::agent::{AGENTS_MAX, Agents};

/// Set on each option: a heading for the whole group would go on over the groups behind it.
const HEADING: &str = "Generator";

/// Who makes the load.
#[derive(Args, Debug)]
pub struct AgentsArguments {
    /// Let these agents (`fanwire-loadgen agent`) make the load together, and merge what they
    /// report: 10.0.0.5:9977,10.0.0.6:9977. Connections, rates (-R, --connect-rate, --stage) and -n
    /// are divided among them; -t, --cpu, --spin and --source hold for each. All open their
    /// connections, then all begin. {conn} counts from 0 on each. For echo, storm, idle, churn, and
    /// fanout --readers-only
    #[arg(long, help_heading = HEADING, value_name = "HOST:PORT,…", value_parser = parse_agents)]
    agents: Option<Addresses>,
    /// What the agents' --token-file holds. It is sent in plain text
    #[arg(long, help_heading = HEADING, value_name = "FILE", requires = "agents")]
    agents_token_file: Option<PathBuf>,
}

/// `--agents`, which clap would take for a repeated option if it were a bare list.
#[derive(Clone, Debug)]
struct Addresses(Vec<String>);

fn parse_agents(text: &str) -> Result<Addresses, String> {
    let mut addresses: Vec<String> = Vec::new();
    for address in text.split(',').map(str::trim) {
        let is_whole = address.rsplit_once(':').is_some_and(|(host, port)| {
            let is_host = !host.is_empty() && (!host.contains(':') || host.starts_with('['));
            is_host && port.parse::<u16>().is_ok_and(|port| port > 0)
        });
        if !is_whole {
            return Err(format!(
                "'{address}' is no HOST:PORT of an agent; write 10.0.0.5:9977 or [fd00::5]:9977"
            ));
        }
        if addresses.iter().any(|other| other == address) {
            return Err(format!(
                "'{address}' is named twice, but an agent makes one share at a time"
            ));
        }
        addresses.push(address.to_owned());
    }
    if addresses.len() > AGENTS_MAX {
        return Err(format!("at most {AGENTS_MAX} agents can make one load"));
    }
    Ok(Addresses(addresses))
}

impl AgentsArguments {
    /// Whether there are any.
    pub fn is_given(&self) -> bool {
        self.agents.is_some()
    }

    /// Reads the token.
    ///
    /// # Errors
    /// One sentence with cause and cure.
    pub fn into_agents(self) -> Result<Option<Agents>, String> {
        let token = self.agents_token_file.as_deref().map(Secret::read);
        let token = token.transpose()?;
        Ok(self
            .agents
            .map(|Addresses(addresses)| Agents { addresses, token }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agents_are_named_by_host_and_port() {
        let Addresses(addresses) =
            parse_agents("10.0.0.5:9977, host-2:1,[::1]:9977").expect("right");
        assert_eq!(addresses, ["10.0.0.5:9977", "host-2:1", "[::1]:9977"]);
        for wrong in [
            "", "a", "a:", ":1", "a:0", "a:70000", "::1:9977", "a:1,", "a:1,a:1",
        ] {
            assert!(parse_agents(wrong).is_err(), "{wrong:?}");
        }
        let many: Vec<String> = (1..=65).map(|port| format!("a:{port}")).collect();
        assert!(parse_agents(&many.join(",")).is_err());
    }
}
