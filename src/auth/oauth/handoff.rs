//! Hand-off: the gateway sends a browser back to an app with a one-time code, and the app's backend trades it in. So no token
//! is ever in a URL, and none passes through a browser.

use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};

use super::{ExchangeOutcome, Exchanged, HANDOFF_TTL};
use crate::auth::error::{AuthError, CredentialFault, FlowFault};
use crate::auth::sign_in::Proven;
use crate::auth::ticket::{Ticket, s256, same};
use crate::auth::{Auth, Call, event};
use crate::domain::audit::AuditKind;
use crate::domain::id::SessionId;
use crate::domain::session::{Device, Session, TokenScope};
use crate::domain::standing::{End, EndCause};
use crate::domain::time::Timestamp;
use crate::vault::Kind;
use crate::vault::codes::HandoffCode;
use crate::vault::records::Found;
use crate::vault::sessions;

const PREFIX: &str = "phc_";
/// So long after its end a code is still known, so that a second use of it is noticed.
const MEMORY: Duration = Duration::from_mins(9);
/// A verifier (RFC 7636, section 4.1).
const VERIFIER_BYTES: std::ops::RangeInclusive<usize> = 43..=128;

/// A sign-in that waits to be collected.
pub(super) struct Collectable {
    pub(super) proven: Proven,
    pub(super) scope: TokenScope,
    pub(super) challenge: String,
    pub(super) user_created: bool,
}

impl Auth {
    /// A code for the app's backend.
    pub(super) async fn hand_off(
        &self,
        call: &Call,
        collectable: Collectable,
    ) -> Result<(SecretString, Timestamp), AuthError> {
        let Collectable { proven, scope, challenge, user_created } = collectable;
        let ticket = Ticket::generate(&self.masters)?;
        let valid_until = proven.now + HANDOFF_TTL;
        let code = HandoffCode {
            user: proven.user,
            client: call.client.id.clone(),
            session: SessionId::begun_at(proven.now),
            epoch: proven.epoch(),
            challenge,
            scope,
            method: proven.method,
            auth_time: proven.auth_time,
            amr: proven.amr,
            identity: proven.identity,
            user_created,
            valid_until,
            expire_time: valid_until + MEMORY,
        };
        let name = ticket.name(&self.masters, Kind::Code.name());
        let name = name.ok_or_else(|| AuthError::internal("the current master key is gone"))?;
        if !self.codes.insert(&name, &code).await? {
            return Err(AuthError::internal("a new code's name was taken"));
        }
        Ok((ticket.encode(PREFIX), valid_until))
    }

    /// Opens the session that a code stands for. A code that comes twice ends it: somebody else holds the code and the verifier.
    pub(super) async fn collect(
        &self,
        call: &Call,
        code: &SecretString,
        verifier: &SecretString,
        device: Device,
        replace: Option<&SecretString>,
    ) -> Result<Exchanged, AuthError> {
        self.sessions.answers()?;
        let ip_address = device.ip_address.clone();
        let failed = |fault| self.flow_failed(call, "", fault, &ip_address);
        let name = Ticket::parse(PREFIX, code).and_then(|ticket| ticket.name(&self.masters, Kind::Code.name()));
        let Some(name) = name else { return Err(failed(FlowFault::Malformed)) };
        let found = self.codes.get(&name).await.map_err(|why| AuthError::from(why).before_any_work())?;
        let code = match found {
            Found::Record(stored) => stored.record,
            Found::Absent => return Err(failed(FlowFault::Unknown)),
            Found::Unreadable(why) => {
                tracing::error!(%why, "a hand-off code's record is unreadable");
                return Err(failed(FlowFault::Unreadable));
            }
        };
        let fits = VERIFIER_BYTES.contains(&verifier.expose_secret().len())
            && same(s256(verifier).as_bytes(), code.challenge.as_bytes());
        if !fits {
            return Err(failed(FlowFault::Secret));
        }
        if !call.client.opened(&code.client, code.valid_until - HANDOFF_TTL) {
            return Err(failed(FlowFault::ForeignClient));
        }
        let standing = self.store.standing(code.user, code.session).await;
        let standing = standing.map_err(|why| AuthError::from(why).before_any_work())?;
        if standing.now >= code.valid_until {
            // Too late to open anything, but not to notice that it did (RFC 6749, section 4.1.2).
            let opened = self.sessions.get(code.user, code.session).await?;
            let sessions::Found::Session(opened) = opened else { return Err(failed(FlowFault::Expired)) };
            if standing.revoked.is_none() {
                let session = Session { device, ..opened.session };
                self.end_replayed(call, &session, standing.now).await?;
            }
            return Err(failed(FlowFault::Spent));
        }
        let Some(owner) = standing.owner.filter(|owner| owner.active) else {
            let fault = CredentialFault::Disabled;
            self.record_failure(call, "INVALID_CREDENTIALS", &code.method, fault.name(), &ip_address);
            return Err(AuthError::InvalidCredentials(fault));
        };
        if code.epoch < owner.floor.version || code.epoch < standing.fence.version {
            return Err(failed(FlowFault::Void));
        }
        // It was opened and has ended, and the vault has forgotten it since.
        if standing.revoked.is_some() {
            return Err(failed(FlowFault::Spent));
        }
        let proven = Proven {
            user: code.user,
            owner,
            fence: standing.fence,
            now: standing.now,
            method: code.method,
            auth_time: code.auth_time,
            amr: code.amr,
            identity: code.identity,
        };
        let scope = crate::auth::scope(&call.client, &code.scope)?;
        let session = self.new_session(call, &proven, device, scope)?;
        let session = Session { id: code.session, epoch: code.epoch, ..session };
        let Some(issued) = self.open_named_session(call, &proven, &session, replace).await? else {
            self.end_replayed(call, &session, proven.now).await?;
            return Err(failed(FlowFault::Spent));
        };
        let outcome = ExchangeOutcome::SignedIn { issued: Box::new(issued), user_created: code.user_created };
        Ok(Exchanged { outcome, profile: None, return_url: String::new() })
    }

    async fn end_replayed(&self, call: &Call, session: &Session, now: Timestamp) -> Result<(), AuthError> {
        let mut reused = event(AuditKind::TokenReused, call, now);
        reused.target = Some(session.user.to_string());
        reused.session = Some(session.id);
        reused.ip_address.clone_from(&session.device.ip_address);
        reused.detail = vec![("what", "handoff_code".to_owned())];
        self.audit.record(reused);
        let end = End { cause: EndCause::RefreshReused, time: now };
        self.end_known(call, &[session], end, None).await
    }
}
