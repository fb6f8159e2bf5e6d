use super::*;
use crate::domain::audit::{AuditEvent, AuditKind};
use crate::domain::change::EndedSession;
use crate::domain::id::SessionId;
use crate::store::FeedRead;
use crate::store::testing::{Engine, Scratch};
use crate::vault::{Kind, Slot, Vault as _};

async fn only_what_is_over_goes(engine: Engine) {
    let scratch = Scratch::new(engine).await;
    let (store, user) = (&scratch.store, scratch.plant(1).await);
    let soon = scratch.clock.now() + Duration::from_hours(2);
    let mut ended = scratch.ended(user, SessionId::generate());
    store.end_session(&ended, &scratch.audit()).await.unwrap();
    ended.session = SessionId::generate();
    ended.keep_until = soon;
    store.end_session(&ended, &scratch.audit()).await.unwrap();
    store.write_generation_floor(user, ended.session, 16, soon).await.unwrap();
    let slot = Slot { kind: Kind::Session, partition: "p".into(), key: "k".into() };
    store.vault().insert(&slot, b"value", soon).await.unwrap();
    assert_eq!(store.purge().await.unwrap(), Purged::default());

    scratch.clock.advance(Duration::from_hours(3));
    let cursor = scratch.cursor().await;
    let purged = store.purge().await.unwrap();
    let expected = Purged { changes: 2, revocations: 1, generation_floors: 1, vault: 1, ..Purged::default() };
    assert_eq!(purged, expected);
    assert_eq!(store.vault().get(&slot).await.unwrap(), None);
    assert_eq!(scratch.number("SELECT count(*) FROM revocations").await, 1);

    // A reader that stood on the newest row in a quiet hour still stands when the next one comes and purging is faster.
    assert!(matches!(store.changes_since(cursor).await.unwrap(), FeedRead::Changes(_)));
    ended.session = SessionId::generate();
    store.end_session(&ended, &scratch.audit()).await.unwrap();
    store.purge().await.unwrap();
    assert_eq!(scratch.learned(cursor).await.changes.len(), 0, "its own time is over");
    assert_eq!(scratch.learned(cursor).await.cursor.id, cursor.id + 1);
}

/// After days without a server, or where a statement has little time.
async fn however_much_is_over_all_of_it_goes(engine: Engine) {
    const MANY: u32 = 4_500;
    let scratch = Scratch::new(engine).await;
    let (store, user) = (&scratch.store, scratch.plant(1).await);
    let soon = scratch.clock.now() + Duration::from_hours(2);
    let ended = |_| EndedSession { keep_until: soon, ..scratch.ended(user, SessionId::generate()) };
    let ended: Vec<_> = (0..MANY).map(ended).collect();
    for ended in ended.chunks(900) {
        store.end_sessions(ended, &scratch.audit()).await.unwrap();
    }
    assert_eq!(scratch.number("SELECT count(*) FROM revocations").await, i64::from(MANY));
    scratch.clock.advance(Duration::from_hours(3));
    assert_eq!(store.purge().await.unwrap().revocations, u64::from(MANY));
    assert_eq!(scratch.number("SELECT count(*) FROM revocations").await, 0);
}

/// The role that serves may do it, and may not do more.
async fn the_audit_log_ends_where_it_is_told_to(engine: Engine) {
    const MANY: u32 = 2_100;
    let scratch = Scratch::new(engine).await;
    let store = &scratch.store;
    let now = scratch.clock.now();
    let at = |days: u64| AuditEvent::new(AuditKind::UserUpdated, now - Duration::from_hours(24 * days));
    let old: Vec<_> = (0..MANY).map(|_| at(401)).collect();
    for some in old.chunks(700) {
        store.append_audit(some).await.unwrap();
    }
    store.append_audit(&[at(399), at(31), at(1), at(0)]).await.unwrap();
    let left = async || scratch.number("SELECT count(*) FROM audit WHERE kind = 'user_updated'").await;
    assert_eq!(store.purge_audit(Duration::from_hours(24 * 400)).await.unwrap(), u64::from(MANY));
    assert_eq!(left().await, 4);
    assert_eq!(store.purge_audit(Duration::from_hours(24 * 400)).await.unwrap(), 0);
    // Whoever has broken into the service gets no further than this.
    store.purge_audit(Duration::ZERO).await.unwrap();
    assert_eq!(left().await, if matches!(engine, Engine::Sqlite) { 0 } else { 2 });
}

crate::store::testing::conformance![
    only_what_is_over_goes,
    however_much_is_over_all_of_it_goes,
    the_audit_log_ends_where_it_is_told_to,
];
