//! Where Ollama is: the text of `OLLAMA_HOST`, read as Ollama itself reads it.

use serde::{Deserialize, Deserializer, de};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The port of an Ollama that says nothing else.
const OLLAMA_PORT: u16 = 11434;

/// A scheme, a host, a port, and the path under which Ollama's routes begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    pub scheme: Scheme,
    /// A name or an IP address without brackets; empty where only a port was written.
    pub host: String,
    pub port: u16,
    /// Empty, or a slash and a text that does not end in one: to stand before every path.
    pub base_path: String,
    /// What was written where a port should be and is none. Ollama takes the default one then, and
    /// says so in its log.
    pub unreadable_port: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    Http,
    Https,
}

/// Why a text is no address. Shows nothing of the text but the scheme, since a password may stand in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    #[error("unknown scheme `{0}`, expected `http` or `https`")]
    UnknownScheme(String),
    #[error("not a host: expected a name or an IP address, perhaps with a port, and no user or password")]
    NotAHost,
}

// === impl Address ===

impl Address {
    /// What `OLLAMA_HOST` means to a server that binds it: `envconfig.Host` of Ollama 0.34.
    ///
    /// What Ollama lets pass and then fails to dial is refused here: a scheme other than http and https, and
    /// a host that cannot be one. So are a user and a password, which an Ollama never asks for.
    pub fn parse(text: &str) -> Result<Address, AddressError> {
        let text = text.trim().trim_matches(['"', '\'']).trim();
        let (scheme, default_port, rest) = match text.split_once("://") {
            None if text == "ollama.com" => (Scheme::Https, 443, text),
            None => (Scheme::Http, OLLAMA_PORT, text),
            Some(("http", rest)) => (Scheme::Http, 80, rest),
            Some(("https", rest)) => (Scheme::Https, 443, rest),
            Some((other, _)) => return Err(AddressError::UnknownScheme(other.to_owned())),
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        if authority.contains('@') {
            return Err(AddressError::NotAHost);
        }
        let (host, port) = match split_host_port(authority) {
            Some((host, port)) => (host.to_owned(), Some(port)),
            None => (lone_host(authority), None),
        };
        if !is_host(&host) {
            return Err(AddressError::NotAHost);
        }
        let readable = port.and_then(read_port);
        let path = path.trim_matches('/');
        Ok(Address {
            scheme,
            host,
            port: readable.unwrap_or(default_port),
            base_path: if path.is_empty() { String::new() } else { format!("/{path}") },
            unreadable_port: port.filter(|_| readable.is_none()).map(str::to_owned),
        })
    }

    /// What it means to a client: an address that can be bound but not dialled (`0.0.0.0`, `::`, none)
    /// becomes the loopback one.
    pub fn connectable(mut self) -> Address {
        let loopback = match self.host.parse() {
            Ok(IpAddr::V4(address)) if address.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            Ok(IpAddr::V6(address)) if address.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            Err(_) if self.host.is_empty() => IpAddr::from(Ipv4Addr::LOCALHOST),
            _ => return self,
        };
        self.host = loopback.to_string();
        self
    }

    /// Whether whoever dials this reaches what listens on `listen`. Of names only `localhost` is known.
    pub fn reaches(&self, listen: SocketAddr) -> bool {
        let dialled: Option<IpAddr> = match self.host.as_str() {
            "localhost" => Some(Ipv4Addr::LOCALHOST.into()),
            host => host.parse().ok(),
        };
        let (own, is_all) = (listen.ip(), listen.ip().is_unspecified());
        let is_own = |ip: IpAddr| match is_all {
            true => ip.is_loopback() && (ip.is_ipv4() || own.is_ipv6()),
            false => ip == own,
        };
        self.port == listen.port() && dialled.is_some_and(is_own)
    }

    /// `host:port`, with the brackets that an IPv6 address needs: fit for `Host` and for dialling.
    pub fn authority(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        write!(f, "{scheme}://{}{}", self.authority(), self.base_path)
    }
}

/// Read from a text, as a client: [`Address::parse`], then [`Address::connectable`].
impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Address::parse(&text).map(Address::connectable).map_err(de::Error::custom)
    }
}

/// Go's `net.SplitHostPort`; `None` where that fails.
fn split_host_port(authority: &str) -> Option<(&str, &str)> {
    let (before, port) = authority.rsplit_once(':')?;
    let host = match before.strip_prefix('[') {
        Some(bracketed) => bracketed.strip_suffix(']')?,
        None if before.contains(':') => return None,
        None => before,
    };
    let stray = |text: &str| text.contains(['[', ']']);
    (!stray(host) && !stray(port)).then_some((host, port))
}

/// The host of an authority without a port: an IP address with or without brackets, or anything else.
fn lone_host(authority: &str) -> String {
    match authority.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(address) => address.to_canonical().to_string(),
        Err(_) if authority.is_empty() => Ipv4Addr::LOCALHOST.to_string(),
        Err(_) => authority.to_owned(),
    }
}

/// Go's `strconv.ParseInt`, from 0 to 65535: a sign may stand before the digits.
fn read_port(port: &str) -> Option<u16> {
    port.parse::<i32>().ok()?.try_into().ok()
}

/// An IP address (IPv6 perhaps with a zone), or characters of which names are made. Empty is allowed:
/// any of this machine's.
fn is_host(host: &str) -> bool {
    if host.contains(':') {
        let address = host.split_once('%').map_or(host, |(address, _)| address);
        return address.parse::<Ipv6Addr>().is_ok();
    }
    host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `TestHost` of Ollama 0.34.4, envconfig/config_test.go: name, value, expected. The port that `:1234`
    /// leaves without a host is shown as Go shows it.
    const HOST: &[(&str, &str, &str)] = &[
        ("empty", "", "http://127.0.0.1:11434"),
        ("only address", "1.2.3.4", "http://1.2.3.4:11434"),
        ("only port", ":1234", "http://:1234"),
        ("address and port", "1.2.3.4:1234", "http://1.2.3.4:1234"),
        ("hostname", "example.com", "http://example.com:11434"),
        ("hostname and port", "example.com:1234", "http://example.com:1234"),
        ("zero port", ":0", "http://:0"),
        ("too large port", ":66000", "http://:11434"),
        ("too small port", ":-1", "http://:11434"),
        ("ipv6 localhost", "[::1]", "http://[::1]:11434"),
        ("ipv6 world open", "[::]", "http://[::]:11434"),
        ("ipv6 no brackets", "::1", "http://[::1]:11434"),
        ("ipv6 + port", "[::1]:1337", "http://[::1]:1337"),
        ("extra space", " 1.2.3.4 ", "http://1.2.3.4:11434"),
        ("extra quotes", "\"1.2.3.4\"", "http://1.2.3.4:11434"),
        ("extra space+quotes", " \" 1.2.3.4 \" ", "http://1.2.3.4:11434"),
        ("extra single quotes", "'1.2.3.4'", "http://1.2.3.4:11434"),
        ("http", "http://1.2.3.4", "http://1.2.3.4:80"),
        ("http port", "http://1.2.3.4:4321", "http://1.2.3.4:4321"),
        ("https", "https://1.2.3.4", "https://1.2.3.4:443"),
        ("https port", "https://1.2.3.4:4321", "https://1.2.3.4:4321"),
        ("proxy path", "https://example.com/ollama", "https://example.com:443/ollama"),
        ("ollama.com", "ollama.com", "https://ollama.com:443"),
    ];

    /// `TestConnectableHost` of the same file.
    const CONNECTABLE: &[(&str, &str, &str)] = &[
        ("empty", "", "http://127.0.0.1:11434"),
        ("localhost", "127.0.0.1", "http://127.0.0.1:11434"),
        ("localhost and port", "127.0.0.1:1234", "http://127.0.0.1:1234"),
        ("ipv4 unspecified", "0.0.0.0", "http://127.0.0.1:11434"),
        ("ipv4 unspecified + port", "0.0.0.0:1234", "http://127.0.0.1:1234"),
        ("ipv6 unspecified", "[::]", "http://[::1]:11434"),
        ("ipv6 unspecified + port", "[::]:1234", "http://[::1]:1234"),
        ("ipv6 localhost", "[::1]", "http://[::1]:11434"),
        ("ipv6 localhost + port", "[::1]:1234", "http://[::1]:1234"),
        ("specific address", "192.168.1.5", "http://192.168.1.5:11434"),
        ("specific address + port", "192.168.1.5:8080", "http://192.168.1.5:8080"),
        ("hostname", "example.com", "http://example.com:11434"),
        ("hostname and port", "example.com:1234", "http://example.com:1234"),
        ("https unspecified + port", "https://0.0.0.0:4321", "https://127.0.0.1:4321"),
        // Beyond Ollama's own table.
        ("only port", ":1234", "http://127.0.0.1:1234"),
        ("trailing slash", "http://example.com/", "http://example.com:80"),
        ("deep path", "http://example.com:81/a/b/", "http://example.com:81/a/b"),
        ("mapped ipv4", "[::ffff:1.2.3.4]", "http://1.2.3.4:11434"),
        ("zone", "[fe80::1%eth0]:1234", "http://[fe80::1%eth0]:1234"),
        ("empty port", "example.com:", "http://example.com:11434"),
    ];

    #[test]
    fn a_host_is_read_as_ollama_reads_it() {
        for (name, value, expected) in HOST {
            assert_eq!(Address::parse(value).unwrap().to_string(), *expected, "{name}");
        }
    }

    #[test]
    fn a_target_is_read_as_ollamas_clients_read_it() {
        for (name, value, expected) in CONNECTABLE {
            assert_eq!(Address::parse(value).unwrap().connectable().to_string(), *expected, "{name}");
        }
    }

    #[test]
    fn what_it_reaches_on_this_machine_is_known() {
        for (url, listen, expected) in [
            ("127.0.0.1:8000", "127.0.0.1:8000", true),
            ("localhost:8000", "127.0.0.1:8000", true),
            ("0.0.0.0:8000", "127.0.0.1:8000", true),
            ("127.0.0.1:8000", "0.0.0.0:8000", true),
            ("localhost:8000", "[::]:8000", true),
            ("[::1]:8000", "[::]:8000", true),
            ("10.0.0.1:8000", "10.0.0.1:8000", true),
            ("127.0.0.1:8001", "127.0.0.1:8000", false),
            ("10.0.0.1:8000", "0.0.0.0:8000", false),
            ("[::1]:8000", "0.0.0.0:8000", false),
            ("127.0.0.2:8000", "127.0.0.1:8000", false),
            ("localhost:8000", "[::1]:8000", false),
            ("example.com:8000", "0.0.0.0:8000", false),
        ] {
            let address = Address::parse(url).unwrap().connectable();
            assert_eq!(address.reaches(listen.parse().unwrap()), expected, "{url} {listen}");
        }
    }

    #[test]
    fn a_port_that_is_none_is_remembered() {
        let address = Address::parse("example.com:66000").unwrap();
        assert_eq!((address.port, address.unreadable_port.as_deref()), (11434, Some("66000")));
        assert_eq!(Address::parse("example.com:80").unwrap().unreadable_port, None);
    }

    #[test]
    fn what_nobody_could_dial_is_refused() {
        let refused = |text| Address::parse(text).unwrap_err();
        assert_eq!(refused("ftp://example.com"), AddressError::UnknownScheme("ftp".to_owned()));
        for text in ["http://user:hunter2@example.com", "a b", "1:2:3:x", "exämple.com", "h?x=1"] {
            assert_eq!(refused(text), AddressError::NotAHost, "{text}");
        }
    }
}
