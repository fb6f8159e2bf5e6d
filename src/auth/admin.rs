//! Administration: what a person may do to users, roles, bindings and the service, and what is written down of it. Every
//! use case demands its permission first, then asks the guards; what must hold inside one transaction is the store's.
//! Must not know which message asked.

pub mod bindings;
pub mod explain;
pub mod operator;
pub mod roles;
pub mod server;
pub mod users;

mod guard;

use std::fmt::Display;
use std::sync::Arc;

use crate::auth::error::AuthError;
use crate::auth::{Auth, Call, audit, event};
use crate::domain::audit::{AuditEvent, AuditKind};
use crate::domain::id::{PrincipalId, UserId};
use crate::domain::permission::{Pattern, Tenant};
use crate::domain::role::{BoundRole, Role};
use crate::domain::time::Timestamp;
use crate::verifier::{Bearer, InvalidWhy, Policy, TokenFault};

/// Why the last administrator cannot be taken away.
const LAST_ADMINISTRATOR: &str = "nobody would be left who administers everything, everywhere, for good";

/// How often a change is tried whose guard looked at roles that changed before it was written.
const ATTEMPTS: usize = 3;

impl Auth {
    /// The person behind an access token that is meant for Postern itself.
    pub fn administrator(&self, token: &str) -> Result<Bearer, AuthError> {
        let bearer = self.verifier.identify(token, self.clock.moment())?.map_err(AuthError::TokenRefused)?;
        if bearer.identity.has_audience(&self.rules.issuer) {
            Ok(bearer)
        } else {
            Err(AuthError::TokenRefused(TokenFault::Invalid(InvalidWhy::Audience)))
        }
    }

    /// Refuses who lacks `permission`: in `tenant` or everywhere, or without a tenant everywhere.
    fn permit(&self, act: &Act<'_>, permission: &'static str, tenant: Option<&Tenant>) -> Result<(), AuthError> {
        let permitted = self.demand_of(act.bearer, permission, tenant);
        if let Err(AuthError::PermissionMissing { .. }) = &permitted {
            self.deny(act, permission, tenant);
        }
        permitted
    }

    /// Refuses an act that would reach beyond what its actor holds.
    fn stay_within(&self, act: &Act<'_>, beyond: Option<&Pattern>) -> Result<(), AuthError> {
        let Some(pattern) = beyond else { return Ok(()) };
        self.deny(act, pattern.as_str(), None);
        Err(AuthError::BeyondOwn { pattern: pattern.to_string() })
    }

    /// Refuses an act on a user who may do what its actor may not: who sets another's password can become them.
    async fn stay_above(&self, act: &Act<'_>, user: UserId) -> Result<(), AuthError> {
        if act.bearer.identity.user() == user {
            return Ok(());
        }
        // Of a user who is not there the change itself says so.
        let Some((owner, now, _fence)) = self.store.owner(user).await? else { return Ok(()) };
        let current = self.current_roles(act.bearer).await?;
        let beyond = guard::stronger(&current.policy, &owner.bindings, &act.held(), now);
        self.stay_within(act, beyond.as_ref())
    }

    /// The roles as the store has them. What this replica has in memory may lack a role that another one just put, and
    /// to a guard an unknown role looks harmless.
    async fn current_roles(&self, bearer: &Bearer) -> Result<CurrentRoles, AuthError> {
        let (roles, version) = self.store.roles().await?;
        let policy = if bearer.policy.version() == version {
            Arc::clone(&bearer.policy)
        } else {
            Arc::new(Policy::compile(&roles, version).map_err(AuthError::internal)?)
        };
        Ok(CurrentRoles { roles, policy, version })
    }

    fn deny(&self, act: &Act<'_>, permission: &str, tenant: Option<&Tenant>) {
        let mut event = act.event(AuditKind::AdminDenied, self.clock.now());
        event.reason = Some("PERMISSION_MISSING");
        event.detail.push(("permission", permission.to_owned()));
        event.detail.extend(tenant.map(|tenant| ("tenant", tenant.to_string())));
        event.detail.push(("method", act.method.to_owned()));
        self.audit.record(event);
    }
}

/// All roles but the built-in ones, and what they make.
struct CurrentRoles {
    roles: Vec<Role>,
    policy: Arc<Policy>,
    version: i64,
}

/// Who does what to whom, for the guards and the audit log.
struct Act<'a> {
    call: &'a Call,
    bearer: &'a Bearer,
    method: &'static str,
    target: Option<String>,
}

impl<'a> Act<'a> {
    fn new(call: &'a Call, bearer: &'a Bearer, method: &'static str) -> Self {
        Self { call, bearer, method, target: None }
    }

    fn on(self, target: impl Display) -> Self {
        Self { target: Some(target.to_string()), ..self }
    }

    /// A person, or the operator of this machine.
    fn actor(&self) -> PrincipalId {
        let identity = &self.bearer.identity;
        match identity.client_id() {
            client if client.as_str() == operator::OPERATOR => PrincipalId::Client(client.clone()),
            _ => PrincipalId::User(identity.user()),
        }
    }

    fn event(&self, kind: AuditKind, now: Timestamp) -> AuditEvent {
        let identity = &self.bearer.identity;
        AuditEvent {
            actor: Some(self.actor()),
            target: self.target.clone(),
            // The one through which the person signed in, whose token made this call.
            client: Some(identity.client_id().clone()),
            ..event(kind, self.call, now)
        }
    }

    /// What the actor has.
    fn held(&self) -> Vec<BoundRole> {
        self.bearer.identity.bindings().cloned().collect()
    }
}

/// An administrator's words; none is no entry.
fn note(event: &mut AuditEvent, note: &str) {
    if !note.is_empty() {
        event.detail.push(("note", note.to_owned()));
    }
}

/// A change whose event stands in the store is logged too; one that changed nothing is not.
fn log_if(changed: bool, event: &AuditEvent) {
    if changed {
        audit::log(event);
    }
}

/// What was asked for, which is one more than the page has, cut to the page; and whether there is more.
fn page<T>(mut items: Vec<T>, size: u32) -> (Vec<T>, bool) {
    let size = size as usize;
    let more = items.len() > size;
    items.truncate(size);
    (items, more)
}

#[cfg(test)]
mod tests;
