//! The issuer: the name that stands in every token.

use super::super::Issuer;
use super::super::reader::{Key, Section, Wrong, quoted};

pub(super) fn read(section: &mut Section<'_>, out: &mut Issuer) {
    let meaning = "`iss` of every token; another one voids the tokens that are out";
    let key = Key { name: "url", meaning, bounds: "a URL without a slash at its end".to_owned() };
    section.text(key, &mut out.url, |url| url.clone().unwrap_or_default(), |text| issuer_url(text).map(Some));
}

/// Clients compare `iss` byte by byte and append paths to it, so only one spelling is taken.
pub(super) fn issuer_url(text: &str) -> Result<String, Wrong> {
    let wrong = |what: &str| Err(Wrong::new(what, "\"https://auth.example.com\""));
    if text.contains('@') {
        return wrong("holds a user name or a password");
    }
    let Some(rest) = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")) else {
        return wrong(&format!("{} does not start with https:// or http://", quoted(text)));
    };
    if text.contains('?') || text.contains('#') {
        return wrong(&format!("{} has a query or a fragment", quoted(text)));
    }
    if text.ends_with('/') {
        return wrong(&format!("{} ends with a slash", quoted(text)));
    }
    let authority = rest.split('/').next().unwrap_or_default();
    if authority.chars().any(|letter| letter.is_ascii_uppercase()) {
        return wrong(&format!("{} has capitals in the host", quoted(text)));
    }
    let uri = text.is_ascii().then(|| text.parse::<http::Uri>().ok()).flatten();
    let sound = uri.as_ref().and_then(http::Uri::authority).is_some_and(|authority| {
        let host = authority.host();
        !host.is_empty() && (authority.as_str() == host || authority.port_u16().is_some_and(|port| port != 0))
    });
    if sound { Ok(text.to_owned()) } else { wrong(&format!("{} is not a URL", quoted(text))) }
}

/// The host of a URL that was taken.
pub(in crate::config) fn host_of(url: &str) -> String {
    let uri = url.parse::<http::Uri>().ok();
    uri.as_ref().and_then(http::Uri::host).unwrap_or_default().to_owned()
}
