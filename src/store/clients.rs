//! Clients: who they are, what proves them, how they change. Every change tells the verifiers of all of them, because
//! they are few and what proves one must prove no other.

mod read;
#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::domain::audit::AuditEvent;
use crate::domain::change::Revision;
use crate::domain::client::{Registration, San, SecretDigest, SessionLimits};
use crate::domain::id::ClientId;
use crate::store::engine::{Connection, Query, Row, query, query_scalar};
use crate::store::write::{Learn, Write};
use crate::store::{Changed, Store, StoreError};

pub(super) use read::all;

#[derive(Debug, thiserror::Error)]
pub enum CreateClientError {
    #[error("there is a client of this id")]
    IdTaken,
    #[error("another client has the name {0}")]
    SanTaken(San),
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[derive(Debug, thiserror::Error)]
pub enum ChangeClientError {
    #[error("there is no such client")]
    NotFound,
    #[error("the client has changed since")]
    StaleEtag,
    #[error("another client has the name {0}")]
    SanTaken(San),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What to set; what is `None` stays.
#[derive(Clone, Debug, Default)]
pub struct ClientChange {
    pub display_name: Option<String>,
    pub mtls_sans: Option<Vec<San>>,
    pub audience: Option<String>,
    pub token_audiences: Option<Vec<String>>,
    pub return_urls: Option<Vec<String>>,
    pub limits: LimitsChange,
    pub disabled: Option<bool>,
}

/// The same for limits; `Some(None)` is as the server has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimitsChange {
    pub access_ttl: Option<Option<Duration>>,
    pub idle_ttl: Option<Option<Duration>>,
    pub absolute_ttl: Option<Option<Duration>>,
    pub refresh_grace: Option<Option<Duration>>,
    pub max_per_user: Option<Option<usize>>,
}

impl Store {
    /// All of them, with their bindings.
    pub async fn clients(&self) -> Result<Vec<Registration>, StoreError> {
        let mut snapshot = self.reader.begin().await?;
        let clients = all(&mut snapshot, self.clock.offset_micros()).await?;
        snapshot.commit().await?;
        Ok(clients)
    }

    pub async fn client(&self, id: &ClientId) -> Result<Option<Registration>, StoreError> {
        let mut snapshot = self.reader.begin().await?;
        let client = read::one(&mut snapshot, self.clock.offset_micros(), id).await?;
        snapshot.commit().await?;
        Ok(client)
    }

    /// Makes a client as it is described, but for origin, etag and roles, which are not its own to say.
    pub async fn create_client(
        &self,
        new: &Registration,
        audit: &AuditEvent,
    ) -> Result<(Registration, Revision), CreateClientError> {
        let mut write = self.write().await?;
        if write.client_exists(&new.id).await? {
            return Err(CreateClientError::IdTaken);
        }
        if let Some(san) = taken(write.connection(), &new.id, &new.mtls_sans).await? {
            return Err(CreateClientError::SanTaken(san));
        }
        write.insert_client(new).await?;
        write.audit(audit).await?;
        let made = write.read_client(&new.id).await?.ok_or(StoreError::corrupt("a new client is missing"))?;
        Ok((made, write.commit().await?))
    }

    /// Changes a client; with an etag, only the one that has it.
    pub async fn update_client(
        &self,
        id: &ClientId,
        etag: Option<&str>,
        change: ClientChange,
        audit: &AuditEvent,
    ) -> Result<(Registration, Revision), ChangeClientError> {
        let mut write = self.write().await?;
        let before = write.read_client(id).await?.ok_or(ChangeClientError::NotFound)?;
        if etag.is_some_and(|etag| etag != before.etag) {
            return Err(ChangeClientError::StaleEtag);
        }
        let after = change.applied_to(&before);
        if after == before {
            return Ok((before, write.commit().await?));
        }
        if let Some(san) = taken(write.connection(), id, &after.mtls_sans).await? {
            return Err(ChangeClientError::SanTaken(san));
        }
        write.update_client(&after).await?;
        if after.disabled != before.disabled {
            write.raise_client(id).await?;
        }
        write.audit(audit).await?;
        let after = write.read_client(id).await?.ok_or(ChangeClientError::NotFound)?;
        Ok((after, write.commit().await?))
    }

    /// Adds a secret. Those from before end after `overlap`, or as they were to end if that is sooner; of two that are
    /// still good the older ends now, so that there are never more than two.
    pub async fn rotate_client_secret(
        &self,
        id: &ClientId,
        digest: &SecretDigest,
        overlap: Duration,
        audit: &AuditEvent,
    ) -> Result<Revision, ChangeClientError> {
        const FORGET: &str = "DELETE FROM client_secrets WHERE client_id = $1 AND (end_time <= $2 OR digest NOT IN \
            (SELECT digest FROM client_secrets WHERE client_id = $1 AND (end_time IS NULL OR end_time > $2) \
             ORDER BY end_time IS NULL DESC, create_time DESC LIMIT 1))";
        const END: &str = "UPDATE client_secrets SET end_time = $2 \
            WHERE client_id = $1 AND (end_time IS NULL OR end_time > $2)";
        let mut write = self.write().await?;
        if !write.client_exists(id).await? {
            return Err(ChangeClientError::NotFound);
        }
        let now = write.now();
        for (statement, time) in [(FORGET, now), (END, now + overlap)] {
            query(statement)
                .bind(id.as_str())
                .bind(time.micros())
                .execute(write.connection())
                .await
                .map_err(StoreError::from)?;
        }
        write.insert_secret(id, digest).await?;
        write.touch_client(id).await?;
        write.audit(audit).await?;
        Ok(write.commit().await?)
    }

    /// Deletes a client with its bindings. Its sessions cannot be refreshed any more.
    pub async fn delete_client(&self, id: &ClientId, audit: &AuditEvent) -> Result<Changed, StoreError> {
        const UNBIND: &str = "DELETE FROM bindings WHERE client_id = $1";
        const DELETE: &str = "DELETE FROM clients WHERE id = $1";
        let mut write = self.write().await?;
        let changed = write.client_exists(id).await?;
        if changed {
            for statement in [UNBIND, DELETE] {
                query(statement).bind(id.as_str()).execute(write.connection()).await?;
            }
            write.learn(Learn::Clients);
            write.audit(audit).await?;
        }
        Ok(Changed { changed, revision: write.commit().await? })
    }
}

impl ClientChange {
    /// Which fields it sets.
    pub fn fields(&self) -> Vec<&'static str> {
        let all = [
            (self.display_name.is_some(), "display_name"),
            (self.mtls_sans.is_some(), "mtls_sans"),
            (self.audience.is_some(), "audience"),
            (self.token_audiences.is_some(), "token_audiences"),
            (self.return_urls.is_some(), "return_urls"),
            (self.limits != LimitsChange::default(), "session_policy"),
            (self.disabled.is_some(), "disabled"),
        ];
        all.into_iter().filter_map(|(set, name)| set.then_some(name)).collect()
    }

    fn applied_to(self, before: &Registration) -> Registration {
        let before = before.clone();
        Registration {
            display_name: self.display_name.unwrap_or(before.display_name),
            mtls_sans: self.mtls_sans.unwrap_or(before.mtls_sans),
            audience: self.audience.unwrap_or(before.audience),
            token_audiences: self.token_audiences.unwrap_or(before.token_audiences),
            return_urls: self.return_urls.unwrap_or(before.return_urls),
            limits: SessionLimits {
                access_ttl: self.limits.access_ttl.unwrap_or(before.limits.access_ttl),
                idle_ttl: self.limits.idle_ttl.unwrap_or(before.limits.idle_ttl),
                absolute_ttl: self.limits.absolute_ttl.unwrap_or(before.limits.absolute_ttl),
                refresh_grace: self.limits.refresh_grace.unwrap_or(before.limits.refresh_grace),
                max_per_user: self.limits.max_per_user.unwrap_or(before.limits.max_per_user),
            },
            disabled: self.disabled.unwrap_or(before.disabled),
            ..before
        }
    }
}

impl Write {
    pub(super) async fn client_exists(&mut self, id: &ClientId) -> Result<bool, StoreError> {
        const EXISTS: &str = "SELECT count(*) FROM clients WHERE id = $1";
        let count: i64 = query_scalar(EXISTS).bind(id.as_str()).fetch_one(self.connection()).await?;
        Ok(count == 1)
    }

    /// The client's bindings changed, or whether it counts at all.
    pub(super) async fn raise_client(&mut self, id: &ClientId) -> Result<(), StoreError> {
        const RAISE: &str = concat!("UPDATE clients SET version = ", raised!("version"), " WHERE id = $2");
        let least = self.least_version();
        query(RAISE).bind(least).bind(id.as_str()).execute(self.connection()).await?;
        self.learn(Learn::Clients);
        Ok(())
    }

    async fn read_client(&mut self, id: &ClientId) -> Result<Option<Registration>, StoreError> {
        // As of this transaction's time, which has the offset already.
        let now = self.now();
        read::one_at(self.connection(), now, id).await
    }

    pub(super) async fn insert_client(&mut self, new: &Registration) -> Result<(), StoreError> {
        const INSERT: &str = "INSERT INTO clients (id, display_name, audience, token_audiences, return_urls, \
            access_ttl, idle_ttl, absolute_ttl, refresh_grace, max_per_user, disabled, version, create_time, update_time, \
            etag) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $13, $14)";
        let (version, now) = (self.least_version(), self.now());
        bind_columns(query(INSERT), new)
            .bind(version)
            .bind(now.micros())
            // Not 1: a client that is deleted and made again never has an earlier etag.
            .bind(now.millis())
            .execute(self.connection())
            .await?;
        self.put_sans(&new.id, &new.mtls_sans).await?;
        for secret in &new.secrets {
            self.insert_secret(&new.id, &secret.digest).await?;
        }
        self.learn(Learn::Clients);
        Ok(())
    }

    async fn update_client(&mut self, after: &Registration) -> Result<(), StoreError> {
        const UPDATE: &str = "UPDATE clients SET display_name = $2, audience = $3, token_audiences = $4, \
            return_urls = $5, access_ttl = $6, idle_ttl = $7, absolute_ttl = $8, refresh_grace = $9, max_per_user = $10, \
            disabled = $11 WHERE id = $1";
        bind_columns(query(UPDATE), after).execute(self.connection()).await?;
        self.put_sans(&after.id, &after.mtls_sans).await?;
        self.touch_client(&after.id).await
    }

    async fn put_sans(&mut self, id: &ClientId, sans: &[San]) -> Result<(), StoreError> {
        const CLEAR: &str = "DELETE FROM client_sans WHERE client_id = $1";
        const INSERT: &str = "INSERT INTO client_sans (san, client_id, position) VALUES ($1, $2, $3)";
        query(CLEAR).bind(id.as_str()).execute(self.connection()).await?;
        for (position, san) in (0_i64..).zip(sans) {
            query(INSERT).bind(san.to_string()).bind(id.as_str()).bind(position).execute(self.connection()).await?;
        }
        Ok(())
    }

    async fn insert_secret(&mut self, id: &ClientId, digest: &SecretDigest) -> Result<(), StoreError> {
        const INSERT: &str = "INSERT INTO client_secrets (digest, client_id, create_time) VALUES ($1, $2, $3)";
        let now = self.now().micros();
        query(INSERT).bind(digest.as_bytes().as_slice()).bind(id.as_str()).bind(now).execute(self.connection()).await?;
        Ok(())
    }

    async fn touch_client(&mut self, id: &ClientId) -> Result<(), StoreError> {
        const TOUCH: &str = concat!("UPDATE clients SET etag = ", raised!("etag"), ", update_time = $2 WHERE id = $3");
        let now = self.now();
        query(TOUCH).bind(now.millis()).bind(now.micros()).bind(id.as_str()).execute(self.connection()).await?;
        self.learn(Learn::Clients);
        Ok(())
    }
}

/// `$1` to `$11` of both statements.
fn bind_columns<'q>(query: Query<'q, Row>, client: &'q Registration) -> Query<'q, Row> {
    let micros = |ttl: Option<Duration>| ttl.map(|ttl| i64::try_from(ttl.as_micros()).unwrap_or(i64::MAX));
    let limits = client.limits;
    query
        .bind(client.id.as_str())
        .bind(client.display_name.as_str())
        .bind(client.audience.as_str())
        .bind(read::json(&client.token_audiences))
        .bind(read::json(&client.return_urls))
        .bind(micros(limits.access_ttl))
        .bind(micros(limits.idle_ttl))
        .bind(micros(limits.absolute_ttl))
        .bind(micros(limits.refresh_grace))
        .bind(limits.max_per_user.map(|max| i64::try_from(max).unwrap_or(i64::MAX)))
        .bind(client.disabled)
}

/// Which of these names another client has.
async fn taken(connection: &mut Connection, id: &ClientId, sans: &[San]) -> Result<Option<San>, StoreError> {
    const OTHER: &str = "SELECT count(*) FROM client_sans WHERE san = $1 AND client_id <> $2";
    for san in sans {
        let others: i64 =
            query_scalar(OTHER).bind(san.to_string()).bind(id.as_str()).fetch_one(&mut *connection).await?;
        if others > 0 {
            return Ok(Some(san.clone()));
        }
    }
    Ok(None)
}
