//! When signing keys change, and how they are made for it: on command, by age, and because the settings ask for other
//! keys than there are. Every change is one transaction that looks at the line of keys itself, so of many replicas that
//! want the same, one does it.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::auth::error::AuthError;
use crate::auth::{Auth, audit};
use crate::domain::audit::{AuditEvent, AuditKind};
use crate::domain::key::plan::{is_rotating, signer};
use crate::domain::key::{Algorithm, KeyPlan, StoredKey};
use crate::domain::time::Timestamp;
use crate::store::{KeyChange, NewKey};

/// How often the plan is looked at, in memory.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// After the store was asked in vain.
const ASK_AGAIN: Duration = Duration::from_mins(1);

/// Settings of signing keys.
#[derive(Clone, Copy, Debug)]
pub struct KeyRules {
    /// Of keys that are made from now on.
    pub algorithm: Algorithm,
    /// From publication to the first signature: twice the time for which a copy of the public keys may be kept, and as
    /// long as a verifier may be without news.
    pub wait: Duration,
    /// Unset: on command only.
    pub rotate_every: Option<Duration>,
}

/// Why keys rotate without being told to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    Algorithm,
    MasterKey,
    Age,
}

impl Why {
    const fn name(self) -> &'static str {
        match self {
            Self::Algorithm => "algorithm",
            Self::MasterKey => "master_key",
            Self::Age => "age",
        }
    }
}

impl Auth {
    /// Rotates when it is due, until `stop`. What the settings ask for is seen to once a start: replicas whose settings
    /// differ during a roll-out must not take turns.
    pub async fn rotate_keys(&self, stop: CancellationToken) {
        let mut settings_are_new = true;
        loop {
            let (keys, now) = (self.keyring.stored(), self.clock.now());
            let pause = match self.due(&keys, now, settings_are_new) {
                Some(why) => match self.rotate_by_plan(why, settings_are_new).await {
                    Ok(true) => LOOK_EVERY,
                    Ok(false) => ASK_AGAIN,
                    Err(why) => {
                        tracing::warn!(error = &why as &dyn std::error::Error, "the signing keys could not be rotated");
                        ASK_AGAIN
                    }
                },
                None => LOOK_EVERY,
            };
            settings_are_new = settings_are_new && self.strange(&self.keyring.stored()).is_some();
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// A new key under the current master key.
    pub(super) fn make_key(&self, algorithm: Algorithm) -> Result<NewKey, AuthError> {
        self.keyring.make(algorithm, self.masters.current().number).map_err(AuthError::internal)
    }

    /// Waits until this replica knows of the change, and tells it.
    pub(super) async fn keys_changed(&self, change: &KeyChange) {
        change.events.iter().for_each(audit::log);
        self.seen(change.revision).await;
    }

    async fn rotate_by_plan(&self, why: Why, settings_are_new: bool) -> Result<bool, AuthError> {
        let new = self.make_key(self.rules.keys.algorithm)?;
        let mut event = AuditEvent::new(AuditKind::KeyCreated, self.clock.now());
        event.detail.push(("why", why.name().to_owned()));
        let still_due = |keys: &[StoredKey], now| self.due(keys, now, settings_are_new).is_some();
        let rotated = self.store.rotate_key(&new, self.rules.keys.wait, still_due, event).await?;
        if let Some(change) = &rotated {
            self.keys_changed(change).await;
        }
        Ok(rotated.is_some())
    }

    fn due(&self, keys: &[StoredKey], now: Timestamp, settings_are_new: bool) -> Option<Why> {
        let plans: Vec<KeyPlan> = keys.iter().map(StoredKey::plan).collect();
        if is_rotating(&plans, now) {
            return None;
        }
        if let Some(why) = self.strange(keys).filter(|_| settings_are_new) {
            return Some(why);
        }
        let signing = signer(&plans, now).and_then(|index| plans.get(index))?;
        let every = self.rules.keys.rotate_every?;
        (now.since(signing.sign_time) >= every).then_some(Why::Age)
    }

    /// What the settings would have otherwise of the last key of the line. A key under an old master key must go before
    /// that can.
    fn strange(&self, keys: &[StoredKey]) -> Option<Why> {
        let last = keys.iter().find(|key| key.retire_time.is_none())?;
        if last.algorithm != self.rules.keys.algorithm {
            Some(Why::Algorithm)
        } else if last.master_key != self.masters.current().number {
            Some(Why::MasterKey)
        } else {
            None
        }
    }
}
