//! Roles and permissions as Verify answers them: deny by default, and every change counts at once, also for tokens that
//! were issued before it.

use std::time::Duration;

use postern::proto::auth::v1 as pb;

use crate::backstage::{self, Forge, Members, claims, delete_role, grant, grant_until, put_role, withdraw};
use crate::support::{Server, verdict};

const ALLOW: (pb::Decision, pb::Reason) = (pb::Decision::Allow, pb::Reason::Unspecified);
const MISSING: (pb::Decision, pb::Reason) = (pb::Decision::Deny, pb::Reason::PermissionMissing);

async fn may(server: &Server, token: &str, permission: &str, tenant: &str) -> bool {
    let answer = server.may(token, permission, tenant).await;
    let is_allowed = answer.decision() == pb::Decision::Allow;
    assert_eq!(verdict(&answer), if is_allowed { ALLOW } else { MISSING });
    is_allowed
}

/// What granted a permission, by way of `ask`.
async fn why(server: &Server, token: &str, permission: &str, tenant: &str) -> Option<pb::Grant> {
    let check = pb::Check { permission: permission.to_owned(), tenant: tenant.to_owned() };
    let request = pb::VerifyRequest { access_token: token.to_owned(), ask: vec![check], ..Default::default() };
    server.verify_with(request).await.unwrap().verdicts.remove(0).grant
}

fn granted(role: &str, inherited_role: &str, pattern: &str, tenant: &str) -> pb::Grant {
    let [role, inherited_role, pattern, tenant] = [role, inherited_role, pattern, tenant].map(ToOwned::to_owned);
    pb::Grant { role, inherited_role, pattern, tenant }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_allowed_by_default() {
    let server = backstage::server().await;
    backstage::user(&server, "kim").await;
    let token = backstage::token(&server, "kim").await;
    assert_eq!(verdict(&server.verify(&token).await), ALLOW, "a good token, and nothing is required");
    for permission in ["orders", "orders:read", "postern:users:read", "a:b:c:d:e:f:g:h"] {
        for tenant in ["", "acme"] {
            let answer = server.may(&token, permission, tenant).await;
            assert_eq!(verdict(&answer), MISSING, "{permission}");
            let missing = answer.refusal.unwrap().missing.unwrap();
            assert_eq!((missing.permission.as_str(), missing.tenant.as_str()), (permission, tenant));
        }
    }
    // A role that nobody defined grants nothing, whoever signs it.
    let forge = Forge::of(&server).await;
    let bold = Members::of(&claims(&token)).with("roles", r#"{"":["nobody-made-this","postern.root"]}"#);
    assert!(!may(&server, &forge.token(bold), "orders:read", "").await);
    // The administrator holds what is Postern's, not what is everybody's.
    let admin = server.login_admin().await.access_token;
    assert!(may(&server, &admin, "postern:users:write", "acme").await);
    assert!(!may(&server, &admin, "orders:read", "").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn patterns_match_without_surprises() {
    let server = backstage::server().await;
    let kim = backstage::user(&server, "kim").await;
    put_role(&server, "r", &[], &[]).await;
    grant(&server, kim, "r", "").await;
    let token = backstage::token(&server, "kim").await;
    for (pattern, permission, expected) in [
        ("orders:refund", "orders:refund", true),
        ("orders:refund", "orders:refund:own", false),
        ("orders:refund", "orders:read", false),
        ("orders", "orders:read", false),
        ("orders:*", "orders:read", true),
        ("orders:*", "orders", false),
        ("orders:*", "orders:read:own", false),
        ("orders:*:own", "orders:read:own", true),
        ("*:read", "orders:read", true),
        ("*:read", "read", false),
        ("orders:**", "orders:read:own", true),
        ("orders:**", "orders", false),
        ("orders:**", "orders-new:read", false),
        ("**", "a:b:c:d:e:f:g:h", true),
        ("*", "orders:read", false),
    ] {
        put_role(&server, "r", &[pattern], &[]).await;
        assert_eq!(may(&server, &token, permission, "").await, expected, "{pattern} and {permission}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_names_what_granted_it() {
    let server = backstage::server().await;
    put_role(&server, "reader", &["*:read"], &[]).await;
    put_role(&server, "clerk", &["orders:create"], &["reader"]).await;
    put_role(&server, "manager", &["orders:**"], &["clerk"]).await;
    let kim = backstage::user(&server, "kim").await;
    grant(&server, kim, "clerk", "").await;
    grant(&server, kim, "manager", "acme").await;
    let token = backstage::token(&server, "kim").await;
    for (permission, tenant, expected) in [
        ("orders:create", "", Some(granted("clerk", "", "orders:create", ""))),
        ("orders:read", "", Some(granted("clerk", "reader", "*:read", ""))),
        ("orders:read", "beta", Some(granted("clerk", "reader", "*:read", ""))),
        ("orders:refund:own", "acme", Some(granted("manager", "", "orders:**", "acme"))),
        ("orders:refund:own", "", None),
        ("orders:refund:own", "beta", None),
        // Both a binding everywhere and one here: the more specific pattern is named.
        ("orders:create", "acme", Some(granted("clerk", "", "orders:create", ""))),
        ("users:read", "acme", Some(granted("clerk", "reader", "*:read", ""))),
    ] {
        assert_eq!(why(&server, &token, permission, tenant).await, expected, "{permission} in {tenant:?}");
    }
}

/// Row 95: what is held in one tenant is nothing in another.
#[tokio::test(flavor = "multi_thread")]
async fn tenants_do_not_reach_each_other() {
    let server = backstage::server().await;
    put_role(&server, "owner", &["orders:**"], &[]).await;
    let (kim, lee) = (backstage::user(&server, "kim").await, backstage::user(&server, "lee").await);
    grant(&server, kim, "owner", "acme").await;
    grant(&server, lee, "owner", "beta").await;
    let (kim, lee) = (backstage::token(&server, "kim").await, backstage::token(&server, "lee").await);
    for (token, own, others) in
        [(&kim, "acme", ["beta", "Acme", "acme.", "acm", ""]), (&lee, "beta", ["acme", "b", "BETA", "beta-1", ""])]
    {
        assert!(may(&server, token, "orders:read", own).await);
        for other in others {
            assert!(!may(&server, token, "orders:read", other).await, "{other}");
        }
    }
}

/// Row 87: in both directions, for a token that was issued before.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_roles_applies_to_tokens_already_issued() {
    let server = backstage::server().await;
    put_role(&server, "clerk", &["orders:read"], &[]).await;
    put_role(&server, "owner", &["orders:**"], &[]).await;
    let kim = backstage::user(&server, "kim").await;
    let token = backstage::token(&server, "kim").await;
    for _round in 0..3 {
        assert!(!may(&server, &token, "orders:read", "").await);
        grant(&server, kim, "clerk", "").await;
        assert!(may(&server, &token, "orders:read", "").await);
        assert!(!may(&server, &token, "orders:write", "acme").await);
        grant(&server, kim, "owner", "acme").await;
        assert!(may(&server, &token, "orders:write", "acme").await);
        withdraw(&server, kim, "owner", "acme").await;
        assert!(!may(&server, &token, "orders:write", "acme").await);
        assert!(may(&server, &token, "orders:read", "acme").await);
        withdraw(&server, kim, "clerk", "").await;
    }
    // A token issued between has what held then, and is judged by what holds now.
    grant(&server, kim, "owner", "acme").await;
    let between = backstage::token(&server, "kim").await;
    assert_eq!(claims(&between)["roles"], serde_json::json!({ "acme": ["owner"] }));
    withdraw(&server, kim, "owner", "acme").await;
    assert!(!may(&server, &between, "orders:read", "acme").await);
    let after = backstage::token(&server, "kim").await;
    assert_eq!(claims(&after)["roles"], serde_json::json!({}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_policy_applies_at_once() {
    let server = backstage::server().await;
    put_role(&server, "reader", &["orders:read"], &[]).await;
    put_role(&server, "clerk", &["orders:write"], &["reader"]).await;
    let kim = backstage::user(&server, "kim").await;
    grant(&server, kim, "clerk", "").await;
    let token = backstage::token(&server, "kim").await;
    assert!(may(&server, &token, "orders:read", "").await && may(&server, &token, "orders:write", "").await);
    put_role(&server, "clerk", &[], &["reader"]).await;
    assert!(may(&server, &token, "orders:read", "").await && !may(&server, &token, "orders:write", "").await);
    put_role(&server, "reader", &["orders:list"], &[]).await;
    assert!(!may(&server, &token, "orders:read", "").await && may(&server, &token, "orders:list", "").await);
    put_role(&server, "clerk", &["orders:write"], &[]).await;
    assert!(!may(&server, &token, "orders:list", "").await && may(&server, &token, "orders:write", "").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_is_made_again_is_another() {
    let server = backstage::server().await;
    put_role(&server, "clerk", &["orders:read"], &[]).await;
    put_role(&server, "heir", &["orders:list"], &["clerk"]).await;
    let (kim, lee) = (backstage::user(&server, "kim").await, backstage::user(&server, "lee").await);
    grant(&server, kim, "clerk", "").await;
    grant(&server, kim, "clerk", "acme").await;
    grant(&server, lee, "heir", "").await;
    let (of_kim, of_lee) = (backstage::token(&server, "kim").await, backstage::token(&server, "lee").await);
    assert!(may(&server, &of_kim, "orders:read", "").await && may(&server, &of_lee, "orders:read", "").await);
    delete_role(&server, "clerk").await;
    assert!(!may(&server, &of_kim, "orders:read", "").await && !may(&server, &of_lee, "orders:read", "").await);
    put_role(&server, "clerk", &["orders:**"], &[]).await;
    // Neither the token that still names it, nor the heir, nor a new sign-in has it back.
    for tenant in ["", "acme"] {
        assert!(!may(&server, &of_kim, "orders:read", tenant).await);
        assert!(!may(&server, &backstage::token(&server, "kim").await, "orders:read", tenant).await);
        assert!(!may(&server, &of_lee, "orders:read", tenant).await);
    }
    assert!(may(&server, &of_lee, "orders:list", "").await);
    grant(&server, kim, "clerk", "").await;
    assert!(may(&server, &of_kim, "orders:read", "").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_binding_ends_by_itself() {
    let server = backstage::server().await;
    put_role(&server, "clerk", &["orders:read"], &[]).await;
    let kim = backstage::user(&server, "kim").await;
    let before = backstage::token(&server, "kim").await;
    let end = server.clock.now() + Duration::from_mins(5);
    grant_until(&server, kim, "clerk", "", Some(end)).await;
    // The one before has it by the feed, with its end; the one after carries it, and ends with it.
    let after = backstage::token(&server, "kim").await;
    assert_eq!(claims(&after)["exp"], end.secs());
    assert!(claims(&before)["exp"].as_i64().unwrap() > end.secs());
    assert!(may(&server, &before, "orders:read", "").await && may(&server, &after, "orders:read", "").await);
    backstage::advance(&server, Duration::from_mins(5) - Duration::from_secs(10)).await;
    assert!(may(&server, &before, "orders:read", "").await && may(&server, &after, "orders:read", "").await);
    backstage::advance(&server, Duration::from_secs(11)).await;
    assert!(!may(&server, &before, "orders:read", "").await);
    let ended = (pb::Decision::Unauthenticated, pb::Reason::TokenExpired);
    assert_eq!(verdict(&server.verify(&after).await), ended);
    // And it comes back with no refresh.
    let next = backstage::token(&server, "kim").await;
    assert_eq!(claims(&next)["roles"], serde_json::json!({}));
    assert!(!may(&server, &next, "orders:read", "").await);
}

/// Row 93: what is remembered of a token is its signature, never an answer.
#[tokio::test(flavor = "multi_thread")]
async fn no_answer_is_remembered() {
    let server = backstage::server().await;
    put_role(&server, "clerk", &["orders:read"], &[]).await;
    let kim = backstage::user(&server, "kim").await;
    grant(&server, kim, "clerk", "acme").await;
    let tokens = server.login("kim", crate::support::PASSWORD).await.unwrap().tokens.unwrap();
    let token = &tokens.access_token;
    for _round in 0..3 {
        assert!(may(&server, token, "orders:read", "acme").await);
        assert!(!may(&server, token, "orders:write", "acme").await);
        assert!(!may(&server, token, "orders:read", "beta").await);
        let request =
            pb::VerifyRequest { audience: "orders".to_owned(), access_token: token.clone(), ..Default::default() };
        assert_eq!(server.verify_with(request).await.unwrap().decision(), pb::Decision::Unauthenticated);
    }
    server.logout(&tokens.refresh_token).await;
    let revoked = (pb::Decision::Unauthenticated, pb::Reason::TokenRevoked);
    assert_eq!(verdict(&server.may(token, "orders:read", "acme").await), revoked);
}

/// What a replica knows it also finds again: it starts with all that may still meet a living token.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_taken_stays_taken_after_a_restart() {
    let server = backstage::server().await;
    put_role(&server, "clerk", &["orders:read"], &[]).await;
    let mut users = Vec::new();
    for name in ["kim", "lee", "mina", "noa"] {
        let id = backstage::user(&server, name).await;
        grant(&server, id, "clerk", "").await;
        users.push((id, server.login(name, crate::support::PASSWORD).await.unwrap().tokens.unwrap()));
    }
    let [(_, kept), (lee, withdrawn), (mina, deleted), (_, revoked)] = users.try_into().unwrap();
    withdraw(&server, lee, "clerk", "").await;
    backstage::delete_user(&server, mina).await;
    server.logout(&revoked.refresh_token).await;
    let server = server.restart().await;
    let ended = (pb::Decision::Unauthenticated, pb::Reason::TokenRevoked);
    for (tokens, expected) in [(kept, ALLOW), (withdrawn, MISSING), (deleted, ended), (revoked, ended)] {
        assert_eq!(verdict(&server.may(&tokens.access_token, "orders:read", "").await), expected);
    }
}
