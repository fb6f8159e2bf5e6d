//! Challenges in the vault: a sign-in whose credential was right and that waits for one more step.

use prost::Message as _;
use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroizing;

use crate::domain::id::{ClientId, UserId};
use crate::domain::session::TokenScope;
use crate::domain::time::Timestamp;
use crate::vault::Kind;
use crate::vault::records::{self, Record};

/// A sign-in whose credential was right.
#[derive(Clone)]
pub struct Challenge {
    pub user: UserId,
    /// Only this client may go on.
    pub client: ClientId,
    /// The user's version when the credential was right: whatever ends the user's sessions voids the challenge too.
    pub epoch: i64,
    pub scope: TokenScope,
    /// The refresh token whose session ends when the sign-in succeeds.
    pub replace: Option<SecretString>,
    pub method: String,
    pub auth_time: Timestamp,
    pub amr: Vec<String>,
    /// Answers that were looked at.
    pub attempts: u32,
    pub expire_time: Timestamp,
}

impl Record for Challenge {
    const KIND: Kind = Kind::Challenge;

    fn expires_at(&self) -> Timestamp {
        self.expire_time
    }

    fn encode(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(Sealed::from(self).encode_to_vec())
    }

    fn decode(plain: &[u8], expires_at: Timestamp) -> Option<Self> {
        Sealed::decode(plain).ok()?.into_challenge(expires_at)
    }
}

/// What is sealed. Fields are only ever added.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
struct Sealed {
    #[prost(bytes = "vec", tag = "1")]
    user: Vec<u8>,
    #[prost(string, tag = "2")]
    client: String,
    #[prost(int64, tag = "3")]
    epoch: i64,
    #[prost(string, tag = "4")]
    tenant: String,
    #[prost(string, repeated, tag = "5")]
    audiences: Vec<String>,
    #[prost(string, tag = "6")]
    replace: String,
    #[prost(string, tag = "7")]
    method: String,
    #[prost(int64, tag = "8")]
    auth_time: i64,
    #[prost(string, repeated, tag = "9")]
    amr: Vec<String>,
    #[prost(uint32, tag = "10")]
    attempts: u32,
}

impl From<&Challenge> for Sealed {
    fn from(challenge: &Challenge) -> Self {
        let replace = challenge.replace.as_ref().map(|token| token.expose_secret().to_owned());
        Self {
            user: challenge.user.uuid().as_bytes().to_vec(),
            client: challenge.client.to_string(),
            epoch: challenge.epoch,
            tenant: challenge.scope.tenant.as_ref().map(ToString::to_string).unwrap_or_default(),
            audiences: challenge.scope.audiences.clone(),
            replace: replace.unwrap_or_default(),
            method: challenge.method.clone(),
            auth_time: challenge.auth_time.micros(),
            amr: challenge.amr.clone(),
            attempts: challenge.attempts,
        }
    }
}

impl Sealed {
    fn into_challenge(self, expire_time: Timestamp) -> Option<Challenge> {
        Some(Challenge {
            user: records::user(&self.user)?,
            client: self.client.parse().ok()?,
            epoch: self.epoch,
            scope: records::scope(&self.tenant, self.audiences)?,
            replace: (!self.replace.is_empty()).then(|| SecretString::from(self.replace)),
            method: self.method,
            auth_time: Timestamp::from_micros(self.auth_time),
            amr: self.amr,
            attempts: self.attempts,
            expire_time,
        })
    }
}

/// It may hold a refresh token, which must not reach a log, not even through a message that nobody prints today.
impl std::fmt::Debug for Sealed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealed").field("attempts", &self.attempts).finish_non_exhaustive()
    }
}
