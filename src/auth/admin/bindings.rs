//! Bindings: who holds which role, where, until when. Those of one tenant may be kept by people who hold the permission
//! in that tenant only.

use crate::auth::admin::{Act, LAST_ADMINISTRATOR, guard, log_if, page};
use crate::auth::error::AuthError;
use crate::auth::{Auth, Call};
use crate::domain::audit::{AuditEvent, AuditKind};
use crate::domain::change::Revision;
use crate::domain::id::{PrincipalId, UserId};
use crate::domain::permission::Scope;
use crate::domain::role::{BoundRole, RoleId};
use crate::store::{Binding, BindingFilter, BindingKey, Changed, GrantError, WithdrawError};
use crate::verifier::Bearer;

const READ: &str = "postern:bindings:read";
const WRITE: &str = "postern:bindings:write";

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
        call: &Call,
        bearer: &Bearer,
        principal: &PrincipalId,
        bound: BoundRole,
    ) -> Result<(Binding, Revision), AuthError> {
        let act = Act::new(call, bearer, "GrantRole").on(principal);
        let tenant = bound.scope.tenant();
        self.permit(&act, WRITE, tenant)?;
        if bound.expires_at.is_some_and(|end| end <= self.clock.now()) {
            return Err(AuthError::field("binding.expire_time", "must be in the future"));
        }
        let user = user(principal)?;
        let policy = self.current_roles(bearer).await?.policy;
        if !policy.has_role(&bound.role) {
            return Err(AuthError::NotFound { what: "role" });
        }
        let held = policy.held_patterns(&act.held(), tenant, bearer.at);
        let wanted = policy.patterns_of(&bound.role);
        self.stay_within(&act, guard::beyond(&wanted, &held))?;
        // A token does not say when its roles end; the store does. Who holds a role for an hour must not make it theirs
        // for good.
        if let Some((actor, now, _fence)) = self.store.owner(bearer.identity.user()).await? {
            let lasting = guard::lasting(&actor.bindings, bound.expires_at);
            let held = policy.held_patterns(&lasting, tenant, now);
            self.stay_within(&act, guard::beyond(&wanted, &held))?;
        }
        let mut event = act.event(AuditKind::RoleGranted, self.clock.now());
        tell(&mut event, &bound.role, &bound.scope);
        event.detail.extend(bound.expires_at.map(|end| ("until", end.to_string())));
        let granted_by = act.actor();
        let (binding, revision) =
            self.store.grant(user, &bound, &granted_by, &event).await.map_err(|why| match why {
                GrantError::UnknownUser => AuthError::NotFound { what: "principal" },
                GrantError::UnknownRole => AuthError::NotFound { what: "role" },
                GrantError::LastAdministrator => AuthError::LastOne { why: LAST_ADMINISTRATOR },
                GrantError::Store(why) => why.into(),
            })?;
        log_if(true, &event);
        Ok((binding, self.seen(revision).await))
    }

    /// Takes a role away. One that is not bound is no error: a retry must not fail.
    pub async fn withdraw_role(
        &self,
        call: &Call,
        bearer: &Bearer,
        principal: &PrincipalId,
        role: &RoleId,
        scope: &Scope,
    ) -> Result<Revision, AuthError> {
        let act = Act::new(call, bearer, "WithdrawRole").on(principal);
        self.permit(&act, WRITE, scope.tenant())?;
        let mut event = act.event(AuditKind::RoleWithdrawn, self.clock.now());
        tell(&mut event, role, scope);
        let Changed { changed, revision } =
            self.store.withdraw(user(principal)?, role, scope, &event).await.map_err(|why| match why {
                WithdrawError::LastAdministrator => AuthError::LastOne { why: LAST_ADMINISTRATOR },
                WithdrawError::Store(why) => why.into(),
            })?;
        log_if(changed, &event);
        Ok(self.seen(revision).await)
    }

    /// One page, and whether there are more.
    pub async fn list_bindings(
        &self,
        call: &Call,
        bearer: &Bearer,
        list: &ListBindings,
    ) -> Result<(Vec<Binding>, bool), AuthError> {
        let act = Act::new(call, bearer, "ListBindings");
        self.permit(&act, READ, list.filter.scope.as_ref().and_then(Scope::tenant))?;
        let bindings = self.store.list_bindings(&list.filter, list.after.as_ref(), list.page_size + 1).await?;
        Ok(page(bindings, list.page_size))
    }
}

/// Clients are bound in the configuration, not here.
fn user(principal: &PrincipalId) -> Result<UserId, AuthError> {
    match principal {
        PrincipalId::User(user) => Ok(*user),
        PrincipalId::Client(_) => Err(AuthError::NotFound { what: "principal" }),
    }
}

fn tell(event: &mut AuditEvent, role: &RoleId, scope: &Scope) {
    event.detail.push(("role", role.to_string()));
    event.detail.extend(scope.tenant().map(|tenant| ("tenant", tenant.to_string())));
}
