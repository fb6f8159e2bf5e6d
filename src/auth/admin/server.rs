//! The service as a whole: its keys, its state, and the end of all sessions.

use uuid::Uuid;

use crate::auth::Auth;
use crate::auth::admin::caller::Caller;
use crate::auth::admin::{Act, log_if, note, page};
use crate::auth::error::AuthError;
use crate::auth::keyring::states;
use crate::domain::audit::AuditKind;
use crate::domain::change::Revision;
use crate::domain::key::{KeyState, StoredKey};
use crate::verifier::Freshness;

/// What a replica says of itself.
#[derive(Clone, Debug)]
pub struct ServerInfo {
    /// Of the binary.
    pub version: &'static str,
    /// Of the store.
    pub schema_version: i64,
    pub replica: Uuid,
    pub freshness: Freshness,
}

impl Auth {
    /// Ends everybody's sessions, the caller's among them. `confirm` must be the issuer, so that nobody does it to the
    /// wrong server or by a slip.
    pub async fn end_all_sessions(&self, caller: &Caller, confirm: &str, words: &str) -> Result<Revision, AuthError> {
        let act = Act::new(caller, "EndAllSessions");
        self.permit(&act, "postern:sessions:revoke", None)?;
        if confirm != self.rules.issuer {
            return Err(AuthError::field("confirm", "must be the issuer of this server, typed in full"));
        }
        let mut event = act.event(AuditKind::FenceRaised, self.clock.now());
        note(&mut event, words);
        let (_fence, revision) = self.store.raise_fence(&event).await?;
        log_if(true, &event);
        Ok(self.seen(revision).await)
    }

    /// One page of signing keys, the newest first, and whether there are more. `after` is the id of the last one of the
    /// page before.
    pub async fn list_keys(
        &self,
        caller: &Caller,
        after: Option<&str>,
        page_size: u32,
    ) -> Result<(Vec<(StoredKey, KeyState)>, bool), AuthError> {
        let act = Act::new(caller, "ListKeys");
        self.permit(&act, "postern:keys:read", None)?;
        let keys = self.store.keys().await?;
        let plans: Vec<_> = keys.iter().map(|key| (key.sign_time, key.retire_time)).collect();
        let states = states(&plans, self.clock.now());
        let newest_first = keys.into_iter().zip(states).rev();
        let rest = match after {
            None => newest_first.collect(),
            Some(after) => newest_first.skip_while(|(key, _)| key.kid != after).skip(1).collect(),
        };
        Ok(page(rest, page_size))
    }

    /// Which server this is, and how current.
    pub fn server_info(&self, caller: &Caller) -> Result<ServerInfo, AuthError> {
        let act = Act::new(caller, "GetServerInfo");
        self.permit(&act, "postern:server:read", None)?;
        Ok(ServerInfo {
            version: env!("CARGO_PKG_VERSION"),
            schema_version: self.store.schema_version(),
            replica: self.replica,
            freshness: self.verifier.freshness(self.clock.moment())?,
        })
    }
}
