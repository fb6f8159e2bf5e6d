//! Row 173: a server that is away, callers that go away, and many at once. Waiting has an end, and whatever happened, the
//! connections are whole afterwards.

use std::time::Duration;

use postern_rig::postgres::Postgres;
use postern_rig::proxy::{Mode, Proxy};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::clock::Clock;
use crate::domain::change::PrincipalState;
use crate::domain::id::{PrincipalId, SessionId, UserId};
use crate::domain::standing::{Fence, Floor};
use crate::store::engine::query;
use crate::store::testing::{Engine, Scratch, migrated_database, settings};
use crate::store::{FeedRead, Store, StoreError};

/// By when a refusal is due, with half a second for a machine that is busy with five hundred tasks.
const REFUSED_WITHIN: Duration = Duration::from_millis(2_500);
/// By when all is as before once the server is back.
const BACK_WITHIN: Duration = Duration::from_secs(5);
const WAITING: usize = 500;

/// Connections of a database in a transaction, or in a statement.
const OPEN: &str = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
    AND pid <> pg_backend_pid() AND state <> 'idle'";

async fn until(what: &str, within: Duration, mut holds: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + within;
    while !holds().await {
        assert!(Instant::now() < end, "not within {within:?}: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn all_who_wait_for_a_stopped_server_are_refused_in_time() {
    let mut server = Postgres::start();
    let url = server.create_database();
    Store::migrate(&settings(&url)).await.unwrap();
    let store = Store::connect(&settings(&url), Clock::default()).await.unwrap();
    // All connections are there: those that were used, and those that are yet to be made, must end in time.
    for round in 0..2 {
        server.pause();
        let mut waiting = JoinSet::new();
        for _ in 0..WAITING {
            let store = store.clone();
            waiting.spawn(async move {
                let began = Instant::now();
                (store.owner(UserId::generate()).await.map(drop), began.elapsed())
            });
        }
        let mut slowest = Duration::ZERO;
        while let Some(outcome) = waiting.join_next().await {
            let (answer, took) = outcome.unwrap();
            assert!(matches!(answer, Err(StoreError::Unavailable { .. })), "{answer:?}");
            slowest = slowest.max(took);
        }
        assert!(slowest < REFUSED_WITHIN, "round {round}: {slowest:?}");
        server.resume();
        until("reads again", BACK_WITHIN, async || store.owner(UserId::generate()).await.is_ok()).await;
        until("writes again", BACK_WITHIN, async || store.fix_setting("name", "value").await.is_ok()).await;
        until("nothing is left open", BACK_WITHIN, async || server.psql(&url, OPEN) == "0").await;
        let connections = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'postern'";
        let most = settings(&url).pool_size;
        until("no connection is left over", BACK_WITHIN, async || {
            server.psql("postgres", connections).parse::<usize>().unwrap() <= most + 1
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn callers_who_go_away_in_the_middle_leave_nothing_behind() {
    for engine in [Engine::Postgres, Engine::Pooled] {
        let scratch = Scratch::new(engine).await;
        let pool = &scratch.store.writer;
        let mut gone = JoinSet::new();
        for index in 0..32 {
            let pool = pool.clone();
            gone.spawn(async move {
                let call = async {
                    // Alone, in a transaction, and between two statements of one.
                    let mut connection = match index % 4 {
                        0 => pool.acquire().await?,
                        1 => pool.begin().await?,
                        _ => pool.begin_write().await?,
                    };
                    query("SELECT pg_sleep(0.02)").execute(&mut connection).await?;
                    if index % 4 == 3 {
                        query("UPDATE feed SET head = head + 1000").execute(&mut connection).await?;
                        sleep(Duration::from_mins(1)).await;
                    }
                    query("SELECT pg_sleep(0.7)").execute(&mut connection).await?;
                    Ok::<_, sqlx::Error>(())
                };
                // Whether it was still waiting, or already busy.
                drop(timeout(Duration::from_millis(5 + 7 * index), call).await);
            });
        }
        gone.join_all().await;
        let url = scratch.server_url();
        until("no transaction is open", BACK_WITHIN, async || Postgres::shared().psql(&url, OPEN) == "0").await;
        for _ in 0..32 {
            scratch.store.fix_setting("name", "value").await.unwrap();
            scratch.store.load().await.unwrap();
        }
        assert_eq!(scratch.number("SELECT count(*) FROM feed WHERE head > 500").await, 0, "nothing was committed");
    }
}

/// As many as one person can have. Were each a round trip of its own, this would never succeed, however often it is tried.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_sessions_end_in_one_call_and_are_learned_over_a_slow_network() {
    let url = migrated_database().await;
    let network = Proxy::to(Postgres::shared().port());
    let near = settings(&url.replace(&Postgres::shared().port().to_string(), &network.port().to_string()));
    let scratch = Scratch::new(Engine::Postgres).await;
    let store = Store::connect(&near, Clock::default()).await.unwrap();
    let start = store.load().await.unwrap().cursor;
    network.set(Mode::Delay(Duration::from_millis(2)));
    let user = UserId::generate();
    let ended: Vec<_> = (0..1_000).map(|_| scratch.ended(user, SessionId::generate())).collect();
    assert_eq!(store.end_sessions(&ended, &scratch.audit()).await.unwrap().0, 1_000);
    assert_eq!(store.end_sessions(&ended, &scratch.audit()).await.unwrap().0, 0, "each ends once");
    match store.changes_since(start).await.unwrap() {
        FeedRead::Changes(loaded) => assert_eq!(loaded.changes.len(), 1_000),
        other => panic!("{other:?}"),
    }
}

/// A fail-over lost an hour, and the new primary is far away. What cannot be written back in time is forgotten for good.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_lost_is_written_back_over_a_slow_network() {
    let url = migrated_database().await;
    let network = Proxy::to(Postgres::shared().port());
    let near = settings(&url.replace(&Postgres::shared().port().to_string(), &network.port().to_string()));
    let store = Store::connect(&near, Clock::default()).await.unwrap();
    let users = "INSERT INTO users (id, user_name, user_name_canonical, email_verified, display_name, state, version, \
        roles_at, floor, floor_at, floor_cause, create_time, update_time, etag) SELECT gen_random_uuid(), n, n, FALSE, '', \
        'active', 1, 1, 0, 0, 'ENDED_BY_USER', 0, 0, 1 FROM (SELECT 'u' || generate_series(1, 150)) AS names (n)";
    Postgres::shared().psql(&url, users);
    let ids = Postgres::shared().psql(&url, "SELECT id FROM users");
    let known = ids.lines().map(|id| PrincipalState {
        id: PrincipalId::User(id.parse().unwrap()),
        version: 1_000,
        roles_at: 1,
        floor: Floor { version: 1_000, ..Floor::NONE },
        bindings: Vec::new(),
    });
    let known: Vec<PrincipalState> = known.collect();
    network.set(Mode::Delay(Duration::from_millis(5)));
    assert_eq!(store.write_back(&[], &known, Fence::default()).await.unwrap(), 150);
    assert_eq!(Postgres::shared().psql(&url, "SELECT count(*) FROM users WHERE floor = 1000"), "150");
}

/// A commit that waits for a standby which is gone does not notice that nobody waits for it any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_standby_that_is_gone_does_not_fill_the_server() {
    const ALL: &str = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'postern'";
    let server = Postgres::start();
    let url = server.create_database();
    Store::migrate(&settings(&url)).await.unwrap();
    let store = Store::connect(&settings(&url), Clock::default()).await.unwrap();
    server.set("synchronous_standby_names", "gone");
    let most = 2 * settings(&url).pool_size;
    for round in 0..6 {
        let mut writers = JoinSet::new();
        for index in 0..8 {
            let (store, began) = (store.clone(), Instant::now());
            writers.spawn(async move {
                (store.fix_setting(&format!("name{round}_{index}"), "value").await, began.elapsed())
            });
        }
        while let Some(outcome) = writers.join_next().await {
            let (answer, took) = outcome.unwrap();
            assert!(matches!(answer, Err(StoreError::Unavailable { .. })), "{answer:?}");
            assert!(took < REFUSED_WITHIN, "{took:?}");
        }
        let all: usize = server.psql("postgres", ALL).parse().unwrap();
        assert!(all <= most, "round {round}: {all}");
    }
    server.set("synchronous_standby_names", "");
    until("writes again", BACK_WITHIN, async || store.fix_setting("name", "value").await.is_ok()).await;
    until("nothing is left open", BACK_WITHIN, async || server.psql(&url, OPEN) == "0").await;
}

async fn fifty_write_at_once(engine: Engine) {
    let scratch = Scratch::new(engine).await;
    let mut writers = JoinSet::new();
    for index in 0..50 {
        let (store, audit) = (scratch.store.clone(), scratch.audit());
        let ended = scratch.ended(UserId::generate(), SessionId::generate());
        writers.spawn(async move {
            loop {
                match store.end_session(&ended, &audit).await {
                    Ok((ended, revision)) => return (ended, revision.id),
                    // On a busy machine fifty take longer than one may wait; that is no other error.
                    Err(StoreError::Unavailable { source }) => {
                        assert!(!format!("{source:?}").contains("locked"), "{index}: {source:?}");
                    }
                    Err(other) => panic!("{index}: {other:?}"),
                }
            }
        });
    }
    let mut ids = Vec::new();
    for (ended, id) in writers.join_all().await {
        assert!(ended);
        ids.push(id);
    }
    ids.sort_unstable();
    let first = ids[0];
    assert_eq!(ids, (first..first + 50).collect::<Vec<_>>(), "each has a place of its own in the log, without gaps");
    assert_eq!(scratch.number("SELECT count(*) FROM revocations").await, 50);
}

crate::store::testing::conformance![fifty_write_at_once];
