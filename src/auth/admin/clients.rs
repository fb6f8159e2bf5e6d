//! Clients: which programs there are, what proves them, what they may ask tokens for. Those that the configuration declares
//! are shown here and changed there.

use std::time::Duration;

use secrecy::SecretString;

use crate::auth::Auth;
use crate::auth::admin::caller::Caller;
use crate::auth::admin::{Act, log_if, page};
use crate::auth::error::AuthError;
use crate::domain::audit::{AuditEvent, AuditKind};
use crate::domain::change::Revision;
use crate::domain::client::{ClientSecret, HeldSecret, Registration, San, is_reserved};
use crate::domain::id::{ClientId, PrincipalId};
use crate::domain::permission::Pattern;
use crate::store::{ChangeClientError, Changed, ClientChange, CreateClientError};

const READ: &str = "postern:clients:read";
const WRITE: &str = "postern:clients:write";

/// An old secret that nobody needs any more is only there to be found.
pub const OVERLAP_MAX: Duration = Duration::from_hours(30 * 24);

/// What a client is told once.
pub struct Registered {
    pub client: Registration,
    pub secret: Option<SecretString>,
    pub revision: Revision,
}

impl Auth {
    /// Registers a client. It has no roles yet, so it may do nothing.
    pub async fn create_client(
        &self,
        caller: &Caller,
        mut new: Registration,
        with_secret: bool,
    ) -> Result<Registered, AuthError> {
        let act = Act::new(caller, "CreateClient").on(&new.id);
        self.permit(&act, WRITE, None)?;
        if is_reserved(&new.id) || self.clients.fixed(&new.id).is_some() {
            return Err(AuthError::ClientTaken { what: "id" });
        }
        self.must_be_free(&new.mtls_sans)?;
        if self.reaches_administration(&new.token_audiences) {
            self.may_open_administration(&act).await?;
        }
        let secret = with_secret.then(ClientSecret::generate).transpose().map_err(AuthError::internal)?;
        let held = secret.as_ref().map(|secret| HeldSecret { digest: secret.digest(), ends_at: None });
        new.secrets = held.into_iter().collect();
        let mut event = act.event(AuditKind::ClientCreated, self.clock.now());
        event.detail.push(("secret", with_secret.to_string()));
        event.detail.push(("names", names(&new.mtls_sans)));
        let (client, revision) = self.store.create_client(&new, &event).await.map_err(|why| match why {
            CreateClientError::IdTaken => AuthError::ClientTaken { what: "id" },
            CreateClientError::SanTaken(_) => AuthError::ClientTaken { what: "mtls_sans" },
            CreateClientError::Store(why) => why.into(),
        })?;
        log_if(true, &event);
        let secret = secret.map(|secret| secret.text());
        Ok(Registered { client, secret, revision: self.seen(revision).await })
    }

    /// One page in the order of their ids, and whether there are more: those of this server's configuration among them.
    pub async fn list_clients(
        &self,
        caller: &Caller,
        after: Option<&ClientId>,
        page_size: u32,
    ) -> Result<(Vec<Registration>, bool), AuthError> {
        let act = Act::new(caller, "ListClients");
        self.permit(&act, READ, None)?;
        let mut clients = self.store.clients().await?;
        clients.retain(|client| self.clients.fixed(&client.id).is_none());
        clients.extend(self.clients.all_fixed().iter().map(|client| client.registration.clone()));
        clients.retain(|client| after.is_none_or(|after| client.id > *after));
        clients.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(page(clients, page_size))
    }

    pub async fn update_client(
        &self,
        caller: &Caller,
        id: &ClientId,
        etag: Option<&str>,
        change: ClientChange,
    ) -> Result<(Registration, Revision), AuthError> {
        let act = Act::new(caller, "UpdateClient").on(id);
        self.may_change(&act, id).await?;
        if let Some(sans) = &change.mtls_sans {
            self.must_be_free(sans)?;
            self.may_become_client(&act, id).await?;
        }
        if let Some(audiences) = &change.token_audiences
            && self.reaches_administration(audiences)
            && !self.store.client(id).await?.is_some_and(|before| self.reaches_administration(&before.token_audiences))
        {
            self.may_open_administration(&act).await?;
        }
        let mut event = act.event(AuditKind::ClientUpdated, self.clock.now());
        event.detail.push(("fields", change.fields().join(" ")));
        event.detail.extend(change.disabled.map(|disabled| ("disabled", disabled.to_string())));
        event.detail.extend(change.mtls_sans.as_ref().map(|sans| ("names", names(sans))));
        let (client, revision) = self.store.update_client(id, etag, change, &event).await.map_err(refused)?;
        log_if(true, &event);
        Ok((client, self.seen(revision).await))
    }

    fn reaches_administration(&self, token_audiences: &[String]) -> bool {
        token_audiences.contains(&self.rules.issuer)
    }

    /// Refuses who may not administer everything, for good: a front whose tokens are for Postern itself could administer
    /// in the name of everybody who signs in through it.
    async fn may_open_administration(&self, act: &Act<'_>) -> Result<(), AuthError> {
        let all: Pattern = "postern:**".parse().map_err(AuthError::internal)?;
        let current = self.current_roles(act.caller).await?;
        self.must_hold(act, &current.policy, std::slice::from_ref(&all), None, None).await
    }

    /// Refuses who says what proves a client, and could be it from then on. One whose tokens are for Postern itself is
    /// worth what it opens, whatever its own roles are.
    async fn may_become_client(&self, act: &Act<'_>, id: &ClientId) -> Result<(), AuthError> {
        let principal = PrincipalId::Client(id.clone());
        self.may_become(act, &principal).await?;
        if act.caller.principal() != principal
            && self.store.client(id).await?.is_some_and(|client| self.reaches_administration(&client.token_audiences))
        {
            self.may_open_administration(act).await?;
        }
        Ok(())
    }

    /// Makes a new secret; the one before works on for `overlap`.
    pub async fn rotate_client_secret(
        &self,
        caller: &Caller,
        id: &ClientId,
        overlap: Duration,
    ) -> Result<(SecretString, Revision), AuthError> {
        let act = Act::new(caller, "RotateClientSecret").on(id);
        self.may_change(&act, id).await?;
        if overlap > OVERLAP_MAX {
            let days = OVERLAP_MAX.as_secs() / 86_400;
            return Err(AuthError::field("overlap", format!("must be at most {days} days")));
        }
        self.may_become_client(&act, id).await?;
        let secret = ClientSecret::generate().map_err(AuthError::internal)?;
        let mut event = act.event(AuditKind::ClientSecretRotated, self.clock.now());
        event.detail.push(("overlap_seconds", overlap.as_secs().to_string()));
        let rotated = self.store.rotate_client_secret(id, &secret.digest(), overlap, &event).await;
        let revision = rotated.map_err(refused)?;
        log_if(true, &event);
        Ok((secret.text(), self.seen(revision).await))
    }

    /// Deletes a client with its bindings. One that is not there is no error: a retry must not fail.
    pub async fn delete_client(&self, caller: &Caller, id: &ClientId) -> Result<Revision, AuthError> {
        let act = Act::new(caller, "DeleteClient").on(id);
        self.may_change(&act, id).await?;
        let event: AuditEvent = act.event(AuditKind::ClientDeleted, self.clock.now());
        let Changed { changed, revision } = self.store.delete_client(id, &event).await?;
        log_if(changed, &event);
        Ok(self.seen(revision).await)
    }

    /// Refuses to change what the configuration or the profile says.
    pub(super) fn must_be_registered(&self, id: &ClientId) -> Result<(), AuthError> {
        match self.clients.fixed(id) {
            None => Ok(()),
            Some(client) => Err(AuthError::ClientNotEditable { id: id.clone(), origin: client.origin }),
        }
    }

    async fn may_change(&self, act: &Act<'_>, id: &ClientId) -> Result<(), AuthError> {
        self.permit(act, WRITE, None)?;
        self.must_be_registered(id)?;
        self.stay_above(act, &PrincipalId::Client(id.clone())).await
    }

    fn must_be_free(&self, sans: &[San]) -> Result<(), AuthError> {
        match self.clients.fixed_name(sans) {
            None => Ok(()),
            Some(_) => Err(AuthError::ClientTaken { what: "mtls_sans" }),
        }
    }
}

fn refused(why: ChangeClientError) -> AuthError {
    match why {
        ChangeClientError::NotFound => AuthError::NotFound { what: "client" },
        ChangeClientError::StaleEtag => AuthError::EtagMismatch,
        ChangeClientError::SanTaken(_) => AuthError::ClientTaken { what: "mtls_sans" },
        ChangeClientError::Store(why) => why.into(),
    }
}

/// What proves a client is what an incident is looked up by.
fn names(sans: &[San]) -> String {
    sans.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}
