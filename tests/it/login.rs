//! Signing in: what counts as the right password, what a refusal tells, what a sign-in ends, and what a storm costs.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use argon2::password_hash::phc::PasswordHash;
use postern::auth::master_key::MasterKeys;
use postern::auth::passwords::{HashSettings, Passwords};
use postern::auth::pepper::Peppers;
use postern::config::Config;
use postern::domain::account::Profile;
use postern::proto::admin::v1 as admin;
use postern::proto::auth::v1 as pb;
use prost::Message as _;
use prost_reflect::DescriptorPool;
use secrecy::ExposeSecret as _;
use tokio::task::JoinSet;
use tonic::{Code, Request};
use tonic_types::StatusExt as _;

use crate::people::{add, add_user, disable, hash_with, kim, set_hash, set_password, sign_in};
use crate::raw;
use crate::support::{PASSWORD, Server, login_request, metadata, quick, reason, verdict};

const LOGIN: &str = "/postern.auth.v1.AuthService/Login";

async fn knows(server: &Server, password: &str) -> bool {
    match server.login("kim", password).await {
        Ok(_) => true,
        Err(status) => {
            assert_eq!((status.code(), reason(&status).as_str()), (Code::Unauthenticated, "INVALID_CREDENTIALS"));
            false
        }
    }
}

fn new_user(user_name: &str, password: &str) -> admin::CreateUserRequest {
    admin::CreateUserRequest {
        user: Some(admin::User { user_name: user_name.to_owned(), ..Default::default() }),
        password: password.to_owned(),
        ..Default::default()
    }
}

// ---- passwords ----

#[tokio::test(flavor = "multi_thread")]
async fn a_new_password_is_judged_by_its_code_points_and_not_by_their_kinds() {
    let server = Server::quick().await;
    let token = server.login_admin().await.access_token;
    let admin = server.admin(&token);
    for (password, rule) in [
        ("1234567", "min_length"),
        (&*"x".repeat(14), "min_length"),
        (&*"\u{1F600}".repeat(5), "min_length"),
        (&*"x".repeat(1025), "max_bytes"),
    ] {
        let status = admin.create_user(new_user("short", password)).await.unwrap_err();
        assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "PASSWORD_REFUSED"));
        assert_eq!(metadata(&status, "rule"), rule);
    }
    for (index, password) in [
        "가".repeat(15),
        "904715538261407".to_owned(),
        "a b c d e f g h ".to_owned(),
        "\u{1F600}".repeat(64),
        "x".repeat(1024),
    ]
    .iter()
    .enumerate()
    {
        let name = format!("user{index}");
        admin.create_user(new_user(&name, password)).await.unwrap();
        assert!(server.login(&name, password).await.is_ok(), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_password_replaces_the_old_one_at_once_and_keeps_the_rules() {
    let server = Server::quick().await;
    let someone = server.someone().await;
    let admin = server.admin(&someone.admin);
    let set = |password: &str| admin::SetPasswordRequest {
        id: someone.id.clone(),
        password: password.to_owned(),
        ..Default::default()
    };
    let status = admin.set_password(set("too short")).await.unwrap_err();
    assert_eq!(reason(&status), "PASSWORD_REFUSED");
    assert!(knows(&server, PASSWORD).await, "a refused change changes nothing");
    admin.set_password(set("quite another password")).await.unwrap();
    assert!(!knows(&server, PASSWORD).await);
    assert!(knows(&server, "quite another password").await);
    let refused = server.refresh(&someone.tokens.refresh_token).await.unwrap_err();
    assert_eq!(metadata(&refused, "endCause"), "CREDENTIAL_CHANGED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_compared_whole_and_exactly() {
    let server = Server::quick().await;
    let id = add_user(&server, "kim", None).await;
    let common = "a".repeat(72);
    for (right, wrong) in [
        (format!("{common}b"), format!("{common}c")),
        (format!("{common}b"), common.clone()),
        ("correct horse battery ".to_owned(), "correct horse battery".to_owned()),
        (" correct horse battery".to_owned(), "correct horse battery".to_owned()),
        ("Correct horse battery".to_owned(), "correct horse battery".to_owned()),
        ("before\0after and more".to_owned(), "before\0other and more".to_owned()),
        ("before\0after and more".to_owned(), "before".to_owned()),
        ("ﬁve full-width words".to_owned(), "five full-width words".to_owned()),
    ] {
        set_password(&server, id, &right).await;
        assert!(knows(&server, &right).await, "{right:?}");
        assert!(!knows(&server, &wrong).await, "{wrong:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_password_typed_composed_or_decomposed_is_one_password() {
    let server = Server::quick().await;
    let id = add_user(&server, "kim", None).await;
    let (composed, decomposed) =
        ("caf\u{e9} \u{ac00}\u{b098} passwort", "cafe\u{301} \u{1100}\u{1161}\u{1102}\u{1161} passwort");
    for (set, typed) in [(composed, decomposed), (decomposed, composed)] {
        set_password(&server, id, set).await;
        assert!(knows(&server, typed).await);
        assert!(knows(&server, set).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_is_too_long_is_refused_before_any_hashing() {
    // One hash takes a second here, so a refusal that hashed would not be quick.
    let server = Server::start_with(|config| config.passwords.iterations = 2).await;
    let busy = server.client();
    let mut tasks = JoinSet::new();
    for _ in 0..4 {
        let mut client = busy.clone();
        tasks.spawn(async move { client.login(login_request("nobody", "occupies the threads")).await });
    }
    for password in ["x".repeat(1025), "x".repeat(60_000), String::new()] {
        let status = server.login("admin", &password).await.unwrap_err();
        assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "INVALID_FIELD"));
        assert_eq!(
            status.get_details_bad_request().unwrap().field_violations.first().unwrap().field,
            "password.password"
        );
        assert!(!status.message().contains("xxx"));
    }
    let status = server.login("admin", &"x".repeat(1 << 20)).await.unwrap_err();
    assert!(matches!(status.code(), Code::OutOfRange | Code::ResourceExhausted), "{status:?}");
}

// ---- what a refusal tells ----

#[tokio::test(flavor = "multi_thread")]
async fn every_failed_sign_in_gets_byte_for_byte_the_same_answer() {
    let server = Server::quick().await;
    kim(&server).await;
    let gone = add_user(&server, "gone", Some(PASSWORD)).await;
    disable(&server, gone).await;
    add_user(&server, "passwordless", None).await;
    let mut answers = Vec::new();
    for (name, password) in [
        ("nobody", PASSWORD),
        ("nobody@example.com", PASSWORD),
        ("no such/name at all", PASSWORD),
        ("kim", "not the right password"),
        ("kim", "x"),
        ("gone", PASSWORD),
        ("gone", "not the right password"),
        ("passwordless", PASSWORD),
    ] {
        let body = raw::frame(&login_request(name, password).encode_to_vec());
        let mut raw = raw::call(&server.channel, LOGIN, &[("x-request-id", "same")], body).await.unwrap();
        assert_eq!(raw.code, Code::Unauthenticated, "{name}");
        assert_eq!(raw.reason(), "INVALID_CREDENTIALS");
        assert_eq!(raw.text("x-request-id"), "same");
        // The one thing that differs from second to second.
        raw.metadata.remove("date");
        answers.push((name, raw.metadata, raw.body));
    }
    let (_, metadata, body) = answers.first().unwrap();
    for (name, other, other_body) in &answers {
        assert_eq!((other, other_body), (metadata, body), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_log_tells_what_the_caller_is_not_told() {
    let server = Server::quick().await;
    let (id, _) = kim(&server).await;
    server.login("nobody", PASSWORD).await.unwrap_err();
    server.login("kim", "not the right password").await.unwrap_err();
    disable(&server, id).await;
    server.login("kim", PASSWORD).await.unwrap_err();
    let mut database = server.database().await;
    for _ in 0..100 {
        if database.audited("authn_login_fail").await == 3 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let rows: Vec<(Option<String>, String)> =
        database.rows("SELECT target, detail FROM audit WHERE kind = 'authn_login_fail' ORDER BY id", &[]).await;
    let told: Vec<(Option<&str>, &str)> =
        rows.iter().map(|(target, detail)| (target.as_deref(), detail.as_str())).collect();
    let id = id.to_string();
    assert_eq!(told.len(), 3);
    for ((target, detail), (expected, fault)) in
        told.into_iter().zip([(None, "unknown_account"), (Some(&*id), "wrong_password"), (Some(&*id), "disabled")])
    {
        assert_eq!(target, expected);
        assert!(detail.contains(fault), "{detail}");
        assert!(!detail.contains("kim"), "ids only: {detail}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_spellings_of_an_identifier_are_one_account() {
    let server = Server::quick().await;
    let profile = Profile {
        email: Some("Kim.\u{e9}@Example.com".parse().unwrap()),
        user_name: Some("Kim.Minsu".parse().unwrap()),
        ..Profile::default()
    };
    let id = add(&server, profile, Some(PASSWORD)).await.to_string();
    for spelling in [
        "kim.\u{e9}@example.com",
        "  KIM.\u{c9}@EXAMPLE.COM\t",
        "kim.e\u{301}@example.com",
        "\u{ff4b}\u{ff49}\u{ff4d}.\u{e9}@\u{ff45}xample.com",
        "kim.minsu",
        " KIM.MINSU ",
        "\u{ff2b}im.Minsu",
    ] {
        let sign_in = server.login(spelling, PASSWORD).await.unwrap();
        assert_eq!(sign_in.principal.unwrap().id, id, "{spelling:?}");
    }
    for stranger in ["kim", "kim.minsu@example.com", "kim.e@example.com", "kim minsu"] {
        assert_eq!(reason(&server.login(stranger, PASSWORD).await.unwrap_err()), "INVALID_CREDENTIALS", "{stranger}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_no_default_password_and_no_default_account_but_the_first_administrator() {
    let server = Server::quick().await;
    for name in ["admin", "root", "administrator", "postern", "dev", "test", "guest"] {
        for password in [name, "admin", "password", "changeme", "postern"] {
            assert_eq!(reason(&server.login(name, password).await.unwrap_err()), "INVALID_CREDENTIALS", "{name}");
        }
    }
    let mut database = server.database().await;
    assert_eq!(database.count("users").await, 1);
    let (one, other) = (server.admin_password.clone().unwrap(), Server::quick().await.admin_password.clone().unwrap());
    assert_ne!(one, other);
    assert!(one.len() >= 20, "100 bits in letters");
}

#[test]
fn the_contract_has_no_hints_and_no_security_questions() {
    let pool = DescriptorPool::decode(postern::proto::FILE_DESCRIPTOR_SET).unwrap();
    let ours = pool.all_messages().filter(|message| message.full_name().starts_with("postern."));
    for field in ours.flat_map(|message| message.fields().collect::<Vec<_>>()) {
        // The one way is inwards: no answer has one.
        if field.full_name() == "postern.admin.v1.ImportUsersRequest.password_hash" {
            continue;
        }
        for word in ["hint", "question", "answer", "mother", "password_hash"] {
            assert!(!field.name().contains(word), "{}", field.full_name());
        }
    }
}

// ---- what is kept ----

#[tokio::test(flavor = "multi_thread")]
async fn hashes_are_argon2id_at_the_recommended_cost_and_salts_are_unique() {
    let server = Server::start().await;
    add_user(&server, "kim", Some(PASSWORD)).await;
    add_user(&server, "lee", Some(PASSWORD)).await;
    let mut database = server.database().await;
    for hash in database.hashes().await {
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
    }
    let server = server.restart_with(quick).await;
    for index in 0..60 {
        add_user(&server, &format!("user{index}"), Some(PASSWORD)).await;
    }
    let mut salts = BTreeSet::new();
    for hash in database.hashes().await {
        let hash = PasswordHash::new(&hash).unwrap();
        let salt = hash.salt.unwrap();
        assert!(salt.as_ref().len() >= 16);
        assert!(salts.insert(salt.as_ref().to_vec()), "a salt came twice");
    }
    assert_eq!(salts.len(), 63);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_sign_in_hashes_anew_when_the_cost_has_changed() {
    let server = Server::quick().await;
    let (id, _) = kim(&server).await;
    let mut database = server.database().await;
    let old = database.hash_of(id).await;
    assert!(old.contains("m=64,t=1"));
    let server = server
        .restart_with(|config| {
            quick(config);
            config.passwords.iterations = 3;
        })
        .await;
    assert!(!knows(&server, "not the right password").await);
    assert_eq!(database.hash_of(id).await, old, "only the right password is hashed anew");
    assert!(knows(&server, PASSWORD).await);
    let new = database.hash_of(id).await;
    assert!(new.contains("m=64,t=3"), "{new}");
    assert!(knows(&server, PASSWORD).await);
    assert_eq!(database.hash_of(id).await, new, "once");
}

/// Row 34, from a store that had none: a pepper comes to everybody at their next sign-in, and without it nobody comes in.
#[tokio::test(flavor = "multi_thread")]
async fn a_pepper_is_needed_once_it_is_in() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pepper");
    std::fs::write(&path, MasterKeys::generate().unwrap().expose_secret()).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let server = Server::quick().await;
    let (id, _) = kim(&server).await;
    let mut database = server.database().await;
    assert!(!database.hash_of(id).await.contains("keyid"));
    let peppered = |config: &mut Config| {
        quick(config);
        config.passwords.pepper_file = Some(path.clone());
    };
    let server = server.restart_with(peppered).await;
    assert!(!knows(&server, "not the right password").await);
    assert!(knows(&server, PASSWORD).await);
    let hash = database.hash_of(id).await;
    assert!(hash.contains(",keyid=AQ$"), "{hash}");
    assert!(knows(&server, PASSWORD).await);
    assert_eq!(database.hash_of(id).await, hash, "once");
    let server = server.restart_with(quick).await;
    assert!(!knows(&server, PASSWORD).await, "refused like a wrong one");
    let server = server.restart_with(peppered).await;
    assert!(knows(&server, PASSWORD).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rehash_never_brings_an_old_password_back() {
    let server = Server::quick().await;
    let (id, _) = kim(&server).await;
    // Hashes of this are outdated to the server, so each sign-in with one wants to write.
    let outdated = HashSettings { memory_kib: 64, iterations: 2, parallelism: 1, threads: NonZeroUsize::MIN, queue: 4 };
    let outdated = Passwords::start(&outdated, Peppers::default()).unwrap();
    set_hash(&server, id, &hash_with(&outdated, PASSWORD).await).await;
    let mut current = PASSWORD.to_owned();
    for round in 0..30_u64 {
        let (old, next) = (current.clone(), format!("another password {round}"));
        let hash = hash_with(&outdated, &next).await;
        let (signed_in, ()) = tokio::join!(
            async {
                tokio::time::sleep(Duration::from_micros(round * 97 % 1_500)).await;
                server.login("kim", &old).await
            },
            async {
                tokio::time::sleep(Duration::from_micros(round * 531 % 4_100)).await;
                set_hash(&server, id, &hash).await;
            }
        );
        assert!(!knows(&server, &old).await, "round {round}");
        // A sign-in that began before the change must not outlive it.
        if let Ok(sign_in) = signed_in {
            let tokens = sign_in.tokens.unwrap();
            let refused = server.refresh(&tokens.refresh_token).await.unwrap_err();
            assert_eq!(reason(&refused), "SESSION_ENDED", "round {round}");
            assert_eq!(metadata(&refused, "endCause"), "CREDENTIAL_CHANGED");
            assert_eq!(verdict(&server.verify(&tokens.access_token).await).1, pb::Reason::TokenRevoked);
        }
        current = next;
    }
    assert!(knows(&server, &current).await);
}

// ---- what a sign-in begins and ends ----

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_says_truthfully_how_and_when() {
    let server = Server::quick().await;
    let (id, _) = kim(&server).await;
    let mut request = login_request("kim", PASSWORD);
    request.device = Some(pb::Device {
        ip_address: "::ffff:192.0.2.7".to_owned(),
        user_agent: "Mozilla/5.0 (\u{1b}[31mred)".to_owned(),
        display_name: "work phone".to_owned(),
        ..Default::default()
    });
    let answer = server.client().login(request).await.unwrap().into_inner();
    let Some(pb::login_response::Outcome::SignIn(sign_in)) = answer.outcome else { panic!("no outcome") };
    let (tokens, principal) = (sign_in.tokens.unwrap(), sign_in.principal.unwrap());
    assert_eq!(principal.id, id.to_string());
    assert_eq!(principal.kind(), pb::PrincipalKind::User);
    assert_eq!(principal.amr, ["pwd"]);
    assert_eq!(principal.client_id, "dev");
    assert_eq!(principal.session_id, tokens.session_id);
    let verified = server.verify(&tokens.access_token).await.principal.unwrap();
    assert_eq!(
        (&verified.id, &verified.session_id, &verified.amr),
        (&principal.id, &principal.session_id, &principal.amr)
    );
    assert_eq!(verified.auth_time.unwrap().seconds, principal.auth_time.unwrap().seconds);
    assert!(tokens.refresh_token.starts_with("ptr_") && tokens.refresh_token.len() == 124);
    assert!(tokens.access_expire_time.unwrap().seconds < tokens.refresh_expire_time.unwrap().seconds);
    assert!(tokens.refresh_expire_time.unwrap().seconds < tokens.session_expire_time.unwrap().seconds);
    let multi = pb::Assurance { level: pb::AssuranceLevel::MultiFactor.into(), ..Default::default() };
    let question =
        pb::VerifyRequest { access_token: tokens.access_token.clone(), assurance: Some(multi), ..Default::default() };
    let answer = server.verify_with(question).await.unwrap();
    assert_eq!(verdict(&answer), (pb::Decision::StepUp, pb::Reason::AssuranceTooLow));
    let session = server.sessions(&tokens.access_token, false).await.into_iter().find(|one| one.current).unwrap();
    let device = session.device.unwrap();
    assert_eq!(device.ip_address, "192.0.2.7");
    assert_eq!(device.display_name, "work phone");
    assert!(!device.user_agent.contains('\u{1b}'));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_chooses_the_id_of_a_session() {
    let server = Server::quick().await;
    let (_, first) = kim(&server).await;
    let wanted = &first.session_id;
    let mut request = Request::new(login_request("kim", PASSWORD));
    for name in ["session-id", "session_id", "x-session-id", "sid", "cookie"] {
        request.metadata_mut().insert(name, wanted.parse().unwrap());
    }
    let answer = server.client().login(request).await.unwrap().into_inner();
    let Some(pb::login_response::Outcome::SignIn(sign_in)) = answer.outcome else { panic!("no outcome") };
    assert_ne!(&sign_in.tokens.unwrap().session_id, wanted);
    // Fields that the contract does not have: length-delimited ones of numbers 5 to 30, each with the wanted id.
    let mut message = login_request("kim", PASSWORD).encode_to_vec();
    for number in 5..31_u64 {
        prost::encoding::encode_key(
            u32::try_from(number).unwrap(),
            prost::encoding::WireType::LengthDelimited,
            &mut message,
        );
        prost::encoding::encode_varint(wanted.len() as u64, &mut message);
        message.extend_from_slice(wanted.as_bytes());
    }
    let raw = raw::call(&server.channel, LOGIN, &[], raw::frame(&message)).await.unwrap();
    assert_eq!(raw.code, Code::Ok);
    let ids: BTreeSet<_> = server.sessions(&first.access_token, true).await.into_iter().map(|one| one.id).collect();
    assert_eq!(ids.len(), 3, "three sign-ins, three sessions");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_ends_the_session_that_the_device_held_before() {
    let server = Server::quick().await;
    let (_, old) = kim(&server).await;
    let bystander = sign_in(&server).await;
    let mut request = login_request("kim", PASSWORD);
    request.replace_refresh_token.clone_from(&old.refresh_token);
    server.client().login(request).await.unwrap();
    let refused = server.refresh(&old.refresh_token).await.unwrap_err();
    assert_eq!((reason(&refused).as_str(), metadata(&refused, "endCause").as_str()), ("SESSION_ENDED", "REPLACED"));
    assert_eq!(verdict(&server.verify(&old.access_token).await).1, pb::Reason::TokenRevoked);
    assert_eq!(server.verify(&bystander.access_token).await.decision(), pb::Decision::Allow);

    // A failed sign-in ends nothing, and a token that is no good is no reason to refuse one.
    let mut request = login_request("kim", "not the right password");
    request.replace_refresh_token.clone_from(&bystander.refresh_token);
    server.client().login(request).await.unwrap_err();
    assert!(server.refresh(&bystander.refresh_token).await.is_ok());
    for nonsense in ["ptr_", "nonsense", &old.refresh_token, &bystander.access_token, &"x".repeat(5_000)] {
        let mut request = login_request("kim", PASSWORD);
        nonsense.clone_into(&mut request.replace_refresh_token);
        assert!(server.client().login(request).await.is_ok());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_session_too_many_ends_the_oldest() {
    let server = Server::start_with(|config| {
        quick(config);
        config.sessions.max_per_user = 3;
    })
    .await;
    let (id, oldest) = kim(&server).await;
    let mut rest = Vec::new();
    for _ in 0..3 {
        rest.push(sign_in(&server).await);
    }
    let refused = server.refresh(&oldest.refresh_token).await.unwrap_err();
    assert_eq!(
        (reason(&refused).as_str(), metadata(&refused, "endCause").as_str()),
        ("SESSION_ENDED", "SESSION_LIMIT")
    );
    assert_eq!(verdict(&server.verify(&oldest.access_token).await).1, pb::Reason::TokenRevoked);
    for tokens in &rest {
        assert!(server.refresh(&tokens.refresh_token).await.is_ok());
    }
    let mut database = server.database().await;
    assert_eq!(database.causes(id).await, ["SESSION_LIMIT"]);
    assert_eq!(database.audited("session_revoked").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_session_limit_holds_when_many_sign_in_at_once() {
    let server = Server::start_with(|config| {
        quick(config);
        config.sessions.max_per_user = 5;
    })
    .await;
    kim(&server).await;
    let mut tasks = JoinSet::new();
    for _ in 0..16 {
        let mut client = server.client();
        tasks.spawn(async move { client.login(login_request("kim", PASSWORD)).await.unwrap().into_inner() });
    }
    assert_eq!(tasks.join_all().await.len(), 16);
    let last = sign_in(&server).await;
    let living = server.sessions(&last.access_token, false).await;
    assert_eq!(living.len(), 5);
    assert!(living.iter().any(|one| one.id == last.session_id));
}

// ---- storms ----

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_logins_is_shed_with_a_delay_and_does_not_touch_verify() {
    let server = Server::start_with(|config| {
        config.passwords.threads = 1;
        config.passwords.queue = 4;
    })
    .await;
    let (_, tokens) = kim(&server).await;
    let mut storm = JoinSet::new();
    for _ in 0..40 {
        let mut client = server.client();
        storm.spawn(async move {
            let asked = tokio::time::Instant::now();
            (client.login(login_request("kim", PASSWORD)).await, asked.elapsed())
        });
    }
    let mut verified = 0;
    let (mut signed_in, mut shed) = (0, 0);
    while !storm.is_empty() {
        assert_eq!(server.verify(&tokens.access_token).await.decision(), pb::Decision::Allow);
        verified += 1;
        while let Some(done) = storm.try_join_next() {
            let (outcome, _took) = done.unwrap();
            let Err(status) = outcome else {
                signed_in += 1;
                continue;
            };
            shed += 1;
            assert_eq!((status.code(), reason(&status).as_str()), (Code::Unavailable, "OVERLOADED"));
            let delay = status.get_details_retry_info().unwrap().retry_delay.unwrap();
            let pushback = status.metadata().get("grpc-retry-pushback-ms").unwrap().to_str().unwrap();
            assert_eq!(pushback, delay.as_millis().to_string());
            assert!(delay > Duration::ZERO);
        }
    }
    assert!(signed_in >= 4, "{signed_in} of those that found a place");
    assert!(shed >= 20, "only {shed} were shed");
    assert!(verified > 5, "{verified}");
    assert!(server.login("kim", PASSWORD).await.is_ok(), "afterwards there is room again");
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::disallowed_methods, reason = "calls to be given up one by one")]
async fn a_login_that_is_given_up_frees_its_place_only_when_its_hash_is_done() {
    let server = Server::start_with(|config| {
        (config.passwords.memory_kib, config.passwords.iterations) = (20_000, 10);
        config.passwords.threads = 1;
        config.passwords.queue = 1;
    })
    .await;
    let begin = || {
        let mut client = server.client();
        tokio::spawn(async move { client.login(login_request("nobody", PASSWORD)).await })
    };
    let until = async |jobs: (u32, u32)| {
        while server.auth.passwords.jobs() != jobs {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let running = begin();
    until((1, 0)).await;
    let waiting = begin();
    until((1, 1)).await;
    running.abort();
    let refused = server.login("nobody", PASSWORD).await.unwrap_err();
    assert_eq!(reason(&refused), "OVERLOADED", "the hash that nobody waits for still runs");
    assert_eq!(reason(&waiting.await.unwrap().unwrap_err()), "INVALID_CREDENTIALS");

    // Calls that are given up while they wait cost no hash, and no place is lost for good.
    for _ in 0..200 {
        let call = begin();
        tokio::time::sleep(Duration::from_millis(1)).await;
        call.abort();
    }
    let deadline = tokio::time::Instant::now() + Duration::from_secs(5);
    while reason(&server.login("nobody", PASSWORD).await.unwrap_err()) == "OVERLOADED" {
        assert!(tokio::time::Instant::now() < deadline, "a place was lost");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
