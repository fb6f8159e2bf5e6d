//! Password hashing: argon2id (RFC 9106) on its own few threads.
//!
//! Hashing costs tens of milliseconds and megabytes. On the runtime's threads it would stall every other call, so it has
//! threads of its own at the lowest priority, each with one block of memory that it uses again and again, behind a short
//! queue that refuses rather than grows. A job belongs to the thread that runs it: a cancelled call frees nothing early,
//! and a job whose caller has gone is dropped before it starts.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, PoisonError};
use std::thread;
use std::time::Duration;

use argon2::password_hash::phc::{Ident, Output, ParamsString, PasswordHash, Salt};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::oneshot;

use crate::budget;
use crate::domain::password::Password;

/// What a refused caller is told to wait.
const RETRY_AFTER: Duration = Duration::from_secs(1);
const SALT_LEN: usize = 16;
const OUTPUT_LEN: usize = 32;
/// A stored hash that asks for more is not computed: it would be a way to exhaust the machine.
const STORED_MEMORY_KIB_MAX: u32 = 256 * 1024;
const STORED_ITERATIONS_MAX: u32 = 10;
const STORED_PARALLELISM_MAX: u32 = 8;

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

/// Why a password was not hashed or checked. Never says anything about the password.
#[derive(Debug, thiserror::Error)]
pub enum HashError {
    /// No place in the queue.
    #[error("too many password checks are waiting")]
    Overloaded { retry_after: Duration },
    #[error("a stored password hash cannot be used: {0}")]
    Unusable(&'static str),
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
    params: Params,
    decoy: SecretString,
}

enum Task {
    Hash(Password),
    Check(Password, SecretString),
}

enum Done {
    Hashed(SecretString),
    Checked(bool),
}

struct Job {
    task: Task,
    reply: oneshot::Sender<Result<Done, HashError>>,
}

impl Passwords {
    /// Starts the threads and makes the decoy with today's parameters.
    pub fn start(settings: &HashSettings) -> Result<Self, HashError> {
        let params = Params::new(settings.memory_kib, settings.iterations, settings.parallelism, Some(OUTPUT_LEN))
            .map_err(failed)?;
        let decoy = decoy(&params)?;
        let (jobs, queue) = sync_channel::<Job>(settings.queue);
        let queue = Arc::new(Mutex::new(queue));
        for number in 0..settings.threads.get() {
            let (queue, params) = (Arc::clone(&queue), params.clone());
            thread::Builder::new()
                .name(format!("password-{number}"))
                .spawn(move || work(&queue, &params))
                .map_err(failed)?;
        }
        Ok(Self { jobs, params, decoy })
    }

    /// Hashes a new password into a PHC string.
    pub async fn hash(&self, password: Password) -> Result<SecretString, HashError> {
        match self.run(Task::Hash(password)).await? {
            Done::Hashed(hash) => Ok(hash),
            Done::Checked(_) => Err(HashError::Failed("answered another task".into())),
        }
    }

    /// Checks a password. Without a stored hash it is checked against the decoy, which costs as much: otherwise the
    /// response time would tell which accounts exist.
    pub async fn check(&self, password: Password, stored: Option<&SecretString>) -> Result<Check, HashError> {
        let against = stored.unwrap_or(&self.decoy).clone();
        let Done::Checked(right) = self.run(Task::Check(password, against)).await? else {
            return Err(HashError::Failed("answered another task".into()));
        };
        Ok(match stored {
            Some(stored) if right && self.is_outdated(stored) => Check::RightButOutdated,
            Some(_) if right => Check::Right,
            _ => Check::Wrong,
        })
    }

    fn is_outdated(&self, stored: &SecretString) -> bool {
        Stored::parse(stored.expose_secret()).is_ok_and(|stored| {
            stored.algorithm != Algorithm::Argon2id
                || stored.version != Version::V0x13
                || stored.params.m_cost() != self.params.m_cost()
                || stored.params.t_cost() != self.params.t_cost()
                || stored.params.p_cost() != self.params.p_cost()
        })
    }

    async fn run(&self, task: Task) -> Result<Done, HashError> {
        let (reply, answer) = oneshot::channel();
        self.jobs.try_send(Job { task, reply }).map_err(|refused| match refused {
            TrySendError::Full(_) => HashError::Overloaded { retry_after: RETRY_AFTER },
            TrySendError::Disconnected(_) => HashError::Failed("the hashing threads have ended".into()),
        })?;
        budget::apart(answer).await.map_err(failed)?
    }
}

impl fmt::Debug for Passwords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Passwords").field("params", &self.params).finish_non_exhaustive()
    }
}

fn work(queue: &Mutex<Receiver<Job>>, params: &Params) {
    // Lowest priority: a storm of logins may take idle time only. If the system refuses, hashing still works.
    if let Err(why) = rustix::process::setpriority_process(Some(rustix::thread::gettid()), 19) {
        tracing::warn!(%why, "password hashing runs at normal priority");
    }
    let mut memory = Vec::new();
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { task, reply }) = job else { return };
        if reply.is_closed() {
            continue;
        }
        let outcome = match task {
            Task::Hash(password) => hash(password.as_bytes(), params, &mut memory).map(Done::Hashed),
            Task::Check(password, stored) => {
                check(password.as_bytes(), stored.expose_secret(), &mut memory).map(Done::Checked)
            }
        };
        // A caller that went away in the meantime has no use for the answer.
        drop(reply.send(outcome));
    }
}

fn hash(password: &[u8], params: &Params, memory: &mut Vec<Block>) -> Result<SecretString, HashError> {
    let mut salt = [0; SALT_LEN];
    fill(&mut salt)?;
    let output = compute(password, &salt, Algorithm::Argon2id, Version::V0x13, params, OUTPUT_LEN, memory)?;
    phc(params, &salt, &output)
}

/// A hash that no password is known to have: its output is random. Checking against it costs what any check costs.
fn decoy(params: &Params) -> Result<SecretString, HashError> {
    let (mut salt, mut output) = ([0; SALT_LEN], [0; OUTPUT_LEN]);
    fill(&mut salt)?;
    fill(&mut output)?;
    phc(params, &salt, &output)
}

fn phc(params: &Params, salt: &[u8], output: &[u8]) -> Result<SecretString, HashError> {
    let phc = PasswordHash {
        algorithm: Ident::new("argon2id").map_err(failed)?,
        version: Some(Version::V0x13.into()),
        params: ParamsString::try_from(params).map_err(failed)?,
        salt: Some(Salt::new(salt).map_err(failed)?),
        hash: Some(Output::new(output).map_err(failed)?),
    };
    Ok(SecretString::from(phc.to_string()))
}

fn check(password: &[u8], stored: &str, memory: &mut Vec<Block>) -> Result<bool, HashError> {
    let Stored { algorithm, version, params, salt, output: expected } = Stored::parse(stored)?;
    let output = compute(password, &salt, algorithm, version, &params, expected.len(), memory)?;
    Ok(verify_slices_are_equal(&output, &expected).is_ok())
}

fn compute(
    password: &[u8],
    salt: &[u8],
    algorithm: Algorithm,
    version: Version,
    params: &Params,
    output_len: usize,
    memory: &mut Vec<Block>,
) -> Result<Vec<u8>, HashError> {
    // Kept between jobs: page faults on fresh memory are a third of the cost.
    memory.resize(params.block_count().max(memory.len()), Block::default());
    let blocks = memory.get_mut(..params.block_count()).ok_or(HashError::Unusable("memory"))?;
    let mut output = vec![0; output_len];
    Argon2::new(algorithm, version, params.clone())
        .hash_password_into_with_memory(password, salt, &mut output, blocks)
        .map_err(failed)?;
    Ok(output)
}

/// A stored hash taken apart.
struct Stored {
    algorithm: Algorithm,
    version: Version,
    params: Params,
    salt: Vec<u8>,
    output: Vec<u8>,
}

impl Stored {
    fn parse(text: &str) -> Result<Self, HashError> {
        let phc = PasswordHash::new(text).map_err(|_foreign| HashError::Unusable("not a PHC string"))?;
        let params = Params::try_from(&phc).map_err(|_foreign| HashError::Unusable("unknown parameters"))?;
        if params.m_cost() > STORED_MEMORY_KIB_MAX
            || params.t_cost() > STORED_ITERATIONS_MAX
            || params.p_cost() > STORED_PARALLELISM_MAX
        {
            return Err(HashError::Unusable("its cost is above the bounds"));
        }
        let algorithm =
            Algorithm::try_from(phc.algorithm.as_str()).map_err(|_foreign| HashError::Unusable("unknown algorithm"))?;
        let version = match phc.version {
            Some(version) => Version::try_from(version).map_err(|_foreign| HashError::Unusable("unknown version"))?,
            None => Version::V0x10,
        };
        let salt = phc.salt.ok_or(HashError::Unusable("no salt"))?;
        let output = phc.hash.ok_or(HashError::Unusable("no hash"))?;
        Ok(Self { algorithm, version, params, salt: salt.as_ref().to_vec(), output: output.as_ref().to_vec() })
    }
}

fn fill(bytes: &mut [u8]) -> Result<(), HashError> {
    aws_lc_rs::rand::fill(bytes).map_err(failed)
}

fn failed(why: impl fmt::Display) -> HashError {
    HashError::Failed(why.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> HashSettings {
        let one = NonZeroUsize::MIN;
        HashSettings { memory_kib: 64, iterations: 1, parallelism: 1, threads: one, queue: 4 }
    }

    fn password(text: &str) -> Password {
        Password::from_typed(text).unwrap()
    }

    #[tokio::test]
    async fn a_hash_checks_and_salts_differ() {
        let passwords = Passwords::start(&settings()).unwrap();
        let one = passwords.hash(password("correct horse")).await.unwrap();
        let two = passwords.hash(password("correct horse")).await.unwrap();
        assert_ne!(one.expose_secret(), two.expose_secret());
        assert!(one.expose_secret().starts_with("$argon2id$v=19$m=64,t=1,p=1$"));
        assert_eq!(passwords.check(password("correct horse"), Some(&one)).await.unwrap(), Check::Right);
        assert_eq!(passwords.check(password("correct horse "), Some(&one)).await.unwrap(), Check::Wrong);
        assert_eq!(passwords.check(password("anything"), None).await.unwrap(), Check::Wrong);
    }

    #[tokio::test]
    async fn other_parameters_are_outdated() {
        let old = Passwords::start(&settings()).unwrap().hash(password("pw")).await.unwrap();
        let new = Passwords::start(&HashSettings { iterations: 2, ..settings() }).unwrap();
        assert_eq!(new.check(password("pw"), Some(&old)).await.unwrap(), Check::RightButOutdated);
    }

    /// Made by the reference implementation (argon2-cffi 25).
    #[test]
    fn agrees_with_the_reference() {
        for (password, stored) in [
            ("password", "$argon2i$v=19$m=65536,t=2,p=4$c29tZXNhbHQ$RdescudvJCsgt3ub+b+dWRWJTmaaJObG"),
            (
                "password",
                "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$K13EBUiG7JV+9ZxztmHFTdb7J0WQsnj2V8bZaqyPptE",
            ),
            (
                "pässwörd 가",
                "$argon2id$v=19$m=4096,t=3,p=4$c29tZXNhbHRzb21lc2FsdA$nx2UB890j5n6QkvoAsLYm5u1Ae0ZPrbTtsLOcrBdNV4",
            ),
        ] {
            assert!(check(password.as_bytes(), stored, &mut Vec::new()).unwrap(), "{stored}");
            assert!(!check(b"Password", stored, &mut Vec::new()).unwrap(), "{stored}");
        }
    }

    #[test]
    fn a_hostile_cost_is_not_computed() {
        for text in [
            "$argon2id$v=19$m=4194304,t=1,p=1$c29tZXNhbHQ$RdescudvJCsgt3ub+b+dWRWJTmaaJObG",
            "$argon2id$v=19$m=64,t=1000,p=1$c29tZXNhbHQ$RdescudvJCsgt3ub+b+dWRWJTmaaJObG",
            "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ",
            "$2b$12$abcdefghijklmnopqrstuuvwxyzvwxyzvwxyzvwxyzvwxyzvwxyzvwxy",
            "",
        ] {
            assert!(matches!(check(b"x", text, &mut Vec::new()), Err(HashError::Unusable(_))), "{text}");
        }
    }

    #[tokio::test]
    async fn a_full_queue_refuses_at_once() {
        let slow = HashSettings { memory_kib: 19_456, iterations: 10, queue: 1, ..settings() };
        let passwords = Passwords::start(&slow).unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let passwords = passwords.clone();
            tasks.spawn(async move { passwords.hash(password("pw")).await });
        }
        let outcomes = tasks.join_all().await;
        let refused = outcomes.iter().filter(|one| matches!(one, Err(HashError::Overloaded { .. }))).count();
        assert!(refused >= 5, "{refused}");
    }
}
