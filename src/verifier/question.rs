//! What is asked of the verifier, and what it answers.

use std::time::Duration;

use super::assurance::Assurance;
use super::identity::Identity;
use super::policy::Granted;
use crate::domain::change::Revision;
use crate::domain::permission::{Permission, Tenant};

/// What a service wants to know. It holds a token, so it cannot be printed.
#[derive(Clone, Copy)]
pub struct Question<'a> {
    pub token: &'a str,
    /// Must be among the token's. Never "any": the empty one is nobody's.
    pub audience: &'a str,
    /// All must hold.
    pub require: &'a [Check],
    /// Answered one by one, without effect on the outcome.
    pub ask: &'a [Check],
    pub assurance: Assurance,
    /// What the answer must have seen.
    pub min_revision: Option<Revision>,
}

/// May they do this there?
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    pub permission: Permission,
    /// None: only what is held everywhere counts.
    pub tenant: Option<Tenant>,
}

/// The answer.
#[derive(Clone, Debug)]
pub struct Judgement {
    pub outcome: Outcome,
    /// None if the token is no good.
    pub identity: Option<Identity>,
    /// One for each `ask`, in order; none if the token is no good.
    pub verdicts: Vec<Verdict>,
    pub freshness: Freshness,
}

/// What to do with the request at hand.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// `grants` has what gave each required permission, in order.
    Allow {
        grants: Vec<Granted>,
    },
    /// `missing` is the first required check that did not hold.
    Deny {
        missing: Check,
    },
    /// All permissions are held; the sign-in is too old or too weak.
    StepUp {
        needed: Assurance,
    },
    Unauthenticated(TokenFault),
}

/// The answer to one `ask`.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    pub allowed: bool,
    pub grant: Option<Granted>,
}

/// Why a token is no good, as far as its bearer may know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenFault {
    #[error("invalid: {0}")]
    Invalid(InvalidWhy),
    /// Genuine, not revoked, and past its time.
    #[error("expired")]
    Expired,
    /// Genuine, and the session or the user behind it was ended.
    #[error("revoked")]
    Revoked,
}

/// Why a token is none of ours. For logs only: to the bearer all are one, or they could feel their way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidWhy {
    #[error("too long")]
    TooLong,
    #[error("not a compact JWS in canonical base64url")]
    Malformed,
    #[error("header not acceptable")]
    Header,
    #[error("not an access token by its type")]
    Type,
    #[error("unknown key")]
    UnknownKey,
    #[error("retired key")]
    RetiredKey,
    #[error("not the algorithm of its key")]
    Algorithm,
    #[error("wrong signature")]
    Signature,
    #[error("claims not acceptable")]
    Claims,
    #[error("foreign issuer")]
    Issuer,
    #[error("life too long, or ends before it begins")]
    Lifetime,
    #[error("issued in the future")]
    Future,
    #[error("for another audience")]
    Audience,
}

/// How current an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freshness {
    pub revision: Revision,
    /// Only when the feed is behind: how long.
    pub age: Option<Duration>,
    /// Older than the limit, and the operator chose to go on.
    pub stale: bool,
}

/// Why there is no answer. Never a word about the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotFresh {
    #[error("nothing was loaded yet")]
    NotLoaded,
    #[error("the feed has not been fresh for {age:?}")]
    Stale { age: Duration },
    #[error("the revision asked for has not arrived")]
    Behind,
}
