//! Why something was not done: a status and a reason for programs, a page for people. What the service refused keeps its reason
//! (`proto/postern/auth/v1/reason.proto`); nothing that a provider said is among it.

use std::borrow::Cow;

use http::StatusCode;
use http::header::{HeaderValue, RETRY_AFTER};
use serde_json::json;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::answer::{self, Answer};
use super::page;
use super::words::{Language, Matter};
use crate::proto::auth::v1::Reason;

const DOMAIN: &str = "postern";
/// In the metadata of a refusal: where the person came from.
const RETURN_URL: &str = "returnUrl";

/// See above.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) reason: Cow<'static, str>,
    pub(super) matter: Matter,
    pub(super) retry_after_secs: Option<u64>,
    /// Where the person came from, as the service says.
    pub(super) return_url: Option<String>,
    /// Where the same begins anew.
    pub(super) again: Option<String>,
}

impl Refusal {
    const fn new(status: StatusCode, reason: &'static str, matter: Matter) -> Self {
        let reason = Cow::Borrowed(reason);
        Self { status, reason, matter, retry_after_secs: None, return_url: None, again: None }
    }

    /// What was asked makes no sense.
    pub(super) const fn malformed() -> Self {
        Self::new(StatusCode::BAD_REQUEST, "INVALID_FIELD", Matter::BadRequest)
    }

    /// Not from this browser, or not any more.
    pub(super) const fn flow_invalid() -> Self {
        Self::new(StatusCode::BAD_REQUEST, "OAUTH_FLOW_INVALID", Matter::FlowInvalid)
    }

    pub(super) const fn account_exists() -> Self {
        Self::new(StatusCode::CONFLICT, "LINK_IDENTITY", Matter::AccountExists)
    }

    /// Whether what was refused may be good later: the provider was not asked, or could not answer.
    pub(super) fn may_come_again(&self) -> bool {
        self.reason == "OAUTH_PROVIDER_UNAVAILABLE"
    }

    /// Asked by a stranger's page.
    pub(super) const fn foreign() -> Self {
        Self::new(StatusCode::FORBIDDEN, "FOREIGN_ORIGIN", Matter::Foreign)
    }

    pub(super) const fn signed_out() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "SIGNED_OUT", Matter::SignedOut)
    }

    pub(super) const fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "NOT_FOUND", Matter::NotFound)
    }

    pub(super) const fn method_not_allowed() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", Matter::BadRequest)
    }

    pub(super) const fn wrong_type() -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UNSUPPORTED_MEDIA_TYPE", Matter::BadRequest)
    }

    pub(super) const fn too_large() -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "TOO_LARGE", Matter::BadRequest)
    }

    pub(super) const fn too_slow() -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "TOO_SLOW", Matter::BadRequest)
    }

    pub(super) const fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL", Matter::Outage)
    }

    /// The service answers with what the contract does not have.
    pub(super) fn unexpected(what: &'static str) -> Self {
        tracing::error!(what, "the service's answer cannot be used");
        Self::internal()
    }

    /// What the service said instead of an answer.
    pub(super) fn of_call(status: &Status) -> Self {
        let details = status.get_error_details();
        let info = details.error_info().filter(|info| info.domain == DOMAIN);
        let reason = info.and_then(|info| Reason::from_str_name(&format!("REASON_{}", info.reason)));
        let mut refusal = match reason {
            Some(reason) => Self::of_reason(reason),
            None => Self::of_code(status.code()),
        };
        if let (Some(info), true) = (info, refusal.status != StatusCode::INTERNAL_SERVER_ERROR) {
            refusal.reason = Cow::Owned(info.reason.clone());
            refusal.return_url = info.metadata.get(RETURN_URL).cloned();
        } else {
            let (code, message) = (status.code(), status.message());
            tracing::error!(?code, message, "the service refuses the gateway");
        }
        let delay = details.retry_info().and_then(|retry| retry.retry_delay);
        refusal.retry_after_secs = match refusal.status {
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
                Some(delay.map_or(1, |delay| delay.as_secs().max(1)))
            }
            _ => None,
        };
        refusal
    }

    fn of_reason(reason: Reason) -> Self {
        let (status, matter) = match reason {
            Reason::OauthCancelled => (StatusCode::FORBIDDEN, Matter::Cancelled),
            Reason::OauthFlowInvalid => (StatusCode::BAD_REQUEST, Matter::FlowInvalid),
            Reason::OauthRejected => (StatusCode::FORBIDDEN, Matter::Rejected),
            Reason::OauthProviderUnavailable => (StatusCode::SERVICE_UNAVAILABLE, Matter::ProviderAway),
            Reason::InvalidCredentials | Reason::ChallengeUnsupported | Reason::TenantRequired => {
                (StatusCode::FORBIDDEN, Matter::NotAllowed)
            }
            Reason::InvalidField => (StatusCode::BAD_REQUEST, Matter::BadRequest),
            Reason::NotFound => (StatusCode::NOT_FOUND, Matter::NotFound),
            Reason::RefreshTokenInvalid
            | Reason::SessionEnded
            | Reason::SessionReused
            | Reason::TokenInvalid
            | Reason::TokenExpired
            | Reason::TokenRevoked
            | Reason::ReauthenticationRequired => (StatusCode::UNAUTHORIZED, Matter::SignedOut),
            Reason::IdentifierTaken => (StatusCode::CONFLICT, Matter::LinkedElsewhere),
            Reason::Throttled => (StatusCode::TOO_MANY_REQUESTS, Matter::TooMany),
            Reason::Overloaded | Reason::EngineUnavailable | Reason::NotFresh => {
                (StatusCode::SERVICE_UNAVAILABLE, Matter::Outage)
            }
            // Nobody who comes by a browser can do anything about the others.
            _ => return Self::internal(),
        };
        Self { status, matter, ..Self::internal() }
    }

    fn of_code(code: Code) -> Self {
        match code {
            // A deadline that passes on this side is a cancellation to tonic.
            Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", Matter::Outage)
            }
            _ => Self::internal(),
        }
    }

    /// Whether it means that the person is not signed in any more.
    pub(super) fn ends_session(&self) -> bool {
        self.status == StatusCode::UNAUTHORIZED
    }

    /// Whether somebody ended the session behind the access token.
    pub(super) fn is_revoked(&self) -> bool {
        self.reason == "TOKEN_REVOKED"
    }

    /// For a program.
    pub(super) fn to_json(&self) -> Answer {
        let message = self.matter.in_words(Language::English).text;
        self.timed(answer::json(self.status, &json!({ "error": self.reason, "message": message })))
    }

    /// For a person.
    pub(super) fn to_page(&self, language: Language, request_id: &str) -> Answer {
        let back = self.return_url.as_deref().filter(|url| page::is_web(url));
        let markup = page::message(language, self.matter, back, self.again.as_deref(), request_id);
        self.timed(answer::page(self.status, markup))
    }

    fn timed(&self, mut answer: Answer) -> Answer {
        if let Some(secs) = self.retry_after_secs {
            answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(secs));
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::time::Duration;

    use tonic_types::ErrorDetails;

    use super::*;

    fn refused(code: Code, reason: &str, metadata: &[(&str, &str)], retry: Option<Duration>) -> Refusal {
        let metadata: HashMap<String, String> =
            metadata.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let mut details = ErrorDetails::with_error_info(reason, DOMAIN, metadata);
        if let Some(retry) = retry {
            details.set_retry_info(Some(retry));
        }
        Refusal::of_call(&Status::with_error_details(code, "secret words", details))
    }

    #[test]
    fn each_reason_has_its_status_and_words() {
        for (code, reason, status, matter) in [
            (Code::FailedPrecondition, "OAUTH_CANCELLED", 403, Matter::Cancelled),
            (Code::Unauthenticated, "OAUTH_FLOW_INVALID", 400, Matter::FlowInvalid),
            (Code::Unauthenticated, "OAUTH_REJECTED", 403, Matter::Rejected),
            (Code::Unavailable, "OAUTH_PROVIDER_UNAVAILABLE", 503, Matter::ProviderAway),
            (Code::Unauthenticated, "INVALID_CREDENTIALS", 403, Matter::NotAllowed),
            (Code::FailedPrecondition, "CHALLENGE_UNSUPPORTED", 403, Matter::NotAllowed),
            (Code::InvalidArgument, "INVALID_FIELD", 400, Matter::BadRequest),
            (Code::Unavailable, "ENGINE_UNAVAILABLE", 503, Matter::Outage),
            (Code::ResourceExhausted, "THROTTLED", 429, Matter::TooMany),
            (Code::Unauthenticated, "SESSION_ENDED", 401, Matter::SignedOut),
        ] {
            let refusal = refused(code, reason, &[], None);
            assert_eq!((refusal.status.as_u16(), refusal.matter), (status, matter), "{reason}");
            assert_eq!(refusal.reason, reason);
        }
    }

    #[test]
    fn what_is_wrong_with_the_gateway_is_nobody_elses() {
        for refusal in [
            refused(Code::PermissionDenied, "CLIENT_UNAUTHENTICATED", &[], None),
            refused(Code::PermissionDenied, "CLIENT_NOT_ALLOWED", &[], None),
            refused(Code::Internal, "INTERNAL", &[], None),
            refused(Code::Unknown, "SOMETHING_NEW", &[], None),
            Refusal::of_call(&Status::unimplemented("secret words")),
        ] {
            assert_eq!((refusal.status.as_u16(), &*refusal.reason), (500, "INTERNAL"));
        }
        assert_eq!(Refusal::of_call(&Status::unavailable("")).status, 503);
        assert_eq!(Refusal::of_call(&Status::deadline_exceeded("")).status, 503);
    }

    #[test]
    fn a_program_hears_the_reason_and_when_to_come_back() {
        let answer = refused(Code::Unavailable, "ENGINE_UNAVAILABLE", &[], Some(Duration::from_secs(7))).to_json();
        assert_eq!(answer.headers()[RETRY_AFTER], "7");
        assert_eq!(answer.headers()["content-type"], "application/json");
        assert!(!format!("{answer:?}").contains("secret words"));
    }

    #[test]
    fn a_person_gets_a_way_back_to_the_web_only() {
        for (url, is_shown) in [
            ("https://app.example.com/a?b=1&c=2", true),
            ("javascript:alert(1)", false),
            ("data:text/html,x", false),
            ("com.example.app:/x", false),
        ] {
            let answer = refused(Code::FailedPrecondition, "OAUTH_CANCELLED", &[("returnUrl", url)], None)
                .to_page(Language::English, "id");
            assert_eq!(format!("{answer:?}").contains("Back to where"), is_shown, "{url}");
        }
    }
}
