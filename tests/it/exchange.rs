//! Tokens of issuers that the operator trusts, traded in as a front would: whose account is meant, that each is good for one
//! time, who may bring them and until when (security rows 31 and 92).

use std::time::Duration;

use jsonwebtoken::{EncodingKey, Header};
use postern::clock::Clock;
use postern::config::{self, Config, IssuerKeys, PersonBy, SecretSource};
use postern::domain::account::Profile;
use postern::domain::audit::AuditKind;
use postern::domain::client::SessionLimits;
use postern::domain::id::UserId;
use postern::domain::identity::{self, IdentityKey};
use postern::domain::rate::Quota;
use postern::proto::auth::v1 as pb;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tonic::{Code, Request, Status};

use crate::people;
use crate::support::{Answer, PASSWORD, Server, login_request, quick, reason, verdict};

/// Of the client that may trade tokens in.
pub(crate) const TRADER_SECRET: &str = "pcs_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
const OTHER_SECRET: &str = "pcs_BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBA";
const OLD_SECRET: &str = "the old shop signed its tokens with this";
const ISSUER: &str = "old-shop";

pub(crate) fn trader() -> config::Client {
    client("trader", TRADER_SECRET, &["postern.admin"])
}

fn client(id: &str, secret: &str, roles: &[&str]) -> config::Client {
    config::Client {
        id: id.parse().unwrap(),
        display_name: String::new(),
        mtls_sans: Vec::new(),
        secrets: vec![SecretSource::Value(secret.into())],
        audience: "shop".to_owned(),
        token_audiences: vec!["shop".to_owned()],
        return_urls: Vec::new(),
        roles: roles.iter().map(|role| role.parse().unwrap()).collect(),
        session_policy: SessionLimits::default(),
    }
}

pub(crate) fn old_shop() -> config::TrustedIssuer {
    config::TrustedIssuer {
        name: "old-shop".parse().unwrap(),
        issuer: Some(ISSUER.to_owned()),
        keys: IssuerKeys::Shared(SecretSource::Value(OLD_SECRET.into())),
        audience: Some("shop".to_owned()),
        claim: "sub".to_owned(),
        person: PersonBy::ExternalId,
        clients: vec!["trader".parse().unwrap()],
        max_age: Duration::from_hours(1),
        until: None,
        once: true,
    }
}

/// What the old shop says now of a person, under a name that no other token has.
fn claims(clock: &Clock, subject: &str) -> Value {
    let now = clock.now().secs();
    let id = uuid::Uuid::now_v7().to_string();
    json!({ "iss": ISSUER, "aud": "shop", "sub": subject, "iat": now, "exp": now + 600, "jti": id })
}

fn signed(claims: &Value) -> String {
    jsonwebtoken::encode(&Header::default(), claims, &EncodingKey::from_secret(OLD_SECRET.as_bytes())).unwrap()
}

/// A good token, by the clock of this machine.
pub(crate) fn token(subject: &str) -> String {
    signed(&claims(&Clock::default(), subject))
}

pub(crate) fn request(token: &str) -> pb::ExchangeTokenRequest {
    let subject_token = Some(pb::exchange_token_request::SubjectToken::ExternalToken(token.to_owned()));
    pb::ExchangeTokenRequest { subject_token, token_options: None }
}

fn by<T>(secret: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {secret}").parse().unwrap());
    request
}

async fn trade_as(server: &Server, secret: &str, token: &str) -> Answer<pb::ExchangeTokenResponse> {
    Ok(server.client().exchange_token(by(secret, request(token))).await?.into_inner())
}

async fn trade(server: &Server, token: &str) -> Answer<pb::ExchangeTokenResponse> {
    trade_as(server, TRADER_SECRET, token).await
}

/// A server that believes the old shop, with kim, whom it knows as 42.
async fn scene(change: impl FnOnce(&mut Config)) -> (Server, UserId) {
    let server = Server::start_with(|config| {
        quick(config);
        config.clients = vec![trader(), client("other", OTHER_SECRET, &["postern.admin"])];
        config.trusted_issuers = vec![old_shop()];
        change(config);
    })
    .await;
    let profile = Profile {
        external_id: "42".to_owned(),
        user_name: Some("kim".parse().unwrap()),
        email: Some("kim@example.com".parse().unwrap()),
        email_verified: true,
        ..Profile::default()
    };
    let kim = people::add(&server, profile, Some(PASSWORD)).await;
    (server, kim)
}

fn refused<T: std::fmt::Debug>(answer: Answer<T>, code: Code, expected: &str) -> Status {
    let status = answer.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (code, expected), "{}", status.message());
    status
}

fn no_token<T: std::fmt::Debug>(answer: Answer<T>) -> String {
    refused(answer, Code::Unauthenticated, "TOKEN_INVALID").message().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_the_old_application_opens_a_session() {
    let (server, kim) = scene(|_| ()).await;
    let mut said = claims(&server.clock, "42");
    let asked = server.clock.now().secs() - 300;
    (said["amr"], said["auth_time"]) = (json!(["pwd", "otp"]), json!(asked));
    let answer = trade(&server, &signed(&said)).await.unwrap();
    let (tokens, principal) = (answer.tokens.unwrap(), answer.principal.unwrap());
    assert_eq!((principal.id.as_str(), principal.external_id.as_str()), (kim.to_string().as_str(), "42"));
    assert_eq!(
        (principal.client_id.as_str(), principal.amr.as_slice()),
        ("trader", &["pwd".to_owned(), "otp".into()][..])
    );
    assert_eq!(principal.auth_time.unwrap().seconds, asked);

    let verify = pb::VerifyRequest { access_token: tokens.access_token.clone(), ..Default::default() };
    let judged = server.client().verify(by(TRADER_SECRET, verify)).await.unwrap().into_inner();
    assert_eq!(verdict(&judged).0, pb::Decision::Allow);
    let list = pb::ListSessionsRequest { access_token: tokens.access_token, ..Default::default() };
    let listed = server.client().list_sessions(by(TRADER_SECRET, list)).await.unwrap().into_inner().sessions;
    assert_eq!(listed.iter().map(|session| session.method.as_str()).collect::<Vec<_>>(), ["old-shop"]);
    let refresh = pb::RefreshRequest { refresh_token: tokens.refresh_token, ..Default::default() };
    let next = server.client().refresh(by(TRADER_SECRET, refresh)).await.unwrap().into_inner();
    assert_eq!(next.principal.unwrap().id, kim.to_string());
    assert_eq!(server.database().await.audited_at_last("authn_login_success").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_at_once_one_is_first_on_all_replicas() {
    let (server, _kim) = scene(|_| ()).await;
    let replica = server
        .replica_with(|config| {
            config.clients = vec![trader()];
            config.trusted_issuers = vec![old_shop()];
        })
        .await;
    // With a name of its own, and without.
    let mut nameless = claims(&server.clock, "42");
    nameless.as_object_mut().unwrap().remove("jti");
    for token in [token("42"), signed(&nameless)] {
        let mut all = JoinSet::new();
        for number in 0..16 {
            let mut client = if number % 2 == 0 { server.client() } else { replica.client() };
            let request = by(TRADER_SECRET, request(&token));
            all.spawn(async move { client.exchange_token(request).await });
        }
        let (good, bad): (Vec<_>, Vec<_>) = all.join_all().await.into_iter().partition(Result::is_ok);
        assert_eq!((good.len(), bad.len()), (1, 15));
        for refusal in bad {
            no_token(refusal);
        }
    }
    let sessions = server.login("kim", PASSWORD).await.unwrap().tokens.unwrap();
    assert_eq!(server.sessions(&sessions.access_token, false).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_traded_in_stays_so_after_a_restart() {
    let (server, _kim) = scene(|_| ()).await;
    let token = token("42");
    trade(&server, &token).await.unwrap();
    let server = server
        .restart_with(|config| {
            quick(config);
            config.clients = vec![trader()];
            // Under another name it is the same issuer.
            config.trusted_issuers = vec![config::TrustedIssuer { name: "renamed".parse().unwrap(), ..old_shop() }];
        })
        .await;
    no_token(trade(&server, &token).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_operator_says_so_a_token_is_good_again() {
    let (server, _kim) = scene(|config| config.trusted_issuers[0].once = false).await;
    let token = token("42");
    trade(&server, &token).await.unwrap();
    trade(&server, &token).await.unwrap();
    server.later(Duration::from_secs(700)).await;
    no_token(trade(&server, &token).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_issuer_is_believed_until_its_day() {
    let end = Clock::default().now() + Duration::from_hours(2);
    let (server, _kim) = scene(|config| config.trusted_issuers[0].until = Some(end)).await;
    let fresh = || signed(&claims(&server.clock, "42"));
    let opened = trade(&server, &fresh()).await.unwrap().tokens.unwrap();
    server.later(Duration::from_mins(119)).await;
    trade(&server, &fresh()).await.unwrap();
    server.later(Duration::from_mins(2)).await;
    no_token(trade(&server, &fresh()).await);
    // What it opened goes on.
    let refresh = pb::RefreshRequest { refresh_token: opened.refresh_token, ..Default::default() };
    server.client().refresh(by(TRADER_SECRET, refresh)).await.unwrap();
}

/// Whatever is wrong with a token, its bringer hears the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_none_is_refused_in_one_way() {
    let (server, _kim) = scene(|_| ()).await;
    let good = token("42");
    let (text, signature) = good.rsplit_once('.').unwrap();
    let other = if signature.starts_with('_') { "A" } else { "_" };
    let said = claims(&server.clock, "42");
    let with = |name: &str, value: Value| {
        let mut said = said.clone();
        said[name] = value;
        signed(&said)
    };
    let by_another = EncodingKey::from_secret(b"another secret, of some thirty-odd bytes");
    let mut told = vec![
        no_token(trade(&server, &format!("{text}.{other}{}", &signature[1..])).await),
        no_token(trade(&server, &format!("{text}.")).await),
        no_token(trade(&server, "a.b.c").await),
        no_token(trade(&server, "no token").await),
        no_token(trade(&server, &jsonwebtoken::encode(&Header::default(), &said, &by_another).unwrap()).await),
        no_token(trade(&server, &with("iss", json!("another"))).await),
        no_token(trade(&server, &with("aud", json!("another"))).await),
        no_token(trade(&server, &with("exp", json!(server.clock.now().secs() - 100))).await),
        no_token(trade(&server, &with("iat", json!(server.clock.now().secs() - 4_000))).await),
        no_token(trade(&server, &with("sub", json!(["42"]))).await),
        no_token(trade_as(&server, OTHER_SECRET, &good).await),
    ];
    // One of our own is none either.
    let own = trade(&server, &good).await.unwrap().tokens.unwrap();
    told.push(no_token(trade(&server, &own.access_token).await));
    told.push(no_token(trade(&server, &good).await));
    told.dedup();
    assert_eq!(told, ["not a token that is traded in here: sign in"]);
    refused(trade(&server, "").await, Code::InvalidArgument, "INVALID_FIELD");
    refused(trade(&server, &"a".repeat(16_385)).await, Code::InvalidArgument, "INVALID_FIELD");
    let nothing = by(TRADER_SECRET, pb::ExchangeTokenRequest::default());
    refused(server.client().exchange_token(nothing).await, Code::InvalidArgument, "INVALID_FIELD");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_bring_it() {
    let (server, _kim) = scene(|config| config.clients.push(client("front", OTHER_SECRET_2, &["postern.front"]))).await;
    let told =
        refused(trade_as(&server, OTHER_SECRET_2, &token("42")).await, Code::PermissionDenied, "CLIENT_NOT_ALLOWED");
    assert_eq!(crate::support::metadata(&told, "permission"), "postern:auth:exchange");
    // A role of the operator's own is enough.
    crate::backstage::put_role(&server, "trades", &["postern:auth:exchange"], &[]).await;
    let registration = postern::domain::client::Registration {
        token_audiences: vec!["shop".to_owned()],
        ..postern::domain::client::Registration::new("late".parse().unwrap(), postern::domain::client::Origin::Store)
    };
    let late = crate::backstage::client_with(&server, registration).await;
    crate::backstage::allow(&server, "late", "trades").await;
    no_token(trade_as(&server, &late, &token("42")).await);
}

const OTHER_SECRET_2: &str = "pcs_CCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCA";

/// Nobody learns by it who has an account; and a token is not spent on nobody.
#[tokio::test(flavor = "multi_thread")]
async fn unknown_and_disabled_people_are_refused_alike() {
    let (server, kim) = scene(|_| ()).await;
    let (for_kim, for_lee) = (token("42"), token("43"));
    people::disable(&server, kim).await;
    let wrong = refused(trade(&server, &for_kim).await, Code::Unauthenticated, "INVALID_CREDENTIALS");
    let nobody = refused(trade(&server, &for_lee).await, Code::Unauthenticated, "INVALID_CREDENTIALS");
    assert_eq!(wrong.message(), nobody.message());
    let lee = Profile { external_id: "43".to_owned(), ..Profile::default() };
    let lee = people::add(&server, lee, None).await;
    assert_eq!(trade(&server, &for_lee).await.unwrap().principal.unwrap().id, lee.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_is_known_by_name_or_by_a_proven_address() {
    let (server, kim) = scene(|config| config.trusted_issuers[0].person = PersonBy::UserName).await;
    let who = trade(&server, &token("KIM")).await.unwrap().principal.unwrap().id;
    assert_eq!(who, kim.to_string());
    for nobody in ["42", "kim@example.com", "lee"] {
        refused(trade(&server, &token(nobody)).await, Code::Unauthenticated, "INVALID_CREDENTIALS");
    }
    let (server, kim) = scene(|config| config.trusted_issuers[0].person = PersonBy::Email).await;
    let who = trade(&server, &token("Kim@Example.com")).await.unwrap().principal.unwrap().id;
    assert_eq!(who, kim.to_string());
    // Somebody has typed it, and nobody has proven it.
    let email = Some("lee@example.com".parse().unwrap());
    people::add(&server, Profile { email, ..Profile::default() }, None).await;
    for nobody in ["lee@example.com", "42", "kim"] {
        refused(trade(&server, &token(nobody)).await, Code::Unauthenticated, "INVALID_CREDENTIALS");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_is_known_by_an_identity_of_the_same_issuer() {
    let provider = || "keycloak".parse::<identity::ProviderId>().unwrap();
    let (server, kim) = scene(|config| config.trusted_issuers[0].person = PersonBy::Identity(provider())).await;
    let link = async |user: UserId, subject: &str, issuer: &str| {
        let key = IdentityKey { provider: provider(), subject: subject.parse().unwrap() };
        let profile = identity::Profile::new(key, issuer.to_owned());
        server.auth.store.link_identity(user, &profile, &people::event(AuditKind::IdentityLinked, user)).await.unwrap();
    };
    link(kim, "7", ISSUER).await;
    let lee = people::add_user(&server, "lee", None).await;
    link(lee, "8", "another").await;
    let who = trade(&server, &token("7")).await.unwrap().principal.unwrap().id;
    assert_eq!(who, kim.to_string());
    for nobody in ["8", "9", "42", "not a subject"] {
        refused(trade(&server, &token(nobody)).await, Code::Unauthenticated, "INVALID_CREDENTIALS");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tries_that_fail_are_counted_for_who_brings_them() {
    let quota = Quota { burst: 3, every: Duration::from_mins(1) };
    let (server, _kim) = scene(|config| {
        config.limits.tries.caller = quota;
        config.trusted_issuers[0].clients.push("other".parse().unwrap());
    })
    .await;
    for _ in 0..5 {
        trade(&server, &token("42")).await.unwrap();
    }
    for _ in 0..3 {
        no_token(trade(&server, "a.b.c").await);
    }
    let throttled = |answer| refused(answer, Code::ResourceExhausted, "THROTTLED");
    throttled(trade(&server, "a.b.c").await);
    throttled(trade(&server, &token("42")).await);
    // Not those of others, nor what is guessed elsewhere.
    trade_as(&server, OTHER_SECRET, &token("42")).await.unwrap();
    let login = server.client().login(by(TRADER_SECRET, login_request("kim", PASSWORD))).await.unwrap().into_inner();
    assert!(matches!(login.outcome, Some(pb::login_response::Outcome::SignIn(_))));
}
