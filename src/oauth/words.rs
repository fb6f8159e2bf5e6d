//! Providers' words, made ours: tolerant of a member's type, strict about what it means.

use std::borrow::Cow;

use serde_json::{Map, Value};
use url::Url;

use super::http::Answer;
use super::{Absence, ProviderFault, Rejection};
use crate::domain::account::Email;
use crate::domain::identity::{EmailTrust, Profile, Subject, display_name};
use crate::domain::json;

const URL_BYTES_MAX: usize = 2048;

pub(super) type Object = Map<String, Value>;

/// An object; what is no JSON proves nobody.
pub(super) fn object(body: &[u8]) -> Result<Object, Rejection> {
    json::parse_object(body).map_err(|_why| Rejection::Malformed)
}

/// A profile's object, by the status first.
pub(super) fn profile_object(answer: &Answer) -> Result<Object, ProviderFault> {
    if answer.status.is_success() { Ok(object(&answer.body)?) } else { Err(Rejection::ErrorAnswer.into()) }
}

/// A text, if it is one and says something.
pub(super) fn text<'a>(object: &'a Object, name: &str) -> Option<&'a str> {
    object.get(name)?.as_str().filter(|text| !text.trim().is_empty())
}

/// The boolean, and nothing that looks like it: `"true"` and `1` are what somebody else made of it.
pub(super) fn is_true(object: &Object, name: &str) -> bool {
    object.get(name) == Some(&Value::Bool(true))
}

/// An object inside, if it is one.
pub(super) fn inner<'a>(object: &'a Object, name: &str) -> Option<&'a Object> {
    object.get(name)?.as_object()
}

/// An id: a whole number's decimal text, or a text as it stands. A number with a fraction or an exponent was rounded by
/// somebody.
pub(super) fn subject(value: Option<&Value>) -> Result<Subject, Rejection> {
    let text: Cow<'_, str> = match value {
        Some(Value::String(text)) => text.into(),
        Some(Value::Number(number)) => {
            number.as_u64().filter(|id| *id > 0).ok_or(Rejection::NoSubject)?.to_string().into()
        }
        _ => return Err(Rejection::NoSubject),
    };
    text.parse().map_err(|_why| Rejection::NoSubject)
}

/// An https URL; `http` is raised to it where that is known to work.
pub(super) fn picture(text: Option<&str>, raise: bool) -> String {
    let Some(text) = text.filter(|text| text.len() <= URL_BYTES_MAX) else { return String::new() };
    let raised = if raise { text.strip_prefix("http://").map(|rest| format!("https://{rest}")) } else { None };
    let url = Url::parse(raised.as_deref().unwrap_or(text)).ok();
    let url = url.filter(|url| url.scheme() == "https" && url.username().is_empty() && url.password().is_none());
    url.map(String::from).filter(|url| url.len() <= URL_BYTES_MAX).unwrap_or_default()
}

/// Gives the profile an address, if it is one, and what may be believed of it: `Authoritative` only within the domains that
/// the operator named, if any were.
pub(super) fn with_email(profile: &mut Profile, text: Option<&str>, trust: EmailTrust, link_domains: &[String]) {
    let Some(email) = text.and_then(|text| text.parse::<Email>().ok()) else { return };
    let is_within =
        link_domains.is_empty() || link_domains.iter().any(|name| domain(&email).eq_ignore_ascii_case(name));
    // We compare addresses in a form that makes one of several of Unicode's: the provider vouched for one of them, which need
    // not be the one that an account here has.
    let is_vouched_for = email.as_given().is_ascii();
    profile.email_trust = match (is_vouched_for, is_within) {
        (false, _) => EmailTrust::None,
        (true, true) => trust,
        (true, false) => trust.min(EmailTrust::Verified),
    };
    profile.email = Some(email);
}

/// As it was sent; none if it is not ASCII, as that of an address which only looks like one of the provider's own.
pub(super) fn domain(email: &Email) -> &str {
    email.as_given().rsplit_once('@').map(|(_, domain)| domain).filter(|domain| domain.is_ascii()).unwrap_or_default()
}

/// The first that says something.
pub(super) fn with_name<'a>(profile: &mut Profile, names: impl IntoIterator<Item = Option<&'a str>>) {
    let mut names = names.into_iter().flatten().map(display_name);
    profile.display_name = names.find(|name| !name.is_empty()).unwrap_or_default();
}

/// A refusal of a profile that was asked for with a fresh token: never because the token is bad.
pub(super) fn away() -> ProviderFault {
    Absence::ServerError.into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::identity::IdentityKey;

    #[test]
    fn ids_keep_every_digit() {
        for (value, id) in [
            (json!("4521356435"), Some("4521356435")),
            (json!("a+/=b"), Some("a+/=b")),
            (json!(1), Some("1")),
            (json!(9_223_372_036_854_775_807_u64), Some("9223372036854775807")),
            (json!(18_446_744_073_709_551_615_u64), Some("18446744073709551615")),
            (json!(0), None),
            (json!(-1), None),
            (json!(1.0), None),
            (json!(1e30), None),
            (json!(""), None),
            (json!(" 1"), None),
            (json!(true), None),
            (json!([1]), None),
            (json!({}), None),
            (Value::Null, None),
        ] {
            let found = subject(Some(&value)).ok();
            assert_eq!(found.as_ref().map(Subject::as_str), id, "{value}");
        }
        assert!(subject(None).is_err());
        let too_large: Value = serde_json::from_str("18446744073709551616").unwrap();
        assert!(subject(Some(&too_large)).is_err());
    }

    #[test]
    fn pictures_are_https_or_none() {
        assert_eq!(picture(Some("https://a.example/x.jpg"), false), "https://a.example/x.jpg");
        assert_eq!(picture(Some("http://k.kakaocdn.net/x.jpg"), true), "https://k.kakaocdn.net/x.jpg");
        let long = format!("https://a.example/{}", "x".repeat(URL_BYTES_MAX));
        for text in
            ["http://a.example/", "javascript:alert(1)", "data:image/png;base64,AA", "//a", "", "https://u:p@a/", &long]
        {
            assert_eq!(picture(Some(text), false), "", "{text}");
        }
        assert_eq!(picture(Some("javascript:alert(1)"), true), "");
        assert_eq!(picture(None, true), "");
    }

    #[test]
    fn an_address_is_judged_as_it_was_sent() {
        for (sent, of, trust) in [
            ("kim@gmail.com", "gmail.com", EmailTrust::Authoritative),
            ("kim@GMAIL.com", "GMAIL.com", EmailTrust::Authoritative),
            ("kim@example.com", "example.com", EmailTrust::Verified),
            // All of them are kim@gmail.com to whom compares them in one form.
            ("kim@\u{ff47}mail.com", "", EmailTrust::None),
            ("kim@gma\u{2170}l.com", "", EmailTrust::None),
            ("\u{ff4b}im@gmail.com", "gmail.com", EmailTrust::None),
        ] {
            assert_eq!(domain(&sent.parse().unwrap()), of, "{sent}");
            let key = IdentityKey { provider: "it".parse().unwrap(), subject: "1".parse().unwrap() };
            let mut profile = Profile::new(key, String::new());
            with_email(&mut profile, Some(sent), EmailTrust::Authoritative, &["gmail.com".to_owned()]);
            assert_eq!(profile.email_trust, trust, "{sent}");
        }
    }

    #[test]
    fn only_the_boolean_is_true() {
        let object = json!({ "a": true, "b": "true", "c": 1, "d": [true], "e": null, "f": false });
        let object = object.as_object().unwrap();
        let found: Vec<&str> =
            ["a", "b", "c", "d", "e", "f", "g"].into_iter().filter(|name| is_true(object, name)).collect();
        assert_eq!(found, ["a"]);
    }
}
