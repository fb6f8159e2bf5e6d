//! Changes take their numbers in the order in which they are committed, whoever is slow about it (protocol F7).

use std::sync::Arc;
use std::time::Duration;

use postern::proto::auth::v1 as pb;
use postern_rig::postgres::Postgres;
use tokio::task::JoinSet;
use tonic::Code;

use super::{ALLOW, DEAD, Held, PATIENCE, Site, Way, now, number, within};
use crate::backstage;
use crate::people::{add_user, kim, sign_in};
use crate::support::{PASSWORD, metadata, reason, verdict};

#[tokio::test(flavor = "multi_thread")]
async fn writers_wait_for_a_slow_one_and_nothing_is_passed_over() {
    let url = Postgres::shared().create_database();
    let site = Site::start(&url, 3, Way::default()).await;
    kim(site.at(0)).await;
    let mut tokens = Vec::new();
    for index in 0..6 {
        tokens.push(sign_in(site.at(index)).await);
    }
    let held = Held::new(Postgres::shared(), &url).await;
    let slow = async {
        tokio::time::sleep(Duration::from_millis(700)).await;
        held.release(Postgres::shared(), &url);
    };
    // A reader that comes now, and loads everything, must not stand behind what is not committed yet.
    let (late, (), ()) = tokio::join!(site.another(), slow, async {
        let mut logouts = JoinSet::new();
        for (index, tokens) in tokens.iter().enumerate() {
            let target = Some(pb::revoke_request::Target::RefreshToken(tokens.refresh_token.clone()));
            let (mut client, request) = (site.at(index).client(), pb::RevokeRequest { target, ..Default::default() });
            logouts.spawn(async move {
                // The line is long, and on a busy machine too long for some, who ask again.
                while let Err(status) = client.revoke(request.clone()).await {
                    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
                }
            });
        }
        logouts.join_all().await;
    });
    for tokens in &tokens {
        site.all_refuse(&tokens.access_token).await;
        within(PATIENCE, "also by the late one", async || verdict(&late.verify(&tokens.access_token).await) == DEAD)
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_who_never_ends_makes_writers_unavailable_and_hangs_nobody() {
    let url = Postgres::shared().create_database();
    let site = Site::start(&url, 2, Way::default()).await;
    let (_, tokens) = kim(site.at(0)).await;
    let living = sign_in(site.at(1)).await;
    let held = Held::new(Postgres::shared(), &url).await;
    let since = now();
    let target = Some(pb::revoke_request::Target::RefreshToken(tokens.refresh_token.clone()));
    let request = pb::RevokeRequest { target, ..Default::default() };
    let refused = site.at(0).revoke(request).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Unavailable, "UNAVAILABLE"), "{refused:?}");
    let waited = since.elapsed();
    assert!(waited < Duration::from_secs(2), "{waited:?}");
    assert!(!refused.metadata().get("grpc-retry-pushback-ms").unwrap().is_empty());
    // Whoever only reads goes on, and so does a refresh.
    site.all_say(&living.access_token, ALLOW).await;
    site.at(1).refresh(&living.refresh_token).await.unwrap();
    held.release(Postgres::shared(), &url);
    // What was refused was not done; asked again, it is, and everybody hears of it.
    site.all_say(&tokens.access_token, ALLOW).await;
    site.at(0).logout(&tokens.refresh_token).await;
    site.all_refuse(&tokens.access_token).await;
}

/// What one writer left behind.
struct Left {
    dead: Vec<String>,
    living: Vec<(String, bool)>,
}

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_writers_on_three_servers_leave_the_same_state_everywhere() {
    let url = Postgres::shared().create_database();
    let site = Arc::new(Site::start(&url, 3, Way::default()).await);
    backstage::put_role(site.at(0), "reader", &["docs:read"], &[]).await;
    let mut writers = JoinSet::new();
    for writer in 0..16_usize {
        let site = Arc::clone(&site);
        let name = format!("writer{writer}");
        let user = add_user(site.at(writer), &name, Some(PASSWORD)).await;
        writers.spawn(async move {
            let mut left = Left { dead: Vec::new(), living: Vec::new() };
            let mut may = false;
            for step in 0..8 {
                let server = site.at(writer + step);
                let tokens = server.login(&name, PASSWORD).await.unwrap().tokens.unwrap();
                if step % 2 == 0 {
                    // Once more if the line was long: nobody is told no.
                    let target = Some(pb::revoke_request::Target::RefreshToken(tokens.refresh_token.clone()));
                    let request = pb::RevokeRequest { target, ..Default::default() };
                    while let Err(status) = server.revoke(request.clone()).await {
                        assert_eq!(status.code(), Code::Unavailable, "{status:?} {}", metadata(&status, "engine"));
                    }
                    left.dead.push(tokens.access_token);
                } else {
                    may = !may;
                    if may {
                        backstage::grant(server, user, "reader", "").await;
                    } else {
                        backstage::withdraw(server, user, "reader", "").await;
                    }
                    left.living.push((tokens.access_token, may));
                }
            }
            // Judged by the last state, whatever was true when they were issued.
            left.living.iter_mut().for_each(|(_, granted)| *granted = may);
            left
        });
    }
    let left = writers.join_all().await;
    let fresh = site.another().await;
    let expected = (number(Postgres::shared(), &url, "select head from feed"), left.len());
    let heads = "select count(*) = max(id) - min(id) + 1 from changes";
    assert_eq!(Postgres::shared().psql(&url, heads), "t", "numbers without gaps");
    for server in site.servers.iter().chain([&fresh]) {
        within(PATIENCE, "the end of the log", async || server.auth.verifier.head().id == expected.0).await;
        for left in &left {
            for token in &left.dead {
                assert_eq!(verdict(&server.verify(token).await), DEAD);
            }
            for (token, may) in &left.living {
                let allowed = server.may(token, "docs:read", "").await.decision() == pb::Decision::Allow;
                assert_eq!(allowed, *may);
            }
        }
    }
}
