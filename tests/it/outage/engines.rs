//! Engines of a test's own with a network between that fails, and a server on them.

use std::process::Command;
use std::time::Duration;

use postern::config::{self, Config, SecretSource, Store, Vault};
use postern::domain::identity::ProviderKind;
use postern_rig::postgres::Postgres;
use postern_rig::providers::ADMIN_KEY;
use postern_rig::proxy::{Mode, Proxy};
use postern_rig::redis::{Flavour, Redis};
use secrecy::SecretString;

use super::cast::PROVIDER;
use super::contract::Away;
use crate::binary::Place;
use crate::support::quick;

/// The least that may be set.
pub(super) const MAX_STALENESS: Duration = Duration::from_secs(5);
pub(super) const POOL_SIZE: usize = 8;

/// How an engine goes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Nothing listens; connections are reset.
    Refused,
    /// Packets vanish; connections stay open.
    BlackHole,
    /// The process stands still (SIGSTOP).
    Stopped,
}

pub(super) const WAYS: [Way; 3] = [Way::Refused, Way::BlackHole, Way::Stopped];

pub(super) struct Engines {
    postgres: Postgres,
    postgres_network: Proxy,
    redis: Option<(Redis, Proxy)>,
    url: String,
    database: String,
}

/// See [`PROVIDER`].
fn provider() -> config::Provider {
    config::Provider {
        id: PROVIDER.parse().unwrap(),
        kind: ProviderKind::Kakao,
        display_name: String::new(),
        client_id: "outage".to_owned(),
        client_secret: None,
        native_client_ids: Vec::new(),
        issuer: None,
        endpoints: config::Endpoints::default(),
        redirect_uri: None,
        scopes: None,
        surface: config::Surface::OAuth2,
        pkce: true,
        client_auth: None,
        form_post: false,
        parameters: Vec::new(),
        hosted_domain: None,
        sign_up: true,
        link_by_email: false,
        link_domains: Vec::new(),
        admin_key: Some(SecretSource::Value(ADMIN_KEY.into())),
        private_network: false,
        ca: None,
    }
}

impl Engines {
    pub(super) fn start(with_redis: bool) -> Self {
        let postgres = Postgres::start();
        let direct = postgres.create_database();
        let database = direct.rsplit('/').next().unwrap().to_owned();
        let postgres_network = Proxy::to(postgres.port());
        let url = direct.replace(&format!(":{}/", postgres.port()), &format!(":{}/", postgres_network.port()));
        assert_ne!(url, direct);
        let redis = with_redis.then(|| {
            let redis = Redis::start(Flavour::Redis);
            let network = Proxy::to(redis.port());
            (redis, network)
        });
        Self { postgres, postgres_network, redis, url, database }
    }

    /// Settings of a server on these engines.
    pub(super) fn settings(&self) -> impl FnOnce(&mut Config) + use<> {
        let url = SecretSource::Value(SecretString::from(self.url.as_str()));
        let redis = self.redis.as_ref().map(|(_, network)| format!("redis://127.0.0.1:{}", network.port()));
        move |config| {
            quick(config);
            config.feed.poll_interval = Duration::from_millis(200);
            config.feed.max_staleness = MAX_STALENESS;
            config.store = Store::Postgres(config::Postgres {
                url,
                pool_size: POOL_SIZE,
                pooler: false,
                migrate: true,
                migrate_url: None,
            });
            config.providers = vec![provider()];
            config.clients = vec![crate::exchange::trader()];
            config.trusted_issuers = vec![crate::exchange::old_shop()];
            config.vault = Vault::Store;
            if let Some(url) = redis {
                config.vault = Vault::Redis(config::Redis {
                    url: SecretSource::Value(SecretString::from(url)),
                    username: None,
                    password: None,
                    ca: None,
                    prefix: "postern:".to_owned(),
                });
            }
        }
    }

    /// The program, on PostgreSQL alone.
    pub(super) fn command(&self, place: &Place) -> Command {
        let any = "127.0.0.1:0";
        let mut command = place.command_with(&[
            "--data",
            "data",
            "--listen.grpc",
            any,
            "--listen.operations",
            any,
            "--listen.gateway",
            any,
        ]);
        command.env("POSTERN__STORE__POSTGRES__URL__VALUE", &self.url);
        command
    }

    /// Takes engines away; all is so when this returns.
    pub(super) fn leave(&mut self, away: Away, way: Way) {
        let networks = self.networks(away);
        match way {
            Way::Refused => networks.iter().for_each(|network| network.set(Mode::Refuse)),
            Way::BlackHole => networks.iter().for_each(|network| network.set(Mode::BlackHole)),
            Way::Stopped => {
                if away != Away::Redis {
                    self.postgres.pause();
                }
                if away != Away::Postgres {
                    self.redis.as_mut().unwrap().0.pause();
                }
            }
        }
    }

    /// Makes everything on its way to and from PostgreSQL take so long.
    pub(super) fn slow(&self, by: Duration) {
        self.postgres_network.set(if by.is_zero() { Mode::Pass } else { Mode::Delay(by) });
    }

    pub(super) fn come_back(&mut self, away: Away, way: Way) {
        if way != Way::Stopped {
            self.networks(away).iter().for_each(|network| network.set(Mode::Pass));
            return;
        }
        if away != Away::Redis {
            self.postgres.resume();
        }
        if away != Away::Postgres {
            self.redis.as_mut().unwrap().0.resume();
        }
    }

    fn networks(&self, away: Away) -> Vec<&Proxy> {
        let redis = self.redis.as_ref().map(|(_, network)| network);
        match away {
            Away::Redis => redis.into_iter().collect(),
            Away::Postgres => vec![&self.postgres_network],
            Away::Both => redis.into_iter().chain([&self.postgres_network]).collect(),
        }
    }

    /// Past the network that fails.
    pub(super) fn psql(&self, statement: &str) -> String {
        self.postgres.psql(&self.database, statement)
    }

    /// Sockets that this process holds to the engines: to PostgreSQL, and to Redis.
    pub(super) fn sockets(&self) -> (usize, usize) {
        let redis = self.redis.as_ref().map_or(0, |(_, network)| sockets_to(network.port()));
        (sockets_to(self.postgres_network.port()), redis)
    }
}

/// Open sockets of this machine whose other end is this port; those that the kernel alone still has do not count.
fn sockets_to(port: u16) -> usize {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let end = format!(":{port:04X}");
    let held = table.lines().skip(1).filter(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields[2].ends_with(&end) && fields[9] != "0"
    });
    held.count()
}
