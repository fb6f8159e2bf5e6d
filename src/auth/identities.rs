//! The ways into an account that lead over providers, as its owner sees and changes them. Both changes need a sign-in of
//! late: who finds an open session must not be able to add a way in of their own.

use secrecy::{ExposeSecret as _, SecretString};

use crate::auth::error::{AuthError, ChallengeFault};
use crate::auth::oauth::ProviderCode;
use crate::auth::sessions::RECENT_SIGN_IN;
use crate::auth::ticket::Ticket;
use crate::auth::{Auth, Call, challenge, event, needs};
use crate::domain::audit::{AuditEvent, AuditKind};
use crate::domain::id::{PrincipalId, UserId};
use crate::domain::identity::{IDENTITIES_MAX, IdentityKey, Profile, ProviderId};
use crate::domain::session::Session;
use crate::store::{Identity, LinkError, UnlinkError};
use crate::vault::Kind;
use crate::vault::records::Found;
use crate::verifier::Bearer;

/// What proves the identity that is to be linked.
pub enum LinkProof {
    /// From a sign-in that found the address taken.
    Challenge(SecretString),
    Code(ProviderCode),
}

/// An identity that was added, and where the flow was to lead.
pub struct Linked {
    pub identity: Identity,
    pub return_url: String,
}

impl Auth {
    /// The identities of the person behind `token`. Needs `postern:accounts:act` of the client.
    pub async fn list_identities(&self, call: &Call, token: &SecretString) -> Result<Vec<Identity>, AuthError> {
        let person = self.person(call, token)?;
        Ok(self.store.identities(person.identity.user()).await?)
    }

    /// Adds an identity to the account of the person behind `token`. Needs `postern:accounts:act` of the client.
    pub async fn link_identity(
        &self,
        call: &Call,
        token: &SecretString,
        proof: LinkProof,
        address: &str,
    ) -> Result<Linked, AuthError> {
        let person = self.person(call, token)?;
        self.demand_recent(&person)?;
        let user = person.identity.user();
        let (profile, return_url) = match proof {
            LinkProof::Code(code) => {
                let vouched = self.vouched_by_code(call, &code, address).await?;
                (vouched.profile, vouched.return_url)
            }
            LinkProof::Challenge(token) => (self.pending_link(call, user, &token).await?, String::new()),
        };
        let event = self.identity_event(AuditKind::IdentityLinked, call, user, &profile.key.provider, address);
        let refused = |reason| {
            let kind = AuditKind::IdentityRefused;
            let event = self.identity_event(kind, call, user, &profile.key.provider, address);
            self.audit.record(AuditEvent { reason: Some(reason), ..event });
        };
        match self.store.link_identity(user, &profile, &event).await {
            Ok(identity) => {
                crate::auth::audit::log(&event);
                Ok(Linked { identity, return_url })
            }
            Err(LinkError::NoUser) => Err(AuthError::NotFound { what: "user" }),
            Err(LinkError::Taken) => {
                refused("IDENTIFIER_TAKEN");
                Err(AuthError::IdentifierTaken { field: "identity" })
            }
            Err(LinkError::TooMany) => {
                refused("INVALID_FIELD");
                let problem = format!("this account has {IDENTITIES_MAX} identities, as many as may be");
                Err(AuthError::field("proof", problem))
            }
            Err(LinkError::Store(why)) => Err(why.into()),
        }
    }

    /// Takes an identity away, and ends the other sessions that were opened by its provider. Needs `postern:accounts:act` of
    /// the client.
    pub async fn unlink_identity(
        &self,
        call: &Call,
        token: &SecretString,
        key: &IdentityKey,
        address: &str,
    ) -> Result<(), AuthError> {
        let person = self.person(call, token)?;
        self.demand_recent(&person)?;
        let (user, current) = (person.identity.user(), person.identity.session());
        // Looked for before anything is changed: with the vault away, they could not be ended.
        let method = key.provider.as_str();
        let is_of_it = |session: &Session| session.method == method && session.id != current;
        let opened = self.living_among(user, is_of_it).await?;
        let event = self.identity_event(AuditKind::IdentityUnlinked, call, user, &key.provider, address);
        match self.store.unlink_identity(user, key, &self.usable_providers(), &event).await {
            Ok(()) => crate::auth::audit::log(&event),
            Err(UnlinkError::NotFound) => return Err(AuthError::NotFound { what: "identity" }),
            Err(UnlinkError::LastWayIn) => {
                return Err(AuthError::LastOne { why: "this identity is the last way into the account" });
            }
            Err(UnlinkError::Store(why)) => return Err(why.into()),
        }
        self.end_of_way(call, &opened, self.clock.now()).await?;
        // And those that were opened meanwhile, by whom the identity was still there.
        let late = self.living_among(user, is_of_it).await?;
        self.end_of_way(call, &late, self.clock.now()).await
    }

    /// Who acts on the own account.
    pub(super) fn person(&self, call: &Call, token: &SecretString) -> Result<Bearer, AuthError> {
        self.demand(call, &needs::ACT)?;
        self.asker(call, token.expose_secret())
    }

    pub(super) fn demand_recent(&self, person: &Bearer) -> Result<(), AuthError> {
        if self.clock.now().since(person.identity.auth_time()) > RECENT_SIGN_IN {
            return Err(AuthError::ReauthenticationRequired { max_age: RECENT_SIGN_IN });
        }
        Ok(())
    }

    /// The identity behind a challenge, if it waits for this account. Linking it twice is linking it once, so it is not taken:
    /// a lost answer can be asked for again.
    async fn pending_link(&self, call: &Call, user: UserId, token: &SecretString) -> Result<Profile, AuthError> {
        let failed = |fault| AuthError::ChallengeFailed(fault);
        let name = Ticket::parse(challenge::PREFIX, token).and_then(|it| it.name(&self.masters, Kind::Link.name()));
        let Some(name) = name else { return Err(failed(ChallengeFault::Malformed)) };
        let pending = match self.links.get(&name).await.map_err(|why| AuthError::from(why).before_any_work())? {
            Found::Record(stored) => stored.record,
            Found::Absent => return Err(failed(ChallengeFault::Unknown)),
            Found::Unreadable(why) => {
                tracing::error!(%why, "a pending link's record is unreadable");
                return Err(failed(ChallengeFault::Unreadable));
            }
        };
        let now = self.store.time().await.map_err(|why| AuthError::from(why).before_any_work())?;
        if !call.client.opened(&pending.client, pending.expire_time - challenge::CHALLENGE_TTL) {
            return Err(failed(ChallengeFault::ForeignClient));
        }
        if now >= pending.expire_time {
            return Err(failed(ChallengeFault::Expired));
        }
        if pending.user != user {
            return Err(failed(ChallengeFault::ForeignUser));
        }
        Ok(pending.profile)
    }

    fn identity_event(
        &self,
        kind: AuditKind,
        call: &Call,
        user: UserId,
        provider: &ProviderId,
        address: &str,
    ) -> AuditEvent {
        let mut event = event(kind, call, self.clock.now());
        address.clone_into(&mut event.ip_address);
        event.actor = Some(PrincipalId::User(user));
        event.target = Some(user.to_string());
        event.detail = vec![("method", provider.to_string())];
        event
    }
}
