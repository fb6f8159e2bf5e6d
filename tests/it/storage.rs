//! What a server does with the data that it finds: takes it up again whole, or refuses to start with one clear line and
//! leaves it as it is.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use postern::proto::auth::v1 as pb;
use sqlx::ConnectOptions as _;
use sqlx::sqlite::SqliteConnectOptions;
use tonic::Code;

use crate::binary::{Place, bytes};
use crate::people::kim;
use crate::support::{PASSWORD, Server, login_request, quick, reason};
use pb::auth_service_client::AuthServiceClient;

// ---- taken up again ----

#[tokio::test(flavor = "multi_thread")]
async fn a_second_start_keeps_people_sessions_and_keys() {
    let server = Server::quick().await;
    let (id, tokens) = kim(&server).await;
    let keys = server.client().get_keys(pb::GetKeysRequest {}).await.unwrap().into_inner();
    let server = server.restart_with(quick).await;
    assert_eq!(server.client().get_keys(pb::GetKeysRequest {}).await.unwrap().into_inner(), keys);
    let verified = server.verify(&tokens.access_token).await;
    assert_eq!(verified.decision(), pb::Decision::Allow, "tokens of before still hold");
    assert_eq!(verified.principal.unwrap().id, id.to_string());
    let next = server.refresh(&tokens.refresh_token).await.unwrap();
    assert_eq!(next.rotation(), pb::Rotation::Advanced);
    assert!(server.login("kim", PASSWORD).await.is_ok());
    // And a retry of what was answered before the restart is answered alike after it.
    let server = server.restart_with(quick).await;
    let again = server.refresh(&tokens.refresh_token).await.unwrap();
    assert_eq!(again.rotation(), pb::Rotation::Repeated);
    assert_eq!(again.tokens.unwrap().refresh_token, next.tokens.unwrap().refresh_token);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_supervisor_stops_it_without_breaking_a_call() {
    let place = Place::new();
    let running = place.start().await;
    let password = place.admin_password();
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let (mut client, request) =
            (AuthServiceClient::new(running.channel.clone()), login_request("admin", &password));
        calls.spawn(async move { client.login(request).await });
    }
    tokio::time::sleep(Duration::from_millis(30)).await;
    let status = running.terminate().await;
    assert!(status.success(), "{status}");
    for outcome in calls.join_all().await {
        outcome.expect("a call that had begun was broken");
    }
    // Stopped in order, there is one file and nothing beside it to lose.
    assert!(!place.data().join("postern.db-wal").exists());
    let running = place.start().await;
    let mut client = AuthServiceClient::new(running.channel.clone());
    assert!(client.login(login_request("admin", &password)).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_start_that_dies_anywhere_is_finished_by_the_next() {
    for millis in [5, 12, 15, 18, 21, 25, 40, 80, 130] {
        let place = Place::new();
        place.start_and_die(Duration::from_millis(millis)).await;
        let running = place.start().await;
        let mut client = AuthServiceClient::new(running.channel.clone());
        let signed_in = client.login(login_request("admin", &place.admin_password())).await;
        assert!(signed_in.is_ok(), "killed after {millis} ms: {signed_in:?}");
    }
}

// ---- refused ----

#[tokio::test(flavor = "multi_thread")]
async fn a_second_server_on_one_directory_names_the_first_and_touches_nothing() {
    let place = Place::new();
    let first = place.start().await;
    let before = bytes(&place.database());
    let refused = place.refused().await;
    assert!(refused.stderr.contains(&format!("pid {}", first.id())), "{}", refused.stderr);
    assert!(refused.stderr.contains("data"), "{}", refused.stderr);
    assert_eq!(bytes(&place.database()), before);
    let mut client = AuthServiceClient::new(first.channel.clone());
    assert!(client.login(login_request("admin", &place.admin_password())).await.is_ok(), "the first goes on");
    // Whoever died leaves no lock behind.
    first.kill();
    place.start().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_not_ours_or_damaged_stays_as_it_is() {
    let place = Place::new();
    assert!(place.start().await.terminate().await.success());
    let good = bytes(&place.database());
    let key = bytes(&place.master_key());

    let foreign = {
        let path = place.path().join("foreign.db");
        let mut connection =
            SqliteConnectOptions::new().filename(&path).create_if_missing(true).connect().await.unwrap();
        sqlx::query("CREATE TABLE recipes (name TEXT)").execute(&mut connection).await.unwrap();
        drop(connection);
        tokio::time::sleep(Duration::from_millis(50)).await;
        bytes(&path)
    };
    let mut overwritten = good.clone();
    overwritten[4_096..12_288].fill(0xa5);
    let mut newer = good.clone();
    newer[68..72].copy_from_slice(b"PSTX");
    for (what, content, told) in [
        ("a text", b"dear diary, this is no database at all".repeat(100), "is not a database"),
        ("a short text", b"dear diary".to_vec(), "is not a database"),
        ("another program's database", foreign, "another program"),
        ("another program's mark", newer, "another program"),
        ("overwritten pages", overwritten, "is damaged"),
        ("half of it", good[..good.len() / 2].to_vec(), "is damaged"),
    ] {
        std::fs::write(place.database(), &content).unwrap();
        let refused = place.refused().await;
        assert!(refused.stderr.contains(told) && refused.stderr.contains("postern.db"), "{what}: {}", refused.stderr);
        assert_eq!(bytes(&place.database()), content, "{what}");
        assert_eq!(bytes(&place.master_key()), key, "{what}");
    }
    std::fs::write(place.database(), &good).unwrap();
    place.start().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_key_that_is_wrong_missing_or_open_to_others_stops_the_start() {
    let place = Place::new();
    assert!(place.start().await.terminate().await.success());
    let (good, database) = (bytes(&place.master_key()), bytes(&place.database()));
    let other = {
        let place = Place::new();
        place.start().await;
        bytes(&place.master_key())
    };
    let private = std::fs::Permissions::from_mode(0o600);
    for (what, content, told) in [
        ("another one", Some(other), "another master key"),
        ("cut short", Some(good[..good.len() / 2].to_vec()), "master key"),
        ("empty", Some(Vec::new()), "empty"),
        ("no text", Some(vec![0xff; 64]), "UTF-8"),
        ("missing", None, "is missing"),
    ] {
        match &content {
            Some(content) => std::fs::write(place.master_key(), content).unwrap(),
            None => std::fs::remove_file(place.master_key()).unwrap(),
        }
        let refused = place.refused().await;
        assert!(refused.stderr.contains(told), "{what}: {}", refused.stderr);
        assert!(refused.stderr.contains("master.key"), "{what}: {}", refused.stderr);
        let secret = String::from_utf8_lossy(&good).trim_end().to_owned();
        assert!(!refused.stderr.contains(&secret[secret.len() - 20..]), "{what}");
        assert_eq!(bytes(&place.database()), database, "{what}");
        assert_eq!(place.master_key().exists(), content.is_some(), "no new key is made: {what}");
    }
    std::fs::write(place.master_key(), &good).unwrap();
    for mode in [0o644, 0o640, 0o604] {
        std::fs::set_permissions(place.master_key(), std::fs::Permissions::from_mode(mode)).unwrap();
        let refused = place.refused().await;
        assert!(refused.stderr.contains("chmod 600"), "{}", refused.stderr);
    }
    std::fs::set_permissions(place.master_key(), private).unwrap();
    assert_eq!(bytes(&place.database()), database);
    place.start().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_named_with_its_setting() {
    let place = Place::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (setting, other) in [("listen.grpc", "--listen.operations"), ("listen.operations", "--listen.grpc")] {
        let option = format!("--{setting}");
        let command = place.command_with(&["--data", "data", &option, &address, other, "127.0.0.1:0"]);
        let refused = place.refused_by(command).await;
        assert!(refused.stderr.contains(&address) && refused.stderr.contains(setting), "{}", refused.stderr);
        assert!(!place.database().exists(), "nothing is made before the ports are ours");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_cannot_be_used_is_named() {
    let place = Place::new();
    // A file where the directory should be, and one below a file: nobody may write there, not even root.
    std::fs::write(place.data(), "in the way").unwrap();
    assert!(place.refused().await.stderr.contains("data cannot be used"));
    assert_eq!(bytes(&place.data()), b"in the way");
    let any = "127.0.0.1:0";
    let below = place.command_with(&["--data", "data/below", "--listen.grpc", any, "--listen.operations", any]);
    assert!(place.refused_by(below).await.stderr.contains("data/below cannot be used"));
    std::fs::remove_file(place.data()).unwrap();
    std::fs::create_dir(place.data()).unwrap();
    std::fs::create_dir(place.database()).unwrap();
    assert!(place.refused().await.stderr.contains("postern.db"));
}

// ---- a full disk ----

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_full_at_the_first_start_is_named_and_the_next_start_is_good() {
    let place = Place::new();
    for blocks in [8, 20, 60, 120, 250] {
        let refused = place.refused_by(place.command_on_full_disk(blocks)).await;
        let told = &refused.stderr;
        assert!(
            told.contains("free space") || told.contains("cannot be used") || told.contains("fail"),
            "{blocks}: {told}"
        );
    }
    let running = place.start().await;
    let mut client = AuthServiceClient::new(running.channel.clone());
    assert!(client.login(login_request("admin", &place.admin_password())).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fills_up_is_an_outage_and_loses_nothing_that_was_acknowledged() {
    let place = Place::new();
    assert!(place.start().await.terminate().await.success());
    let password = place.admin_password();
    let running = place.try_start(place.command_on_full_disk(900)).await.unwrap();
    let mut client = AuthServiceClient::new(running.channel.clone());
    let mut acknowledged = Vec::new();
    let refusal = loop {
        assert!(acknowledged.len() < 200, "the disk never filled up");
        match client.login(login_request("admin", &password)).await {
            Ok(answer) => {
                let Some(pb::login_response::Outcome::SignIn(sign_in)) = answer.into_inner().outcome else {
                    panic!("no outcome")
                };
                acknowledged.push(sign_in.tokens.unwrap());
            }
            Err(status) => break status,
        }
    };
    assert_eq!((refusal.code(), reason(&refusal).as_str()), (Code::Unavailable, "ENGINE_UNAVAILABLE"));
    assert!(!acknowledged.is_empty());
    let access_token = acknowledged.last().unwrap().access_token.clone();
    let ask = pb::VerifyRequest { access_token, ..Default::default() };
    let verified = client.verify(ask).await.unwrap().into_inner();
    assert_eq!(verified.decision(), pb::Decision::Allow, "judging needs no disk");
    running.kill();
    let running = place.start().await;
    let mut client = AuthServiceClient::new(running.channel.clone());
    for tokens in acknowledged.iter().rev().take(40) {
        let request = pb::RefreshRequest { refresh_token: tokens.refresh_token.clone(), ..Default::default() };
        assert!(client.refresh(request).await.is_ok());
    }
}
