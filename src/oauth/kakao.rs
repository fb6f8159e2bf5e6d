//! Kakao: OpenID Connect where its console says so, or OAuth 2.0 with an API of its own. It vouches for an address that it
//! calls both valid (nobody else took it since) and verified.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use secrecy::ExposeSecret as _;
use serde_json::Value;

use super::exchange::Tokens;
use super::http::{Answer, Expected};
use super::id_token::Claims;
use super::provider::Provider;
use super::words::{self, Object};
use super::{Absence, Notice, NoticeRefused, ProviderFault, Rejection, Settings, Unlinked, oidc};
use crate::domain::identity::{EmailTrust, Profile, Subject};

/// What its webhook wants to hear, also about people whom nobody knows.
const NOTED: u16 = 200;
const SCHEME: &str = "KakaoAK ";
/// The id of a person is a long.
const DIGITS_MAX: usize = 20;

/// The id_token has an address without a word about it, so the userinfo endpoint is asked.
pub(super) async fn identify_by_id_token(
    provider: &Provider,
    tokens: &Tokens,
    claims: Claims,
) -> Result<Profile, ProviderFault> {
    let Some(url) = provider.metadata().await?.userinfo.clone() else {
        return Ok(by_id_token_alone(provider, &claims));
    };
    let said = api_object(&provider.http().get(&url, Some(&tokens.access), Expected::Answer).await?)?;
    oidc::is_about_the_same(&said, &claims)?;
    let trust = if words::is_true(&said, "email_verified") { EmailTrust::Authoritative } else { EmailTrust::None };
    let mut profile = provider.profile(claims.subject, claims.auth_time);
    words::with_email(&mut profile, words::text(&said, "email"), trust, &provider.settings().link_domains);
    words::with_name(&mut profile, [words::text(&said, "nickname"), words::text(&claims.rest, "nickname")]);
    profile.avatar_url = words::picture(words::text(&said, "picture"), true);
    Ok(profile)
}

pub(super) fn by_id_token_alone(provider: &Provider, claims: &Claims) -> Profile {
    let mut profile = provider.profile(claims.subject.clone(), claims.auth_time);
    let email = words::text(&claims.rest, "email");
    words::with_email(&mut profile, email, EmailTrust::None, &provider.settings().link_domains);
    words::with_name(&mut profile, [words::text(&claims.rest, "nickname")]);
    profile.avatar_url = words::picture(words::text(&claims.rest, "picture"), true);
    profile
}

pub(super) async fn identify(provider: &Provider, tokens: &Tokens) -> Result<Profile, ProviderFault> {
    let url = provider.metadata().await?.userinfo.clone().ok_or(Absence::Discovery)?;
    let said = api_object(&provider.http().get(&url, Some(&tokens.access), Expected::Answer).await?)?;
    let mut profile = provider.profile(person(said.get("id"))?, None);
    // All of this is by consent, and any of it may be absent.
    let empty = Object::new();
    let account = words::inner(&said, "kakao_account").unwrap_or(&empty);
    let shown = words::inner(account, "profile").unwrap_or(&empty);
    let is_proven = words::is_true(account, "is_email_valid") && words::is_true(account, "is_email_verified");
    let trust = if is_proven { EmailTrust::Authoritative } else { EmailTrust::None };
    words::with_email(&mut profile, words::text(account, "email"), trust, &provider.settings().link_domains);
    words::with_name(&mut profile, [words::text(shown, "nickname"), words::text(account, "name")]);
    if !words::is_true(shown, "is_default_image") {
        profile.avatar_url = words::picture(words::text(shown, "profile_image_url"), true);
    }
    Ok(profile)
}

/// Its API says what was wrong by a number: -1 is a fault of its own although the status is 400.
fn api_object(answer: &Answer) -> Result<Object, ProviderFault> {
    if answer.status.is_success() {
        return Ok(words::object(&answer.body)?);
    }
    let code = words::object(&answer.body).ok().and_then(|said| said.get("code")?.as_i64());
    Err(match code {
        Some(-1) => words::away(),
        Some(-10) => Absence::Throttled.into(),
        Some(-402) => Rejection::ConsentMissing.into(),
        _ => Rejection::ErrorAnswer.into(),
    })
}

/// A number in decimal digits, as a number or as a text.
fn person(id: Option<&Value>) -> Result<Subject, Rejection> {
    let subject = words::subject(id)?;
    let is_number = (1..=DIGITS_MAX).contains(&subject.as_str().len())
        && subject.as_str().bytes().all(|byte| byte.is_ascii_digit())
        && !subject.as_str().starts_with('0');
    if is_number { Ok(subject) } else { Err(Rejection::NoSubject) }
}

/// The admin key in the header is all that proves its webhook.
pub(super) fn unlinked(settings: &Settings, notice: &Notice<'_>) -> Result<Unlinked, NoticeRefused> {
    let key = settings.admin_key.as_ref().ok_or(NoticeRefused)?;
    let expected = format!("{SCHEME}{}", key.expose_secret());
    let shown = notice.authorization.expose_secret();
    verify_slices_are_equal(expected.as_bytes(), shown.as_bytes()).map_err(|_another| NoticeRefused)?;
    let id = notice.parameters.get("user_id").map(|id| Value::String(id.clone()));
    let subject = person(id.as_ref()).map_err(|_no_id| NoticeRefused)?;
    Ok(Unlinked { subject, at: None, http_status: NOTED })
}
