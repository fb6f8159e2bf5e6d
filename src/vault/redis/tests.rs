//! The vault on real servers.

mod outage;
mod rights;
mod space;

use std::sync::atomic::{AtomicUsize, Ordering};

use postern_rig::redis::{Cluster, Flavour, Redis, Reply};

use super::*;
use crate::clock::Clock;
use crate::vault::conformance::{Time, conformance};

/// A vault with its tasks, which end with the value.
struct Bench<S: Servers> {
    vault: RedisVault,
    server: S,
    prefix: String,
    stop: CancellationToken,
}

impl<S: Servers> Bench<S> {
    fn time(&self) -> Shift<'_> {
        Shift { servers: self.server.all(), prefix: &self.prefix }
    }
}

impl<S: Servers> Drop for Bench<S> {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A server's clock cannot be moved. What it keeps can: all that ends, ends earlier.
struct Shift<'a> {
    servers: Vec<&'a Redis>,
    prefix: &'a str,
}

trait Servers {
    /// Each that has keys of its own.
    fn all(&self) -> Vec<&Redis>;
    fn url(&self) -> String;
}

impl Servers for Redis {
    fn all(&self) -> Vec<&Redis> {
        vec![self]
    }

    fn url(&self) -> String {
        self.url()
    }
}

impl Servers for &'static Redis {
    fn all(&self) -> Vec<&Redis> {
        vec![self]
    }

    fn url(&self) -> String {
        Redis::url(self)
    }
}

/// The shared one, which has no replicas.
impl Servers for &'static Cluster {
    fn all(&self) -> Vec<&Redis> {
        self.nodes().iter().collect()
    }

    fn url(&self) -> String {
        url_of_one(self)
    }
}

/// Names one node only: the vault has to find the others.
fn url_of_one(cluster: &Cluster) -> String {
    format!("redis-cluster://127.0.0.1:{}", cluster.nodes()[0].port())
}

impl Time for Shift<'_> {
    fn now(&self) -> Timestamp {
        Clock::default().now()
    }

    async fn advance(&self, by: Duration) {
        let by = i64::try_from(by.as_millis()).unwrap();
        for server in &self.servers {
            let ours = |name: &[u8]| name.starts_with(self.prefix.as_bytes());
            for (name, left) in names(server).into_iter().filter(|(name, _)| ours(name)) {
                if server.call(&[b"TYPE", &*name]).bytes() == b"zset" {
                    for member in server.call(&[b"ZRANGE", &*name, b"0", b"-1"]).list() {
                        server.call(&[b"ZINCRBY", &*name, format!("-{by}").as_bytes(), &member.bytes()]);
                    }
                }
                // One that has ended already is none; one without an end stays so.
                if left >= 0 {
                    server.call(&[b"PEXPIRE", &*name, (left - by).to_string().as_bytes()]);
                }
            }
        }
    }
}

/// All names on a server, with the milliseconds they have left.
fn names(server: &Redis) -> Vec<(Vec<u8>, i64)> {
    let names = server.call(&["KEYS", "*"]).list().into_iter().map(Reply::bytes);
    names.map(|name| (name.clone(), server.call(&[b"PTTL", &*name]).number())).collect()
}

fn settings(url: &str) -> RedisSettings {
    static TESTS: AtomicUsize = AtomicUsize::new(0);
    RedisSettings {
        url: url.parse().unwrap(),
        username: None,
        password: None,
        ca: None,
        prefix: format!("postern{}:", TESTS.fetch_add(1, Ordering::Relaxed)),
    }
}

fn open(settings: RedisSettings) -> (RedisVault, CancellationToken) {
    let stop = CancellationToken::new();
    (RedisVault::connect(settings, &TaskTracker::new(), &stop).unwrap(), stop)
}

async fn bench<S: Servers>(server: S) -> Bench<S> {
    let settings = settings(&server.url());
    bench_with(server, settings).await
}

async fn bench_with<S: Servers>(server: S, settings: RedisSettings) -> Bench<S> {
    let prefix = settings.prefix.clone();
    let (vault, stop) = open(settings);
    let bench = Bench { vault, server, prefix, stop };
    tokio::time::timeout(Duration::from_secs(30), bench.vault.connected()).await.unwrap();
    bench
}

/// With a server of its own.
async fn alone() -> Bench<Redis> {
    bench(Redis::start(Flavour::Redis)).await
}

fn at(kind: Kind, partition: &str, key: &str) -> Slot {
    Slot { kind, partition: partition.into(), key: key.into() }
}

fn soon() -> Timestamp {
    Clock::default().now() + Duration::from_mins(1)
}

mod redis {
    use super::*;

    async fn engine() -> Bench<&'static Redis> {
        bench(Redis::shared(Flavour::Redis)).await
    }

    conformance![engine() => |bench| (&bench.vault, &bench.time())];
}

mod valkey {
    use super::*;

    async fn engine() -> Bench<&'static Redis> {
        bench(Redis::shared(Flavour::Valkey)).await
    }

    conformance![engine() => |bench| (&bench.vault, &bench.time())];
}

mod cluster {
    use super::*;

    async fn engine() -> Bench<&'static Cluster> {
        bench(Cluster::shared()).await
    }

    conformance![engine() => |bench| (&bench.vault, &bench.time())];
}
