//! Who administers: a person, by their access token, or a client, by its own proof. What they hold counts alike.

use std::sync::Arc;

use crate::auth::Auth;
use crate::auth::error::AuthError;
use crate::domain::client::{Client, Origin};
use crate::domain::id::{ClientId, PrincipalId};
use crate::domain::permission::{Permission, Tenant};
use crate::domain::role::BoundRole;
use crate::domain::time::Timestamp;
use crate::verifier::{Identity, InvalidWhy, NotFresh, Policy, TokenFault};

/// Who calls AdminService, and in which call.
#[derive(Clone, Debug)]
pub struct Caller {
    who: Who,
    pub(super) policy: Arc<Policy>,
    /// What it holds is as of then.
    pub(super) at: Timestamp,
    pub(super) request_id: String,
}

#[derive(Clone, Debug)]
enum Who {
    Person(Identity),
    Client(Arc<Client>),
}

impl Auth {
    /// The person behind an access token that is meant for Postern itself.
    pub fn administrator(&self, token: &str, request_id: &str) -> Result<Caller, AuthError> {
        let bearer = self.verifier.identify(token, self.clock.moment())?.map_err(AuthError::TokenRefused)?;
        if !bearer.identity.has_audience(&self.rules.issuer) {
            return Err(AuthError::TokenRefused(TokenFault::Invalid(InvalidWhy::Audience)));
        }
        let who = Who::Person(bearer.identity);
        Ok(Caller { who, policy: bearer.policy, at: bearer.at, request_id: request_id.to_owned() })
    }

    /// A client that proved itself.
    pub fn administrating_client(&self, client: Arc<Client>, request_id: &str) -> Result<Caller, AuthError> {
        let now = self.clock.moment();
        // As for a person: an act could not bear the mark of a stale verdict.
        if self.verifier.freshness(now)?.stale {
            return Err(AuthError::NotFresh(NotFresh::Stale { age: self.verifier.age(now) }));
        }
        let policy = self.verifier.policy()?;
        Ok(Caller { who: Who::Client(client), policy, at: now.wall, request_id: request_id.to_owned() })
    }

    /// What the caller holds, with the end of each. A token does not say when its roles end; the store does.
    /// Whoever is gone meanwhile holds nothing.
    pub(super) async fn lasting_bindings(&self, caller: &Caller) -> Result<Vec<BoundRole>, AuthError> {
        let stored = match &caller.who {
            Who::Person(identity) => self.store.owner(identity.user()).await?.map(|(owner, ..)| owner.bindings),
            Who::Client(client) if client.origin == Origin::Store => {
                self.store.client(&client.id).await?.map(|client| client.roles)
            }
            Who::Client(client) => Some(client.roles.clone()),
        };
        Ok(stored.unwrap_or_default())
    }
}

impl Caller {
    pub(super) fn principal(&self) -> PrincipalId {
        match &self.who {
            Who::Person(identity) => PrincipalId::User(identity.user()),
            Who::Client(client) => PrincipalId::Client(client.id.clone()),
        }
    }

    /// The client through which a person signed in, whose token makes this call; or the one that calls.
    pub fn client_id(&self) -> &ClientId {
        match &self.who {
            Who::Person(identity) => identity.client_id(),
            Who::Client(client) => &client.id,
        }
    }

    /// What the caller has.
    pub(super) fn held(&self) -> Vec<BoundRole> {
        match &self.who {
            Who::Person(identity) => identity.bindings().cloned().collect(),
            Who::Client(client) => client.roles.clone(),
        }
    }

    /// Refuses without `permission`; without a tenant only what is held everywhere counts.
    pub(super) fn demand(&self, permission: &'static str, tenant: Option<&Tenant>) -> Result<(), AuthError> {
        let wanted: Permission = permission.parse().map_err(AuthError::internal)?;
        let granted = match &self.who {
            Who::Person(identity) => self.policy.check(identity.bindings(), &wanted, tenant, self.at),
            Who::Client(client) => self.policy.check(&client.roles, &wanted, tenant, self.at),
        };
        match (granted, &self.who) {
            (Some(_), _) => Ok(()),
            (None, Who::Person(_)) => Err(AuthError::PermissionMissing { permission: wanted, tenant: tenant.cloned() }),
            // A program's own lack is never to be taken for a person's.
            (None, Who::Client(_)) => Err(AuthError::ClientNotAllowed { permission }),
        }
    }
}
