//! Row 184, for what this is about: of codes, states, flow secrets, verifiers, nonces, the providers' tokens and our secret with
//! them nothing is in the log at any level, whatever a provider answers; and nothing in what the server keeps.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use postern::proto::auth::v1 as pb;
use postern_rig::providers::{ADMIN_KEY, CLIENT_SECRET, Fake, Kind, Person, Reply, Script, kakao_notice};
use serde_json::json;

use pb::auth_service_client::AuthServiceClient;

use super::{Proof, Stage, returned};
use crate::canary::Process;
use crate::engines::Home;

const WORDS: &str = "canary-words-of-a-provider";

/// Ways in which a provider answers, the last ones with secrets where none belong.
fn replies() -> Vec<Script> {
    let of = |token: Reply, userinfo: Reply| Script {
        token,
        userinfo,
        ..Script::of(Person::new("5").with_email(None, false))
    };
    let told = json!({ "error": "invalid_grant", "error_description": WORDS, "access_token": WORDS });
    let html = || Reply::Raw(502, vec![("content-type", "text/html".into())], format!("<h1>{WORDS}</h1>").into_bytes());
    let torn = format!("{{\"access_token\": \"{WORDS}\", \"expires_in\": ");
    let torn = Reply::Raw(200, vec![("content-type", "application/json".into())], torn.into_bytes());
    let odd = json!({ "access_token": [WORDS], "id_token": WORDS, "expires_in": WORDS });
    let claims = vec![("nonce".to_owned(), Some(json!(WORDS)))];
    vec![
        of(Reply::Usual, Reply::Usual),
        of(Reply::Json(200, told.clone()), Reply::Usual),
        of(Reply::Json(400, told.clone()), Reply::Usual),
        of(Reply::Json(500, told), Reply::Usual),
        of(html(), Reply::Usual),
        of(torn.clone(), Reply::Usual),
        of(Reply::Json(200, odd), Reply::Usual),
        of(Reply::Redirect(format!("http://127.0.0.1:1/{WORDS}")), Reply::Usual),
        of(Reply::ResetAfter, Reply::Usual),
        of(Reply::Usual, html()),
        of(Reply::Usual, torn),
        Script { claims, ..of(Reply::Usual, Reply::Usual) },
    ]
}

/// What was in the requests that the provider got.
fn heard(fake: &Fake, secrets: &mut BTreeSet<String>) {
    for request in fake.requests("") {
        let form = ["code", "code_verifier", "client_secret", "state"];
        secrets.extend(form.into_iter().filter_map(|name| request.form.get(name).cloned()));
        secrets.extend(request.header("authorization").split(' ').nth(1).map(ToOwned::to_owned));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_sign_in_by_a_provider_is_logged_or_kept() {
    let stages = Stage::all();
    let home = Home::untouched();
    let mut settings = String::new();
    for stage in &stages {
        settings += &stage.fake.settings_of(stage.id, stage.is_oidc);
        writeln!(settings, "redirect_uri = \"{}/{}\"", super::CALLBACK, stage.id).unwrap();
    }
    std::fs::write(home.path().join("postern.toml"), settings).unwrap();
    let process = Process::start(&home, "json", &home.engines.environment());
    let mut client = AuthServiceClient::new(process.channel().await);
    let mut secrets = BTreeSet::from([WORDS, CLIENT_SECRET, ADMIN_KEY].map(ToOwned::to_owned));
    let mut signed_in = 0;
    for stage in &stages {
        for script in replies() {
            stage.fake.script(script);
            let start = pb::OAuthStartRequest { provider: stage.id.to_owned(), ..Default::default() };
            // A provider that failed too often is left alone.
            let Ok(started) = client.o_auth_start(start).await else { continue };
            let started = started.into_inner();
            let callback = stage.sent(&started.authorization_url);
            let code = returned(stage.id, &callback, &started.flow_secret);
            secrets.extend([started.flow_secret, started.nonce, code.code.clone(), code.state.clone()]);
            let stranger = pb::ProviderCode { flow_secret: "x".to_owned(), error: String::new(), ..code.clone() };
            for code in [stranger, code.clone(), code] {
                let proof = Some(Proof::ProviderCode(code));
                let request = pb::OAuthExchangeRequest { proof, ..Default::default() };
                let Ok(answer) = client.o_auth_exchange(request).await else { continue };
                let Some(pb::o_auth_exchange_response::Outcome::SignIn(sign_in)) = answer.into_inner().outcome else {
                    continue;
                };
                signed_in += 1;
                let tokens = sign_in.tokens.unwrap();
                secrets.extend([tokens.refresh_token, tokens.access_token.rsplit_once('.').unwrap().1.to_owned()]);
            }
        }
        heard(&stage.fake, &mut secrets);
    }
    assert!(signed_in >= stages.len(), "{signed_in}");
    let (authorization, parameters) = kakao_notice(ADMIN_KEY, "5");
    for authorization in [authorization, "KakaoAK canary-of-no-admin-key".to_owned()] {
        let parameters = parameters.clone().into_iter().collect();
        let notice = pb::OAuthUnlinkRequest { provider: "kakao".to_owned(), authorization, parameters };
        client.o_auth_unlink(notice).await.map(drop).unwrap_or_default();
    }
    secrets.insert("canary-of-no-admin-key".to_owned());
    let said = process.stop().await;
    for word in ["OAUTH_FLOW_INVALID", "OAUTH_REJECTED", "code_refused", "TRACE"] {
        assert!(said.contains(word), "{word} is nowhere in {} bytes", said.len());
    }
    let stored = home.stored().await;
    // A code of a fake is short, and a client's secret in the body is what was configured.
    for secret in secrets.iter().filter(|secret| secret.len() >= 8) {
        let place = said.find(secret.as_str());
        let line = place.map(|place| said[place.saturating_sub(300)..].lines().next().unwrap().to_owned());
        assert!(line.is_none(), "{secret}: {}", line.unwrap());
        for (place, bytes) in &stored {
            assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()), "{secret} is in {place}");
        }
    }
    assert!(stages.iter().any(|stage| stage.kind == Kind::Naver));
}
