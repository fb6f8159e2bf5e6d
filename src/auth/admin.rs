//! Administration: what may be done to users, clients, roles, bindings and the service, by whom, and what is written down of it. Every
//! use case demands its permission first, then asks the guards; what must hold inside one transaction is the store's.
//! Must not know which message asked.

pub mod audit_log;
pub mod bindings;
pub mod caller;
pub mod clients;
pub mod explain;
pub mod import;
pub mod keys;
pub mod operator;
pub mod roles;
pub mod server;
pub mod users;

mod guard;

use std::fmt::Display;
use std::sync::Arc;

use crate::auth::admin::caller::Caller;
use crate::auth::error::AuthError;
use crate::auth::{Auth, audit};
use crate::domain::audit::{AuditEvent, AuditKind};
use crate::domain::id::PrincipalId;
use crate::domain::permission::{Pattern, Tenant};
use crate::domain::role::{BoundRole, Role};
use crate::domain::time::Timestamp;
use crate::verifier::Policy;

/// Why the last administrator cannot be taken away.
const LAST_ADMINISTRATOR: &str = "nobody would be left who administers everything, everywhere, for good";

/// How often a change is tried whose guard looked at roles that changed before it was written.
const ATTEMPTS: usize = 3;

impl Auth {
    /// Refuses who lacks `permission`: in `tenant` or everywhere, or without a tenant everywhere.
    fn permit(&self, act: &Act<'_>, permission: &'static str, tenant: Option<&Tenant>) -> Result<(), AuthError> {
        let permitted = act.caller.demand(permission, tenant);
        if let Err(AuthError::PermissionMissing { .. } | AuthError::ClientNotAllowed { .. }) = &permitted {
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

    /// Refuses an act on a principal who may do what its actor may not.
    async fn stay_above(&self, act: &Act<'_>, target: &PrincipalId) -> Result<(), AuthError> {
        if act.caller.principal() == *target {
            return Ok(());
        }
        // Of one that is not there the change itself says so.
        let Some(held) = self.held_by(target).await? else { return Ok(()) };
        let now = self.store.now().await?;
        let current = self.current_roles(act.caller).await?;
        let beyond = guard::stronger(&current.policy, &held, &act.held(), now);
        self.stay_within(act, beyond.as_ref())
    }

    /// As [`Self::stay_above`], for acts after which the actor can be the other one: who sets another's password, makes
    /// another's secret or says which names prove them. Since that does not end, what the actor holds must last as long.
    async fn may_become(&self, act: &Act<'_>, target: &PrincipalId) -> Result<(), AuthError> {
        self.stay_above(act, target).await?;
        if act.caller.principal() == *target {
            return Ok(());
        }
        let Some(held) = self.held_by(target).await? else { return Ok(()) };
        let own = self.lasting_bindings(act.caller).await?;
        let now = self.store.now().await?;
        let current = self.current_roles(act.caller).await?;
        let beyond = guard::outlasting(&current.policy, &held, &own, now);
        self.stay_within(act, beyond.as_ref())
    }

    /// Refuses who does not hold these, in `tenant` or everywhere, until `end`; none is for good. Both count: what the
    /// token at hand was narrowed to, and what the store says of its end. Who holds something for an hour must not make
    /// it theirs, or another's, for longer.
    async fn must_hold(
        &self,
        act: &Act<'_>,
        policy: &Policy,
        wanted: &[Pattern],
        tenant: Option<&Tenant>,
        end: Option<Timestamp>,
    ) -> Result<(), AuthError> {
        let held = policy.held_patterns(&act.held(), tenant, act.caller.at);
        self.stay_within(act, guard::beyond(wanted, &held))?;
        let lasting = guard::lasting(&self.lasting_bindings(act.caller).await?, end);
        let held = policy.held_patterns(&lasting, tenant, self.store.now().await?);
        self.stay_within(act, guard::beyond(wanted, &held))
    }

    async fn held_by(&self, target: &PrincipalId) -> Result<Option<Vec<BoundRole>>, AuthError> {
        Ok(match target {
            PrincipalId::User(user) => self.store.owner(*user).await?.map(|(owner, ..)| owner.bindings),
            PrincipalId::Client(client) => self.store.client(client).await?.map(|client| client.roles),
        })
    }

    /// The roles as the store has them. What this replica has in memory may lack a role that another one just put, and
    /// to a guard an unknown role looks harmless.
    async fn current_roles(&self, caller: &Caller) -> Result<CurrentRoles, AuthError> {
        let (roles, version) = self.store.roles().await?;
        let policy = if caller.policy.version() == version {
            Arc::clone(&caller.policy)
        } else {
            Arc::new(Policy::compile(&roles, version).map_err(AuthError::internal)?)
        };
        Ok(CurrentRoles { roles, policy, version })
    }

    fn deny(&self, act: &Act<'_>, permission: &str, tenant: Option<&Tenant>) {
        let mut event = act.event(AuditKind::AccessDenied, self.clock.now());
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
    caller: &'a Caller,
    method: &'static str,
    target: Option<String>,
}

impl<'a> Act<'a> {
    fn new(caller: &'a Caller, method: &'static str) -> Self {
        Self { caller, method, target: None }
    }

    fn on(self, target: impl Display) -> Self {
        Self { target: Some(target.to_string()), ..self }
    }

    fn event(&self, kind: AuditKind, now: Timestamp) -> AuditEvent {
        AuditEvent {
            actor: Some(self.caller.principal()),
            target: self.target.clone(),
            client: Some(self.caller.client_id().clone()),
            request_id: self.caller.request_id.clone(),
            ..AuditEvent::new(kind, now)
        }
    }

    /// What the actor has.
    fn held(&self) -> Vec<BoundRole> {
        self.caller.held()
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
