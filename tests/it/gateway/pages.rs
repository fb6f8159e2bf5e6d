//! What a person reads who was not signed in, in both languages, and what a program gets instead.

use postern::domain::account::{Email, Profile};
use postern_rig::providers::{Consent, Person, Reply as Says, Script, Signing};
use serde_json::json;

use super::scene::{RETURN_URL, Scene, sets_nothing};
use super::*;
use crate::oauth::{FACES, Stage};
use crate::people;

/// What a way of not being signed in looks like.
struct Ending {
    status: u16,
    reason: &'static str,
    /// The title in English and in Korean.
    titles: [&'static str; 2],
    /// Whether there is a link back to the program, and one to try again.
    has_back: bool,
    has_again: bool,
    retry_after: &'static str,
}

/// Signs in, and ends so: as a person of each language, and as a program.
async fn ends(scene: &Scene, id: &str, ending: &Ending) {
    for (language, title) in ["en-US,en;q=0.9", "ko-KR,ko;q=0.9,en;q=0.5"].into_iter().zip(ending.titles) {
        let flow = scene.begin(id).await;
        let headers = [("accept", "text/html,application/xhtml+xml,*/*;q=0.8"), ("accept-language", language)];
        let reply = scene.come_back(&flow.callback, &flow.cookie, &headers).await;
        assert_eq!(reply.status, ending.status, "{id}: {reply:?}");
        is_armed(&reply);
        sets_nothing(&reply);
        // The flow is over, unless nobody may have been asked.
        assert_eq!(reply.headers("set-cookie").len(), usize::from(ending.status != 503), "{reply:?}");
        assert_eq!(reply.header("content-type"), "text/html; charset=utf-8");
        assert_eq!(reply.header("retry-after"), ending.retry_after, "{id}");
        assert!(reply.body.contains(&format!("<h1>{title}</h1>")), "{id} {title}: {}", reply.body);
        assert!(reply.body.contains(&format!("lang=\"{}\"", &language[..2])));
        assert!(reply.body.contains(&reply.header("x-request-id")), "a reference for support");
        assert!(!reply.body.contains("<script") && !reply.body.contains("evil"), "{}", reply.body);
        let links: Vec<&str> =
            reply.body.split("href=\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
        let back = RETURN_URL.replace('&', "&amp;");
        let again = format!("{}/start/web/{id}?return_to=", scene.server.gateway.as_deref().unwrap());
        assert_eq!(links.iter().any(|link| **link == back), ending.has_back, "{id}: {links:?}");
        assert_eq!(links.iter().any(|link| link.starts_with(&again)), ending.has_again, "{id}: {links:?}");
        assert_eq!(links.len(), usize::from(ending.has_back) + usize::from(ending.has_again), "{links:?}");
    }
    let flow = scene.begin(id).await;
    let reply = scene.come_back(&flow.callback, &flow.cookie, &[("accept", "application/json")]).await;
    assert_eq!((reply.status, reply.header("content-type")), (ending.status, "application/json".to_owned()));
    assert_eq!(reply.json()["error"], ending.reason, "{id}");
    assert!(reply.json()["message"].is_string() && reply.json().as_object().unwrap().len() == 2, "{reply:?}");
    assert_eq!(reply.header("retry-after"), ending.retry_after);
    is_armed(&reply);
    sets_nothing(&reply);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cancels_can_go_back_or_try_again() {
    let scene = Scene::of(Stage::all()).await;
    for (id, ..) in FACES {
        // Whatever the provider says of it is for nobody, nor may it lead anywhere.
        let callback = [("error_description", "<script>evil()</script>"), ("error_uri", "https://evil.example")]
            .map(|(name, value)| (name.to_owned(), Some(json!(value))));
        let script = Script { consent: Consent::Cancelled, callback: callback.into(), ..Script::default() };
        scene.stage(id).fake.script(script);
        let ending = Ending {
            status: 403,
            reason: "OAUTH_CANCELLED",
            titles: ["Sign-in cancelled", "로그인을 취소했습니다"],
            has_back: true,
            has_again: true,
            retry_after: "",
        };
        ends(&scene, id, &ending).await;
        assert_eq!(scene.stage(id).exchanges(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_an_account_already_is_told_how_to_link() {
    let scene = Scene::of(Stage::all()).await;
    let email: Email = "minji@naver.com".parse().unwrap();
    let profile = Profile { email: Some(email), email_verified: true, ..Profile::default() };
    people::add(&scene.server, profile, None).await;
    for (id, ..) in FACES {
        let mut person = Person::new("4242").with_email(Some("minji@naver.com"), true);
        person.name = "<script>evil()</script>".to_owned();
        scene.stage(id).person(person);
        let ending = Ending {
            status: 409,
            reason: "LINK_IDENTITY",
            titles: ["You already have an account", "이미 가입된 계정이 있습니다"],
            has_back: true,
            has_again: false,
            retry_after: "",
        };
        ends(&scene, id, &ending).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_disabled_hears_no_more_than_that_it_is_not_possible() {
    let scene = Scene::of(vec![Stage::new(FACES[1])]).await;
    let (token, _) = scene.sign_in("kakao").await;
    let user = scene.sessions(&token, false).await[0].user_id.clone();
    people::disable(&scene.server, user.parse().unwrap()).await;
    let ending = Ending {
        status: 403,
        reason: "INVALID_CREDENTIALS",
        titles: ["Sign-in is not possible", "로그인할 수 없습니다"],
        has_back: false,
        has_again: false,
        retry_after: "",
    };
    ends(&scene, "kakao", &ending).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_away_is_worth_another_try() {
    let scene = Scene::of(Stage::all()).await;
    for (id, ..) in FACES {
        let html = vec![("content-type", "text/html".to_owned()), ("retry-after", "42".to_owned())];
        let token = Says::Raw(503, html, b"<script>evil()</script>".to_vec());
        scene.stage(id).fake.script(Script { token, ..Script::default() });
        let ending = Ending {
            status: 503,
            reason: "OAUTH_PROVIDER_UNAVAILABLE",
            titles: ["The sign-in provider does not answer", "로그인 제공자가 응답하지 않습니다"],
            has_back: true,
            has_again: true,
            retry_after: "42",
        };
        ends(&scene, id, &ending).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_proves_nothing_is_not_accepted() {
    let scene = Scene::of(Stage::all()).await;
    for (id, _, is_oidc) in FACES {
        let refusal = json!({ "error": "invalid_grant", "error_description": "<script>evil()</script>" });
        let script = if is_oidc {
            Script { signing: Signing::Forged, ..Script::default() }
        } else {
            Script { token: Says::Json(400, refusal), ..Script::default() }
        };
        scene.stage(id).fake.script(script);
        let ending = Ending {
            status: 403,
            reason: "OAUTH_REJECTED",
            titles: ["The provider's answer was not accepted", "제공자의 응답을 확인하지 못했습니다"],
            has_back: true,
            has_again: true,
            retry_after: "",
        };
        ends(&scene, id, &ending).await;
    }
}
