//! The routes that keep a browser signed in. The sign-in itself is by password here: what the cookies hold is the same.

use std::time::Duration;

use super::*;
use crate::support::PASSWORD;

const ACCESS: &str = "__Host-postern-dev-access";
const REFRESH: &str = "__Host-postern-dev-refresh";
const APP: &str = "https://app.example.com";

fn jar(tokens: &postern::proto::auth::v1::TokenPair) -> String {
    format!("{ACCESS}={}; {REFRESH}={}", tokens.access_token, tokens.refresh_token)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_meant_or_nothing_happens() {
    let server = Server::start_with(with_origin).await;
    let browser = Browser::of(&server);
    let someone = server.someone().await;
    let cookies = jar(&someone.tokens);
    let own = server.gateway.clone().unwrap();
    let steps = ["refresh", "logout", "revoke"].map(|step| format!("/session/dev/{step}"));
    for (headers, status) in [
        (&[][..], 403),
        (&[("origin", "https://evil.example")], 403),
        (&[("origin", "null")], 403),
        (&[("origin", "https://app.example.com.evil.example")], 403),
        (&[("origin", "https://sub.app.example.com")], 403),
        (&[("origin", "http://app.example.com")], 403),
        (&[("origin", "https://evil.example"), ("x-postern-request", "1")], 403),
        (&[("sec-fetch-site", "cross-site")], 403),
        (&[("sec-fetch-site", "same-site")], 403),
        (&[("referer", APP)], 403),
    ] {
        for path in &steps {
            let mut headers = headers.to_vec();
            headers.extend([("cookie", &*cookies), ("content-type", "application/x-www-form-urlencoded")]);
            let reply = browser.post(path, &headers).await;
            assert_eq!(reply.status, status, "{path} {headers:?}");
            assert!(!reply.head.contains("set-cookie"), "{reply:?}");
        }
    }
    // A form cannot say it is JSON, and what says it is text is refused.
    let text = [("cookie", &*cookies), ("origin", APP), ("content-type", "text/plain")];
    assert_eq!(browser.post("/session/dev/logout", &text).await.status, 415);
    assert_eq!(server.sessions(&someone.tokens.access_token, false).await.len(), 1);

    for headers in
        [[("origin", &*own)], [("origin", APP)], [("sec-fetch-site", "same-origin")], [("x-postern-request", "1")]]
    {
        let mut headers = headers.to_vec();
        headers.push(("cookie", &cookies));
        let reply = browser.post("/session/dev/refresh", &headers).await;
        assert_eq!(reply.status, 200, "{headers:?} {reply:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_of_named_pages_may_read_and_no_others() {
    let server = Server::start_with(with_origin).await;
    let browser = Browser::of(&server);
    for origin in [
        "null",
        "https://evil.example",
        "https://sub.app.example.com",
        "https://app.example.com.evil",
        "https://app.example.co",
        "*",
    ] {
        for request in
            ["GET /session/dev HTTP/1.1", "POST /session/dev/refresh HTTP/1.1", "OPTIONS /session/dev/refresh HTTP/1.1"]
        {
            let reply = browser.raw(request, &[("origin", origin)], "").await;
            assert!(!reply.head.contains("access-control"), "{request} {origin} {reply:?}");
            assert_eq!(reply.header("vary"), "origin");
        }
    }
    let preflight = browser.raw("OPTIONS /session/dev/refresh HTTP/1.1", &[("origin", APP)], "").await;
    assert_eq!(preflight.status, 204);
    for reply in [
        preflight,
        browser.raw("GET /session/dev HTTP/1.1", &[("origin", APP)], "").await,
        browser.post("/session/dev/refresh", &[("origin", APP)]).await,
        browser.post("/session/dev/refresh", &[("origin", APP), ("content-type", "text/plain")]).await,
    ] {
        assert_eq!(reply.header("access-control-allow-origin"), APP, "{reply:?}");
        assert_eq!(reply.header("access-control-allow-credentials"), "true");
        assert_eq!(reply.header("vary"), "origin");
    }
    for request in ["GET /start/dev/kakao HTTP/1.1", "GET /callback/kakao HTTP/1.1", "GET / HTTP/1.1"] {
        let reply = browser.raw(request, &[("origin", APP)], "").await;
        assert!(!reply.head.contains("access-control"), "{request} {reply:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_shown_renewed_and_ended() {
    let server = Server::start_with(with_origin).await;
    let browser = Browser::of(&server);
    let someone = server.someone().await;
    let first = jar(&someone.tokens);
    let shown = browser.raw("GET /session/dev HTTP/1.1", &[("cookie", &*first)], "").await.json();
    assert_eq!((&shown["signedIn"], &shown["userId"]), (&true.into(), &someone.id.clone().into()));
    assert_eq!(shown["sessionId"], someone.tokens.session_id);

    let meant = |cookies: &str| [("cookie", cookies.to_owned()), ("origin", APP.to_owned())];
    let post = async |path: &str, cookies: &str, body: &str| {
        let headers = meant(cookies);
        let mut headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        headers.push(("content-type", "application/json"));
        browser.raw(&format!("POST /session/dev/{path} HTTP/1.1"), &headers, body).await
    };
    let renewed = post("refresh", &first, "").await;
    assert_eq!(renewed.status, 200, "{renewed:?}");
    for (name, same_site, life) in [(ACCESS, "Lax", 1_800), (REFRESH, "Strict", 90 * 86_400)] {
        let cookie = renewed.cookie(name).unwrap();
        for part in ["; Secure", "; HttpOnly", "; Path=/;", &format!("; SameSite={same_site}")] {
            assert!(cookie.contains(part), "{cookie}");
        }
        assert!(!cookie.contains("Domain"), "{cookie}");
        let age: u64 = cookie.rsplit_once("Max-Age=").unwrap().1.parse().unwrap();
        assert!((life - 60..=life).contains(&age), "{cookie}");
        assert!(!renewed.body.contains(&renewed.cookie_value(name)), "no token in a body");
    }
    let second = format!("{ACCESS}={}; {REFRESH}={}", renewed.cookie_value(ACCESS), renewed.cookie_value(REFRESH));

    // Another of the same person is ended by its id, in either form.
    let other = server.login("kim", PASSWORD).await.unwrap().tokens.unwrap();
    let ended = post("revoke", &second, &format!("{{\"session_id\":\"{}\"}}", other.session_id)).await;
    assert_eq!(ended.json()["endedCount"], 1, "{ended:?}");
    assert_eq!(post("revoke", &second, "{}").await.status, 400);
    assert_eq!(post("revoke", "", &format!("{{\"session_id\":\"{}\"}}", other.session_id)).await.status, 401);

    let out = post("logout", &second, "").await;
    assert_eq!((out.status, &out.json()["endedCount"]), (200, &1.into()));
    for name in [ACCESS, REFRESH] {
        assert!(out.cookie(name).unwrap().ends_with("Max-Age=0"), "{out:?}");
    }
    let late = post("refresh", &second, "").await;
    assert_eq!((late.status, &late.json()["error"]), (401, &"SESSION_ENDED".into()));
    assert!(late.cookie(REFRESH).unwrap().ends_with("Max-Age=0"), "{late:?}");
    let shown = browser.raw("GET /session/dev HTTP/1.1", &[("cookie", &*second)], "").await.json();
    assert_eq!(shown["signedIn"], false);
}

/// A browser may have lost one of the two cookies; the session ends all the same, at the service.
#[tokio::test(flavor = "multi_thread")]
async fn either_cookie_ends_the_session() {
    let server = Server::start_with(with_origin).await;
    let browser = Browser::of(&server);
    server.someone().await;
    for name in [ACCESS, REFRESH] {
        let tokens = server.login("kim", PASSWORD).await.unwrap().tokens.unwrap();
        let value = if name == ACCESS { &tokens.access_token } else { &tokens.refresh_token };
        let cookie = format!("{name}={value}");
        let headers = [("cookie", &*cookie), ("origin", APP)];
        let out = browser.post("/session/dev/logout", &headers).await;
        assert_eq!((out.status, &out.json()["endedCount"]), (200, &1.into()), "{name}: {out:?}");
        assert_eq!(out.headers("set-cookie").len(), 2);
        assert!(server.refresh(&tokens.refresh_token).await.is_err(), "{name}: it lives on");
        // Again, it is over already.
        let out = browser.post("/session/dev/logout", &headers).await;
        assert_eq!((out.status, &out.json()["endedCount"]), (200, &0.into()), "{name}: {out:?}");
    }
    // A token that nobody signed names a session, and ends none.
    let tokens = server.login("kim", PASSWORD).await.unwrap().tokens.unwrap();
    let (signed, _) = tokens.access_token.rsplit_once('.').unwrap();
    for token in [&format!("{signed}.{}", "A".repeat(86)), "a.b.c", "a.eyJzaWQiOiJ4In0.c"] {
        let cookie = format!("{ACCESS}={token}");
        let out = browser.post("/session/dev/logout", &[("cookie", &*cookie), ("origin", APP)]).await;
        assert_eq!((out.status, &out.json()["endedCount"]), (200, &0.into()), "{token}: {out:?}");
    }
    server.refresh(&tokens.refresh_token).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_shows_the_session_and_changes_nothing() {
    let server = Server::start_with(with_origin).await;
    let browser = Browser::of(&server);
    let someone = server.someone().await;
    let page = browser.get("/").await;
    assert!(page.body.contains("[[providers]]") && !page.body.contains("<script"), "{page:?}");
    let korean = browser.raw("GET / HTTP/1.1", &[("accept-language", "ko-KR,ko;q=0.9")], "").await;
    assert!(korean.body.contains("lang=\"ko\"") && korean.body.contains("로그인 제공자가 없습니다"), "{korean:?}");
    let cookies = jar(&someone.tokens);
    let page = browser.raw("GET / HTTP/1.1", &[("cookie", &*cookies)], "").await;
    for part in [&*someone.id, &someone.tokens.session_id, "Revoke", "Log out", "password"] {
        assert!(page.body.contains(part), "{part}: {page:?}");
    }
    assert!(!page.body.contains(&someone.tokens.access_token) && !page.body.contains(&someone.tokens.refresh_token));
    server.later(Duration::from_hours(1)).await;
    let page = browser.raw("GET / HTTP/1.1", &[("cookie", &*cookies)], "").await;
    assert!(page.body.contains("Continue") && !page.head.contains("set-cookie"), "{page:?}");
    // A button of the page leads back to it.
    let own = server.gateway.clone().unwrap();
    let button = [("cookie", &*cookies), ("origin", &*own), ("accept", "text/html")];
    let reply = browser.post("/session/dev/refresh", &button).await;
    assert_eq!((reply.status, reply.header("location")), (303, "/".to_owned()), "{reply:?}");
    assert!(reply.cookie(REFRESH).is_some());
}

/// Whose cookies are of `localhost` would come back from a provider without them.
#[tokio::test(flavor = "multi_thread")]
async fn the_page_is_read_under_its_own_name() {
    let server = Server::quick().await;
    let browser = Browser::of(&server);
    let port = browser.address.port();
    for (host, is_sent_on) in [
        (format!("localhost:{port}"), true),
        (format!("127.0.0.1:{port}"), false),
        ("localhost".to_owned(), false),
        (format!("localhost.evil.example:{port}"), false),
        (format!("evil.example:{port}"), false),
    ] {
        let reply = browser.raw("GET / HTTP/1.1", &[("host", &*host)], "").await;
        is_armed(&reply);
        assert_eq!(reply.status, if is_sent_on { 303 } else { 200 }, "{host}: {reply:?}");
        let to = if is_sent_on { format!("http://127.0.0.1:{port}/") } else { String::new() };
        assert_eq!(reply.header("location"), to, "{host}");
    }
}

/// Row 182: what an answer says to its reader is what an operator looks for.
#[tokio::test(flavor = "multi_thread")]
async fn one_id_goes_from_the_answer_to_the_audit_log() {
    let server = Server::start_with(with_origin).await;
    let someone = server.someone().await;
    let headers = [("cookie", &*jar(&someone.tokens)), ("origin", APP)];
    let reply = Browser::of(&server).post("/session/dev/logout", &headers).await;
    let id = reply.header("x-request-id");
    assert_eq!((reply.status, id.is_empty()), (200, false), "{reply:?}");
    let types = vec!["session_revoked".to_owned()];
    let request = postern::proto::admin::v1::ListAuditEventsRequest { types, ..Default::default() };
    // Written with the change itself, so it is there.
    let events = server.admin(&someone.admin).list_audit_events(request).await.unwrap().events;
    assert_eq!(events.iter().map(|event| event.request_id.as_str()).collect::<Vec<_>>(), [id]);
}
