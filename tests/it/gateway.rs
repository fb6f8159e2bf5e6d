//! The gateway over raw HTTP: what every answer carries, whom it believes, and what it sets in a browser.

mod apart;
mod browser;
mod encrypted;
mod faces;
mod flows;
mod links;
mod notices;
mod pages;
mod places;
mod proxies;
mod scene;
mod sessions;
mod wire;

use std::time::Duration;

use postern::config::{Config, GatewayAnswer, GatewayClient};

use crate::support::{Server, quick};
use browser::{Browser, Reply};

/// What the public lists of open redirects (`PayloadsAllTheThings`) boil down to, beside the very one that is allowed.
const ELSEWHERE: &[&str] = &[
    "//evil.example",
    "///evil.example",
    "/\\evil.example",
    "\\/\\/evil.example",
    "https:evil.example",
    "https:/evil.example",
    "https:///evil.example",
    "https://evil.example",
    "https://OWN@evil.example/",
    "https://evil.example/?http://OWN/",
    "https://evil.example#http://OWN/",
    "http://OWN.evil.example/",
    "http://OWN@evil.example/",
    "http://OWN%2eevil.example/",
    "http://OWN%00.evil.example/",
    "http://OWN\u{3002}evil.example/",
    "http://OWN/..//evil.example",
    "http://OWN/%0d%0aset-cookie:a=b",
    "http://OWN/\r\nset-cookie: a=b",
    "http://OWN/?",
    "http://OWN/#",
    "http://OWN",
    "HTTP://OWN/",
    " http://OWN/",
    "http://OWN/\t",
    "javascript:alert(1)",
    "java\tscript:alert(1)",
    "data:text/html,<script>alert(1)</script>",
    "%68ttp://OWN/",
    "%2f%2fevil.example",
    "",
];

fn with_origin(config: &mut Config) {
    quick(config);
    config.gateway.clients.push(GatewayClient {
        id: "dev".parse().unwrap(),
        secret: None,
        answer: GatewayAnswer::Cookies,
        origins: vec!["https://app.example.com".to_owned()],
    });
}

fn is_armed(reply: &Reply) {
    let header = |name: &str| reply.header(name);
    let policy = header("content-security-policy");
    for part in
        ["default-src 'none'", "style-src 'sha256-", "form-action 'self'", "base-uri 'none'", "frame-ancestors 'none'"]
    {
        assert!(policy.contains(part), "{policy}");
    }
    assert_eq!(header("x-content-type-options"), "nosniff", "{reply:?}");
    assert_eq!(header("referrer-policy"), "no-referrer");
    assert_eq!(header("cross-origin-opener-policy"), "same-origin");
    assert!(!header("x-request-id").is_empty());
    assert_eq!(header("server"), "");
    let is_public = header("cache-control").starts_with("public, max-age=");
    assert!(header("cache-control") == "no-store" || (is_public && reply.status == 200), "{reply:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_is_armed() {
    let server = Server::quick().await;
    let browser = Browser::of(&server);
    for (request, status) in [
        ("GET / HTTP/1.1", 200),
        ("GET /health HTTP/1.1", 200),
        ("HEAD /health HTTP/1.1", 200),
        ("GET /.well-known/jwks.json HTTP/1.1", 200),
        ("GET /.well-known/openid-configuration HTTP/1.1", 200),
        ("GET /.well-known/oauth-authorization-server HTTP/1.1", 200),
        ("GET /session/dev HTTP/1.1", 200),
        ("GET /start/dev/kakao HTTP/1.1", 400),
        ("GET /start/dev/kakao?return_to=a&return_to=a HTTP/1.1", 400),
        ("GET /start/other/kakao?return_to=a HTTP/1.1", 404),
        ("GET /callback/kakao?code=a&state=b HTTP/1.1", 400),
        ("GET /callback/kakao?state=b&state=b HTTP/1.1", 400),
        ("GET /nothing HTTP/1.1", 404),
        ("GET //evil.example/ HTTP/1.1", 404),
        ("GET /metrics HTTP/1.1", 404),
        ("TRACE / HTTP/1.1", 405),
        ("PUT /callback/kakao HTTP/1.1", 405),
        ("DELETE /session/dev HTTP/1.1", 405),
        ("OPTIONS /start/dev/kakao HTTP/1.1", 405),
        ("HEAD /start/dev/kakao HTTP/1.1", 405),
        ("GET /session/dev/logout HTTP/1.1", 405),
        ("GET /session/dev/refresh HTTP/1.1", 405),
        ("POST /session/dev/logout HTTP/1.1", 403),
        ("POST / HTTP/1.1", 405),
        ("POST /start/dev/kakao HTTP/1.1", 405),
    ] {
        let reply = browser.raw(request, &[], "").await;
        assert_eq!(reply.status, status, "{request}: {reply:?}");
        is_armed(&reply);
        assert_eq!(reply.header("strict-transport-security"), "", "in clear text no browser may be told");
        if status == 405 {
            assert!(!reply.header("allow").is_empty(), "{request}");
        }
        assert!(!reply.head.contains("access-control") || request.contains(".well-known"), "{request}: {reply:?}");
    }
    // Too much, in the wrong form, and by a method that a header makes up.
    let fields = ("content-type", "application/x-www-form-urlencoded");
    for (path, headers, body, status) in [
        ("/callback/kakao", &[fields][..], "a=".to_owned() + &"x".repeat(17_000), 413),
        ("/callback/kakao", &[("content-type", "text/plain")], "state=a".to_owned(), 415),
        ("/callback/kakao", &[("content-type", "application/json")], "{}".to_owned(), 415),
        ("/callback/kakao", &[], "state=a".to_owned(), 415),
        ("/session/dev/revoke", &[("content-type", "text/plain")], "session_id=a".to_owned(), 415),
        ("/session/dev", &[("x-http-method-override", "GET")], String::new(), 405),
    ] {
        let reply = browser.raw(&format!("POST {path} HTTP/1.1"), headers, &body).await;
        assert_eq!(reply.status, status, "{path} {headers:?}");
        is_armed(&reply);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_way_in_and_out_is_not_for_others_to_say() {
    let server = Server::quick().await;
    let browser = Browser::of(&server);
    let own = server.gateway.clone().unwrap().replace("http://", "");
    let tricks = [
        ("host", "evil.example"),
        ("x-forwarded-host", "evil.example"),
        ("forwarded", "host=evil.example;proto=https"),
    ];
    for elsewhere in ELSEWHERE {
        let url: String = url::form_urlencoded::byte_serialize(elsewhere.replace("OWN", &own).as_bytes()).collect();
        let reply = browser.raw(&format!("GET /start/dev/kakao?return_to={url} HTTP/1.1"), &tricks, "").await;
        assert!((400..500).contains(&reply.status), "{elsewhere:?}: {reply:?}");
        assert!(reply.header("location").is_empty() && !reply.head.contains("set-cookie"), "{elsewhere:?}: {reply:?}");
    }
    // Nothing of them is in any page or document.
    for path in ["/", "/.well-known/openid-configuration", "/nothing"] {
        let reply = browser.raw(&format!("GET {path} HTTP/1.1"), &tricks, "").await;
        assert!(!reply.head.contains("evil") && !reply.body.contains("evil"), "{path}: {reply:?}");
    }
    let reply = browser.get("/.well-known/openid-configuration").await;
    assert!(reply.body.contains(&format!("\"jwks_uri\":\"http://{own}/.well-known/jwks.json\"")), "{reply:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flow_begins_where_a_person_goes_and_ends_in_its_browser() {
    let server = Server::quick().await;
    let browser = Browser::of(&server);
    let start = "GET /start/dev/kakao?return_to=a HTTP/1.1";
    let image = [("sec-fetch-mode", "no-cors"), ("sec-fetch-dest", "image"), ("sec-fetch-site", "cross-site")];
    assert_eq!(browser.raw(start, &image, "").await.status, 403);
    let frame = [("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe")];
    assert_eq!(browser.raw(start, &frame, "").await.status, 403);

    // A provider's words are for nobody, and a form that it posts comes again as a GET.
    let script =
        "GET /callback/kakao?error=access_denied&state=a&error_description=%3Cscript%3Ealert(1)%3C/script%3E HTTP/1.1";
    let reply = browser.raw(script, &[("accept", "text/html"), ("accept-language", "ko")], "").await;
    assert!(reply.status == 400 && !reply.body.contains("script>") && reply.body.contains("lang=\"ko\""), "{reply:?}");
    let fields = [("content-type", "application/x-www-form-urlencoded")];
    let form = "code=4%2F0A%2b&state=s+t&iss=https%3A%2F%2Fa.example&scope=x&user=%7B%7D&error_description=%0d%0a";
    let reply = browser.raw("POST /callback/kakao HTTP/1.1", &fields, form).await;
    assert_eq!(reply.status, 303);
    assert_eq!(reply.header("location"), "/callback/kakao?code=4%2F0A%2B&state=s%20t&iss=https%3A%2F%2Fa.example");
    assert_eq!(browser.raw("POST /callback/kakao HTTP/1.1", &fields, "state=a&state=b").await.status, 400);

    let machine = [("accept", "application/json")];
    let reply = browser.raw("GET /callback/kakao?code=a&state=b HTTP/1.1", &machine, "").await;
    assert_eq!(reply.json()["error"], "OAUTH_FLOW_INVALID");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keys_are_kept_as_long_as_they_may_be() {
    let server = Server::quick().await;
    let browser = Browser::of(&server);
    let first = browser.get("/.well-known/jwks.json").await;
    assert_eq!(first.header("content-type"), "application/jwk-set+json");
    assert_eq!(first.header("access-control-allow-origin"), "*");
    assert_eq!(first.header("access-control-allow-credentials"), "");
    assert_eq!(first.header("cache-control"), "public, max-age=300");
    for key in first.json()["keys"].as_array().unwrap() {
        let members = key.as_object().unwrap();
        assert!(["d", "p", "q", "dp", "dq", "qi", "k", "oth"].iter().all(|private| !members.contains_key(*private)));
    }
    server.advance(Duration::from_secs(100));
    assert_eq!(browser.get("/.well-known/jwks.json").await.header("cache-control"), "public, max-age=200");
    let metadata = browser.get("/.well-known/oauth-authorization-server").await.json();
    assert_eq!(metadata["issuer"], server.issuer);
    assert_eq!(metadata["id_token_signing_alg_values_supported"], serde_json::json!(["EdDSA"]));
    assert!(metadata.get("authorization_endpoint").is_none(), "nobody can come here for a code");
}
