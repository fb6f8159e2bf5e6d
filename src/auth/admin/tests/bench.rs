//! An `Auth` in a folder of its own, with one administrator, and short words for what the tests do.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use secrecy::ExposeSecret as _;
use tempfile::TempDir;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::auth::admin::audit_log::ListAuditEvents;
use crate::auth::admin::bindings::ListBindings;
use crate::auth::admin::caller::Caller;
use crate::auth::admin::explain::{Ask, Explanation, Subject};
use crate::auth::admin::roles::ApplyPolicy;
use crate::auth::admin::users::{CreateUser, ListUsers, NewPassword};
use crate::auth::audit::Audit;
use crate::auth::clients::Clients;
use crate::auth::error::AuthError;
use crate::auth::feed::FeedTask;
use crate::auth::key_rotation::KeyRules;
use crate::auth::keyring::Keyring;
use crate::auth::login::{Login, Outcome};
use crate::auth::master_key::MasterKeys;
use crate::auth::password_rules::PasswordRules;
use crate::auth::passwords::{HashSettings, Passwords};
use crate::auth::pepper::Peppers;
use crate::auth::{Auth, Call, Rules, event};
use crate::clock::Clock;
use crate::domain::account::{Identifier, Profile, User};
use crate::domain::audit::AuditKind;
use crate::domain::change::Revision;
use crate::domain::client::{Origin, Registration, SessionPolicy};
use crate::domain::id::{PrincipalId, UserId};
use crate::domain::key::Algorithm;
use crate::domain::password::{Context, Password};
use crate::domain::permission::Scope;
use crate::domain::role::{BoundRole, Role, RoleId};
use crate::domain::session::{Device, TokenScope};
use crate::domain::time::Timestamp;
use crate::metrics::Metrics;
use crate::oauth::Providers;
use crate::store::{AuditFilter, Binding, BindingFilter, NewUser, ProfileChange, Store, UserKey};
use crate::vault::records::Records;
use crate::vault::sessions::Sessions;
use crate::verifier::{CACHE_BYTES_DEFAULT, Check, Settings, Verifier};

pub(super) const ISSUER: &str = "https://id.example";
const OTHER_AUDIENCE: &str = "https://shop.example";
const SESSION_POLICY: SessionPolicy = SessionPolicy {
    access_ttl: Duration::from_mins(10),
    idle_ttl: Duration::from_hours(1),
    absolute_ttl: Duration::from_hours(2),
    refresh_grace: Duration::from_secs(30),
    max_per_user: 10,
};
const PASSWORD: &str = "correct horse battery";

pub(super) struct Bench {
    pub(super) auth: Auth,
    pub(super) call: Call,
    _stop: DropGuard,
    _folder: TempDir,
}

impl Bench {
    pub(super) async fn new() -> Self {
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
        let clients = Arc::new(Clients::new(SESSION_POLICY, Vec::new(), Some(built_in())).unwrap());
        let call = Call { client: clients.anonymous().unwrap(), request_id: "request".into() };
        let made = event(AuditKind::KeyCreated, &call, clock.now());
        store.insert_first_key(&keyring.make(Algorithm::EdDsa, 1).unwrap(), &made).await.unwrap();
        let poll = Duration::from_millis(50);
        let (feed, mut feed_task) = FeedTask::new(
            store.clone(),
            Arc::clone(&verifier),
            Arc::clone(&keyring),
            Arc::clone(&clients),
            clock.clone(),
            poll,
        );
        feed_task.load().await.unwrap();
        let (audit, audit_task) = Audit::new(store.clone(), clock.clone(), Metrics::new());
        let stop = CancellationToken::new();
        let background = TaskTracker::new();
        background.spawn(feed_task.run(stop.clone()));
        background.spawn(audit_task.run(stop.clone()));
        let cost =
            HashSettings { memory_kib: 64, iterations: 1, parallelism: 1, threads: NonZeroUsize::MIN, queue: 64 };
        let auth = Auth {
            sessions: Sessions::new(Arc::new(store.vault()), masters.sealer("session")),
            challenges: Records::new(Arc::new(store.vault()), masters.sealer("challenge")),
            flows: Records::new(Arc::new(store.vault()), masters.sealer("flow")),
            codes: Records::new(Arc::new(store.vault()), masters.sealer("code")),
            links: Records::new(Arc::new(store.vault()), masters.sealer("link")),
            traded: Records::new(Arc::new(store.vault()), masters.sealer("traded")),
            providers: Providers::new(Vec::new(), &clock).unwrap(),
            trusted_issuers: crate::oauth::trusted::TrustedIssuers::default(),
            vault: Arc::new(store.vault()),
            limits: crate::auth::limits::Limits::new(
                Arc::new(store.vault()),
                masters.sealer("device"),
                crate::config::Config::development_defaults(std::path::Path::new("unused")).limits.tries,
            ),
            summaries: masters.sealer("summary"),
            passwords: Passwords::start(&cost, Peppers::default()).unwrap(),
            clients,
            rules: Rules {
                issuer: ISSUER.to_owned(),
                late_repeats: true,
                new_user_roles: Vec::new(),
                passwords: PasswordRules { min_length: 15, context: Context::default(), breached: None },
                jwks_max_age: Duration::from_mins(5),
                keys: KeyRules { algorithm: Algorithm::EdDsa, wait: Duration::from_mins(11), rotate_every: None },
            },
            store,
            verifier,
            keyring,
            masters,
            feed,
            audit,
            clock,
            metrics: Metrics::new(),
            replica: uuid::Uuid::now_v7(),
        };
        let bench = Self { auth, call, _stop: stop.drop_guard(), _folder: folder };
        bench.user("admin", &[("postern.admin", "")]).await;
        bench
    }

    /// A user with these roles, past all guards.
    pub(super) async fn user(&self, name: &str, roles: &[(&str, &str)]) -> UserId {
        let id = UserId::generate();
        let new = NewUser {
            id,
            profile: Profile { user_name: Some(name.parse().unwrap()), ..Profile::default() },
            password_hash: Some(self.auth.passwords.hash(password()).await.unwrap()),
            password_due: false,
            request_id: None,
            bindings: roles.iter().map(|(role, tenant)| bound(role, tenant, None)).collect(),
        };
        let made = event(AuditKind::UserCreated, &self.call, self.auth.clock.now());
        self.auth.store.create_user(&new, &made).await.unwrap();
        id
    }

    /// From here on a hash takes a good part of a second.
    pub(super) fn hash_slowly(&mut self) {
        let cost =
            HashSettings { memory_kib: 65_536, iterations: 4, parallelism: 1, threads: NonZeroUsize::MIN, queue: 64 };
        self.auth.passwords = Passwords::start(&cost, Peppers::default()).unwrap();
    }

    pub(super) async fn sign_in(&self, name: &str) -> Caller {
        self.auth.administrator(&self.sign_in_for(name, ISSUER).await, "request").unwrap()
    }

    /// An access token for this audience.
    pub(super) async fn sign_in_for(&self, name: &str, audience: &str) -> String {
        let scope = TokenScope { audiences: vec![audience.to_owned()], tenant: None };
        self.sign_in_with(name, password(), scope).await.unwrap()
    }

    pub(super) async fn sign_in_with(
        &self,
        name: &str,
        password: Password,
        scope: TokenScope,
    ) -> Result<String, AuthError> {
        let identifier = Identifier::from_typed(name).unwrap();
        let login = Login {
            identifier,
            password,
            device: Device::default(),
            scope,
            replace: None,
            supported: Vec::new(),
            device_token: None,
        };
        match self.auth.login(&self.call, login).await? {
            Outcome::SignedIn(issued) => Ok(issued.0.access_token.expose_secret().to_owned()),
            Outcome::Challenged(_) => panic!("nobody's password is due here"),
        }
    }

    pub(super) async fn create(&self, bearer: &Caller, name: &str) -> Result<(User, Revision), AuthError> {
        let profile = Profile { user_name: Some(name.parse().unwrap()), ..Profile::default() };
        let create = CreateUser { profile, password: Some(to_keep(password())), request_id: None };
        self.auth.create_user(bearer, create).await
    }

    pub(super) async fn put(&self, bearer: &Caller, role: Role) -> Role {
        self.auth.put_role(bearer, role).await.unwrap().0
    }

    pub(super) async fn grant(
        &self,
        bearer: &Caller,
        user: UserId,
        role: &str,
        tenant: &str,
    ) -> Result<(Binding, Revision), AuthError> {
        self.auth.grant_role(bearer, &PrincipalId::User(user), bound(role, tenant, None)).await
    }

    pub(super) async fn grant_until(
        &self,
        bearer: &Caller,
        user: UserId,
        role: &str,
        end: Timestamp,
    ) -> Result<(Binding, Revision), AuthError> {
        self.auth.grant_role(bearer, &PrincipalId::User(user), bound(role, "", Some(end))).await
    }

    pub(super) async fn withdraw(
        &self,
        bearer: &Caller,
        user: UserId,
        role: &str,
        tenant: &str,
    ) -> Result<Revision, AuthError> {
        self.auth.withdraw_role(bearer, &PrincipalId::User(user), &id(role), &scope(tenant)).await
    }

    pub(super) async fn explain(
        &self,
        bearer: &Caller,
        user: UserId,
        permission: &str,
        tenant: &str,
    ) -> Result<Explanation, AuthError> {
        let subject = Subject::Principal(PrincipalId::User(user));
        self.auth.explain_access(bearer, &Ask::Now(subject, check(permission, tenant))).await
    }

    /// Moves the clock, and waits until the feed is fresh by it.
    pub(super) async fn advance(&self, by: Duration) {
        self.auth.clock.advance(by);
        while self.auth.verifier.freshness(self.auth.clock.moment()).is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The details of all audit rows of a kind, once no more arrive: refusals are written behind a queue.
    pub(super) async fn audited(&self, kind: &'static str) -> Vec<String> {
        let mut rows = Vec::new();
        for _ in 0..100 {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let before = std::mem::replace(&mut rows, self.auth.store.audit_details(kind).await);
            if !rows.is_empty() && rows.len() == before.len() {
                break;
            }
        }
        rows
    }
}

fn built_in() -> Registration {
    Registration {
        audience: ISSUER.to_owned(),
        token_audiences: vec![ISSUER.to_owned(), OTHER_AUDIENCE.to_owned()],
        roles: vec![bound("postern.front", "", None), bound("postern.backend", "", None)],
        ..Registration::new("dev".parse().unwrap(), Origin::BuiltIn)
    }
}

/// A password that stays until it is changed.
pub(super) fn to_keep(password: Password) -> NewPassword {
    NewPassword { password, due: false }
}

pub(super) fn client(id: &str) -> Registration {
    Registration::new(id.parse().unwrap(), Origin::Store)
}

pub(super) fn password() -> Password {
    Password::from_typed(PASSWORD).unwrap()
}

pub(super) fn id(role: &str) -> RoleId {
    role.parse().unwrap()
}

pub(super) fn scope(tenant: &str) -> Scope {
    tenant.parse().map_or(Scope::Everywhere, Scope::Tenant)
}

pub(super) fn bound(role: &str, tenant: &str, expires_at: Option<Timestamp>) -> BoundRole {
    BoundRole { role: id(role), scope: scope(tenant), expires_at }
}

pub(super) fn check(permission: &str, tenant: &str) -> Check {
    Check { permission: permission.parse().unwrap(), tenant: tenant.parse().ok() }
}

pub(super) fn role(name: &str, patterns: &[&str], inherits: &[&str]) -> Role {
    Role {
        id: id(name),
        description: String::new(),
        patterns: patterns.iter().map(|text| text.parse().unwrap()).collect(),
        inherits: inherits.iter().map(|parent| id(parent)).collect(),
        etag: String::new(),
    }
}

pub(super) fn policy(roles: Vec<Role>) -> ApplyPolicy {
    ApplyPolicy { roles, validate_only: false, expected_version: None }
}

pub(super) fn by_id(user: UserId) -> UserKey {
    UserKey::Id(user)
}

pub(super) fn all_users() -> ListUsers {
    ListUsers { prefix: String::new(), state: None, after: None, page_size: 2 }
}

pub(super) fn all_events() -> ListAuditEvents {
    ListAuditEvents { filter: AuditFilter::default(), before: None, page_size: 2 }
}

pub(super) fn bindings_of(user: UserId) -> ListBindings {
    let filter = BindingFilter { principal: Some(PrincipalId::User(user)), ..BindingFilter::default() };
    ListBindings { filter, after: None, page_size: 10 }
}

pub(super) fn renamed(name: &str) -> ProfileChange {
    ProfileChange { display_name: Some(name.to_owned()), ..ProfileChange::default() }
}

/// The permission that was missing.
pub(super) fn missing<T>(answer: Result<T, AuthError>) -> String {
    match answer {
        Err(AuthError::PermissionMissing { permission, .. }) => permission.to_string(),
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("was allowed"),
    }
}

/// The pattern that would have been granted.
pub(super) fn beyond<T>(answer: Result<T, AuthError>) -> String {
    match answer {
        Err(AuthError::BeyondOwn { pattern }) => pattern,
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("was allowed"),
    }
}
