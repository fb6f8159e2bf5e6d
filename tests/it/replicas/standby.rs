//! A standby's word is old, and a process that slept has old news: neither counts as fresh (protocol F13).

use std::sync::Arc;
use std::time::Duration;

use postern::app::{App, FirstPassword, StartError};
use postern::clock::Clock;
use postern::config::Config;
use postern::proto::auth::v1 as pb;
use postern::store::ConnectError;
use postern_rig::pgbouncer::PgBouncer;
use postern_rig::postgres::Postgres;
use rustix::process::{Pid, Signal, kill_process};
use tonic::Code;

use super::address::Address;
use super::{ALLOW, PATIENCE, Site, Way, migrated, set, within};
use crate::binary::Place;
use crate::people::{kim, sign_in};
use crate::support::{PASSWORD, connect, login_request, reason, verdict};

const STALENESS: Duration = Duration::from_secs(5);

/// The rules of a server that soon admits that it knows nothing new.
const IMPATIENT: Way = Way { pooler: false, max_staleness: STALENESS };

async fn start(url: &str) -> Result<App, StartError> {
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let mut config = Config::development_defaults(&dir.path().join("data"));
    config.listen.grpc = "127.0.0.1:0".parse().unwrap();
    config.listen.operations = "127.0.0.1:0".parse().unwrap();
    config.listen.gateway = "127.0.0.1:0".parse().unwrap();
    set(&mut config, url, Way::default());
    App::start(config, Clock::default(), FirstPassword::Show).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_waits_for_a_promotion_and_refuses_a_standby() {
    let primary = Postgres::start();
    let url = primary.create_database();
    let (standby, mut other) = (primary.standby(), primary.standby());
    let at = |server: &Postgres| url.replace(&format!(":{}/", primary.port()), &format!(":{}/", server.port()));
    let (standby_url, other_url) = (at(&standby), at(&other));
    let promote = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        tokio::task::spawn_blocking(move || {
            other.promote();
            other
        })
        .await
        .unwrap()
    };
    let (refused, started, _promoted) = tokio::join!(start(&standby_url), start(&other_url), promote);
    match refused.err().expect("it started on a standby") {
        StartError::Connect { source: why @ ConnectError::Standby { .. }, .. } => {
            assert!(why.to_string().contains("is a standby; point the URL at the primary"), "{why}");
        }
        other => panic!("{other}"),
    }
    assert!(started.is_ok(), "{:?}", started.err());
}

/// As a service address that was led to the wrong one: connections end, and new ones are looked at.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_led_to_a_standby_does_not_take_its_word() {
    led_to_a_standby(false).await;
}

/// Its own connections stay, and only behind the pooler somebody else answers from one question to the next.
#[tokio::test(flavor = "multi_thread")]
async fn nor_does_one_behind_a_pooler() {
    led_to_a_standby(true).await;
}

async fn led_to_a_standby(pooler: bool) {
    let primary = Postgres::start();
    let url = migrated(&primary).await;
    let standby = primary.standby();
    let address = Address::of(primary.port()).await;
    let between = pooler.then(|| PgBouncer::before(address.port, &[]));
    let reached = between.as_ref().map_or_else(|| address.url(&url), |between| between.url(&url));
    let site = Site::start(&reached, 1, Way { pooler, ..IMPATIENT }).await;
    let server = site.at(0);
    let (_, tokens) = kim(server).await;
    primary.wait_for(&standby);

    address.lead_to(standby.port());
    let question = || pb::VerifyRequest { access_token: tokens.access_token.clone(), ..Default::default() };
    let not_fresh = async || match server.verify_with(question()).await {
        Ok(answer) => {
            assert_eq!(verdict(&answer), ALLOW);
            false
        }
        Err(status) => {
            assert_eq!((status.code(), reason(&status).as_str()), (Code::Unavailable, "NOT_FRESH"));
            true
        }
    };
    within(PATIENCE, "the server says that it hears nothing", not_fresh).await;
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(60)).await;
        assert_eq!(reason(&server.verify_with(question()).await.unwrap_err()), "NOT_FRESH", "for good");
    }
    // It would answer from a state that may be old, and may lack the end of this session.
    let refused = server.refresh(&tokens.refresh_token).await.unwrap_err();
    assert_eq!(reason(&refused), "ENGINE_UNAVAILABLE");
    let refused = server.login("kim", PASSWORD).await.unwrap_err();
    assert_eq!(reason(&refused), "ENGINE_UNAVAILABLE");

    address.lead_to(primary.port());
    within(PATIENCE, "back at the primary", async || server.verify_with(question()).await.is_ok()).await;
    within(PATIENCE, "and whole", async || server.refresh(&tokens.refresh_token).await.is_ok()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_was_suspended_refuses_until_it_has_read_again() {
    let postgres = Postgres::shared();
    let database = postgres.create_database();
    let address = Address::of(postgres.port()).await;
    let place = Place::new();
    let mut command = place.command();
    command.args(["--set", "feed.max_staleness=5s"]);
    command.env("POSTERN__STORE__POSTGRES__URL__VALUE", address.url(&database));
    let running = place.try_start(command).await.unwrap();
    let mut site = Site::of(&database, Way::default(), place.master_key());
    site.servers.push(site.another().await);
    let mut client = pb::auth_service_client::AuthServiceClient::new(connect(running.grpc).await);
    kim(site.at(0)).await;
    let tokens = sign_in(site.at(0)).await;
    let question = || pb::VerifyRequest { access_token: tokens.access_token.clone(), ..Default::default() };
    assert_eq!(verdict(&client.verify(question()).await.unwrap().into_inner()), ALLOW);
    client.login(login_request("kim", PASSWORD)).await.unwrap();

    let process = Pid::from_raw(i32::try_from(running.id()).unwrap()).unwrap();
    kill_process(process, Signal::STOP).unwrap();
    let target = Some(pb::revoke_request::Target::RefreshToken(tokens.refresh_token.clone()));
    let logout = pb::RevokeRequest { target, ..Default::default() };
    // It may have been suspended in the middle of a change, and then holds up others until the database ends that.
    within(PATIENCE, "a logout elsewhere", async || site.at(0).revoke(logout.clone()).await.is_ok()).await;
    tokio::time::sleep(STALENESS + Duration::from_millis(500)).await;
    // Awake, it reaches nobody whom it could ask.
    address.lead_nowhere();
    kill_process(process, Signal::CONT).unwrap();
    for _ in 0..20 {
        let status = client.verify(question()).await.unwrap_err();
        assert_eq!((status.code(), reason(&status).as_str()), (Code::Unavailable, "NOT_FRESH"));
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
    address.lead_to(postgres.port());
    within(PATIENCE, "it has read again", async || match client.verify(question()).await {
        Ok(answer) => {
            assert_eq!(verdict(&answer.into_inner()), super::DEAD, "never what held before it slept");
            true
        }
        Err(_) => false,
    })
    .await;
}
