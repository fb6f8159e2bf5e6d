//! Who signs in, and what goes differently then; and the authorization endpoint, which decides what a code is worth.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::Value;
use url::form_urlencoded::Serializer;

use super::answers::Paths;
use super::signing::Signing;
use super::wire::Reply;
use super::{CLIENT_ID, Kind, Shared};

const CODE_LIFE: Duration = Duration::from_mins(10);

/// Members that are set, or taken away.
pub type Changes = Vec<(String, Option<Value>)>;

/// A person as the provider knows them.
#[derive(Clone, Debug)]
pub struct Person {
    /// Of Kakao and GitHub a number.
    pub id: String,
    pub email: Option<String>,
    /// Of Kakao both flags; of Naver nothing.
    pub email_verified: bool,
    pub name: String,
    pub picture: String,
    /// `hd`.
    pub hosted_domain: Option<String>,
}

impl Person {
    pub fn new(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            email: Some(format!(
                "minji{}@example.com",
                id.chars().filter(char::is_ascii_alphanumeric).collect::<String>()
            )),
            email_verified: true,
            name: "김민지".to_owned(),
            picture: "https://pictures.example/minji.jpg".to_owned(),
            hosted_domain: None,
        }
    }

    #[must_use]
    pub fn with_email(mut self, email: Option<&str>, verified: bool) -> Self {
        self.email = email.map(ToOwned::to_owned);
        self.email_verified = verified;
        self
    }
}

/// What the person says.
#[derive(Clone, Debug, Default)]
pub enum Consent {
    #[default]
    Given,
    Cancelled,
    /// The provider shows a page of its own, and nobody is sent back.
    Page(&'static str),
}

/// How a sign-in goes. What is not said goes as usual.
#[derive(Clone, Debug)]
pub struct Script {
    pub person: Person,
    pub consent: Consent,
    /// Of the callback's parameters.
    pub callback: Changes,
    pub token: Reply,
    /// Of the token answer.
    pub token_members: Changes,
    pub signing: Signing,
    /// Of the id_token's header.
    pub header: Changes,
    /// Of its claims.
    pub claims: Changes,
    pub userinfo: Reply,
    /// Of the profile: its outermost members.
    pub profile: Changes,
}

impl Default for Script {
    fn default() -> Self {
        Self::of(Person::new("1376016924429759228"))
    }
}

impl Script {
    pub fn of(person: Person) -> Self {
        Self {
            person,
            consent: Consent::default(),
            callback: Vec::new(),
            token: Reply::Usual,
            token_members: Vec::new(),
            signing: Signing::Usual,
            header: Vec::new(),
            claims: Vec::new(),
            userinfo: Reply::Usual,
            profile: Vec::new(),
        }
    }
}

/// What an authorization request asked for, which the code is bound to.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    pub redirect_uri: String,
    pub state: Option<String>,
    pub nonce: Option<String>,
    /// S256.
    pub challenge: Option<String>,
    pub scope: String,
    /// Whether it came to an OpenID surface.
    pub is_oidc: bool,
}

pub(super) struct Issued {
    pub(super) script: Script,
    pub(super) asked: Asked,
    pub(super) made: Instant,
    pub(super) is_used: bool,
}

impl Issued {
    pub(super) fn is_good(&self) -> bool {
        !self.is_used && self.made.elapsed() < CODE_LIFE
    }
}

/// What becomes of a browser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Visit {
    /// Sent on to this URL.
    Sent(String),
    /// Shown a page of the provider's.
    Page(String),
}

impl Shared {
    pub(super) fn issue(&self, script: Script, asked: Asked) -> String {
        let number = crate::next();
        let code = match self.kind {
            Kind::Google => format!("4/0A-{number}/x+y"),
            _ => format!("code-{number}"),
        };
        let issued = Issued { script, asked, made: Instant::now(), is_used: false };
        self.state().codes.insert(code.clone(), issued);
        code
    }

    pub(super) fn visit(&self, path: &str, query: &BTreeMap<String, String>) -> Visit {
        let is_oidc = Paths::of(self.kind, true).authorization == path && self.kind != Kind::GitHub;
        let is_known = is_oidc || Paths::of(self.kind, false).authorization == path;
        let said = |name: &str| query.get(name).cloned();
        let page = |text: &str| Visit::Page(text.to_owned());
        if !is_known {
            return page("404");
        }
        if said("client_id").as_deref() != Some(CLIENT_ID) {
            return page("unknown client");
        }
        let redirect_uri = said("redirect_uri").unwrap_or_default();
        if !self.state().redirects.contains(&redirect_uri) {
            return page("redirect_uri_mismatch");
        }
        let script = {
            let state = self.state();
            let hint = said("login_hint").or_else(|| said("login"));
            hint.and_then(|hint| state.by_hint.get(&hint).cloned()).unwrap_or_else(|| state.script.clone())
        };
        let mut back: Vec<(String, String)> = Vec::new();
        let is_sound = said("response_type").as_deref() == Some("code")
            && said("code_challenge_method").is_none_or(|method| method == "S256");
        match script.consent {
            Consent::Page(text) => return page(text),
            Consent::Cancelled => {
                let text = match self.kind {
                    Kind::Kakao => "User denied access",
                    Kind::Naver => "Canceled By User",
                    _ => "The user denied the request",
                };
                back.push(("error".to_owned(), "access_denied".to_owned()));
                back.push(("error_description".to_owned(), text.to_owned()));
            }
            Consent::Given if !is_sound => back.push(("error".to_owned(), "invalid_request".to_owned())),
            Consent::Given => {
                let asked = Asked {
                    redirect_uri: redirect_uri.clone(),
                    state: said("state"),
                    nonce: said("nonce"),
                    challenge: said("code_challenge").filter(|_| is_oidc || self.kind != Kind::Naver),
                    scope: said("scope").unwrap_or_default(),
                    is_oidc,
                };
                back.push(("code".to_owned(), self.issue(script.clone(), asked)));
            }
        }
        back.extend(said("state").map(|state| ("state".to_owned(), state)));
        if self.kind == Kind::Google {
            back.push(("iss".to_owned(), self.base_url()));
            back.push((
                "scope".to_owned(),
                "email profile openid https://www.googleapis.com/auth/userinfo.email".to_owned(),
            ));
            back.extend([("authuser".to_owned(), "0".to_owned()), ("prompt".to_owned(), "consent".to_owned())]);
        }
        for (name, value) in &script.callback {
            back.retain(|(known, _)| known != name);
            back.extend(value.as_ref().and_then(Value::as_str).map(|value| (name.clone(), value.to_owned())));
        }
        let query = Serializer::new(String::new()).extend_pairs(back).finish();
        let join = if redirect_uri.contains('?') { '&' } else { '?' };
        Visit::Sent(format!("{redirect_uri}{join}{query}"))
    }
}
