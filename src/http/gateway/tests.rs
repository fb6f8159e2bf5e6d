//! What goes wrong inside, where nobody can bring it about from outside.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, COOKIE, HeaderName, ORIGIN, REFERRER_POLICY, SET_COOKIE,
    STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS,
};
use http_body_util::Full;

use super::*;

const PAGE: &str = "https://app.example.com";
const SECONDS: Duration = Duration::from_secs(5);

/// In front of a service that nobody can speak with without a fault.
fn gateway() -> Gateway {
    let service = tower::service_fn(|_: Request<tonic::body::Body>| {
        std::future::poll_fn(|_| -> Poll<Result<http::Response<tonic::body::Body>, Infallible>> {
            panic!("a fault of the gateway's own")
        })
    });
    let client = ServedClient {
        id: DEVELOPMENT_ID.parse().unwrap(),
        credential: None,
        outcome: Outcome::Cookies,
        origins: vec![PAGE.to_owned()],
    };
    let url = "https://auth.example.com".to_owned();
    let settings = GatewaySettings { url, clients: vec![client], has_home: true, proxies: TrustedProxies::default() };
    Gateway::new(settings, Upstream::new(service), Clock::default())
}

/// Row 112, for 500: one request ends so, with all that every answer carries, and the next one is none the worse.
#[tokio::test]
async fn a_panic_is_an_answer_like_any_other() {
    let gateway = gateway();
    let post = |path: &str| Request::post(path).header("x-postern-request", "1").header(ORIGIN, PAGE);
    for (request, is_page) in [
        (Request::get("/").header(ACCEPT, "text/html"), true),
        (Request::get("/.well-known/jwks.json"), true),
        (Request::get("/.well-known/openid-configuration").header(ACCEPT, "application/json"), false),
        (Request::get("/start/dev/kakao?return_to=https://auth.example.com/"), true),
        (Request::get("/notice/kakao"), false),
        (Request::get("/session/dev").header(COOKIE, "__Host-postern-dev-access=a"), false),
        (post("/session/dev/refresh").header(COOKIE, "__Host-postern-dev-refresh=a"), false),
        (post("/session/dev/logout").header(COOKIE, "__Host-postern-dev-refresh=a"), false),
    ] {
        let told = format!("{request:?}");
        let body = Full::<Bytes>::default();
        let answer = gateway.answer(request.body(body).unwrap(), Ipv4Addr::LOCALHOST.into(), SECONDS).await;
        assert_eq!(answer.status(), 500, "{told}");
        let header = |name: HeaderName| answer.headers().get(name).map_or("", |value| value.to_str().unwrap());
        assert_eq!(header(STRICT_TRANSPORT_SECURITY), "max-age=63072000", "{told}");
        assert!(header(CONTENT_SECURITY_POLICY).contains("frame-ancestors 'none'"), "{told}");
        assert_eq!((header(X_CONTENT_TYPE_OPTIONS), header(REFERRER_POLICY)), ("nosniff", "no-referrer"));
        assert_eq!((header(CACHE_CONTROL), header(SET_COOKIE)), ("no-store", ""), "{told}");
        assert!(!header(HeaderName::from_static("x-request-id")).is_empty(), "{told}");
        assert_eq!(header(CONTENT_TYPE), if is_page { answer::HTML } else { answer::JSON }, "{told}");
        let is_readable = told.contains("x-postern-request");
        assert_eq!(header(ACCESS_CONTROL_ALLOW_ORIGIN), if is_readable { PAGE } else { "" }, "{told}");
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert!(!String::from_utf8_lossy(&body).contains("of the gateway's own"), "{told}");
    }
    let alive = gateway.answer(
        Request::get("/health").body(Full::<Bytes>::default()).unwrap(),
        Ipv4Addr::LOCALHOST.into(),
        SECONDS,
    );
    assert_eq!(alive.await.status(), 200);
}

/// Paths, queries and cookies, as anybody sends them.
#[test]
fn hostile_requests() {
    let valid: [&[u8]; 6] = [
        b"/start/web/google",
        b"/callback/kakao",
        b"/session/web/refresh",
        b"state=a&code=b%20c&iss=https%3A%2F%2Fid.example.com&error=access_denied",
        b"__Host-postern-web-access=a.b.c; __Host-postern-flow-x=secret.web.link",
        b"ko-KR,ko;q=0.9,en;q=0.8",
    ];
    let client: ClientId = "web".parse().unwrap();
    postern_rig::fuzz::fuzz("gateway", &valid, |input| {
        let Ok(text) = std::str::from_utf8(input) else { return };
        drop(Route::of(text));
        if let Ok(parameters) = Parameters::parse(text) {
            assert!(parameters.bounded("code", 64).is_err() || parameters.one("code").is_ok());
            drop(parameters.into_each_once(8));
        }
        if let Ok(value) = HeaderValue::from_str(text) {
            let mut headers = HeaderMap::new();
            headers.append(COOKIE, value.clone());
            headers.append(http::header::ACCEPT_LANGUAGE, value);
            let jar = cookies::Jar::of(&headers);
            drop((jar.access_token(&client), jar.flow("x"), jar.crowded_out(), Language::of(&headers)));
        }
    });
}

#[tokio::test]
async fn one_asks_for_the_keys_and_all_hear_what_it_heard() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let service = tower::service_fn(move |_: Request<tonic::body::Body>| {
        counted.fetch_add(1, Ordering::SeqCst);
        async {
            // Until all the others wait, too: they run on this thread.
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            Ok::<_, Infallible>(tonic::Status::unavailable("away").into_http::<tonic::body::Body>())
        }
    });
    let gateway = Arc::new(Gateway { upstream: Upstream::new(service), ..gateway() });
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..32 {
        let gateway = Arc::clone(&gateway);
        waiting.spawn(async move {
            let request = Request::get("/.well-known/jwks.json").body(Full::default()).unwrap();
            gateway.answer(request, Ipv4Addr::LOCALHOST.into(), SECONDS).await.status()
        });
    }
    let statuses = waiting.join_all().await;
    assert!(statuses.iter().all(|status| *status == StatusCode::SERVICE_UNAVAILABLE), "{statuses:?}");
    assert_eq!(asked.load(Ordering::SeqCst), 1, "one for all");

    // A moment later somebody asks again.
    gateway.clock.advance(Duration::from_secs(1));
    let request = Request::get("/.well-known/openid-configuration").body(Full::default()).unwrap();
    gateway.answer(request, Ipv4Addr::LOCALHOST.into(), SECONDS).await;
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}
