//! The store as one file beside the server: who else may open it, what is refused, and a disk that is full. On SQLite alone;
//! `scripts/test` leaves it out on other engines.

use std::time::Duration;

use postern::proto::auth::v1 as pb;
use sqlx::ConnectOptions as _;
use sqlx::sqlite::SqliteConnectOptions;
use tonic::Code;

use crate::binary::{Place, bytes};
use crate::support::{login_request, reason};
use pb::auth_service_client::AuthServiceClient;

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
async fn a_directory_that_cannot_be_used_is_named() {
    let place = Place::new();
    // A file where the directory should be, and one below a file: nobody may write there, not even root.
    std::fs::write(place.data(), "in the way").unwrap();
    assert!(place.refused().await.stderr.contains("data cannot be used"));
    assert_eq!(bytes(&place.data()), b"in the way");
    let any = "127.0.0.1:0";
    let below = place.command_with(&[
        "--data",
        "data/below",
        "--listen.grpc",
        any,
        "--listen.operations",
        any,
        "--listen.gateway",
        any,
    ]);
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
