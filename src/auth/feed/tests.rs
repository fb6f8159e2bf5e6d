//! The feed over a real store: what must be tried again, and what must not be lost on the way.

use std::time::Duration;

use secrecy::ExposeSecret as _;
use tempfile::TempDir;

use super::*;
use crate::auth::master_key::MasterKeys;
use crate::domain::account::{Profile, UserName};
use crate::domain::audit::{AuditEvent, AuditKind};
use crate::domain::change::EndedSession;
use crate::domain::client::{Client, Origin, Registration, SessionPolicy};
use crate::domain::id::{SessionId, UserId};
use crate::domain::session::{Device, Seed, Session, TokenScope};
use crate::domain::standing::{End, EndCause};
use crate::store::{NewKey, NewUser};
use crate::verifier::{CACHE_BYTES_DEFAULT, Settings, TokenFault};

const ISSUER: &str = "https://id.example";
const SESSION_POLICY: SessionPolicy = SessionPolicy {
    access_ttl: Duration::from_mins(10),
    idle_ttl: Duration::from_hours(1),
    absolute_ttl: Duration::from_hours(2),
    refresh_grace: Duration::from_secs(30),
    max_per_user: 50,
};

struct Bench {
    task: FeedTask,
    folder: TempDir,
}

impl Bench {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::default();
        let store = Store::open(&folder.path().join("postern.db"), clock.clone()).await.unwrap();
        let masters = MasterKeys::parse(&MasterKeys::generate().unwrap()).unwrap();
        let keyring = Arc::new(Keyring::new(masters.keyring_sealer()));
        let verifier = Arc::new(Verifier::new(Settings {
            issuer: ISSUER.to_owned(),
            max_staleness: Duration::from_mins(1),
            serve_stale: false,
            cache_bytes: CACHE_BYTES_DEFAULT,
        }));
        store
            .insert_first_key(&keyring.make(crate::domain::key::Algorithm::EdDsa, 1).unwrap(), &audit())
            .await
            .unwrap();
        let clients = Arc::new(Clients::new(SESSION_POLICY, Vec::new(), None).unwrap());
        let (_feed, mut task) = FeedTask::new(store, verifier, keyring, clients, clock, Duration::from_millis(50));
        task.load().await.unwrap();
        Self { task, folder }
    }

    fn store(&self) -> &Store {
        &self.task.store
    }

    async fn user(&self) -> UserId {
        let id = UserId::generate();
        let user_name: Option<UserName> = Some("kim".parse().unwrap());
        let new = NewUser {
            id,
            profile: Profile { user_name, ..Profile::default() },
            password_hash: None,
            password_due: false,
            request_id: None,
            bindings: Vec::new(),
        };
        self.store().create_user(&new, &audit()).await.unwrap();
        id
    }

    /// An access token of a new session of this user.
    async fn token(&self, user: UserId) -> (SessionId, String) {
        let (owner, now, fence) = self.store().owner(user).await.unwrap().unwrap();
        let client = client();
        let session = Session {
            id: SessionId::generate(),
            user,
            seed: Seed::from_bytes([7; 32]),
            key: 1,
            generation: 0,
            advanced_at: now.floor_to_second(),
            predecessors: Vec::new(),
            last_late: None,
            epoch: owner.version,
            scope: TokenScope { audiences: vec![ISSUER.to_owned()], tenant: None },
            client: client.id.clone(),
            device: Device::default(),
            method: "password".to_owned(),
            create_time: now,
            auth_time: now,
            amr: vec!["pwd".to_owned()],
            absolute_end: now + Duration::from_hours(1),
        };
        let facts = crate::auth::tokens::Facts {
            issuer: ISSUER,
            session: &session,
            owner: &owner,
            fence,
            client: &client,
            scope: &session.scope,
            now,
        };
        let draft = crate::auth::tokens::draft(&self.task.keyring, &facts).unwrap();
        (session.id, draft.sign().unwrap().expose_secret().to_owned())
    }

    async fn end(&self, user: UserId, session: SessionId) {
        let now = self.task.clock.now();
        let end = End { cause: EndCause::EndedByAdmin, time: now };
        let ended = EndedSession { user, session, end, keep_until: now + Duration::from_hours(1), summary: None };
        self.store().end_session(&ended, &audit()).await.unwrap();
    }

    fn fault(&self, token: &str) -> Option<TokenFault> {
        self.task.verifier.identify(token, self.task.clock.moment()).unwrap().err()
    }

    /// Runs statements from another connection, as a restore or an operator would.
    async fn execute(&self, statements: &'static str) {
        use sqlx::{ConnectOptions as _, Connection as _};
        let path = self.folder.path().join("postern.db");
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
        let mut connection = options.connect().await.unwrap();
        sqlx::raw_sql(statements).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }
}

fn audit() -> AuditEvent {
    AuditEvent::new(AuditKind::SessionEnded, Timestamp::default())
}

fn client() -> Client {
    let registration = Registration {
        audience: ISSUER.to_owned(),
        token_audiences: vec![ISSUER.to_owned()],
        ..Registration::new("dev".parse().unwrap(), Origin::BuiltIn)
    };
    Client::new(registration, SESSION_POLICY)
}

/// The store is thrown back, and cannot be written at the moment at which that is found out. The verifiers know the
/// revocation for an hour, but `Refresh` asks the store, so it must get there in the end.
#[tokio::test]
async fn what_could_not_be_written_back_is_tried_again() {
    let mut bench = Bench::new().await;
    let user = bench.user().await;
    let (session, _token) = bench.token(user).await;
    bench.end(user, session).await;
    bench.task.poll().await.unwrap();

    bench
        .execute(
            "DELETE FROM revocations; DELETE FROM changes WHERE kind = 'session'; UPDATE feed SET head = head - 1; \
             CREATE TRIGGER full BEFORE INSERT ON revocations BEGIN SELECT RAISE(ABORT, 'full'); END;",
        )
        .await;
    assert!(bench.task.poll().await.is_err());
    assert!(bench.task.poll().await.is_err(), "it is not over");
    bench.execute("DROP TRIGGER full").await;
    bench.task.poll().await.unwrap();
    let standing = bench.store().standing(user, session).await.unwrap();
    assert_eq!(standing.revoked.map(|end| end.cause), Some(EndCause::EndedByAdmin));
}

/// A key that this replica cannot open is no reason not to hear of what ended.
#[tokio::test]
async fn a_key_that_does_not_open_keeps_no_revocation_away() {
    let mut bench = Bench::new().await;
    let user = bench.user().await;
    let (first, one) = bench.token(user).await;
    let (second, two) = bench.token(user).await;
    assert_eq!((bench.fault(&one), bench.fault(&two)), (None, None));

    let foreign = NewKey {
        kid: "foreign".to_owned(),
        algorithm: crate::domain::key::Algorithm::EdDsa,
        master_key: 9,
        sealed: vec![1],
    };
    bench.store().rotate_key(&foreign, Duration::ZERO, |_, _| true, audit()).await.unwrap().unwrap();
    bench.end(user, first).await;
    assert!(bench.task.poll().await.is_err());
    assert_eq!(bench.fault(&one), Some(TokenFault::Revoked), "in the batch that brought the key");

    bench.task.cursor = None;
    bench.end(user, second).await;
    assert!(bench.task.poll().await.is_err());
    assert_eq!(bench.fault(&two), Some(TokenFault::Revoked), "in a full load");
}
