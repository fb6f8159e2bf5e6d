//! Login: identifier and password in, a new session out, or a challenge if the password has to be changed first.
//!
//! Whatever goes wrong with the credential, the caller gets one and the same refusal at the same cost.

use secrecy::ExposeSecret as _;

use crate::auth::challenge::{ChallengeKind, Issued};
use crate::auth::error::{AuthError, CredentialFault};
use crate::auth::needs;
use crate::auth::passwords::Check;
use crate::auth::sign_in::Proven;
use crate::auth::{Auth, Call, Subject, TokenPair, event, scope};
use crate::domain::account::Identifier;
use crate::domain::audit::AuditKind;
use crate::domain::password::Password;
use crate::domain::session::{Device, TokenScope};
use crate::store::{Credential, CredentialAnswer};

/// What a front brings.
pub struct Login {
    pub identifier: Identifier,
    pub password: Password,
    pub device: Device,
    pub scope: TokenScope,
    /// The refresh token that this device still holds; its session ends when this sign-in succeeds.
    pub replace: Option<secrecy::SecretString>,
    /// What the front can ask the person for.
    pub supported: Vec<ChallengeKind>,
}

/// How a sign-in goes on.
pub enum Outcome {
    SignedIn(Box<(TokenPair, Subject)>),
    Challenged(Issued),
}

impl Auth {
    /// Signs a person in. Needs `postern:auth:login` of the client.
    pub async fn login(&self, call: &Call, login: Login) -> Result<Outcome, AuthError> {
        self.demand(call, &needs::LOGIN)?;
        let scope = scope(&call.client, &login.scope)?;
        let answer = self.credential(&login.identifier).await.map_err(AuthError::before_any_work)?;
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
        let proven = Proven {
            user: credential.user,
            owner: credential.owner.clone(),
            fence: answer.fence,
            now,
            method: "password".to_owned(),
            auth_time: now,
            amr: vec!["pwd".to_owned()],
        };
        let session = self.new_session(call, &proven, login.device, scope)?;
        if credential.password_due {
            // Asked now, or the person would choose a password and be refused all the same.
            self.check_draft(call, &proven, &session)?;
            let issued = self.challenge(call, &proven, session, login.replace, &login.supported).await?;
            return Ok(Outcome::Challenged(issued));
        }
        let issued = self.open_session(call, &proven, &session, login.replace.as_ref()).await?;
        Ok(Outcome::SignedIn(Box::new(issued)))
    }

    /// Whom it is about. In an outage a sign-in ends here: to hash a password in vain would be the dearest way to say so.
    async fn credential(&self, identifier: &Identifier) -> Result<CredentialAnswer, AuthError> {
        self.sessions.answers()?;
        Ok(self.store.credential(identifier).await?)
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
}
