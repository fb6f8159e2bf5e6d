//! The cookies: their names, what guards them, how they are read. `__Host-` binds each to this very host, so that no
//! neighbouring subdomain can plant one (RFC 6265bis, section 4.1.3.2).

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use cookie::{Cookie, SameSite};
use http::header::{COOKIE, HeaderMap};

use crate::domain::id::ClientId;

/// As long as a flow lives.
const FLOW_TTL: Duration = Duration::from_mins(10);
/// So many sign-ins may be under way in one browser; more would fill the head of every request.
const FLOWS_MAX: usize = 8;
const FLOW_PREFIX: &str = "__Host-postern-flow-";
/// Of the hash of `state`: 96 bits, for flows of one browser.
const FLOW_HASH_CHARS: usize = 16;
/// Stands behind the client of a flow that links.
const LINK: &str = "link";

/// What a browser sent. A name that came twice counts as absent: one of the two is not ours.
pub(super) struct Jar(Vec<(String, String)>);

impl Jar {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let texts = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
        let cookies = texts.flat_map(Cookie::split_parse).filter_map(Result::ok);
        Self(cookies.map(|cookie| (cookie.name().to_owned(), cookie.value().to_owned())).collect())
    }

    fn get(&self, name: &str) -> Option<&str> {
        let mut values = self.0.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str());
        match (values.next(), values.next()) {
            (Some(value), None) if !value.is_empty() => Some(value),
            _ => None,
        }
    }

    pub(super) fn access_token(&self, client: &ClientId) -> Option<&str> {
        self.get(&access_name(client))
    }

    pub(super) fn refresh_token(&self, client: &ClientId) -> Option<&str> {
        self.get(&refresh_name(client))
    }

    /// The flow that this browser began with that state.
    pub(super) fn flow(&self, state: &str) -> Option<Flow> {
        let parts: Vec<&str> = self.get(&flow_name(state))?.split('.').collect();
        let (secret, client, purpose) = match parts.as_slice() {
            [secret, client] => (secret, client, Purpose::SignIn),
            [secret, client, LINK] => (secret, client, Purpose::Link),
            _ => return None,
        };
        let client = client.parse().ok()?;
        (!secret.is_empty()).then(|| Flow { secret: (*secret).to_owned(), client, purpose })
    }

    /// What takes the flows under way out of the browser, if they have become too many.
    pub(super) fn crowded_out(&self) -> Vec<String> {
        let flows: Vec<&String> =
            self.0.iter().map(|(name, _)| name).filter(|name| name.starts_with(FLOW_PREFIX)).collect();
        if flows.len() < FLOWS_MAX { Vec::new() } else { flows.into_iter().map(|name| gone(name)).collect() }
    }
}

/// The browser's side of a sign-in under way.
pub(super) struct Flow {
    pub(super) secret: String,
    /// Through which client it began.
    pub(super) client: ClientId,
    pub(super) purpose: Purpose,
}

/// What a flow is for. In the browser's own hands, which may do either with what is its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    SignIn,
    /// Another way into the account that is signed in.
    Link,
}

/// Binds a flow to this browser. Lax, since it must come along when the provider sends the person back.
pub(super) fn flow(state: &str, secret: &str, client: &ClientId, purpose: Purpose) -> String {
    let mark = match purpose {
        Purpose::SignIn => String::new(),
        Purpose::Link => format!(".{LINK}"),
    };
    set(&flow_name(state), &format!("{secret}.{client}{mark}"), SameSite::Lax, FLOW_TTL)
}

pub(super) fn flow_gone(state: &str) -> String {
    gone(&flow_name(state))
}

/// Lax: whoever comes by a link is still signed in. What it is good for besides is guarded by `origin`.
pub(super) fn access_token(client: &ClientId, token: &str, ttl: Duration) -> String {
    set(&access_name(client), token, SameSite::Lax, ttl)
}

/// Strict: no other site needs it.
pub(super) fn refresh_token(client: &ClientId, token: &str, ttl: Duration) -> String {
    set(&refresh_name(client), token, SameSite::Strict, ttl)
}

pub(super) fn tokens_gone(client: &ClientId) -> [String; 2] {
    [gone(&access_name(client)), gone(&refresh_name(client))]
}

fn access_name(client: &ClientId) -> String {
    format!("__Host-postern-{client}-access")
}

fn refresh_name(client: &ClientId) -> String {
    format!("__Host-postern-{client}-refresh")
}

/// The state itself stays out of the name, since names are logged more readily than values.
fn flow_name(state: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, state.as_bytes());
    let hash: String = BASE64_URL_SAFE_NO_PAD.encode(digest).chars().take(FLOW_HASH_CHARS).collect();
    format!("{FLOW_PREFIX}{hash}")
}

fn set(name: &str, value: &str, same_site: SameSite, ttl: Duration) -> String {
    let guards = Cookie::build((name, value)).path("/").secure(true).http_only(true).same_site(same_site);
    // By hand: the crate would bring a library of its own for the time.
    format!("{guards}; Max-Age={}", ttl.as_secs())
}

fn gone(name: &str) -> String {
    set(name, "", SameSite::Lax, Duration::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jar(text: &str) -> Jar {
        Jar::of(&HeaderMap::from_iter([(COOKIE, text.parse().unwrap())]))
    }

    fn shop() -> ClientId {
        "shop".parse().unwrap()
    }

    #[test]
    fn each_cookie_is_guarded() {
        let minute = Duration::from_mins(1);
        insta::assert_snapshot!(flow("s", "f", &shop(), Purpose::SignIn), @"__Host-postern-flow-BDpxh3TFcr2KJa2-=f.shop; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=600");
        insta::assert_snapshot!(access_token(&shop(), "a", minute), @"__Host-postern-shop-access=a; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=60");
        insta::assert_snapshot!(refresh_token(&shop(), "r", minute), @"__Host-postern-shop-refresh=r; HttpOnly; SameSite=Strict; Secure; Path=/; Max-Age=60");
        insta::assert_snapshot!(tokens_gone(&shop()).join("\n"), @"
        __Host-postern-shop-access=; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=0
        __Host-postern-shop-refresh=; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=0
        ");
        assert_eq!(
            flow_gone("s").split_once('=').unwrap().0,
            flow("s", "f", &shop(), Purpose::SignIn).split_once('=').unwrap().0
        );
    }

    #[test]
    fn a_cookie_is_read_if_it_is_there_once() {
        let both = jar("x=1; __Host-postern-shop-access=a; __Host-postern-shop-refresh=r");
        assert_eq!((both.access_token(&shop()), both.refresh_token(&shop())), (Some("a"), Some("r")));
        for text in [
            "",
            "__Host-postern-shop-access=",
            "__Host-postern-shop-access=a; __Host-postern-shop-access=b",
            "__host-postern-shop-access=a",
            "__Host-postern-other-access=a",
        ] {
            assert_eq!(jar(text).access_token(&shop()), None, "{text}");
        }
    }

    #[test]
    fn a_flow_belongs_to_its_state() {
        let set = flow("state", "secret", &shop(), Purpose::Link);
        let jar = jar(set.split_once(';').unwrap().0);
        let found = jar.flow("state").unwrap();
        assert_eq!((found.secret.as_str(), found.client), ("secret", shop()));
        assert!(jar.flow("statf").is_none());
        for value in ["secret", ".shop", "secret.", "secret.No Client"] {
            let name = flow_name("state");
            assert!(self::jar(&format!("{name}={value}")).flow("state").is_none(), "{value}");
        }
    }

    #[test]
    fn flows_do_not_pile_up() {
        let flows = |count: usize| {
            let cookies: Vec<String> =
                (0..count).map(|state| format!("{}=a.shop", flow_name(&state.to_string()))).collect();
            jar(&cookies.join("; ")).crowded_out().len()
        };
        assert_eq!((flows(0), flows(7), flows(8), flows(12)), (0, 0, 8, 12));
    }
}
