//! Behind `PgBouncer` in transaction mode, where the next transaction has another connection. That everything works there,
//! `conformance` proves on [`Engine::Pooled`]; here, that the connections are really shared, and that the feed polls.

use std::time::Duration;

use postern_rig::pgbouncer::PgBouncer;
use postern_rig::postgres::Postgres;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::domain::id::{SessionId, UserId};
use crate::store::testing::{Engine, Scratch, migrated_database, pooler, settings};
use crate::store::{PostgresSettings, Store};
use crate::vault::{Kind, Vault as _};

#[tokio::test(flavor = "multi_thread")]
async fn many_callers_share_two_connections_to_the_server() {
    let url = migrated_database().await;
    let pooler = PgBouncer::start_with(Postgres::shared(), &[("default_pool_size", "2")]);
    let settings = PostgresSettings { pooler: true, ..settings(&pooler.url(&url)) };
    let store = Store::connect(&settings, Clock::default()).await.unwrap();
    let mut callers = JoinSet::new();
    for index in 0..6 {
        let store = store.clone();
        callers.spawn(async move {
            for round in 0..20 {
                // Read, write, and a transaction: a statement that the server knew by name, or one whose second half came on
                // the other connection, would fail.
                store.owner(UserId::generate()).await.unwrap();
                store.fix_setting(&format!("setting {}", (index + round) % 7), "value").await.unwrap();
                store.credential_of(UserId::generate()).await.unwrap();
                store.vault().list(Kind::Session, "partition").await.unwrap();
            }
        });
    }
    while let Some(outcome) = callers.join_next().await {
        outcome.unwrap();
    }
    let count = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
    assert!(["1", "2"].contains(&Postgres::shared().psql(&url, count).as_str()));
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_are_made_through_it_too() {
    let url = Postgres::shared().create_database();
    let settings = PostgresSettings { pooler: true, ..settings(&pooler().url(&url)) };
    Store::migrate_and_grant(&settings, None).await.unwrap();
    assert!(Store::connect(&settings, Clock::default()).await.is_ok());
}

/// A statement and its values travel apart. Over one connection that many share, those of one caller must not meet the
/// statement of another.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_answered_what_another_has_asked() {
    let url = migrated_database().await;
    let pooler = PgBouncer::start_with(Postgres::shared(), &[("default_pool_size", "3")]);
    let settings = PostgresSettings { pooler: true, ..settings(&pooler.url(&url)) };
    let mut callers = JoinSet::new();
    for index in 0..8 {
        let store = Store::connect(&settings, Clock::default()).await.unwrap();
        callers.spawn(async move {
            let name = format!("setting {index}");
            for round in 0..30 {
                match (index + round) % 4 {
                    0 => assert_eq!(store.owner(UserId::generate()).await.unwrap(), None),
                    1 => assert!(
                        store.standing(UserId::generate(), SessionId::generate()).await.unwrap().owner.is_none()
                    ),
                    2 => assert_eq!(store.fix_setting(&name, &name).await.unwrap(), name),
                    _ => assert_eq!(store.administrators().await.unwrap(), 0),
                }
            }
        });
    }
    while let Some(outcome) = callers.join_next().await {
        outcome.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_feed_polls() {
    let scratch = Scratch::new(Engine::Pooled).await;
    // There is nothing to hear, and nobody waits for it.
    let listened = timeout(Duration::from_secs(5), scratch.store.clone().listen(CancellationToken::new())).await;
    assert!(listened.is_ok());
    let cursor = scratch.cursor().await;
    let ended = scratch.ended(UserId::generate(), SessionId::generate());
    let (_, revision) = scratch.store.end_session(&ended, &scratch.audit()).await.unwrap();
    assert!(scratch.learned(cursor).await.cursor.id >= revision.id);
}
