//! The vault on real servers.

mod outage;
mod rights;
mod server;
mod space;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use server::{Cluster, Server, Shared};

use super::*;
use crate::clock::Clock;
use crate::vault::conformance::{Time, conformance};

/// A vault with its tasks, which end with the value.
struct Bench<S: Servers> {
    vault: RedisVault,
    server: Arc<S>,
    time: Shift<S>,
    stop: CancellationToken,
}

impl<S: Servers> Drop for Bench<S> {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A server's clock cannot be moved. What it keeps can: all that ends, ends earlier.
struct Shift<S> {
    server: Arc<S>,
    prefix: String,
}

trait Servers {
    fn all(&self) -> Vec<&Server>;
    fn url(&self) -> String;
}

impl Servers for Server {
    fn all(&self) -> Vec<&Server> {
        vec![self]
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }
}

impl Servers for Cluster {
    fn all(&self) -> Vec<&Server> {
        self.primaries.iter().collect()
    }

    fn url(&self) -> String {
        format!("redis-cluster://127.0.0.1:{}", self.primaries[0].port)
    }
}

impl<S: Servers> Time for Shift<S> {
    fn now(&self) -> Timestamp {
        Clock::default().now()
    }

    async fn advance(&self, by: Duration) {
        let by = i64::try_from(by.as_millis()).unwrap();
        for server in self.server.all() {
            let ours = |name: &[u8]| name.starts_with(self.prefix.as_bytes());
            for (name, left) in server.names().into_iter().filter(|(name, _)| ours(name)) {
                if server.ask_bytes(&[b"TYPE", &name]).text() == "zset" {
                    for member in server.ask_bytes(&[b"ZRANGE", &name, b"0", b"-1"]).list() {
                        server.ask_bytes(&[b"ZINCRBY", &name, format!("-{by}").as_bytes(), &member.bytes()]);
                    }
                }
                // One that has ended already is none; one without an end stays so.
                if left >= 0 {
                    server.ask_bytes(&[b"PEXPIRE", &name, (left - by).to_string().as_bytes()]);
                }
            }
        }
    }
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

async fn bench<S: Servers>(server: Arc<S>) -> Bench<S> {
    bench_with(Arc::clone(&server), settings(&server.url())).await
}

async fn bench_with<S: Servers>(server: Arc<S>, settings: RedisSettings) -> Bench<S> {
    let prefix = settings.prefix.clone();
    let (vault, stop) = open(settings);
    let bench = Bench { vault, time: Shift { server: Arc::clone(&server), prefix }, server, stop };
    tokio::time::timeout(Duration::from_secs(30), bench.vault.connected()).await.unwrap();
    bench
}

fn at(kind: Kind, partition: &str, key: &str) -> Slot {
    Slot { kind, partition: partition.into(), key: key.into() }
}

fn soon() -> Timestamp {
    Clock::default().now() + Duration::from_mins(1)
}

mod redis {
    use super::*;

    static SERVER: Shared<Server> = Shared::new();

    async fn engine() -> Bench<Server> {
        bench(SERVER.get(|| Server::start(server::redis(), &[]))).await
    }

    conformance![engine() => |bench| (&bench.vault, &bench.time)];
}

mod valkey {
    use super::*;

    static SERVER: Shared<Server> = Shared::new();

    async fn engine() -> Bench<Server> {
        bench(SERVER.get(|| Server::start(server::valkey(), &[]))).await
    }

    conformance![engine() => |bench| (&bench.vault, &bench.time)];
}

mod cluster {
    use super::*;

    static CLUSTER: Shared<Cluster> = Shared::new();

    async fn engine() -> Bench<Cluster> {
        bench(CLUSTER.get(|| Cluster::start(3, 0))).await
    }

    conformance![engine() => |bench| (&bench.vault, &bench.time)];
}
