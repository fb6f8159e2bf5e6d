//! What every way of signing in ends with: a session is made, drafted and written, and others give way to it.

use secrecy::SecretString;

use crate::auth::error::AuthError;
use crate::auth::{Auth, Call, DraftFacts, Subject, TokenPair, event};
use crate::domain::audit::AuditKind;
use crate::domain::id::{PrincipalId, SessionId, UserId};
use crate::domain::session::{Device, Seed, Session, TokenScope};
use crate::domain::standing::{End, EndCause, Fence, Owner};
use crate::domain::time::Timestamp;

/// A person who has proven who they are, as the store knew them in that moment.
pub(super) struct Proven {
    pub user: UserId,
    pub owner: Owner,
    pub fence: Fence,
    pub now: Timestamp,
    pub method: String,
    pub auth_time: Timestamp,
    pub amr: Vec<String>,
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
        let facts = facts(call, proven, session);
        let draft = self.draft(&facts)?;
        let idle = call.client.session_policy.idle_ttl;
        if !self.sessions.insert(session, idle).await? {
            return Err(AuthError::internal("a new session's id was taken"));
        }
        let issued = self.issue(&facts, &draft)?;
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
        Ok(issued)
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
