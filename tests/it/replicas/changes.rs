//! How soon what is changed through one server is known to the others: two hundred changes of mixed kinds, with
//! notifications and by polling alone, across a restart, and when a notification is lost.

use std::sync::Arc;
use std::time::Duration;

use postern::domain::id::UserId;
use postern::proto::admin::v1 as admin;
use postern::proto::auth::v1 as pb;
use postern_rig::pgbouncer::PgBouncer;
use postern_rig::postgres::Postgres;
use tokio::task::{JoinSet, LocalSet};
use tonic::Request;

use super::{ALLOW, DEAD, PATIENCE, Site, Way, again, migrated, now, within};
use crate::backstage;
use crate::people::{add_user, disable, kim, sign_in};
use crate::support::{Admin, PASSWORD, Server, everywhere, reason, verdict};

const LANES: usize = 5;
const STEPS: usize = 40;
/// What is promised.
const BOUND: Duration = Duration::from_secs(1);

/// What everybody sees once a change has arrived.
enum Seen {
    Dead { token: String },
    May { token: String, permission: String, allowed: bool },
    Client { new: String, old: String },
    Key { id: String, published: bool },
}

impl Seen {
    async fn by(&self, server: &Server) -> bool {
        match self {
            Self::Dead { token } => verdict(&server.verify(token).await) == DEAD,
            Self::May { token, permission, allowed } => {
                (server.may(token, permission, "").await.decision() == pb::Decision::Allow) == *allowed
            }
            Self::Client { new, old } => is_known(server, new).await && !is_known(server, old).await,
            Self::Key { id, published } => {
                let keys = server.client().get_keys(pb::GetKeysRequest {}).await.unwrap().into_inner();
                keys.jwks_json.contains(id.as_str()) == *published
            }
        }
    }
}

async fn is_known(server: &Server, secret: &str) -> bool {
    let mut request = Request::new(pb::VerifyRequest::default());
    request.metadata_mut().insert("authorization", format!("Bearer {secret}").parse().unwrap());
    match server.client().verify(request).await {
        Ok(_) => true,
        Err(status) => reason(&status) != "CLIENT_UNAUTHENTICATED",
    }
}

/// One who makes a change after the other, each through another server than the last.
struct Lane {
    site: Arc<Site>,
    number: usize,
    admin: String,
    user: UserId,
    /// Of a session that goes on.
    token: String,
    secret: String,
    key: Option<String>,
}

impl Lane {
    async fn new(site: Arc<Site>, number: usize, admin: String) -> Self {
        let first = site.at(0);
        let user = add_user(first, &format!("lane{number}"), Some(PASSWORD)).await;
        backstage::put_role(first, &format!("granted{number}"), &["docs:read"], &[]).await;
        backstage::put_role(first, &format!("policy{number}"), &["docs:one"], &[]).await;
        backstage::grant(first, user, &format!("policy{number}"), "").await;
        let secret = backstage::client(first, &format!("client{number}")).await;
        backstage::allow(first, &format!("client{number}"), "postern.backend").await;
        let mut lane = Self { site, number, admin, user, token: String::new(), secret, key: None };
        lane.token = lane.sign_in(0).await.access_token;
        lane
    }

    async fn sign_in(&self, at: usize) -> pb::TokenPair {
        let name = format!("lane{}", self.number);
        again(async || self.site.at(at).login(&name, PASSWORD).await).await.tokens.unwrap()
    }

    async fn run(mut self) -> Vec<Duration> {
        let mut delays = Vec::new();
        for step in 0..STEPS {
            let at = step + self.number;
            let seen = self.change(step, at).await;
            delays.push(self.until_all(at, &seen).await);
            if step % 6 == 3 {
                let enable = admin::EnableUserRequest { id: self.user.to_string(), note: "back".to_owned() };
                again(async || self.root(at).enable_user(enable.clone()).await).await;
                self.token = self.sign_in(at + 1).await.access_token;
            }
        }
        delays
    }

    fn root(&self, at: usize) -> Admin {
        self.site.at(at).admin(&self.admin)
    }

    /// Through the server `at`; it is acknowledged.
    async fn change(&mut self, step: usize, at: usize) -> Seen {
        let (root, number, user) = (self.root(at), self.number, self.user.to_string());
        let may = |permission: &str, allowed| Seen::May {
            token: self.token.clone(),
            permission: permission.to_owned(),
            allowed,
        };
        match step % 6 {
            0 => {
                let tokens = self.sign_in(at + 1).await;
                let target = Some(pb::revoke_request::Target::RefreshToken(tokens.refresh_token.clone()));
                let logout = pb::RevokeRequest { target, ..Default::default() };
                again(async || self.site.at(at).revoke(logout.clone()).await).await;
                Seen::Dead { token: tokens.access_token }
            }
            1 => {
                let (role, scope) = (format!("granted{number}"), everywhere());
                let binding = Some(admin::Binding { principal_id: user, role, scope, ..Default::default() });
                again(async || root.grant_role(admin::GrantRoleRequest { binding: binding.clone() }).await).await;
                may("docs:read", true)
            }
            2 => {
                let (role, scope) = (format!("granted{number}"), everywhere());
                let withdraw = admin::WithdrawRoleRequest { principal_id: user, role, scope };
                again(async || root.withdraw_role(withdraw.clone()).await).await;
                may("docs:read", false)
            }
            3 => {
                let disable = admin::DisableUserRequest { id: user, note: "left".to_owned() };
                again(async || root.disable_user(disable.clone()).await).await;
                Seen::Dead { token: self.token.clone() }
            }
            4 => {
                let pattern = if step % 12 == 4 { "docs:two" } else { "docs:one" };
                let (id, patterns) = (format!("policy{number}"), vec![pattern.to_owned()]);
                let role = Some(admin::Role { id, patterns, ..Default::default() });
                again(async || root.put_role(admin::PutRoleRequest { role: role.clone() }).await).await;
                may("docs:two", pattern == "docs:two")
            }
            _ if number == 0 => self.change_key(at).await,
            _ => {
                let overlap = Some(prost_types::Duration::default());
                let rotate = admin::RotateClientSecretRequest { id: format!("client{number}"), overlap };
                let new = again(async || root.rotate_client_secret(rotate.clone()).await).await.secret;
                let old = std::mem::replace(&mut self.secret, new.clone());
                Seen::Client { new, old }
            }
        }
    }

    async fn change_key(&mut self, at: usize) -> Seen {
        let root = self.root(at);
        match self.key.take() {
            None => {
                let id = again(async || match root.rotate_key(admin::RotateKeyRequest::default()).await {
                    Ok(answer) => Ok(answer.key.unwrap().id),
                    // The one before was not answered, and was done.
                    Err(status) if reason(&status) == "ROTATION_PENDING" => {
                        let keys = root.list_keys(admin::ListKeysRequest::default()).await?.keys;
                        Ok(keys.into_iter().find(|key| key.state() == admin::KeyState::Published).unwrap().id)
                    }
                    Err(status) => Err(status),
                })
                .await;
                self.key = Some(id.clone());
                Seen::Key { id, published: true }
            }
            Some(id) => {
                let retire = admin::RetireKeyRequest { id: id.clone(), immediately: true };
                again(async || root.retire_key(retire.clone()).await).await;
                Seen::Key { id, published: false }
            }
        }
    }

    /// From the acknowledgement on, until the last of the others has it.
    async fn until_all(&self, at: usize, seen: &Seen) -> Duration {
        let since = now();
        assert!(seen.by(self.site.at(at)).await, "the server that made it has it");
        for other in 1..self.site.servers.len() {
            within(PATIENCE, "a change arrives", async || seen.by(self.site.at(at + other)).await).await;
        }
        since.elapsed()
    }
}

/// All lanes at once; prints and judges how long it took.
async fn two_hundred_changes(site: Site, how: &str) -> Arc<Site> {
    let site = Arc::new(site);
    let admin = site.at(0).login_admin().await.access_token;
    let mut lanes = JoinSet::new();
    let here = LocalSet::new();
    for number in 0..LANES {
        let lane = Lane::new(Arc::clone(&site), number, admin.clone()).await;
        lanes.spawn_local_on(lane.run(), &here);
    }
    let mut delays: Vec<Duration> = here.run_until(lanes.join_all()).await.into_iter().flatten().collect();
    delays.sort();
    assert_eq!(delays.len(), LANES * STEPS);
    let (median, worst) = (delays[delays.len() / 2], delays[delays.len() - 1]);
    let told = format!("{} changes {how}, until all know: median {median:?}, worst {worst:?}", delays.len());
    #[expect(clippy::print_stdout, reason = "a measurement, for whoever reads the run")]
    {
        println!("{told}");
    }
    assert!(worst < BOUND, "{told}");

    // The key that has signed everything so far.
    let keys = site.at(1).admin(&admin).list_keys(admin::ListKeysRequest::default()).await.unwrap().keys;
    let signing = keys.into_iter().find(|key| key.state() == admin::KeyState::Signing).unwrap();
    let retire = admin::RetireKeyRequest { id: signing.id, immediately: true };
    site.at(1).admin(&admin).retire_key(retire).await.unwrap();
    for server in &site.servers {
        let refused = within(PATIENCE, "a key that was retired at once proves nothing", async || {
            verdict(&server.verify(&admin).await).1 == pb::Reason::TokenInvalid
        });
        assert!(refused.await < BOUND);
    }
    site
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_server_changes_all_others_know_within_a_second() {
    let url = Postgres::shared().create_database();
    two_hundred_changes(Site::start(&url, 3, Way::default()).await, "with notifications").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn polling_alone_carries_it_too() {
    let postgres = Postgres::shared();
    let url = migrated(postgres).await;
    let site = Site::start(&url, 3, Way { pooler: true, ..Way::default() }).await;
    two_hundred_changes(site, "by polling alone").await;
    assert_eq!(listeners(postgres, &url), Vec::<String>::new(), "nobody listens behind a pooler");
}

#[tokio::test(flavor = "multi_thread")]
async fn so_it_is_behind_a_pooler() {
    let postgres = Postgres::shared();
    let url = migrated(postgres).await;
    let pooler = PgBouncer::start(postgres);
    let site = Site::start(&pooler.url(&url), 3, Way { pooler: true, ..Way::default() }).await;
    let site = two_hundred_changes(site, "behind PgBouncer").await;
    let tokens = again(async || site.at(0).login("lane1", PASSWORD).await).await.tokens.unwrap();
    site.at(1).logout(&tokens.refresh_token).await;
    site.all_refuse(&tokens.access_token).await;
}

/// The processes that hold connections on which somebody listens.
fn listeners(postgres: &Postgres, url: &str) -> Vec<String> {
    let sql = "select pid from pg_stat_activity where datname = current_database() and query ilike 'listen%'";
    postgres.psql(url, sql).lines().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_notification_costs_no_more_than_a_poll() {
    let postgres = Postgres::shared();
    let url = postgres.create_database();
    let site = Site::start(&url, 2, Way::default()).await;
    kim(site.at(0)).await;
    let mut delays = Vec::new();
    for round in 0..12 {
        let tokens = sign_in(site.at(round)).await;
        site.all_say(&tokens.access_token, ALLOW).await;
        within(PATIENCE, "both listen", async || listeners(postgres, &url).len() == 2).await;
        let end = "select count(pg_terminate_backend(pid)) from pg_stat_activity \
            where datname = current_database() and query ilike 'listen%'";
        assert_eq!(postgres.psql(&url, end), "2");
        // At this moment nobody hears anything.
        site.at(round).logout(&tokens.refresh_token).await;
        let other = site.at(round + 1);
        let heard = async || verdict(&other.verify(&tokens.access_token).await) == DEAD;
        delays.push(within(PATIENCE, "the poll brings it", heard).await);
    }
    let worst = delays.iter().max().unwrap();
    println!("{} revocations whose notification was lost: worst {worst:?}", delays.len());
    assert!(*worst < BOUND, "{delays:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_starts_again_knows_what_happened_meanwhile() {
    let url = Postgres::shared().create_database();
    let mut site = Site::start(&url, 2, Way::default()).await;
    let (kim_id, before) = kim(site.at(0)).await;
    let [during, living] = [sign_in(site.at(0)).await, sign_in(site.at(1)).await];
    let lee_id = add_user(site.at(0), "lee", Some(PASSWORD)).await;
    let lees = site.at(1).login("lee", PASSWORD).await.unwrap().tokens.unwrap();
    site.at(0).logout(&before.refresh_token).await;
    site.servers.pop().unwrap().stop().await;
    site.at(0).logout(&during.refresh_token).await;
    disable(site.at(0), lee_id).await;
    backstage::put_role(site.at(0), "reader", &["docs:read"], &[]).await;
    backstage::grant(site.at(0), kim_id, "reader", "").await;
    site.servers.push(site.another().await);
    for dead in [&before, &during, &lees] {
        site.all_say(&dead.access_token, DEAD).await;
    }
    let may = site.at(1).may(&living.access_token, "docs:read", "").await;
    assert_eq!(may.decision(), pb::Decision::Allow, "also the role of a token from before");
    site.at(1).logout(&living.refresh_token).await;
    site.all_refuse(&living.access_token).await;
}
