//! The audit log as those who may read it see it: what happened is found by who, about whom, in which session, what and
//! when, newest first.

mod stream;

use std::time::Duration;

use postern::proto::admin::v1 as admin;
use postern::proto::auth::v1 as pb;
use tonic::Code;

use crate::backstage;
use crate::support::{Admin, PASSWORD, Server, reason};

pub(crate) use stream::SCHEMA;

async fn list(root: &Admin, request: admin::ListAuditEventsRequest) -> Vec<admin::AuditEvent> {
    root.list_audit_events(request).await.unwrap().events
}

/// What is written beside the call that it tells of, once it is there.
async fn list_once_there(
    root: &Admin,
    request: &admin::ListAuditEventsRequest,
    number: usize,
) -> Vec<admin::AuditEvent> {
    let there = async {
        loop {
            let events = list(root, request.clone()).await;
            if events.len() >= number {
                return events;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), there).await.expect("it is written down")
}

fn of(principal: &str) -> admin::ListAuditEventsRequest {
    admin::ListAuditEventsRequest { principal_id: principal.to_owned(), ..Default::default() }
}

fn types(events: &[admin::AuditEvent]) -> Vec<&str> {
    events.iter().map(|event| event.r#type.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happened_is_found() {
    let server = backstage::server().await;
    let token = server.login_admin().await.access_token;
    let root_id = server.verify(&token).await.principal.unwrap().id;
    let root = server.admin(&token);
    let id = backstage::user(&server, "kim").await.to_string();
    server.login("kim", "wrong horse battery").await.unwrap_err();
    let failed = admin::ListAuditEventsRequest { types: vec!["authn_login_fail".to_owned()], ..Default::default() };
    let failed = list_once_there(&root, &failed, 1).await;
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0].reason(), pb::Reason::InvalidCredentials);
    assert!(!failed[0].request_id.is_empty() && failed[0].time.is_some());

    let tokens = server.login("kim", PASSWORD).await.unwrap().tokens.unwrap();
    let session = server.verify(&tokens.access_token).await.principal.unwrap().session_id;
    let within = admin::ListAuditEventsRequest { session_id: session.clone(), ..Default::default() };
    let within = list_once_there(&root, &within, 1).await;
    assert_eq!(types(&within), ["authn_login_success"]);
    assert_eq!(within[0].session_id, session);

    let note = "left the company".to_owned();
    root.disable_user(admin::DisableUserRequest { id: id.clone(), note: note.clone() }).await.unwrap();
    root.enable_user(admin::EnableUserRequest { id: id.clone(), note: String::new() }).await.unwrap();
    // What others did to them is among what they did, newest first.
    let all = list(&root, of(&id)).await;
    assert_eq!(types(&all)[..2], ["user_enabled", "user_disabled"]);
    let disabled = &all[1];
    assert_eq!((disabled.actor_id.as_str(), disabled.target_id.as_str()), (root_id.as_str(), id.as_str()));
    assert_eq!(disabled.detail.get("note"), Some(&note));
    assert!(types(&all).contains(&"authn_login_success"));

    let before = admin::ListAuditEventsRequest { end_time: disabled.time, ..of(&id) };
    assert!(!types(&list(&root, before).await).contains(&"user_disabled"));
    let since = admin::ListAuditEventsRequest { start_time: disabled.time, ..of(&id) };
    assert_eq!(types(&list(&root, since).await), ["user_enabled", "user_disabled"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_comes_in_pages() {
    let server = backstage::server().await;
    let root = server.admin(&server.login_admin().await.access_token);
    let id = backstage::user(&server, "kim").await.to_string();
    for _change in 0..3 {
        root.disable_user(admin::DisableUserRequest { id: id.clone(), ..Default::default() }).await.unwrap();
        root.enable_user(admin::EnableUserRequest { id: id.clone(), ..Default::default() }).await.unwrap();
    }
    let all = list(&root, of(&id)).await;
    let mut request = admin::ListAuditEventsRequest { page_size: 4, ..of(&id) };
    let mut found = Vec::new();
    loop {
        let page = root.list_audit_events(request.clone()).await.unwrap();
        assert!(page.events.len() <= 4);
        found.extend(page.events);
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
        // It belongs to this listing alone.
        let other = admin::ListAuditEventsRequest { types: vec!["user_enabled".to_owned()], ..request.clone() };
        let refused = root.list_audit_events(other).await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::InvalidArgument, "INVALID_FIELD"));
    }
    assert_eq!(types(&found).iter().filter(|kind| **kind == "user_disabled").count(), 3);
    assert_eq!(found, all);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_type_that_is_mistyped_is_refused() {
    let server: Server = backstage::server().await;
    let root = server.admin(&server.login_admin().await.access_token);
    let request = admin::ListAuditEventsRequest { types: vec!["user_crated".to_owned()], ..Default::default() };
    let refused = root.list_audit_events(request).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::InvalidArgument, "INVALID_FIELD"));
}

/// Row 179: who was refused what stands there under the decision's id, whichever program asked.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_decision_is_written_down() {
    let server = backstage::server().await;
    let root = server.admin(&server.login_admin().await.access_token);
    let id = backstage::user(&server, "kim").await.to_string();
    let tokens = server.login("kim", PASSWORD).await.unwrap().tokens.unwrap();
    let check = pb::Check { permission: "docs:shred".to_owned(), tenant: "acme".to_owned() };
    let request =
        pb::VerifyRequest { access_token: tokens.access_token.clone(), require: vec![check], ..Default::default() };
    let answer = server.client().verify(request).await.unwrap().into_inner();
    let refusal = answer.refusal.unwrap();
    let denied = admin::ListAuditEventsRequest { types: vec!["authz_fail".to_owned()], ..of(&id) };
    let [event] = &list_once_there(&root, &denied, 1).await[..] else { panic!("one") };
    assert_eq!((event.id.as_str(), event.actor_id.as_str()), (refusal.decision_id.as_str(), id.as_str()));
    assert_eq!(event.reason(), pb::Reason::PermissionMissing);
    let told = |name: &str| event.detail.get(name).map(String::as_str).unwrap_or_default();
    assert_eq!((told("permission"), told("tenant")), ("docs:shred", "acme"));
    assert!(event.client_id == "dev" && !event.session_id.is_empty());

    // And is explained by that id: what was decided, and what would be.
    let subject = admin::explain_access_request::Subject::DecisionId(refusal.decision_id.clone());
    let request = admin::ExplainAccessRequest { subject: Some(subject.clone()), check: None };
    let told = root.explain_access(request.clone()).await.unwrap();
    assert_eq!((told.allowed, told.reason()), (false, pb::Reason::PermissionMissing));
    let steps: Vec<(&str, bool)> = told.steps.iter().map(|step| (step.subject.as_str(), step.held)).collect();
    assert_eq!((steps[0], *steps.last().unwrap()), (("decision", false), ("now", false)));
    assert!(told.steps[0].text.contains("docs:shred in acme"), "{}", told.steps[0].text);
    let check = Some(pb::Check { permission: "docs:shred".to_owned(), tenant: String::new() });
    let refused = root.explain_access(admin::ExplainAccessRequest { subject: Some(subject), check }).await.unwrap_err();
    assert_eq!(reason(&refused), "INVALID_FIELD");
    for (id, code) in [("not an id", Code::InvalidArgument), (id.as_str(), Code::NotFound)] {
        let subject = Some(admin::explain_access_request::Subject::DecisionId(id.to_owned()));
        let refused = root.explain_access(admin::ExplainAccessRequest { subject, check: None }).await.unwrap_err();
        assert_eq!(refused.code(), code, "{id}");
    }
}

/// Row 189: a flood writes a bounded number of rows, and is told in full number.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_is_counted_and_not_written_down() {
    let server = backstage::server().await;
    let root = server.admin(&server.login_admin().await.access_token);
    for _ in 0..1_000 {
        server.verify("no.token.atall").await;
    }
    let denied =
        admin::ListAuditEventsRequest { types: vec!["authz_fail".to_owned()], page_size: 500, ..Default::default() };
    let first = list_once_there(&root, &denied, 100).await;
    assert!(
        first.iter().all(|event| event.reason() == pb::Reason::TokenInvalid && !event.detail.contains_key("count"))
    );
    server.later(Duration::from_secs(61)).await;
    let all = list_once_there(&root, &denied, 101).await;
    assert_eq!(all.len(), 101);
    let count = &all[0];
    // And what was asked while the minute passed.
    let number: u32 = count.detail["count"].parse().unwrap();
    assert!((900..910).contains(&number) && count.reason() == pb::Reason::TokenInvalid, "{count:?}");
    // The next minute is told again.
    server.verify("no.token.atall").await;
    assert_eq!(list_once_there(&root, &denied, 102).await.len(), 102);
}
