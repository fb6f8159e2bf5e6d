//! Changes take their numbers in the order in which they are committed, whoever is slow about it (protocol F7).

use std::sync::Arc;
use std::time::Duration;

use postern::proto::admin::v1 as admin;
use postern::proto::auth::v1 as pb;
use postern_rig::postgres::Postgres;
use tokio::task::{JoinSet, LocalSet};
use tonic::Code;

use super::{ALLOW, DEAD, Held, PATIENCE, Site, Way, again, now, number, within};
use crate::backstage;
use crate::people::{kim, sign_in};
use crate::support::{PASSWORD, everywhere, reason, verdict};

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
        held.release().await;
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
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Unavailable, "ENGINE_UNAVAILABLE"), "{refused:?}");
    // Promised are two seconds; a busy machine needs some more to say so.
    assert!(since.elapsed() < PATIENCE, "{:?}", since.elapsed());
    assert!(!refused.metadata().get("grpc-retry-pushback-ms").unwrap().is_empty());
    // Whoever only reads goes on, and so does a refresh.
    site.all_say(&living.access_token, ALLOW).await;
    site.at(1).refresh(&living.refresh_token).await.unwrap();
    held.release().await;
    // What was refused was not done; asked again, it is, and everybody hears of it.
    site.all_say(&tokens.access_token, ALLOW).await;
    site.at(0).logout(&tokens.refresh_token).await;
    site.all_refuse(&tokens.access_token).await;
}

/// What one writer left behind.
struct Left {
    dead: Vec<String>,
    living: Vec<String>,
    /// The last state of its user, by which all living tokens are judged.
    may: bool,
}

async fn write(site: Arc<Site>, admin: String, writer: usize) -> Left {
    let mut left = Left { dead: Vec::new(), living: Vec::new(), may: false };
    let name = format!("writer{writer}");
    let user = admin::User { user_name: name.clone(), ..Default::default() };
    let password = PASSWORD.to_owned();
    let request_id = uuid::Uuid::now_v7().to_string();
    let create = admin::CreateUserRequest { user: Some(user), password, request_id, ..Default::default() };
    let user = again(async || site.at(writer).admin(&admin).create_user(create.clone()).await).await.user.unwrap().id;
    for step in 0..8 {
        let server = site.at(writer + step);
        let tokens = again(async || server.login(&name, PASSWORD).await).await.tokens.unwrap();
        let (root, role, scope) = (server.admin(&admin), "reader".to_owned(), everywhere());
        if step % 2 == 0 {
            let target = Some(pb::revoke_request::Target::RefreshToken(tokens.refresh_token.clone()));
            let logout = pb::RevokeRequest { target, ..Default::default() };
            again(async || server.revoke(logout.clone()).await).await;
            left.dead.push(tokens.access_token);
            continue;
        }
        left.may = !left.may;
        if left.may {
            let binding = Some(admin::Binding { principal_id: user.clone(), role, scope, ..Default::default() });
            again(async || root.grant_role(admin::GrantRoleRequest { binding: binding.clone() }).await).await;
        } else {
            let withdraw = admin::WithdrawRoleRequest { principal_id: user.clone(), role, scope };
            again(async || root.withdraw_role(withdraw.clone()).await).await;
        }
        left.living.push(tokens.access_token);
    }
    left
}

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_writers_on_three_servers_leave_the_same_state_everywhere() {
    let url = Postgres::shared().create_database();
    let site = Arc::new(Site::start(&url, 3, Way::default()).await);
    backstage::put_role(site.at(0), "reader", &["docs:read"], &[]).await;
    let admin = site.at(0).login_admin().await.access_token;
    let (mut writers, here) = (JoinSet::new(), LocalSet::new());
    for writer in 0..16 {
        writers.spawn_local_on(write(Arc::clone(&site), admin.clone(), writer), &here);
    }
    let left = here.run_until(writers.join_all()).await;
    let fresh = site.another().await;
    let head = number(Postgres::shared(), &url, "select head from feed");
    let heads = "select count(*) = max(id) - min(id) + 1 from changes";
    assert_eq!(Postgres::shared().psql(&url, heads), "t", "numbers without gaps");
    for server in site.servers.iter().chain([&fresh]) {
        within(PATIENCE, "the end of the log", async || server.auth.verifier.head().id == head).await;
        for left in &left {
            for token in &left.dead {
                assert_eq!(verdict(&server.verify(token).await), DEAD);
            }
            for token in &left.living {
                let allowed = server.may(token, "docs:read", "").await.decision() == pb::Decision::Allow;
                assert_eq!(allowed, left.may);
            }
        }
    }
}
