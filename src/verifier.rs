//! A token, a question and the time in; a verdict out. Owns all that `Verify` needs in memory; must not know of I/O, of
//! async, or of messages on the wire, so that a client library can use it as it is.
//!
//! The order of a judgement: size and shape, header, key by its id, signature (or the proof of it in the cache), claims,
//! audience, revocation, expiry, roles, policy, assurance. Only what follows from the token's own bytes is remembered;
//! the rest is asked on every call.

pub mod assurance;
pub mod claims;
pub mod identity;
pub mod keys;
pub mod policy;
pub mod question;
pub mod token;

mod cache;
mod proven;
mod standings;
mod view;

#[cfg(test)]
pub(crate) mod forge;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;

use crate::domain::change::{Change, Cursor, Revision};
use crate::domain::id::{SessionId, UserId};
use crate::domain::json;
use crate::domain::role::RoleFault;
use crate::domain::standing::{End, EndCause};
use crate::domain::time::{Moment, Timestamp};

use cache::ProvenTokens;
use proven::{CLOCK_LEEWAY, Proven};
use standings::{Standing, Standings};
use token::Unproven;
use view::View;

pub use assurance::{Assurance, Level};
pub use cache::CacheCounts;
pub use claims::Claims;
pub use identity::{Bearer, Identity};
pub use keys::{KeyFault, VerificationKey};
pub use policy::{Granted, Policy};
pub use question::{Check, Freshness, InvalidWhy, Judgement, NotFresh, Outcome, Question, TokenFault, Verdict};

/// Room for the signatures of some twenty thousand tokens.
pub const CACHE_BYTES_DEFAULT: u64 = 32 * 1024 * 1024;

/// A view of this age has every key that may have signed by now: even one made in an emergency waits longer
/// ([`EMERGENCY_WAIT`](crate::domain::key::plan::EMERGENCY_WAIT)); the feed is read once a second at the least.
const KEYS_KNOWN_WITHIN: Duration = Duration::from_millis(1_500);

/// What an operator decides.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The only issuer whose tokens count.
    pub issuer: String,
    /// How long the feed may be silent.
    pub max_staleness: Duration,
    /// Whether to go on after that, with a mark in every answer.
    pub serve_stale: bool,
    pub cache_bytes: u64,
}

/// Why the feed could not be taken in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FeedFault {
    #[error("the roles are no policy: {0}")]
    Roles(#[from] RoleFault),
    #[error("the keys are no set of keys: {0}")]
    Keys(#[from] KeyFault),
}

/// The engine. One for a process, shared by all its threads.
pub struct Verifier {
    settings: Settings,
    tokens: ProvenTokens,
    standings: Standings,
    /// None until something was loaded.
    view: ArcSwapOption<View>,
    /// One change after another; questions never wait for it.
    feed: Mutex<()>,
}

/// The feed's side.
impl Verifier {
    pub fn new(settings: Settings) -> Self {
        Self {
            tokens: ProvenTokens::with_capacity(settings.cache_bytes),
            settings,
            standings: Standings::default(),
            view: ArcSwapOption::empty(),
            feed: Mutex::new(()),
        }
    }

    /// Takes in a full picture: `changes` has the policy, the fence and all that happened while tokens of the time may
    /// live; `keys` are all keys. What was known of revocations and floors stays known. On a fault whatever is sound counts,
    /// the rest stays as it was, and the age grows, so that the feed comes back to it.
    pub fn load(
        &self,
        cursor: Cursor,
        db_now: Timestamp,
        changes: &[Change],
        keys: Vec<VerificationKey>,
        at: Moment,
    ) -> Result<(), FeedFault> {
        self.advance(changes, at, |before| View::load(before, cursor, db_now, changes, keys, at))
    }

    /// Takes in what is new. [`Change::Keys`] is sealed and passed over: who can open it hands in `keys`, all of them.
    /// Before the first load only revocations are taken. On a fault as [`load`](Self::load).
    pub fn apply(
        &self,
        cursor: Cursor,
        db_now: Timestamp,
        changes: &[Change],
        keys: Option<Vec<VerificationKey>>,
        at: Moment,
    ) -> Result<(), FeedFault> {
        self.advance(changes, at, |before| match before {
            Some(before) => before.apply(cursor, db_now, changes, keys, at),
            None => (None, Ok(())),
        })
    }

    /// Takes in only what ends sessions and what changes the roles of people, because the rest cannot be had. The age grows.
    pub fn learn(&self, changes: &[Change], at: Moment) {
        let _one_at_a_time = self.feed.lock().unwrap_or_else(PoisonError::into_inner);
        self.standings.learn(changes, at.uptime);
        if let Some(view) = &*self.view.load() {
            self.view.store(Some(Arc::new(view.fenced(changes, at))));
        }
    }

    /// A poll that found nothing new.
    pub fn fresh(&self, cursor: Cursor, db_now: Timestamp, at: Moment) {
        let _one_at_a_time = self.feed.lock().unwrap_or_else(PoisonError::into_inner);
        self.standings.sweep(at.uptime);
        if let Some(view) = &*self.view.load() {
            self.view.store(Some(Arc::new(view.fresh(cursor, db_now, at))));
        }
    }

    pub fn loaded(&self) -> bool {
        self.view.load().is_some()
    }

    /// How far the feed was read; zero before the first load.
    pub fn head(&self) -> Revision {
        self.view.load().as_ref().map_or_else(Revision::default, |view| view.head())
    }

    /// How long the feed has not been fresh; the longest time before the first load.
    pub fn age(&self, now: Moment) -> Duration {
        self.view.load().as_ref().map_or(Duration::MAX, |view| view.age(now))
    }

    /// How often a signature was known already.
    pub fn cache_counts(&self) -> CacheCounts {
        self.tokens.counts()
    }

    pub fn max_staleness(&self) -> Duration {
        self.settings.max_staleness
    }

    /// How current an answer given now is.
    pub fn freshness(&self, now: Moment) -> Result<Freshness, NotFresh> {
        self.view.load().as_ref().ok_or(NotFresh::NotLoaded)?.freshness(&self.settings, now)
    }

    pub fn policy(&self) -> Result<Arc<Policy>, NotFresh> {
        self.view.load().as_ref().map(|view| Arc::clone(&view.policy)).ok_or(NotFresh::NotLoaded)
    }

    /// Whether answers have seen what `revision` was given for.
    pub fn reached(&self, revision: &Revision) -> bool {
        self.view.load().as_ref().is_some_and(|view| view.reached(revision))
    }

    /// Revocations first: once a head is shown, every answer has seen what is below it, and nothing that goes wrong
    /// after them keeps one from counting.
    fn advance(
        &self,
        changes: &[Change],
        at: Moment,
        next: impl FnOnce(Option<&View>) -> (Option<View>, Result<(), FeedFault>),
    ) -> Result<(), FeedFault> {
        let _one_at_a_time = self.feed.lock().unwrap_or_else(PoisonError::into_inner);
        self.standings.learn(changes, at.uptime);
        self.standings.sweep(at.uptime);
        let (view, taken) = next(self.view.load().as_deref());
        if let Some(view) = view {
            self.view.store(Some(Arc::new(view)));
        }
        taken
    }
}

/// The question's side.
impl Verifier {
    pub fn judge(&self, question: &Question<'_>, now: Moment) -> Result<Judgement, NotFresh> {
        let view = self.view.load();
        let view = view.as_deref().ok_or(NotFresh::NotLoaded)?;
        let freshness = view.freshness(&self.settings, now)?;
        if question.min_revision.is_some_and(|revision| !view.reached(&revision)) {
            return Err(NotFresh::Behind);
        }
        let identity = match self.recognize(view, question.token, Some(question.audience), now)? {
            Ok(identity) => identity,
            Err(fault) => {
                let outcome = Outcome::Unauthenticated(fault);
                return Ok(Judgement { outcome, identity: None, verdicts: Vec::new(), freshness });
            }
        };
        let outcome = decide(&view.policy, question, &identity, now.wall);
        let verdicts = question.ask.iter().map(|check| {
            let grant = view.policy.check(identity.bindings(), &check.permission, check.tenant.as_ref(), now.wall);
            Verdict { allowed: grant.is_some(), grant }
        });
        let verdicts = verdicts.collect();
        Ok(Judgement { outcome, identity: Some(identity), verdicts, freshness })
    }

    /// Why a session that began at `epoch` of its user is over, as far as is remembered: what ended while tokens of the
    /// time may live. A store that was thrown back may not know it yet.
    pub fn end_of(&self, user: UserId, session: SessionId, epoch: i64) -> Option<End> {
        let fence = self.view.load().as_deref().map(View::fence).filter(|fence| epoch < fence.version);
        let for_all = || fence.map(|fence| End { cause: EndCause::EndedForAll, time: fence.at });
        self.standings.end_of(user, session, epoch).or_else(for_all)
    }

    /// All checks but that of the audience, for callers who have a rule of their own for it.
    pub fn identify(&self, token: &str, now: Moment) -> Result<Result<Bearer, TokenFault>, NotFresh> {
        let view = self.view.load();
        let view = view.as_deref().ok_or(NotFresh::NotLoaded)?;
        // Also where stale verdicts are served: those bear a mark, and this leads to acts, which could not bear one.
        if view.freshness(&self.settings, now)?.stale {
            return Err(NotFresh::Stale { age: view.age(now) });
        }
        let identity = self.recognize(view, token, None, now)?;
        Ok(identity.map(|identity| Bearer { identity, policy: Arc::clone(&view.policy), at: now.wall }))
    }

    /// Whom a token speaks for now.
    fn recognize(
        &self,
        view: &View,
        token: &str,
        audience: Option<&str>,
        now: Moment,
    ) -> Result<Result<Identity, TokenFault>, NotFresh> {
        let proven = match self.prove(view, token, now)? {
            Ok(proven) => proven,
            Err(why) => return Ok(Err(TokenFault::Invalid(why))),
        };
        Ok(self.judge_life(view, proven, audience, now.wall))
    }

    /// What of a token never changes.
    fn prove(&self, view: &View, token: &str, now: Moment) -> Result<Result<Arc<Proven>, InvalidWhy>, NotFresh> {
        if let Some(proven) = self.tokens.get(token, &view.keys) {
            return Ok(Ok(proven));
        }
        let unproven = match Unproven::parse(token) {
            Ok(unproven) => unproven,
            Err(why) => return Ok(Err(why)),
        };
        let Some(key) = view.keys.get(unproven.kid()) else {
            // It may be a key that this replica has not heard of, and an outage must not look like a denial.
            let age = view.age(now);
            let heard_of_all = age <= KEYS_KNOWN_WITHIN;
            return if heard_of_all { Ok(Err(InvalidWhy::UnknownKey)) } else { Err(NotFresh::Stale { age }) };
        };
        let proven = unproven
            .prove(key)
            .and_then(|payload| json::parse_object::<Claims>(&payload).map_err(|_why| InvalidWhy::Claims))
            .and_then(|claims| Proven::new(claims, &self.settings.issuer, key))
            .map(Arc::new);
        if let Ok(proven) = &proven {
            self.tokens.insert(token, proven);
        }
        Ok(proven)
    }

    /// What of a token changes with time and with the feed. One both revoked and expired is called revoked: the other
    /// answer would send its bearer to refresh, in vain.
    fn judge_life(
        &self,
        view: &View,
        proven: Arc<Proven>,
        audience: Option<&str>,
        now: Timestamp,
    ) -> Result<Identity, TokenFault> {
        if !proven.key.accepts_at(now) {
            return Err(TokenFault::Invalid(InvalidWhy::RetiredKey));
        }
        if proven.not_before > now + CLOCK_LEEWAY {
            return Err(TokenFault::Invalid(InvalidWhy::Future));
        }
        if audience.is_some_and(|audience| !proven.audiences.iter().any(|own| own == audience)) {
            return Err(TokenFault::Invalid(InvalidWhy::Audience));
        }
        if view.is_behind_fence(proven.version) {
            return Err(TokenFault::Revoked);
        }
        let Standing::Alive(overriding) = self.standings.of(proven.user, proven.session, proven.version) else {
            return Err(TokenFault::Revoked);
        };
        if proven.expires_at <= now {
            return Err(TokenFault::Expired);
        }
        Ok(Identity::new(proven, overriding))
    }
}

/// Permissions before assurance: who may not do it at all is not sent to sign in again for it.
fn decide(policy: &Policy, question: &Question<'_>, identity: &Identity, now: Timestamp) -> Outcome {
    let mut grants = Vec::with_capacity(question.require.len());
    for check in question.require {
        match policy.check(identity.bindings(), &check.permission, check.tenant.as_ref(), now) {
            Some(grant) => grants.push(grant),
            None => return Outcome::Deny { missing: check.clone() },
        }
    }
    if identity.meets(&question.assurance, now) {
        Outcome::Allow { grants }
    } else {
        Outcome::StepUp { needed: question.assurance }
    }
}

#[cfg(test)]
mod tests;
