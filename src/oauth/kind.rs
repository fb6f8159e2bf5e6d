//! What is known of each kind of provider without asking it.

use super::Settings;
use crate::domain::identity::ProviderKind;

/// Endpoints that are not published anywhere, or not where they should be.
#[derive(Default)]
pub(super) struct UsualEndpoints {
    pub(super) authorization: Option<&'static str>,
    pub(super) token: Option<&'static str>,
    pub(super) userinfo: Option<&'static str>,
}

pub(super) const fn usual_endpoints(kind: ProviderKind, is_oidc: bool) -> UsualEndpoints {
    let (authorization, token, userinfo) = match (kind, is_oidc) {
        (ProviderKind::Kakao, false) => (
            Some("https://kauth.kakao.com/oauth/authorize"),
            Some("https://kauth.kakao.com/oauth/token"),
            Some("https://kapi.kakao.com/v2/user/me"),
        ),
        (ProviderKind::Naver, false) => (
            Some("https://nid.naver.com/oauth2.0/authorize"),
            Some("https://nid.naver.com/oauth2.0/token"),
            Some("https://openapi.naver.com/v1/nid/me"),
        ),
        (ProviderKind::GitHub, _) => (
            Some("https://github.com/login/oauth/authorize"),
            Some("https://github.com/login/oauth/access_token"),
            Some("https://api.github.com/user"),
        ),
        (ProviderKind::Google | ProviderKind::Kakao | ProviderKind::Naver | ProviderKind::Oidc, _) => {
            (None, None, None)
        }
    };
    UsualEndpoints { authorization, token, userinfo }
}

/// Whom it says to be.
pub(super) const fn issuer(kind: ProviderKind) -> Option<&'static str> {
    match kind {
        ProviderKind::Google => Some("https://accounts.google.com"),
        ProviderKind::Kakao => Some("https://kauth.kakao.com"),
        ProviderKind::Naver => Some("https://nid.naver.com"),
        ProviderKind::GitHub => Some("https://github.com"),
        ProviderKind::Oidc => None,
    }
}

/// Another spelling that its id_tokens may have.
pub(super) fn other_issuer(kind: ProviderKind, issuer: &str) -> Option<&'static str> {
    (kind == ProviderKind::Google && Some(issuer) == self::issuer(kind)).then_some("accounts.google.com")
}

/// Where its endpoints are, beside the issuer's host.
pub(super) const fn hosts(kind: ProviderKind) -> &'static [&'static str] {
    match kind {
        ProviderKind::Google => {
            &["accounts.google.com", "oauth2.googleapis.com", "openidconnect.googleapis.com", "www.googleapis.com"]
        }
        ProviderKind::Kakao => &["kauth.kakao.com", "kapi.kakao.com"],
        ProviderKind::Naver => &["nid.naver.com", "openapi.naver.com"],
        ProviderKind::GitHub | ProviderKind::Oidc => &[],
    }
}

/// No more than a profile needs. Of Kakao none: with `scope` it asks for that alone, without it for what its console says.
pub(super) fn scopes(settings: &Settings) -> Vec<&str> {
    match (&settings.scopes, settings.kind) {
        (Some(scopes), _) => scopes.iter().map(String::as_str).collect(),
        (None, ProviderKind::Google | ProviderKind::Oidc) => vec!["openid", "email", "profile"],
        (None, ProviderKind::Naver) if settings.is_oidc => vec!["openid"],
        (None, ProviderKind::Kakao | ProviderKind::Naver) => Vec::new(),
        (None, ProviderKind::GitHub) => vec!["read:user", "user:email"],
    }
}

/// Whether it answers the proof of RFC 7636, or would ignore it.
pub(super) const fn has_pkce(kind: ProviderKind, is_oidc: bool) -> bool {
    !matches!((kind, is_oidc), (ProviderKind::Naver, false))
}

/// Whether it wants the secret in the body whatever it publishes (RFC 6749, section 2.3.1).
pub(super) const fn auth_in_body(kind: ProviderKind) -> Option<bool> {
    match kind {
        ProviderKind::Google | ProviderKind::Kakao | ProviderKind::Naver | ProviderKind::GitHub => Some(true),
        ProviderKind::Oidc => None,
    }
}
