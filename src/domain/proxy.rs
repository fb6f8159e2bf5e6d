//! Whose address a request comes from that proxies have passed on. A header says so, which anybody can write: of it only
//! what proxies of our own have added counts, and they add at its right end.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// A block of addresses (RFC 4632, section 3.1): `10.0.0.0/8`, `2001:db8::/32`, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    first: IpAddr,
    bits: u8,
}

/// No block of addresses, or one whose address is not its first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidBlock;

/// The proxies that stand in front; empty: none.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies(Vec<Block>);

impl TrustedProxies {
    pub fn new(blocks: Vec<Block>) -> Self {
        Self(blocks)
    }

    /// Whether a request that came from `peer` was passed on by one of them.
    pub fn hold(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.0.iter().any(|block| block.holds(peer))
    }

    /// The client of a request that came from `peer`, with these lines of `X-Forwarded-For`. From the right, the first address
    /// that is not a proxy's: what stands to its left, it may have written itself. An entry that is no address ends the
    /// search, and the last one before it counts.
    pub fn client<'a>(&self, peer: IpAddr, forwarded: impl DoubleEndedIterator<Item = &'a [u8]>) -> IpAddr {
        let mut client = peer.to_canonical();
        let entries = forwarded.rev().flat_map(|line| line.rsplit(|byte| *byte == b','));
        for entry in entries {
            if !self.hold(client) {
                break;
            }
            let Some(before) = address(entry) else { break };
            client = before;
        }
        client
    }
}

impl Block {
    /// `address` is canonical.
    fn holds(self, address: IpAddr) -> bool {
        match (self.first, address) {
            (IpAddr::V4(first), IpAddr::V4(address)) => start_v4(address, self.bits) == first,
            (IpAddr::V6(first), IpAddr::V6(address)) => start_v6(address, self.bits) == first,
            _ => false,
        }
    }
}

impl FromStr for Block {
    type Err = InvalidBlock;

    fn from_str(text: &str) -> Result<Self, InvalidBlock> {
        let (first, bits) = text.split_once('/').map_or((text, None), |(first, bits)| (first, Some(bits)));
        let first: IpAddr = first.parse().map_err(|_no_address| InvalidBlock)?;
        // Addresses are compared in their canonical form, so a mapped block would hold none.
        if first != first.to_canonical() {
            return Err(InvalidBlock);
        }
        let most = if first.is_ipv4() { 32 } else { 128 };
        let is_number = |bits: &&str| bits.bytes().all(|byte| byte.is_ascii_digit());
        let bits = match bits {
            None => most,
            Some(bits) => Some(bits).filter(is_number).and_then(|bits| bits.parse().ok()).ok_or(InvalidBlock)?,
        };
        let start = match first {
            IpAddr::V4(first) => IpAddr::V4(start_v4(first, bits)),
            IpAddr::V6(first) => IpAddr::V6(start_v6(first, bits)),
        };
        // `10.1.2.3/8` is more than whoever wrote it may have meant.
        if bits <= most && start == first { Ok(Self { first, bits }) } else { Err(InvalidBlock) }
    }
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.bits)
    }
}

/// The first address of the block of so many bits.
pub fn start_v4(address: Ipv4Addr, bits: u8) -> Ipv4Addr {
    let rest = 32_u32.saturating_sub(u32::from(bits));
    Ipv4Addr::from_bits(u32::MAX.checked_shl(rest).unwrap_or(0) & address.to_bits())
}

/// See above.
pub fn start_v6(address: Ipv6Addr, bits: u8) -> Ipv6Addr {
    let rest = 128_u32.saturating_sub(u32::from(bits));
    Ipv6Addr::from_bits(u128::MAX.checked_shl(rest).unwrap_or(0) & address.to_bits())
}

/// An entry's address, without the port that some proxies add.
fn address(entry: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(entry).ok()?.trim_matches([' ', '\t']);
    let bare = || text.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok().map(IpAddr::V6);
    let address = text.parse::<IpAddr>().ok().or_else(bare);
    let address = address.or_else(|| text.parse::<SocketAddr>().ok().map(|with_port| with_port.ip()))?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(trusted: &[&str], peer: &str, lines: &[&str]) -> String {
        let trusted = TrustedProxies::new(trusted.iter().map(|block| block.parse().unwrap()).collect());
        trusted.client(peer.parse().unwrap(), lines.iter().map(|line| line.as_bytes())).to_string()
    }

    #[test]
    fn only_what_proxies_added_counts() {
        let ours = ["10.0.0.0/8", "2001:db8:1::/48", "192.0.2.7"];
        for (peer, lines, expected) in [
            // From anybody else, a header is an attempt.
            ("203.0.113.1", &["198.51.100.1"][..], "203.0.113.1"),
            ("192.0.2.8", &["198.51.100.1"], "192.0.2.8"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.1"], "198.51.100.1"),
            ("::ffff:10.0.0.1", &["198.51.100.1"], "198.51.100.1"),
            // Forged by the client, to the left of what the proxy saw.
            ("10.0.0.1", &["1.1.1.1, 10.9.9.9,198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["1.1.1.1", "10.9.9.9", " 198.51.100.1 "], "198.51.100.1"),
            ("10.0.0.1", &["\u{ac00}, 198.51.100.1"], "198.51.100.1"),
            // Two proxies, in one line or in two, of both families.
            ("10.0.0.1", &["1.1.1.1, 198.51.100.1, 192.0.2.7"], "198.51.100.1"),
            ("10.0.0.1", &["1.1.1.1, 198.51.100.1", "2001:db8:1::5"], "198.51.100.1"),
            // All of them ours: a probe from within.
            ("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            // What is no address ends the search.
            ("10.0.0.1", &["198.51.100.1, unknown"], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.1, _hidden, 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", &["198.51.100.1, , 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", &["198.51.100.1", ""], "10.0.0.1"),
            ("10.0.0.1", &["010.0.0.1"], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.1%eth0"], "10.0.0.1"),
            // Forms of one address.
            ("10.0.0.1", &["198.51.100.1:4711"], "198.51.100.1"),
            ("10.0.0.1", &["[2001:db8:2::9]"], "2001:db8:2::9"),
            ("10.0.0.1", &["[2001:db8:2::9]:443"], "2001:db8:2::9"),
            ("10.0.0.1", &["2001:db8:2::9"], "2001:db8:2::9"),
            ("10.0.0.1", &["::ffff:198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["198.51.100.1, [::ffff:10.0.0.2]:80"], "198.51.100.1"),
        ] {
            assert_eq!(client(&ours, peer, lines), expected, "{peer} {lines:?}");
        }
        assert_eq!(client(&[], "10.0.0.1", &["198.51.100.1"]), "10.0.0.1");
        assert_eq!(client(&["0.0.0.0/0"], "10.0.0.1", &["198.51.100.1, 203.0.113.1"]), "198.51.100.1");
        let none = TrustedProxies::new(vec!["10.0.0.0/8".parse().unwrap()]);
        let lines = [&b"\xff, 198.51.100.1"[..], b"\xff"];
        assert_eq!(none.client("10.0.0.1".parse().unwrap(), lines.into_iter().take(1)).to_string(), "198.51.100.1");
        assert_eq!(none.client("10.0.0.1".parse().unwrap(), lines.into_iter()).to_string(), "10.0.0.1");
    }

    #[test]
    fn blocks_are_read_as_they_are_meant() {
        for (text, shown) in [
            ("10.0.0.0/8", Some("10.0.0.0/8")),
            ("10.0.0.1", Some("10.0.0.1/32")),
            ("2001:DB8::/32", Some("2001:db8::/32")),
            ("::1", Some("::1/128")),
            ("0.0.0.0/0", Some("0.0.0.0/0")),
            ("10.0.0.1/8", None),
            ("10.0.0.0/33", None),
            ("::/129", None),
            ("10.0.0.0/+8", None),
            ("10.0.0.0/", None),
            ("::ffff:10.0.0.0/104", None),
            ("proxy.internal", None),
            ("", None),
        ] {
            assert_eq!(text.parse::<Block>().ok().map(|block| block.to_string()).as_deref(), shown, "{text:?}");
        }
    }
}
