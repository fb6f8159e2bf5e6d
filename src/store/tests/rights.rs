//! Row 166: the role that serves changes no table, reads no file and runs no program. That the service needs none of it,
//! `conformance` proves on [`Engine::Limited`](crate::store::testing::Engine).

use postern_rig::postgres::Postgres;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _};

use crate::store::testing::limited_database;

async fn connect(role: &str) -> PgConnection {
    let url = limited_database().await.replace("postgres@", &format!("{role}@"));
    url.parse::<PgConnectOptions>().unwrap().connect().await.unwrap()
}

/// The code of the refusal, as <https://www.postgresql.org/docs/current/errcodes-appendix.html> lists them.
async fn refusal(connection: &mut PgConnection, statement: &str) -> Option<String> {
    let outcome = sqlx::raw_sql(AssertSqlSafe(statement)).execute(connection).await;
    outcome.err().map(|why| why.as_database_error().unwrap().code().unwrap().into_owned())
}

#[tokio::test]
async fn the_role_that_serves_changes_no_table() {
    let mut service = connect("postern").await;
    for statement in [
        "CREATE TABLE mine (id BIGINT)",
        "CREATE TEMPORARY TABLE mine (id BIGINT)",
        "CREATE TABLE mine AS SELECT * FROM passwords",
        "CREATE SCHEMA mine",
        "CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE EXTENSION dblink",
        "DROP TABLE audit",
        "DROP VIEW clock",
        "ALTER TABLE users ADD COLUMN mine BIGINT",
        "ALTER TABLE users DISABLE TRIGGER ALL",
        "CREATE INDEX mine ON users (id)",
        "TRUNCATE audit",
        "DELETE FROM audit",
        "UPDATE audit SET kind = 'nothing'",
        "UPDATE _sqlx_migrations SET checksum = ''",
        "DELETE FROM _sqlx_migrations",
        "INSERT INTO _sqlx_migrations SELECT * FROM _sqlx_migrations",
        "COPY users TO PROGRAM 'cat'",
        "COPY users FROM PROGRAM 'true'",
        "COPY users TO '/tmp/users'",
        "SELECT pg_read_file('postgresql.conf')",
        "SELECT * FROM pg_authid",
        "CREATE ROLE mine SUPERUSER",
        "ALTER ROLE postern SUPERUSER",
        "GRANT postern_owner TO postern",
        "SET ROLE postern_owner",
        "ALTER SYSTEM SET fsync = off",
        "DROP DATABASE postern",
    ] {
        let code = refusal(&mut service, statement).await;
        // "must be owner" and "permission denied".
        assert_eq!(code.as_deref(), Some("42501"), "{statement}");
    }
    // The reader must read: what it may.
    for statement in ["SELECT count(*) FROM users", "DELETE FROM vault", "UPDATE feed SET head = head WHERE id = 1"] {
        assert_eq!(refusal(&mut service, statement).await, None, "{statement}");
    }
}

#[tokio::test]
async fn neither_role_is_a_superuser_and_strangers_stay_outside() {
    let database = limited_database().await;
    let server = Postgres::shared();
    let powers = "SELECT rolname FROM pg_roles WHERE rolname LIKE 'postern%' AND (rolsuper OR rolcreaterole OR rolcreatedb \
        OR rolreplication OR rolbypassrls)";
    assert_eq!(server.psql(database, powers), "");
    server.role("stranger", "any");
    let stranger = database.replace("postgres@", "stranger@").parse::<PgConnectOptions>().unwrap();
    let refused = stranger.connect().await.unwrap_err();
    assert_eq!(refused.as_database_error().unwrap().code().unwrap(), "42501");
}
