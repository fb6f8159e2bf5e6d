//! What every way of signing in ends with: a session is made, drafted and written, and others give way to it.

use secrecy::SecretString;

use crate::auth::error::{AuthError, CredentialFault};
use crate::auth::tokens::Draft;
use crate::auth::{Auth, Call, DraftFacts, Subject, TokenPair, event};
use crate::domain::audit::AuditKind;
use crate::domain::id::{PrincipalId, SessionId, UserId};
use crate::domain::identity::IdentityKey;
use crate::domain::session::{Device, Seed, Session, TokenScope};
use crate::domain::standing::{End, EndCause, Fence, Owner};
use crate::domain::time::Timestamp;
use crate::metrics::SessionEvent;

/// A person who has proven who they are, as the store knew them in that moment.
pub(super) struct Proven {
    pub user: UserId,
    pub owner: Owner,
    pub fence: Fence,
    pub now: Timestamp,
    pub method: String,
    pub auth_time: Timestamp,
    pub amr: Vec<String>,
    /// What opened the account, if a provider vouched: the session is worth what it is worth.
    pub identity: Option<IdentityKey>,
}

impl Proven {
    /// From the statement that gave the hash: a sign-in that began before a password change dies at its first refresh.
    pub(super) fn epoch(&self) -> i64 {
        self.owner.version.max(self.fence.version)
    }
}

impl Auth {
    /// A session as it will be; nothing is written.
    pub(super) fn new_session(
        &self,
        call: &Call,
        proven: &Proven,
        device: Device,
        scope: TokenScope,
    ) -> Result<Session, AuthError> {
        let mut seed = [0; 32];
        aws_lc_rs::rand::fill(&mut seed).map_err(AuthError::internal)?;
        let now = proven.now;
        Ok(Session {
            id: SessionId::begun_at(now),
            user: proven.user,
            seed: Seed::from_bytes(seed),
            key: self.masters.current().number,
            generation: 0,
            advanced_at: now.floor_to_second(),
            predecessors: Vec::new(),
            last_late: None,
            epoch: proven.epoch(),
            scope,
            client: call.client.id.clone(),
            device,
            method: proven.method.clone(),
            create_time: now,
            auth_time: proven.auth_time,
            amr: proven.amr.clone(),
            absolute_end: now + call.client.session_policy.absolute_ttl,
        })
    }

    /// Whether tokens of this session could be made at all.
    pub(super) fn check_draft(&self, call: &Call, proven: &Proven, session: &Session) -> Result<(), AuthError> {
        self.draft(&facts(call, proven, session)).map(|_draft| ())
    }

    /// Writes the session, signs its tokens, and ends those that it replaces.
    pub(super) async fn open_session(
        &self,
        call: &Call,
        proven: &Proven,
        session: &Session,
        replace: Option<&SecretString>,
    ) -> Result<(TokenPair, Subject), AuthError> {
        let draft = self.draft(&facts(call, proven, session))?;
        if !self.sessions.insert(session, call.client.session_policy.idle_ttl).await? {
            return Err(AuthError::internal("a new session's id was taken"));
        }
        self.begin(call, proven, session, replace, &draft).await
    }

    /// The same for a session whose id was given before; `None` if one of this id is there already, or was.
    pub(super) async fn open_named_session(
        &self,
        call: &Call,
        proven: &Proven,
        session: &Session,
        replace: Option<&SecretString>,
    ) -> Result<Option<(TokenPair, Subject)>, AuthError> {
        let draft = self.draft(&facts(call, proven, session))?;
        if !self.sessions.insert(session, call.client.session_policy.idle_ttl).await? {
            return Ok(None);
        }
        // One that was there may have ended meanwhile and left its place free. SQL is told before the vault is cleaned.
        if self.store.standing(session.user, session.id).await?.revoked.is_some() {
            self.forget(session).await;
            return Ok(None);
        }
        self.begin(call, proven, session, replace, &draft).await.map(Some)
    }

    async fn begin(
        &self,
        call: &Call,
        proven: &Proven,
        session: &Session,
        replace: Option<&SecretString>,
        draft: &Draft,
    ) -> Result<(TokenPair, Subject), AuthError> {
        self.demand_way_in(call, proven, session).await?;
        let (mut tokens, subject) = self.issue(&facts(call, proven, session), draft)?;
        tokens.device_token = Some(self.device_token(session.user, session.epoch, proven.now)?);
        self.end_excess(call, session, proven.now).await?;
        if let Some(token) = replace {
            self.end_replaced(call, token, proven.now).await?;
        }
        let mut event = event(AuditKind::LoginSucceeded, call, proven.now);
        event.actor = Some(PrincipalId::User(session.user));
        event.session = Some(session.id);
        event.ip_address.clone_from(&session.device.ip_address);
        event.detail = vec![("method", session.method.clone())];
        self.audit.record(event);
        self.metrics.session(SessionEvent::Opened);
        Ok((tokens, subject))
    }

    /// Whether the identity that opens a session is still the user's. It looks after the session was written, and whoever takes an
    /// identity away looks for sessions after it is gone: one of the two sees the other.
    async fn demand_way_in(&self, call: &Call, proven: &Proven, session: &Session) -> Result<(), AuthError> {
        let Some(key) = &proven.identity else { return Ok(()) };
        if self.store.has_identity(session.user, key).await? {
            return Ok(());
        }
        self.end_of_way(call, std::slice::from_ref(session), proven.now).await?;
        let fault = CredentialFault::UnknownAccount;
        let address = &session.device.ip_address;
        self.record_failure(call, "INVALID_CREDENTIALS", key.provider.as_str(), fault.name(), address);
        Err(AuthError::InvalidCredentials(fault))
    }

    /// Ends the oldest sessions beyond the limit, through SQL, so that a restored vault does not bring them back. It looks
    /// after the new one was written: of many sign-ins at once, the last to look sees them all.
    async fn end_excess(&self, call: &Call, new: &Session, now: Timestamp) -> Result<(), AuthError> {
        let max = call.client.session_policy.max_per_user;
        let mut living = self.living_sessions(new.user).await?;
        if living.len() <= max {
            return Ok(());
        }
        living.sort_by_key(|session| (session.create_time, session.id));
        let excess = living.len() - max;
        let end = End { cause: EndCause::SessionLimit, time: now };
        let oldest: Vec<_> = living.iter().filter(|session| session.id != new.id).take(excess).collect();
        self.end_known(call, &oldest, end, None).await?;
        Ok(())
    }

    /// Ends the session of a token that the device held before. A token that is not good ends nothing, and is no reason
    /// to refuse a sign-in.
    async fn end_replaced(&self, call: &Call, token: &SecretString, now: Timestamp) -> Result<(), AuthError> {
        let end = End { cause: EndCause::Replaced, time: now };
        self.end_by_token(call, token, end).await.map(|_ended| ())
    }
}

fn facts<'a>(call: &'a Call, proven: &'a Proven, session: &'a Session) -> DraftFacts<'a> {
    DraftFacts {
        session,
        owner: &proven.owner,
        fence: proven.fence,
        client: &call.client,
        scope: &session.scope,
        now: proven.now,
    }
}
