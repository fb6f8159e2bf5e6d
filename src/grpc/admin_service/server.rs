//! Keys, explanations and the server itself as messages.

use secrecy::SecretString;
use tonic::Request;

use crate::auth::Auth;
use crate::auth::admin::explain::{Explanation, Refusal, Step, Subject};
use crate::auth::admin::server::ServerInfo;
use crate::auth::error::AuthError;
use crate::domain::key::{KeyState, StoredKey};
use crate::grpc::admin_service::{PAGE_SIZE_MAX, admit};
use crate::grpc::fields::Fields;
use crate::grpc::pages::Pages;
use crate::grpc::render;
use crate::grpc::status::token_reason;
use crate::proto::admin::v1 as wire;
use crate::proto::admin::v1::explain_access_request::Subject as WireSubject;
use crate::proto::auth::v1::Reason;
use crate::verifier::Check;

pub(super) async fn list_keys(
    auth: &Auth,
    request: Request<wire::ListKeysRequest>,
) -> Result<wire::ListKeysResponse, AuthError> {
    let caller = admit(auth, &request)?;
    let wire::ListKeysRequest { page_size, page_token } = request.into_inner();
    let pages = Pages(&["ListKeys"]);
    let mut fields = Fields::default();
    let page_size = fields.page_size(page_size, PAGE_SIZE_MAX);
    let after = pages.read(&mut fields, &page_token, |last| Some(last.to_owned()));
    let page_size = fields.finish(|| page_size)?;
    let (keys, more) = auth.list_keys(&caller, after.as_deref(), page_size).await?;
    let next = keys.last().filter(|_| more).map(|(last, _)| pages.token(&last.kid));
    Ok(wire::ListKeysResponse {
        keys: keys.into_iter().map(render_key).collect(),
        next_page_token: next.unwrap_or_default(),
    })
}

pub(super) async fn explain(
    auth: &Auth,
    request: Request<wire::ExplainAccessRequest>,
) -> Result<wire::ExplainAccessResponse, AuthError> {
    let caller = admit(auth, &request)?;
    let (subject, check) = read_explain(request.into_inner())?;
    let Explanation { refusal, steps, revision } = auth.explain_access(&caller, &subject, &check).await?;
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

fn read_explain(request: wire::ExplainAccessRequest) -> Result<(Subject, Check), AuthError> {
    let wire::ExplainAccessRequest { subject, check } = request;
    let mut fields = Fields::default();
    let subject = fields.required("subject", subject).and_then(|subject| match subject {
        WireSubject::PrincipalId(id) => fields.parse("principal_id", &id).map(Subject::Principal),
        WireSubject::AccessToken(token) => Some(Subject::Token(SecretString::from(token))),
    });
    let check = fields.required("check", check).and_then(|check| fields.check("check", &check));
    fields.finish(|| subject.zip(check))
}

fn reason(refusal: Refusal) -> Reason {
    match refusal {
        Refusal::Unknown => Reason::NotFound,
        Refusal::ClientDisabled => Reason::ClientUnauthenticated,
        Refusal::Token(fault) => token_reason(fault),
        Refusal::PermissionMissing => Reason::PermissionMissing,
    }
}

fn render_key((key, state): (StoredKey, KeyState)) -> wire::Key {
    let state = match state {
        KeyState::Published => wire::KeyState::Published,
        KeyState::Signing => wire::KeyState::Signing,
        KeyState::Verifying => wire::KeyState::Verifying,
        KeyState::Retired => wire::KeyState::Retired,
    };
    wire::Key {
        id: key.kid,
        algorithm: key.algorithm.name().to_owned(),
        state: state.into(),
        publish_time: Some(render::timestamp(key.publish_time)),
        sign_time: Some(render::timestamp(key.sign_time)),
        retire_time: key.retire_time.map(render::timestamp),
    }
}

#[cfg(test)]
mod tests;
