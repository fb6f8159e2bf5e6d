//! What stands behind the doors, and works without any: the use cases, and the tasks that keep what they know current.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app::{StartError, clients, engines, first_start, hash_settings, internal};
use crate::auth::audit::Audit;
use crate::auth::feed::FeedTask;
use crate::auth::key_rotation::KeyRules;
use crate::auth::keyring::Keyring;
use crate::auth::passwords::Passwords;
use crate::auth::{Auth, Rules};
use crate::clock::Clock;
use crate::config::{Config, WhenStale};
use crate::store::Store;
use crate::vault::Vault;
use crate::vault::challenges::Challenges;
use crate::vault::sessions::Sessions;
use crate::verifier::{CACHE_BYTES_DEFAULT, Settings, Verifier};

const JWKS_MAX_AGE: Duration = Duration::from_mins(5);

/// What keeps things, and where the tasks go that end with it.
pub(super) struct Engines<'a> {
    pub(super) store: Store,
    pub(super) vault: Arc<dyn Vault>,
    pub(super) background: &'a TaskTracker,
    pub(super) stop: &'a CancellationToken,
}

/// Checks the master keys, makes the first signing key, and loads the verifier. Also answers whether it made a master key.
pub(super) async fn open(
    config: &Config,
    clock: &Clock,
    engines: Engines<'_>,
) -> Result<(Arc<Auth>, bool), StartError> {
    let Engines { store, vault, background, stop } = engines;
    let (masters, master_key_created) = first_start::master_keys(config, &store).await?;
    let issuer = first_start::issuer(config, &store).await?;
    let keyring = Arc::new(Keyring::new(masters.keyring_sealer()));
    first_start::signing_key(&store, &keyring, &masters, config.keys.algorithm).await?;

    let verifier = verifier(config, &issuer);
    let clients = Arc::new(clients::clients(config, &issuer)?);
    clients.check(&store.clients().await?)?;
    let (feed, mut feed_task) = FeedTask::new(
        store.clone(),
        Arc::clone(&verifier),
        Arc::clone(&keyring),
        Arc::clone(&clients),
        clock.clone(),
        engines::poll_interval(config),
    );
    feed_task.load().await.map_err(internal)?;
    let passwords = Passwords::start(&hash_settings(&config.passwords)).map_err(internal)?;
    let (audit, audit_task) = Audit::new(store.clone());

    background.spawn(feed_task.run(stop.clone()));
    background.spawn(store.clone().listen(stop.clone()));
    background.spawn(audit_task.run(stop.clone()));
    let auth = Auth {
        sessions: Sessions::new(Arc::clone(&vault), masters.sealer("session")),
        challenges: Challenges::new(Arc::clone(&vault), masters.sealer("challenge")),
        vault,
        summaries: masters.sealer("summary"),
        clients,
        rules: Rules {
            issuer,
            late_repeats: config.refresh.late_repeats,
            password_min_length: config.passwords.min_length,
            jwks_max_age: JWKS_MAX_AGE,
            keys: key_rules(config),
        },
        store,
        verifier,
        keyring,
        masters,
        passwords,
        feed,
        audit,
        clock: clock.clone(),
        replica: uuid::Uuid::now_v7(),
    };
    Ok((Arc::new(auth), master_key_created))
}

fn verifier(config: &Config, issuer: &str) -> Arc<Verifier> {
    Arc::new(Verifier::new(Settings {
        issuer: issuer.to_owned(),
        max_staleness: config.feed.max_staleness,
        serve_stale: config.feed.when_stale == WhenStale::Serve,
        cache_bytes: CACHE_BYTES_DEFAULT,
    }))
}

fn key_rules(config: &Config) -> KeyRules {
    KeyRules {
        algorithm: config.keys.algorithm,
        wait: JWKS_MAX_AGE * 2 + config.feed.max_staleness,
        rotate_every: config.keys.rotate_every,
    }
}
