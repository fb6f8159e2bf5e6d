//! Login: identifier and password in, a new session out.
//!
//! Whatever goes wrong with the credential, the caller gets one and the same refusal at the same cost.

use crate::auth::error::{AuthError, CredentialFault};
use crate::auth::needs;
use crate::auth::passwords::Check;
use crate::auth::{Auth, Call, DraftFacts, Subject, TokenPair, event, scope};
use crate::domain::account::Identifier;
use crate::domain::audit::AuditKind;
use crate::domain::id::{PrincipalId, SessionId};
use crate::domain::password::Password;
use crate::domain::session::{Device, Seed, Session, TokenScope};
use crate::domain::standing::{End, EndCause};
use crate::domain::time::Timestamp;
use crate::store::{Credential, CredentialAnswer};
use secrecy::ExposeSecret as _;

/// What a front brings.
pub struct Login {
    pub identifier: Identifier,
    pub password: Password,
    pub device: Device,
    pub scope: TokenScope,
    /// The refresh token that this device still holds; its session ends when this sign-in succeeds.
    pub replace: Option<secrecy::SecretString>,
}

impl Auth {
    /// Signs a person in. Needs `postern:auth:login` of the client.
    pub async fn login(&self, call: &Call, login: Login) -> Result<(TokenPair, Subject), AuthError> {
        self.demand(call, &needs::LOGIN)?;
        let scope = scope(&call.client, &login.scope)?;
        let answer = self.store.credential(&login.identifier).await?;
        let now = answer.now;
        let credential = match self.credential_holds(&answer, &login.password).await? {
            Ok(credential) => credential,
            Err(fault) => {
                let mut event = event(AuditKind::LoginFailed, call, now);
                event.target = answer.found.as_ref().map(|found| found.user.to_string());
                event.ip_address = login.device.ip_address;
                event.reason = Some("INVALID_CREDENTIALS");
                event.detail = vec![("fault", fault.name().to_owned())];
                self.audit.record(event);
                return Err(AuthError::InvalidCredentials(fault));
            }
        };
        let session = self.new_session(call, &answer, credential, login.device, scope)?;
        let facts = DraftFacts {
            session: &session,
            owner: &credential.owner,
            fence: answer.fence,
            client: &call.client,
            scope: &session.scope,
            now,
        };
        let draft = self.draft(&facts)?;
        let idle = call.client.session_policy.idle_ttl;
        if !self.sessions.insert(&session, idle).await? {
            return Err(AuthError::internal("a new session's id was taken"));
        }
        let issued = self.issue(&facts, &draft)?;
        self.end_excess(call, &session, now).await?;
        if let Some(token) = login.replace {
            self.end_replaced(call, &token, now).await?;
        }
        let mut event = event(AuditKind::LoginSucceeded, call, now);
        event.actor = Some(PrincipalId::User(session.user));
        event.session = Some(session.id);
        event.ip_address.clone_from(&session.device.ip_address);
        event.detail = vec![("method", session.method.clone())];
        self.audit.record(event);
        Ok(issued)
    }

    /// Checks the password, or the decoy if there is nothing to check, and only then looks at the account's state.
    async fn credential_holds<'a>(
        &self,
        answer: &'a CredentialAnswer,
        password: &Password,
    ) -> Result<Result<&'a Credential, CredentialFault>, AuthError> {
        let stored = answer.found.as_ref().and_then(|found| found.password_hash.as_ref());
        let check = self.passwords.check(password.clone(), stored).await?;
        let Some(credential) = &answer.found else { return Ok(Err(CredentialFault::UnknownAccount)) };
        let Some(stored) = stored else { return Ok(Err(CredentialFault::NoPassword)) };
        if check == Check::Wrong {
            return Ok(Err(CredentialFault::WrongPassword));
        }
        if !credential.owner.active {
            return Ok(Err(CredentialFault::Disabled));
        }
        if check == Check::RightButOutdated {
            self.rehash(credential, stored, password).await;
        }
        Ok(Ok(credential))
    }

    /// Stores the password under today's parameters, unless it was changed meanwhile. The sign-in does not depend on it.
    async fn rehash(&self, credential: &Credential, stored: &secrecy::SecretString, password: &Password) {
        let user = credential.user;
        let outcome: Result<bool, AuthError> = async {
            let new = self.passwords.hash(password.clone()).await?;
            Ok(self.store.replace_password_hash(user, stored.expose_secret(), new.expose_secret()).await?)
        }
        .await;
        if let Err(why) = outcome {
            tracing::warn!(user.id = %user, error = &why as &dyn std::error::Error, "a password was not rehashed");
        }
    }

    fn new_session(
        &self,
        call: &Call,
        answer: &CredentialAnswer,
        credential: &Credential,
        device: Device,
        scope: TokenScope,
    ) -> Result<Session, AuthError> {
        let mut seed = [0; 32];
        aws_lc_rs::rand::fill(&mut seed).map_err(AuthError::internal)?;
        let now = answer.now;
        Ok(Session {
            id: SessionId::begun_at(now),
            user: credential.user,
            seed: Seed::from_bytes(seed),
            key: self.masters.current().number,
            generation: 0,
            advanced_at: now.floor_to_second(),
            predecessors: Vec::new(),
            last_late: None,
            // From the statement that gave the hash: a sign-in that began before a password change dies at its first
            // refresh.
            epoch: credential.owner.version.max(answer.fence.version),
            scope,
            client: call.client.id.clone(),
            device,
            method: "password".to_owned(),
            create_time: now,
            auth_time: now,
            amr: vec!["pwd".to_owned()],
            absolute_end: now + call.client.session_policy.absolute_ttl,
        })
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
    async fn end_replaced(&self, call: &Call, token: &secrecy::SecretString, now: Timestamp) -> Result<(), AuthError> {
        let end = End { cause: EndCause::Replaced, time: now };
        self.end_by_token(call, token, end).await.map(|_ended| ())
    }
}
