//! A refusal as the caller sees it: code, reason and details. The only place where an [`AuthError`] becomes a status, and
//! where what must not leave the house (causes, engines' words) is logged instead. Must not decide anything.

#![warn(clippy::wildcard_enum_match_arm)]

use std::borrow::Cow;
use std::collections::HashMap;
use std::error::Error;
use std::fmt::Display;
use std::time::Duration;

use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt as _};

use crate::auth::challenge::ChallengeKind;
use crate::auth::error::{AuthError, Violation};
use crate::domain::client::Origin;
use crate::domain::id::ClientId;
use crate::domain::role::RoleFault;
use crate::domain::standing::End;
use crate::domain::time::Timestamp;
use crate::proto::auth::v1::Reason;
use crate::verifier::{NotFresh, TokenFault};

const DOMAIN: &str = "postern";
/// gRPC's own retries read this and not `RetryInfo`.
const PUSHBACK: &str = "grpc-retry-pushback-ms";
const AGAIN_SOON: Duration = Duration::from_millis(100);
const AGAIN_LATER: Duration = Duration::from_secs(1);

/// Whether the very same call may be sent again when its outcome is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    Safe,
    /// What was begun may have been done: a second one would do it twice.
    Unsafe,
}

/// Says no. Logs what the caller is not told; the span has the request's id.
pub fn refuse(error: &AuthError, repeat: Repeat) -> Status {
    log(error);
    Refusal::of(error).render(repeat)
}

/// Code and reason alone, for answers that carry a refusal inside.
pub fn summary(error: &AuthError) -> (Code, Reason) {
    log(error);
    let refusal = Refusal::of(error);
    (refusal.code, refusal.reason)
}

/// What is said of any fault of ours.
pub fn internal() -> Status {
    Refusal::new(Code::Internal, Reason::Internal, INTERNAL).render(Repeat::Unsafe)
}

/// What is said of a message that could not be read.
pub fn malformed() -> Status {
    let message = "the message cannot be read: it is not what this method takes";
    Refusal::new(Code::InvalidArgument, Reason::InvalidField, message).render(Repeat::Safe)
}

/// What the bearer may know of a token that is no good.
pub fn token_reason(fault: TokenFault) -> Reason {
    match fault {
        TokenFault::Invalid(_) => Reason::TokenInvalid,
        TokenFault::Expired => Reason::TokenExpired,
        TokenFault::Revoked => Reason::TokenRevoked,
    }
}

const FOREIGN_TOKEN: &str = "not a token that is traded in here: sign in";
const INTERNAL: &str = "internal error; the log has more under the request id";

/// Once, with the chain of causes.
fn log(error: &AuthError) {
    let cause: &(dyn Error + 'static) = error;
    match error {
        AuthError::Internal(source) => {
            let cause: &(dyn Error + 'static) = &**source;
            tracing::error!(error = cause, "a call failed by a fault of ours");
        }
        AuthError::Unavailable { engine, source, begun: _ } => {
            let cause: &(dyn Error + 'static) = &**source;
            tracing::warn!(engine = engine.name(), error = cause, "a call failed because an engine is away");
        }
        AuthError::NotFresh(why) => tracing::warn!(%why, "a call was refused because the view is not fresh"),
        AuthError::Overloaded { .. } => tracing::warn!("a call was shed"),
        AuthError::NoSigningKey { .. } => tracing::warn!("a call was refused because no key signs at this moment"),
        AuthError::InvalidField(_)
        | AuthError::InvalidCredentials(_)
        | AuthError::ChallengeFailed(_)
        | AuthError::ChallengeUnsupported(_)
        | AuthError::OAuthCancelled { .. }
        | AuthError::OAuthFlowInvalid(_)
        | AuthError::OAuthRejected { .. }
        | AuthError::OAuthProviderUnavailable { .. }
        | AuthError::ForeignTokenRefused(_)
        | AuthError::RefreshTokenInvalid
        | AuthError::SessionEnded(_)
        | AuthError::SessionReused(_)
        | AuthError::TokenRefused(_)
        | AuthError::PermissionMissing { .. }
        | AuthError::BeyondOwn { .. }
        | AuthError::ClientUnauthenticated
        | AuthError::ClientNotAllowed { .. }
        | AuthError::IdentifierTaken { .. }
        | AuthError::ClientTaken { .. }
        | AuthError::ClientNotEditable { .. }
        | AuthError::NotFound { .. }
        | AuthError::ReauthenticationRequired { .. }
        | AuthError::EtagMismatch
        | AuthError::RoleGraph(_)
        | AuthError::LastOne { .. }
        | AuthError::TenantRequired
        | AuthError::Throttled { .. }
        | AuthError::KeyWaiting { .. }
        | AuthError::PasswordRefused(_) => tracing::debug!(why = cause, "a call was refused"),
    }
}

/// A refusal before it is a status.
struct Refusal {
    code: Code,
    reason: Reason,
    /// Lower case, no full stop, nothing secret.
    message: Cow<'static, str>,
    metadata: Vec<(&'static str, String)>,
    fields: Vec<Violation>,
    retry: Option<Retry>,
}

/// When to come back.
#[derive(Clone, Copy)]
enum Retry {
    /// Nothing was done yet.
    After(Duration),
    /// As much may have been done: a machine may repeat only what is safe to repeat.
    AfterIfSafe(Duration),
}

impl Refusal {
    fn new(code: Code, reason: Reason, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, reason, message: message.into(), metadata: Vec::new(), fields: Vec::new(), retry: None }
    }

    fn with(mut self, name: &'static str, value: &dyn Display) -> Self {
        self.metadata.push((name, value.to_string()));
        self
    }

    fn retry(self, retry: Retry) -> Self {
        Self { retry: Some(retry), ..self }
    }

    #[expect(clippy::too_many_lines, reason = "a table, which is read best whole")]
    fn of(error: &AuthError) -> Self {
        match error {
            AuthError::InvalidField(violations) => Self::fields(violations),
            // Constant, whatever went wrong: a difference here would tell which accounts exist.
            AuthError::InvalidCredentials(_) => Self::new(
                Code::Unauthenticated,
                Reason::InvalidCredentials,
                "the sign-in failed: wrong identifier or password",
            ),
            AuthError::ChallengeFailed(_) => Self::challenge_failed(),
            AuthError::ChallengeUnsupported(kind) => Self::challenge_unsupported(*kind),
            AuthError::OAuthCancelled { return_url } => {
                let message = "the person cancelled at the provider";
                Self::new(Code::FailedPrecondition, Reason::OauthCancelled, message).returning(return_url)
            }
            // Constant: who guesses learns nothing of the flows that there are.
            AuthError::OAuthFlowInvalid(_) => Self::new(
                Code::Unauthenticated,
                Reason::OauthFlowInvalid,
                "this fits no sign-in that is on its way: begin again",
            ),
            AuthError::OAuthRejected { why: _, return_url } => {
                let message = "the provider's answer does not prove who it is";
                Self::new(Code::Unauthenticated, Reason::OauthRejected, message).returning(return_url)
            }
            AuthError::OAuthProviderUnavailable { retry_after, return_url } => {
                let message = "the provider is away; other ways to sign in work";
                Self::new(Code::Unavailable, Reason::OauthProviderUnavailable, message)
                    .returning(return_url)
                    .retry(Retry::AfterIfSafe(*retry_after))
            }
            // Constant: who guesses learns nothing of issuers, nor of what was traded in.
            AuthError::ForeignTokenRefused(_) => Self::new(Code::Unauthenticated, Reason::TokenInvalid, FOREIGN_TOKEN),
            AuthError::RefreshTokenInvalid => Self::new(
                Code::Unauthenticated,
                Reason::RefreshTokenInvalid,
                "not a refresh token that this client may use",
            ),
            AuthError::SessionEnded(End { cause, time }) => {
                Self::new(Code::Unauthenticated, Reason::SessionEnded, "the session is over: sign in again")
                    .with("endCause", &cause.name())
                    .with("endTime", time)
            }
            AuthError::SessionReused(_) => Self::new(
                Code::Unauthenticated,
                Reason::SessionReused,
                "a spent refresh token came back and the session was ended: sign in again",
            ),
            AuthError::TokenRefused(fault) => {
                let message = match fault {
                    TokenFault::Invalid(_) => "not an access token that is good here",
                    TokenFault::Expired => "the access token has expired: refresh",
                    TokenFault::Revoked => "the session behind the access token was ended: sign in again",
                };
                Self::new(Code::Unauthenticated, token_reason(*fault), message)
            }
            AuthError::PermissionMissing { permission, tenant } => {
                let message = format!("lacks the permission {permission}");
                let refusal = Self::new(Code::PermissionDenied, Reason::PermissionMissing, message);
                let refusal = refusal.with("permission", permission);
                if let Some(tenant) = tenant { refusal.with("tenant", tenant) } else { refusal }
            }
            AuthError::BeyondOwn { pattern } => {
                let message = format!("nobody grants what they do not hold: {pattern}");
                Self::new(Code::PermissionDenied, Reason::PermissionMissing, message).with("permission", pattern)
            }
            AuthError::ClientUnauthenticated => Self::new(
                Code::PermissionDenied,
                Reason::ClientUnauthenticated,
                "the calling client did not prove itself: check the authorization metadata",
            ),
            AuthError::ClientNotAllowed { permission } => {
                let message = format!("the calling client lacks {permission}");
                Self::new(Code::PermissionDenied, Reason::ClientNotAllowed, message).with("permission", permission)
            }
            AuthError::IdentifierTaken { field } => {
                Self::new(Code::AlreadyExists, Reason::IdentifierTaken, format!("another user has this {field}"))
            }
            AuthError::ClientTaken { what } => {
                Self::new(Code::AlreadyExists, Reason::IdentifierTaken, format!("another client has this {what}"))
            }
            AuthError::ClientNotEditable { id, origin } => Self::not_editable(id, *origin),
            AuthError::NotFound { what } => {
                Self::new(Code::NotFound, Reason::NotFound, format!("there is no such {what}"))
            }
            AuthError::ReauthenticationRequired { max_age } => {
                let message = "the sign-in is too old for this: sign in again first";
                Self::new(Code::FailedPrecondition, Reason::ReauthenticationRequired, message)
                    .with("maxAgeSeconds", &max_age.as_secs())
            }
            AuthError::EtagMismatch => {
                Self::new(Code::Aborted, Reason::EtagMismatch, "changed in the meantime: read again")
            }
            AuthError::RoleGraph(fault) => Self::roles(fault),
            AuthError::LastOne { why } => Self::new(Code::FailedPrecondition, Reason::LastOne, *why),
            AuthError::TenantRequired => Self::new(
                Code::FailedPrecondition,
                Reason::TenantRequired,
                "the roles do not fit into a token: name a tenant in token_options",
            ),
            AuthError::PasswordRefused(rule) => {
                let message = format!("the new password {rule}");
                Self::new(Code::InvalidArgument, Reason::PasswordRefused, message).with("rule", &rule.name())
            }
            AuthError::Throttled { retry_after } => {
                Self::new(Code::ResourceExhausted, Reason::Throttled, "too many tries: wait as long as RetryInfo says")
                    .retry(Retry::After(*retry_after))
            }
            AuthError::Overloaded { retry_after } => {
                Self::new(Code::Unavailable, Reason::Overloaded, "too busy: shed before any work was done")
                    .retry(Retry::After(*retry_after))
            }
            AuthError::Unavailable { engine, source: _, begun } => {
                let retry = if *begun { Retry::AfterIfSafe(AGAIN_LATER) } else { Retry::After(AGAIN_LATER) };
                Self::new(Code::Unavailable, Reason::EngineUnavailable, "a store this call needs is away")
                    .with("engine", &engine.name())
                    .retry(retry)
            }
            AuthError::NoSigningKey { retry_after } => Self::no_signing_key(*retry_after),
            AuthError::KeyWaiting { kid, sign_time } => Self::key_waiting(kid, *sign_time),
            AuthError::NotFresh(why) => {
                let (message, after) = match why {
                    NotFresh::NotLoaded => ("this replica is still starting", AGAIN_SOON),
                    NotFresh::Stale { .. } => ("this replica has not heard of changes for too long", AGAIN_LATER),
                    NotFresh::Behind => ("this replica has not seen min_revision yet", AGAIN_SOON),
                };
                Self::new(Code::Unavailable, Reason::NotFresh, message).retry(Retry::After(after))
            }
            AuthError::Internal(_) => Self::new(Code::Internal, Reason::Internal, INTERNAL),
        }
    }

    /// Constant too: who guesses tokens learns nothing of those that there are.
    fn challenge_failed() -> Self {
        let message = "the challenge is unknown, spent or over: sign in again";
        Self::new(Code::Unauthenticated, Reason::ChallengeFailed, message)
    }

    fn challenge_unsupported(kind: ChallengeKind) -> Self {
        let (message, name) = match kind {
            ChallengeKind::NewPassword => (
                "this account needs a new password, and the front did not list CHALLENGE_KIND_NEW_PASSWORD",
                "NEW_PASSWORD",
            ),
            ChallengeKind::LinkIdentity => {
                ("an account with this address exists: sign in to it, then link the provider", "LINK_IDENTITY")
            }
        };
        Self::new(Code::FailedPrecondition, Reason::ChallengeUnsupported, message).with("challenge", &name)
    }

    /// Where the person wanted to go, for a page that says what went wrong.
    fn returning(self, return_url: &str) -> Self {
        if return_url.is_empty() { self } else { self.with("returnUrl", &return_url) }
    }

    fn not_editable(id: &ClientId, origin: Origin) -> Self {
        let place = match origin {
            Origin::Configuration => "is declared in [[clients]] of the server's configuration: change it there",
            Origin::BuiltIn => "belongs to the development profile and cannot be changed",
            Origin::Store => "cannot be changed now",
        };
        let message = format!("client `{id}` {place}");
        Self::new(Code::FailedPrecondition, Reason::ClientNotEditable, message).with("client", id)
    }

    fn fields(violations: &[Violation]) -> Self {
        let told: Vec<String> =
            violations.iter().map(|Violation { field, problem }| format!("{field}: {problem}")).collect();
        let refusal = Self::new(Code::InvalidArgument, Reason::InvalidField, told.join("; "));
        Self { fields: violations.to_vec(), ..refusal }
    }

    /// Found out while the token is drafted: nothing was written yet.
    fn no_signing_key(retry_after: Duration) -> Self {
        let message = "no key signs at this moment: one was retired and the next one is about to begin";
        Self::new(Code::Unavailable, Reason::EngineUnavailable, message)
            .with("engine", &"keyring")
            .retry(Retry::After(retry_after))
    }

    fn key_waiting(kid: &str, sign_time: Timestamp) -> Self {
        let message = format!("key {kid} was published and waits for its turn: one rotation at a time");
        Self::new(Code::FailedPrecondition, Reason::RotationPending, message)
            .with("key", &kid)
            .with("signTime", &sign_time)
    }

    fn roles(fault: &RoleFault) -> Self {
        match fault {
            RoleFault::UnknownParent { role, .. } | RoleFault::Cycle { role, .. } => {
                Self::new(Code::FailedPrecondition, Reason::RoleGraphInvalid, fault.to_string()).with("role", role)
            }
            RoleFault::BuiltIn { .. }
            | RoleFault::Duplicate { .. }
            | RoleFault::TooManyRoles { .. }
            | RoleFault::TooManyPatterns { .. }
            | RoleFault::TooManyPatternsInAll { .. }
            | RoleFault::TooManyParents { .. }
            | RoleFault::LongDescription { .. } => {
                let violation = Violation { field: "roles".to_owned(), problem: fault.to_string() };
                Self::fields(&[violation])
            }
        }
    }

    fn render(self, repeat: Repeat) -> Status {
        let reason = self.reason.as_str_name().trim_start_matches("REASON_");
        let metadata: HashMap<String, String> =
            self.metadata.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let mut details = ErrorDetails::with_error_info(reason, DOMAIN, metadata);
        if !self.fields.is_empty() {
            details.set_bad_request(
                self.fields
                    .into_iter()
                    .map(|Violation { field, problem }| FieldViolation::new(field, problem))
                    .collect::<Vec<_>>(),
            );
        }
        let mut trailers = MetadataMap::new();
        match (self.retry, repeat) {
            (Some(Retry::After(delay)), _) | (Some(Retry::AfterIfSafe(delay)), Repeat::Safe) => {
                details.set_retry_info(Some(delay));
                if let Ok(millis) = i64::try_from(delay.as_millis()) {
                    trailers.insert(PUSHBACK, MetadataValue::from(millis));
                }
            }
            (Some(Retry::AfterIfSafe(delay)), Repeat::Unsafe) => {
                // For people, who may know what came of it.
                details.set_retry_info(Some(delay));
                trailers.insert(PUSHBACK, MetadataValue::from_static("-1"));
            }
            (None, _) => {}
        }
        Status::with_error_details_and_metadata(self.code, self.message, details, trailers)
    }
}

#[cfg(test)]
mod tests;
