//! Hand-off codes in the vault: a sign-in at a provider that is done, and that the app's backend has yet to collect.
//!
//! A code is not taken when it is used. It names the session that it opens, so a second use finds that one there, whatever
//! the vault has lost or was thrown back to: then somebody else holds the code, too, and the session ends.

use prost::Message as _;
use zeroize::Zeroizing;

use crate::domain::id::{ClientId, SessionId, UserId};
use crate::domain::identity::IdentityKey;
use crate::domain::session::TokenScope;
use crate::domain::time::Timestamp;
use crate::vault::Kind;
use crate::vault::records::{self, Record};

/// A finished sign-in that waits to be collected.
#[derive(Clone, Debug)]
pub struct HandoffCode {
    pub user: UserId,
    /// Only this client may collect it.
    pub client: ClientId,
    /// The one that it opens.
    pub session: SessionId,
    /// The user's version when the provider vouched for them.
    pub epoch: i64,
    /// S256 of what the app keeps.
    pub challenge: String,
    pub scope: TokenScope,
    pub method: String,
    pub auth_time: Timestamp,
    pub amr: Vec<String>,
    /// Whom the provider vouched for. It may be taken away before the code is collected.
    pub identity: Option<IdentityKey>,
    pub user_created: bool,
    /// Until when it opens anything.
    pub valid_until: Timestamp,
    /// Until when a second use is noticed.
    pub expire_time: Timestamp,
}

impl Record for HandoffCode {
    const KIND: Kind = Kind::Code;

    fn expires_at(&self) -> Timestamp {
        self.expire_time
    }

    fn encode(&self) -> Zeroizing<Vec<u8>> {
        let sealed = Sealed {
            user: self.user.uuid().as_bytes().to_vec(),
            client: self.client.to_string(),
            session: self.session.uuid().as_bytes().to_vec(),
            epoch: self.epoch,
            challenge: self.challenge.clone(),
            tenant: self.scope.tenant.as_ref().map(ToString::to_string).unwrap_or_default(),
            audiences: self.scope.audiences.clone(),
            method: self.method.clone(),
            auth_time: self.auth_time.micros(),
            amr: self.amr.clone(),
            provider: self.identity.as_ref().map(|key| key.provider.to_string()).unwrap_or_default(),
            subject: self.identity.as_ref().map(|key| key.subject.as_str().to_owned()).unwrap_or_default(),
            user_created: self.user_created,
            valid_until: self.valid_until.micros(),
        };
        Zeroizing::new(sealed.encode_to_vec())
    }

    fn decode(plain: &[u8], expires_at: Timestamp) -> Option<Self> {
        let sealed = Sealed::decode(plain).ok()?;
        Some(Self {
            user: records::user(&sealed.user)?,
            client: sealed.client.parse().ok()?,
            session: SessionId::from_uuid(uuid::Uuid::from_slice(&sealed.session).ok()?),
            epoch: sealed.epoch,
            challenge: sealed.challenge,
            scope: records::scope(&sealed.tenant, sealed.audiences)?,
            method: sealed.method,
            auth_time: Timestamp::from_micros(sealed.auth_time),
            amr: sealed.amr,
            identity: identity(&sealed.provider, &sealed.subject)?,
            user_created: sealed.user_created,
            valid_until: Timestamp::from_micros(sealed.valid_until),
            expire_time: expires_at,
        })
    }
}

/// What is sealed. Fields are only ever added.
#[derive(Clone, PartialEq, prost::Message)]
struct Sealed {
    #[prost(bytes = "vec", tag = "1")]
    user: Vec<u8>,
    #[prost(string, tag = "2")]
    client: String,
    #[prost(bytes = "vec", tag = "3")]
    session: Vec<u8>,
    #[prost(int64, tag = "4")]
    epoch: i64,
    #[prost(string, tag = "5")]
    challenge: String,
    #[prost(string, tag = "6")]
    tenant: String,
    #[prost(string, repeated, tag = "7")]
    audiences: Vec<String>,
    #[prost(string, tag = "8")]
    method: String,
    #[prost(int64, tag = "9")]
    auth_time: i64,
    #[prost(string, repeated, tag = "10")]
    amr: Vec<String>,
    #[prost(bool, tag = "11")]
    user_created: bool,
    #[prost(int64, tag = "12")]
    valid_until: i64,
    #[prost(string, tag = "13")]
    provider: String,
    #[prost(string, tag = "14")]
    subject: String,
}

/// Unset in codes that name none. Half of one is nothing that was ever written.
#[expect(clippy::option_option, reason = "a record that does not open, or one without an identity")]
fn identity(provider: &str, subject: &str) -> Option<Option<IdentityKey>> {
    if provider.is_empty() && subject.is_empty() {
        return Some(None);
    }
    Some(Some(IdentityKey { provider: provider.parse().ok()?, subject: subject.parse().ok()? }))
}
