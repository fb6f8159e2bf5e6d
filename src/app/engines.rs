//! What keeps things: the store and the vault, as the settings choose them.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app::{StartError, StorePlace};
use crate::clock::Clock;
use crate::config::{self, Config, Postgres, Profile, SecretSource};
use crate::store::{ConnectError, Migrated, PostgresSettings, ServerFacts, Store};
use crate::vault::Vault;
use crate::vault::redis::{self, Facts, RedisSettings, RedisVault};

/// The settings that say how a server is reached.
pub(super) const URL: &str = "store.postgres.url";
const MIGRATE_URL: &str = "store.postgres.migrate_url";

/// How long a server that is not there yet is waited for: it may be starting beside us.
const WAIT_MAX: Duration = Duration::from_secs(30);
const ASK_EVERY: Duration = Duration::from_secs(1);
/// How often to look whether acknowledged changes still wait for a standby.
const LOOK_EVERY: Duration = Duration::from_mins(1);
/// How long Redis is waited for before the start goes on without it.
const REDIS_WAIT: Duration = Duration::from_secs(2);
const JUDGE_EVERY: Duration = Duration::from_mins(10);

/// Opens the store, makes an embedded one that is missing, and brings the tables up to date where that is asked for.
pub(super) async fn store(config: &Config, clock: Clock) -> Result<Store, StartError> {
    let server = match &config.store {
        config::Store::Sqlite { path } => return Ok(Store::open(path, clock).await?),
        config::Store::Postgres(server) => server,
    };
    wait_for(&settings(server, &server.url, URL)?, &clock).await?;
    if server.migrate {
        migrate_and_grant(server, None).await?;
    }
    let store = connect(server, URL, clock).await?;
    if let Some(facts) = store.server().filter(|facts| !facts.synchronous_standby) {
        warn_of_none(facts);
    }
    Ok(store)
}

/// How often changes are looked for. Behind a pooler nobody is told of them, so that all of their way is waiting.
pub(super) fn poll_interval(config: &Config) -> Duration {
    match &config.store {
        config::Store::Postgres(server) if server.pooler => config.feed.poll_interval / 2,
        config::Store::Postgres(_) | config::Store::Sqlite { .. } => config.feed.poll_interval,
    }
}

/// Connects at once or not at all. `setting` is where the URL stands.
pub(super) async fn connect(server: &Postgres, setting: &'static str, clock: Clock) -> Result<Store, StartError> {
    let settings = settings(server, &server.url, setting)?;
    Store::connect(&settings, clock).await.map_err(|why| at(setting, why))
}

/// What is there.
pub(super) async fn look_at(server: &Postgres) -> Result<ServerFacts, StartError> {
    Store::look_at(&settings(server, &server.url, URL)?).await.map_err(|why| at(URL, why))
}

/// Brings the tables up to date, and lets a role use them.
pub(super) async fn migrate_and_grant(server: &Postgres, grant_to: Option<&str>) -> Result<Migrated, StartError> {
    migrate_as(server, URL, grant_to).await
}

/// The same, for a URL that stands elsewhere.
pub(super) async fn migrate_as(
    server: &Postgres,
    setting: &'static str,
    grant_to: Option<&str>,
) -> Result<Migrated, StartError> {
    let (url, setting) = server.migrate_url.as_ref().map_or((&server.url, setting), |url| (url, MIGRATE_URL));
    let settings = settings(server, url, setting)?;
    Store::migrate_and_grant(&settings, grant_to).await.map_err(|why| at(setting, why))
}

/// What the server says names the setting that led there.
pub(super) fn at(setting: &'static str, source: ConnectError) -> StartError {
    StartError::Connect { setting, source }
}

/// What may expire is kept where the settings say. Redis may be away at the start, and is then judged when it comes.
pub(super) async fn vault(
    config: &Config,
    store: &Store,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> Result<Arc<dyn Vault>, StartError> {
    let settings = match &config.vault {
        config::Vault::Store => return Ok(Arc::new(store.vault())),
        config::Vault::Redis(settings) => RedisSettings::open(settings)?,
    };
    let redis = RedisVault::connect(settings, tasks, stop)?;
    let judged_at_start = match tokio::time::timeout(REDIS_WAIT, redis.connected()).await {
        Ok(()) => match redis.inspect().await {
            Ok(facts) => {
                judge(&facts, config.profile)?;
                true
            }
            Err(why) => {
                tracing::warn!(%why, "Redis does not say how it is set up");
                false
            }
        },
        Err(_elapsed) => {
            tracing::warn!("Redis is away: nobody can sign in or refresh until it is there; verdicts go on");
            false
        }
    };
    tasks.spawn(watch(redis.clone(), judged_at_start, config.profile, stop.clone()));
    Ok(Arc::new(redis))
}

/// What Redis should have otherwise, as a start would judge it; changes nothing.
pub(super) async fn look_at_redis(config: &Config) -> Result<Vec<(String, &'static str)>, StartError> {
    const AWAY: &str =
        "look at the address, at user and password, and that it runs; a server starts, and signs nobody in";
    let config::Vault::Redis(settings) = &config.vault else { return Ok(Vec::new()) };
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let redis = RedisVault::connect(RedisSettings::open(settings)?, &tasks, &stop)?;
    let inspected = match tokio::time::timeout(REDIS_WAIT, redis.connected()).await {
        Ok(()) => redis.inspect().await.map_err(|why| why.to_string()),
        Err(_elapsed) => Err("no answer from Redis".to_owned()),
    };
    stop.cancel();
    tasks.close();
    tasks.wait().await;
    match inspected {
        Ok(facts) => {
            let concerns = redis::faults(&facts);
            if config.profile == Profile::Production
                && let Some(grave) = concerns.iter().find(|concern| concern.is_grave)
            {
                return Err(StartError::Redis { wrong: grave.wrong.clone(), right: grave.right });
            }
            Ok(concerns.into_iter().map(|concern| (concern.wrong, concern.right)).collect())
        }
        Err(why) => Ok(vec![(why, AWAY)]),
    }
}

/// The same for whoever has other things to do than to sign people in: Redis is neither waited for nor judged, so that
/// nobody is kept from what works without it.
pub(super) fn vault_when_asked(
    config: &Config,
    store: &Store,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> Result<Arc<dyn Vault>, StartError> {
    match &config.vault {
        config::Vault::Store => Ok(Arc::new(store.vault())),
        config::Vault::Redis(settings) => {
            Ok(Arc::new(RedisVault::connect(RedisSettings::open(settings)?, tasks, stop)?))
        }
    }
}

/// Judges Redis again from time to time, since its settings change without us, and a fail-over leads to another server.
async fn watch(redis: RedisVault, mut judged: bool, profile: Profile, stop: CancellationToken) {
    loop {
        let pause = if judged { JUDGE_EVERY } else { ASK_EVERY };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => return,
        }
        if let Ok(facts) = redis.inspect().await {
            judged = true;
            // A service that runs is not ended by it.
            if let Err(why) = judge(&facts, profile) {
                tracing::error!(%why, "Redis is set up so that sessions or the end of one may be lost");
            }
        }
    }
}

/// Tells of what should be otherwise; the grave ones keep production from starting.
fn judge(facts: &Facts, profile: Profile) -> Result<(), StartError> {
    for concern in redis::faults(facts) {
        if concern.is_grave && profile == Profile::Production {
            return Err(StartError::Redis { wrong: concern.wrong, right: concern.right });
        }
        tracing::warn!(wrong = concern.wrong, right = concern.right, "Redis should be set up otherwise");
    }
    Ok(())
}

/// Where the store is, as a person would look for it.
pub(super) fn place(config: &Config, store: &Store) -> StorePlace {
    match (&config.store, store.server()) {
        (config::Store::Sqlite { path }, _) => StorePlace::File(path.clone()),
        (config::Store::Postgres(_), facts) => {
            StorePlace::Server(facts.map(|facts| facts.server.clone()).unwrap_or_default())
        }
    }
}

/// Where sessions are kept, if not in the store.
pub(super) fn vault_place(config: &Config) -> Option<String> {
    match &config.vault {
        config::Vault::Store => None,
        config::Vault::Redis(settings) => {
            // Opened before, or there would be nothing to tell of.
            let url = RedisSettings::open(settings).ok()?.url;
            let hosts: Vec<String> = url.hosts().iter().map(ToString::to_string).collect();
            Some(format!("Redis {}", hosts.join(", ")))
        }
    }
}

fn settings(server: &Postgres, url: &SecretSource, setting: &'static str) -> Result<PostgresSettings, StartError> {
    let url = url.open().map_err(|why| StartError::EngineSecret { setting, wrong: why.to_string() })?;
    Ok(PostgresSettings { url, pool_size: server.pool_size, pooler: server.pooler })
}

async fn wait_for(settings: &PostgresSettings, clock: &Clock) -> Result<ServerFacts, StartError> {
    let began = clock.moment();
    let mut told = false;
    loop {
        match Store::look_at(settings).await {
            Ok(facts) => return Ok(facts),
            // Only what may pass by itself: a standby may be promoted, a server may start.
            Err(why @ (ConnectError::Unreachable { .. } | ConnectError::Standby { .. }))
                if clock.moment().since(began) < WAIT_MAX =>
            {
                if !told {
                    tracing::warn!(%why, "waiting for PostgreSQL for {} s", WAIT_MAX.as_secs());
                    told = true;
                }
                tokio::time::sleep(ASK_EVERY).await;
            }
            Err(why) => return Err(at(URL, why)),
        }
    }
}

/// What is asked for is told, at the start and whenever it changes: the server that took over may have no standby itself.
pub(super) async fn watch_standby(store: Store, stop: CancellationToken) {
    let Some(mut had) = store.server().map(|facts| facts.synchronous_standby) else { return };
    loop {
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = stop.cancelled() => return,
        }
        match store.has_synchronous_standby().await {
            Ok(Some(has)) if has != had => {
                had = has;
                if has {
                    tracing::info!("PostgreSQL has a synchronous standby again");
                } else if let Some(facts) = store.server() {
                    warn_of_none(facts);
                }
            }
            // A server that is away is told of by the feed.
            Ok(_) | Err(_) => {}
        }
    }
}

fn warn_of_none(facts: &ServerFacts) {
    tracing::warn!(
        server = facts.server,
        "PostgreSQL has no synchronous standby: a fail-over may forget a revocation that was acknowledged; set \
         synchronous_standby_names"
    );
}
