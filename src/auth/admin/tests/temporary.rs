//! Who administers for a time only keeps nothing of it.

use std::time::Duration;

use super::bench::{self, Bench, ISSUER, beyond, bound, password, role, to_keep};
use crate::auth::admin::caller::Caller;
use crate::domain::client::Registration;
use crate::domain::id::{ClientId, PrincipalId};
use crate::store::ClientChange;

/// Kim, who is a clerk for good and an administrator for an hour.
async fn for_an_hour(bench: &Bench, admin: &Caller) -> Caller {
    bench.put(admin, role("clerk", &["orders:read"], &[])).await;
    let kim = bench.user("kim", &[("clerk", "")]).await;
    let end = bench.auth.clock.now() + Duration::from_hours(1);
    bench.grant_until(admin, kim, "postern.admin", end).await.unwrap();
    bench.sign_in("kim").await
}

#[tokio::test]
async fn no_role_keeps_what_its_author_holds_for_an_hour() {
    let bench = Bench::new().await;
    let admin = bench.sign_in("admin").await;
    let kim = for_an_hour(&bench, &admin).await;
    let auth = &bench.auth;
    assert_eq!(beyond(auth.put_role(&kim, role("clerk", &["orders:read", "postern:**"], &[])).await), "postern:**");
    assert_eq!(beyond(auth.put_role(&kim, role("clerk", &["orders:read"], &["postern.admin"])).await), "postern:**");
    let policy = bench::policy(vec![role("clerk", &["**"], &[])]);
    assert_eq!(beyond(auth.apply_policy(&kim, &policy).await), "**");
    // What is theirs for good they may write, and what a role has it may keep.
    auth.put_role(&kim, role("reader", &["orders:read"], &[])).await.unwrap();
    auth.apply_policy(&kim, &bench::policy(vec![role("clerk", &["orders:read"], &[])])).await.unwrap();
    auth.put_role(&admin, role("clerk", &["orders:read", "orders:write"], &[])).await.unwrap();
}

#[tokio::test]
async fn nobody_becomes_for_good_who_they_match_for_an_hour() {
    let bench = Bench::new().await;
    let admin = bench.sign_in("admin").await;
    let kim = for_an_hour(&bench, &admin).await;
    let auth = &bench.auth;
    let strong = bench.user("strong", &[("postern.admin", "")]).await;
    assert_eq!(beyond(auth.set_password(&kim, strong, to_keep(password())).await), "postern:**");
    assert_eq!(beyond(auth.update_user(&kim, strong, None, bench::renamed("x")).await), "postern:**");

    let robot: ClientId = "robot".parse().unwrap();
    auth.create_client(&admin, bench::client("robot"), true).await.unwrap();
    let principal = PrincipalId::Client(robot.clone());
    auth.grant_role(&admin, &principal, bound("postern.admin", "", None)).await.unwrap();
    assert_eq!(beyond(auth.rotate_client_secret(&kim, &robot, Duration::ZERO).await.map(drop)), "postern:**");
    let sans = ClientChange { mtls_sans: Some(vec!["kim.example".parse().unwrap()]), ..ClientChange::default() };
    assert_eq!(beyond(auth.update_client(&kim, &robot, None, sans).await), "postern:**");

    // A front that gets tokens for Postern itself would administer on.
    let open = || ClientChange { token_audiences: Some(vec![ISSUER.into()]), ..ClientChange::default() };
    auth.create_client(&admin, bench::client("front"), true).await.unwrap();
    assert_eq!(beyond(auth.update_client(&kim, &"front".parse().unwrap(), None, open()).await), "postern:**");
    let new = Registration { token_audiences: vec![ISSUER.into()], ..bench::client("other") };
    assert_eq!(beyond(auth.create_client(&kim, new, true).await.map(drop)), "postern:**");

    // To stop somebody is less than to become them, and who ends sooner is no more than they are.
    let disabled = ClientChange { disabled: Some(true), ..ClientChange::default() };
    auth.update_client(&kim, &robot, None, disabled).await.unwrap();
    auth.disable_user(&kim, strong, "").await.unwrap();
    let clerk = bench.user("other", &[("clerk", "")]).await;
    auth.set_password(&kim, clerk, to_keep(password())).await.unwrap();
    let soon = bench.user("soon", &[]).await;
    let end = auth.clock.now() + Duration::from_mins(10);
    bench.grant_until(&admin, soon, "postern.admin", end).await.unwrap();
    auth.set_password(&kim, soon, to_keep(password())).await.unwrap();
}
