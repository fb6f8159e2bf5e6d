//! The audit log as messages.

use std::str::FromStr;

use tonic::Request;

use crate::auth::Auth;
use crate::auth::admin::audit_log::ListAuditEvents;
use crate::auth::error::AuthError;
use crate::domain::audit::AuditKind;
use crate::domain::time::Timestamp;
use crate::grpc::admin_service::{PAGE_SIZE_MAX, admit};
use crate::grpc::fields::Fields;
use crate::grpc::pages::Pages;
use crate::grpc::render;
use crate::proto::admin::v1 as wire;
use crate::proto::auth::v1::Reason;
use crate::store::{AuditFilter, AuditKey, RecordedEvent};

/// More than there are.
const TYPES_MAX: usize = 64;

pub(super) async fn list(
    auth: &Auth,
    request: Request<wire::ListAuditEventsRequest>,
) -> Result<wire::ListAuditEventsResponse, AuthError> {
    let caller = admit(auth, &request)?;
    let request = request.into_inner();
    let (principal, session, types) =
        (request.principal_id.clone(), request.session_id.clone(), request.types.join(" "));
    let times = format!("{:?} {:?}", request.start_time, request.end_time);
    let parts = ["ListAuditEvents", &principal, &session, &types, &times];
    let pages = Pages(&parts);
    let (events, more) = auth.list_audit_events(&caller, &read(&request, &pages)?).await?;
    let next = events.last().filter(|_| more).map(|last| pages.token(&text(last.key())));
    Ok(wire::ListAuditEventsResponse {
        events: events.into_iter().map(render_event).collect(),
        next_page_token: next.unwrap_or_default(),
    })
}

fn read(request: &wire::ListAuditEventsRequest, pages: &Pages<'_>) -> Result<ListAuditEvents, AuthError> {
    let mut fields = Fields::default();
    let page_size = fields.page_size(request.page_size, PAGE_SIZE_MAX);
    let before = pages.read(&mut fields, &request.page_token, key);
    let principal = fields.parse_if_set("principal_id", &request.principal_id);
    let session = fields.parse_if_set("session_id", &request.session_id);
    let kinds = read_types(&mut fields, &request.types);
    let start = fields.timestamp("start_time", request.start_time.as_ref());
    let end = fields.timestamp("end_time", request.end_time.as_ref());
    fields.finish(|| {
        let filter = AuditFilter { principal: principal?, session: session?, kinds: kinds?, start: start?, end: end? };
        Some(ListAuditEvents { filter, before, page_size: page_size? })
    })
}

/// A name that nothing has would find nothing, and whoever mistyped it would believe that nothing happened.
fn read_types(fields: &mut Fields, types: &[String]) -> Option<Vec<AuditKind>> {
    if types.len() > TYPES_MAX {
        fields.refuse("types", format_args!("must be at most {TYPES_MAX}"));
        return None;
    }
    let mut kinds = Some(Vec::new());
    for (index, name) in types.iter().enumerate() {
        let kind = AuditKind::from_name(name);
        if kind.is_none() {
            fields.refuse(format_args!("types[{index}]"), "must be a type of event that this server knows");
        }
        kinds = kinds.zip(kind).map(|(mut kinds, kind): (Vec<_>, _)| {
            kinds.push(kind);
            kinds
        });
    }
    kinds
}

fn text(key: AuditKey) -> String {
    format!("{} {}", key.time.micros(), key.id)
}

fn key(text: &str) -> Option<AuditKey> {
    let (time, id) = text.split_once(' ')?;
    Some(AuditKey { time: Timestamp::from_micros(i64::from_str(time).ok()?), id: id.parse().ok()? })
}

fn render_event(event: RecordedEvent) -> wire::AuditEvent {
    let reason = event.reason.and_then(|name| Reason::from_str_name(&format!("REASON_{name}")));
    wire::AuditEvent {
        id: event.id.to_string(),
        time: Some(render::timestamp(event.time)),
        r#type: event.kind,
        actor_id: event.actor.unwrap_or_default(),
        target_id: event.target.unwrap_or_default(),
        session_id: event.session.map(|session| session.to_string()).unwrap_or_default(),
        client_id: event.client.unwrap_or_default(),
        ip_address: event.ip_address,
        request_id: event.request_id,
        reason: reason.unwrap_or(Reason::Unspecified).into(),
        detail: event.detail.into_iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(request: &wire::ListAuditEventsRequest) -> Vec<String> {
        match read(request, &Pages(&["ListAuditEvents"])) {
            Err(AuthError::InvalidField(faults)) => faults.iter().map(|fault| fault.field.clone()).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        let odd_time = Some(prost_types::Timestamp { seconds: 0, nanos: -1 });
        let request = wire::ListAuditEventsRequest {
            page_size: -1,
            page_token: "x".to_owned(),
            principal_id: "Not An Id".to_owned(),
            session_id: "1".to_owned(),
            types: vec!["user_created".to_owned(), "user_crated".to_owned()],
            start_time: odd_time,
            end_time: odd_time,
        };
        let all = ["page_size", "page_token", "principal_id", "session_id", "types[1]", "start_time", "end_time"];
        assert_eq!(faults(&request), all);
        let too_many = vec!["user_created".to_owned(); TYPES_MAX + 1];
        assert_eq!(faults(&wire::ListAuditEventsRequest { types: too_many, ..Default::default() }), ["types"]);
    }

    #[test]
    fn a_page_ends_where_its_token_says() {
        let last = AuditKey { time: Timestamp::from_micros(-17), id: uuid::Uuid::now_v7() };
        assert_eq!(key(&text(last)), Some(last));
        for nonsense in ["", "1", "1 ", " 1", "1 x", "x 00000000-0000-7000-8000-000000000000"] {
            assert_eq!(key(nonsense), None, "{nonsense}");
        }
    }
}
