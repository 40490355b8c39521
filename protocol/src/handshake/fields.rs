//! The grammar of header values (RFC 9110 5.6, RFC 9112 3.2). Pure functions, linear in time.

/// Bytes of a token (RFC 9110 5.6.2).
pub(super) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

pub(super) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_token_byte)
}

/// The elements of a comma-separated list, trimmed; empty ones are skipped (RFC 9110 5.6.1.2).
pub(super) fn list(value: &str) -> impl Iterator<Item = &str> {
    value
        .split(',')
        .map(trim)
        .filter(|element| !element.is_empty())
}

/// Takes optional white space off both ends (RFC 9110 5.6.3).
pub(super) fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

/// Splits `text` at the first `separator` that is not inside a quoted string.
pub(super) fn split_unquoted(text: &str, separator: u8) -> (&str, Option<&str>) {
    let mut is_quoted = false;
    let mut is_escaped = false;
    for (index, byte) in text.bytes().enumerate() {
        if is_escaped {
            is_escaped = false;
        } else if is_quoted && byte == b'\\' {
            is_escaped = true;
        } else if byte == b'"' {
            is_quoted = !is_quoted;
        } else if byte == separator && !is_quoted {
            // Separators are ASCII, so both cuts lie between characters.
            return (text.get(..index).unwrap_or(text), text.get(index + 1..));
        }
    }
    (text, None)
}

/// Whether `text` may be a header value that this crate writes: printable ASCII, no line breaks.
pub(super) fn is_writable_value(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\t')) && trim(text) == text
}

/// Whether `host` is a host and optional port as a Host header carries it (RFC 9112 3.2): a name
/// or address, not empty, and a port of at most 65535.
pub(super) fn is_host(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => {
            let Some((address, port)) = rest.split_once(']') else {
                return false;
            };
            if address.parse::<std::net::Ipv6Addr>().is_err() {
                return false;
            }
            match port.strip_prefix(':') {
                Some(port) => (address, Some(port)),
                None if port.is_empty() => (address, None),
                None => return false,
            }
        }
        None => match host.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (host, None),
        },
    };
    let is_name = host.starts_with('[') || name.bytes().all(is_name_byte);
    let is_port = port.is_none_or(|port| {
        port.is_empty()
            || (port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok())
    });
    !name.is_empty() && is_name && is_port
}

/// Bytes of a registered name (RFC 3986 3.2.2).
fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(&byte)
}

/// The authority and the path-and-query of an absolute-form target (RFC 9112 3.2.2), the port
/// left out where it is the scheme's own; `None` for other schemes and for user information.
pub(super) fn split_absolute(target: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = target.split_once("://")?;
    let default_port = default_port(scheme)?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if !is_host(authority) {
        return None;
    }
    Some((
        authority.strip_suffix(default_port).unwrap_or(authority),
        path,
    ))
}

/// The port that a target of this scheme has when it names none, as a suffix of an authority.
fn default_port(scheme: &str) -> Option<&'static str> {
    if scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("ws") {
        Some(":80")
    } else if scheme.eq_ignore_ascii_case("https") || scheme.eq_ignore_ascii_case("wss") {
        Some(":443")
    } else {
        None
    }
}

/// Whether `host` names the authority that [`split_absolute`] found in `target`.
pub(super) fn host_agrees(host: &str, authority: &str, target: &str) -> bool {
    let port = target
        .split_once("://")
        .and_then(|(scheme, _)| default_port(scheme));
    let bare = port
        .and_then(|port| host.strip_suffix(port))
        .unwrap_or(host);
    bare.eq_ignore_ascii_case(authority)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        for host in [
            "a",
            "a.example:80",
            "127.0.0.1:9001",
            "[::1]",
            "[2001:db8::1]:443",
            "a:",
        ] {
            assert!(is_host(host), "{host}");
        }
        let malformed = [
            "", ":80", "a:b", "a:65536", "a:+1", "a b", "a@b", "a/b", "[::1", "[::1]x", "[g]",
            "::1",
        ];
        for host in malformed {
            assert!(!is_host(host), "{host}");
        }
    }

    #[test]
    fn quotes_hide_separators() {
        assert_eq!(split_unquoted("a;b", b';'), ("a", Some("b")));
        assert_eq!(
            split_unquoted(r#"a="x;\";y";b"#, b';'),
            (r#"a="x;\";y""#, Some("b"))
        );
        assert_eq!(split_unquoted("a", b';'), ("a", None));
    }
}
