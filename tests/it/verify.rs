//! Verify and BatchVerify as a backend uses them: what may be asked, what is answered, and how current it is.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use postern::config::WhenStale;
use postern::domain::change::Revision;
use postern::proto::auth::v1 as pb;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::backstage::{self, Forge, Members, claims, grant, put_role, withdraw};
use crate::support::{Server, reason, verdict};

fn check(permission: &str, tenant: &str) -> pb::Check {
    pb::Check { permission: permission.to_owned(), tenant: tenant.to_owned() }
}

fn question(token: &str) -> pb::VerifyRequest {
    pb::VerifyRequest { access_token: token.to_owned(), ..Default::default() }
}

/// A server and a clerk, who reads all orders and writes those of one tenant.
async fn clerk() -> (Server, String) {
    let server = backstage::server().await;
    put_role(&server, "reader", &["orders:read"], &[]).await;
    put_role(&server, "writer", &["orders:*"], &[]).await;
    let kim = backstage::user(&server, "kim").await;
    grant(&server, kim, "reader", "").await;
    grant(&server, kim, "writer", "acme").await;
    let token = backstage::token(&server, "kim").await;
    (server, token)
}

/// The fields that are at fault.
fn faults(status: &Status) -> Vec<String> {
    assert_eq!((status.code(), reason(status).as_str()), (Code::InvalidArgument, "INVALID_FIELD"));
    let details = status.get_error_details();
    details.bad_request().unwrap().field_violations.iter().map(|violation| violation.field.clone()).collect()
}

/// An outage as a client is to see it: never a denial, and with the time to come back.
fn says_not_fresh(status: &Status) {
    assert_eq!((status.code(), reason(status).as_str()), (Code::Unavailable, "NOT_FRESH"));
    let delay = status.get_error_details().retry_info().unwrap().retry_delay.unwrap();
    let pushback: u128 = status.metadata().get("grpc-retry-pushback-ms").unwrap().to_str().unwrap().parse().unwrap();
    assert_eq!(delay.as_millis(), pushback);
    assert!(pushback > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_is_required_must_hold() {
    let (server, token) = clerk().await;
    let (read, write, refund) = ("orders:read", "orders:write", "orders:refund:own");
    for (require, missing) in [
        (vec![], None),
        (vec![check(read, "")], None),
        (vec![check(read, ""), check(read, "acme"), check(write, "acme")], None),
        (vec![check(write, "")], Some(check(write, ""))),
        (vec![check(write, "beta")], Some(check(write, "beta"))),
        (vec![check(read, ""), check(refund, "acme"), check(write, "")], Some(check(refund, "acme"))),
        (vec![check(write, ""); 16], Some(check(write, ""))),
    ] {
        let answer =
            server.verify_with(pb::VerifyRequest { require: require.clone(), ..question(&token) }).await.unwrap();
        let principal = answer.principal.clone().unwrap();
        assert_eq!(principal.kind(), pb::PrincipalKind::User);
        assert!(principal.roles.is_empty(), "only where they are asked for");
        let Some(missing) = missing else {
            assert_eq!(verdict(&answer), (pb::Decision::Allow, pb::Reason::Unspecified), "{require:?}");
            assert!(answer.refusal.is_none());
            continue;
        };
        assert_eq!(verdict(&answer), (pb::Decision::Deny, pb::Reason::PermissionMissing), "{require:?}");
        let refusal = answer.refusal.unwrap();
        assert_eq!((refusal.missing, refusal.code), (Some(missing), Code::PermissionDenied as i32));
        assert!(refusal.needed.is_none() && refusal.decision_id.len() == 36);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_is_answered_one_by_one() {
    let (server, token) = clerk().await;
    let mut ask = vec![check("orders:read", ""), check("orders:write", ""), check("orders:write", "acme")];
    ask.extend((3..256).map(|n| check(&format!("nothing:n{n}"), "")));
    let request = pb::VerifyRequest { ask: ask.clone(), ..question(&token) };
    let answer = server.verify_with(request).await.unwrap();
    assert_eq!(verdict(&answer), (pb::Decision::Allow, pb::Reason::Unspecified), "whatever is asked");
    let allowed: Vec<bool> = answer.verdicts.iter().map(|verdict| verdict.allowed).collect();
    assert_eq!((allowed.len(), &allowed[..3]), (256, &[true, false, true][..]));
    for verdict in &answer.verdicts {
        let expected = if verdict.allowed { pb::Reason::Unspecified } else { pb::Reason::PermissionMissing };
        assert_eq!((verdict.reason(), verdict.grant.is_some()), (expected, verdict.allowed));
    }
    let written = answer.verdicts[2].grant.clone().unwrap();
    assert_eq!(
        (written.role.as_str(), written.pattern.as_str(), written.tenant.as_str()),
        ("writer", "orders:*", "acme")
    );
    // Beside a refusal they are still answered; for a token that is no good there is nothing to answer.
    let refused = pb::VerifyRequest { require: vec![check("no", "")], ask: ask[..1].to_vec(), ..question(&token) };
    let answer = server.verify_with(refused.clone()).await.unwrap();
    assert_eq!((answer.decision(), answer.verdicts.len()), (pb::Decision::Deny, 1));
    let answer = server.verify_with(pb::VerifyRequest { access_token: "x".to_owned(), ..refused }).await.unwrap();
    assert_eq!((answer.decision(), answer.verdicts.len()), (pb::Decision::Unauthenticated, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_are_told_where_they_are_asked_for() {
    let (server, token) = clerk().await;
    let request = pb::VerifyRequest { include_roles: true, ..question(&token) };
    let answer = server.verify_with(request.clone()).await.unwrap();
    let roles = |answer: &pb::VerifyResponse| -> Vec<(String, String)> {
        let roles = answer.principal.clone().unwrap().roles;
        roles.into_iter().map(|held| (held.role, held.tenant)).collect()
    };
    let both = [("reader".to_owned(), String::new()), ("writer".to_owned(), "acme".to_owned())];
    assert_eq!(roles(&answer), both);
    // What counts now, not what stood in the token.
    let kim = answer.principal.unwrap().id.parse().unwrap();
    withdraw(&server, kim, "writer", "acme").await;
    assert_eq!(roles(&server.verify_with(request).await.unwrap()), both[..1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_may_be_too_weak_or_too_old() {
    let (server, token) = clerk().await;
    let forge = Forge::of(&server).await;
    let two_factors = forge.token(Members::of(&claims(&token)).with("amr", "[\"pwd\",\"otp\"]"));
    let level = |level: pb::AssuranceLevel| Some(pb::Assurance { level: level.into(), ..Default::default() });
    let max_age = |seconds| {
        Some(pb::Assurance { max_age: Some(prost_types::Duration { seconds, nanos: 0 }), ..Default::default() })
    };
    let (none, single, multi) = (
        level(pb::AssuranceLevel::Unspecified),
        level(pb::AssuranceLevel::SingleFactor),
        level(pb::AssuranceLevel::MultiFactor),
    );
    for (token, assurance, met) in [
        (&token, none, true),
        (&token, single, true),
        (&token, multi, false),
        (&two_factors, multi, true),
        (&token, max_age(60), true),
        (&token, max_age(i64::from(i32::MAX)), true),
    ] {
        let answer = server.verify_with(pb::VerifyRequest { assurance, ..question(token) }).await.unwrap();
        steps_up(&answer, assurance, met);
    }
    backstage::advance(&server, Duration::from_mins(10)).await;
    for (seconds, met) in [(700, true), (590, false), (0, false)] {
        let assurance = max_age(seconds);
        let answer = server.verify_with(pb::VerifyRequest { assurance, ..question(&token) }).await.unwrap();
        steps_up(&answer, assurance, met);
    }
    // Who may not do it at all is not sent to sign in again for it.
    let request = pb::VerifyRequest { assurance: multi, require: vec![check("no", "")], ..question(&token) };
    assert_eq!(server.verify_with(request).await.unwrap().decision(), pb::Decision::Deny);
    let odd = [
        pb::Assurance { level: 99, ..Default::default() },
        pb::Assurance { max_age: Some(prost_types::Duration { seconds: -1, nanos: 0 }), ..Default::default() },
    ];
    for assurance in odd {
        let request = pb::VerifyRequest { assurance: Some(assurance), ..question(&token) };
        assert_eq!(faults(&server.verify_with(request).await.unwrap_err()).len(), 1);
    }
}

fn steps_up(answer: &pb::VerifyResponse, needed: Option<pb::Assurance>, met: bool) {
    if met {
        assert_eq!(verdict(answer), (pb::Decision::Allow, pb::Reason::Unspecified), "{needed:?}");
    } else {
        assert_eq!(verdict(answer), (pb::Decision::StepUp, pb::Reason::AssuranceTooLow), "{needed:?}");
        let refusal = answer.refusal.clone().unwrap();
        assert_eq!((refusal.needed, refusal.code), (needed, Code::Unauthenticated as i32));
        assert!(refusal.missing.is_none() && answer.principal.is_some());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn own_changes_are_seen_by_their_revision() {
    let (server, token) = clerk().await;
    let kim = server.verify(&token).await.principal.unwrap().id.parse().unwrap();
    for round in 0..20 {
        let (revision, expected) = if round % 2 == 0 {
            (withdraw(&server, kim, "reader", "").await, pb::Decision::Deny)
        } else {
            (grant(&server, kim, "reader", "").await, pb::Decision::Allow)
        };
        let request = pb::VerifyRequest {
            require: vec![check("orders:read", "")],
            min_revision: revision.to_string(),
            ..question(&token)
        };
        let answer = server.verify_with(request).await.unwrap();
        assert_eq!(answer.decision(), expected, "round {round}");
        let seen: Revision = answer.freshness.unwrap().revision.parse().unwrap();
        assert!(seen.id >= revision.id);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revision_that_has_not_arrived_is_no_denial() {
    let (server, token) = clerk().await;
    let head: Revision = server.verify(&token).await.freshness.unwrap().revision.parse().unwrap();
    let future = Revision { id: head.id + 1_000, at: server.clock.now() };
    for token in [token.as_str(), "not a token"] {
        let request = pb::VerifyRequest { min_revision: future.to_string(), ..question(token) };
        says_not_fresh(&server.verify_with(request.clone()).await.unwrap_err());
        // In a batch it is the item's own affair.
        let requests = vec![request, question(token)];
        let answer = server.client().batch_verify(pb::BatchVerifyRequest { requests }).await.unwrap().into_inner();
        assert_eq!(verdict(&answer.responses[0]), (pb::Decision::Unspecified, pb::Reason::NotFresh));
        assert!(answer.responses[0].principal.is_none());
        assert_ne!(answer.responses[1].decision(), pb::Decision::Unspecified);
    }
    // One of a log that was rewound never arrives; some seconds later it is surely passed.
    backstage::advance(&server, Duration::from_secs(7)).await;
    let request = pb::VerifyRequest { min_revision: future.to_string(), ..question(&token) };
    let mut answer = server.verify_with(request.clone()).await;
    for _attempt in 0..40 {
        if answer.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        answer = server.verify_with(request.clone()).await;
    }
    assert_eq!(answer.unwrap().decision(), pb::Decision::Allow);
    for text in ["!", "AAAA", " "] {
        let request = pb::VerifyRequest { min_revision: text.to_owned(), ..question(&token) };
        assert_eq!(faults(&server.verify_with(request).await.unwrap_err()), ["min_revision"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_good_for_its_audience_alone() {
    let (server, token) = clerk().await;
    let own = server.issuer.clone();
    let invalid = (pb::Decision::Unauthenticated, pb::Reason::TokenInvalid);
    let good = (pb::Decision::Allow, pb::Reason::Unspecified);
    // Empty is the calling client's own, never "any".
    let slash = format!("{own}/");
    for (audience, expected) in
        [("", good), (own.as_str(), good), ("orders", invalid), ("*", invalid), (slash.as_str(), invalid)]
    {
        let request = pb::VerifyRequest { audience: audience.to_owned(), ..question(&token) };
        assert_eq!(verdict(&server.verify_with(request).await.unwrap()), expected, "{audience}");
    }
    let forge = Forge::of(&server).await;
    let for_orders = forge.token(Members::of(&claims(&token)).with("aud", "[\"orders\"]"));
    for (audience, expected) in [("", invalid), ("orders", good)] {
        let request = pb::VerifyRequest { audience: audience.to_owned(), ..question(&for_orders) };
        assert_eq!(verdict(&server.verify_with(request).await.unwrap()), expected, "{audience}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_many_questions_and_no_more() {
    let (server, token) = clerk().await;
    let ended = server.login_admin().await;
    server.logout(&ended.refresh_token).await;
    let requests: Vec<pb::VerifyRequest> = (0..256)
        .map(|n| match n % 6 {
            0 => question(&token),
            1 => question("not a token"),
            2 => pb::VerifyRequest { require: vec![check("orders:write", "")], ..question(&token) },
            3 => pb::VerifyRequest { require: vec![check("no wildcard *", "")], ..question(&token) },
            4 => question(&ended.access_token),
            _ => pb::VerifyRequest { ask: vec![check("a", ""); 257], ..question("") },
        })
        .collect();
    let answer = server.client().batch_verify(pb::BatchVerifyRequest { requests }).await.unwrap().into_inner();
    assert_eq!(answer.responses.len(), 256);
    for (n, response) in answer.responses.iter().enumerate() {
        let expected = match n % 6 {
            0 => (pb::Decision::Allow, pb::Reason::Unspecified),
            1 => (pb::Decision::Unauthenticated, pb::Reason::TokenInvalid),
            2 => (pb::Decision::Deny, pb::Reason::PermissionMissing),
            4 => (pb::Decision::Unauthenticated, pb::Reason::TokenRevoked),
            _ => (pb::Decision::Unspecified, pb::Reason::InvalidField),
        };
        assert_eq!(verdict(response), expected, "{n}");
        assert_eq!(response.principal.is_some(), matches!(n % 6, 0 | 2), "{n}");
    }
    for count in [0, 257] {
        let requests = vec![question("x"); count];
        let refused = server.client().batch_verify(pb::BatchVerifyRequest { requests }).await.unwrap_err();
        assert_eq!(faults(&refused), ["requests"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_of_a_question() {
    let (server, token) = clerk().await;
    let many = |count| vec![check("orders:read", ""); count];
    for (require, ask, expected) in
        [(17, 0, vec!["require"]), (0, 257, vec!["ask"]), (17, 257, vec!["require", "ask"]), (16, 256, vec![])]
    {
        let answer =
            server.verify_with(pb::VerifyRequest { require: many(require), ask: many(ask), ..question(&token) }).await;
        match answer {
            Ok(answer) => assert!(expected.is_empty() && answer.decision() == pb::Decision::Allow),
            Err(refused) => assert_eq!(faults(&refused), expected),
        }
    }
    let long = format!("orders:{}", "a".repeat(128));
    for permission in [
        "",
        "*",
        "orders:*",
        "**",
        "Orders:read",
        "orders::read",
        ":",
        "orders:read ",
        "주문",
        "a:b:c:d:e:f:g:h:i",
        &long,
    ] {
        for request in [
            pb::VerifyRequest { require: vec![check(permission, "")], ..question(&token) },
            pb::VerifyRequest { ask: vec![check(permission, "")], ..question(&token) },
        ] {
            assert_eq!(faults(&server.verify_with(request).await.unwrap_err()).len(), 1, "{permission}");
        }
    }
    for tenant in ["*", "a b", "a/b", "ä", &"a".repeat(129)] {
        let request = pb::VerifyRequest { require: vec![check("orders:read", tenant)], ..question(&token) };
        assert_eq!(faults(&server.verify_with(request).await.unwrap_err()), ["require[0].tenant"], "{tenant}");
    }
    // More than a message may have never reaches the verifier, and is no verdict.
    let refused = server.verify_with(question(&"a".repeat(70_000))).await.unwrap_err();
    assert!(matches!(refused.code(), Code::OutOfRange | Code::ResourceExhausted), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_that_is_silent_for_too_long_stops_verify() {
    let (server, token) = clerk().await;
    server.auth.store.close().await;
    // No I/O: without its store the service still judges what it knows.
    for _round in 0..3 {
        let answer = server.verify(&token).await;
        assert_eq!(verdict(&answer), (pb::Decision::Allow, pb::Reason::Unspecified));
        assert!(!answer.freshness.unwrap().stale);
    }
    server.advance(Duration::from_secs(30));
    let answer = server.verify(&token).await;
    assert_eq!(answer.decision(), pb::Decision::Allow);
    assert!(answer.freshness.unwrap().age.unwrap().seconds >= 29, "it says that it is behind");
    server.advance(Duration::from_secs(40));
    // Also for a token that is no good: it may be of a key that this replica has not heard of.
    for token in [token.as_str(), "not a token"] {
        says_not_fresh(&server.verify_with(question(token)).await.unwrap_err());
    }
    let requests = vec![question(&token)];
    says_not_fresh(&server.client().batch_verify(pb::BatchVerifyRequest { requests }).await.unwrap_err());
    says_not_fresh(&server.client().get_keys(pb::GetKeysRequest {}).await.unwrap_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_may_choose_to_go_on() {
    let server = Server::start_with(|config| config.feed.when_stale = WhenStale::Serve).await;
    let token = server.login_admin().await.access_token;
    let forge = Forge::of(&server).await;
    server.auth.store.close().await;
    server.advance(Duration::from_secs(70));
    let answer = server.verify(&token).await;
    assert_eq!(verdict(&answer), (pb::Decision::Allow, pb::Reason::Unspecified));
    let freshness = answer.freshness.unwrap();
    assert!(freshness.stale && freshness.age.unwrap().seconds >= 69);
    // What is surely no good is still refused; a key that it does not know may be a new one.
    assert_eq!(verdict(&server.verify("x").await), (pb::Decision::Unauthenticated, pb::Reason::TokenInvalid));
    let unknown = forge.sign(forge.header().with("kid", "\"unknown\"").to_string(), "{}");
    says_not_fresh(&server.verify_with(question(&unknown)).await.unwrap_err());
}

/// A client of its own credential is not the subject: a wrong one fails the call.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_client_credential_is_no_verdict() {
    let (server, token) = clerk().await;
    for credential in [format!("Bearer {token}"), "Bearer pcs_unknown".to_owned(), "Basic eDp5".to_owned()] {
        let mut request = tonic::Request::new(question(&token));
        request.metadata_mut().insert("authorization", credential.parse().unwrap());
        let refused = server.client().verify(request).await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::PermissionDenied, "CLIENT_UNAUTHENTICATED"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keys_are_public_and_named_by_their_thumbprint() {
    let server = backstage::server().await;
    let token = server.login_admin().await.access_token;
    let answer = server.client().get_keys(pb::GetKeysRequest {}).await.unwrap().into_inner();
    assert_eq!(answer.issuer, server.issuer);
    assert_eq!(answer.max_age.unwrap().seconds, 300);
    let document: serde_json::Value = serde_json::from_str(&answer.jwks_json).unwrap();
    assert_eq!(document.as_object().unwrap().keys().collect::<Vec<_>>(), ["keys"]);
    let keys = document["keys"].as_array().unwrap();
    assert_eq!(keys.len(), 1);
    for key in keys {
        let mut members: Vec<&str> = key.as_object().unwrap().keys().map(String::as_str).collect();
        members.sort_unstable();
        assert_eq!(members, ["alg", "crv", "kid", "kty", "use", "x"], "no private member, nothing unknown");
        // RFC 7638 with RFC 8037: the required members in order, and nothing else.
        let required = format!(r#"{{"crv":{},"kty":{},"x":{}}}"#, key["crv"], key["kty"], key["x"]);
        let thumbprint = URL_SAFE_NO_PAD.encode(digest(&SHA256, required.as_bytes()));
        assert_eq!(key["kid"], thumbprint.as_str());
        assert_eq!(
            (&key["kty"], &key["crv"], &key["alg"], &key["use"]),
            (&"OKP".into(), &"Ed25519".into(), &"EdDSA".into(), &"sig".into())
        );
        assert_eq!(URL_SAFE_NO_PAD.decode(key["x"].as_str().unwrap()).unwrap(), Forge::of(&server).await.public());
    }
    let header = backstage::decoded(token.split('.').next().unwrap());
    assert_eq!(header["kid"], keys[0]["kid"]);
    // An independent check of the signature with nothing but what is published.
    let mut parts = token.rsplitn(2, '.');
    let signature = URL_SAFE_NO_PAD.decode(parts.next().unwrap()).unwrap();
    let public = URL_SAFE_NO_PAD.decode(keys[0]["x"].as_str().unwrap()).unwrap();
    let key = aws_lc_rs::signature::UnparsedPublicKey::new(&aws_lc_rs::signature::ED25519, public);
    key.verify(parts.next().unwrap().as_bytes(), &signature).unwrap();
}
