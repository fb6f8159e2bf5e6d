//! Several servers on one PostgreSQL: what is changed through one is known to all, in order, and outlasts the loss of
//! notifications, of servers and of the newest rows (protocol F1, F2, F5, F7, F13, F16, F23; security rows 39, 41, 47, 48,
//! 50, 171).

mod address;
mod changes;
mod fail_over;
mod order;
mod restore;
mod standby;
mod tokens;

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use postern::clock::Clock;
use postern::config::{Config, Postgres, SecretSource, Store};
use postern::domain::id::UserId;
use postern::proto::auth::v1 as pb;
use tonic::Code;

use crate::support::{Answer, Server, verdict};

/// Long past all that is promised; whoever waits for longer waits for nothing.
const PATIENCE: Duration = Duration::from_secs(20);

/// How the servers of a test are set, beside the database.
#[derive(Clone, Copy)]
struct Way {
    /// As behind a pooler: nobody listens, and polling alone brings the news.
    pooler: bool,
    max_staleness: Duration,
}

impl Default for Way {
    fn default() -> Self {
        Self { pooler: false, max_staleness: Duration::from_mins(1) }
    }
}

/// Servers that share a database, a master key and a clock. The poll interval is the default.
struct Site {
    url: String,
    way: Way,
    key: PathBuf,
    clock: Clock,
    admin_password: Option<String>,
    servers: Vec<Server>,
}

impl Site {
    async fn start(url: &str, count: usize, way: Way) -> Self {
        let first = Server::start_with(|config| set(config, url, way)).await;
        let key = first.data_dir().join("master.key");
        let mut site = Self { admin_password: first.admin_password.clone(), ..Self::of(url, way, key) };
        site.clock = first.clock.clone();
        site.servers.push(first);
        while site.servers.len() < count {
            site.servers.push(site.another().await);
        }
        site
    }

    /// Nobody runs yet.
    fn of(url: &str, way: Way, key: PathBuf) -> Self {
        let (clock, admin_password) = (Clock::default(), None);
        Self { url: url.to_owned(), way, key, clock, admin_password, servers: Vec::new() }
    }

    /// One more, as a rolling update starts it.
    async fn another(&self) -> Server {
        let change = |config: &mut Config| {
            set(config, &self.url, self.way);
            config.keys.master = SecretSource::File(self.key.clone());
        };
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let mut server = Server::start_on(dir, self.clock.clone(), change).await;
        server.admin_password.clone_from(&self.admin_password);
        server
    }

    fn at(&self, index: usize) -> &Server {
        &self.servers[index % self.servers.len()]
    }

    /// Whether every server judges the token so.
    async fn all_say(&self, access_token: &str, expected: (pb::Decision, pb::Reason)) {
        for (index, server) in self.servers.iter().enumerate() {
            assert_eq!(verdict(&server.verify(access_token).await), expected, "server {index}");
        }
    }

    /// Until every server refuses the token as revoked.
    async fn all_refuse(&self, access_token: &str) {
        for server in &self.servers {
            within(PATIENCE, "a revoked token is refused", async || {
                verdict(&server.verify(access_token).await) == DEAD
            })
            .await;
        }
    }
}

const ALLOW: (pb::Decision, pb::Reason) = (pb::Decision::Allow, pb::Reason::Unspecified);
const DEAD: (pb::Decision, pb::Reason) = (pb::Decision::Unauthenticated, pb::Reason::TokenRevoked);

fn set(config: &mut Config, url: &str, way: Way) {
    (config.passwords.memory_kib, config.passwords.iterations) = (64, 1);
    config.feed.max_staleness = way.max_staleness;
    config.store = Store::Postgres(Postgres {
        url: SecretSource::Value(url.to_owned().into()),
        pool_size: 8,
        pooler: way.pooler,
        migrate: true,
        migrate_url: None,
    });
}

#[expect(clippy::disallowed_methods, reason = "promises about real time")]
fn now() -> Instant {
    Instant::now()
}

/// Asks until it is so; answers how long that took.
async fn within(time: Duration, what: &str, mut is_so: impl AsyncFnMut() -> bool) -> Duration {
    let since = now();
    while !is_so().await {
        assert!(since.elapsed() < time, "not within {time:?}: {what}");
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    since.elapsed()
}

/// Asks again while a store does not answer in time, as an honest client does: on a busy machine that is no fault.
async fn again<T>(mut call: impl AsyncFnMut() -> Answer<T>) -> T {
    let since = now();
    loop {
        match call().await {
            Ok(answer) => return answer,
            Err(status) if status.code() == Code::Unavailable && since.elapsed() < PATIENCE => {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            Err(status) => panic!("{status:?}"),
        }
    }
}

/// The user's floor and version, as the database has them.
fn marks(postgres: &postern_rig::postgres::Postgres, url: &str, user: UserId) -> (i64, i64) {
    let row = postgres.psql(url, &format!("select floor, version from users where id = '{user}'"));
    let (floor, version) = row.split_once('|').unwrap();
    (floor.parse().unwrap(), version.parse().unwrap())
}

fn number(postgres: &postern_rig::postgres::Postgres, url: &str, sql: &str) -> i64 {
    postgres.psql(url, sql).parse().unwrap()
}

/// Somebody else's transaction that has the row from which all changes take their numbers, and does not end by itself.
struct Held(std::process::Child);

impl Held {
    async fn new(postgres: &postern_rig::postgres::Postgres, url: &str) -> Self {
        let database = url.rsplit_once('/').unwrap().1;
        let sql = "begin; select head from feed for update; select pg_sleep(600)";
        let url = postgres.url(database);
        let psql =
            std::process::Command::new("psql").args(["-XqAt", "-d", &url, "-c", sql]).stdout(Stdio::null()).spawn();
        let held = Self(psql.unwrap());
        let sleeps =
            "select count(*) from pg_stat_activity where datname = current_database() and wait_event = 'PgSleep'";
        within(PATIENCE, "the row is held", async || number(postgres, database, sleeps) == 1).await;
        held
    }

    /// It goes away without a word, as a client does that is killed.
    fn release(mut self, postgres: &postern_rig::postgres::Postgres, url: &str) {
        let end = "select pg_terminate_backend(pid) from pg_stat_activity \
            where datname = current_database() and wait_event = 'PgSleep'";
        assert_eq!(postgres.psql(url, end), "t");
        self.0.wait().unwrap();
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
