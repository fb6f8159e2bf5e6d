//! What everybody may know: the public keys, and where they are. Kept in memory as long as a copy may be used, so that a flood
//! of questions is none of the service's.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use http::StatusCode;
use http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, HeaderValue};
use hyper::body::Bytes;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tonic::Status;

use super::answer::{self, Answer};
use super::refusal::Refusal;
use super::{Asked, Gateway};
use crate::domain::time::Moment;
use crate::proto::auth::v1::{GetKeysRequest, GetKeysResponse};

/// RFC 7517, section 8.5.1.
const JWK_SET: &str = "application/jwk-set+json";
/// A longer one would outlive the wait of a new key.
const MAX_AGE_MAX: Duration = Duration::from_hours(1);

/// For which all are told what one was told who asked in vain: nobody queues up to ask a service that is away.
const FAILED_PAUSE: Duration = Duration::from_secs(1);
/// For the service's answer, and for whoever waits for one that somebody else asked for.
const PATIENCE: Duration = Duration::from_secs(5);

/// The documents, once they were asked for. One asks, the others wait for what it hears, and read a copy without waiting.
#[derive(Default)]
pub(super) struct WellKnown {
    kept: ArcSwapOption<Kept>,
    asking: Mutex<Option<Failed>>,
}

/// What was heard last, if it was a refusal.
struct Failed {
    why: Refusal,
    at: Moment,
}

struct Kept {
    keys: Bytes,
    metadata: Bytes,
    since: Moment,
    max_age: Duration,
}

impl Gateway {
    /// The keys that verify our tokens (RFC 7517, section 5).
    pub(super) async fn keys(&self, asked: &Asked) -> Result<Answer, Refusal> {
        let kept = self.kept(asked).await?;
        Ok(self.public(JWK_SET, kept.keys.clone(), &kept))
    }

    /// RFC 8414, section 3; OpenID Connect Discovery, section 4. It says no more than is there: nobody can come here for a code.
    pub(super) async fn discovery(&self, asked: &Asked) -> Result<Answer, Refusal> {
        let kept = self.kept(asked).await?;
        Ok(self.public(answer::JSON, kept.metadata.clone(), &kept))
    }

    async fn kept(&self, asked: &Asked) -> Result<Arc<Kept>, Refusal> {
        if let Some(kept) = self.good_copy() {
            return Ok(kept);
        }
        let came = self.clock.moment();
        let waiting = tokio::time::timeout(PATIENCE, self.well_known.asking.lock());
        let mut failed = waiting.await.map_err(|_elapsed| silent())?;
        // Somebody else may have asked meanwhile.
        if let Some(kept) = self.good_copy() {
            return Ok(kept);
        }
        let now = self.clock.moment();
        // Heard while this one waited, or just before it came.
        let is_late = |failed: &Failed| failed.at.since(came).is_zero() && now.since(failed.at) >= FAILED_PAUSE;
        if let Some(failed) = failed.as_ref().filter(|failed| !is_late(failed)) {
            return Err(failed.why.clone());
        }
        let heard = tokio::time::timeout(PATIENCE, self.fetched(asked)).await.unwrap_or_else(|_elapsed| Err(silent()));
        match heard {
            Ok(fresh) => {
                let fresh = Arc::new(fresh);
                self.well_known.kept.store(Some(Arc::clone(&fresh)));
                *failed = None;
                Ok(fresh)
            }
            Err(why) => {
                *failed = Some(Failed { why: why.clone(), at: self.clock.moment() });
                Err(why)
            }
        }
    }

    fn good_copy(&self) -> Option<Arc<Kept>> {
        self.well_known.kept.load_full().filter(|kept| !self.left(kept).is_zero())
    }

    async fn fetched(&self, asked: &Asked) -> Result<Kept, Refusal> {
        let client = self.first()?;
        let since = self.clock.moment();
        let call = self.call(asked, client, GetKeysRequest {}, |mut service, request| async move {
            service.get_keys(request).await
        });
        let answer = call.await?;
        let max_age = answer.max_age.and_then(|age| Duration::try_from(age).ok()).unwrap_or_default();
        Ok(Kept {
            metadata: metadata(&self.settings.url, &answer).ok_or_else(|| Refusal::unexpected("jwks_json"))?,
            keys: answer.jwks_json.into(),
            since,
            max_age: max_age.min(MAX_AGE_MAX),
        })
    }

    fn left(&self, kept: &Kept) -> Duration {
        kept.max_age.saturating_sub(self.clock.moment().since(kept.since))
    }

    /// For any page to read, since anybody may, and without cookies. A copy of our copy ends when ours does: together they must
    /// not outlive the wait of a new key.
    fn public(&self, content_type: &'static str, body: Bytes, kept: &Kept) -> Answer {
        let mut answer = answer::plain(StatusCode::OK, content_type, body);
        let secs = self.left(kept).as_secs_f64().ceil();
        let caching = HeaderValue::from_str(&format!("public, max-age={secs}"));
        let headers = answer.headers_mut();
        headers.insert(CACHE_CONTROL, caching.unwrap_or(HeaderValue::from_static("no-store")));
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        answer
    }
}

fn silent() -> Refusal {
    Refusal::of_call(&Status::unavailable("the service is silent"))
}

fn metadata(url: &str, answer: &GetKeysResponse) -> Option<Bytes> {
    let keys: Value = serde_json::from_str(&answer.jwks_json).ok()?;
    let mut algorithms: Vec<&str> =
        keys.get("keys")?.as_array()?.iter().filter_map(|key| key.get("alg")?.as_str()).collect();
    algorithms.sort_unstable();
    algorithms.dedup();
    let none: [&str; 0] = [];
    let metadata = json!({
        "issuer": answer.issuer,
        "jwks_uri": format!("{url}/.well-known/jwks.json"),
        "response_types_supported": none,
        "grant_types_supported": none,
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": algorithms,
    });
    Some(metadata.to_string().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_metadata_says_what_is_there() {
        let answer = GetKeysResponse {
            jwks_json: r#"{"keys":[{"alg":"ES256"},{"alg":"EdDSA"},{"alg":"ES256"}]}"#.to_owned(),
            max_age: None,
            issuer: "https://id.example.com".to_owned(),
        };
        let metadata = metadata("https://auth.example.com", &answer).unwrap();
        insta::assert_snapshot!(std::str::from_utf8(&metadata).unwrap(), @r#"{"grant_types_supported":[],"id_token_signing_alg_values_supported":["ES256","EdDSA"],"issuer":"https://id.example.com","jwks_uri":"https://auth.example.com/.well-known/jwks.json","response_types_supported":[],"subject_types_supported":["public"]}"#);
        let broken = GetKeysResponse { jwks_json: "<".to_owned(), ..answer };
        assert!(super::metadata("https://auth.example.com", &broken).is_none());
    }
}
