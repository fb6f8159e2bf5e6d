//! Limits on tries, one place in front of every way in, counted before anything is hashed.
//!
//! Each try takes from several buckets: of where it comes from, of the program that brings it, of the account that it is
//! for, and of both together. A success puts all back, so that only failures are limited. Buckets are of names, not of
//! accounts: one that nobody has is counted like any other. A device that signed in before has one bucket of its own
//! instead of all of these, so that strangers cannot lock an owner out. A sign-in at a provider tries no password, and is
//! counted by where it comes from alone; a token of a trusted issuer, by the program that brings it.
//!
//! Buckets are in the vault, and forget when it does. What must not be forgotten, that nobody ever fails a hundred times in
//! a row for one account, is counted in SQL beside the hash.

mod device;

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::auth::error::AuthError;
use crate::auth::{Auth, Call, event};
use crate::domain::account::Identifier;
use crate::domain::audit::{AuditEvent, AuditKind};
use crate::domain::id::{SessionId, UserId};
use crate::domain::rate::{Admission, FailureRatio, Limit, Quotas, network};
use crate::store::{CredentialAnswer, Failed};
use crate::vault::buckets::LocalBuckets;
use crate::vault::seal::Sealer;
use crate::vault::{Slot, Vault, VaultError};
pub(super) use device::KnownDevice;

/// What somebody is told to wait whose account or name has failed so often: a day without a try frees a name; an account is
/// freed by a sign-in from a device that it knows, or by a new password.
pub(super) const LOCKED: Duration = Duration::from_hours(1);

/// The buckets.
pub struct Limits {
    vault: Arc<dyn Vault>,
    local: LocalBuckets,
    quotas: Quotas,
    devices: Sealer,
    ratio: Mutex<FailureRatio>,
}

impl Limits {
    pub fn new(vault: Arc<dyn Vault>, devices: Sealer, quotas: Quotas) -> Self {
        Self { vault, local: LocalBuckets::default(), quotas, devices, ratio: Mutex::default() }
    }
}

/// What is tried. Each has buckets of its own: whoever guesses passwords must not hold up who comes by a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Door {
    Password,
    Provider,
    /// A token of a trusted issuer.
    Exchange,
}

impl Door {
    const fn name(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::Provider => "provider",
            Self::Exchange => "exchange",
        }
    }
}

/// What one try has taken.
#[derive(Default)]
pub(super) struct Attempt {
    taken: Vec<(Limit, String)>,
}

impl Auth {
    /// Takes for where a try comes from, and for the program that brings it. `address`: of the person, or empty if the front does not tell.
    pub(super) async fn admit_from(&self, call: &Call, door: Door, address: &str) -> Result<Attempt, AuthError> {
        let mut attempt = Attempt::default();
        if let Some(network) = network_of(address) {
            self.take(call, Limit::Address, &[door.name(), &network], &mut attempt, address).await?;
        }
        // A sign-in at a provider guesses nothing, and most that begin are never finished: one bucket for all people of a client
        // would be anybody's to empty.
        let client = call.client.id.as_str();
        match door {
            Door::Password => self.take(call, Limit::Caller, &[client], &mut attempt, address).await?,
            Door::Exchange => self.take(call, Limit::Caller, &[door.name(), client], &mut attempt, address).await?,
            Door::Provider => {}
        }
        Ok(attempt)
    }

    /// Takes for a stranger and the account that they try. First for where they are, then for both together: one network that
    /// has used up its share takes nothing more of what all have.
    pub(super) async fn admit_stranger(
        &self,
        call: &Call,
        name: &Identifier,
        address: &str,
        attempt: &mut Attempt,
    ) -> Result<(), AuthError> {
        attempt.taken.extend(self.admit_from(call, Door::Password, address).await?.taken);
        let name = name.canonical();
        if let Some(network) = network_of(address) {
            self.take(call, Limit::AccountAtAddress, &[name, &network], attempt, address).await?;
        }
        self.take(call, Limit::Account, &[name], attempt, address).await
    }

    /// Takes for a device that is known, and for nothing else: whatever strangers do, from its own network or through the same
    /// front, is not its fault.
    pub(super) async fn admit_device(
        &self,
        call: &Call,
        device: &KnownDevice,
        address: &str,
        attempt: &mut Attempt,
    ) -> Result<(), AuthError> {
        self.take(call, Limit::Device, &[&device.id.to_string()], attempt, address).await
    }

    /// Takes for a session in which the current password is asked for, and for nothing else, as for a known device.
    pub(super) async fn admit_session(
        &self,
        call: &Call,
        session: SessionId,
        attempt: &mut Attempt,
    ) -> Result<(), AuthError> {
        self.take(call, Limit::Device, &["session", &session.to_string()], attempt, "").await
    }

    /// Takes for a password that an administrator sets. If there are too many, `refusal` is what is told of it.
    pub(super) async fn admit_administrator(&self, refusal: AuditEvent) -> Result<(), AuthError> {
        let who = refusal.actor.as_ref().map(ToString::to_string).unwrap_or_default();
        let name = self.bucket(Limit::Administrator, &[&who]);
        match self.ask(Limit::Administrator, &name).await {
            Admission::Admitted => Ok(()),
            Admission::After(retry_after) => {
                self.record_limited(refusal, Limit::Administrator.name());
                Err(AuthError::Throttled { retry_after })
            }
        }
    }

    /// What is said of a token or a client's secret that is none: `why`, or to wait, if more came from there than should.
    /// Nobody guesses either; who sends them without end is only to be quiet.
    pub fn refused_token(&self, from: &str, why: AuthError) -> AuthError {
        let from = network_of(from).unwrap_or_else(|| from.to_owned());
        let name = self.bucket(Limit::Token, &[&from]);
        let admission = self.limits.local.admit(&name, &self.limits.quotas.token, self.clock.now());
        self.metrics.limit(Limit::Token.name(), admission == Admission::Admitted);
        match admission {
            Admission::Admitted => why,
            Admission::After(retry_after) => {
                let mut refusal = AuditEvent::new(AuditKind::Throttled, self.clock.now());
                refusal.ip_address = from.parse::<IpAddr>().map(|from| from.to_string()).unwrap_or_default();
                self.record_limited(refusal, Limit::Token.name());
                AuthError::Throttled { retry_after }
            }
        }
    }

    /// Refuses a name that has failed too often, whoever has it. What is known of an account beyond that is not told: whoever
    /// tries it as a stranger is only never right any more.
    pub(super) fn admit_by_count(
        &self,
        call: &Call,
        answer: &CredentialAnswer,
        address: &str,
    ) -> Result<(), AuthError> {
        if answer.failures.of_name < self.limits.quotas.failures() {
            return Ok(());
        }
        self.metrics.limit("failures", false);
        self.record_throttled(call, "failures", address);
        Err(AuthError::Throttled { retry_after: LOCKED })
    }

    /// Whether strangers have failed so often that the account's password is not looked at any more.
    pub(super) fn is_locked(&self, answer: &CredentialAnswer, is_known: bool) -> bool {
        let failures = if is_known { answer.failures.of_known } else { answer.failures.of_strangers };
        failures >= self.limits.quotas.failures()
    }

    /// Counts a failure, in SQL and in the ratio of all.
    pub(super) async fn failed(
        &self,
        user: Option<UserId>,
        name: &Identifier,
        is_known: bool,
    ) -> Result<(), AuthError> {
        self.note(false);
        let name = self.name_of_failures(name);
        Ok(self.store.count_failure(&Failed { user, name: &name, is_known }).await?)
    }

    /// Counts a failure of somebody who is signed in, as one of a device that is known.
    pub(super) async fn failed_inside(&self, user: UserId) -> Result<(), AuthError> {
        self.note(false);
        Ok(self.store.count_failure(&Failed { user: Some(user), name: &[], is_known: true }).await?)
    }

    /// Puts back what a try took that was none of a guesser, and makes the account's buckets full: its owner was here.
    pub(super) async fn succeeded(&self, answer: &CredentialAnswer, name: &Identifier, attempt: &Attempt) {
        self.note(true);
        let counted = answer.failures.any();
        let clear = async {
            let Some(credential) = answer.found.as_ref().filter(|_| counted) else { return };
            let name = self.name_of_failures(name);
            if let Err(why) = self.store.clear_failures(credential.user, &name).await {
                tracing::warn!(%why, "failures were not cleared after a sign-in");
            }
        };
        let fill = async {
            for (limit, name) in &attempt.taken {
                if matches!(limit, Limit::Account | Limit::AccountAtAddress | Limit::Device) {
                    self.limits.local.remove(name);
                    note_if_failed(*limit, self.limits.vault.remove(&Slot::of_bucket(name)).await.map(drop));
                } else {
                    self.give_back(*limit, name).await;
                }
            }
        };
        tokio::join!(fill, clear);
    }

    /// Puts back what a try took that was nobody's fault. No more than that: whoever can make a try come to nothing must not
    /// have the failures before it forgotten.
    pub(super) async fn put_back(&self, attempt: &Attempt) {
        for (limit, name) in &attempt.taken {
            self.give_back(*limit, name).await;
        }
    }

    /// Puts back what a try took if its outcome is no failure of who tried.
    pub(super) async fn settle<T>(&self, attempt: &Attempt, outcome: &Result<T, AuthError>) {
        let is_innocent = |why: &AuthError| {
            matches!(
                why,
                AuthError::Unavailable { .. }
                    // Told only to who has shown the right to set one.
                    | AuthError::PasswordRefused { .. }
                    | AuthError::OAuthProviderUnavailable { .. }
                    | AuthError::Overloaded { .. }
                    | AuthError::NoSigningKey { .. }
                    | AuthError::Internal(_)
            )
        };
        if outcome.as_ref().err().is_none_or(is_innocent) {
            self.put_back(attempt).await;
        }
    }

    async fn give_back(&self, limit: Limit, name: &str) {
        let quota = self.limits.quotas.of(limit);
        self.limits.local.give_back(name, quota);
        note_if_failed(limit, self.limits.vault.give_back(name, quota).await);
    }

    async fn take(
        &self,
        call: &Call,
        limit: Limit,
        parts: &[&str],
        attempt: &mut Attempt,
        address: &str,
    ) -> Result<(), AuthError> {
        let name = self.bucket(limit, parts);
        match self.ask(limit, &name).await {
            Admission::Admitted => {
                attempt.taken.push((limit, name));
                Ok(())
            }
            Admission::After(retry_after) => {
                self.record_throttled(call, limit.name(), address);
                Err(AuthError::Throttled { retry_after })
            }
        }
    }

    fn record_throttled(&self, call: &Call, limit: &'static str, address: &str) {
        let mut event = event(AuditKind::Throttled, call, self.clock.now());
        address.clone_into(&mut event.ip_address);
        self.record_limited(event, limit);
    }

    fn record_limited(&self, mut event: AuditEvent, limit: &'static str) {
        event.reason = Some("THROTTLED");
        event.detail = vec![("limit", limit.to_owned())];
        self.audit.record(event);
    }

    async fn ask(&self, limit: Limit, name: &str) -> Admission {
        let Limits { vault, local, quotas, .. } = &self.limits;
        let quota = quotas.of(limit);
        let admission = match vault.admit(name, quota).await {
            Ok(admission) => admission,
            // An outage is no time to guess: each replica counts for itself.
            Err(_away) => local.admit(name, quota, self.clock.now()),
        };
        self.metrics.limit(limit.name(), admission == Admission::Admitted);
        admission
    }

    fn note(&self, succeeded: bool) {
        let now = self.clock.now();
        self.metrics.sign_in(succeeded);
        let percent = self.limits.quotas.alarm_percent;
        let alarm = self.limits.ratio.lock().unwrap_or_else(PoisonError::into_inner).note(now, succeeded, percent);
        if let Some(alarm) = alarm {
            self.metrics.alarm();
            tracing::error!(
                failed = alarm.failed,
                succeeded = alarm.succeeded,
                "most sign-ins fail: somebody may be guessing passwords"
            );
        }
    }

    /// Keyed, so that who reads the vault learns neither names nor addresses.
    fn bucket(&self, limit: Limit, parts: &[&str]) -> String {
        let mut text = limit.name().to_owned();
        for part in parts {
            text.push('\0');
            text.push_str(part);
        }
        self.masters.current().name("bucket", text.as_bytes())
    }

    pub(super) fn name_of_failures(&self, name: &Identifier) -> Vec<u8> {
        self.masters.current().name("failures", name.canonical().as_bytes()).into_bytes()
    }
}

/// `None` for what is not public: a proxy that the front does not see through has such an address, and all people behind it
/// would be one.
fn network_of(address: &str) -> Option<String> {
    let address = address.parse::<IpAddr>().ok()?.to_canonical();
    let is_private = match address {
        IpAddr::V4(address) => address.is_private() || address.is_loopback() || address.is_link_local(),
        IpAddr::V6(address) => address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local(),
    };
    (!is_private).then(|| network(address).to_string())
}

fn note_if_failed(limit: Limit, done: Result<(), VaultError>) {
    if let Err(why) = done {
        tracing::debug!(%why, limit = limit.name(), "a bucket was not filled again");
    }
}
