//! What there is to ask: paths, methods, and in which form a body may come. Paths are compared as they were sent, without
//! decoding; what is not here is not found, and a method that is not here is refused, whatever a header says it should mean.

use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method};

use super::refusal::Refusal;
use crate::domain::id::ClientId;
use crate::domain::identity::ProviderId;

/// A place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    Home,
    Health,
    Keys,
    OpenIdConfiguration,
    ServerMetadata,
    Start(ClientId, ProviderId),
    Callback(ProviderId),
    Session(ClientId),
    Refresh(ClientId),
    Logout(ClientId),
    Revoke(ClientId),
    Link(ClientId),
    Notice(ProviderId),
}

/// The form of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    None,
    /// `application/x-www-form-urlencoded`.
    Fields,
    Json,
}

impl Route {
    pub(super) fn of(path: &str) -> Option<Self> {
        let segments: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
        let client = |text: &str| text.parse::<ClientId>().ok();
        let provider = |text: &str| text.parse::<ProviderId>().ok();
        Some(match segments.as_slice() {
            [""] => Self::Home,
            ["health"] => Self::Health,
            [".well-known", "jwks.json"] => Self::Keys,
            [".well-known", "openid-configuration"] => Self::OpenIdConfiguration,
            [".well-known", "oauth-authorization-server"] => Self::ServerMetadata,
            ["start", id, at] => Self::Start(client(id)?, provider(at)?),
            ["callback", at] => Self::Callback(provider(at)?),
            ["session", id] => Self::Session(client(id)?),
            ["session", id, "refresh"] => Self::Refresh(client(id)?),
            ["session", id, "logout"] => Self::Logout(client(id)?),
            ["session", id, "revoke"] => Self::Revoke(client(id)?),
            ["session", id, "link"] => Self::Link(client(id)?),
            ["notice", at] => Self::Notice(provider(at)?),
            _ => return None,
        })
    }

    /// For the log, which shall not be filled with what strangers make up.
    pub(super) const fn template(&self) -> &'static str {
        match self {
            Self::Home => "/",
            Self::Health => "/health",
            Self::Keys => "/.well-known/jwks.json",
            Self::OpenIdConfiguration => "/.well-known/openid-configuration",
            Self::ServerMetadata => "/.well-known/oauth-authorization-server",
            Self::Start(..) => "/start/{client}/{provider}",
            Self::Callback(_) => "/callback/{provider}",
            Self::Session(_) => "/session/{client}",
            Self::Refresh(_) => "/session/{client}/refresh",
            Self::Logout(_) => "/session/{client}/logout",
            Self::Revoke(_) => "/session/{client}/revoke",
            Self::Link(_) => "/session/{client}/link",
            Self::Notice(_) => "/notice/{provider}",
        }
    }

    /// HEAD where a GET asks nobody for anything that counts.
    pub(super) const fn methods(&self) -> &'static str {
        match self {
            Self::Health | Self::Keys | Self::OpenIdConfiguration | Self::ServerMetadata => "GET, HEAD",
            Self::Home | Self::Start(..) => "GET",
            Self::Callback(_) | Self::Notice(_) => "GET, POST",
            Self::Session(_) => "GET, OPTIONS",
            Self::Refresh(_) | Self::Logout(_) | Self::Revoke(_) => "POST, OPTIONS",
            // A navigation: no script of another origin could follow it anyway.
            Self::Link(_) => "POST",
        }
    }

    pub(super) fn takes(&self, method: &Method) -> bool {
        self.methods().split(", ").any(|known| known == method.as_str())
    }

    /// The client whose cookies answer for the request, where that is so. Only there may pages of other origins ask.
    pub(super) const fn session_of(&self) -> Option<&ClientId> {
        match self {
            Self::Session(client) | Self::Refresh(client) | Self::Logout(client) | Self::Revoke(client) => Some(client),
            _ => None,
        }
    }

    const fn forms(&self) -> &'static [Form] {
        match self {
            Self::Callback(_) | Self::Notice(_) | Self::Link(_) => &[Form::Fields],
            Self::Refresh(_) | Self::Logout(_) => &[Form::None, Form::Fields, Form::Json],
            Self::Revoke(_) => &[Form::Fields, Form::Json],
            _ => &[Form::None],
        }
    }

    /// In which form the body of a POST comes.
    pub(super) fn form(&self, headers: &HeaderMap, is_empty: bool) -> Result<Form, Refusal> {
        let form = Form::of(headers)?;
        // Said to be something and yet empty is what scripts send; the other way around a browser would have guessed.
        if form == Form::None && !is_empty || !self.forms().contains(&form) {
            return Err(Refusal::wrong_type());
        }
        Ok(form)
    }
}

impl Form {
    fn of(headers: &HeaderMap) -> Result<Self, Refusal> {
        let mut values = headers.get_all(CONTENT_TYPE).iter();
        let value = match (values.next(), values.next()) {
            (None, _) => return Ok(Self::None),
            (Some(value), None) => value.to_str().unwrap_or_default(),
            (Some(_), Some(_)) => return Err(Refusal::wrong_type()),
        };
        let essence = value.split(';').next().unwrap_or_default().trim();
        if essence.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            Ok(Self::Fields)
        } else if essence.eq_ignore_ascii_case("application/json") {
            Ok(Self::Json)
        } else {
            Err(Refusal::wrong_type())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_taken_as_they_stand() {
        for (path, template) in [
            ("/", Some("/")),
            ("/start/shop/kakao", Some("/start/{client}/{provider}")),
            ("/callback/kakao", Some("/callback/{provider}")),
            ("/session/shop", Some("/session/{client}")),
            ("/session/shop/refresh", Some("/session/{client}/refresh")),
            ("/.well-known/jwks.json", Some("/.well-known/jwks.json")),
            ("", None),
            ("//", None),
            ("/start/shop", None),
            ("/start/shop/kakao/", None),
            ("/start/Shop/kakao", None),
            ("/callback/..", None),
            ("/callback/%6bakao", None),
            ("/callback/kakao/x", None),
            ("//callback/kakao", None),
            ("/session/shop/delete", None),
            ("/metrics", None),
            ("*", None),
        ] {
            assert_eq!(Route::of(path).map(|route| route.template()), template, "{path}");
        }
    }

    #[test]
    fn a_body_comes_in_a_known_form() {
        let form = |path: &str, content_type: Option<&str>, is_empty| {
            let mut headers = HeaderMap::new();
            if let Some(text) = content_type {
                headers.insert(CONTENT_TYPE, text.parse().unwrap());
            }
            Route::of(path).unwrap().form(&headers, is_empty).ok()
        };
        let fields = "application/x-www-form-urlencoded; charset=utf-8";
        assert_eq!(form("/callback/a", Some(fields), false), Some(Form::Fields));
        assert_eq!(form("/callback/a", Some("application/json"), false), None);
        assert_eq!(form("/callback/a", None, true), None);
        assert_eq!(form("/session/a/revoke", Some("application/json"), false), Some(Form::Json));
        assert_eq!(form("/session/a/revoke", Some("text/plain"), false), None);
        assert_eq!(form("/session/a/revoke", Some("multipart/form-data; boundary=a"), false), None);
        assert_eq!(form("/session/a/refresh", None, true), Some(Form::None));
        assert_eq!(form("/session/a/refresh", None, false), None);
    }
}
