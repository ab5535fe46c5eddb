//! Addresses that belong together.

use serde::{Deserialize, Deserializer, de};
use std::net::IpAddr;
use std::str::FromStr;

/// An address and how many of its first bits count: `10.0.0.0/8`, `fd00::/8`, or a lone address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    base: u128,
    /// Of the address as IPv6.
    bits: u32,
}

/// Of IPv6, whoever has one address has 2⁶⁴ of them.
const ONES_OWN_BITS: u32 = 64;
/// An IPv4 address stands at the end of an IPv6 one.
const MAPPED_BITS: u32 = 96;

/// What an address is counted under: itself, or the network of 64 bits that an IPv6 one is in.
pub fn place(ip: IpAddr) -> u128 {
    match ip.to_canonical() {
        ip @ IpAddr::V4(_) => number(ip),
        ip @ IpAddr::V6(_) => first(number(ip), ONES_OWN_BITS),
    }
}

fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().to_bits(),
        IpAddr::V6(ip) => ip.to_bits(),
    }
}

fn first(number: u128, bits: u32) -> u128 {
    number & u128::MAX.checked_shl(u128::BITS - bits).unwrap_or(0)
}

impl Network {
    pub fn holds(&self, ip: IpAddr) -> bool {
        first(number(ip), self.bits) == self.base
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is neither an IP address nor a network like 10.0.0.0/8");
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length.parse::<u32>().map_err(|_| wrong())?)),
            None => (text, None),
        };
        let ip: IpAddr = address.parse().map_err(|_| wrong())?;
        let offset = if ip.is_ipv4() { MAPPED_BITS } else { 0 };
        let bits = length.map_or(u128::BITS, |length| length.saturating_add(offset));
        if bits > u128::BITS {
            return Err(wrong());
        }
        Ok(Network { base: first(number(ip), bits), bits })
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_holds_what_begins_alike() {
        let holds = |network: &str, ip: &str| network.parse::<Network>().unwrap().holds(ip.parse().unwrap());
        assert!(holds("127.0.0.0/8", "127.255.0.1") && !holds("127.0.0.0/8", "128.0.0.1"));
        assert!(holds("10.1.2.3/16", "10.1.9.9"), "what comes after the bits does not count");
        assert!(holds("192.0.2.7", "192.0.2.7") && !holds("192.0.2.7", "192.0.2.6"));
        assert!(holds("192.0.2.7", "::ffff:192.0.2.7"), "as a dual listener sees it");
        assert!(holds("fd00::/8", "fd12::1") && !holds("fd00::/8", "fe80::1"));
        assert!(holds("::1", "::1") && !holds("::1", "::2"));
        assert!(holds("0.0.0.0/0", "8.8.8.8") && !holds("0.0.0.0/0", "2001:db8::1"));
        assert!(holds("::/0", "2001:db8::1"));
    }

    #[test]
    fn what_is_no_network_is_said_so() {
        for text in ["", "/8", "10.0.0.0/", "10.0.0.0/33", "::/129", "10.0.0/8", "localhost", "10.0.0.0/-1"] {
            assert!(text.parse::<Network>().unwrap_err().contains(&format!("`{text}`")), "{text}");
        }
    }
}
