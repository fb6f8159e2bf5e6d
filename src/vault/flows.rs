//! Flows in the vault: a sign-in that has gone to a provider, and what its return will be held against.

use prost::Message as _;
use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroizing;

use crate::domain::id::ClientId;
use crate::domain::identity::ProviderId;
use crate::domain::session::TokenScope;
use crate::domain::time::Timestamp;
use crate::vault::Kind;
use crate::vault::records::{self, Record};

/// A sign-in on its way.
#[derive(Clone)]
pub struct Flow {
    pub provider: ProviderId,
    /// What `iss` of the return must be, if there is one.
    pub issuer: String,
    /// Whether there must be one.
    pub sends_issuer: bool,
    /// Only this client may go on.
    pub client: ClientId,
    /// SHA-256 of what the browser or app holds that began.
    pub secret_digest: Vec<u8>,
    pub nonce: String,
    /// Of PKCE.
    pub code_verifier: SecretString,
    /// Empty: the front decides by itself.
    pub return_url: String,
    /// Empty: tokens are answered.
    pub handoff_challenge: String,
    pub scope: TokenScope,
    pub expire_time: Timestamp,
}

impl Record for Flow {
    const KIND: Kind = Kind::Flow;

    fn expires_at(&self) -> Timestamp {
        self.expire_time
    }

    fn encode(&self) -> Zeroizing<Vec<u8>> {
        let sealed = Sealed {
            provider: self.provider.to_string(),
            issuer: self.issuer.clone(),
            sends_issuer: self.sends_issuer,
            client: self.client.to_string(),
            secret_digest: self.secret_digest.clone(),
            nonce: self.nonce.clone(),
            code_verifier: self.code_verifier.expose_secret().to_owned(),
            return_url: self.return_url.clone(),
            handoff_challenge: self.handoff_challenge.clone(),
            tenant: self.scope.tenant.as_ref().map(ToString::to_string).unwrap_or_default(),
            audiences: self.scope.audiences.clone(),
        };
        Zeroizing::new(sealed.encode_to_vec())
    }

    fn decode(plain: &[u8], expires_at: Timestamp) -> Option<Self> {
        let sealed = Sealed::decode(plain).ok()?;
        Some(Self {
            provider: sealed.provider.parse().ok()?,
            issuer: sealed.issuer,
            sends_issuer: sealed.sends_issuer,
            client: sealed.client.parse().ok()?,
            secret_digest: sealed.secret_digest,
            nonce: sealed.nonce,
            code_verifier: SecretString::from(sealed.code_verifier),
            return_url: sealed.return_url,
            handoff_challenge: sealed.handoff_challenge,
            scope: records::scope(&sealed.tenant, sealed.audiences)?,
            expire_time: expires_at,
        })
    }
}

/// What is sealed. Fields are only ever added.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
struct Sealed {
    #[prost(string, tag = "1")]
    provider: String,
    #[prost(string, tag = "2")]
    issuer: String,
    #[prost(bool, tag = "3")]
    sends_issuer: bool,
    #[prost(string, tag = "4")]
    client: String,
    #[prost(bytes = "vec", tag = "5")]
    secret_digest: Vec<u8>,
    #[prost(string, tag = "6")]
    nonce: String,
    #[prost(string, tag = "7")]
    code_verifier: String,
    #[prost(string, tag = "8")]
    return_url: String,
    #[prost(string, tag = "9")]
    handoff_challenge: String,
    #[prost(string, tag = "10")]
    tenant: String,
    #[prost(string, repeated, tag = "11")]
    audiences: Vec<String>,
}

/// It holds what a thief of the code lacks.
impl std::fmt::Debug for Sealed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealed").field("provider", &self.provider).finish_non_exhaustive()
    }
}
