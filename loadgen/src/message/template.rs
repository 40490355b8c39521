//! Text with placeholders: messages, header fields and request targets that differ from one
//! connection or message to the next.
//!
//! Owns the syntax and the rendering. Knows neither clock nor socket: every value is passed in.
//!
//! A placeholder is a known name in braces, or `{rand:N}`. Every other brace stands for itself, so
//! that JSON is written as it is: `{"op":"sub","channel":"{topic}","id":{seq}}`. A placeholder's
//! own text comes out of `{{`: the text `{{seq}` renders as `{seq}`.

/// Longest `{rand:N}`, in characters.
const RANDOM_MAX: usize = 65_536;
/// What `{rand:N}` consists of: safe in JSON, in URLs and in header fields.
const RANDOM_ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
/// The names, as an error message lists them.
const NAMES: &str = "{conn}, {seq}, {now_ns}, {now_ms}, {rand:N}, {token}, {topic}";

/// What takes a placeholder's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Placeholder {
    Connection,
    Sequence,
    NowNanoseconds,
    NowMilliseconds,
    Random(usize),
    Token,
    Topic,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(Vec<u8>),
    Placeholder(Placeholder),
}

/// A text with placeholders, taken apart once and rendered often.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

/// What the placeholders stand for in one rendering.
#[derive(Debug)]
pub struct Values<'a> {
    /// `{conn}`: number of the connection in the whole run, from 0.
    pub connection: u32,
    /// `{seq}`: number of the message on its connection, from 0.
    pub sequence: u64,
    /// `{now_ns}`, and in milliseconds `{now_ms}`: the time, by whatever clock the caller shows.
    pub now_ns: u64,
    /// `{token}`: the line of `--token-file` that belongs to the connection.
    pub token: &'a str,
    /// `{topic}`: in a fan-out, the topic's name.
    pub topic: &'a str,
    /// Where `{rand:N}` comes from.
    pub random: &'a mut fastrand::Rng,
}

impl Template {
    /// Takes a text apart.
    ///
    /// # Errors
    /// `{rand:N}` whose N is not a number of characters between 1 and 65,536.
    pub fn parse(text: &str) -> Result<Template, String> {
        let mut parts = Vec::new();
        let mut literal = Vec::new();
        let mut rest = text;
        while let Some(brace) = rest.find('{') {
            let (before, from_brace) = rest.split_at(brace);
            literal.extend_from_slice(before.as_bytes());
            // An escaped placeholder: the second brace begins one that is meant literally.
            if let Some(escaped) = from_brace.strip_prefix('{')
                && let Some((_, size)) = placeholder(escaped)?
            {
                let (shown, behind) = escaped.split_at(size);
                literal.extend_from_slice(shown.as_bytes());
                rest = behind;
                continue;
            }
            match placeholder(from_brace)? {
                Some((found, size)) => {
                    if !literal.is_empty() {
                        parts.push(Part::Literal(std::mem::take(&mut literal)));
                    }
                    parts.push(Part::Placeholder(found));
                    rest = &from_brace[size..];
                }
                None => {
                    literal.push(b'{');
                    rest = &from_brace[1..];
                }
            }
        }
        literal.extend_from_slice(rest.as_bytes());
        if !literal.is_empty() {
            parts.push(Part::Literal(literal));
        }
        Ok(Template { parts })
    }

    /// The text as it is, braces and all.
    pub fn literal(text: impl Into<Vec<u8>>) -> Template {
        Template {
            parts: vec![Part::Literal(text.into())],
        }
    }

    /// Appends the text with every placeholder replaced. Allocates nothing but room in `out`.
    pub fn render(&self, values: Values<'_>, out: &mut Vec<u8>) {
        for part in &self.parts {
            match part {
                Part::Literal(text) => out.extend_from_slice(text),
                Part::Placeholder(placeholder) => match *placeholder {
                    Placeholder::Connection => push_number(u64::from(values.connection), out),
                    Placeholder::Sequence => push_number(values.sequence, out),
                    Placeholder::NowNanoseconds => push_number(values.now_ns, out),
                    Placeholder::NowMilliseconds => push_number(values.now_ns / 1_000_000, out),
                    Placeholder::Random(count) => push_random(count, values.random, out),
                    Placeholder::Token => out.extend_from_slice(values.token.as_bytes()),
                    Placeholder::Topic => out.extend_from_slice(values.topic.as_bytes()),
                },
            }
        }
    }

    /// Whether every rendering is the same.
    pub fn is_constant(&self) -> bool {
        self.parts
            .iter()
            .all(|part| matches!(part, Part::Literal(_)))
    }

    /// Whether `{token}` occurs.
    pub fn has_token(&self) -> bool {
        self.parts.contains(&Part::Placeholder(Placeholder::Token))
    }

    /// Whether `{topic}` occurs.
    pub fn has_topic(&self) -> bool {
        self.parts.contains(&Part::Placeholder(Placeholder::Topic))
    }

    /// Whether anything occurs that differs between the messages of a connection, which a header
    /// field or a request target cannot show.
    pub fn has_message_values(&self) -> bool {
        use Placeholder::{NowMilliseconds, NowNanoseconds, Sequence};
        [Sequence, NowNanoseconds, NowMilliseconds]
            .into_iter()
            .any(|placeholder| self.parts.contains(&Part::Placeholder(placeholder)))
    }
}

/// The placeholder that `text` begins with, and how many bytes it takes.
fn placeholder(text: &str) -> Result<Option<(Placeholder, usize)>, String> {
    let Some(name) = text
        .strip_prefix('{')
        .and_then(|inner| inner.split_once('}'))
        .map(|(name, _)| name)
    else {
        return Ok(None);
    };
    let found = match name {
        "conn" => Placeholder::Connection,
        "seq" => Placeholder::Sequence,
        "now_ns" => Placeholder::NowNanoseconds,
        "now_ms" => Placeholder::NowMilliseconds,
        "token" => Placeholder::Token,
        "topic" => Placeholder::Topic,
        _ => match name.strip_prefix("rand:") {
            None => return Ok(None),
            Some(count) => {
                let count = count.parse().ok();
                let Some(count) = count.filter(|count| (1..=RANDOM_MAX).contains(count)) else {
                    return Err(format!(
                        "'{{{name}}}' needs a number of characters between 1 and 65,536, as in \
                         {{rand:16}}; the placeholders are {NAMES}"
                    ));
                };
                Placeholder::Random(count)
            }
        },
    };
    Ok(Some((found, name.len() + 2)))
}

fn push_number(mut number: u64, out: &mut Vec<u8>) {
    // 2^64 has twenty digits.
    let mut digits = [0_u8; 20];
    let mut used = 0;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
        used += 1;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[digits.len() - used..]);
}

fn push_random(count: usize, random: &mut fastrand::Rng, out: &mut Vec<u8>) {
    let mut left = count;
    while left > 0 {
        // Five bits a character: twelve of them come out of one number.
        let mut bits = random.u64(..);
        for _ in 0..left.min(12) {
            out.push(RANDOM_ALPHABET[(bits & 31) as usize]);
            bits >>= 5;
        }
        left = left.saturating_sub(12);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn render(text: &str) -> String {
        let template = Template::parse(text).expect(text);
        let mut out = Vec::new();
        let values = Values {
            connection: 7,
            sequence: 18_446_744_073_709_551_615,
            now_ns: 12_345_678_901,
            token: "t0k",
            topic: "BTC-USD",
            random: &mut fastrand::Rng::with_seed(1),
        };
        template.render(values, &mut out);
        String::from_utf8(out).expect("a template is text")
    }

    #[test]
    fn every_placeholder_is_replaced() {
        assert_eq!(render("{conn}/{seq}"), "7/18446744073709551615");
        assert_eq!(render("{now_ns} {now_ms}"), "12345678901 12345");
        assert_eq!(render("Bearer {token}"), "Bearer t0k");
        assert_eq!(render("{topic}{topic}"), "BTC-USDBTC-USD");
        assert_eq!(render(""), "");
    }

    #[test]
    fn json_needs_no_escapes() {
        let json = r#"{"op":"sub","args":{"channel":"{topic}","id":{conn}}}"#;
        assert_eq!(
            render(json),
            r#"{"op":"sub","args":{"channel":"BTC-USD","id":7}}"#
        );
        for literal in [
            "{",
            "}",
            "{}",
            "{{}}",
            "{unknown}",
            "{{\"a\":{}}}",
            "{conn",
            "{ conn}",
        ] {
            assert_eq!(render(literal), literal);
        }
        assert_eq!(render("{{conn}"), "{conn}");
        assert_eq!(render("{\"a\":{{seq}}"), "{\"a\":{seq}}");
    }

    #[test]
    fn random_characters_are_counted_and_seeded() {
        for count in [1, 11, 12, 13, 1_000] {
            let text = render(&format!("{{rand:{count}}}"));
            assert_eq!(text.len(), count);
            assert!(text.bytes().all(|byte| RANDOM_ALPHABET.contains(&byte)));
        }
        assert_eq!(render("{rand:32}"), render("{rand:32}"));
        let twice = render("{rand:32}{rand:32}");
        assert_ne!(twice[..32], twice[32..]);
        for wrong in [
            "{rand:0}",
            "{rand:}",
            "{rand:x}",
            "{rand:65537}",
            "{rand:-1}",
        ] {
            let error = Template::parse(wrong).expect_err(wrong);
            assert!(error.contains("{rand:16}"), "{error}");
        }
    }

    #[test]
    fn what_a_template_depends_on() {
        let parse = |text| Template::parse(text).expect("valid");
        assert!(parse("{\"a\":1}").is_constant() && !parse("{conn}").is_constant());
        assert!(parse("{token}").has_token() && !parse("{conn}").has_token());
        assert!(parse("{seq}").has_message_values() && !parse("{token}").has_message_values());
        let mut out = Vec::new();
        let values = Values {
            connection: 0,
            sequence: 0,
            now_ns: 0,
            token: "",
            topic: "",
            random: &mut fastrand::Rng::with_seed(0),
        };
        Template::literal("{conn}").render(values, &mut out);
        assert_eq!(out, b"{conn}");
    }

    proptest! {
        /// Whatever is typed is either refused or rendered without harm, and text without braces
        /// comes out as it went in.
        #[test]
        fn any_text_is_taken(text in "[{}a-z:0-9]{0,40}|\\PC{0,40}") {
            if Template::parse(&text).is_ok() {
                let rendered = render(&text);
                if !text.contains('{') {
                    prop_assert_eq!(rendered, text);
                }
            } else {
                let names_random = text.contains("{rand:");
                prop_assert!(names_random);
            }
        }

        #[test]
        fn numbers_are_written_as_format_does(number: u64) {
            let mut out = Vec::new();
            push_number(number, &mut out);
            prop_assert_eq!(String::from_utf8(out).expect("digits"), number.to_string());
        }
    }
}
