//! Redis as an operator sees it with `redis-cli`. The names of keys are written out here once more, so that they cannot change
//! by accident: what a running server has named, the next version must find.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fred::prelude::*;
use fred::types::{ClusterHash, CustomCommand};
use postern_rig::redis::Flavour;
use uuid::Uuid;

/// Microseconds, as the SQL vault counts.
const MICROS: i64 = 1_000;
/// 2100-01-01 in milliseconds, as late as anything ends.
const LATEST: i64 = 4_102_444_800_000;

/// The part of the shared server that belongs to one prefix.
pub(super) struct Redis {
    client: Client,
    prefix: String,
}

impl Redis {
    pub(super) async fn connect(prefix: &str) -> Self {
        let url = postern_rig::redis::Redis::shared(Flavour::Redis).url();
        let client = Builder::from_config(Config::from_url(&url).unwrap()).build().unwrap();
        client.init().await.unwrap();
        Self { client, prefix: prefix.to_owned() }
    }

    async fn ask(&self, command: &'static str, arguments: Vec<Value>) -> Value {
        let command = CustomCommand::new_static(command, ClusterHash::FirstKey, false);
        self.client.custom(command, arguments).await.unwrap()
    }

    async fn names(&self) -> Vec<String> {
        let names = self.ask("KEYS", vec![format!("{}*", self.prefix).into()]).await;
        names.into_array().into_iter().map(|name| name.into_string().unwrap()).collect()
    }

    /// All values of a kind (`s` or `c`; empty: of both): name, partition and key.
    pub(super) async fn values(&self, kind: &str) -> Vec<(String, String, String)> {
        let all = self.names().await.into_iter().filter_map(|name| {
            let (letter, rest) = name.strip_prefix(&self.prefix)?.split_once('{')?;
            let (partition, key) = rest.split_once('}')?;
            let is_wanted = matches!(letter, "s" | "c") && (kind.is_empty() || letter == kind);
            is_wanted.then(|| (name.clone(), long(partition), long(key)))
        });
        all.collect()
    }

    pub(super) async fn value(&self, name: &str) -> Vec<u8> {
        self.ask("GET", vec![name.into()]).await.as_bytes().unwrap().to_vec()
    }

    /// When a value may go, in microseconds.
    pub(super) async fn end(&self, name: &str) -> i64 {
        self.ask("PEXPIRETIME", vec![name.into()]).await.as_i64().unwrap() * MICROS
    }

    pub(super) async fn put(&self, kind: &str, partition: &str, key: &str, value: &[u8]) {
        let name = format!("{}{kind}{{{}}}{}", self.prefix, short(partition), short(key));
        self.ask("SET", vec![name.into(), value.into(), "PXAT".into(), LATEST.into()]).await;
    }

    /// The same for a value that its partition's index names.
    pub(super) async fn put_listed(
        &self,
        (kind, index): (&str, &str),
        partition: &str,
        key: &str,
        (value, end): &(Vec<u8>, i64),
    ) {
        let (partition, key) = (short(partition), short(key));
        let name = format!("{}{kind}{{{partition}}}{key}", self.prefix);
        let index = format!("{}{index}{{{partition}}}", self.prefix);
        let end = end / MICROS;
        self.ask("SET", vec![name.into(), value.as_slice().into(), "PXAT".into(), end.into()]).await;
        self.ask("ZADD", vec![index.clone().into(), end.into(), key.into()]).await;
        self.ask("PEXPIREAT", vec![index.into(), end.into()]).await;
    }

    pub(super) async fn remove(&self, name: &str) {
        self.ask("DEL", vec![name.into()]).await;
    }

    pub(super) async fn flush(&self) {
        for name in self.names().await {
            self.remove(&name).await;
        }
    }

    /// All names, and with each what it holds.
    pub(super) async fn everything(&self) -> Vec<(String, Vec<u8>)> {
        let mut everything = Vec::new();
        for name in self.names().await {
            let mut content = name.clone().into_bytes();
            match self.ask("TYPE", vec![name.as_str().into()]).await.as_str().as_deref() {
                Some("string") => {
                    let value = self.ask("GET", vec![name.as_str().into()]).await;
                    content.extend_from_slice(value.as_bytes().unwrap_or_default());
                }
                Some("zset") => {
                    let members = self.ask("ZRANGE", vec![name.as_str().into(), 0.into(), (-1).into()]).await;
                    for member in members.into_array() {
                        content.extend_from_slice(member.as_bytes().unwrap());
                    }
                }
                // Expired since its name was read.
                Some("none") => continue,
                other => panic!("{name} is a {other:?}"),
            }
            everything.push((format!("Redis {name}"), content));
        }
        everything
    }
}

/// As partitions and keys stand in names: ids without what is the same in all of them.
fn short(text: &str) -> String {
    match text.parse::<Uuid>() {
        Ok(id) => URL_SAFE_NO_PAD.encode(id.as_bytes()),
        Err(_) => format!("!{text}"),
    }
}

fn long(short: &str) -> String {
    match short.strip_prefix('!') {
        Some(text) => text.to_owned(),
        None => Uuid::from_slice(&URL_SAFE_NO_PAD.decode(short).unwrap()).unwrap().to_string(),
    }
}
