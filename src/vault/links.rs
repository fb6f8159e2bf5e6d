//! Identities in the vault that wait to be linked: a person has proven who they are at a provider, and has yet to prove that
//! an account here is theirs.

use prost::Message as _;
use zeroize::Zeroizing;

use crate::domain::id::{ClientId, UserId};
use crate::domain::identity::{EmailTrust, IdentityKey, Profile};
use crate::domain::time::Timestamp;
use crate::vault::Kind;
use crate::vault::records::{self, Record};

/// An identity on its way into an account.
#[derive(Clone, Debug)]
pub struct PendingLink {
    /// Whose account it may be linked to: whoever else holds the token must not get another's way in into their own.
    pub user: UserId,
    /// Only this client may go on.
    pub client: ClientId,
    pub profile: Profile,
    pub expire_time: Timestamp,
}

impl Record for PendingLink {
    const KIND: Kind = Kind::Link;

    fn expires_at(&self) -> Timestamp {
        self.expire_time
    }

    fn encode(&self) -> Zeroizing<Vec<u8>> {
        let Profile { key, issuer, email, email_trust, display_name, .. } = &self.profile;
        let sealed = Sealed {
            user: self.user.uuid().as_bytes().to_vec(),
            client: self.client.to_string(),
            provider: key.provider.to_string(),
            subject: key.subject.as_str().to_owned(),
            issuer: issuer.clone(),
            email: email.as_ref().map(|email| email.as_given().to_owned()).unwrap_or_default(),
            email_verified: *email_trust >= EmailTrust::Verified,
            display_name: display_name.clone(),
        };
        Zeroizing::new(sealed.encode_to_vec())
    }

    fn decode(plain: &[u8], expires_at: Timestamp) -> Option<Self> {
        let sealed = Sealed::decode(plain).ok()?;
        let key = IdentityKey { provider: sealed.provider.parse().ok()?, subject: sealed.subject.parse().ok()? };
        let mut profile = Profile::new(key, sealed.issuer);
        profile.email = if sealed.email.is_empty() { None } else { Some(sealed.email.parse().ok()?) };
        profile.email_trust = if sealed.email_verified { EmailTrust::Verified } else { EmailTrust::None };
        profile.display_name = sealed.display_name;
        let client = sealed.client.parse().ok()?;
        Some(Self { user: records::user(&sealed.user)?, client, profile, expire_time: expires_at })
    }
}

/// What is sealed. Fields are only ever added.
#[derive(Clone, PartialEq, prost::Message)]
struct Sealed {
    #[prost(bytes = "vec", tag = "1")]
    user: Vec<u8>,
    #[prost(string, tag = "2")]
    client: String,
    #[prost(string, tag = "3")]
    provider: String,
    #[prost(string, tag = "4")]
    subject: String,
    #[prost(string, tag = "5")]
    issuer: String,
    #[prost(string, tag = "6")]
    email: String,
    #[prost(bool, tag = "7")]
    email_verified: bool,
    #[prost(string, tag = "8")]
    display_name: String,
}
