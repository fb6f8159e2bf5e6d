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
use std::sync::Arc;
use std::time::{Duration, Instant};

use postern::clock::Clock;
use postern::config::{self, Config, SecretSource, Vault};
use postern::domain::id::UserId;
use postern::proto::auth::v1 as pb;
use postern::store::{PostgresSettings, Store};
use postern_rig::postgres::Postgres;
use sqlx::{Connection as _, PgConnection};
use tonic::Code;

use crate::engines::Home;
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
        // It serves only once it has noted that its first password was told; another that starts before makes a new one.
        first.client().get_keys(pb::GetKeysRequest {}).await.unwrap();
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
        let mut server = Server::start_on(Arc::new(Home::new()), self.clock.clone(), change).await;
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
    config.store = config::Store::Postgres(config::Postgres {
        url: SecretSource::Value(url.to_owned().into()),
        pool_size: 8,
        pooler: way.pooler,
        // Not through a pooler, which hands a lock to others with its connection.
        migrate: !way.pooler,
        migrate_url: None,
    });
    config.vault = Vault::Store;
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
fn marks(postgres: &Postgres, url: &str, user: UserId) -> (i64, i64) {
    let row = postgres.psql(url, &format!("select floor, version from users where id = '{user}'"));
    let (floor, version) = row.split_once('|').unwrap();
    (floor.parse().unwrap(), version.parse().unwrap())
}

fn number(postgres: &Postgres, url: &str, sql: &str) -> i64 {
    postgres.psql(url, sql).parse().unwrap()
}

/// A new database with all tables.
async fn migrated(postgres: &Postgres) -> String {
    let url = postgres.create_database();
    let settings = PostgresSettings { url: url.as_str().into(), pool_size: 1, pooler: false };
    Store::migrate(&settings).await.unwrap();
    url
}

/// Somebody else's transaction that has the row from which all changes take their numbers, and does not end by itself.
struct Held(PgConnection);

impl Held {
    async fn new(postgres: &Postgres, url: &str) -> Self {
        let url = postgres.url(url.rsplit_once('/').unwrap().1);
        let mut connection = PgConnection::connect(&url).await.unwrap();
        sqlx::raw_sql("BEGIN; SELECT head FROM feed FOR UPDATE").execute(&mut connection).await.unwrap();
        Self(connection)
    }

    async fn release(self) {
        self.0.close().await.unwrap();
    }
}
