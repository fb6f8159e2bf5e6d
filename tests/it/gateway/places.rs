//! What stands in an address: never a token (row 109), and nobody is sent on but by 303 (row 108), on all of a person's way.

use postern_rig::providers::{Person, Visit};

use super::scene::Scene;
use super::*;
use crate::oauth::{FACES, Stage};

const ACCESS: &str = "__Host-postern-dev-access";
const REFRESH: &str = "__Host-postern-dev-refresh";

/// No answer has one of `secrets` in its place to go or in its text.
fn says_none_of(reply: &Reply, secrets: &[String]) {
    let location = reply.header("location");
    for secret in secrets {
        assert!(!location.contains(secret.as_str()) && !reply.body.contains(secret.as_str()), "{reply:?}");
    }
    if !location.is_empty() || (300..400).contains(&reply.status) {
        assert_eq!(reply.status, 303, "{reply:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_token_is_in_an_address_and_nobody_is_sent_on_but_by_303() {
    let scene = Scene::of(Stage::all()).await;
    let (browser, own) = (&scene.browser, scene.server.gateway.clone().unwrap());
    for (id, ..) in FACES {
        let stage = scene.stage(id);
        stage.person(Person::new("77").with_email(Some(&format!("{id}@example.com")), true));
        let to: String = url::form_urlencoded::byte_serialize(format!("{own}/").as_bytes()).collect();
        let mut replies = vec![browser.get(&format!("/start/dev/{id}?return_to={to}")).await];
        let authorization_url = replies[0].header("location");
        let flow = replies[0].header("set-cookie").split(';').next().unwrap().to_owned();
        let Visit::Sent(callback) = stage.fake.visit(&authorization_url) else { panic!("{id}") };
        let (path, query) = callback.strip_prefix(&own).unwrap().split_once('?').unwrap();

        // By POST, by GET, and then what the buttons of the page do.
        let form = ("content-type", "application/x-www-form-urlencoded");
        replies.push(browser.raw(&format!("POST {path} HTTP/1.1"), &[form], query).await);
        let again = format!("GET {} HTTP/1.1", replies[1].header("location"));
        replies.push(browser.raw(&again, &[("cookie", &*flow)], "").await);
        let mut secrets = vec![flow.split_once('=').unwrap().1.rsplit_once('.').unwrap().0.to_owned()];
        secrets.extend([ACCESS, REFRESH].map(|name| replies[2].cookie_value(name)));
        let jar = format!("{ACCESS}={}; {REFRESH}={}", secrets[1], secrets[2]);
        let button = [("cookie", &*jar), ("origin", &*own), ("accept", "text/html"), form];
        replies.push(browser.raw("GET / HTTP/1.1", &button[..1], "").await);
        let renewed = browser.raw("POST /session/dev/refresh HTTP/1.1", &button, "").await;
        secrets.extend([ACCESS, REFRESH].map(|name| renewed.cookie_value(name)));
        let jar = format!("{ACCESS}={}; {REFRESH}={}", secrets[3], secrets[4]);
        let button = [("cookie", &*jar), ("origin", &*own), ("accept", "text/html"), form];
        replies.push(renewed);
        let id_of_none = "session_id=01a207af-3785-7620-80b6-71bc69aa018f";
        replies.push(browser.raw("POST /session/dev/revoke HTTP/1.1", &button, id_of_none).await);
        replies.push(browser.raw("POST /session/dev/logout HTTP/1.1", &button, "").await);
        let sent_on = replies.iter().filter(|reply| reply.status == 303).count();
        assert!(sent_on >= 5, "{id}: {replies:?}");
        for reply in &replies {
            says_none_of(reply, &secrets);
        }
        // Nor did a provider see one in what it was asked.
        for request in stage.fake.requests("") {
            let asked = format!("{} {:?}", request.path, request.query);
            assert!(secrets.iter().all(|secret| !asked.contains(secret.as_str())), "{id}: {asked}");
            assert!(!request.query.contains_key("access_token"), "{id}: {asked}");
        }
    }
}
