use super::*;
use crate::domain::change::Change;
use crate::store::testing::{Engine, Scratch, bound};

/// Everything that a verifier would have kept.
async fn known(scratch: &Scratch) -> (Vec<EndedSession>, Vec<PrincipalState>, Fence) {
    let (mut sessions, mut floors, mut fence) = (Vec::new(), Vec::new(), Fence::default());
    for change in scratch.store.load().await.unwrap().changes {
        match change {
            Change::SessionEnded(ended) => sessions.push(ended),
            Change::Principal(state) => floors.push(state),
            Change::Fence(known) => fence = known,
            Change::Policy { .. } | Change::Keys(_) | Change::Clients(_) => {}
        }
    }
    (sessions, floors, fence)
}

/// What was acknowledged, lost by a restore, and known to a verifier, holds again.
async fn what_was_lost_is_restored(engine: Engine) {
    let scratch = Scratch::new(engine).await;
    let kim = scratch.user("kim@example.com", vec![bound("postern.front", "")]).await;
    let lee = scratch.user("lee@example.com", Vec::new()).await;
    let gone = scratch.user("gone@example.com", Vec::new()).await;
    let session = SessionId::generate();
    let (scratch, backup) = scratch.copied().await;
    let (store, audit) = (&scratch.store, scratch.audit());

    store.end_session(&scratch.ended(kim, session), &audit).await.unwrap();
    store.end_all(kim, EndCause::EndedByUser, Some((session, i64::MAX)), &scratch.audit()).await.unwrap_err();
    let kept = SessionId::generate();
    store.end_all(kim, EndCause::EndedByUser, Some((kept, i64::MAX)), &scratch.audit()).await.unwrap();
    store.disable_user(lee, &scratch.audit()).await.unwrap();
    store.raise_fence(&scratch.audit()).await.unwrap();
    store.delete_user(gone, &scratch.audit()).await.unwrap();
    let (sessions, floors, fence) = known(&scratch).await;
    let before = scratch.owner(kim).await;

    let restored = &backup.store;
    assert!(restored.standing(kim, session).await.unwrap().revoked.is_none());
    assert_eq!(restored.write_back(&sessions, &floors, fence).await.unwrap(), 5, "one end, three users, the fence");
    let standing = restored.standing(kim, session).await.unwrap();
    assert_eq!((standing.revoked, standing.fence), (Some(sessions[0].end), fence));
    let owner = standing.owner.unwrap();
    assert_eq!(owner.floor, before.floor);
    assert_eq!(owner.floor.except, Some(kept));
    assert!(owner.version > before.version && owner.version > fence.version);
    assert_eq!(owner.roles_at, owner.version);
    assert!(!restored.owner(lee).await.unwrap().unwrap().0.active);
    assert!(!restored.owner(gone).await.unwrap().unwrap().0.active);

    let head = restored.head().await.unwrap();
    assert_eq!(restored.write_back(&sessions, &floors, fence).await.unwrap(), 0);
    assert_eq!(restored.head().await.unwrap(), head);
    assert_eq!(restored.owner(kim).await.unwrap().unwrap().0, owner);
}

async fn nothing_is_lowered(engine: Engine) {
    let scratch = Scratch::new(engine).await;
    let kim = scratch.user("kim@example.com", Vec::new()).await;
    let (sessions, floors, fence) = known(&scratch).await;
    scratch.store.end_all(kim, EndCause::EndedByAdmin, None, &scratch.audit()).await.unwrap();
    let (fence_now, revision) = scratch.store.raise_fence(&scratch.audit()).await.unwrap();
    let owner = scratch.owner(kim).await;
    assert_eq!(scratch.store.write_back(&sessions, &floors, fence).await.unwrap(), 0);
    assert_eq!(scratch.store.head().await.unwrap(), revision);
    assert_eq!(scratch.owner(kim).await, owner);
    assert_eq!(scratch.store.standing(kim, SessionId::generate()).await.unwrap().fence, fence_now);
}

/// More than one transaction has time for, and a user of whom only a grant was lost: the next version must not be one that
/// verifiers know already for something else.
async fn nothing_is_too_much(engine: Engine) {
    let scratch = Scratch::new(engine).await;
    let kim = scratch.user("kim@example.com", Vec::new()).await;
    let (scratch, backup) = scratch.copied().await;
    let role = bound("postern.front", "");
    scratch.store.grant(&PrincipalId::User(kim), &role, &PrincipalId::User(kim), &scratch.audit()).await.unwrap();
    let ended: Vec<_> = (0..350).map(|_| scratch.ended(kim, SessionId::generate())).collect();
    scratch.store.end_sessions(&ended, &scratch.audit()).await.unwrap();
    let granted = scratch.owner(kim).await;
    let (sessions, states, fence) = known(&scratch).await;
    assert_eq!(backup.store.write_back(&sessions, &states, fence).await.unwrap(), 351);
    assert_eq!(backup.number("SELECT count(*) FROM revocations").await, 350);
    let owner = backup.owner(kim).await;
    assert!(owner.version > granted.version && owner.roles_at == owner.version, "{owner:?}");
    assert_eq!(
        (owner.floor, owner.bindings.len()),
        (granted.floor, 0),
        "the grant is lost, and its tokens are told so"
    );
}

crate::store::testing::conformance![what_was_lost_is_restored, nothing_is_lowered, nothing_is_too_much,];
