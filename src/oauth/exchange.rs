//! A code traded in, through `oauth2`. The crate makes the request; what comes back is judged here before it sees any of it,
//! because it takes a number that is a text for a broken answer, an error with status 200 for a token without one, and keeps
//! what it could not read in an error that prints itself.

use std::pin::Pin;

use oauth2::basic::{
    BasicErrorResponse, BasicRevocationErrorResponse, BasicTokenIntrospectionResponse, BasicTokenType,
};
use oauth2::{
    AuthType, AuthUrl, AuthorizationCode, ClientId, ClientSecret, EndpointNotSet, EndpointSet, ExtraTokenFields,
    PkceCodeVerifier, RedirectUrl, RequestTokenError, StandardRevocableToken, StandardTokenResponse,
    TokenResponse as _, TokenUrl,
};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use url::Url;

use super::discovery::Metadata;
use super::http::{Answer, Http};
use super::{Absence, Grant, ProviderFault, Rejection, Settings, kind};
use crate::domain::identity::ProviderKind;
use crate::domain::json as strict;

/// What a code was worth. Has no `Debug`: it holds tokens.
pub(super) struct Tokens {
    pub(super) access: SecretString,
    pub(super) id: Option<SecretString>,
}

/// What OpenID Connect adds to an answer of OAuth 2.0 (OpenID Connect Core, section 3.1.3.3).
#[derive(Debug, Deserialize, Serialize)]
struct IdToken {
    id_token: Option<String>,
}

impl ExtraTokenFields for IdToken {}

type Client = oauth2::Client<
    BasicErrorResponse,
    StandardTokenResponse<IdToken, BasicTokenType>,
    BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointSet,
>;

/// Trades a code in. It is sent once, whatever becomes of the answer.
pub(super) async fn trade(
    settings: &Settings,
    metadata: &Metadata,
    http: &Http,
    grant: &Grant<'_>,
) -> Result<Tokens, ProviderFault> {
    let client = client(settings, metadata);
    let mut request = client.exchange_code(AuthorizationCode::new(grant.code.expose_secret().to_owned()));
    if settings.pkce && kind::has_pkce(settings.kind, settings.is_oidc) {
        request = request.set_pkce_verifier(PkceCodeVerifier::new(grant.code_verifier.expose_secret().to_owned()));
    }
    if settings.kind == ProviderKind::Naver {
        request = request.add_extra_param("state", grant.state.expose_secret().to_owned());
    }
    let wire = Wire { http, token: &metadata.token, kind: settings.kind };
    match request.request_async(&wire).await {
        Ok(answer) => Ok(Tokens {
            access: answer.access_token().secret().as_str().into(),
            id: answer.extra_fields().id_token.as_deref().map(SecretString::from),
        }),
        Err(RequestTokenError::Request(Refused(fault))) => Err(fault),
        // These keep what was answered, with the tokens in it.
        Err(RequestTokenError::ServerResponse(_) | RequestTokenError::Parse(..) | RequestTokenError::Other(_)) => {
            Err(Rejection::Malformed.into())
        }
    }
}

/// The token endpoint, as the crate speaks with it.
struct Wire<'a> {
    http: &'a Http,
    token: &'a Url,
    kind: ProviderKind,
}

/// By hand: of a closure the compiler does not see that its futures may move between threads.
impl<'c> oauth2::AsyncHttpClient<'c> for Wire<'_> {
    type Error = Refused;
    type Future = Pin<Box<dyn Future<Output = Result<oauth2::HttpResponse, Refused>> + Send + 'c>>;

    fn call(&'c self, request: oauth2::HttpRequest) -> Self::Future {
        Box::pin(async move {
            let answer = self.http.post(self.token, request).await.map_err(Refused)?;
            plain(self.kind, &answer).map_err(Refused)
        })
    }
}

fn client(settings: &Settings, metadata: &Metadata) -> Client {
    let in_body = settings.auth_in_body.or(kind::auth_in_body(settings.kind)).or(metadata.auth_in_body);
    let auth_type = if in_body.unwrap_or(false) { AuthType::RequestBody } else { AuthType::BasicAuth };
    let client = oauth2::Client::new(ClientId::new(settings.client_id.clone()))
        .set_auth_uri(AuthUrl::from_url(metadata.authorization.clone()))
        .set_token_uri(TokenUrl::from_url(metadata.token.clone()))
        .set_auth_type(auth_type);
    let client = match &settings.client_secret {
        Some(secret) => client.set_client_secret(ClientSecret::new(secret.expose_secret().to_owned())),
        None => client,
    };
    // As a text, it is sent as it was configured; providers compare it byte by byte.
    match RedirectUrl::new(settings.redirect_uri.clone()) {
        Ok(url) => client.set_redirect_uri(url),
        Err(_judged_when_it_was_set) => client,
    }
}

/// What stops the crate from reading an answer.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct Refused(ProviderFault);

/// The answer in the one form that the crate takes, if it is one.
fn plain(kind: ProviderKind, answer: &Answer) -> Result<oauth2::HttpResponse, ProviderFault> {
    let body = read(kind, answer)?;
    let mut response = http::Response::new(body.to_string().into_bytes());
    let json = http::HeaderValue::from_static("application/json");
    response.headers_mut().insert(http::header::CONTENT_TYPE, json);
    Ok(response)
}

fn read(kind: ProviderKind, answer: &Answer) -> Result<Value, ProviderFault> {
    let document = strict::parse_object::<Map<String, Value>>(&answer.body);
    // Some say so with status 200 (Naver, GitHub).
    if let Some(error) = document.as_ref().ok().filter(|document| document.contains_key("error")) {
        return Err(error_answer(kind, error));
    }
    if !answer.status.is_success() {
        return Err(match answer.status.as_u16() {
            401 => Rejection::ClientRefused.into(),
            _ => Rejection::ErrorAnswer.into(),
        });
    }
    let document = document.map_err(|_why| Rejection::Malformed)?;
    let text = |name: &str| match document.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str())),
        Some(_) => Err(Rejection::Malformed),
    };
    let access = text("access_token")?.filter(|token| !token.is_empty()).ok_or(Rejection::Malformed)?;
    let is_bearer = text("token_type")?.is_none_or(|name| name.eq_ignore_ascii_case("bearer"));
    if !is_bearer {
        return Err(Rejection::Malformed.into());
    }
    // When it ends is nothing to us: the token is used once, now, and not kept. Neither is a refresh token.
    Ok(json!({ "access_token": access, "token_type": "bearer", "id_token": text("id_token")? }))
}

/// By Kakao's code, then by `error`, never by the text beside it, which quotes the code; but for Naver, which has one
/// `error` for everything.
fn error_answer(kind: ProviderKind, document: &Map<String, Value>) -> ProviderFault {
    let text = |name: &str| document.get(name).and_then(Value::as_str).unwrap_or_default();
    if kind == ProviderKind::Kakao {
        match text("error_code") {
            "KOE003" => return Absence::ServerError.into(),
            "KOE237" => return Absence::Throttled.into(),
            "KOE303" => return Rejection::RedirectMismatch.into(),
            "KOE320" => return Rejection::CodeRefused.into(),
            "KOE009" | "KOE010" | "KOE101" => return Rejection::ClientRefused.into(),
            _ => {}
        }
    }
    match text("error") {
        "invalid_grant" | "bad_verification_code" => Rejection::CodeRefused.into(),
        "invalid_client" | "unauthorized_client" | "incorrect_client_credentials" => Rejection::ClientRefused.into(),
        "redirect_uri_mismatch" => Rejection::RedirectMismatch.into(),
        "server_error" | "temporarily_unavailable" => Absence::ServerError.into(),
        "slow_down" => Absence::Throttled.into(),
        "invalid_request" if kind == ProviderKind::Naver => {
            let is_about_us = text("error_description").contains("client id");
            if is_about_us { Rejection::ClientRefused.into() } else { Rejection::CodeRefused.into() }
        }
        _ => Rejection::ErrorAnswer.into(),
    }
}

/// Where to send the person. The `url` crate encodes every parameter, so that none can become two.
pub(super) fn authorization_url(settings: &Settings, metadata: &Metadata, ask: &super::Ask<'_>) -> Url {
    let mut url = metadata.authorization.clone();
    {
        let mut query = url.query_pairs_mut();
        query.append_pair("response_type", "code");
        query.append_pair("client_id", &settings.client_id);
        query.append_pair("redirect_uri", &settings.redirect_uri);
        let scopes = kind::scopes(settings);
        if !scopes.is_empty() {
            query.append_pair("scope", &scopes.join(" "));
        }
        query.append_pair("state", ask.state.expose_secret());
        if settings.is_oidc {
            query.append_pair("nonce", ask.nonce);
        }
        if settings.pkce && kind::has_pkce(settings.kind, settings.is_oidc) {
            query.append_pair("code_challenge", ask.code_challenge);
            query.append_pair("code_challenge_method", "S256");
        }
        if settings.form_post {
            query.append_pair("response_mode", "form_post");
        }
        if let Some(domain) = settings.hosted_domain.as_ref().filter(|_| settings.kind == ProviderKind::Google) {
            // A hint; what counts is the claim.
            query.append_pair("hd", domain);
        }
        for (name, value) in ask.parameters {
            // Whoever calls has refused the others.
            let may_pass = settings.parameters.contains(name);
            debug_assert!(may_pass, "a parameter that may not be passed on");
            if may_pass {
                query.append_pair(name, value);
            }
        }
    }
    url
}

#[cfg(test)]
mod tests;
