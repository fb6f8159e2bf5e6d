use std::time::Duration;

use tokio::task::JoinSet;

use super::*;
use crate::domain::change::{Change, Cursor};
use crate::domain::session::FLOOR_STEP;
use crate::store::testing::{Engine, Scratch, principal};

async fn cursor(store: &Store) -> Cursor {
    store.load().await.unwrap().cursor
}

async fn a_session_ends_once(engine: Engine) {
    let scratch = Scratch::new(engine).await;
    let (user, session) = (scratch.plant(1).await, SessionId::generate());
    let before = cursor(&scratch.store).await;
    let ended = scratch.ended(user, session);
    let (newly, revision) = scratch.store.end_session(&ended, &scratch.audit()).await.unwrap();
    assert!(newly);
    assert_eq!(revision.id, before.id + 1);
    assert_eq!(scratch.learned(before).await.changes, [Change::SessionEnded(ended.clone())]);

    let other = EndedSession { end: End { cause: EndCause::RefreshReused, ..ended.end }, ..ended.clone() };
    let (newly, again) = scratch.store.end_session(&other, &scratch.audit()).await.unwrap();
    assert!(!newly);
    assert_eq!(again, revision);
    let asked = [SessionId::generate(), session];
    assert_eq!(scratch.store.revoked_among(user, &asked).await.unwrap(), HashMap::from([(session, ended.end)]));
    assert_eq!(scratch.store.standing(user, session).await.unwrap().revoked, Some(ended.end));
    // Keyed by both: another user's session of the same id is another session.
    assert_eq!(scratch.store.standing(UserId::generate(), session).await.unwrap().revoked, None);
    assert_eq!(scratch.number("SELECT count(*) FROM audit").await, 1);
}

async fn only_the_sessions_that_are_asked_for_are_looked_up(engine: Engine) {
    let scratch = Scratch::new(engine).await;
    let user = scratch.plant(1).await;
    let ended: Vec<_> = (0..=IDS_IN_ONE_STATEMENT).map(|_| scratch.ended(user, SessionId::generate())).collect();
    scratch.store.end_sessions(&ended, &scratch.audit()).await.unwrap();
    let all: Vec<_> = ended.iter().map(|one| one.session).collect();
    assert_eq!(scratch.store.revoked_among(user, &all).await.unwrap().len(), all.len());
    let last = scratch.store.revoked_among(user, &all[all.len() - 1..]).await.unwrap();
    assert_eq!(last.into_keys().collect::<Vec<_>>(), all[all.len() - 1..]);
    assert!(scratch.store.revoked_among(user, &[]).await.unwrap().is_empty());
    assert!(scratch.store.revoked_among(UserId::generate(), &all).await.unwrap().is_empty());
}

async fn ended_sessions_page_from_the_newest(engine: Engine) {
    let scratch = Scratch::new(engine).await;
    let user = scratch.plant(1).await;
    let sessions: Vec<_> = (0..5).map(|_| SessionId::generate()).collect();
    let ended: Vec<_> = sessions.iter().map(|session| scratch.ended(user, *session)).collect();
    assert_eq!(scratch.store.end_sessions(&ended, &scratch.audit()).await.unwrap().0, 5);
    let first = scratch.store.ended_sessions(user, None, 3).await.unwrap();
    assert_eq!(first, [ended[4].clone(), ended[3].clone(), ended[2].clone()]);
    let rest = scratch.store.ended_sessions(user, Some(first[2].session), 3).await.unwrap();
    assert_eq!(rest, [ended[1].clone(), ended[0].clone()]);
}

async fn ends_have_ids_without_gaps_in_commit_order(engine: Engine) {
    let scratch = Scratch::new(engine).await;
    let user = scratch.plant(1).await;
    let before = cursor(&scratch.store).await;
    let mut tasks = JoinSet::new();
    for _ in 0..16 {
        let (store, audit) = (scratch.store.clone(), scratch.audit());
        let ended = scratch.ended(user, SessionId::generate());
        tasks.spawn(async move { store.end_session(&ended, &audit).await.unwrap().1.id });
    }
    let mut ids = tasks.join_all().await;
    ids.sort_unstable();
    assert_eq!(ids, (before.id + 1..=before.id + 16).collect::<Vec<_>>());
    assert_eq!(*scratch.store.committed().borrow(), before.id + 16);
    let learned = scratch.learned(before).await;
    assert_eq!((learned.changes.len(), learned.cursor.id), (16, before.id + 16));
}

async fn ending_all_raises_version_and_floor(engine: Engine) {
    let scratch = Scratch::new(engine).await;
    let user = scratch.plant(5).await;
    let before = cursor(&scratch.store).await;
    scratch.store.end_all(user, EndCause::EndedByUser, None, &scratch.audit()).await.unwrap().unwrap();
    let standing = scratch.store.standing(user, SessionId::generate()).await.unwrap();
    let owner = standing.owner.unwrap();
    assert_eq!(owner.version, owner.floor.version);
    assert_eq!(owner.floor.version, owner.floor.at.millis());
    assert_eq!((owner.floor.cause, owner.floor.except, owner.roles_at), (EndCause::EndedByUser, None, 5));
    let learned = scratch.learned(before).await;
    assert_eq!(principal(&learned.changes, user).unwrap().floor, owner.floor);
    let nobody = scratch.store.end_all(UserId::generate(), EndCause::EndedByUser, None, &scratch.audit()).await;
    assert_eq!(nobody.unwrap(), None);
}

/// A counter that ran ahead of the clock still rises.
async fn versions_always_rise(engine: Engine) {
    let scratch = Scratch::new(engine).await;
    let ahead = scratch.clock.now().millis() + 1_000_000;
    let user = scratch.plant(ahead).await;
    for step in 1..=2 {
        scratch.store.end_all(user, EndCause::EndedByUser, None, &scratch.audit()).await.unwrap();
        assert_eq!(scratch.store.owner(user).await.unwrap().unwrap().0.version, ahead + step);
    }
}

async fn all_but_the_current_needs_a_living_current(engine: Engine) {
    let scratch = Scratch::new(engine).await;
    let user = scratch.plant(5).await;
    let keep = SessionId::generate();
    let end_all = async |keep| scratch.store.end_all(user, EndCause::EndedByUser, keep, &scratch.audit()).await;
    let owner = async || scratch.store.owner(user).await.unwrap().unwrap().0;

    end_all(Some((keep, 5))).await.unwrap().unwrap();
    assert_eq!(owner().await.floor.except, Some(keep));
    // Kept before, so its token may be below the floor; another session's may not.
    end_all(Some((keep, 5))).await.unwrap().unwrap();
    let other = SessionId::generate();
    assert!(matches!(end_all(Some((other, 5))).await, Err(EndAllError::KeepIsDead)));
    let version = owner().await.version;
    end_all(Some((other, version))).await.unwrap().unwrap();
    assert!(matches!(end_all(Some((keep, 5))).await, Err(EndAllError::KeepIsDead)));

    let version = owner().await.version;
    scratch.store.end_session(&scratch.ended(user, other), &scratch.audit()).await.unwrap();
    assert!(matches!(end_all(Some((other, version))).await, Err(EndAllError::KeepIsDead)));
    let (fence, _) = scratch.store.raise_fence(&scratch.audit()).await.unwrap();
    let third = SessionId::generate();
    assert!(matches!(end_all(Some((third, version))).await, Err(EndAllError::KeepIsDead)));
    end_all(Some((third, fence.version))).await.unwrap().unwrap();
    assert!(owner().await.version > fence.version);
}

async fn the_fence_stands_above_everybody(engine: Engine) {
    let scratch = Scratch::new(engine).await;
    let ahead = scratch.clock.now().millis() + 1_000_000;
    scratch.plant(7).await;
    let user = scratch.plant(ahead).await;
    let before = cursor(&scratch.store).await;
    let (fence, revision) = scratch.store.raise_fence(&scratch.audit()).await.unwrap();
    assert_eq!(fence.version, ahead + 1);
    assert_eq!(scratch.learned(before).await.changes, [Change::Fence(fence)]);
    assert_eq!(scratch.store.head().await.unwrap(), revision);
    assert_eq!(scratch.store.standing(user, SessionId::generate()).await.unwrap().fence, fence);
    let (higher, _) = scratch.store.raise_fence(&scratch.audit()).await.unwrap();
    assert_eq!(higher.version, fence.version + 1);
    // Tokens minted now carry the fence; whatever changes next must be above it, or it would not apply to them.
    let late = scratch.plant(7).await;
    scratch.store.end_all(late, EndCause::EndedByUser, None, &scratch.audit()).await.unwrap();
    assert_eq!(scratch.store.owner(late).await.unwrap().unwrap().0.version, higher.version + 1);
}

async fn generation_floors_never_fall(engine: Engine) {
    let scratch = Scratch::new(engine).await;
    let (user, session) = (scratch.plant(1).await, SessionId::generate());
    let floor = async || scratch.store.standing(user, session).await.unwrap().generation_floor;
    assert_eq!(floor().await, None);
    let end = scratch.clock.now() + Duration::from_hours(1);
    scratch.store.write_generation_floor(user, session, FLOOR_STEP, end).await.unwrap();
    let first = floor().await.unwrap();
    assert_eq!(first.generation, FLOOR_STEP);
    scratch.clock.advance(Duration::from_secs(1));
    scratch.store.write_generation_floor(user, session, FLOOR_STEP - 1, end).await.unwrap();
    assert_eq!(floor().await.unwrap(), first);
    scratch.store.write_generation_floor(user, session, u32::MAX, end).await.unwrap();
    let last = floor().await.unwrap();
    assert_eq!(last.generation, u32::MAX);
    assert!(last.at > first.at);
}

crate::store::testing::conformance![
    a_session_ends_once,
    only_the_sessions_that_are_asked_for_are_looked_up,
    ended_sessions_page_from_the_newest,
    ends_have_ids_without_gaps_in_commit_order,
    ending_all_raises_version_and_floor,
    versions_always_rise,
    all_but_the_current_needs_a_living_current,
    the_fence_stands_above_everybody,
    generation_floors_never_fall,
];
