//! An older backup is put in the place of the database: what a running server still knows is written back, and a fence
//! ends what nobody knows any more (protocol F5; security rows 50, 171).

use postern::proto::auth::v1 as pb;
use postern_rig::postgres::Postgres;

use super::{ALLOW, DEAD, PATIENCE, Site, Way, marks, number, within};
use crate::backstage;
use crate::people::{end_all_sessions, kim, sign_in};
use crate::support::{Server, metadata, reason};

/// Until the server has reached its store again.
async fn is_back(server: &Server) {
    within(PATIENCE, "the store is reached", async || server.auth.store.ping().await.is_ok()).await;
}

async fn refused(server: &Server, token: &str) -> (String, String) {
    let status = server.refresh(token).await.unwrap_err();
    (reason(&status), metadata(&status, "endCause"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_runs_on_writes_back_what_it_knew() {
    let mut postgres = Postgres::start();
    let url = postgres.create_database();
    let mut site = Site::start(&url, 2, Way::default()).await;
    let (kim_id, ended) = kim(site.at(0)).await;
    let living = sign_in(site.at(0)).await;
    backstage::put_role(site.at(0), "reader", &["docs:read"], &[]).await;
    let backup = postgres.backup();
    for server in &site.servers {
        is_back(server).await;
    }
    site.at(0).logout(&ended.refresh_token).await;
    backstage::grant(site.at(0), kim_id, "reader", "").await;
    backstage::withdraw(site.at(0), kim_id, "reader", "").await;
    site.all_refuse(&ended.access_token).await;
    let (_, version) = marks(&postgres, &url, kim_id);
    // One goes on, the other comes back later.
    site.servers.pop().unwrap().stop().await;
    postgres.restore(&backup);
    within(PATIENCE, "the end is written back", async || {
        number(&postgres, &url, "select count(*) from revocations") == 1
    })
    .await;
    assert_eq!(refused(site.at(0), &ended.refresh_token).await, ("SESSION_ENDED".to_owned(), "LOGOUT".to_owned()));
    within(PATIENCE, "and counters go on", async || marks(&postgres, &url, kim_id).1 > version).await;
    site.servers.push(site.another().await);
    site.all_say(&ended.access_token, DEAD).await;
    site.all_say(&living.access_token, ALLOW).await;
    site.at(1).refresh(&living.refresh_token).await.unwrap();
    // The log is short again, and what it says now is heard.
    let fresh = sign_in(site.at(1)).await;
    site.at(1).logout(&fresh.refresh_token).await;
    site.all_refuse(&fresh.access_token).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_knew_any_more_is_ended_by_the_fence() {
    let mut postgres = Postgres::start();
    let url = postgres.create_database();
    let mut site = Site::start(&url, 1, Way::default()).await;
    let (kim_id, ended) = kim(site.at(0)).await;
    let living = sign_in(site.at(0)).await;
    backstage::put_role(site.at(0), "reader", &["docs:read"], &[]).await;
    let backup = postgres.backup();
    is_back(site.at(0)).await;
    site.at(0).logout(&ended.refresh_token).await;
    for _ in 0..3 {
        backstage::grant(site.at(0), kim_id, "reader", "").await;
        backstage::withdraw(site.at(0), kim_id, "reader", "").await;
    }
    let after = sign_in(site.at(0)).await;
    let (_, version) = marks(&postgres, &url, kim_id);
    let mut only = site.servers.pop().unwrap();
    only.stop().await;
    postgres.restore(&backup);
    site.servers.push(site.another().await);

    // This is the price, and the README states it: the logout is forgotten, and the later sign-in lost.
    site.all_say(&ended.access_token, ALLOW).await;
    assert_eq!(refused(site.at(0), &after.refresh_token).await, ("SESSION_ENDED".to_owned(), "LOST".to_owned()));
    // Counters do not run backwards: a change made now stands above all tokens of before.
    backstage::grant(site.at(0), kim_id, "reader", "").await;
    assert!(marks(&postgres, &url, kim_id).1 > version);
    for tokens in [&living, &after] {
        let may = site.at(0).may(&tokens.access_token, "docs:read", "").await;
        assert_eq!(may.decision(), pb::Decision::Allow, "also those whose version the backup never saw");
    }

    end_all_sessions(site.at(0)).await;
    site.servers.push(site.another().await);
    for tokens in [&ended, &living, &after] {
        site.all_refuse(&tokens.access_token).await;
    }
    for tokens in [&ended, &living] {
        let refused = refused(site.at(1), &tokens.refresh_token).await;
        assert_eq!(refused, ("SESSION_ENDED".to_owned(), "ENDED_FOR_ALL".to_owned()));
    }
    let fresh = sign_in(site.at(1)).await;
    site.all_say(&fresh.access_token, ALLOW).await;
    site.at(0).refresh(&fresh.refresh_token).await.unwrap();
}
