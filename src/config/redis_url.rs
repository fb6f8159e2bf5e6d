//! Where Redis is, as one line: which kind of deployment, which hosts, encrypted or not. Nothing of it is ever quoted, since
//! a password may stand in it.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use secrecy::SecretString;

const REDIS_PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

/// A parsed URL. `Debug` shows no password.
#[derive(Clone, Debug)]
pub struct RedisUrl {
    pub deployment: Deployment,
    pub tls: bool,
    pub username: Option<String>,
    pub password: Option<SecretString>,
}

/// How Redis is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deployment {
    StandAlone(Host),
    /// The hosts are sentinels, which know where the service's primary is.
    Sentinel {
        hosts: Vec<Host>,
        service: String,
    },
    /// Some of its nodes; these know the others.
    Cluster(Vec<Host>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// A name or an address; of IPv6 without brackets.
    pub name: String,
    pub port: u16,
}

/// Why a text is no URL of Redis. Quotes nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotARedisUrl(pub &'static str);

/// What would be right.
pub const REDIS_URL_FORMS: &str = "rediss://host:6379, rediss-sentinel://host:26379,host:26379/service, \
     or rediss-cluster://host:6379,host:6379 (redis… without TLS)";

impl RedisUrl {
    /// All hosts that are named.
    pub fn hosts(&self) -> &[Host] {
        match &self.deployment {
            Deployment::StandAlone(host) => std::slice::from_ref(host),
            Deployment::Sentinel { hosts, .. } | Deployment::Cluster(hosts) => hosts,
        }
    }
}

impl Host {
    /// Whether it can only be this machine.
    pub fn is_loopback(&self) -> bool {
        self.name == "localhost" || self.name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }

    fn parse(text: &str, default_port: u16) -> Result<Self, NotARedisUrl> {
        let (name, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (name, port) = rest.split_once(']').ok_or(NotARedisUrl("an address in brackets does not end"))?;
                (name, port.strip_prefix(':').or((port.is_empty()).then_some("")).ok_or(NotARedisUrl(NO_PORT))?)
            }
            None => text.split_once(':').unwrap_or((text, "")),
        };
        let port = match port {
            "" => default_port,
            port => port.parse().ok().filter(|port| *port > 0).ok_or(NotARedisUrl(NO_PORT))?,
        };
        let is_name = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '-' | '_' | ':');
        if name.is_empty() || !name.chars().all(is_name) {
            return Err(NotARedisUrl("a host is missing, or is no name"));
        }
        Ok(Self { name: name.to_owned(), port })
    }
}

const NO_PORT: &str = "a port is no number from 1 to 65535";

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.contains(':') {
            write!(f, "[{}]:{}", self.name, self.port)
        } else {
            write!(f, "{}:{}", self.name, self.port)
        }
    }
}

impl FromStr for RedisUrl {
    type Err = NotARedisUrl;

    fn from_str(text: &str) -> Result<Self, NotARedisUrl> {
        let (scheme, rest) =
            text.split_once("://").ok_or(NotARedisUrl("it does not start with redis:// or rediss://"))?;
        let (tls, kind) = match scheme.strip_prefix("rediss") {
            Some(kind) => (true, kind),
            None => (
                false,
                scheme.strip_prefix("redis").ok_or(NotARedisUrl("it does not start with redis:// or rediss://"))?,
            ),
        };
        // The last one: what a password has of it must be written %40, but often is not.
        let (credentials, place) = match rest.rsplit_once('@') {
            Some((credentials, place)) => (Some(credentials), place),
            None => (None, rest),
        };
        if place.contains(['?', '#']) {
            return Err(NotARedisUrl("options in the URL are not known"));
        }
        let (hosts, path) = place.split_once('/').unwrap_or((place, ""));
        let default_port = if kind == "-sentinel" { SENTINEL_PORT } else { REDIS_PORT };
        let mut hosts = hosts.split(',').map(|host| Host::parse(host, default_port)).collect::<Result<Vec<_>, _>>()?;
        let deployment = match (kind, path) {
            ("", "" | "0") if hosts.len() == 1 => Deployment::StandAlone(hosts.remove(0)),
            ("", "" | "0") => return Err(NotARedisUrl("several hosts: is it a cluster, or are they sentinels?")),
            ("-cluster", "" | "0") => Deployment::Cluster(hosts),
            ("" | "-cluster", _) => return Err(NotARedisUrl("a database other than 0; keys have a prefix instead")),
            ("-sentinel", "") => return Err(NotARedisUrl("the name of the service is missing, behind the sentinels")),
            ("-sentinel", service) => Deployment::Sentinel { hosts, service: decoded(service)? },
            _ => return Err(NotARedisUrl("such a deployment is not known")),
        };
        let (username, password) = match credentials.map(|pair| pair.split_once(':').unwrap_or((pair, ""))) {
            None => (None, None),
            Some((username, password)) => (some(decoded(username)?), some(decoded(password)?).map(SecretString::from)),
        };
        Ok(Self { deployment, tls, username, password })
    }
}

fn some(text: String) -> Option<String> {
    if text.is_empty() { None } else { Some(text) }
}

/// Without `%xx`.
fn decoded(text: &str) -> Result<String, NotARedisUrl> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let digit = |digit: Option<u8>| char::from(digit?).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        bytes.push(match byte {
            b'%' => match (digit(rest.next()), digit(rest.next())) {
                (Some(high), Some(low)) => high << 4 | low,
                _ => return Err(NotARedisUrl("a % stands alone: write it %25")),
            },
            byte => byte,
        });
    }
    String::from_utf8(bytes).or(Err(NotARedisUrl("not text (UTF-8)")))
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    fn host(name: &str, port: u16) -> Host {
        Host { name: name.to_owned(), port }
    }

    fn wrong(text: &str) -> &'static str {
        text.parse::<RedisUrl>().unwrap_err().0
    }

    #[test]
    fn each_deployment_has_its_form() {
        let url: RedisUrl = "redis://127.0.0.1".parse().unwrap();
        assert_eq!((url.deployment, url.tls), (Deployment::StandAlone(host("127.0.0.1", 6379)), false));
        let url: RedisUrl = "rediss://[::1]:7000/0".parse().unwrap();
        assert_eq!((url.deployment, url.tls), (Deployment::StandAlone(host("::1", 7000)), true));
        let url: RedisUrl = "rediss-sentinel://a:1,b/my%20service".parse().unwrap();
        let hosts = vec![host("a", 1), host("b", 26379)];
        assert_eq!(url.deployment, Deployment::Sentinel { hosts, service: "my service".into() });
        let url: RedisUrl = "redis-cluster://a,b:2,[::1]".parse().unwrap();
        assert_eq!(url.hosts(), [host("a", 6379), host("b", 2), host("::1", 6379)]);
        assert_eq!(url.hosts()[2].to_string(), "[::1]:6379");
    }

    #[test]
    fn a_password_is_taken_and_never_shown() {
        let url: RedisUrl = "redis://me:p%40s@s%3Aword@host".parse().unwrap();
        assert_eq!(url.username.as_deref(), Some("me"));
        assert_eq!(url.password.as_ref().unwrap().expose_secret(), "p@s@s:word");
        assert!(!format!("{url:?}").contains("p@s"));
        let url: RedisUrl = "redis://:secret@host".parse().unwrap();
        assert!(url.username.is_none());
        assert_eq!(url.password.unwrap().expose_secret(), "secret");
    }

    #[test]
    fn what_is_wrong_is_said_without_quoting() {
        insta::assert_snapshot!(wrong("host:6379"), @"it does not start with redis:// or rediss://");
        insta::assert_snapshot!(wrong("http://host"), @"it does not start with redis:// or rediss://");
        insta::assert_snapshot!(wrong("redis-ring://host"), @"such a deployment is not known");
        insta::assert_snapshot!(wrong("redis://a,b"), @"several hosts: is it a cluster, or are they sentinels?");
        insta::assert_snapshot!(wrong("redis://"), @"a host is missing, or is no name");
        insta::assert_snapshot!(wrong("redis://a b"), @"a host is missing, or is no name");
        insta::assert_snapshot!(wrong("redis://a:0"), @"a port is no number from 1 to 65535");
        insta::assert_snapshot!(wrong("redis://[::1]6379"), @"a port is no number from 1 to 65535");
        insta::assert_snapshot!(wrong("redis://[::1"), @"an address in brackets does not end");
        insta::assert_snapshot!(wrong("redis://a/1"), @"a database other than 0; keys have a prefix instead");
        insta::assert_snapshot!(wrong("redis-sentinel://a"), @"the name of the service is missing, behind the sentinels");
        insta::assert_snapshot!(wrong("redis://a?node=b"), @"options in the URL are not known");
        insta::assert_snapshot!(wrong("redis://me:5%@a"), @"a % stands alone: write it %25");
    }

    #[test]
    fn only_this_machine_is_loopback() {
        for (name, is_loopback) in
            [("localhost", true), ("127.0.0.2", true), ("::1", true), ("10.0.0.1", false), ("localhost.example", false)]
        {
            assert_eq!(host(name, 1).is_loopback(), is_loopback, "{name}");
        }
    }
}
