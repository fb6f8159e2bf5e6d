//! The vault on Redis and Valkey: stand-alone, behind Sentinel, or as a cluster. Owns what things are called there, the few
//! scripts, and the connections; the only room that names `fred`. Must not know what a session is.
//!
//! Every step is sent once, to a primary, and ends within 1.5 s; while there is no connection it fails at once. Whatever
//! Redis answers that is no answer is [`VaultError::Unavailable`]. The process starts whether Redis is there or not.
//!
//! The user of this vault needs its own names and a few commands, and no more: `examples/redis-users.acl`.

mod error;
mod inspect;
mod keys;
mod link;
mod replication;
mod scripts;
mod settings;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use fred::types::Value;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::budget;
use crate::domain::rate::{Admission, Quota};
use crate::domain::time::Timestamp;
use crate::vault::{Kind, Slot, Swap, Vault, VaultError};
use keys::{Keys, end_millis, long, short, slot_of};
use link::{Call, Link, To};
use replication::Replication;
use scripts::Script;

pub use error::{RedisError, RedisFailure};
pub use inspect::{Concern, Engine, Facts, NodeFacts, Version, faults};
pub use settings::RedisSettings;

/// All that one step may take, whatever it needs. What waits for a replica comes on top.
const STEP_TIME: Duration = Duration::from_millis(1_300);

/// The vault on Redis. Clones share their connections.
#[derive(Clone)]
pub struct RedisVault {
    keys: Keys,
    link: Arc<Link>,
    /// For what waits until a replica has it: whoever waits holds up all that is sent behind it.
    waiting_link: Arc<Link>,
    replication: Arc<Replication>,
}

impl RedisVault {
    /// Begins to connect, and goes on until `stop`, on tasks of `tasks`.
    ///
    /// # Errors
    /// If the settings cannot be used; never because Redis is away.
    pub fn connect(settings: RedisSettings, tasks: &TaskTracker, stop: &CancellationToken) -> Result<Self, RedisError> {
        let recipe = Arc::new(settings.recipe()?);
        let open = || {
            let (link, task) = Link::new(Arc::clone(&recipe));
            tasks.spawn(task.run(stop.clone()));
            Arc::new(link)
        };
        Ok(Self { keys: Keys::new(settings.prefix), link: open(), waiting_link: open(), replication: Arc::default() })
    }

    /// Whether Redis answered when it was last asked, a second ago or less.
    pub fn is_connected(&self) -> bool {
        self.link.live().is_ok() && self.waiting_link.live().is_ok()
    }

    /// Waits until Redis answers, for ever if need be.
    pub async fn connected(&self) {
        self.link.connected().await;
        self.waiting_link.connected().await;
    }

    /// Two names, of the value and of the index; of no index if the kind is never listed.
    fn names(&self, slot: &Slot) -> (String, Option<String>) {
        let index = slot.kind.is_listed().then(|| self.keys.index(slot.kind, &slot.partition));
        (self.keys.value(slot), index)
    }
}

#[async_trait]
impl Vault for RedisVault {
    fn answers(&self) -> Result<(), VaultError> {
        self.link.live()?;
        self.waiting_link.live()?;
        Ok(())
    }

    async fn insert(&self, slot: &Slot, value: &[u8], expires_at: Timestamp) -> Result<bool, VaultError> {
        let (name, index) = self.names(slot);
        let place = slot_of(&name);
        let (value, end) = (Value::from(value), Value::from(end_millis(expires_at)));
        let answer = within_time(async {
            if let Some(index) = index {
                let args = vec![value, end, short(&slot.key).into()];
                return run(&self.waiting_link, &scripts::INSERT, &[name, index], args).await;
            }
            let args = vec![name.into(), value, "NX".into(), "PXAT".into(), end];
            self.waiting_link.call(Call { name: "SET", args, to: To::Slot(place) }).await
        });
        let inserted = match answer.await? {
            Value::Integer(0) | Value::Null => false,
            Value::Integer(1) => true,
            other if other.as_bytes() == Some(b"OK") => true,
            _ => return Err(RedisFailure::Unexpected("an insertion").into()),
        };
        if inserted {
            self.replication.wait(&self.waiting_link, place).await;
        }
        Ok(inserted)
    }

    async fn get(&self, slot: &Slot) -> Result<Option<Vec<u8>>, VaultError> {
        let name = self.keys.value(slot);
        let to = To::Slot(slot_of(&name));
        let answer = within_time(self.link.call(Call { name: "GET", args: vec![name.into()], to })).await?;
        Ok(bytes_or_none(&answer, "GET")?)
    }

    async fn swap(&self, slot: &Slot, expected: &[u8], new: &[u8], expires_at: Timestamp) -> Result<Swap, VaultError> {
        let mut args = vec![Value::from(expected), Value::from(new), Value::from(end_millis(expires_at))];
        let (name, index) = self.names(slot);
        let answer = within_time(async {
            match index {
                Some(index) => {
                    args.push(short(&slot.key).into());
                    run(&self.link, &scripts::SWAP_LISTED, &[name, index], args).await
                }
                None => run(&self.link, &scripts::SWAP, &[name], args).await,
            }
        });
        match answer.await? {
            Value::Integer(1) => Ok(Swap::Swapped),
            other => Ok(Swap::Lost(bytes_or_none(&other, "a swap")?)),
        }
    }

    async fn take(&self, slot: &Slot) -> Result<Option<Vec<u8>>, VaultError> {
        let (name, index) = self.names(slot);
        let place = slot_of(&name);
        let answer = within_time(async {
            if let Some(index) = index {
                return run(&self.waiting_link, &scripts::TAKE, &[name, index], vec![short(&slot.key).into()]).await;
            }
            let to = To::Slot(place);
            self.waiting_link.call(Call { name: "GETDEL", args: vec![name.into()], to }).await
        });
        let taken = bytes_or_none(&answer.await?, "a take")?;
        if taken.is_some() {
            self.replication.wait(&self.waiting_link, place).await;
        }
        Ok(taken)
    }

    async fn remove(&self, slot: &Slot) -> Result<bool, VaultError> {
        let (name, index) = self.names(slot);
        let to = To::Slot(slot_of(&name));
        let answer = within_time(async {
            match index {
                Some(index) => run(&self.link, &scripts::REMOVE, &[name, index], vec![short(&slot.key).into()]).await,
                None => self.link.call(Call { name: "DEL", args: vec![name.into()], to }).await,
            }
        });
        match answer.await? {
            Value::Integer(count) => Ok(count > 0),
            _ => Err(RedisFailure::Unexpected("a removal").into()),
        }
    }

    async fn ping(&self) -> Result<(), VaultError> {
        // What was found out a second ago or less is as good as asking, and disturbs nobody.
        self.answers()
    }

    async fn admit(&self, bucket: &str, quota: &Quota) -> Result<Admission, VaultError> {
        let name = self.keys.value(&Slot::of_bucket(bucket));
        let args = vec![millis(quota.every), millis(quota.window())];
        match within_time(run(&self.link, &scripts::ADMIT, &[name], args)).await? {
            Value::Integer(0) => Ok(Admission::Admitted),
            Value::Integer(wait) => Ok(Admission::After(Duration::from_millis(u64::try_from(wait).unwrap_or(1)))),
            _ => Err(RedisFailure::Unexpected("an admission").into()),
        }
    }

    async fn give_back(&self, bucket: &str, quota: &Quota) -> Result<(), VaultError> {
        let name = self.keys.value(&Slot::of_bucket(bucket));
        within_time(run(&self.link, &scripts::GIVE_BACK, &[name], vec![millis(quota.every)])).await?;
        Ok(())
    }

    async fn list(&self, kind: Kind, partition: &str) -> Result<Vec<(String, Vec<u8>)>, VaultError> {
        if !kind.is_listed() {
            return Ok(Vec::new());
        }
        let names = [self.keys.values_of(kind, partition), self.keys.index(kind, partition)];
        let answer = within_time(run(&self.link, &scripts::LIST, &names, Vec::new())).await?;
        Ok(pairs(answer).ok_or(RedisFailure::Unexpected("a list"))?)
    }
}

/// Runs a script where its names lie. A server that does not know it, after a restart or a fail-over, is told it.
async fn run(link: &Link, script: &Script, names: &[String], args: Vec<Value>) -> Result<Value, RedisFailure> {
    let to = To::Slot(names.first().map(|name| slot_of(name)).unwrap_or_default());
    let count = i64::try_from(names.len()).unwrap_or_default();
    let mut all = Vec::with_capacity(2 + names.len() + args.len());
    all.extend([Value::from(script.sha1.as_str()), Value::from(count)]);
    all.extend(names.iter().map(Value::from));
    all.extend(args);
    match link.call(Call { name: "EVALSHA", args: all.clone(), to: to.clone() }).await {
        Err(RedisFailure::Failed(why)) if why.details().starts_with("NOSCRIPT") => {
            // Which has done nothing, so sending it once more is not sending it twice.
            link.call(Call { name: "SCRIPT", args: vec!["LOAD".into(), script.text.into()], to: to.clone() }).await?;
            link.call(Call { name: "EVALSHA", args: all, to }).await
        }
        answer => answer,
    }
}

fn millis(duration: Duration) -> Value {
    Value::from(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX))
}

async fn within_time(step: impl Future<Output = Result<Value, RedisFailure>>) -> Result<Value, RedisFailure> {
    // Boxed, since the driver's own is large.
    let until = budget::until(STEP_TIME);
    tokio::time::timeout_at(until, Box::pin(step)).await.unwrap_or(Err(RedisFailure::Late))
}

fn bytes_or_none(answer: &Value, step: &'static str) -> Result<Option<Vec<u8>>, RedisFailure> {
    match answer {
        Value::Null => Ok(None),
        Value::String(_) | Value::Bytes(_) => Ok(answer.as_bytes().map(<[u8]>::to_vec)),
        _ => Err(RedisFailure::Unexpected(step)),
    }
}

fn pairs(answer: Value) -> Option<Vec<(String, Vec<u8>)>> {
    let parts = match answer {
        Value::Array(parts) => parts,
        Value::Null => return Some(Vec::new()),
        _ => return None,
    };
    let mut found = Vec::with_capacity(parts.len() / 2);
    for pair in parts.chunks_exact(2) {
        let [key, value] = pair else { return None };
        // What we did not write is nobody's.
        if let Some(key) = long(&key.as_string()?) {
            found.push((key, value.as_bytes()?.to_vec()));
        }
    }
    found.sort_unstable();
    Some(found)
}
