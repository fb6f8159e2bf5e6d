use postern_rig::fuzz::fuzz;

use super::*;
use crate::auth::master_key::MasterKeys;

fn settings() -> HashSettings {
    let one = NonZeroUsize::MIN;
    HashSettings { memory_kib: 64, iterations: 1, parallelism: 1, threads: one, queue: 4 }
}

fn checked(text: &str, stored: &str) -> Result<bool, HashError> {
    let params = settings().params(&[])?;
    check(&password(text), &Stored::parse(stored)?, &params, &Peppers::default(), &mut Vec::new())
}

fn password(text: &str) -> Password {
    Password::from_typed(text).unwrap()
}

#[tokio::test]
async fn a_hash_checks_and_salts_differ() {
    let passwords = Passwords::start(&settings(), Peppers::default()).unwrap();
    let one = passwords.hash(password("correct horse")).await.unwrap();
    let two = passwords.hash(password("correct horse")).await.unwrap();
    assert_ne!(one.expose_secret(), two.expose_secret());
    assert!(one.expose_secret().starts_with("$argon2id$v=19$m=64,t=1,p=1$"));
    assert_eq!(passwords.check(password("correct horse"), Some(&one), true).await.unwrap(), Check::Right);
    assert_eq!(passwords.check(password("correct horse "), Some(&one), true).await.unwrap(), Check::Wrong);
    assert_eq!(passwords.check(password("anything"), None, true).await.unwrap(), Check::Wrong);
}

#[tokio::test]
async fn other_parameters_are_outdated() {
    let old = Passwords::start(&settings(), Peppers::default()).unwrap().hash(password("pw")).await.unwrap();
    let new = Passwords::start(&HashSettings { iterations: 2, ..settings() }, Peppers::default()).unwrap();
    assert_eq!(new.check(password("pw"), Some(&old), true).await.unwrap(), Check::RightButOutdated);
}

fn peppers(text: &str) -> Peppers {
    Peppers::parse(&SecretString::from(text)).unwrap()
}

/// Row 34: the database and the right password are not enough, and a second pepper keeps the users of the first.
#[tokio::test]
async fn a_pepper_goes_into_each_hash_and_can_be_changed() {
    let one = MasterKeys::generate().unwrap();
    let (two, _) = MasterKeys::extend(&one).unwrap();
    let two = MasterKeys::using(&two, 2).unwrap();
    let (only_two, other) = (MasterKeys::without(&two, 1).unwrap(), MasterKeys::generate().unwrap());
    let start = |text: &SecretString| Passwords::start(&settings(), peppers(text.expose_secret())).unwrap();
    let plain = Passwords::start(&settings(), Peppers::default()).unwrap();
    let check = async |passwords: &Passwords, stored| {
        let wrong = passwords.check(password("wrong"), Some(stored), true).await.unwrap();
        assert_eq!(wrong, Check::Wrong);
        passwords.check(password("pw"), Some(stored), true).await.unwrap()
    };
    let of_one = start(&one).hash(password("pw")).await.unwrap();
    assert!(of_one.expose_secret().contains(",keyid=AQ$"), "its pepper is named");
    assert_eq!(check(&start(&one), &of_one).await, Check::Right);
    assert_eq!(check(&start(&two), &of_one).await, Check::RightButOutdated);
    for without in [&start(&only_two), &start(&other), &plain] {
        assert_eq!(check(without, &of_one).await, Check::Wrong);
    }
    // Nor does it help to take the name out.
    let stripped = SecretString::from(of_one.expose_secret().replace(",keyid=AQ", ""));
    assert_eq!(check(&plain, &stripped).await, Check::Wrong);
    let unpeppered = plain.hash(password("pw")).await.unwrap();
    assert!(!unpeppered.expose_secret().contains("keyid"));
    assert_eq!(check(&start(&one), &unpeppered).await, Check::RightButOutdated);
    assert_eq!(format!("{:?}", peppers(two.expose_secret())), "Peppers { numbers: [1, 2], .. }");
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
        assert!(checked(password, stored).unwrap(), "{stored}");
        assert!(!checked("Password", stored).unwrap(), "{stored}");
    }
}

#[test]
fn a_hostile_cost_is_not_computed() {
    for text in [
        "$argon2id$v=19$m=4194304,t=1,p=1$c29tZXNhbHQ$RdescudvJCsgt3ub+b+dWRWJTmaaJObG",
        "$argon2id$v=19$m=64,t=1000,p=1$c29tZXNhbHQ$RdescudvJCsgt3ub+b+dWRWJTmaaJObG",
        "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ",
        "$2b$16$abcdefghijklmnopqrstuuvwxyzvwxyzvwxyzvwxyzvwxyzvwxyzvwxy",
        "",
    ] {
        assert!(matches!(checked("x", text), Err(HashError::Unusable(_))), "{text}");
    }
}

#[tokio::test]
async fn a_full_queue_refuses_at_once() {
    let slow = HashSettings { memory_kib: 19_456, iterations: 10, queue: 1, ..settings() };
    let passwords = Passwords::start(&slow, Peppers::default()).unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let passwords = passwords.clone();
        tasks.spawn(async move { passwords.hash(password("pw")).await });
    }
    let outcomes = tasks.join_all().await;
    let refused = outcomes.iter().filter(|one| matches!(one, Err(HashError::Overloaded { .. }))).count();
    assert!(refused >= 5, "{refused}");
}

/// A place in the queue is no promise: who would wait too long is told so at once, and for how long.
#[tokio::test]
async fn who_would_wait_too_long_is_refused_at_once() {
    let passwords = Passwords::start(&HashSettings { queue: 1_000, ..settings() }, Peppers::default()).unwrap();
    passwords.hash(password("pw")).await.unwrap();
    assert!(passwords.load.micros.load(Ordering::Relaxed) > 0, "what a hash takes was measured");
    passwords.load.micros.store(100_000, Ordering::Relaxed);
    passwords.load.waiting.store(50, Ordering::Relaxed);
    let refused = passwords.hash(password("pw")).await;
    let Err(HashError::Overloaded { retry_after }) = refused else { panic!("{refused:?}") };
    assert_eq!(retry_after, Duration::from_secs(5));
    passwords.load.waiting.store(10, Ordering::Relaxed);
    assert!(passwords.hash(password("pw")).await.is_ok());
}

/// What waited too long all the same, behind others that were slow, is not begun.
#[test]
fn a_job_whose_time_is_over_is_not_begun() {
    let (jobs, queue) = sync_channel::<Job>(1);
    let (reply, mut answer) = oneshot::channel();
    let sent = Instant::now();
    let until = sent - Duration::from_millis(1);
    jobs.send(Job { task: Task::Hash(password("pw")), until, sent, reply }).unwrap();
    drop(jobs);
    let load = Load {
        threads: 1,
        queue: 8,
        waiting: AtomicU32::new(1),
        running: AtomicU32::new(0),
        refused: AtomicU64::new(0),
        micros: AtomicU64::new(0),
        waits: Histogram::default(),
        hashes: Histogram::default(),
    };
    work(&Mutex::new(queue), &Params::new(64, 1, 1, None).unwrap(), &Peppers::default(), &load);
    assert!(matches!(answer.try_recv().unwrap(), Err(HashError::Overloaded { .. })));
    assert_eq!((load.waiting.into_inner(), load.micros.into_inner()), (0, 0), "nothing was hashed");
}

/// Whatever stands in the database, no hash is computed that costs more than may be.
#[test]
fn hostile_hashes() {
    let valid: [&[u8]; 3] = [
        b"$argon2i$v=19$m=65536,t=2,p=4$c29tZXNhbHQ$RdescudvJCsgt3ub+b+dWRWJTmaaJObG",
        b"$argon2id$v=19$m=19456,t=2,p=1,keyid=AQ$c29tZXNhbHRzb21lc2FsdA$K13EBUiG7JV+9ZxztmHFTdb7J0WQsnj2V8bZaqyPptE",
        b"$2b$12$abcdefghijklmnopqrstuuvwxyzvwxyzvwxyzvwxyzvwxyzvwxyzvwxy",
    ];
    fuzz("password_hash", &valid, |input| {
        let Ok(text) = std::str::from_utf8(input) else { return };
        if let Ok(Stored::Argon2(stored)) = Stored::parse(text) {
            assert!(stored.params.m_cost() <= argon::MEMORY_KIB_MAX, "{text}");
            assert!(stored.params.t_cost() <= argon::ITERATIONS_MAX, "{text}");
            assert!(stored.params.p_cost() <= argon::PARALLELISM_MAX, "{text}");
        }
    });
}
