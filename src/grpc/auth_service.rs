//! AuthService: messages into values, a flow of `auth`, values into messages. Not one decision is made here.

use std::sync::Arc;

use secrecy::SecretString;
use tonic::{Request, Response, Status};
use zeroize::Zeroizing;

use crate::auth::Auth;
use crate::auth::challenge::{ChallengeKind, Completion};
use crate::auth::error::AuthError;
use crate::auth::login::{Login, Outcome};
use crate::auth::refresh::{Refresh, Refreshed};
use crate::auth::sessions::{ListSessions, Revoke, Target};
use crate::domain::account::{IDENTIFIER_BYTES_MAX, Identifier};
use crate::domain::id::{ClientId, SessionId, UserId};
use crate::domain::password::{BYTES_MAX as PASSWORD_BYTES_MAX, Password};
use crate::grpc::fields::Fields;
use crate::grpc::pages::Pages;
use crate::grpc::status::{Repeat, refuse};
use crate::grpc::{callers, oauth, render, verify};
use crate::proto::auth::v1::auth_service_server::AuthService;
use crate::proto::auth::v1::complete_challenge_request::Answer as ChallengeAnswer;
use crate::proto::auth::v1::complete_challenge_response::Outcome as CompletionOutcome;
use crate::proto::auth::v1::login_request::Credential;
use crate::proto::auth::v1::login_response::Outcome as LoginOutcome;
use crate::proto::auth::v1::revoke_request::Target as WireTarget;
use crate::proto::auth::v1::{
    BatchVerifyRequest, BatchVerifyResponse, ChallengeKind as WireKind, CompleteChallengeRequest,
    CompleteChallengeResponse, ExchangeTokenRequest, ExchangeTokenResponse, GetKeysRequest, GetKeysResponse,
    ListProvidersRequest, ListProvidersResponse, ListSessionsRequest, ListSessionsResponse, LoginRequest,
    LoginResponse, OAuthExchangeRequest, OAuthExchangeResponse, OAuthStartRequest, OAuthStartResponse,
    OAuthUnlinkRequest, OAuthUnlinkResponse, PasswordCredential, RefreshRequest, RefreshResponse, RevokeRequest,
    RevokeResponse, UserSessions, VerifyRequest, VerifyResponse,
};

const PAGE_SIZE_MAX: u32 = 200;

/// The service over the use cases.
pub(super) struct AuthDoor {
    auth: Arc<Auth>,
}

impl AuthDoor {
    pub(super) fn new(auth: Arc<Auth>) -> Self {
        Self { auth }
    }
}

#[tonic::async_trait]
impl AuthService for AuthDoor {
    async fn login(&self, request: Request<LoginRequest>) -> Result<Response<LoginResponse>, Status> {
        // Every success opens a session, so a lost answer must not be repeated by a machine.
        answer(self.sign_in(request).await, Repeat::Unsafe)
    }

    async fn complete_challenge(
        &self,
        request: Request<CompleteChallengeRequest>,
    ) -> Result<Response<CompleteChallengeResponse>, Status> {
        answer(self.complete(request).await, Repeat::Unsafe)
    }

    async fn refresh(&self, request: Request<RefreshRequest>) -> Result<Response<RefreshResponse>, Status> {
        answer(self.rotate(request).await, Repeat::Safe)
    }

    async fn verify(&self, request: Request<VerifyRequest>) -> Result<Response<VerifyResponse>, Status> {
        let judged =
            callers::client(&self.auth, &request).and_then(|call| verify::verify(&self.auth, &call, request.get_ref()));
        // A verdict has no span of its own until something is to be said in it.
        judged.map(Response::new).map_err(|error| callers::span(&request).in_scope(|| refuse(&error, Repeat::Safe)))
    }

    async fn batch_verify(
        &self,
        request: Request<BatchVerifyRequest>,
    ) -> Result<Response<BatchVerifyResponse>, Status> {
        let judged = match callers::client(&self.auth, &request) {
            Ok(call) => verify::batch(&self.auth, &call, request.get_ref()).await,
            Err(error) => Err(error),
        };
        answer(judged, Repeat::Safe)
    }

    async fn list_providers(
        &self,
        request: Request<ListProvidersRequest>,
    ) -> Result<Response<ListProvidersResponse>, Status> {
        let providers = callers::client(&self.auth, &request).and_then(|call| self.auth.list_providers(&call));
        let providers = providers.map(|providers| ListProvidersResponse {
            providers: providers.iter().map(|provider| oauth::provider(provider)).collect(),
        });
        answer(providers, Repeat::Safe)
    }

    async fn o_auth_start(&self, request: Request<OAuthStartRequest>) -> Result<Response<OAuthStartResponse>, Status> {
        // A flow that nobody heard of ends by itself.
        answer(self.start(request).await, Repeat::Safe)
    }

    async fn o_auth_exchange(
        &self,
        request: Request<OAuthExchangeRequest>,
    ) -> Result<Response<OAuthExchangeResponse>, Status> {
        answer(self.exchange(request).await, Repeat::Unsafe)
    }

    async fn o_auth_unlink(
        &self,
        request: Request<OAuthUnlinkRequest>,
    ) -> Result<Response<OAuthUnlinkResponse>, Status> {
        answer(self.unlink(request).await, Repeat::Safe)
    }

    async fn exchange_token(
        &self,
        request: Request<ExchangeTokenRequest>,
    ) -> Result<Response<ExchangeTokenResponse>, Status> {
        answer(Box::pin(self.trade_in(request)).await, Repeat::Unsafe)
    }

    async fn list_sessions(
        &self,
        request: Request<ListSessionsRequest>,
    ) -> Result<Response<ListSessionsResponse>, Status> {
        answer(self.page(request).await, Repeat::Safe)
    }

    async fn revoke(&self, request: Request<RevokeRequest>) -> Result<Response<RevokeResponse>, Status> {
        answer(self.end(request).await, Repeat::Safe)
    }

    async fn get_keys(&self, request: Request<GetKeysRequest>) -> Result<Response<GetKeysResponse>, Status> {
        let keys = callers::client(&self.auth, &request).and_then(|_any| self.auth.public_keys());
        let keys = keys.map(|jwks_json| GetKeysResponse {
            jwks_json,
            max_age: Some(render::duration(self.auth.rules.jwks_max_age)),
            issuer: self.auth.rules.issuer.clone(),
        });
        answer(keys, Repeat::Safe)
    }
}

impl AuthDoor {
    async fn sign_in(&self, request: Request<LoginRequest>) -> Result<LoginResponse, AuthError> {
        let call = callers::client(&self.auth, &request)?;
        let outcome = match self.auth.login(&call, read_login(request.into_inner())?).await? {
            Outcome::SignedIn(issued) => LoginOutcome::SignIn(render::sign_in(*issued)),
            Outcome::Challenged(issued) => LoginOutcome::Challenge(render::challenge(&issued)),
        };
        Ok(LoginResponse { outcome: Some(outcome) })
    }

    async fn complete(
        &self,
        request: Request<CompleteChallengeRequest>,
    ) -> Result<CompleteChallengeResponse, AuthError> {
        let call = callers::client(&self.auth, &request)?;
        let outcome = match self.auth.complete_challenge(&call, read_completion(request.into_inner())?).await? {
            Outcome::SignedIn(issued) => CompletionOutcome::SignIn(render::sign_in(*issued)),
            Outcome::Challenged(issued) => CompletionOutcome::Challenge(render::challenge(&issued)),
        };
        Ok(CompleteChallengeResponse { outcome: Some(outcome) })
    }

    async fn start(&self, request: Request<OAuthStartRequest>) -> Result<OAuthStartResponse, AuthError> {
        let call = callers::client(&self.auth, &request)?;
        self.auth.oauth_start(&call, oauth::read_start(request.into_inner())?).await.map(oauth::started)
    }

    async fn exchange(&self, request: Request<OAuthExchangeRequest>) -> Result<OAuthExchangeResponse, AuthError> {
        let call = callers::client(&self.auth, &request)?;
        let exchange = oauth::read_exchange(request.into_inner())?;
        self.auth.oauth_exchange(&call, exchange).await.map(oauth::exchanged)
    }

    async fn unlink(&self, request: Request<OAuthUnlinkRequest>) -> Result<OAuthUnlinkResponse, AuthError> {
        let call = callers::client(&self.auth, &request)?;
        let status = self.auth.oauth_unlink(&call, oauth::read_unlink(request.into_inner())?).await?;
        Ok(OAuthUnlinkResponse { http_status: status.into() })
    }

    async fn trade_in(&self, request: Request<ExchangeTokenRequest>) -> Result<ExchangeTokenResponse, AuthError> {
        let call = callers::client(&self.auth, &request)?;
        let exchange = oauth::read_exchange_token(request.into_inner())?;
        let (tokens, subject) = self.auth.exchange_token(&call, exchange).await?;
        let (tokens, principal) = (Some(render::token_pair(&tokens)), Some(render::subject(subject)));
        Ok(ExchangeTokenResponse { tokens, principal })
    }

    async fn rotate(&self, request: Request<RefreshRequest>) -> Result<RefreshResponse, AuthError> {
        let call = callers::client(&self.auth, &request)?;
        let Refreshed { tokens, subject, kind } = self.auth.refresh(&call, read_refresh(request.into_inner())?).await?;
        Ok(RefreshResponse {
            tokens: Some(render::token_pair(&tokens)),
            principal: Some(render::subject(subject)),
            rotation: render::rotation(kind).into(),
        })
    }

    async fn page(&self, request: Request<ListSessionsRequest>) -> Result<ListSessionsResponse, AuthError> {
        let call = callers::client(&self.auth, &request)?;
        let request = request.into_inner();
        let listing = listing(&call.client.id, &request);
        let listing: [&str; 5] = listing.each_ref().map(String::as_str);
        let pages = Pages(&listing);
        let (views, more) = self.auth.list_sessions(&call, read_list(request, &pages)?).await?;
        let next = views.last().filter(|_| more).map(|last| pages.token(&last.id.to_string()));
        Ok(ListSessionsResponse {
            sessions: views.into_iter().map(render::session).collect(),
            next_page_token: next.unwrap_or_default(),
        })
    }

    async fn end(&self, request: Request<RevokeRequest>) -> Result<RevokeResponse, AuthError> {
        let call = callers::client(&self.auth, &request)?;
        let revoked = self.auth.revoke(&call, read_revoke(request.into_inner())?).await?;
        Ok(RevokeResponse { ended_count: render::count(revoked.count), revision: revoked.revision.to_string() })
    }
}

fn answer<T>(result: Result<T, AuthError>, repeat: Repeat) -> Result<Response<T>, Status> {
    result.map(Response::new).map_err(|error| refuse(&error, repeat))
}

fn read_login(request: LoginRequest) -> Result<Login, AuthError> {
    let LoginRequest { credential, device, token_options, replace_refresh_token, supported_challenges } = request;
    let mut fields = Fields::default();
    let credential = fields.required("credential", credential).and_then(|credential| match credential {
        Credential::Password(password) => read_password(&mut fields, password),
    });
    let mut device = device.unwrap_or_default();
    let device_token = secret(std::mem::take(&mut device.device_token));
    let device = fields.device("device", device);
    let scope = fields.token_options("token_options", token_options.unwrap_or_default());
    fields.finish(|| {
        let (identifier, password) = credential?;
        let replace = secret(replace_refresh_token);
        let supported = challenge_kinds(supported_challenges);
        Some(Login { identifier, password, device: device?, device_token, scope: scope?, replace, supported })
    })
}

/// One that this server does not know is not needed here either.
pub(super) fn challenge_kinds(wire: Vec<i32>) -> Vec<ChallengeKind> {
    let known = |wire: i32| match WireKind::try_from(wire) {
        Ok(WireKind::NewPassword) => Some(ChallengeKind::NewPassword),
        Ok(WireKind::LinkIdentity) => Some(ChallengeKind::LinkIdentity),
        Ok(WireKind::Unspecified) | Err(_) => None,
    };
    wire.into_iter().filter_map(known).collect()
}

/// As with a refresh token, a challenge token that cannot be one is no field at fault: the answer is to sign in again.
fn read_completion(request: CompleteChallengeRequest) -> Result<Completion, AuthError> {
    // No second step follows this one.
    let CompleteChallengeRequest { challenge_token, answer, device, supported_challenges: _ } = request;
    let mut fields = Fields::default();
    let answer = fields.required("answer", answer);
    let device = fields.device("device", device.unwrap_or_default());
    let (answer, device) = fields.finish(|| answer.zip(device))?;
    let ChallengeAnswer::NewPassword(text) = answer;
    let new_password = Password::from_typed(&Zeroizing::new(text))?;
    Ok(Completion { token: SecretString::from(challenge_token), new_password, device })
}

fn read_password(fields: &mut Fields, credential: PasswordCredential) -> Option<(Identifier, Password)> {
    let PasswordCredential { identifier, password } = credential;
    let text = Zeroizing::new(password);
    let identifier = Identifier::from_typed(&identifier);
    if identifier.is_none() {
        let problem = format_args!("must be 1 to {IDENTIFIER_BYTES_MAX} bytes without control characters");
        fields.refuse("password.identifier", problem);
    }
    // An empty one is the front's mistake: nobody has it, and hashing it would cost as much as a real one.
    let password = if text.is_empty() { None } else { Password::from_typed(&text).ok() };
    if password.is_none() {
        fields.refuse("password.password", format_args!("must be 1 to {PASSWORD_BYTES_MAX} bytes"));
    }
    identifier.zip(password)
}

/// A refresh token that is empty or too long is no field at fault: it is what the person's device holds, and the answer
/// to that is to sign in again.
fn read_refresh(request: RefreshRequest) -> Result<Refresh, AuthError> {
    let RefreshRequest { refresh_token, device, token_options } = request;
    let mut fields = Fields::default();
    let device = device.map(|device| fields.device("device", device));
    let scope = token_options.map(|options| fields.token_options("token_options", options));
    fields.finish(|| {
        // Unset is as before; set and refused never comes here.
        Some(Refresh { token: SecretString::from(refresh_token), device: device.flatten(), scope: scope.flatten() })
    })
}

/// What has to stay the same from page to page. Whether a person asks, but not with which token: that one may be
/// refreshed between two pages.
fn listing(client: &ClientId, request: &ListSessionsRequest) -> [String; 5] {
    let by_person = !request.access_token.is_empty();
    let ListSessionsRequest { user_id, show_ended, .. } = request;
    ["ListSessions".to_owned(), client.to_string(), user_id.clone(), show_ended.to_string(), by_person.to_string()]
}

fn read_list(request: ListSessionsRequest, pages: &Pages<'_>) -> Result<ListSessions, AuthError> {
    let ListSessionsRequest { access_token, user_id, page_size, page_token, show_ended } = request;
    let mut fields = Fields::default();
    let user: Option<Option<UserId>> = fields.parse_if_set("user_id", &user_id);
    let page_size = fields.page_size(page_size, PAGE_SIZE_MAX);
    let before = pages.read(&mut fields, &page_token, |last| last.parse().ok());
    fields.finish(|| {
        Some(ListSessions { token: secret(access_token), user: user?, page_size: page_size?, before, show_ended })
    })
}

fn read_revoke(request: RevokeRequest) -> Result<Revoke, AuthError> {
    let RevokeRequest { access_token, target, note, user_id } = request;
    let mut fields = Fields::default();
    let note = fields.note("note", note);
    if !user_id.is_empty() && !matches!(target, None | Some(WireTarget::SessionId(_))) {
        fields.refuse("user_id", "is only for a session_id");
    }
    let target = fields.required("target", target).and_then(|target| match target {
        WireTarget::SessionId(id) => {
            let session: Option<SessionId> = fields.parse("session_id", &id);
            let user: Option<Option<UserId>> = fields.parse_if_set("user_id", &user_id);
            Some(Target::Session { session: session?, user: user? })
        }
        WireTarget::RefreshToken(token) => Some(Target::Token(SecretString::from(token))),
        WireTarget::UserSessions(UserSessions { user_id, keep_current }) => {
            let user: Option<Option<UserId>> = fields.parse_if_set("user_sessions.user_id", &user_id);
            Some(Target::User { user: user?, keep_current })
        }
    });
    fields.finish(|| Some(Revoke { token: secret(access_token), target: target?, note: note? }))
}

/// Empty: none.
pub(super) fn secret(text: String) -> Option<SecretString> {
    (!text.is_empty()).then(|| SecretString::from(text))
}

#[cfg(test)]
mod tests;
