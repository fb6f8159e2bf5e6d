//! What is in the tokens that the service issues, and what bounds them.

use std::collections::BTreeSet;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use postern::proto::auth::v1 as pb;
use tonic::Code;

use crate::backstage::{self, claims, decoded, grant, grant_until, put_role, withdraw};
use crate::support::{Answer, PASSWORD, Server, login_request, reason, verdict};

async fn login_in(server: &Server, name: &str, tenant: &str) -> Answer<pb::TokenPair> {
    let options = pb::TokenOptions { tenant: tenant.to_owned(), ..Default::default() };
    let request = pb::LoginRequest { token_options: Some(options), ..login_request(name, PASSWORD) };
    let answer = server.client().login(request).await?.into_inner();
    let Some(pb::login_response::Outcome::SignIn(sign_in)) = answer.outcome else { panic!("no outcome") };
    Ok(sign_in.tokens.unwrap())
}

async fn refresh_in(server: &Server, refresh_token: &str, tenant: &str) -> Answer<pb::TokenPair> {
    let options = pb::TokenOptions { tenant: tenant.to_owned(), ..Default::default() };
    let request = pb::RefreshRequest {
        refresh_token: refresh_token.to_owned(),
        token_options: Some(options),
        ..Default::default()
    };
    Ok(server.client().refresh(request).await?.into_inner().tokens.unwrap())
}

/// Row 72, with refreshes in place of most sign-ins, which cost a hash each.
#[tokio::test(flavor = "multi_thread")]
async fn every_claim_is_there_and_no_id_twice() {
    let server = backstage::server().await;
    put_role(&server, "clerk", &["orders:read"], &[]).await;
    let kim = backstage::user(&server, "kim").await;
    grant(&server, kim, "clerk", "").await;
    grant(&server, kim, "clerk", "acme").await;
    let mut ids = BTreeSet::new();
    for _session in 0..4 {
        let mut tokens = server.login("kim", PASSWORD).await.unwrap().tokens.unwrap();
        for round in 0..25 {
            let token = &tokens.access_token;
            assert!(token.len() <= 3 * 1024);
            let header = decoded(token.split('.').next().unwrap());
            assert_eq!(header.keys().collect::<Vec<_>>(), ["alg", "kid", "typ"]);
            assert_eq!((&header["alg"], &header["typ"]), (&"EdDSA".into(), &"at+jwt".into()));
            let claims = claims(token);
            let mut names: Vec<&str> = claims.keys().map(String::as_str).collect();
            names.sort_unstable();
            let expected =
                ["amr", "aud", "auth_time", "client_id", "exp", "iat", "iss", "jti", "roles", "sid", "sub", "ver"];
            assert_eq!(names, expected);
            assert_eq!(claims["iss"], server.issuer.as_str());
            assert_eq!(claims["aud"], serde_json::json!([server.issuer]));
            assert_eq!((&claims["sub"], &claims["sid"]), (&kim.to_string().into(), &tokens.session_id.as_str().into()));
            assert_eq!((&claims["client_id"], &claims["amr"]), (&"dev".into(), &serde_json::json!(["pwd"])));
            assert_eq!(claims["roles"], serde_json::json!({ "": ["clerk"], "acme": ["clerk"] }));
            let [issued, ends, signed_in] = ["iat", "exp", "auth_time"].map(|name| claims[name].as_i64().unwrap());
            assert_eq!(ends - issued, 1_800);
            assert_eq!(tokens.access_expire_time.unwrap().seconds, ends);
            assert!((0..=60).contains(&(issued - signed_in)) && claims["ver"].as_i64().unwrap() > 0);
            let id = claims["jti"].as_str().unwrap();
            assert!(URL_SAFE_NO_PAD.decode(id).unwrap().len() >= 16, "128 bits");
            assert!(ids.insert(id.to_owned()), "twice");
            if round < 24 {
                tokens = server.refresh(&tokens.refresh_token).await.unwrap().tokens.unwrap();
            }
        }
    }
    assert_eq!(ids.len(), 100);
}

/// Row 76: a token fits into a cookie, or is not issued.
#[tokio::test(flavor = "multi_thread")]
async fn who_has_too_many_roles_names_a_tenant() {
    let server = backstage::server().await;
    put_role(&server, "clerk", &["orders:read"], &[]).await;
    let kim = backstage::user(&server, "kim").await;
    let tenants: Vec<String> = (0..120).map(|n| format!("tenant-number-{n}")).collect();
    grant(&server, kim, "clerk", &tenants[0]).await;
    let old = server.login("kim", PASSWORD).await.unwrap().tokens.unwrap();
    for tenant in &tenants[1..] {
        grant(&server, kim, "clerk", tenant).await;
    }
    let refused = server.login("kim", PASSWORD).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::FailedPrecondition, "TENANT_REQUIRED"));
    // A session of before is refused in the same way, and goes on.
    let refused = server.refresh(&old.refresh_token).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::FailedPrecondition, "TENANT_REQUIRED"));
    for tenant in ["tenant-number-7", "tenant-number-119", "no-such-tenant"] {
        let tokens = login_in(&server, "kim", tenant).await.unwrap();
        assert!(tokens.access_token.len() <= 3 * 1024);
        let allowed = server.may(&tokens.access_token, "orders:read", tenant).await.decision() == pb::Decision::Allow;
        assert_eq!(allowed, tenant != "no-such-tenant", "{tenant}");
        let claims = claims(&tokens.access_token);
        assert_eq!(claims["tenant"], tenant);
        assert!(claims["roles"].as_object().unwrap().len() <= 1);
    }
    let tokens = refresh_in(&server, &old.refresh_token, "tenant-number-3").await.unwrap();
    assert_eq!(claims(&tokens.access_token)["tenant"], "tenant-number-3");
    // The one from before is judged by all of its holder's roles, as the feed has them.
    assert_eq!(server.may(&old.access_token, "orders:read", "tenant-number-64").await.decision(), pb::Decision::Allow);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_narrowed_token_stays_narrow() {
    let server = backstage::server().await;
    put_role(&server, "clerk", &["orders:read"], &[]).await;
    put_role(&server, "owner", &["orders:**"], &[]).await;
    put_role(&server, "guest", &["menu:read"], &[]).await;
    let kim = backstage::user(&server, "kim").await;
    for (role, tenant) in [("clerk", "acme"), ("clerk", "beta"), ("guest", "")] {
        grant(&server, kim, role, tenant).await;
    }
    let tokens = login_in(&server, "kim", "acme").await.unwrap();
    let token = &tokens.access_token;
    assert_eq!(claims(token)["roles"], serde_json::json!({ "": ["guest"], "acme": ["clerk"] }));
    let allowed = async |token: &str, permission: &str, tenant: &str| {
        server.may(token, permission, tenant).await.decision() == pb::Decision::Allow
    };
    assert!(allowed(token, "orders:read", "acme").await && allowed(token, "menu:read", "acme").await);
    assert!(allowed(token, "menu:read", "").await && !allowed(token, "orders:read", "beta").await);
    // Roles that come by the feed do not widen it.
    grant(&server, kim, "owner", "acme").await;
    grant(&server, kim, "owner", "beta").await;
    assert!(allowed(token, "orders:write", "acme").await && !allowed(token, "orders:write", "beta").await);
    // Nor does a refresh, unless it names another tenant, and then only for that token.
    let next = server.refresh(&tokens.refresh_token).await.unwrap().tokens.unwrap();
    assert_eq!(claims(&next.access_token)["tenant"], "acme");
    let other = refresh_in(&server, &next.refresh_token, "beta").await.unwrap();
    assert_eq!(claims(&other.access_token)["tenant"], "beta");
    assert!(allowed(&other.access_token, "orders:write", "beta").await);
    assert!(!allowed(&other.access_token, "orders:write", "acme").await);
    let back = server.refresh(&other.refresh_token).await.unwrap().tokens.unwrap();
    assert_eq!(claims(&back.access_token)["tenant"], "acme");
    withdraw(&server, kim, "owner", "acme").await;
    withdraw(&server, kim, "clerk", "acme").await;
    assert!(!allowed(&back.access_token, "orders:read", "acme").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_outlives_what_it_stands_on() {
    let server = backstage::server().await;
    put_role(&server, "clerk", &["orders:read"], &[]).await;
    let kim = backstage::user(&server, "kim").await;
    let now = server.clock.now();
    grant_until(&server, kim, "clerk", "acme", Some(now + Duration::from_mins(20))).await;
    grant_until(&server, kim, "clerk", "beta", Some(now + Duration::from_mins(10))).await;
    grant_until(&server, kim, "clerk", "", Some(now + Duration::from_hours(5))).await;
    let ends = |token: &str| claims(token)["exp"].as_i64().unwrap();
    // The first end of a binding in the token bounds it.
    assert_eq!(ends(&backstage::token(&server, "kim").await), (now + Duration::from_mins(10)).secs());
    let narrowed = login_in(&server, "kim", "acme").await.unwrap();
    assert_eq!(ends(&narrowed.access_token), (now + Duration::from_mins(20)).secs());
    let elsewhere = login_in(&server, "kim", "gamma").await.unwrap();
    let issued = claims(&elsewhere.access_token)["iat"].as_i64().unwrap();
    assert_eq!(ends(&elsewhere.access_token), issued + 1_800);
    assert_eq!(verdict(&server.verify(&elsewhere.access_token).await).0, pb::Decision::Allow);
}

/// The last token of a session ends with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_ends_with_its_session() {
    let server = Server::start_with(|config| config.sessions.absolute_ttl = Duration::from_hours(1)).await;
    let tokens = server.login_admin().await;
    backstage::advance(&server, Duration::from_mins(50)).await;
    let next = server.refresh(&tokens.refresh_token).await.unwrap().tokens.unwrap();
    let ends = claims(&next.access_token)["exp"].as_i64().unwrap();
    let session_ends = tokens.session_expire_time.unwrap();
    assert_eq!(ends, session_ends.seconds);
    assert_eq!(next.session_expire_time, tokens.session_expire_time);
    assert!(next.refresh_expire_time.unwrap().seconds <= session_ends.seconds);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audience_is_one_of_the_clients() {
    let server = backstage::server().await;
    backstage::user(&server, "kim").await;
    for (audiences, field) in [
        (vec!["orders"], "token_options.audiences[0]"),
        (vec![&*server.issuer, "orders"], "token_options.audiences[1]"),
    ] {
        let audiences = audiences.into_iter().map(ToOwned::to_owned).collect();
        let options = pb::TokenOptions { audiences, ..Default::default() };
        let request = pb::LoginRequest { token_options: Some(options), ..login_request("kim", PASSWORD) };
        let refused = server.client().login(request).await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::InvalidArgument, "INVALID_FIELD"));
        assert!(refused.message().starts_with(field), "{}", refused.message());
    }
}
