//! Issuing: what goes into an access token, and the signature under it.
//!
//! A token is drafted first and signed last: every refusal (too many roles, an audience that is not the client's) comes
//! from the draft, before anything is written.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm as JwtAlgorithm, Header};
use secrecy::SecretString;

use crate::auth::error::AuthError;
use crate::auth::keyring::{Keyring, OpenKey};
use crate::domain::client::Client;
use crate::domain::key::Algorithm;
use crate::domain::permission::Scope;
use crate::domain::role::BoundRole;
use crate::domain::session::{Session, TokenScope};
use crate::domain::standing::{Fence, Owner};
use crate::domain::time::Timestamp;
use crate::verifier::Claims;

/// A cookie holds 4 KiB.
pub const TOKEN_BYTES_MAX: usize = 3 * 1024;
const TYPE: &str = "at+jwt";
const SIGNATURE_LEN: usize = 86;

/// An access token that lacks only its signature.
pub struct Draft {
    pub claims: Claims,
    key: Arc<OpenKey>,
}

/// What a token is made from.
pub struct Facts<'a> {
    pub issuer: &'a str,
    pub session: &'a Session,
    pub owner: &'a Owner,
    pub fence: Fence,
    pub client: &'a Client,
    /// What this token is for; usually the session's own scope.
    pub scope: &'a TokenScope,
    pub now: Timestamp,
}

/// Drafts the token; refuses one that would not fit into a cookie.
pub fn draft(keyring: &Keyring, facts: &Facts<'_>) -> Result<Draft, AuthError> {
    let key = keyring.signing(facts.now)?;
    let claims = claims(facts)?;
    let draft = Draft { claims, key };
    let (header, payload) = draft.parts()?;
    let dots_and_signature = 2 + SIGNATURE_LEN;
    if encoded_len(header.len()) + encoded_len(payload.len()) + dots_and_signature > TOKEN_BYTES_MAX {
        return Err(AuthError::TenantRequired);
    }
    Ok(draft)
}

/// A token of these claims, whatever they are.
pub(super) fn sign(keyring: &Keyring, claims: Claims, now: Timestamp) -> Result<SecretString, AuthError> {
    Draft { claims, key: keyring.signing(now)? }.sign()
}

impl Draft {
    pub fn expire_time(&self) -> Timestamp {
        Timestamp::from_secs(self.claims.exp)
    }

    pub fn sign(&self) -> Result<SecretString, AuthError> {
        jsonwebtoken::encode(&self.header(), &self.claims, &self.key.signing)
            .map(SecretString::from)
            .map_err(AuthError::internal)
    }

    fn header(&self) -> Header {
        let algorithm = match self.key.algorithm {
            Algorithm::EdDsa => JwtAlgorithm::EdDSA,
        };
        let mut header = Header::new(algorithm);
        header.typ = Some(TYPE.to_owned());
        header.kid = Some(self.key.kid.clone());
        header
    }

    fn parts(&self) -> Result<(Vec<u8>, Vec<u8>), AuthError> {
        let header = serde_json::to_vec(&self.header()).map_err(AuthError::internal)?;
        Ok((header, serde_json::to_vec(&self.claims).map_err(AuthError::internal)?))
    }
}

fn claims(facts: &Facts<'_>) -> Result<Claims, AuthError> {
    let Facts { session, owner, client, scope, now, .. } = facts;
    let bound: Vec<&BoundRole> =
        owner.bindings.iter().filter(|bound| lasts(bound, *now) && fits(bound, scope)).collect();
    // The token must not outlive a role in it: nobody would look at the binding again.
    let first_end = bound.iter().filter_map(|bound| bound.expires_at).min().unwrap_or(Timestamp::MAX);
    let expires = (*now + client.session_policy.access_ttl).min(session.absolute_end).min(first_end);
    let mut roles: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for bound in bound {
        let tenant = bound.scope.tenant().map(ToString::to_string).unwrap_or_default();
        roles.entry(tenant).or_default().push(bound.role.to_string());
    }
    Ok(Claims {
        iss: facts.issuer.to_owned(),
        sub: session.user.to_string(),
        aud: scope.audiences.clone(),
        exp: expires.secs(),
        iat: now.secs(),
        nbf: None,
        jti: token_id()?,
        client_id: session.client.to_string(),
        auth_time: session.auth_time.secs(),
        amr: session.amr.clone(),
        sid: session.id.to_string(),
        ver: owner.version.max(facts.fence.version),
        roles,
        tenant: scope.tenant.as_ref().map(ToString::to_string),
        external_id: Some(owner.external_id.clone()).filter(|id| !id.is_empty()),
    })
}

/// A binding that ends within this second would make a token that is dead on arrival.
fn lasts(bound: &BoundRole, now: Timestamp) -> bool {
    bound.expires_at.is_none_or(|end| end.secs() > now.secs())
}

fn fits(bound: &BoundRole, scope: &TokenScope) -> bool {
    match (&bound.scope, &scope.tenant) {
        (Scope::Tenant(tenant), Some(narrowed)) => tenant == narrowed,
        _ => true,
    }
}

/// 128 random bits: no two tokens share one.
fn token_id() -> Result<String, AuthError> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).map_err(AuthError::internal)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

const fn encoded_len(bytes: usize) -> usize {
    (bytes * 4).div_ceil(3)
}
