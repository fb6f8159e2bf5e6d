//! The use cases over a real store, verifier and feed.

mod access;
mod bench;
mod people;
mod temporary;

use std::time::Duration;

use bench::{Bench, beyond, missing, role};

use crate::auth::admin::roles::ApplyPolicy;
use crate::auth::error::AuthError;
use crate::domain::id::ClientId;
use crate::domain::role::RoleFault;
use crate::store::{BindingFilter, ClientChange};
use crate::verifier::TokenFault;

#[tokio::test]
async fn a_token_for_somebody_else_administers_nothing() {
    let bench = Bench::new().await;
    let foreign = bench.sign_in_for("admin", "https://shop.example").await;
    assert!(matches!(bench.auth.administrator(&foreign, ""), Err(AuthError::TokenRefused(TokenFault::Invalid(_)))));
    assert!(matches!(bench.auth.administrator("nonsense", ""), Err(AuthError::TokenRefused(TokenFault::Invalid(_)))));
}

#[tokio::test]
async fn every_method_demands_its_permission() {
    let bench = Bench::new().await;
    let nobody = bench.user("nobody", &[]).await;
    let kim = bench.sign_in("nobody").await;
    let auth = &bench.auth;
    let web: ClientId = "web".parse().unwrap();
    let all = [
        ("postern:users:write", missing(bench.create(&kim, "new").await)),
        ("postern:users:read", missing(auth.get_user(&kim, &bench::by_id(nobody)).await)),
        ("postern:users:read", missing(auth.list_users(&kim, &bench::all_users()).await)),
        ("postern:users:write", missing(auth.update_user(&kim, nobody, None, bench::renamed("x")).await)),
        ("postern:users:write", missing(auth.disable_user(&kim, nobody, "").await)),
        ("postern:users:write", missing(auth.enable_user(&kim, nobody, "").await)),
        ("postern:users:delete", missing(auth.delete_user(&kim, nobody, "").await)),
        ("postern:users:write", missing(auth.set_password(&kim, nobody, bench::to_keep(bench::password())).await)),
        ("postern:roles:write", missing(auth.put_role(&kim, role("r", &[], &[])).await)),
        ("postern:roles:read", missing(auth.get_role(&kim, &bench::id("r")).await)),
        ("postern:roles:read", missing(auth.list_roles(&kim, None, 10).await)),
        ("postern:roles:write", missing(auth.delete_role(&kim, &bench::id("r"), true).await)),
        ("postern:roles:write", missing(auth.apply_policy(&kim, &bench::policy(Vec::new())).await)),
        ("postern:bindings:write", missing(bench.grant(&kim, nobody, "postern.backend", "").await)),
        ("postern:bindings:write", missing(bench.withdraw(&kim, nobody, "postern.backend", "").await)),
        ("postern:bindings:read", missing(auth.list_bindings(&kim, &bench::bindings_of(nobody)).await)),
        ("postern:clients:write", missing(auth.create_client(&kim, bench::client("web"), true).await.map(drop))),
        ("postern:clients:read", missing(auth.list_clients(&kim, None, 10).await)),
        ("postern:clients:write", missing(auth.update_client(&kim, &web, None, ClientChange::default()).await)),
        ("postern:clients:write", missing(auth.rotate_client_secret(&kim, &web, Duration::ZERO).await)),
        ("postern:clients:write", missing(auth.delete_client(&kim, &web).await)),
        ("postern:keys:read", missing(auth.list_keys(&kim, None, 10).await)),
        ("postern:access:explain", missing(bench.explain(&kim, nobody, "a:b", "").await)),
        ("postern:sessions:revoke", missing(auth.end_all_sessions(&kim, bench::ISSUER, "").await)),
        ("postern:audit:read", missing(auth.list_audit_events(&kim, &bench::all_events()).await)),
        ("postern:server:read", missing(auth.server_info(&kim))),
    ];
    for (expected, refused) in &all {
        assert_eq!(refused, expected);
    }
    // Each refusal is written down, with the method.
    let denied = bench.audited("authz_fail").await;
    assert_eq!(denied.len(), all.len());
    assert!(denied.iter().any(|detail| detail.contains("\"method\":\"EndAllSessions\"")), "{denied:?}");
}

#[tokio::test]
async fn what_holds_in_one_tenant_administers_that_tenant_only() {
    let bench = Bench::new().await;
    let admin = bench.sign_in("admin").await;
    let kim = bench.user("kim", &[]).await;
    bench.grant(&admin, kim, "postern.admin", "acme").await.unwrap();
    let other = bench.user("other", &[]).await;
    let kim = bench.sign_in("kim").await;
    let auth = &bench.auth;

    bench.grant(&kim, other, "postern.backend", "acme").await.unwrap();
    assert_eq!(missing(bench.grant(&kim, other, "postern.backend", "beta").await), "postern:bindings:write");
    assert_eq!(missing(bench.grant(&kim, other, "postern.backend", "").await), "postern:bindings:write");
    let here = BindingFilter { scope: Some(bench::scope("acme")), ..BindingFilter::default() };
    let list = |filter| crate::auth::admin::bindings::ListBindings { filter, after: None, page_size: 10 };
    assert_eq!(auth.list_bindings(&kim, &list(here)).await.unwrap().0.len(), 2);
    assert_eq!(missing(auth.list_bindings(&kim, &list(BindingFilter::default())).await), "postern:bindings:read");
    bench.withdraw(&kim, other, "postern.backend", "acme").await.unwrap();
    assert_eq!(missing(bench.withdraw(&kim, other, "postern.backend", "").await), "postern:bindings:write");
    assert_eq!(missing(auth.get_user(&kim, &bench::by_id(other)).await), "postern:users:read");
}

#[tokio::test]
async fn nobody_grants_what_they_do_not_hold() {
    let bench = Bench::new().await;
    let admin = bench.sign_in("admin").await;
    bench.put(&admin, role("granter", &["postern:bindings:write", "orders:read"], &[])).await;
    bench.put(&admin, role("reader", &["orders:read"], &[])).await;
    bench.put(&admin, role("clerk", &["orders:refund"], &["reader"])).await;
    let kim = bench.user("kim", &[("granter", "")]).await;
    let bearer = bench.sign_in("kim").await;

    bench.grant(&bearer, kim, "reader", "acme").await.unwrap();
    assert_eq!(beyond(bench.grant(&bearer, kim, "clerk", "acme").await), "orders:refund");
    assert_eq!(beyond(bench.grant(&bearer, kim, "postern.admin", "").await), "postern:**");
    // One's own role one may lay down.
    bench.grant(&admin, kim, "clerk", "").await.unwrap();
    bench.withdraw(&bearer, kim, "clerk", "").await.unwrap();

    let unknown = bench.grant(&admin, kim, "nothing", "").await;
    assert!(matches!(unknown, Err(AuthError::NotFound { what: "role" })));
    let nobody = crate::domain::id::UserId::generate();
    assert!(matches!(bench.grant(&admin, nobody, "clerk", "").await, Err(AuthError::NotFound { what: "principal" })));
    let ended = bench.grant_until(&admin, kim, "clerk", bench.auth.clock.now()).await;
    assert!(matches!(ended, Err(AuthError::InvalidField(_))));
}

/// To strip somebody who may more is to take them out as surely as to disable them.
#[tokio::test]
async fn nobody_takes_away_what_they_do_not_hold() {
    let bench = Bench::new().await;
    let admin = bench.sign_in("admin").await;
    bench.put(&admin, role("granter", &["postern:bindings:write", "orders:read"], &[])).await;
    bench.put(&admin, role("reader", &["orders:read"], &[])).await;
    bench.put(&admin, role("clerk", &["orders:refund"], &["reader"])).await;
    bench.user("kim", &[("granter", "acme")]).await;
    let lee = bench.user("lee", &[("reader", "acme"), ("clerk", "acme"), ("postern.admin", "acme")]).await;
    let kim = bench.sign_in("kim").await;

    assert_eq!(beyond(bench.withdraw(&kim, lee, "postern.admin", "acme").await), "postern:**");
    assert_eq!(beyond(bench.withdraw(&kim, lee, "clerk", "acme").await), "orders:refund");
    // Of somebody stronger too, what one could give may be taken; twice, since a retry must not fail.
    bench.withdraw(&kim, lee, "reader", "acme").await.unwrap();
    bench.withdraw(&kim, lee, "reader", "acme").await.unwrap();
    let robot: ClientId = "robot".parse().unwrap();
    bench.auth.create_client(&admin, bench::client("robot"), true).await.unwrap();
    let robot = crate::domain::id::PrincipalId::Client(robot);
    bench.auth.grant_role(&admin, &robot, bench::bound("clerk", "acme", None)).await.unwrap();
    let taken = bench.auth.withdraw_role(&kim, &robot, &bench::id("clerk"), &bench::scope("acme")).await;
    assert_eq!(beyond(taken), "orders:refund");
    let (held, _) = bench.auth.list_bindings(&admin, &bench::bindings_of(lee)).await.unwrap();
    let held: Vec<&str> = held.iter().map(|binding| binding.bound.role.as_str()).collect();
    assert_eq!(held, ["clerk", "postern.admin"]);
    bench.withdraw(&admin, lee, "postern.admin", "acme").await.unwrap();
}

#[tokio::test]
async fn roles_do_not_grow_beyond_who_writes_them() {
    let bench = Bench::new().await;
    let admin = bench.sign_in("admin").await;
    bench.put(&admin, role("author", &["postern:roles:*", "orders:**"], &[])).await;
    bench.put(&admin, role("cashier", &["billing:pay", "orders:read"], &[])).await;
    bench.user("kim", &[("author", "")]).await;
    let kim = bench.sign_in("kim").await;
    let auth = &bench.auth;

    auth.put_role(&kim, role("clerk", &["orders:*"], &[])).await.unwrap();
    assert_eq!(beyond(auth.put_role(&kim, role("clerk", &["billing:*"], &[])).await), "billing:*");
    assert_eq!(beyond(auth.put_role(&kim, role("clerk", &[], &["cashier"])).await), "billing:pay");
    // What a role has, it may keep.
    auth.put_role(&kim, role("cashier", &["billing:pay", "orders:write"], &[])).await.unwrap();
    let keeps = bench::policy(vec![role("cashier", &["billing:pay"], &[])]);
    let dry = ApplyPolicy { validate_only: true, ..bench::policy(vec![role("other", &["billing:pay"], &[])]) };
    assert_eq!(beyond(auth.apply_policy(&kim, &dry).await), "billing:pay");
    auth.apply_policy(&kim, &keeps).await.unwrap();
}

#[tokio::test]
async fn a_policy_is_replaced_as_a_whole() {
    let bench = Bench::new().await;
    let admin = bench.sign_in("admin").await;
    let auth = &bench.auth;
    bench.put(&admin, role("a", &["a:a"], &[])).await;
    bench.put(&admin, role("b", &["a:b"], &[])).await;
    let listed = auth.list_roles(&admin, None, 3).await.unwrap();
    let ids: Vec<&str> = listed.roles.iter().map(|role| role.id.as_str()).collect();
    assert_eq!((ids, listed.more), (vec!["a", "b", "postern.admin"], true));

    let stale = ApplyPolicy { expected_version: Some(listed.policy_version - 1), ..bench::policy(Vec::new()) };
    assert!(matches!(auth.apply_policy(&admin, &stale).await, Err(AuthError::EtagMismatch)));
    let roles = vec![role("b", &["a:c"], &["c"]), role("c", &[], &[])];
    let apply = ApplyPolicy { expected_version: Some(listed.policy_version), ..bench::policy(roles) };
    let diff = auth.apply_policy(&admin, &apply).await.unwrap();
    assert_eq!((diff.created.len(), diff.changed.len(), diff.deleted.len()), (1, 1, 1));
    assert!(diff.version > listed.policy_version);

    let cycle = bench::policy(vec![role("x", &[], &["y"]), role("y", &[], &["x"])]);
    assert!(matches!(auth.apply_policy(&admin, &cycle).await, Err(AuthError::RoleGraph(RoleFault::Cycle { .. }))));
    let built_in = bench::policy(vec![role("postern.admin", &[], &[])]);
    assert!(matches!(auth.apply_policy(&admin, &built_in).await, Err(AuthError::RoleGraph(_))));
}

#[tokio::test]
async fn one_role_is_kept_by_its_etag() {
    let bench = Bench::new().await;
    let admin = bench.sign_in("admin").await;
    let auth = &bench.auth;
    let first = bench.put(&admin, role("a", &["a:a"], &[])).await;
    let second = bench.put(&admin, role("a", &["a:b"], &[])).await;
    let with_etag = |etag: &str| crate::domain::role::Role { etag: etag.to_owned(), ..role("a", &["a:c"], &[]) };
    assert!(matches!(auth.put_role(&admin, with_etag(&first.etag)).await, Err(AuthError::EtagMismatch)));
    auth.put_role(&admin, with_etag(&second.etag)).await.unwrap();
    let new = crate::domain::role::Role { id: bench::id("new"), ..with_etag("1") };
    assert!(matches!(auth.put_role(&admin, new).await, Err(AuthError::EtagMismatch)));

    assert_eq!(auth.get_role(&admin, &bench::id("a")).await.unwrap().patterns[0].as_str(), "a:c");
    assert_eq!(auth.get_role(&admin, &bench::id("postern.front")).await.unwrap().patterns.len(), 4);
    assert!(matches!(auth.get_role(&admin, &bench::id("b")).await, Err(AuthError::NotFound { .. })));
    let built_in = auth.put_role(&admin, role("postern.x", &[], &[])).await;
    assert!(matches!(built_in, Err(AuthError::InvalidField(_))));
    let built_in = auth.delete_role(&admin, &bench::id("postern.front"), true).await;
    assert!(matches!(built_in, Err(AuthError::InvalidField(_))));

    bench.user("kim", &[("a", "")]).await;
    assert!(matches!(auth.delete_role(&admin, &bench::id("a"), false).await, Err(AuthError::InvalidField(_))));
    auth.delete_role(&admin, &bench::id("a"), true).await.unwrap();
    auth.delete_role(&admin, &bench::id("a"), false).await.unwrap();
}
