//! Project Wycheproof's tokens, presented to Verify. All of them are foreign: whether their makers call them valid or
//! not, none is signed with a key of ours, so every one is refused.
//!
//! The key and crypto sets test readers of JWK. Postern has none: its verification keys are derived from its own sealed
//! private keys. So of these sets the tokens are presented like the others, and the keys find no door to come in by.
//! The Ed25519 vectors go to the primitive itself, in `src/verifier/keys.rs`.

use postern::proto::auth::v1 as pb;
use wycheproof_ng_kdf_jose::json_web::{Test, TestName, TestSet};

use crate::backstage::{self, claims, judge_all};
use crate::support::{Server, verdict};

/// All in a set that have the shape of a token: compact ones as they are, the rest as the JSON text that they are.
fn tokens(name: TestName, token_of: fn(Test) -> Option<serde_json::Value>) -> Vec<String> {
    let set = TestSet::load(name).unwrap();
    let tests = set.test_groups.into_iter().flat_map(|group| group.tests);
    let text = |token: serde_json::Value| token.as_str().map_or_else(|| token.to_string(), ToOwned::to_owned);
    tests.filter_map(token_of).map(text).collect()
}

async fn all_are_refused(server: &Server, tokens: &[String], expected: usize) {
    assert_eq!(tokens.len(), expected);
    let responses = judge_all(server, tokens).await;
    assert_eq!(responses.len(), expected);
    for (response, token) in responses.iter().zip(tokens) {
        assert_eq!(verdict(response), (pb::Decision::Unauthenticated, pb::Reason::TokenInvalid), "{token}");
        assert!(response.principal.is_none() && response.verdicts.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_foreign_token_is_taken() {
    let server = backstage::server().await;
    let own = server.login_admin().await.access_token;
    all_are_refused(&server, &tokens(TestName::JsonWebSignature, |test| test.jws), 401).await;
    all_are_refused(&server, &tokens(TestName::JsonWebKey, |test| test.jws), 26).await;
    all_are_refused(&server, &tokens(TestName::JsonWebCrypto, |test| test.jws.or(test.jwe)), 83).await;
    all_are_refused(&server, &tokens(TestName::JsonWebEncryption, |test| test.jwe), 139).await;
    // Or all of the above proves nothing.
    assert!(claims(&own).contains_key("sid"));
    assert_eq!(verdict(&server.verify(&own).await), (pb::Decision::Allow, pb::Reason::Unspecified));
}
