//! Which addresses may be asked. A discovery document, a setting or a name that resolves anew must not turn this service
//! into a way to what only it can reach: metadata services, databases, its own ports.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper_util::client::legacy::connect::dns::Name;
use tower::Service;
use url::{Host, Url};

/// How far requests may reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// Public addresses only, encrypted.
    Public,
    /// Private ones too, and clear text on loopback: the operator said so.
    Private,
}

/// The address is not one that may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an address that must not be asked")]
pub(super) struct OutOfReach;

impl Reach {
    /// What the URL itself says, before any name is resolved. `url` has brought the host into one form by now, so that
    /// `0x7f.1` and `[::ffff:7f00:1]` are seen for what they are.
    pub(super) fn judge(self, url: &Url) -> Result<(), OutOfReach> {
        let is_plain = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
        let (allows_host, is_loopback) = match url.host() {
            Some(Host::Ipv4(address)) => (self.allows(address.into()), address.is_loopback()),
            Some(Host::Ipv6(address)) => (self.allows(address.into()), address.is_loopback()),
            Some(Host::Domain(name)) => {
                let is_loopback = is_localhost(name);
                (self == Self::Private || !is_loopback, is_loopback)
            }
            None => (false, false),
        };
        let is_safe_scheme = match url.scheme() {
            "https" => true,
            "http" => self == Self::Private && is_loopback,
            _ => false,
        };
        if is_plain && allows_host && is_safe_scheme { Ok(()) } else { Err(OutOfReach) }
    }

    /// Not even a private network is asked at link-local addresses, where clouds hand out credentials.
    pub(super) fn allows(self, address: IpAddr) -> bool {
        match self {
            Self::Public => is_public(address),
            Self::Private => is_public(address) || is_private(address.to_canonical()),
        }
    }

    /// Of what a name resolved to, what may be asked. It is these very addresses that are connected to: the name is not
    /// resolved again, so that nobody who answers for it can say one thing to us and another to the connection.
    fn within(self, found: Vec<SocketAddr>) -> io::Result<Vec<SocketAddr>> {
        let any = !found.is_empty();
        let within: Vec<SocketAddr> = found.into_iter().filter(|found| self.allows(found.ip())).collect();
        if any && within.is_empty() { Err(io::Error::other(OutOfReach)) } else { Ok(within) }
    }
}

fn is_localhost(name: &str) -> bool {
    let name = name.trim_end_matches('.');
    name == "localhost" || name.ends_with(".localhost")
}

fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_private() || is_shared(v4),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local(),
    }
}

/// Of carriers, behind which others live (RFC 6598).
fn is_shared(address: Ipv4Addr) -> bool {
    let [first, second, ..] = address.octets();
    first == 100 && second & 0xc0 == 64
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

/// The special registry of IANA, without what is globally reachable.
fn is_public_v4(address: Ipv4Addr) -> bool {
    let special = match address.octets() {
        [172, second, ..] => (16..32).contains(&second),
        // Protocol assignments, documentation, the relays of 6to4; then benchmarks.
        [0 | 10 | 127, ..]
        | [169, 254, ..]
        | [192, 168, ..]
        | [192, 0, 0 | 2, _]
        | [192, 88, 99, _]
        | [198, 51, 100, _]
        | [203, 0, 113, _]
        | [198, 18 | 19, ..] => true,
        // Multicast, reserved, broadcast.
        [first, ..] => first >= 224,
    };
    !special && !is_shared(address)
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    let embedded = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match segments {
        // Mapped IPv4 (RFC 4291), NAT64 under its well-known prefix (RFC 6052), 6to4 (RFC 3056): judged by what is inside.
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => {
            is_public_v4(embedded(high, low))
        }
        // Protocol assignments with Teredo among them, documentation.
        [0x2001, second, ..] if second < 0x200 || second == 0xdb8 => false,
        [0x3fff, second, ..] if second < 0x1000 => false,
        // Global unicast is all there is beside these.
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

/// Resolves names to addresses within reach. What it answers is what is connected to: nothing resolves a second time.
#[derive(Clone, Copy)]
pub(super) struct Resolver {
    pub(super) reach: Reach,
}

type Resolving = Pin<Box<dyn Future<Output = io::Result<std::vec::IntoIter<SocketAddr>>> + Send>>;

impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Resolving;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Resolving {
        let reach = self.reach;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            Ok(reach.within(found)?.into_iter())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(reach: Reach, url: &str) -> bool {
        Url::parse(url).is_ok_and(|url| reach.judge(&url).is_ok())
    }

    #[test]
    fn only_public_addresses_are_asked() {
        for url in [
            "https://accounts.google.com/x",
            "https://8.8.8.8/",
            "https://[2606:4700::1111]/",
            "https://[64:ff9b::808:808]/",
            "https://[::ffff:8.8.8.8]/",
        ] {
            assert!(judged(Reach::Public, url), "{url}");
        }
        for host in [
            "127.0.0.1",
            "0x7f.1",
            "2130706433",
            "0177.0.0.1",
            "127.1",
            "0.0.0.0",
            "0",
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "100.127.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.88.99.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "[::]",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "[::ffff:a9fe:a9fe]",
            "[::127.0.0.1]",
            "[64:ff9b::7f00:1]",
            "[64:ff9b::a9fe:a9fe]",
            "[64:ff9b:1::1]",
            "[2002:7f00:1::]",
            "[2001::1]",
            "[2001:db8::1]",
            "[3fff::1]",
            "[fe80::1]",
            "[fec0::1]",
            "[fc00::1]",
            "[fd12::1]",
            "[ff02::1]",
            "[100::1]",
            "localhost",
            "LOCALHOST",
            "localhost.",
            "a.localhost",
        ] {
            assert!(!judged(Reach::Public, &format!("https://{host}/")), "{host}");
            assert!(!judged(Reach::Public, &format!("http://{host}:6379/")), "{host}");
        }
        for url in [
            "http://accounts.google.com/",
            "ftp://accounts.google.com/",
            "file:///etc/passwd",
            "https://a:b@example.com/",
            "https://a@example.com/",
            "https://example.com/#x",
            "gopher://example.com",
            "data:text/plain,x",
            "unix:/run/x",
        ] {
            assert!(!judged(Reach::Public, url), "{url}");
        }
    }

    #[test]
    fn a_private_network_is_asked_where_the_operator_said_so() {
        for url in [
            "http://127.0.0.1:8080/",
            "http://localhost/",
            "http://[::1]/",
            "https://10.0.0.1/",
            "https://[fd12::1]/",
            "https://sso.internal/",
            "https://100.64.0.1/",
        ] {
            assert!(judged(Reach::Private, url), "{url}");
        }
        for url in [
            "http://10.0.0.1/",
            "http://sso.internal/",
            "https://169.254.169.254/",
            "https://[fe80::1]/",
            "https://0.0.0.0/",
            "https://[::ffff:169.254.169.254]/",
            "https://224.0.0.1/",
            "https://[64:ff9b::7f00:1]/",
        ] {
            assert!(!judged(Reach::Private, url), "{url}");
        }
    }

    /// Row 125: whoever answers for a name may say anything, each time something else.
    #[test]
    fn a_name_that_rebinds_leads_to_nothing_inside() {
        let within = |reach: Reach, texts: &[&str]| {
            let found = texts.iter().map(|text| SocketAddr::new(text.parse().unwrap(), 0)).collect();
            let within = reach.within(found);
            within.map(|all| all.iter().map(|one| one.ip().to_string()).collect::<Vec<_>>())
        };
        assert_eq!(within(Reach::Public, &["8.8.8.8", "2606:4700::1111"]).unwrap(), ["8.8.8.8", "2606:4700::1111"]);
        assert_eq!(within(Reach::Public, &["127.0.0.1", "8.8.8.8", "::1", "169.254.169.254"]).unwrap(), ["8.8.8.8"]);
        for inside in ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "::ffff:127.0.0.1", "fd12::1", "0.0.0.0"] {
            let refused = within(Reach::Public, &[inside]).unwrap_err();
            assert!(refused.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<OutOfReach>), "{inside}");
        }
        assert_eq!(within(Reach::Private, &["169.254.169.254", "10.0.0.1", "fe80::1"]).unwrap(), ["10.0.0.1"]);
        within(Reach::Private, &["169.254.169.254", "::ffff:169.254.169.254"]).unwrap_err();
        assert!(within(Reach::Public, &[]).unwrap().is_empty(), "a name of nobody is no secret");
    }

    #[tokio::test]
    async fn names_are_held_to_the_same() {
        let name = || "localhost".parse::<Name>().unwrap();
        let refused = Resolver { reach: Reach::Public }.call(name()).await.unwrap_err();
        assert!(refused.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<OutOfReach>));
        let found = Resolver { reach: Reach::Private }.call(name()).await.unwrap();
        assert!(found.into_iter().all(|address| address.ip().is_loopback()));
    }
}
