//! Which events are found, in which order, and that pages join without a gap.

use std::time::Duration;

use super::*;
use crate::domain::audit::AuditEvent;
use crate::domain::id::UserId;
use crate::store::testing::{Engine, Scratch};

async fn listed(scratch: &Scratch, filter: &AuditFilter) -> Vec<Uuid> {
    let events = scratch.store.list_audit(filter, None, 100).await.unwrap();
    events.iter().map(|event| event.id).collect()
}

fn at(scratch: &Scratch, kind: AuditKind, seconds: u64) -> AuditEvent {
    let time = scratch.audit().time + Duration::from_secs(seconds);
    AuditEvent { time, kind, ..AuditEvent::new(kind, time) }
}

async fn an_event_comes_back_as_it_was(engine: Engine) {
    let scratch = Scratch::new(engine).await;
    let (user, session) = (UserId::generate(), SessionId::generate());
    let event = AuditEvent {
        actor: Some(PrincipalId::User(user)),
        target: Some("web".to_owned()),
        session: Some(session),
        client: Some("gateway".parse().unwrap()),
        ip_address: "192.0.2.1".to_owned(),
        request_id: "r-1".to_owned(),
        reason: Some("INVALID_CREDENTIALS"),
        ..scratch.audit()
    };
    scratch.store.append_audit(std::slice::from_ref(&event)).await.unwrap();
    let recorded = RecordedEvent {
        id: event.id,
        time: event.time,
        kind: "session_revoked".to_owned(),
        actor: Some(user.to_string()),
        target: event.target,
        session: Some(session),
        client: Some("gateway".to_owned()),
        ip_address: event.ip_address,
        request_id: event.request_id,
        reason: Some("INVALID_CREDENTIALS".to_owned()),
        detail: BTreeMap::from([("note".to_owned(), "\"quoted\"".to_owned())]),
    };
    assert_eq!(scratch.store.list_audit(&AuditFilter::default(), None, 10).await.unwrap(), [recorded]);
}

async fn each_filter_finds_its_own(engine: Engine) {
    let scratch = Scratch::new(engine).await;
    let kim = PrincipalId::User(UserId::generate());
    let session = SessionId::generate();
    let by = AuditEvent { actor: Some(kim.clone()), ..at(&scratch, AuditKind::LoginSucceeded, 1) };
    let about = AuditEvent { target: Some(kim.to_string()), ..at(&scratch, AuditKind::UserDisabled, 2) };
    let both = AuditEvent {
        target: Some(kim.to_string()),
        actor: Some(kim.clone()),
        ..at(&scratch, AuditKind::PasswordSet, 3)
    };
    let within = AuditEvent { session: Some(session), ..at(&scratch, AuditKind::SessionEnded, 4) };
    let events = [about.clone(), within.clone(), by.clone(), both.clone()];
    scratch.store.append_audit(&events).await.unwrap();
    let all = AuditFilter::default();
    assert_eq!(listed(&scratch, &all).await, [within.id, both.id, about.id, by.id]);
    let of_kim = AuditFilter { principal: Some(kim.clone()), ..all.clone() };
    assert_eq!(listed(&scratch, &of_kim).await, [both.id, about.id, by.id]);
    let nobody = AuditFilter { principal: Some(PrincipalId::User(UserId::generate())), ..all.clone() };
    assert!(listed(&scratch, &nobody).await.is_empty());
    assert_eq!(listed(&scratch, &AuditFilter { session: Some(session), ..all.clone() }).await, [within.id]);
    let kinds = vec![AuditKind::LoginSucceeded, AuditKind::SessionEnded];
    assert_eq!(listed(&scratch, &AuditFilter { kinds: kinds.clone(), ..all.clone() }).await, [within.id, by.id]);
    // From the start, and before the end.
    let (start, end) = (Some(about.time), Some(within.time));
    assert_eq!(listed(&scratch, &AuditFilter { start, end, ..all.clone() }).await, [both.id, about.id]);
    let narrow = AuditFilter { principal: Some(kim), kinds, start: Some(by.time), end, session: None };
    assert_eq!(listed(&scratch, &narrow).await, [by.id]);
}

async fn pages_join_without_a_gap(engine: Engine) {
    let scratch = Scratch::new(engine).await;
    let kim = PrincipalId::User(UserId::generate());
    // Of one moment: only their ids tell them apart.
    let events: Vec<AuditEvent> = (0..7_u64)
        .map(|number| AuditEvent {
            actor: (number % 3 != 0).then(|| kim.clone()),
            target: (number % 2 == 0).then(|| kim.to_string()),
            ..at(&scratch, AuditKind::UserUpdated, number / 5)
        })
        .collect();
    scratch.store.append_audit(&events).await.unwrap();
    for filter in [AuditFilter::default(), AuditFilter { principal: Some(kim), ..AuditFilter::default() }] {
        let (mut found, mut before) = (Vec::new(), None);
        loop {
            let page = scratch.store.list_audit(&filter, before, 2).await.unwrap();
            before = page.last().map(RecordedEvent::key);
            found.extend(page.iter().map(|event| event.id));
            if page.len() < 2 {
                break;
            }
        }
        assert!(found.len() >= 6, "{found:?}");
        assert_eq!(found, listed(&scratch, &filter).await);
    }
}

crate::store::testing::conformance![an_event_comes_back_as_it_was, each_filter_finds_its_own, pages_join_without_a_gap,];
