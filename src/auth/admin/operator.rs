//! The operator: whoever may read the data directory may administer what is in it, while no server runs there. Not a
//! person with a password, not a client with a secret; named in the audit log as what it is.

use std::sync::Arc;

use crate::auth::Auth;
use crate::auth::admin::caller::Caller;
use crate::auth::error::AuthError;
use crate::domain::client::{Client, OPERATOR_ID, Origin, Registration};
use crate::domain::permission::Scope;
use crate::domain::role::BoundRole;

impl Auth {
    /// The operator, with `postern.admin` everywhere. Only the one way in that has no door may ask for this.
    pub fn operator(&self, request_id: &str) -> Result<Caller, AuthError> {
        let id = OPERATOR_ID.parse().map_err(AuthError::internal)?;
        let role = "postern.admin".parse().map_err(AuthError::internal)?;
        let registration = Registration {
            roles: vec![BoundRole { role, scope: Scope::Everywhere, expires_at: None }],
            ..Registration::new(id, Origin::BuiltIn)
        };
        let session_policy = self.clients.effective(&registration);
        self.administrating_client(Arc::new(Client { registration, session_policy }), request_id)
    }
}
