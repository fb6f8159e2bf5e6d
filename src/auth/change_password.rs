//! A person changes the own password: proves the current one, ends all other sessions, and goes on in this one with tokens
//! that nobody had before.

use secrecy::{ExposeSecret, SecretString};

use crate::auth::error::{AuthError, CredentialFault, Engine};
use crate::auth::limits::{Attempt, LOCKED};
use crate::auth::passwords::Check;
use crate::auth::refresh::{ATTEMPTS, Refresh, still_asked_for};
use crate::auth::{Auth, Call, DraftFacts, TokenPair, event};
use crate::domain::audit::AuditKind;
use crate::domain::id::{PrincipalId, SessionId, UserId};
use crate::domain::password::{Password, PasswordRule};
use crate::domain::session::{Rotation, RotationLimits};
use crate::domain::standing::{End, EndCause, Standing};
use crate::store::ChangePasswordError;
use crate::vault::sessions::{Found, Stored};
use crate::verifier::{Bearer, InvalidWhy, TokenFault};

/// What a front brings.
pub struct ChangePassword {
    pub token: SecretString,
    /// `None`: the person says that there is none.
    pub current: Option<Password>,
    pub new: Password,
}

impl Auth {
    /// Changes the password of the person behind a token. Needs `postern:accounts:act` of the client.
    pub async fn change_password(&self, call: &Call, change: &ChangePassword) -> Result<TokenPair, AuthError> {
        let person = self.person(call, &change.token)?;
        let (user, session) = (person.identity.user(), person.identity.session());
        // Asked now, or the password would be changed and the person left without tokens.
        self.may_go_on(call, user, session).await?;
        // Who found an open session could guess in it. Its tries are its own, so that they lock no sign-in out.
        let mut attempt = Attempt::default();
        self.admit_session(call, session, &mut attempt).await?;
        let changed = self.change_admitted(call, &person, change).await;
        self.settle(&attempt, &changed).await;
        changed
    }

    async fn change_admitted(
        &self,
        call: &Call,
        person: &Bearer,
        change: &ChangePassword,
    ) -> Result<TokenPair, AuthError> {
        let (user, session) = (person.identity.user(), person.identity.session());
        for _ in 0..ATTEMPTS {
            let proven = self.prove_current(call, person, change.current.as_ref()).await?;
            self.check_new_password(user, &change.new).await?;
            if change.current.as_ref().is_some_and(|current| current.as_bytes() == change.new.as_bytes()) {
                return Err(PasswordRule::Unchanged.into());
            }
            let hash = self.passwords.hash(change.new.clone()).await?;
            let mut changed = event(AuditKind::PasswordSet, call, self.clock.now());
            changed.actor = Some(PrincipalId::User(user));
            changed.target = Some(user.to_string());
            changed.session = Some(session);
            let asks = (session, person.identity.version());
            let proven = proven.as_ref().map(ExposeSecret::expose_secret);
            match self.store.change_password(user, asks, proven, hash.expose_secret(), &changed).await {
                Ok(revision) => {
                    crate::auth::audit::log(&changed);
                    self.seen(revision).await;
                    return self.next_pair(call, user, session).await;
                }
                // A sign-in hashed it anew, or somebody else changed it: then it is not the current one any more.
                Err(ChangePasswordError::Raced) => {}
                Err(ChangePasswordError::SessionIsDead) => return Err(AuthError::TokenRefused(TokenFault::Revoked)),
                Err(ChangePasswordError::Store(why)) => return Err(why.into()),
            }
        }
        Err(AuthError::Unavailable {
            engine: Engine::Store,
            source: "the password changed under every attempt".into(),
            begun: false,
        })
    }

    /// The hash of the current password, if there is one and the person knows it. Who has none must have signed in of late:
    /// who finds an open session must not be able to add a way in of their own.
    async fn prove_current(
        &self,
        call: &Call,
        person: &Bearer,
        current: Option<&Password>,
    ) -> Result<Option<SecretString>, AuthError> {
        let user = person.identity.user();
        let answer = self.store.credential_of(user).await.map_err(|why| AuthError::from(why).before_any_work())?;
        if self.is_locked(&answer, true) {
            return Err(AuthError::Throttled { retry_after: LOCKED });
        }
        let stored = answer.found.and_then(|credential| credential.password_hash);
        match (&stored, current) {
            (None, None) => self.demand_recent(person)?,
            (None, Some(_)) => {
                return Err(AuthError::field("current_password", "must be empty: this account has no password yet"));
            }
            (Some(hash), Some(current))
                if self.passwords.check(current.clone(), Some(hash), true).await? != Check::Wrong => {}
            (Some(_), _) => {
                let fault = CredentialFault::WrongPassword;
                self.failed_inside(user).await?;
                let mut event = event(AuditKind::PasswordChangeFailed, call, answer.now);
                event.actor = Some(PrincipalId::User(user));
                event.target = Some(user.to_string());
                event.session = Some(person.identity.session());
                event.reason = Some("INVALID_CREDENTIALS");
                event.detail = vec![("fault", fault.name().to_owned())];
                self.audit.record(event);
                return Err(AuthError::InvalidCredentials(fault));
            }
        }
        Ok(stored)
    }

    /// Whether the session is alive, this client's own, and could be given tokens.
    async fn may_go_on(&self, call: &Call, user: UserId, session: SessionId) -> Result<(), AuthError> {
        let (Stored { session, .. }, standing) =
            self.own_session(user, session).await.map_err(AuthError::before_any_work)?;
        // A token that is meant for Postern itself may come by another client, which gets no tokens of this session.
        if !call.client.opened(&session.client, session.create_time) {
            return Err(AuthError::TokenRefused(TokenFault::Invalid(InvalidWhy::Audience)));
        }
        if let Some(end) = self.judge_session(&session, &standing) {
            return Err(AuthError::SessionEnded(end));
        }
        let owner = standing.owner.as_ref().ok_or_else(|| AuthError::internal("a living session without its owner"))?;
        still_asked_for(&call.client, &session.scope)?;
        let facts = DraftFacts {
            session: &session,
            owner,
            fence: standing.fence,
            client: &call.client,
            scope: &session.scope,
            now: standing.now,
        };
        self.draft(&facts).map(|_draft| ())
    }

    /// The next pair of a session whose owner has proven to be there. Its current refresh token counts as presented, so the one
    /// that the person holds is superseded, as by a refresh.
    async fn next_pair(&self, call: &Call, user: UserId, session: SessionId) -> Result<TokenPair, AuthError> {
        let policy = call.client.session_policy;
        let limits = RotationLimits { idle: policy.idle_ttl, grace: policy.refresh_grace, late_repeats: false };
        for _ in 0..ATTEMPTS {
            let (stored, standing) = self.own_session(user, session).await?;
            let lost = || AuthError::SessionEnded(End { cause: EndCause::Lost, time: standing.now });
            let key = self.masters.get(stored.session.key).ok_or_else(lost)?;
            let token = key.tag.issue(&stored.session, &key.chain);
            let presented = key.tag.open(token.expose_secret()).map_err(AuthError::internal)?;
            let answer = match stored.session.rotate(&presented, &standing, &limits, &key.chain) {
                Rotation::Answer(answer) => *answer,
                Rotation::Ended(end) => return Err(AuthError::SessionEnded(end)),
                // The record is older than what SQL knows of it: the vault was thrown back. The person's own token heals it.
                Rotation::Reused | Rotation::Forged => return Err(lost()),
            };
            let Some(owner) = &standing.owner else {
                return Err(AuthError::internal("a session was answered without its owner"));
            };
            let refresh = Refresh { token, device: None, scope: None };
            if let Some(next) = self.answer(call, &stored, answer, owner, &standing, &refresh).await? {
                return Ok(next.tokens);
            }
        }
        Err(AuthError::Unavailable {
            engine: Engine::Vault,
            source: "the session's record changed under every attempt".into(),
            begun: true,
        })
    }

    async fn own_session(&self, user: UserId, session: SessionId) -> Result<(Stored, Standing), AuthError> {
        let (found, standing) = tokio::try_join!(async { Ok(self.sessions.get(user, session).await?) }, async {
            Ok::<_, AuthError>(self.store.standing(user, session).await?)
        },)?;
        match found {
            Found::Session(stored) => Ok((*stored, standing)),
            Found::Absent | Found::Unreadable(_) => {
                let lost = End { cause: EndCause::Lost, time: standing.now };
                Err(AuthError::SessionEnded(standing.revoked.unwrap_or(lost)))
            }
        }
    }
}
