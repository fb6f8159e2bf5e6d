//! Who administers for a time only keeps nothing of it.

use std::time::Duration;

use super::bench::{self, Bench, beyond, role};
use crate::auth::admin::caller::Caller;

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
