//! Reaching a PostgreSQL server: looking at what is there before anything is written, and the pools.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::io;
use std::str::FromStr as _;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use sqlx::error::DatabaseError;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, FromRow};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::clock::Clock;
use crate::store::engine::{Manager, Pool, StoreCounts};
use crate::store::migrations::{self, Schema};
use crate::store::tables::TABLES;
use crate::store::{Engine, Store};

/// The oldest that is tested.
const SERVER_MIN: i32 = 150_000;
/// How long a server has to let us in.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// How long to look at what is there.
pub(super) const LOOK_MAX: Duration = Duration::from_secs(5);
/// What a URL may say beside where and who. The driver would write others into the log, with what they are set to.
const PARAMETERS: [&str; 14] = [
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "host",
    "port",
    "dbname",
    "user",
    "options",
];

/// How the server is reached.
#[derive(Clone, Debug)]
pub struct PostgresSettings {
    /// `postgres://user:password@host:port/database?sslmode=verify-full&sslrootcert=…`
    pub url: SecretString,
    /// Connections at most, beside two for the feed.
    pub pool_size: usize,
    /// Whether a pooler hands a connection to others after each transaction: then nothing is kept on it, and the feed polls.
    pub pooler: bool,
}

/// Why there is no store; says what to do about it, and never the password.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("the URL of PostgreSQL cannot be used: {wrong}")]
    Url { wrong: String },
    #[error("no answer from PostgreSQL at {server} ({source}); check the address, the network and that it runs")]
    Unreachable {
        server: String,
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
    #[error("PostgreSQL at {server} lets nobody in like this ({source}); check user, password, database and TLS")]
    Refused {
        server: String,
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
    #[error("PostgreSQL at {server} is a standby; point the URL at the primary")]
    Standby { server: String },
    #[error("PostgreSQL at {server} is version {found}; 15 or newer is needed")]
    TooOld { server: String, found: i32 },
    #[error(
        "the database at {server} has schema {found} and this version needs {needed}; run `postern migrate` as a role that may make tables"
    )]
    NotMigrated { server: String, found: i64, needed: i64 },
    #[error(
        "the database at {server} has schema {found} and this version knows {known}; start the newer version again, or restore a backup"
    )]
    Newer { server: String, found: i64, known: i64 },
    #[error(
        "the database at {server} was migrated by another build (migration {version} differs); start that build again"
    )]
    OtherBuild { server: String, version: i64 },
    #[error(
        "the database at {server} belongs to another program, which has a table `{table}` in it; give Postern a database of its own"
    )]
    Foreign { server: String, table: String },
    #[error(
        "role `{role}` may not use the tables in the database at {server}; let it:  postern migrate --grant-to {role}"
    )]
    MayNotUse { server: String, role: String },
    #[error(
        "role `{role}` may not make tables in the database at {server}, or not let others use them; name the database's owner \
         in store.postgres.migrate_url"
    )]
    MayNotMigrate { server: String, role: String },
    #[error("PostgreSQL at {server} has no role `{role}`; make it first, with CREATE ROLE … LOGIN")]
    NoRole { server: String, role: String },
    #[error("the database at {server} cannot be migrated ({source}); nothing of it was kept")]
    Migration {
        server: String,
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
}

/// What is worth knowing of a server before it is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerFacts {
    /// Where it is, without secrets.
    pub server: String,
    /// 0: none yet.
    pub schema: i64,
    pub newest_schema: i64,
    /// 150018 is 15.18.
    pub version: i32,
    pub encrypted: bool,
    /// Whether an acknowledged revocation waits for a standby.
    pub synchronous_standby: bool,
    /// For all that connect to it.
    pub connections_max: i64,
}

impl Store {
    /// Connects to a database whose schema is up to date.
    ///
    /// # Errors
    /// If it is not reachable, not ours, or not migrated.
    pub async fn connect(settings: &PostgresSettings, clock: Clock) -> Result<Self, ConnectError> {
        let facts = Self::look_at(settings).await?;
        if facts.schema != facts.newest_schema {
            let (found, needed) = (facts.schema, facts.newest_schema);
            return Err(ConnectError::NotMigrated { server: facts.server, found, needed });
        }
        let counts = StoreCounts::default();
        let pool = |size| {
            let manager = Manager::new(options(settings)?, !settings.pooler);
            Pool::postgres(manager, size, &counts).map_err(|why| ConnectError::Url { wrong: why.to_string() })
        };
        let pool_size = pool(settings.pool_size.max(1))?;
        Ok(Self {
            writer: pool_size.clone(),
            reader: pool_size,
            follower: pool(1)?,
            counts,
            clock,
            committed: watch::Sender::new(0),
            followed: std::sync::Arc::default(),
            engine: Engine::Postgres { facts, settings: settings.clone() },
            created: false,
            schema_version: migrations::newest(),
        })
    }

    /// Looks at a server and changes nothing.
    ///
    /// # Errors
    /// As [`Store::connect`], but for a schema that is older.
    pub async fn look_at(settings: &PostgresSettings) -> Result<ServerFacts, ConnectError> {
        let (mut connection, server) = enter(settings).await?;
        let looked = timeout(LOOK_MAX, look(&mut connection, settings, &server)).await;
        let silent =
            |source: Box<dyn StdError + Send + Sync>| ConnectError::Unreachable { server: server.clone(), source };
        let facts = looked.map_err(|elapsed| silent(elapsed.into()))??;
        connection.close().await.map_err(|why| silent(why.into()))?;
        Ok(facts)
    }
}

pub(super) async fn look(
    connection: &mut PgConnection,
    settings: &PostgresSettings,
    server: &str,
) -> Result<ServerFacts, ConnectError> {
    const FACTS: &str = "SELECT current_setting('server_version_num')::int, pg_is_in_recovery(), \
        current_setting('synchronous_standby_names') <> '', \
        to_regclass('_sqlx_migrations') IS NOT NULL, \
        coalesce((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false), \
        current_setting('max_connections')::bigint - current_setting('superuser_reserved_connections')::bigint, \
        to_regclass('master_keys') IS NOT NULL, \
        (SELECT min(relname::text) FROM pg_class WHERE relname::text = ANY($1) AND relkind IN ('r', 'p', 'v', 'm', 'f') \
            AND pg_table_is_visible(oid))";
    const APPLIED: &str = "SELECT version, checksum FROM _sqlx_migrations WHERE success ORDER BY version";
    type Facts = (i32, bool, bool, bool, bool, i64, bool, Option<String>);
    let refused = |why: sqlx::Error| match why.as_database_error().and_then(DatabaseError::code) {
        Some(code) if code == "42501" => ConnectError::MayNotUse { server: server.to_owned(), role: role(settings) },
        _ => refusal(server, why),
    };
    // Each as one message, because of a pooler; so our own names stand in the statement itself.
    let names: Vec<&str> = TABLES.iter().map(|table| table.name).chain(["clock"]).collect();
    let statement = AssertSqlSafe(FACTS.replace("$1", &format!("string_to_array('{}', ',')", names.join(","))));
    let row = sqlx::raw_sql(statement).fetch_one(&mut *connection).await.map_err(refused)?;
    let facts: Facts = FromRow::from_row(&row).map_err(refused)?;
    let (version, recovering, synchronous_standby, migrated, encrypted, connections_max, is_ours, table) = facts;
    let server = server.to_owned();
    if recovering {
        return Err(ConnectError::Standby { server });
    }
    if version < SERVER_MIN {
        return Err(ConnectError::TooOld { server, found: version / 10_000 });
    }
    let applied: Vec<(i64, Vec<u8>)> = if migrated {
        let rows = sqlx::raw_sql(APPLIED).fetch_all(&mut *connection).await.map_err(refused)?;
        rows.iter().map(FromRow::from_row).collect::<Result<_, _>>().map_err(refused)?
    } else {
        Vec::new()
    };
    // Others keep their migrations in a table of this name too.
    match table {
        None if !applied.is_empty() => {
            return Err(ConnectError::Foreign { server, table: "_sqlx_migrations".to_owned() });
        }
        Some(table) if applied.is_empty() || !is_ours => return Err(ConnectError::Foreign { server, table }),
        _ => {}
    }
    let newest_schema = migrations::newest();
    match migrations::judge(&migrations::postgres(), &applied) {
        Schema::Known(schema) => {
            Ok(ServerFacts { server, schema, newest_schema, version, encrypted, synchronous_standby, connections_max })
        }
        Schema::Newer(found) => Err(ConnectError::Newer { server, found, known: newest_schema }),
        Schema::Other(version) => Err(ConnectError::OtherBuild { server, version }),
    }
}

/// A connection of one's own, and where it leads.
pub(super) async fn enter(settings: &PostgresSettings) -> Result<(PgConnection, String), ConnectError> {
    let options = options(settings)?;
    let server = server(&options);
    match timeout(CONNECT_MAX, options.connect()).await {
        Ok(Ok(connection)) => Ok((connection, server)),
        Ok(Err(why)) => Err(refusal(&server, why)),
        Err(elapsed) => Err(ConnectError::Unreachable { server, source: elapsed.into() }),
    }
}

fn refusal(server: &str, why: sqlx::Error) -> ConnectError {
    let server = server.to_owned();
    // What TLS refuses comes as broken data, and no waiting mends it.
    let is_io = matches!(&why, sqlx::Error::Io(io) if io.kind() != io::ErrorKind::InvalidData);
    // A server that is starting or stopping says so in words of its own (class 57P), and so does one that is full (53).
    let passes = |code: Cow<'_, str>| code.starts_with("57P") || code.starts_with("53");
    let is_away = why.as_database_error().and_then(DatabaseError::code).is_some_and(passes);
    if is_io || is_away {
        ConnectError::Unreachable { server, source: why.into() }
    } else {
        // In the server's own words, without those of the driver around them.
        let said = why.as_database_error().map(|said| said.message().to_owned());
        ConnectError::Refused { server, source: said.map_or_else(|| why.into(), Into::into) }
    }
}

pub(super) fn options(settings: &PostgresSettings) -> Result<PgConnectOptions, ConnectError> {
    let url = settings.url.expose_secret();
    let unusable = |wrong: &str| ConnectError::Url { wrong: wrong.to_owned() };
    if !(url.starts_with("postgres://") || url.starts_with("postgresql://")) {
        return Err(unusable("it starts with postgres://"));
    }
    // Whatever stands behind the host is taken for the database and for parameters, which messages may show.
    let rest = url.split_once("://").map_or("", |(_, rest)| rest);
    let behind = rest.find(['/', '?', '#']).and_then(|at| rest.get(at..)).unwrap_or_default();
    if behind.contains(['@', '#']) {
        return Err(unusable("write `@` `/` `?` `#` `%` in a user or password as %40 %2F %3F %23 %25"));
    }
    let parameters = behind.split_once('?').map_or("", |(_, parameters)| parameters);
    let name = |parameter: &str| parameter.split(['=', '[', '%']).next().unwrap_or_default().to_owned();
    if parameters.contains('%')
        && parameters.split('&').any(|one| one.split('=').next().unwrap_or_default().contains('%'))
        || parameters.split('&').map(name).any(|name| !name.is_empty() && !PARAMETERS.contains(&name.as_str()))
    {
        return Err(unusable(
            "behind `?` it may have sslmode, sslrootcert, sslcert, sslkey, host, port, dbname, user, options",
        ));
    }
    // Its own words may quote the URL.
    let mut options = PgConnectOptions::from_str(url)
        .map_err(|_quotes_the_url| unusable("write postgres://user:password@host:5432/database"))?
        .application_name("postern")
        // Nothing here is a float, and a pooler refuses what it does not know.
        .extra_float_digits(None)
        .disable_statement_logging();
    // Whoever says nothing of TLS has it, except to their own machine: the driver's own way falls back to clear text.
    let says = parameters.split('&').any(|one| one.starts_with("sslmode="));
    if !says && options.get_socket().is_none() && !is_loopback(options.get_host()) {
        options = options.ssl_mode(PgSslMode::VerifyFull);
    }
    if settings.pooler {
        return Ok(options.statement_cache_capacity(0));
    }
    // What no call waits for any more, the server need not finish.
    Ok(options.options([("statement_timeout", "60s"), ("idle_in_transaction_session_timeout", "60s")]))
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.starts_with('/') || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// As whom.
pub(super) fn role(settings: &PostgresSettings) -> String {
    options(settings).map_or_else(|_unusable| String::new(), |options| options.get_username().to_owned())
}

/// Where it is, without user and password.
fn server(options: &PgConnectOptions) -> String {
    let database = options.get_database().unwrap_or("postgres");
    match options.get_socket() {
        Some(socket) => format!("{}/{database}", socket.display()),
        None => format!("{}:{}/{database}", options.get_host(), options.get_port()),
    }
}
