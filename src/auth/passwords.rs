//! Password hashing: argon2id (RFC 9106) on its own few threads.
//!
//! Hashing costs tens of milliseconds and megabytes. On the runtime's threads it would stall every other call, so it has
//! threads of its own at the lowest priority, each with one block of memory that it uses again and again, behind a short
//! queue that refuses rather than grows. A job belongs to the thread that runs it: a cancelled call frees nothing early,
//! and a job whose caller has gone is dropped before it starts.

mod argon;
mod foreign;
mod level;
mod stored;

use std::collections::HashMap;
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, PoisonError};
use std::thread;
use std::time::Duration;

use argon2::{Block, KeyId, Params, ParamsBuilder};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::Instrument as _;

use crate::auth::pepper::Peppers;
use crate::budget;
use crate::domain::password::Password;
use crate::metrics::Histogram;
use crate::spans;
use argon::Argon;
pub use foreign::{ForeignHash, ForeignHashError};
use level::Level;
use stored::{Stored, check};

/// Whoever would wait longer for their turn is refused at once: they would have gone by then, and those behind them too.
const PATIENCE: Duration = Duration::from_secs(2);
/// What a refused caller is told to wait, at least and at most.
const RETRY_AFTER: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(30);
/// Of each kind: the one in the middle counts.
const MEASUREMENTS: usize = 3;
/// An eighth of the newest counts: one hash that was slow by chance shuts nobody out.
const NEWEST: u64 = 8;

/// The cost of new hashes, and how many may be computed at once.
#[derive(Clone, Copy, Debug)]
pub struct HashSettings {
    pub memory_kib: u32,
    pub iterations: u32,
    pub parallelism: u32,
    pub threads: NonZeroUsize,
    /// Jobs that may wait.
    pub queue: usize,
}

impl HashSettings {
    /// `pepper`: as a hash names it.
    fn params(&self, pepper: &[u8]) -> Result<Params, HashError> {
        ParamsBuilder::new()
            .m_cost(self.memory_kib)
            .t_cost(self.iterations)
            .p_cost(self.parallelism)
            .output_len(argon::OUTPUT_LEN)
            .keyid(KeyId::new(pepper).map_err(failed)?)
            .build()
            .map_err(failed)
    }
}

/// Why a password was not hashed or checked. Never says anything about the password.
#[derive(Debug, thiserror::Error)]
pub enum HashError {
    /// No place in the queue.
    #[error("too many password checks are waiting")]
    Overloaded { retry_after: Duration },
    #[error("a stored password hash cannot be used: {0}")]
    Unusable(String),
    #[error("password hashing failed: {0}")]
    Failed(String),
}

/// The outcome of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    Wrong,
    Right,
    /// Right, but hashed with other parameters than today's.
    RightButOutdated,
}

/// A handle on the hashing threads, which end with the last handle.
#[derive(Clone)]
pub struct Passwords {
    jobs: SyncSender<Job>,
    load: Arc<Load>,
    params: Params,
    decoy: SecretString,
    level: Arc<Level>,
}

enum Task {
    Hash(Password),
    Check(Password, SecretString),
    /// What one of a kind takes.
    Measure(Box<Stored>),
}

enum Done {
    Hashed(SecretString),
    Checked { right: bool, took: Duration },
    Measured(Duration),
}

struct Job {
    task: Task,
    /// When its caller has no patience left.
    until: Instant,
    sent: Instant,
    reply: oneshot::Sender<Result<Done, HashError>>,
}

/// How much there is to do.
#[derive(Debug)]
struct Load {
    threads: u32,
    /// Most jobs that wait.
    queue: u32,
    /// Jobs that wait.
    waiting: AtomicU32,
    /// Jobs that are computed.
    running: AtomicU32,
    /// Jobs that were refused, since the start.
    refused: AtomicU64,
    /// What one takes, of late.
    micros: AtomicU64,
    /// How long each waited, and took.
    waits: Histogram,
    hashes: Histogram,
}

impl Load {
    /// How long one more would wait for its turn.
    fn wait(&self) -> Duration {
        let each = Duration::from_micros(self.micros.load(Ordering::Relaxed));
        each.saturating_mul(self.waiting.load(Ordering::Relaxed)) / self.threads
    }

    fn took(&self, time: Duration) {
        self.hashes.observe(time);
        let time = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let before = self.micros.load(Ordering::Relaxed);
        let mean = if before == 0 { time } else { before - before / NEWEST + time / NEWEST };
        self.micros.store(mean, Ordering::Relaxed);
    }

    fn shed(&self) -> HashError {
        self.refused.fetch_add(1, Ordering::Relaxed);
        HashError::Overloaded { retry_after: self.wait().clamp(*RETRY_AFTER.start(), *RETRY_AFTER.end()) }
    }
}

impl Passwords {
    /// Starts the threads and makes the decoy with today's parameters.
    pub fn start(settings: &HashSettings, peppers: Peppers) -> Result<Self, HashError> {
        let params = settings.params(peppers.current())?;
        let peppers = Arc::new(peppers);
        let decoy = decoy(&params)?;
        let (jobs, queue) = sync_channel::<Job>(settings.queue);
        let queue = Arc::new(Mutex::new(queue));
        let threads = u32::try_from(settings.threads.get()).unwrap_or(u32::MAX);
        let load = Arc::new(Load {
            threads,
            queue: u32::try_from(settings.queue).unwrap_or(u32::MAX),
            waiting: AtomicU32::new(0),
            running: AtomicU32::new(0),
            refused: AtomicU64::new(0),
            micros: AtomicU64::new(0),
            waits: Histogram::default(),
            hashes: Histogram::default(),
        });
        for number in 0..settings.threads.get() {
            let (queue, load) = (Arc::clone(&queue), Arc::clone(&load));
            let (params, peppers) = (params.clone(), Arc::clone(&peppers));
            thread::Builder::new()
                .name(format!("password-{number}"))
                .spawn(move || work(&queue, &params, &peppers, &load))
                .map_err(failed)?;
        }
        Ok(Self { jobs, load, params, decoy, level: Arc::default() })
    }

    /// Hashes a new password into a PHC string.
    pub async fn hash(&self, password: Password) -> Result<SecretString, HashError> {
        match self.run(Task::Hash(password)).await? {
            Done::Hashed(hash) => Ok(hash),
            Done::Checked { .. } | Done::Measured(_) => Err(another_task()),
        }
    }

    /// Checks a password. Without a stored hash it is checked against the decoy, which costs as much: otherwise the
    /// response time would tell which accounts exist. For the same reason what comes to nothing is answered no earlier than
    /// the dearest check would be: what is wrong, and what is right and of no use to whoever knows it.
    pub async fn check(
        &self,
        password: Password,
        stored: Option<&SecretString>,
        useful: bool,
    ) -> Result<Check, HashError> {
        let against = stored.unwrap_or(&self.decoy).clone();
        let tries = if password.as_typed().is_some() { 2 } else { 1 };
        let Done::Checked { right, took } = self.run(Task::Check(password, against)).await? else {
            return Err(another_task());
        };
        let right = right && stored.is_some();
        if !(right && useful) {
            budget::apart(tokio::time::sleep(self.level.rest(took, tries))).await;
        }
        Ok(match stored {
            Some(stored) if right && self.is_outdated(stored) => Check::RightButOutdated,
            Some(_) if right => Check::Right,
            _ => Check::Wrong,
        })
    }

    /// Makes failures wait for the dearest of these kinds and our own; `times` has what was measured before.
    pub async fn level(&self, schemes: &[String], times: &mut HashMap<String, Duration>) -> Result<(), HashError> {
        let own = Stored::parse(self.decoy.expose_secret())?.scheme();
        times.retain(|scheme, _| !schemes.is_empty() && (schemes.contains(scheme) || *scheme == own));
        for scheme in schemes.iter().chain(Some(&own)) {
            if schemes.is_empty() || times.contains_key(scheme) {
                continue;
            }
            let mut measured = Vec::new();
            for _ in 0..MEASUREMENTS {
                // Written by a newer server: it has a level of its own.
                let Some(sample) = Stored::sample(scheme) else { break };
                match self.run(Task::Measure(Box::new(sample))).await? {
                    Done::Measured(took) => measured.push(took),
                    Done::Hashed(_) | Done::Checked { .. } => return Err(another_task()),
                }
            }
            measured.sort_unstable();
            times.extend(measured.get(MEASUREMENTS / 2).map(|median| (scheme.clone(), *median)));
        }
        self.level.set(&times.values().copied().collect::<Vec<_>>());
        Ok(())
    }

    /// Refuses what would find no place, before anybody has worked for it: in a storm this is most of what comes.
    pub fn have_room(&self) -> Result<(), HashError> {
        let is_full = self.load.waiting.load(Ordering::Relaxed) >= self.load.queue.max(1);
        if is_full || self.load.wait() > PATIENCE { Err(self.load.shed()) } else { Ok(()) }
    }

    /// Jobs that are computed, and jobs that wait for their turn.
    pub fn jobs(&self) -> (u32, u32) {
        (self.load.running.load(Ordering::Relaxed), self.load.waiting.load(Ordering::Relaxed))
    }

    /// Jobs that found no place, or waited for too long, since the start.
    pub fn refused(&self) -> u64 {
        self.load.refused.load(Ordering::Relaxed)
    }

    /// Threads that only hash.
    pub fn threads(&self) -> u32 {
        self.load.threads
    }

    /// How long jobs waited for their turn, and how long they took.
    pub fn durations(&self) -> (Histogram, Histogram) {
        (self.load.waits.clone(), self.load.hashes.clone())
    }

    /// Somebody was brought over.
    pub fn schemes_may_have_changed(&self) {
        self.level.changed.notify_one();
    }

    pub async fn schemes_changed(&self) {
        self.level.changed.notified().await;
    }

    fn is_outdated(&self, stored: &SecretString) -> bool {
        match Stored::parse(stored.expose_secret()) {
            Ok(Stored::Argon2(argon)) => !argon.is_like(&self.params),
            Ok(Stored::Foreign(_)) => true,
            Err(_) => false,
        }
    }

    async fn run(&self, task: Task) -> Result<Done, HashError> {
        self.have_room()?;
        let (reply, answer) = oneshot::channel();
        // Before it can be taken out again.
        self.load.waiting.fetch_add(1, Ordering::Relaxed);
        let now = Instant::now();
        let sent = self.jobs.try_send(Job { task, until: now + PATIENCE, sent: now, reply });
        if let Err(refused) = sent {
            self.load.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(match refused {
                TrySendError::Full(_) => self.load.shed(),
                TrySendError::Disconnected(_) => HashError::Failed("the hashing threads have ended".into()),
            });
        }
        budget::apart(answer).instrument(spans::hashing()).await.map_err(failed)?
    }
}

impl fmt::Debug for Passwords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Passwords").field("params", &self.params).finish_non_exhaustive()
    }
}

fn work(queue: &Mutex<Receiver<Job>>, params: &Params, peppers: &Peppers, load: &Load) {
    // Lowest priority: a storm of logins may take idle time only. If the system refuses, hashing still works.
    if let Err(why) = rustix::process::setpriority_process(Some(rustix::thread::gettid()), 19) {
        tracing::warn!(%why, "password hashing runs at normal priority");
    }
    let mut memory = Vec::new();
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { task, until, sent, reply }) = job else { return };
        load.waiting.fetch_sub(1, Ordering::Relaxed);
        if reply.is_closed() {
            continue;
        }
        let began = Instant::now();
        load.waits.observe(began.saturating_duration_since(sent));
        if began > until {
            drop(reply.send(Err(load.shed())));
            continue;
        }
        load.running.fetch_add(1, Ordering::Relaxed);
        let outcome = match task {
            Task::Hash(password) => hash(password.as_bytes(), params, peppers, &mut memory).map(Done::Hashed),
            Task::Check(password, stored) => Stored::parse(stored.expose_secret())
                .and_then(|stored| check(&password, &stored, params, peppers, &mut memory))
                .map(|right| Done::Checked { right, took: began.elapsed() }),
            Task::Measure(sample) => Password::from_typed("measured")
                .map_err(failed)
                .and_then(|password| check(&password, &sample, params, peppers, &mut memory))
                .map(|_wrong| Done::Measured(began.elapsed())),
        };
        load.running.fetch_sub(1, Ordering::Relaxed);
        load.took(began.elapsed());
        // A caller that went away in the meantime has no use for the answer.
        drop(reply.send(outcome));
    }
}

fn hash(
    password: &[u8],
    params: &Params,
    peppers: &Peppers,
    memory: &mut Vec<Block>,
) -> Result<SecretString, HashError> {
    let new = Argon::fresh(params)?;
    let pepper = peppers.named(params.keyid()).ok_or_else(|| failed("there is no such pepper"))?;
    new.text(&new.compute(password, pepper, memory)?)
}

/// A hash that no password is known to have: its output is random. Checking against it costs what any check costs.
fn decoy(params: &Params) -> Result<SecretString, HashError> {
    let mut output = [0; argon::OUTPUT_LEN];
    fill(&mut output)?;
    Argon::fresh(params)?.text(&output)
}

fn fill(bytes: &mut [u8]) -> Result<(), HashError> {
    aws_lc_rs::rand::fill(bytes).map_err(failed)
}

fn another_task() -> HashError {
    HashError::Failed("answered another task".into())
}

fn failed(why: impl fmt::Display) -> HashError {
    HashError::Failed(why.to_string())
}

#[cfg(test)]
mod tests;
