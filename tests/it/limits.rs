//! Limits on tries (rows 12 to 16 of the security page): they stop who guesses, tell nothing, and lock nobody out.

use std::path::Path;
use std::time::Duration;

use postern::config::Config;
use postern::domain::rate::FAILURES_MAX;
use postern::proto::admin::v1 as admin;
use postern::proto::auth::v1 as pb;
use tokio::task::JoinSet;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

use crate::people::{add_user, disable, kim};
use crate::support::{PASSWORD, Server, login_request, reason};

const WRONG: &str = "not the password";

/// With the limits that hold where nothing was set.
async fn limited() -> Server {
    Server::start_with(limit).await
}

fn limit(config: &mut Config) {
    crate::support::quick(config);
    config.limits = Config::development_defaults(Path::new("unused")).limits;
}

fn request((name, password): (&str, &str), address: &str, device_token: &str) -> pb::LoginRequest {
    let device =
        pb::Device { ip_address: address.to_owned(), device_token: device_token.to_owned(), ..Default::default() };
    pb::LoginRequest { device: Some(device), ..login_request(name, password) }
}

/// Signs in from an address, on a device.
async fn try_from(server: &Server, who: (&str, &str), address: &str, device_token: &str) -> Result<pb::SignIn, Status> {
    match server.client().login(request(who, address, device_token)).await?.into_inner().outcome {
        Some(pb::login_response::Outcome::SignIn(sign_in)) => Ok(sign_in),
        other => panic!("{other:?}"),
    }
}

/// What a failure says: whether it was one of the credential, and for how many seconds to stay away if not.
fn told<T>(outcome: Result<T, Status>) -> Option<u64> {
    let status = outcome.err().expect("a failure");
    if status.code() == Code::Unauthenticated {
        assert_eq!(reason(&status), "INVALID_CREDENTIALS");
        assert!(status.get_details_retry_info().is_none());
        return None;
    }
    assert_eq!((status.code(), reason(&status).as_str()), (Code::ResourceExhausted, "THROTTLED"));
    let delay = status.get_details_retry_info().unwrap().retry_delay.unwrap();
    let pushback = status.metadata().get("grpc-retry-pushback-ms").unwrap().to_str().unwrap();
    assert_eq!(pushback, delay.as_millis().to_string());
    assert!(delay > Duration::ZERO);
    // Rounded up: some time passes between two tries.
    Some(delay.as_secs().div_ceil(15).max(1) * 15)
}

async fn fail(server: &Server, name: &str, address: &str) -> Option<u64> {
    told(try_from(server, (name, WRONG), address, "").await)
}

/// Tries as a stranger until the account's bucket is empty; each time from elsewhere.
async fn exhaust(server: &Server, name: &str) {
    for number in 0..60 {
        if fail(server, name, &format!("198.51.{number}.1")).await.is_some() {
            return;
        }
    }
    panic!("sixty failures from sixty places");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_fails_too_often_waits_whatever_the_password_is() {
    let server = limited().await;
    kim(&server).await;
    let mut failed = 0;
    let wait = loop {
        match fail(&server, "kim", "192.0.2.1").await {
            None => failed += 1,
            Some(wait) => break wait,
        }
    };
    assert_eq!((failed, wait), (10, 90));
    let right = try_from(&server, ("kim", PASSWORD), "192.0.2.1", "").await;
    assert!(told(right).is_some(), "or a guesser would learn which one was right");
    // Another network has a share of its own.
    assert!(try_from(&server, ("kim", PASSWORD), "192.0.2.2", "").await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn only_failures_count() {
    let server = limited().await;
    kim(&server).await;
    for number in 0..150 {
        let outcome = try_from(&server, ("kim", PASSWORD), "192.0.2.1", "").await;
        assert!(outcome.is_ok(), "{number}: {outcome:?}");
        if number % 5 == 0 {
            assert_eq!(fail(&server, "kim", "192.0.2.1").await, None, "{number}: a success puts all back");
        }
    }
}

/// Row 12.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_nobody_has_is_limited_like_any_other() {
    let server = limited().await;
    add_user(&server, "real", Some(PASSWORD)).await;
    add_user(&server, "bare", None).await;
    let gone = add_user(&server, "gone", Some(PASSWORD)).await;
    disable(&server, gone).await;
    let mut sequences = Vec::new();
    for (index, name) in ["real", "bare", "gone", "nobody", "nobody@example.com"].iter().enumerate() {
        let mut answers = Vec::new();
        for number in 0..30 {
            answers.push(fail(&server, name, &format!("192.0.2.{}", 10 * index + number % 3)).await);
        }
        sequences.push(answers);
    }
    assert_eq!(sequences[0].iter().filter(|told| told.is_none()).count(), 20);
    for sequence in &sequences {
        assert_eq!(sequence, &sequences[0]);
    }
}

/// Row 16: whoever writes a name otherwise gets no second share.
#[tokio::test(flavor = "multi_thread")]
async fn all_spellings_of_a_name_are_one() {
    let server = limited().await;
    let spellings = ["kim@example.com", "KIM@Example.COM", "  kim@example.com ", "ｋｉｍ@example.com"];
    let mut failed = 0;
    for (number, spelling) in spellings.iter().cycle().take(40).enumerate() {
        if fail(&server, spelling, &format!("198.51.{number}.1")).await.is_none() {
            failed += 1;
        }
    }
    assert_eq!(failed, 20);
    assert_eq!(fail(&server, "kım@example.com", "203.0.113.1").await, None, "another name");
}

/// Row 14: who knows the name can use up the strangers' share, and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn the_owner_is_not_locked_out() {
    let server = limited().await;
    kim(&server).await;
    add_user(&server, "mallory", Some(PASSWORD)).await;
    let device = try_from(&server, ("kim", PASSWORD), "192.0.2.1", "").await.unwrap().device_token;
    let foreign = try_from(&server, ("mallory", PASSWORD), "192.0.2.9", "").await.unwrap().device_token;
    exhaust(&server, "kim").await;
    for stranger in ["", "pdt_", "pdt_AAAA", &foreign, &device.replacen("pdt_", "ptr_", 1), &device[..device.len() - 2]]
    {
        let outcome = try_from(&server, ("kim", PASSWORD), "203.0.113.7", stranger).await;
        assert!(told(outcome).is_some(), "{stranger}");
    }
    // From the very place from which it is attacked, and however often.
    for _ in 0..3 {
        let sign_in = try_from(&server, ("kim", PASSWORD), "198.51.0.1", &device).await.unwrap();
        assert_ne!(sign_in.device_token, device);
    }
    // A known device has a share of its own, and no more than that.
    let mut failed = 0;
    while told(try_from(&server, ("kim", WRONG), "198.51.100.1", &device).await).is_none() {
        failed += 1;
    }
    assert_eq!(failed, 10);
}

/// Whoever makes tries come to nothing has none of the failures before them forgotten.
#[tokio::test(flavor = "multi_thread")]
async fn a_try_that_was_shed_gives_back_itself_and_no_more() {
    let server = Server::start_with(|config| {
        limit(config);
        // Nothing comes back while this runs, however slowly.
        config.limits.tries.account.every = Duration::from_hours(1);
        (config.passwords.memory_kib, config.passwords.iterations) = (40_000, 2);
        (config.passwords.threads, config.passwords.queue) = (1, 1);
    })
    .await;
    let (mut failed, mut shed) = (0, 0);
    for round in 0..100 {
        let mut tries = JoinSet::new();
        for number in 0..8 {
            let (mut client, address) = (server.client(), format!("198.51.{round}.{number}"));
            tries.spawn(async move { client.login(request(("kim", WRONG), &address, "")).await.unwrap_err() });
        }
        let mut throttled = 0;
        for status in tries.join_all().await {
            match reason(&status).as_str() {
                "INVALID_CREDENTIALS" => failed += 1,
                "OVERLOADED" => shed += 1,
                "THROTTLED" => throttled += 1,
                _ => panic!("{status:?}"),
            }
        }
        if throttled == 8 {
            break;
        }
    }
    assert!(shed > 8, "{shed}");
    assert_eq!(failed, 20);
}

/// A device is as good as the sessions that were opened on it.
#[tokio::test(flavor = "multi_thread")]
async fn a_device_is_a_stranger_once_all_sessions_were_ended() {
    let server = limited().await;
    let (id, _) = kim(&server).await;
    let device = try_from(&server, ("kim", PASSWORD), "192.0.2.1", "").await.unwrap().device_token;
    crate::people::set_password(&server, id, "a password of another kind").await;
    exhaust(&server, "kim").await;
    let outcome = try_from(&server, ("kim", "a password of another kind"), "192.0.2.1", &device).await;
    assert!(told(outcome).is_some());
}

/// Row 15, one address and one network.
#[tokio::test(flavor = "multi_thread")]
async fn who_tries_one_password_on_many_names_is_stopped() {
    let server = limited().await;
    for network in ["192.0.2.1", "2001:db8:0:1"] {
        let mut failed = 0;
        for number in 0..200 {
            let address = if network.contains(':') { format!("{network}::{number:x}") } else { network.to_owned() };
            match fail(&server, &format!("name{number}"), &address).await {
                None => failed += 1,
                Some(wait) => assert_eq!(wait, 15),
            }
        }
        assert!((100..110).contains(&failed), "{failed} from {network}");
    }
    assert_eq!(fail(&server, "another", "2001:db8:0:2::1").await, None, "next door");
    assert!(server.database().await.audited("excess_rate_limit_exceeded").await > 0);
}

/// Row 13, and F24 of the protocol: whatever the vault forgets, nobody fails a hundred times in a row.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_fails_a_hundred_times_in_a_row_for_one_account() {
    let server = limited().await;
    let (id, _) = kim(&server).await;
    let device = try_from(&server, ("kim", PASSWORD), "192.0.2.1", "").await.unwrap().device_token;
    let mut database = server.database().await;
    let mut failures = [0; 2];
    for (name, failures) in ["kim", "nobody"].iter().zip(&mut failures) {
        for number in 0..130 {
            let outcome = fail(&server, name, &format!("198.51.{number}.1")).await;
            if outcome.is_none() {
                *failures += 1;
            }
            if number % 10 == 0 {
                database.flush().await;
            }
        }
        // Also for the right password: nothing is hashed any more.
        database.flush().await;
        assert_eq!(told(try_from(&server, (name, PASSWORD), "203.0.113.1", "").await), Some(3_600), "{name}");
    }
    assert_eq!(failures, [80, 80]);
    assert!(failures[0] < FAILURES_MAX);

    // A day later the name is forgotten, the account is not, and which is which is not told.
    server.later(Duration::from_hours(25)).await;
    server.auth.store.purge().await.unwrap();
    database.flush().await;
    assert_eq!(told(try_from(&server, ("kim", PASSWORD), "203.0.113.2", "").await), None);
    assert_eq!(told(try_from(&server, ("nobody", PASSWORD), "203.0.113.2", "").await), None);

    // The owner comes in on a known device, and strangers may try again.
    assert!(try_from(&server, ("kim", PASSWORD), "203.0.113.3", &device).await.is_ok());
    database.flush().await;
    assert!(try_from(&server, ("kim", PASSWORD), "203.0.113.4", "").await.is_ok());

    // So they may after a new password.
    let (_, count): (i64, i64) = database.row("SELECT failures, known_failures FROM passwords", &[]).await;
    assert_eq!(count, 0);
    let _ = id;
}

/// F9: who reads the vault learns neither names nor addresses.
#[tokio::test(flavor = "multi_thread")]
async fn no_bucket_tells_whose_it_is() {
    // Long enough never to be in a keyed name by chance, as three letters now and then are.
    const NAME: &str = "canary_of_buckets";
    let server = limited().await;
    add_user(&server, NAME, Some(PASSWORD)).await;
    fail(&server, "canary_of_buckets@canary.example", "192.0.2.77").await;
    fail(&server, NAME, "2001:db8:77::1").await;
    let mut database = server.database().await;
    let buckets = database.buckets().await;
    assert!(buckets.len() >= 5, "{buckets:?}");
    for name in buckets.into_iter().chain(database.failing_names().await) {
        for canary in ["canary", "buckets", "192.0.2", "2001:db8"] {
            assert!(!name.contains(canary), "{name} holds {canary}");
        }
        assert!(name.ends_with(|last: char| last.is_ascii_alphanumeric() || matches!(last, '-' | '_' | '!')), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_ways_in_have_limits_too() {
    let server = Server::start_with(|config| {
        limit(config);
        // One of them made `someone`.
        config.limits.tries.administrator.burst = 4;
        config.limits.tries.token.burst = 5;
    })
    .await;
    let someone = server.someone().await;
    let admin = server.admin(&someone.admin);
    for number in 0..5 {
        let request = admin::SetPasswordRequest {
            id: someone.id.clone(),
            password: format!("{PASSWORD} {number}"),
            ..Default::default()
        };
        let outcome = admin.set_password(request).await;
        assert_eq!(outcome.is_ok(), number < 3, "{number}");
        if number >= 3 {
            assert!(told(outcome).is_some());
        }
    }
    // A password that comes with a user costs as much.
    let user = Some(admin::User { user_name: "somebody".to_owned(), ..admin::User::default() });
    let with_password =
        admin::CreateUserRequest { user: user.clone(), password: PASSWORD.to_owned(), ..Default::default() };
    assert!(told(admin.create_user(with_password).await).is_some());
    admin.create_user(admin::CreateUserRequest { user, ..Default::default() }).await.unwrap();
    // Refresh tokens that are none.
    let mut refused = Vec::new();
    for _ in 0..7 {
        refused.push(reason(&server.refresh("ptr_none").await.unwrap_err()));
    }
    assert_eq!(refused.iter().filter(|reason| *reason == "REFRESH_TOKEN_INVALID").count(), 5);
    assert!(refused[5..].iter().all(|reason| reason == "THROTTLED"));
    // A client's secret that is none.
    let mut refused = Vec::new();
    for _ in 0..7 {
        let mut request = Request::new(pb::GetKeysRequest::default());
        request.metadata_mut().insert("authorization", "Bearer pcs_none".parse().unwrap());
        refused.push(reason(&server.client().get_keys(request).await.unwrap_err()));
    }
    assert_eq!(refused.iter().filter(|reason| *reason == "CLIENT_UNAUTHENTICATED").count(), 5);
    assert!(server.client().get_keys(pb::GetKeysRequest::default()).await.is_ok(), "who proves itself is not held up");
    let mut database = server.database().await;
    for _ in 0..500 {
        if database.audited("excess_rate_limit_exceeded").await == 7 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{} refusals are written down", database.audited("excess_rate_limit_exceeded").await);
}
