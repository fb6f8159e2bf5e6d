//! Providers of identities: `[[providers]]`, in the file only; and what accounts begin with that come from one.

use std::collections::BTreeMap;

use url::{Host, Url};

use super::super::reader::{Key, Section, Wrong, any_of, quoted};
use super::super::{Accounts, ClientAuth, Endpoints, Profile, Provider, SecretSource, Source, Surface};
use super::keys;
use crate::domain::identity::{ProviderId, ProviderKind};
use crate::domain::role::RoleId;

const DISPLAY_NAME_CHARS: usize = 64;
const CLIENT_ID_BYTES: usize = 255;
const URL_BYTES: usize = 2048;
const SCOPE_BYTES: usize = 255;
const PARAMETER_BYTES: usize = 64;
const DOMAIN_BYTES: usize = 253;

/// What makes a request what it is; passed on, it could become another.
const RESERVED: [&str; 13] = [
    "response_type",
    "response_mode",
    "client_id",
    "client_secret",
    "redirect_uri",
    "scope",
    "state",
    "nonce",
    "code_challenge",
    "code_challenge_method",
    "request",
    "request_uri",
    "registration",
];

pub(super) fn accounts(section: &mut Section<'_>, out: &mut Accounts) {
    let meaning = "of users who come by a provider for the first time; held everywhere";
    let key = Key { name: "roles", meaning, bounds: "a list of roles, none of `postern.`".to_owned() };
    section.texts(key, &mut out.roles, |text| match text.parse::<RoleId>() {
        Ok(role) if role.is_built_in() => {
            Err(Wrong::new(format!("{} would be everybody's who comes", quoted(text)), "a role of your own"))
        }
        Ok(role) => Ok(role),
        Err(why) => Err(Wrong::new(format!("{}: {why}", quoted(text)), "\"member\"")),
    });
}

pub(super) fn read(root: &mut Section<'_>, _profile: Profile) -> Vec<Provider> {
    let mut providers = Vec::new();
    let mut taken = BTreeMap::new();
    root.each("providers", |section| providers.extend(provider(section, &mut taken)));
    providers
}

/// None if it cannot be told which one it is, or as whom to speak to it; that is told.
fn provider(section: &mut Section<'_>, taken: &mut BTreeMap<ProviderId, Source>) -> Option<Provider> {
    let id = id(section, taken);
    let kind = kind(section, id.as_ref());
    let display_name = display_name(section);
    let client_id = client_id(section);
    let client_secret =
        section.section("client_secret", |section| secret(section, "what the provider gave with `client_id`"));
    let native_client_ids = native_client_ids(section, kind);
    let issuer = issuer(section, kind);
    let endpoints = endpoints(section);
    let meaning = "where people come back; unset: `{gateway.url}/callback/{id}`";
    let redirect_uri = optional(section, "redirect_uri", meaning, "a URL, as the provider has it registered", url);
    let surface = surface(section, kind);
    let scopes = scopes(section, kind, surface);
    let mut pkce = true;
    section.flag("pkce", "prove each exchange (RFC 7636, S256); off only for who refuses it", &mut pkce);
    let mut client_auth = None;
    let words = [("basic", Some(ClientAuth::Basic)), ("body", Some(ClientAuth::Body))];
    let meaning = "how the secret is sent; unset: as the kind has it, or its discovery document says";
    section.word("client_auth", meaning, &words, &mut client_auth);
    let mut form_post = false;
    section.flag("form_post", "the callback is a form that is posted", &mut form_post);
    let parameters = parameters(section, kind);
    let hosted_domain = hosted_domain(section, kind);
    let (mut sign_up, mut link_by_email) = (true, false);
    section.flag("sign_up", "whoever is not known yet gets an account", &mut sign_up);
    let meaning = "an address that it vouches for may link to the account that has proven the same";
    section.flag("link_by_email", meaning, &mut link_by_email);
    let mut link_domains = Vec::new();
    let meaning = "only addresses of these link; none: of all domains that it vouches for";
    let key = Key { name: "link_domains", meaning, bounds: "a list of domains".to_owned() };
    section.texts(key, &mut link_domains, domain);
    let admin_key = section.section("admin_key", |section| secret(section, "of Kakao: what its unlink notices show"));
    if admin_key.is_some() && kind.is_some_and(|kind| kind != ProviderKind::Kakao) {
        section.fault("admin_key", section.source(), Wrong::new("only Kakao has one", "leave it out"));
    }
    let mut private_network = false;
    let meaning = "its endpoints may be at private addresses, and in clear text on loopback";
    section.flag("private_network", meaning, &mut private_network);
    let mut ca = None;
    section.optional_path("ca", "who vouches for its endpoints (PEM); unset: whom this machine trusts", &mut ca);
    Some(Provider {
        id: id?,
        kind: kind?,
        display_name,
        client_id: client_id?,
        client_secret,
        native_client_ids,
        issuer,
        endpoints,
        redirect_uri,
        scopes,
        surface,
        pkce,
        client_auth,
        form_post,
        parameters,
        hosted_domain,
        sign_up,
        link_by_email,
        link_domains,
        admin_key,
        private_network,
        ca,
    })
}

fn id(section: &mut Section<'_>, taken: &mut BTreeMap<ProviderId, Source>) -> Option<ProviderId> {
    let bounds = "1 to 32 of `a-z`, `0-9` and `-`, beginning with a letter";
    let meaning = "its name in paths and in the store; another one is another provider";
    let key = Key { name: "id", meaning, bounds: bounds.to_owned() };
    let mut id = None;
    let show = |id: &Option<ProviderId>| id.as_ref().map(ToString::to_string).unwrap_or_default();
    let source = section.text(key, &mut id, show, |text| {
        let id = text.parse().map(Some);
        id.map_err(|_why| Wrong::new(format!("{} is no provider's id", quoted(text)), bounds.replace('`', "")))
    });
    match &id {
        Some(id) => {
            if let Some(first) = taken.insert(id.clone(), source.clone()) {
                let what = format!("{} is another provider's, in {first}", quoted(id.as_str()));
                section.fault("id", source, Wrong::new(what, "an id of its own"));
            }
        }
        None if source == Source::Default => {
            section.fault("id", section.source(), Wrong::new("missing", "id = \"google\""));
        }
        None => {}
    }
    id
}

/// Unset, the id says it, if it is a kind's name.
fn kind(section: &mut Section<'_>, id: Option<&ProviderId>) -> Option<ProviderKind> {
    let mut kind = ProviderKind::ALL.into_iter().find(|kind| id.is_some_and(|id| id.as_str() == kind.name()));
    let words = ProviderKind::ALL.map(|kind| (kind.name(), Some(kind)));
    section.word("kind", "how it is spoken with; unset: as `id` says", &words, &mut kind);
    if kind.is_none() && id.is_some() && !section.is_at_fault("kind") {
        let right = any_of(&ProviderKind::ALL.map(ProviderKind::name));
        section.fault("kind", section.source(), Wrong::new("missing, and the id is no kind's name", right));
    }
    kind
}

fn display_name(section: &mut Section<'_>) -> String {
    let mut name = String::new();
    let key = Key {
        name: "display_name",
        meaning: "on buttons; unset: as the kind is called",
        bounds: format!("{DISPLAY_NAME_CHARS} characters"),
    };
    section.text(key, &mut name, String::clone, |text| {
        if text.chars().count() > DISPLAY_NAME_CHARS || text.chars().any(char::is_control) {
            return Err(Wrong::new(format!("{} is no name", quoted(text)), format!("{DISPLAY_NAME_CHARS} characters")));
        }
        Ok(text.to_owned())
    });
    name
}

fn client_id(section: &mut Section<'_>) -> Option<String> {
    let bounds = format!("{CLIENT_ID_BYTES} bytes");
    let id = optional(section, "client_id", "who we are there, as the provider gave it", &bounds, client_id_of);
    if id.is_none() && !section.is_at_fault("client_id") {
        section.fault("client_id", section.source(), Wrong::new("missing", "as the provider gave it"));
    }
    id
}

fn client_id_of(text: &str) -> Result<String, Wrong> {
    if (1..=CLIENT_ID_BYTES).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(text.to_owned());
    }
    Err(Wrong::new(format!("{} is no client's id", quoted(text)), "as the provider gave it"))
}

pub(super) fn secret(section: &mut Section<'_>, meaning: &'static str) -> Option<SecretSource> {
    section.choice(&["file", "value"]);
    let mut file = None;
    section.optional_path("file", meaning, &mut file);
    let value = keys::value(section, "the secret itself; not in production", "the secret");
    if value.is_some() {
        section.displace("file");
    }
    value.map(SecretSource::Value).or(file.map(SecretSource::File))
}

fn native_client_ids(section: &mut Section<'_>, kind: Option<ProviderKind>) -> Vec<String> {
    let mut ids = Vec::new();
    let meaning = "of apps with its SDK: who else may stand in `aud` of their id_tokens";
    let key = Key { name: "native_client_ids", meaning, bounds: "a list of client ids".to_owned() };
    let source = section.texts(key, &mut ids, client_id_of);
    if !ids.is_empty() && matches!(kind, Some(ProviderKind::Naver | ProviderKind::GitHub)) {
        let wrong = Wrong::new("an id_token of its SDK does not say who it is, if there is one", "leave it out");
        section.fault("native_client_ids", source, wrong);
    }
    ids
}

fn issuer(section: &mut Section<'_>, kind: Option<ProviderKind>) -> Option<String> {
    let meaning = "its `iss`, letter by letter; needed for `oidc`, else as the kind has it";
    let issuer = optional(section, "issuer", meaning, "a URL", url);
    if issuer.is_none() && kind == Some(ProviderKind::Oidc) && !section.is_at_fault("issuer") {
        let wrong = Wrong::new("missing: who vouches for identities", "issuer = \"https://sso.example.com\"");
        section.fault("issuer", section.source(), wrong);
    }
    issuer
}

fn endpoints(section: &mut Section<'_>) -> Endpoints {
    let mut endpoint = |name, meaning| optional(section, name, meaning, "a URL", url);
    Endpoints {
        discovery: endpoint("discovery_endpoint", "its discovery document; unset: below the issuer"),
        authorization: endpoint("authorization_endpoint", "where people are sent; unset: as it publishes"),
        token: endpoint("token_endpoint", "where codes are traded in; unset: as it publishes"),
        userinfo: endpoint("userinfo_endpoint", "where profiles are; unset: as it publishes"),
        jwks: endpoint("jwks_uri", "where its keys are; unset: as it publishes"),
    }
}

fn surface(section: &mut Section<'_>, kind: Option<ProviderKind>) -> Surface {
    let default = if kind == Some(ProviderKind::GitHub) { Surface::OAuth2 } else { Surface::Oidc };
    let mut surface = default;
    let words = [("oidc", Surface::Oidc), ("oauth2", Surface::OAuth2)];
    let meaning = "which of its faces is spoken with; of Kakao and Naver, which have two";
    let source = section.word("surface", meaning, &words, &mut surface);
    let has_two = matches!(kind, None | Some(ProviderKind::Kakao | ProviderKind::Naver));
    if surface != default && !has_two {
        section.fault("surface", source, Wrong::new("this kind has only the other", "leave it out"));
        return default;
    }
    surface
}

fn scopes(section: &mut Section<'_>, kind: Option<ProviderKind>, surface: Surface) -> Option<Vec<String>> {
    let mut scopes = Vec::new();
    let meaning = "what is asked for; unset: no more than a profile needs";
    let key = Key { name: "scopes", meaning, bounds: "a list of scopes".to_owned() };
    let source = section.texts(key, &mut scopes, |text| {
        // RFC 6749, section 3.3.
        let is_one = (1..=SCOPE_BYTES).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b','));
        if is_one { Ok(text.to_owned()) } else { Err(Wrong::new(format!("{} is no scope", quoted(text)), "\"email\"")) }
    });
    let is_set = source != Source::Default;
    let needs_openid = surface == Surface::Oidc && (!scopes.is_empty() || kind != Some(ProviderKind::Kakao));
    let is_sound = !section.is_at_fault("scopes");
    if is_set && is_sound && needs_openid && !scopes.iter().any(|scope| scope == "openid") {
        section.fault("scopes", source, Wrong::new("without `openid` there is no id_token", "[\"openid\", …]"));
    }
    is_set.then_some(scopes)
}

fn parameters(section: &mut Section<'_>, kind: Option<ProviderKind>) -> Vec<String> {
    let usual: &[&str] = match kind {
        None | Some(ProviderKind::Oidc) => &["login_hint", "prompt", "ui_locales"],
        Some(ProviderKind::Google | ProviderKind::Kakao) => &["login_hint", "prompt"],
        Some(ProviderKind::Naver) => &["auth_type"],
        Some(ProviderKind::GitHub) => &["login", "allow_signup"],
    };
    let mut parameters = Vec::new();
    let meaning = "what a front may pass on to the authorization endpoint; unset: as the kind knows";
    let key = Key { name: "parameters", meaning, bounds: "a list of names, none that the request needs".to_owned() };
    let source = section.texts(key, &mut parameters, |text| {
        let is_name = (1..=PARAMETER_BYTES).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte));
        if !is_name {
            return Err(Wrong::new(format!("{} is no parameter's name", quoted(text)), "\"login_hint\""));
        }
        if RESERVED.contains(&text) {
            return Err(Wrong::new(format!("{} is not a front's to say", quoted(text)), "\"login_hint\""));
        }
        Ok(text.to_owned())
    });
    if source == Source::Default { usual.iter().map(ToString::to_string).collect() } else { parameters }
}

fn hosted_domain(section: &mut Section<'_>, kind: Option<ProviderKind>) -> Option<String> {
    let meaning = "only people of this domain (`hd` of the id_token)";
    let hosted = optional(section, "hosted_domain", meaning, "a domain", domain);
    let has_it = matches!(kind, None | Some(ProviderKind::Google | ProviderKind::Oidc));
    if hosted.is_some() && !has_it {
        let wrong = Wrong::new("this kind does not say of which domain people are", "leave it out");
        section.fault("hosted_domain", section.source(), wrong);
    }
    hosted
}

fn domain(text: &str) -> Result<String, Wrong> {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if text.len() <= DOMAIN_BYTES && text.contains('.') && text.split('.').all(is_label) {
        return Ok(text.to_ascii_lowercase());
    }
    Err(Wrong::new(format!("{} is no domain", quoted(text)), "\"example.com\""))
}

pub(super) fn optional(
    section: &mut Section<'_>,
    name: &'static str,
    meaning: &'static str,
    bounds: &str,
    parse: impl Fn(&str) -> Result<String, Wrong>,
) -> Option<String> {
    let mut out = None;
    let show = |value: &Option<String>| value.clone().unwrap_or_default();
    section.text(Key { name, meaning, bounds: bounds.to_owned() }, &mut out, show, |text| parse(text).map(Some));
    out
}

/// https, or http on loopback, which only `private_network` reaches.
pub(super) fn url(text: &str) -> Result<String, Wrong> {
    let wrong = |what: &str| Err(Wrong::new(format!("{} {what}", quoted(text)), "\"https://sso.example.com/…\""));
    if text.contains('@') {
        return Err(Wrong::new("holds a user name or a password", "\"https://sso.example.com/…\""));
    }
    let Ok(url) = Url::parse(text) else { return wrong("is no URL") };
    if text.len() > URL_BYTES || !text.bytes().all(|byte| byte.is_ascii_graphic()) || url.fragment().is_some() {
        return wrong("is too long, or has a fragment, a space or letters beyond ASCII");
    }
    match url.scheme() {
        "https" => Ok(text.to_owned()),
        "http" if is_loopback(&url) => Ok(text.to_owned()),
        "http" => wrong("is in clear text"),
        _ => wrong("does not start with https://"),
    }
}

/// Whether a URL is this machine's own.
pub(in crate::config) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        None => false,
    }
}
