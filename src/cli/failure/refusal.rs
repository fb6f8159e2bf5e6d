//! The contract's reasons in words. Two tables without wildcard, so that a new reason gets its words.

use tonic::{Code, Status};
use tonic_types::{ErrorInfo, StatusExt as _};

use super::{Circumstances, plain};
use crate::cli::args::DEFAULT_SERVER;
use crate::cli::shell_word;
use crate::proto::auth::v1::{EndCause, Reason};

/// What happened, as one sentence without a full stop.
pub(super) fn sentence(status: &Status, reason: Option<Reason>, info: Option<&ErrorInfo>) -> String {
    let metadata = |key: &str| info.and_then(|info| info.metadata.get(key)).map(|value| plain(value));
    let text = match reason {
        // The fields follow, a line each, and the message only repeats them.
        Some(Reason::InvalidField) if status.get_details_bad_request().is_some() => {
            return "the server refused the input".to_owned();
        }
        Some(Reason::InvalidField) => "the server refused the input",
        Some(Reason::NotFound) => "no such thing",
        Some(Reason::PasswordRefused) => {
            // This server's own words begin like ours.
            if status.message().starts_with("the new password ") {
                return plain(status.message());
            }
            let rule = metadata("rule").map_or_else(|| "a rule".to_owned(), |rule| format!("the rule {rule}"));
            return with_message(status, &format!("the new password breaks {rule}"));
        }
        Some(Reason::RoleGraphInvalid) => {
            return match metadata("role") {
                Some(role) => format!("role {role} inherits a role that does not exist, or itself"),
                None => "a role inherits one that does not exist, or itself".to_owned(),
            };
        }
        Some(Reason::SessionEnded) => {
            let cause = metadata("endCause").and_then(|name| EndCause::from_str_name(&format!("END_CAUSE_{name}")));
            return match cause.and_then(end_cause) {
                Some(cause) => format!("this session is over: {cause}"),
                None => "this session is over".to_owned(),
            };
        }
        Some(Reason::EngineUnavailable) => {
            let engine = metadata("engine").unwrap_or_else(|| "store".to_owned());
            return format!("the server cannot reach its {engine}");
        }
        Some(reason) => match short(reason) {
            Some(text) if says_it_all(reason) => return text.to_owned(),
            Some(text) => text,
            None => "the call failed",
        },
        None => return with_message(status, of_code(status.code())),
    };
    with_message(status, text)
}

/// What to do about it.
pub(super) fn advice(reason: Option<Reason>, code: Code, around: Circumstances<'_>) -> Option<String> {
    match (reason, code) {
        (
            Some(
                Reason::ChallengeFailed
                | Reason::SessionEnded
                | Reason::SessionReused
                | Reason::RefreshTokenInvalid
                | Reason::TokenInvalid
                | Reason::TokenExpired
                | Reason::TokenRevoked
                | Reason::ReauthenticationRequired
                | Reason::AssuranceTooLow,
            ),
            _,
        )
        | (None, Code::Unauthenticated) => Some(format!("{}{}", sign_in(around.identifier), at(around.sign_in_at))),
        (Some(Reason::PermissionMissing), _) => {
            Some("An administrator can tell why: postern admin explain USER PERMISSION".to_owned())
        }
        (Some(Reason::ChallengeUnsupported), _) => Some(
            "Sign in on a terminal to be asked for the new one, or put it into a file: --new-password-file FILE"
                .to_owned(),
        ),
        (Some(Reason::EtagMismatch), _) => Some("Somebody else changed it: read it again, then repeat".to_owned()),
        (Some(Reason::TenantRequired), _) => Some("Name a tenant: postern login --tenant TENANT".to_owned()),
        (Some(Reason::ClientUnauthenticated), _) => Some(
            "This speaks of the program that calls, not of you: this server wants a client's secret, with \
             --client-secret-file FILE, or its certificate, with --cert FILE and --key FILE; ask who runs it"
                .to_owned(),
        ),
        (Some(Reason::ClientNotAllowed), _) => {
            Some("This speaks of the program that calls, not of you; ask who runs the server".to_owned())
        }
        _ => None,
    }
}

/// The server again, where it is not the one that is asked unless told otherwise.
pub(in crate::cli) fn at(server: &str) -> String {
    if server == DEFAULT_SERVER { String::new() } else { format!(" --server {}", shell_word(&plain(server))) }
}

/// The command that signs in.
pub(in crate::cli) fn sign_in(identifier: Option<&str>) -> String {
    match identifier {
        Some(name) if !name.is_empty() => format!("Sign in: postern login {}", shell_word(&plain(name))),
        _ => "Sign in: postern login".to_owned(),
    }
}

/// Why a session ended.
pub(in crate::cli) const fn end_cause(cause: EndCause) -> Option<&'static str> {
    Some(match cause {
        EndCause::Unspecified => return None,
        EndCause::Logout => "logged out here",
        EndCause::EndedByUser => "ended from another session",
        EndCause::EndedByAdmin => "ended by an administrator",
        EndCause::RefreshReused => "a spent refresh token came back, it may have been stolen",
        EndCause::Idle => "not used for too long",
        EndCause::Expired => "reached its end",
        EndCause::CredentialChanged => "the password changed",
        EndCause::UserDisabled => "the user was disabled",
        EndCause::Replaced => "a newer sign-in took its place",
        EndCause::SessionLimit => "too many sessions, the oldest went",
        EndCause::Lost => "the server lost it",
        EndCause::EndedForAll => "everybody's sessions were ended",
    })
}

/// A reason in words that need nothing else.
pub(in crate::cli) const fn short(reason: Reason) -> Option<&'static str> {
    Some(match reason {
        Reason::Unspecified => return None,
        Reason::InvalidField => "the input was refused",
        Reason::InvalidCredentials => "the sign-in failed: wrong name or password",
        Reason::ChallengeFailed => "too late: this sign-in is spent or over",
        Reason::ChallengeUnsupported => "the password is right, and it has to be changed before you are signed in",
        Reason::ReauthenticationRequired => "this needs a fresh sign-in",
        Reason::RefreshTokenInvalid => "the stored refresh token is not one of this server's",
        Reason::SessionEnded => "this session is over",
        Reason::SessionReused => "this session was ended: a spent refresh token came back, it may have been stolen",
        Reason::TokenInvalid => "the access token is not valid here",
        Reason::TokenExpired => "the access token is past its time",
        Reason::TokenRevoked => "this session was ended",
        Reason::PermissionMissing => "a permission is missing",
        Reason::AssuranceTooLow => "the sign-in is too old or too weak for this",
        Reason::ClientUnauthenticated => "the server does not know the calling program",
        Reason::ClientNotAllowed => "the calling program may not do this",
        Reason::OauthCancelled => "the sign-in was cancelled at the provider",
        Reason::OauthFlowInvalid => "the sign-in at the provider is spent or does not fit",
        Reason::OauthRejected => "the provider's answer proves nobody",
        Reason::OauthProviderUnavailable => "the provider is away",
        Reason::IdentifierTaken => "somebody else has this name, e-mail or id",
        Reason::ClientNotEditable => "the server's configuration says what this client is",
        Reason::NotFound => "not found",
        Reason::EtagMismatch => "it was changed meanwhile",
        Reason::RoleGraphInvalid => "the roles do not fit together",
        Reason::LastOne => "refused: nobody would be left who may administer, or the user had no way in",
        Reason::TenantRequired => "the roles do not fit into a token",
        Reason::PasswordRefused => "the new password breaks a rule",
        Reason::RotationPending => "a new signing key waits for its turn already",
        Reason::Throttled => "too many attempts",
        Reason::Overloaded => "the server is busy and did nothing",
        Reason::EngineUnavailable => "the server cannot reach an engine",
        Reason::NotFresh => "the server's knowledge is too old to judge",
        Reason::Internal => "the server failed",
    })
}

const fn of_code(code: Code) -> &'static str {
    match code {
        Code::Unauthenticated => "not signed in",
        Code::PermissionDenied => "not allowed",
        Code::Unavailable => "the server is not available",
        Code::DeadlineExceeded => "the server did not answer in time",
        Code::ResourceExhausted => "too much at once",
        Code::Unimplemented => "this server does not offer it (if it is administration: --admin-server URL)",
        Code::Internal | Code::Unknown => "the server failed",
        _ => "the call failed",
    }
}

/// Whether the server's own words could add nothing: it says the same for all such refusals, on purpose.
const fn says_it_all(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::InvalidCredentials
            | Reason::ChallengeFailed
            | Reason::ChallengeUnsupported
            | Reason::RefreshTokenInvalid
            | Reason::SessionReused
            | Reason::TokenInvalid
            | Reason::TokenExpired
            | Reason::TokenRevoked
            | Reason::Throttled
            | Reason::Overloaded
            | Reason::NotFresh
    )
}

/// The server's own words are kept: they may name what this build does not know.
fn with_message(status: &Status, text: &str) -> String {
    let message = plain(status.message());
    if message.is_empty() || message == text { text.to_owned() } else { format!("{text}: {message}") }
}
