//! What became of tokens after they were issued: sessions that ended, floors, roles that changed.
//!
//! Every question reads here and every change writes here, and the two must not wait for each other. One map behind one
//! lock would make all readers share a cache line and wait for the sweep; a map that is copied on every change would copy
//! a hundred thousand revocations for one more. So there are many small maps, chosen by user: a writer holds one of them
//! for the time of one insertion, a sweep for a sixty-fourth of all, and the standing of one user is read under one lock,
//! so that a change of two of its marks is seen whole.

use std::collections::HashMap;
use std::hash::BuildHasher as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use foldhash::fast::RandomState;

use crate::domain::change::{Change, PrincipalState, RETENTION};
use crate::domain::id::{PrincipalId, SessionId, UserId};
use crate::domain::role::BoundRole;
use crate::domain::standing::{End, Floor};

const SHARDS: usize = 64;

/// Marks that matter as long as a token may live that was issued before them.
pub(super) struct Standings {
    shards: Box<[RwLock<Shard>]>,
    hasher: RandomState,
    swept: AtomicUsize,
}

#[derive(Default)]
struct Shard {
    ended: HashMap<(UserId, SessionId), (End, Learned), RandomState>,
    users: HashMap<UserId, Known, RandomState>,
}

/// When, by the monotonic clock: a wall clock that jumps ahead must not make revocations forgotten.
type Learned = Duration;

struct Known {
    version: i64,
    roles_at: i64,
    floor: Floor,
    bindings: Arc<[BoundRole]>,
    learned: Learned,
}

/// What is to be said of a token.
#[derive(Debug, PartialEq)]
pub(super) enum Standing {
    Dead,
    /// With the roles that count instead of its own, if they changed since.
    Alive(Option<Arc<[BoundRole]>>),
}

impl Standings {
    /// Of a token of `user`, signed in as `session`, issued at `version` of its user.
    pub(super) fn of(&self, user: UserId, session: SessionId, version: i64) -> Standing {
        let Some(shard) = self.shard(user) else { return Standing::Dead };
        // A writer that panicked left a map that is whole: each step of it is one insertion.
        let shard = shard.read().unwrap_or_else(PoisonError::into_inner);
        if shard.ended.contains_key(&(user, session)) {
            return Standing::Dead;
        }
        match shard.users.get(&user) {
            Some(known) if version < known.floor.version && known.floor.except != Some(session) => Standing::Dead,
            Some(known) if version < known.roles_at => Standing::Alive(Some(Arc::clone(&known.bindings))),
            _ => Standing::Alive(None),
        }
    }

    /// Why a session that began at `epoch` of its user is over, as far as is remembered.
    pub(super) fn end_of(&self, user: UserId, session: SessionId, epoch: i64) -> Option<End> {
        let shard = self.shard(user)?.read().unwrap_or_else(PoisonError::into_inner);
        if let Some((end, _)) = shard.ended.get(&(user, session)) {
            return Some(*end);
        }
        let floor = shard.users.get(&user)?.floor;
        (epoch < floor.version && floor.except != Some(session)).then_some(End { cause: floor.cause, time: floor.at })
    }

    /// Takes in what is about sessions and users. Nothing learned before is undone, whatever the order.
    pub(super) fn learn(&self, changes: &[Change], now: Learned) {
        for change in changes {
            match change {
                Change::SessionEnded(ended) => {
                    self.write(ended.user, |shard| {
                        shard.ended.insert((ended.user, ended.session), (ended.end, now));
                    });
                }
                Change::Principal(state @ PrincipalState { id: PrincipalId::User(user), .. }) => {
                    self.write(*user, |shard| {
                        let known = shard.users.remove(user);
                        shard.users.insert(*user, Known::after(known, state, now));
                    });
                }
                // Programs have no access tokens; what they may do is with the clients.
                Change::Principal(PrincipalState { id: PrincipalId::Client(_), .. })
                | Change::Policy { .. }
                | Change::Clients(_)
                | Change::Keys(_)
                | Change::Fence(_) => {}
            }
        }
    }

    /// Forgets, in one of the maps, what no living token can be older than. Called often, it comes round to all.
    pub(super) fn sweep(&self, now: Learned) {
        let next = self.swept.fetch_add(1, Ordering::Relaxed) % SHARDS;
        if let Some(shard) = self.shards.get(next) {
            let matters = |learned: Learned| now.saturating_sub(learned) < RETENTION;
            let mut shard = shard.write().unwrap_or_else(PoisonError::into_inner);
            shard.ended.retain(|_, (_, learned)| matters(*learned));
            shard.users.retain(|_, known| matters(known.learned));
        }
    }

    fn shard(&self, user: UserId) -> Option<&RwLock<Shard>> {
        let hash = usize::try_from(self.hasher.hash_one(user) % SHARDS as u64).ok()?;
        self.shards.get(hash)
    }

    fn write(&self, user: UserId, change: impl FnOnce(&mut Shard)) {
        if let Some(shard) = self.shard(user) {
            change(&mut shard.write().unwrap_or_else(PoisonError::into_inner));
        }
    }
}

impl Default for Standings {
    fn default() -> Self {
        Self {
            shards: std::iter::repeat_with(RwLock::default).take(SHARDS).collect(),
            hasher: RandomState::default(),
            swept: AtomicUsize::new(0),
        }
    }
}

impl Known {
    /// The version says which of two states is the later, also when the log was rewound: it is raised to the database's
    /// time. A floor only rises.
    fn after(before: Option<Self>, state: &PrincipalState, now: Learned) -> Self {
        let Some(before) = before else {
            return Self {
                version: state.version,
                roles_at: state.roles_at,
                floor: state.floor,
                bindings: state.bindings.as_slice().into(),
                learned: now,
            };
        };
        let floor = strictest(before.floor, state.floor);
        if state.version < before.version {
            return Self { floor, learned: now, ..before };
        }
        Self {
            version: state.version,
            roles_at: state.roles_at,
            floor,
            bindings: state.bindings.as_slice().into(),
            learned: now,
        }
    }
}

/// Two floors at one height that exempt different sessions exempt none: a rewound log may have used a version twice.
fn strictest(one: Floor, other: Floor) -> Floor {
    match one.version.cmp(&other.version) {
        std::cmp::Ordering::Less => other,
        std::cmp::Ordering::Greater => one,
        std::cmp::Ordering::Equal => Floor { except: other.except.filter(|_| one.except == other.except), ..other },
    }
}
