//! What stands behind the doors, and works without any: the use cases, and the tasks that keep what they know current.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app::{
    StartError, clients, counts, engines, first_start, hash_settings, internal, password_rules, providers, trusted,
};
use crate::auth::audit::Audit;
use crate::auth::feed::FeedTask;
use crate::auth::key_rotation::KeyRules;
use crate::auth::keyring::Keyring;
use crate::auth::limits::Limits;
use crate::auth::passwords::Passwords;
use crate::auth::{Auth, Rules};
use crate::clock::Clock;
use crate::config::{Config, WhenStale};
use crate::metrics::Metrics;
use crate::oauth::Providers;
use crate::oauth::trusted::TrustedIssuers;
use crate::store::Store;
use crate::vault::Vault;
use crate::vault::observed::{Observed, VaultCounts};
use crate::vault::records::Records;
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
    let passwords = Passwords::start(&hash_settings(&config.passwords), first_start::peppers(&config.passwords)?)
        .map_err(internal)?;
    let providers = providers::settings(&config.providers, config.gateway.url.as_deref())?;
    let providers = Providers::new(providers, clock)?;
    let trusted_issuers = TrustedIssuers::new(trusted::settings(&config.trusted_issuers)?, clock)?;
    let metrics = Metrics::new();
    let vault_counts = VaultCounts::default();
    let vault: Arc<dyn Vault> = Arc::new(Observed::new(vault, &vault_counts));
    let (audit, audit_task) = Audit::new(store.clone(), clock.clone(), metrics.clone());
    counts::of_passwords(&metrics, &passwords);
    counts::of_records(&metrics, &audit);
    counts::of_verifier(&metrics, &verifier, &feed.counts(), clock);
    counts::of_engines(&metrics, &store, vault_counts);
    counts::of_keys(&metrics, &keyring, clock);

    background.spawn(feed_task.run(stop.clone()));
    background.spawn(store.clone().listen(stop.clone()));
    background.spawn(audit_task.run(stop.clone()));
    background.spawn(providers.clone().run(stop.clone()));
    let auth = Auth {
        sessions: Sessions::new(Arc::clone(&vault), masters.sealer("session")),
        challenges: Records::new(Arc::clone(&vault), masters.sealer("challenge")),
        flows: Records::new(Arc::clone(&vault), masters.sealer("flow")),
        codes: Records::new(Arc::clone(&vault), masters.sealer("code")),
        links: Records::new(Arc::clone(&vault), masters.sealer("link")),
        traded: Records::new(Arc::clone(&vault), masters.sealer("traded")),
        limits: Limits::new(Arc::clone(&vault), masters.sealer("device"), config.limits.tries),
        providers,
        trusted_issuers,
        vault,
        summaries: masters.sealer("summary"),
        clients,
        rules: Rules {
            passwords: password_rules(&config.passwords, Some(&issuer)),
            issuer,
            late_repeats: config.refresh.late_repeats,
            new_user_roles: config.accounts.roles.clone(),
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
        metrics,
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
