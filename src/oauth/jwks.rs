//! A provider's keys, kept: fetched when they are old, once more when a key is new, and used on for a day when it is away.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::Mutex;
use url::Url;

use super::algorithm::Algorithm;
use super::http::{Expected, Http};
use super::id_token::Unproven;
use super::jwk::KeySet;
use super::{Absence, ProviderFault, Rejection};
use crate::clock::Clock;
use crate::domain::time::Moment;

/// A key that nobody knows causes one request in this time, or a flood of made-up names would become a flood of requests.
const COOL_DOWN: Duration = Duration::from_mins(1);
/// After a request that failed.
const FAILED_COOL_DOWN: Duration = Duration::from_secs(10);
/// For which a set is not asked for again, whatever the provider says.
const FRESH_MIN: Duration = Duration::from_mins(5);
const FRESH_MAX: Duration = Duration::from_hours(24);
/// Where it says nothing.
const FRESH_DEFAULT: Duration = Duration::from_hours(1);
/// For which a set counts while the provider is away.
const STALE_MAX: Duration = Duration::from_hours(24);

#[derive(Default)]
pub(super) struct Keys {
    known: ArcSwapOption<Known>,
    asking: Mutex<Asked>,
}

struct Known {
    set: KeySet,
    fetched: Moment,
    fresh_for: Duration,
}

impl Known {
    fn is_fresh(&self, now: Moment) -> bool {
        now.since(self.fetched) < self.fresh_for
    }

    fn counts(&self, now: Moment) -> bool {
        now.since(self.fetched) < STALE_MAX.max(self.fresh_for)
    }

    fn has(&self, kid: Option<&str>, algorithm: Algorithm) -> bool {
        self.set.find(kid, algorithm).is_some()
    }
}

#[derive(Default)]
struct Asked {
    failed: Option<Moment>,
    /// For a key that nobody knew.
    surprised: Option<Moment>,
}

impl Keys {
    /// Proves a token by the key that it names.
    pub(super) async fn prove(
        &self,
        token: Unproven<'_>,
        at: &Url,
        http: &Http,
        clock: &Clock,
    ) -> Result<Vec<u8>, ProviderFault> {
        let (kid, algorithm) = (token.kid(), token.algorithm());
        let known = self.known.load_full();
        let known = match known.filter(|known| known.is_fresh(clock.moment()) && known.has(kid, algorithm)) {
            Some(known) => known,
            None => self.look_for(kid, algorithm, at, http, clock).await?,
        };
        let key = known.set.find(kid, algorithm).ok_or(Rejection::IdTokenKey)?;
        Ok(token.prove(key)?)
    }

    /// Whether [`Keys::prove`] will ask nobody.
    pub(super) fn hold(&self, token: &Unproven<'_>, clock: &Clock) -> bool {
        let known = self.known.load();
        known.as_ref().is_some_and(|known| known.is_fresh(clock.moment()) && known.has(token.kid(), token.algorithm()))
    }

    /// When they were last heard.
    pub(super) fn fetched(&self) -> Option<Moment> {
        self.known.load().as_ref().map(|known| known.fetched)
    }

    /// Fetches them if they are not fresh. Meant for whoever does so ahead of need.
    pub(super) async fn refresh(&self, at: &Url, http: &Http, clock: &Clock) {
        let mut asked = self.asking.lock().await;
        let now = clock.moment();
        if !self.known.load().as_ref().is_some_and(|known| known.is_fresh(now))
            && may_ask(asked.failed, FAILED_COOL_DOWN, now)
        {
            // Whoever needs them is told; nobody does yet.
            drop(self.fetch(&mut asked, at, http, clock).await);
        }
    }

    async fn look_for(
        &self,
        kid: Option<&str>,
        algorithm: Algorithm,
        at: &Url,
        http: &Http,
        clock: &Clock,
    ) -> Result<Arc<Known>, ProviderFault> {
        let mut asked = self.asking.lock().await;
        let now = clock.moment();
        // Others may have fetched meanwhile.
        let known = self.known.load_full();
        let fresh = known.as_ref().filter(|known| known.is_fresh(now));
        let is_worth_it = match fresh {
            Some(known) if known.has(kid, algorithm) => return Ok(Arc::clone(known)),
            Some(_) => {
                let may = may_ask(asked.surprised, COOL_DOWN, now);
                if may {
                    asked.surprised = Some(now);
                }
                may
            }
            None => may_ask(asked.failed, FAILED_COOL_DOWN, now),
        };
        if is_worth_it {
            match self.fetch(&mut asked, at, http, clock).await {
                Ok(fetched) => return Ok(fetched),
                Err(fault) if known.is_none() => return Err(fault),
                Err(_away) => {}
            }
        }
        let still = known.filter(|known| known.counts(clock.moment()));
        let still = still.ok_or(Absence::Keys)?;
        let is_behind = !still.is_fresh(now) && !still.has(kid, algorithm);
        // An old set that lacks the key says nothing about it.
        if is_behind { Err(Absence::Keys.into()) } else { Ok(still) }
    }

    async fn fetch(
        &self,
        asked: &mut Asked,
        at: &Url,
        http: &Http,
        clock: &Clock,
    ) -> Result<Arc<Known>, ProviderFault> {
        let answer = fetched(at, http).await;
        let now = clock.moment();
        match answer {
            Ok((set, max_age)) => {
                asked.failed = None;
                let fresh_for = max_age.unwrap_or(FRESH_DEFAULT).clamp(FRESH_MIN, FRESH_MAX);
                let known = Arc::new(Known { set, fetched: now, fresh_for });
                self.known.store(Some(Arc::clone(&known)));
                Ok(known)
            }
            Err(fault) => {
                asked.failed = Some(now);
                Err(fault)
            }
        }
    }
}

fn may_ask(last: Option<Moment>, pause: Duration, now: Moment) -> bool {
    last.is_none_or(|last| now.since(last) >= pause)
}

/// Whatever is wrong with what was published, it is the provider that has no keys, and nobody's token that is bad.
async fn fetched(at: &Url, http: &Http) -> Result<(KeySet, Option<Duration>), ProviderFault> {
    let answer = match http.get(at, None, Expected::Keys).await {
        Ok(answer) if answer.status == http::StatusCode::OK => answer,
        Err(fault @ ProviderFault::Unavailable { .. }) => return Err(fault),
        Ok(_) | Err(ProviderFault::Rejected(_)) => return Err(Absence::Keys.into()),
    };
    let set = KeySet::parse(&answer.body).map_err(|_no_set| Absence::Keys)?;
    Ok((set, answer.max_age))
}
