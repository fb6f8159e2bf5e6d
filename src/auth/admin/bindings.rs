//! Bindings: who holds which role, where, until when. Those of one tenant may be kept by people who hold the permission
//! in that tenant only.

use crate::auth::Auth;
use crate::auth::admin::caller::Caller;
use crate::auth::admin::{Act, LAST_ADMINISTRATOR, guard, log_if, page};
use crate::auth::error::AuthError;
use crate::domain::audit::{AuditEvent, AuditKind};
use crate::domain::change::Revision;
use crate::domain::id::PrincipalId;
use crate::domain::permission::Scope;
use crate::domain::role::{BoundRole, RoleId};
use crate::domain::time::Timestamp;
use crate::store::{Binding, BindingFilter, BindingKey, Changed, GrantError, WithdrawError};

const READ: &str = "postern:bindings:read";
pub(super) const WRITE: &str = "postern:bindings:write";

/// Which bindings to list, in the order of their keys.
pub struct ListBindings {
    pub filter: BindingFilter,
    pub after: Option<BindingKey>,
    pub page_size: u32,
}

impl Auth {
    /// Gives a role; given again with another end, it is the newer grant that stands.
    pub async fn grant_role(
        &self,
        caller: &Caller,
        principal: &PrincipalId,
        bound: BoundRole,
    ) -> Result<(Binding, Revision), AuthError> {
        let act = Act::new(caller, "GrantRole").on(principal);
        let tenant = bound.scope.tenant();
        self.permit(&act, WRITE, tenant)?;
        if bound.expires_at.is_some_and(|end| end <= self.clock.now()) {
            return Err(AuthError::field("binding.expire_time", "must be in the future"));
        }
        self.must_be_stored(principal)?;
        self.must_hold_role(&act, &bound).await?;
        let mut event = act.event(AuditKind::RoleGranted, self.clock.now());
        tell(&mut event, &bound.role, &bound.scope);
        event.detail.extend(bound.expires_at.map(|end| ("until", end.to_string())));
        let granted_by = caller.principal();
        let (binding, revision) =
            self.store.grant(principal, &bound, &granted_by, &event).await.map_err(|why| match why {
                GrantError::UnknownPrincipal => AuthError::NotFound { what: "principal" },
                GrantError::UnknownRole => AuthError::NotFound { what: "role" },
                GrantError::LastAdministrator => AuthError::LastOne { why: LAST_ADMINISTRATOR },
                GrantError::Store(why) => why.into(),
            })?;
        log_if(true, &event);
        Ok((binding, self.seen(revision).await))
    }

    /// Refuses a role that is none, and one with which its holder could do what the actor may not.
    pub(super) async fn must_hold_role(&self, act: &Act<'_>, bound: &BoundRole) -> Result<(), AuthError> {
        let policy = self.current_roles(act.caller).await?.policy;
        if !policy.has_role(&bound.role) {
            return Err(AuthError::NotFound { what: "role" });
        }
        let wanted = policy.patterns_of(&bound.role);
        self.must_hold(act, &policy, &wanted, bound.scope.tenant(), bound.expires_at).await
    }

    /// Takes a role away. One that is not bound is no error: a retry must not fail.
    pub async fn withdraw_role(
        &self,
        caller: &Caller,
        principal: &PrincipalId,
        role: &RoleId,
        scope: &Scope,
    ) -> Result<Revision, AuthError> {
        let act = Act::new(caller, "WithdrawRole").on(principal);
        self.permit(&act, WRITE, scope.tenant())?;
        self.must_be_stored(principal)?;
        // Whoever could strip somebody who may more would take them out as surely as by disabling them. Asked whether or
        // not the role is bound: the answer must not tell.
        if caller.principal() != *principal {
            let policy = self.current_roles(caller).await?.policy;
            let held = policy.held_patterns(&act.held(), scope.tenant(), caller.at);
            self.stay_within(&act, guard::beyond(&policy.patterns_of(role), &held))?;
        }
        let mut event = act.event(AuditKind::RoleWithdrawn, self.clock.now());
        tell(&mut event, role, scope);
        let Changed { changed, revision } =
            self.store.withdraw(principal, role, scope, &event).await.map_err(|why| match why {
                WithdrawError::LastAdministrator => AuthError::LastOne { why: LAST_ADMINISTRATOR },
                WithdrawError::Store(why) => why.into(),
            })?;
        log_if(changed, &event);
        Ok(self.seen(revision).await)
    }

    /// One page, and whether there are more: what this server's configuration says of its clients among them.
    pub async fn list_bindings(&self, caller: &Caller, list: &ListBindings) -> Result<(Vec<Binding>, bool), AuthError> {
        let act = Act::new(caller, "ListBindings");
        self.permit(&act, READ, list.filter.scope.as_ref().and_then(Scope::tenant))?;
        let mut bindings = self.store.list_bindings(&list.filter, list.after.as_ref(), list.page_size + 1).await?;
        let is_asked = |declared: &Binding| {
            let BindingFilter { principal, role, scope } = &list.filter;
            principal.as_ref().is_none_or(|principal| declared.principal == *principal)
                && role.as_ref().is_none_or(|role| declared.bound.role == *role)
                && scope.as_ref().is_none_or(|scope| declared.bound.scope == *scope)
                && list.after.as_ref().is_none_or(|after| key(declared) > (&after.principal, &after.role, &after.scope))
        };
        bindings.extend(self.declared_bindings().filter(is_asked));
        // As the store orders them, so that a page ends where the next one begins.
        bindings.sort_by(|one, other| key(one).cmp(&key(other)));
        Ok(page(bindings, list.page_size))
    }

    /// What the configuration and the profile say: by nobody's grant, at no time.
    fn declared_bindings(&self) -> impl Iterator<Item = Binding> {
        self.clients.all_fixed().iter().flat_map(|client| {
            client.roles.iter().map(|bound| Binding {
                principal: PrincipalId::Client(client.id.clone()),
                bound: bound.clone(),
                create_time: Timestamp::default(),
                granted_by: None,
            })
        })
    }

    /// What the configuration says is changed there.
    fn must_be_stored(&self, principal: &PrincipalId) -> Result<(), AuthError> {
        match principal {
            PrincipalId::User(_) => Ok(()),
            PrincipalId::Client(client) => self.must_be_registered(client),
        }
    }
}

fn key(binding: &Binding) -> (&PrincipalId, &RoleId, &Scope) {
    (&binding.principal, &binding.bound.role, &binding.bound.scope)
}

fn tell(event: &mut AuditEvent, role: &RoleId, scope: &Scope) {
    event.detail.push(("role", role.to_string()));
    event.detail.extend(scope.tenant().map(|tenant| ("tenant", tenant.to_string())));
}
