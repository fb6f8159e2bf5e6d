//! Bringing a PostgreSQL database up to date, by one process at a time, and what the role of the servers may do there
//! afterwards. A role that makes tables is not the one that a server needs.

use std::error::Error as StdError;

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _};
use tokio::time::timeout;

use crate::store::connect::{ConnectError, LOOK_MAX, PostgresSettings, enter, look, role};
use crate::store::tables::{AUDIT, TABLES};
use crate::store::{Store, migrations};

/// "PSTN": whoever migrates holds it.
const LOCK: i64 = 0x5053_544E;
/// How long another replica may be busy with the same migration, and this one with its own.
const MIGRATE_MAX: std::time::Duration = std::time::Duration::from_mins(10);

/// What a migration did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migrated {
    /// Where, without secrets.
    pub server: String,
    /// The schema that was found; 0: none.
    pub from: i64,
    pub to: i64,
}

impl Store {
    /// Brings the schema up to date, one process at a time; answers from which version to which.
    ///
    /// # Errors
    /// As [`Store::connect`]; nothing is left behind then.
    pub async fn migrate(settings: &PostgresSettings) -> Result<(i64, i64), ConnectError> {
        let done = Self::migrate_and_grant(settings, None).await?;
        Ok((done.from, done.to))
    }

    /// The same, and lets a role do what a server does with the tables, and nothing else.
    ///
    /// # Errors
    /// As [`Store::migrate`]; also if there is no such role, or it is not ours to let it.
    pub async fn migrate_and_grant(
        settings: &PostgresSettings,
        grant_to: Option<&str>,
    ) -> Result<Migrated, ConnectError> {
        let (mut connection, server) = enter(settings).await?;
        let all = timeout(MIGRATE_MAX, in_one_transaction(&mut connection, settings, &server, grant_to)).await;
        // In any case: with the connection goes the lock.
        drop(timeout(LOOK_MAX, connection.close()).await);
        all.map_err(|elapsed| ConnectError::Migration { server, source: elapsed.into() })?
    }
}

/// All or nothing, so that it also works behind a pooler, which hands the connection to others between transactions.
async fn in_one_transaction(
    connection: &mut PgConnection,
    settings: &PostgresSettings,
    server: &str,
    grant_to: Option<&str>,
) -> Result<Migrated, ConnectError> {
    // Each statement must see what the one before us committed, whatever the server's default is.
    const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";
    const TAKE_TIME: &str = "SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0; \
        SET LOCAL idle_in_transaction_session_timeout = 0";
    let failed = |why: sqlx::Error| judged(settings, server, why.into());
    let mut transaction = connection.begin_with(BEGIN).await.map_err(failed)?;
    sqlx::raw_sql(TAKE_TIME).execute(&mut *transaction).await.map_err(failed)?;
    let lock = sqlx::query("SELECT pg_advisory_xact_lock($1)").persistent(false).bind(LOCK);
    lock.execute(&mut *transaction).await.map_err(failed)?;
    // Now, because whoever had the lock may have done it all.
    let facts = look(&mut transaction, settings, server).await?;
    // Where nothing is to be done, no right to do it is needed.
    if facts.schema < facts.newest_schema {
        let mut migrator = migrations::postgres();
        // The lock is ours; that of the library would outlive a failure behind a pooler.
        migrator.set_locking(false);
        // As `run` does, whose bound no task that moves between threads can meet.
        migrator
            .run_direct(None, &mut *transaction, false)
            .await
            .map_err(|why| judged(settings, server, why.into()))?;
    }
    if let Some(role) = grant_to {
        grant(&mut transaction, settings, server, role).await?;
    }
    transaction.commit().await.map_err(failed)?;
    Ok(Migrated { server: server.to_owned(), from: facts.schema, to: facts.newest_schema })
}

async fn grant(
    connection: &mut PgConnection,
    settings: &PostgresSettings,
    server: &str,
    role: &str,
) -> Result<(), ConnectError> {
    // Also finds out what quoting does not keep away: `public`, which means everybody however it is written, and a name that
    // is longer than names are, which would be cut to another one.
    const EXISTS: &str = "SELECT EXISTS (SELECT 1 FROM pg_roles WHERE rolname::text = $1), \
        current_schema()::text, EXISTS (SELECT 1 FROM pg_roles WHERE rolname::text = $1 \
            AND has_schema_privilege(oid, current_schema(), 'USAGE'))";
    // Whoever may not grant all of it is answered with a warning only.
    const GRANTED: &str = "SELECT bool_and(has_table_privilege(r.oid, t.name, p.name)) \
            AND bool_and(has_function_privilege(r.oid, 'clock_micros()', 'EXECUTE')) \
            AND bool_and(has_function_privilege(r.oid, 'purge_audit(bigint, bigint)', 'EXECUTE')) FROM pg_roles r, \
        unnest($2::text[]) AS t (name), unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS p (name) \
        WHERE r.rolname::text = $1 AND (t.name <> $3 OR p.name IN ('SELECT', 'INSERT'))";
    let failed = |why: sqlx::Error| judged(settings, server, why.into());
    let no_role = || ConnectError::NoRole { server: server.to_owned(), role: role.to_owned() };
    if role.contains('\0') {
        return Err(no_role());
    }
    let (exists, schema, uses_schema): (bool, Option<String>, bool) =
        sqlx::query_as(EXISTS).persistent(false).bind(role).fetch_one(&mut *connection).await.map_err(failed)?;
    if !exists {
        return Err(no_role());
    }
    let names: Vec<&str> = TABLES.iter().map(|table| table.name).collect();
    let to = identifier(role);
    let schema = schema.filter(|_| !uses_schema);
    let schema = schema.map(|schema| format!("GRANT USAGE ON SCHEMA {} TO {to}; ", identifier(&schema)));
    let statements = format!(
        "{}GRANT SELECT, INSERT ON {} TO {to}; GRANT UPDATE, DELETE ON {} TO {to}; \
         GRANT SELECT ON _sqlx_migrations, clock TO {to}; GRANT EXECUTE ON FUNCTION clock_micros(), purge_audit(BIGINT, BIGINT) TO {to}",
        schema.unwrap_or_default(),
        names.join(", "),
        names.iter().copied().filter(|name| *name != AUDIT).collect::<Vec<_>>().join(", ")
    );
    sqlx::raw_sql(AssertSqlSafe(statements)).execute(&mut *connection).await.map_err(failed)?;
    let granted: Option<bool> = sqlx::query_scalar(GRANTED)
        .persistent(false)
        .bind(role)
        .bind(names)
        .bind(AUDIT)
        .fetch_one(connection)
        .await
        .map_err(failed)?;
    if granted == Some(true) { Ok(()) } else { Err(may_not(settings, server)) }
}

/// A name as SQL reads it, whatever is in it.
fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn judged(settings: &PostgresSettings, server: &str, source: Box<dyn StdError + Send + Sync>) -> ConnectError {
    // A right that is missing, or no schema that one might make a table in.
    let lacks_right = |code: &str| code == "42501" || code == "3F000";
    let mut cause: Option<&(dyn StdError + 'static)> = Some(source.as_ref());
    while let Some(why) = cause {
        if let Some(sqlx::Error::Database(said)) = why.downcast_ref()
            && said.code().is_some_and(|code| lacks_right(&code))
        {
            return may_not(settings, server);
        }
        cause = why.source();
    }
    ConnectError::Migration { server: server.to_owned(), source }
}

fn may_not(settings: &PostgresSettings, server: &str) -> ConnectError {
    ConnectError::MayNotMigrate { server: server.to_owned(), role: role(settings) }
}

#[cfg(test)]
mod tests;
