//! A token whose signature was proven, in typed form. Owns all rules about claims that hold whenever they are asked: what
//! is judged anew on every call (times, audience, revocation, roles, policy) is not decided here.

use std::sync::Arc;
use std::time::Duration;

use super::InvalidWhy;
use super::assurance::Level;
use super::claims::Claims;
use super::keys::VerificationKey;
use crate::domain::client::ACCESS_TTL_MAX;
use crate::domain::id::{ClientId, SessionId, UserId};
use crate::domain::permission::{Scope, Tenant};
use crate::domain::role::BoundRole;
use crate::domain::time::Timestamp;

/// How far the issuer's clock may be ahead of ours. The end of a token has no such leeway.
pub(super) const CLOCK_LEEWAY: Duration = Duration::from_mins(1);

const NAME_BYTES_MAX: usize = 256;
const JTI_BYTES_MAX: usize = 128;
/// The end of the year 9999: what is later is no time but an attack on arithmetic.
const SECONDS_MAX: i64 = 253_402_300_799;

/// What a verdict needs of a token, and the key that it was proven with.
pub(super) struct Proven {
    pub(super) key: Arc<VerificationKey>,
    pub(super) user: UserId,
    pub(super) session: SessionId,
    pub(super) client: ClientId,
    pub(super) jti: Box<str>,
    pub(super) audiences: Box<[String]>,
    pub(super) not_before: Timestamp,
    pub(super) issued_at: Timestamp,
    pub(super) expires_at: Timestamp,
    pub(super) signed_in_at: Timestamp,
    pub(super) amr: Box<[String]>,
    pub(super) level: Level,
    pub(super) version: i64,
    pub(super) bindings: Box<[BoundRole]>,
    pub(super) tenant: Option<Tenant>,
    pub(super) external_id: Option<Box<str>>,
    /// About the memory it takes, for the cache's bound.
    pub(super) bytes: usize,
}

impl Proven {
    /// `claims` are those of a token that `key` signed; `issuer` is the only one whose tokens count.
    pub(super) fn new(claims: Claims, issuer: &str, key: &Arc<VerificationKey>) -> Result<Self, InvalidWhy> {
        if claims.iss != issuer {
            return Err(InvalidWhy::Issuer);
        }
        let names_fit = claims.aud.iter().chain(&claims.amr).chain(&claims.external_id).all(|name| is_name(name));
        if !names_fit || claims.aud.is_empty() || !(1..=JTI_BYTES_MAX).contains(&claims.jti.len()) || claims.ver < 0 {
            return Err(InvalidWhy::Claims);
        }
        let times = [claims.exp, claims.iat, claims.auth_time, claims.nbf.unwrap_or(claims.iat)];
        let [expires_at, issued_at, signed_in_at, not_before] = times.map(Timestamp::from_secs);
        if !times.iter().all(|secs| (0..=SECONDS_MAX).contains(secs)) {
            return Err(InvalidWhy::Claims);
        }
        let lifetime = expires_at.since(issued_at);
        // Longer than revocations are remembered: signed or not, it cannot be one of ours.
        if lifetime.is_zero() || lifetime > ACCESS_TTL_MAX || signed_in_at > issued_at + CLOCK_LEEWAY {
            return Err(InvalidWhy::Lifetime);
        }
        let level = Level::of_methods(claims.amr.iter().map(String::as_str));
        let mut proven = Self {
            key: Arc::clone(key),
            // Only people have access tokens; a program's id never parses as a user's.
            user: parsed(&claims.sub)?,
            session: parsed(&claims.sid)?,
            client: parsed(&claims.client_id)?,
            jti: claims.jti.into(),
            audiences: claims.aud.into(),
            not_before: not_before.max(issued_at),
            issued_at,
            expires_at,
            signed_in_at,
            amr: claims.amr.into(),
            level,
            version: claims.ver,
            bindings: claims
                .roles
                .iter()
                .flat_map(|(tenant, roles)| roles.iter().map(|role| bound_role(tenant, role)))
                .collect::<Result<_, _>>()?,
            tenant: claims.tenant.as_deref().map(parsed).transpose()?,
            external_id: claims.external_id.map(String::into_boxed_str),
            bytes: 0,
        };
        proven.bytes = proven.count_bytes();
        Ok(proven)
    }

    fn count_bytes(&self) -> usize {
        let names = self.audiences.iter().chain(&self.amr).map(|name| size_of::<String>() + name.capacity());
        let bindings = self.bindings.iter().map(|bound| {
            let tenant = bound.scope.tenant().map_or(0, |tenant| tenant.as_str().len());
            size_of::<BoundRole>() + bound.role.as_str().len() + tenant
        });
        size_of::<Self>()
            + self.client.as_str().len()
            + self.jti.len()
            + self.tenant.as_ref().map_or(0, |tenant| tenant.as_str().len())
            + self.external_id.as_ref().map_or(0, |id| id.len())
            + names.sum::<usize>()
            + bindings.sum::<usize>()
    }
}

fn is_name(text: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&text.len())
}

fn parsed<T: std::str::FromStr>(text: &str) -> Result<T, InvalidWhy> {
    text.parse().map_err(|_not_in_its_form| InvalidWhy::Claims)
}

/// Roles in a token end with it: its `exp` is never later than the first end of a binding.
fn bound_role(tenant: &str, role: &str) -> Result<BoundRole, InvalidWhy> {
    let scope = if tenant.is_empty() { Scope::Everywhere } else { Scope::Tenant(parsed(tenant)?) };
    Ok(BoundRole { role: parsed(role)?, scope, expires_at: None })
}
