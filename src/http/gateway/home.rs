//! The page at `/` in development: which providers there are, a sign-in to try, and the session that came of it.

use http::header::HOST;
use http::{HeaderMap, StatusCode};
use maud::{Markup, html};

use super::answer::{self, Answer, see_other};
use super::cookies::Jar;
use super::refusal::Refusal;
use super::words::Language;
use super::words::home::HomeWords;
use super::{Asked, Gateway, page};
use crate::proto::auth::v1::{ListProvidersRequest, Provider, Session};

/// What brings a first provider, to be copied.
const SNIPPET: &str = r#"[[providers]]
id = "google"
kind = "google"
client_id = "….apps.googleusercontent.com"
client_secret = { file = "google-client-secret" }
"#;

/// Who looks at the page.
enum Visitor {
    Stranger,
    /// The access token has ended; the next one is a button away.
    Paused,
    SignedIn(Vec<Session>),
}

impl Gateway {
    /// A GET: shows, and changes nothing.
    pub(super) async fn home(&self, asked: &Asked) -> Result<Answer, Refusal> {
        let client = self.home_client().ok_or_else(Refusal::not_found)?;
        if let Some(answer) = self.under_its_own_name(&asked.headers) {
            return Ok(answer);
        }
        let jar = Jar::of(&asked.headers);
        let can_refresh = jar.refresh_token(&client.id).is_some();
        let out = || if can_refresh { Visitor::Paused } else { Visitor::Stranger };
        let visitor = match jar.access_token(&client.id) {
            None => out(),
            Some(token) => match self.sessions(asked, client, token).await {
                Ok(sessions) => Visitor::SignedIn(sessions),
                // What was ended comes back by no refresh; what has only expired may.
                Err(refusal) if refusal.is_revoked() => Visitor::Stranger,
                Err(refusal) if refusal.ends_session() => out(),
                Err(refusal) => return Err(refusal),
            },
        };
        let list = ListProvidersRequest {};
        let answer = self
            .call(asked, client, list, |mut service, request| async move { service.list_providers(request).await })
            .await?;
        let language = Language::of(&asked.headers);
        let words = HomeWords::of(language);
        let content = html! {
            h1 { "Postern" }
            p.faint { (words.profile) }
            @match &visitor {
                Visitor::SignedIn(sessions) => (self.signed_in(words, sessions)),
                Visitor::Paused => (self.paused(words)),
                Visitor::Stranger => (self.sign_in(words, &answer.providers)),
            }
        };
        Ok(answer::page(StatusCode::OK, page::frame(language, "Postern", &content)))
    }

    /// Whoever typed `localhost` for `127.0.0.1` is sent to the latter: the links and providers lead there, and browsers keep
    /// the cookies of the two apart. `Host` says whether, and the configuration alone where to.
    fn under_its_own_name(&self, headers: &HeaderMap) -> Option<Answer> {
        let host = headers.get(HOST)?.to_str().ok()?;
        let (_, own) = self.settings.url.split_once("://127.0.0.1")?;
        let is_twin = host.strip_prefix("localhost").is_some_and(|rest| rest == own);
        is_twin.then(|| see_other(&format!("{}/", self.settings.url))).flatten()
    }

    fn sign_in(&self, words: &HomeWords, providers: &[Provider]) -> Markup {
        let here = format!("{}/", self.settings.url);
        html! {
            @if providers.is_empty() {
                h2 { (words.no_provider) }
                p { (words.register) }
                pre { (self.settings.url) "/callback/google" }
                p { (words.configure) }
                pre { (SNIPPET) }
            } @else {
                h2 { (words.sign_in) }
                div.row {
                    @for provider in providers {
                        @if let Some(start) = self.start_at(&provider.id, &here) {
                            a.button.main[provider.available].away[!provider.available] href=(start) {
                                (words.sign_in_with(name(provider)))
                            }
                        }
                    }
                }
                @for provider in providers.iter().filter(|provider| !provider.available) {
                    p.faint { (name(provider)) (words.is_away) }
                }
                p.faint { (words.come_back) }
            }
        }
    }

    fn start_at(&self, provider: &str, here: &str) -> Option<String> {
        Some(self.start_url(&self.home_client()?.id, &provider.parse().ok()?, here))
    }

    fn paused(&self, words: &HomeWords) -> Markup {
        html! {
            h2 { (words.paused) }
            p { (words.paused_text) }
            div.row {
                (self.button("refresh", words.go_on, true))
                (self.button("logout", words.log_out, false))
            }
        }
    }

    fn signed_in(&self, words: &HomeWords, sessions: &[Session]) -> Markup {
        let current = sessions.iter().find(|session| session.current);
        html! {
            h2 { (words.signed_in) }
            @if let Some(session) = current {
                div.card {
                    dl {
                        dt { (words.user) } dd { code { (session.user_id) } }
                        dt { (words.session) } dd { code { (session.id) } }
                        dt { (words.ends) } dd { (time(session.expire_time.as_ref())) }
                    }
                }
            }
            div.row {
                (self.button("refresh", words.refresh, false))
                (self.button("logout", words.log_out, false))
            }
            h2 { (words.all_sessions) }
            @for session in sessions { (self.session_card(words, session)) }
        }
    }

    fn session_card(&self, words: &HomeWords, session: &Session) -> Markup {
        let device = session.device.clone().unwrap_or_default();
        let agent = if device.user_agent.is_empty() { words.unknown } else { &device.user_agent };
        html! {
            div.card {
                dl {
                    dt { (words.session) } dd { code { (session.id) } @if session.current { " (" (words.this_one) ")" } }
                    dt { (words.by) } dd { (session.method) }
                    dt { (words.device) } dd { (agent) }
                    dt { (words.from) } dd { (device.ip_address) }
                    dt { (words.signed_in_at) } dd { (time(session.auth_time.as_ref())) }
                    @if session.last_refresh_time.is_some() {
                        dt { (words.last_refresh) } dd { (time(session.last_refresh_time.as_ref())) }
                    }
                }
                form method="post" action=(self.action("revoke")) {
                    input type="hidden" name="session_id" value=(session.id);
                    button type="submit" { (words.revoke) }
                }
            }
        }
    }

    fn button(&self, step: &str, label: &str, is_main: bool) -> Markup {
        html! {
            form method="post" action=(self.action(step)) {
                button.main[is_main] type="submit" { (label) }
            }
        }
    }

    fn action(&self, step: &str) -> String {
        let client = self.home_client().map(|client| client.id.as_str()).unwrap_or_default();
        format!("/session/{client}/{step}")
    }
}

fn name(provider: &Provider) -> &str {
    if provider.display_name.is_empty() { &provider.id } else { &provider.display_name }
}

fn time(time: Option<&prost_types::Timestamp>) -> String {
    let time = time.and_then(|time| jiff::Timestamp::from_second(time.seconds).ok());
    time.map(|time| time.strftime("%Y-%m-%d %H:%M UTC").to_string()).unwrap_or_default()
}
