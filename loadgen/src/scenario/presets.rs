//! Scenario files that come with the program: written out they are the best documentation of the
//! format, and a start for one's own.

use crate::scenario::source::{Source, suggestion};

/// A file that comes with the program.
#[derive(Clone, Copy, Debug)]
pub struct Preset {
    /// What it is called.
    pub name: &'static str,
    /// What it says.
    pub text: &'static str,
}

/// All of them.
pub const PRESETS: [Preset; 4] = [
    Preset {
        name: "market-data",
        text: include_str!("../../presets/market-data.toml"),
    },
    Preset {
        name: "chat",
        text: include_str!("../../presets/chat.toml"),
    },
    Preset {
        name: "notifications",
        text: include_str!("../../presets/notifications.toml"),
    },
    Preset {
        name: "uws",
        text: include_str!("../../presets/uws.toml"),
    },
];

/// The preset of a name.
///
/// # Errors
/// A sentence with the names that there are.
pub fn find(name: &str) -> Result<Preset, String> {
    let found = PRESETS.iter().find(|preset| preset.name == name);
    found.copied().ok_or_else(|| {
        let names = PRESETS.map(|preset| preset.name);
        let hint = suggestion(name, names);
        format!(
            "there is no preset '{name}'{hint} (there are: {})",
            names.join(", ")
        )
    })
}

impl Preset {
    /// The preset as a scenario file.
    pub fn source(self) -> Source {
        Source {
            name: format!("preset {}", self.name),
            text: self.text.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::file::ScenarioText;
    use crate::scenario::plan::{Overrides, Plan};

    fn plan(preset: Preset, parameters: &[&str]) -> Plan {
        let overrides = Overrides {
            url: Some("ws://127.0.0.1:9001".into()),
            parameters: parameters.iter().map(|text| (*text).to_owned()).collect(),
            ..Overrides::default()
        };
        let scenario = ScenarioText::parse(preset.source()).expect("a valid file");
        Plan::new(scenario, &overrides).expect("valid loads")
    }

    fn names(plan: &Plan) -> Vec<&str> {
        plan.loads().map(|load| load.name.as_str()).collect()
    }

    #[test]
    fn every_preset_can_be_run_and_says_what_it_is_for() {
        for preset in PRESETS {
            let plan = plan(preset, &[]);
            assert_eq!(plan.name, preset.name);
            assert!(!plan.description.is_empty() && plan.needs.is_some());
            assert!(
                preset.text.starts_with("# "),
                "it begins with what it is for"
            );
        }
    }

    #[test]
    fn market_data_speaks_every_dialect_it_names() {
        let preset = find("market-data").expect("there is one");
        let raw = plan(preset, &["connections=200", "slow="]);
        assert_eq!(names(&raw), ["opening", "feed", "visitors"]);
        let feed = &raw.loads().nth(1).expect("a feed").config;
        assert_eq!(feed.connections, 200);
        let options = feed.fanout.as_ref().expect("a fan-out");
        assert!(options.slow.is_none() && options.stall.is_some());
        for dialect in ["dialect=fanwire-json", "dialect=fanwire-binary"] {
            let plan = plan(preset, &[dialect]);
            assert_eq!(names(&plan), ["opening", "session"]);
            let session = &plan.loads().nth(1).expect("a session").config;
            let options = session.fanout.as_ref().expect("a fan-out");
            assert!(options.churn.is_some(), "who left comes back with a resume");
        }
    }

    #[test]
    fn uws_has_the_five_cases_one_after_the_other() {
        let plan = plan(find("uws").expect("there is one"), &["duration=4s"]);
        let cases: Vec<(u32, usize, u64)> = plan
            .steps
            .iter()
            .map(|step| {
                let config = &step.loads[0].config;
                assert_eq!((step.loads.len(), config.rate), (1, None));
                (config.connections, config.message_size, config.duration_ns)
            })
            .collect();
        let wanted = [
            (100, 20),
            (10, 1_024),
            (10, 16_384),
            (200, 16_384),
            (500, 16_384),
        ];
        assert_eq!(
            cases,
            wanted.map(|(count, size)| (count, size, 4_000_000_000))
        );
    }

    #[test]
    fn a_preset_that_is_not_there() {
        let error = find("market").expect_err("there is none");
        assert!(error.contains("uws"), "{error}");
        assert!(
            find("chatt")
                .expect_err("none")
                .contains("did you mean 'chat'")
        );
    }
}
