//! Signing keys: what there are, the next one, and the end of one.

use crate::auth::admin::{Act, page};
use crate::auth::error::AuthError;
use crate::auth::{Auth, Call};
use crate::domain::audit::AuditKind;
use crate::domain::change::Revision;
use crate::domain::key::plan::states;
use crate::domain::key::{Algorithm, KeyState, StoredKey};
use crate::store::KeyEvents;
use crate::verifier::Bearer;

const READ: &str = "postern:keys:read";
const WRITE: &str = "postern:keys:write";

/// A key, and where it is in its life.
pub type KeyView = (StoredKey, KeyState);

impl Auth {
    /// One page of signing keys, the newest first, and whether there are more. `after` is the id of the last one of the
    /// page before.
    pub async fn list_keys(
        &self,
        call: &Call,
        bearer: &Bearer,
        after: Option<&str>,
        page_size: u32,
    ) -> Result<(Vec<(StoredKey, KeyState)>, bool), AuthError> {
        let act = Act::new(call, bearer, "ListKeys");
        self.permit(&act, READ, None)?;
        let keys = self.store.keys().await?;
        let plans: Vec<_> = keys.iter().map(StoredKey::plan).collect();
        let states = states(&plans, self.clock.now());
        let newest_first = keys.into_iter().zip(states).rev();
        let rest = match after {
            None => newest_first.collect(),
            Some(after) => newest_first.skip_while(|(key, _)| key.kid != after).skip(1).collect(),
        };
        Ok(page(rest, page_size))
    }

    /// Publishes a new key of `algorithm`, or as configured; it signs when every cache has had time to see it.
    pub async fn rotate_key(
        &self,
        call: &Call,
        bearer: &Bearer,
        algorithm: Option<Algorithm>,
    ) -> Result<(KeyView, Revision), AuthError> {
        let act = Act::new(call, bearer, "RotateKey");
        self.permit(&act, WRITE, None)?;
        let new = self.make_key(algorithm.unwrap_or(self.rules.keys.algorithm))?;
        let mut event = act.event(AuditKind::KeyCreated, self.clock.now());
        event.detail.push(("why", "command".to_owned()));
        match self.store.rotate_key(&new, self.rules.keys.wait, |_keys, _now| true, event).await? {
            Some(change) => {
                self.keys_changed(&change).await;
                Ok((self.view_key(change.key).await?, change.revision))
            }
            None => Err(self.waiting_key().await?),
        }
    }

    /// Takes a key out of service. Told twice, it is done once.
    pub async fn retire_key(
        &self,
        call: &Call,
        bearer: &Bearer,
        kid: &str,
        immediately: bool,
    ) -> Result<(KeyView, Revision), AuthError> {
        let act = Act::new(call, bearer, "RetireKey").on(kid);
        self.permit(&act, WRITE, None)?;
        // Made in any case: whether it is needed shows inside the transaction only.
        let new = self.make_key(self.rules.keys.algorithm)?;
        let mut created = act.event(AuditKind::KeyCreated, self.clock.now());
        created.detail.push(("why", "retirement".to_owned()));
        let events = KeyEvents { retired: act.event(AuditKind::KeyRetired, self.clock.now()), created };
        let change = self.store.retire_key(kid, immediately, &new, self.rules.keys.wait, events).await?;
        let change = change.ok_or(AuthError::NotFound { what: "key" })?;
        self.keys_changed(&change).await;
        Ok((self.view_key(change.key).await?, change.revision))
    }

    async fn view_key(&self, key: StoredKey) -> Result<KeyView, AuthError> {
        let keys = self.store.keys().await?;
        let plans: Vec<_> = keys.iter().map(StoredKey::plan).collect();
        // The store's clock made the plan, so it says how far it is.
        let states = states(&plans, self.store.now().await?);
        let state = keys.iter().zip(states).find(|(other, _)| other.kid == key.kid).map(|(_, state)| state);
        Ok((key, state.ok_or_else(|| AuthError::internal("a key vanished"))?))
    }

    async fn waiting_key(&self) -> Result<AuthError, AuthError> {
        let keys = self.store.keys().await?;
        let now = self.store.now().await?;
        let waiting = keys.into_iter().filter(|key| key.sign_time > now).max_by_key(|key| key.sign_time);
        Ok(match waiting {
            Some(key) => AuthError::KeyWaiting { kid: key.kid, sign_time: key.sign_time },
            // It began to sign in between.
            None => AuthError::EtagMismatch,
        })
    }
}
