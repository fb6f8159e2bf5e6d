//! Death at any point under load. What was acknowledged holds afterwards; what was not is there whole or not at all.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use postern::proto::admin::v1 as admin;
use postern::proto::auth::v1 as pb;
use tokio::task::JoinSet;
use tonic::transport::Channel;
use tonic::{Request, Status};

use crate::binary::Place;
use crate::support::{PASSWORD, login_request, metadata, reason};
use pb::auth_service_client::AuthServiceClient;

/// Sign-ins and logouts, before the server is killed.
const ACKNOWLEDGED_MIN: u64 = 12;
const ROUNDS: u64 = 5;
const WORKERS: usize = 4;

/// A session, as its owner's device knows it.
struct Held {
    /// The newest pair that was received.
    tokens: pb::TokenPair,
    /// A logout of it was acknowledged, or was sent and may have arrived.
    logged_out: Option<bool>,
}

async fn login(channel: &Channel, user_name: &str, password: &str) -> Result<pb::TokenPair, Status> {
    let mut client = AuthServiceClient::new(channel.clone());
    match client.login(login_request(user_name, password)).await?.into_inner().outcome {
        Some(pb::login_response::Outcome::SignIn(sign_in)) => Ok(sign_in.tokens.unwrap()),
        _ => panic!("no sign-in"),
    }
}

async fn refresh(channel: &Channel, refresh_token: &str) -> Result<pb::RefreshResponse, Status> {
    let request = pb::RefreshRequest { refresh_token: refresh_token.to_owned(), ..Default::default() };
    Ok(AuthServiceClient::new(channel.clone()).refresh(request).await?.into_inner())
}

async fn logout(channel: &Channel, refresh_token: &str) -> Result<pb::RevokeResponse, Status> {
    let target = Some(pb::revoke_request::Target::RefreshToken(refresh_token.to_owned()));
    let request = pb::RevokeRequest { target, ..Default::default() };
    Ok(AuthServiceClient::new(channel.clone()).revoke(request).await?.into_inner())
}

async fn verify(channel: &Channel, access_token: &str) -> pb::VerifyResponse {
    let request = pb::VerifyRequest { access_token: access_token.to_owned(), ..Default::default() };
    AuthServiceClient::new(channel.clone()).verify(request).await.unwrap().into_inner()
}

async fn create_user(channel: &Channel, access_token: &str, user_name: &str) {
    let mut request = Request::new(admin::CreateUserRequest {
        user: Some(admin::User { user_name: user_name.to_owned(), ..Default::default() }),
        password: PASSWORD.to_owned(),
        ..Default::default()
    });
    request.metadata_mut().insert("authorization", format!("Bearer {access_token}").parse().unwrap());
    let mut client = admin::admin_service_client::AdminServiceClient::new(channel.clone());
    client.create_user(request).await.unwrap();
}

/// Signs in, refreshes and logs out until the server is gone; answers all that it then believes.
async fn work(channel: Channel, user_name: String, stop: Arc<AtomicBool>, acknowledged: Arc<AtomicU64>) -> Vec<Held> {
    let mut all: Vec<Held> = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let Ok(tokens) = login(&channel, &user_name, PASSWORD).await else { return all };
        all.push(Held { tokens, logged_out: None });
        acknowledged.fetch_add(1, Ordering::Relaxed);
        for step in 0..6 {
            let Some(held) = all.last_mut() else { return all };
            // A device does not stop at an answer that was lost: it asks again after the server is back.
            let Ok(answer) = refresh(&channel, &held.tokens.refresh_token).await else { return all };
            held.tokens = answer.tokens.unwrap();
            if step == 4 && held.tokens.session_id.ends_with(['0', '1', '2', '3', '4', '5', '6', '7']) {
                held.logged_out = Some(false);
                let Ok(_) = logout(&channel, &held.tokens.refresh_token).await else { return all };
                held.logged_out = Some(true);
                acknowledged.fetch_add(1, Ordering::Relaxed);
                break;
            }
        }
    }
    all
}

async fn judge(channel: &Channel, held: &Held) {
    let tokens = &held.tokens;
    let outcome = refresh(channel, &tokens.refresh_token).await;
    match (held.logged_out, outcome) {
        (Some(true), Ok(_)) => panic!("an acknowledged logout was forgotten"),
        (Some(_), Err(status)) => {
            assert_eq!((reason(&status).as_str(), metadata(&status, "endCause").as_str()), ("SESSION_ENDED", "LOGOUT"));
            let verdict = verify(channel, &tokens.access_token).await;
            assert_eq!(verdict.refusal.unwrap().reason(), pb::Reason::TokenRevoked);
        }
        (None, Err(status)) => panic!("an acknowledged sign-in was forgotten: {status:?}"),
        (None | Some(false), Ok(answer)) => {
            let is_retry = answer.rotation() == pb::Rotation::Repeated;
            assert!(is_retry || answer.rotation() == pb::Rotation::Advanced, "{:?}", answer.rotation());
            assert_eq!(
                verify(channel, &tokens.access_token).await.decision(),
                pb::Decision::Allow,
                "signed before the crash"
            );
            // Never two children: whoever asks again gets the same.
            let child = answer.tokens.unwrap();
            let again = refresh(channel, &tokens.refresh_token).await.unwrap();
            assert_eq!(again.tokens.unwrap().refresh_token, child.refresh_token);
            assert_eq!(verify(channel, &child.access_token).await.decision(), pb::Decision::Allow);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_a_server_that_is_killed_under_load() {
    let place = Place::new();
    let mut running = place.start().await;
    let mut everything: Vec<Held> = Vec::new();
    let administrator = login(&running.channel, "admin", &place.admin_password()).await.unwrap();
    for worker in 0..WORKERS {
        create_user(&running.channel, &administrator.access_token, &format!("worker{worker}")).await;
    }
    for round in 0..ROUNDS {
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged = Arc::new(AtomicU64::new(0));
        let mut workers = JoinSet::new();
        for worker in 0..WORKERS {
            let name = format!("worker{worker}");
            workers.spawn(work(running.channel.clone(), name, Arc::clone(&stop), Arc::clone(&acknowledged)));
        }
        // However slow the machine is, there is something to lose.
        while acknowledged.load(Ordering::Relaxed) < ACKNOWLEDGED_MIN {
            assert!(!workers.is_empty());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // Somewhere within a login, a refresh, a logout or a checkpoint.
        tokio::time::sleep(Duration::from_millis(37 * round)).await;
        running.kill();
        stop.store(true, Ordering::Relaxed);
        let held: Vec<Held> = workers.join_all().await.into_iter().flatten().collect();
        assert!(!held.is_empty(), "round {round}: nothing was acknowledged");

        running = place.start().await;
        for one in &held {
            judge(&running.channel, one).await;
        }
        // What ended in earlier rounds stays ended.
        everything.extend(held.into_iter().filter(|one| one.logged_out == Some(true)));
        for one in &everything {
            judge(&running.channel, one).await;
        }
    }
    assert!(!everything.is_empty(), "no logout was acknowledged in any round: this proved too little");
    let verdict = verify(&running.channel, &administrator.access_token).await;
    assert_eq!(verdict.decision(), pb::Decision::Allow, "the first token of all");
}
