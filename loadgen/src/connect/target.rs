//! Where the load goes: the `ws://` or `wss://` URL, and the source addresses it comes from.
//!
//! Owns URL and CIDR grammar and the port arithmetic. Opens no socket; resolving a host name is
//! the only thing here that leaves the process.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};

/// More source addresses than this from one CIDR are cut off: a `/8` would be 16 million entries,
/// and 65,536 addresses already carry more connections than a host has memory for.
pub const SOURCES_MAX: usize = 65_536;

/// A parsed `ws://` or `wss://` URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The URL as it was given.
    pub url: String,
    /// Host name or address, without brackets.
    pub host: String,
    /// TCP port; 80, or 443 with TLS, when the URL names none.
    pub port: u16,
    /// `wss://`: through TLS.
    pub is_secured: bool,
    /// Request target of the opening handshake: path and query, `/` when absent.
    pub request_target: String,
}

impl Target {
    /// Parses `ws://host[:port][/path][?query]`, or the same with `wss://`.
    ///
    /// # Errors
    /// One sentence with cause and cure.
    pub fn parse(url: &str) -> Result<Target, String> {
        let Some((scheme, rest)) = url.split_once("://") else {
            return Err(format!("'{url}' has no scheme; write ws://host:port/path"));
        };
        let is_secured = match scheme.to_ascii_lowercase().as_str() {
            "ws" => false,
            "wss" => true,
            "http" => return Err("scheme 'http' is not WebSocket; write ws://…".into()),
            "https" => return Err("scheme 'https' is not WebSocket; write wss://…".into()),
            other => {
                return Err(format!(
                    "scheme '{other}' is not WebSocket; write ws://… or wss://…"
                ));
            }
        };
        if rest.contains('#') {
            return Err("a WebSocket URL has no fragment ('#…'); remove it (RFC 6455 3)".into());
        }
        if !rest.chars().all(|character| character.is_ascii_graphic()) {
            return Err(
                "the URL has a blank or a character outside ASCII; percent-encode it".into(),
            );
        }
        let authority_end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, tail) = rest.split_at(authority_end);
        if authority.contains('@') {
            return Err(
                "user information in the URL is not supported; use -H 'Authorization: …'".into(),
            );
        }
        let (host, port) = split_authority(authority)?;
        let port = port.unwrap_or(default_port(is_secured));
        let request_target = match tail {
            "" => "/".to_owned(),
            query if query.starts_with('?') => format!("/{query}"),
            path => path.to_owned(),
        };
        Ok(Target {
            url: url.to_owned(),
            host: host.to_owned(),
            port,
            is_secured,
            request_target,
        })
    }

    /// The value of the `Host` header field.
    pub fn host_header(&self) -> String {
        self.host_header_at(self.port)
    }

    /// The value of the `Host` header field for another port of the same host.
    pub fn host_header_at(&self, port: u16) -> String {
        let host = if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        };
        if port == default_port(self.is_secured) {
            host
        } else {
            format!("{host}:{port}")
        }
    }

    /// The addresses of the host, at least one, in the order in which the resolver gave them.
    ///
    /// # Errors
    /// One sentence with cause and cure.
    pub fn resolve(&self) -> Result<Vec<SocketAddr>, String> {
        let found: Vec<SocketAddr> = (self.host.as_str(), self.port)
            .to_socket_addrs()
            .map_err(|error| format!("cannot resolve '{}': {error}", self.host))?
            .collect();
        if found.is_empty() {
            return Err(format!("'{}' resolves to no address", self.host));
        }
        Ok(found)
    }
}

/// RFC 6455 3.
fn default_port(is_secured: bool) -> u16 {
    if is_secured { 443 } else { 80 }
}

fn split_authority(authority: &str) -> Result<(&str, Option<u16>), String> {
    let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
        let Some((host, after)) = rest.split_once(']') else {
            return Err("the IPv6 address in the URL lacks its closing ']'".into());
        };
        match after {
            "" => (host, None),
            _ => match after.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None => return Err(format!("unexpected '{after}' after the IPv6 address")),
            },
        }
    } else {
        match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        }
    };
    if host.is_empty() {
        return Err("the URL names no host; write ws://127.0.0.1:9001/".into());
    }
    let port = match port {
        None => None,
        Some(text) => match text.parse::<u16>() {
            Ok(port) if port > 0 => Some(port),
            _ => return Err(format!("'{text}' is not a port between 1 and 65535")),
        },
    };
    Ok((host, port))
}

/// Reads `9001-9004` or `9001,9003`.
///
/// # Errors
/// One sentence naming the part that cannot be read.
pub fn parse_ports(text: &str) -> Result<Vec<u16>, String> {
    let number = |text: &str| match text.trim().parse::<u16>() {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(format!(
            "'{text}' is not a port between 1 and 65535; write 9001-9004 or 9001,9003"
        )),
    };
    let mut ports = Vec::new();
    for part in text.split(',') {
        match part.split_once('-') {
            None => ports.push(number(part)?),
            Some((first, last)) => {
                let (first, last) = (number(first)?, number(last)?);
                if first > last {
                    return Err(format!("'{part}' runs backwards"));
                }
                ports.extend(first..=last);
            }
        }
    }
    Ok(ports)
}

/// Expands `127.0.0.0/28,10.0.0.7` into addresses to connect from.
///
/// Every address of a block is used except the network address of an IPv4 block wider than a
/// `/31`, and its broadcast address, which cannot be bound (outside of loopback).
///
/// # Errors
/// One sentence naming the part that cannot be read.
pub fn parse_sources(text: &str) -> Result<Vec<IpAddr>, String> {
    let mut sources = Vec::new();
    for part in text
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
    {
        let (address, prefix) = match part.split_once('/') {
            None => (part, None),
            Some((address, prefix)) => (address, Some(prefix)),
        };
        let address: IpAddr = address.parse().map_err(|_| {
            format!("'{address}' is not an address; write 127.0.0.0/28 or 10.0.0.7")
        })?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => bits,
            Some(text) => match text.parse::<u32>() {
                Ok(prefix) if prefix <= bits => prefix,
                _ => {
                    return Err(format!(
                        "'/{text}' is not a prefix length between 0 and {bits}"
                    ));
                }
            },
        };
        expand(address, bits - prefix, &mut sources);
    }
    if sources.is_empty() {
        return Err("no source address given; write for example 127.0.0.0/28".into());
    }
    Ok(sources)
}

fn expand(address: IpAddr, host_bits: u32, sources: &mut Vec<IpAddr>) {
    let block = 1u128.checked_shl(host_bits).unwrap_or(u128::MAX);
    let wide_v4 = address.is_ipv4() && host_bits >= 2;
    let (first, end) = if wide_v4 { (1, block - 1) } else { (0, block) };
    let room = SOURCES_MAX.saturating_sub(sources.len()) as u128;
    for offset in first..end.min(first + room) {
        sources.push(match address {
            IpAddr::V4(address) => {
                let network = u128::from(u32::from(address)) & !(block - 1);
                // The sum stays inside the block, hence inside 32 bits.
                IpAddr::V4(Ipv4Addr::from((network + offset) as u32))
            }
            IpAddr::V6(address) => {
                let network = u128::from(address) & !(block - 1);
                IpAddr::V6(Ipv6Addr::from(network + offset))
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let target = Target::parse("ws://localhost:9001/chat?room=1").expect("valid");
        assert_eq!((target.host.as_str(), target.port), ("localhost", 9001));
        assert_eq!(target.request_target, "/chat?room=1");
        assert_eq!(target.host_header(), "localhost:9001");
        let plain = Target::parse("ws://example.org").expect("valid");
        assert_eq!((plain.port, plain.request_target.as_str()), (80, "/"));
        assert_eq!(plain.host_header(), "example.org");
        let query = Target::parse("WS://h?x=1").expect("valid");
        assert_eq!(query.request_target, "/?x=1");
        let six = Target::parse("ws://[::1]:9001/").expect("valid");
        assert_eq!(
            (six.host.as_str(), six.host_header().as_str()),
            ("::1", "[::1]:9001")
        );
    }

    #[test]
    fn secured_urls() {
        let target = Target::parse("wss://example.org/feed").expect("valid");
        assert!(target.is_secured);
        assert_eq!(
            (target.port, target.host_header()),
            (443, "example.org".into())
        );
        let plain_port = Target::parse("WSS://example.org:80/").expect("valid");
        assert_eq!(plain_port.host_header(), "example.org:80");
        assert!(
            !Target::parse("ws://example.org:443/")
                .expect("valid")
                .is_secured
        );
    }

    #[test]
    fn further_ports() {
        assert_eq!(parse_ports("9001-9004"), Ok(vec![9001, 9002, 9003, 9004]));
        assert_eq!(parse_ports("9001,9003"), Ok(vec![9001, 9003]));
        for wrong in ["", "0", "9004-9001", "70000", "a-b"] {
            assert!(parse_ports(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn wrong_urls_name_the_cure() {
        for (url, word) in [
            ("127.0.0.1:9001", "ws://"),
            ("http://a/", "ws://"),
            ("https://a/", "wss://"),
            ("ftp://a/", "wss://"),
            ("ws://", "no host"),
            ("ws://a:0/", "port"),
            ("ws://a:99999/", "port"),
            ("ws://a/#x", "fragment"),
            ("ws://[::1/", "']'"),
            ("ws://u:p@a/", "Authorization"),
            ("ws://a/b c", "percent-encode"),
        ] {
            let error = Target::parse(url).expect_err(url);
            assert!(error.contains(word), "{url}: {error}");
        }
    }

    #[test]
    fn source_blocks() {
        let sources = parse_sources("127.0.0.0/28").expect("valid");
        assert_eq!(sources.len(), 14);
        assert_eq!(
            sources.first(),
            Some(&"127.0.0.1".parse().expect("address"))
        );
        assert_eq!(
            sources.last(),
            Some(&"127.0.0.14".parse().expect("address"))
        );
        assert_eq!(parse_sources("10.0.0.7").expect("valid").len(), 1);
        assert_eq!(
            parse_sources("10.0.0.7/31,10.1.0.1").expect("valid").len(),
            3
        );
        assert_eq!(parse_sources("fd00::/126").expect("valid").len(), 4);
        assert_eq!(
            parse_sources("127.0.0.0/8").expect("valid").len(),
            SOURCES_MAX
        );
        assert_eq!(parse_sources("::/0").expect("valid").len(), SOURCES_MAX);
        for wrong in ["", "127.0.0.0/33", "a/8", "127.0.0.1/x"] {
            assert!(parse_sources(wrong).is_err(), "{wrong:?}");
        }
    }
}
