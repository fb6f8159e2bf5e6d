//! What all questions share at one time: policy, keys, fence, and how far the feed was read. Replaced whole, so that no
//! answer mixes two of them.

use std::sync::Arc;
use std::time::Duration;

use super::keys::{KeyFault, Keys, VerificationKey};
use super::policy::Policy;
use super::question::{Freshness, NotFresh};
use super::{FeedFault, Settings};
use crate::domain::change::{Change, Cursor, RETENTION, Revision};
use crate::domain::standing::Fence;
use crate::domain::time::{Moment, Timestamp};

/// Two polls of the feed: beyond that an answer says how old it is.
const BEHIND_AFTER: Duration = Duration::from_secs(1);

/// A revision whose log was rewound never arrives; so long after it the feed has surely passed the place where it was.
const REVISION_PASSED_AFTER: Duration = Duration::from_secs(5);

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
    /// From a full picture; `before` is what was known until now.
    pub(super) fn load(
        before: Option<&Self>,
        cursor: Cursor,
        db_now: Timestamp,
        changes: &[Change],
        keys: Vec<VerificationKey>,
        at: Moment,
    ) -> Result<Self, FeedFault> {
        let policy = match latest_policy(changes, i64::MIN) {
            Some(policy) => policy?,
            None => Policy::compile(&[], 0)?,
        };
        let mut view = Self {
            policy: Arc::new(policy),
            keys: Arc::new(replaced(before.map(|before| &*before.keys), keys)?),
            fence: Fence::default(),
            fence_learned: at.uptime,
            head: Revision { id: cursor.id, at: db_now },
            fresh_at: at,
        };
        // The fence is a floor like others: a database thrown back does not lower it before its time.
        if let Some(before) = before
            && at.uptime.saturating_sub(before.fence_learned) < RETENTION
        {
            (view.fence, view.fence_learned) = (before.fence, before.fence_learned);
        }
        view.raise_fence(changes, at);
        Ok(view)
    }

    pub(super) fn apply(
        &self,
        cursor: Cursor,
        db_now: Timestamp,
        changes: &[Change],
        keys: Option<Vec<VerificationKey>>,
        at: Moment,
    ) -> Result<Self, FeedFault> {
        let mut view = self.fresh(cursor, db_now, at);
        // The row at the cursor is read again every time, so an old version may come behind a new one.
        if let Some(policy) = latest_policy(changes, self.policy.version()) {
            view.policy = Arc::new(policy?);
        }
        if let Some(keys) = keys {
            view.keys = Arc::new(self.keys.replaced_by(keys)?);
        }
        view.raise_fence(changes, at);
        Ok(view)
    }

    pub(super) fn fresh(&self, cursor: Cursor, db_now: Timestamp, at: Moment) -> Self {
        Self { head: Revision { id: cursor.id, at: db_now }, fresh_at: at, ..self.clone() }
    }

    pub(super) fn head(&self) -> Revision {
        self.head
    }

    pub(super) fn age(&self, now: Moment) -> Duration {
        now.since(self.fresh_at)
    }

    pub(super) fn reached(&self, revision: &Revision) -> bool {
        revision.id <= self.head.id || self.head.at >= revision.at + REVISION_PASSED_AFTER
    }

    /// Whether a token of this version was issued before everybody was signed out.
    pub(super) fn is_behind_fence(&self, version: i64) -> bool {
        version < self.fence.version
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

fn replaced(before: Option<&Keys>, keys: Vec<VerificationKey>) -> Result<Keys, KeyFault> {
    match before {
        Some(before) => before.replaced_by(keys),
        None => Keys::default().replaced_by(keys),
    }
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
