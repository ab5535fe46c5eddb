//! The guard against DNS rebinding that Ollama has for itself, and that a proxy disarms by calling it
//! under its own name: a page of another site must not reach a Pannier that listens on loopback.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

/// Which names of this server are believed.
pub struct Hosts {
    /// Only a loopback listener needs the guard; another one is meant to be reached under any name.
    guarded: bool,
    own: String,
}

impl Hosts {
    pub fn new(listen: SocketAddr) -> Self {
        let own = std::fs::read_to_string("/proc/sys/kernel/hostname")
            .or_else(|_| std::env::var("HOSTNAME").map_err(std::io::Error::other));
        Hosts { guarded: listen.ip().is_loopback(), own: own.unwrap_or_default().trim().to_lowercase() }
    }

    /// Whether a request that calls this server `host` (a `Host` field) may come in. `allowed` are the
    /// operator's own names.
    pub fn admit(&self, host: &[u8], allowed: &[String]) -> bool {
        if !self.guarded {
            return true;
        }
        let Ok(host) = std::str::from_utf8(host) else { return false };
        let name = without_port(host);
        match name.parse::<IpAddr>() {
            Ok(ip) => is_near(ip),
            Err(_) => self.is_own_name(&name.to_lowercase(), allowed),
        }
    }

    fn is_own_name(&self, name: &str, allowed: &[String]) -> bool {
        let below = |domain: &str| name.strip_suffix(domain).is_some_and(|before| before.ends_with('.'));
        name.is_empty()
            || name == "localhost"
            || name == self.own
            || ["localhost", "local", "internal"].into_iter().any(below)
            || allowed.iter().any(|allowed| match allowed.to_lowercase().as_str() {
                "*" => true,
                allowed => allowed.strip_prefix("*.").map_or(name == allowed, below),
            })
    }
}

fn without_port(host: &str) -> &str {
    if let Some(bracketed) = host.strip_prefix('[') {
        return bracketed.split_once(']').map_or(host, |(inside, _)| inside);
    }
    match host.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') && port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

fn is_many(ip: IpAddr) -> bool {
    ip.is_multicast() || ip == IpAddr::V4(Ipv4Addr::BROADCAST)
}

/// Loopback, private, unspecified, or an address of this machine's own.
fn is_near(ip: IpAddr) -> bool {
    let near = match ip.to_canonical() {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_private() || ip.is_unspecified(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unspecified(),
    };
    // Only one's own addresses can be bound.
    near || !is_many(ip) && UdpSocket::bind((ip, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_ollama_believes() {
        let hosts = Hosts::new("127.0.0.1:8000".parse().unwrap());
        for host in [
            "",
            "localhost",
            "LOCALHOST:8000",
            "127.0.0.1:8000",
            "[::1]:8000",
            "192.168.1.7",
            "10.0.0.1:1",
            "0.0.0.0",
            "my.localhost",
            "box.local",
            "llm.internal:80",
        ] {
            assert!(hosts.admit(host.as_bytes(), &[]), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "notlocal",
            "xlocalhost",
            "203.0.113.9",
            "1.1.1.1:80",
            "\u{e9}",
        ] {
            assert!(!hosts.admit(host.as_bytes(), &[]), "{host}");
        }
        assert!(!hosts.admit(b"\xff", &[]));
    }

    #[test]
    fn names_that_the_operator_adds() {
        let hosts = Hosts::new("[::1]:8000".parse().unwrap());
        let allowed = ["llm.example.org".to_string(), "*.lab.example".to_string()];
        assert!(hosts.admit(b"LLM.example.org:443", &allowed));
        assert!(hosts.admit(b"a.lab.example", &allowed));
        assert!(!hosts.admit(b"lab.example", &allowed));
        assert!(hosts.admit(b"any.thing", &["*".to_string()]));
        assert!(Hosts::new("0.0.0.0:8000".parse().unwrap()).admit(b"any.thing", &[]));
    }
}
