use postern_rig::postgres::Postgres;

use super::*;
use crate::clock::Clock;
use crate::store::{ServerFacts, testing};

struct Place {
    owner: PostgresSettings,
    url: String,
}

fn place() -> Place {
    let url = Postgres::shared().create_database();
    Place { owner: testing::settings(&url), url }
}

impl Place {
    fn database(&self) -> &str {
        self.url.rsplit('/').next().unwrap()
    }

    fn psql(&self, sql: &str) -> String {
        Postgres::shared().psql(self.database(), sql)
    }

    /// A new role, by a name that only this test has, and how it connects.
    fn role(&self, name: &str) -> (String, PostgresSettings) {
        let name = format!("{name}_{}", self.database());
        self.psql(&format!("CREATE ROLE {} LOGIN", identifier(&name)));
        let user = name.bytes().fold(String::new(), |out, byte| format!("{out}%{byte:02X}"));
        let settings = testing::settings(&self.url.replace("postgres@", &format!("{user}@")));
        (name, settings)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_ten_at_once_one_migrates() {
    let place = place();
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let settings = place.owner.clone();
        all.spawn(async move { Store::migrate(&settings).await.unwrap() });
    }
    let mut told = all.join_all().await;
    told.sort_unstable();
    let newest = migrations::newest();
    assert_eq!(told[0], (0, newest));
    assert!(told[1..].iter().all(|done| *done == (newest, newest)), "{told:?}");
    assert_eq!(place.psql("SELECT count(*) FROM _sqlx_migrations WHERE success"), newest.to_string());
    // Of this database: others are migrated beside it.
    let locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' \
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    assert_eq!(place.psql(locks), "0");
}

#[tokio::test]
async fn a_role_is_let_do_what_a_server_needs_and_nothing_else() {
    let place = place();
    let (hostile, hostile_settings) = place.role("run'; DROP TABLE users; --\" \\ é");
    for _ in 0..2 {
        Store::migrate_and_grant(&place.owner, Some(&hostile)).await.unwrap();
    }
    let literal = format!("'{}'", hostile.replace('\'', "''"));
    let each = format!(
        "SELECT table_name, string_agg(privilege_type, ' ' ORDER BY privilege_type) \
         FROM information_schema.role_table_grants WHERE grantee = {literal} GROUP BY 1 ORDER BY 1"
    );
    let rights = place.psql(&each);
    assert_eq!(rights.lines().count(), TABLES.len() + 2, "{rights}");
    for line in rights.lines() {
        let (table, rights) = line.split_once('|').unwrap();
        let needed = match table {
            "_sqlx_migrations" | "clock" => "SELECT",
            AUDIT => "INSERT SELECT",
            _ => "DELETE INSERT SELECT UPDATE",
        };
        assert_eq!(rights, needed, "{table}");
    }
    let made = "SELECT has_schema_privilege(rolname, 'public', 'CREATE') OR rolsuper OR rolcreaterole FROM pg_roles \
        WHERE rolname = ";
    assert_eq!(place.psql(&format!("{made}{literal}")), "f");

    // Which is enough to serve, and to find that there is nothing to migrate.
    let store = Store::connect(&hostile_settings, Clock::default()).await.unwrap();
    store.fix_setting("a", "b").await.unwrap();
    store.purge().await.unwrap();
    store.load().await.unwrap();
    store.close().await;
    assert_eq!(Store::migrate(&hostile_settings).await.unwrap().0, migrations::newest());
}

#[tokio::test]
async fn a_role_that_may_not_is_told_who_may() {
    let place = place();
    let (name, settings) = place.role("weak");
    let why = Store::migrate(&settings).await.unwrap_err();
    assert!(matches!(&why, ConnectError::MayNotMigrate { role, .. } if *role == name), "{why:?}");
    assert!(why.to_string().contains("store.postgres.migrate_url"), "{why}");
    assert_eq!(place.psql("SELECT count(*) FROM pg_class WHERE relname = 'users'"), "0");

    Store::migrate(&place.owner).await.unwrap();
    let why = Store::connect(&settings, Clock::default()).await.err().unwrap();
    assert!(matches!(why, ConnectError::MayNotUse { .. }), "{why:?}");
    assert!(why.to_string().contains(&format!("postern migrate --grant-to {name}")), "{why}");

    // Nobody hands out what is not theirs: the server only warns of that.
    Store::migrate_and_grant(&place.owner, Some(&name)).await.unwrap();
    let (other, _) = place.role("other");
    let why = Store::migrate_and_grant(&settings, Some(&other)).await.unwrap_err();
    assert!(matches!(why, ConnectError::MayNotMigrate { .. }), "{why:?}");
}

#[tokio::test]
async fn a_role_that_is_not_there_is_not_made_up() {
    let place = place();
    let long = "x".repeat(64);
    place.psql(&format!("CREATE ROLE {}", &long[..63]));
    for role in ["nobody_of_this_name", "public", "PUBLIC", "", "current_user", "a\0b", &long] {
        let why = Store::migrate_and_grant(&place.owner, Some(role)).await.unwrap_err();
        assert!(matches!(why, ConnectError::NoRole { .. }), "{role:?}: {why:?}");
    }
    // One transaction: what was refused left nothing.
    assert_eq!(place.psql("SELECT count(*) FROM pg_class WHERE relname = 'users'"), "0");
    place.psql(&format!("DROP ROLE {}", &long[..63]));
}

#[tokio::test]
async fn a_database_of_another_program_is_left_alone() {
    for (table, other) in [
        ("users", "CREATE TABLE users (name text)"),
        ("clock", "CREATE VIEW clock AS SELECT 1 AS one"),
        (
            "_sqlx_migrations",
            "CREATE TABLE _sqlx_migrations (version bigint, checksum bytea, success boolean); \
             INSERT INTO _sqlx_migrations VALUES (1, '\\x00', true)",
        ),
    ] {
        let place = place();
        place.psql(other);
        for why in [Store::migrate(&place.owner).await.err(), Store::look_at(&place.owner).await.err()] {
            let why = why.unwrap();
            assert!(matches!(&why, ConnectError::Foreign { table: found, .. } if found == table), "{why:?}");
        }
        assert_eq!(place.psql("SELECT count(*) FROM pg_class WHERE relname = 'feed'"), "0");
    }
}

#[tokio::test]
async fn a_newer_database_is_told_of() {
    let place = place();
    Store::migrate(&place.owner).await.unwrap();
    place.psql(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (99, 'later', true, '\\x00', 1)",
    );
    let why = Store::migrate(&place.owner).await.unwrap_err();
    assert!(matches!(why, ConnectError::Newer { found: 99, .. }), "{why:?}");
}

#[tokio::test]
async fn a_step_that_fails_leaves_nothing() {
    let place = place();
    // What the second migration makes is in the way, under a name that no table of ours has.
    place.psql("CREATE TABLE other (n int); CREATE INDEX client_secrets_client_id ON other (n)");
    let why = Store::migrate(&place.owner).await.unwrap_err();
    assert!(matches!(why, ConnectError::Migration { .. }), "{why:?}");
    assert!(why.to_string().contains("client_secrets_client_id"), "{why}");
    assert_eq!(place.psql("SELECT count(*) FROM pg_class WHERE relname IN ('users', '_sqlx_migrations')"), "0");
    place.psql("DROP TABLE other");
    assert_eq!(Store::migrate(&place.owner).await.unwrap(), (0, migrations::newest()));
}

#[tokio::test]
async fn what_a_url_hides_stays_hidden() {
    let secret = "hunter2";
    for url in [
        format!("postgres://ann:{secret}@"),
        format!("mysql://ann:{secret}@127.0.0.1/db"),
        format!("postgres://ann:12/{secret}@127.0.0.1:1/db"),
        format!("postgres://ann:12?{secret}@127.0.0.1:1/db"),
        format!("postgres://ann:12#{secret}"),
        format!("postgres://ann:p@127.0.0.1:1/db#{secret}"),
        format!("postgres://ann@127.0.0.1:1/db?pasword={secret}"),
        format!("postgres://ann@127.0.0.1:1/db?{secret}"),
        format!("postgres://ann:{secret}@127.0.0.1:port/db"),
        format!("postgres://ann:{secret}@127.0.0.1:1/db"),
        format!("postgres://ann:{secret}@127.0.0.1:1/db?sslmode=verify-none"),
    ] {
        let why = Store::look_at(&testing::settings(&url)).await.unwrap_err();
        let told = format!("{why} {why:?}");
        assert!(!told.contains(secret) && !told.contains("12/"), "{url}: {told}");
    }
}

#[tokio::test]
async fn the_server_tells_what_it_is() {
    let facts: ServerFacts = Store::look_at(&place().owner).await.unwrap();
    assert!(facts.version >= 150_000 && facts.connections_max > 20 && !facts.encrypted, "{facts:?}");
    assert!(!facts.synchronous_standby && facts.schema == 0, "{facts:?}");
}
