//! Messages into clients: what can be set of one, and what it must keep to.

use std::time::Duration;

use crate::auth::error::AuthError;
use crate::domain::client::{
    ABSOLUTE_TTL_MAX, ACCESS_TTL_MAX, Origin, REFRESH_GRACE_MAX, Registration, San, SessionLimits,
};
use crate::domain::id::ClientId;
use crate::grpc::fields::{AUDIENCE_BYTES_MAX, AUDIENCES_MAX, Fields, Length};
use crate::proto::admin::v1 as wire;
use crate::store::ClientChange;

const DISPLAY_NAME: Length = Length::Chars(128);
const SANS_MAX: usize = 16;
const RETURN_URLS_MAX: usize = 32;
const RETURN_URL_BYTES_MAX: usize = 512;
const TTL_MIN: Duration = Duration::from_mins(1);
const SESSIONS_MAX: usize = 1_000;

/// A client to be registered.
pub(super) fn new(fields: &mut Fields, client: wire::Client) -> Option<Registration> {
    let output_only = [
        ("client.has_secret", client.has_secret),
        ("client.from_config", client.from_config),
        ("client.etag", !client.etag.is_empty()),
    ];
    for (field, is_set) in output_only {
        if is_set {
            fields.refuse(field, "must not be set: the server says it");
        }
    }
    let id: Option<ClientId> = fields.parse("client.id", &client.id);
    let disabled = client.disabled;
    let change = read_parts(fields, client, Part::ALL);
    let change = change?;
    let limits = change.limits;
    Some(Registration {
        display_name: change.display_name?,
        mtls_sans: change.mtls_sans?,
        audience: change.audience?,
        token_audiences: change.token_audiences?,
        return_urls: change.return_urls?,
        limits: SessionLimits {
            access_ttl: limits.access_ttl?,
            idle_ttl: limits.idle_ttl?,
            absolute_ttl: limits.absolute_ttl?,
            refresh_grace: limits.refresh_grace?,
            max_per_user: limits.max_per_user?,
        },
        disabled,
        ..Registration::new(id?, Origin::Store)
    })
}

/// Which client to change, its etag, and what to set.
pub(super) fn update(
    request: wire::UpdateClientRequest,
) -> Result<(ClientId, Option<String>, ClientChange), AuthError> {
    let wire::UpdateClientRequest { client, update_mask } = request;
    let mut fields = Fields::default();
    let paths = update_mask.map(|mask| mask.paths).unwrap_or_default();
    if paths.is_empty() {
        fields.refuse("update_mask", "must name the fields to set");
    }
    let mut parts = Vec::new();
    for path in &paths {
        let named = Part::named(path);
        if named.is_empty() {
            fields.refuse(
                "update_mask",
                format_args!("must name fields of a client that can be set; one is not: {}", Part::names()),
            );
        }
        parts.extend(named.iter().copied());
    }
    let read = fields.required("client", client).and_then(|client| {
        let id: Option<ClientId> = fields.parse("client.id", &client.id);
        let etag = (!client.etag.is_empty()).then(|| client.etag.clone());
        let change = read_parts(&mut fields, client, &parts);
        Some((id?, etag, change?))
    });
    fields.finish(|| read)
}

/// What can be set of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Part {
    DisplayName,
    MtlsSans,
    Audience,
    TokenAudiences,
    ReturnUrls,
    AccessTtl,
    IdleTtl,
    AbsoluteTtl,
    RefreshGrace,
    MaxPerUser,
    Disabled,
}

impl Part {
    const ALL: &[Self] = &[
        Self::DisplayName,
        Self::MtlsSans,
        Self::Audience,
        Self::TokenAudiences,
        Self::ReturnUrls,
        Self::AccessTtl,
        Self::IdleTtl,
        Self::AbsoluteTtl,
        Self::RefreshGrace,
        Self::MaxPerUser,
        Self::Disabled,
    ];

    const LIMITS: &[Self] = &[Self::AccessTtl, Self::IdleTtl, Self::AbsoluteTtl, Self::RefreshGrace, Self::MaxPerUser];

    const fn path(self) -> &'static str {
        match self {
            Self::DisplayName => "display_name",
            Self::MtlsSans => "mtls_sans",
            Self::Audience => "audience",
            Self::TokenAudiences => "token_audiences",
            Self::ReturnUrls => "return_urls",
            Self::AccessTtl => "session_policy.access_ttl",
            Self::IdleTtl => "session_policy.idle_ttl",
            Self::AbsoluteTtl => "session_policy.absolute_ttl",
            Self::RefreshGrace => "session_policy.refresh_grace",
            Self::MaxPerUser => "session_policy.max_per_user",
            Self::Disabled => "disabled",
        }
    }

    /// What a path of a mask means; nothing, if it is none.
    fn named(path: &str) -> &'static [Self] {
        if path == "session_policy" {
            return Self::LIMITS;
        }
        let index = Self::ALL.iter().position(|part| part.path() == path);
        index.and_then(|index| Self::ALL.get(index..=index)).unwrap_or_default()
    }

    fn names() -> String {
        Self::ALL.iter().map(|part| part.path()).collect::<Vec<_>>().join(", ")
    }
}

/// Only these parts are looked at: what a mask does not name may be anything.
fn read_parts(fields: &mut Fields, client: wire::Client, parts: &[Part]) -> Option<ClientChange> {
    let mut change = ClientChange::default();
    let mut sound = true;
    let policy = client.session_policy.unwrap_or_default();
    let wire::Client { display_name, mtls_sans, audience, token_audiences, return_urls, disabled, .. } = client;
    // In their own order, so that faults are told in the same one every time.
    for part in Part::ALL.iter().filter(|part| parts.contains(part)) {
        let field = format!("client.{}", part.path());
        let ttl = |fields: &mut Fields, ttl: Option<&prost_types::Duration>, min, max| {
            read_ttl(fields, &field, ttl, min, max)
        };
        sound &= match part {
            Part::DisplayName => set(&mut change.display_name, fields.text(&field, display_name.clone(), DISPLAY_NAME)),
            Part::MtlsSans => set(&mut change.mtls_sans, read_sans(fields, &field, &mtls_sans)),
            Part::Audience => {
                set(&mut change.audience, fields.text(&field, audience.clone(), Length::Bytes(AUDIENCE_BYTES_MAX)))
            }
            Part::TokenAudiences => set(
                &mut change.token_audiences,
                read_texts(fields, &field, &token_audiences, AUDIENCES_MAX, AUDIENCE_BYTES_MAX),
            ),
            Part::ReturnUrls => set(&mut change.return_urls, read_urls(fields, &field, &return_urls)),
            Part::AccessTtl => {
                set(&mut change.limits.access_ttl, ttl(fields, policy.access_ttl.as_ref(), TTL_MIN, ACCESS_TTL_MAX))
            }
            Part::IdleTtl => {
                set(&mut change.limits.idle_ttl, ttl(fields, policy.idle_ttl.as_ref(), TTL_MIN, ABSOLUTE_TTL_MAX))
            }
            Part::AbsoluteTtl => set(
                &mut change.limits.absolute_ttl,
                ttl(fields, policy.absolute_ttl.as_ref(), TTL_MIN, ABSOLUTE_TTL_MAX),
            ),
            Part::RefreshGrace => set(
                &mut change.limits.refresh_grace,
                ttl(fields, policy.refresh_grace.as_ref(), Duration::ZERO, REFRESH_GRACE_MAX),
            ),
            Part::MaxPerUser => {
                set(&mut change.limits.max_per_user, read_max_per_user(fields, &field, policy.max_per_user))
            }
            Part::Disabled => set(&mut change.disabled, Some(disabled)),
        };
    }
    sound.then_some(change)
}

/// Whether there was something to set.
fn set<T>(part: &mut Option<T>, value: Option<T>) -> bool {
    *part = value;
    part.is_some()
}

#[expect(clippy::option_option, reason = "none at all is a fault that was noted")]
fn read_ttl(
    fields: &mut Fields,
    field: &str,
    ttl: Option<&prost_types::Duration>,
    min: Duration,
    max: Duration,
) -> Option<Option<Duration>> {
    let ttl = fields.duration(field, ttl)?;
    if ttl.is_some_and(|ttl| !(min..=max).contains(&ttl)) {
        fields.refuse(field, format_args!("must be {} to {} seconds, or unset", min.as_secs(), max.as_secs()));
        return None;
    }
    Some(ttl)
}

/// Zero is unset.
#[expect(clippy::option_option, reason = "none at all is a fault that was noted")]
fn read_max_per_user(fields: &mut Fields, field: &str, max: i32) -> Option<Option<usize>> {
    match usize::try_from(max) {
        Ok(0) => Some(None),
        Ok(max) if max <= SESSIONS_MAX => Some(Some(max)),
        _ => {
            fields.refuse(field, format_args!("must be 1 to {SESSIONS_MAX}, or unset"));
            None
        }
    }
}

fn read_sans(fields: &mut Fields, field: &str, texts: &[String]) -> Option<Vec<San>> {
    let texts = read_texts(fields, field, texts, SANS_MAX, San::BYTES_MAX)?;
    let mut sans: Vec<San> = Vec::with_capacity(texts.len());
    for (index, text) in texts.iter().enumerate() {
        match text.parse() {
            Ok(san) if sans.contains(&san) => {
                fields.refuse(format_args!("{field}[{index}]"), "must not be named twice");
            }
            Ok(san) => sans.push(san),
            Err(_invalid) => fields.refuse(
                format_args!("{field}[{index}]"),
                "must be a DNS name without wildcard, or a URI such as spiffe://domain/path",
            ),
        }
    }
    (sans.len() == texts.len()).then_some(sans)
}

/// Whole URLs, because they are compared whole; a fragment would never come back from a browser.
fn read_urls(fields: &mut Fields, field: &str, texts: &[String]) -> Option<Vec<String>> {
    let urls = read_texts(fields, field, texts, RETURN_URLS_MAX, RETURN_URL_BYTES_MAX)?;
    let mut sound = true;
    for (index, url) in urls.iter().enumerate() {
        let has_scheme = url.split_once(':').is_some_and(|(scheme, rest)| {
            scheme.starts_with(|letter: char| letter.is_ascii_lowercase())
                && scheme
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte))
                && !rest.is_empty()
                && !matches!(scheme, "javascript" | "data" | "vbscript" | "file" | "blob")
        });
        if !has_scheme || url.contains('#') || !url.bytes().all(|byte| byte.is_ascii_graphic()) {
            fields.refuse(format_args!("{field}[{index}]"), "must be a whole URL without fragment");
            sound = false;
        }
    }
    sound.then_some(urls)
}

/// Each once, none of them empty.
fn read_texts(
    fields: &mut Fields,
    field: &str,
    texts: &[String],
    count_max: usize,
    bytes_max: usize,
) -> Option<Vec<String>> {
    if texts.len() > count_max {
        fields.refuse(field, format_args!("must have at most {count_max} entries"));
        return None;
    }
    let mut read = Vec::with_capacity(texts.len());
    for (index, text) in texts.iter().enumerate() {
        let field = format_args!("{field}[{index}]");
        if text.is_empty() {
            fields.refuse(field, "must not be empty");
        } else if read.contains(text) {
            fields.refuse(field, "must not be named twice");
        } else {
            read.extend(fields.text(field, text.clone(), Length::Bytes(bytes_max)));
        }
    }
    (read.len() == texts.len()).then_some(read)
}

#[cfg(test)]
mod tests;
