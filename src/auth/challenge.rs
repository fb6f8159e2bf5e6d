//! Challenges: a sign-in whose credential was right and that needs one more step before a session is opened. The one kind
//! so far is a new password in the place of one that is due.
//!
//! The secret that is handed out opens nothing by itself twice: the challenge names the user's version under which it was
//! given and dies with the change that it causes, in the same SQL transaction. So a vault that lost the removal, or was
//! thrown back, revives nothing.

use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};

use crate::auth::error::{AuthError, ChallengeFault};
use crate::auth::limits::Door;
use crate::auth::login::Outcome;
use crate::auth::needs;
use crate::auth::passwords::Check;
use crate::auth::sign_in::Proven;
use crate::auth::ticket::Ticket;
use crate::auth::{Auth, Call, event};
use crate::domain::audit::AuditKind;
use crate::domain::id::{PrincipalId, UserId};
use crate::domain::password::{Password, PasswordRule};
use crate::domain::session::{Device, Session};
use crate::domain::time::Timestamp;
use crate::store::{Credential, CredentialAnswer};
use crate::vault::Kind;
use crate::vault::challenges::Challenge;
use crate::vault::records::Found;

/// Long enough to think of a password, short enough that a terminal left alone is no danger.
pub const CHALLENGE_TTL: Duration = Duration::from_mins(10);
/// Each costs two hashes, and says whether a password is the current one.
pub const ATTEMPTS_MAX: u32 = 10;

/// Of every token of a challenge, whatever is to be done.
pub(super) const PREFIX: &str = "pch_";

/// What a person can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChallengeKind {
    /// Answered by `CompleteChallenge`.
    NewPassword,
    /// Answered by signing in to the account that there is, and `LinkIdentity`.
    LinkIdentity,
}

/// A challenge as it is handed out.
pub struct Issued {
    pub token: SecretString,
    pub kinds: Vec<ChallengeKind>,
    pub expire_time: Timestamp,
}

/// What a front brings.
pub struct Completion {
    pub token: SecretString,
    pub new_password: Password,
    pub device: Device,
}

/// A challenge that may be answered now, with what the store says of its user.
struct Open {
    name: String,
    challenge: Challenge,
    answer: CredentialAnswer,
    credential: Credential,
}

impl Auth {
    /// Hands a challenge to a front that can show it. `session` is the one that would have been opened.
    pub(super) async fn challenge(
        &self,
        call: &Call,
        proven: &Proven,
        session: Session,
        replace: Option<SecretString>,
        supported: &[ChallengeKind],
    ) -> Result<Issued, AuthError> {
        let kind = ChallengeKind::NewPassword;
        let is_supported = supported.contains(&kind);
        let failed = if is_supported { AuditKind::LoginChallenged } else { AuditKind::LoginFailed };
        let mut event = event(failed, call, proven.now);
        event.target = Some(proven.user.to_string());
        event.ip_address.clone_from(&session.device.ip_address);
        event.detail = vec![("kind", kind.name().to_owned())];
        if !is_supported {
            event.reason = Some("CHALLENGE_UNSUPPORTED");
            self.audit.record(event);
            return Err(AuthError::ChallengeUnsupported(kind));
        }
        let token = Ticket::generate(&self.masters)?;
        let challenge = Challenge {
            user: proven.user,
            client: call.client.id.clone(),
            epoch: session.epoch,
            scope: session.scope,
            // One that is not ours ends nothing, and could be of any length.
            replace: replace.filter(|token| self.open_refresh_token(token).is_ok()),
            method: proven.method.clone(),
            auth_time: proven.auth_time,
            amr: proven.amr.clone(),
            attempts: 0,
            expire_time: proven.now + CHALLENGE_TTL,
        };
        let name = self.name_of(&token).ok_or_else(|| AuthError::internal("the current master key is gone"))?;
        if !self.challenges.insert(&name, &challenge).await? {
            return Err(AuthError::internal("a new challenge's name was taken"));
        }
        self.audit.record(event);
        Ok(Issued { token: token.encode(PREFIX), kinds: vec![kind], expire_time: challenge.expire_time })
    }

    /// Sets the new password, ends the user's sessions and opens one. Needs `postern:auth:login` of the client. A password
    /// that breaks a rule leaves the challenge as it was.
    pub async fn complete_challenge(&self, call: &Call, completion: Completion) -> Result<Outcome, AuthError> {
        self.demand(call, &needs::LOGIN)?;
        let Completion { token, new_password, device } = completion;
        self.passwords.have_room()?;
        let attempt = self.admit_from(call, Door::Password, &device.ip_address).await?;
        let outcome = self.renew(call, &token, new_password, device).await;
        self.settle(&attempt, &outcome).await;
        outcome
    }

    async fn renew(
        &self,
        call: &Call,
        token: &SecretString,
        new_password: Password,
        device: Device,
    ) -> Result<Outcome, AuthError> {
        let open = match self.open_challenge(call, token, &new_password).await? {
            Ok(open) => open,
            Err((fault, user)) => return Err(self.challenge_failed(call, fault, user, device)),
        };
        let Open { name, challenge, answer, credential } = open;
        if self.passwords.check(new_password.clone(), credential.password_hash.as_ref(), true).await? != Check::Wrong {
            return Err(PasswordRule::Unchanged.into());
        }
        let mut proven = Proven {
            user: credential.user,
            owner: credential.owner,
            fence: answer.fence,
            now: answer.now,
            method: challenge.method,
            auth_time: challenge.auth_time,
            amr: challenge.amr,
            identity: None,
        };
        let scope = crate::auth::scope(&call.client, &challenge.scope)?;
        let mut session = self.new_session(call, &proven, device, scope)?;
        self.check_draft(call, &proven, &session)?;
        let hash = self.passwords.hash(new_password).await?;
        let mut changed = event(AuditKind::PasswordSet, call, proven.now);
        changed.actor = Some(PrincipalId::User(proven.user));
        changed.target = Some(proven.user.to_string());
        changed.ip_address.clone_from(&session.device.ip_address);
        let renewed = self.store.renew_password(proven.user, challenge.epoch, hash.expose_secret(), &changed).await?;
        let Some(renewed) = renewed else {
            return Err(self.challenge_failed(call, ChallengeFault::Void, Some(proven.user), session.device));
        };
        crate::auth::audit::log(&changed);
        self.forget_challenge(&name).await;
        proven.owner.version = renewed.version;
        session.epoch = proven.epoch();
        let issued = self.open_session(call, &proven, &session, challenge.replace.as_ref()).await?;
        self.seen(renewed.revision).await;
        Ok(Outcome::SignedIn(Box::new(issued)))
    }

    /// The challenge behind a token, if it holds, with this attempt counted; counted before anything is hashed, so that
    /// many at once are counted too. A password that breaks a rule costs no hash, so it is no attempt.
    async fn open_challenge(
        &self,
        call: &Call,
        token: &SecretString,
        new_password: &Password,
    ) -> Result<Result<Open, (ChallengeFault, Option<UserId>)>, AuthError> {
        let Some(token) = Ticket::parse(PREFIX, token) else { return Ok(Err((ChallengeFault::Malformed, None))) };
        let Some(name) = self.name_of(&token) else { return Ok(Err((ChallengeFault::Unknown, None))) };
        // Each lost race is an attempt of somebody else, or the end of the challenge.
        for _ in 0..=ATTEMPTS_MAX {
            let found = self.challenges.get(&name).await;
            let stored = match found.map_err(|why| AuthError::from(why).before_any_work())? {
                Found::Record(stored) => stored,
                Found::Absent => return Ok(Err((ChallengeFault::Unknown, None))),
                Found::Unreadable(why) => {
                    tracing::error!(%why, "a challenge's record is unreadable");
                    return Ok(Err((ChallengeFault::Unreadable, None)));
                }
            };
            let mut challenge = stored.record.clone();
            let answer = self.store.credential_of(challenge.user).await;
            let mut answer = answer.map_err(|why| AuthError::from(why).before_any_work())?;
            let credential = match judge(&challenge, call, &mut answer) {
                Ok(credential) => credential,
                Err(fault) => return Ok(Err((fault, Some(challenge.user)))),
            };
            self.check_new_password(challenge.user, new_password).await?;
            challenge.attempts = challenge.attempts.saturating_add(1);
            if self.challenges.swap(&name, &stored, &challenge).await? {
                return Ok(Ok(Open { name, challenge, answer, credential }));
            }
        }
        Ok(Err((ChallengeFault::TooManyAttempts, None)))
    }

    fn challenge_failed(&self, call: &Call, fault: ChallengeFault, user: Option<UserId>, device: Device) -> AuthError {
        let mut event = event(AuditKind::LoginFailed, call, self.clock.now());
        event.target = user.map(|user| user.to_string());
        event.ip_address = device.ip_address;
        event.reason = Some("CHALLENGE_FAILED");
        event.detail = vec![("fault", fault.name().to_owned())];
        self.audit.record(event);
        AuthError::ChallengeFailed(fault)
    }

    /// Cleans the vault after SQL was told. What stays there by accident is dead anyway.
    async fn forget_challenge(&self, name: &str) {
        if let Err(why) = self.challenges.remove(name).await {
            tracing::warn!(%why, "a spent challenge stays in the vault until it expires");
        }
    }

    /// Under which name the vault has it; `None` under a master key that is gone.
    fn name_of(&self, ticket: &Ticket) -> Option<String> {
        ticket.name(&self.masters, Kind::Challenge.name())
    }
}

impl ChallengeKind {
    pub const fn name(self) -> &'static str {
        match self {
            Self::NewPassword => "new_password",
            Self::LinkIdentity => "link_identity",
        }
    }
}

/// Whether a challenge still holds. What it rests on is the store's: a record alone proves nothing.
fn judge(challenge: &Challenge, call: &Call, answer: &mut CredentialAnswer) -> Result<Credential, ChallengeFault> {
    if !call.client.opened(&challenge.client, challenge.expire_time - CHALLENGE_TTL) {
        return Err(ChallengeFault::ForeignClient);
    }
    if answer.now >= challenge.expire_time {
        return Err(ChallengeFault::Expired);
    }
    if challenge.attempts >= ATTEMPTS_MAX {
        return Err(ChallengeFault::TooManyAttempts);
    }
    let fence = answer.fence.version;
    let holds = |credential: &Credential| {
        let owner = &credential.owner;
        let is_due = credential.password_due && credential.password_hash.is_some();
        owner.active && is_due && challenge.epoch >= owner.floor.version && challenge.epoch >= fence
    };
    answer.found.take_if(|credential| holds(credential)).ok_or(ChallengeFault::Void)
}
