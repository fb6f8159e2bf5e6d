//! Clients that are declared rather than registered: `[[clients]]`, in the file only, since neither the environment nor
//! the command line can write a list.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::super::reader::{Key, Section, Wrong, quoted};
use super::super::{Client, SecretSource, Sessions, Source};
use super::keys;
use crate::domain::client::{San, SessionLimits, is_reserved};
use crate::domain::id::ClientId;
use crate::domain::role::{self, RoleId};

const DISPLAY_NAME_CHARS: usize = 128;
const AUDIENCE_BYTES: usize = 255;
const RETURN_URL_BYTES: usize = 2048;

/// What only one client may have, and where it was first seen.
#[derive(Default)]
struct Taken {
    ids: BTreeMap<ClientId, Source>,
    sans: BTreeMap<San, Source>,
    files: BTreeMap<PathBuf, Source>,
}

pub(super) fn read(root: &mut Section<'_>, server: &Sessions) -> Vec<Client> {
    let mut clients = Vec::new();
    let mut taken = Taken::default();
    root.each("clients", |section| clients.extend(client(section, server, &mut taken)));
    clients
}

/// None if it has no id; that is told.
fn client(section: &mut Section<'_>, server: &Sessions, taken: &mut Taken) -> Option<Client> {
    let id = id(section, taken);
    let mut display_name = String::new();
    let key = Key { name: "display_name", meaning: "for people", bounds: format!("{DISPLAY_NAME_CHARS} characters") };
    section.text(key, &mut display_name, String::clone, |text| {
        if text.chars().count() > DISPLAY_NAME_CHARS || text.chars().any(char::is_control) {
            return Err(Wrong::new(format!("{} is no name", quoted(text)), format!("{DISPLAY_NAME_CHARS} characters")));
        }
        Ok(text.to_owned())
    });

    let mut mtls_sans = Vec::new();
    let meaning = "names in a certificate that prove it: DNS names, URIs";
    let key = Key { name: "mtls_sans", meaning, bounds: "a list of names".to_owned() };
    let source = section.texts(key, &mut mtls_sans, san);
    for san in &mtls_sans {
        if let Some(first) = taken.sans.insert(san.clone(), source.clone()) {
            let what = format!("{} proves another client, in {first}", quoted(&san.to_string()));
            section.fault("mtls_sans", source.clone(), Wrong::new(what, "a name of its own"));
        }
    }
    let secrets = secrets(section, taken);
    let (mut audience, mut token_audiences, mut return_urls) = (String::new(), Vec::new(), Vec::new());
    let bounds = format!("{AUDIENCE_BYTES} bytes");
    let key = Key { name: "audience", meaning: "what it is as a resource: the default of `Verify`", bounds };
    section.text(key, &mut audience, String::clone, audience_of);
    let meaning = "what it may ask tokens for; the first is the default";
    let key = Key { name: "token_audiences", meaning, bounds: "a list of audiences".to_owned() };
    section.texts(key, &mut token_audiences, audience_of);
    let meaning = "where a browser or an app may be sent back to; compared as a whole";
    let key = Key { name: "return_urls", meaning, bounds: "a list of URLs".to_owned() };
    section.texts(key, &mut return_urls, return_url);
    let mut roles = Vec::new();
    let key = Key { name: "roles", meaning: "held everywhere", bounds: "a list of roles".to_owned() };
    section.texts(key, &mut roles, role_id);
    let session_policy = section.section("session_policy", |section| session_policy(section, server));

    if mtls_sans.is_empty()
        && secrets.is_empty()
        && !section.is_at_fault("mtls_sans")
        && !section.is_at_fault("secrets")
    {
        let wrong = Wrong::new("nothing proves it: neither a certificate nor a secret", "secrets = [{ file = \"…\" }]");
        section.fault("secrets", section.source(), wrong);
    }
    Some(Client {
        id: id?,
        display_name,
        mtls_sans,
        secrets,
        audience,
        token_audiences,
        return_urls,
        roles,
        session_policy,
    })
}

fn id(section: &mut Section<'_>, taken: &mut Taken) -> Option<ClientId> {
    let bounds = "1 to 64 of `a-z`, `0-9` and `-`";
    let key = Key { name: "id", meaning: "`client_id` in tokens", bounds: bounds.to_owned() };
    let mut id = None;
    let show = |id: &Option<ClientId>| id.as_ref().map(ToString::to_string).unwrap_or_default();
    let source = section.text(key, &mut id, show, |text| match text.parse::<ClientId>() {
        Ok(id) if is_reserved(&id) => {
            Err(Wrong::new(format!("{} belongs to Postern itself", quoted(text)), "another name"))
        }
        Ok(id) => Ok(Some(id)),
        Err(_) if uuid::Uuid::try_parse(text).is_ok() => {
            Err(Wrong::new(format!("{} would pass for a user's id", quoted(text)), "a name"))
        }
        Err(_) => Err(Wrong::new(format!("{} is no client's id", quoted(text)), bounds.replace('`', ""))),
    });
    match &id {
        Some(id) => {
            if let Some(first) = taken.ids.insert(id.clone(), source.clone()) {
                let what = format!("{} is another client's, in {first}", quoted(id.as_str()));
                section.fault("id", source, Wrong::new(what, "an id of its own"));
            }
        }
        None if source == Source::Default => {
            section.fault("id", section.source(), Wrong::new("missing", "id = \"orders\""));
        }
        None => {}
    }
    id
}

fn secrets(section: &mut Section<'_>, taken: &mut Taken) -> Vec<SecretSource> {
    let mut secrets = Vec::new();
    section.each("secrets", |section| {
        section.choice(&["file", "value"]);
        let mut file = None;
        let source = section.optional_path("file", "holds one secret; its owner's alone (0600)", &mut file);
        if let Some(file) = file {
            if let Some(first) = taken.files.insert(file.clone(), source.clone()) {
                let what = format!("{} is used already, in {first}", file.display());
                section.fault("file", source, Wrong::new(what, "a secret of its own"));
            }
            secrets.push(SecretSource::File(file));
        }
        if let Some(value) = keys::value(section, "the secret itself; not in production", "a secret, pcs_…") {
            section.displace("file");
            secrets.push(SecretSource::Value(value));
        }
    });
    secrets
}

fn session_policy(section: &mut Section<'_>, server: &Sessions) -> SessionLimits {
    let mut out = SessionLimits::default();
    let meaning = "its own `tokens.access_ttl`";
    section.optional_duration("access_ttl", meaning, &super::ACCESS_TTL, &mut out.access_ttl);
    let meaning = "its own `sessions.idle_ttl`";
    let idle = section.optional_duration("idle_ttl", meaning, &super::SESSION_TTL, &mut out.idle_ttl);
    let meaning = "its own `sessions.absolute_ttl`";
    let absolute = section.optional_duration("absolute_ttl", meaning, &super::SESSION_TTL, &mut out.absolute_ttl);
    let meaning = "its own `sessions.refresh_grace`";
    section.optional_duration("refresh_grace", meaning, &super::REFRESH_GRACE, &mut out.refresh_grace);
    let (meaning, max) = ("its own `sessions.max_per_user`", 1..=super::MAX_PER_USER.end().to_owned() as usize);
    section.optional_number("max_per_user", meaning, &max, &mut out.max_per_user);
    // The server's own pair is judged where it stands, and a client's shorter absolute life shortens the idle one.
    if let Some(idle_ttl) = out.idle_ttl {
        let absolute_ttl = out.absolute_ttl.unwrap_or(server.absolute_ttl);
        super::idles_no_longer_than_it_lives(section, (idle_ttl, absolute_ttl), idle.max(absolute));
    }
    out
}

fn san(text: &str) -> Result<San, Wrong> {
    text.parse().map_err(|_invalid| {
        let what = format!("{} is neither a DNS name nor a URI", quoted(text));
        Wrong::new(what, "\"orders.internal\" or \"spiffe://prod/orders\"")
    })
}

fn audience_of(text: &str) -> Result<String, Wrong> {
    if (1..=AUDIENCE_BYTES).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(text.to_owned());
    }
    Err(Wrong::new(format!("{} is no audience", quoted(text)), "a name or a URL without spaces"))
}

fn role_id(text: &str) -> Result<RoleId, Wrong> {
    let id: RoleId =
        text.parse().map_err(|why| Wrong::new(format!("{}: {why}", quoted(text)), "\"postern.backend\""))?;
    let built_in: Vec<RoleId> = role::built_in().into_iter().map(|role| role.id).collect();
    // Other roles stand in the store, which may get them later; these never will be there.
    if id.is_built_in() && !built_in.contains(&id) {
        let known: Vec<&str> = built_in.iter().map(RoleId::as_str).collect();
        let what = format!("{} is no role that comes with Postern", quoted(text));
        return Err(Wrong::new(what, super::super::reader::any_of(&known)));
    }
    Ok(id)
}

/// Compared as a whole later, so it must be one that a browser or a phone really goes to: an https URL, a scheme that an
/// app owns by its domain (RFC 8252, section 7.1), or http on loopback (section 7.3).
fn return_url(text: &str) -> Result<String, Wrong> {
    let wrong = |what: &str| {
        let right = "\"https://app.example.com/signed-in\" or \"com.example.app:/signed-in\"";
        Err(Wrong::new(format!("{} {what}", quoted(text)), right))
    };
    if !(1..=RETURN_URL_BYTES).contains(&text.len()) || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return wrong("is not a URL");
    }
    if text.contains('#') || text.contains('*') {
        return wrong("has a fragment or a wildcard");
    }
    let Some((scheme, rest)) = text.split_once(':') else { return wrong("is not a URL") };
    match scheme {
        "https" | "http" => {
            let uri = text.parse::<http::Uri>().ok();
            let authority = uri.as_ref().and_then(http::Uri::authority);
            let Some(authority) = authority.filter(|authority| !authority.as_str().contains('@')) else {
                return wrong("is not a URL");
            };
            let is_loopback = matches!(authority.host(), "localhost" | "127.0.0.1" | "[::1]");
            if scheme == "http" && !is_loopback { wrong("is in clear text") } else { Ok(text.to_owned()) }
        }
        _ => {
            let is_scheme = scheme.starts_with(|letter: char| letter.is_ascii_lowercase())
                && scheme
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte));
            // Without a dot, any app may claim it: `javascript:`, `data:` and `myapp:` alike.
            if is_scheme && scheme.contains('.') && rest.starts_with('/') {
                Ok(text.to_owned())
            } else {
                wrong("has a scheme that no domain owns")
            }
        }
    }
}
