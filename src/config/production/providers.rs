//! What production does not take of a provider of identities.

use url::Url;

use super::super::{Provider, SecretSource};
use super::{Judgement, relative};
use crate::config::read::is_loopback;

pub(super) fn judge(key: &str, provider: &Provider, found: &mut Judgement) {
    secret(&format!("{key}.client_secret"), provider.client_secret.as_ref(), found);
    secret(&format!("{key}.admin_key"), provider.admin_key.as_ref(), found);
    if let Some(ca) = provider.ca.as_ref().filter(|ca| !ca.is_absolute()) {
        found.refuse(format!("{key}.ca"), relative(ca), "a path from the root: /run/secrets/…");
    }
    if let Some(issuer) = provider.issuer.as_ref().filter(|issuer| is_own_machine(issuer)) {
        let wrong = format!("{issuer} is this machine: whoever can listen there is everybody");
        found.refuse(format!("{key}.issuer"), wrong, "the provider's own, not one for tests");
    }
    let endpoints = &provider.endpoints;
    let urls = [
        ("issuer", &provider.issuer),
        ("discovery_endpoint", &endpoints.discovery),
        ("authorization_endpoint", &endpoints.authorization),
        ("token_endpoint", &endpoints.token),
        ("userinfo_endpoint", &endpoints.userinfo),
        ("jwks_uri", &endpoints.jwks),
        ("redirect_uri", &provider.redirect_uri),
    ];
    for (name, url) in urls {
        let is_told = name == "issuer" && provider.issuer.as_deref().is_some_and(is_own_machine);
        if let Some(url) = url.as_ref().filter(|url| !is_told && !url.starts_with("https://")) {
            found.refuse(format!("{key}.{name}"), format!("{url} is in clear text"), "https://…");
        }
    }
    if provider.private_network {
        let wrong = "requests to it may go to private addresses, and its discovery document says which";
        found.warn(format!("{key}.private_network"), wrong, "false, unless it is in a network of yours");
    }
}

pub(super) fn secret(key: &str, secret: Option<&SecretSource>, found: &mut Judgement) {
    match secret {
        Some(SecretSource::Value(_)) => {
            let wrong = "the secret itself stands in the settings, which are copied and shown";
            found.refuse(format!("{key}.value"), wrong, "{ file = \"/run/secrets/…\" }");
        }
        Some(SecretSource::File(path)) if !path.is_absolute() => {
            found.refuse(format!("{key}.file"), relative(path), "\"/run/secrets/…\"");
        }
        Some(SecretSource::File(_)) | None => {}
    }
}

fn is_own_machine(url: &str) -> bool {
    Url::parse(url).is_ok_and(|url| is_loopback(&url))
}
