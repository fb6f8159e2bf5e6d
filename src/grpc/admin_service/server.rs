//! Explanations and the server itself as messages.

use secrecy::SecretString;
use tonic::Request;

use crate::auth::Auth;
use crate::auth::admin::explain::{Ask, Explanation, Refusal, Step, Subject};
use crate::auth::admin::server::ServerInfo;
use crate::auth::error::AuthError;
use crate::grpc::admin_service::admit;
use crate::grpc::fields::Fields;
use crate::grpc::render;
use crate::grpc::status::token_reason;
use crate::proto::admin::v1 as wire;
use crate::proto::admin::v1::explain_access_request::Subject as WireSubject;
use crate::proto::auth::v1::Reason;

pub(super) async fn explain(
    auth: &Auth,
    request: Request<wire::ExplainAccessRequest>,
) -> Result<wire::ExplainAccessResponse, AuthError> {
    let caller = admit(auth, &request)?;
    let ask = read_explain(request.into_inner())?;
    let Explanation { refusal, steps, revision } = auth.explain_access(&caller, &ask).await?;
    Ok(wire::ExplainAccessResponse {
        allowed: refusal.is_none(),
        reason: refusal.map_or(Reason::Unspecified, reason).into(),
        steps: steps
            .into_iter()
            .map(|Step { subject, held, text }| wire::ExplainStep { subject: subject.to_owned(), held, text })
            .collect(),
        revision: revision.to_string(),
    })
}

pub(super) async fn end_all_sessions(
    auth: &Auth,
    request: Request<wire::EndAllSessionsRequest>,
) -> Result<wire::EndAllSessionsResponse, AuthError> {
    let caller = admit(auth, &request)?;
    let wire::EndAllSessionsRequest { confirm, note } = request.into_inner();
    let mut fields = Fields::default();
    let note = fields.note("note", note);
    let note = fields.finish(|| note)?;
    let revision = auth.end_all_sessions(&caller, &confirm, &note).await?.to_string();
    Ok(wire::EndAllSessionsResponse { revision })
}

pub(super) fn info(
    auth: &Auth,
    request: &Request<wire::GetServerInfoRequest>,
) -> Result<wire::GetServerInfoResponse, AuthError> {
    let caller = admit(auth, request)?;
    let ServerInfo { version, schema_version, replica, freshness } = auth.server_info(&caller)?;
    Ok(wire::GetServerInfoResponse {
        version: version.to_owned(),
        schema_version: i32::try_from(schema_version).unwrap_or(i32::MAX),
        replica_id: replica.to_string(),
        freshness: Some(render::freshness(freshness)),
    })
}

fn read_explain(request: wire::ExplainAccessRequest) -> Result<Ask, AuthError> {
    let wire::ExplainAccessRequest { subject, check } = request;
    let mut fields = Fields::default();
    if let Some(WireSubject::DecisionId(id)) = &subject {
        if check.is_some() {
            fields.refuse("check", "must be empty: the decision has its own");
        }
        let id = fields.parse("decision_id", id).map(Ask::Decision);
        return fields.finish(|| id);
    }
    let subject = fields.required("subject", subject).and_then(|subject| match subject {
        WireSubject::PrincipalId(id) => fields.parse("principal_id", &id).map(Subject::Principal),
        WireSubject::AccessToken(token) => Some(Subject::Token(SecretString::from(token))),
        WireSubject::DecisionId(_) => None,
    });
    let check = fields.required("check", check).and_then(|check| fields.check("check", &check));
    fields.finish(|| subject.zip(check).map(|(subject, check)| Ask::Now(subject, check)))
}

fn reason(refusal: Refusal) -> Reason {
    match refusal {
        Refusal::Unknown => Reason::NotFound,
        Refusal::ClientDisabled => Reason::ClientUnauthenticated,
        Refusal::Token(fault) => token_reason(fault),
        Refusal::PermissionMissing => Reason::PermissionMissing,
        Refusal::Decided(name) => Reason::from_str_name(&format!("REASON_{name}")).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests;
