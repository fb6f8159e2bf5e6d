//! OpenID Connect as it is written (OpenID Connect Core), for Google and any other provider that speaks it.

use serde_json::Value;

use super::exchange::Tokens;
use super::google;
use super::http::Expected;
use super::id_token::Claims;
use super::provider::Provider;
use super::words::{self, Object};
use super::{ProviderFault, Rejection};
use crate::domain::account::Email;
use crate::domain::identity::{EmailTrust, Profile, ProviderKind};

/// Who it is, by the id_token; what that leaves out, by the userinfo endpoint (section 5.3), which some use for everything.
pub(super) async fn identify(provider: &Provider, tokens: &Tokens, claims: Claims) -> Result<Profile, ProviderFault> {
    let is_enough = claims.rest.contains_key("email") && claims.rest.contains_key("name");
    let userinfo = match &provider.metadata().await?.userinfo {
        Some(url) if !is_enough => {
            let answer = provider.http().get(url, Some(&tokens.access), Expected::Answer).await?;
            let said = words::profile_object(&answer)?;
            is_about_the_same(&said, &claims)?;
            Some(said)
        }
        _ => None,
    };
    Ok(profile(provider, &claims, userinfo.as_ref()))
}

/// An answer about another person was swapped in (section 5.3.2).
pub(super) fn is_about_the_same(said: &Object, claims: &Claims) -> Result<(), Rejection> {
    if said.get("sub").and_then(Value::as_str) == Some(claims.subject.as_str()) {
        Ok(())
    } else {
        Err(Rejection::SubjectMismatch)
    }
}

/// From the id_token, and from `userinfo` what it leaves out.
pub(super) fn profile(provider: &Provider, claims: &Claims, userinfo: Option<&Object>) -> Profile {
    let verified = &claims.rest;
    let said = |name: &str| words::text(verified, name).or_else(|| words::text(userinfo?, name));
    // An address and whether it is proven are of one piece.
    let of_email = if verified.contains_key("email") { verified } else { userinfo.unwrap_or(verified) };
    let trust = match provider.settings().kind {
        ProviderKind::Google => google::email_trust(of_email, verified),
        _ if words::is_true(of_email, "email_verified") => EmailTrust::Authoritative,
        _ => EmailTrust::None,
    };
    let mut profile = provider.profile(claims.subject.clone(), claims.auth_time);
    words::with_email(&mut profile, words::text(of_email, "email"), trust, &provider.settings().link_domains);
    let both = [said("given_name"), said("family_name")].into_iter().flatten().collect::<Vec<_>>().join(" ");
    words::with_name(&mut profile, [said("name"), Some(both.as_str()), said("nickname"), said("preferred_username")]);
    profile.avatar_url = words::picture(said("picture"), false);
    profile
}

pub(super) fn email(said: &Object) -> Option<Email> {
    words::text(said, "email")?.parse().ok()
}
