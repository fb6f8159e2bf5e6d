//! Refresh on several servers at once, and sign-ins that meet the end of what they signed in to (security rows 22, 39, 49;
//! protocol F16).

use std::collections::BTreeSet;
use std::time::Duration;

use postern::proto::auth::v1 as pb;
use postern_rig::postgres::Postgres;
use tokio::task::JoinSet;
use tonic::Code;

use super::{DEAD, PATIENCE, Site, Way, within};
use crate::people::{add_user, end_all_sessions, kim, set_password};
use crate::support::{PASSWORD, metadata, reason, verdict};

const ROUNDS: usize = 20;
const AT_ONCE: usize = 50;
/// Past the grace.
const PAST: Duration = Duration::from_secs(35);

async fn one_live_child(servers: usize) {
    let url = Postgres::shared().create_database();
    let site = Site::start(&url, servers, Way::default()).await;
    let (_, first) = kim(site.at(0)).await;
    let mut token = first.refresh_token;
    for round in 0..ROUNDS {
        let mut tasks = JoinSet::new();
        for index in 0..AT_ONCE {
            let mut client = site.at(index).client();
            let request = pb::RefreshRequest { refresh_token: token.clone(), ..Default::default() };
            tasks.spawn(async move { client.refresh(request).await.map(tonic::Response::into_inner) });
        }
        let mut children = BTreeSet::new();
        let mut advanced = 0;
        for answer in tasks.join_all().await {
            match answer {
                Ok(answer) => {
                    advanced += usize::from(answer.rotation() == pb::Rotation::Advanced);
                    children.insert(answer.tokens.unwrap().refresh_token);
                }
                // An honest client asks again; it is never told that its session is over.
                Err(status) => assert_eq!(status.code(), Code::Unavailable, "{status:?}"),
            }
        }
        assert!(advanced <= 1 && children.len() <= 1, "round {round}: {advanced} advanced, {} live", children.len());
        token = match children.pop_first() {
            Some(child) => child,
            None => site.at(round).refresh(&token).await.unwrap().tokens.unwrap().refresh_token,
        };
        site.at(round).advance(PAST);
    }
    for server in &site.servers {
        within(PATIENCE, "the feed follows the clock", async || {
            server.verify_with(pb::VerifyRequest::default()).await.is_ok()
        })
        .await;
    }
    let last = site.at(1).refresh(&token).await.unwrap().tokens.unwrap();
    for server in &site.servers {
        assert_eq!(server.verify(&last.access_token).await.decision(), pb::Decision::Allow);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_refreshes_at_once_make_one_child_on_two_servers() {
    one_live_child(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_refreshes_at_once_make_one_child_on_three_servers() {
    one_live_child(3).await;
}

/// The hash is read, somebody else ends all sessions on another server, and only then is the sign-in answered.
#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_that_began_before_a_floor_does_not_outlive_it() {
    let url = Postgres::shared().create_database();
    let site = Site::start(&url, 2, Way::default()).await;
    let id = add_user(site.at(0), "kim", Some(PASSWORD)).await;
    let mut met = 0;
    let mut password = PASSWORD.to_owned();
    for round in 0..24_u64 {
        let next = format!("quite another password {round}");
        let change = async {
            tokio::time::sleep(Duration::from_millis(round % 8)).await;
            if round % 2 == 0 {
                set_password(site.at(1), id, &next).await;
            } else {
                end_all_sessions(site.at(1)).await;
            }
        };
        let (signed_in, ()) = tokio::join!(site.at(0).login("kim", &password), change);
        if round % 2 == 0 {
            password = next;
        }
        let Ok(sign_in) = signed_in else { continue };
        let tokens = sign_in.tokens.unwrap();
        let cause = if round % 2 == 0 { "CREDENTIAL_CHANGED" } else { "ENDED_FOR_ALL" };
        match site.at(0).refresh(&tokens.refresh_token).await {
            // It read the state after the change, which only the fence leaves the old password good for.
            Ok(_) => assert_eq!(cause, "ENDED_FOR_ALL", "round {round}"),
            Err(refused) => {
                met += 1;
                assert_eq!(
                    (reason(&refused).as_str(), metadata(&refused, "endCause").as_str()),
                    ("SESSION_ENDED", cause)
                );
                site.all_refuse(&tokens.access_token).await;
                assert_eq!(verdict(&site.at(1).verify(&tokens.access_token).await), DEAD);
            }
        }
    }
    assert!(met > 0, "no sign-in met a change: this proved nothing");
}
