//! The policy as a whole: all roles but the built-in ones, replaced in one step.

use std::collections::BTreeMap;

use crate::domain::audit::AuditEvent;
use crate::domain::change::Revision;
use crate::domain::role::{Role, RoleFault, RoleId, check_roles};
use crate::store::roles::{all, says_the_same};
use crate::store::{Store, StoreError};

/// What a new policy changes, or would.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyDiff {
    pub created: Vec<RoleId>,
    pub changed: Vec<RoleId>,
    pub deleted: Vec<RoleId>,
    /// Of changed and deleted roles, as far as they have not ended.
    pub affected_bindings: i64,
    /// The policy's version now.
    pub version: i64,
    pub revision: Revision,
}

#[derive(Debug, thiserror::Error)]
pub enum ApplyPolicyError {
    #[error("the policy has changed since")]
    StaleVersion,
    #[error(transparent)]
    Fault(#[from] RoleFault),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// Replaces all roles, or only says what that would change. Bindings of deleted roles are withdrawn.
    pub async fn apply_policy(
        &self,
        roles: &[Role],
        expected_version: Option<i64>,
        validate_only: bool,
        audit: &AuditEvent,
    ) -> Result<PolicyDiff, ApplyPolicyError> {
        check_roles(roles)?;
        let mut write = self.write().await?;
        let (version, stored) = all(write.connection()).await?;
        if expected_version.is_some_and(|expected| expected != version) {
            return Err(ApplyPolicyError::StaleVersion);
        }
        let stored: BTreeMap<&RoleId, &Role> = stored.iter().map(|role| (&role.id, role)).collect();
        let wanted: BTreeMap<&RoleId, &Role> = roles.iter().map(|role| (&role.id, role)).collect();
        let created: Vec<&Role> = wanted.values().filter(|role| !stored.contains_key(&role.id)).copied().collect();
        let changed: Vec<&Role> = wanted
            .values()
            .filter(|role| stored.get(&role.id).is_some_and(|stored| !says_the_same(stored, role)))
            .copied()
            .collect();
        let deleted: Vec<&Role> = stored.values().filter(|role| !wanted.contains_key(&role.id)).copied().collect();
        let mut affected_bindings = 0;
        for role in changed.iter().chain(&deleted) {
            affected_bindings += write.count_bindings(&role.id).await?;
        }
        let ids = |roles: &[&Role]| roles.iter().map(|role| role.id.clone()).collect();
        let diff = PolicyDiff {
            created: ids(&created),
            changed: ids(&changed),
            deleted: ids(&deleted),
            affected_bindings,
            version,
            revision: Revision::default(),
        };
        if validate_only || (created.is_empty() && changed.is_empty() && deleted.is_empty()) {
            return Ok(PolicyDiff { revision: write.commit().await?, ..diff });
        }
        let version = write.next_policy().await?;
        for role in created.iter().chain(&changed) {
            write.write_role(role, version).await?;
        }
        for role in &deleted {
            write.remove_role(&role.id).await?;
        }
        write.audit(audit).await?;
        Ok(PolicyDiff { version, revision: write.commit().await?, ..diff })
    }
}
