//! Users, and what happens to their sessions.

use uuid::Uuid;

use super::bench::{self, Bench, ISSUER, beyond, password, role};
use crate::auth::admin::users::{CreateUser, ListUsers};
use crate::auth::error::AuthError;
use crate::domain::account::{Profile, UserState};
use crate::domain::id::{PrincipalId, UserId};
use crate::domain::password::{Password, PasswordRule};
use crate::domain::session::TokenScope;
use crate::verifier::TokenFault;

fn revoked<T>(answer: &Result<T, AuthError>) -> bool {
    matches!(answer, Err(AuthError::TokenRefused(TokenFault::Revoked)))
}

#[tokio::test]
async fn a_user_is_made_once() {
    let bench = Bench::new().await;
    let admin = bench.sign_in("admin").await;
    let auth = &bench.auth;
    let request_id = Some(Uuid::now_v7());
    let create = |email: &str| CreateUser {
        profile: Profile { email: Some(email.parse().unwrap()), ..Profile::default() },
        password: Some(password()),
        request_id,
    };
    let (first, _) = auth.create_user(&admin, create("kim@example.com")).await.unwrap();
    let (again, _) = auth.create_user(&admin, create("kim@example.com")).await.unwrap();
    assert_eq!(first, again);
    assert_eq!(bench.audited("user_created").await.len(), 2, "the administrator and one");
    let other = CreateUser { request_id: None, ..create("KIM@example.com") };
    let taken = auth.create_user(&admin, other).await;
    assert!(matches!(taken, Err(AuthError::IdentifierTaken { field: "email" })));
    assert!(bench.sign_in_with("kim@example.com", password(), TokenScope::default()).await.is_ok());
}

#[tokio::test]
async fn passwords_keep_to_the_rule() {
    let bench = Bench::new().await;
    let admin = bench.sign_in("admin").await;
    let auth = &bench.auth;
    let kim = bench.user("kim", &[]).await;
    let short = || Password::from_typed("14 code points").unwrap();
    let set = auth.set_password(&admin, kim, short()).await;
    assert!(matches!(set, Err(AuthError::PasswordRefused(PasswordRule::TooShort { min_length: 15 }))));
    let create = CreateUser { profile: Profile::default(), password: Some(short()), request_id: None };
    assert!(matches!(auth.create_user(&admin, create).await, Err(AuthError::PasswordRefused(_))));
    let nobody = auth.set_password(&admin, UserId::generate(), password()).await;
    assert!(matches!(nobody, Err(AuthError::NotFound { what: "user" })));
}

#[tokio::test]
async fn a_new_password_ends_all_sessions() {
    let bench = Bench::new().await;
    let admin = bench.sign_in("admin").await;
    let kim = bench.user("kim", &[]).await;
    let token = bench.sign_in_for("kim", ISSUER).await;
    let new = || Password::from_typed("another long password").unwrap();
    bench.auth.set_password(&admin, kim, new()).await.unwrap();
    // The change was seen here before its answer.
    assert!(revoked(&bench.auth.administrator(&token, "")));
    assert!(bench.sign_in_with("kim", password(), TokenScope::default()).await.is_err());
    assert!(bench.sign_in_with("kim", new(), TokenScope::default()).await.is_ok());
}

#[tokio::test]
async fn who_is_disabled_is_out_until_enabled() {
    let bench = Bench::new().await;
    let admin = bench.sign_in("admin").await;
    let auth = &bench.auth;
    let kim = bench.user("kim", &[]).await;
    let token = bench.sign_in_for("kim", ISSUER).await;
    auth.disable_user(&admin, kim, "left \"us\"").await.unwrap();
    auth.disable_user(&admin, kim, "again").await.unwrap();
    assert!(revoked(&auth.administrator(&token, "")));
    assert!(bench.sign_in_with("kim", password(), TokenScope::default()).await.is_err());
    assert_eq!(auth.get_user(&admin, &bench::by_id(kim)).await.unwrap().state, UserState::Disabled);
    auth.enable_user(&admin, kim, "").await.unwrap();
    assert!(revoked(&auth.administrator(&token, "")));
    assert!(bench.sign_in_with("kim", password(), TokenScope::default()).await.is_ok());
    let disabled = bench.audited("user_disabled").await;
    assert_eq!(disabled, [r#"{"note":"left \"us\""}"#], "what changed nothing is not written down");
}

#[tokio::test]
async fn who_is_deleted_is_gone() {
    let bench = Bench::new().await;
    let admin = bench.sign_in("admin").await;
    let auth = &bench.auth;
    let kim = bench.user("kim", &[]).await;
    let token = bench.sign_in_for("kim", ISSUER).await;
    auth.delete_user(&admin, kim, "").await.unwrap();
    auth.delete_user(&admin, kim, "").await.unwrap();
    assert!(revoked(&auth.administrator(&token, "")));
    let gone = auth.get_user(&admin, &bench::by_id(kim)).await;
    assert!(matches!(gone, Err(AuthError::NotFound { what: "user" })));
    let update = auth.update_user(&admin, kim, None, bench::renamed("x")).await;
    assert!(matches!(update, Err(AuthError::NotFound { what: "user" })));
}

#[tokio::test]
async fn the_last_administrator_stays() {
    let bench = Bench::new().await;
    let admin = bench.sign_in("admin").await;
    let auth = &bench.auth;
    let PrincipalId::User(own) = admin.principal() else { panic!("a person") };
    for refused in [
        auth.disable_user(&admin, own, "").await,
        auth.delete_user(&admin, own, "").await,
        bench.withdraw(&admin, own, "postern.admin", "").await,
        bench
            .grant_until(&admin, own, "postern.admin", bench.auth.clock.now() + std::time::Duration::from_mins(5))
            .await
            .map(|granted| granted.1),
    ] {
        assert!(matches!(refused, Err(AuthError::LastOne { .. })), "{refused:?}");
    }
    let kim = bench.user("kim", &[]).await;
    bench.grant(&admin, kim, "postern.admin", "").await.unwrap();
    bench.withdraw(&admin, own, "postern.admin", "").await.unwrap();
}

#[tokio::test]
async fn helpers_do_not_touch_who_is_stronger() {
    let bench = Bench::new().await;
    let admin = bench.sign_in("admin").await;
    bench.put(&admin, role("helpdesk", &["postern:users:*"], &[])).await;
    bench.put(&admin, role("clerk", &["orders:*"], &[])).await;
    let helper = bench.user("helper", &[("helpdesk", "")]).await;
    let equal = bench.user("equal", &[("helpdesk", "")]).await;
    let clerk = bench.user("clerk", &[("clerk", "acme")]).await;
    let PrincipalId::User(boss) = admin.principal() else { panic!("a person") };
    let bearer = bench.sign_in("helper").await;
    let auth = &bench.auth;
    for (target, pattern) in [(boss, "postern:**"), (clerk, "orders:*")] {
        assert_eq!(beyond(auth.set_password(&bearer, target, password()).await), pattern);
        assert_eq!(beyond(auth.update_user(&bearer, target, None, bench::renamed("x")).await), pattern);
        assert_eq!(beyond(auth.disable_user(&bearer, target, "").await), pattern);
        assert_eq!(beyond(auth.enable_user(&bearer, target, "").await), pattern);
        assert_eq!(beyond(auth.delete_user(&bearer, target, "").await), pattern);
    }
    assert_eq!(bench.audited("authz_fail").await.len(), 10);
    auth.update_user(&bearer, helper, None, bench::renamed("me")).await.unwrap();
    auth.set_password(&bearer, equal, password()).await.unwrap();
    bench.create(&bearer, "new").await.unwrap();
    auth.set_password(&admin, clerk, password()).await.unwrap();
}

#[tokio::test]
async fn an_update_heeds_its_etag() {
    let bench = Bench::new().await;
    let admin = bench.sign_in("admin").await;
    let auth = &bench.auth;
    let kim = bench.user("kim", &[]).await;
    let before = auth.get_user(&admin, &bench::by_id(kim)).await.unwrap();
    let etag = Some(before.etag.as_str());
    let (after, _) = auth.update_user(&admin, kim, etag, bench::renamed("first")).await.unwrap();
    assert_ne!(after.etag, before.etag);
    let stale = auth.update_user(&admin, kim, etag, bench::renamed("second")).await;
    assert!(matches!(stale, Err(AuthError::EtagMismatch)));
}

#[tokio::test]
async fn users_come_in_pages() {
    let bench = Bench::new().await;
    let admin = bench.sign_in("admin").await;
    for name in ["kim", "kit", "lee"] {
        bench.user(name, &[]).await;
    }
    let auth = &bench.auth;
    let mut seen = Vec::new();
    let mut list = bench::all_users();
    loop {
        let (users, more) = auth.list_users(&admin, &list).await.unwrap();
        assert!(users.len() <= 2);
        seen.extend(users.iter().map(|user| user.user_name.as_ref().unwrap().as_given().to_owned()));
        list.after = users.last().map(|user| user.id);
        if !more {
            break;
        }
    }
    assert_eq!(seen, ["admin", "kim", "kit", "lee"]);
    let list = ListUsers { prefix: "KI".into(), ..bench::all_users() };
    assert_eq!(auth.list_users(&admin, &list).await.unwrap().0.len(), 2);
}

/// The hash of a new password waits in a queue; who is made an administrator in the meantime must not be taken over.
#[tokio::test]
async fn who_becomes_stronger_while_the_password_is_hashed_is_not_touched() {
    let mut bench = Bench::new().await;
    let admin = bench.sign_in("admin").await;
    bench.put(&admin, role("helpdesk", &["postern:users:*"], &[])).await;
    bench.user("helper", &[("helpdesk", "")]).await;
    let helper = bench.sign_in("helper").await;
    let kim = bench.user("kim", &[]).await;
    bench.hash_slowly();

    let new = Password::from_typed("another long password").unwrap();
    let set = bench.auth.set_password(&helper, kim, new);
    let promote = async {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        bench.grant(&admin, kim, "postern.admin", "").await.unwrap();
    };
    let (refused, ()) = tokio::join!(set, promote);
    assert_eq!(beyond(refused), "postern:**");
}
