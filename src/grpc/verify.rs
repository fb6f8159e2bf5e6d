//! Verify and BatchVerify: questions in, verdicts out. The status of these calls speaks of the call, never of the
//! subject.

use tonic::Code;

use crate::auth::error::AuthError;
use crate::auth::verify::Decided;
use crate::auth::{Auth, Call};
use crate::domain::change::Revision;
use crate::domain::time::Timestamp;
use crate::grpc::fields::Fields;
use crate::grpc::{render, status};
use crate::proto::auth::v1::{
    BatchVerifyRequest, BatchVerifyResponse, Decision, Reason, Refusal, Verdict, VerifyRequest, VerifyResponse,
};
use crate::verifier::{self, Assurance, Check, Judgement, Outcome, Question};

const REQUIRE_MAX: usize = 16;
const ASK_MAX: usize = 256;
const BATCH_MAX: usize = 256;
/// After so many items others get a turn: a batch takes milliseconds of a thread that serves them too.
const TURN: usize = 16;

pub(super) fn verify(auth: &Auth, call: &Call, request: &VerifyRequest) -> Result<VerifyResponse, AuthError> {
    let asked = Asked::read(request)?;
    let question = Question {
        token: &request.access_token,
        audience: &request.audience,
        require: &asked.require,
        ask: &asked.ask,
        assurance: asked.assurance,
        min_revision: asked.min_revision,
    };
    let decided = auth.verify(call, question)?;
    Ok(answer(decided, request.include_roles.then(|| auth.clock.now())))
}

/// Each item on its own: what is wrong with one says nothing of the others. What is wrong with the caller or with us
/// is said once, for all.
pub(super) async fn batch(
    auth: &Auth,
    call: &Call,
    batch: &BatchVerifyRequest,
) -> Result<BatchVerifyResponse, AuthError> {
    if !(1..=BATCH_MAX).contains(&batch.requests.len()) {
        return Err(AuthError::field("requests", format!("must have 1 to {BATCH_MAX} entries")));
    }
    auth.demand_news()?;
    let mut responses = Vec::with_capacity(batch.requests.len());
    for (index, request) in batch.requests.iter().enumerate() {
        if index > 0 && index.is_multiple_of(TURN) {
            tokio::task::yield_now().await;
        }
        responses.push(match verify(auth, call, request) {
            Ok(response) => response,
            Err(error @ (AuthError::InvalidField(_) | AuthError::NotFresh(_))) => undecided(&error),
            Err(error) => return Err(error),
        });
    }
    Ok(BatchVerifyResponse { responses })
}

/// What of a question is not text to be handed on.
struct Asked {
    require: Vec<Check>,
    ask: Vec<Check>,
    assurance: Assurance,
    min_revision: Option<Revision>,
}

impl Asked {
    /// Whatever the token looks like is the subject's affair: the verifier says that it is no good.
    fn read(request: &VerifyRequest) -> Result<Self, AuthError> {
        let mut fields = Fields::default();
        let require = fields.checks("require", &request.require, REQUIRE_MAX);
        let ask = fields.checks("ask", &request.ask, ASK_MAX);
        let assurance = fields.assurance("assurance", request.assurance.as_ref());
        let min_revision = fields.parse_if_set("min_revision", &request.min_revision);
        fields
            .finish(|| Some(Self { require: require?, ask: ask?, assurance: assurance?, min_revision: min_revision? }))
    }
}

fn answer(decided: Decided, roles_at: Option<Timestamp>) -> VerifyResponse {
    let Decided { judgement, decision_id } = decided;
    let Judgement { outcome, identity, verdicts, freshness } = judgement;
    let (decision, refusal) = decision(outcome);
    let decision_id = decision_id.map(|id| id.to_string()).unwrap_or_default();
    VerifyResponse {
        decision: decision.into(),
        principal: identity.map(|identity| render::identity(&identity, roles_at)),
        refusal: refusal.map(|refusal| Refusal { decision_id, ..refusal }),
        verdicts: verdicts.iter().map(verdict).collect(),
        freshness: Some(render::freshness(freshness)),
    }
}

fn decision(outcome: Outcome) -> (Decision, Option<Refusal>) {
    match outcome {
        Outcome::Allow { .. } => (Decision::Allow, None),
        Outcome::Deny { missing } => {
            let refusal = refusal(Reason::PermissionMissing, Code::PermissionDenied);
            (Decision::Deny, Some(Refusal { missing: Some(render::check(&missing)), ..refusal }))
        }
        Outcome::StepUp { needed } => {
            let refusal = refusal(Reason::AssuranceTooLow, Code::Unauthenticated);
            (Decision::StepUp, Some(Refusal { needed: Some(render::assurance(needed)), ..refusal }))
        }
        Outcome::Unauthenticated(fault) => {
            (Decision::Unauthenticated, Some(refusal(status::token_reason(fault), Code::Unauthenticated)))
        }
    }
}

fn refusal(reason: Reason, code: Code) -> Refusal {
    Refusal { reason: reason.into(), code: code.into(), ..Refusal::default() }
}

/// An item that was not judged, which is not to be taken for one that was.
fn undecided(error: &AuthError) -> VerifyResponse {
    let (code, reason) = status::summary(error);
    VerifyResponse {
        decision: Decision::Unspecified.into(),
        refusal: Some(refusal(reason, code)),
        ..VerifyResponse::default()
    }
}

fn verdict(verdict: &verifier::Verdict) -> Verdict {
    let reason = if verdict.allowed { Reason::Unspecified } else { Reason::PermissionMissing };
    Verdict { allowed: verdict.allowed, reason: reason.into(), grant: verdict.grant.as_ref().map(render::grant) }
}

#[cfg(test)]
mod tests;
