//! What all questions share at one time: policy, keys, fence, and how far the feed was read. Replaced whole, so that no
//! answer mixes two of them.

use std::sync::Arc;
use std::time::Duration;

use super::keys::{Keys, VerificationKey};
use super::policy::Policy;
use super::question::{Freshness, NotFresh};
use super::{FeedFault, Settings};
use crate::domain::change::{Change, Cursor, RETENTION, Revision};
use crate::domain::standing::Fence;
use crate::domain::time::{Moment, Timestamp};

/// Two polls of the feed: beyond that an answer says how old it is.
const BEHIND_AFTER: Duration = Duration::from_secs(1);

#[derive(Clone)]
pub(super) struct View {
    pub(super) policy: Arc<Policy>,
    pub(super) keys: Arc<Keys>,
    fence: Fence,
    fence_learned: Duration,
    head: Revision,
    fresh_at: Moment,
}

impl View {
    /// From a full picture; `before` is what was known until now. Without it, a fault leaves nothing to show.
    pub(super) fn load(
        before: Option<&Self>,
        cursor: Cursor,
        db_now: Timestamp,
        changes: &[Change],
        keys: Vec<VerificationKey>,
        at: Moment,
    ) -> (Option<Self>, Result<(), FeedFault>) {
        let policy = latest_policy(changes, i64::MIN).unwrap_or_else(built_in_policy);
        let Some(before) = before else {
            let loaded = policy.and_then(|policy| Self::first(policy, keys, at)).map(|mut view| {
                view.raise_fence(changes, at);
                view.fresh(cursor, db_now, at)
            });
            return match loaded {
                Ok(view) => (Some(view), Ok(())),
                Err(fault) => (None, Err(fault)),
            };
        };
        let mut view = before.clone();
        // The fence is a floor like others: a database thrown back does not lower it before its time.
        if at.uptime.saturating_sub(before.fence_learned) >= RETENTION {
            view.fence = Fence::default();
        }
        view.take(cursor, db_now, changes, Some(policy), Some(keys), at)
    }

    pub(super) fn apply(
        &self,
        cursor: Cursor,
        db_now: Timestamp,
        changes: &[Change],
        keys: Option<Vec<VerificationKey>>,
        at: Moment,
    ) -> (Option<Self>, Result<(), FeedFault>) {
        // The row at the cursor is read again every time, so an old version may come behind a new one.
        let policy = latest_policy(changes, self.policy.version());
        self.clone().take(cursor, db_now, changes, policy, keys, at)
    }

    fn first(policy: Policy, keys: Vec<VerificationKey>, at: Moment) -> Result<Self, FeedFault> {
        Ok(Self {
            policy: Arc::new(policy),
            keys: Arc::new(Keys::default().replaced_by(keys)?),
            fence: Fence::default(),
            fence_learned: at.uptime,
            head: Revision::default(),
            fresh_at: at,
        })
    }

    /// Each part on its own: roles that are no policy keep neither a fence nor the end of a key from counting. But only
    /// what was taken in whole is fresh.
    fn take(
        mut self,
        cursor: Cursor,
        db_now: Timestamp,
        changes: &[Change],
        policy: Option<Result<Policy, FeedFault>>,
        keys: Option<Vec<VerificationKey>>,
        at: Moment,
    ) -> (Option<Self>, Result<(), FeedFault>) {
        self.raise_fence(changes, at);
        let mut taken = Ok(());
        match policy {
            Some(Ok(policy)) => self.policy = Arc::new(policy),
            Some(Err(fault)) => taken = Err(fault),
            None => {}
        }
        match keys.map(|keys| self.keys.replaced_by(keys)) {
            Some(Ok(keys)) => self.keys = Arc::new(keys),
            Some(Err(fault)) => taken = Err(fault.into()),
            None => {}
        }
        let view = if taken.is_ok() { self.fresh(cursor, db_now, at) } else { self };
        (Some(view), taken)
    }

    pub(super) fn fresh(&self, cursor: Cursor, db_now: Timestamp, at: Moment) -> Self {
        Self { head: Revision { id: cursor.id, at: db_now }, fresh_at: at, ..self.clone() }
    }

    /// With the fence of `changes`, if that is higher, and nothing else of them.
    pub(super) fn fenced(&self, changes: &[Change], at: Moment) -> Self {
        let mut view = self.clone();
        view.raise_fence(changes, at);
        view
    }

    pub(super) fn head(&self) -> Revision {
        self.head
    }

    pub(super) fn age(&self, now: Moment) -> Duration {
        now.since(self.fresh_at)
    }

    pub(super) fn reached(&self, revision: &Revision) -> bool {
        revision.is_reached_at(self.head)
    }

    /// Whether a token of this version was issued before everybody was signed out.
    pub(super) fn is_behind_fence(&self, version: i64) -> bool {
        version < self.fence.version
    }

    pub(super) fn fence(&self) -> Fence {
        self.fence
    }

    pub(super) fn freshness(&self, settings: &Settings, now: Moment) -> Result<Freshness, NotFresh> {
        let age = self.age(now);
        let stale = age > settings.max_staleness;
        if stale && !settings.serve_stale {
            return Err(NotFresh::Stale { age });
        }
        Ok(Freshness { revision: self.head, age: (stale || age > BEHIND_AFTER).then_some(age), stale })
    }

    fn raise_fence(&mut self, changes: &[Change], at: Moment) {
        for change in changes {
            if let Change::Fence(fence) = change
                && fence.version > self.fence.version
            {
                (self.fence, self.fence_learned) = (*fence, at.uptime);
            }
        }
    }
}

fn built_in_policy() -> Result<Policy, FeedFault> {
    Ok(Policy::compile(&[], 0)?)
}

/// The last of the policies that are at least of this version, compiled.
fn latest_policy(changes: &[Change], at_least: i64) -> Option<Result<Policy, FeedFault>> {
    let policies = changes.iter().filter_map(|change| match change {
        Change::Policy { version, roles } if *version >= at_least => Some((*version, roles)),
        _ => None,
    });
    let (version, roles) = policies.max_by_key(|(version, _)| *version)?;
    Some(Policy::compile(roles, version).map_err(FeedFault::Roles))
}
