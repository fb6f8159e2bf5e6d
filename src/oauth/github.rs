//! GitHub: OAuth 2.0 with an API of its own. Its address is the primary one that it has proven; what it makes up for those
//! who hide theirs is none.

use serde_json::Value;

use super::exchange::Tokens;
use super::http::Expected;
use super::provider::Provider;
use super::words::{self, Object};
use super::{Absence, ProviderFault, Rejection};
use crate::domain::identity::{EmailTrust, Profile};

const NO_REPLY: &str = "users.noreply.github.com";

pub(super) async fn identify(provider: &Provider, tokens: &Tokens) -> Result<Profile, ProviderFault> {
    let url = provider.metadata().await?.userinfo.clone().ok_or(Absence::Discovery)?;
    let answer = provider.http().get(&url, Some(&tokens.access), Expected::Answer).await?;
    let user = words::profile_object(&answer)?;
    let subject = words::subject(user.get("id").filter(|id| id.is_number()))?;
    let mut profile = provider.profile(subject, None);

    let mut emails = url;
    if let Ok(mut path) = emails.path_segments_mut() {
        path.pop_if_empty().push("emails");
    }
    let answer = provider.http().get(&emails, Some(&tokens.access), Expected::Answer).await?;
    // Without the scope, or to an app without the permission, it says that there is nothing there.
    if answer.status.is_success() {
        let list = list(&answer.body)?;
        let link_domains = &provider.settings().link_domains;
        words::with_email(&mut profile, primary(&list), EmailTrust::Authoritative, link_domains);
    }
    words::with_name(&mut profile, [words::text(&user, "name"), words::text(&user, "login")]);
    profile.avatar_url = words::picture(words::text(&user, "avatar_url"), false);
    Ok(profile)
}

/// The strict reader takes objects, so the list is put into one.
fn list(body: &[u8]) -> Result<Object, Rejection> {
    let body = str::from_utf8(body).map_err(|_not_utf8| Rejection::Malformed)?;
    let object = words::object(format!("{{\"emails\":{body}}}").as_bytes())?;
    if object.len() == 1 && object.get("emails").is_some_and(Value::is_array) {
        Ok(object)
    } else {
        Err(Rejection::Malformed)
    }
}

fn primary(object: &Object) -> Option<&str> {
    let entries = object.get("emails")?.as_array()?.iter().filter_map(Value::as_object);
    let mut proven = entries.filter(|entry| words::is_true(entry, "primary") && words::is_true(entry, "verified"));
    let email = words::text(proven.next()?, "email")?;
    let domain = email.rsplit_once('@')?.1.to_ascii_lowercase();
    let is_made_up = domain == NO_REPLY || domain.ends_with(".noreply.github.com");
    (!is_made_up && proven.next().is_none()).then_some(email)
}
