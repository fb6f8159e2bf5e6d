//! What providers refuse, what they say when something is wrong with them, and what is no answer at all.

use postern_rig::providers::Reply;
use serde_json::{Value, json};

use super::*;

fn raw(status: u16, kind: &str, body: impl Into<Vec<u8>>) -> Reply {
    Reply::Raw(status, vec![("content-type", kind.to_owned())], body.into())
}

#[tokio::test]
async fn a_code_is_worth_something_once_to_one() {
    for (kind, is_oidc) in FACES {
        let scene = Scene::new(kind, is_oidc);
        let code = scene.fake.issue(Script::default(), scene.asked());
        scene.exchange(&code).await.unwrap();
        assert_eq!(rejection(scene.exchange(&code).await), Some(Rejection::CodeRefused), "{kind:?} {is_oidc}: used");
        assert_eq!(rejection(scene.exchange("made up").await), Some(Rejection::CodeRefused));
        let elsewhere = Asked { redirect_uri: "https://another.example/".to_owned(), ..scene.asked() };
        let outcome = scene.exchange(&scene.fake.issue(Script::default(), elsewhere)).await;
        let why = match kind {
            Kind::Naver => Rejection::CodeRefused,
            _ => Rejection::RedirectMismatch,
        };
        assert_eq!(rejection(outcome), Some(why), "{kind:?} {is_oidc}");
        if is_oidc || kind != Kind::Naver {
            let injected = Asked { challenge: Some("another".to_owned()), ..scene.asked() };
            let outcome = scene.exchange(&scene.fake.issue(Script::default(), injected)).await;
            assert_eq!(rejection(outcome), Some(Rejection::CodeRefused), "{kind:?}: of another flow");
        }
        assert_eq!(scene.exchanges(), 4 + usize::from(is_oidc || kind != Kind::Naver), "each was sent once");
    }
}

#[tokio::test]
async fn our_own_mistakes_are_told_from_bad_codes() {
    for (kind, is_oidc) in FACES {
        let scene = Scene::with(kind, is_oidc, |settings| settings.client_secret = Some("wrong".into()));
        assert_eq!(
            rejection(scene.sign_in(Script::default()).await),
            Some(Rejection::ClientRefused),
            "{kind:?} {is_oidc}"
        );
        if matches!(kind, Kind::Kakao | Kind::Naver) {
            // What a library would do if left to itself.
            let scene = Scene::with(kind, is_oidc, |settings| settings.auth_in_body = Some(false));
            assert_eq!(rejection(scene.sign_in(Script::default()).await), Some(Rejection::ClientRefused));
        }
    }
    let scene = Scene::new(Kind::Oidc, true);
    scene.fake.secret_in_body(true);
    scene.sign_in(Script::default()).await.unwrap();
}

#[tokio::test]
async fn errors_by_their_names() {
    use Absence::{ServerError, Throttled};
    let error = |error: Value| json!({ "error": error, "error_description": "canary" });
    let koe = |code: &str| json!({ "error": "invalid_request", "error_code": code });
    for (kind, status, body, why) in [
        (Kind::Google, 400, error(json!("invalid_grant")), Rejection::CodeRefused),
        (Kind::Google, 400, error(json!("invalid_scope")), Rejection::ErrorAnswer),
        (Kind::Google, 200, error(json!("invalid_grant")), Rejection::CodeRefused),
        (Kind::Google, 400, error(json!({ "message": "x" })), Rejection::ErrorAnswer),
        (Kind::Google, 400, error(Value::Null), Rejection::ErrorAnswer),
        (Kind::Google, 401, json!({}), Rejection::ClientRefused),
        (Kind::Google, 404, json!({}), Rejection::ErrorAnswer),
        (Kind::Kakao, 400, koe("KOE320"), Rejection::CodeRefused),
        (Kind::Kakao, 400, koe("KOE101"), Rejection::ClientRefused),
        (Kind::Kakao, 401, koe("KOE010"), Rejection::ClientRefused),
        (Kind::Kakao, 400, koe("KOE303"), Rejection::RedirectMismatch),
        (Kind::Naver, 400, error(json!("unauthorized_client")), Rejection::ClientRefused),
    ] {
        let script = Script { token: Reply::Json(status, body.clone()), ..Script::default() };
        assert_eq!(rejection(Scene::new(kind, true).sign_in(script).await), Some(why), "{kind:?} {status} {body}");
    }
    for (kind, reply, why) in [
        (Kind::Kakao, Reply::Json(400, koe("KOE237")), Throttled),
        (Kind::Kakao, Reply::Json(429, koe("KOE237")), Throttled),
        (Kind::Kakao, Reply::Json(400, koe("KOE003")), ServerError),
        (Kind::Google, Reply::Json(400, error(json!("temporarily_unavailable"))), ServerError),
        (Kind::Naver, Reply::Json(200, error(json!("server_error"))), ServerError),
        (Kind::Google, Reply::Json(500, error(json!("invalid_grant"))), ServerError),
        (Kind::Google, raw(502, "text/html", "<html>"), ServerError),
        (Kind::GitHub, raw(429, "text/plain", "slow down"), Throttled),
    ] {
        let script = Script { token: reply.clone(), ..Script::default() };
        let scene = Scene::new(kind, kind != Kind::GitHub);
        assert_eq!(absence(scene.sign_in(script).await), Some(why), "{kind:?} {reply:?}");
        assert_eq!(scene.exchanges(), 1, "a code is sent once, whatever is answered");
    }
}

#[tokio::test]
async fn profiles_are_refused_by_their_own_rules() {
    let cases: [(Kind, bool, Reply, Result<Rejection, Absence>); 14] = [
        (Kind::Kakao, false, Reply::Json(401, json!({ "msg": "x", "code": -401 })), Ok(Rejection::ErrorAnswer)),
        (
            Kind::Kakao,
            false,
            Reply::Json(403, json!({ "code": -402, "required_scopes": ["account_email"] })),
            Ok(Rejection::ConsentMissing),
        ),
        (Kind::Kakao, false, Reply::Json(400, json!({ "code": -1 })), Err(Absence::ServerError)),
        (Kind::Kakao, true, Reply::Json(400, json!({ "code": -10 })), Err(Absence::Throttled)),
        (Kind::Kakao, false, Reply::Json(200, json!({ "id": "abc" })), Ok(Rejection::NoSubject)),
        (Kind::Kakao, false, Reply::Json(200, json!({ "id": 1.5 })), Ok(Rejection::NoSubject)),
        (Kind::Kakao, false, Reply::Json(200, json!({})), Ok(Rejection::NoSubject)),
        (
            Kind::Naver,
            true,
            Reply::Json(401, json!({ "errorMessage": "x", "errorCode": "024" })),
            Ok(Rejection::ErrorAnswer),
        ),
        (
            Kind::Naver,
            false,
            Reply::Json(200, json!({ "resultcode": "024", "response": { "id": "1" } })),
            Ok(Rejection::ErrorAnswer),
        ),
        (Kind::Naver, false, Reply::Json(200, json!({ "response": { "id": "1" } })), Ok(Rejection::ErrorAnswer)),
        (
            Kind::Naver,
            false,
            Reply::Json(200, json!({ "resultcode": "00", "response": null })),
            Ok(Rejection::NoSubject),
        ),
        (Kind::Naver, true, Reply::Json(200, json!({ "resultcode": "00", "response": [] })), Ok(Rejection::NoSubject)),
        (
            Kind::Naver,
            true,
            Reply::Json(200, json!({ "resultcode": "00", "response": { "id": "" } })),
            Ok(Rejection::NoSubject),
        ),
        (Kind::GitHub, false, Reply::Json(200, json!({ "id": "7" })), Ok(Rejection::NoSubject)),
    ];
    for (kind, is_oidc, reply, why) in cases {
        let script = Script { userinfo: reply.clone(), ..Script::default() };
        let outcome = Scene::new(kind, is_oidc).sign_in(script).await;
        let found = match &outcome {
            Err(ProviderFault::Rejected(why)) => Some(Ok(*why)),
            Err(ProviderFault::Unavailable { why, .. }) => Some(Err(*why)),
            Ok(_) => None,
        };
        assert_eq!(found, Some(why), "{kind:?} {reply:?}");
    }
}

/// Row 123.
#[tokio::test]
async fn numbers_and_texts_as_they_come() {
    for life in [json!("3600"), json!(3600), json!(-1), json!(3600.5), json!("soon"), Value::Null, json!([])] {
        for (kind, is_oidc) in FACES {
            let token_members =
                vec![("expires_in".to_owned(), Some(life.clone())), ("scope".to_owned(), Some(json!("a,b c")))];
            Scene::new(kind, is_oidc).sign_in(Script { token_members, ..Script::default() }).await.unwrap();
        }
    }
    for (name, value, why) in [
        ("access_token", Value::Null, Rejection::Malformed),
        ("access_token", json!(""), Rejection::Malformed),
        ("access_token", json!(7), Rejection::Malformed),
        ("token_type", json!("mac"), Rejection::Malformed),
        ("id_token", Value::Null, Rejection::NoIdToken),
        ("id_token", json!(7), Rejection::Malformed),
        ("id_token", json!(""), Rejection::IdTokenMalformed),
    ] {
        let token_members = vec![(name.to_owned(), Some(value.clone()))];
        let outcome = Scene::new(Kind::Google, true).sign_in(Script { token_members, ..Script::default() }).await;
        assert_eq!(rejection(outcome), Some(why), "{name} {value}");
    }
    let scene = Scene::new(Kind::Kakao, true);
    let without = Asked { scope: "account_email".to_owned(), ..scene.asked() };
    let outcome = scene.exchange(&scene.fake.issue(Script::default(), without)).await;
    assert_eq!(rejection(outcome), Some(Rejection::NoIdToken), "asked for without openid");
}

#[tokio::test]
async fn what_is_no_answer() {
    let good = json!({ "access_token": "a", "token_type": "bearer" }).to_string();
    for (reply, why) in [
        (raw(200, "application/json", good[..20].to_owned()), Rejection::Malformed),
        (raw(200, "application/json", "<html>"), Rejection::Malformed),
        (raw(200, "application/json", ""), Rejection::Malformed),
        (raw(200, "application/json", "[]"), Rejection::Malformed),
        (
            raw(200, "application/json", "{\"access_token\":\"a\",\"access_token\":\"b\",\"token_type\":\"bearer\"}"),
            Rejection::Malformed,
        ),
        (raw(200, "application/json", b"{\"access_token\":\"\xff\"}".to_vec()), Rejection::Malformed),
        (raw(200, "text/html", good.clone()), Rejection::Malformed),
        (raw(200, "application/jsonp", good.clone()), Rejection::Malformed),
        (raw(200, "application/x-www-form-urlencoded", "access_token=a"), Rejection::Malformed),
        (Reply::Raw(200, Vec::new(), good.clone().into_bytes()), Rejection::Malformed),
        (raw(400, "text/html", "no"), Rejection::ErrorAnswer),
        (Reply::Redirect("http://169.254.169.254/latest/meta-data".to_owned()), Rejection::Redirected),
    ] {
        for kind in [Kind::Google, Kind::Kakao, Kind::Naver] {
            let scene = Scene::new(kind, kind == Kind::Google);
            let outcome = scene.sign_in(Script { token: reply.clone(), ..Script::default() }).await;
            assert_eq!(rejection(outcome), Some(why), "{kind:?} {reply:?}");
            let scene = Scene::new(if kind == Kind::Google { Kind::GitHub } else { kind }, false);
            let outcome = scene.sign_in(Script { userinfo: reply.clone(), ..Script::default() }).await;
            assert!(rejection(outcome).is_some(), "{kind:?} {reply:?}");
        }
    }
}
