//! Verify: a thin flow around the verifier. It never waits for anything.

use uuid::Uuid;

use crate::auth::error::AuthError;
use crate::auth::needs;
use crate::auth::{Auth, Call, event};
use crate::domain::audit::{AuditEvent, AuditKind};
use crate::domain::id::PrincipalId;
use crate::domain::time::Timestamp;
use crate::verifier::{Judgement, Outcome, Question, TokenFault};

/// A judgement, and the id under which a refusal stands in the audit log.
pub struct Decided {
    pub judgement: Judgement,
    /// Set unless the decision is to allow.
    pub decision_id: Option<Uuid>,
}

impl Auth {
    /// Refuses all while this replica has not heard of changes for too long.
    pub fn demand_news(&self) -> Result<(), AuthError> {
        self.verifier.freshness(self.clock.moment())?;
        Ok(())
    }

    /// The keys that verify, as a JWKS. Refused where `Verify` would be: a view too old may have missed that a key leaked.
    pub fn public_keys(&self) -> Result<String, AuthError> {
        self.demand_news()?;
        Ok(self.keyring.jwks(self.clock.now()))
    }

    /// Judges one question. Needs `postern:auth:verify` of the client. An empty audience is the client's own.
    pub fn verify<'a>(&self, call: &'a Call, mut question: Question<'a>) -> Result<Decided, AuthError> {
        self.demand(call, &needs::VERIFY)?;
        if question.audience.is_empty() {
            question.audience = &call.client.audience;
        }
        if question.audience.is_empty() {
            return Err(AuthError::field("audience", "must be named: the calling client has none of its own"));
        }
        let judgement = self.verifier.judge(&question, self.clock.moment())?;
        let decision_id = match &judgement.outcome {
            Outcome::Allow { .. } => {
                self.metrics.allowed();
                None
            }
            refused => {
                self.metrics.refused(decision(refused), reason(refused));
                let id = Uuid::now_v7();
                self.audit.record(refusal(call, &judgement, id, self.clock.now()));
                Some(id)
            }
        };
        Ok(Decided { judgement, decision_id })
    }
}

/// As the contract has it, here and below.
const fn decision(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Allow { .. } => "ALLOW",
        Outcome::Deny { .. } => "DENY",
        Outcome::StepUp { .. } => "STEP_UP",
        Outcome::Unauthenticated(_) => "UNAUTHENTICATED",
    }
}

const fn reason(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Allow { .. } => "",
        Outcome::Deny { .. } => "PERMISSION_MISSING",
        Outcome::StepUp { .. } => "ASSURANCE_TOO_LOW",
        Outcome::Unauthenticated(TokenFault::Expired) => "TOKEN_EXPIRED",
        Outcome::Unauthenticated(TokenFault::Revoked) => "TOKEN_REVOKED",
        Outcome::Unauthenticated(TokenFault::Invalid(_)) => "TOKEN_INVALID",
    }
}

/// The one place that says why a token was refused; the caller learns no more than its kind. The event has the decision's id.
fn refusal(call: &Call, judgement: &Judgement, id: Uuid, now: Timestamp) -> AuditEvent {
    let mut refusal = AuditEvent { id, ..event(AuditKind::AccessDenied, call, now) };
    if let Some(identity) = &judgement.identity {
        refusal.actor = Some(PrincipalId::User(identity.user()));
        refusal.session = Some(identity.session());
    }
    refusal.reason = Some(reason(&judgement.outcome));
    match &judgement.outcome {
        Outcome::Deny { missing } => {
            refusal.detail.push(("permission", missing.permission.as_str().to_owned()));
            refusal.detail.extend(missing.tenant.as_ref().map(|tenant| ("tenant", tenant.to_string())));
        }
        Outcome::Unauthenticated(TokenFault::Invalid(why)) => refusal.detail.push(("why", why.to_string())),
        Outcome::Allow { .. } | Outcome::StepUp { .. } | Outcome::Unauthenticated(_) => {}
    }
    refusal
}
