use std::time::Duration;

use tokio::task::JoinSet;

use super::*;
use crate::domain::id::{PrincipalId, SessionId};
use crate::domain::permission::Scope;
use crate::domain::role::BoundRole;
use crate::store::testing::{Engine, Scratch, bound, principal};
use crate::store::{GrantError, WithdrawError};

async fn disabling_ends_sessions_and_is_idempotent(engine: Engine) {
    let scratch = Scratch::new(engine).await;
    let user = scratch.user("kim@example.com", Vec::new()).await;
    let cursor = scratch.cursor().await;
    let disabled = scratch.store.disable_user(user, &scratch.audit()).await.unwrap();
    assert!(disabled.changed);
    let owner = scratch.owner(user).await;
    assert!(!owner.active);
    assert_eq!((owner.floor.version, owner.floor.cause), (owner.version, EndCause::UserDisabled));
    assert_eq!(principal(&scratch.learned(cursor).await.changes, user).unwrap().floor, owner.floor);
    let again = scratch.store.disable_user(user, &scratch.audit()).await.unwrap();
    assert_eq!(again, Changed { changed: false, ..disabled });

    assert!(scratch.store.enable_user(user, &scratch.audit()).await.unwrap().changed);
    let enabled = scratch.owner(user).await;
    assert!(enabled.active);
    assert_eq!(enabled.floor, owner.floor);
    assert!(!scratch.store.enable_user(user, &scratch.audit()).await.unwrap().changed);
    let nobody = UserId::generate();
    assert!(matches!(scratch.store.disable_user(nobody, &scratch.audit()).await, Err(ChangeUserError::NotFound)));
}

async fn deletion_takes_all_but_revocations(engine: Engine) {
    let scratch = Scratch::new(engine).await;
    let user = scratch.user("kim@example.com", vec![bound("postern.front", "t")]).await;
    let session = SessionId::generate();
    scratch.store.end_session(&scratch.ended(user, session), &scratch.audit()).await.unwrap();
    let cursor = scratch.cursor().await;
    assert!(scratch.store.delete_user(user, &scratch.audit()).await.unwrap().changed);
    assert_eq!(scratch.number("SELECT (SELECT count(*) FROM passwords) + (SELECT count(*) FROM bindings)").await, 0);
    assert_eq!(principal(&scratch.learned(cursor).await.changes, user).unwrap().floor.version, i64::MAX);
    let standing = scratch.store.standing(user, session).await.unwrap();
    assert!(standing.owner.is_none() && standing.revoked.is_some());
    assert!(!scratch.store.delete_user(user, &scratch.audit()).await.unwrap().changed);
}

async fn a_new_password_ends_sessions(engine: Engine) {
    let scratch = Scratch::new(engine).await;
    let user = scratch.user("kim@example.com", Vec::new()).await;
    let before = scratch.owner(user).await.version;
    scratch.clock.advance(Duration::from_secs(1));
    scratch.store.set_password(user, "new hash", false, &scratch.audit()).await.unwrap();
    let owner = scratch.owner(user).await;
    assert!(owner.floor.version > before && owner.roles_at == before);
    assert_eq!(owner.floor.cause, EndCause::CredentialChanged);
    assert!(scratch.store.replace_password_hash(user, "new hash", "x").await.unwrap());
    let nobody = scratch.store.set_password(UserId::generate(), "x", false, &scratch.audit()).await;
    assert!(matches!(nobody, Err(ChangeUserError::NotFound)));
}

async fn one_s_own_new_password_leaves_the_session_that_asks(engine: Engine) {
    let scratch = Scratch::new(engine).await;
    let (user, own) = (scratch.user("kim@example.com", Vec::new()).await, SessionId::generate());
    let version = scratch.owner(user).await.version;
    scratch.store.set_password(user, "old", true, &scratch.audit()).await.unwrap();
    let change = async |version, proven: Option<&str>| {
        scratch.store.change_password(user, (own, version), proven, "new", &scratch.audit()).await
    };
    assert!(matches!(change(version, Some("old")).await, Err(ChangePasswordError::SessionIsDead)));
    let version = scratch.owner(user).await.version;
    assert!(matches!(change(version, Some("other")).await, Err(ChangePasswordError::Raced)));
    assert!(matches!(change(version, None).await, Err(ChangePasswordError::Raced)));
    let before = scratch.owner(user).await.floor;
    change(version, Some("old")).await.unwrap();
    let floor = scratch.owner(user).await.floor;
    assert!(floor.version > before.version);
    assert_eq!((floor.cause, floor.except), (EndCause::CredentialChanged, Some(own)));
    let credential = scratch.store.credential_of(user).await.unwrap().found.unwrap();
    assert!(!credential.password_due);
    assert!(!scratch.store.replace_password_hash(user, "old", "older").await.unwrap());
    // Once more, with a token from before: the exemption holds, and nobody else's session has it.
    assert!(matches!(change(version, Some("old")).await, Err(ChangePasswordError::Raced)));
    change(version, Some("new")).await.unwrap();
    let other = (SessionId::generate(), version);
    let refused = scratch.store.change_password(user, other, Some("new"), "x", &scratch.audit()).await;
    assert!(matches!(refused, Err(ChangePasswordError::SessionIsDead)));
    let nobody = scratch.store.change_password(UserId::generate(), (own, version), None, "x", &scratch.audit()).await;
    assert!(matches!(nobody, Err(ChangePasswordError::SessionIsDead)));
}

async fn an_administrator_remains(engine: Engine) {
    let scratch = Scratch::new(engine).await;
    let admin = || bound("postern.admin", "");
    let kim = scratch.user("kim@example.com", vec![admin()]).await;
    let soon = BoundRole { expires_at: Some(scratch.clock.now() + Duration::from_hours(1)), ..admin() };
    // These do not count: in one tenant only, for an hour only.
    scratch.user("a@example.com", vec![bound("postern.admin", "t")]).await;
    let lee = scratch.user("b@example.com", vec![soon.clone()]).await;
    assert_eq!(scratch.store.administrators().await.unwrap(), 1);

    let (store, head) = (&scratch.store, scratch.store.head().await.unwrap());
    let role = "postern.admin".parse().unwrap();
    let last = |error| matches!(error, Err(ChangeUserError::LastAdministrator));
    assert!(last(store.disable_user(kim, &scratch.audit()).await));
    assert!(last(store.delete_user(kim, &scratch.audit()).await));
    let withdrawn = store.withdraw(&PrincipalId::User(kim), &role, &Scope::Everywhere, &scratch.audit()).await;
    assert!(matches!(withdrawn, Err(WithdrawError::LastAdministrator)));
    let shortened = store.grant(&PrincipalId::User(kim), &soon, &PrincipalId::User(kim), &scratch.audit()).await;
    assert!(matches!(shortened, Err(GrantError::LastAdministrator)));
    // Nothing of it was written.
    assert_eq!(store.head().await.unwrap(), head);
    assert!(scratch.owner(kim).await.active);
    assert_eq!(scratch.owner(kim).await.bindings, [admin()]);

    // Others can still go, and with a second one the first can.
    store.disable_user(lee, &scratch.audit()).await.unwrap();
    store.enable_user(lee, &scratch.audit()).await.unwrap();
    store.grant(&PrincipalId::User(lee), &admin(), &PrincipalId::User(kim), &scratch.audit()).await.unwrap();
    store.disable_user(kim, &scratch.audit()).await.unwrap();
    assert_eq!(store.administrators().await.unwrap(), 1);
}

async fn of_all_administrators_one_remains_in_a_race(engine: Engine) {
    let scratch = Scratch::new(engine).await;
    let mut tasks = JoinSet::new();
    for number in 0..16 {
        let user = scratch.user(&format!("u{number}@example.com"), vec![bound("postern.admin", "")]).await;
        let (store, audit) = (scratch.store.clone(), scratch.audit());
        tasks.spawn(async move {
            tokio::task::yield_now().await;
            store.delete_user(user, &audit).await.is_ok()
        });
    }
    tasks.join_all().await;
    assert!(scratch.store.administrators().await.unwrap() >= 1);
}

crate::store::testing::conformance![
    of_all_administrators_one_remains_in_a_race,
    disabling_ends_sessions_and_is_idempotent,
    deletion_takes_all_but_revocations,
    a_new_password_ends_sessions,
    one_s_own_new_password_leaves_the_session_that_asks,
    an_administrator_remains,
];
