//! The service as a whole: its state, and the end of all sessions.

use uuid::Uuid;

use crate::auth::Auth;
use crate::auth::admin::caller::Caller;
use crate::auth::admin::{Act, log_if, note};
use crate::auth::error::AuthError;
use crate::domain::audit::AuditKind;
use crate::domain::change::Revision;
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
