//! Issuers outside whose tokens are traded in: `[[trusted_issuers]]`, in the file only.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::super::reader::{Key, Section, Wrong, any_of, quoted};
use super::super::{IssuerKeys, PersonBy, Provider, SecretSource, Source, TrustedIssuer};
use super::providers::{optional, secret, url};
use crate::domain::id::ClientId;
use crate::domain::identity::ProviderId;
use crate::domain::time::Timestamp;

const MAX_AGE: RangeInclusive<Duration> = Duration::from_mins(1)..=Duration::from_hours(90 * 24);
const MAX_AGE_DEFAULT: Duration = Duration::from_hours(1);
const TEXT_BYTES: usize = 255;
/// Of published keys. What is signed with a shared secret is always HS256.
const ALGORITHMS: [&str; 7] = ["RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "EdDSA"];
const ALGORITHMS_DEFAULT: [&str; 3] = ["RS256", "ES256", "EdDSA"];

/// What only one issuer may have, and where it was first seen.
#[derive(Default)]
struct Taken {
    names: BTreeMap<ProviderId, Source>,
    issuers: BTreeMap<Option<String>, Source>,
}

pub(super) fn read(root: &mut Section<'_>, providers: &[Provider]) -> Vec<TrustedIssuer> {
    let mut issuers = Vec::new();
    let mut taken = Taken::default();
    root.each("trusted_issuers", |section| issuers.extend(one(section, providers, &mut taken)));
    issuers
}

/// None if it has no name, or nothing proves its tokens; that is told.
fn one(section: &mut Section<'_>, providers: &[Provider], taken: &mut Taken) -> Option<TrustedIssuer> {
    let name = name(section, providers, taken);
    let meaning = "its `iss`, letter by letter; unset, with `secret` only: its tokens have none";
    let issuer = optional(section, "issuer", meaning, "a text", text);
    if let Some(first) = taken.issuers.insert(issuer.clone(), section.source()) {
        let what = format!("the tokens of another look the same, in {first}");
        section.fault("issuer", section.source(), Wrong::new(what, "an `iss` of its own"));
    }
    let secret =
        section.section("secret", |section| secret(section, "what it signs HS256 with; its owner's alone (0600)"));
    let keys = keys(section, secret);
    let meaning = "what must stand in `aud`; unset, with `secret` only: its tokens have none";
    let audience = optional(section, "audience", meaning, "a text", text);
    if matches!(keys, Some(IssuerKeys::Published { .. })) {
        for (name, value) in [("issuer", &issuer), ("audience", &audience)] {
            if value.is_none() && !section.is_at_fault(name) {
                let wrong =
                    Wrong::new("missing: whoever has a token of its for another service would be let in", "a text");
                section.fault(name, section.source(), wrong);
            }
        }
    }
    let mut claim = "sub".to_owned();
    let key = Key { name: "claim", meaning: "which claim names the person", bounds: format!("{TEXT_BYTES} bytes") };
    section.text(key, &mut claim, String::clone, text);
    let person = person(section, providers);
    let mut clients: Vec<ClientId> = Vec::new();
    let meaning = "who may trade its tokens in; each needs `postern:auth:exchange`, too";
    let key = Key { name: "clients", meaning, bounds: "a list of client ids".to_owned() };
    section.texts(key, &mut clients, |text| {
        text.parse().map_err(|_no_id| Wrong::new(format!("{} is no client's id", quoted(text)), "\"shop\""))
    });
    if clients.is_empty() && !section.is_at_fault("clients") {
        section.fault("clients", section.source(), Wrong::new("missing: nobody may trade its tokens in", "[\"shop\"]"));
    }
    let mut max_age = MAX_AGE_DEFAULT;
    let meaning = "how old a token may be; one without `iat` may not live on for longer";
    section.duration("max_age", meaning, &MAX_AGE, &mut max_age);
    let until = until(section);
    let mut once = true;
    section.flag("once", "each token is good for one time", &mut once);
    Some(TrustedIssuer {
        name: name?,
        issuer,
        keys: keys?,
        audience,
        claim,
        person: person?,
        clients,
        max_age,
        until,
        once,
    })
}

fn name(section: &mut Section<'_>, providers: &[Provider], taken: &mut Taken) -> Option<ProviderId> {
    let bounds = "1 to 32 of `a-z`, `0-9` and `-`, beginning with a letter";
    let key = Key { name: "name", meaning: "its name in sessions and in the audit log", bounds: bounds.to_owned() };
    let mut name: Option<ProviderId> = None;
    let show = |name: &Option<ProviderId>| name.as_ref().map(ToString::to_string).unwrap_or_default();
    let source = section.text(key, &mut name, show, |text| {
        let name = text.parse().map(Some);
        name.map_err(|_why| Wrong::new(format!("{} is no issuer's name", quoted(text)), bounds.replace('`', "")))
    });
    let Some(found) = &name else {
        if !section.is_at_fault("name") {
            section.fault("name", section.source(), Wrong::new("missing", "name = \"old-shop\""));
        }
        return None;
    };
    if let Some(first) = taken.names.insert(found.clone(), source.clone()) {
        let what = format!("{} is another issuer's, in {first}", quoted(found.as_str()));
        section.fault("name", source, Wrong::new(what, "a name of its own"));
    } else if providers.iter().any(|provider| provider.id == *found) {
        // Sessions are named after both.
        let what = format!("{} is a provider's id", quoted(found.as_str()));
        section.fault("name", source, Wrong::new(what, "a name of its own"));
    }
    name
}

fn keys(section: &mut Section<'_>, secret: Option<SecretSource>) -> Option<IssuerKeys> {
    let uri = optional(section, "jwks_uri", "where its public keys are; or else `secret`", "a URL", url);
    let mut algorithms: Vec<String> = Vec::new();
    let meaning = "with `jwks_uri`: what it may sign with; unset: RS256, ES256, EdDSA";
    let key = Key { name: "algorithms", meaning, bounds: format!("a list of {}", any_of(&ALGORITHMS)) };
    let algorithms_at = section.texts(key, &mut algorithms, |text| {
        let known = ALGORITHMS.contains(&text).then(|| text.to_owned());
        known.ok_or_else(|| Wrong::new(format!("{} is not known here", quoted(text)), any_of(&ALGORITHMS)))
    });
    let mut private_network = false;
    let meaning = "`jwks_uri` may be at a private address, and in clear text on loopback";
    section.flag("private_network", meaning, &mut private_network);
    let mut ca = None;
    section.optional_path("ca", "who vouches for `jwks_uri` (PEM); unset: whom this machine trusts", &mut ca);
    match (uri, secret) {
        (Some(_), Some(_)) => {
            let wrong = Wrong::new("a secret beside public keys: who has the one could pass for the other", "keep one");
            section.fault("secret", section.source(), wrong);
            None
        }
        (Some(uri), None) => {
            if algorithms.is_empty() {
                algorithms = ALGORITHMS_DEFAULT.map(ToOwned::to_owned).into();
            }
            Some(IssuerKeys::Published { uri, algorithms, private_network, ca })
        }
        (None, Some(secret)) => {
            if algorithms_at != Source::Default {
                let wrong = Wrong::new("with a secret it is HS256 and nothing else", "leave it out");
                section.fault("algorithms", algorithms_at, wrong);
            }
            Some(IssuerKeys::Shared(secret))
        }
        (None, None) => {
            if !section.is_at_fault("jwks_uri") && !section.is_at_fault("secret") {
                let wrong =
                    Wrong::new("nothing proves its tokens: neither jwks_uri nor a secret", "jwks_uri = \"https://…\"");
                section.fault("jwks_uri", section.source(), wrong);
            }
            None
        }
    }
}

/// None if an identity is meant, and nobody knows at which provider.
fn person(section: &mut Section<'_>, providers: &[Provider]) -> Option<PersonBy> {
    /// What is written; of an identity it must be told where.
    #[derive(Clone, Copy, PartialEq)]
    enum Word {
        ExternalId,
        Email,
        UserName,
        Identity,
    }
    let words = [
        ("external_id", Word::ExternalId),
        ("email", Word::Email),
        ("user_name", Word::UserName),
        ("identity", Word::Identity),
    ];
    let mut word = Word::ExternalId;
    let meaning = "as what `claim` is known here; an e-mail address only if the account has proven it";
    section.word("person", meaning, &words, &mut word);
    let meaning = "with `person = \"identity\"`: at which provider `claim` is a subject";
    let provider = optional(section, "provider", meaning, "a provider's id", text);
    let known = provider.as_ref().and_then(|id| providers.iter().find(|provider| provider.id.as_str() == id));
    match (word, known) {
        (Word::Identity, Some(provider)) => Some(PersonBy::Identity(provider.id.clone())),
        (Word::Identity, None) => {
            let wrong = Wrong::new("no provider of [[providers]] is named", "its id");
            section.fault("provider", section.source(), wrong);
            None
        }
        (Word::ExternalId, _) => Some(PersonBy::ExternalId),
        (Word::Email, _) => Some(PersonBy::Email),
        (Word::UserName, _) => Some(PersonBy::UserName),
    }
}

fn until(section: &mut Section<'_>) -> Option<Timestamp> {
    let mut until = None;
    let bounds = "a time as RFC 3339 has it, in quotes";
    let meaning = "from then on it is not believed any more: the end of a migration";
    let key = Key { name: "until", meaning, bounds: bounds.to_owned() };
    let show = |until: &Option<Timestamp>| until.map(|until| until.to_string()).unwrap_or_default();
    section.text(key, &mut until, show, |text| match text.parse::<jiff::Timestamp>() {
        Ok(time) => Ok(Some(Timestamp::from_micros(time.as_microsecond()))),
        Err(_) => Err(Wrong::new(format!("{} is no time", quoted(text)), "\"2027-03-31T00:00:00Z\"")),
    });
    until
}

fn text(text: &str) -> Result<String, Wrong> {
    if (1..=TEXT_BYTES).contains(&text.len()) && !text.chars().any(char::is_control) {
        return Ok(text.to_owned());
    }
    Err(Wrong::new(
        format!("{} is too long, empty, or has control characters", quoted(text)),
        format!("{TEXT_BYTES} bytes"),
    ))
}
