//! What keeps a browser signed in: who it is, the next pair of tokens, the end. The cookies answer for these requests, so each
//! that changes something must be meant by a page that is known; and no token stands in an answer's body.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::StatusCode;
use http::header::{
    ACCEPT, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_MAX_AGE, HeaderValue,
};
use serde_json::{Value, json};

use super::answer::{self, Answer, see_other};
use super::cookies::{self, Jar};
use super::refusal::Refusal;
use super::routes::Form;
use super::{Asked, Gateway, ServedClient, is_person, origin};
use crate::clock::Clock;
use crate::domain::id::{ClientId, SessionId};
use crate::domain::time::Timestamp;
use crate::proto::auth::v1::{
    ListSessionsRequest, RefreshRequest, RevokeRequest, Session, TokenPair, revoke_request::Target,
};

const SESSION_ID_BYTES_MAX: usize = 64;
/// As many as a page of the contract holds.
const SESSIONS_MAX: i32 = 200;
const PREFLIGHT_SECS: u32 = 600;

/// May a script of that page ask? The answer stands in the headers that every answer of these routes gets.
pub(super) fn preflight(asked: &Asked, client: &ServedClient) -> Result<Answer, Refusal> {
    origin::reader(&asked.headers, &client.origins).ok_or_else(Refusal::foreign)?;
    let mut answer = answer::empty(StatusCode::NO_CONTENT);
    let headers = answer.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST"));
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("content-type, x-postern-request"));
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from(PREFLIGHT_SECS));
    Ok(answer)
}

/// Both cookies of a session. Each lives as long as what is in it.
pub(super) fn cookies(clock: &Clock, client: &ClientId, tokens: &TokenPair) -> Result<[String; 2], Refusal> {
    let now = clock.now();
    let life = |end: Option<&prost_types::Timestamp>| {
        end.map(|end| Timestamp::from_secs(end.seconds).since(now)).filter(|life| *life >= Duration::from_secs(1))
    };
    let access = life(tokens.access_expire_time.as_ref()).ok_or_else(|| Refusal::unexpected("access_expire_time"))?;
    let whole = life(tokens.session_expire_time.as_ref()).ok_or_else(|| Refusal::unexpected("session_expire_time"))?;
    Ok([
        cookies::access_token(client, &tokens.access_token, access),
        cookies::refresh_token(client, &tokens.refresh_token, whole),
    ])
}

impl Gateway {
    /// Who is signed in, without a token.
    pub(super) async fn session(&self, asked: &Asked, client: &ServedClient) -> Result<Answer, Refusal> {
        let jar = Jar::of(&asked.headers);
        let can_refresh = jar.refresh_token(&client.id).is_some();
        let nobody = || answer::json(StatusCode::OK, &json!({ "signedIn": false, "canRefresh": can_refresh }));
        let Some(token) = jar.access_token(&client.id) else { return Ok(nobody()) };
        match self.sessions(asked, client, token).await {
            Ok(sessions) => Ok(sessions
                .iter()
                .find(|session| session.current)
                .map_or_else(nobody, |session| answer::json(StatusCode::OK, &current(session, token)))),
            Err(refusal) if refusal.ends_session() => Ok(nobody()),
            Err(refusal) => Err(refusal),
        }
    }

    /// The person's own sessions, newest first. A person with more than a page of them sees those.
    pub(super) async fn sessions(
        &self,
        asked: &Asked,
        client: &ServedClient,
        access_token: &str,
    ) -> Result<Vec<Session>, Refusal> {
        let access_token = access_token.to_owned();
        let request = ListSessionsRequest { access_token, page_size: SESSIONS_MAX, ..Default::default() };
        let answer = self
            .call(asked, client, request, |mut service, request| async move { service.list_sessions(request).await })
            .await?;
        Ok(answer.sessions)
    }

    /// The next pair of tokens. Only a refusal of the session itself takes the cookies away: an outage passes.
    pub(super) async fn refresh(&self, asked: &Asked, client: &ServedClient) -> Result<Answer, Refusal> {
        self.must_be_meant(asked, client)?;
        let Some(token) = Jar::of(&asked.headers).refresh_token(&client.id).map(str::to_owned) else {
            return Ok(signed_out(client, &Refusal::signed_out()));
        };
        let device = Some(asked.device());
        let request = RefreshRequest { refresh_token: token, device, token_options: None };
        let refreshed = self
            .call(asked, client, request, |mut service, request| async move { service.refresh(request).await })
            .await;
        let tokens = match refreshed {
            Ok(refreshed) => refreshed.tokens.ok_or_else(|| Refusal::unexpected("tokens"))?,
            Err(refusal) if refusal.ends_session() => {
                let home = self.by_form(asked, client);
                return Ok(home.map_or_else(|| signed_out(client, &refusal), |home| without_tokens(client, home)));
            }
            Err(refusal) => return Err(refusal),
        };
        let mut answer = self.by_form(asked, client).unwrap_or_else(|| {
            answer::json(
                StatusCode::OK,
                &json!({
                    "sessionId": tokens.session_id,
                    "accessExpireTime": time(tokens.access_expire_time.as_ref()),
                    "sessionExpireTime": time(tokens.session_expire_time.as_ref()),
                }),
            )
        });
        answer::set_cookies(&mut answer, cookies(&self.clock, &client.id, &tokens)?);
        Ok(answer)
    }

    /// Ends this browser's session. The cookies stay if the service could not be told, so that it can be tried again.
    pub(super) async fn logout(&self, asked: &Asked, client: &ServedClient) -> Result<Answer, Refusal> {
        self.must_be_meant(asked, client)?;
        let jar = Jar::of(&asked.headers);
        let mut ended_count = 0;
        if let Some(request) = end_of(&jar, &client.id) {
            let revoked = self
                .call(asked, client, request, |mut service, request| async move { service.revoke(request).await })
                .await;
            ended_count = match revoked {
                Ok(revoked) => revoked.ended_count,
                // Nothing of ours is left to end.
                Err(refusal) if refusal.ends_session() => 0,
                Err(refusal) => return Err(refusal),
            };
        }
        let answer = self
            .by_form(asked, client)
            .unwrap_or_else(|| answer::json(StatusCode::OK, &json!({ "endedCount": ended_count })));
        Ok(without_tokens(client, answer))
    }

    /// Ends one of the person's sessions, by its id.
    pub(super) async fn revoke(&self, asked: &Asked, client: &ServedClient) -> Result<Answer, Refusal> {
        self.must_be_meant(asked, client)?;
        let session_id = session_id(asked)?;
        let access_token = Jar::of(&asked.headers).access_token(&client.id).ok_or_else(Refusal::signed_out)?.to_owned();
        let request = RevokeRequest { access_token, target: Some(Target::SessionId(session_id)), ..Default::default() };
        let revoked = self
            .call(asked, client, request, |mut service, request| async move { service.revoke(request).await })
            .await?;
        let ended = json!({ "endedCount": revoked.ended_count });
        Ok(self.by_form(asked, client).unwrap_or_else(|| answer::json(StatusCode::OK, &ended)))
    }

    pub(super) fn must_be_meant(&self, asked: &Asked, client: &ServedClient) -> Result<(), Refusal> {
        if origin::is_meant(&asked.headers, &self.settings.url, &client.origins) {
            Ok(())
        } else {
            Err(Refusal::foreign())
        }
    }

    /// Back to the page at `/`, if it was one of its buttons.
    fn by_form(&self, asked: &Asked, client: &ServedClient) -> Option<Answer> {
        let accept = asked.headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let is_home = self.home_client().is_some_and(|home| home.id == client.id);
        (is_home && is_person(accept)).then(|| see_other("/")).flatten()
    }
}

fn signed_out(client: &ServedClient, refusal: &Refusal) -> Answer {
    without_tokens(client, refusal.to_json())
}

fn without_tokens(client: &ServedClient, mut answer: Answer) -> Answer {
    answer::set_cookies(&mut answer, cookies::tokens_gone(&client.id));
    answer
}

fn session_id(asked: &Asked) -> Result<String, Refusal> {
    let id = match asked.form {
        Form::Json => {
            let body: Value = serde_json::from_slice(&asked.body).map_err(|_no_json| Refusal::malformed())?;
            body.get("session_id").and_then(Value::as_str).map(str::to_owned)
        }
        Form::Fields | Form::None => {
            asked.parameters()?.bounded("session_id", SESSION_ID_BYTES_MAX)?.map(str::to_owned)
        }
    };
    let is_sound = |id: &String| (1..=SESSION_ID_BYTES_MAX).contains(&id.len());
    id.filter(is_sound).ok_or_else(Refusal::malformed)
}

fn current(session: &Session, access_token: &str) -> Value {
    json!({
        "signedIn": true,
        "userId": session.user_id,
        "sessionId": session.id,
        "method": session.method,
        "amr": session.amr,
        "authTime": time(session.auth_time.as_ref()),
        "accessExpireTime": expires_at(access_token).map(|secs| in_words(secs, 0)),
        "sessionExpireTime": time(session.expire_time.as_ref()),
    })
}

/// What ends the session of these cookies. The refresh token may have been lost, and then the access token says which session
/// is meant; the service judges whether it may.
fn end_of(jar: &Jar, client: &ClientId) -> Option<RevokeRequest> {
    if let Some(token) = jar.refresh_token(client) {
        let target = Some(Target::RefreshToken(token.to_owned()));
        return Some(RevokeRequest { target, ..Default::default() });
    }
    let token = jar.access_token(client)?;
    let id = claim(token, "sid")?.as_str()?.parse::<SessionId>().ok()?;
    let target = Some(Target::SessionId(id.to_string()));
    Some(RevokeRequest { access_token: token.to_owned(), target, ..Default::default() })
}

/// `exp` of a token that the service has just accepted.
fn expires_at(access_token: &str) -> Option<i64> {
    claim(access_token, "exp")?.as_i64()
}

/// What a token says of itself; whether it is genuine is not judged here.
fn claim(access_token: &str, name: &str) -> Option<Value> {
    let payload = BASE64_URL_SAFE_NO_PAD.decode(access_token.split('.').nth(1)?).ok()?;
    serde_json::from_slice::<Value>(&payload).ok()?.get_mut(name).map(Value::take)
}

fn time(time: Option<&prost_types::Timestamp>) -> Option<String> {
    time.map(|time| in_words(time.seconds, time.nanos))
}

/// As RFC 3339 and proto3's JSON have it.
fn in_words(secs: i64, nanos: i32) -> String {
    jiff::Timestamp::new(secs, nanos).map(|time| time.to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_lives_as_long_as_what_is_in_it() {
        let clock = Clock::default();
        let at = |secs: i64| Some(prost_types::Timestamp { seconds: clock.now().secs() + secs, nanos: 0 });
        let pair = |access: i64, whole: i64| TokenPair {
            access_token: "a".to_owned(),
            access_expire_time: at(access),
            refresh_token: "r".to_owned(),
            session_expire_time: at(whole),
            ..Default::default()
        };
        let client: ClientId = "shop".parse().unwrap();
        let age = |cookie: &str| cookie.rsplit_once("Max-Age=").unwrap().1.parse::<u64>().unwrap();
        let [access, refresh] = cookies(&clock, &client, &pair(1_800, 86_400)).unwrap();
        assert!((1_798..=1_800).contains(&age(&access)) && (86_398..=86_400).contains(&age(&refresh)));
        assert!(cookies(&clock, &client, &pair(-5, 86_400)).is_err());
        assert!(cookies(&clock, &client, &TokenPair::default()).is_err());
    }

    #[test]
    fn the_end_of_a_token_is_read_from_it() {
        let payload = BASE64_URL_SAFE_NO_PAD.encode(r#"{"exp":1700000000}"#);
        assert_eq!(expires_at(&format!("h.{payload}.s")), Some(1_700_000_000));
        for token in ["", "a", "a.b.c", "a.e30.c"] {
            assert_eq!(expires_at(token), None, "{token}");
        }
        assert_eq!(in_words(1_700_000_000, 0), "2023-11-14T22:13:20Z");
    }
}
