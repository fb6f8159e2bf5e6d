//! Verify: a thin flow around the verifier. It never waits for anything.

use uuid::Uuid;

use crate::auth::error::AuthError;
use crate::auth::needs;
use crate::auth::{Auth, Call};
use crate::verifier::{Judgement, Outcome, Question};

/// A judgement, and the id under which a refusal stands in the log.
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
            Outcome::Allow { .. } => None,
            refused => {
                let id = Uuid::now_v7();
                log_refusal(call, &judgement, refused, id);
                Some(id)
            }
        };
        Ok(Decided { judgement, decision_id })
    }
}

/// The one place that says why a token was refused; the caller learns no more than its kind.
fn log_refusal(call: &Call, judgement: &Judgement, refused: &Outcome, id: Uuid) {
    let subject = judgement.identity.as_ref().map(|identity| identity.user().to_string()).unwrap_or_default();
    match refused {
        Outcome::Deny { missing } => tracing::info!(
            target: "postern::audit",
            event = "authz_fail",
            decision.id = %id,
            subject,
            permission = missing.permission.as_str(),
            tenant = missing.tenant.as_ref().map(crate::domain::permission::Tenant::as_str).unwrap_or_default(),
            client = %call.client.id,
            "a permission is missing"
        ),
        other => tracing::info!(
            target: "postern::audit",
            event = "authz_fail",
            decision.id = %id,
            subject,
            why = ?other,
            client = %call.client.id,
            "an access token was refused"
        ),
    }
}
