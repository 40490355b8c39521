//! Bare payloads; topics are named in the request target of the opening handshake.

/// The request target of a subscriber: the first topic takes the place of `{topic}`, the others are
/// appended as `topics=b,c`. `base` is the path of the URL.
pub fn subscribe_target(base: &str, template: &str, topics: &[&str]) -> String {
    let mut names = topics.iter();
    let first = names.next().copied().unwrap_or("");
    let mut target = join(base, &template.replace("{topic}", &encode(first)));
    for (position, name) in names.enumerate() {
        let separator = match (position, target.contains('?')) {
            (0, false) => "?topics=",
            (0, true) => "&topics=",
            _ => ",",
        };
        target.push_str(separator);
        target.push_str(&encode(name));
    }
    target
}

/// The request target of a publisher.
pub fn publish_target(base: &str, template: &str, topic: &str) -> String {
    join(base, &template.replace("{topic}", &encode(topic)))
}

fn join(base: &str, path: &str) -> String {
    let path = path.trim_start_matches('/');
    format!("{}/{path}", base.trim_end_matches('/'))
}

/// Percent-encoding of everything that is not unreserved (RFC 3986 2.3).
fn encode(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets() {
        assert_eq!(subscribe_target("/", "/raw/{topic}", &["a.b"]), "/raw/a.b");
        assert_eq!(
            subscribe_target("/", "/raw/{topic}", &["a", "b", "c d"]),
            "/raw/a?topics=b,c%20d"
        );
        assert_eq!(
            subscribe_target("/base/", "sub?x=1&t={topic}", &["a", "b"]),
            "/base/sub?x=1&t=a&topics=b"
        );
        assert_eq!(
            publish_target("/", "/raw/{topic}?publish&subscribe=false", "é"),
            "/raw/%C3%A9?publish&subscribe=false"
        );
    }
}
