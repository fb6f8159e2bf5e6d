//! Explanations, keys, and the service as a whole.

use std::time::Duration;

use secrecy::SecretString;

use super::bench::{self, Bench, ISSUER, beyond, check, password, role, to_keep};
use crate::auth::admin::explain::{Ask, Explanation, Refusal, Subject};
use crate::auth::error::AuthError;
use crate::domain::client::Registration;
use crate::domain::id::{PrincipalId, UserId};
use crate::domain::key::KeyState;
use crate::domain::session::TokenScope;
use crate::store::ClientChange;
use crate::verifier::TokenFault;

fn told(explanation: &Explanation) -> Vec<String> {
    let mark = |held| if held { '+' } else { '-' };
    explanation.steps.iter().map(|step| format!("{}{}: {}", mark(step.held), step.subject, step.text)).collect()
}

async fn explain_token(bench: &Bench, token: &str, permission: &str, tenant: &str) -> Explanation {
    let admin = bench.sign_in("admin").await;
    let subject = Subject::Token(SecretString::from(token));
    let explanation = bench.auth.explain_access(&admin, &Ask::Now(subject, check(permission, tenant))).await.unwrap();
    assert!(told(&explanation).iter().all(|step| !step.contains(token)), "a token was shown");
    explanation
}

#[tokio::test]
async fn a_user_is_explained_from_the_store() {
    let bench = Bench::new().await;
    let admin = bench.sign_in("admin").await;
    bench.put(&admin, role("clerk", &["orders:*"], &[])).await;
    let kim = bench.user("kim", &[("clerk", "acme")]).await;
    let yes = bench.explain(&admin, kim, "orders:read", "acme").await.unwrap();
    assert_eq!(yes.refusal, None);
    assert_eq!(
        told(&yes),
        [
            "+user: exists and is active",
            "+binding: clerk is bound in tenant acme, for good",
            "+role: clerk grants orders:read by orders:*",
        ]
    );
    let no = bench.explain(&admin, kim, "orders:read", "").await.unwrap();
    assert_eq!(no.refusal, Some(Refusal::PermissionMissing));
    bench.auth.disable_user(&admin, kim, "").await.unwrap();
    let disabled = bench.explain(&admin, kim, "orders:read", "acme").await.unwrap();
    assert_eq!(disabled.refusal, Some(Refusal::Token(TokenFault::Revoked)));
    assert!(told(&disabled)[0].starts_with("-user: is disabled, since 2"), "{:?}", told(&disabled));
    let unknown = bench.explain(&admin, UserId::generate(), "orders:read", "acme").await.unwrap();
    assert_eq!((told(&unknown)[0].as_str(), unknown.refusal), ("-user: there is no such user", Some(Refusal::Unknown)));
}

#[tokio::test]
async fn clients_are_explained_from_memory() {
    let bench = Bench::new().await;
    let admin = bench.sign_in("admin").await;
    let ask = |id: &str| Subject::Principal(id.parse::<PrincipalId>().unwrap());
    let question = check("postern:auth:verify", "");
    let known = bench.auth.explain_access(&admin, &Ask::Now(ask("dev"), question.clone())).await.unwrap();
    assert_eq!(known.refusal, None);
    let unknown = bench.auth.explain_access(&admin, &Ask::Now(ask("other"), question)).await.unwrap();
    assert_eq!(unknown.refusal, Some(Refusal::Unknown));
}

#[tokio::test]
async fn a_token_is_explained_by_what_counts_now() {
    let bench = Bench::new().await;
    let admin = bench.sign_in("admin").await;
    bench.put(&admin, role("clerk", &["orders:*"], &[])).await;
    let kim = bench.user("kim", &[("clerk", "")]).await;
    let narrowed = TokenScope { audiences: vec![ISSUER.into()], tenant: Some("acme".parse().unwrap()) };
    let token = bench.sign_in_with("kim", password(), narrowed).await.unwrap();
    let yes = explain_token(&bench, &token, "orders:read", "acme").await;
    assert_eq!(
        told(&yes),
        [
            "+token: genuine",
            "+session: has not ended",
            "+user: exists and is active",
            "+token: narrowed to tenant acme at sign-in",
            "+token: carries the user's roles as they are",
            "+binding: clerk is bound everywhere, for good",
            "+role: clerk grants orders:read by orders:*",
        ]
    );
    bench.withdraw(&admin, kim, "clerk", "").await.unwrap();
    bench.grant(&admin, kim, "clerk", "beta").await.unwrap();
    let no = explain_token(&bench, &token, "orders:read", "beta").await;
    assert_eq!(no.refusal, Some(Refusal::PermissionMissing));
    assert_eq!(
        told(&no)[4..],
        [
            "+token: older than the last change of the user's roles, so these count as they are now",
            "-binding: no role is bound",
        ],
        "a sign-in that was narrowed stays so"
    );
}

#[tokio::test]
async fn a_dead_token_is_told_why() {
    let bench = Bench::new().await;
    let admin = bench.sign_in("admin").await;
    let kim = bench.user("kim", &[]).await;
    let forged = explain_token(&bench, "a.b.c", "a:b", "").await;
    assert!(matches!(forged.refusal, Some(Refusal::Token(TokenFault::Invalid(_)))));

    let token = bench.sign_in_for("kim", ISSUER).await;
    bench.auth.set_password(&admin, kim, to_keep(password())).await.unwrap();
    let dead = explain_token(&bench, &token, "a:b", "").await;
    assert_eq!(dead.refusal, Some(Refusal::Token(TokenFault::Revoked)));
    let steps = told(&dead);
    assert!(steps[1].ends_with(": ended because the password was changed"), "{steps:?}");

    let token = bench.sign_in_for("kim", ISSUER).await;
    bench.advance(Duration::from_mins(11)).await;
    let late = explain_token(&bench, &token, "a:b", "").await;
    assert_eq!(late.refusal, Some(Refusal::Token(TokenFault::Expired)));
    assert_eq!(told(&late).last().unwrap(), "-token: has expired");

    let token = bench.sign_in_for("kim", ISSUER).await;
    let admin = bench.sign_in("admin").await;
    bench.auth.delete_user(&admin, kim, "").await.unwrap();
    let gone = explain_token(&bench, &token, "a:b", "").await;
    assert_eq!(gone.refusal, Some(Refusal::Token(TokenFault::Revoked)));
    assert_eq!(told(&gone), ["+token: genuine", "-user: was deleted"]);
}

#[tokio::test]
async fn the_fence_ends_everybodys_sessions() {
    let bench = Bench::new().await;
    let token = bench.sign_in_for("admin", ISSUER).await;
    let admin = bench.auth.administrator(&token, "").unwrap();
    for wrong in ["", "https://id.example/", "HTTPS://id.example"] {
        let refused = bench.auth.end_all_sessions(&admin, wrong, "").await;
        assert!(matches!(refused, Err(AuthError::InvalidField(_))), "{wrong}");
    }
    bench.auth.end_all_sessions(&admin, ISSUER, "restored").await.unwrap();
    assert!(matches!(bench.auth.administrator(&token, ""), Err(AuthError::TokenRefused(TokenFault::Revoked))));
    assert_eq!(bench.audited("session_fence_raised").await, [r#"{"note":"restored"}"#]);
    let fenced = explain_token(&bench, &token, "a:b", "").await;
    assert!(told(&fenced)[1].starts_with("-session: everybody was signed out at 2"), "{:?}", told(&fenced));
}

#[tokio::test]
async fn keys_and_the_replica_are_shown() {
    let bench = Bench::new().await;
    let admin = bench.sign_in("admin").await;
    let auth = &bench.auth;
    let made = crate::auth::event(crate::domain::audit::AuditKind::KeyCreated, &bench.call, auth.clock.now());
    auth.clock.advance(Duration::from_millis(1));
    let next = auth.keyring.make(crate::domain::key::Algorithm::EdDsa, 1).unwrap();
    auth.store.rotate_key(&next, Duration::from_mins(1), |_, _| true, made).await.unwrap().unwrap();
    let (keys, more) = auth.list_keys(&admin, None, 1).await.unwrap();
    assert_eq!((keys.len(), keys[0].1, more), (1, KeyState::Published, true));
    let (rest, more) = auth.list_keys(&admin, Some(&keys[0].0.kid), 1).await.unwrap();
    assert_eq!((rest.len(), rest[0].1, more), (1, KeyState::Signing, false));

    let info = auth.server_info(&admin).unwrap();
    assert_eq!((info.version, info.replica), (env!("CARGO_PKG_VERSION"), auth.replica));
    assert!(info.schema_version > 0 && !info.freshness.stale);
}

/// A front that gets tokens for Postern itself could administer in the name of whoever signs in through it.
#[tokio::test]
async fn only_who_administers_everything_opens_administration_to_a_front() {
    let bench = Bench::new().await;
    let admin = bench.sign_in("admin").await;
    bench.put(&admin, role("registrar", &["postern:clients:*"], &[])).await;
    bench.user("kim", &[("registrar", "")]).await;
    let kim = bench.sign_in("kim").await;
    let auth = &bench.auth;
    let open = |id: &str| Registration { token_audiences: vec!["shop".into(), ISSUER.into()], ..bench::client(id) };
    assert_eq!(beyond(auth.create_client(&kim, open("web"), false).await), "postern:**");
    auth.create_client(&kim, bench::client("web"), false).await.unwrap();
    let web = "web".parse().unwrap();
    let change = || ClientChange { token_audiences: Some(vec![ISSUER.into()]), ..ClientChange::default() };
    assert_eq!(beyond(auth.update_client(&kim, &web, None, change()).await), "postern:**");
    auth.rotate_client_secret(&kim, &web, Duration::ZERO).await.unwrap();
    // What somebody above them opened may stay open.
    auth.update_client(&admin, &web, None, change()).await.unwrap();
    auth.update_client(&kim, &web, None, change()).await.unwrap();
    // But to prove to be that front is to be it.
    assert_eq!(beyond(auth.rotate_client_secret(&kim, &web, Duration::ZERO).await.map(drop)), "postern:**");
    let sans = || ClientChange { mtls_sans: Some(vec!["kim.example".parse().unwrap()]), ..ClientChange::default() };
    assert_eq!(beyond(auth.update_client(&kim, &web, None, sans()).await), "postern:**");
    let disabled = ClientChange { disabled: Some(true), ..ClientChange::default() };
    auth.update_client(&kim, &web, None, disabled).await.unwrap();
    auth.rotate_client_secret(&admin, &web, Duration::ZERO).await.unwrap();
    auth.update_client(&admin, &web, None, sans()).await.unwrap();
}
