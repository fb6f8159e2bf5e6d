//! What a server does with the data that it finds: takes it up again whole, or refuses to start with one clear line and
//! leaves it as it is.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use postern::proto::auth::v1 as pb;

use crate::binary::{Place, bytes};
use crate::people::kim;
use crate::support::{PASSWORD, Server, login_request, quick};
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
    // Stopped in order, an embedded store is one file and nothing beside it to lose.
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
async fn a_master_key_that_is_wrong_missing_or_open_to_others_stops_the_start() {
    let place = Place::new();
    assert!(place.start().await.terminate().await.success());
    let (good, database) = (bytes(&place.master_key()), place.home().tables().await);
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
        assert!(place.home().tables().await == database, "{what}");
        assert_eq!(place.master_key().exists(), content.is_some(), "no new key is made: {what}");
    }
    std::fs::write(place.master_key(), &good).unwrap();
    for mode in [0o644, 0o640, 0o604] {
        std::fs::set_permissions(place.master_key(), std::fs::Permissions::from_mode(mode)).unwrap();
        let refused = place.refused().await;
        assert!(refused.stderr.contains("chmod 600"), "{}", refused.stderr);
    }
    std::fs::set_permissions(place.master_key(), private).unwrap();
    assert!(place.home().tables().await == database);
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
        assert!(place.home().tables().await.is_empty(), "nothing is made before the ports are ours");
    }
}
