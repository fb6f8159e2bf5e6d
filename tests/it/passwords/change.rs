//! Changing one's own password: what it needs, what it ends, and that no sign-in or refresh that runs beside it saves the old one.

use account::account_service_client::AccountServiceClient;
use postern::auth::passwords::{HashSettings, Passwords};
use postern::auth::pepper::Peppers;
use postern::config::Config;
use postern::domain::id::UserId;
use postern::proto::account::v1 as account;
use secrecy::ExposeSecret as _;
use tokio::task::JoinSet;

use super::*;
use crate::people::{disable, hash_with, kim, sign_in};
use crate::support::{Answer, verdict};

const NEXT: &str = "quite another password";

async fn change(server: &Server, token: &str, current: &str, new: &str) -> Answer<pb::TokenPair> {
    let request = request(token, current, new);
    let answer = AccountServiceClient::new(server.channel.clone()).change_password(request).await?;
    Ok(answer.into_inner().tokens.unwrap())
}

fn request(token: &str, current: &str, new: &str) -> account::ChangePasswordRequest {
    account::ChangePasswordRequest {
        access_token: token.to_owned(),
        current_password: current.to_owned(),
        new_password: new.to_owned(),
    }
}

async fn knows(server: &Server, password: &str) -> bool {
    opens(server, "kim", password).await
}

async fn opens(server: &Server, name: &str, password: &str) -> bool {
    match server.login(name, password).await {
        Ok(_) => true,
        Err(status) => {
            assert_eq!(reason(&status), "INVALID_CREDENTIALS");
            false
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_ends_the_other_sessions_and_goes_on_in_this_one() {
    let server = Server::quick().await;
    let (_, own) = kim(&server).await;
    let other = sign_in(&server).await;
    let next = change(&server, &own.access_token, PASSWORD, NEXT).await.unwrap();
    assert_eq!(next.session_id, own.session_id);
    assert_ne!((&next.access_token, &next.refresh_token), (&own.access_token, &own.refresh_token));
    assert_eq!(server.verify(&next.access_token).await.decision(), pb::Decision::Allow);
    assert_eq!(verdict(&server.verify(&other.access_token).await).1, pb::Reason::TokenRevoked);
    let status = server.refresh(&other.refresh_token).await.unwrap_err();
    assert_eq!(
        (reason(&status).as_str(), metadata(&status, "endCause").as_str()),
        ("SESSION_ENDED", "CREDENTIAL_CHANGED")
    );
    assert!(!knows(&server, PASSWORD).await);
    assert!(knows(&server, NEXT).await);
    assert_eq!(server.refresh(&next.refresh_token).await.unwrap().rotation(), pb::Rotation::Advanced);
    let mut database = server.database().await;
    assert_eq!(database.audited("authn_password_change").await, 1);
    // And again from the same session, which the first change spared.
    let token = server.refresh(&next.refresh_token).await.unwrap().tokens.unwrap().access_token;
    change(&server, &token, NEXT, PASSWORD).await.unwrap();
    assert!(knows(&server, PASSWORD).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_needs_the_current_password() {
    let server = Server::quick().await;
    let (_, own) = kim(&server).await;
    for wrong in ["not the right password", "", "A password of some length"] {
        let status = change(&server, &own.access_token, wrong, NEXT).await.unwrap_err();
        assert_eq!((status.code(), reason(&status).as_str()), (Code::Unauthenticated, "INVALID_CREDENTIALS"));
    }
    let too_long = change(&server, &own.access_token, &"x".repeat(1025), NEXT).await.unwrap_err();
    assert_eq!(reason(&too_long), "INVALID_FIELD");
    assert!(knows(&server, PASSWORD).await);
    assert_eq!(server.refresh(&own.refresh_token).await.unwrap().rotation(), pb::Rotation::Advanced);
    assert_eq!(server.database().await.audited_at_last("authn_password_change_fail").await, 3);
}

/// Who found an open session guesses no further than at the front door, and locks nobody out by it.
#[tokio::test(flavor = "multi_thread")]
async fn tries_at_the_current_one_are_limited() {
    let server = Server::start_with(|config| {
        quick(config);
        config.limits = Config::development_defaults(Path::new("unused")).limits;
    })
    .await;
    let (_, own) = kim(&server).await;
    let other = sign_in(&server).await;
    let mut tries = 0;
    let limited = loop {
        let status = change(&server, &own.access_token, "not the right password", NEXT).await.unwrap_err();
        if reason(&status) != "INVALID_CREDENTIALS" {
            break status;
        }
        tries += 1;
        assert!(tries < 100, "without an end");
    };
    assert!(tries > 2);
    assert_eq!((limited.code(), reason(&limited).as_str()), (Code::ResourceExhausted, "THROTTLED"));
    // Not even the right one is looked at now.
    let status = change(&server, &own.access_token, PASSWORD, NEXT).await.unwrap_err();
    assert_eq!(reason(&status), "THROTTLED");
    assert!(knows(&server, PASSWORD).await);
    // What breaks a rule by a proven owner is no guess, and costs the other session nothing.
    for _ in 0..2 * tries {
        refused(&change(&server, &other.access_token, PASSWORD, "too short").await.unwrap_err(), "min_length");
    }
    change(&server, &other.access_token, PASSWORD, NEXT).await.unwrap();
}

/// However slowly they come: never a hundred in a row.
#[tokio::test(flavor = "multi_thread")]
async fn failures_of_an_open_session_are_counted_for_good() {
    let server = Server::quick().await;
    let (id, own) = kim(&server).await;
    let status = change(&server, &own.access_token, "not the right password", NEXT).await.unwrap_err();
    assert_eq!(reason(&status), "INVALID_CREDENTIALS");
    // As if that had been a hundred.
    let many = "UPDATE passwords SET known_failures = known_failures * 100 WHERE user_id = $1";
    server.database().await.run(many, &[id.into()]).await;
    let status = change(&server, &own.access_token, PASSWORD, NEXT).await.unwrap_err();
    assert_eq!(reason(&status), "THROTTLED", "not even the right one is looked at");
    // A sign-in proves the owner.
    let again = sign_in(&server).await;
    change(&server, &again.access_token, PASSWORD, NEXT).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_new_one_keeps_the_rules() {
    let folder = tempfile::tempdir().unwrap();
    let breached = folder.path().join("breached");
    std::fs::write(&breached, BREACHED_LINE).unwrap();
    let server = server(Some(&breached)).await;
    let token = server.login_admin().await.access_token;
    server.admin(&token).create_user(new_user(PASSWORD, false)).await.unwrap();
    let own = server.login("kim.minsu@x.kr", PASSWORD).await.unwrap().tokens.unwrap().access_token;
    for (password, rule) in REFUSED.iter().chain(&[(PASSWORD, "unchanged")]) {
        refused(&change(&server, &own, PASSWORD, password).await.unwrap_err(), rule);
    }
    let too_long = "x".repeat(1025);
    refused(&change(&server, &own, PASSWORD, &too_long).await.unwrap_err(), "max_bytes");
    change(&server, &own, PASSWORD, NEXT).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_none_must_have_signed_in_of_late() {
    let server = Server::quick().await;
    let (id, own) = kim(&server).await;
    let mut database = server.database().await;
    database.run("DELETE FROM passwords WHERE user_id = $1", &[id.into()]).await;
    let status = change(&server, &own.access_token, PASSWORD, NEXT).await.unwrap_err();
    assert_eq!(reason(&status), "INVALID_FIELD");
    server.later(Duration::from_mins(61)).await;
    let late = server.refresh(&own.refresh_token).await.unwrap().tokens.unwrap();
    let status = change(&server, &late.access_token, "", NEXT).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::FailedPrecondition, "REAUTHENTICATION_REQUIRED"));
    set_password(&server, id, PASSWORD).await;
    let fresh = sign_in(&server).await;
    database.run("DELETE FROM passwords WHERE user_id = $1", &[id.into()]).await;
    change(&server, &fresh.access_token, "", NEXT).await.unwrap();
    assert!(knows(&server, NEXT).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_has_ended_changes_nothing() {
    let server = Server::quick().await;
    let (id, own) = kim(&server).await;
    let stored = server.database().await.hash_of(id).await;
    server.logout(&own.refresh_token).await;
    assert_eq!(reason(&change(&server, &own.access_token, PASSWORD, NEXT).await.unwrap_err()), "TOKEN_REVOKED");
    let own = sign_in(&server).await;
    let status = change(&server, "not a token", PASSWORD, NEXT).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unauthenticated, "TOKEN_INVALID"));
    disable(&server, id).await;
    assert_eq!(reason(&change(&server, &own.access_token, PASSWORD, NEXT).await.unwrap_err()), "TOKEN_REVOKED");
    assert_eq!(server.database().await.hash_of(id).await, stored);
}

/// Steps that a task lets others go first, from a generator of ours: a failure can be run again.
struct Steps(u64);

impl Steps {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % 40
    }
}

async fn after(steps: u64) {
    for _ in 0..steps {
        tokio::task::yield_now().await;
    }
}

/// Puts a hash with other parameters in the place of a user's, so that the next sign-in makes it anew.
async fn outdate(server: &Server, id: UserId, others: &Passwords) {
    let stored = server.auth.store.credential_of(id).await.unwrap().found.unwrap().password_hash.unwrap();
    let outdated = hash_with(others, PASSWORD).await;
    assert!(
        server.auth.store.replace_password_hash(id, stored.expose_secret(), outdated.expose_secret()).await.unwrap()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_a_sign_in_nor_a_refresh_beside_it_saves_the_old_password() {
    const ROUNDS_OF_ONE: usize = 10;
    let server = Server::quick().await;
    let one = std::num::NonZeroUsize::MIN;
    let others = HashSettings { memory_kib: 64, iterations: 2, parallelism: 1, threads: one, queue: 8 };
    let others = Passwords::start(&others, Peppers::default()).unwrap();
    let mut steps = Steps(7);
    let (mut signed_in, mut taken) = (0, Duration::ZERO);
    // A user of their own every few rounds: dead sessions stay in the vault until they expire, and each sign-in lists them.
    for name in (0..200 / ROUNDS_OF_ONE).map(|number| format!("kim-{number}")) {
        let id = add_user(&server, &name, Some(PASSWORD)).await;
        for round in 0..ROUNDS_OF_ONE {
            // Half of the sign-ins start somewhere in the time that the change before took, or one side might win them all.
            let head_start =
                if round % 2 == 0 { Duration::ZERO } else { taken * u32::try_from(steps.next()).unwrap() / 40 };
            let won;
            (won, taken) = race(&server, (id, &name), &others, &mut steps, head_start)
                .await
                .unwrap_or_else(|why| panic!("{name}, round {round}: {why}"));
            signed_in += won;
        }
    }
    // Or nothing of this was a race.
    assert!((1..400).contains(&signed_in), "{signed_in}");
}

/// A change beside two sign-ins and a refresh of another session, and back again. Answers how many of the sign-ins won, and
/// what time the change took.
async fn race(
    server: &Server,
    (id, name): (UserId, &str),
    others: &Passwords,
    steps: &mut Steps,
    head_start: Duration,
) -> Result<(usize, Duration), String> {
    let sign_in = async || server.login(name, PASSWORD).await.unwrap().tokens.unwrap();
    let (own, other) = (sign_in().await, sign_in().await);
    outdate(server, id, others).await;
    let mut sign_ins = JoinSet::new();
    for _ in 0..2 {
        let (client, wait) = (server.client(), steps.next());
        let login = login_request(name, PASSWORD);
        sign_ins.spawn(async move {
            tokio::time::sleep(head_start).await;
            after(wait).await;
            let mut client = client;
            client.login(login).await.map(tonic::Response::into_inner)
        });
    }
    let (refresh_after, change_after) = (steps.next(), steps.next());
    let refresh = async {
        after(refresh_after).await;
        server.refresh(&other.refresh_token).await
    };
    let changed = async {
        after(change_after).await;
        let began = tokio::time::Instant::now();
        (change(server, &own.access_token, PASSWORD, NEXT).await, began.elapsed())
    };
    let ((changed, taken), refreshed, sign_ins) = tokio::join!(changed, refresh, sign_ins.join_all());
    let changed = changed.map_err(|status| format!("not changed: {status:?}"))?;

    if opens(server, name, PASSWORD).await || !opens(server, name, NEXT).await {
        return Err("the old password opens, or the new one does not".to_owned());
    }
    let mut tokens = vec![refreshed.map_or(other.refresh_token, |answer| answer.tokens.unwrap().refresh_token)];
    for answer in sign_ins.into_iter().flatten() {
        let Some(pb::login_response::Outcome::SignIn(sign_in)) = answer.outcome else { panic!("no sign-in") };
        tokens.push(sign_in.tokens.unwrap().refresh_token);
    }
    for token in &tokens {
        let refused = server.refresh(token).await.err().ok_or("a session from before lives on")?;
        assert_eq!(reason(&refused), "SESSION_ENDED");
    }
    change(server, &changed.access_token, NEXT, PASSWORD).await.map_err(|status| format!("not back: {status:?}"))?;
    Ok((tokens.len() - 1, taken))
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_changes_at_once_one_is_made() {
    let server = Server::quick().await;
    let (_, own) = kim(&server).await;
    let mut tasks = JoinSet::new();
    for number in 0..16 {
        let (mut client, token) = (AccountServiceClient::new(server.channel.clone()), own.access_token.clone());
        tasks.spawn(async move {
            let new = format!("{NEXT} {number}");
            client.change_password(request(&token, PASSWORD, &new)).await.is_ok().then_some(new)
        });
    }
    let made: Vec<String> = tasks.join_all().await.into_iter().flatten().collect();
    let [made] = made.as_slice() else { panic!("{made:?}") };
    assert!(knows(&server, made).await);
    assert!(!knows(&server, PASSWORD).await);
}
