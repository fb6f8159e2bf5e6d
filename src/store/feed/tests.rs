use std::time::Duration;

use super::*;
use crate::domain::id::SessionId;
use crate::domain::standing::End;
use crate::store::engine::query;
use crate::store::keys::NewKey;
use crate::store::testing::{Engine, Scratch, principal};

fn key(kid: &str) -> NewKey {
    NewKey { kid: kid.to_owned(), algorithm: crate::domain::key::Algorithm::EdDsa, master_key: 1, sealed: vec![7; 40] }
}

async fn a_fresh_log_has_a_place_to_stand_on(engine: Engine) {
    let scratch = Scratch::new(engine).await;
    let loaded = scratch.store.load().await.unwrap();
    assert_eq!(loaded.cursor.id, 1);
    assert_ne!(loaded.cursor.mark, [0; 8]);
    let Loaded { cursor, changes, .. } = scratch.learned(loaded.cursor).await;
    assert_eq!((cursor, changes.len()), (loaded.cursor, 0));
    assert_eq!(scratch.store.changes_since(Cursor::default()).await.unwrap(), FeedRead::Rewound);
}

async fn reading_and_loading_agree(engine: Engine) {
    let scratch = Scratch::new(engine).await;
    let (user, session) = (scratch.plant(1).await, SessionId::generate());
    let start = scratch.store.load().await.unwrap().cursor;
    scratch.store.insert_first_key(&key("k"), &scratch.audit()).await.unwrap().unwrap();
    scratch.store.end_session(&scratch.ended(user, session), &scratch.audit()).await.unwrap();
    scratch.store.end_all(user, EndCause::EndedByAdmin, None, &scratch.audit()).await.unwrap();
    scratch.store.raise_fence(&scratch.audit()).await.unwrap();
    let read = scratch.learned(start).await;
    let loaded = scratch.store.load().await.unwrap();
    assert_eq!(read.cursor, loaded.cursor);
    assert_eq!(read.changes.len(), 4);
    for change in read.changes {
        assert!(loaded.changes.contains(&change), "{change:?}");
    }
}

async fn a_rewound_log_is_found_out(engine: Engine) {
    let scratch = Scratch::new(engine).await;
    let user = scratch.plant(1).await;
    scratch.store.end_session(&scratch.ended(user, SessionId::generate()), &scratch.audit()).await.unwrap();
    let cursor = scratch.store.load().await.unwrap().cursor;
    scratch.execute("DELETE FROM changes WHERE id = (SELECT max(id) FROM changes)").await;
    scratch.execute("UPDATE feed SET head = head - 1").await;
    assert_eq!(scratch.store.changes_since(cursor).await.unwrap(), FeedRead::Rewound);
    // It grew again to the same length, by other changes.
    scratch.store.end_session(&scratch.ended(user, SessionId::generate()), &scratch.audit()).await.unwrap();
    assert_eq!(scratch.store.head().await.unwrap().id, cursor.id);
    assert_eq!(scratch.store.changes_since(cursor).await.unwrap(), FeedRead::Rewound);

    let cursor = scratch.store.load().await.unwrap().cursor;
    assert!(matches!(scratch.store.changes_since(cursor).await.unwrap(), FeedRead::Changes(_)));
    scratch.execute("UPDATE changes SET mark = (SELECT mark FROM changes ORDER BY id LIMIT 1)").await;
    assert_eq!(scratch.store.changes_since(cursor).await.unwrap(), FeedRead::Rewound);
}

async fn a_bulk_is_one_reload(engine: Engine) {
    let scratch = Scratch::new(engine).await;
    let user = scratch.plant(1).await;
    let start = scratch.store.load().await.unwrap().cursor;
    let ended: Vec<_> = (0..=BULK).map(|_| scratch.ended(user, SessionId::generate())).collect();
    let (count, revision) = scratch.store.end_sessions(&ended[1..], &scratch.audit()).await.unwrap();
    assert_eq!((count, revision.id), (BULK, start.id + i64::try_from(BULK).unwrap()));
    assert_eq!(scratch.learned(start).await.changes.len(), BULK);

    let ended: Vec<_> = (0..=BULK).map(|_| scratch.ended(user, SessionId::generate())).collect();
    let (_, after) = scratch.store.end_sessions(&ended, &scratch.audit()).await.unwrap();
    assert_eq!(after.id, revision.id + 1);
    // Also for one who was far behind.
    assert_eq!(scratch.store.changes_since(start).await.unwrap(), FeedRead::Reload);
    let loaded = scratch.store.load().await.unwrap();
    let sessions = loaded.changes.iter().filter(|change| matches!(change, Change::SessionEnded(_))).count();
    assert_eq!(sessions, 2 * BULK + 1);
    let cursor = Cursor { id: revision.id, ..mark_at(&scratch, revision.id).await };
    assert_eq!(scratch.store.changes_since(cursor).await.unwrap(), FeedRead::Reload);
}

async fn mark_at(scratch: &Scratch, id: i64) -> Cursor {
    let row = query("SELECT id, mark FROM changes WHERE id = $1");
    cursor(&row.bind(id).fetch_one(&scratch.store.reader).await.unwrap()).unwrap()
}

async fn what_is_older_than_any_token_is_not_loaded(engine: Engine) {
    let scratch = Scratch::new(engine).await;
    let old = scratch.plant(1).await;
    scratch.store.end_session(&scratch.ended(old, SessionId::generate()), &scratch.audit()).await.unwrap();
    scratch.store.end_all(old, EndCause::EndedByUser, None, &scratch.audit()).await.unwrap();
    scratch.clock.advance(RETENTION + Duration::from_secs(1));
    let found_late = scratch.ended(old, SessionId::generate());
    let found_late =
        EndedSession { end: End { time: found_late.end.time - RETENTION * 2, ..found_late.end }, ..found_late };
    scratch.store.end_session(&found_late, &scratch.audit()).await.unwrap();
    let loaded = scratch.store.load().await.unwrap();
    assert_eq!(principal(&loaded.changes, old), None);
    let sessions: Vec<_> = loaded.changes.iter().filter(|change| matches!(change, Change::SessionEnded(_))).collect();
    // Ended long ago, but written down just now: the verifiers must still learn it.
    assert_eq!(sessions, [&Change::SessionEnded(found_late)]);
}

async fn the_deleted_are_below_an_infinite_floor(engine: Engine) {
    let scratch = Scratch::new(engine).await;
    let user = scratch.plant(1).await;
    let start = scratch.store.load().await.unwrap().cursor;
    scratch.store.end_all(user, EndCause::EndedByUser, None, &scratch.audit()).await.unwrap();
    scratch.execute("DELETE FROM users").await;
    for changes in [scratch.learned(start).await.changes, scratch.store.load().await.unwrap().changes] {
        let state = principal(&changes, user).unwrap();
        assert_eq!((state.floor.version, state.floor.cause), (i64::MAX, EndCause::UserDisabled));
        assert!(state.bindings.is_empty());
    }
}

async fn keys_follow_the_plan(engine: Engine) {
    let scratch = Scratch::new(engine).await;
    assert!(scratch.store.insert_first_key(&key("one"), &scratch.audit()).await.unwrap().is_some());
    assert!(scratch.store.insert_first_key(&key("two"), &scratch.audit()).await.unwrap().is_none());
    let first = scratch.store.keys().await.unwrap();
    assert_eq!(first.len(), 1);
    assert_eq!((first[0].publish_time, first[0].retire_time), (first[0].sign_time, None));
    assert_eq!((first[0].kid.as_str(), first[0].master_key, first[0].sealed.len()), ("one", 1, 40));

    let wait = Duration::from_mins(11);
    scratch.clock.advance(Duration::from_secs(1));
    scratch.store.rotate_key(&key("two"), wait, |_, _| true, scratch.audit()).await.unwrap().unwrap();
    let keys = scratch.store.keys().await.unwrap();
    assert_eq!(keys[1].sign_time, keys[1].publish_time + wait);
    assert_eq!(keys[0].retire_time, Some(keys[1].sign_time + RETENTION));
    let known = |loaded: Loaded| {
        loaded.changes.into_iter().find_map(|change| match change {
            Change::Keys(keys) => Some(keys.into_iter().map(|key| key.kid).collect::<Vec<_>>()),
            _ => None,
        })
    };
    assert_eq!(known(scratch.store.load().await.unwrap()).unwrap(), ["one", "two"]);
    scratch.clock.advance(wait + RETENTION);
    assert_eq!(known(scratch.store.load().await.unwrap()).unwrap(), ["two"]);
    assert_eq!(scratch.store.keys().await.unwrap().len(), 2);
}

async fn a_hundred_changes_of_one_thing_are_read_once(engine: Engine) {
    let scratch = Scratch::new(engine).await;
    let user = scratch.plant(1).await;
    let before = scratch.cursor().await;
    for number in 0..100 {
        scratch.role(&format!("r{number}"), &[]).await;
    }
    scratch.store.disable_user(user, &scratch.audit()).await.unwrap();
    scratch.store.set_password(user, "hash", false, &scratch.audit()).await.unwrap();
    let learned = scratch.learned(before).await;
    assert_eq!(learned.cursor.id, before.id + 102);
    let roles = learned.changes.iter().map(|change| match change {
        Change::Policy { roles, .. } => roles.len(),
        _ => 0,
    });
    assert_eq!(roles.collect::<Vec<_>>(), [100, 0]);
}

/// Whoever lists a million users in every connection must not make the verifiers stale.
async fn slow_questions_do_not_hold_up_the_feed(engine: Engine) {
    let scratch = Scratch::new(engine).await;
    let cursor = scratch.cursor().await;
    let mut held = Vec::new();
    // Of four readers, or of eight connections.
    while let Ok(connection) = scratch.store.reader.acquire().await {
        held.push(connection);
    }
    assert!(held.len() >= 4);
    scratch.store.changes_since(cursor).await.unwrap();
    scratch.store.load().await.unwrap();
}

crate::store::testing::conformance![
    a_fresh_log_has_a_place_to_stand_on,
    reading_and_loading_agree,
    a_rewound_log_is_found_out,
    a_bulk_is_one_reload,
    what_is_older_than_any_token_is_not_loaded,
    the_deleted_are_below_an_infinite_floor,
    keys_follow_the_plan,
    a_hundred_changes_of_one_thing_are_read_once,
    slow_questions_do_not_hold_up_the_feed,
];
