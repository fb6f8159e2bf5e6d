//! Refresh: the flow around [`Session::rotate`]. It reads the vault and the store side by side, asks the pure function,
//! and writes what it says; nothing is written that could not be answered, and signing comes last.

use secrecy::{ExposeSecret as _, SecretString};

use crate::auth::error::AuthError;
use crate::auth::master_key::MasterKey;
use crate::auth::needs;
use crate::auth::{Auth, Call, DraftFacts, Subject, TokenPair, event, scope};
use crate::domain::audit::AuditKind;
use crate::domain::client::Client;
use crate::domain::id::PrincipalId;
use crate::domain::refresh_token::{Presented, key_number};
use crate::domain::session::{
    Answer, AnswerKind, Device, ISSUED_LEEWAY, Rotation, RotationLimits, Session, TokenScope,
};
use crate::domain::standing::{End, EndCause, Owner, Standing};
use crate::domain::time::Timestamp;
use crate::metrics::SessionEvent;
use crate::vault::sessions::{Found, Stored};

/// How often a lost race is run again.
pub(super) const ATTEMPTS: usize = 3;

/// What a front brings.
pub struct Refresh {
    pub token: SecretString,
    pub device: Option<Device>,
    /// For this access token only; what it leaves open is as the session has it.
    pub scope: Option<TokenScope>,
}

/// A refresh that was answered.
pub struct Refreshed {
    pub tokens: TokenPair,
    pub subject: Subject,
    pub kind: AnswerKind,
}

impl Auth {
    /// Trades a refresh token for the next pair. Needs `postern:auth:refresh` of the client.
    pub async fn refresh(&self, call: &Call, refresh: Refresh) -> Result<Refreshed, AuthError> {
        self.demand(call, &needs::REFRESH)?;
        let outcome = self.trade(call, refresh).await;
        match &outcome {
            Ok(refreshed) => self.metrics.session(match refreshed.kind {
                AnswerKind::Advanced => SessionEvent::Advanced,
                AnswerKind::Repeated => SessionEvent::Repeated,
                AnswerKind::Healed => SessionEvent::Healed,
                AnswerKind::Late => SessionEvent::Late,
                AnswerKind::Held => SessionEvent::Held,
            }),
            Err(AuthError::SessionReused(_)) => self.metrics.session(SessionEvent::Reused),
            Err(AuthError::SessionEnded(_) | AuthError::RefreshTokenInvalid) => {
                self.metrics.session(SessionEvent::Refused);
            }
            // The rest says nothing of the session.
            Err(_) => {}
        }
        outcome
    }

    async fn trade(&self, call: &Call, refresh: Refresh) -> Result<Refreshed, AuthError> {
        let (presented, key) = self.open_refresh_token(&refresh.token).map_err(|why| {
            let address = refresh.device.as_ref().map(|device| device.ip_address.as_str());
            let from = address.filter(|address| !address.is_empty()).unwrap_or(call.client.id.as_str());
            self.refused_token(from, why)
        })?;
        let policy = call.client.session_policy;
        let limits = RotationLimits {
            idle: policy.idle_ttl,
            grace: policy.refresh_grace,
            late_repeats: self.rules.late_repeats,
        };
        if let Some(asked) = &refresh.scope {
            scope(&call.client, asked)?;
        }
        // So old that no record could make it good: no store is asked.
        let idle_end = presented.issued + limits.idle;
        if self.clock.now() > idle_end + limits.grace + ISSUED_LEEWAY {
            return Err(AuthError::SessionEnded(End { cause: EndCause::Idle, time: idle_end }));
        }
        for _ in 0..ATTEMPTS {
            // Whichever engine is away: the other one is not waited for.
            let (found, standing) =
                tokio::try_join!(async { Ok(self.sessions.get(presented.user, presented.session).await?) }, async {
                    Ok::<_, AuthError>(self.store.standing(presented.user, presented.session).await?)
                },)?;
            let stored = match found {
                Found::Session(stored) => stored,
                Found::Absent => return Err(AuthError::SessionEnded(why_absent(call, &presented, &standing))),
                Found::Unreadable(why) => {
                    tracing::error!(session.id = %presented.session, %why, "a session's record is unreadable");
                    self.alarm(AuditKind::TokenForged, call, &presented, standing.now, "record_unreadable");
                    return Err(AuthError::SessionEnded(why_absent(call, &presented, &standing)));
                }
            };
            if !call.client.opened(&stored.session.client, stored.session.create_time) {
                // One of the same id that was deleted is another client. Whoever registers its id anew to come by its
                // sessions is to be seen.
                let is_former = stored.session.client == call.client.id;
                let what = if is_former { "former_client" } else { "foreign_client" };
                self.alarm(AuditKind::TokenForeignClient, call, &presented, standing.now, what);
                return Err(AuthError::RefreshTokenInvalid);
            }
            let answer = match stored.session.rotate(&presented, &standing, &limits, &key.chain) {
                Rotation::Answer(answer) => *answer,
                Rotation::Ended(end) => return Err(AuthError::SessionEnded(end)),
                Rotation::Forged => {
                    tracing::error!(session.id = %presented.session, "a refresh token with a true tag and a false secret");
                    self.alarm(AuditKind::TokenForged, call, &presented, standing.now, "secret_mismatch");
                    let end = End { cause: EndCause::Lost, time: standing.now };
                    return Err(AuthError::SessionEnded(end));
                }
                Rotation::Reused => return Err(self.end_reused(call, &stored.session, standing.now).await?),
            };
            // A store that failed over to a copy without the newest rows, or was restored, lacks ends that were
            // acknowledged until they are written back. That this replica has heard of one counts at once.
            let Session { user, id, epoch, .. } = stored.session;
            if let Some(end) = self.verifier.end_of(user, id, epoch) {
                return Err(AuthError::SessionEnded(end));
            }
            let Some(owner) = &standing.owner else {
                return Err(AuthError::internal("a session was answered without its owner"));
            };
            let outcome = self.answer(call, &stored, answer, owner, &standing, &refresh).await?;
            if let Some(refreshed) = outcome {
                return Ok(refreshed);
            }
        }
        Err(AuthError::Unavailable {
            engine: crate::auth::error::Engine::Vault,
            source: "the session's record changed under every attempt".into(),
            begun: true,
        })
    }

    /// Takes a refresh token apart; nothing is asked of any store for one that is not ours.
    pub(super) fn open_refresh_token(&self, token: &SecretString) -> Result<(Presented, &MasterKey), AuthError> {
        let token = token.expose_secret();
        let key = key_number(token).and_then(|number| self.masters.get(number));
        let key = key.ok_or(AuthError::RefreshTokenInvalid)?;
        let presented = key.tag.open(token).map_err(|_invalid| AuthError::RefreshTokenInvalid)?;
        Ok((presented, key))
    }

    /// Writes and signs an answer; `None` if the record was changed meanwhile.
    pub(super) async fn answer(
        &self,
        call: &Call,
        stored: &Stored,
        answer: Answer,
        owner: &Owner,
        standing: &Standing,
        refresh: &Refresh,
    ) -> Result<Option<Refreshed>, AuthError> {
        let Answer { kind, mut session, write, floor } = answer;
        if let Some(device) = &refresh.device {
            session.device.clone_from(device);
        }
        let scope = refresh.scope.as_ref().map(|asked| completed(asked, &session.scope));
        let scope = scope.as_ref().unwrap_or(&session.scope);
        still_asked_for(&call.client, scope)?;
        let facts = DraftFacts {
            session: &session,
            owner,
            fence: standing.fence,
            client: &call.client,
            scope,
            now: standing.now,
        };
        let draft = self.draft(&facts)?;
        if write {
            let idle = call.client.session_policy.idle_ttl;
            let (swapped, ()) =
                tokio::join!(self.sessions.swap(stored, &session, idle), self.write_floor(&session, floor));
            if swapped?.is_some() {
                return Ok(None);
            }
        }
        if kind == AnswerKind::Late {
            let mut event = event(AuditKind::TokenLate, call, standing.now);
            event.actor = Some(PrincipalId::User(session.user));
            event.session = Some(session.id);
            self.audit.record(event);
        }
        let (tokens, subject) = self.issue(&facts, &draft)?;
        Ok(Some(Refreshed { tokens, subject, kind }))
    }

    /// A floor that is not written is due again at the next refresh, so a failure is only logged.
    async fn write_floor(&self, session: &Session, floor: Option<u32>) {
        let Some(floor) = floor else { return };
        let written = self.store.write_generation_floor(session.user, session.id, floor, session.absolute_end).await;
        if let Err(why) = written {
            tracing::warn!(session.id = %session.id, %why, "a generation floor was not written");
        }
    }

    /// A spent token came back: SQL first, so that no restored record can undo it, then the vault.
    async fn end_reused(&self, call: &Call, session: &Session, now: Timestamp) -> Result<AuthError, AuthError> {
        let end = End { cause: EndCause::RefreshReused, time: now };
        let mut event = event(AuditKind::TokenReused, call, now);
        event.actor = Some(PrincipalId::User(session.user));
        event.session = Some(session.id);
        event.reason = Some("SESSION_REUSED");
        crate::auth::audit::log(&event);
        let (_newly, revision) = self.store.end_session(&self.ended(session, end), &event).await?;
        self.forget(session).await;
        self.seen(revision).await;
        Ok(AuthError::SessionReused(session.id))
    }

    fn alarm(&self, kind: AuditKind, call: &Call, presented: &Presented, now: Timestamp, what: &'static str) {
        let mut event = event(kind, call, now);
        event.target = Some(presented.user.to_string());
        event.session = Some(presented.session);
        event.detail = vec![("alarm", what.to_owned())];
        self.audit.record(event);
    }
}

/// What was asked for; the rest is the session's. A sign-in that was narrowed to one tenant must not be good for all of
/// them because a refresh names an audience and no tenant.
fn completed(asked: &TokenScope, session: &TokenScope) -> TokenScope {
    let audiences = if asked.audiences.is_empty() { &session.audiences } else { &asked.audiences };
    TokenScope { audiences: audiences.clone(), tenant: asked.tenant.clone().or_else(|| session.tenant.clone()) }
}

/// Refuses what the client may no longer ask for, as a sign-in would: what was taken away from it must not live on in its
/// sessions until their absolute end. Nothing is written, so a session that is refused here is as it was.
pub(super) fn still_asked_for(client: &Client, scope: &TokenScope) -> Result<(), AuthError> {
    if scope.audiences.iter().all(|audience| client.token_audiences.contains(audience)) {
        return Ok(());
    }
    let allowed = client.token_audiences.join(", ");
    let problem = format!("must be named: this client may no longer ask for the session's, but for: {allowed}");
    Err(AuthError::field("token_options.audiences", problem))
}

/// Why there is no record, as far as SQL and the session's age tell.
fn why_absent(call: &Call, presented: &Presented, standing: &Standing) -> End {
    if let Some(end) = standing.revoked {
        return end;
    }
    let begun = presented.session.begun().unwrap_or(standing.now).millis();
    match &standing.owner {
        None => return End { cause: EndCause::UserDisabled, time: standing.now },
        Some(owner) if !owner.active => return End { cause: EndCause::UserDisabled, time: owner.floor.at },
        // The record would have told the version at sign-in; without it, the time of the sign-in does.
        Some(Owner { floor, .. }) if begun < floor.at.millis() && floor.except != Some(presented.session) => {
            return End { cause: floor.cause, time: floor.at };
        }
        Some(_) if begun < standing.fence.at.millis() => {
            return End { cause: EndCause::EndedForAll, time: standing.fence.at };
        }
        Some(_) => {}
    }
    let absolute_end = Timestamp::from_millis(begun) + call.client.session_policy.absolute_ttl;
    if standing.now >= absolute_end {
        return End { cause: EndCause::Expired, time: absolute_end };
    }
    End { cause: EndCause::Lost, time: standing.now }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_widened_by_omission() {
        let scope = |audiences: &[&str], tenant: &str| TokenScope {
            audiences: audiences.iter().map(ToString::to_string).collect(),
            tenant: tenant.parse().ok(),
        };
        let session = scope(&["shop"], "acme");
        for (asked, expected) in [
            (scope(&[], ""), scope(&["shop"], "acme")),
            (scope(&["orders"], ""), scope(&["orders"], "acme")),
            (scope(&[], "beta"), scope(&["shop"], "beta")),
            (scope(&["orders"], "beta"), scope(&["orders"], "beta")),
        ] {
            assert_eq!(completed(&asked, &session), expected);
        }
        assert_eq!(completed(&scope(&[], ""), &scope(&["shop"], "")), scope(&["shop"], ""));
    }
}
