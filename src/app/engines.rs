//! What keeps things: the store and the vault, as the settings choose them.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app::{StartError, StorePlace};
use crate::clock::Clock;
use crate::config::{self, Config, Postgres, Profile, SecretSource};
use crate::store::{ConnectError, PostgresSettings, ServerFacts, Store};
use crate::vault::Vault;
use crate::vault::redis::{Concern, RedisSettings, RedisVault, faults};

/// How long a server that is not there yet is waited for: it may be starting beside us.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// How long Redis has to answer before the start goes on without it.
const REDIS_WAIT_MAX: Duration = Duration::from_secs(3);
const ASK_EVERY: Duration = Duration::from_secs(1);

/// Opens the store, makes an embedded one that is missing, and brings the tables up to date where that is asked for.
pub(super) async fn store(config: &Config, clock: Clock) -> Result<Store, StartError> {
    let server = match &config.store {
        config::Store::Sqlite { path } => return Ok(Store::open(path, clock).await?),
        config::Store::Postgres(server) => server,
    };
    let settings = settings(server, &server.url)?;
    wait_for(&settings, &clock).await?;
    if server.migrate {
        migrate(server).await?;
    }
    let store = Store::connect(&settings, clock).await?;
    if let Some(facts) = store.server() {
        warn_of(facts);
    }
    Ok(store)
}

/// Brings the tables up to date; answers from which version to which.
pub(super) async fn migrate(server: &Postgres) -> Result<(i64, i64), StartError> {
    let settings = settings(server, server.migrate_url.as_ref().unwrap_or(&server.url))?;
    Ok(Store::migrate(&settings).await?)
}

/// What may expire is kept where the settings say; and where that is, if not in the store. Whether Redis answers keeps
/// nobody from starting: all that needs no session works without it.
pub(super) async fn vault(
    config: &Config,
    store: &Store,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> Result<(Arc<dyn Vault>, Option<String>), StartError> {
    let redis = match &config.vault {
        config::Vault::Store => return Ok((Arc::new(store.vault()), None)),
        config::Vault::Redis(redis) => redis,
    };
    let settings = RedisSettings::open(redis)?;
    let place = settings.place();
    let vault = RedisVault::connect(settings, tasks, stop)?;
    if tokio::time::timeout(REDIS_WAIT_MAX, vault.connected()).await.is_ok() {
        judge(&vault, config.profile).await?;
    } else {
        tracing::warn!(vault = place, "starting without Redis: nobody can sign in or refresh until it answers");
        let (vault, profile, stop) = (vault.clone(), config.profile, stop.clone());
        tasks.spawn(async move {
            tokio::select! {
                () = vault.connected() => {}
                () = stop.cancelled() => return,
            }
            // Too late to refuse: others may be signed in by now.
            if let Err(why) = judge(&vault, profile).await {
                tracing::error!(%why, "Redis is not fit for sessions");
            }
        });
    }
    Ok((Arc::new(vault), Some(place)))
}

/// Says what should be otherwise with Redis. Production does not begin to trust it with sessions that it may forget.
async fn judge(vault: &RedisVault, profile: Profile) -> Result<(), StartError> {
    let facts = match vault.inspect().await {
        Ok(facts) => facts,
        Err(why) => {
            tracing::warn!(%why, "Redis does not tell what it is");
            return Ok(());
        }
    };
    for Concern { is_grave, wrong, right } in faults(&facts) {
        if is_grave && profile == Profile::Production {
            return Err(StartError::Vault { wrong, right });
        }
        tracing::warn!(wrong, right, "Redis should be otherwise");
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

pub(super) fn settings(server: &Postgres, url: &SecretSource) -> Result<PostgresSettings, StartError> {
    let url =
        url.open().map_err(|why| StartError::EngineSecret { setting: "store.postgres.url", wrong: why.to_string() })?;
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
            Err(why) => return Err(why.into()),
        }
    }
}

fn warn_of(facts: &ServerFacts) {
    if !facts.synchronous_standby {
        tracing::warn!(
            server = facts.server,
            "PostgreSQL has no synchronous standby: a fail-over may forget a revocation that was acknowledged; set \
             synchronous_standby_names"
        );
    }
}
