//! Starting while an engine is away: without Redis a server starts, and signs people in when it comes; PostgreSQL is waited
//! for, and that is said.

use std::time::Duration;

use postern::app::{App, FirstPassword};
use postern::clock::Clock;
use tonic::Code;

use super::contract::Away;
use super::engines::{Engines, Way};
use crate::binary::Place;
use crate::engines::Home;
use crate::people::add_user;
use crate::support::{PASSWORD, Server, reason};

const OFTEN: Duration = Duration::from_millis(50);

#[tokio::test(flavor = "multi_thread")]
async fn a_server_starts_without_redis_and_needs_no_restart() {
    let mut engines = Engines::start(true);
    engines.leave(Away::Redis, Way::Refused);
    let server = Server::start_with(engines.settings()).await;
    add_user(&server, "kim", Some(PASSWORD)).await;
    let status = server.login("kim", PASSWORD).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unavailable, "ENGINE_UNAVAILABLE"));
    engines.come_back(Away::Redis, Way::Refused);
    while let Err(status) = server.login("kim", PASSWORD).await {
        assert_eq!(status.code(), Code::Unavailable, "{status:?}");
        tokio::time::sleep(OFTEN).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_waits_for_postgres_and_says_so() {
    let mut engines = Engines::start(false);
    engines.leave(Away::Postgres, Way::Refused);
    let place = Place::new();
    let command = engines.command(&place);
    let said = place.path().join("stderr");
    let meanwhile = std::thread::spawn(move || {
        let waits =
            || std::fs::read_to_string(&said).is_ok_and(|said| said.contains("waiting for PostgreSQL for 30 s"));
        while !waits() {
            std::thread::sleep(OFTEN);
        }
        engines.come_back(Away::Postgres, Way::Refused);
        engines
    });
    let server = place.try_start(command).await.unwrap();
    assert!(server.terminate().await.success());
    drop(meanwhile.join().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_does_not_wait_for_ever() {
    let mut engines = Engines::start(false);
    engines.leave(Away::Postgres, Way::Refused);
    let (home, clock) = (Home::new(), Clock::default());
    let mut config = home.config();
    engines.settings()(&mut config);
    let start = App::start(config, clock.clone(), FirstPassword::Show);
    let time_passes = async {
        tokio::time::sleep(OFTEN).await;
        clock.advance(Duration::from_secs(31));
    };
    let (started, ()) = tokio::join!(start, time_passes);
    let Err(why) = started else { panic!("it started") };
    assert!(why.to_string().contains("store.postgres.url"), "{why}");
}
