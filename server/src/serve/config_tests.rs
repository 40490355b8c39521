//! Good and bad configurations, and the example in docs/.

use super::*;
use crate::serve::config_file::SECTIONS;
use fanwire_server::hub::rules::LagPolicy;

/// A file that is there for one test.
struct TestFile(PathBuf);

impl TestFile {
    fn new(name: &str, text: &str) -> TestFile {
        let name = format!("fanwire-config-{}-{name}.toml", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, text).expect("a file for the test");
        TestFile(path)
    }
}

impl Drop for TestFile {
    fn drop(&mut self) {
        // The system's own cleaning takes what is left.
        let _ = std::fs::remove_file(&self.0);
    }
}

fn serve(arguments: &[&str]) -> Result<Loaded, ConfigError> {
    let all = ["fanwire", "serve"].iter().chain(arguments);
    let all: Vec<OsString> = all.map(OsString::from).collect();
    load(&all)
}

fn load_text(name: &str, text: &str, arguments: &[&str]) -> Result<Loaded, ConfigError> {
    let file = TestFile::new(name, text);
    let option = format!("--config={}", file.0.display());
    let all: Vec<&str> = std::iter::once(option.as_str())
        .chain(arguments.iter().copied())
        .collect();
    serve(&all)
}

/// Everything that was understood, but for the name of the file.
fn understood(mut loaded: Loaded) -> String {
    loaded.options.config = None;
    format!("{loaded:?}")
}

const EXAMPLE: &str = include_str!("../../../docs/fanwire.toml");

#[test]
fn the_example_says_the_defaults() {
    let loaded = load_text("example", EXAMPLE, &[]).unwrap();
    assert_eq!(understood(loaded), understood(serve(&[]).unwrap()));
}

#[test]
fn the_example_names_every_key_and_what_it_shows_can_be_written() {
    for (section, keys) in SECTIONS {
        assert!(EXAMPLE.contains(&format!("\n[{section}]\n")), "{section}");
        for key in keys {
            let is_there = EXAMPLE.contains(&format!("\n{key} = "))
                || EXAMPLE.contains(&format!("\n# {key} = "));
            assert!(is_there, "{key}");
        }
    }
    // With everything that is commented out; the file to replay is only opened later.
    let is_setting = |line: &str| {
        line.strip_prefix("# ").is_some_and(|rest| {
            let name = rest.split(" = ").next().unwrap_or_default();
            rest.contains(" = ")
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        })
    };
    let text: String = EXAMPLE
        .lines()
        .map(|line| match is_setting(line) {
            true => format!("{}\n", &line[2..]),
            false => format!("{line}\n"),
        })
        .collect();
    let loaded = load_text("shown", &text, &[]).unwrap();
    assert_eq!(loaded.options.simulator.simulate_seed, Some(42));
    assert_eq!(loaded.options.config().origins.len(), 1);
    assert_eq!(loaded.rules.rule_for("book.x").max_rate, Some(50));
}

#[test]
fn every_option_is_in_exactly_one_section() {
    let command = cli::command();
    let serve = command.find_subcommand("serve").unwrap();
    for option in serve.get_arguments() {
        let key = option.get_id().as_str();
        let count = SECTIONS
            .iter()
            .filter(|(_, keys)| keys.contains(&key))
            .count();
        let expected = match key {
            "config" | "check" | "help" => 0,
            _ => 1,
        };
        assert_eq!(count, expected, "{key}");
    }
    for key in SECTIONS.iter().flat_map(|(_, keys)| *keys) {
        assert!(help_of(key).is_some(), "{key} is no option");
    }
}

#[test]
fn the_command_line_goes_before_the_file_and_the_file_before_the_defaults() {
    let text = "[hub]\nsubscriptions_max = 7\ntopics_max = 1_000\n[who]\norigin = [\"https://a.test\"]\n\
                [compression]\ndeflate = true\n[server]\nlisten = \"127.0.0.1:0\"\ncores = [0]\n\
                [limits]\nhead_size_max = 0x1000\n";
    let loaded = load_text("order", text, &["--topics-max=9", "--deflate=false"]).unwrap();
    let hub = loaded.options.hub.options(loaded.rules.clone());
    assert_eq!((hub.subscriptions_max, hub.topics_max), (7, 9));
    let config = loaded.options.config();
    assert_eq!(config.deflate, None);
    assert_eq!(config.listen.port(), 0);
    assert_eq!(config.origins.len(), 1);
    assert_eq!(config.limits.head_size_max, 4096);
    assert_eq!(config.limits.message_size_max, 1 << 20);
    let loaded = load_text("origins", text, &["--origin=https://b.test"]).unwrap();
    assert_eq!(
        loaded.options.config().origins,
        ["https://b.test".parse().unwrap()]
    );
    assert!(loaded.options.config().deflate.is_some());
}

#[test]
fn rules_have_the_defaults_of_their_kind() {
    let text = "[[topic]]\npattern = \"a.*\"\nkind = \"state\"\nlog_bytes_max = \"1MiB\"\n\
                [[topic]]\npattern = \"a.>\"\nbehind = \"close\"\nlog_messages_max = 5\n";
    let rules = load_text("rules", text, &[]).unwrap().rules;
    let state = rules.rule_for("a.b");
    assert_eq!(
        (state.kind, state.lag),
        (TopicKind::State, LagPolicy::Conflate)
    );
    assert_eq!(state.limits.bytes_max, 1 << 20);
    let events = rules.rule_for("a.b.c");
    assert_eq!(
        (events.kind, events.lag),
        (TopicKind::Events, LagPolicy::Close)
    );
    assert_eq!(events.limits.messages_max, 5);
    let rest = rules.rule_for("book.x");
    assert_eq!((rest.kind, rest.lag), (TopicKind::Events, LagPolicy::Gap));
    let without = serve(&[]).unwrap().rules;
    for topic in ["book.x", "quote.x.y", "ticker.x"] {
        assert_eq!(without.rule_for(topic).kind, TopicKind::State, "{topic}");
    }
    assert_eq!(without.rule_for("trades.x").kind, TopicKind::Events);
}

/// Files with one thing wrong: the line that is named, the cause, and the cure.
const WRONG: [(&str, u32, &str, &str); 31] = [
    (
        "[server]\nlisten = \"nowhere\"\n",
        2,
        "listen = nowhere",
        "Address and port",
    ),
    (
        "[server]\nlisten = 9001\n",
        2,
        "listen = 9001",
        "Address and port",
    ),
    (
        "[server]\n\nport = 9001\n",
        3,
        "[server] has no key port",
        "listen",
    ),
    (
        "[server]\nbackend = \"kqueue\"\n",
        2,
        "backend = kqueue",
        "uring",
    ),
    (
        "[server]\ncores = \"4-2\"\n",
        2,
        "cores = 4-2",
        "Processors",
    ),
    (
        "[server]\nlisten = { port = 1 }\n",
        2,
        "listen is a table",
        "write a value",
    ),
    (
        "[servers]\nlisten = \"127.0.0.1:1\"\n",
        1,
        "no section [servers]",
        "server, who",
    ),
    (
        "listen = \"127.0.0.1:1\"\n",
        1,
        "outside its section",
        "[server]",
    ),
    (
        "[hub]\nlisten = \"127.0.0.1:1\"\n",
        2,
        "not in [hub]",
        "in [server]",
    ),
    ("[hub]\ntopics_max = 0\n", 2, "topics_max = 0", "1..="),
    (
        "[hub]\ntopics_max = -5\n",
        2,
        "topics_max = -5",
        "Topics of the whole hub",
    ),
    (
        "[hub]\npayload_max = \"12 parsec\"\n",
        2,
        "payload_max = 12 parsec",
        "KiB",
    ),
    (
        "[hub]\npayload_max = \"2MiB\"\n",
        2,
        "message_size_max",
        "raise",
    ),
    (
        "[compression]\ndeflate = \"perhaps\"\n",
        2,
        "deflate = perhaps",
        "true, false",
    ),
    (
        "[who]\npublish_from = \"10.0.0.0/40\"\n",
        2,
        "40 of at most 32",
        "Networks",
    ),
    (
        "[who]\norigin = [\"example.com\"]\n",
        2,
        "origin",
        "https://",
    ),
    (
        "[limits]\nclose_timeout_ms = 0\n",
        2,
        "close_timeout_ms is 0",
        "from 1 to",
    ),
    ("[replay]\nspeed = 0\n", 2, "speed = 0", "max"),
    (
        "[simulator]\nsimulate = true\nsimulate_symbols = 50_000\n",
        3,
        "50000",
        "10000",
    ),
    (
        "[[topic]]\nkind = \"state\"\n",
        1,
        "no pattern",
        "pattern =",
    ),
    (
        "[[topic]]\npattern = \"a..b\"\n",
        2,
        "empty token",
        "remove",
    ),
    ("[[topic]]\npattern = 7\n", 2, "pattern", "name one"),
    (
        "[[topic]]\npattern = \"a\"\nkind = \"queue\"\n",
        3,
        "kind",
        "\"events\"",
    ),
    (
        "[[topic]]\npattern = \"a\"\nbehind = \"drop\"\n",
        3,
        "behind",
        "\"gap\"",
    ),
    (
        "[[topic]]\npattern = \"a\"\nbehind = \"conflate\"\n",
        1,
        "cannot be conflated",
        "\"gap\"",
    ),
    (
        "[[topic]]\npattern = \"a\"\nkeys_max = 0\n",
        3,
        "keys_max",
        "1 or more",
    ),
    (
        "[[topic]]\npattern = \"a\"\nretention = 0\n",
        3,
        "no key retention",
        "keys_max",
    ),
    (
        "[topic]\npattern = \"a\"\n",
        1,
        "[[topic]]",
        "double brackets",
    ),
    ("[server\n", 1, "", "docs/fanwire.toml"),
    (
        "[server]\nlisten = \"a\"\nlisten = \"b\"\n",
        3,
        "",
        "docs/fanwire.toml",
    ),
    (
        "[simulator]\nsimulate = true\n[[topic]]\npattern = \"trades.>\"\nkind = \"state\"\n",
        2,
        "book.SYMBOL",
        "add a [[topic]] rule",
    ),
];

#[test]
fn what_is_wrong_is_told_with_its_line_and_the_cure() {
    for (number, (text, line, cause, cure)) in WRONG.into_iter().enumerate() {
        let name = format!("bad-{number}");
        let Err(error) = load_text(&name, text, &[]) else {
            panic!("it was taken: {text}");
        };
        let told = error.to_string();
        for part in [&format!("{name}.toml:{line}: "), cause, cure] {
            assert!(told.contains(part), "{part} is not in {told}\nfor {text}");
        }
        assert!(!told.contains('\n'), "{told}");
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let told = serve(&["--config=/nowhere/fanwire.toml"])
        .unwrap_err()
        .to_string();
    assert!(
        told.contains("/nowhere/fanwire.toml: cannot be read"),
        "{told}"
    );
}
