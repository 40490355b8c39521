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
