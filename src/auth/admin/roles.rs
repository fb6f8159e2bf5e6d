//! Roles, one by one and as a whole.

use crate::auth::Auth;
use crate::auth::admin::caller::Caller;
use crate::auth::admin::{ATTEMPTS, Act, CurrentRoles, guard, log_if, page};
use crate::auth::error::AuthError;
use crate::domain::audit::AuditKind;
use crate::domain::change::Revision;
use crate::domain::role::{Role, RoleId, built_in};
use crate::store::{ApplyPolicyError, Changed, DeleteRoleError, PolicyDiff, PutRoleError};

const READ: &str = "postern:roles:read";
const WRITE: &str = "postern:roles:write";

/// One page of roles in the order of their ids, built-in ones among them.
pub struct RolePage {
    pub roles: Vec<Role>,
    pub more: bool,
    /// Of the policy that all roles make together.
    pub policy_version: i64,
}

/// A whole set of roles, to be put in the place of all but the built-in ones.
pub struct ApplyPolicy {
    pub roles: Vec<Role>,
    /// Only say what would change.
    pub validate_only: bool,
    /// Refuse if the policy is another by now.
    pub expected_version: Option<i64>,
}

impl Auth {
    /// Creates or replaces a role. If it bears an etag, only the role that has this etag is replaced.
    pub async fn put_role(&self, caller: &Caller, role: Role) -> Result<(Role, Revision), AuthError> {
        let act = Act::new(caller, "PutRole").on(&role.id);
        self.permit(&act, WRITE, None)?;
        if role.id.is_built_in() {
            return Err(AuthError::field("role.id", "must not start with `postern.`: those roles are built in"));
        }
        let event = act.event(AuditKind::RolePut, self.clock.now());
        for _attempt in 0..ATTEMPTS {
            let current = self.current_roles(caller).await?;
            let stored = current.roles.iter().find(|stored| stored.id == role.id);
            let stored_etag = stored.map(|stored| stored.etag.clone());
            if !role.etag.is_empty() && stored_etag.as_ref() != Some(&role.etag) {
                return Err(AuthError::EtagMismatch);
            }
            let mut after: Vec<Role> = current.roles.iter().filter(|other| other.id != role.id).cloned().collect();
            after.push(role.clone());
            self.stay_within_gain(&act, &current, &after).await?;
            // The guard looked at this very role, so it must still be the one that is replaced: what it granted before
            // may be granted again.
            match self.store.put_role(&role, stored_etag.as_deref(), &event).await {
                Ok((put, revision)) => {
                    log_if(stored_etag.as_ref() != Some(&put.etag), &event);
                    return Ok((put, self.seen(revision).await));
                }
                Err(PutRoleError::StaleEtag) => {}
                Err(PutRoleError::Fault(why)) => return Err(why.into()),
                Err(PutRoleError::Store(why)) => return Err(why.into()),
            }
        }
        Err(AuthError::EtagMismatch)
    }

    pub async fn get_role(&self, caller: &Caller, id: &RoleId) -> Result<Role, AuthError> {
        let act = Act::new(caller, "GetRole").on(id);
        self.permit(&act, READ, None)?;
        let role = match built_in().into_iter().find(|role| role.id == *id) {
            Some(role) => Some(role),
            None => self.store.role(id).await?,
        };
        role.ok_or(AuthError::NotFound { what: "role" })
    }

    pub async fn list_roles(
        &self,
        caller: &Caller,
        after: Option<&RoleId>,
        page_size: u32,
    ) -> Result<RolePage, AuthError> {
        let act = Act::new(caller, "ListRoles");
        self.permit(&act, READ, None)?;
        let (mut roles, policy_version) = self.store.roles().await?;
        roles.extend(built_in());
        roles.retain(|role| after.is_none_or(|after| role.id > *after));
        roles.sort_by(|one, other| one.id.cmp(&other.id));
        let (roles, more) = page(roles, page_size);
        Ok(RolePage { roles, more, policy_version })
    }

    /// Deletes a role. One that is not there is no error: a retry must not fail.
    pub async fn delete_role(&self, caller: &Caller, id: &RoleId, force: bool) -> Result<Revision, AuthError> {
        let act = Act::new(caller, "DeleteRole").on(id);
        self.permit(&act, WRITE, None)?;
        if id.is_built_in() {
            return Err(AuthError::field("id", "must not start with `postern.`: those roles are built in"));
        }
        let mut event = act.event(AuditKind::RoleDeleted, self.clock.now());
        if force {
            event.detail.push(("force", "true".to_owned()));
        }
        let Changed { changed, revision } =
            self.store.delete_role(id, force, &event).await.map_err(|why| match why {
                DeleteRoleError::Bound { bindings } => {
                    AuthError::field("force", format!("must be set: the role is given {bindings} times"))
                }
                DeleteRoleError::Inherited { by } => {
                    AuthError::field("force", format!("must be set: the role is inherited by {by}"))
                }
                DeleteRoleError::Store(why) => why.into(),
            })?;
        log_if(changed, &event);
        Ok(self.seen(revision).await)
    }

    /// Replaces all roles but the built-in ones.
    pub async fn apply_policy(&self, caller: &Caller, apply: &ApplyPolicy) -> Result<PolicyDiff, AuthError> {
        let act = Act::new(caller, "ApplyPolicy");
        self.permit(&act, WRITE, None)?;
        let event = act.event(AuditKind::PolicyApplied, self.clock.now());
        for _attempt in 0..ATTEMPTS {
            let current = self.current_roles(caller).await?;
            if apply.expected_version.is_some_and(|expected| expected != current.version) {
                return Err(AuthError::EtagMismatch);
            }
            self.stay_within_gain(&act, &current, &apply.roles).await?;
            // As in `put_role`: what the guard compared with must still be there.
            match self.store.apply_policy(&apply.roles, Some(current.version), apply.validate_only, &event).await {
                Ok(diff) => {
                    let same = diff.created.is_empty() && diff.changed.is_empty() && diff.deleted.is_empty();
                    log_if(!apply.validate_only && !same, &event);
                    self.seen(diff.revision).await;
                    return Ok(diff);
                }
                Err(ApplyPolicyError::StaleVersion) => {}
                Err(ApplyPolicyError::Fault(why)) => return Err(why.into()),
                Err(ApplyPolicyError::Store(why)) => return Err(why.into()),
            }
        }
        Err(AuthError::EtagMismatch)
    }

    /// Refuses roles that would grant something new which the actor does not hold everywhere.
    async fn stay_within_gain(&self, act: &Act<'_>, current: &CurrentRoles, after: &[Role]) -> Result<(), AuthError> {
        let gained = guard::gained(&current.roles, after)?;
        // A role has no end: who holds a pattern for an hour would write it into a role that is theirs for good.
        self.must_hold(act, &current.policy, &gained, None, None).await
    }
}
