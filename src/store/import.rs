//! People of another system, some at a time in one transaction. Whoever is there already is left as they are.

use crate::domain::audit::AuditEvent;
use crate::domain::id::{PrincipalId, UserId};
use crate::domain::identity::Profile;
use crate::domain::role::RoleId;
use crate::store::engine::query;
use crate::store::users::taken;
use crate::store::write::Write;
use crate::store::{NewUser, Store, StoreError, Taken, sql};

/// Somebody to be brought over.
#[derive(Debug)]
pub struct Newcomer {
    pub user: NewUser,
    /// How the password was hashed there; empty for a hash as Postern makes it.
    pub scheme: String,
    /// May not sign in.
    pub disabled: bool,
    pub identities: Vec<Profile>,
    /// Written if they are made.
    pub audit: AuditEvent,
}

/// What became of a newcomer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Imported {
    Created,
    /// This user has something that would be theirs.
    Exists(UserId, Same),
    UnknownRole(RoleId),
}

/// By what somebody was found to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Same {
    Profile(Taken),
    /// By their place among the newcomer's.
    Identity(usize),
}

impl Store {
    /// How foreign passwords that are still there were hashed; each kind once.
    pub async fn password_schemes(&self) -> Result<Vec<String>, StoreError> {
        // From kind to kind by the index, however many passwords there are of each.
        const SCHEMES: &str = "WITH RECURSIVE kinds (scheme) AS ( \
            SELECT min(scheme) FROM passwords WHERE scheme <> '' UNION ALL \
            SELECT (SELECT min(scheme) FROM passwords WHERE scheme <> '' AND scheme > kinds.scheme) \
            FROM kinds WHERE kinds.scheme IS NOT NULL) \
            SELECT scheme FROM kinds WHERE scheme IS NOT NULL LIMIT 32";
        let rows = query(SCHEMES).fetch_all(&self.reader).await?;
        rows.iter().map(|row| row.try_get("scheme").map_err(Into::into)).collect()
    }

    /// Makes those who are not there, each whole or not at all, and answers for each in their order. `rehearse` changes nothing.
    pub async fn import_users(
        &self,
        newcomers: &[Newcomer],
        granted_by: &PrincipalId,
        rehearse: bool,
    ) -> Result<Vec<Imported>, StoreError> {
        let mut write = self.write().await?;
        let mut outcomes = Vec::with_capacity(newcomers.len());
        for newcomer in newcomers {
            outcomes.push(write.import_user(newcomer, granted_by).await?);
        }
        // Nothing for the verifiers to learn: no token speaks for these users yet.
        if !rehearse && outcomes.contains(&Imported::Created) {
            write.commit().await?;
        }
        Ok(outcomes)
    }
}

impl Write {
    /// All questions come before the first change: there is no way back to the middle of a transaction.
    async fn import_user(&mut self, newcomer: &Newcomer, granted_by: &PrincipalId) -> Result<Imported, StoreError> {
        const SCHEME: &str = "UPDATE passwords SET scheme = $2 WHERE user_id = $1";
        let Newcomer { user, scheme, disabled, identities, audit } = newcomer;
        if let Some((what, holder)) = taken(self.connection(), user.id, &user.profile).await? {
            return Ok(Imported::Exists(holder, Same::Profile(what)));
        }
        for (place, identity) in identities.iter().enumerate() {
            if let Some((holder, _)) = self.holder(&identity.key).await? {
                return Ok(Imported::Exists(holder, Same::Identity(place)));
            }
        }
        for bound in &user.bindings {
            if !self.role_exists(&bound.role).await? {
                return Ok(Imported::UnknownRole(bound.role.clone()));
            }
        }
        self.insert_user(user).await?;
        if user.password_hash.is_some() && !scheme.is_empty() {
            query(SCHEME).bind(user.id.uuid()).bind(scheme.as_str()).execute(self.connection()).await?;
        }
        if *disabled {
            self.set_state(user.id, sql::DISABLED).await?;
        }
        for identity in identities {
            self.insert_identity(user.id, identity, false).await?;
        }
        for bound in &user.bindings {
            self.bind_role(&PrincipalId::User(user.id), bound, Some(granted_by)).await?;
        }
        self.audit(audit).await?;
        Ok(Imported::Created)
    }
}

#[cfg(test)]
mod tests;
