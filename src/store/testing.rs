//! A store in a folder of its own, for the tests of this room.

use std::path::PathBuf;
use std::sync::OnceLock;

use postern_rig::pgbouncer::PgBouncer;
use postern_rig::postgres::Postgres;
use secrecy::ExposeSecret as _;
use tempfile::TempDir;
use tokio::sync::OnceCell;

use crate::clock::Clock;
use crate::domain::account::Profile;
use crate::domain::audit::{AuditEvent, AuditKind};
use crate::domain::change::{Change, Cursor, EndedSession, PrincipalState};
use crate::domain::id::{PrincipalId, SessionId, UserId};
use crate::domain::permission::Scope;
use crate::domain::role::{BoundRole, Role};
use crate::domain::standing::{End, EndCause, Owner};
use crate::domain::time::Timestamp;
use crate::store::engine::{query, query_scalar};
use crate::store::{FeedRead, Loaded, NewUser, PostgresSettings, Store};

/// What each behaviour is proved on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Engine {
    Sqlite,
    Postgres,
    /// PostgreSQL as the role that serves, which may make no tables: `examples/postgres-roles.sql` and
    /// [`Store::migrate_and_grant`].
    Limited,
    /// PostgreSQL behind a pooler, which gives each transaction whatever connection is free.
    Pooled,
}

/// Stamps each behaviour into a test for each engine. One that is left off the list is dead code, which the build refuses.
macro_rules! conformance {
    ($($behaviour:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $behaviour() {
                super::$behaviour(crate::store::testing::Engine::Sqlite).await;
            })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $behaviour() {
                super::$behaviour(crate::store::testing::Engine::Postgres).await;
            })*
        }
        mod limited {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $behaviour() {
                super::$behaviour(crate::store::testing::Engine::Limited).await;
            })*
        }
        mod pooled {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $behaviour() {
                super::$behaviour(crate::store::testing::Engine::Pooled).await;
            })*
        }
    };
}

pub(super) use conformance;

pub(super) struct Scratch {
    pub(super) store: Store,
    pub(super) clock: Clock,
    place: Place,
}

enum Place {
    Folder(TempDir),
    /// A database of its own.
    Server {
        /// As the superuser sees it.
        url: String,
        settings: PostgresSettings,
    },
}

impl Scratch {
    pub(super) async fn new(engine: Engine) -> Self {
        let place = match engine {
            Engine::Sqlite => Place::Folder(tempfile::tempdir().unwrap()),
            Engine::Postgres | Engine::Limited | Engine::Pooled => Place::on_server(engine).await,
        };
        let clock = Clock::default();
        Self { store: place.open(&clock).await, clock, place }
    }

    /// Of the embedded store.
    pub(super) fn path(&self) -> PathBuf {
        match &self.place {
            Place::Folder(folder) => folder.path().join("postern.db"),
            Place::Server { url, .. } => panic!("{url} is no file"),
        }
    }

    /// Of the database on the server, as the superuser sees it.
    pub(super) fn server_url(&self) -> String {
        match &self.place {
            Place::Folder(folder) => panic!("{} is on no server", folder.path().display()),
            Place::Server { url, .. } => url.clone(),
        }
    }

    pub(super) async fn reopened(self) -> Self {
        self.store.close().await;
        let store = self.place.open(&self.clock).await;
        Self { store, ..self }
    }

    /// A copy of it as it is now, and the store itself, opened anew.
    pub(super) async fn copied(self) -> (Self, Self) {
        self.store.close().await;
        let place = match &self.place {
            Place::Folder(folder) => {
                let copy = tempfile::tempdir().unwrap();
                std::fs::copy(folder.path().join("postern.db"), copy.path().join("postern.db")).unwrap();
                Place::Folder(copy)
            }
            Place::Server { url, settings } => {
                // A pooler holds on to connections of its own.
                const END: &str = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity \
                    WHERE datname = current_database() AND pid <> pg_backend_pid()";
                Postgres::shared().psql(url, END);
                let copy = Postgres::shared().create_database_from(url);
                let names = [&copy, url].map(|url| url.rsplit_once('/').unwrap().1);
                let url = settings.url.expose_secret().replace(names[1], names[0]);
                Place::Server { url: copy, settings: PostgresSettings { url: url.into(), ..settings.clone() } }
            }
        };
        let copy = Self { store: place.open(&self.clock).await, clock: self.clock.clone(), place };
        (self.reopened().await, copy)
    }

    /// Runs a statement of the test's own.
    pub(super) async fn execute(&self, statement: &'static str) {
        query(statement).execute(&self.store.writer).await.unwrap();
    }

    pub(super) async fn number(&self, statement: &'static str) -> i64 {
        query_scalar(statement).fetch_one(&self.store.reader).await.unwrap()
    }

    /// A user with nothing but a state, a version and a password, written by hand.
    pub(super) async fn plant(&self, version: i64) -> UserId {
        let user = UserId::generate();
        let name = format!("u{}", user.uuid().simple());
        query(
            "INSERT INTO users (id, user_name, user_name_canonical, email_verified, display_name, state, version, \
             roles_at, floor, floor_at, floor_cause, create_time, update_time, etag) \
             VALUES ($1, $2, $2, FALSE, '', 'active', $3, $3, 0, 0, 'ENDED_BY_USER', 0, 0, 1)",
        )
        .bind(user.uuid())
        .bind(name)
        .bind(version)
        .execute(&self.store.writer)
        .await
        .unwrap();
        user
    }

    pub(super) fn profile(email: &str, user_name: &str, external_id: &str) -> Profile {
        Profile {
            external_id: external_id.to_owned(),
            email: (!email.is_empty()).then(|| email.parse().unwrap()),
            user_name: (!user_name.is_empty()).then(|| user_name.parse().unwrap()),
            ..Profile::default()
        }
    }

    /// A user with an e-mail address and these roles.
    pub(super) async fn user(&self, email: &str, bindings: Vec<BoundRole>) -> UserId {
        let id = UserId::generate();
        let new = NewUser {
            id,
            profile: Self::profile(email, "", ""),
            password_hash: Some("old hash".into()),
            password_due: false,
            request_id: None,
            bindings,
        };
        self.store.create_user(&new, &self.audit()).await.unwrap();
        id
    }

    /// A custom role.
    pub(super) async fn role(&self, id: &str, inherits: &[&str]) -> Role {
        let role = Role {
            id: id.parse().unwrap(),
            description: r#""'"#.to_owned(),
            patterns: vec!["docs:*:read".parse().unwrap()],
            inherits: inherits.iter().map(|id| id.parse().unwrap()).collect(),
            etag: String::new(),
        };
        self.store.put_role(&role, None, &self.audit()).await.unwrap().0
    }

    /// The user as sign-in would see them.
    pub(super) async fn owner(&self, user: UserId) -> Owner {
        self.store.owner(user).await.unwrap().unwrap().0
    }

    pub(super) async fn cursor(&self) -> Cursor {
        self.store.load().await.unwrap().cursor
    }

    /// What was learned behind `cursor`.
    pub(super) async fn learned(&self, cursor: Cursor) -> Loaded {
        match self.store.changes_since(cursor).await.unwrap() {
            FeedRead::Changes(loaded) => loaded,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn audit(&self) -> AuditEvent {
        let detail = vec![("note", "\"quoted\"".to_owned())];
        AuditEvent { detail, ..AuditEvent::new(AuditKind::SessionEnded, self.clock.now()) }
    }

    pub(super) fn ended(&self, user: UserId, session: SessionId) -> EndedSession {
        EndedSession {
            user,
            session,
            end: End { cause: EndCause::Logout, time: self.clock.now() },
            keep_until: Timestamp::MAX,
            summary: Some(vec![1, 2, 3]),
        }
    }
}

impl Store {
    /// What the audit log says of all events of a kind, in JSON.
    pub(crate) async fn audit_details(&self, kind: &'static str) -> Vec<String> {
        const LIST: &str = "SELECT detail FROM audit WHERE kind = $1 ORDER BY time, id";
        query_scalar(LIST).bind(kind).fetch_all(&self.reader).await.unwrap()
    }
}

impl Place {
    async fn on_server(engine: Engine) -> Self {
        let url = match engine {
            Engine::Limited => Postgres::shared().create_database_from(limited_database().await),
            _ => migrated_database().await,
        };
        let settings = match engine {
            Engine::Limited => settings(&url.replace("postgres@", "postern@")),
            Engine::Pooled => PostgresSettings { pooler: true, ..settings(&pooler().url(&url)) },
            _ => settings(&url),
        };
        Self::Server { url, settings }
    }

    async fn open(&self, clock: &Clock) -> Store {
        match self {
            Self::Folder(folder) => Store::open(&folder.path().join("postern.db"), clock.clone()).await.unwrap(),
            Self::Server { settings, .. } => Store::connect(settings, clock.clone()).await.unwrap(),
        }
    }
}

pub(super) fn settings(url: &str) -> PostgresSettings {
    PostgresSettings { url: url.into(), pool_size: 8, pooler: false }
}

/// A copy of one that was migrated, which takes a tenth of the time.
pub(super) async fn migrated_database() -> String {
    static TEMPLATE: OnceCell<String> = OnceCell::const_new();
    let template = TEMPLATE
        .get_or_init(|| async {
            let url = Postgres::shared().create_database();
            Store::migrate(&settings(&url)).await.unwrap();
            url
        })
        .await;
    Postgres::shared().create_database_from(template)
}

/// The database that the operator's file makes, migrated by the owner of its tables. Nothing is written to it.
pub(super) async fn limited_database() -> &'static str {
    const ROLES: &str = include_str!("../../examples/postgres-roles.sql");
    static DATABASE: OnceCell<String> = OnceCell::const_new();
    DATABASE
        .get_or_init(|| async {
            let server = Postgres::shared();
            server.psql("postgres", ROLES);
            let url = server.url("postern");
            let owner = settings(&url.replace("postgres@", "postern_owner@"));
            Store::migrate_and_grant(&owner, Some("postern")).await.unwrap();
            url
        })
        .await
}

/// The one before the server that tests share. It has a connection to the server for each that a store may hold at once;
/// they end soon after they were used, since each database has its own.
pub(super) fn pooler() -> &'static PgBouncer {
    static POOLER: OnceLock<PgBouncer> = OnceLock::new();
    let limits = [("default_pool_size", "12"), ("server_idle_timeout", "2")];
    POOLER.get_or_init(|| PgBouncer::start_with(Postgres::shared(), &limits))
}

/// A role for good; an empty tenant is everywhere.
pub(super) fn bound(role: &str, tenant: &str) -> BoundRole {
    let scope = if tenant.is_empty() { Scope::Everywhere } else { Scope::Tenant(tenant.parse().unwrap()) };
    BoundRole { role: role.parse().unwrap(), scope, expires_at: None }
}

/// What a read says of a user.
pub(super) fn principal(changes: &[Change], user: UserId) -> Option<&PrincipalState> {
    changes.iter().find_map(|change| match change {
        Change::Principal(state) if state.id == PrincipalId::User(user) => Some(state),
        _ => None,
    })
}
