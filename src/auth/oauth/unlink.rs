//! A provider's notice that a person ended the connection there: what they opened with it ends here, too.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use secrecy::SecretString;

use super::Returning;
use crate::auth::error::AuthError;
use crate::auth::{Auth, Call, event, needs};
use crate::domain::audit::AuditKind;
use crate::domain::id::UserId;
use crate::domain::identity::{IdentityKey, ProviderId};
use crate::domain::session::Session;
use crate::domain::standing::{End, EndCause};
use crate::domain::time::Timestamp;
use crate::oauth::{Notice, Provider};
use crate::store::UnlinkError;

/// A webhook's words, as a front received them.
pub struct Unlink {
    pub provider: String,
    pub authorization: SecretString,
    pub parameters: BTreeMap<String, String>,
}

impl Auth {
    /// Ends the sessions that a person opened by this provider, and takes the identity away unless it is the last way in:
    /// who comes back and agrees again is the same person. Answers the HTTP status that the provider wants to hear, also
    /// about people who are unknown here. Needs `postern:auth:login` of the client.
    pub async fn oauth_unlink(&self, call: &Call, unlink: Unlink) -> Result<u16, AuthError> {
        self.demand(call, &needs::LOGIN)?;
        let provider = self.provider(&unlink.provider)?;
        self.sessions.answers().map_err(|why| AuthError::from(why).before_any_work())?;
        let now = self.store.time().await.map_err(|why| AuthError::from(why).before_any_work())?;
        let notice = Notice { authorization: &unlink.authorization, parameters: &unlink.parameters };
        let unlinked = provider.unlinked(&notice, now).map_err(|_refused| {
            let at = Returning { ip_address: "", return_url: "" };
            self.rejected(call, &provider, "notice_unproven", &at)
        })?;
        let id = provider.settings().id.clone();
        let key = IdentityKey { provider: id.clone(), subject: unlinked.subject };
        let found = self.store.credential_by_identity(&key).await?;
        if let Some(user) = found.answer.found.map(|credential| credential.user) {
            let at = unlinked.at.unwrap_or(now).min(now);
            let opened_before = |session: &Session| session.method == id.as_str() && session.create_time <= at;
            let opened = self.living_among(user, opened_before).await?;
            self.end_of_way(call, &opened, now).await?;
            // A notice that comes again, after the person has come back, must not send them away again.
            let linked = self.store.identities(user).await?;
            if linked.iter().any(|identity| identity.key == key && identity.link_time <= at) {
                self.drop_identity(call, user, &key, now).await?;
                // And those that were opened meanwhile, by whom the identity was still there.
                let late = self.living_among(user, opened_before).await?;
                self.end_of_way(call, &late, now).await?;
            }
        }
        Ok(unlinked.http_status)
    }

    async fn drop_identity(
        &self,
        call: &Call,
        user: UserId,
        key: &IdentityKey,
        now: Timestamp,
    ) -> Result<(), AuthError> {
        let mut event = event(AuditKind::IdentityUnlinked, call, now);
        event.target = Some(user.to_string());
        event.detail = vec![("method", key.provider.to_string()), ("by", "provider".to_owned())];
        match self.store.unlink_identity(user, key, &self.usable_providers(), &event).await {
            Ok(()) => crate::auth::audit::log(&event),
            Err(UnlinkError::LastWayIn | UnlinkError::NotFound) => {}
            Err(UnlinkError::Store(why)) => return Err(why.into()),
        }
        Ok(())
    }

    /// Those of a user's living sessions that are of this kind.
    pub(in crate::auth) async fn living_among(
        &self,
        user: UserId,
        is_of_it: impl Fn(&Session) -> bool,
    ) -> Result<Vec<Session>, AuthError> {
        let living = self.living_sessions(user).await?;
        Ok(living.into_iter().filter(is_of_it).collect())
    }

    /// Ends sessions that were opened by a way in that is no more.
    pub(in crate::auth) async fn end_of_way(
        &self,
        call: &Call,
        sessions: &[Session],
        now: Timestamp,
    ) -> Result<(), AuthError> {
        let ended: Vec<&Session> = sessions.iter().collect();
        let end = End { cause: EndCause::CredentialChanged, time: now };
        self.end_known(call, &ended, end, None).await
    }

    /// Where people can sign in, and below whom their subjects are unique.
    pub(in crate::auth) fn usable_providers(&self) -> BTreeSet<(ProviderId, String)> {
        let each = |provider: &Arc<Provider>| (provider.settings().id.clone(), provider.issuer().to_owned());
        self.providers.iter().map(each).collect()
    }
}
