//! The gateway: where browsers find it, and which programs it serves.

use std::collections::BTreeMap;

use super::super::reader::{Key, Section, Wrong, quoted};
use super::super::{Gateway, GatewayAnswer, GatewayClient, Profile, Source};
use super::issuer::host_of;
use super::store::secret;
use crate::domain::client::{DEVELOPMENT_ID, is_reserved};
use crate::domain::id::ClientId;

pub(super) fn read(section: &mut Section<'_>, profile: Profile, out: &mut Gateway) {
    let meaning = "where browsers find it; redirect URIs begin with it. Production without it has no gateway";
    let key = Key { name: "url", meaning, bounds: "an origin: scheme, host and port".to_owned() };
    let show = |url: &Option<String>| url.clone().unwrap_or_default();
    section.text(key, &mut out.url, show, |text| gateway_url(text, profile).map(Some));
    let meaning = "whether this server is it; else `postern gateway` is, as a process of its own";
    section.flag("in_process", meaning, &mut out.in_process);
    let meaning = "of `postern gateway`: the server's gRPC address";
    let key = Key { name: "server", meaning, bounds: "an origin: scheme, host and port".to_owned() };
    section.text(key, &mut out.server, show, |text| origin(text, "\"https://postern.internal:7301\"").map(Some));
    let meaning = "PEM: who vouches for that server; unset: whom the machine trusts";
    section.optional_path("server_ca", meaning, &mut out.server_ca);
    let meaning = "proxies in front, whose X-Forwarded-For tells where a browser is";
    let bounds = "a list of addresses and blocks of them".to_owned();
    section.texts(Key { name: "trusted_proxies", meaning, bounds }, &mut out.trusted_proxies, |text| {
        let wrong = |_| Wrong::new(format!("{} is no block of addresses by its first", quoted(text)), "\"10.0.0.0/8\"");
        text.parse().map_err(wrong)
    });
    let mut taken = BTreeMap::new();
    section.each("clients", |section| out.clients.extend(client(section, profile, &mut taken)));
}

/// None if it has no id; that is told.
fn client(
    section: &mut Section<'_>,
    profile: Profile,
    taken: &mut BTreeMap<ClientId, Source>,
) -> Option<GatewayClient> {
    let is_built_in = |id: &ClientId| profile == Profile::Development && id.as_str() == DEVELOPMENT_ID;
    let mut id = None;
    let key = Key {
        name: "id",
        meaning: "of a client; stands in paths and in names of cookies",
        bounds: "a client's id".to_owned(),
    };
    let show = |id: &Option<ClientId>| id.as_ref().map(ToString::to_string).unwrap_or_default();
    let source = section.text(key, &mut id, show, |text| match text.parse::<ClientId>() {
        Ok(id) if is_reserved(&id) && !is_built_in(&id) => {
            Err(Wrong::new(format!("{} belongs to Postern itself", quoted(text)), "another client"))
        }
        Ok(id) => Ok(Some(id)),
        Err(_) => Err(Wrong::new(format!("{} is no client's id", quoted(text)), "1 to 64 of a-z, 0-9 and -")),
    });
    match &id {
        Some(id) => {
            if let Some(first) = taken.insert(id.clone(), source.clone()) {
                let what = format!("{} is served already, in {first}", quoted(id.as_str()));
                section.fault("id", source, Wrong::new(what, "once"));
            }
        }
        None if source == Source::Default => {
            section.fault("id", section.source(), Wrong::new("missing", "id = \"shop\""));
        }
        None => {}
    }
    let proof = section.section("secret", |section| {
        section.choice(&["file", "value"]);
        secret(section, "holds the client's secret; its owner's alone (0600)", "the secret itself; not in production")
    });
    let needs_one = id.as_ref().is_some_and(|id| !is_built_in(id));
    if proof.is_none() && needs_one && !section.is_at_fault("secret") {
        let wrong = Wrong::new("missing: nothing proves that the gateway acts for it", "secret = { file = \"…\" }");
        section.fault("secret", section.source(), wrong);
    }
    let mut answer = GatewayAnswer::Cookies;
    let answers = [("cookies", GatewayAnswer::Cookies), ("handoff", GatewayAnswer::Handoff)];
    section.word("answer", "what a person goes back with: cookies, or a code for the backend", &answers, &mut answer);
    let mut origins = Vec::new();
    let meaning = "of whose pages scripts may call its routes, beside the gateway's own";
    let key = Key { name: "origins", meaning, bounds: "a list of origins".to_owned() };
    let source = section.texts(key, &mut origins, |text| {
        let right = "\"https://shop.example.com\"";
        let origin = origin(text, right)?;
        if origin.starts_with("http://") && !is_loopback(&host_of(&origin)) {
            return Err(Wrong::new(format!("{} is in clear text", quoted(text)), right));
        }
        Ok(origin)
    });
    if answer == GatewayAnswer::Handoff && !origins.is_empty() {
        section.fault("origins", source, Wrong::new("of use with cookies only", "remove it, or answer = \"cookies\""));
    }
    Some(GatewayClient { id: id?, secret: proof, answer, origins })
}

/// Cookies bound to a host hold for all of it, so the gateway is all of one, too: no path. Clear text is for this machine.
fn gateway_url(text: &str, profile: Profile) -> Result<String, Wrong> {
    let right = "\"https://auth.example.com\"";
    let url = origin(text, right)?;
    let is_here = profile == Profile::Development && is_loopback(&host_of(&url));
    if url.starts_with("http://") && !is_here {
        return Err(Wrong::new(format!("{} is in clear text: browsers would give no cookie", quoted(text)), right));
    }
    Ok(url)
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// As browsers write one (RFC 6454, section 6.2): no path, no capitals, no port that goes without saying.
pub(super) fn origin(text: &str, right: &str) -> Result<String, Wrong> {
    let url = super::issuer::issuer_url(text).map_err(|wrong| Wrong { what: wrong.what, right: right.to_owned() })?;
    let refused = |what: &str| Err(Wrong::new(format!("{} {what}", quoted(text)), right));
    let (scheme, authority) = url.split_once("://").unwrap_or_default();
    if authority.contains('/') {
        return refused("has a path");
    }
    let usual = if scheme == "https" { ":443" } else { ":80" };
    if authority.ends_with(usual) {
        return refused(&format!("names the port {usual} that goes without saying"));
    }
    Ok(url)
}
