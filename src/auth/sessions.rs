//! Sessions as their owner and administration see them: which there are, and how they end.
//!
//! Ending is always SQL first: the vault may be away or may be thrown back, SQL decides. The vault is cleaned after it.

mod view;

use secrecy::SecretString;
use std::time::Duration;

use crate::auth::error::AuthError;
use crate::auth::needs::{self, Need};
use crate::auth::{Auth, Call, event};
use crate::domain::audit::AuditKind;
use crate::domain::change::{EndedSession, Revision};
use crate::domain::id::{PrincipalId, SessionId, UserId};
use crate::domain::session::{ISSUED_LEEWAY, Session};
use crate::domain::standing::{End, EndCause, Standing};
use crate::metrics::SessionEvent;
use crate::store::EndAllError;
use crate::vault::VaultError;
use crate::vault::sessions::Found;
use crate::verifier::{Bearer, Identity, TokenFault};

pub use view::SessionView;
pub(super) use view::Summary;

/// A person who ends all own sessions must have proven to be there so recently: a stolen session must not be able to
/// log its owner out everywhere else (OWASP ASVS 7.5.2).
pub const RECENT_SIGN_IN: Duration = Duration::from_hours(1);

/// Asks for a user's standing alone.
const NO_SESSION: SessionId = SessionId::from_uuid(uuid::Uuid::nil());

/// Whose sessions, and which of them.
pub struct ListSessions {
    /// Who asks; unset: the client itself.
    pub token: Option<SecretString>,
    /// Whose; unset: the asker's own.
    pub user: Option<UserId>,
    pub page_size: u32,
    /// Only sessions older than this one.
    pub before: Option<SessionId>,
    pub show_ended: bool,
}

/// What ends.
pub enum Target {
    Session { session: SessionId, user: Option<UserId> },
    Token(SecretString),
    User { user: Option<UserId>, keep_current: bool },
}

/// Who ends what.
pub struct Revoke {
    pub token: Option<SecretString>,
    pub target: Target,
    /// An administrator's words, for the audit log.
    pub note: String,
}

/// What came of it.
pub struct Revoked {
    pub count: usize,
    pub revision: Revision,
}

/// A session with the verdict on it.
type Judged = (Session, Option<End>);

impl Auth {
    /// One page of sessions, newest first, and whether there are more.
    pub async fn list_sessions(&self, call: &Call, list: ListSessions) -> Result<(Vec<SessionView>, bool), AuthError> {
        let asker = self.person_or_client(call, list.token.as_ref(), &needs::SESSIONS_READ)?;
        let user = self.whose(asker.as_ref(), list.user, &needs::SESSIONS_READ)?;
        let own = asker.as_ref().map(|asker| &asker.identity).filter(|identity| identity.user() == user);
        let current = own.map(Identity::session);
        let (judged, remembered) = tokio::try_join!(self.judged_sessions(user), async {
            if list.show_ended {
                Ok(self.store.ended_sessions(user, list.before, list.page_size + 1).await?)
            } else {
                Ok(Vec::new())
            }
        })?;
        let mut views: Vec<SessionView> = remembered.iter().map(|ended| self.view_ended(ended)).collect();
        for (session, end) in judged {
            let is_shown = list.show_ended || end.is_none();
            let is_known = views.iter().any(|view| view.id == session.id);
            if is_shown && !is_known && list.before.is_none_or(|before| session.id < before) {
                views.push(self.view(call, session, end, current));
            }
        }
        // Ids are UUIDv7, so the greatest is the newest.
        views.sort_by_key(|view| std::cmp::Reverse(view.id));
        let page_size = list.page_size as usize;
        let more = views.len() > page_size;
        views.truncate(page_size);
        Ok((views, more))
    }

    /// Ends sessions. One that is unknown, foreign or over already is no error.
    pub async fn revoke(&self, call: &Call, revoke: Revoke) -> Result<Revoked, AuthError> {
        if let Target::Token(token) = &revoke.target {
            self.demand(call, &needs::ACT)?;
            let end = End { cause: EndCause::Logout, time: self.clock.now() };
            return self.end_by_token(call, token, end).await;
        }
        let asker = self.person_or_client(call, revoke.token.as_ref(), &needs::SESSIONS_REVOKE)?;
        match revoke.target {
            Target::Session { session, user } => {
                let user = self.whose(asker.as_ref(), user, &needs::SESSIONS_REVOKE)?;
                self.end_one(call, asker.as_ref(), user, session, &revoke.note).await
            }
            Target::User { user, keep_current } => {
                let user = self.whose(asker.as_ref(), user, &needs::SESSIONS_REVOKE)?;
                self.end_user(call, asker.as_ref(), user, keep_current, &revoke.note).await
            }
            Target::Token(_) => Err(AuthError::internal("handled above")),
        }
    }

    /// The person behind `token`, or nobody if the client asks for itself, which needs `need`.
    fn person_or_client(
        &self,
        call: &Call,
        token: Option<&SecretString>,
        need: &Need,
    ) -> Result<Option<Bearer>, AuthError> {
        use secrecy::ExposeSecret as _;
        match token {
            Some(token) => {
                self.demand(call, &needs::ACT)?;
                self.asker(call, token.expose_secret()).map(Some)
            }
            None => self.demand(call, need).map(|()| None),
        }
    }

    /// Whose sessions are meant; those of others need `need`.
    fn whose(&self, asker: Option<&Bearer>, user: Option<UserId>, need: &Need) -> Result<UserId, AuthError> {
        let own = asker.map(|asker| asker.identity.user());
        match (user, own) {
            (None, Some(own)) => Ok(own),
            (Some(user), Some(own)) if user == own => Ok(own),
            (None, None) => Err(AuthError::field("user_id", "must be named when no access_token says who asks")),
            (Some(user), _) => {
                if let Some(asker) = asker {
                    self.demand_of(asker, need)?;
                }
                Ok(user)
            }
        }
    }

    async fn end_one(
        &self,
        call: &Call,
        asker: Option<&Bearer>,
        user: UserId,
        id: SessionId,
        note: &str,
    ) -> Result<Revoked, AuthError> {
        let now = self.clock.now();
        let own = asker.map(|asker| &asker.identity).filter(|identity| identity.user() == user);
        let is_own = own.is_some();
        let is_current = own.is_some_and(|own| own.session() == id);
        let cause = match (is_own, is_current) {
            (true, true) => EndCause::Logout,
            (true, false) => EndCause::EndedByUser,
            (false, _) => EndCause::EndedByAdmin,
        };
        let end = End { cause, time: now };
        let ended = match self.sessions.get(user, id).await {
            Ok(Found::Session(stored)) => {
                if self.verdict_on(&stored.session).await?.is_some() {
                    return self.nothing_ended().await;
                }
                self.ended(&stored.session, end)
            }
            // Anybody could otherwise fill the store and every verifier with ids that never were. The asker's own
            // token proves that this one was, and whoever may end those of others is believed: an access token of a
            // session that the vault lost still counts, and a backup of the vault may bring the session back.
            Ok(Found::Absent) if is_own && !is_current => return self.nothing_ended().await,
            Ok(Found::Absent) if !is_own && self.store.standing(user, id).await?.owner.is_none() => {
                return self.nothing_ended().await;
            }
            Ok(Found::Absent | Found::Unreadable(_)) | Err(VaultError::Unavailable { .. }) => {
                self.ended_unseen(user, id, end)
            }
        };
        self.write_end(call, actor(call, asker), ended, note).await
    }

    async fn end_user(
        &self,
        call: &Call,
        asker: Option<&Bearer>,
        user: UserId,
        keep_current: bool,
        note: &str,
    ) -> Result<Revoked, AuthError> {
        let own = asker.map(|asker| &asker.identity).filter(|identity| identity.user() == user);
        if let Some(own) = own {
            if self.clock.now().since(own.auth_time()) > RECENT_SIGN_IN {
                return Err(AuthError::ReauthenticationRequired { max_age: RECENT_SIGN_IN });
            }
        } else if keep_current {
            return Err(AuthError::field("user_sessions.keep_current", "is only for one's own sessions"));
        }
        let keep = own.filter(|_| keep_current).map(|own| (own.session(), own.version()));
        // Only a count for the answer: an absent vault must not stop the floor.
        let living = self.living_sessions(user).await.unwrap_or_default();
        let count = living.iter().filter(|session| keep.is_none_or(|(kept, _)| session.id != kept)).count();
        let cause = if own.is_some() { EndCause::EndedByUser } else { EndCause::EndedByAdmin };
        let mut event = event(AuditKind::SessionsEnded, call, self.clock.now());
        event.actor = Some(actor(call, asker));
        event.target = Some(user.to_string());
        event.detail = details(cause, note);
        match self.store.end_all(user, cause, keep, &event).await {
            Ok(Some(revision)) => {
                crate::auth::audit::log(&event);
                self.metrics.sessions(SessionEvent::Revoked, count as u64);
                Ok(Revoked { count, revision: self.seen(revision).await })
            }
            Ok(None) => self.nothing_ended().await,
            Err(EndAllError::KeepIsDead) => Err(AuthError::TokenRefused(TokenFault::Revoked)),
            Err(EndAllError::Store(why)) => Err(why.into()),
        }
    }

    /// Ends the session that a refresh token belongs to, also if the token is spent. A token that is not ours, or is
    /// another client's, ends nothing.
    pub(super) async fn end_by_token(&self, call: &Call, token: &SecretString, end: End) -> Result<Revoked, AuthError> {
        let Ok((presented, key)) = self.open_refresh_token(token) else { return self.nothing_ended().await };
        let (user, id) = (presented.user, presented.session);
        let ended = match self.sessions.get(user, id).await {
            Ok(Found::Session(stored)) => {
                let session = &stored.session;
                let is_of_client = call.client.opened(&session.client, session.create_time);
                let is_owners = is_of_client && key.chain.proves(&session.seed, &presented);
                if !is_owners || self.verdict_on(session).await?.is_some() {
                    return self.nothing_ended().await;
                }
                self.ended(session, end)
            }
            Ok(Found::Absent | Found::Unreadable(_)) | Err(VaultError::Unavailable { .. }) => {
                self.ended_unseen(user, id, end)
            }
        };
        self.write_end(call, PrincipalId::User(user), ended, "").await
    }

    /// Ends sessions whose records are at hand, in one transaction.
    pub(super) async fn end_known(
        &self,
        call: &Call,
        sessions: &[&Session],
        end: End,
        actor: Option<PrincipalId>,
    ) -> Result<(), AuthError> {
        let Some(first) = sessions.first() else { return Ok(()) };
        let ended: Vec<EndedSession> = sessions.iter().map(|session| self.ended(session, end)).collect();
        let mut event = event(AuditKind::SessionEnded, call, end.time);
        event.actor = actor;
        event.target = Some(first.user.to_string());
        event.session = Some(first.id);
        event.detail = details(end.cause, "");
        event.detail.push(("count", sessions.len().to_string()));
        let (count, revision) = self.store.end_sessions(&ended, &event).await?;
        self.metrics.sessions(SessionEvent::Revoked, count as u64);
        crate::auth::audit::log(&event);
        for session in sessions {
            self.forget(session).await;
        }
        self.seen(revision).await;
        Ok(())
    }

    async fn write_end(
        &self,
        call: &Call,
        actor: PrincipalId,
        ended: EndedSession,
        note: &str,
    ) -> Result<Revoked, AuthError> {
        let mut event = event(AuditKind::SessionEnded, call, ended.end.time);
        event.actor = Some(actor);
        event.target = Some(ended.user.to_string());
        event.session = Some(ended.session);
        event.detail = details(ended.end.cause, note);
        let (newly, revision) = self.store.end_session(&ended, &event).await?;
        if newly {
            crate::auth::audit::log(&event);
            self.metrics.session(SessionEvent::Revoked);
        }
        self.remove(ended.user, ended.session).await;
        Ok(Revoked { count: usize::from(newly), revision: self.seen(revision).await })
    }

    /// Cleans the vault after SQL was told. What stays there by accident is dead anyway.
    pub(super) async fn forget(&self, session: &Session) {
        self.remove(session.user, session.id).await;
    }

    async fn remove(&self, user: UserId, session: SessionId) {
        if let Err(why) = self.sessions.remove(user, session).await {
            tracing::warn!(session.id = %session, %why, "an ended session's record stays in the vault until it expires");
        }
    }

    async fn nothing_ended(&self) -> Result<Revoked, AuthError> {
        Ok(Revoked { count: 0, revision: self.store.head().await? })
    }

    /// The sessions of a user that are alive.
    pub(super) async fn living_sessions(&self, user: UserId) -> Result<Vec<Session>, AuthError> {
        let judged = self.judged_sessions(user).await?;
        Ok(judged.into_iter().filter(|(_, end)| end.is_none()).map(|(session, _)| session).collect())
    }

    /// All of a user's sessions that the vault has, each with the verdict on it.
    async fn judged_sessions(&self, user: UserId) -> Result<Vec<Judged>, AuthError> {
        let records = self.sessions.list(user).await?;
        let ids: Vec<SessionId> = records.iter().map(|session| session.id).collect();
        let (mut standing, revoked) =
            tokio::try_join!(self.store.standing(user, NO_SESSION), self.store.revoked_among(user, &ids))?;
        Ok(records
            .into_iter()
            .map(|session| {
                standing.revoked = revoked.get(&session.id).copied();
                let end = self.judge_session(&session, &standing);
                (session, end)
            })
            .collect())
    }

    async fn verdict_on(&self, session: &Session) -> Result<Option<End>, AuthError> {
        let standing = self.store.standing(session.user, session.id).await?;
        Ok(self.judge_session(session, &standing))
    }

    pub(super) fn judge_session(&self, session: &Session, standing: &Standing) -> Option<End> {
        // A client that is gone has no limits of its own any more; its sessions cannot refresh, and end with their idle
        // time at the latest.
        let policy = self.clients.session_policy(&session.client, session.create_time);
        let (idle, slack) = policy
            .map_or((Duration::ZERO, Duration::ZERO), |policy| (policy.idle_ttl, policy.refresh_grace + ISSUED_LEEWAY));
        session.end(standing, session.advanced_at, idle, slack)
    }
}

/// Who acts: the person whose token came along, or else the client itself.
fn actor(call: &Call, asker: Option<&Bearer>) -> PrincipalId {
    match asker {
        Some(bearer) => PrincipalId::User(bearer.identity.user()),
        None => PrincipalId::Client(call.client.id.clone()),
    }
}

fn details(cause: EndCause, note: &str) -> Vec<(&'static str, String)> {
    let mut detail = vec![("cause", cause.name().to_owned())];
    if !note.is_empty() {
        detail.push(("note", note.to_owned()));
    }
    detail
}
