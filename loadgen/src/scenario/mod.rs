//! Scenarios: several loads at once and one after another, from a TOML file or a preset.
//!
//! `file` is the text and what it says, `parameters` fills its `${name}`s, `maker` makes a load a
//! configuration through the command line's own options, which `catalogue` lists, `plan` puts loads
//! into steps, `play` runs them, `presets` are files that come with the program. The shape of a file:
//!
//! ```toml
//! [scenario]                        # who it is
//! name = "lunch"
//! description = "a fan-out while clients come and go"
//! needs = "a server that echoes"    # said when the server does not fit
//! url = "ws://127.0.0.1:9001"       # the command line's URL goes before it
//! threshold = ["talk.echo.p99<5ms", "errors.ratio<1%"]
//!
//! [parameters]                      # may be set with --set NAME=VALUE; read as ${NAME} in any text
//! connections = 100
//!
//! [defaults]                        # options of every load that knows them and says nothing itself
//! duration = "30s"
//!
//! [[load]]
//! name = "talk"
//! command = "echo"                  # echo, fanout, churn, storm or idle
//! step = "rush"                     # steps follow each other; the loads of one run together
//! start = "5s"                      # after the step has begun
//! when = "${connections} != 0"      # left out when this does not hold
//! url = "${url}/talk"
//! connections = "${connections}"    # from here on: long options of the command, without the dashes
//! rate = "1k/s"
//! header = ["X-Client: lunch"]      # a list where an option may be repeated
//! deflate = true                    # an option without a value
//! ```

pub mod catalogue;
pub mod file;
pub mod maker;
pub mod parameters;
pub mod plan;
pub mod play;
pub mod presets;
pub mod source;
