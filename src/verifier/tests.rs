//! The verifier as its callers see it.

mod feed;
mod forged;
mod living;

use super::forge::{AUDIENCE, Forge, ISSUER, Members, SESSION, USER, claims};
use super::*;
use crate::domain::id::{PrincipalId, SessionId, UserId};
use crate::domain::permission::Scope;
use crate::domain::role::{BoundRole, Role};
use crate::domain::standing::Floor;

/// 2026-01-01T00:00:00Z.
const NOW: Timestamp = Timestamp::from_secs(1_767_225_600);

/// A loaded verifier with one key, two roles, and a clock.
struct Fixture {
    verifier: Verifier,
    forge: Forge,
    now: Moment,
}

impl Fixture {
    fn new() -> Self {
        Self::with(|_settings| {})
    }

    fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings {
            issuer: ISSUER.to_owned(),
            max_staleness: Duration::from_mins(1),
            serve_stale: false,
            cache_bytes: CACHE_BYTES_DEFAULT,
        };
        change(&mut settings);
        let now = Moment { wall: NOW, uptime: Duration::from_hours(5) };
        let fixture = Self { verifier: Verifier::new(settings), forge: Forge::new("k1", 1), now };
        fixture.verifier.load(cursor(1), NOW, &[policy(1)], vec![fixture.forge.key()], now).unwrap();
        fixture
    }

    fn claims(&self) -> Members {
        claims(self.now.wall)
    }

    /// A good one.
    fn token(&self) -> String {
        self.forge.token(&self.claims())
    }

    fn pass(&mut self, time: Duration) {
        self.now.wall = self.now.wall + time;
        self.now.uptime += time;
    }

    /// As `pass`, with a feed that goes on.
    fn pass_fresh(&mut self, time: Duration) {
        self.pass(time);
        let head = self.verifier.head();
        self.verifier.fresh(cursor(head.id), self.now.wall, self.now);
    }

    fn learn(&self, changes: &[Change]) {
        let head = self.verifier.head();
        self.verifier.apply(cursor(head.id + 1), self.now.wall, changes, None, self.now).unwrap();
    }

    fn judge(&self, token: &str, require: &[Check]) -> Outcome {
        self.judgement(&question(token, require)).unwrap().outcome
    }

    fn judgement(&self, question: &Question<'_>) -> Result<Judgement, NotFresh> {
        self.verifier.judge(question, self.now)
    }

    fn accepts(&self, token: &str) -> bool {
        matches!(self.judge(token, &[]), Outcome::Allow { .. })
    }

    /// Why a token was refused; panics if it was not.
    fn fault(&self, token: &str) -> TokenFault {
        match self.judge(token, &[]) {
            Outcome::Unauthenticated(fault) => fault,
            other => panic!("{other:?} for {token}"),
        }
    }

    fn why(&self, token: &str) -> InvalidWhy {
        match self.fault(token) {
            TokenFault::Invalid(why) => why,
            other => panic!("{other:?} for {token}"),
        }
    }
}

fn question<'a>(token: &'a str, require: &'a [Check]) -> Question<'a> {
    Question { token, audience: AUDIENCE, require, ask: &[], assurance: Assurance::default(), min_revision: None }
}

fn cursor(id: i64) -> Cursor {
    Cursor { id, mark: [7; 8] }
}

/// `viewer` reads orders, `editor` changes them too.
fn policy(version: i64) -> Change {
    let roles = vec![role("viewer", &["orders:read"], &[]), role("editor", &["orders:write"], &["viewer"])];
    Change::Policy { version, roles }
}

fn role(id: &str, patterns: &[&str], inherits: &[&str]) -> Role {
    Role {
        id: id.parse().unwrap(),
        description: String::new(),
        patterns: patterns.iter().map(|text| text.parse().unwrap()).collect(),
        inherits: inherits.iter().map(|id| id.parse().unwrap()).collect(),
        etag: String::new(),
    }
}

fn check(permission: &str, tenant: &str) -> Check {
    let tenant = (!tenant.is_empty()).then(|| tenant.parse().unwrap());
    Check { permission: permission.parse().unwrap(), tenant }
}

fn bound(role: &str, tenant: &str, expires_at: Option<Timestamp>) -> BoundRole {
    let scope = if tenant.is_empty() { Scope::Everywhere } else { Scope::Tenant(tenant.parse().unwrap()) };
    BoundRole { role: role.parse().unwrap(), scope, expires_at }
}

fn user() -> UserId {
    USER.parse().unwrap()
}

fn session() -> SessionId {
    SESSION.parse().unwrap()
}

fn ended(session: SessionId) -> Change {
    use crate::domain::change::EndedSession;
    use crate::domain::standing::{End, EndCause};
    Change::SessionEnded(EndedSession {
        user: user(),
        session,
        end: End { cause: EndCause::Logout, time: NOW },
        keep_until: NOW + Duration::from_hours(24),
        summary: None,
    })
}

/// A state of the user at `version` without anything against older tokens.
fn state(version: i64) -> crate::domain::change::PrincipalState {
    crate::domain::change::PrincipalState {
        id: PrincipalId::User(user()),
        version,
        roles_at: 0,
        floor: Floor::NONE,
        bindings: Vec::new(),
    }
}

fn floor(version: i64, except: Option<SessionId>) -> Change {
    let mut state = state(version);
    state.floor = Floor { version, except, ..Floor::NONE };
    Change::Principal(state)
}

fn roles(version: i64, bindings: Vec<BoundRole>) -> Change {
    let mut state = state(version);
    (state.roles_at, state.bindings) = (version, bindings);
    Change::Principal(state)
}

#[test]
fn threads_share_one() {
    fn shared<T: Send + Sync>() {}
    shared::<Verifier>();
}
