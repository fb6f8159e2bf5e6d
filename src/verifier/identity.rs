//! Whom a living token speaks for, and what they hold.

use std::fmt;
use std::sync::Arc;

use super::assurance::{Assurance, Level};
use super::policy::{Granted, Policy};
use super::proven::Proven;
use crate::domain::id::{ClientId, SessionId, UserId};
use crate::domain::permission::{Pattern, Permission, Scope, Tenant};
use crate::domain::role::BoundRole;
use crate::domain::time::Timestamp;

/// The subject of a genuine, living token.
#[derive(Clone)]
pub struct Identity {
    proven: Arc<Proven>,
    /// In place of the token's roles, if those were changed after it was issued.
    overriding: Option<Arc<[BoundRole]>>,
}

impl Identity {
    pub(super) fn new(proven: Arc<Proven>, overriding: Option<Arc<[BoundRole]>>) -> Self {
        Self { proven, overriding }
    }

    pub fn user(&self) -> UserId {
        self.proven.user
    }

    pub fn session(&self) -> SessionId {
        self.proven.session
    }

    /// The client that the token was issued to.
    pub fn client_id(&self) -> &ClientId {
        &self.proven.client
    }

    pub fn audiences(&self) -> &[String] {
        &self.proven.audiences
    }

    pub fn has_audience(&self, audience: &str) -> bool {
        self.proven.audiences.iter().any(|own| own == audience)
    }

    pub fn jti(&self) -> &str {
        &self.proven.jti
    }

    /// When the person last proved to be there.
    pub fn auth_time(&self) -> Timestamp {
        self.proven.signed_in_at
    }

    /// How (RFC 8176).
    pub fn amr(&self) -> &[String] {
        &self.proven.amr
    }

    pub fn level(&self) -> Level {
        self.proven.level
    }

    pub fn meets(&self, assurance: &Assurance, now: Timestamp) -> bool {
        assurance.is_met(self.proven.signed_in_at, self.proven.level, now)
    }

    pub fn version(&self) -> i64 {
        self.proven.version
    }

    pub fn issued_at(&self) -> Timestamp {
        self.proven.issued_at
    }

    pub fn expires_at(&self) -> Timestamp {
        self.proven.expires_at
    }

    /// What the sign-in was narrowed to; none: all.
    pub fn tenant(&self) -> Option<&Tenant> {
        self.proven.tenant.as_ref()
    }

    /// The id in an older system.
    pub fn external_id(&self) -> Option<&str> {
        self.proven.external_id.as_deref()
    }

    /// What counts now: the token's roles, or those that came after it; of both, only what the sign-in reaches. Some may
    /// have ended.
    pub fn bindings(&self) -> impl Iterator<Item = &BoundRole> {
        let bindings = self.overriding.as_deref().unwrap_or(&self.proven.bindings);
        bindings.iter().filter(|bound| self.reaches(&bound.scope))
    }

    /// A sign-in narrowed to one tenant stays so when the feed brings the roles of all.
    fn reaches(&self, scope: &Scope) -> bool {
        self.tenant().is_none() || scope.reaches(self.tenant())
    }
}

/// No token is behind this, but personal data may be.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("user", &self.user()).field("session", &self.session()).finish_non_exhaustive()
    }
}

/// An identity together with the policy at the time, for callers that act on their own permission.
#[derive(Clone, Debug)]
pub struct Bearer {
    pub identity: Identity,
    pub policy: Arc<Policy>,
    /// When it was identified: what it holds is as of then.
    pub at: Timestamp,
}

impl Bearer {
    /// Without a tenant only what is held everywhere counts.
    pub fn allowed(&self, permission: &Permission, tenant: Option<&Tenant>) -> bool {
        self.check(permission, tenant).is_some()
    }

    pub fn check(&self, permission: &Permission, tenant: Option<&Tenant>) -> Option<Granted> {
        self.policy.check(self.identity.bindings(), permission, tenant, self.at)
    }

    /// All that is held in `tenant` (in none: everywhere), for the rule that nobody grants what they do not hold.
    pub fn held_patterns(&self, tenant: Option<&Tenant>) -> Vec<Pattern> {
        self.policy.held_patterns(self.identity.bindings(), tenant, self.at)
    }
}
