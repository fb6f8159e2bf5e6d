//! How a command ends, as a script sees it.

use std::process::ExitCode;

use tonic::Code;

use crate::proto::auth::v1::{Decision, Reason};

/// Allowed and refused never share a number, and an outage never looks like a denial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Allowed, or done.
    Done = 0,
    /// The input was refused, or something else went wrong.
    Refused = 1,
    /// Known, but may not.
    Denied = 3,
    /// Not signed in, or no longer, or not strongly enough.
    NotAuthenticated = 4,
    /// No answer; ask again later.
    Unavailable = 5,
}

impl Exit {
    /// Of a call that failed.
    pub(super) fn of_status(code: Code, reason: Option<Reason>) -> Self {
        match (code, reason) {
            // About this program, not about the user: a script must not read it as a decision.
            (_, Some(Reason::ClientUnauthenticated | Reason::ClientNotAllowed)) => Self::Refused,
            (Code::PermissionDenied, _) => Self::Denied,
            (Code::Unauthenticated, _) => Self::NotAuthenticated,
            (Code::Unavailable | Code::DeadlineExceeded | Code::ResourceExhausted, _) => Self::Unavailable,
            _ => Self::Refused,
        }
    }

    /// Of a judgement. What a later server may add counts as a denial, as the contract asks.
    pub(super) const fn of_decision(decision: Decision) -> Self {
        match decision {
            Decision::Allow => Self::Done,
            Decision::Deny | Decision::Unspecified => Self::Denied,
            Decision::Unauthenticated | Decision::StepUp => Self::NotAuthenticated,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_call_tells_denied_unauthenticated_and_unavailable_apart() {
        let cases = [
            (Code::PermissionDenied, Some(Reason::PermissionMissing), 3),
            (Code::PermissionDenied, Some(Reason::ClientNotAllowed), 1),
            (Code::PermissionDenied, Some(Reason::ClientUnauthenticated), 1),
            (Code::PermissionDenied, None, 3),
            (Code::Unauthenticated, Some(Reason::TokenRevoked), 4),
            (Code::Unauthenticated, None, 4),
            (Code::Unavailable, Some(Reason::EngineUnavailable), 5),
            (Code::Unavailable, None, 5),
            (Code::DeadlineExceeded, None, 5),
            (Code::ResourceExhausted, Some(Reason::Throttled), 5),
            (Code::InvalidArgument, Some(Reason::InvalidField), 1),
            (Code::NotFound, Some(Reason::NotFound), 1),
            (Code::Internal, Some(Reason::Internal), 1),
            (Code::Unimplemented, None, 1),
        ];
        for (code, reason, exit) in cases {
            assert_eq!(Exit::of_status(code, reason) as u8, exit, "{code:?} {reason:?}");
        }
    }

    #[test]
    fn only_allow_exits_with_zero() {
        assert_eq!(Exit::of_decision(Decision::Allow) as u8, 0);
        assert_eq!(Exit::of_decision(Decision::Deny) as u8, 3);
        assert_eq!(Exit::of_decision(Decision::Unspecified) as u8, 3);
        assert_eq!(Exit::of_decision(Decision::Unauthenticated) as u8, 4);
        assert_eq!(Exit::of_decision(Decision::StepUp) as u8, 4);
    }
}
