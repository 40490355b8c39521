//! Tests of `command`: the examples of the document, what is refused, and texts of all sorts.

use super::*;
use proptest::prelude::*;

fn refusal(text: &str) -> Option<(Option<u64>, ErrorCode, Option<String>)> {
    let error = parse(text).err()?;
    assert!(error.message.contains(';'), "no cure in {}", error.message);
    Some((error.id, error.code, error.topic))
}

#[test]
fn the_examples_of_the_document() {
    let subscribe = parse(
        r#"{"op":"subscribe","id":1,"topics":["book.BTC-USD","trades.>"],
 "resume":{"z":{"epoch":"other","seq":1},"book.BTC-USD":{"epoch":"5f3a09c2d417be60","seq":812}},
 "max_rate":50,"history":10,"snapshot":false,"unknown":[{"a":null}]}"#,
    );
    let Ok(Command::Subscribe(subscribe)) = subscribe else {
        panic!("{subscribe:?}");
    };
    assert_eq!(subscribe.id, Some(1));
    assert_eq!(subscribe.topics, ["book.BTC-USD", "trades.>"]);
    let epoch = Some(0x5f3a_09c2_d417_be60);
    let point = |epoch, seq| Some(ResumePoint { epoch, seq });
    assert_eq!(subscribe.resume_for("book.BTC-USD"), point(epoch, 812));
    assert_eq!(subscribe.resume_for("z"), point(None, 1));
    assert_eq!(subscribe.resume_for("trades.>"), None);
    assert_eq!(subscribe.resume_points().count(), 2);
    assert_eq!((subscribe.max_rate, subscribe.history), (50, 10));
    assert!(!subscribe.snapshot);

    let topics = |topics: &[&'static str]| topics.iter().copied().map(Cow::from).collect();
    let cases = [
        (
            r#"{"op":"unsubscribe","id":2,"topics":["trades.>"]}"#,
            Command::Unsubscribe {
                id: Some(2),
                topics: topics(&["trades.>"]),
            },
        ),
        (
            r#" {"topics":["a..b","b"],"max_rate":10,"op":"configure","id":3} "#,
            Command::Configure {
                id: Some(3),
                topics: topics(&["a..b", "b"]),
                max_rate: 10,
            },
        ),
        (
            r#"{"op":"ping","id":9007199254740991}"#,
            Command::Ping { id: Some(ID_MAX) },
        ),
        (r#"{"op":"ping"}"#, Command::Ping { id: None }),
        (
            r#"{"\u006fp":"p\u0069ng","id":0}"#,
            Command::Ping { id: Some(0) },
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(parse(text), Ok(expected), "{text}");
    }
}

#[test]
fn a_publish_borrows_what_it_hands_on() {
    let cases = [
        (
            r#""key":"bid.3","data":{"price" : "101.5"}"#,
            Some("bid.3"),
            Change::Update,
            r#"{"price" : "101.5"}"#,
        ),
        (r#""data":null"#, None, Change::Update, "null"),
        (
            r#""data":  1.50 ,"event":false,"remove":false"#,
            None,
            Change::Update,
            "1.50",
        ),
        (r#""key":"k","remove":true"#, Some("k"), Change::Remove, ""),
        (
            r#""key":"k","event":true,"data":"\ud800""#,
            Some("k"),
            Change::Event,
            r#""\ud800""#,
        ),
    ];
    for (members, key, change, data) in cases {
        let text = format!(r#"{{"op":"publish","id":4,"topic":"a.b",{members}}}"#);
        let Ok(Command::Publish(publish)) = parse(&text) else {
            panic!("{text}: {:?}", parse(&text));
        };
        assert_eq!(publish.id, Some(4));
        assert!(matches!(publish.topic, Cow::Borrowed("a.b")), "{text}");
        assert!(!matches!(publish.key, Some(Cow::Owned(_))), "{text}");
        assert_eq!(
            (publish.key.as_deref(), publish.change),
            (key, change),
            "{text}"
        );
        assert_eq!(publish.data, data, "{text}");
    }
    let escaped = r#"{"op":"publish","topic":"a\u002eb","key":"\n\"","data":0}"#;
    let Ok(Command::Publish(publish)) = parse(escaped) else {
        panic!("{:?}", parse(escaped));
    };
    assert_eq!(
        (&*publish.topic, publish.key.as_deref()),
        ("a.b", Some("\n\""))
    );
}

/// Texts that are refused, with the number of the request that the refusal is about, if it can be
/// told.
const REFUSED: [(&str, Option<u64>, ErrorCode); 34] = {
    use ErrorCode::{BadJson, BadKey, BadRequest, BadTopic, UnknownOp};
    [
        ("", None, BadJson),
        ("[]", None, BadJson),
        (r#"["ping",1]"#, None, BadJson),
        ("null", None, BadJson),
        (r#"{"op":"ping","id":1"#, None, BadJson),
        (r#"{"op":"ping","id":1} {}"#, None, BadJson),
        (r#"{"op":"ping","id":1,"id":2}"#, None, BadRequest),
        (r#"{"op":"ping","id":-1}"#, None, BadRequest),
        (r#"{"op":"ping","id":1.0}"#, None, BadRequest),
        (r#"{"op":"ping","id":"1"}"#, None, BadRequest),
        (r#"{"op":"ping","id":null}"#, None, BadRequest),
        (r#"{"op":"ping","id":9007199254740992}"#, None, BadRequest),
        (r#"{"id":7}"#, Some(7), UnknownOp),
        (r#"{"id":7,"op":1}"#, Some(7), UnknownOp),
        (r#"{"id":7,"op":"PING"}"#, Some(7), UnknownOp),
        (r#"{"id":7,"op":"subscribe"}"#, Some(7), BadRequest),
        (
            r#"{"id":7,"op":"subscribe","topics":[]}"#,
            Some(7),
            BadRequest,
        ),
        (
            r#"{"id":7,"op":"subscribe","topics":"a"}"#,
            Some(7),
            BadRequest,
        ),
        (
            r#"{"id":7,"op":"subscribe","topics":[1]}"#,
            Some(7),
            BadRequest,
        ),
        (
            r#"{"id":7,"op":"subscribe","topics":["a"],"history":-1}"#,
            Some(7),
            BadRequest,
        ),
        (
            r#"{"id":7,"op":"subscribe","topics":["a"],"snapshot":1}"#,
            Some(7),
            BadRequest,
        ),
        (
            r#"{"id":7,"op":"subscribe","topics":["a"],"max_rate":4294967296}"#,
            Some(7),
            BadRequest,
        ),
        (
            r#"{"id":7,"op":"subscribe","topics":["a"],"resume":{"a":{"epoch":1,"seq":1}}}"#,
            Some(7),
            BadRequest,
        ),
        (
            r#"{"id":7,"op":"subscribe","topics":["a"],"resume":{"a":{"epoch":""}}}"#,
            Some(7),
            BadRequest,
        ),
        (
            r#"{"id":7,"op":"configure","topics":["a"]}"#,
            Some(7),
            BadRequest,
        ),
        (r#"{"id":7,"op":"publish","data":1}"#, Some(7), BadRequest),
        (
            r#"{"id":7,"op":"publish","topic":"a"}"#,
            Some(7),
            BadRequest,
        ),
        (
            r#"{"id":7,"op":"publish","topic":"a..b","data":1}"#,
            Some(7),
            BadTopic,
        ),
        (
            r#"{"id":7,"op":"publish","topic":"a.*","data":1}"#,
            Some(7),
            BadTopic,
        ),
        (
            r#"{"id":7,"op":"publish","topic":"a","key":"","data":1}"#,
            Some(7),
            BadKey,
        ),
        (
            r#"{"id":7,"op":"publish","topic":"a","key":1,"data":1}"#,
            Some(7),
            BadRequest,
        ),
        (
            r#"{"id":7,"op":"publish","topic":"a","remove":true,"data":1}"#,
            Some(7),
            BadRequest,
        ),
        (
            r#"{"id":7,"op":"publish","topic":"a","remove":true,"event":true}"#,
            Some(7),
            BadRequest,
        ),
        (
            r#"{"id":7,"op":"publish","topic":"a","event":"yes","data":1}"#,
            Some(7),
            BadRequest,
        ),
    ]
};

#[test]
fn refusals_name_the_request() {
    use ErrorCode::{BadKey, BadRequest, BadTopic};
    for (text, id, code) in REFUSED {
        let told = refusal(text).map(|(id, code, _)| (id, code));
        assert_eq!(told, Some((id, code)), "{text}");
    }
    let about = refusal(r#"{"op":"publish","topic":"a..b","data":1}"#);
    assert_eq!(about, Some((None, BadTopic, Some("a..b".to_owned()))));
    let key = "k".repeat(129);
    let long_key = format!(r#"{{"op":"publish","topic":"a","key":"{key}","data":1}}"#);
    assert_eq!(
        refusal(&long_key),
        Some((None, BadKey, Some("a".to_owned())))
    );
    let many = vec!["\"a\""; TOPICS_MAX + 1].join(",");
    let many = format!(r#"{{"op":"unsubscribe","topics":[{many}]}}"#);
    assert_eq!(refusal(&many), Some((None, BadRequest, None)));
}

#[test]
fn nesting_does_not_use_up_the_stack() {
    let deep = "[".repeat(1 << 20);
    let closed = format!("{deep}{}", "]".repeat(1 << 20));
    for member in ["data", "unknown"] {
        let text = format!(r#"{{"op":"publish","topic":"a","{member}":{deep}"#);
        assert_eq!(refusal(&text).map(|told| told.1), Some(ErrorCode::BadJson));
    }
    let text = format!(r#"{{"op":"publish","topic":"a","data":{closed},"x":{closed}}}"#);
    assert!(parse(&text).is_ok());
}

proptest! {
    #[test]
    fn no_text_panics(text in ".*") {
        let _ = parse(&text);
    }

    #[test]
    fn no_object_panics(
        parts in prop::collection::vec(
            prop::sample::select(vec![
                r#""op":"subscribe""#,
                r#""op":"publish""#,
                r#""topics":["a"]"#,
                r#""topic":"a""#,
                r#""key":"k""#,
                r#""data":null"#,
                r#""resume":{}"#,
                r#""id":1"#,
                r#""remove":true"#,
                r#""event":true"#,
                r#""history":9"#,
                r#""data":"#,
                "{}",
                "[",
                ",",
                "\\",
                "\"",
                "\u{1F600}",
            ]),
            0..8,
        ),
    ) {
        let text = format!("{{{}}}", parts.join(","));
        // Whatever is read is within what the hub relies on.
        match parse(&text) {
            Ok(Command::Publish(publish)) => {
                prop_assert!(TopicName::check(&publish.topic).is_ok());
                prop_assert_eq!(publish.data.is_empty(), publish.change == Change::Remove);
            }
            Ok(Command::Subscribe(subscribe)) => prop_assert!(!subscribe.topics.is_empty()),
            Ok(_) => {}
            Err(error) => prop_assert!(!error.message.is_empty()),
        }
    }
}
