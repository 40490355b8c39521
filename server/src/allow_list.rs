//! Which origins and which hosts a server answers to.
//!
//! It owns the comparison: whole values, never substrings or patterns. It must not know what
//! happens to a request that is refused.

use std::fmt;
use std::str::FromStr;

/// An origin as browsers send it: scheme, host and port, compared as a whole (RFC 6454 5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    scheme: String,
    host: String,
    port: Option<u16>,
}

/// A host this server answers to; without a port, every port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    name: String,
    port: Option<u16>,
}

/// Text that is not an origin or not a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowListError {
    text: String,
    wanted: &'static str,
}

impl fmt::Display for AllowListError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "`{}` is not {}",
            self.text.escape_debug(),
            self.wanted
        )
    }
}

impl std::error::Error for AllowListError {}

/// Splits `name[:port]` where the name may be an IPv6 address in brackets.
fn split_authority(authority: &str) -> Option<(String, Option<u16>)> {
    let name_end = match authority.strip_prefix('[') {
        Some(rest) => rest.find(']')? + 2,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let (name, rest) = authority.split_at_checked(name_end)?;
    let port = match rest.strip_prefix(':') {
        // `str::parse` would also take a plus sign.
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some(digits.parse().ok()?)
        }
        None if rest.is_empty() => None,
        _ => return None,
    };
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~[]:".contains(&byte);
    if name.is_empty() || !name.bytes().all(is_plain) {
        return None;
    }
    Some((name.to_ascii_lowercase(), port))
}

impl FromStr for Origin {
    type Err = AllowListError;

    fn from_str(text: &str) -> Result<Origin, AllowListError> {
        let parse = || {
            let (scheme, authority) = text.split_once("://")?;
            let is_scheme = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
            if scheme.is_empty() || !scheme.bytes().all(is_scheme) {
                return None;
            }
            let scheme = scheme.to_ascii_lowercase();
            let (host, port) = split_authority(authority)?;
            let port = port.or(match scheme.as_str() {
                "http" | "ws" => Some(80),
                "https" | "wss" => Some(443),
                _ => None,
            });
            Some(Origin { scheme, host, port })
        };
        parse().ok_or_else(|| AllowListError {
            text: text.to_owned(),
            wanted: "an origin; write it as a browser sends it, such as https://example.com:8443",
        })
    }
}

impl FromStr for Host {
    type Err = AllowListError;

    fn from_str(text: &str) -> Result<Host, AllowListError> {
        let (name, port) = split_authority(text).ok_or_else(|| AllowListError {
            text: text.to_owned(),
            wanted: "a host; write it as it stands in a URL, such as example.com or [::1]:9001",
        })?;
        Ok(Host { name, port })
    }
}

/// Whether a request may come from this origin. An empty list allows everything; a request
/// without an Origin does not come from a browser and is not what this list is about; `null`
/// (sandboxed pages, local files) is refused because anybody can produce it.
pub fn origin_allowed(list: &[Origin], origin: Option<&str>) -> bool {
    match (list, origin) {
        ([], _) | (_, None) => true,
        (list, Some(origin)) => origin
            .parse::<Origin>()
            .is_ok_and(|origin| list.contains(&origin)),
    }
}

/// Whether a request for this host is meant for us. An empty list allows everything.
pub fn host_allowed(list: &[Host], host: &str) -> bool {
    list.is_empty()
        || host.parse::<Host>().is_ok_and(|host| {
            list.iter().any(|allowed| {
                allowed.name == host.name && (allowed.port.is_none() || allowed.port == host.port)
            })
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origins(list: &[&str]) -> Vec<Origin> {
        list.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn origins_are_compared_whole() {
        let list = origins(&["https://example.com", "http://localhost:3000"]);
        for allowed in [
            "https://example.com",
            "https://example.com:443",
            "HTTPS://EXAMPLE.com",
            "http://localhost:3000",
        ] {
            assert!(origin_allowed(&list, Some(allowed)), "{allowed}");
        }
        for refused in [
            "null",
            "",
            "example.com",
            "http://example.com",
            "https://example.com:8443",
            "https://example.com.evil.test",
            "https://evil-example.com",
            "https://sub.example.com",
            "https://example.com@evil.test",
            "https://example.com/",
            "https://example.com:+443",
            "http://localhost",
        ] {
            assert!(!origin_allowed(&list, Some(refused)), "{refused}");
        }
        assert!(origin_allowed(&list, None));
        assert!(origin_allowed(&[], Some("null")));
    }

    #[test]
    fn hosts_match_by_name_and_by_port_where_one_is_given() {
        let list: Vec<Host> = ["example.com", "[::1]:9001"]
            .iter()
            .map(|text| text.parse().unwrap())
            .collect();
        for allowed in ["example.com", "Example.com:80", "[::1]:9001"] {
            assert!(host_allowed(&list, allowed), "{allowed}");
        }
        for refused in [
            "",
            "example.com.evil",
            "[::1]",
            "[::1]:9002",
            "127.0.0.1",
            "a b",
            "[::1",
        ] {
            assert!(!host_allowed(&list, refused), "{refused}");
        }
        assert!(host_allowed(&[], "anything at all"));
    }

    #[test]
    fn the_error_shows_the_form() {
        let text = "example.com".parse::<Origin>().unwrap_err().to_string();
        assert!(text.contains("https://example.com:8443"), "{text}");
        assert!("a:b".parse::<Host>().is_err());
    }
}
