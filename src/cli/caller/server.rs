//! A server's address as a person writes it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::str::FromStr;

use http::Uri;

use crate::cli::failure::Failure;

const DEFAULT_PORT: u16 = 7301;

/// `http://HOST:PORT` or `https://HOST:PORT`, in one spelling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Server {
    url: String,
    /// Without the brackets of an IPv6 address.
    host: String,
    port: u16,
    is_encrypted: bool,
}

impl Server {
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) const fn is_encrypted(&self) -> bool {
        self.is_encrypted
    }

    pub(super) fn is_on_this_machine(&self) -> bool {
        self.host == "localhost" || self.host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
    }

    /// The address of this machine that the server sees. Connecting a datagram socket sends nothing.
    pub(super) fn own_address(&self) -> Option<IpAddr> {
        let wildcards = [IpAddr::from(Ipv4Addr::UNSPECIFIED), IpAddr::from(Ipv6Addr::UNSPECIFIED)];
        wildcards.into_iter().find_map(|wildcard| {
            let socket = UdpSocket::bind((wildcard, 0)).ok()?;
            socket.connect((self.host.as_str(), self.port)).ok()?;
            Some(socket.local_addr().ok()?.ip())
        })
    }
}

impl FromStr for Server {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        let refused = |why: &str| {
            Failure::local(format!("--server {}: {why}", text.escape_debug()))
                .advise("Write it as http://127.0.0.1:7301")
        };
        let full = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let uri: Uri = full.parse().map_err(|_not_a_uri| refused("not an address"))?;
        let is_encrypted = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(refused("not an http or https address")),
        };
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(refused("an address has no path"));
        }
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err(refused("an address has no user in it"));
        }
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(|| refused("no host"))?.to_lowercase();
        let port = uri.port_u16().unwrap_or(DEFAULT_PORT);
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(&host).to_owned();
        let scheme = if is_encrypted { "https" } else { "http" };
        Ok(Self { url: format!("{scheme}://{host}:{port}"), host: bare, port, is_encrypted })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_one_spelling() {
        for (text, url) in [
            ("http://127.0.0.1:7301", "http://127.0.0.1:7301"),
            ("http://127.0.0.1:7301/", "http://127.0.0.1:7301"),
            ("LOCALHOST", "http://localhost:7301"),
            ("auth.internal:99", "http://auth.internal:99"),
            ("http://[::1]:7301", "http://[::1]:7301"),
            ("https://Auth.internal", "https://auth.internal:7301"),
        ] {
            assert_eq!(text.parse::<Server>().unwrap().url(), url, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_asked_is_refused() {
        for text in ["", "ftp://a", "http://a/b", "http://u:p@a", "http://a?b", "a b", "\u{1b}"] {
            assert!(text.parse::<Server>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn loopback_is_this_machine() {
        for (text, here) in [("127.0.0.9", true), ("[::1]", true), ("localhost", true), ("10.0.0.1", false)] {
            assert_eq!(text.parse::<Server>().unwrap().is_on_this_machine(), here, "{text}");
        }
        assert_eq!("127.0.0.1:7301".parse::<Server>().unwrap().own_address(), Some(IpAddr::from([127, 0, 0, 1])));
    }
}
