//! Row 173: the real program under a crowd that waits for a silent PostgreSQL, again and again: everybody is answered, and the
//! process has neither more memory nor more open files afterwards.

use std::time::{Duration, Instant};

use postern::proto::auth::v1 as pb;
use tokio::task::JoinSet;
use tonic::Code;

use pb::auth_service_client::AuthServiceClient;

use super::BACK_WITHIN;
use super::contract::Away;
use super::engines::{Engines, Way};
use super::load::{Lateness, refresh};
use crate::binary::{Place, Running};
use crate::support::{connect, login_request};

const CROWD: usize = 500;
const ROUNDS: usize = 4;
/// A connection takes no more calls at once.
const CALLS: usize = 100;
/// What an allocator may keep for itself from one crowd to the next.
const MEMORY_MORE_KIB: u64 = 16 * 1024;
/// Connections come and go.
const FILES_MORE: usize = 10;

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_that_waits_for_postgres_leaves_nothing_behind() {
    let mut engines = Engines::start(false);
    let place = Place::new();
    let server = place.try_start(engines.command(&place)).await.unwrap();
    let mut client = AuthServiceClient::new(server.channel.clone());
    let answer = client.login(login_request("admin", &place.admin_password())).await.unwrap().into_inner();
    let Some(pb::login_response::Outcome::SignIn(sign_in)) = answer.outcome else { panic!("no sign-in") };
    let mut tokens = sign_in.tokens.unwrap();
    let mut measured = Vec::new();
    for round in 0..ROUNDS {
        engines.leave(Away::Postgres, Way::BlackHole);
        crowd(&server, &tokens).await;
        engines.come_back(Away::Postgres, Way::BlackHole);
        tokens = again(&mut client, &tokens).await;
        measured.push((memory_kib(&server), files(&server)));
        println!("round {round}: {} KiB, {} files", measured[round].0, measured[round].1);
    }
    // The first crowd is the largest that it ever saw, so what it took then has to do.
    let ((memory, files), (memory_after, files_after)) = (measured[0], measured[ROUNDS - 1]);
    assert!(memory_after <= memory + MEMORY_MORE_KIB, "{measured:?}");
    assert!(files_after <= files + FILES_MORE, "{measured:?}");
}

/// Everybody is told to come later. How soon they are told is measured elsewhere: so many at once are the machine's test, too.
async fn crowd(server: &Running, tokens: &pb::TokenPair) {
    let mut channels = Vec::new();
    for _ in 0..CROWD / CALLS {
        channels.push(connect(server.grpc).await);
    }
    let mut calls = JoinSet::new();
    for number in 0..CROWD {
        let mut client = AuthServiceClient::new(channels[number % channels.len()].clone());
        let request = refresh(tokens);
        calls.spawn(async move { client.refresh(request).await.unwrap_err() });
    }
    for status in calls.join_all().await {
        assert!(matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded), "{status:?}");
    }
}

/// The same token is good again.
#[expect(clippy::disallowed_methods, reason = "measures the server")]
async fn again(client: &mut AuthServiceClient<tonic::transport::Channel>, tokens: &pb::TokenPair) -> pb::TokenPair {
    let (returned, lateness) = (Instant::now(), Lateness::watch());
    let tokens = loop {
        match client.refresh(refresh(tokens)).await {
            Ok(answer) => break answer.into_inner().tokens.unwrap(),
            Err(status) => assert_eq!(status.code(), Code::Unavailable, "{status:?}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let (back, margin) = (returned.elapsed(), lateness.end());
    assert!(back <= BACK_WITHIN + margin, "{back:?}, with {margin:?}");
    tokens
}

fn memory_kib(server: &Running) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn files(server: &Running) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", server.id())).unwrap().count()
}
