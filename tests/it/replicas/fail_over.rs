//! The primary dies and its standby takes over: an asynchronous one, which lacks the newest rows, and a synchronous one,
//! which lacks nothing (protocol F1, F2; security rows 47, 48, 50, 171).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use postern::domain::id::UserId;
use postern::proto::auth::v1 as pb;
use postern_rig::postgres::Postgres;
use tokio::task::JoinSet;
use tonic::Code;

use super::address::Address;
use super::{ALLOW, DEAD, Held, PATIENCE, Site, Way, marks, number, within};
use crate::backstage;
use crate::people::{add_user, disable, end_all_sessions, kim, set_password, sign_in};
use crate::support::{PASSWORD, metadata, reason, verdict};

/// A primary, a standby that hears nothing more from it, and servers that reach whichever the address leads to.
struct Pair {
    primary: Postgres,
    standby: Postgres,
    address: Address,
    /// The database, as the rig names it.
    database: String,
    site: Site,
}

impl Pair {
    async fn start(servers: usize, way: Way) -> Self {
        let primary = Postgres::start();
        let database = primary.create_database();
        let standby = primary.standby();
        let address = Address::of(primary.port()).await;
        let site = Site::start(&address.url(&database), servers, way).await;
        Self { primary, standby, address, database, site }
    }

    /// What comes after this is acknowledged, and lost when the standby takes over.
    fn cut_off_standby(&self) {
        self.primary.wait_for(&self.standby);
        self.standby.set("primary_conninfo", "");
        let receivers = "select count(*) from pg_stat_wal_receiver";
        while self.standby.psql("postgres", receivers) != "0" {
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn fail_over(&mut self) {
        self.primary.kill();
        self.standby.promote();
    }

    fn number(&self, sql: &str) -> i64 {
        number(&self.standby, &self.database, sql)
    }

    fn marks(&self, user: UserId) -> (i64, i64) {
        marks(&self.standby, &self.database, user)
    }
}

const ENDED: &str = "select count(*) from revocations";

/// Asks until the server answers anything but that it is away.
async fn refreshed(site: &Site, index: usize, token: &str) -> Result<pb::RefreshResponse, (String, String)> {
    for _ in 0..400 {
        match site.at(index).refresh(token).await {
            Ok(answer) => return Ok(answer),
            Err(status) if status.code() == Code::Unavailable => tokio::time::sleep(Duration::from_millis(20)).await,
            Err(status) => return Err((reason(&status), metadata(&status, "endCause"))),
        }
    }
    panic!("the store does not come back");
}

fn ended(cause: &str) -> (String, String) {
    ("SESSION_ENDED".to_owned(), cause.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_any_server_knew_to_have_ended_revives() {
    let mut pair = Pair::start(3, Way::default()).await;
    let (kim_id, logged_out) = kim(pair.site.at(0)).await;
    let living = sign_in(pair.site.at(1)).await;
    let lee_id = add_user(pair.site.at(0), "lee", Some(PASSWORD)).await;
    let lees = pair.site.at(1).login("lee", PASSWORD).await.unwrap().tokens.unwrap();
    let mo_id = add_user(pair.site.at(0), "mo", Some(PASSWORD)).await;
    let mos = pair.site.at(2).login("mo", PASSWORD).await.unwrap().tokens.unwrap();
    let gone_id = add_user(pair.site.at(0), "gone", Some(PASSWORD)).await;
    let gones = pair.site.at(2).login("gone", PASSWORD).await.unwrap().tokens.unwrap();
    backstage::put_role(pair.site.at(0), "reader", &["docs:read"], &[]).await;
    let dead = [&logged_out, &lees, &mos, &gones];
    for tokens in dead.iter().chain([&&living]) {
        pair.site.all_say(&tokens.access_token, ALLOW).await;
    }

    pair.cut_off_standby();
    pair.site.at(0).logout(&logged_out.refresh_token).await;
    set_password(pair.site.at(1), lee_id, "quite another password").await;
    disable(pair.site.at(2), mo_id).await;
    backstage::delete_user(pair.site.at(1), gone_id).await;
    backstage::grant(pair.site.at(0), kim_id, "reader", "").await;
    for tokens in dead {
        pair.site.all_refuse(&tokens.access_token).await;
    }
    let (floor, _) = marks(&pair.primary, &pair.database, lee_id);
    let (_, granted) = marks(&pair.primary, &pair.database, kim_id);
    let lost_head = number(&pair.primary, &pair.database, "select head from feed");
    pair.fail_over();
    assert_eq!(pair.number(ENDED), 0, "the standby lacks it");
    let head = pair.number("select head from feed");
    assert!(head < lost_head && pair.marks(lee_id).0 < floor);

    // For as long as this is held, nothing can be written back, and every refresh meets a store that knows of no end.
    let kept = Held::new(&pair.standby, &pair.database).await;
    pair.address.lead_to(pair.standby.port());
    for index in 0..3 {
        assert_eq!(refreshed(&pair.site, index, &logged_out.refresh_token).await.unwrap_err(), ended("LOGOUT"));
        let lees = refreshed(&pair.site, index, &lees.refresh_token).await.unwrap_err();
        assert_eq!(lees, ended("CREDENTIAL_CHANGED"));
        assert_eq!(refreshed(&pair.site, index, &mos.refresh_token).await.unwrap_err(), ended("USER_DISABLED"));
        assert_eq!(refreshed(&pair.site, index, &gones.refresh_token).await.unwrap_err(), ended("USER_DISABLED"));
    }
    assert_eq!(pair.number(ENDED), 0, "this was while the rows were missing");
    for tokens in dead {
        pair.site.all_say(&tokens.access_token, DEAD).await;
    }
    kept.release().await;

    within(PATIENCE, "what was lost is written back", async || {
        let is_disabled =
            format!("select count(*) from users where state = 'disabled' and id in ('{mo_id}', '{gone_id}')");
        pair.number(ENDED) == 1 && pair.marks(lee_id).0 == floor && pair.number(&is_disabled) == 2
    })
    .await;
    let cause = pair.standby.psql(&pair.database, "select cause from revocations");
    assert_eq!(cause, "LOGOUT");
    // The grant is lost, and nobody goes by it; but its version is not given again.
    assert!(pair.marks(kim_id).1 > granted);
    for server in &pair.site.servers {
        within(PATIENCE, "roles are as the store has them", async || {
            server.may(&living.access_token, "docs:read", "").await.decision() == pb::Decision::Deny
        })
        .await;
    }

    // Numbers that were lost are given again, and what they stand for now is seen by all, and by one that starts now.
    assert!(pair.number("select head from feed") <= lost_head + 3);
    let mut after = Vec::new();
    for index in 0..12 {
        let tokens = sign_in(pair.site.at(index)).await;
        let revoked = pair.site.at(index).logout(&tokens.refresh_token).await;
        let asked = pb::VerifyRequest {
            access_token: tokens.access_token.clone(),
            min_revision: revoked.revision,
            ..Default::default()
        };
        assert_eq!(verdict(&pair.site.at(index).verify_with(asked).await.unwrap()), DEAD);
        pair.site.all_refuse(&tokens.access_token).await;
        after.push(tokens);
    }
    let late = pair.site.another().await;
    for tokens in dead.into_iter().chain(&after) {
        assert_eq!(verdict(&late.verify(&tokens.access_token).await), DEAD);
    }
    assert_eq!(late.verify(&living.access_token).await.decision(), pb::Decision::Allow);
    pair.site.at(1).refresh(&living.refresh_token).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fence_that_was_lost_stands_again() {
    let mut pair = Pair::start(2, Way::default()).await;
    let (kim_id, tokens) = kim(pair.site.at(0)).await;
    pair.cut_off_standby();
    end_all_sessions(pair.site.at(0)).await;
    pair.site.all_refuse(&tokens.access_token).await;
    let fence = number(&pair.primary, &pair.database, "select fence from feed");
    pair.fail_over();
    assert!(pair.number("select fence from feed") < fence);
    pair.address.lead_to(pair.standby.port());
    for index in 0..2 {
        let refused = refreshed(&pair.site, index, &tokens.refresh_token).await.unwrap_err();
        assert_eq!(refused, ended("ENDED_FOR_ALL"));
    }
    within(PATIENCE, "the fence is written back", async || pair.number("select fence from feed") == fence).await;
    pair.site.all_say(&tokens.access_token, DEAD).await;
    let fresh = sign_in(pair.site.at(1)).await;
    pair.site.all_say(&fresh.access_token, ALLOW).await;
    backstage::put_role(pair.site.at(1), "reader", &["docs:read"], &[]).await;
    backstage::grant(pair.site.at(0), kim_id, "reader", "").await;
    assert!(pair.marks(kim_id).1 > fence, "counters go on above it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_synchronous_standby_lacks_nothing_that_was_acknowledged() {
    let mut pair = Pair::start(3, Way::default()).await;
    assert_eq!(pair.site.at(0).auth.store.has_synchronous_standby().await.unwrap(), Some(false));
    pair.primary.set("synchronous_standby_names", pair.standby.name());
    assert_eq!(pair.site.at(0).auth.store.has_synchronous_standby().await.unwrap(), Some(true));
    kim(pair.site.at(0)).await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut workers = JoinSet::new();
    let acknowledged = Arc::new(std::sync::Mutex::new(Vec::new()));
    for index in 0..6 {
        let (mut client, stop, acknowledged) =
            (pair.site.at(index).client(), Arc::clone(&stop), Arc::clone(&acknowledged));
        workers.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let Ok(answer) = client.login(crate::support::login_request("kim", PASSWORD)).await else { continue };
                let Some(pb::login_response::Outcome::SignIn(sign_in)) = answer.into_inner().outcome else { panic!() };
                let tokens = sign_in.tokens.unwrap();
                let target = Some(pb::revoke_request::Target::RefreshToken(tokens.refresh_token.clone()));
                if client.revoke(pb::RevokeRequest { target, ..Default::default() }).await.is_ok() {
                    acknowledged.lock().unwrap().push(tokens);
                }
            }
        });
    }
    within(PATIENCE, "there is something to lose", async || acknowledged.lock().unwrap().len() >= 20).await;
    pair.primary.kill();
    stop.store(true, Ordering::Relaxed);
    workers.join_all().await;
    pair.standby.promote();
    // Before any server reaches it, so nothing is written back yet.
    let acknowledged = acknowledged.lock().unwrap().clone();
    for tokens in &acknowledged {
        let there = format!("select count(*) from revocations where session_id = '{}'", tokens.session_id);
        assert_eq!(pair.number(&there), 1, "of {}", acknowledged.len());
    }
    pair.address.lead_to(pair.standby.port());
    let one = &acknowledged[0];
    assert_eq!(refreshed(&pair.site, 1, &one.refresh_token).await.unwrap_err(), ended("LOGOUT"));
    let fresh = sign_in(pair.site.at(2)).await;
    pair.site.at(0).logout(&fresh.refresh_token).await;
    pair.site.all_refuse(&fresh.access_token).await;
    for tokens in &acknowledged {
        pair.site.all_say(&tokens.access_token, DEAD).await;
    }
}
