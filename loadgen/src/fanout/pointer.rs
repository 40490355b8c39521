//! One value out of a JSON text, by its JSON pointer (RFC 6901), without reading the rest into a
//! tree: what is not asked for is stepped over, and nothing behind the value is looked at.
//!
//! Runs once or more per received message, so it allocates nothing unless a member's name is
//! written with escapes. A text that is not JSON gives a wrong value or none, never a panic.

/// A JSON pointer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointer {
    segments: Vec<Segment>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Segment {
    name: String,
    /// The name as a place in an array.
    index: Option<usize>,
}

impl Pointer {
    /// Reads `/a/b/0`; `~1` stands for a slash and `~0` for a tilde.
    ///
    /// # Errors
    /// A text that is not empty and does not begin with a slash, or has another escape.
    pub fn parse(text: &str) -> Result<Pointer, String> {
        if text.is_empty() {
            return Ok(Pointer {
                segments: Vec::new(),
            });
        }
        let Some(rest) = text.strip_prefix('/') else {
            return Err(format!(
                "the JSON pointer '{text}' must begin with a slash, as in /data/ts"
            ));
        };
        let segments = rest
            .split('/')
            .map(|part| {
                let bad = part.split('~').skip(1);
                if bad.into_iter().any(|after| !after.starts_with(['0', '1'])) {
                    return Err(format!(
                        "the JSON pointer '{text}' holds a tilde that is neither ~0 nor ~1"
                    ));
                }
                let name = part.replace("~1", "/").replace("~0", "~");
                let is_index = part == "0" || !part.starts_with('0');
                let index = part.parse().ok().filter(|_| is_index);
                Ok(Segment { name, index })
            })
            .collect::<Result<_, _>>()?;
        Ok(Pointer { segments })
    }

    /// The text of the value, quotes and all; `None` where there is none.
    pub fn find<'a>(&self, text: &'a [u8]) -> Option<&'a [u8]> {
        let mut at = skip_space(text, 0);
        for segment in &self.segments {
            at = match text.get(at)? {
                b'{' => member(text, at, &segment.name)?,
                b'[' => element(text, at, segment.index?)?,
                _ => return None,
            };
        }
        let end = skip_value(text, at)?;
        text.get(at..end)
    }
}

/// What stands between the quotes of a string; other values as they are.
pub fn unquoted(value: &[u8]) -> &[u8] {
    value
        .strip_prefix(b"\"")
        .and_then(|inside| inside.strip_suffix(b"\""))
        .unwrap_or(value)
}

/// Whether a value reads `wanted`: as a string that says so, or as it is written.
pub fn reads(value: &[u8], wanted: &[u8]) -> bool {
    says(value, wanted) || value == wanted
}

/// Whether a string, given with its quotes, says `wanted`.
fn says(string: &[u8], wanted: &[u8]) -> bool {
    let inside = unquoted(string);
    if inside.contains(&b'\\') && inside.len() < string.len() {
        return serde_json::from_slice::<String>(string)
            .is_ok_and(|decoded| decoded.as_bytes() == wanted);
    }
    inside == wanted
}

fn skip_space(text: &[u8], from: usize) -> usize {
    let rest = text.get(from..).unwrap_or_default();
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
    from + rest.iter().take_while(|byte| is_space(byte)).count()
}

/// Behind the string whose opening quote is at `at`.
fn skip_string(text: &[u8], at: usize) -> Option<usize> {
    let mut from = at + 1;
    loop {
        let found = from + memchr::memchr2(b'"', b'\\', text.get(from..)?)?;
        if text.get(found) == Some(&b'"') {
            return Some(found + 1);
        }
        from = found + 2;
    }
}

/// Behind the value that begins at `at`.
fn skip_value(text: &[u8], at: usize) -> Option<usize> {
    match text.get(at)? {
        b'"' => skip_string(text, at),
        b'{' | b'[' => {
            let (mut depth, mut at) = (0_u32, at);
            loop {
                match text.get(at)? {
                    b'"' => {
                        at = skip_string(text, at)?;
                        continue;
                    }
                    b'{' | b'[' => depth = depth.checked_add(1)?,
                    b'}' | b']' => depth -= 1,
                    _ => {}
                }
                at += 1;
                if depth == 0 {
                    return Some(at);
                }
            }
        }
        _ => {
            let is_end =
                |byte: &u8| matches!(byte, b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r');
            let length = text.get(at..)?.iter().position(is_end);
            let end = length.map_or(text.len(), |length| at + length);
            (end > at).then_some(end)
        }
    }
}

/// Where the value of member `name` begins, of the object that opens at `at`.
fn member(text: &[u8], at: usize, name: &str) -> Option<usize> {
    let mut at = at + 1;
    loop {
        at = skip_space(text, at);
        if text.get(at) != Some(&b'"') {
            return None;
        }
        let end = skip_string(text, at)?;
        // A name has no quotes of its own: `"a"` is another name than `a`.
        let is_it = says(text.get(at..end)?, name.as_bytes());
        at = skip_space(text, end);
        if text.get(at) != Some(&b':') {
            return None;
        }
        at = skip_space(text, at + 1);
        if is_it {
            return Some(at);
        }
        at = next_item(text, at)?;
    }
}

/// Where element `index` begins, of the array that opens at `at`.
fn element(text: &[u8], at: usize, index: usize) -> Option<usize> {
    let mut at = skip_space(text, at + 1);
    if text.get(at) == Some(&b']') {
        return None;
    }
    for _ in 0..index {
        at = skip_space(text, next_item(text, at)?);
    }
    Some(at)
}

/// Behind the comma that follows the value at `at`.
fn next_item(text: &[u8], at: usize) -> Option<usize> {
    let at = skip_space(text, skip_value(text, at)?);
    (text.get(at) == Some(&b',')).then_some(at + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn find<'a>(pointer: &str, text: &'a str) -> Option<&'a str> {
        let pointer = Pointer::parse(pointer).expect("a pointer");
        let found = pointer.find(text.as_bytes())?;
        std::str::from_utf8(found).ok()
    }

    #[test]
    fn values_are_found_where_they_are() {
        let text =
            r#" { "a" : [1, {"b~/":"x\"}"} , [] ], "n":{"ts":-12.5e3},"\u0061b":true,"z":null}"#;
        assert_eq!(find("/a/0", text), Some("1"));
        assert_eq!(find("/a/1/b~0~1", text), Some(r#""x\"}""#));
        assert_eq!(find("/a/2", text), Some("[]"));
        assert_eq!(find("/n/ts", text), Some("-12.5e3"));
        assert_eq!(find("/ab", text), Some("true"));
        assert_eq!(find("/z", text), Some("null"));
        assert_eq!(find("", " 7 "), Some("7"));
        for missing in ["/a/3", "/a/00", "/a/x", "/n/ts/x", "/q", "/z/0"] {
            assert_eq!(find(missing, text), None, "{missing}");
        }
        for broken in ["", "{", "[", "{\"a\"", "{\"a\":", "{\"a\":\"", "{a:1}", "]"] {
            assert_eq!(find("/a", broken), None, "{broken}");
        }
        assert!(Pointer::parse("a").is_err() && Pointer::parse("/~2").is_err());
    }

    #[test]
    fn quotes_in_a_pointer_are_part_of_the_name() {
        let text = r#"{"a":1,"\"a\"":2}"#;
        assert_eq!(find("/a", text), Some("1"));
        assert_eq!(find("/\"a\"", text), Some("2"));
        assert_eq!(find("/\"\"", r#"{"":0}"#), None);
    }

    #[test]
    fn strings_are_compared_by_what_they_say() {
        assert!(reads(br#""a\"b""#, b"a\"b") && reads(b"12", b"12") && reads(b"\"12\"", b"12"));
        assert!(!reads(b"\"a\"", b"b") && !reads(br#""\q""#, b"q"));
    }

    fn tree() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<i64>().prop_map(Value::from),
            any::<bool>().prop_map(Value::from),
            "[a-c\"\\\\/~{}\\[\\], ]{0,6}".prop_map(Value::from),
            Just(Value::Null)
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                proptest::collection::vec(("[a-c\"~/]{0,2}", inner), 0..5)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        /// The same value as a reader that reads everything finds.
        #[test]
        fn agrees_with_a_whole_parse(tree in tree(), pointer in "(/([a-c\"/]|~0|~1|[0-4]){0,2}){0,4}", is_pretty: bool) {
            let text = if is_pretty { format!("{tree:#}") } else { tree.to_string() };
            let found = Pointer::parse(&pointer).expect("valid").find(text.as_bytes());
            let parsed = found.map(|value| serde_json::from_slice::<Value>(value).expect("a value"));
            prop_assert_eq!(parsed.as_ref(), tree.pointer(&pointer));
        }

        #[test]
        fn no_bytes_panic(text in "[\\[\\]{}\":,a0\\\\ ]{0,40}", pointer in "(/[a0]{0,1}){0,3}") {
            let _ = Pointer::parse(&pointer).expect("valid").find(text.as_bytes());
        }
    }
}
