//! Login: identifier and password in, a new session out, or a challenge if the password has to be changed first.
//!
//! Whatever goes wrong with the credential, the caller gets one and the same refusal at the same cost.

use std::collections::HashMap;
use std::time::Duration;

use secrecy::ExposeSecret as _;
use tokio_util::sync::CancellationToken;

use crate::auth::challenge::{ChallengeKind, Issued};
use crate::auth::error::{AuthError, CredentialFault};
use crate::auth::limits::Attempt;
use crate::auth::needs;
use crate::auth::passwords::Check;
use crate::auth::sign_in::Proven;
use crate::auth::{Auth, Call, Subject, TokenPair, event, scope};
use crate::domain::account::Identifier;
use crate::domain::audit::AuditKind;
use crate::domain::password::Password;
use crate::domain::session::{Device, TokenScope};
use crate::store::{Credential, CredentialAnswer};

/// How often servers look for kinds of hashes that others brought over.
const LOOK_EVERY: Duration = Duration::from_mins(1);
/// How often it is measured anew what they take.
const MEASURE_EVERY: Duration = Duration::from_mins(10);

/// What a front brings.
pub struct Login {
    pub identifier: Identifier,
    pub password: Password,
    pub device: Device,
    /// From an earlier sign-in on this device.
    pub device_token: Option<secrecy::SecretString>,
    pub scope: TokenScope,
    /// The refresh token that this device still holds; its session ends when this sign-in succeeds.
    pub replace: Option<secrecy::SecretString>,
    /// What the front can ask the person for.
    pub supported: Vec<ChallengeKind>,
}

/// A try that may be made.
struct Admitted {
    answer: CredentialAnswer,
    attempt: Attempt,
    /// Whether the device is one that the account knows.
    is_known: bool,
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
        self.passwords.have_room()?;
        let Admitted { answer, attempt, is_known } = self.admit_login(call, &login).await?;
        let now = answer.now;
        let credential = match self.credential_holds(&answer, &login.password, is_known).await {
            Ok(Ok(credential)) => credential,
            Err(why) => {
                self.put_back(&attempt).await;
                return Err(why);
            }
            Ok(Err(fault)) => {
                let user = answer.found.as_ref().map(|found| found.user);
                self.failed(user, &login.identifier, is_known).await?;
                let mut event = event(AuditKind::LoginFailed, call, now);
                event.target = answer.found.as_ref().map(|found| found.user.to_string());
                event.ip_address = login.device.ip_address;
                event.reason = Some("INVALID_CREDENTIALS");
                event.detail = vec![("fault", fault.name().to_owned())];
                self.audit.record(event);
                return Err(AuthError::InvalidCredentials(fault));
            }
        };
        self.succeeded(&answer, &login.identifier, &attempt).await;
        let proven = Proven {
            user: credential.user,
            owner: credential.owner.clone(),
            fence: answer.fence,
            now,
            method: "password".to_owned(),
            auth_time: now,
            amr: vec!["pwd".to_owned()],
            identity: None,
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

    /// Whether this try may be made, and whom it is about. In an outage a sign-in ends here: to hash a password in vain would
    /// be the dearest way to say so.
    async fn admit_login(&self, call: &Call, login: &Login) -> Result<Admitted, AuthError> {
        let Login { identifier, device, device_token, .. } = login;
        self.sessions.answers().map_err(|why| AuthError::from(why).before_any_work())?;
        let mut attempt = Attempt::default();
        let shown = device_token.as_ref().and_then(|token| self.open_device_token(token));
        match &shown {
            Some(shown) => self.admit_device(call, shown, &device.ip_address, &mut attempt).await?,
            None => self.admit_stranger(call, identifier, &device.ip_address, &mut attempt).await?,
        }
        let name = self.name_of_failures(identifier);
        let answer = match self.store.credential(identifier, &name).await {
            Ok(answer) => answer,
            Err(why) => {
                self.put_back(&attempt).await;
                return Err(AuthError::from(why).before_any_work());
            }
        };
        let is_known = shown.as_ref().is_some_and(|shown| shown.is_of(&answer)) && !self.is_locked(&answer, true);
        if shown.is_some() && !is_known {
            // Somebody else's, or one that has failed too often: a stranger after all.
            self.admit_stranger(call, identifier, &device.ip_address, &mut attempt).await?;
        }
        if !is_known {
            self.admit_by_count(call, &answer, &device.ip_address)?;
        }
        Ok(Admitted { answer, attempt, is_known })
    }

    /// Checks the password, or the decoy if there is nothing to check, and only then looks at the account's state.
    async fn credential_holds<'a>(
        &self,
        answer: &'a CredentialAnswer,
        password: &Password,
        is_known: bool,
    ) -> Result<Result<&'a Credential, CredentialFault>, AuthError> {
        let is_locked = self.is_locked(answer, is_known);
        let stored = answer.found.as_ref().filter(|_| !is_locked).and_then(|found| found.password_hash.as_ref());
        // Who may not sign in gets the answer of a wrong password, and when that would come.
        let useful = answer.found.as_ref().is_some_and(|found| found.owner.active);
        let check = self.passwords.check(password.clone(), stored, useful).await?;
        let Some(credential) = &answer.found else { return Ok(Err(CredentialFault::UnknownAccount)) };
        if is_locked {
            return Ok(Err(CredentialFault::Locked));
        }
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

    /// Keeps failures equal in time, whatever kinds of hashes there are.
    pub async fn level_passwords(&self, stop: CancellationToken) {
        let (mut times, mut measured) = (HashMap::new(), self.clock.moment());
        loop {
            if self.clock.moment().since(measured) > MEASURE_EVERY {
                // The machine may be another one by now.
                times.clear();
                measured = self.clock.moment();
            }
            let outcome: Result<(), AuthError> = async {
                let schemes = self.store.password_schemes().await?;
                Ok(self.passwords.level(&schemes, &mut times).await?)
            }
            .await;
            if let Err(why) = outcome {
                tracing::debug!(error = &why as &dyn std::error::Error, "kinds of password hashes were not looked at");
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = self.passwords.schemes_changed() => {}
                () = stop.cancelled() => return,
            }
        }
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
