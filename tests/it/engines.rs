//! The engines under the tests. All tests here run on one of the sets {SQLite}, {PostgreSQL alone}, {PostgreSQL and Redis},
//! as `POSTERN_TEST_ENGINES` says: `sqlite` (the default), `postgres` or `postgres-redis`. `scripts/test` runs all of them.
//!
//! A data directory comes with a database of its own, which its restarts and replicas find again. It is gone with the last
//! of them.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::Duration;

use postern::config::{self, Config, SecretSource, Store, Vault};
use postern::domain::rate::Quota;
use postern::store::PostgresSettings;
use postern_rig::postgres::Postgres;
use postern_rig::redis::{Flavour, Redis};
use tempfile::TempDir;

use crate::database::Database;
use crate::support::files_below;

/// Far below what one server allows, for all tests that run at once.
const POOL_SIZE: usize = 8;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Set {
    Sqlite,
    Postgres,
    PostgresRedis,
}

static SET: LazyLock<Set> = LazyLock::new(|| {
    #[expect(clippy::disallowed_methods, reason = "which engines the tests run on, not a setting of ours")]
    let chosen = std::env::var("POSTERN_TEST_ENGINES").unwrap_or_else(|_unset| "sqlite".to_owned());
    match chosen.as_str() {
        "sqlite" => Set::Sqlite,
        "postgres" => Set::Postgres,
        "postgres-redis" => Set::PostgresRedis,
        other => panic!("POSTERN_TEST_ENGINES is sqlite, postgres or postgres-redis, not {other:?}"),
    }
});

/// What a server, its restarts and its replicas keep their data in, beside the data directory.
pub(crate) enum Engines {
    Sqlite {
        file: PathBuf,
    },
    Postgres {
        url: String,
        /// What all names on the shared Redis begin with; none, where the store keeps sessions too.
        prefix: Option<String>,
    },
}

impl Engines {
    fn new(data: &Path, url: impl FnOnce() -> String) -> Self {
        match *SET {
            Set::Sqlite => Self::Sqlite { file: data.join("postern.db") },
            Set::Postgres => Self::Postgres { url: url(), prefix: None },
            Set::PostgresRedis => {
                static COUNT: AtomicU32 = AtomicU32::new(1);
                let prefix = format!("test{}:", COUNT.fetch_add(1, Ordering::Relaxed));
                Self::Postgres { url: url(), prefix: Some(prefix) }
            }
        }
    }

    /// Settings of a server inside the test.
    pub(crate) fn choose(&self, config: &mut Config) {
        config.store = match self {
            Self::Sqlite { file } => Store::Sqlite { path: file.clone() },
            Self::Postgres { url, .. } => Store::Postgres(config::Postgres {
                url: SecretSource::Value(url.as_str().into()),
                pool_size: POOL_SIZE,
                pooler: false,
                migrate: true,
                migrate_url: None,
            }),
        };
        if let Self::Postgres { prefix: Some(prefix), .. } = self {
            config.vault = Vault::Redis(config::Redis {
                url: SecretSource::Value(Redis::shared(Flavour::Redis).url().into()),
                username: None,
                password: None,
                ca: None,
                prefix: prefix.clone(),
            });
        }
    }

    /// The same for a process; nothing for the embedded store in its place.
    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        let Self::Postgres { url, prefix } = self else { return Vec::new() };
        let mut settings = vec![("POSTERN__STORE__POSTGRES__URL__VALUE", url.clone())];
        if let Some(prefix) = prefix {
            settings.push(("POSTERN__VAULT__REDIS__URL__VALUE", Redis::shared(Flavour::Redis).url()));
            settings.push(("POSTERN__VAULT__REDIS__PREFIX", prefix.clone()));
        }
        settings
    }
}

impl Drop for Engines {
    fn drop(&mut self) {
        // Where a test has failed, one panic is enough.
        if let Self::Postgres { url, .. } = self
            && !std::thread::panicking()
        {
            Postgres::shared().drop_database(url);
        }
    }
}

/// A directory with its engines.
pub(crate) struct Home {
    folder: TempDir,
    pub(crate) engines: Arc<Engines>,
}

impl Home {
    /// A place where a server starts for the first time.
    pub(crate) fn new() -> Self {
        Self::with(|folder| Arc::new(Engines::new(&folder.join("data"), migrated_database)))
    }

    /// The same, in whose database there is nothing at all yet.
    pub(crate) fn untouched() -> Self {
        Self::with(|folder| Arc::new(Engines::new(&folder.join("data"), || Postgres::shared().create_database())))
    }

    /// A directory of a replica's own, over the engines of another.
    pub(crate) fn sharing(engines: Arc<Engines>) -> Self {
        Self::with(|_folder| engines)
    }

    fn with(engines: impl FnOnce(&Path) -> Arc<Engines>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { engines: engines(folder.path()), folder }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    /// Settings for a server here, on free ports.
    pub(crate) fn config(&self) -> Config {
        let mut config = Config::development_defaults(&self.data());
        config.listen.grpc = "127.0.0.1:0".parse().unwrap();
        config.listen.operations = "127.0.0.1:0".parse().unwrap();
        config.listen.gateway = "127.0.0.1:0".parse().unwrap();
        // Tests that are not about limits fail as often as they like.
        let tries = &mut config.limits.tries;
        for quota in [
            &mut tries.address,
            &mut tries.caller,
            &mut tries.account,
            &mut tries.account_at_address,
            &mut tries.administrator,
            &mut tries.token,
        ] {
            *quota = Quota { burst: quota.burst.max(10_000), every: Duration::from_millis(1) };
        }
        tries.account.burst = 40;
        self.engines.choose(&mut config);
        config
    }

    pub(crate) async fn database(&self) -> Database {
        Database::of(&self.engines).await
    }

    /// Everything that lies anywhere, for tests that look for what must not be there: what holds it, and its bytes.
    pub(crate) async fn stored(&self) -> Vec<(String, Vec<u8>)> {
        let files = files_below(&self.data()).into_iter();
        let mut stored: Vec<_> =
            files.map(|file| (file.display().to_string(), std::fs::read(&file).unwrap())).collect();
        if !matches!(&*self.engines, Engines::Sqlite { .. }) {
            stored.extend(self.tables().await);
            stored.extend(self.database().await.expiring().await);
        }
        stored
    }

    /// What the store holds; nothing, if it was not made yet.
    pub(crate) async fn tables(&self) -> Vec<(String, Vec<u8>)> {
        match &*self.engines {
            Engines::Sqlite { file } => {
                let content = file.exists().then(|| std::fs::read(file).unwrap());
                content.map(|content| (file.display().to_string(), content)).into_iter().collect()
            }
            Engines::Postgres { .. } => self.database().await.tables().await,
        }
    }
}

/// A copy of one that was migrated once, which takes a tenth of the time.
fn migrated_database() -> String {
    static TEMPLATE: OnceLock<String> = OnceLock::new();
    let template = TEMPLATE.get_or_init(|| {
        let url = Postgres::shared().create_database();
        let settings = PostgresSettings { url: url.as_str().into(), pool_size: 1, pooler: false };
        // On a thread of its own, since tests with and without a runtime come here.
        let migrated = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(postern::store::Store::migrate(&settings)).unwrap()
        });
        migrated.join().unwrap();
        url
    });
    Postgres::shared().create_database_from(template)
}
