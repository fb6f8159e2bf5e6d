//! Somebody arrives whom a provider vouches for: whose account is it, and what do they get.

use secrecy::SecretString;

use super::handoff::Collectable;
use super::{ExchangeOutcome, Exchanged, FEDERATED, Returning, Vouched};
use crate::auth::challenge::{CHALLENGE_TTL, ChallengeKind, Issued, PREFIX};
use crate::auth::error::{AuthError, CredentialFault};
use crate::auth::sign_in::Proven;
use crate::auth::ticket::Ticket;
use crate::auth::{Auth, Call, event};
use crate::domain::audit::AuditKind;
use crate::domain::id::UserId;
use crate::domain::identity::{EmailTrust, Profile};
use crate::domain::session::Device;
use crate::domain::time::Timestamp;
use crate::store::{AdmitError, Admitted, Arrival, IdentityAnswer};
use crate::vault::Kind;
use crate::vault::links::PendingLink;

/// Whose account it is.
enum Whose {
    /// Somebody's, who may sign in.
    Account { proven: Box<Proven>, created: bool },
    /// Nobody's yet; but this user has the address.
    AddressTaken { user: UserId, now: Timestamp },
}

impl Auth {
    /// Signs in whom a provider vouches for: into the account that has this identity, or into one that is linked or made.
    pub(super) async fn arrive(
        &self,
        call: &Call,
        vouched: Vouched,
        device: Device,
        replace: Option<&SecretString>,
        supported: &[ChallengeKind],
    ) -> Result<Exchanged, AuthError> {
        // Asked before anybody is made, or a person would get an account and be refused all the same.
        let scope = crate::auth::scope(&call.client, &vouched.scope)?;
        let outcome = match self.whose_account(call, &vouched, &device).await? {
            Whose::AddressTaken { user, now } => {
                let issued = self.ask_to_link(call, &vouched.profile, user, now, &device, supported).await?;
                ExchangeOutcome::Challenged(issued)
            }
            Whose::Account { proven, created } if !vouched.handoff_challenge.is_empty() => {
                let challenge = vouched.handoff_challenge.clone();
                let collectable = Collectable { proven: *proven, scope, challenge, user_created: created };
                let (code, expire_time) = self.hand_off(call, collectable).await?;
                ExchangeOutcome::HandedOff { code, expire_time }
            }
            Whose::Account { proven, created } => {
                let session = self.new_session(call, &proven, device, scope)?;
                let issued = self.open_session(call, &proven, &session, replace).await?;
                ExchangeOutcome::SignedIn { issued: Box::new(issued), user_created: created }
            }
        };
        Ok(Exchanged { outcome, profile: Some(vouched.profile), return_url: vouched.return_url })
    }

    async fn whose_account(&self, call: &Call, vouched: &Vouched, device: &Device) -> Result<Whose, AuthError> {
        let profile = &vouched.profile;
        let mut created = false;
        let mut found = self.store.credential_by_identity(&profile.key).await?;
        let was_known = found.issuer.is_some();
        if !was_known {
            match self.admit(call, vouched, device).await? {
                Admitted::Created(_) => created = true,
                Admitted::Known(_) | Admitted::Linked(_) => {}
                Admitted::AddressTaken(user) => {
                    return Ok(Whose::AddressTaken { user, now: found.answer.now });
                }
                Admitted::Stranger => return Err(self.refused(call, vouched, CredentialFault::UnknownAccount, device)),
            }
            found = self.store.credential_by_identity(&profile.key).await?;
        }
        let IdentityAnswer { answer, issuer } = found;
        if issuer.is_some_and(|issuer| issuer != profile.issuer) {
            // The name of a provider came to mean another one, whose people must not walk into the accounts of the first.
            tracing::error!(
                provider = %profile.key.provider,
                "this provider's identities were linked under another issuer: give the new one another id"
            );
            let at = Returning { ip_address: &device.ip_address, return_url: &vouched.return_url };
            return Err(self.rejected(call, &vouched.provider, "issuer_changed", &at));
        }
        let Some(credential) = answer.found else {
            // Deleted or unlinked in this very moment.
            return Err(self.refused(call, vouched, CredentialFault::UnknownAccount, device));
        };
        if !credential.owner.active {
            return Err(self.refused(call, vouched, CredentialFault::Disabled, device));
        }
        if was_known && let Err(why) = self.store.note_sign_in(credential.user, profile, answer.now).await {
            tracing::warn!(user.id = %credential.user, %why, "what a provider said was not noted");
        }
        let proven = Proven {
            user: credential.user,
            owner: credential.owner,
            fence: answer.fence,
            now: answer.now,
            method: profile.key.provider.to_string(),
            // Whoever was signed in there for long has proven to be there then, not now.
            auth_time: profile.auth_time.unwrap_or(answer.now).min(answer.now),
            amr: vec![FEDERATED.to_owned()],
            identity: Some(profile.key.clone()),
        };
        Ok(Whose::Account { proven: Box::new(proven), created })
    }

    async fn admit(&self, call: &Call, vouched: &Vouched, device: &Device) -> Result<Admitted, AuthError> {
        let (profile, settings) = (&vouched.profile, vouched.provider.settings());
        let about = |kind| {
            let mut event = event(kind, call, self.clock.now());
            event.ip_address.clone_from(&device.ip_address);
            event.detail = vec![("method", settings.id.to_string())];
            event
        };
        let (created, linked) = (about(AuditKind::UserCreated), about(AuditKind::IdentityLinked));
        let arrival = Arrival {
            profile,
            id: UserId::generate(),
            roles: &self.rules.new_user_roles,
            sign_up: settings.sign_up,
            link_by_email: settings.link_by_email && profile.email_trust == EmailTrust::Authoritative,
            created: &created,
            linked: &linked,
        };
        let admitted = self.store.admit(&arrival).await.map_err(|why| match why {
            // Said in the log with the setting's name; nothing that a caller could mend.
            AdmitError::UnknownRole(_) => AuthError::internal(why),
            AdmitError::Store(why) => why.into(),
        })?;
        match &admitted {
            Admitted::Created(_) => crate::auth::audit::log(&created),
            Admitted::Linked(_) => crate::auth::audit::log(&linked),
            Admitted::Known(_) | Admitted::AddressTaken(_) | Admitted::Stranger => {}
        }
        Ok(admitted)
    }

    /// The same refusal as at `Login`.
    fn refused(&self, call: &Call, vouched: &Vouched, fault: CredentialFault, device: &Device) -> AuthError {
        let provider = vouched.provider.settings().id.as_str();
        self.record_failure(call, "INVALID_CREDENTIALS", provider, fault.name(), &device.ip_address);
        AuthError::InvalidCredentials(fault)
    }

    /// An address proves no account: whoever has it signs in the old way first.
    async fn ask_to_link(
        &self,
        call: &Call,
        profile: &Profile,
        user: UserId,
        now: Timestamp,
        device: &Device,
        supported: &[ChallengeKind],
    ) -> Result<Issued, AuthError> {
        let kind = ChallengeKind::LinkIdentity;
        let is_supported = supported.contains(&kind);
        let mut event =
            event(if is_supported { AuditKind::LoginChallenged } else { AuditKind::LoginFailed }, call, now);
        event.target = Some(user.to_string());
        event.ip_address.clone_from(&device.ip_address);
        event.detail = vec![("kind", kind.name().to_owned()), ("method", profile.key.provider.to_string())];
        if !is_supported {
            event.reason = Some("CHALLENGE_UNSUPPORTED");
            self.audit.record(event);
            return Err(AuthError::ChallengeUnsupported(kind));
        }
        let ticket = Ticket::generate(&self.masters)?;
        let expire_time = now + CHALLENGE_TTL;
        let pending = PendingLink { user, client: call.client.id.clone(), profile: profile.clone(), expire_time };
        let name = ticket.name(&self.masters, Kind::Link.name());
        let name = name.ok_or_else(|| AuthError::internal("the current master key is gone"))?;
        if !self.links.insert(&name, &pending).await? {
            return Err(AuthError::internal("a new challenge's name was taken"));
        }
        self.audit.record(event);
        Ok(Issued { token: ticket.encode(PREFIX), kinds: vec![kind], expire_time })
    }
}
