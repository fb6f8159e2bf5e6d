//! The first administrator and the first client, in one transaction: half of them would leave a service that nobody can
//! administer and that refuses to be bootstrapped again.

use crate::domain::audit::AuditEvent;
use crate::domain::client::Registration;
use crate::domain::id::PrincipalId;
use crate::domain::role::{BoundRole, RoleId};
use crate::store::user_state::administrators;
use crate::store::users::taken;
use crate::store::write::Write;
use crate::store::{NewUser, Store, StoreError, Taken};

#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// Whoever needs another asks one of them.
    #[error("there is an administrator already")]
    Done,
    #[error("a user has this name already")]
    UserTaken(Taken),
    #[error("there is a client of this id already")]
    ClientTaken,
    #[error("there is no role `{0}`")]
    UnknownRole(RoleId),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// Makes both with the roles that they name, while nobody administers yet.
    pub async fn bootstrap(
        &self,
        administrator: &NewUser,
        client: Option<&Registration>,
        audit: &[AuditEvent],
    ) -> Result<(), BootstrapError> {
        let mut write = self.write().await?;
        if administrators(write.connection()).await? > 0 {
            return Err(BootstrapError::Done);
        }
        if let Some((taken, _)) = taken(write.connection(), administrator.id, &administrator.profile).await? {
            return Err(BootstrapError::UserTaken(taken));
        }
        write.insert_user(administrator).await?;
        write.bind_all(&PrincipalId::User(administrator.id), &administrator.bindings).await?;
        if let Some(client) = client {
            if write.client_exists(&client.id).await? {
                return Err(BootstrapError::ClientTaken);
            }
            write.insert_client(client).await?;
            write.bind_all(&PrincipalId::Client(client.id.clone()), &client.roles).await?;
        }
        for event in audit {
            write.audit(event).await?;
        }
        write.commit().await?;
        Ok(())
    }
}

impl Write {
    async fn bind_all(&mut self, principal: &PrincipalId, roles: &[BoundRole]) -> Result<(), BootstrapError> {
        for bound in roles {
            if !self.role_exists(&bound.role).await? {
                return Err(BootstrapError::UnknownRole(bound.role.clone()));
            }
            self.bind_role(principal, bound, None).await?;
        }
        Ok(())
    }
}
